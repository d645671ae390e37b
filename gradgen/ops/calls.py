"""Ops as functions, for partials and other rules: `sin(x)` makes the statement `sin` on x.

The op is looked up when the function is called, so that a rule may name an op whose record comes later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradgen.ir import OPS
from gradgen.value import Value, apply


def _caller(name: str) -> Callable[..., Value]:
    def call(*args: Any, **params: Any) -> Value:
        return apply(OPS[name], *args, **params)

    call.__name__ = call.__qualname__ = name
    return call


cast = _caller("cast")
mulz = _caller("mulz")
gap = _caller("gap")
sign = _caller("sign")
power = _caller("power")
square = _caller("square")
reciprocal = _caller("reciprocal")
sqrt = _caller("sqrt")
cbrt = _caller("cbrt")
exp = _caller("exp")
log = _caller("log")
log1p = _caller("log1p")
sin = _caller("sin")
cos = _caller("cos")
sinh = _caller("sinh")
cosh = _caller("cosh")
tanh = _caller("tanh")
hypot = _caller("hypot")
direction = _caller("direction")
softplus = _caller("softplus")
sigmoid = _caller("sigmoid")
digamma = _caller("digamma")
trigamma = _caller("trigamma")
tetragamma = _caller("tetragamma")
floor_divide = _caller("floor_divide")
rint = _caller("rint")
maximum = _caller("maximum")
clip = _caller("clip")
where = _caller("where")
copy = _caller("copy")
equal = _caller("equal")
not_equal = _caller("not_equal")
less = _caller("less")
less_equal = _caller("less_equal")
greater = _caller("greater")
logical_and = _caller("logical_and")
logical_or = _caller("logical_or")
logical_not = _caller("logical_not")
bitwise_and = _caller("bitwise_and")
bitwise_or = _caller("bitwise_or")
bitwise_xor = _caller("bitwise_xor")
invert = _caller("invert")
isnan = _caller("isnan")
gammaln = _caller("gammaln")
erf = _caller("erf")
erfc = _caller("erfc")
floor = _caller("floor")
isfinite = _caller("isfinite")
minimum = _caller("minimum")
add = _caller("add")
copysign = _caller("copysign")
ceil = _caller("ceil")
greater_equal = _caller("greater_equal")
arctan = _caller("arctan")
expm1 = _caller("expm1")
gammaln_rise = _caller("gammaln_rise")
digamma_rise = _caller("digamma_rise")
trigamma_rise = _caller("trigamma_rise")
tetragamma_rise = _caller("tetragamma_rise")
betaln = _caller("betaln")
