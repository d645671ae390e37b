"""Products of arrays and polynomials made of contractions: kron cross vecdot matvec vecmat multi_dot matrix_power vander
polyval polyadd polysub polymul polyder polyint cov corrcoef, and ufunc.outer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ops import calls
from gradgen.ops.contract import matmul, outer
from gradgen.ops.diagonals import diagonal
from gradgen.ops.ranges import eye, iota
from gradgen.ops.rearrange import count_of, flip
from gradgen.ops.reduce import as_value, as_values
from gradgen.ops.reductions import average, floats, mean, sum_
from gradgen.ops.shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    moveaxis,
    reshape,
    stack,
    swapaxes,
)
from gradgen.ops.signal import convolve
from gradgen.sizes import mul
from gradgen.types import promote
from gradgen.value import Extent, Value, dim_or_none

implements(np.linalg.matmul)(matmul)


@implements(np.linalg.outer)
def linalg_outer(x1: Any, x2: Any, /) -> Value:
    return outer(x1, x2)


# -- products of vectors and matrices
@implements(np.kron, "scipy.linalg.kron")
def kron(a: Any, b: Any) -> Value:
    """Every element of a times all of b, block by block."""
    a, b = as_values((a, b))
    ndim = max(a.type.ndim, b.type.ndim)
    x, y = ((1,) * (ndim - v.type.ndim) + v.type.shape for v in (a, b))
    left = reshape(a, tuple(d for n in x for d in (n, 1)))
    right = reshape(b, tuple(d for n in y for d in (1, n)))
    return reshape(left * right, tuple(mul(p, q) for p, q in zip(x, y, strict=True)))


@implements(np.cross)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Value:
    """The cross product of vectors of three components (or two, whose third is 0)."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = as_values((a, b))
    a, b = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    widths = (a.type.shape[-1], b.type.shape[-1])
    if not set(widths) <= {2, 3}:
        raise ShapeError(f"np.cross needs vectors of 2 or 3 components, got {a.type} and {b.type}")
    (a1, a2), (b1, b2) = ((v[..., 0], v[..., 1]) for v in (a, b))
    third = a1 * b2 - a2 * b1
    if widths == (2, 2):
        return third
    if widths == (3, 3):
        a3, b3 = a[..., 2], b[..., 2]
        parts = [a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, third]
    elif widths == (2, 3):
        parts = [a2 * b[..., 2], -a1 * b[..., 2], third]
    else:
        parts = [-a[..., 2] * b2, a[..., 2] * b1, third]
    return moveaxis(stack(parts, parts[0].type.ndim), -1, axisc)


@implements(np.linalg.cross)
def linalg_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Value:
    return cross(x1, x2, axis=axis)


@implements(np.vecdot, np.linalg.vecdot)
def vecdot(x1: Any, x2: Any, /, axis: int = -1) -> Value:
    a, b = as_values((x1, x2))
    a, b = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    if a.type.dtype == b.type.dtype == "bool":
        return FUNCTIONS[np.any](a * b, -1)
    return sum_(a * b, -1) if max(a.type.ndim, b.type.ndim) > 1 else matmul(a, b)


@implements(np.matvec)
def matvec(x1: Any, x2: Any, /) -> Value:
    a, b = as_values((x1, x2))
    if b.type.ndim == 1:
        return matmul(a, b)
    return matmul(a, expand_dims(b, -1))[..., 0]


@implements(np.vecmat)
def vecmat(x1: Any, x2: Any, /) -> Value:
    a, b = as_values((x1, x2))
    if a.type.ndim == 1:
        return matmul(a, b)
    return matmul(expand_dims(a, -2), b)[..., 0, :]


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Any, *, out: None = None) -> Value:
    """A chain of products in the cheapest order where all sizes are numbers, from the left else."""
    values = as_values(arrays)
    if len(values) < 2:
        raise SpecError("np.linalg.multi_dot needs at least two arrays")
    if not all(v.type.static for v in values):
        total = values[0]
        for v in values[1:]:
            total = matmul(total, v)
        return total
    first, last = values[0].type.ndim == 1, values[-1].type.ndim == 1
    sizes = [1 if first else values[0].type.lengths[0]]
    sizes += [v.type.lengths[0] if v.type.ndim == 1 and k else v.type.lengths[-2 if v.type.ndim > 1 else 0]
              for k, v in enumerate(values)][1:]  # fmt: skip
    sizes += [1 if last else values[-1].type.lengths[-1]]
    splits = _cheapest(sizes)

    def multiply(i: int, j: int) -> Value:
        return (
            values[i]
            if i == j
            else matmul(multiply(i, splits[i, j]), multiply(splits[i, j] + 1, j))
        )

    return multiply(0, len(values) - 1)


def _cheapest(p: Sequence[int]) -> dict[tuple[int, int], int]:
    """Where to split the chain of matrices p[i] x p[i + 1] (Cormen et al., Introduction to Algorithms, section 15.2)."""
    n = len(p) - 1
    cost = {(i, i): 0 for i in range(n)}
    where: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            best = min(
                (cost[i, k] + cost[k + 1, j] + p[i] * p[k + 1] * p[j + 1], k) for k in range(i, j)
            )
            cost[i, j], where[i, j] = best
    return where


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: Any) -> Value:
    """a @ a @ ... by repeated squaring; negative powers of the inverse."""
    a = as_value(a)
    n = count_of("np.linalg.matrix_power", n)
    if n < 0:
        a, n = FUNCTIONS[np.linalg.inv](a), -n
    if n == 0:
        return broadcast_to(eye(_dim(a), dtype=a.dtype), a.type.shape)
    total = None
    while n:
        if n % 2:
            total = a if total is None else matmul(total, a)
        n //= 2
        if n:
            a = matmul(a, a)
    assert total is not None
    return total


def _dim(a: Value) -> Any:
    dim = a.type.shape[-1]
    return dim if isinstance(dim, int) else Extent(dim)


# -- polynomials, highest power first
@implements(np.vander)
def vander(x: Any, N: Any = None, increasing: bool = False) -> Value:
    x = as_value(x)
    if x.type.ndim != 1:
        raise ShapeError(f"np.vander needs a vector, got {x.type}")
    n = x.type.shape[0] if N is None else dim_or_none(N)
    if n is None:
        raise SpecError(f"np.vander needs a number of columns, got {N!r}")
    x = calls.cast(x, dtype=promote(x.type.dtype, "i64"))  # as NumPy makes its columns
    if isinstance(n, int):
        columns = [x**k for k in range(n)]
        return stack(columns if increasing else columns[::-1], 1)
    powers = calls.cast(iota(n), dtype=floats(x).type.dtype)
    return calls.power(expand_dims(x, 1), powers if increasing else flip(powers))


@implements(np.polyval)
def polyval(p: Any, x: Any) -> Value:
    """Horner's rule over the coefficients."""
    p, x = as_values((p, x))
    n = p.type.shape[0] if p.type.ndim else 1
    if not isinstance(n, int):
        powers = calls.cast(flip(iota(n)), dtype=x.type.dtype)
        return sum_(p * calls.power(expand_dims(x, -1), powers), -1)
    p = reshape(p, (n,))
    total = p[0] if n else as_value(0.0)
    for k in range(1, n):
        total = total * x + p[k]
    return total if total.type.shape == x.type.shape else broadcast_to(total, x.type.shape)


def _aligned(a: Any, b: Any) -> tuple[Value, Value]:
    """Two polynomials of one length, zeros in front of the shorter."""
    a, b = (reshape(v, -1) for v in as_values((a, b)))
    if a.type.shape == b.type.shape:
        return a, b
    n, m = a.type.shape[0], b.type.shape[0]
    if not isinstance(n, int) or not isinstance(m, int):
        raise ShapeError(
            f"polynomials need numbers of coefficients known at trace time, got {n} and {m}"
        )
    pad = FUNCTIONS[np.pad]
    return (pad(a, (m - n, 0)), b) if n < m else (a, pad(b, (n - m, 0)))


@implements(np.polyadd)
def polyadd(a1: Any, a2: Any) -> Value:
    a, b = _aligned(a1, a2)
    return a + b


@implements(np.polysub)
def polysub(a1: Any, a2: Any) -> Value:
    a, b = _aligned(a1, a2)
    return a - b


@implements(np.polymul)
def polymul(a1: Any, a2: Any) -> Value:
    return convolve(a1, a2)


@implements(np.polyder)
def polyder(p: Any, m: int = 1) -> Value:
    p = as_value(p)
    for _ in range(count_of("np.polyder", m)):
        p = (p * flip(iota(p.type.shape[0])))[:-1]
    return p


@implements(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Value:
    p = as_value(p)
    constants = [0.0] * m if k is None else list(np.broadcast_to(k, m))
    for c in constants:
        p = concatenate([p / (flip(iota(p.type.shape[0])) + 1), [c]])
    return p


@implements(np.polyfit)
def polyfit(
    x: Any, y: Any, deg: Any, rcond: Any = None, full: bool = False, w: Any = None, cov: Any = False
) -> Value:
    """Least squares in the powers of x, columns scaled to length one."""
    if full or cov:
        raise SpecError(
            "np.polyfit needs full=False and cov=False", "Compute residuals with np.polyval."
        )
    x, y = as_values((x, y))
    basis = vander(floats(x), count_of("np.polyfit", deg) + 1)
    if w is not None:
        weights = as_values((x, w))[1]
        basis = basis * expand_dims(weights, -1)
        y = y * (expand_dims(weights, -1) if y.type.ndim > 1 else weights)
    scale = calls.sqrt(sum_(calls.square(basis), 0))
    c = matmul(FUNCTIONS[np.linalg.pinv](basis / scale), floats(y))
    return (swapaxes(swapaxes(c, 0, -1) / scale, 0, -1)) if c.type.ndim > 1 else c / scale


# -- covariance
@implements(np.cov)
def cov(
    m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None,
    fweights: Any = None, aweights: Any = None, *, dtype: Any = None,
) -> Value:  # fmt: skip
    """Covariances of variables in rows (or columns), over n - 1 unless told; in f64 unless told, as NumPy's."""
    dtype = np.float64 if dtype is None else dtype
    x = floats(m, dtype)
    if x.type.ndim > 2:
        raise ShapeError(f"np.cov needs a vector or a matrix, got {x.type}")
    x = _variables(x, rowvar)
    if y is not None:
        x = concatenate([x, _variables(floats(y, dtype), rowvar)], 0)
    if ddof is None:
        ddof = 0 if bias else 1
    n = x.type.shape[1]
    if fweights is None and aweights is None:
        apart = x - mean(x, 1, keepdims=True)
        weighted = apart
        count: Any = (float(n) if isinstance(n, int) else Extent(n)) - ddof
    else:
        f = 1.0 if fweights is None else as_values((x, fweights))[1]
        a = 1.0 if aweights is None else as_values((x, aweights))[1]
        w = f * a
        total = sum_(w)
        apart = x - expand_dims(average(x, 1, weights=w), 1)
        weighted = apart * w
        count = total - ddof * (sum_(w * a) / total) if aweights is not None else total - ddof
    products = matmul(apart, swapaxes(weighted, 0, 1))
    found = products / count
    if found.type.dtype != x.type.dtype:
        found = calls.cast(found, dtype=x.type.dtype)
    return reshape(found, ()) if found.type.shape == (1, 1) else found


def _variables(x: Value, rowvar: bool) -> Value:
    if x.type.ndim < 2:
        return reshape(x, (1, x.type.size))
    return x if rowvar else swapaxes(x, 0, 1)


@implements(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Value:
    c = cov(x, y, rowvar, dtype=dtype)
    if c.type.ndim == 0:
        return c / c
    d = calls.sqrt(diagonal(c))
    return calls.clip(c / expand_dims(d, 1) / expand_dims(d, 0), -1.0, 1.0)
