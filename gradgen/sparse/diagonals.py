"""Sparse Jacobians by their diagonals, where elements meet only their neighbours (differentiate.banded).

diagonals(fn, i, format, part)     of known sizes: a Function of the entries, whose places are known
stretched(fn, k, i, format, part)  of symbolic ones: the parts of the matrix, in the open trace
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradgen.differentiate.banded import Band, band, length, put
from gradgen.ir import Function
from gradgen.ops.index import SLICE, SLICE_SET, zeros
from gradgen.ops.ranges import ARANGE
from gradgen.ops.shape import BROADCAST, CONCATENATE, concatenate, reshape, stack
from gradgen.ops.spans import Span
from gradgen.sites import PLACES
from gradgen.sizes import Dim, add, mul, nonnegative
from gradgen.sparse.formats import Entries, Rows, arranged
from gradgen.types import Type
from gradgen.value import Extent, Trace, Value, apply, constant, current_trace


def diagonals(
    fn: Function, i: int, format: str, part: str
) -> tuple[Function, np.ndarray, np.ndarray] | None:
    """A Function of the entries of the Jacobian of fn by input i, and their rows and columns; None where it is no band."""
    x, y = fn.inputs[i].type, fn.outputs[0].type
    if not (x.static and y.static and x.ndim == y.ndim == 1 and y.is_float):
        return None
    shape = (*y.lengths, *x.lengths)
    with Trace(trusted=True) as trace:
        trace.inputs, trace.body = list(fn.inputs), list(fn.body)
        trace.requires = dict.fromkeys(fn.requires)
        found = band(fn, i, 0)
        if found is None:
            return None
        kept = {
            k: d
            for k, d in found.items()
            if part == "full" or (k <= 0 if part == "lower" else k >= 0)
        }
        made = compressed(kept, shape, format, y.dtype)
    if made is None:
        return None
    data, row, col = made
    return trace.function(fn.name, [data], fn.title), row, col


RUNS = 16  # stretches of entries that are joined to one vector


def compressed(
    found: Band, shape: tuple[int, int], format: str, dtype: str
) -> tuple[Value, np.ndarray, np.ndarray] | None:
    """The entries on diagonals row by row ("csc": column by column), and their rows and columns.

    Each line has a place for each diagonal; the places of diagonals that do not reach the line are cut out. None where
    those are too many to be cut.
    """
    rows, columns = shape
    across = format == "csc"
    width, lines = len(found), columns if across else rows
    ranked = list(enumerate(sorted(found.items(), reverse=across)))
    row, col = (np.full((lines, width), -1) for _ in range(2))
    for rank, (k, d) in ranked:
        at = np.arange(d.head, rows - d.tail)
        line = at + k if across else at
        row[line, rank], col[line, rank] = at, at + k
    present = row.ravel() >= 0
    edges = np.flatnonzero(np.diff(present, prepend=False, append=False))
    runs = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    if len(runs) > RUNS:
        return None
    # The vector holds the places from the first that is kept to the last.
    start, stop = (runs[0][0], runs[-1][1]) if runs else (0, 0)
    data = zeros(Type.of(dtype, (stop - start,)))
    for rank, (k, d) in ranked:
        first = (d.head + (k if across else 0)) * width + rank
        data = put(data, d, length(rows, d), first - start, width)
    if len(runs) > 1:
        spans = [Span(a - start or None, None if b == stop else b - start) for a, b in runs]
        parts = [apply(SLICE, data, index=(span,)) for span in spans]
        data = apply(CONCATENATE, *parts, axis=0)
    return data, row.ravel()[present], col.ravel()[present]


# -- symbolic sizes
def stretched(fn: Function, k: int, i: int, format: str, part: str) -> dict[str, Value] | None:
    """The parts of the Jacobian of output k by input i, in the open trace, which holds fn's statements; None where it is no
    band. The first and last lines that some diagonals do not reach need to be different ones: that is required of the sizes.
    """
    trace = current_trace()
    assert trace is not None
    mark = len(trace.body)
    x, y = fn.inputs[i].type, fn.outputs[k].type
    found = band(fn, i, k) if y.is_float else None
    if found is None:
        return None
    kept = {
        o: d for o, d in found.items() if part == "full" or (o <= 0 if part == "lower" else o >= 0)
    }
    rows, columns = y.shape[0], x.shape[0]
    if not kept:
        none = zeros(Type.of(y.dtype, (0,)))
        return arranged(Entries(none, [Rows(rows, 0, None)]), (rows, columns), format)
    made = _Lines.of(kept, rows, columns, format == "csc")
    if made is None:
        del trace.body[mark:]
        return None
    trace.site = ("", 0, "forward")
    data = made.data(kept, y.dtype)
    trace.site = ("", 0, PLACES)
    line, other = made.places(kept)
    if format == "coo":
        parts = {"data": data, "row": line, "col": other}
    else:
        parts = {"data": data, "indices": other, "indptr": made.starts()}
    parts["shape"] = stack([Extent.of(rows), Extent.of(columns)])
    return parts


@dataclass
class _Lines:
    """Lines (rows; columns, across) with a place for each diagonal, and which of these are there.

    before, after: for each diagonal in the order of its places, how many lines there are before the first and after the last
    that it reaches.
    """

    count: Dim
    across: bool
    before: list[int]
    after: list[int]

    @staticmethod
    def of(found: Band, rows: Dim, columns: Dim, across: bool) -> _Lines | None:
        before, after = [], []
        for o, d in sorted(found.items(), reverse=across):
            first, last = (d.head + o, d.tail - o) if across else (d.head, d.tail)
            rest = add(add(columns, mul(rows, -1)), last) if across else last
            if not isinstance(rest, int):
                return None
            before.append(first)
            after.append(rest)
        made = _Lines(columns if across else rows, across, before, after)
        trace = current_trace()
        assert trace is not None
        least = max(before) + max(after)
        if not nonnegative(add(made.count, -least)):
            trace.require(made.count, ">=", least)
        return made

    def data(self, found: Band, dtype: str) -> Value:
        wide = zeros(Type.of(dtype, (self.count, len(found))))
        for rank, (_, d) in enumerate(sorted(found.items(), reverse=self.across)):
            inside = Span(self.before[rank] or None, -self.after[rank] or None)
            wide = apply(SLICE_SET, wide, d.values, index=(inside, rank))
        return self._cut(wide)

    def places(self, found: Band) -> tuple[Value, Value]:
        """Of each entry, its line, and where it is along that."""
        width = len(found)
        offsets = sorted(found, reverse=self.across)
        line = reshape(apply(ARANGE, n=self.count), (self.count, 1))
        step = constant(np.array([-o if self.across else o for o in offsets]))
        lines = apply(BROADCAST, line, shape=(self.count, width))
        return self._cut(lines), self._cut(line + step)

    def starts(self) -> Value:
        """Where each line begins among the entries, and where the last one ends."""
        width, head, tail = len(self.before), max(self.before), max(self.after)
        first = np.cumsum([0, *(sum(b <= k for b in self.before) for k in range(head))])
        last = np.cumsum([sum(a <= k for a in self.after) for k in reversed(range(tail))])
        whole = add(self.count, -head - tail)
        middle = apply(ARANGE, n=add(whole, 1)) * width + int(first[-1])
        parts = [middle]
        if head:
            parts.insert(0, constant(first[:-1]))
        if tail:
            end = add(mul(whole, width), int(first[-1]))
            parts.append(constant(last) + Extent.of(end))
        return concatenate(parts, axis=0)

    def _cut(self, wide: Value) -> Value:
        """The places that are there, one after the other."""
        width, head, tail = len(self.before), max(self.before), max(self.after)
        flat = reshape(wide, (mul(self.count, width),))
        first = [b <= k for k in range(head) for b in self.before]
        last = [a <= k for k in reversed(range(tail)) for a in self.after]
        # The stretches of places that are there: of the first lines, of all between with what touches them, of the last.
        start = len(first) - next(
            (n for n, there in enumerate(reversed(first)) if not there), len(first)
        )
        stop = next((n for n, there in enumerate(last) if not there), len(last))
        spans = [Span(a or None, b) for a, b in _stretches(first[:start])]
        spans.append(Span(start or None, stop - len(last) or None))
        spans += [
            Span(stop + a - len(last), stop + b - len(last) or None)
            for a, b in _stretches(last[stop:])
        ]
        parts = [apply(SLICE, flat, index=(s,)) if s != Span() else flat for s in spans]
        return concatenate(parts, axis=0)


def _stretches(there: list[bool]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.array(there, bool), prepend=False, append=False))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
