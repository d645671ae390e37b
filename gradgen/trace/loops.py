"""Loops as the rewriting writes them: plain Python over plain items, scan and while over what is symbolic or traced.

A loop stays one where its length is symbolic or its test traced. Its carries are the variables that change from step to step,
found by tracing the body until no more turn out to (`branches` has what a captured block is). `range`, `enumerate`, `zip` and
`reversed` of what stays a loop are known to it.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from types import CellType
from typing import Any

import numpy as np

from gradgen.errors import GradgenError, ShapeError, TraceError, UnsupportedError
from gradgen.functions import FUNCTIONS
from gradgen.handle import Handle
from gradgen.ops.index import zeros
from gradgen.ops.reduce import as_value
from gradgen.sites import warn
from gradgen.sizes import Dim, add, floordiv, max0, mul
from gradgen.trace.branches import (
    MISSING,
    Borrowed,
    State,
    and_,
    before,
    branch,
    is_number,
    is_traced,
    not_,
    ours,
    read,
    same,
    shown,
    unbind,
)
from gradgen.trace.control import scan_numbered, while_traced
from gradgen.trace.effects import check_unchanged, contents
from gradgen.trace.hooks import CALLS, hook
from gradgen.tree import Tree, flatten, leaf_names, unflatten
from gradgen.types import Type
from gradgen.value import Extent, Trace, Value, current_trace, dim_or_none

UNROLLED = 10_000  # statements of a loop over plain items, from which on it says what it makes


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
    made = symbolic_items(items)
    if made is None:
        trace = current_trace()
        start = len(trace.body) if trace is not None else 0
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
        count = len(trace.body) - start if trace is not None else 0
        if count >= UNROLLED:
            warn(
                f"this loop is unrolled into {count:,} statements, each of which is emitted: gg.fori_loop, gg.scan, or a range "
                "of a symbolic size would keep it a loop"
            )
        return
    if isinstance(made, SizeRange):
        _count_up(made, body, state, stop)
        return
    length, xs, item_of = made
    _Carried(state, stop).scan(length, xs, lambda i, x: body(item_of(i, x)))


def symbolic_items(items: Any) -> Any:
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
    if hasattr(type(items), "items_of_list"):
        return symbolic_items(items.items_of_list())
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

    names, getters, setter, written = state

    def set_all(values: Any) -> None:
        setter(values[:-1])
        holder[0] = values[-1]

    whole = ((*names, "the counter"), (*getters, lambda: holder[0]), set_all, written)
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
        self.values = before(state)
        self.arrays = [(v, v.state, v.home) for v in self.values if isinstance(v, Handle)]
        self.whole = all(v.parent is None for v, _, _ in self.arrays)
        self.trace = current_trace()
        self.stale = set(self.trace.stale) if self.trace is not None else set()

    def restore(self) -> None:
        self.setter(list(self.values))
        for handle, value, home in self.arrays:
            handle.state, handle.home = value, home
        if self.trace is not None:
            self.trace.stale = set(self.stale)


class _Carried:
    """The variables of a captured loop: which are its carries, found by tracing the body until nothing more changes."""

    def __init__(self, state: State, stop: Callable[[], Any] | None) -> None:
        self.state, self.stop = state, stop
        self.names, _, self.setter, _ = state
        self.before = before(state)
        self.carried = [
            k
            for k, v in enumerate(self.before)
            if v is not MISSING and _dynamic(v) and not self.is_second_name(k)
        ]
        self.changed: list[int] = []
        self.rebound: list[int] = []  # arrays whose names the body binds anew
        self.apart: set[int] = set()  # those of them that have got an array of their own
        self.fresh: dict[int, tuple[Tree, list[Type]]] = {}
        self.overwritten: dict[int, Value] = {}

    def is_second_name(self, k: int) -> bool:
        """Whether an earlier variable holds the same array, which is a carry once."""
        v = self.before[k]
        return isinstance(v, Handle) and any(v is w for w in self.before[:k])

    # what a step does: variables set from the carry, the body, variables read back
    def step(self, carry: list[Any], run: Callable[[], None]) -> list[Any]:
        values = list(self.before)
        trace = current_trace()
        assert trace is not None
        for v, start in zip(
            *(flatten(x, nones=True)[0] for x in (carry, self.start())), strict=True
        ):
            if isinstance(v, Value) and v.type.shape and isinstance(start, Value):
                trace.stand_in(v, start)
        with Borrowed(self.before):
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
            self.rebound = []
            for k, given in zip(self.carried, carry, strict=True):
                v, old = after[k], self.before[k]
                if v is MISSING:
                    raise UnsupportedError(f"a captured loop deletes {self.names[k]}")
                if isinstance(old, Handle) and v is not old and k not in self.apart:
                    self.rebound.append(k)
                    self.check_alone(k, old.state is not given)
                out.append(v.resolve() if isinstance(v, Handle) else v)
        for base in trace.overwritten:
            if base.owner is not trace:
                _check_one_name(trace, base)
                self.overwritten[id(base)] = base
        self.changed, self.fresh = [], {}
        for k, (v, old) in enumerate(zip(after, self.before, strict=True)):
            if k in self.carried or v is old or same(v, old):
                continue
            if old is not MISSING:
                self.changed.append(k)
            elif ours(self.names[k]) and v is not MISSING:
                # A value that a return in the loop leaves: until then zeros, which nothing reads.
                found, tree = flatten(v, nones=True)
                self.fresh[k] = tree, [as_value(x).type for x in found]
        return out

    def check_alone(self, k: int, written: bool) -> None:
        """UnsupportedError where a body writes into an array before it binds its name anew, and another name sees the array."""
        others = [
            name
            for j, (name, v) in enumerate(zip(self.names, self.before, strict=True))
            if j != k and v is self.before[k]
        ]
        if written and others:
            raise UnsupportedError(
                f"a captured loop writes into {self.names[k]} and binds the name anew, while {others[0]} is the same array",
                f"Take a copy before the loop: {self.names[k]} = {self.names[k]}.copy().",
            )

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
                for k in (
                    self.rebound
                ):  # from the second step on it is another array than the one before the loop
                    self.before[k] = Handle(self.before[k].resolve())
                    self.apart.add(k)
                for k, (tree, types) in self.fresh.items():
                    self.before[k] = unflatten(tree, [zeros(ty) for ty in types])
                    self.carried = sorted({*self.carried, k})
                continue
            finally:
                self.setter(self.before)
            return result

    def check(self) -> None:
        """Trace again if there are more carries than was thought."""
        if self.fresh or self.rebound:
            raise _Again
        if not self.changed:
            return
        for k in self.changed:
            found, _ = flatten(self.before[k], nones=True)
            if not found or not all(map(is_number, found)):
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
        trace = current_trace()
        assert trace is not None
        for base in self.overwritten.values():
            trace.outdate(base)
        for k, v in enumerate(values):
            if v is MISSING:
                unbind(self.names[k], "the body of a captured loop", "the loop")
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


def _check_one_name(trace: Trace, base: Value) -> None:
    """UnsupportedError where a body writes to memory that it knows by two names: each step has to see the last one's write."""
    shared = trace.sharing(base)
    names = [p for p in trace.inputs if id(p) in shared]
    free = [v for v, _ in trace.free.values() if id(v) in shared]
    if len(names) > 1 or free:
        raise UnsupportedError(
            "a captured loop writes in place into an array of outside that is no variable of the loop, or has a second name",
            "Write a = a + v in the loop itself, or take a copy of the array before it.",
        )


class _Again(Exception):
    """The loop is traced once more, with more carries."""


def _dynamic(value: Any) -> bool:
    """Whether a variable is a carry from the first: traced values, floats and arrays among its leaves."""
    if isinstance(value, Handle):
        return True
    found, _ = flatten(value, nones=True)
    return (
        bool(found)
        and all(map(is_number, found))
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
            "arrays of symbolic length are iterated by a `for` statement or a list comprehension",
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
    """`symbolic_items` if a loop over them stays one and has no other bounds than sizes, else None."""
    made = symbolic_items(items)
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


CALLS[builtins.range] = _range
CALLS[builtins.enumerate] = _enumerate
CALLS[builtins.zip] = _zip
CALLS[builtins.reversed] = _reversed
