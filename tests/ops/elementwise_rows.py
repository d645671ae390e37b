"""One row per elementwise op: what it is in mpmath, where it is smooth, its special points, and what it must refuse.

Row(op, exact, domains, special, bad)
    exact     the function on mpmath numbers; None: compare the value with NumPy's own, and expect no slope
    domains   per operand an interval in which the function is smooth (a list of numbers: those numbers, as constants)
    special   (operands, slopes): expected derivatives at kinks and poles; None: no slope is asked for
    ints      it takes integers too;  only_ints: nothing else
    bad       (operands, words of the message): arguments that are refused, words None where NumPy refuses at run time
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

inf, nan = np.inf, np.nan
BOOLS = np.array([True, False])
WIDE = (-30.0, 30.0)
UNIT = (-0.95, 0.95)
POSITIVE = (0.05, 30.0)
SMALL = (-4.0, 4.0)
LARGE = (14.5, 1e4)


@dataclass
class Row:
    op: str
    exact: Callable[..., Any] | None
    domains: tuple[Any, ...]
    special: tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...] = ()
    bad: tuple[tuple[tuple[Any, ...], str], ...] = ()
    ints: bool = False
    only_ints: bool = False
    second: bool = True
    rel: float = 2e-15


def sgn(x: Any) -> Any:
    return mp.sign(x)


def mod(a: Any, b: Any) -> Any:
    return a - b * mp.floor(a / b)


def truncated(a: Any, b: Any) -> Any:
    q = a / b
    return a - b * (mp.floor(q) if q > 0 else mp.ceil(q))


def cbrt(x: Any) -> Any:
    return mp.sign(x) * mp.cbrt(abs(x))


def gammaln(x: Any) -> Any:
    return mp.log(abs(mp.gamma(x)))


def rise(f: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda x, d: f(x + d) - f(x)


no_bools = "needs numbers"
shapes = (np.zeros(2), np.zeros(3))


def spherical(n: int) -> Callable[[Any], Any]:
    """j_n by half-integer Bessel functions, at 0 by its limit."""
    return lambda x: mp.besselj(n + 0.5, x) * mp.sqrt(mp.pi / (2 * x)) if x else mp.mpf(n == 0)


def modified(n: int) -> Callable[[Any], Any]:
    return lambda x: mp.besseli(n, x)


no_fit = ((shapes, "broadcast"),)
bools2 = (((BOOLS, BOOLS), no_bools), *no_fit)
bools1 = (((BOOLS,), no_bools),)
bools3 = (((BOOLS, BOOLS, BOOLS), no_bools),)

ROWS = [
    # arithmetic
    Row("add", lambda a, b: a + b, (WIDE, WIDE), bad=no_fit, ints=True),
    Row("sub", lambda a, b: a - b, (WIDE, WIDE), bad=bools2, ints=True),
    Row("mul", lambda a, b: a * b, (WIDE, WIDE), bad=no_fit, ints=True),
    Row("div", lambda a, b: a / b, (WIDE, POSITIVE), (((1.0, 0.0), (inf, -inf)),), bools2, ints=True),
    Row("neg", lambda x: -x, (WIDE,), bad=bools1, ints=True),
    Row("abs", abs, (POSITIVE,), (((0.0,), (0.0,)), ((-2.0,), (-1.0,))), ints=True),
    Row("sign", sgn, (POSITIVE,), (((0.0,), (0.0,)),), bools1, ints=True),
    Row("mulz", lambda a, p: a * p, (POSITIVE, WIDE), (((0.0, inf), (inf, 0.0)), ((0.0, nan), (nan, 0.0)),
        ((0.0, 2.0), (2.0, 0.0))), bools2),
    # powers and roots
    Row("square", lambda x: x**2, (WIDE,), (((0.0,), (0.0,)),), bools1, ints=True),
    Row("reciprocal", lambda x: 1 / x, (POSITIVE,), (((0.0,), (-inf,)), ((-2.0,), (-0.25,))), bools1),
    Row("sqrt", mp.sqrt, (POSITIVE,), (((0.0,), (inf,)),), bools1),
    Row("cbrt", cbrt, (POSITIVE,), (((0.0,), (inf,)), ((-8.0,), (1 / 12,))), bools1),
    Row("power", lambda a, b: a**b, (POSITIVE, (-3.0, 3.0)), (
        ((0.0, 2.0), (0.0, 0.0)), ((0.0, 1.0), (1.0, 0.0)), ((0.0, 0.5), (inf, 0.0)), ((0.0, 0.0), (0.0, None)),
        ((3.0, 0.0), (0.0, mp.log(3))), ((-2.0, 3.0), (12.0, None)), ((2.0, 3.0), (12.0, 8 * mp.log(2)))), bools2,
        ints=True),
    Row("powc", lambda a, n: a**n, (POSITIVE, [3.0, -2.0, 1.5, 5.0, -0.5, 2.0]), (
        ((-2.0, 3.0), (12.0, None)), ((0.0, 3.0), (0.0, None)), ((0.0, 1.5), (0.0, None)),
        ((0.0, -2.0), (-inf, None))), ints=True),
    # exponentials and logarithms
    Row("exp", mp.exp, (WIDE,), (((-inf,), (0.0,)),), bools1),
    Row("exp2", lambda x: mp.mpf(2) ** x, (WIDE,), bad=bools1),
    Row("expm1", mp.expm1, (SMALL,), bad=bools1),
    Row("log", mp.log, (POSITIVE,), (((0.0,), (inf,)),), bools1),
    Row("log2", lambda x: mp.log(x, 2), (POSITIVE,), bad=bools1),
    Row("log10", mp.log10, (POSITIVE,), bad=bools1),
    Row("log1p", mp.log1p, (POSITIVE,), bad=bools1),
    Row("logaddexp", lambda a, b: mp.log(mp.exp(a) + mp.exp(b)), (WIDE, WIDE), (
        ((-inf, -inf), (0.5, 0.5)), ((inf, inf), (0.5, 0.5)), ((inf, 0.0), (1.0, 0.0)), ((1000.0, 0.0), (1.0, 0.0)),
        ((2.0, 2.0), (0.5, 0.5))), bools2),
    Row("softplus", lambda x: mp.log1p(mp.exp(x)), (WIDE,), (((1000.0,), (1.0,)), ((-1000.0,), (0.0,))), bools1),
    Row("sech2", lambda x: 1 / mp.cosh(x) ** 2, (WIDE,), (((0.0,), (0.0,)), ((1000.0,), (0.0,))), bools1),
    Row("sigmoid", lambda x: 1 / (1 + mp.exp(-x)), (WIDE,), (((1000.0,), (0.0,)), ((-1000.0,), (0.0,))), bools1),
    Row("gap", lambda a, b: a - b, (WIDE, WIDE), (((inf, inf), (1.0, -1.0)), ((2.0, 2.0), (1.0, -1.0))), bools2),
    # circular and hyperbolic functions
    Row("sin", mp.sin, (WIDE,), bad=bools1),
    Row("cos", mp.cos, (WIDE,), bad=bools1),
    Row("tan", mp.tan, (UNIT,), bad=bools1),
    Row("arcsin", mp.asin, (UNIT,), (((1.0,), (inf,)),), bools1),
    Row("arccos", mp.acos, (UNIT,), (((1.0,), (-inf,)),), bools1),
    Row("arctan", mp.atan, (WIDE,), (((inf,), (0.0,)),), bools1),
    Row("arctan2", mp.atan2, (WIDE, POSITIVE), (((0.0, 0.0), (0.0, 0.0)), ((3.0, 4.0), (0.16, -0.12)),
        ((3e-200, 4e-200), (1.6e199, -1.2e199))), bools2),
    Row("copy", lambda x: x, (WIDE,), ints=True),
    Row("root", mp.sqrt, (POSITIVE,), (((0.0,), (0.0,)),), bools1),
    Row("hypot", lambda a, b: mp.sqrt(a**2 + b**2), (WIDE, POSITIVE), (((0.0, 0.0), (0.0, 0.0)),
        ((3e200, 4e200), (0.6, 0.8))), bools2),
    Row("direction", lambda a, b: a / mp.sqrt(a**2 + b**2), (WIDE, POSITIVE), (((3e200, 4e200), (1.28e-201, -0.96e-201)),
        ((1000.0, 2.0), (3.9999760000960e-09, -1.9999880000600e-06))), bools2),
    Row("sinh", mp.sinh, (SMALL,), bad=bools1),
    Row("cosh", mp.cosh, (SMALL,), (((0.0,), (0.0,)),), bools1),
    Row("tanh", mp.tanh, (SMALL,), (((1000.0,), (0.0,)),), bools1),
    Row("arcsinh", mp.asinh, (WIDE,), bad=bools1),
    Row("arccosh", mp.acosh, ((1.05, 30.0),), (((1.0,), (inf,)),), bools1),
    Row("arctanh", mp.atanh, (UNIT,), (((1.0,), (inf,)),), bools1),
    # special functions
    Row("erf", mp.erf, (SMALL,), (((100.0,), (0.0,)),), bools1),
    Row("erfc", mp.erfc, (SMALL,), (((-100.0,), (0.0,)),), bools1),
    Row("gammaln", gammaln, (POSITIVE,), (((-1.5,), (mp.digamma(-1.5),)), ((1.0,), (-mp.euler,))), bools1),
    Row("digamma", mp.digamma, (POSITIVE,), (((-1.5,), (mp.polygamma(1, -1.5),)),), bools1),
    Row("trigamma", lambda x: mp.polygamma(1, x), (POSITIVE,), (((-1.5,), (mp.polygamma(2, -1.5),)),), bools1,
        second=False),
    Row("tetragamma", None, (POSITIVE,), bad=bools1),
    Row("gammaln_rise", rise(gammaln), (LARGE, SMALL), (((1.0, 1.0), (1.0, 1.0 - mp.euler)),), bools2),
    Row("digamma_rise", rise(mp.digamma), (LARGE, SMALL), (((1.0, 1.0), (-1.0, mp.zeta(2) - 1)),), bools2),
    Row("trigamma_rise", rise(lambda x: mp.polygamma(1, x)), (LARGE, SMALL),
        (((1.0, 1.0), (2.0, 2.0 - 2 * mp.zeta(3))),), bools2, second=False),
    Row("tetragamma_rise", None, (LARGE, SMALL), bad=bools2),
    Row("betaln", lambda a, b: gammaln(a) + gammaln(b) - gammaln(a + b), (POSITIVE, LARGE), (
        ((2.0, 2.0), (-mp.mpf(5) / 6, -mp.mpf(5) / 6)), ((1e10, 3.0), (-3e-10, None))), bools2),
    # rounding and division with remainder
    Row("floor", mp.floor, ((0.1, 0.9),), (((2.0,), (0.0,)),), bools1, ints=True),
    Row("ceil", mp.ceil, ((0.1, 0.9),), (((2.0,), (0.0,)),), bools1, ints=True),
    Row("rint", mp.nint, ((0.6, 0.9),), (((2.5,), (0.0,)),), bools1, ints=True),
    Row("trunc", mp.floor, ((0.1, 0.9),), (((-2.5,), (0.0,)),), bools1, ints=True),
    Row("floor_divide", lambda a, b: mp.floor(a / b), ((5.1, 5.9), (1.01, 1.1)), bad=bools2, ints=True),
    Row("remainder", mod, ((5.1, 5.9), (-2.0, -1.99)), (((6.0, 3.0), (1.0, -2.0)),), bools2, ints=True),
    Row("fmod", truncated, ((-5.9, -5.1), (2.0, 2.01)), (((6.0, 3.0), (1.0, -2.0)), ((-7.0, 3.0), (1.0, 2.0))), bools2,
        ints=True),
    # selections
    Row("where", lambda c, a, b: a if c else b, ([True, False], WIDE, WIDE), bad=(((BOOLS, *shapes), "broadcast"),), ints=True),
    Row("maximum", max, ((-30.0, 0.0), (0.1, 30.0)), (((1.0, 1.0), (0.5, 0.5)), ((nan, 1.0), (0.0, 0.0)),
        ((2.0, 1.0), (1.0, 0.0))), no_fit, ints=True),
    Row("minimum", min, ((-30.0, 0.0), (0.1, 30.0)), (((1.0, 1.0), (0.5, 0.5)), ((2.0, 1.0), (0.0, 1.0))), no_fit, ints=True),
    Row("clip", lambda x, lo, hi: min(max(x, lo), hi), ((-30.0, 30.0), (-2.0, -1.0), (1.0, 2.0)), (
        ((1.0, 0.0, 1.0), (1.0, 0.0, 0.0)), ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)), ((2.0, 0.0, 1.0), (0.0, 0.0, 1.0)),
        ((-2.0, 0.0, 1.0), (0.0, 1.0, 0.0)), ((0.5, 2.0, 1.0), (0.0, 0.0, 1.0)),
        ((0.5, -inf, inf), (1.0, 0.0, 0.0))), (((BOOLS, BOOLS, BOOLS), no_bools),), ints=True),
    # bits
    *[Row(name, None, ([6, -3, 2**40 + 1], [3, 5, 1]), bad=(((1.0, 2.0), "needs integers"), ((BOOLS, BOOLS), "needs integers")),
        only_ints=True) for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift")],
    Row("invert", None, ([6, -3, 2**40 + 1],), bad=(((1.0,), "needs integers"), ((BOOLS,), "needs integers")), only_ints=True),
    # truth values
    *[Row(name, None, (SMALL, SMALL), bad=no_fit, ints=True) for name in (
        "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or")],
    *[Row(name, None, (SMALL,), ints=True) for name in ("logical_not", "isnan", "isfinite")],
    *[Row(f"spherical_j{n}", spherical(n), ((0.1, 3.9),), (((0.0,), (1 / 3 if n == 1 else 0.0,)),), bools1, second=n < 3)
      for n in range(4)],
    *[Row(f"bessel_i{n}", modified(n), (SMALL,), (((0.0,), (0.5 if n == 1 else 0.0,)),), bools1, second=n < 3)
      for n in range(4)],
    Row("spherical_j4", None, (SMALL,), bad=bools1),
    Row("bessel_i4", None, (SMALL,), bad=bools1),
    Row("log_ndtr", lambda x: mp.log(mp.ncdf(x)), ((-8.0, 2.0),), (), bools1),
    Row("gammainc", lambda a, x: mp.gammainc(a, 0, x, regularized=True), ([0.5, 2.0, 7.5], (0.1, 9.0)),
        (((2.0, 0.0), (None, 0.0)), ((1.0, 0.0), (None, 1.0))), bools2, rel=1e-14),
    Row("gammaincc", lambda a, x: mp.gammainc(a, x, mp.inf, regularized=True), ([0.5, 2.0, 7.5], (0.1, 9.0)),
        (((2.0, 0.0), (None, 0.0)),), bools2, rel=1e-14),
    Row("betainc", lambda a, b, x: mp.betainc(a, b, 0, x, regularized=True), ([0.5, 2.0, 7.5], [1.0, 3.5, 0.7], (0.05, 0.95)),
        (((2.0, 1.0, 1.0), (None, None, 2.0)), ((1.0, 2.0, 0.0), (None, None, 2.0))), bools3, rel=1e-14),
    Row("copysign", lambda a, b: abs(a) if b > 0 else -abs(a), (WIDE, POSITIVE),
        special=(((0.0, 1.0), (0.0, 0.0)), ((2.0, -0.0), (-1.0, 0.0))), bad=bools2),
]  # fmt: skip
BY_NAME = {row.op: row for row in ROWS}
