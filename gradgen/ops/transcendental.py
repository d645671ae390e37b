"""Exponentials, logarithms, circular and hyperbolic functions and their inverses. Angles are in radians."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.ir import Op
from gradgen.ops import calls
from gradgen.ops.elementwise import TRANSCENDENTAL, elementwise, libm, literal
from gradgen.ops.helpers import run
from gradgen.spelling import call, helper
from gradgen.value import Value


def _function(
    name: str, ufunc: Any, doc: str, sympy: str, libm_name: str = "", **fields: Any
) -> Op:
    """A function of one number that NumPy, Python's math and C's libm all have."""
    libm_name = libm_name or name
    return elementwise(
        name, "float", ufunc, doc,
        sympy=sympy, flops=TRANSCENDENTAL, functions=(ufunc,),
        numpy=call(f"np.{name}"), python=call(f"math.{libm_name}"), c=libm(libm_name), **fields,
    )  # fmt: skip


# fmt: off
EXP     = _function("exp", np.exp, "e to the x.", "exp(x)")
EXP2    = _function("exp2", np.exp2, "2 to the x.", "2**x")
EXPM1   = _function("expm1", np.expm1, "exp(x) - 1, precise near 0.", "exp(x) - 1")
LOG     = _function("log", np.log, "The natural logarithm of x > 0.", "log(x)")
LOG2    = _function("log2", np.log2, "The logarithm to base 2 of x > 0.", "log(x)/log(2)")
LOG10   = _function("log10", np.log10, "The logarithm to base 10 of x > 0.", "log(x)/log(10)")
LOG1P   = _function("log1p", np.log1p, "log(1 + x) for x > -1, precise near 0.", "log(1 + x)")
SIN     = _function("sin", np.sin, "The sine of x radians.", "sin(x)")
COS     = _function("cos", np.cos, "The cosine of x radians.", "cos(x)")
TAN     = _function("tan", np.tan, "The tangent of x radians.", "tan(x)")
ARCSIN  = _function("arcsin", np.arcsin, "The angle in [-pi/2, pi/2] with sine x, -1 <= x <= 1.", "asin(x)", "asin",
                    unbounded=(True,), kink="arcsin(x): inf at 1 and -1")
ARCCOS  = _function("arccos", np.arccos, "The angle in [0, pi] with cosine x, -1 <= x <= 1.", "acos(x)", "acos",
                    unbounded=(True,), kink="arccos(x): -inf at 1 and -1")
ARCTAN  = _function("arctan", np.arctan, "The angle in [-pi/2, pi/2] with tangent x.", "atan(x)", "atan")
SINH    = _function("sinh", np.sinh, "The hyperbolic sine of x.", "sinh(x)")
COSH    = _function("cosh", np.cosh, "The hyperbolic cosine of x.", "cosh(x)")
TANH    = _function("tanh", np.tanh, "The hyperbolic tangent of x.", "tanh(x)")
ARCSINH = _function("arcsinh", np.arcsinh, "The number whose sinh is x.", "asinh(x)", "asinh")
ARCCOSH = _function("arccosh", np.arccosh, "The number >= 0 whose cosh is x >= 1.", "acosh(x)", "acosh",
                    unbounded=(True,), kink="arccosh(x): inf at 1")
ARCTANH = _function("arctanh", np.arctanh, "The number whose tanh is x, -1 < x < 1.", "atanh(x)", "atanh")
# fmt: on


# -- two operands: what SymPy derives is 0/0 at the origin, or at infinity
def _over_radius(y: Value, x: Value) -> Value:
    """x / y, and 0 at the origin, where y is 0."""
    return calls.where(calls.equal(y, 0), 0.0, x / y)


def _angle_slope(y: Value, a: Value, b: Value) -> Value:
    """d arctan2(a, b)/da = b / r**2, and 0 at the origin. By hypot: a**2 + b**2 overflows and underflows too early."""
    r = calls.hypot(a, b)
    return calls.where(calls.equal(r, 0), 0.0, b / r / r)


HYPOT = elementwise(
    "hypot", "float", np.hypot,
    "sqrt(a**2 + b**2) without overflow: the length of the vector (a, b).",
    partials=(lambda y, a, b: _over_radius(y, a), lambda y, a, b: _over_radius(y, b)),
    commutative=True, functions=(np.hypot,), flops=TRANSCENDENTAL, kink="hypot(a, b): 0 at (0, 0)",
    numpy=call("np.hypot"), python=call("math.hypot"), c=libm("hypot"),
)  # fmt: skip


def _turn(a: Value, b: Value) -> Value:
    """d (a / r)/da = (b / r)**2 / r with r = hypot(a, b). As 1 / r - a**2 / r**3 it would cancel for a far above b."""
    return calls.square(calls.direction(b, a)) / calls.hypot(a, b)


DIRECTION = elementwise(
    "direction", "float", run("direction"),
    "a / sqrt(a**2 + b**2) without overflow: the cosine of the angle of the point (x=a, y=b).",
    partials=(
        lambda y, a, b: _turn(a, b),
        lambda y, a, b: -y * calls.direction(b, a) / calls.hypot(a, b),
    ),
    flops=TRANSCENDENTAL, numpy=helper("direction"), python=helper("direction"), c=helper("direction"),
)  # fmt: skip
ARCTAN2 = elementwise(
    "arctan2", "float", np.arctan2,
    "The angle in [-pi, pi] from the x-axis to the point (x=b, y=a).",
    partials=(lambda y, a, b: _angle_slope(y, a, b), lambda y, a, b: -_angle_slope(y, b, a)),
    functions=(np.arctan2,), flops=TRANSCENDENTAL, kink="arctan2(a, b): 0 at (0, 0)",
    numpy=call("np.arctan2"), python=call("math.atan2"), c=libm("atan2"),
)  # fmt: skip


GAP = elementwise(
    "gap", "number", run("gap"),
    "a - b, and 0 where they are equal, infinities included.",
    # An op of its own because a select on a == b would lose the slope there, and with it second derivatives.
    partials=(lambda y, a, b: 1, lambda y, a, b: -1), bounded=(True, True),
    numpy=helper("gap"), python=helper("gap"), c=helper("gap"),
)  # fmt: skip


def _weight(y: Value, a: Value, b: Value) -> Any:
    """d logaddexp(a, b)/da = exp(a) / (exp(a) + exp(b)) = sigmoid(a - b); half at two equal infinities."""
    left = literal(a)
    right = literal(b)
    if right == 0:
        return calls.sigmoid(a)
    if left == 0:
        return calls.sigmoid(-b)
    known = left if right is None else right
    if known is not None and np.isfinite(known):
        return calls.sigmoid(a - b)
    return calls.sigmoid(calls.gap(a, b))


LOGADDEXP = elementwise(
    "logaddexp", "float", np.logaddexp,
    "log(exp(a) + exp(b)) without overflow.",
    partials=(_weight, lambda y, a, b: _weight(y, b, a)),
    commutative=True, functions=(np.logaddexp,), flops=2 * TRANSCENDENTAL,
    kink="logaddexp(a, b): half each at two equal infinities",
    numpy=call("np.logaddexp"), python=helper("logaddexp"), c=helper("logaddexp"),
)  # fmt: skip
