"""Arrays that depend on sizes alone: arange, eye, identity, tri, linspace, indices; and logspace, geomspace.

    arange(n=)   0, 1, ..., n - 1 as i64: the one record; where n is a number, the constant itself

NumPy's constructors reach gradgen through the front end's calls when a size or a Value is among their arguments.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradgen.errors import SpecError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ir import OPS, Op, define
from gradgen.ops import calls
from gradgen.ops.reduce import as_value, as_values
from gradgen.ops.shape import reshape
from gradgen.sizes import Dim, add, floordiv, max0, mul
from gradgen.spelling import Expr
from gradgen.types import Type, dtype_name
from gradgen.value import Extent, Value, apply, constant, dim_or_none

ARANGE: Op = define(
    Op(
        "arange",
        lambda n: Type.of("i64", (n,)),
        lambda n: np.arange(n),
        "The integers from 0 up to a size.",
        flops=0,
        numpy=lambda operands, node, target: Expr(f"np.arange({target.size(node.params['n'])})"),
        nest=lambda lowering, node: lowering.arange(node),
    )
)


def iota(n: Dim) -> Value:
    """0, 1, ..., n - 1 as i64."""
    return constant(np.arange(n)) if isinstance(n, int) else apply(ARANGE, n=n)


def grid(shape: tuple[Dim, ...], axis: int) -> Value:
    """The coordinate along `axis`, shaped to broadcast against `shape`."""
    return reshape(iota(shape[axis]), tuple(d if k == axis else 1 for k, d in enumerate(shape)))


def _size(what: str, value: Any) -> Dim:
    dim = dim_or_none(value)
    if dim is None and isinstance(value, float) and value.is_integer():
        dim = int(value)
    if dim is None:
        raise SpecError(
            f"{what} needs integers and sizes, got {value!r}",
            "A length that depends on data has no fixed shape; scale instead: start + step * np.arange(n).",
        )
    return dim


@implements(np.arange)
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, **_: Any) -> Value:
    """np.arange of sizes; steps are integers."""
    if stop is None:
        start, stop = 0, start
    floating = any(isinstance(v, float) for v in (start, stop, step))
    lo, hi, by = (_size("np.arange", v) for v in (start, stop, step))
    if not isinstance(by, int) or by == 0:
        raise SpecError(f"np.arange needs a non-zero integer step, got {step}")
    span = add(hi, mul(lo, -1)) if by > 0 else add(lo, mul(hi, -1))
    out = iota(floordiv(add(max0(span), abs(by) - 1), abs(by)))
    out = out * by if by != 1 else out
    out = out + (lo if isinstance(lo, int) else Extent(lo)) if lo != 0 else out
    name = "f64" if floating and dtype is None else "i64" if dtype is None else dtype_name(dtype)
    return out if out.type.dtype == name else calls.cast(out, dtype=name)


def band(rows: Dim, columns: Dim, k: Any, symbol: str) -> Value:
    """Where column - row == k ("equal") or <= k ("less_equal"), as truth values."""
    i, j = grid((rows, columns), 0), grid((rows, columns), 1)
    return apply(OPS[symbol], j, i + k if k else i)


@implements(np.eye)
def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = float, **_: Any) -> Value:
    rows = _size("np.eye", N)
    columns = rows if M is None else _size("np.eye", M)
    return calls.cast(band(rows, columns, k, "equal"), dtype=dtype_name(dtype))


@implements(np.identity)
def identity(n: Any, dtype: Any = None, **_: Any) -> Value:
    return eye(n, dtype=float if dtype is None else dtype)


@implements(np.tri)
def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = float, **_: Any) -> Value:
    rows = _size("np.tri", N)
    columns = rows if M is None else _size("np.tri", M)
    return calls.cast(band(rows, columns, k, "less_equal"), dtype=dtype_name(dtype))


@implements(np.indices)
def indices(dimensions: Any, dtype: Any = int, sparse: bool = False) -> Any:
    shape = tuple(_size("np.indices", d) for d in dimensions)
    grids = [grid(shape, k) for k in range(len(shape))]
    if sparse:
        return tuple(grids)
    return FUNCTIONS[np.stack]([FUNCTIONS[np.broadcast_to](g, shape) for g in grids])


# -- between two ends
def _steps(what: str, num: Any, endpoint: bool, like: Value) -> tuple[Value, Any]:
    """0, 1, ..., num - 1 in the dtype of `like`, and the number of steps from end to end."""
    n = _size(what, num)
    parts = add(n, -1) if endpoint else n
    divisor: Any = max(parts, 1) if isinstance(parts, int) else calls.maximum(Extent(parts), 1)
    return calls.cast(iota(n), dtype=like.type.dtype), divisor


@implements(np.linspace)
def linspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, retstep: bool = False,
    dtype: Any = None, axis: int = 0,
) -> Any:  # fmt: skip
    """start + step * k; start and stop may be arrays, which then follow the new axis."""
    a, b = as_values((start * 1.0 if not isinstance(start, (list, tuple)) else start, stop))
    if not a.type.is_float and not b.type.is_float:
        a = calls.cast(a, dtype="f64")
    gap = b - a
    k, divisor = _steps("np.linspace", num, endpoint, gap)
    step = gap / divisor
    if step.type.dtype != gap.type.dtype:
        step = calls.cast(step, dtype=gap.type.dtype)
    ndim = step.type.ndim
    out = a + step * (reshape(k, (*k.type.shape, *(1,) * ndim)) if ndim else k)
    if axis not in (0, -ndim - 1):
        out = FUNCTIONS[np.moveaxis](out, 0, axis)
    if dtype is not None:
        out = calls.cast(out, dtype=dtype_name(dtype))
    return (out, step) if retstep else out


@implements(np.logspace)
def logspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Value:  # fmt: skip
    return FUNCTIONS[np.power](base, linspace(start, stop, num, endpoint, False, dtype, axis))


@implements(np.geomspace)
def geomspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Value:  # fmt: skip
    """Positive ends only: exp of evenly spaced logarithms."""
    for end in (start, stop):
        if not isinstance(end, Value) and np.any(np.asarray(end) <= 0):
            raise SpecError(f"np.geomspace needs positive ends, got {end}")
    a, b = as_values((start, stop))
    return calls.exp(linspace(calls.log(a), calls.log(b), num, endpoint, False, dtype, axis))


@implements(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    vectors = [reshape(as_value(x), -1) for x in xi]
    ndim = len(vectors)
    order = list(range(ndim))
    if indexing == "xy" and ndim > 1:
        order[:2] = [1, 0]
    shape: list[Any] = [1] * ndim
    for k, v in zip(order, vectors, strict=True):
        shape[k] = v.type.size
    out = []
    for k, v in zip(order, vectors, strict=True):
        column = reshape(v, tuple(d if j == k else 1 for j, d in enumerate(shape)))
        out.append(column if sparse else FUNCTIONS[np.broadcast_to](column, tuple(shape)))
    return tuple(out)


LOG_TWO_PI = math.log(2.0 * math.pi)
