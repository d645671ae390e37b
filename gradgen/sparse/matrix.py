"""Sparse matrices as sparse derivatives return them: values at fixed places."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from gradgen.errors import SpecError, UnsupportedError
from gradgen.ir import Function
from gradgen.ops.index import zeros
from gradgen.sites import warn
from gradgen.trace.stage import Staged
from gradgen.tree import LEAF, Tree
from gradgen.types import Type
from gradgen.value import Value, apply

FORMATS = ("coo", "csr", "csc")


class Sparse:
    """A matrix by its entries: `data` at fixed rows and columns.

    data: values (f64[nnz]).  row, col: where each belongs (i64[nnz]), sorted by row ("coo", "csr") or by column ("csc").
    shape, nnz; indices and indptr as SciPy has them for "csr" and "csc".
    """

    def __init__(
        self, data: Any, row: np.ndarray, col: np.ndarray, shape: tuple[int, int], format: str
    ) -> None:
        self.data, self.row, self.col, self.shape, self.format = data, row, col, shape, format

    @property
    def nnz(self) -> int:
        """The number of entries, zeros among them included."""
        return len(self.row)

    @property
    def indices(self) -> np.ndarray:
        """Columns of the entries ("csr") or rows ("csc")."""
        if self.format == "coo":
            raise AttributeError("a coo matrix has row and col, no indices")
        return self.col if self.format == "csr" else self.row

    @property
    def indptr(self) -> np.ndarray:
        """Where each row ("csr") or column ("csc") begins among the entries."""
        if self.format == "coo":
            raise AttributeError("a coo matrix has row and col, no indptr")
        major, count = (
            (self.row, self.shape[0]) if self.format == "csr" else (self.col, self.shape[1])
        )
        return np.searchsorted(major, np.arange(count + 1)).astype(np.int64)

    def toarray(self) -> Any:
        """The dense matrix."""
        if isinstance(self.data, Value):
            from gradgen.ops.index import SCATTER_ADD
            from gradgen.value import constant

            empty = zeros(Type.of(self.data.type.dtype, self.shape))
            return apply(
                SCATTER_ADD, empty, self.data, constant(self.row), constant(self.col), axis=0
            )
        out = np.zeros(self.shape, np.asarray(self.data).dtype)
        out[self.row, self.col] = self.data
        return out

    def to_scipy(self) -> Any:
        """A scipy.sparse array of the same format."""
        try:
            import scipy.sparse as sparse
        except ImportError:
            raise UnsupportedError("to_scipy needs SciPy", "pip install scipy") from None
        if self.format == "coo":
            return sparse.coo_array((self.data, (self.row, self.col)), shape=self.shape)
        kind = sparse.csr_array if self.format == "csr" else sparse.csc_array
        return kind((self.data, self.indices, self.indptr), shape=self.shape)

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"<Sparse {rows} x {columns}, {self.nnz} entries, {self.format}>"


def chosen_format(sparse: Any) -> str | None:
    if sparse is None or sparse is False:
        return None
    found = "coo" if sparse is True else sparse
    if found not in FORMATS:
        raise SpecError(f"sparse needs True or one of {', '.join(FORMATS)}, got {sparse!r}")
    return str(found)


def warn_if_dense(
    fn: Function, count: int, shape: tuple[int, int], format: str, label: str
) -> None:
    """Say so where all entries of more than one can differ from zero."""
    rows, columns = shape
    if count == rows * columns > 1:
        warn(
            f"the {label} of {fn.name} is dense ({rows} x {columns}): sparse={format!r} saves nothing"
        )


def staged_entries(
    fn: Function,
    operands: list[Any],
    row: np.ndarray,
    col: np.ndarray,
    shape: tuple[int, int],
    format: str,
    label: str,
) -> Staged:
    """fn, whose result is the values of the entries, as what returns a Sparse."""
    fn.notes = {"slots": [0], "labels": [f"{label}_data"]}
    build = functools.partial(Sparse, row=row, col=col, shape=shape, format=format)
    return Staged(fn, operands, Tree("dataclass", ("data",), (LEAF,), build))
