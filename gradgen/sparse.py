"""Sparse Jacobians and Hessians: `gg.jacobian(f, sparse="csr")`.

The pattern is read off the program. Where elements meet only their neighbours, it is a few diagonals (differentiate.banded),
and each is computed as one vector: the text is as long for 5,000 elements as for 50. Otherwise the derivative is taken apart
into scalars (passes.scalarise), in which what a direction does not reach is absent rather than zero; the text grows with what
is present, up to some ten thousand scalars. Either way the values are one vector, and where they belong is fixed. Sizes are
known.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.differentiate.banded import Band, band, length, put
from gradgen.differentiate.canonicalise import canonicalise
from gradgen.differentiate.jacobians import Hessian, Jacobian, traced
from gradgen.differentiate.transforms import Grad, Transform, Wrt, selections, wrt_inputs
from gradgen.errors import EmitError, ShapeError, SpecError, UnsupportedError
from gradgen.ir import Function
from gradgen.ops.index import SLICE, zeros
from gradgen.ops.shape import CONCATENATE, STACK
from gradgen.ops.spans import Span
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
        if self.banded:
            found = diagonals(self.f, self.wrt, args, names, self.format, "full", "jac")
            if found is not None:
                return found
        return sparsified(super().derive(args, names), self.format, "full", "jac")


class SparseHessian(Hessian):
    """A Hessian of which only the entries that can differ from zero are computed."""

    def __init__(self, f: Any, wrt: Wrt, part: str, format: str) -> None:
        super().__init__(f, wrt, "full")
        if part not in ("full", "lower", "upper"):
            raise SpecError(f'part needs "full", "lower" or "upper", got {part!r}')
        self.triangle, self.format = part, format

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        gradient = Grad(self.f, self.wrt)
        found = diagonals(gradient, self.wrt, args, names, self.format, self.triangle, "hess")
        if found is not None:
            return found
        return sparsified(super().derive(args, names), self.format, self.triangle, "hess")


# -- by diagonals
def diagonals(
    f: Any, wrt: Wrt, args: Sequence[Any], names: Sequence[str], format: str, part: str, label: str
) -> Staged | None:
    """The entries of the Jacobian of f by its diagonals; None where it has no such form."""
    chosen, _ = selections(f, args, wrt)
    inner, _ = traced(f, args, names)
    fn = canonicalise(inner.function)
    inputs = wrt_inputs(chosen)
    if inner.result.kind != "leaf" or len(fn.outputs) != 1 or len(inputs) != 1:
        return None
    x, y = fn.inputs[inputs[0]].type, fn.outputs[0].type
    if not (x.static and y.static and x.ndim == y.ndim == 1 and y.is_float):
        return None
    shape = (*y.lengths, *x.lengths)
    with Trace(trusted=True) as trace:
        trace.inputs, trace.body = list(fn.inputs), list(fn.body)
        trace.requires = dict.fromkeys(fn.requires)
        found = band(fn, inputs[0], 0)
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
    if part == "full":
        warn_if_dense(fn, len(row), shape, format, label)
    out = Function(fn.name, fn.inputs, [data], trace.body, tuple(trace.requires), fn.title)
    return staged_entries(out, inner.operands, row, col, shape, format, label)


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


# -- by scalars


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
    shape = (matrix.shape[0], columns)
    if part == "full":
        warn_if_dense(fn, len(entries), shape, format, label)
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
    return staged_entries(made, staged.operands, row, col, shape, format, label)


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


def result_columns(staged: Staged, fn: Function) -> tuple[int, ...]:
    """The shape of the argument that a Jacobian is by: what its own shape ends with."""
    found = staged.function.notes["columns"]
    return tuple(int(d) for d in found)


def jacobian(f: Any, wrt: Wrt = 0, mode: str = "auto", sparse: Any = None) -> Transform:
    """The derivative of every element of the result by every element of `wrt`: arrays of shape result + argument.

    mode: "forward" (a direction per element of the argument), "reverse" (one per element of the result), "auto" (the fewer;
    or by diagonals, where elements of vectors meet only their neighbours).
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
