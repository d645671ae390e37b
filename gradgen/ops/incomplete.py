"""Incomplete gamma and beta functions: gammainc gammaincc betainc, regularised, from 0 to 1.

Differentiated by their last operand alone: by a and b there is no formula without further special functions, and it is refused.
Of a sum and a continued fraction the one that converges at once is taken (NIST DLMF 8.7.1, 8.9.2 and 8.17.22, the fractions by
Lentz's method), so that both tails keep their digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradgen.errors import UnsupportedError
from gradgen.ops import calls
from gradgen.ops.elementwise import TRANSCENDENTAL, elementwise
from gradgen.ops.helpers import Helper, enter, run
from gradgen.spelling import helper
from gradgen.value import Value

# Loops end when a term no longer changes the sum, or a factor is 1 up to rounding, whatever the dtype; at once for nan.
enter(Helper(
    "gamma_lower", ("a", "x"), "P(a, x) for 0 <= x < a + 1, by its power series.",
    numpy="""\
z = np.where(x > 0.0, x, 1.0)
term = total = np.ones_like(a * z)
for k in range(1, 10000):
    term = term * z / (a + k)
    if not np.any(total + term > total):
        break
    total = total + term
value = np.exp(a * np.log(z) - z - _gammaln(a + 1.0)) * total
return np.where(x > 0.0, value, x)
""",
    python="""\
if not x > 0.0:
    return x
total = term = 1.0
k = 0
while total + term > total and k < 10000:
    total += 0.0 if k == 0 else term
    k += 1
    term *= x / (a + k)
return math.exp(a * math.log(x) - x - math.lgamma(a + 1.0)) * total
""",
    c="""\
double term = 1.0;
double total = 1.0;
if (!(x > 0.0))
    return x;
for (int k = 1; k < 10000; k++) {
    term *= x / (a + (double)k);
    if (!(total + term > total))
        break;
    total += term;
}
return exp(a * log(x) - x - gammaln(a + 1.0)) * total;
""",
    needs=("gammaln",),
))  # fmt: skip
enter(Helper(
    "gamma_upper", ("a", "x"), "1 - P(a, x) for x >= a + 1, by a continued fraction.",
    numpy="""\
z = np.minimum(x, 1e6 + 2.0 * a)
b = z + 1.0 - a
c = 1e30
d = 1.0 / b
h = d
for k in range(1, 10000):
    b = b + 2.0
    d = 1.0 / (k * (a - k) * d + b)
    c = k * (a - k) / c + b
    h = h * (c * d)
    if not np.any(1.0 + 0.5 * np.abs(c * d - 1.0) > 1.0):
        break
return np.exp(a * np.log(z) - z - _gammaln(a)) * h
""",
    python="""\
x = min(x, 1e6 + 2.0 * a)
b = x + 1.0 - a
c = 1e30
h = d = 1.0 / b
for k in range(1, 10000):
    b += 2.0
    d = 1.0 / (k * (a - k) * d + b)
    c = k * (a - k) / c + b
    h *= c * d
    if not 1.0 + 0.5 * abs(c * d - 1.0) > 1.0:
        break
return math.exp(a * math.log(x) - x - math.lgamma(a)) * h
""",
    c="""\
const double far = 1000000.0 + 2.0 * a;
const double z = x < far ? x : far;
double b = z + 1.0 - a;
double c = 1.0e30;
double d = 1.0 / b;
double h = d;
for (int k = 1; k < 10000; k++) {
    const double e = (double)k * (a - (double)k);
    b += 2.0;
    d = 1.0 / (e * d + b);
    c = e / c + b;
    h *= c * d;
    if (!(1.0 + 0.5 * fabs(c * d - 1.0) > 1.0))
        break;
}
return exp(a * log(z) - z - gammaln(a)) * h;
""",
    needs=("gammaln",),
))  # fmt: skip


enter(Helper(
    "gammainc", ("a", "x"), "The share of the gamma integral below x, to a relative error of 1e-15 * max(10, a, x).",
    numpy="""\
good = (a > 0.0) & np.isfinite(a) & (x >= 0.0)
end = (a == 0.0) & (x > 0.0)
a = np.where(good, a, np.ones_like(a + x))
low = x < a + 1.0
below = _gamma_lower(a, np.where(low & good, x, 0.0))
above = _gamma_upper(a, np.where(low | ~good, a + 1.0, x))
value = np.where(good, np.where(low, below, 1.0 - above), np.nan)
return np.where(end, 1.0, value)
""",
    python="""\
if a == 0.0 and x > 0.0:
    return 1.0
if not (0.0 < a < math.inf and x >= 0.0):
    return math.nan
return _gamma_lower(a, x) if x < a + 1.0 else 1.0 - _gamma_upper(a, x)
""",
    c="""\
if (a == 0.0 && x > 0.0)
    return 1.0;
if (!(a > 0.0 && a - a == 0.0 && x >= 0.0))
    return NAN;
return x < a + 1.0 ? gamma_lower(a, x) : 1.0 - gamma_upper(a, x);
""",
    needs=("gamma_lower", "gamma_upper"),
))  # fmt: skip
enter(Helper(
    "gammaincc", ("a", "x"), "1 - gammainc(a, x), to a relative error of 1e-15 * max(10, a, x).",
    numpy="""\
good = (a > 0.0) & np.isfinite(a) & (x >= 0.0)
end = (a == 0.0) & (x > 0.0)
a = np.where(good, a, np.ones_like(a + x))
low = x < a + 1.0
below = _gamma_lower(a, np.where(low & good, x, 0.0))
above = _gamma_upper(a, np.where(low | ~good, a + 1.0, x))
value = np.where(good, np.where(low, 1.0 - below, above), np.nan)
return np.where(end, 0.0, value)
""",
    python="""\
if a == 0.0 and x > 0.0:
    return 0.0
if not (0.0 < a < math.inf and x >= 0.0):
    return math.nan
return 1.0 - _gamma_lower(a, x) if x < a + 1.0 else _gamma_upper(a, x)
""",
    c="""\
if (a == 0.0 && x > 0.0)
    return 0.0;
if (!(a > 0.0 && a - a == 0.0 && x >= 0.0))
    return NAN;
return x < a + 1.0 ? 1.0 - gamma_lower(a, x) : gamma_upper(a, x);
""",
    needs=("gamma_lower", "gamma_upper"),
))  # fmt: skip
enter(Helper(
    "beta_lower", ("a", "b", "x"), "I_x(a, b) for 0 <= x <= (a + 1) / (a + b + 2), by a continued fraction.",
    numpy="""\
z = np.where(x > 0.0, x, 0.0)
c = np.ones_like(a * z)
h = d = 1.0 / (1.0 - (a + b) * z / (a + 1.0))
for k in range(1, 10000):
    e = k * (b - k) * z / ((a + 2 * k - 1.0) * (a + 2 * k))
    d = 1.0 / (1.0 + e * d)
    c = 1.0 + e / c
    h = h * (c * d)
    e = -(a + k) * (a + b + k) * z / ((a + 2 * k) * (a + 2 * k + 1.0))
    d = 1.0 / (1.0 + e * d)
    c = 1.0 + e / c
    h = h * (c * d)
    if not np.any(1.0 + 0.5 * np.abs(c * d - 1.0) > 1.0):
        break
z = np.where(x > 0.0, x, 1.0)
size = a * np.log(z) + b * np.log1p(-x) - _betaln(a, b)
return np.where(x > 0.0, np.exp(size) * h / a, x)
""",
    python="""\
if not x > 0.0:
    return x
c = 1.0
h = d = 1.0 / (1.0 - (a + b) * x / (a + 1.0))
for k in range(1, 10000):
    e = k * (b - k) * x / ((a + 2 * k - 1.0) * (a + 2 * k))
    d = 1.0 / (1.0 + e * d)
    c = 1.0 + e / c
    h *= c * d
    e = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1.0))
    d = 1.0 / (1.0 + e * d)
    c = 1.0 + e / c
    h *= c * d
    if not 1.0 + 0.5 * abs(c * d - 1.0) > 1.0:
        break
size = a * math.log(x) + b * math.log1p(-x) - _betaln(a, b)
return math.exp(size) * h / a
""",
    c="""\
double c = 1.0;
double d = 1.0 / (1.0 - (a + b) * x / (a + 1.0));
double h = d;
if (!(x > 0.0))
    return x;
for (int k = 1; k < 10000; k++) {
    const double m = (double)k;
    double e = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
    d = 1.0 / (1.0 + e * d);
    c = 1.0 + e / c;
    h *= c * d;
    e = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
    d = 1.0 / (1.0 + e * d);
    c = 1.0 + e / c;
    h *= c * d;
    if (!(1.0 + 0.5 * fabs(c * d - 1.0) > 1.0))
        break;
}
return exp(a * log(x) + b * log1p(-x) - betaln(a, b)) * h / a;
""",
    needs=("betaln",),
))  # fmt: skip
enter(Helper(
    "betainc", ("a", "b", "x"), "The share of the beta integral below x, to a relative error of 1e-15 * max(10, a, b).",
    numpy="""\
good = (a > 0.0) & (b > 0.0) & np.isfinite(a + b) & (x >= 0.0) & (x <= 1.0)
one = np.ones_like(a + b + x)
a, b, x = np.where(good, a, one), np.where(good, b, one), np.where(good, x, 0.0 * one)
low = x * (a + b + 2.0) <= a + 1.0
below = _beta_lower(a, b, np.where(low, x, 0.0))
above = _beta_lower(b, a, np.where(low, 0.0, 1.0 - x))
return np.where(good, np.where(low, below, 1.0 - above), np.nan)
""",
    python="""\
if not (0.0 < a and 0.0 < b and a + b < math.inf and 0.0 <= x <= 1.0):
    return math.nan
if x * (a + b + 2.0) <= a + 1.0:
    return _beta_lower(a, b, x)
return 1.0 - _beta_lower(b, a, 1.0 - x)
""",
    c="""\
const double sum = a + b;
if (!(a > 0.0 && b > 0.0 && sum - sum == 0.0 && x >= 0.0 && x <= 1.0))
    return NAN;
if (x * (a + b + 2.0) <= a + 1.0)
    return beta_lower(a, b, x);
return 1.0 - beta_lower(b, a, 1.0 - x);
""",
    needs=("beta_lower",),
))  # fmt: skip


def _by_parameter(name: str) -> Callable[..., Any]:
    def refuse(*args: Any) -> Any:
        raise UnsupportedError(
            f"{name} is differentiated by its last argument only, got a derivative by a parameter",
            "Wrap the parameter in gg.stop_gradient, or leave it out of wrt.",
        )

    refuse.__doc__ = "refused: only the slope by the last argument has a formula"
    return refuse


def _gamma_density(y: Value, a: Value, x: Value) -> Any:
    """exp(-x) x**(a-1) / gamma(a)"""
    return calls.exp(calls.mulz(a - 1.0, calls.log(x)) - x - calls.gammaln(a))


def _beta_density(y: Value, a: Value, b: Value, x: Value) -> Any:
    """x**(a-1) (1-x)**(b-1) / beta(a, b)"""
    size = calls.mulz(a - 1.0, calls.log(x)) + calls.mulz(b - 1.0, calls.log1p(-x))
    return calls.exp(size - calls.betaln(a, b))


for _name, _doc, _partials in (
    ("gammainc", "P(a, x), the regularised lower incomplete gamma function.",
     (_by_parameter("gammainc"), _gamma_density)),
    ("gammaincc", "1 - P(a, x), the regularised upper incomplete gamma function.",
     (_by_parameter("gammaincc"), lambda *args: -_gamma_density(*args))),
    ("betainc", "I_x(a, b), the regularised incomplete beta function.",
     (_by_parameter("betainc"), _by_parameter("betainc"), _beta_density)),
):  # fmt: skip
    elementwise(
        _name, "float", run(_name), _doc, partials=_partials, flops=40 * TRANSCENDENTAL,
        kink=f"{_name}: slope by its last argument only",
        numpy=helper(_name), python=helper(_name), c=helper(_name),
    )  # fmt: skip
