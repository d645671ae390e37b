"""Differences that keep their digits: f(x + d) - f(x) for gammaln and its first three derivatives, and betaln, made of them.

    gammaln_rise digamma_rise trigamma_rise tetragamma_rise    betaln

Where x is large, f(x + d) and f(x) agree in their leading digits, and their difference is left with none. There the
difference of Stirling's series (NIST DLMF 5.11.1, 5.11.2) is formed term by term: with u = 1/x and w = 1/(x + d), w - u is
-d u w exactly, and a polynomial at w less itself at u is w - u times its divided difference, by Horner's scheme. So do
A. R. DiDonato and A. H. Morris, "Algorithm 708: Significant digit computation of the incomplete beta function ratios",
ACM Trans. Math. Software 18 (1992) 360-373, with the logarithm of the beta function.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gradgen.errors import UnsupportedError
from gradgen.ops import calls
from gradgen.ops.coefficients import STIRLING
from gradgen.ops.elementwise import TRANSCENDENTAL, elementwise
from gradgen.ops.helper_texts import array_text, tuple_text
from gradgen.ops.helpers import Helper, enter, run
from gradgen.spelling import helper
from gradgen.value import Value

enter(Helper(
    "horner_slope", ("x", "y", "coefficients"),
    "(p(y) - p(x)) / (y - x) for the polynomial p with these coefficients, highest power first.",
    numpy="p, slope = coefficients[0], 0.0\nfor c in coefficients[1:]:\n"
    "    slope, p = slope * y + p, p * x + c\nreturn slope\n",
    python="p, slope = coefficients[0], 0.0\nfor c in coefficients[1:]:\n"
    "    slope, p = slope * y + p, p * x + c\nreturn slope\n",
    signature="double x, double y, int n, const double *c",
    c="double p = c[0];\ndouble slope = 0.0;\nfor (int i = 1; i < n; i++) {\n"
    "    slope = slope * y + p;\n    p = p * x + c[i];\n}\nreturn slope;\n",
))  # fmt: skip


def _rise(name: str, doc: str, far: str) -> None:
    """Enter `<name>_rise` from the formula for x and x + d >= 10, in u = 1/x, w = 1/(x + d), g = w - u, the series s in w**2,
    and t, its divided difference from u**2 to w**2."""
    a = STIRLING[name]
    scalar = re.sub(r"\bz\b", "x", re.sub(r"\bh\b", "d", far.replace("z + h", "y")))
    numpy = f"""\
{tuple_text("a", a)}y = x + d
none = np.zeros_like(y)
far = np.minimum(x, y) >= 10.0
z, h = np.where(far, x, none + 10.0), np.where(far, d, none)
u, w = 1.0 / z, 1.0 / (z + h)
g = -h * u * w
s, t = _horner(w * w, a), _horner_slope(u * u, w * w, a)
rise = {far.replace("log", "np.log")}
return np.where(far, rise, _{name}(y) - _{name}(x + none))
"""
    own = "math.lgamma" if name == "gammaln" else f"_{name}"
    python = f"""\
{tuple_text("a", a)}y = x + d
if not min(x, y) >= 10.0:
    return {own}(y) - {own}(x)
u, w = 1.0 / x, 1.0 / y
g = -d * u * w
s, t = _horner(w * w, a), _horner_slope(u * u, w * w, a)
return {scalar.replace("log", "math.log")}
"""
    c = f"""\
{array_text("a", a)}const double y = x + d;
double u;
double w;
double g;
double s;
double t;
if (!(x >= 10.0 && y >= 10.0))
    return {name}(y) - {name}(x);
u = 1.0 / x;
w = 1.0 / y;
g = -d * u * w;
s = horner(w * w, {len(a)}, a);
t = horner_slope(u * u, w * w, {len(a)}, a);
return {scalar};
"""
    enter(Helper(
        f"{name}_rise", ("x", "d"), doc, numpy=numpy, python=python, c=c, needs=("horner", "horner_slope", name)
    ))  # fmt: skip


_STATED = "{0}(x + d) - {0}(x); where both are above 10 to a relative error of 1e-15."
_rise(
    "gammaln",
    _STATED.format("gammaln"),
    "(z - 0.5) * log1p(h * u) + h * (log(z + h) - 1.0) + g * (s + u * (w + u) * t)",
)
_rise(
    "digamma",
    _STATED.format("digamma"),
    "log1p(h * u) - g * (0.5 + (w + u) * (s + u * u * t))",
)
_rise(
    "trigamma",
    _STATED.format("trigamma"),
    "g * (1.0 + (w + u) * (0.5 + u * u * u * t) + (w * w + w * u + u * u) * s)",
)
_rise(
    "tetragamma",
    _STATED.format("tetragamma"),
    "-g * (w * w + w * u + u * u + (w + u) * (1.0 + w * w * s + u * u * (s + u * u * t)))",
)

# For a and b >= 10 all factors of gamma(a) gamma(b) / gamma(a + b) by Stirling's formula at once: large terms of one sign.
_SERIES = STIRLING["gammaln"]
enter(Helper(
    "stirling_rise", ("x", "d"), "What gammaln exceeds Stirling's formula by, at x + d less at x; both at least 10.",
    numpy=tuple_text("a", _SERIES) + """\
u, w = 1.0 / x, 1.0 / (x + d)
return -d * u * w * (_horner(w * w, a) + u * (w + u) * _horner_slope(u * u, w * w, a))
""",
    python=tuple_text("a", _SERIES) + """\
u, w = 1.0 / x, 1.0 / (x + d)
return -d * u * w * (_horner(w * w, a) + u * (w + u) * _horner_slope(u * u, w * w, a))
""",
    c=array_text("a", _SERIES) + f"""\
const double u = 1.0 / x;
const double w = 1.0 / (x + d);
const double s = horner(w * w, {len(_SERIES)}, a);
return -d * u * w * (s + u * (w + u) * horner_slope(u * u, w * w, {len(_SERIES)}, a));
""",
    needs=("horner", "horner_slope"),
))  # fmt: skip
enter(Helper(
    "betaln", ("a", "b"), "log|beta(a, b)|, to 2e-15 of the larger of 1 and the result (a, b > 0).",
    numpy=tuple_text("c", _SERIES) + """\
low, high = np.minimum(a, b), np.maximum(a, b)
far = low >= 10.0
p, q = np.where(far, low, 10.0), np.where(far, high, 10.0)
series = _horner(np.square(1.0 / p), c) / p - _stirling_rise(q, p)
both = series + 0.9189385332046728 - 0.5 * np.log(p + q)
both = both - (p - 0.5) * np.log1p(q / p) - (q - 0.5) * np.log1p(p / q)
return np.where(far, both, _gammaln(low) - _gammaln_rise(high, low))
""",
    python=tuple_text("c", _SERIES) + """\
p, q = (a, b) if a < b else (b, a)
if not p >= 10.0:
    return math.lgamma(p) - _gammaln_rise(q, p)
series = _horner((1.0 / p) ** 2, c) / p - _stirling_rise(q, p)
both = series + 0.9189385332046728 - 0.5 * math.log(p + q)
return both - (p - 0.5) * math.log1p(q / p) - (q - 0.5) * math.log1p(p / q)
""",
    c=array_text("c", _SERIES) + f"""\
const double p = a < b ? a : b;
const double q = a < b ? b : a;
double series;
double both;
if (!(p >= 10.0))
    return gammaln(p) - gammaln_rise(q, p);
series = horner(1.0 / p * (1.0 / p), {len(_SERIES)}, c) / p - stirling_rise(q, p);
both = series + 0.9189385332046728 - 0.5 * log(p + q);
return both - (p - 0.5) * log1p(q / p) - (q - 0.5) * log1p(p / q);
""",
    needs=("horner", "gammaln", "gammaln_rise", "stirling_rise"),
))  # fmt: skip


def _by_both(rise: str, slope: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The partials of f(x + d) - f(x) by x and by d."""
    by_x, at = getattr(calls, rise), getattr(calls, slope)
    return lambda y, x, d: by_x(x, d), lambda y, x, d: at(x + d)


def _no_further(y: Value, x: Value, d: Value) -> Any:
    raise UnsupportedError(
        "gammaln is differentiated three times at most, got a fourth derivative",
        "Take one derivative less.",
    )


_PARTIALS: dict[str, Any] = {
    "gammaln": _by_both("digamma_rise", "digamma"),
    "digamma": _by_both("trigamma_rise", "trigamma"),
    "trigamma": _by_both("tetragamma_rise", "tetragamma"),
    "tetragamma": (_no_further, _no_further),
    "betaln": (
        lambda y, a, b: -calls.digamma_rise(a, b),
        lambda y, a, b: -calls.digamma_rise(b, a),
    ),
}
for _name, _partials in _PARTIALS.items():
    _own = _name if _name == "betaln" else f"{_name}_rise"
    elementwise(
        _own, "float", run(_own),
        "log|beta(a, b)|, precise where one or both are large." if _own == "betaln"
        else f"{_name}(x + d) - {_name}(x), precise where x is large.",
        partials=_partials, flops=6 * TRANSCENDENTAL, numpy=helper(_own), python=helper(_own), c=helper(_own),
    )  # fmt: skip
