"""np.linalg's functions on Values, made of the records in `linalg`: vectors and stacks, named results, modes.

Refused by name: eig and eigvals (values may be complex), full matrices of qr and svd (their null spaces have no derivative).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradgen.errors import ShapeError, UnsupportedError
from gradgen.functions import implements
from gradgen.ir import OPS
from gradgen.ops import calls
from gradgen.ops.contract import matmul
from gradgen.ops.linalg import (
    bound,
    eigh_parts,
    qr_parts,
    square,
    svd_parts,
    t,
)
from gradgen.ops.reduce import as_values
from gradgen.ops.reductions import count_nonzero, floats, max_, sum_
from gradgen.ops.shape import concatenate, expand_dims, moveaxis, reshape
from gradgen.sizes import product
from gradgen.types import DTYPES
from gradgen.value import Value, apply


class SlogdetResult(NamedTuple):
    sign: Value
    logabsdet: Value


class QRResult(NamedTuple):
    Q: Value
    R: Value


class EighResult(NamedTuple):
    eigenvalues: Value
    eigenvectors: Value


class SVDResult(NamedTuple):
    U: Value
    S: Value
    Vh: Value


# -- inverse and systems
@implements(np.linalg.inv)
def inv(a: Any) -> Value:
    return apply(OPS["inv"], floats(a))


def both(a: Any, b: Any) -> tuple[Value, Value]:
    """Two operands as floats of one dtype."""
    a, b = as_values((a, b))
    return floats(a), floats(b)


def with_columns(op: Any, a: Value, b: Value) -> Value:
    """`op(a, b)` for a b that may be a vector."""
    if b.type.ndim != 1:
        return op(a, b)
    found = op(a, expand_dims(b, 1))
    return reshape(found, found.type.shape[:-1])


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Value:
    a, b = both(a, b)
    if not b.type.shape:
        raise ShapeError(f"np.linalg.solve needs a vector or matrices on the right, got {b.type}")
    return with_columns(lambda x, y: apply(OPS["solve"], x, y), a, b)


@implements(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Value:
    if rcond is not None or rtol is not None:
        raise UnsupportedError(
            "np.linalg.pinv needs the default cutoff", "Leave rcond and rtol out."
        )
    return apply(OPS["pinv"], floats(a))


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Value, Value, Value, Value]:
    """x of least length among those that minimise |a @ x - b|, residuals, rank, singular values."""
    a, b = both(a, b)
    if isinstance(rcond, (int, float)) and rcond not in (-1,):
        raise UnsupportedError(f"np.linalg.lstsq needs the default cutoff, got rcond={rcond}")
    x = matmul(apply(OPS["pinv"], a), b)
    rest = calls.square(b - matmul(a, x))
    residuals = sum_(rest, 0, keepdims=b.type.ndim == 1)
    return x, residuals, matrix_rank(a), svdvals(a)


@implements(np.linalg.matrix_rank)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Value:
    """How many singular values are larger than the largest times eps times the longer side; no slope."""
    x = floats(A)
    s = svdvals(x)
    if tol is None:
        m, n = (bound(d) for d in x.type.shape[-2:])
        longer = (
            max(m, n) if isinstance(m, int) and isinstance(n, int) else apply(OPS["maximum"], m, n)
        )
        eps = float(np.finfo(DTYPES[x.type.dtype]).eps)
        tol = max_(s, -1, keepdims=True) * (longer * eps if rtol is None else rtol)
    return count_nonzero(calls.greater(s, tol), -1)


# -- determinants: of small matrices, whose sizes are numbers, written out
@implements(np.linalg.det)
def det(a: Any) -> Value:
    a = floats(a)
    square("np.linalg.det", a.type)
    n = a.type.shape[-1]
    if not isinstance(n, int) or n > 3 or n == 0:
        return apply(OPS["det"], a)
    at = lambda i, j: a[..., i, j]
    if n == 1:
        return at(0, 0)
    if n == 2:
        return at(0, 0) * at(1, 1) - at(0, 1) * at(1, 0)
    return (
        at(0, 0) * (at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1))
        - at(0, 1) * (at(1, 0) * at(2, 2) - at(1, 2) * at(2, 0))
        + at(0, 2) * (at(1, 0) * at(2, 1) - at(1, 1) * at(2, 0))
    )


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> SlogdetResult:
    a = floats(a)
    return SlogdetResult(apply(OPS["det_sign"], a), apply(OPS["logabsdet"], a))


# -- decompositions
@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Value:
    found = apply(OPS["cholesky"], floats(a))
    return t(found) if upper else found


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """The reduced decomposition; of a wide matrix by its leading square."""
    a = floats(a)
    if mode not in ("reduced", "r") and not (
        mode == "complete" and a.type.shape[-1] == a.type.shape[-2]
    ):
        raise UnsupportedError(
            f"np.linalg.qr needs mode 'reduced' or 'r', got {mode!r}",
            "The further columns of a complete q span a null space, which has no derivative.",
        )
    m, n = a.type.shape[-2:]
    if isinstance(m, int) and isinstance(n, int) and m < n:
        left, right = a[..., :m], a[..., m:]
        q, r = qr_parts(apply(OPS["qr"], left), left)
        r = concatenate([r, matmul(t(q), right)], a.type.ndim - 1)
    else:
        q, r = qr_parts(apply(OPS["qr"], a), a)
    return r if mode == "r" else QRResult(q, r)


def _lower(a: Value, UPLO: str) -> Value:
    """NumPy reads one triangle: the lower one of a or of its transpose."""
    return a if UPLO.upper() == "L" else t(a)


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> EighResult:
    return EighResult(*eigh_parts(apply(OPS["eigh"], _lower(floats(a), UPLO))))


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Value:
    return apply(OPS["eigvalsh"], _lower(floats(a), UPLO))


@implements(np.linalg.svd)
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    a = floats(a)
    if not compute_uv:
        return apply(OPS["svdvals"], a)
    if full_matrices and a.type.shape[-1] != a.type.shape[-2]:
        raise UnsupportedError(
            f"np.linalg.svd of {a.type} needs full_matrices=False",
            "The further columns of a full u or v span a null space, which has no derivative.",
        )
    u, s, v = svd_parts(apply(OPS["svd"], a), a)
    return SVDResult(u, s, t(v))


@implements(np.linalg.svdvals)
def svdvals(x: Any, /) -> Value:
    return apply(OPS["svdvals"], floats(x))


# -- tensors
@implements(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Value:
    a = floats(a)
    head, tail = a.type.shape[:ind], a.type.shape[ind:]
    if product(head) != product(tail):
        raise ShapeError(
            f"np.linalg.tensorinv needs as many elements before axis {ind} as after it, got {a.type}"
        )
    return reshape(inv(reshape(a, (product(head), product(tail)))), (*tail, *head))


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Value:
    a, b = both(a, b)
    if axes is not None:
        a = moveaxis(a, tuple(axes), tuple(range(a.type.ndim - len(axes), a.type.ndim)))
    rest = a.type.shape[b.type.ndim :]
    if product(rest) != b.type.size:
        raise ShapeError(
            f"np.linalg.tensorsolve needs as many unknowns as equations, got {a.type} and {b.type}"
        )
    return reshape(solve(reshape(a, (b.type.size, product(rest))), reshape(b, -1)), rest)
