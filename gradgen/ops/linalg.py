"""Linear algebra: records of inv, solve, triangular solve, det and cofactors, cholesky, qr, eigh, svd, pinv.

Each takes matrices in the last two axes and stacks of them before. A decomposition of several parts is one array with the parts
below each other: `qr` is q above r, `eigh` the eigenvalues above the eigenvectors, `svd` u above the values above v.
Derivatives: M. Giles, "Collected matrix derivative results for forward and reverse mode AD" (2008); of eigh and svd with
F_ij = 1 / (w_j - w_i), and 0 where two values are equal: gradients that read values alone are right there too, gradients
through the vectors of equal values, which have none, leave that part out. det has the cofactors as its gradient, also where
singular; its second derivative needs a regular matrix. cholesky, eigh and eigvalsh take the matrix as
symmetric: their gradients are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.cotangents import unbroadcast
from gradgen.errors import ShapeError, SpecError
from gradgen.ir import OPS, Op, define
from gradgen.ops import calls, linalg_c, linalg_texts  # noqa: F401  enters the routines
from gradgen.ops.contract import matmul
from gradgen.ops.diagonals import diagonal
from gradgen.ops.helpers import run
from gradgen.ops.index import getitem
from gradgen.ops.ranges import eye
from gradgen.ops.shape import concatenate, reshape, swapaxes
from gradgen.sizes import Dim, add, mul, nonnegative
from gradgen.spelling import Expr, Spelling
from gradgen.types import Type, broadcast, promote
from gradgen.value import Extent, Value, apply


# -- shapes and small parts
def square(what: str, a: Type) -> Type:
    """`a`, if it is a square matrix of floats or a stack of them. ShapeError, SpecError if not."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(
            f"{what} needs square matrices in the last two axes, got {a}",
            "Sizes are equal when their names are: give both axes one letter.",
        )
    if not a.is_float:
        raise SpecError(f"{what} needs floats, got {a}")
    return a


def t(x: Value) -> Value:
    return swapaxes(x, -1, -2)


def symmetric(x: Value) -> Value:
    return 0.5 * (x + t(x))


def low(x: Value, k: int = 0) -> Value:
    return apply(OPS["tril"], x, k=k)


def half_low(x: Value) -> Value:
    """The lower triangle with half of the diagonal."""
    return 0.5 * (low(x) + low(x, -1))


def identity_like(a: Value) -> Value:
    dim = a.type.shape[-1]
    return eye(dim if isinstance(dim, int) else Extent(dim), dtype=a.dtype)


def columns_by(x: Value, v: Value) -> Value:
    """x @ diag(v)."""
    return x * reshape(v, (*v.type.shape[:-1], 1, v.type.shape[-1]))


def rows_of(x: Value, start: Any, stop: Any) -> Value:
    return getitem(x, (..., slice(start, stop), slice(None)))


def row_of(x: Value, k: Any) -> Value:
    return getitem(x, (..., k, slice(None)))


def as_row(v: Value) -> Value:
    return reshape(v, (*v.type.shape[:-1], 1, v.type.shape[-1]))


def _spell(name: str, part: str = "") -> Spelling:
    def spell(operands: Any, node: Any, target: Any) -> Expr:
        callee = target.helper(name[1:], node) if name.startswith("_") else f"np.linalg.{name}"
        return Expr(f"{callee}({', '.join(x.text for x in operands)}){part}")

    return spell


def _enter(
    name: str,
    infer: Any,
    evaluate: Any,
    doc: str,
    vjp: Any,
    jvp: Any,
    numpy: Spelling,
    **fields: Any,
) -> Op:
    return define(
        Op(
            name, infer, evaluate, doc, vjp=vjp, jvp=jvp, numpy=numpy, flops=100,
            **{"nest": lambda lowering, node: lowering.linalg(node), **fields},
        )
    )  # fmt: skip


def _same(what: str) -> Callable[..., Type]:
    return lambda a: square(what, a)


def _scalar(what: str) -> Callable[..., Type]:
    return lambda a: square(what, a).with_shape(a.shape[:-2])


# -- inverse and systems
INV = _enter(
    "inv", _same("np.linalg.inv"), np.linalg.inv, "The inverse of a square matrix.",
    (lambda y_bar, y, a: -matmul(matmul(t(y), y_bar), t(y)),),
    (lambda a_dot, y, a: -matmul(matmul(y, a_dot), y),),
    _spell("inv"),
)  # fmt: skip


def _solve_type(a: Type, b: Type) -> Type:
    square("np.linalg.solve", a)
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(
            f"np.linalg.solve needs as many rows on the right as on the left, got {a} and {b}"
        )
    batch = broadcast("np.linalg.solve", a.shape[:-2], b.shape[:-2])
    return Type.of(promote(a.dtype, b.dtype), (*batch, *b.shape[-2:]))


def _solve_b(y_bar: Value, y: Value, a: Value, b: Value) -> Value:
    return unbroadcast(apply(SOLVE, t(a), y_bar), b.type)


SOLVE: Op = _enter(
    "solve", _solve_type, np.linalg.solve, "The x with a @ x = b, for matrices b.",
    (
        lambda y_bar, y, a, b: unbroadcast(-matmul(apply(SOLVE, t(a), y_bar), t(y)), a.type),
        _solve_b,
    ),
    (lambda a_dot, y, a, b: -apply(SOLVE, a, matmul(a_dot, y)), lambda b_dot, y, a, b: apply(SOLVE, a, b_dot)),
    _spell("solve"),
)  # fmt: skip


def triangle(x: Value, lower: bool) -> Value:
    return apply(OPS["tril" if lower else "triu"], x, k=0)


def _triangular_a(y_bar: Value, y: Value, a: Value, b: Value, lower: bool) -> Value:
    b_bar = apply(TRIANGULAR, t(a), y_bar, lower=not lower)
    return unbroadcast(-triangle(matmul(b_bar, t(y)), lower), a.type)


def _triangular_spell(operands: Any, node: Any, target: Any) -> Expr:
    part = "tril" if node.params["lower"] else "triu"
    return Expr(f"np.linalg.solve(np.{part}({operands[0].text}), {operands[1].text})")


TRIANGULAR: Op = _enter(
    "solve_triangular", lambda a, b, lower: _solve_type(a, b),
    lambda a, b, lower: np.linalg.solve(np.tril(a) if lower else np.triu(a), b),
    "The x with a @ x = b, reading one triangle of a.",
    (
        _triangular_a,
        lambda y_bar, y, a, b, lower: unbroadcast(
            apply(TRIANGULAR, t(a), y_bar, lower=not lower), b.type
        ),
    ),
    (
        lambda a_dot, y, a, b, lower: -apply(TRIANGULAR, a, matmul(triangle(a_dot, lower), y), lower=lower),
        lambda b_dot, y, a, b, lower: apply(TRIANGULAR, a, b_dot, lower=lower),
    ),
    _triangular_spell,
)  # fmt: skip


# -- determinants
def _cornered(v: Value) -> Value:
    """A number per matrix, shaped to multiply matrices."""
    return reshape(v, (*v.type.shape, 1, 1)) if v.type.shape else v


DET = _enter(
    "det", _scalar("np.linalg.det"), np.linalg.det, "The determinant.",
    (lambda y_bar, y, a: _cornered(y_bar) * apply(COFACTOR, a),),
    (lambda a_dot, y, a: entries_sum(apply(COFACTOR, a) * a_dot),),
    _spell("det"),
)  # fmt: skip


def entries_sum(x: Value) -> Value:
    """The sum over the last two axes."""
    n = x.type.ndim
    return apply(OPS["sum"], x, axes=(n - 2, n - 1))


def _cofactor_slope(c_bar: Value, y: Value, a: Value) -> Value:
    """d C = (<C, dA> C - C dA^T C) / det, and so is its adjoint: both are the same map."""
    turned = matmul(matmul(y, t(c_bar)), y)
    return (_cornered(entries_sum(y * c_bar)) * y - turned) / _cornered(apply(DET, a))


COFACTOR: Op = _enter(
    "cofactor", _same("cofactors"), lambda a: run("cofactor")(a),
    "The matrix of cofactors, d det(a) / d a: det(a) inv(a).T, and its limit where a is singular.",
    (_cofactor_slope,), (_cofactor_slope,), _spell("_cofactor"),
)  # fmt: skip
LOGABSDET = _enter(
    "logabsdet", _scalar("np.linalg.slogdet"), lambda a: np.linalg.slogdet(a)[1], "log |det(a)|.",
    (lambda y_bar, y, a: _cornered(y_bar) * t(apply(INV, a)),),
    (lambda a_dot, y, a: entries_sum(t(apply(INV, a)) * a_dot),),
    _spell("slogdet", "[1]"),
)  # fmt: skip
DET_SIGN = _enter(
    "det_sign", _scalar("np.linalg.slogdet"), lambda a: np.linalg.slogdet(a)[0],
    "The sign of the determinant; no slope.", None, None, _spell("slogdet", "[0]"),
)  # fmt: skip


# -- cholesky
def _cholesky_vjp(y_bar: Value, y: Value, a: Value) -> Value:
    inner = half_low(matmul(t(y), y_bar))
    left = apply(TRIANGULAR, t(y), inner, lower=False)
    return symmetric(t(apply(TRIANGULAR, t(y), t(left), lower=False)))


def _cholesky_jvp(a_dot: Value, y: Value, a: Value) -> Value:
    left = apply(TRIANGULAR, y, symmetric(a_dot), lower=True)
    return matmul(y, half_low(t(apply(TRIANGULAR, y, t(left), lower=True))))


CHOLESKY = _enter(
    "cholesky", _same("np.linalg.cholesky"), np.linalg.cholesky,
    "The lower l with l @ l.T = a, for a symmetric positive definite a.",
    (_cholesky_vjp,), (_cholesky_jvp,), _spell("cholesky"), symmetric=True,
)  # fmt: skip


# -- qr of tall matrices
def _tall(a: Type) -> tuple[Dim, Dim]:
    if a.ndim < 2 or not a.is_float:
        raise ShapeError(f"np.linalg.qr needs matrices of floats, got {a}")
    m, n = a.shape[-2:]
    if not nonnegative(add(m, mul(n, -1))):
        raise ShapeError(f"np.linalg.qr needs at least as many rows as columns, got {a}")
    return m, n


def _qr_type(a: Type) -> Type:
    m, n = _tall(a)
    return a.with_shape((*a.shape[:-2], add(m, n), n))


def bound(dim: Dim) -> Any:
    return dim if isinstance(dim, int) else Extent(dim)


def qr_parts(y: Value, a: Value) -> tuple[Value, Value]:
    m = bound(a.type.shape[-2])
    return rows_of(y, None, m), rows_of(y, m, None)


def over_right(x: Value, r: Value) -> Value:
    """x @ inv(r), for an upper r."""
    return t(apply(TRIANGULAR, t(r), t(x), lower=True))


def _qr_vjp(y_bar: Value, y: Value, a: Value) -> Value:
    """Walter and Lehmann, "Algorithmic differentiation of linear algebra functions" (2018)."""
    (q, r), (q_bar, r_bar) = qr_parts(y, a), qr_parts(y_bar, a)
    m = matmul(r, t(r_bar)) - matmul(t(q_bar), q)
    inner = q_bar + matmul(q, low(m) + t(low(m, -1)))
    return t(apply(TRIANGULAR, r, t(inner), lower=False))


def _qr_jvp(a_dot: Value, y: Value, a: Value) -> Value:
    q, r = qr_parts(y, a)
    x = over_right(a_dot, r)
    c = matmul(t(q), x)
    turn = low(c, -1) - t(low(c, -1))
    q_dot = matmul(q, turn - c) + x
    return concatenate([q_dot, matmul(c - turn, r)], y.type.ndim - 2)


QR = _enter(
    "qr", _qr_type, lambda a: run("qr")(a), "q above r: a = q @ r, q with orthonormal columns, r upper.",
    (_qr_vjp,), (_qr_jvp,), _spell("_qr"),
)  # fmt: skip


# -- symmetric eigenvalues
def _inverse_gaps(w: Value) -> Value:
    """F_ij = 1 / (w_j - w_i), and 0 where they are equal."""
    gap = as_row(w) - reshape(w, (*w.type.shape, 1))
    tie = calls.equal(gap, 0.0)
    return calls.where(tie, 0.0, 1.0 / calls.where(tie, 1.0, gap))


def eigh_parts(y: Value) -> tuple[Value, Value]:
    return row_of(y, 0), rows_of(y, 1, None)


def _eigh_vjp(y_bar: Value, y: Value, a: Value) -> Value:
    (w, v), (w_bar, v_bar) = eigh_parts(y), eigh_parts(y_bar)
    inner = _inverse_gaps(w) * matmul(t(v), v_bar)
    return symmetric(matmul(matmul(v, inner) + columns_by(v, w_bar), t(v)))


def _eigh_jvp(a_dot: Value, y: Value, a: Value) -> Value:
    w, v = eigh_parts(y)
    m = matmul(matmul(t(v), symmetric(a_dot)), v)
    w_dot = diagonal(m, 0, -2, -1)
    return concatenate([as_row(w_dot), matmul(v, _inverse_gaps(w) * m)], y.type.ndim - 2)


def _eigh_type(a: Type) -> Type:
    square("np.linalg.eigh", a)
    return a.with_shape((*a.shape[:-2], add(a.shape[-1], 1), a.shape[-1]))


EIGH = _enter(
    "eigh", _eigh_type, lambda a: run("eigh")(a),
    "Eigenvalues, rising, above the eigenvectors (columns) of a symmetric matrix.",
    (_eigh_vjp,), (_eigh_jvp,), _spell("_eigh"), symmetric=True,
)  # fmt: skip


def _eigvalsh_vjp(y_bar: Value, y: Value, a: Value) -> Value:
    v = eigh_parts(apply(EIGH, a))[1]
    return symmetric(matmul(columns_by(v, y_bar), t(v)))


def _eigvalsh_jvp(a_dot: Value, y: Value, a: Value) -> Value:
    v = eigh_parts(apply(EIGH, a))[1]
    return apply(OPS["sum"], v * matmul(symmetric(a_dot), v), axes=(a.type.ndim - 2,))


EIGVALSH = _enter(
    "eigvalsh", lambda a: square("np.linalg.eigvalsh", a).with_shape(a.shape[:-1]), np.linalg.eigvalsh,
    "Eigenvalues, rising, of a symmetric matrix.",
    (_eigvalsh_vjp,), (_eigvalsh_jvp,), _spell("eigvalsh"), symmetric=True,
)  # fmt: skip


# -- singular values
def _shorter(a: Type) -> Dim:
    m, n = a.shape[-2:]
    gap = add(m, mul(n, -1))
    if nonnegative(gap):
        return n
    if nonnegative(mul(gap, -1)):
        return m
    raise ShapeError(
        f"singular values of {a} are as many as the shorter side, which no size says",
        "Give one side a number, or both one letter.",
    )


def _svd_type(a: Type) -> Type:
    if a.ndim < 2 or not a.is_float:
        raise ShapeError(f"np.linalg.svd needs matrices of floats, got {a}")
    m, n = a.shape[-2:]
    return a.with_shape((*a.shape[:-2], add(add(m, n), 1), _shorter(a)))


def svd_parts(y: Value, a: Value) -> tuple[Value, Value, Value]:
    """u, s, v: a = u @ diag(s) @ v.T."""
    m = a.type.shape[-2]
    return rows_of(y, None, bound(m)), row_of(y, bound(m)), rows_of(y, bound(add(m, 1)), None)


def _inverse_values(s: Value) -> Value:
    zero = calls.equal(s, 0.0)
    return calls.where(zero, 0.0, 1.0 / calls.where(zero, 1.0, s))


def _beside(q: Value, x: Value) -> Value:
    """The part of x outside of the columns of q."""
    return x - matmul(q, matmul(t(q), x))


def _svd_vjp(y_bar: Value, y: Value, a: Value) -> Value:
    """J. Townsend, "Differentiating the singular value decomposition" (2016)."""
    (u, s, v), (u_bar, s_bar, v_bar) = svd_parts(y, a), svd_parts(y_bar, a)
    f, rest = _inverse_gaps(calls.square(s)), _inverse_values(s)
    left, right = matmul(t(u), u_bar), matmul(t(v), v_bar)
    inner = columns_by(f * (left - t(left)), s) + t(columns_by(t(f * (right - t(right))), s))
    a_bar = matmul(matmul(u, inner) + columns_by(u, s_bar), t(v))
    a_bar = a_bar + matmul(columns_by(_beside(u, u_bar), rest), t(v))
    return a_bar + matmul(u, t(columns_by(_beside(v, v_bar), rest)))


def _svd_jvp(a_dot: Value, y: Value, a: Value) -> Value:
    u, s, v = svd_parts(y, a)
    f, rest = _inverse_gaps(calls.square(s)), _inverse_values(s)
    across, along = matmul(a_dot, v), matmul(t(a_dot), u)
    p = matmul(t(u), across)
    ps, sp = columns_by(p, s), t(columns_by(t(p), s))
    u_dot = matmul(u, f * (ps + t(ps))) + columns_by(_beside(u, across), rest)
    v_dot = matmul(v, f * (sp + t(sp))) + columns_by(_beside(v, along), rest)
    return concatenate([u_dot, as_row(diagonal(p, 0, -2, -1)), v_dot], y.type.ndim - 2)


SVD = _enter(
    "svd", _svd_type, lambda a: run("svd")(a),
    "u above the singular values, falling, above v: a = u @ diag(s) @ v.T.",
    (_svd_vjp,), (_svd_jvp,), _spell("_svd"),
)  # fmt: skip


def _svdvals_vjp(y_bar: Value, y: Value, a: Value) -> Value:
    u, _, v = svd_parts(apply(SVD, a), a)
    return matmul(columns_by(u, y_bar), t(v))


def _svdvals_jvp(a_dot: Value, y: Value, a: Value) -> Value:
    u, _, v = svd_parts(apply(SVD, a), a)
    return apply(OPS["sum"], u * matmul(a_dot, v), axes=(a.type.ndim - 2,))


SVDVALS = _enter(
    "svdvals", lambda a: _svd_type(a).with_shape((*a.shape[:-2], _shorter(a))), np.linalg.svdvals,
    "Singular values, falling.",
    (_svdvals_vjp,), (_svdvals_jvp,), _spell("svdvals"),
)  # fmt: skip


# -- pseudoinverse, for matrices of constant rank (Golub and Pereyra 1973)
def _pinv_vjp(y_bar: Value, y: Value, a: Value) -> Value:
    pt, yt = t(y), t(y_bar)
    a_bar = -matmul(matmul(pt, y_bar), pt)
    right = matmul(matmul(yt, y), pt)
    left = matmul(matmul(pt, y), yt)
    a_bar = a_bar + right - matmul(a, matmul(y, right))
    return a_bar + left - matmul(matmul(left, y), a)


def _pinv_jvp(a_dot: Value, y: Value, a: Value) -> Value:
    pt, at = t(y), t(a_dot)
    y_dot = -matmul(matmul(y, a_dot), y)
    right = matmul(matmul(y, pt), at)
    left = matmul(matmul(at, pt), y)
    y_dot = y_dot + right - matmul(matmul(right, a), y)
    return y_dot + left - matmul(y, matmul(a, left))


def _pinv_type(a: Type) -> Type:
    if a.ndim < 2 or not a.is_float:
        raise ShapeError(f"np.linalg.pinv needs matrices of floats, got {a}")
    return a.with_shape((*a.shape[:-2], a.shape[-1], a.shape[-2]))


PINV = _enter(
    "pinv", _pinv_type, np.linalg.pinv,
    "The pseudoinverse; differentiated as for a matrix whose rank stays.",
    (_pinv_vjp,), (_pinv_jvp,), _spell("pinv"),
)  # fmt: skip


# -- matrix exponential
def _expm_slope(direction: Value, y: Value, a: Value) -> Value:
    """The derivative in a direction: the upper right block of exp([[a, d], [0, a]]) (Higham 2008, theorem 3.6)."""
    n, axis = bound(a.type.shape[-1]), a.type.ndim - 2
    zero = 0.0 * a
    top = concatenate([a, direction], axis + 1)
    both = concatenate([top, concatenate([zero, a], axis + 1)], axis)
    return getitem(apply(EXPM, both), (..., slice(None, n), slice(n, None)))


EXPM: Op = _enter(
    "expm", _same("expm"), lambda a: run("expm")(a), "The matrix exponential.",
    (lambda y_bar, y, a: _expm_slope(y_bar, y, t(a)),), (_expm_slope,), _spell("_expm"), nest=None,
)  # fmt: skip
