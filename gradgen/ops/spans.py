"""Slices in Python's terms and where they lie on an axis, of known or symbolic length.

A slice of symbolic size n may need a fact about n (`x[:3]` needs n >= 3): it is required of the open trace and becomes
an entry check.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gradgen.errors import ShapeError, UnsupportedError
from gradgen.sizes import Dim, add, floordiv, max0, mul, nonnegative
from gradgen.types import Shape
from gradgen.value import Trace


class Span(NamedTuple):
    """A slice in Python's terms; `None` where Python's default stands. Bounds may be sizes."""

    start: Dim | None = None
    stop: Dim | None = None
    step: int = 1

    def __str__(self) -> str:
        return span_text(self, str)


Index = tuple[Any, ...]


class Stretch(NamedTuple):
    """A resolved entry of an index: elements start, start + step, ... of an axis; `kept` False for an integer."""

    start: Dim
    length: Dim
    step: int
    kept: bool


def resolve(entry: Any, dim: Dim, trace: Trace | None = None) -> Stretch:
    """Where `entry` lies on an axis of length `dim`; facts about symbolic sizes are required of `trace`."""
    if not isinstance(entry, Span):
        if isinstance(entry, int) and entry < 0:
            require_length(trace, dim, mul(entry, -1))
            return Stretch(add(dim, entry), 1, 1, False)
        require_length(trace, dim, add(entry, 1))
        _from_the_start(trace, entry)
        return Stretch(entry, 1, 1, False)
    start, stop, step = entry
    if all(d is None or isinstance(d, int) for d in (start, stop, dim)):
        first, last, by = slice(start, stop, step).indices(dim)  # type: ignore[arg-type]
        return Stretch(first, len(range(first, last, by)), by, True)
    if step < 0:
        if start is not None or stop is not None:
            raise UnsupportedError(
                f"a slice with bounds and a negative step needs a size known at trace time, got {dim}",
                "Write x[lo:hi][::-1].",
            )
        return Stretch(add(dim, -1), floordiv(add(dim, -step - 1), -step), step, True)
    if start is None:
        start = 0
    _from_the_start(trace, start)
    if stop is not None and add(stop, mul(dim, -1)) != -1:  # x[: n - 1] is right for n = 0 too
        _from_the_start(trace, stop)
    if isinstance(start, int) and start < 0:
        require_length(trace, dim, -start)
        start = add(dim, start)
    if stop is None:
        hi: Dim = dim
    elif isinstance(stop, int) and stop < 0:
        hi = add(dim, stop)
    else:
        hi = stop
        if not nonnegative(add(dim, mul(stop, -1))):
            require_length(trace, dim, stop)
    length = max0(add(hi, mul(start, -1)))
    if step != 1:
        length = floordiv(add(length, step - 1), step)
    return Stretch(start, length, step, True)


def _from_the_start(trace: Trace | None, bound: Dim) -> None:
    """Require a bound that is a size not to be negative, where it would count from the end: x[: n - 3] for n = 2."""
    if trace is not None and not isinstance(bound, int) and not nonnegative(bound):
        trace.require(bound, ">=", 0)


def require_length(trace: Trace | None, dim: Dim, least: Dim) -> None:
    """Require an axis of `least` elements or more; ShapeError where it is known not to have them."""
    if isinstance(dim, int) and isinstance(least, int):
        if dim < least:
            raise ShapeError(f"an index needs an axis of at least {least} elements, got {dim}")
    elif trace is not None and not nonnegative(add(dim, mul(least, -1))):
        trace.require(dim, ">=", least)


def extents(shape: Shape, index: Index) -> list[Stretch]:
    """Every entry of an index resolved against the shape it indexes."""
    return [resolve(entry, dim) for entry, dim in zip(index, shape, strict=True)]


def python_index(index: Index) -> tuple[Any, ...]:
    """The index as NumPy takes it, once its sizes are numbers."""
    return tuple(slice(e.start, e.stop, e.step) if isinstance(e, Span) else e for e in index)


# -- text
def span_text(span: Span, size: Any) -> str:
    """`1:`, `:-1`, `n - 1 :: 2`, with the blanks around `:` that formatters set for compound bounds."""
    bounds = ["" if b is None else size(b) for b in (span.start, span.stop)]
    compound = any(not b.lstrip("-").replace("_", "a").isalnum() for b in bounds if b)
    left, right = bounds
    if compound:
        text = f"{left} :" if left else ":"
        text += f" {right}" if right else ""
    else:
        text = f"{left}:{right}"
    if span.step != 1:
        text += f"{' ' if compound else ''}:{span.step}" if not compound else f" : {span.step}"
    return text


def index_text(index: Index, size: Any) -> str:
    """The inside of the brackets; trailing full slices are left out."""
    entries = list(index)
    while len(entries) > 1 and entries[-1] == Span():
        entries.pop()
    return ", ".join(span_text(e, size) if isinstance(e, Span) else size(e) for e in entries)
