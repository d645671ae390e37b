"""The entries of a sparse matrix in the three formats, as statements: where their places are known at run time only.

    rows of entries (blocks)  ->  {"data": v, "row": v, "col": v}                "coo"
                                  {"data": v, "indices": v, "indptr": v}         "csr", "csc"

and "shape", two numbers, where a size is symbolic. The names and their meanings are those of scipy.sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gradgen.differentiate.batch import numbers
from gradgen.ir import OPS
from gradgen.ops.index import GATHER, zeros
from gradgen.ops.shape import BROADCAST, concatenate, reshape, stack
from gradgen.ops.sorting import ARGSORT, SEARCHSORTED
from gradgen.sizes import Dim, add, mul
from gradgen.types import Type
from gradgen.value import Extent, Value, apply


class Rows(NamedTuple):
    """`height` rows of a matrix, each with `width` entries, one row after the other: the columns of those."""

    height: Dim
    width: int
    columns: Value | None


class Entries(NamedTuple):
    """The entries of a matrix, row by row: their values, and its rows."""

    data: Value
    rows: list[Rows]


def arranged(entries: Entries, shape: tuple[Dim, Dim], format: str) -> dict[str, Value]:
    """The parts of the matrix that has these entries, in the open trace."""
    data, rows = entries
    kept = [r.columns for r in rows if r.columns is not None]
    col = concatenate(kept, axis=0) if kept else zeros(Type.of("i64", (0,)))
    if format == "csr":
        made = {"data": data, "indices": col, "indptr": starts(rows)}
    else:
        row = _row_numbers(rows)
        made = {"data": data, "row": row, "col": col}
        if format == "csc":
            made = _by_column(data, row, col, shape[1])
    if not all(isinstance(d, int) for d in shape):
        made["shape"] = stack([Extent.of(d) for d in shape])
    return made


def _row_numbers(rows: Sequence[Rows]) -> Value:
    """The row of each entry."""
    parts = []
    start: Dim = 0
    for r in rows:
        if r.width:
            found = numbers(r.height, 1)
            found = found + Extent.of(start) if start != 0 else found
            if r.width > 1:
                spread = apply(BROADCAST, reshape(found, (r.height, 1)), shape=(r.height, r.width))
                found = reshape(spread, (mul(r.height, r.width),))
            parts.append(found)
        start = add(start, r.height)
    return concatenate(parts, axis=0) if parts else zeros(Type.of("i64", (0,)))


def starts(rows: Sequence[Rows]) -> Value:
    """Where each row begins among the entries, and where the last one ends."""
    parts = []
    start: Dim = 0
    for r in rows:
        last = r is rows[-1]
        found = numbers(add(r.height, 1) if last else r.height, 1) * r.width
        parts.append(found + Extent.of(start) if start != 0 else found)
        start = add(start, mul(r.height, r.width))
    return concatenate(parts, axis=0)


def _by_column(data: Value, row: Value, col: Value, columns: Dim) -> dict[str, Value]:
    """Entries column by column, in each by row."""
    # As floats, which hold any column there is: those are merged and bisected in C, integers are counted.
    key = apply(OPS["cast"], col, dtype="f64")
    order = apply(ARGSORT, key)
    order.name = "order"
    data, row, key = (apply(GATHER, v, order, axis=0) for v in (data, row, key))
    starts = apply(SEARCHSORTED, key, numbers(add(columns, 1), 1), side="left")
    return {"data": data, "indices": row, "indptr": starts}
