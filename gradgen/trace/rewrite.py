"""A light AST-rewritten copy of a user's function, in which some operations go through hooks.

    copy = rewrite(f, hooks)        # a function, or None: then run `f` itself

`copy` does what `f` does, with the same globals, closure cells (the same cells, not copies of
them), defaults, name, doc, file, line and column positions. `hooks` sits in one more closure cell,
`__gg__` (another name where the user's file has that one). Each hook, on plain Python values,
does what plain Python does:

    name = v, name: T = v, (name := v)  name = __gg__.assign("name", v)
    a = b = v                           a = b = __gg__.assign("a", v)
    a, (b, *c) = v                      the same, then a = __gg__.assign("a", a), b, c alike
    for a, b in v:                      the same, the body begins with a = __gg__.assign("a", a)
    name = f(a), for a name that is stored into:  name = __gg__.assign("name", __gg__.make(f, a))
    name = a + b, likewise              name = __gg__.assign("name", __gg__.made(a + b))
    name += v                           name = __gg__.assign("name", __gg__.inplace("+", name, v))
    x[i]                                __gg__.getitem(x, i)
    x[a:b, j]                           __gg__.getitem(x, (__gg__.make_slice(a, b, None), j))
    x[i] = v                            __gg__.setitem(x, i, v)      (v is evaluated first)
    x[i] += v                           __gg__.aug_setitem(x, i, "+", v)
    x[i] += f()                         __gg__.setitem(x, i, __gg__.inplace(
                                            "+", __gg__.getitem(x, i), __gg__.call(f)))
    f(a, *b, k=c, **d)                  __gg__.call(f, a, *b, k=c, **d)
    [a for b in c], (a for b in c)      __gg__.comprehension(c, lambda items: [a for b in items])
    {a, b}, {k: v}, {a for ...}         {__gg__.key(a), __gg__.key(b)}, {__gg__.key(k): v}, likewise
    f"a {b}", "%s" % b                  __gg__.joined("a ", f"{b}"), __gg__.percent("%s", b)
    a is b                              __gg__.is_(a, b)      (unless one is None)
    except Exception: body              except Exception: __gg__.caught(); body
    a if t else b                       __gg__.if_exp(t, lambda: a, lambda: b)
    a and b, a or b, not a              __gg__.and_(a, lambda: b), or_, not_;  a < b < c likewise
    assert t, words                     assert __gg__.asserted(t), words
    if, while, for                      closures and a hook: see `flow`

The second form of `x[i] += v` is taken where `v` has a call, await, yield or walrus in it: Python
reads `x[i]` before it evaluates `v`, which matters in `total[0] += walk()` if `walk` changes it.
Nested functions, lambdas, comprehensions and methods of nested classes are rewritten with their
parent. Attributes and `with`, `except`, `match` and comprehension targets are left alone: a construct to
be captured gets its own `visit_` method in `_Rewriter`.

`rewrite` returns `f` itself when `f` was made here or has nothing to rewrite, and None when the
source is missing (exec, REPL, a builtin) or does not compile to the bytecode that runs (an edited
file, pytest's rewritten asserts). What is compiled for that comparison is the unmodified function
in the same wrapper, so that a fault of the wrapper is found as well. (One file, though long: it
needs nothing of gradgen, and its two halves, finding the source and hooking it, are marked.)

Not supported:
    - async functions: None; nested ones are left as they are;
    - statements in the body of a nested class, decorators, bases and annotations of classes;
      attributes in `obj.attr op= v` (its parts are rewritten);
    - code that looks at its caller's frame: `super`, `locals` and the like are called directly, but
      `sys._getframe(1)` or `warnings.warn(stacklevel=2)` meets the hook, `locals()` shows `__gg__`;
    - expressions too deep for Python's recursion limit: None, for their whole file.
"""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import linecache
import pickle
import sys
import types
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gradgen.trace.flow import FRAME, Flow
from gradgen.trace.stored import stored_into

FunctionNode = ast.FunctionDef | ast.Lambda


class _Recipe(NamedTuple):
    """How to make the copy: its code and, per free variable, the user's cell (-1: the hooks')."""

    code: types.CodeType | None
    cells: tuple[int, ...] = ()


_REFUSED = _Recipe(None)
_AS_IS = _Recipe(None)

# By identity: two equal code objects may come from two files, and hashing one reads all of it.
# The weak reference removes the entry before the identity can be used again.
_recipes: dict[int, tuple[weakref.ref[types.CodeType], _Recipe]] = {}


def rewrite(f: types.FunctionType, hooks: object) -> types.FunctionType | None:
    """The copy of `f` whose operations go through `hooks`, or None; see the module's docstring.

    About a microsecond for a code object seen before, milliseconds for a new one.
    """
    if type(f) is not types.FunctionType:
        return None
    known = _recipes.get(id(f.__code__))
    recipe = _learn(f) if known is None else known[1]
    if recipe.code is None:
        return f if recipe is _AS_IS else None
    cells, hook_cell = f.__closure__ or (), types.CellType(hooks)
    closure = tuple([hook_cell if i < 0 else cells[i] for i in recipe.cells])
    copy = types.FunctionType(recipe.code, f.__globals__, f.__name__, f.__defaults__, closure)
    copy.__kwdefaults__ = f.__kwdefaults__
    copy.__qualname__ = f.__qualname__
    copy.__module__ = f.__module__
    copy.__doc__ = f.__doc__
    if f.__dict__:
        copy.__dict__.update(f.__dict__)
    if sys.version_info >= (3, 12):
        copy.__type_params__ = f.__type_params__
    if sys.version_info >= (3, 14) and f.__annotate__ is not None:
        # Reading __annotations__ would evaluate them, and raise on names not defined yet.
        copy.__annotate__ = f.__annotate__
    else:
        copy.__annotations__ = f.__annotations__
    return copy


def _learn(f: types.FunctionType) -> _Recipe:
    """Work out and remember the recipe of a code object not seen before."""
    code = f.__code__
    try:
        recipe = _recipe(code, f.__globals__)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        recipe = _REFUSED
    _remember(code, recipe)
    nested = [recipe.code] if recipe.code is not None else []
    while nested:
        made = nested.pop()
        _remember(made, _AS_IS)
        nested.extend(c for c in made.co_consts if isinstance(c, types.CodeType))
    return recipe


def _remember(code: types.CodeType, recipe: _Recipe) -> None:
    # The dead reference that the callback gets serves as the default of `pop`.
    forget = functools.partial(_recipes.pop, id(code))
    _recipes[id(code)] = (weakref.ref(code, forget), recipe)


def _recipe(code: types.CodeType, module_globals: dict[str, Any]) -> _Recipe:
    if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        return _REFUSED
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename, module_globals))
    with warnings.catch_warnings():  # the user saw the compiler's warnings at import
        warnings.simplefilter("ignore")
        source = _source(text)
        for node, class_name in source.functions.get((code.co_name, code.co_firstlineno), ()):
            wrapped = _Wrapped(node, class_name, code, source)
            if _same_code(wrapped.compile(), code):
                break
        else:
            return _REFUSED
        hook = wrapped.rewrite()
        made = wrapped.compile()
    if hook not in made.co_freevars:
        return _AS_IS
    cells = [-1 if v == hook else code.co_freevars.index(v) for v in made.co_freevars]
    return _Recipe(made, tuple(cells))


# --- finding the source -------------------------------------------------------------------------


class _Source(NamedTuple):
    text: str
    # Each function with the name of the class around it, by its code's name and first line.
    functions: dict[tuple[str, int], list[tuple[FunctionNode, str | None]]]
    imports: list[str]  # names that the module itself imports


@functools.lru_cache(maxsize=16)
def _source(text: str) -> _Source:
    source = _Source(text, {}, [])
    tree = ast.parse(text)
    todo: list[tuple[ast.AST, str | None, bool]] = [(tree, None, True)]
    while todo:
        node, class_name, in_module = todo.pop()
        if isinstance(node, ast.FunctionDef):
            first = node.decorator_list[0] if node.decorator_list else node
            key = node.name, first.lineno
            source.functions.setdefault(key, []).append((node, class_name))
        elif isinstance(node, ast.Lambda):
            source.functions.setdefault(("<lambda>", node.lineno), []).append((node, class_name))
        elif isinstance(node, ast.Import | ast.ImportFrom) and in_module:
            names = [a.asname or a.name.partition(".")[0] for a in node.names]
            source.imports.extend(n for n in names if n != "*")
        in_module = in_module and not isinstance(node, _SCOPES)
        for child in ast.iter_child_nodes(node):
            if isinstance(node, ast.ClassDef) and isinstance(child, ast.stmt):
                todo.append((child, node.name, in_module))
            else:
                todo.append((child, class_name, in_module))
    return source


_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


class _Wrapped:
    """A copy of one function of the user's inside what gives it the scopes that it had.

        import ...                          # CPython compiles `imported.f()` in another way
        def outer(hook, *free variables):
            global f                        # unless it is free: this `def f` must not catch it
            class C:                        # where the user has one, for __x and __class__
                def f(...): ...

    Nothing of this is run: the code object of `f` is taken out of the constants of its parent.
    """

    def __init__(
        self, node: FunctionNode, class_name: str | None, code: types.CodeType, source: _Source
    ) -> None:
        self.code = code
        self.stem = "__gg"
        while f"{self.stem}_" in source.text:  # the hook is stem + "__", temporaries stem + "_1__"
            self.stem += "x"
        lines = [f"import {name}" for name in source.imports]
        params = ", ".join([f"{self.stem}__", *code.co_freevars])
        lines.append(f"def {self.stem}_outer__({params}):")
        if class_name is not None:
            # The class must not hide a name of the user's; mangling drops leading underscores.
            while class_name in source.text:
                class_name = f"_{class_name}"
            lines.append(f" class {class_name}:")
        elif isinstance(node, ast.FunctionDef) and node.name not in code.co_freevars:
            lines.append(f" global {node.name}")
        self.depth = 2 if class_name is None else 3
        self.tree = ast.parse("\n".join([*lines, " " * (self.depth - 1) + "pass"]))
        parent: Any = self.tree.body[-1]
        if class_name is not None:
            parent = parent.body[-1]
        # Four times as fast as deepcopy, and the file's own tree serves other functions too.
        self.node: FunctionNode = pickle.loads(pickle.dumps(node, pickle.HIGHEST_PROTOCOL))
        statement = ast.Expr(self.node) if isinstance(self.node, ast.expr) else self.node
        parent.body[-1] = statement
        self._strip_header()
        ast.fix_missing_locations(self.tree)

    def _strip_header(self) -> None:
        """Drop what runs outside the function: it would add names to the scope of the wrapper."""
        args = self.node.args
        args.defaults = []
        args.kw_defaults = [None for _ in args.kwonlyargs]
        if isinstance(self.node, ast.FunctionDef):
            # A decorator's line is the first line of the code, so each leaves a constant behind.
            none = [ast.copy_location(ast.Constant(None), d) for d in self.node.decorator_list]
            self.node.decorator_list = list(none)
            self.node.returns = None
            for arg in (*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg):
                if arg is not None:
                    arg.annotation = None
            if sys.version_info >= (3, 12):
                self.node.type_params = []

    def rewrite(self) -> str:
        """Put the hooks in; returns the name of the hooks' variable."""
        _Rewriter(self.stem, stored_into(self.node, self.code.co_freevars)).visit(self.node)
        ast.fix_missing_locations(self.tree)
        return f"{self.stem}__"

    def compile(self) -> types.CodeType:
        flags = self.code.co_flags & _FUTURE_FLAGS
        made = compile(self.tree, self.code.co_filename, "exec", flags=flags, dont_inherit=True)
        for _ in range(self.depth):
            made = next(c for c in made.co_consts if isinstance(c, types.CodeType))
        return _requalified(made, made.co_qualname, self.code.co_qualname)


_FUTURE_FLAGS = functools.reduce(
    int.__or__, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)


def _requalified(code: types.CodeType, old: str, new: str) -> types.CodeType:
    """`code` with the wrapper taken out of its qualified names, the nested ones included."""

    def fix(const: Any) -> Any:
        if isinstance(const, types.CodeType):
            return _requalified(const, old, new)
        if isinstance(const, str) and const.startswith(f"{old}.<locals>."):  # a class's own name
            return new + const[len(old) :]
        return const

    qualname = code.co_qualname
    if qualname == old or qualname.startswith(f"{old}."):
        qualname = new + qualname[len(old) :]
    return code.replace(co_qualname=qualname, co_consts=tuple(map(fix, code.co_consts)))


_COMPARED = (
    *("co_name", "co_firstlineno", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount"),
    *("co_code", "co_names", "co_varnames", "co_cellvars", "co_freevars", "co_exceptiontable"),
)
_CO_METHOD = 0x8000000  # Python 3.14: defined directly in a class
_PLACE_FLAGS = inspect.CO_NESTED | _CO_METHOD  # say where the function stands, which we change


def _same_code(a: types.CodeType, b: types.CodeType) -> bool:
    return (
        all(getattr(a, name) == getattr(b, name) for name in _COMPARED)
        and not (a.co_flags ^ b.co_flags) & ~_PLACE_FLAGS
        and _same_const(a.co_consts, b.co_consts)
        # Columns tell two lambdas of one line apart; they are absent with -X no_debug_ranges.
        and all(
            p == q or (p[0] == q[0] and (p[2] is None or q[2] is None))
            for p, q in zip(a.co_positions(), b.co_positions(), strict=True)
        )
    )


def _same_const(a: Any, b: Any) -> bool:
    if type(a) is not type(b):  # 1 == True == 1.0
        return False
    if isinstance(a, types.CodeType):
        return _same_code(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same_const, a, b))
    if isinstance(a, frozenset):
        return sorted(map(repr, a)) == sorted(map(repr, b))
    return repr(a) == repr(b)  # 0.0 == -0.0, nan != nan


# --- putting the hooks in -----------------------------------------------------------------------

# These look at the frame of their caller (`super` at its cell `__class__` too).
_CALLED_DIRECTLY = frozenset(
    ("super", "locals", "globals", "vars", "eval", "exec", "dir", "breakpoint", "__import__")
)
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.MatMult: "@",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
# What an `except` names that takes errors of every kind.
_ALL_ERRORS = frozenset(("Exception", "BaseException"))
_RUNS_CODE = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)


class _Rewriter(ast.NodeTransformer):
    """Works on a tree in place; one method per construct, in the order of the module's list."""

    def __init__(self, stem: str, written: frozenset[str]) -> None:
        self.stem = stem
        self.written = written  # see `stored_into`
        self.temporaries = 0

    # - statements that give names

    def visit_Assign(self, node: ast.Assign) -> list[ast.stmt]:
        value = self._made(node.targets, self.visit(node.value))
        names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        names = [n for n in names if not n.startswith(f"{self.stem}_")]
        if names:
            value = self._hook("assign", node.value, ast.Constant(names[0]), value)
        if not any(isinstance(leaf, ast.Subscript) for t in node.targets for leaf in _leaves(t)):
            node.value = value
            node.targets = [self.visit(t) for t in node.targets]
            return [node, *self._renames(t for t in node.targets if not isinstance(t, ast.Name))]
        if isinstance(value, ast.Constant) and len(node.targets) == 1:
            return self._store(node.targets[0], value)
        temp = self._temporary()
        out = [_assign(temp, value, node)]
        for target in node.targets:
            if isinstance(target, ast.Name):
                out.append(_assign(target, _load(temp), node))
            else:
                out += self._store(target, _load(temp))
        return [*out, _delete([temp], node)]

    def _made(self, targets: Sequence[ast.expr], value: ast.expr) -> ast.expr:
        """A rewritten value for a name that is stored into: a new array takes traced numbers."""
        target = targets[0]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            if len(target.elts) == len(value.elts) and not any(
                isinstance(e, ast.Starred) for e in (*target.elts, *value.elts)
            ):
                pairs = zip(target.elts, value.elts, strict=True)
                value.elts = [self._made([t], v) for t, v in pairs]
            return value
        if not any(isinstance(t, ast.Name) and t.id in self.written for t in targets):
            return value
        if isinstance(value, ast.BinOp | ast.UnaryOp):
            return self._hook("made", value, value)
        if (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Attribute)
            and self._is_hook(value.func)
        ):
            value.func.attr = "make" if value.func.attr == "call" else value.func.attr
        return value

    def _is_hook(self, node: ast.Attribute) -> bool:
        return isinstance(node.value, ast.Name) and node.value.id == f"{self.stem}__"

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.target = self.visit(node.target)
        if node.value is not None:
            value = self.visit(node.value)
            if isinstance(node.target, ast.Name):
                value = self._hook("assign", node.value, ast.Constant(node.target.id), value)
            node.value = value
        return node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.NamedExpr:
        value = self.visit(node.value)
        node.value = self._hook("assign", node.value, ast.Constant(node.target.id), value)
        return node

    def visit_For(self, node: ast.For) -> ast.For:
        self.generic_visit(node)
        node.body = [*self._renames([node.target]), *node.body]
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt | list[ast.stmt]:
        op, target = ast.Constant(_OPERATORS[type(node.op)]), node.target
        runs_code = any(isinstance(n, _RUNS_CODE) for n in ast.walk(node.value))
        value = self.visit(node.value)
        if isinstance(target, ast.Name):
            new = self._hook("inplace", node, op, _load(target), value)
            return _assign(target, self._hook("assign", node, ast.Constant(target.id), new), node)
        if isinstance(target, ast.Attribute):
            temp, name = self._temporary(), target.attr
            held = ast.Attribute(ast.NamedExpr(temp, self.visit(target.value)), name, ast.Load())
            new = self._hook("inplace", node, op, held, value)
            stored = ast.Attribute(_load(temp), name, ast.Store())
            return [_assign(stored, new, node), _delete([temp], node)]
        x, i = self.visit(target.value), self._index(target.slice)
        if not runs_code:
            return _expr(self._hook("aug_setitem", node, x, i, op, value), node)
        x_temp, i_temp = self._temporary(), self._temporary()
        old = self._hook("getitem", target, _load(x_temp), _load(i_temp))
        new = self._hook("inplace", node, op, old, value)
        x, i = ast.NamedExpr(x_temp, x), ast.NamedExpr(i_temp, i)
        return [
            _expr(self._hook("setitem", node, x, i, new), node),
            _delete([x_temp, i_temp], node),
        ]

    # - expressions

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if not isinstance(node.ctx, ast.Load):  # `del x[i]`, and the stores that stay plain
            self.generic_visit(node)
            return node
        return self._hook("getitem", node, self.visit(node.value), self._index(node.slice))

    def visit_Call(self, node: ast.Call) -> ast.Call:
        callee = node.func
        if hasattr(node, "ours"):
            node.args = [self.visit(a) for a in node.args]
            return node
        self.generic_visit(node)
        if isinstance(callee, ast.Name) and callee.id in _CALLED_DIRECTLY:
            return node
        call = self._hook("call", node, node.func, *node.args)
        call.keywords = node.keywords
        if isinstance(callee, ast.Attribute):
            # Python reports a.b(c) spread over lines at the line of `b`, and so must the hook.
            line, column = callee.end_lineno or callee.lineno, callee.end_col_offset or 0
            call.func.lineno = call.func.end_lineno = line
            call.func.col_offset = call.func.end_col_offset = column
        return call

    # - truth: what chooses goes through hooks, with what may not be evaluated in lambdas

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        if _binds(node):
            self.generic_visit(node)
            return node
        test, a, b = self.visit(node.test), self.visit(node.body), self.visit(node.orelse)
        return self._hook("if_exp", node, test, _thunk(a, node.body), _thunk(b, node.orelse))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        if _binds(node):
            self.generic_visit(node)
            return node
        name = "and_" if isinstance(node.op, ast.And) else "or_"
        first, *rest = node.values
        thunks = [_thunk(self.visit(v), v) for v in rest]
        return self._hook(name, node, self.visit(first), *thunks)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return self._hook("not_", node, node.operand) if isinstance(node.op, ast.Not) else node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """a < b < c is (lambda l, m: __gg__.and_(l < m, lambda: m < c))(a, b)."""
        if len(node.ops) == 1 or _binds(node):
            self.generic_visit(node)
            op, sides = node.ops[0], (node.left, node.comparators[0])
            if len(node.ops) > 1 or not isinstance(op, ast.In | ast.NotIn | ast.Is | ast.IsNot):
                return node
            name = "contains" if isinstance(op, ast.In | ast.NotIn) else "is_"
            if name == "is_" and any(_is_none(side) for side in sides):
                return node
            found = self._hook(name, node, *sides)
            return found if isinstance(op, ast.In | ast.Is) else self._hook("not_", node, found)
        left, middle = self._temporary().id, self._temporary().id
        load = lambda name, at: ast.copy_location(ast.Name(name, ast.Load()), at)
        first, second = node.left, node.comparators[0]
        rest = ast.Compare(load(middle, second), node.ops[1:], node.comparators[1:])
        rest = self.visit(ast.copy_location(rest, node))
        pair = ast.Compare(load(left, first), node.ops[:1], [load(middle, second)])
        both = self._hook("and_", node, ast.copy_location(pair, node), _thunk(rest, node))
        args = ast.arguments([], [ast.arg(left), ast.arg(middle)], None, [], [], None, [])
        both_of = ast.copy_location(ast.Lambda(args, both), node)
        call = ast.Call(both_of, [self.visit(first), self.visit(second)], [])
        return ast.copy_location(call, node)

    # - what looks at more of a value than its number: keys, texts, errors

    def visit_Set(self, node: ast.Set) -> ast.Set:
        self.generic_visit(node)
        node.elts = [self._key(e) for e in node.elts]
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.Dict:
        self.generic_visit(node)
        node.keys = [None if k is None else self._key(k) for k in node.keys]
        return node

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> ast.expr:
        self.generic_visit(node)
        words = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if _binds(node) or any(g.is_async for g in node.generators) or words & FRAME:
            return node
        first = node.generators[0]
        name = self._temporary().id
        point = ast.copy_location(ast.Name(name, ast.Load()), first.iter)
        items, first.iter = first.iter, point
        whole = ast.Lambda(ast.arguments([], [ast.arg(name)], None, [], [], None, []), node)
        whole = ast.copy_location(whole, node)
        ast.copy_location(whole.args.args[0], node)
        return self._hook("comprehension", node, items, whole)

    visit_ListComp = visit_GeneratorExp = _comprehension

    def visit_SetComp(self, node: ast.SetComp) -> ast.SetComp:
        self.generic_visit(node)
        node.elt = self._key(node.elt)
        return node

    def visit_DictComp(self, node: ast.DictComp) -> ast.DictComp:
        self.generic_visit(node)
        node.key = self._key(node.key)
        return node

    def _key(self, node: ast.expr) -> ast.expr:
        plain = isinstance(node, ast.Constant | ast.Starred)
        return node if plain else self._hook("key", node, node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        self.generic_visit(node)
        if len(node.values) < 2:
            return node
        parts = [
            part
            if isinstance(part, ast.Constant)
            else ast.copy_location(ast.JoinedStr([part]), node)
            for part in node.values
        ]
        return self._hook("joined", node, *parts)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.FormattedValue:
        node.value = self.visit(node.value)  # not the text of the format, which has to stay one
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        of_text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
        self.generic_visit(node)
        if of_text and isinstance(node.op, ast.Mod):
            return self._hook("percent", node, node.left, node.right)
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.ExceptHandler:
        self.generic_visit(node)
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if any(k is None or (isinstance(k, ast.Name) and k.id in _ALL_ERRORS) for k in kinds):
            node.body = [_expr(self._hook("caught", node.body[0]), node.body[0]), *node.body]
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        self.generic_visit(node)
        node.test = self._hook("asserted", node.test, node.test)
        return node

    def visit_Match(self, node: ast.Match) -> ast.Match:
        """Patterns that look at what a number is, not at its value, would pass a traced one over without a word."""
        self.generic_visit(node)
        tests = (n for case in node.cases for n in ast.walk(case.pattern))
        if any(
            isinstance(n, ast.MatchClass)
            or (isinstance(n, ast.MatchSingleton) and n.value is not None)
            for n in tests
        ):
            node.subject = self._hook("matched", node.subject, node.subject)
        return node

    # - scopes: annotations are never rewritten

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if hasattr(node, "raw"):
            return node
        if not hasattr(node, "flows"):
            Flow(self.stem).function(node)
        args = node.args
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        args.defaults = [self.visit(d) for d in args.defaults]
        args.kw_defaults = [None if d is None else self.visit(d) for d in args.kw_defaults]
        visited = [self.visit(statement) for statement in node.body]
        node.body = [s for v in visited for s in (v if isinstance(v, list) else [v])]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        node.body = [_Methods(self).visit(statement) for statement in node.body]
        return node

    def _untouched(self, node: ast.AST) -> ast.AST:
        return node

    visit_AsyncFunctionDef = visit_TypeAlias = _untouched

    # - parts

    def _hook(self, name: str, at: ast.expr | ast.stmt, /, *args: ast.expr) -> ast.Call:
        """`__gg__.name(*args)` at the position of `at`."""
        # The attribute is a point: one that ended on a later line would move the call there.
        point = {"lineno": at.lineno, "col_offset": at.col_offset}
        point |= {"end_lineno": at.lineno, "end_col_offset": at.col_offset}
        hooks = ast.Name(f"{self.stem}__", ast.Load(), **point)
        func = ast.Attribute(hooks, name, ast.Load(), **point)
        return ast.copy_location(ast.Call(func, list(args), []), at)

    def _index(self, node: ast.expr) -> ast.expr:
        """What stands between brackets, as an expression: slices become `make_slice` calls."""
        if isinstance(node, ast.Slice):
            parts = (node.lower, node.upper, node.step)
            bounds = [ast.Constant(None) if p is None else self.visit(p) for p in parts]
            return self._hook("make_slice", node, *bounds)
        if isinstance(node, ast.Tuple):
            node.elts = [self._index(e) for e in node.elts]
            return node
        index: ast.expr = self.visit(node)
        return index

    def _renames(self, targets: Iterator[ast.expr] | Sequence[ast.expr]) -> list[ast.stmt]:
        """`a = __gg__.assign("a", a)` for each plain name in targets that have been stored to."""
        leaves = [leaf for t in targets for leaf in _leaves(t) if isinstance(leaf, ast.Name)]
        return [
            _assign(leaf, self._hook("assign", leaf, ast.Constant(leaf.id), _load(leaf)), leaf)
            for leaf in {leaf.id: leaf for leaf in leaves}.values()
        ]

    def _store(self, target: ast.expr, value: ast.expr) -> list[ast.stmt]:
        """Store a value without effects to a target, parts from left to right as Python does."""
        if isinstance(target, ast.Name):
            hooked = self._hook("assign", target, ast.Constant(target.id), value)
            return [_assign(target, hooked, target)]
        if isinstance(target, ast.Subscript):
            x, i = self.visit(target.value), self._index(target.slice)
            return [_expr(self._hook("setitem", target, x, i, value), target)]
        if not isinstance(target, ast.Tuple | ast.List):
            return [_assign(self.visit(target), value, target)]
        # All parts go to temporaries first: in `a[b], b = v` the store to `a` sees the old b.
        parts = [e.value if isinstance(e, ast.Starred) else e for e in target.elts]
        temps = [self._temporary() for _ in parts]
        target.elts = [
            ast.Starred(t, ast.Store()) if isinstance(e, ast.Starred) else t
            for t, e in zip(temps, target.elts, strict=True)
        ]
        out: list[ast.stmt] = [_assign(target, value, target)]
        for part, temp in zip(parts, temps, strict=True):
            out += self._store(part, _load(temp))
        # Deleted, since a value kept alive could be a large array or an open generator.
        return [*out, _delete(temps, target)] if temps else out

    def _temporary(self) -> ast.Name:
        self.temporaries += 1
        return ast.Name(f"{self.stem}_{self.temporaries}__", ast.Store())


class _Methods(ast.NodeTransformer):
    """Visits a class body; its functions go to the rewriter, the rest is left alone."""

    def __init__(self, rewriter: _Rewriter) -> None:
        self.rewriter = rewriter

    def visit(self, node: ast.AST) -> Any:
        return (self.rewriter.visit if isinstance(node, _SCOPES) else self.generic_visit)(node)


def _leaves(target: ast.expr) -> Iterator[ast.expr]:
    """The names, attributes and subscripts that a target stores to, from left to right."""
    if isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from _leaves(element)
    elif isinstance(target, ast.Starred):
        yield from _leaves(target.value)
    else:
        yield target


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _binds(node: ast.expr) -> bool:
    """Whether an expression binds names or waits: then it cannot stand in a lambda."""
    return any(isinstance(n, (ast.NamedExpr, *_WAITS)) for n in ast.walk(node))


_WAITS = (ast.Await, ast.Yield, ast.YieldFrom)


def _thunk(value: ast.expr, at: ast.expr) -> ast.expr:
    args = ast.arguments([], [], None, [], [], None, [])
    return ast.copy_location(ast.Lambda(args, value), at)


def _load(name: ast.Name) -> ast.Name:
    return ast.copy_location(ast.Name(name.id, ast.Load()), name)


def _assign(target: ast.expr, value: ast.expr, at: ast.expr | ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.Assign([target], value), at)


def _expr(value: ast.expr, at: ast.expr | ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.Expr(value), at)


def _delete(names: Sequence[ast.Name], at: ast.expr | ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.Delete([ast.Name(n.id, ast.Del()) for n in names]), at)
