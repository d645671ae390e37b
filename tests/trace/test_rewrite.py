"""The rewritten copy behaves as the original, calls the hooks, and keeps the user's positions."""

# The functions under test are written to use constructs, not to use them well.
# ruff: noqa: B007, C408, C416, F841, PIE800, PIE804, RUF059, SIM905, UP031, UP033

from __future__ import annotations

import ast
import contextlib
import copy
import dataclasses
import functools
import gc
import heapq
import importlib.util
import inspect
import json.decoder
import operator
import statistics
import sys
import textwrap
import timeit
import traceback
import types
import warnings
import weakref

import pytest

from gradgen.trace import branches, loops
from gradgen.trace import rewrite as rewriting
from gradgen.trace.rewrite import rewrite

INPLACE = {
    "+": operator.iadd,
    "-": operator.isub,
    "*": operator.imul,
    "/": operator.itruediv,
    "//": operator.ifloordiv,
    "%": operator.imod,
    "**": operator.ipow,
    "@": operator.imatmul,
    "&": operator.iand,
    "|": operator.ior,
    "^": operator.ixor,
    "<<": operator.ilshift,
    ">>": operator.irshift,
}


class PlainHooks:
    """Plain semantics; records what it sees and, as the tracer does, enters functions called."""

    def __init__(self, enter=True):
        self.enter = enter
        self.seen = []

    def call(self, fn, /, *args, **kwargs):
        self.seen.append(("call", getattr(fn, "__name__", None), args, kwargs))
        if self.enter:
            user = fn.__func__ if isinstance(fn, types.MethodType) else fn
            if isinstance(user, types.FunctionType) and user.__module__ == __name__:
                rewritten = rewrite(user, self)
                if rewritten is not None:
                    bound = () if user is fn else (fn.__self__,)
                    return rewritten(*bound, *args, **kwargs)
        return fn(*args, **kwargs)

    def assign(self, name, value):
        self.seen.append(("assign", name, value))
        return value

    def comprehension(self, items, whole):
        return whole(items)

    def make(self, fn, /, *args, **kwargs):
        return self.call(fn, *args, **kwargs)

    def made(self, value):
        return value

    def inplace(self, op, old, value):
        self.seen.append(("inplace", op, old, value))
        return INPLACE[op](old, value)

    def getitem(self, x, i):
        self.seen.append(("getitem", x, i))
        return x[i]

    def setitem(self, x, i, v):
        self.seen.append(("setitem", i, v))
        x[i] = v

    def aug_setitem(self, x, i, op, v):
        self.seen.append(("aug_setitem", i, op, v))
        x[i] = INPLACE[op](x[i], v)

    def key(self, value):
        return value

    def joined(self, *parts):
        return "".join(parts)

    def percent(self, form, values):
        return form % values

    def is_(self, a, b):
        return a is b

    def caught(self):
        pass

    def matched(self, subject):
        return subject

    def make_slice(self, a, b, c):
        return slice(a, b, c)

    # On plain values the real ones are plain Python.
    contains = staticmethod(branches.contains)
    not_, and_, or_ = map(staticmethod, (branches.not_, branches.and_, branches.or_))
    if_exp, branch, choose = map(staticmethod, (branches.if_exp, branches.branch, branches.choose))
    for_loop, while_loop = map(staticmethod, (loops.for_loop, loops.while_loop))
    is_missing, plain = map(staticmethod, (branches.is_missing, branches.plain))


# --- functions of users: no `assert` in them, since pytest rewrites those -----------------------

COUNT = 0


def arithmetic(x, y=2):
    z = x * y
    z: float = z + 1
    return z**2


def keyword_only(a, /, b, *rest, c, d=4, **more):
    return a, b, rest, c, d, more


def calls_keyword_only():
    # Names of the hook's own parameters must stay free for the user's keywords.
    return keyword_only(1, 2, *[3, 4], c=5, **{"fn": 6, "self": 7, "args": 8})


def closures(n):
    total = 0
    log = []

    def add(k, scale=n * 2):
        nonlocal total
        total += k * scale
        log.append(total)
        return total

    for i in range(n):
        add(i)
    return total, log, [f(3) for f in [lambda a, i=i: a * i + n for i in range(n)]]


def late_binding():
    def even(n):
        return True if n == 0 else odd(n - 1)

    def odd(n):
        return False if n == 0 else even(n - 1)

    return even(10), odd(7)


def recursion(n):
    return 1 if n < 2 else n * recursion(n - 1)


def generator(n):
    got = []
    for i in range(n):
        got.append((yield i * i))
    x = yield from iter("ab")
    return got, x


def runs_generator():
    g, out = generator(3), []
    out.append(next(g))
    try:
        while True:
            out.append(g.send(len(out)))
    except StopIteration as stop:
        out.append(stop.value)
    return out, list(generator(2)), sum(k * k for k in range(4))


def comprehensions(n):
    xs = [i * j for i in range(n) for j in range(i) if j % 2 == 0]
    table = {k: [xs[m] for m in range(k)] for k in range(len(xs))}
    return xs, table, {x for x in xs}, [y := 1, y**2], any((last := x) > 3 for x in xs), last


def global_counter():
    global COUNT
    COUNT = 5
    COUNT += 2
    return COUNT


def exceptions(x):
    out = []
    try:
        out.append(1 / x)
    except ZeroDivisionError as e:
        out.append(str(e))
    else:
        out.append("else")
    finally:
        out.append("finally")
    with contextlib.suppress(KeyError), contextlib.nullcontext({}) as d:
        out.append(d["absent"])
    try:
        raise ExceptionGroup("g", [ValueError(1), TypeError(2)])
    except* ValueError as group:
        out.append(len(group.exceptions))
    except* TypeError:
        out.append("type")
    return out


def walrus(xs):
    if (n := len(xs)) > 2 and (m := xs[-1]):
        return n, m
    return None


def strings(a, w=9):
    return f"{a['k']!r:>{w}} {len(a)=} {a['k'][0:2]:.1s}" + "%d" % len(a)


def unpacking(v):
    a, (b, *c), [d, e] = v
    first, *_ = c
    (f, g), h = (a, b), [d, e]
    i = j = k = [a]
    k += [1]
    return a, b, c, d, e, first, f, g, h, i, j, k, [*c, *v], {**{"a": 1}, "b": 2}


def stores(n):
    x, m = list(range(n)), {}
    x[0] = 10
    x[1], (x[2], *x[3:5]) = x[2], (x[1], 7, 8)
    i = 4
    x[i], i = i, 5
    i, x[i] = 6, i
    x[::2] = [0] * len(x[::2])
    m["k"] = m["l"], m["n"] = "uv"
    name = m["a"] = x
    x[-1] += 5
    m["c"] = 1
    m["c"] <<= i
    for m["loop"], y in [(1, 2), (3, 4)]:
        pass
    m[1, 2 : 3 if n else 4] = y
    del x[1], m["a"][0]
    return x, {str(k): v for k, v in m.items()}, name, y


def augmented(xs, y):
    same = xs
    xs += [y]
    xs *= 2
    y -= 1
    y *= 6
    y //= 4
    y **= 2
    y %= 7
    y |= 8
    y &= 13
    y ^= 1
    y <<= 3
    y >>= 1
    y /= 2
    return same is xs, xs, y


def augmented_order():
    total = [1]

    def walk():
        total[0] += 10
        return 100

    total[0] += walk()
    total[0] += total[0]
    return total


def store_order():
    seen = []

    def see(tag, value):
        seen.append(tag)
        return value

    see("x", [0, 0])[see("i", 1)] = see("v", 2)
    see("x", [0, 0])[see("i", 1)] += see("v", 2)
    see("x", [0])[0], see("y", {})[see("k", 1)] = see("v", (1, 2))
    return seen


def slices(x):
    return x[1:], x[:-1], x[::2], x[1:4:2], x[:], x[-1], x[len(x) - 2]


class Key:
    def __getitem__(self, i):
        return i


def keys(k):
    t = (7, 8)
    return k[1, 2], k[..., None], k[1:2, ::3], k[*t, 9], k[(1, 2)], k[slice(1), "a"], k[()]


class Box:
    size = 3

    def __init__(self, v):
        self.v = v
        self.__secret = v * 2

    def secret(self, __k=0):
        self.__secret += 1
        return [self.__secret + __k for _ in [0]], (lambda: self.__secret)()

    @property
    def double(self):
        return self.v * 2

    @classmethod
    def make(cls, v):
        return cls(v + cls.size)

    @staticmethod
    def static(v):
        return Box(v).v

    def grow(self):
        self.v += 1
        self.items = [0]
        self.items[0] -= 4
        return self


class LongBox(Box):
    def __init__(self, v):
        super().__init__(v)
        self.cls = __class__

    def secret(self):
        def inner():
            return super(LongBox, self).secret(3)

        return super().secret(), inner(), self.cls.__name__


def objects():
    box = LongBox.make(4)
    out = box.secret(), box.double, box.grow().v, box.items, box.static(2), LongBox(1).secret()
    box.items[0], box.v = 1, 2
    return out, box.items, box.v


def local_class(n):
    @dataclasses.dataclass
    class Point:
        x: float
        y: float = n
        table = [1, 2, 3][1]

        def norm(self):
            square = self.x**2
            square += self.y**2
            return square, self.__sum([1])

        def __sum(self, z):
            return self.x + z[0]

        key = lambda self: [self.x][0]

    return Point(1).norm(), Point(2, 3).key(), repr(Point(1, 2)), Point.norm.__qualname__


def wrapping(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return [fn(*args, **kwargs)]

    return wrapper


@wrapping
@functools.lru_cache(maxsize=None)
def decorated(n: int = 3) -> int:
    """Twice."""
    return decorated(n - 1)[0] + 2 if n else 0


def matching(v):
    match v:
        case {"k": [a, *rest], **more}:
            b = a + len(rest)
            return b, more
        case Box(v=n) if n > 0:
            return n
        case [x, y] | (x, y, _):
            return x[0] if isinstance(x, list) else y
        case -1 | 1.5 | None:
            return "literal"
    return "other"


def scopes():
    a = 3
    here = sorted(k for k in locals() if not k.startswith("__gg"))
    return here, eval("a + 1"), vars()["a"], "COUNT" in globals(), dir()[-1]


def annotations(x: undefined[0]):  # noqa: F821
    y: undefined[x()] = x  # noqa: F821

    def inner(z: undefined[1] = x) -> undefined[2]:  # noqa: F821
        return z

    return inner(), y, inner.__annotations__


def loops(n):
    out = []
    for i, (a, *b) in enumerate([[1, 2], [3, 4]]):
        out.append((i, a, b))
        for a in range(n):
            if a == 2:
                break
        else:
            continue
        while n > 0:
            n -= 1
    return out, a, n


def deletes():
    x = {"a": {"b": 1, "c": 2}}
    y = 3
    del x["a"]["b"], y
    return x


two = (lambda x: x[0] + 1, lambda x: x[0] * 2)
alike = [lambda x: x[0], lambda x: x[0]]
nested_lambda = lambda x: (lambda y: y[0] + x[0])(x)
stringly = lambda s, k=1: s.upper()[k:]


class _Private:
    """Its methods use names equal to that of their class."""

    def __hidden(self):
        return "hidden"

    def use(self):
        return self.__hidden(), [_Private][0].__name__


class __:
    def use(self):
        self.__plain = 1
        return vars(self), self.__plain


def privates():
    return _Private().use(), __().use()


def raises(x):
    return x.no_such_attribute


CASES = [
    (arithmetic, (3,)),
    (arithmetic, (3, 5)),
    (calls_keyword_only, ()),
    (keyword_only, (1,)),
    (closures, (3,)),
    (late_binding, ()),
    (recursion, (6,)),
    (runs_generator, ()),
    (comprehensions, (5,)),
    (global_counter, ()),
    (exceptions, (0,)),
    (exceptions, (4,)),
    (walrus, ([1, 2, 3],)),
    (walrus, ([],)),
    (strings, ({"k": "value"},)),
    (unpacking, ((1, (2, 3, 4), "de"),)),
    (unpacking, ((1, (2,), "de"),)),
    (stores, (8,)),
    (augmented, ([1], 9)),
    (augmented_order, ()),
    (store_order, ()),
    (slices, ("abcdef",)),
    (keys, (Key(),)),
    (objects, ()),
    (local_class, (5,)),
    (decorated, ()),
    (matching, ({"k": [1, 2], "l": 3},)),
    (matching, (Box(2),)),
    (matching, ([[5], 6],)),
    (matching, (-1,)),
    (matching, ("?",)),
    (scopes, ()),
    (annotations, (1,)),
    (loops, (5,)),
    (deletes, ()),
    (two[0], ([3],)),
    (two[1], ([3],)),
    (alike[1], ([3],)),
    (nested_lambda, ([3],)),
    (stringly, ("abc",)),
    (privates, ()),
    (raises, (0,)),
]


def outcome(f, args):
    try:
        return f(*copy.deepcopy(args))
    except Exception as e:
        return type(e), str(e)


@pytest.mark.parametrize("enter", [True, False])
@pytest.mark.parametrize("f, args", CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_the_copy_behaves_as_the_original(f, args, enter):
    rewritten = rewrite(f, PlainHooks(enter))
    assert rewritten is not None
    assert outcome(rewritten, args) == outcome(f, args)


def test_the_copy_keeps_what_belongs_to_the_function():
    def f(a, b=[], *, c=1) -> int:  # noqa: B006
        """Doc."""
        return cell[0]

    cell = [3]
    f.mark = "mark"
    f.__name__, f.__qualname__, f.__module__ = "new", "new.name", "elsewhere"
    copy = rewrite(f, PlainHooks())
    for name in "name qualname module doc annotations defaults kwdefaults dict globals".split():
        assert getattr(copy, f"__{name}__") == getattr(f, f"__{name}__"), name
    assert copy.__defaults__[0] is f.__defaults__[0]
    assert copy.__closure__[copy.__code__.co_freevars.index("cell")] is f.__closure__[0]
    assert inspect.signature(copy) == inspect.signature(f)
    assert inspect.getsource(copy) == inspect.getsource(f)
    for name in "name qualname firstlineno filename argcount kwonlyargcount".split():
        assert getattr(copy.__code__, f"co_{name}") == getattr(f.__code__, f"co_{name}"), name
    cell = [4]
    assert copy(1) == 4


def test_names_of_nested_things_do_not_show_the_wrapper():
    def f():
        class C:
            def m(self):
                return lambda: 0

        return C, C.m, C().m(), [0]

    here = "test_names_of_nested_things_do_not_show_the_wrapper.<locals>.f.<locals>.C"
    c, m, inner, _ = rewrite(f, PlainHooks())()
    assert (c.__qualname__, m.__qualname__) == (here, f"{here}.m")
    assert inner.__qualname__ == f"{here}.m.<locals>.<lambda>"


# --- what the hooks see -------------------------------------------------------------------------


def seen(f, *args):
    hooks = PlainHooks(enter=False)
    rewrite(f, hooks)(*args)
    return hooks.seen


def test_hooks_see_names_and_operators_in_order():
    def f(x):
        a = b = x + 1
        a -= b
        c: int = 5
        (d, [e, *g]), h = (1, [2, 3]), c
        for i, j in [(1, 2)]:
            k = i
        return (z := 9)

    assert seen(f, 1) == [
        ("assign", "a", 2),
        ("inplace", "-", 2, 2),
        ("assign", "a", 0),
        ("assign", "c", 5),
        ("assign", "d", 1),
        ("assign", "e", 2),
        ("assign", "g", [3]),
        ("assign", "h", 5),
        ("assign", "i", 1),
        ("assign", "j", 2),
        ("assign", "k", 1),
        ("assign", "z", 9),
    ]


def test_hooks_see_calls_and_subscripts_in_order():
    def f(x, out):
        out[0] = divmod(x[1], 2)
        out[1] += 7
        out[2], a = x[-1:], out[1:2][0]
        out[0] += tuple(x)
        return dict(fn=len(x))

    assert seen(f, [4, 5, 6], [0, 1, 2]) == [
        ("getitem", [4, 5, 6], 1),
        ("call", "divmod", (5, 2), {}),
        ("setitem", 0, (2, 1)),
        ("aug_setitem", 1, "+", 7),
        ("getitem", [4, 5, 6], slice(-1, None)),
        ("getitem", [(2, 1, 4, 5, 6), 8, [6]], slice(1, 2)),
        ("getitem", [8], 0),
        ("setitem", 2, [6]),
        ("assign", "a", 8),
        ("getitem", [(2, 1, 4, 5, 6), 8, [6]], 0),
        ("call", "tuple", ([4, 5, 6],), {}),
        ("inplace", "+", (2, 1), (4, 5, 6)),
        ("setitem", 0, (2, 1, 4, 5, 6)),
        ("call", "len", ([4, 5, 6],), {}),
        ("call", "dict", (), {"fn": 3}),
    ]


def test_nested_scopes_are_hooked():
    def f(xs):
        def g(y):
            return y[0]

        class C:
            def m(self):
                return len(xs)

        return g(xs), (lambda: xs[1])(), [x[0] for x in [xs]], C().m()

    names = [e[:2] for e in seen(f, [1, 2])]
    assert names == [
        ("call", "g"),
        ("getitem", [1, 2]),
        ("call", "<lambda>"),
        ("getitem", [1, 2]),
        ("getitem", [1, 2]),
        ("call", "C"),
        ("call", "m"),
        ("call", "len"),
    ]


def test_no_temporaries_are_left_behind():
    def f(x, xs):
        xs[0], (a, xs[1]) = x, (1, x)
        xs[x] = abs(x)
        xs[x] += abs(x)
        return sorted(locals())

    hook, *names = rewrite(f, PlainHooks())(1, [1, 2])
    assert names == ["a", "x", "xs"]
    assert hook.startswith("__gg")  # __gg__ itself stands in this file


def test_a_rewritten_function_and_its_inner_ones_are_returned_as_they_are():
    def f(x):
        def g():
            return x[0]

        def nothing_to_do():
            return x

        return g, nothing_to_do

    copy = rewrite(f, PlainHooks())
    assert rewrite(copy, PlainHooks()) is copy
    for inner in copy([1]):
        assert rewrite(inner, PlainHooks()) is inner


def nothing_to_rewrite(x):
    return x + 1


def test_a_function_without_anything_to_rewrite_is_returned_as_it_is():
    assert rewrite(nothing_to_rewrite, PlainHooks()) is nothing_to_rewrite


# --- positions ----------------------------------------------------------------------------------


def fails_in_a_chain(x):
    y = (
        x.strip()
        .upper()
        .index(
            "absent",
        )
    )
    return y


def fails_in_a_subscript(x):
    return [
        len(x),
        x[
            100
        ],
    ]  # fmt: skip


def fails_in_a_store(x):
    x = (1, 2)
    x[
        0
    ] = len(
        x
    )  # fmt: skip


def fails_unpacking(x):
    a, b = (
        c,
        d,
    ) = x
    return a


def fails_in_a_call(x):
    return len(x)(
        1,
        2,
    )


def fails_adding(x):
    x += (
        1
    )  # fmt: skip


def fails_inside(x):
    def inner():
        return [
            y[0]
            for y in [1]
        ]  # fmt: skip

    return inner()


@pytest.mark.parametrize(
    "f",
    [
        fails_in_a_chain,
        fails_in_a_subscript,
        fails_in_a_store,
        fails_unpacking,
        fails_in_a_call,
        fails_adding,
        fails_inside,
    ],
)
def test_tracebacks_show_the_lines_of_the_user(f):
    def lines(g):
        with pytest.raises(Exception) as info:
            g("abc")
        frames = traceback.extract_tb(info.value.__traceback__)
        return [(s.name, s.lineno) for s in frames if s.name.startswith(("fails", "inner"))]

    assert lines(rewrite(f, PlainHooks(enter=False))) == lines(f)


def test_columns_are_the_expression_of_the_user():
    def f(x):
        return 1 + x[3] + 2

    try:
        rewrite(f, PlainHooks())([])
    except IndexError as e:
        frame = traceback.extract_tb(e.__traceback__)[1]
    assert frame.line[frame.colno - 8 : frame.end_colno - 8] == "x[3]"


# --- refusals -----------------------------------------------------------------------------------


async def coroutine(x):
    return x[0]


async def async_generator(x):
    yield x[0]


def test_what_has_no_source_is_refused():
    space = {}
    exec("def f(x):\n    return x[0]\ng = lambda x: x[0]", space)
    for f in (space["f"], space["g"], len, [].append, Box, Box(1).secret, functools.partial(len)):
        assert rewrite(f, PlainHooks()) is None
    assert rewrite(coroutine, PlainHooks()) is None
    assert rewrite(async_generator, PlainHooks()) is None


def module_from(path, text):
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOURCE = textwrap.dedent(
    """
    def same(x):
        return x[0]

    def edited(x):
        return x[0] + 1

    def moved(x):
        return x[0]
    """
)


@pytest.mark.parametrize(
    "new",
    [
        "def edited(x):\n    return x[0] + 2",
        "def edited(x):\n    return x[0] + 1.0",
        "def edited(x):\n    return x[0] - 1",
        "def edited(x):\n    return  x[0] + 1",
        "def edited(x):\n    return y[0] + 1",
        "def edited(y):\n    return y[0] + 1",
        "def edited(x, *, y=1):\n    return x[0] + 1",
        "def edited(x):\n    yield x[0] + 1",
        "\ndef edited(x):\n    return x[0] + 1",
        "def other(x):\n    return x[0] + 1",
        "pass",
    ],
)
def test_edited_functions_are_refused_and_their_neighbours_are_not(tmp_path, new):
    module = module_from(tmp_path / "edited.py", SOURCE)
    old = "def edited(x):\n    return x[0] + 1"
    (tmp_path / "edited.py").write_text(SOURCE.replace(old, new))
    assert rewrite(module.edited, PlainHooks()) is None
    assert rewrite(module.same, PlainHooks())([7]) == 7
    assert (rewrite(module.moved, PlainHooks()) is None) == (new.count("\n") != 1)


def test_a_file_that_no_longer_parses_or_exists_is_refused(tmp_path):
    module = module_from(tmp_path / "broken.py", SOURCE)
    (tmp_path / "broken.py").write_text("def (")
    assert rewrite(module.same, PlainHooks()) is None
    (tmp_path / "broken.py").unlink()
    assert rewrite(module.edited, PlainHooks()) is None


def test_source_that_only_linecache_knows_is_found():
    text = "def f(x):\n    return x[0]\n"
    rewriting.linecache.cache["<cell 1>"] = (len(text), None, text.splitlines(True), "<cell 1>")
    space = {}
    exec(compile(text, "<cell 1>", "exec"), space)
    hooks = PlainHooks()
    assert rewrite(space["f"], hooks)([3]) == 3
    assert hooks.seen == [("getitem", [3], 0)]


def test_names_of_ours_in_the_file_of_the_user(tmp_path):
    text = "__gg__ = 3\ndef f(x):\n    __gg_1__ = x[0]\n    x[1] = abs(1)\n"
    text += "    return __gg_1__ + __gg__"
    module = module_from(tmp_path / "ours.py", text)
    assert rewrite(module.f, PlainHooks())([1, 2]) == 4


def test_future_flags_and_warnings(tmp_path):
    text = "from __future__ import annotations\ndef f(x):\n    def g(y: no[0]): return 1 is 1\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = module_from(tmp_path / "future.py", text + "    return g(x), g.__annotations__")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy = rewrite(module.f, PlainHooks())
    assert copy(1) == (True, {"y": "no[0]"})


def test_a_very_deep_expression_does_not_crash(tmp_path):
    module = module_from(tmp_path / "deep.py", f"def f(x):\n    return {' + '.join(['x'] * 900)}")
    copy = rewrite(module.f, PlainHooks())
    assert copy is None or copy(1) == 900
    text = f"def f(x):\n    return {' + '.join(['x'] * 3000)}"
    (tmp_path / "deep.py").write_text(text)
    f = types.FunctionType(module.f.__code__.replace(co_consts=(None, 1)), {})
    assert rewrite(f, PlainHooks()) is None


# --- real code, and cost ------------------------------------------------------------------------


@pytest.mark.parametrize("module", [ast, heapq, json.decoder, statistics, textwrap, dataclasses])
def test_no_function_of_real_modules_is_refused(module):
    spaces = [vars(module), *(vars(c) for c in vars(module).values() if inspect.isclass(c))]
    functions = [f for s in spaces for f in s.values() if inspect.isfunction(f)]
    own = [f for f in functions if f.__code__.co_filename == module.__file__]
    assert own
    assert [f for f in own if rewrite(f, PlainHooks()) is None] == []


def test_a_second_rewrite_does_not_parse_and_files_are_parsed_once(tmp_path, monkeypatch):
    module = module_from(tmp_path / "once.py", SOURCE)
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text: parsed.append(text) or parse(text))
    rewrite(module.same, PlainHooks())
    rewrite(module.moved, PlainHooks())
    assert parsed.count(SOURCE) == 1
    parsed.clear()
    copies = [rewrite(module.same, PlainHooks()) for _ in range(3)]
    assert parsed == []
    assert len({c.__code__ for c in copies}) == 1


def test_hooks_belong_to_the_copy():
    one, two = PlainHooks(), PlainHooks()
    a, b = rewrite(slices, one), rewrite(slices, two)
    a("abc")
    assert one.seen and not two.seen
    b("abc")
    assert one.seen == two.seen


def test_nothing_is_kept_of_functions_that_are_gone(tmp_path):
    gc.collect()
    module = module_from(tmp_path / "gone.py", SOURCE)
    copy = rewrite(module.same, PlainHooks())
    before, code = len(rewriting._recipes), weakref.ref(module.same.__code__)
    del module, copy
    gc.collect()
    assert code() is None
    assert len(rewriting._recipes) == before - 2  # its code and that of the copy


def test_a_known_function_costs_microseconds():
    hooks = PlainHooks()
    best = min(timeit.repeat(lambda: rewrite(slices, hooks), number=1000, repeat=5)) / 1000
    assert best < 20e-6, f"{best * 1e6:.2f} us on {sys.version}"  # about 1; machines are busy
