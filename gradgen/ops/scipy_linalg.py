"""scipy.linalg's functions on Values, by name: solve, solve_triangular, cholesky, cho_factor, cho_solve, inv, det, lu_factor,
lu_solve, expm, eigh, svdvals, block_diag, toeplitz, circulant, hankel.

A factorisation that SciPy hands on as an opaque pair is handed on as what its solver needs: the matrix itself for lu_factor,
the triangle for cho_factor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.errors import ShapeError, UnsupportedError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ir import OPS
from gradgen.ops.index import getitem
from gradgen.ops.linalg import identity_like, low, t, triangle
from gradgen.ops.matrices import (
    both,
    cholesky,
    det,
    eigh,
    eigvalsh,
    inv,
    pinv,
    solve,
    svdvals,
    with_columns,
)
from gradgen.ops.ranges import iota
from gradgen.ops.reduce import as_value, as_values
from gradgen.ops.reductions import floats
from gradgen.ops.shape import concatenate, expand_dims, reshape
from gradgen.value import Value, apply, constant


@implements("scipy.linalg.solve")
def scipy_solve(
    a: Any, b: Any, lower: bool = False, overwrite_a: bool = False, overwrite_b: bool = False,
    check_finite: bool = True, assume_a: Any = None, transposed: bool = False,
) -> Value:  # fmt: skip
    """a @ x = b; `assume_a` "pos" goes by the Cholesky factor, "lower|upper triangular" by substitution."""
    a, b = both(a, b)
    if assume_a in ("pos", "positive definite"):
        return cho_solve((cholesky(a), True), b)
    if assume_a in ("lower triangular", "upper triangular"):
        return solve_triangular(a, b, int(transposed), assume_a.startswith("lower"))
    return solve(t(a) if transposed else a, b)


@implements("scipy.linalg.solve_triangular")
def solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False,
    overwrite_b: bool = False, check_finite: bool = True,
) -> Value:  # fmt: skip
    """a @ x = b (a.T @ x = b with trans), reading one triangle of a."""
    a, b = both(a, b)
    if unit_diagonal:
        strict = low(a, -1) if lower else apply(OPS["triu"], a, k=1)
        a = strict + identity_like(a)
    if trans in (1, "T", 2, "C"):
        a, lower = t(a), not lower
    return with_columns(lambda x, y: apply(OPS["solve_triangular"], x, y, lower=bool(lower)), a, b)


@implements("scipy.linalg.cholesky")
def scipy_cholesky(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Value:
    found = cholesky(a)
    return found if lower else t(found)


@implements("scipy.linalg.cho_factor")
def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Value, bool]:
    return scipy_cholesky(a, lower), lower


@implements("scipy.linalg.cho_solve")
def cho_solve(
    c_and_lower: Any, b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Value:
    c, is_lower = c_and_lower
    first = solve_triangular(c, b, 0 if is_lower else 1, is_lower)
    return solve_triangular(c, first, 1 if is_lower else 0, is_lower)


@implements("scipy.linalg.lu_factor")
def lu_factor(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Value, None]:
    """The matrix itself: `lu_solve` factors it."""
    return floats(a), None


@implements("scipy.linalg.lu_solve")
def lu_solve(
    lu_and_piv: Any, b: Any, trans: int = 0, overwrite_b: bool = False, check_finite: bool = True
) -> Value:
    lu, pivots = lu_and_piv
    if pivots is None:
        return solve(t(lu) if trans else lu, b)
    if isinstance(pivots, Value):
        raise UnsupportedError(
            "scipy.linalg.lu_solve needs pivots known at trace time, or the pair of a lu_factor inside the function",
            "Call lu_factor inside the function, or scipy.linalg.solve.",
        )
    order = np.arange(len(pivots))  # factored outside, by SciPy: its exchanges of rows in turn
    for k, row in enumerate(np.asarray(pivots)):
        order[[k, row]] = order[[row, k]]
    b = as_value(b)
    if trans:
        x = solve_triangular(lu, solve_triangular(lu, b, 1), 1, True, True)
        return getitem(x, np.argsort(order))
    return solve_triangular(lu, solve_triangular(lu, getitem(b, order), 0, True, True))


@implements("scipy.linalg.inv")
def scipy_inv(
    a: Any,
    overwrite_a: bool = False,
    check_finite: bool = True,
    assume_a: Any = None,
    lower: bool = False,
) -> Value:
    return inv(a)


@implements("scipy.linalg.pinv", "scipy.linalg.pinvh")
def scipy_pinv(a: Any, check_finite: bool = True) -> Value:
    return pinv(a)


@implements("scipy.linalg.det")
def scipy_det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Value:
    return det(a)


@implements("scipy.linalg.expm")
def expm(A: Any) -> Value:
    """The matrix exponential; the C target refuses it."""
    return apply(OPS["expm"], floats(A))


@implements("scipy.linalg.eigh")
def scipy_eigh(a: Any, b: Any = None, lower: bool = True, eigvals_only: bool = False) -> Any:
    """Of one matrix, or of a and b: a v = w b v, by the Cholesky factor of b."""
    a = floats(a)
    a = a if lower else t(a)
    if b is None:
        return eigvalsh(a) if eigvals_only else tuple(eigh(a))
    c = cholesky(floats(b))
    inner = solve_triangular(c, t(solve_triangular(c, a, lower=True)), lower=True)
    if eigvals_only:
        return eigvalsh(inner)
    w, v = eigh(inner)
    return w, solve_triangular(c, v, 1, True)


@implements("scipy.linalg.eigvalsh")
def scipy_eigvalsh(a: Any, b: Any = None, lower: bool = True) -> Value:
    return scipy_eigh(a, b, lower, True)


@implements("scipy.linalg.svdvals")
def scipy_svdvals(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Value:
    return svdvals(a)


@implements("scipy.linalg.svd")
def scipy_svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    found = FUNCTIONS[np.linalg.svd](a, full_matrices, compute_uv)
    return tuple(found) if compute_uv else found


@implements("scipy.linalg.qr")
def scipy_qr(a: Any, overwrite_a: bool = False, lwork: Any = None, mode: str = "full") -> Any:
    kind = {"economic": "reduced", "full": "complete", "r": "r"}.get(mode, mode)
    found = FUNCTIONS[np.linalg.qr](a, kind)
    return (found,) if kind == "r" else tuple(found)


# -- special matrices
@implements("scipy.linalg.block_diag")
def block_diag(*arrs: Any) -> Value:
    """The matrices along a diagonal, zeros elsewhere."""
    parts = [x if x.type.ndim == 2 else reshape(x, (1, x.type.size)) for x in as_values(arrs)]
    zeros = FUNCTIONS[np.broadcast_to]
    rows = []
    for k, part in enumerate(parts):
        height = part.type.shape[0]
        blank = [zeros(constant(0, part.type.dtype), (height, p.type.shape[1])) for p in parts]
        row = concatenate([part if j == k else b for j, b in enumerate(blank)], 1)
        rows.append(row)
    return concatenate(rows, 0)


def _by_position(values: Value, rows: Any, columns: Any, place: Any) -> Value:
    i, j = expand_dims(iota(rows), 1), iota(columns)
    return getitem(values, place(i, j))


@implements("scipy.linalg.toeplitz")
def toeplitz(c: Any, r: Any = None) -> Value:
    """Constant along diagonals: first column c, first row r (its first element is c's)."""
    c = reshape(as_value(c), -1)
    r = c if r is None else reshape(as_values((c, r))[1], -1)
    n = c.type.shape[0]
    joined = concatenate([c, r[1:]])
    size: Any = n if isinstance(n, int) else c.shape[0]
    # c[i - j] on and below the diagonal, r[j - i] above it, which lies at n - 1 + j - i of the two joined
    i, j = expand_dims(iota(n), 1), iota(r.type.shape[0])
    gap = i - j
    place = FUNCTIONS[np.where](gap >= 0, gap, size - 1 - gap)
    return getitem(joined, place)


@implements("scipy.linalg.circulant")
def circulant(c: Any) -> Value:
    c = as_value(c)
    if c.type.ndim != 1:
        raise ShapeError(f"scipy.linalg.circulant needs a vector, got {c.type}")
    n = c.type.shape[0]
    size: Any = n if isinstance(n, int) else c.shape[0]
    return _by_position(c, n, n, lambda i, j: (i - j) % size)


@implements("scipy.linalg.tril")
def scipy_tril(m: Any, k: int = 0) -> Value:
    return triangle(as_value(m), True) if k == 0 else low(as_value(m), k)
