"""Running sums and products, and what is made of them: cumsum cumprod nancumsum nancumprod, ufunc.accumulate.

cumsum(x, reverse=)   over the last axis: y_i = x_0 + ... + x_i; reverse starts from the end
cumprod(x)            over the last axis; differentiated without division, so zeros among the factors are right
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradgen.errors import SpecError
from gradgen.functions import implements
from gradgen.ir import OPS, Op, define
from gradgen.ops import calls
from gradgen.ops.ranges import band
from gradgen.ops.rearrange import axis_of
from gradgen.ops.reduce import RECURRENCE, as_value
from gradgen.ops.reductions import as_dtype, over
from gradgen.ops.shape import broadcast_to, moveaxis, reshape
from gradgen.spelling import Expr
from gradgen.types import DTYPES, Type
from gradgen.value import Value, apply, constant


def _infer(x: Type, reverse: bool = False) -> Type:
    return x.with_dtype("i64") if x.dtype in ("bool", "i32") else x


def _spell(operands: Any, node: Any, target: Any) -> Expr:
    axis = ", axis=-1" if node.type.ndim > 1 else ""
    if not node.params.get("reverse"):
        return Expr(f"np.{node.op}({operands[0].text}{axis})")
    back = "[::-1]" if node.type.ndim == 1 else "[..., ::-1]"
    return Expr(f"np.{node.op}({operands[0].at(14)}{back}{axis}){back}")


def _cumsum(x: Any, reverse: bool) -> Any:
    return np.cumsum(x[..., ::-1], axis=-1)[..., ::-1] if reverse else np.cumsum(x, axis=-1)


CUMSUM: Op = define(
    Op(
        "cumsum",
        _infer,
        _cumsum,
        "Running sums along the last axis, from its end with reverse.",
        vjp=(lambda y_bar, y, x, reverse: apply(CUMSUM, y_bar, reverse=not reverse),),
        jvp=("linear",),
        numpy=_spell,
        nest=lambda lowering, node: lowering.scan(node, "add", node.params["reverse"]),
    )
)


def _zeros(x: Value) -> Value:
    return broadcast_to(constant(0, x.type.dtype), x.type.shape)


def _before(x: Value) -> Value:
    """The product of the elements before each one."""
    return apply(RECURRENCE, x, _zeros(x), reverse=False, lag=True, initial=1.0)


def _cumprod_vjp(y_bar: Value, y: Value, x: Value) -> Value:
    """x_i_bar is the product before i, times s_i = y_i_bar + x_{i+1} s_{i+1}: what follows, without x_i."""
    after = apply(RECURRENCE, x, y_bar, reverse=True, lag=True, initial=0.0)
    return _before(x) * after


def _cumprod_jvp(x_dot: Value, y: Value, x: Value) -> Value:
    """y_i_dot = x_i y_{i-1}_dot + x_i_dot y_{i-1}."""
    return apply(RECURRENCE, x, x_dot * _before(x), reverse=False, lag=False, initial=0.0)


CUMPROD: Op = define(
    Op(
        "cumprod",
        _infer,
        lambda x: np.cumprod(x, axis=-1),
        "Running products along the last axis; differentiated without division.",
        vjp=(_cumprod_vjp,),
        jvp=(_cumprod_jvp,),
        numpy=_spell,
        nest=lambda lowering, node: lowering.scan(node, "mul", False),
    )
)


def _scan(name: str, what: str) -> Any:
    params: dict[str, Any] = {"reverse": False} if name == "cumsum" else {}

    def scan(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Value:
        x = as_dtype(as_value(a), dtype)
        if axis is None:
            x, axis = reshape(x, -1), 0
        k = axis_of(what, x, axis)
        return moveaxis(apply(OPS[name], moveaxis(x, k, -1), **params), -1, k)

    return scan


cumsum = implements(np.cumsum)(_scan("cumsum", "np.cumsum"))
cumprod = implements(np.cumprod)(_scan("cumprod", "np.cumprod"))


def _cumulative(scan: Any, neutral: float) -> Any:
    """The array API's function: one axis, perhaps with the neutral element in front."""

    def cumulative(
        x: Any, /, *, axis: Any = None, dtype: Any = None, out: None = None, include_initial: bool = False
    ) -> Value:  # fmt: skip
        from gradgen.ops.shape import concatenate

        x = as_value(x)
        if axis is None and x.type.ndim != 1:
            raise SpecError(f"a cumulative function of {x.type} needs an axis, got none")
        k = axis_of("axis", x, 0 if axis is None else axis)
        found = scan(x, k, dtype)
        if not include_initial:
            return found
        shape = found.type.shape
        first = broadcast_to(constant(neutral, found.type.dtype), (*shape[:k], 1, *shape[k + 1 :]))
        return concatenate([first, found], k)

    return cumulative


implements(np.cumulative_sum)(_cumulative(cumsum, 0))
implements(np.cumulative_prod)(_cumulative(cumprod, 1))


def _accumulate(scan: Any) -> Any:
    """ufunc.accumulate: as the function, but over axis 0 unless told."""

    def accumulate(x: Any, axis: Any = 0, dtype: Any = None, out: None = None) -> Value:
        return scan(x, axis, dtype)

    return accumulate


implements((np.add, "accumulate"))(_accumulate(cumsum))
implements((np.multiply, "accumulate"))(_accumulate(cumprod))


def _least(dtype: str, start: float) -> Any:
    """-inf or inf, and what is least or greatest of a dtype without them."""
    if dtype[0] == "f":
        return start
    if dtype == "bool":
        return start > 0
    limits = np.iinfo(DTYPES[dtype])
    return limits.max if start > 0 else limits.min


def _running(name: str, start: float) -> Any:
    """maximum.accumulate and minimum.accumulate: an extreme over each element and those before it, ties as there."""

    def accumulate(x: Any, axis: Any = 0, dtype: Any = None, out: None = None) -> Value:
        x = as_dtype(as_value(x), dtype)
        k = axis_of(f"np.{name}.accumulate", x, axis)
        last = moveaxis(x, k, -1)
        n = last.type.shape[-1]
        past = band(n, n, 0, "less_equal")
        row = reshape(last, (*last.type.shape[:-1], 1, n))
        seen = calls.where(past, row, _least(x.type.dtype, start))
        return moveaxis(over(OPS[f"reduce_{name[:3]}"], seen, (seen.type.ndim - 1,)), -1, k)

    return accumulate


implements((np.maximum, "accumulate"))(_running("maximum", -math.inf))
implements((np.minimum, "accumulate"))(_running("minimum", math.inf))


@implements(np.nancumsum)
def nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Value:
    a = as_value(a)
    return cumsum(calls.where(calls.isnan(a), 0, a) if a.type.is_float else a, axis, dtype)


@implements(np.nancumprod)
def nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Value:
    a = as_value(a)
    return cumprod(calls.where(calls.isnan(a), 1, a) if a.type.is_float else a, axis, dtype)
