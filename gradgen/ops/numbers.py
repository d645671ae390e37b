"""Elementwise functions of NumPy made of several ops: fmax fmin logaddexp2 divmod modf frexp ldexp signbit heaviside nan_to_num
round fix isclose array_equal real imag conj angle i0 sinc and their like.

Pieces that are constant (round, signbit, the integer part of modf) have slope 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradgen.errors import SpecError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ir import OPS
from gradgen.ops import calls
from gradgen.ops.rearrange import count_of
from gradgen.ops.reduce import as_value, as_values, no_truth
from gradgen.ops.reductions import all_, floats, floats_alike
from gradgen.types import DTYPES
from gradgen.value import Value, apply, constant


@implements(np.fmax)
def fmax(a: Any, b: Any) -> Value:
    """The larger one; a number, where the other is NaN."""
    a, b = as_values((a, b))
    larger = apply(OPS["maximum"], a, b)
    return calls.where(calls.isnan(a), b, calls.where(calls.isnan(b), a, larger))


@implements(np.fmin)
def fmin(a: Any, b: Any) -> Value:
    a, b = as_values((a, b))
    smaller = apply(OPS["minimum"], a, b)
    return calls.where(calls.isnan(a), b, calls.where(calls.isnan(b), a, smaller))


_LN2 = math.log(2.0)


@implements(np.logaddexp2)
def logaddexp2(a: Any, b: Any) -> Value:
    a, b = floats_alike("logaddexp2", a, b)
    return apply(OPS["logaddexp"], a * _LN2, b * _LN2) * (1.0 / _LN2)


# -- parts of numbers
@implements(np.divmod)
def divmod_(a: Any, b: Any) -> tuple[Value, Value]:
    return calls.floor_divide(a, b), apply(OPS["remainder"], a, b)


@implements(np.modf, math.modf)
def modf(x: Any) -> tuple[Value, Value]:
    """The fraction, with the sign of x, and the rest."""
    x = floats(no_truth("modf", x))
    whole = apply(OPS["trunc"], x)
    fraction = calls.where(calls.equal(abs(x), math.inf), 0.0, x - whole)
    return calls.copysign(fraction, x), whole


def _exponent(x: Value) -> Value:
    """The integer e with 0.5 <= |x| / 2**e < 1, as a float; 0 where x is 0, inf or nan."""
    size = abs(x)
    known = calls.logical_and(calls.greater(size, 0.0), calls.less(size, math.inf))
    e = calls.floor(apply(OPS["log2"], calls.where(known, size, 1.0))) + 1.0
    # log2 rounds: one step either way puts the fraction into its interval.
    part = size * apply(OPS["exp2"], -e)
    e = calls.where(
        calls.greater_equal(part, 1.0), e + 1.0, calls.where(calls.less(part, 0.5), e - 1.0, e)
    )
    return calls.where(known, e, 0.0)


@implements(np.frexp, math.frexp)
def frexp(x: Any) -> tuple[Value, Value]:
    """x = fraction * 2**exponent, half <= |fraction| < 1; the exponent is constant."""
    x = floats(no_truth("frexp", x))
    e = calls.floor(_exponent(x))
    half = calls.floor(0.5 * e)  # in two steps, so that no power of two overflows
    fraction = x * apply(OPS["exp2"], -half) * apply(OPS["exp2"], half - e)
    return fraction, calls.cast(e, dtype="i32")


@implements(np.ldexp, math.ldexp)
def ldexp(x: Any, n: Any) -> Value:
    """x * 2**n, in the dtype of x; SpecError unless n is integers."""
    x, n = floats(no_truth("ldexp", x)), as_value(n)
    if n.type.is_float:
        raise SpecError(f"ldexp needs integers as exponents, got {n.type}", "Write x * 2.0**n.")
    # What is beyond takes every number to 0 or inf. In three steps, no power of which overflows or is 0.
    far = 300 if x.type.dtype == "f32" else 2200
    held = calls.clip(calls.cast(n, dtype="i64"), -far, far)
    e = calls.cast(held, dtype=x.type.dtype)
    third = calls.rint(e / 3.0)
    step = apply(OPS["exp2"], third)
    return x * step * step * apply(OPS["exp2"], e - 2.0 * third)


@implements(np.signbit)
def signbit(x: Any) -> Value:
    x = as_value(x)
    return calls.less(calls.copysign(1.0, x) if x.type.is_float else x, 0)


@implements(math.copysign)
def math_copysign(x: Any, y: Any) -> Value:
    return calls.copysign(x, y)


@implements(np.heaviside)
def heaviside(x: Any, h0: Any) -> Value:
    """0 below 0, 1 above, h0 at 0."""
    x, h0 = floats_alike("heaviside", x, h0)
    step = calls.where(calls.less(x, 0), 0.0, calls.where(calls.greater(x, 0), 1.0, h0))
    return calls.where(calls.isnan(x), x, step)


@implements(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Value:
    """NaN and infinities replaced by numbers, through which no slope flows."""
    x = as_value(x)
    if not x.type.is_float:
        return x
    top = float(np.finfo(DTYPES[x.type.dtype]).max)
    high, low = top if posinf is None else posinf, -top if neginf is None else neginf
    out = calls.where(
        calls.equal(x, math.inf), high, calls.where(calls.equal(x, -math.inf), low, x)
    )
    return calls.where(calls.isnan(x), nan, out)


@implements(np.round, np.around)
def round_(a: Any, decimals: int = 0, out: None = None) -> Value:
    a = no_truth("np.round", a)
    decimals = count_of("np.round", decimals)
    if not a.type.is_float:
        if decimals >= 0:
            return a
        raise SpecError(f"np.round to tens needs floats, got {a.type}")
    if decimals == 0:
        return calls.rint(a)
    scale = 10.0 ** abs(decimals)
    return calls.rint(a * scale) / scale if decimals > 0 else calls.rint(a / scale) * scale


@implements(np.fix)
def fix(x: Any) -> Value:
    return apply(OPS["trunc"], x)


# -- tests
@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Value:
    a, b = as_values((a, b))
    b = floats(b)  # differences of integers might wrap around
    near = calls.less_equal(abs(a - b), atol + rtol * abs(b))
    near = calls.logical_or(calls.logical_and(near, calls.isfinite(b)), calls.equal(a, b))
    if equal_nan:
        near = calls.logical_or(near, calls.logical_and(calls.isnan(a), calls.isnan(b)))
    return near


@implements(np.allclose)
def allclose(
    a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False
) -> Value:
    return all_(isclose(a, b, rtol, atol, equal_nan))


@implements(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    a, b = as_values((a1, a2))
    if a.type.shape != b.type.shape:
        return False
    same = calls.equal(a, b)
    if equal_nan:
        same = calls.logical_or(same, calls.logical_and(calls.isnan(a), calls.isnan(b)))
    return all_(same)


@implements(np.isposinf)
def isposinf(x: Any, out: None = None) -> Value:
    return calls.equal(x, math.inf)


@implements(np.isneginf)
def isneginf(x: Any, out: None = None) -> Value:
    return calls.equal(x, -math.inf)


@implements(np.isreal)
def isreal(x: Any) -> Value:
    return FUNCTIONS[np.ones_like](x, dtype="bool")


# -- of real numbers, what complex ones would have
@implements(np.real, np.real_if_close)
def real(x: Any) -> Value:
    return as_value(x)


@implements(np.conjugate)
def conjugate(x: Any) -> Value:
    return no_truth("np.conjugate", x)


@implements(np.imag)
def imag(x: Any) -> Value:
    return FUNCTIONS[np.zeros_like](x)


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Value:
    """0, or pi for negative numbers and -0.0; NaN stays NaN."""
    z = floats(z)
    half = constant(180.0 if deg else math.pi, z.type.dtype)
    return calls.where(calls.isnan(z), z, calls.where(signbit(z), half, 0.0))


@implements(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    return False


@implements(np.isrealobj)
def isrealobj(x: Any) -> bool:
    return True


@implements(np.result_type)
def result_type(*operands: Any) -> Any:
    return np.result_type(*(x.dtype if isinstance(x, Value) else x for x in operands))


# -- smooth functions
@implements(np.sinc, "scipy.special.sinc")
def sinc(x: Any) -> Value:
    """sin(pi x) / (pi x), 1 at 0."""
    return apply(OPS["spherical_j0"], floats(x) * math.pi)


@implements(np.i0, "scipy.special.i0")
def i0(x: Any) -> Value:
    """The modified Bessel function of the first kind, order 0."""
    return apply(OPS["bessel_i0"], floats(x))


@implements("scipy.special.i1")
def i1(x: Any) -> Value:
    return apply(OPS["bessel_i1"], floats(x))
