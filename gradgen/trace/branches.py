"""What rewritten code does at tests: plain Python on plain values, a cond on traced ones. Loops: `loops`.

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

from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, TraceError, UnsupportedError
from gradgen.ir import OPS
from gradgen.ops.index import zeros
from gradgen.ops.reduce import as_value
from gradgen.trace.control import branch as cond_of
from gradgen.trace.control import scalar_bool
from gradgen.trace.effects import check_not_raised, check_unchanged, contents
from gradgen.trace.hooks import hook
from gradgen.trace.regions import Region, trace_region
from gradgen.tree import NONE, Tree, flatten, unflatten
from gradgen.value import (
    Handle,
    Trace,
    Value,
    apply,
    constant,
    current_trace,
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
        with Trace(region=True) as self.trace, Borrowed(before) as arrays:
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
    trace = current_trace()
    assert trace is not None
    for base in (*first.trace.overwritten, *second.trace.overwritten):
        trace.outdate(base)
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
        plans.append((True, _add(regions, x, y)))

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
    """One more result of both regions; its number."""
    for region, value in zip(regions, values, strict=True):
        with region.trace as trace:
            value = value.resolve() if isinstance(value, Handle) else as_value(value)
            region.outputs.append(trace.operand(value))
    return len(regions[0].outputs) - 1
