"""Sets of columns, one for each row: what a pattern is made of, and what is done to its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gradgen.errors import UnsupportedError

MOST = 30_000_000  # elements of all sets of one value


class Pattern(NamedTuple):
    """A set of columns for each row, one after the other and rising: row r has indices[indptr[r] : indptr[r + 1]]."""

    indptr: np.ndarray
    indices: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        return len(self.indices)

    @property
    def row(self) -> np.ndarray:
        """The row of each entry."""
        return np.repeat(np.arange(self.rows), np.diff(self.indptr))

    def transpose(self, columns: int) -> Pattern:
        """The rows of each column."""
        return gathered(self.indices, self.row, columns)


# For each row of a result, the row that it reads, -1 for none; None where they are the same.
Places = np.ndarray | None


def identity(n: int) -> Pattern:
    return Pattern(np.arange(n + 1), np.arange(n))


def gathered(row: np.ndarray, col: np.ndarray, rows: int) -> Pattern:
    """The pattern with entries at (row, col), repeated ones once."""
    width = int(col.max(initial=-1)) + 1
    keys = np.unique(row.astype(np.int64) * max(width, 1) + col)
    row, col = np.divmod(keys, max(width, 1))
    return Pattern(np.searchsorted(row, np.arange(rows + 1)), col)


def taken(p: Pattern, places: Places) -> Pattern:
    """The rows at `places`."""
    if places is None:
        return p
    counts = np.append(np.diff(p.indptr), 0)[places]
    indptr = np.concatenate(([0], np.cumsum(counts)))
    if indptr[-1] > MOST:
        raise UnsupportedError(
            f"a sparse derivative needs fewer than {MOST} dependences of one value, got {indptr[-1]}",
            "Take the dense derivative, or a product with it (jvp, vjp, hvp).",
        )
    shift = np.repeat(np.append(p.indptr[:-1], 0)[places] - indptr[:-1], counts)
    return Pattern(indptr, p.indices[np.arange(indptr[-1]) + shift])


def united(parts: Sequence[tuple[Pattern, Places]]) -> Pattern | None:
    """Row by row, the union of the parts' rows at their places."""
    found: list[Pattern] = []
    for part, places in parts:
        made = taken(part, places)
        if made.nnz and not any(made is p or same(made, p) for p in found):
            found.append(made)
    if len(found) < 2:
        return found[0] if found else None
    row, col = (np.concatenate(v) for v in zip(*((p.row, p.indices) for p in found), strict=True))
    return gathered(row, col, found[0].rows)


def merged(p: Pattern, onto: np.ndarray, rows: int) -> Pattern:
    """Rows put together: row r of p goes into row onto[r], out of `rows`."""
    return gathered(np.repeat(onto, np.diff(p.indptr)), p.indices, rows)


def same(a: Pattern, b: Pattern) -> bool:
    return np.array_equal(a.indices, b.indices) and np.array_equal(a.indptr, b.indptr)
