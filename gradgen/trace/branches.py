"""What rewritten code does at tests and loops: plain Python on plain values, cond, scan and while on traced ones.

A block of the user's is a closure over his variables; `state` is (their names, a getter each, one setter). To capture, every
block is traced from the same state, and the variables that it leaves are joined:

    unchanged in both branches, or equal numbers, strings, ...   stays what it is
    numbers and arrays                                            a result of the cond, a carry of the loop
    bound in one branch only                                      unbound afterwards, as it may be in Python
    other objects that differ                                     refused by name

A block that is captured is run while it is traced, more than once perhaps: what it prints is printed then, not when the
emitted code runs. What it changes beside its variables (an attribute, an outer list) is refused: `effects`, `steady`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from types import CellType
from typing import Any

import numpy as np

from gradgen.errors import GradgenError, ShapeError, TraceError, UnsupportedError
from gradgen.functions import FUNCTIONS
from gradgen.ir import OPS
from gradgen.ops.index import zeros
from gradgen.ops.reduce import as_value
from gradgen.sites import warn
from gradgen.sizes import Dim, add, floordiv, max0, mul
from gradgen.trace.control import branch as cond_of
from gradgen.trace.control import scalar_bool, scan_numbered, while_traced
from gradgen.trace.effects import check_not_raised, check_unchanged, contents
from gradgen.trace.hooks import CALLS, hook
from gradgen.trace.regions import Region, trace_region
from gradgen.tree import NONE, Tree, flatten, leaf_names, unflatten
from gradgen.types import Type
from gradgen.value import (
    Extent,
    Handle,
    Trace,
    Value,
    apply,
    constant,
    current_trace,
    dim_or_none,
)

State = tuple[tuple[str, ...], tuple[Callable[[], Any], ...], Callable[[Any], None]]


class _Missing:
    def __repr__(self) -> str:
        return "<unbound>"


MISSING = _Missing()


@hook
def is_missing(value: Any) -> bool:
    return value is MISSING


def is_traced(value: Any) -> bool:
    """Whether a truth value or count is known only when the emitted code runs."""
    return isinstance(value, Value) and value._data is None and current_trace() is not None


def read(state: State) -> list[Any]:
    out = []
    for getter in state[1]:
        try:
            out.append(getter())
        except NameError:
            out.append(MISSING)
    return out


def _unbind(name: str, where: str, before: str) -> None:
    """Note why a variable has no value, for the day when it is read: it got one in `where` only, and needs one `before`."""
    trace = current_trace()
    assert trace is not None
    trace.outermost().unbound[name] = (where, before)


def ours(name: str) -> bool:
    """A variable that the rewriting made: flags and returned values."""
    return name.endswith("__") and "_gg" in name


def shown(name: str) -> str:
    """The name of a variable in emitted code: the user's; of ours, what it is for."""
    if ours(name):
        return name.rstrip("_").rsplit("_", 2)[1]
    return name if name.isidentifier() else ""


# -- expressions
@hook
def not_(x: Any) -> Any:
    return apply(OPS["logical_not"], x) if is_traced(x) else not x


@hook
def and_(a: Any, *rest: Callable[[], Any]) -> Any:
    return _joined(a, rest, "logical_and", lambda value: not value)


@hook
def or_(a: Any, *rest: Callable[[], Any]) -> Any:
    return _joined(a, rest, "logical_or", bool)


def _joined(
    a: Any, rest: tuple[Callable[[], Any], ...], op: str, stops: Callable[[Any], bool]
) -> Any:
    for thunk in rest:
        if not is_traced(a):
            if stops(a):
                return a
            a = thunk()
            continue
        _check_truth(a)
        held = _second_operand(thunk)
        if all(n.op.elementwise for n in held.trace.body):
            b = thunk()
            _check_truth(b)
            a = apply(OPS[op], a, b)
        else:  # an element that may not be there, a loop: only where Python would look
            with Trace(region=True) as trace:
                known = constant(op == "logical_or")
            regions = [held, Region(trace, [known], held.result, "branch")]
            a = cond_of(a, regions if op == "logical_and" else regions[::-1])
    return a


def _second_operand(thunk: Callable[[], Any]) -> Region:
    def traced() -> Any:
        b = thunk()
        _check_truth(b)
        return as_value(b)

    return trace_region(traced, "branch")


def _check_truth(operand: Any) -> None:
    ty = as_value(operand).type
    if ty.dtype != "bool" or ty.shape:
        raise UnsupportedError(
            f"`and` and `or` need scalar truth values, got {ty}",
            "Write np.logical_and or np.logical_or for arrays, a comparison for a number.",
        )


@hook
def if_exp(test: Any, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    if not is_traced(test):
        return then() if test else otherwise()
    return choose(test, then, otherwise, ((), (), lambda values: None))


@hook
def plain(test: Any, reason: str) -> Any:
    """The test of a statement that is not captured: a plain truth value."""
    if is_traced(test):
        raise TraceError(
            f"a test of traced values cannot be captured here: its block {reason}",
            "Change only local variables and arrays in it, or write np.where(condition, a, b).",
        )
    return test


@hook
def asserted(test: Any) -> Any:
    """The test of an `assert`: a plain truth value."""
    if is_traced(test):
        raise TraceError(
            "`assert` needs a truth value known at trace time, got a traced one: emitted code raises nothing",
            "Check the arguments before the call, or mark the bad case: np.where(condition, value, np.nan).",
        )
    return test


@hook
def matched(subject: Any) -> Any:
    """The subject of a `match` with patterns such as True or float(): a plain value."""
    if any(is_traced(x) for x in (subject if type(subject) in (tuple, list) else (subject,))):
        raise TraceError(
            "`match` cannot tell True, False or a class from a traced value",
            "Write if and elif, which are captured.",
        )
    return subject


# -- if
@hook
def branch(test: Any, then: Callable[[], Any], otherwise: Callable[[], Any], state: State) -> None:
    if not is_traced(test):
        (then if test else otherwise)()
        return
    _capture(test, then, otherwise, state)


@hook
def choose(test: Any, then: Callable[[], Any], otherwise: Callable[[], Any], state: State) -> Any:
    if not is_traced(test):
        return then() if test else otherwise()
    return _capture(test, then, otherwise, state)


class _Run:
    """A block traced from a state: what it returned, its variables and arrays afterwards, and its trace."""

    def __init__(self, block: Callable[[], Any], state: State, before: list[Any]) -> None:
        setter = state[2]
        setter(before)
        held = contents(block)
        with Trace(region=True) as self.trace, _Borrowed(before) as arrays:
            for handle in arrays:
                handle.state = self.trace.operand(handle.resolve())
            try:
                self.result = block()
            except Exception as error:
                check_not_raised(error)
                raise
            self.after = read(state)
            self.written = {id(h): h.resolve() for h in arrays}
        setter(before)
        check_unchanged(held)


class _Borrowed:
    """The user's arrays while a block that may write into them is traced: afterwards they are what they were before."""

    def __init__(self, variables: list[Any]) -> None:
        self.arrays = list({id(v): v for v in variables if isinstance(v, Handle)}.values())
        for handle in self.arrays:
            if handle.parent is not None:
                raise UnsupportedError(
                    "a captured branch or loop writes into a view of an array",
                    "Index the array itself: out[i, j] = v.",
                )

    def __enter__(self) -> list[Handle]:
        self.saved = [(h.state, h.home) for h in self.arrays]
        for handle in self.arrays:
            handle.home = current_trace()
        return self.arrays

    def __exit__(self, *exc: object) -> None:
        for handle, (state, home) in zip(self.arrays, self.saved, strict=True):
            handle.state, handle.home = state, home


def _capture(test: Any, then: Callable[[], Any], otherwise: Callable[[], Any], state: State) -> Any:
    names, _, setter = state
    pred = scalar_bool("if", test)
    before = read(state)
    first, second = _Run(then, state, before), _Run(otherwise, state, before)
    regions = [Region(run.trace, [], NONE, "branch") for run in (first, second)]
    plans: list[Any] = []  # per variable, then the returned value: how to make it from the results
    labels = [*names, "the returned value"]
    shared: list[str] = []  # for each result of both branches, whose it is
    for k, label in enumerate(labels):
        a, b = (r.result if k == len(names) else r.after[k] for r in (first, second))
        old = None if k == len(names) else before[k]
        plans.append(_join(label, old, a, b, (first, second), regions, returned=k == len(names)))
        shared += [label] * (len(regions[0].outputs) - len(shared))
    count = len(regions[0].outputs)
    for region in regions:
        region.result = Tree("tuple", tuple(range(count)), (Tree("leaf"),) * count)
    made = list(cond_of(pred, regions, shared)) if count else []
    values = [plan(made) for plan in plans]
    setter(values[:-1])
    return values[-1]


def _join(
    label: str, old: Any, a: Any, b: Any, runs: Any, regions: list[Region], returned: bool
) -> Callable[[list[Value]], Any]:
    """Plan one variable from what the two branches left in it; what depends on the test becomes a result of both."""
    first, second = runs
    if isinstance(old, Handle) and a is old and b is old:
        states = [run.written[id(old)] for run in runs]
        inputs = [run.trace.free.get(id(old.resolve()), (None, None))[1] for run in runs]
        if all(v is p for v, p in zip(states, inputs, strict=True)):
            return lambda made: old  # neither branch has written
        place = _add(regions, states[0], states[1])

        def written(made: list[Value]) -> Any:
            old.state = made[place]
            if old.state.name is None:
                old.state.name = label
            return old

        return written
    if a is b:
        return lambda made: a
    if a is MISSING or b is MISSING:
        if not ours(label):
            _unbind(label, "one branch of a captured `if`", "the `if`, or in both branches")
            return lambda made: MISSING
        with first.trace if a is MISSING else second.trace:
            found, tree = flatten(b if a is MISSING else a, nones=True)
            dummy = unflatten(tree, [zeros(as_value(v).type) for v in found])
        a, b = (dummy, b) if a is MISSING else (a, dummy)
    (leaves_a, tree_a), (leaves_b, tree_b) = flatten(a, nones=True), flatten(b, nones=True)
    if tree_a != tree_b:
        if returned and (a is None or b is None):
            raise ShapeError(
                "a function needs to return a value in both branches of a captured `if`, got None in one",
                "Return a number in every case.",
            )
        raise ShapeError(
            f"both branches of a captured `if` need one structure of {label}, got {tree_a} and {tree_b}"
        )
    plans: list[Any] = []
    for x, y in zip(leaves_a, leaves_b, strict=True):
        if _same(x, y):
            plans.append((False, x))
            continue
        if not _is_number(x) or not _is_number(y):
            raise UnsupportedError(
                f"both branches of a captured `if` need numbers and arrays in {label}, "
                f"got {type(x).__name__} and {type(y).__name__} that differ",
                "Choose it outside of the traced function, or use numbers.",
            )
        plans.append((True, _add(regions, x, y)))

    def built(made: list[Value]) -> Any:
        found = [made[v] if dynamic else v for dynamic, v in plans]
        for value in found:
            if isinstance(value, Value) and value.name is None and not returned:
                value.name = shown(label) or None
        return unflatten(tree_a, found)

    return built


def _same(x: Any, y: Any) -> bool:
    if x is y:
        return True
    plain = (bool, int, float, str, bytes, type(None))
    return type(x) is type(y) and isinstance(x, plain) and (x == y) and repr(x) == repr(y)


def _is_number(x: Any) -> bool:
    return isinstance(x, (Value, int, float, np.generic, np.ndarray))


def _add(regions: list[Region], *values: Any) -> int:
    """One more result of both regions; its number."""
    for region, value in zip(regions, values, strict=True):
        with region.trace as trace:
            value = value.resolve() if isinstance(value, Handle) else as_value(value)
            region.outputs.append(trace.operand(value))
    return len(regions[0].outputs) - 1


# -- loops
class SizeRange:
    """`range` with bounds that are symbolic sizes or traced integers."""

    def __init__(self, lo: Any, hi: Any, step: int) -> None:
        self.lo, self.hi, self.step = lo, hi, step

    def __iter__(self) -> Iterator[Any]:
        raise TraceError(
            "a range of symbolic length needs a `for` statement without else, got another use",
            "Write a for loop (what is in its else: after it, under a flag), np.arange(n), or whole-array operations.",
        )

    def __len__(self) -> int:
        return self.__iter__()  # type: ignore[return-value]


@hook
def for_loop(
    items: Any, body: Callable[[Any], None], state: State, stop: Callable[[], Any] | None
) -> None:
    made = _symbolic_items(items)
    if made is None:
        for item in items:
            stopped = stop() if stop is not None else False
            if is_traced(stopped):
                branch(not_(stopped), lambda item=item: body(item), lambda: None, state)
            else:
                body(item)
            if stop is not None:
                stopped = stop()
                if not is_traced(stopped) and stopped:
                    break
        return
    if isinstance(made, SizeRange):
        _count_up(made, body, state, stop)
        return
    length, xs, item_of = made
    _Carried(state, stop).scan(length, xs, lambda i, x: body(item_of(i, x)))


def _symbolic_items(items: Any) -> Any:
    """(length, arrays, item from a step's number and its elements) for what is iterated by a loop that stays one."""
    if isinstance(items, SizeRange):
        lo, hi = dim_or_none(items.lo), dim_or_none(items.hi)
        if lo is None or hi is None:
            return items
        length = _range_length(lo, hi, items.step)
        return length, None, lambda i, x: _number(i, lo, items.step)
    if isinstance(items, Handle):
        items = items.resolve()
    if is_traced(items) and not isinstance(items, Extent) and items.type.shape:
        length = items.type.shape[0]
        return None if isinstance(length, int) else (length, items, lambda i, x: x)
    if isinstance(items, _Together):
        return items.parts
    return None


def _range_length(lo: Dim, hi: Dim, step: int) -> Dim:
    span = max0(add(hi, mul(lo, -1)) if step > 0 else add(lo, mul(hi, -1)))
    return span if abs(step) == 1 else floordiv(add(span, abs(step) - 1), abs(step))


def _number(i: Any, lo: Dim, step: int) -> Any:
    i = i if step == 1 else i * step
    return i if lo == 0 else i + Extent.of(lo)


def _count_up(items: SizeRange, body: Callable[[Any], None], state: State, stop: Any) -> None:
    """for i in range of traced bounds: a while loop."""
    i = as_value(items.lo)
    holder = [i]

    def test() -> Any:
        return holder[0] < items.hi if items.step > 0 else holder[0] > items.hi

    def step() -> None:
        body(holder[0])
        holder[0] = holder[0] + items.step

    names, getters, setter = state

    def set_all(values: Any) -> None:
        setter(values[:-1])
        holder[0] = values[-1]

    whole = ((*names, "the counter"), (*getters, lambda: holder[0]), set_all)
    while_loop(test, step, whole, stop)


@hook
def while_loop(
    test: Callable[[], Any], body: Callable[[], None], state: State, stop: Callable[[], Any] | None
) -> None:
    start = _Snapshot(state)
    count = 0
    while True:
        going = test()
        if is_traced(going):
            break
        if not going:
            return
        body()
        count += 1
        if stop is not None:
            stopped = stop()
            if is_traced(stopped):
                break
            if stopped:
                return
    if count and start.whole:
        # A test like `error > tolerance` is plain before the first step only: the loop is captured from its start.
        later = _Snapshot(state)
        start.restore()
        try:
            _Carried(state, stop).repeat(test, body)
        except GradgenError:  # the first step made what the others carry
            later.restore()
        else:
            return
    _Carried(state, stop).repeat(test, body)


class _Snapshot:
    """The variables of a loop and what is in their arrays, to come back to. whole: nothing is left out."""

    def __init__(self, state: State) -> None:
        self.setter = state[2]
        self.values = read(state)
        self.arrays = [(v, v.state, v.home) for v in self.values if isinstance(v, Handle)]
        self.whole = all(v.parent is None for v, _, _ in self.arrays)

    def restore(self) -> None:
        self.setter(list(self.values))
        for handle, value, home in self.arrays:
            handle.state, handle.home = value, home


class _Carried:
    """The variables of a captured loop: which are its carries, found by tracing the body until nothing more changes."""

    def __init__(self, state: State, stop: Callable[[], Any] | None) -> None:
        self.state, self.stop = state, stop
        self.names, _, self.setter = state
        self.before = read(state)
        self.carried = [k for k, v in enumerate(self.before) if v is not MISSING and _dynamic(v)]
        self.changed: list[int] = []
        self.fresh: dict[int, tuple[Tree, list[Type]]] = {}

    # what a step does: variables set from the carry, the body, variables read back
    def step(self, carry: list[Any], run: Callable[[], None]) -> list[Any]:
        values = list(self.before)
        with _Borrowed(self.before):
            for k, v in zip(self.carried, carry, strict=True):
                old = self.before[k]
                if isinstance(old, Handle):
                    old.state = v
                else:
                    values[k] = v
            self.setter(values)
            run()
            after = read(self.state)
            out = []
            for k in self.carried:
                v = after[k]
                if v is MISSING:
                    raise UnsupportedError(f"a captured loop deletes {self.names[k]}")
                out.append(v.resolve() if isinstance(v, Handle) else v)
        self.changed, self.fresh = [], {}
        for k, (v, old) in enumerate(zip(after, self.before, strict=True)):
            if k in self.carried or v is old or _same(v, old):
                continue
            if old is not MISSING:
                self.changed.append(k)
            elif ours(self.names[k]) and v is not MISSING:
                # A value that a return in the loop leaves: until then zeros, which nothing reads.
                found, tree = flatten(v, nones=True)
                self.fresh[k] = tree, [as_value(x).type for x in found]
        return out

    def changing_nothing_else(self, body: Any) -> Callable[[Any], Any]:
        """A decorator of what traces the body: UnsupportedError where that changes more than variables and arrays."""

        def decorated(run: Callable[[], Any]) -> Callable[[], Any]:
            def checked() -> Any:
                self.setter(self.before)
                # What a body rebinds shows when it is traced again (trace.steady).
                held = [
                    (obj, inside) for obj, inside in contents(body) if type(obj) is not CellType
                ]
                result = run()
                self.setter(self.before)
                check_unchanged(held)
                return result

            return checked

        return decorated

    def settle(self, run: Callable[[], Any]) -> Any:
        """Run the tracing until no further variable turns out to change from step to step."""
        while True:
            try:
                result = run()
            except _Again:
                for k, (tree, types) in self.fresh.items():
                    self.before[k] = unflatten(tree, [zeros(ty) for ty in types])
                    self.carried = sorted({*self.carried, k})
                continue
            finally:
                self.setter(self.before)
            return result

    def check(self) -> None:
        """Trace again if there are more carries than was thought."""
        if self.fresh:
            raise _Again
        if not self.changed:
            return
        for k in self.changed:
            found, _ = flatten(self.before[k], nones=True)
            if not found or not all(map(_is_number, found)):
                raise UnsupportedError(
                    f"a captured loop needs numbers and arrays in {self.names[k]}, "
                    f"got {type(self.before[k]).__name__} that changes from step to step",
                    "Use an array made with np.zeros and assign into it.",
                )
        self.carried = sorted({*self.carried, *self.changed})
        raise _Again

    def words(self) -> list[str]:
        """Names for the leaves of the carries."""
        found = []
        for k in self.carried:
            name = shown(self.names[k])
            tree = flatten(self.before[k], nones=True)[1]
            found += leaf_names(name, tree) if name else [""] * tree.size
        return found

    def start(self) -> list[Any]:
        return [
            v.resolve() if isinstance(v, Handle) else v
            for v in (self.before[k] for k in self.carried)
        ]

    def leave(self, carry: list[Any]) -> None:
        """The variables after the loop; what only its body binds is unbound."""
        values = list(self.before)
        for k, v in zip(self.carried, carry, strict=True):
            old = self.before[k]
            for leaf in flatten(v, nones=True)[0]:
                if isinstance(leaf, Value) and leaf.name is None:
                    leaf.name = shown(self.names[k]) or None
            if isinstance(old, Handle):
                old.state = v
                v = old
            values[k] = v
        for k, v in enumerate(values):
            if v is MISSING:
                _unbind(self.names[k], "the body of a captured loop", "the loop")
        self.setter(values)

    def guarded(self, body: Callable[[], None]) -> Callable[[], None]:
        """The body, skipped once the loop has been left."""
        if self.stop is None:
            return body
        stop = self.stop
        return lambda: branch(not_(stop()), body, lambda: None, self.state)

    def scan(self, length: Dim, xs: Any, body: Callable[[Any, Any], None]) -> None:
        @self.changing_nothing_else(body)
        def run() -> Any:
            def step(i: Any, carry: list[Any], x: Any) -> list[Any]:
                out = self.step(carry, self.guarded(lambda: body(i, x)))
                self.check()
                return out

            found, tree = flatten(xs, nones=True)
            whole = lambda i, carry, x: (step(i, carry, x), None)
            labels = ["", self.words()]
            return scan_numbered(whole, self.start(), found, tree, length, labels=labels)[0]

        self.leave(self.settle(run))

    def repeat(self, test: Callable[[], Any], body: Callable[[], None]) -> None:
        @self.changing_nothing_else(body)
        def run() -> Any:
            def going(carry: list[Any]) -> Any:
                answer: list[Any] = []
                self.step(carry, lambda: answer.append(self.goes_on(test)))
                return answer[0]

            def step(carry: list[Any]) -> list[Any]:
                out = self.step(carry, body)
                self.check()
                return out

            return while_traced(going, step, self.start(), words=[self.words()])

        self.leave(self.settle(run))

    def goes_on(self, test: Callable[[], Any]) -> Any:
        return test() if self.stop is None else and_(not_(self.stop()), test)


class _Again(Exception):
    """The loop is traced once more, with more carries."""


def _dynamic(value: Any) -> bool:
    """Whether a variable is a carry from the first: traced values, floats and arrays among its leaves."""
    if isinstance(value, Handle):
        return True
    found, _ = flatten(value, nones=True)
    return (
        bool(found)
        and all(map(_is_number, found))
        and any(
            isinstance(v, (Value, float, np.ndarray)) and not isinstance(v, Extent) for v in found
        )
    )


# -- builtins that iterate
class _Together:
    """zip or enumerate over a symbolic number of items: how many, arrays, and an item from a step's number and elements."""

    def __init__(self, length: Dim, xs: Any, item_of: Callable[[Any, Any], Any]) -> None:
        self.parts = length, xs, item_of

    def __iter__(self) -> Iterator[Any]:
        raise TraceError(
            "arrays of symbolic length are iterated by a `for` statement",
            "Write a for loop (without else) or whole-array operations.",
        )


def _symbolic(x: Any) -> bool:
    return is_traced(x) and bool(x.type.shape) and not isinstance(x.type.shape[0], int)


def _range(*bounds: Any) -> Any:
    if not any(isinstance(b, Value) for b in bounds):
        return builtins.range(*bounds)
    lo, hi, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    if isinstance(step, Value) or int(step) == 0:
        raise UnsupportedError(
            "range needs a step known at trace time, and not 0", "Scale inside the loop."
        )
    return SizeRange(lo, hi, int(step))


def _parts(items: Any) -> Any:
    """`_symbolic_items` if a loop over them stays one and has no other bounds than sizes, else None."""
    made = _symbolic_items(items)
    return None if isinstance(made, SizeRange) else made


def _enumerate(items: Any, start: Any = 0) -> Any:
    made = _parts(items)
    if made is None:
        return builtins.enumerate(items, start)
    length, xs, item_of = made
    return _Together(length, xs, lambda i, x: (i + start if start else i, item_of(i, x)))


def _zip(*items: Any, strict: bool = False) -> Any:
    made = [_parts(x) for x in items]
    if not made or None in made:
        return builtins.zip(*items, strict=strict)
    lengths = [length for length, _, _ in made]
    if any(length != lengths[0] for length in lengths):
        raise ShapeError(
            f"zip needs items of one length, got {' and '.join(map(str, lengths))}",
            "Cut them to one length first, e.g. zip(x[:-1], x[1:]).",
        )
    return _Together(
        lengths[0],
        [xs for _, xs, _ in made],
        lambda i, x: tuple([item_of(i, v) for (_, _, item_of), v in zip(made, x, strict=True)]),
    )


def _reversed(items: Any) -> Any:
    if isinstance(items, SizeRange):
        lo, hi = dim_or_none(items.lo), dim_or_none(items.hi)
        if lo is not None and hi is not None and abs(items.step) == 1:
            end = add(hi, -items.step)
            return SizeRange(Extent.of(end), Extent.of(add(lo, -items.step)), -items.step)
    if _symbolic(items):
        return FUNCTIONS["getitem"](items, slice(None, None, -1))
    return builtins.reversed(items)


def _print(*args: Any, **kwargs: Any) -> None:
    trace = current_trace()
    if trace is not None and trace.region:
        warn(
            "print in a captured branch or loop runs while it is traced, whichever way its test goes; "
            "emitted code does not print"
        )
    builtins.print(*args, **kwargs)


CALLS[builtins.print] = _print
CALLS[builtins.range] = _range
CALLS[builtins.enumerate] = _enumerate
CALLS[builtins.zip] = _zip
CALLS[builtins.reversed] = _reversed
