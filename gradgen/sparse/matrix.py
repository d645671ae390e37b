"""Sparse matrices as sparse derivatives return them: values, and where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradgen.errors import SpecError, UnsupportedError
from gradgen.ir import Function
from gradgen.ops.index import SCATTER_ADD, zeros
from gradgen.ops.sorting import SEARCHSORTED
from gradgen.sites import warn
from gradgen.sizes import Dim
from gradgen.tree import LEAF, Mismatch, Tree, described
from gradgen.types import Type
from gradgen.value import Extent, Value, apply, constant

FORMATS = ("coo", "csr", "csc")


class Sparse:
    """A matrix by its entries, values at rows and columns.

    data: the values (f64[nnz]).  row, col: where each belongs (i64[nnz]), sorted by row ("coo", "csr") or by column ("csc").
    shape, nnz; indices and indptr as SciPy has them for "csr" and "csc". Entries at one place add up. Places that are the same
    in all results of a function are one array for all of them, which is read-only.
    """

    def __init__(
        self,
        data: Any,
        row: Any = None,
        col: Any = None,
        shape: Any = None,
        format: str = "coo",
        indices: Any = None,
        indptr: Any = None,
        sizes: tuple[Dim, Dim] | None = None,
    ) -> None:
        """Places by row and col, or by indices and indptr; sizes: the shape, where it is symbolic, for a traced matrix."""
        self.data, self.format = data, format
        self._row, self._col, self._indptr = row, col, indptr
        if indptr is not None:
            self._row, self._col = (None, indices) if format == "csr" else (indices, None)
        # An array for numbers, which `Compiled.into` may write.
        traced = isinstance(data, Value) and sizes is not None
        self._shape = [Extent.of(d) for d in sizes or ()] if traced else np.asarray(shape, np.int64)

    @property
    def shape(self) -> tuple[Any, Any]:
        """The numbers of rows and columns."""
        rows, columns = self._shape
        return (rows, columns) if isinstance(rows, Value) else (int(rows), int(columns))

    @property
    def row(self) -> Any:
        """The row of each entry."""
        return self._expanded() if self._row is None else self._row

    @property
    def col(self) -> Any:
        """The column of each entry."""
        return self._expanded() if self._col is None else self._col

    def _expanded(self) -> Any:
        """The row ("csr") or column ("csc") of each entry, from where they begin."""
        if isinstance(self._indptr, Value):
            from gradgen.differentiate.batch import numbers

            each = numbers(self.data.type.shape[0], 1)
            return apply(SEARCHSORTED, self._indptr, each, side="right") - 1
        return np.repeat(np.arange(len(self._indptr) - 1), np.diff(self._indptr))

    @property
    def nnz(self) -> int:
        """The number of entries, zeros among them included."""
        count: int = self.data.shape[0]
        return count

    @property
    def indices(self) -> Any:
        """Columns of the entries ("csr") or rows ("csc")."""
        if self.format == "coo":
            raise AttributeError("a coo matrix has row and col, no indices")
        return self.col if self.format == "csr" else self.row

    @property
    def indptr(self) -> Any:
        """Where each row ("csr") or column ("csc") begins among the entries."""
        if self.format == "coo":
            raise AttributeError("a coo matrix has row and col, no indptr")
        if self._indptr is not None:
            return self._indptr
        major, count = (
            (self.row, self.shape[0]) if self.format == "csr" else (self.col, self.shape[1])
        )
        return np.searchsorted(major, np.arange(count + 1)).astype(np.int64)

    def toarray(self) -> Any:
        """The dense matrix."""
        if isinstance(self.data, Value):
            dims = tuple(d.params["size"] if isinstance(d, Value) else d for d in self.shape)
            empty = zeros(Type.of(self.data.type.dtype, dims))
            places = [v if isinstance(v, Value) else constant(v) for v in (self.row, self.col)]
            return apply(SCATTER_ADD, empty, self.data, *places, axis=0)
        out = np.zeros(self.shape, np.asarray(self.data).dtype)
        np.add.at(out, (self.row, self.col), self.data)
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


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes a Sparse of its computed parts, and finds where those parts of a given one are. known: the other parts."""

    keys: tuple[str, ...]
    known: dict[str, Any]

    @property
    def __name__(self) -> str:
        return f"{self.known['format']} Sparse"

    def __call__(self, **parts: Any) -> Sparse:
        return Sparse(**parts, **self.known)

    def taken(self, value: Any, path: str = "out") -> list[Any]:
        """The computed parts of a matrix, to be written. An array stands for the values; None are parts that are left out."""
        if value is None or isinstance(value, np.ndarray):
            return [value if key == "data" else None for key in self.keys]
        if not isinstance(value, Sparse):
            raise Mismatch(path, f"a {self.__name__} or an array for its values", described(value))
        if value.format != self.known["format"]:
            raise Mismatch(path, f"a {self.__name__}", value)
        if "row" in self.known and not self._has_places(value):
            raise Mismatch(path, "a Sparse of the places of the result's entries", value)
        minor = value._col if value.format == "csr" else value._row
        parts = {
            "data": value.data, "row": value._row, "col": value._col, "shape": value._shape,
            "indices": minor, "indptr": value._indptr,
        }  # fmt: skip
        for key in self.keys:
            if parts[key] is None:
                raise Mismatch(path, f"a Sparse with an array {key}, as the result is", value)
        return [parts[key] for key in self.keys]

    def _has_places(self, value: Sparse) -> bool:
        row, col = self.known["row"], self.known["col"]
        if value._row is row and value._col is col:
            return True
        return (
            value.shape == self.known["shape"]
            and np.array_equal(value.row, row)
            and np.array_equal(value.col, col)
        )


def matrix_tree(keys: tuple[str, ...], **known: Any) -> Tree:
    """The structure of a Sparse whose parts `keys` are computed; the others are known."""
    return Tree("dataclass", keys, (LEAF,) * len(keys), Maker(keys, known))
