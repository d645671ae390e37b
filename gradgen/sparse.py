"""Sparse Jacobians and Hessians: `gg.jacobian(f, sparse="csr")`.

The pattern is read off the program: the derivative is taken apart into scalars (passes.scalarise), in which what a direction
does not reach is absent rather than zero. What is present is computed, in one vector of values; where the values belong is
fixed. For functions of known sizes, up to some ten thousand scalars.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.differentiate.jacobians import Hessian, Jacobian
from gradgen.differentiate.transforms import Transform, Wrt
from gradgen.errors import EmitError, ShapeError, SpecError, UnsupportedError
from gradgen.ir import Function
from gradgen.ops.index import SLICE, zeros
from gradgen.ops.shape import STACK
from gradgen.passes.calls import inline
from gradgen.passes.dce import dce
from gradgen.passes.scalarise import is_absent, scalarise
from gradgen.rewriting import splice
from gradgen.sites import warn
from gradgen.trace.stage import Staged
from gradgen.tree import LEAF, Tree
from gradgen.types import Type
from gradgen.value import Trace, Value, apply

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


class SparseJacobian(Jacobian):
    """A Jacobian of which only the entries that can differ from zero are computed."""

    def __init__(self, f: Any, wrt: Wrt, mode: str, format: str) -> None:
        super().__init__(f, wrt, mode)
        self.format = format

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        return sparsified(super().derive(args, names), self.format, "full", "jac")


class SparseHessian(Hessian):
    """A Hessian of which only the entries that can differ from zero are computed."""

    def __init__(self, f: Any, wrt: Wrt, part: str, format: str) -> None:
        super().__init__(f, wrt, "full")
        if part not in ("full", "lower", "upper"):
            raise SpecError(f'part needs "full", "lower" or "upper", got {part!r}')
        self.triangle, self.format = part, format

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        return sparsified(super().derive(args, names), self.format, self.triangle, "hess")


def sparsified(staged: Staged, format: str, part: str, label: str) -> Staged:
    """The staged Jacobian (one block) with the values of its entries as its result."""
    fn = dce(inline(staged.function))
    if staged.result.kind != "leaf" or len(fn.outputs) != 1:
        raise ShapeError(
            f"a sparse {label} needs one argument in wrt and one array as the result, got {staged.result}",
            "Concatenate the results, or take one sparse derivative for each.",
        )
    try:
        scalars, _, slots = scalarise(fn, unrolled=100_000)
    except EmitError as error:
        raise UnsupportedError(
            f"a sparse derivative needs a function of known, moderate sizes: {error.what}",
            "Give the sizes numbers, or take the dense derivative.",
        ) from None
    numbers = slots[0]
    columns = int(np.prod(result_columns(staged, fn), dtype=int))
    matrix = numbers.reshape(-1, columns)
    entries = [
        (r, c) for (r, c), k in np.ndenumerate(matrix)
        if not is_absent(scalars.outputs[k]) and (part == "full" or (c <= r if part == "lower" else c >= r))
    ]  # fmt: skip
    if part == "full" and len(entries) == matrix.size > 1:
        rows = matrix.shape[0]
        warn(
            f"the {label} of {fn.name} is dense ({rows} x {columns}): sparse={format!r} saves nothing"
        )
    if format == "csc":
        entries.sort(key=lambda rc: (rc[1], rc[0]))
    row, col = (np.array([e[axis] for e in entries], np.int64) for axis in (0, 1))
    wanted = [scalars.outputs[matrix[r, c]] for r, c in entries]
    kept = scalars.with_body(scalars.body, wanted)
    kept.inputs = scalars.inputs
    kept = dce(kept)
    with Trace(trusted=True) as trace:
        trace.inputs = list(fn.inputs)
        trace.requires = dict.fromkeys(fn.requires)
        operands = [
            apply(SLICE, p, index=tuple(map(int, index))) if p.type.shape else p
            for p in fn.inputs
            for index in np.ndindex(*p.type.lengths)
        ]
        values = splice(kept, operands)
        dtype = fn.outputs[0].type.dtype
        data = apply(STACK, *values, axis=0) if values else zeros(Type.of(dtype, (0,)))
    made = Function(fn.name, fn.inputs, [data], trace.body, fn.requires, fn.title)
    made.notes = {"slots": [0], "labels": [f"{label}_data"]}
    build = functools.partial(
        Sparse, row=row, col=col, shape=(matrix.shape[0], columns), format=format
    )
    return Staged(made, staged.operands, Tree("dataclass", ("data",), (LEAF,), build))


def result_columns(staged: Staged, fn: Function) -> tuple[int, ...]:
    """The shape of the argument that a Jacobian is by: what its own shape ends with."""
    found = staged.function.notes["columns"]
    return tuple(int(d) for d in found)


def jacobian(f: Any, wrt: Wrt = 0, mode: str = "auto", sparse: Any = None) -> Transform:
    """The derivative of every element of the result by every element of `wrt`: arrays of shape result + argument.

    mode: "forward" (a direction per element of the argument), "reverse" (one per element of the result), "auto" (the fewer).
    sparse: "coo" (or True), "csr", "csc": a `gg.Sparse` of the entries that can differ from zero; sizes must be known.
    """
    format = chosen_format(sparse)
    return Jacobian(f, wrt, mode) if format is None else SparseJacobian(f, wrt, mode, format)


def hessian(f: Any, wrt: Wrt = 0, sparse: Any = None, part: str = "full") -> Transform:
    """The second derivatives of a scalar function, of shape argument + argument (for several, a tuple of tuples).

    part: "lower" or "upper" leaves the other triangle 0 (or out, with sparse). sparse: see `jacobian`.
    """
    format = chosen_format(sparse)
    return Hessian(f, wrt, part) if format is None else SparseHessian(f, wrt, part, format)
