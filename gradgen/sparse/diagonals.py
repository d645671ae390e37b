"""Sparse Jacobians by their diagonals, where elements meet only their neighbours (differentiate.banded)."""

from __future__ import annotations

import numpy as np

from gradgen.differentiate.banded import Band, band, length, put
from gradgen.ir import Function
from gradgen.ops.index import SLICE, zeros
from gradgen.ops.shape import CONCATENATE
from gradgen.ops.spans import Span
from gradgen.types import Type
from gradgen.value import Trace, Value, apply


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
