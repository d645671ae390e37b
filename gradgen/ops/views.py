"""Views of arrays as NumPy has them: through which a write reaches the array.

A slice and a transpose always are views. A reshape is one of an array that lies row by row in memory, and a copy of another:
NumPy makes `2 * x.T` lie as `x.T` does, so that a write to `(2 * x.T).ravel()` reaches nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.functions import implements
from gradgen.handle import Rearranged
from gradgen.ops.index import index_of
from gradgen.ops.shape import BROADCAST, RESHAPE, TRANSPOSE, inverse
from gradgen.types import Shape
from gradgen.value import PARAM, Extent, Value, current_trace


@implements("part of")
def part_of(view: Value) -> Any:
    """The place of `view` in its operand, through which it is written: an index or a Rearranged; None if it is no view."""
    if view.op is TRANSPOSE:
        axes = view.params["axes"]
        return Rearranged(TRANSPOSE, {"axes": axes}, {"axes": inverse(axes)})
    if view.op is RESHAPE:
        of = view.args[0]
        if not lies_row_by_row(of):
            return None
        return Rearranged(RESHAPE, {"shape": view.type.shape}, {"shape": of.type.shape})
    return index_of(view)


@implements("index through")
def index_through(
    place: Rearranged, shape: Shape, index: Any, value: Any
) -> tuple[Any, ...] | None:
    """The index into an array of `shape` where `view[index] = value` writes one element or row; None where it has none.

    An element of a flat view is at (k // m, k % m), which is right for k < 0 too.
    """
    entries = list(index) if isinstance(index, tuple) else [index]
    rows = sum(isinstance(e, slice) for e in entries)
    if sum(map(_is_number, entries)) + rows < len(entries) or len(entries) > len(shape):
        return None
    if place.op is TRANSPOSE:
        entries += [slice(None)] * (len(shape) - len(entries))
        rows = sum(isinstance(e, slice) for e in entries)
        single = not value.type.shape if isinstance(value, Value) else np.isscalar(value)
        return tuple(entries[k] for k in place.back["axes"]) if single or rows < 2 else None
    if rows or len(place.there["shape"]) != 1 or len(shape) < 2:
        return None
    k = entries[0]
    known = all(isinstance(d, int) and d > 0 for d in shape)
    if not known and not isinstance(k, Value):
        return None
    found = []
    for dim in reversed(shape[1:]):
        size = dim if isinstance(dim, int) else Extent.of(dim)
        found.append(k % size)
        k = k // size
    return (k, *reversed(found))


def _is_number(entry: Any) -> bool:
    if isinstance(entry, Value):
        return not entry.type.shape and entry.type.dtype.startswith("i")
    return isinstance(entry, (int, np.integer)) and not isinstance(entry, bool)


def lies_row_by_row(x: Value) -> bool:
    """Whether the array is known to lie row by row in NumPy's memory, with nothing between."""
    trace = current_trace()
    known = {} if trace is None else trace.row_by_row
    waiting, seen = [x], {id(x)}
    while waiting:
        of = _laid_as(waiting.pop())
        if of is None or any(known.get(id(a)) is False for a in of):
            known[id(x)] = False
            return False
        of = [a for a in of if id(a) not in known and id(a) not in seen]
        seen.update(map(id, of))
        waiting += of
    known.update(dict.fromkeys(seen, True))
    return True


def _laid_as(x: Value) -> list[Value] | None:
    """The arrays that must lie row by row for `x` to; None where it is not known to."""
    trace = current_trace()
    holder = None if trace is None else trace.held.get(id(x))
    if holder is not None and holder._grad.first is not None and holder._grad.first is not x:
        return [holder._grad.first]  # whatever has been written into it
    op = x.op
    if x.type.ndim < 2 and not op.view:
        return []
    if op is PARAM:
        return [] if x.owner.parent is None else None
    if op is RESHAPE or op.store is not None:
        return [x.args[0]]
    if op is BROADCAST:  # np.zeros, np.full
        return None if x.args[0].type.shape else []
    if op.name == "outer":
        return []
    return [a for a in x.args if a.type.shape] if op.elementwise else None
