"""scipy.special's functions on Values, by name: each one op, or a formula whose terms stay finite.

SciPy is neither needed nor imported. Poles and conventions are those of the ops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradgen.functions import implements
from gradgen.ir import OPS
from gradgen.ops import calls
from gradgen.ops.elementwise import literal
from gradgen.ops.reduce import as_value, as_values
from gradgen.value import Value, apply


def _op(name: str) -> Callable[..., Any]:
    def function(*args: Any) -> Any:
        return apply(OPS[name], *args)

    function.op_name = name  # type: ignore[attr-defined]  # for `gradgen ops`
    return function


for _name, _of in {
    "expit": "sigmoid", "erf": "erf", "erfc": "erfc", "gammaln": "gammaln", "loggamma": "gammaln", "psi": "digamma",
    "digamma": "digamma", "exp2": "exp2", "expm1": "expm1", "log1p": "log1p", "cbrt": "cbrt",
}.items():  # fmt: skip
    implements(f"scipy.special.{_name}")(_op(_of))
implements(math.erf)(_op("erf"))
implements(math.erfc)(_op("erfc"))
implements(math.lgamma)(_op("gammaln"))


@implements("scipy.special.log_expit")
def log_expit(x: Any) -> Any:
    return -calls.softplus(-x)


@implements("scipy.special.logit")
def logit(x: Any) -> Any:
    return calls.log(x) - calls.log1p(-x)


@implements("scipy.special.xlogy")
def xlogy(x: Any, y: Any) -> Any:
    """x * log(y), and 0 where x is 0: the product in `mulz`."""
    return calls.mulz(x, calls.log(y))


@implements("scipy.special.xlog1py")
def xlog1py(x: Any, y: Any) -> Any:
    return calls.mulz(x, calls.log1p(y))


@implements("scipy.special.entr")
def entr(x: Any) -> Any:
    """-x log(x), and -inf for x < 0."""
    return calls.where(calls.less(x, 0.0), -math.inf, -xlogy(x, x))


@implements("scipy.special.rel_entr")
def rel_entr(x: Any, y: Any) -> Any:
    return xlogy(x, x / y)


@implements("scipy.special.kl_div")
def kl_div(x: Any, y: Any) -> Any:
    return xlogy(x, x / y) - x + y


@implements("scipy.special.gamma", math.gamma)
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


gammainc = implements("scipy.special.gammainc")(_op("gammainc"))
gammaincc = implements("scipy.special.gammaincc")(_op("gammaincc"))
betainc = implements("scipy.special.betainc")(_op("betainc"))


betaln = implements("scipy.special.betaln")(_op("betaln"))


@implements("scipy.special.beta")
def beta(a: Any, b: Any) -> Any:
    """gamma(a) gamma(b) / gamma(a + b), by logarithms: the factors overflow long before it does."""
    a, b = as_values((a, b))
    negative = calls.not_equal(
        calls.not_equal(_is_gamma_negative(a), _is_gamma_negative(b)), _is_gamma_negative(a + b)
    )
    size = calls.exp(betaln(a, b))
    return calls.where(negative, -size, size)


@implements("scipy.special.rgamma")
def rgamma(x: Any) -> Any:
    """1 / gamma(x)."""
    return 1.0 / gamma(x)


@implements("scipy.special.factorial")
def factorial(n: Any) -> Any:
    """gamma(n + 1), and 0 for n < 0."""
    n = as_value(n)
    return calls.where(calls.less(n, 0.0), 0.0, gamma(n + 1.0))


@implements("scipy.special.binom")
def binom(n: Any, k: Any) -> Any:
    """The binomial coefficient of real n and k, by the beta function."""
    n, k = as_values((n, k))
    return 1.0 / ((n + 1.0) * beta(n - k + 1.0, k + 1.0))


@implements("scipy.special.poch")
def poch(z: Any, m: Any) -> Any:
    """z (z + 1) ... (z + m - 1) = gamma(z + m) / gamma(z) for real m, by logarithms as `beta`."""
    z, m = as_values((z, m))
    size = calls.exp(calls.gammaln_rise(z, m))
    return calls.where(
        calls.not_equal(_is_gamma_negative(z + m), _is_gamma_negative(z)), -size, size
    )


def _exprel_series(x: Value) -> Any:
    """exprel below 1e-3, where a few terms give it and its slope to the last place."""
    return 1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0))))


@implements("scipy.special.exprel")
def exprel(x: Any) -> Any:
    """(exp(x) - 1) / x, and 1 at 0, where its slope is 1/2."""
    x = as_value(x)
    flat = calls.less(abs(x), 1e-3)
    other = calls.where(flat, 1.0, x)
    return calls.where(flat, _exprel_series(x), calls.expm1(other) / other)


@implements("scipy.special.exp10")
def exp10(x: Any) -> Any:
    return calls.power(10.0, x)


@implements("scipy.special.boxcox")
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


@implements("scipy.special.inv_boxcox")
def inv_boxcox(y: Any, lmbda: Any) -> Any:
    """(1 + lmbda * y)**(1 / lmbda), and exp(y) for lmbda = 0."""
    y, lmbda = as_values((y, lmbda))
    flat = calls.equal(lmbda, 0.0)
    power = calls.log1p(lmbda * y) / calls.where(flat, 1.0, lmbda)
    return calls.exp(calls.where(flat, y, power))


@implements("scipy.special.ndtr")
def ndtr(x: Any) -> Any:
    """The normal distribution function, by erfc, which keeps its digits in the lower tail."""
    return 0.5 * calls.erfc(-x * math.sqrt(0.5))


@implements("scipy.special.log_ndtr")
def log_ndtr(x: Any) -> Value:
    """log(ndtr(x)), by the scaled complement of erf in the lower tail, where ndtr is 0."""
    return apply(OPS["log_ndtr"], x)


@implements("scipy.special.huber")
def huber(delta: Any, r: Any) -> Any:
    """r**2 / 2 for |r| <= delta, then delta * (|r| - delta / 2); inf for delta < 0."""
    size = abs(as_value(r))
    inner = 0.5 * calls.square(r)
    value = calls.where(calls.less_equal(size, delta), inner, delta * (size - 0.5 * delta))
    return value if _is_nonnegative(delta) else calls.where(calls.less(delta, 0.0), math.inf, value)


def _is_nonnegative(x: Any) -> bool:
    """Whether x is a number of the user's that is at least 0."""
    return isinstance(x, (int, float)) and x >= 0


@implements("scipy.special.pseudo_huber")
def pseudo_huber(delta: Any, r: Any) -> Any:
    r, d = as_values((r, delta))
    return d * d * calls.expm1(0.5 * calls.log1p(calls.square(r / d)))


@implements("scipy.special.multigammaln")
def multigammaln(a: Any, d: int) -> Any:
    """log of the multivariate gamma function (Muirhead 1982, theorem 2.1.12)."""
    total = 0.25 * d * (d - 1) * math.log(math.pi)
    for j in range(d):
        total = total + calls.gammaln(a - 0.5 * j)
    return total


@implements("scipy.special.polygamma")
def polygamma(n: Any, x: Any) -> Any:
    """Derivatives of digamma, of order 0, 1 and 2."""
    return apply(OPS[("digamma", "trigamma", "tetragamma")[int(n)]], x)
