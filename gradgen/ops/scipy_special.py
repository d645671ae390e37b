"""scipy.special's functions on Values, by name: each one op, or a formula whose terms stay finite.

SciPy is neither needed nor imported. Poles and conventions are those of the ops.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.functions import implements
from gradgen.ir import CONST, OPS
from gradgen.ops import calls
from gradgen.ops.elementwise import literal
from gradgen.ops.reduce import as_value, as_values
from gradgen.ops.reductions import floats, floats_alike
from gradgen.value import Value, apply


def _special(*names: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`implements` for functions of floats: integers and truth values are f64 to them, as they are to SciPy."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def of_floats(*args: Any, **kwargs: Any) -> Any:
            return function(*map(_widened, args), **{k: _widened(v) for k, v in kwargs.items()})

        implements(*names)(of_floats)
        return function

    return enter


def _widened(x: Any) -> Any:
    return floats(x) if isinstance(x, Value) and not x.type.is_float else x


def _op(name: str) -> Callable[..., Any]:
    def function(*args: Any) -> Any:
        return apply(OPS[name], *args)

    function.op_name = name  # type: ignore[attr-defined]  # for `gradgen ops`
    return function


for _name, _of in {
    "expit": "sigmoid", "erf": "erf", "erfc": "erfc", "gammaln": "gammaln", "psi": "digamma",
    "digamma": "digamma", "exp2": "exp2", "expm1": "expm1", "log1p": "log1p", "cbrt": "cbrt",
}.items():  # fmt: skip
    _special(f"scipy.special.{_name}")(_op(_of))
_special(math.erf)(_op("erf"))
_special(math.erfc)(_op("erfc"))
_special(math.lgamma)(_op("gammaln"))


@_special("scipy.special.log_expit")
def log_expit(x: Any) -> Any:
    return -calls.softplus(-x)


@_special("scipy.special.logit")
def logit(x: Any) -> Any:
    return calls.log(x) - calls.log1p(-x)


@_special("scipy.special.xlogy")
def xlogy(x: Any, y: Any) -> Any:
    """x * log(y), and 0 where x is 0: the product in `mulz`."""
    x, y = floats_alike("xlogy", x, y)
    return calls.mulz(_nan_of(y, x), calls.log(y))


@_special("scipy.special.xlog1py")
def xlog1py(x: Any, y: Any) -> Any:
    x, y = floats_alike("xlog1py", x, y)
    return calls.mulz(_nan_of(y, x), calls.log1p(y))


def _nan_of(y: Value, x: Value) -> Any:
    """x, but NaN where y is: 0 times what depends on y is 0 for a pole of y, not for a NaN."""
    if (
        y is x
        or literal(x) not in (None, 0.0)
        or (y.op is CONST and np.all(y.params["value"] == y.params["value"]))
    ):
        return x
    missing = calls.where(calls.isnan(y), y, 0.0)
    return x + apply(OPS["stop_gradient"], missing)  # the slopes are NaN there too


@_special("scipy.special.entr")
def entr(x: Any) -> Any:
    """-x log(x), and -inf for x < 0."""
    return calls.where(calls.less(x, 0.0), -math.inf, -xlogy(x, x))


@_special("scipy.special.rel_entr")
def rel_entr(x: Any, y: Any) -> Any:
    """x log(x / y), 0 where x is 0, and inf where x or y is below 0."""
    x, y = floats_alike("rel_entr", x, y)
    return _of_shares(x, y, _relative(x, y))


@_special("scipy.special.kl_div")
def kl_div(x: Any, y: Any) -> Any:
    """x log(x / y) - x + y, and inf where x or y is below 0."""
    x, y = floats_alike("kl_div", x, y)
    return _of_shares(x, y, _relative(x, y) - x + y)


def _relative(x: Value, y: Value) -> Any:
    """x log(x / y), 0 where x is 0, whatever the quotient is there."""
    return calls.mulz(_nan_of(y, x), calls.log(x / y))


def _of_shares(x: Value, y: Value, value: Any) -> Any:
    """`value` where neither x nor y is below 0, else inf."""
    below = [calls.less(part, 0.0) for part in (x, y) if literal(part) is None or literal(part) < 0]
    if not below:
        return value
    return calls.where(functools.reduce(calls.logical_or, below), math.inf, value)


@_special("scipy.special.loggamma")
def loggamma(x: Any) -> Any:
    """log(gamma(x)), and nan for x < 0, where it is complex; gammaln is log|gamma(x)|."""
    x = as_value(x)
    return calls.where(calls.less(x, 0.0), math.nan, calls.gammaln(x))


@_special("scipy.special.gamma", math.gamma)
def gamma(x: Any) -> Any:
    """exp(gammaln(x)) with its sign."""
    x = as_value(x)
    size = calls.exp(calls.gammaln(x))
    return calls.where(_is_gamma_negative(x), -size, size)


def _is_gamma_negative(x: Value) -> Any:
    """Whether gamma(x) is: between -1 and 0, -3 and -2, ..."""
    low = calls.floor(x)
    odd = calls.not_equal(low, 2.0 * calls.floor(0.5 * low))
    return calls.logical_and(calls.less(x, 0.0), odd)


gammainc = _special("scipy.special.gammainc")(_op("gammainc"))
gammaincc = _special("scipy.special.gammaincc")(_op("gammaincc"))
betainc = _special("scipy.special.betainc")(_op("betainc"))


betaln = _special("scipy.special.betaln")(_op("betaln"))


@_special("scipy.special.beta")
def beta(a: Any, b: Any) -> Any:
    """gamma(a) gamma(b) / gamma(a + b), by logarithms: the factors overflow long before it does."""
    a, b = as_values((a, b))
    negative = calls.not_equal(
        calls.not_equal(_is_gamma_negative(a), _is_gamma_negative(b)), _is_gamma_negative(a + b)
    )
    size = calls.exp(betaln(a, b))
    return calls.where(negative, -size, size)


@_special("scipy.special.rgamma")
def rgamma(x: Any) -> Any:
    """1 / gamma(x)."""
    return 1.0 / gamma(x)


@_special("scipy.special.factorial")
def factorial(n: Any) -> Any:
    """gamma(n + 1), and 0 for n < 0."""
    n = as_value(n)
    return calls.where(calls.less(n, 0.0), 0.0, gamma(n + 1.0))


@_special("scipy.special.binom")
def binom(n: Any, k: Any) -> Any:
    """The binomial coefficient of real n and k, by the beta function; nan for n = -1, -2, ... unless k is an integer."""
    n, k = as_values((n, k))
    value = 1.0 / ((n + 1.0) * beta(n - k + 1.0, k + 1.0))
    poles = calls.logical_and(calls.less(n, 0.0), _is_integer(n))
    return calls.where(
        calls.logical_and(poles, calls.not_equal(k, calls.floor(k))), math.nan, value
    )


@_special("scipy.special.poch")
def poch(z: Any, m: Any) -> Any:
    """z (z + 1) ... (z + m - 1) = gamma(z + m) / gamma(z) for real m, by logarithms as `beta`.

    Where z, z + m and m are integers and none of them passes 0, the factors are counted from the other end:
    (-1)**m poch(1 - z - m, m) (NIST DLMF 5.2.6).
    """
    z, m = as_values((z, m))
    turned = calls.logical_and(
        calls.logical_and(calls.less_equal(z, 0.0), calls.less_equal(z + m, 0.0)),
        calls.logical_and(_is_integer(z), _is_integer(m)),
    )
    odd = calls.not_equal(m, 2.0 * calls.floor(0.5 * m))
    signs = calls.not_equal(_is_gamma_negative(z + m), _is_gamma_negative(z))
    size = calls.exp(calls.gammaln_rise(calls.where(turned, 1.0 - z - m, z), m))
    return calls.where(calls.where(turned, odd, signs), -size, size)


def _is_integer(x: Value) -> Any:
    return calls.equal(x, calls.floor(x))


def _exprel_series(x: Value) -> Any:
    """exprel below 1e-3, where a few terms give it and its slope to the last place."""
    return 1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0))))


@_special("scipy.special.exprel")
def exprel(x: Any) -> Any:
    """(exp(x) - 1) / x, and 1 at 0, where its slope is 1/2."""
    x = as_value(x)
    flat = calls.less(abs(x), 1e-3)
    other = calls.where(flat, 1.0, x)
    return calls.where(flat, _exprel_series(x), calls.expm1(other) / other)


@_special("scipy.special.exp10")
def exp10(x: Any) -> Any:
    return calls.power(10.0, x)


@_special("scipy.special.boxcox")
def boxcox(x: Any, lmbda: Any) -> Any:
    """(x**lmbda - 1) / lmbda, and log(x) for lmbda = 0."""
    x, lmbda = as_values((x, lmbda))
    log = calls.log(x)
    if literal(lmbda) == 0.0:
        return log
    size = calls.mulz(lmbda, log)
    flat = calls.less(abs(size), 1e-3)
    safe = calls.where(flat, 1.0, lmbda)
    value = calls.where(flat, log * _exprel_series(size), calls.expm1(size) / safe)
    # At 0 the slope by x is that of the power: there is none of the logarithm's.
    end = calls.logical_and(calls.equal(x, 0.0), calls.greater(lmbda, 0.0))
    return calls.where(end, (calls.power(x, lmbda) - 1.0) / calls.where(end, lmbda, 1.0), value)


@_special("scipy.special.inv_boxcox")
def inv_boxcox(y: Any, lmbda: Any) -> Any:
    """(1 + lmbda * y)**(1 / lmbda), and exp(y) for lmbda = 0."""
    y, lmbda = as_values((y, lmbda))
    flat = calls.equal(lmbda, 0.0)
    power = calls.log1p(lmbda * y) / calls.where(flat, 1.0, lmbda)
    return calls.exp(calls.where(flat, y, power))


@_special("scipy.special.ndtr")
def ndtr(x: Any) -> Any:
    """The normal distribution function, by erfc, which keeps its digits in the lower tail."""
    return 0.5 * calls.erfc(-x * math.sqrt(0.5))


@_special("scipy.special.log_ndtr")
def log_ndtr(x: Any) -> Value:
    """log(ndtr(x)), by the scaled complement of erf in the lower tail, where ndtr is 0."""
    return apply(OPS["log_ndtr"], x)


@_special("scipy.special.huber")
def huber(delta: Any, r: Any) -> Any:
    """r**2 / 2 for |r| <= delta, then delta * (|r| - delta / 2); inf for delta < 0."""
    size = abs(as_value(r))
    inner = 0.5 * calls.square(r)
    value = calls.where(calls.less_equal(size, delta), inner, delta * (size - 0.5 * delta))
    return value if _is_nonnegative(delta) else calls.where(calls.less(delta, 0.0), math.inf, value)


def _is_nonnegative(x: Any) -> bool:
    """Whether x is a number of the user's that is at least 0."""
    return isinstance(x, (int, float)) and x >= 0


@_special("scipy.special.pseudo_huber")
def pseudo_huber(delta: Any, r: Any) -> Any:
    """delta**2 (sqrt(1 + (r / delta)**2) - 1), by a form that cancels nothing; inf for delta < 0."""
    r, d = as_values((r, delta))
    total = calls.hypot(d, r) + d
    if literal(d) is not None and literal(d) > 0:
        return d * r * (r / total)
    ratio = r / calls.where(calls.equal(total, 0.0), 1.0, total)
    return calls.where(calls.less(d, 0.0), math.inf, d * r * ratio)


@_special("scipy.special.multigammaln")
def multigammaln(a: Any, d: int) -> Any:
    """log of the multivariate gamma function (Muirhead 1982, theorem 2.1.12)."""
    total = 0.25 * d * (d - 1) * math.log(math.pi)
    for j in range(d):
        total = total + calls.gammaln(a - 0.5 * j)
    return total


@_special("scipy.special.polygamma")
def polygamma(n: Any, x: Any) -> Any:
    """Derivatives of digamma, of order 0, 1 and 2."""
    return apply(OPS[("digamma", "trigamma", "tetragamma")[int(n)]], x)
