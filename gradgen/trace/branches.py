"""What rewritten code does at tests: plain Python on plain values, a cond on traced ones. Loops: `loops`.

A block of the user's is a closure over his variables; `state` is (their names, a getter each, one setter, the names of those
that it stores into). To capture, every
block is traced from the same state, and the variables that it leaves are joined:

    unchanged in both branches, or equal numbers, strings, ...   stays what it is
    numbers and arrays                                            a result of the cond, a carry of the loop
    bound in one branch only                                      unbound afterwards, as it may be in Python
    other objects that differ                                     refused by name

A block that is captured is run while it is traced, more than once perhaps: what it prints is printed then, not when the
emitted code runs. What it changes beside its variables (an attribute, an outer list) is refused: `effects`, `steady`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, TraceError, UnsupportedError
from gradgen.handle import Handle, can_own
from gradgen.ir import OPS
from gradgen.ops.index import zeros
from gradgen.ops.reduce import as_value, as_values
from gradgen.trace.control import branch as cond_of
from gradgen.trace.control import scalar_bool
from gradgen.trace.effects import Frozen, check_not_raised, check_unchanged, contents
from gradgen.trace.hooks import hook, key
from gradgen.trace.regions import Region, trace_region
from gradgen.tree import NONE, Tree, flatten, unflatten
from gradgen.value import Trace, Value, apply, constant, current_trace

State = tuple[
    tuple[str, ...], tuple[Callable[[], Any], ...], Callable[[Any], None], tuple[str, ...]
]


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
    """What the variables hold."""
    out = []
    for getter in state[1]:
        try:
            out.append(getter())
        except NameError:
            out.append(MISSING)
    return out


def before(state: State) -> list[Any]:
    """What the variables hold before a block that will be captured: arrays that it stores into are Handles from here on."""
    found = read(state)
    for name, value in zip(state[0], found, strict=True):
        if name in state[3] and isinstance(value, Value) and can_own(value):
            value.own()
    return found


def unbind(name: str, where: str, before: str) -> None:
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
def contains(item: Any, container: Any) -> Any:
    """`item in container`: a traced number is compared with the numbers there; sets and dicts would look for its hash."""
    if is_traced(container):
        return np.any(container == item)
    if not is_traced(item) or not isinstance(container, _CONTAINERS):
        if isinstance(item, tuple) and isinstance(container, _HASHED):
            key(item)  # a shape
        return item in container
    elements: Any = container.flat if isinstance(container, np.ndarray) else container
    found: Any = False
    for element in elements:
        if element is item:
            return True
        if isinstance(element, (Value, int, float, np.generic)):
            found = np.logical_or(found, item == element) if found is not False else item == element
    return found


_HASHED: tuple[type, ...] = (set, frozenset, dict, type({}.keys()))
_CONTAINERS: tuple[type, ...] = (
    list, tuple, set, frozenset, dict, range, np.ndarray, type({}.keys()), type({}.values()),
)  # fmt: skip


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
    return choose(test, then, otherwise, ((), (), lambda values: None, ()))


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

    def __init__(self, block: Callable[[], Any], state: State, start: list[Any]) -> None:
        setter = state[2]
        setter(start)
        held = contents(block)
        with Trace(region=True) as self.trace, Borrowed(start) as arrays:
            for handle in arrays:
                handle.state = self.trace.operand(handle.resolve())
            try:
                with Frozen(held):
                    self.result = block()
            except Exception as error:
                check_not_raised(error)
                raise
            self.after = read(state)
            self.states = {id(h): h.resolve() for h in arrays}
        self.arrays = arrays
        setter(start)
        check_unchanged(held)

    def left(self, value: Any) -> Any:
        """What the block has left in an array, which by now is again what it was before; any other value itself."""
        return self.states.get(id(value), value) if isinstance(value, Handle) else value


class Borrowed:
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
    names, _, setter, _ = state
    pred = scalar_bool("if", test)
    start = before(state)
    first, second = _Run(then, state, start), _Run(otherwise, state, start)
    regions = [Region(run.trace, [], NONE, "branch") for run in (first, second)]
    plans: list[Any] = []  # per variable, then the returned value: how to make it from the results
    labels = [*names, "the returned value"]
    written: list[tuple[Handle, int, str]] = []
    for array in first.arrays:
        label = names[next(k for k, v in enumerate(start) if v is array)]
        states = [run.left(array) for run in (first, second)]
        inputs = [r.trace.free.get(id(array.resolve()), (None, None))[1] for r in (first, second)]
        if any(v is not p for v, p in zip(states, inputs, strict=True)):
            written.append((array, _add(regions, *states), label))
    shared = [label for _, _, label in written]  # for each result of both branches, whose it is
    for k, label in enumerate(labels):
        a, b = (r.result if k == len(names) else r.after[k] for r in (first, second))
        plans.append(_join(label, a, b, (first, second), regions, returned=k == len(names)))
        shared += [label] * (len(regions[0].outputs) - len(shared))
    count = len(regions[0].outputs)
    for region in regions:
        region.result = Tree("tuple", tuple(range(count)), (Tree("leaf"),) * count)
    made = list(cond_of(pred, regions, shared)) if count else []
    for array, place, label in written:
        array.state = made[place]
        if made[place].name is None:
            made[place].name = label
    values = [plan(made) for plan in plans]
    trace = current_trace()
    assert trace is not None
    for base in (*first.trace.overwritten, *second.trace.overwritten):
        trace.outdate(base)
    setter(values[:-1])
    return values[-1]


def _join(
    label: str, a: Any, b: Any, runs: tuple[_Run, _Run], regions: list[Region], returned: bool
) -> Callable[[list[Value]], Any]:
    """Plan one variable from what the two branches left in it; what depends on the test becomes a result of both."""
    first, second = runs
    if a is b:
        return lambda made: a
    if a is MISSING or b is MISSING:
        if not ours(label):
            unbind(label, "one branch of a captured `if`", "the `if`, or in both branches")
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
        if same(x, y):
            plans.append((False, x))
            continue
        if not is_number(x) or not is_number(y):
            raise UnsupportedError(
                f"both branches of a captured `if` need numbers and arrays in {label}, "
                f"got {type(x).__name__} and {type(y).__name__} that differ",
                "Choose it outside of the traced function, or use numbers.",
            )
        plans.append((True, _add(regions, first.left(x), second.left(y))))

    def built(made: list[Value]) -> Any:
        found = [made[v] if dynamic else v for dynamic, v in plans]
        for value in found:
            if isinstance(value, Value) and value.name is None and not returned:
                value.name = shown(label) or None
        return unflatten(tree_a, found)

    return built


def same(x: Any, y: Any) -> bool:
    if x is y:
        return True
    plain = (bool, int, float, str, bytes, type(None))
    return type(x) is type(y) and isinstance(x, plain) and (x == y) and repr(x) == repr(y)


def is_number(x: Any) -> bool:
    return isinstance(x, (Value, int, float, np.generic, np.ndarray))


def _add(regions: list[Region], *values: Any) -> int:
    """One more result of both regions; its number. A number of Python's has the dtype of what it stands in for."""
    for region, value, other in zip(regions, values, reversed(values), strict=True):
        with region.trace as trace:
            if isinstance(value, Handle):
                value = value.resolve()
            elif not isinstance(value, Value) and isinstance(other, Value):
                _, value = as_values((other, value))
            else:
                value = as_value(value)
            region.outputs.append(trace.operand(value))
    return len(regions[0].outputs) - 1
