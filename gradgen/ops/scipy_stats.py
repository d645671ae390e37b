"""scipy.stats' log-densities, densities and distribution functions on Values, by name, as methods of the distributions.

norm expon uniform laplace logistic cauchy halfcauchy lognorm halfnorm t gamma invgamma chi2 beta f weibull_min rayleigh
gumbel_r gumbel_l pareto multivariate_normal dirichlet    poisson bernoulli binom nbinom geom multinomial

Each is one function of the standardised argument, log density first: pdf is its exponential. Outside of the support the log
density is -inf and has no slope. Formulas: Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from gradgen.errors import ShapeError, UnsupportedError
from gradgen.functions import FINDERS, dispatch, implements
from gradgen.ops import calls
from gradgen.ops.diagonals import diagonal
from gradgen.ops.elementwise import literal
from gradgen.ops.linalg import t as transposed
from gradgen.ops.matrices import cholesky
from gradgen.ops.reduce import as_value, as_values
from gradgen.ops.reductions import floats, sum_
from gradgen.ops.scipy_linalg import solve_triangular
from gradgen.ops.scipy_special import (
    betainc,
    betaln,
    gammainc,
    gammaincc,
    log_expit,
    log_ndtr,
    ndtr,
    xlog1py,
    xlogy,
)
from gradgen.ops.shape import reshape
from gradgen.value import Extent, Value

LOG_2_PI = math.log(2.0 * math.pi)
Formula = Callable[..., Any]


def _off(outside: Any, value: Any) -> Any:
    """-inf where the condition holds, else `value`; no condition holds for NaN, which so is passed on."""
    return calls.where(outside, -math.inf, value)


def _outside(x: Any, low: float, high: float) -> Any:
    return calls.logical_or(calls.less(x, low), calls.greater(x, high))


def _within(parts: Sequence[Any], names: str, value: Any) -> Any:
    """`value`, and NaN where a parameter is one that the distribution does not have, as SciPy says it."""
    wrong = []
    for part, name in zip(parts, names.split(), strict=True):
        number = literal(part)
        if name == "p":
            if number is None or not 0 <= number <= 1:
                wrong.append(_outside(part, 0.0, 1.0))
        elif name in ("mu", "n"):
            if number is None or number < 0:
                wrong.append(calls.less(part, 0.0))
        elif number is None or number <= 0:
            wrong.append(calls.less_equal(part, 0.0))
    return (
        calls.where(functools.reduce(calls.logical_or, wrong), math.nan, value) if wrong else value
    )


def _parameters(name: str, names: str, args: Sequence[Any], named: dict[str, Any]) -> list[Any]:
    """The parameters in the order of `names`, given by position or name; loc is 0 and scale 1 where they are not given."""
    words = names.split()
    given = {"loc": 0.0, "scale": 1.0} | dict(zip(words, args, strict=False)) | named
    wrong = set(words[: len(args)]) & set(named) or set(given) - set(words) - {"loc", "scale"}
    missing = [word for word in words if word not in given]
    if wrong or missing or len(args) > len(words):
        raise UnsupportedError(
            f"scipy.stats.{name} needs its parameters {', '.join(words)} once each, "
            f"got {len(args)} by position and {', '.join(named) or 'none'} by name"
        )
    return [given[word] for word in words]


def _continuous(name: str, log_density: Formula, shapes: str = "", **more: Formula) -> None:
    """Enter a family of location and scale: log_density(z, *shapes) of z = (x - loc) / scale."""

    def scaled(f: Formula, density: bool) -> Formula:
        def method(x: Any, *args: Any, **named: Any) -> Any:
            given = _parameters(name, f"{shapes} loc scale", args, named)
            x, *parts = (floats(v) for v in as_values((x, *given)))
            loc, scale = parts[-2:]
            found = f((x - loc) / scale, *parts[:-2])
            if density:  # the logarithm is NaN where the scale is negative
                return _within(parts[:-2], shapes, found - calls.log(scale))
            return _within([*parts[:-2], scale], f"{shapes} scale", found)

        return method

    log_method = scaled(log_density, True)
    implements(f"scipy.stats.{name}.logpdf")(log_method)
    implements(f"scipy.stats.{name}.pdf")(lambda *a, **k: calls.exp(log_method(*a, **k)))
    for method, f in more.items():
        implements(f"scipy.stats.{name}.{method}")(scaled(f, False))


def _discrete(name: str, shapes: str, log_mass: Formula, **more: Formula) -> None:
    """Enter a family on the integers: log_mass(k - loc, *shapes), and -inf between them."""

    def shifted(f: Formula, masses: bool = False) -> Formula:
        def method(k: Any, *args: Any, **named: Any) -> Any:
            given = _parameters(name, f"{shapes} loc", args, named)
            k, *parts = as_values((k, *given))
            whole = not k.type.is_float and (not parts[-1].type.is_float or literal(parts[-1]) == 0)
            k, *parts = (floats(v) for v in (k, *parts))
            at = k - parts[-1]
            value = f(at, *parts[:-1])
            if masses and not whole:
                value = _off(calls.greater(at, calls.floor(at)), value)
            return _within(parts[:-1], shapes, value)

        return method

    log_method = shifted(log_mass, masses=True)
    implements(f"scipy.stats.{name}.logpmf")(log_method)
    implements(f"scipy.stats.{name}.pmf")(lambda *a, **k: calls.exp(log_method(*a, **k)))
    for method, f in more.items():
        implements(f"scipy.stats.{name}.{method}")(shifted(f))


def _by_both_tails(tails: Callable[..., tuple[Any, Any]]) -> dict[str, Formula]:
    """cdf, sf and their logarithms from a function that gives the lower and the upper tail, neither as 1 - the other."""
    return {
        "cdf": lambda *a: tails(*a)[0],
        "sf": lambda *a: tails(*a)[1],
        "logcdf": lambda *a: calls.log(tails(*a)[0]),
        "logsf": lambda *a: calls.log(tails(*a)[1]),
    }


def _gamma_tails(z: Value, a: Value) -> tuple[Any, Any]:
    x = calls.maximum(z, 0.0)
    return gammainc(a, x), gammaincc(a, x)


def _beta_tails(z: Value, a: Value, b: Value) -> tuple[Any, Any]:
    x = calls.clip(z, 0.0, 1.0)
    return betainc(a, b, x), betainc(b, a, 1.0 - x)


def _t_tails(z: Value, df: Value) -> tuple[Any, Any]:
    """Of t**2, which is beta distributed (Abramowitz and Stegun 26.5.27)."""
    outside = 0.5 * betainc(0.5 * df, 0.5, df / (df + calls.square(z)))
    inside = 0.5 + 0.5 * betainc(0.5, 0.5 * df, calls.square(z) / (df + calls.square(z)))
    left = calls.less(z, 0)
    return calls.where(left, outside, inside), calls.where(left, inside, outside)


# -- continuous
_continuous(
    "norm",
    lambda z: -0.5 * calls.square(z) - 0.5 * LOG_2_PI,
    cdf=ndtr,
    logcdf=log_ndtr,
    sf=lambda z: ndtr(-z),
    logsf=lambda z: log_ndtr(-z),
)
_continuous(
    "expon",
    lambda z: _off(calls.less(z, 0), -z),
    cdf=lambda z: calls.where(calls.less(z, 0), 0.0, -calls.expm1(-z)),
    logcdf=lambda z: _off(calls.less(z, 0), calls.log(-calls.expm1(-z))),
    sf=lambda z: calls.where(calls.less(z, 0), 1.0, calls.exp(-z)),
    logsf=lambda z: calls.where(calls.less(z, 0), 0.0, -z),
)
_continuous(
    "uniform",
    lambda z: _off(_outside(z, 0.0, 1.0), 0.0 * z),
    cdf=lambda z: calls.clip(z, 0.0, 1.0),
)
_continuous(
    "laplace",
    lambda z: -abs(z) - math.log(2.0),
    cdf=lambda z: 0.5 - 0.5 * calls.sign(z) * calls.expm1(-abs(z)),
)
_continuous(
    "logistic",
    lambda z: -z - 2.0 * calls.softplus(-z),
    cdf=calls.sigmoid,
    logcdf=log_expit,
    sf=lambda z: calls.sigmoid(-z),
)
_continuous(
    "cauchy",
    # 1 + z**2 overflows long before its logarithm is large
    lambda z: -2.0 * calls.log(calls.hypot(1.0, z)) - math.log(math.pi),
    cdf=lambda z: 0.5 + calls.arctan(z) / math.pi,
    logcdf=lambda z: calls.log(0.5 + calls.arctan(z) / math.pi),
)
_continuous(
    "halfnorm",
    lambda z: _off(calls.less(z, 0), -0.5 * calls.square(z) + 0.5 * math.log(2.0 / math.pi)),
)


def _lognorm(z: Value, s: Value) -> Any:
    log = calls.log(z)
    return _off(
        calls.less_equal(z, 0), -0.5 * calls.square(log / s) - log - calls.log(s) - 0.5 * LOG_2_PI
    )


def _t(z: Value, df: Value) -> Any:
    half = 0.5 * (df + 1.0)
    constant = calls.gammaln_rise(0.5 * df, 0.5) - 0.5 * calls.log(math.pi * df)
    return constant - half * calls.log1p(calls.square(z) / df)


def _gamma(z: Value, a: Value) -> Any:
    return _off(calls.less(z, 0), xlogy(a - 1.0, z) - z - calls.gammaln(a))


def _invgamma(z: Value, a: Value) -> Any:
    return _off(calls.less_equal(z, 0), -(a + 1.0) * calls.log(z) - 1.0 / z - calls.gammaln(a))


def _chi2(z: Value, df: Value) -> Any:
    half = 0.5 * df
    value = xlogy(half - 1.0, z) - 0.5 * z - half * math.log(2.0) - calls.gammaln(half)
    return _off(calls.less(z, 0), value)


def _beta(z: Value, a: Value, b: Value) -> Any:
    return _off(_outside(z, 0.0, 1.0), xlogy(a - 1.0, z) + xlog1py(b - 1.0, -z) - betaln(a, b))


def _f(z: Value, d1: Value, d2: Value) -> Any:
    a, b = 0.5 * d1, 0.5 * d2
    value = (
        xlogy(a, d1 / d2) + xlogy(a - 1.0, z) - (a + b) * calls.log1p(z * d1 / d2) - betaln(a, b)
    )
    return _off(calls.less(z, 0), value)


def _weibull(z: Value, c: Value) -> Any:
    value = calls.log(c) + xlogy(c - 1.0, z) - calls.power(z, c)
    return _off(calls.less(z, 0), value)


def _below(z: Value, f: Formula) -> Any:
    """The distribution function of a family on z >= 0."""
    return calls.where(calls.less(z, 0), 0.0, f(calls.maximum(z, 0.0)))


_continuous(
    "lognorm", _lognorm, "s",
    cdf=lambda z, s: _below(z, lambda x: ndtr(calls.log(x) / s)),
    logcdf=lambda z, s: log_ndtr(calls.log(z) / s),
)  # fmt: skip
_continuous("t", _t, "df", **_by_both_tails(_t_tails))
_continuous("gamma", _gamma, "a", **_by_both_tails(_gamma_tails))
_continuous("invgamma", _invgamma, "a")
_continuous("chi2", _chi2, "df", **_by_both_tails(lambda z, df: _gamma_tails(0.5 * z, 0.5 * df)))
_continuous("beta", _beta, "a b", **_by_both_tails(_beta_tails))
_continuous("f", _f, "dfn dfd")
_continuous("weibull_min", _weibull, "c")
_continuous("rayleigh", lambda z: _off(calls.less(z, 0), calls.log(z) - 0.5 * calls.square(z)))
_continuous("gumbel_r", lambda z: -z - calls.exp(-z))
_continuous("gumbel_l", lambda z: z - calls.exp(z))
_continuous(
    "pareto",
    lambda z, b: _off(calls.less(z, 1), calls.log(b) - (b + 1.0) * calls.log(z)),
    "b",
)
_continuous(
    "halfcauchy",
    lambda z: _off(
        calls.less(z, 0), math.log(2.0 / math.pi) - 2.0 * calls.log(calls.hypot(1.0, z))
    ),
)


# -- of vectors
def _normal_parts(x: Any, mean: Any, cov: Any) -> tuple[Value, Value]:
    """The squared distance in the metric of cov, and log det(2 pi cov); dimensions as SciPy infers them."""
    values = [x, 0.0 if mean is None else mean, 1.0 if cov is None else cov]
    x, mean, cov = (floats(v) for v in as_values(values))
    if (cov.type.ndim < 2 and mean.type.size == 1) or cov.type.shape == (1, 1):
        # one dimension: every element of x is a point
        mean, cov = reshape(mean, ()), reshape(cov, ())
        if x.type.ndim > 1 and x.type.shape[-1] == 1:
            x = reshape(x, x.type.shape[:-1])
        return calls.square(x - mean) / cov, calls.log(cov) + LOG_2_PI
    gap = x - mean
    dim = gap.type.shape[-1]
    count: Any = dim if isinstance(dim, int) else gap.shape[-1]
    if cov.type.ndim < 2:
        logs = calls.log(cov)
        total = sum_(logs, -1) if cov.type.ndim else count * logs
        return sum_(calls.square(gap) / cov, -1), total + count * LOG_2_PI
    factor = cholesky(cov)
    z = solve_triangular(factor, transposed(gap) if gap.type.ndim > 1 else gap, lower=True)
    log_det = 2.0 * sum_(calls.log(diagonal(factor)), -1)
    return sum_(calls.square(z), 0), log_det + count * LOG_2_PI


@implements("scipy.stats.multivariate_normal.logpdf")
def multivariate_normal_logpdf(
    x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False
) -> Any:
    """x of shape (d,) or (n, d); by the Cholesky factor of cov."""
    distance, constant = _normal_parts(x, mean, cov)
    return -0.5 * (distance + constant)


@implements("scipy.stats.multivariate_normal.pdf")
def multivariate_normal_pdf(
    x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False
) -> Any:
    return calls.exp(multivariate_normal_logpdf(x, mean, cov))


@implements("scipy.stats.multivariate_normal.entropy")
def multivariate_normal_entropy(mean: Any = None, cov: Any = 1) -> Any:
    """log det(2 pi e cov) / 2, whatever the mean."""
    mean = floats(as_value(0.0 if mean is None else mean))
    dim = mean.type.size if mean.type.ndim else (as_value(cov).type.shape or (1,))[-1]
    count: Any = dim if isinstance(dim, int) else Extent(dim)
    return 0.5 * (_normal_parts(mean, mean, cov)[1] + count)


@implements("scipy.stats.dirichlet.logpdf")
def dirichlet_logpdf(x: Any, alpha: Any) -> Any:
    """x of shape (k,), or (k - 1,): then the last share is what is missing from 1."""
    x, alpha = (floats(v) for v in as_values((x, alpha)))
    if x.type.ndim != 1:
        raise ShapeError(f"dirichlet.logpdf needs a vector, got {x.type}")
    constant = calls.gammaln(sum_(alpha)) - sum_(calls.gammaln(alpha))
    return constant + sum_(xlogy(alpha - 1.0, x))


@implements("scipy.stats.dirichlet.pdf")
def dirichlet_pdf(x: Any, alpha: Any) -> Any:
    return calls.exp(dirichlet_logpdf(x, alpha))


@implements("scipy.stats.multinomial.logpmf")
def multinomial_logpmf(x: Any, n: Any, p: Any) -> Any:
    """Counts x that add up to n; their last axis is that of the shares p."""
    x, n, p = (floats(v) for v in as_values((x, n, p)))
    value = calls.gammaln(n + 1.0) + sum_(xlogy(x, p) - calls.gammaln(x + 1.0), -1)
    return calls.where(calls.equal(sum_(x, -1), n), value, -math.inf)


@implements("scipy.stats.multinomial.pmf")
def multinomial_pmf(x: Any, n: Any, p: Any) -> Any:
    return calls.exp(multinomial_logpmf(x, n, p))


# -- on the integers
def _poisson(k: Value, mu: Value) -> Any:
    return _off(calls.less(k, 0), xlogy(k, mu) - mu - calls.gammaln(k + 1.0))


def _binom(k: Value, n: Value, p: Value) -> Any:
    choose = -calls.log1p(n) - betaln(k + 1.0, n - k + 1.0)
    outside = calls.logical_or(calls.less(k, 0), calls.greater(k, n))
    return _off(outside, choose + xlogy(k, p) + xlog1py(n - k, -p))


def _bernoulli(k: Value, p: Value) -> Any:
    outside = calls.logical_or(
        calls.less(k, 0), calls.greater(k, 1)
    )  # and between them `_discrete`
    return _off(outside, xlogy(k, p) + xlog1py(1.0 - k, -p))


def _geom(k: Value, p: Value) -> Any:
    return _off(calls.less(k, 1), xlog1py(k - 1.0, -p) + calls.log(as_value(p)))


def _nbinom(k: Value, n: Value, p: Value) -> Any:
    choose = -calls.log(k + n) - betaln(k + 1.0, n)
    return _off(calls.less(k, 0), choose + xlogy(n, p) + xlog1py(k, -p))


def _poisson_tails(k: Value, mu: Value) -> tuple[Any, Any]:
    """Abramowitz and Stegun 26.4.21: the tails of a gamma distribution."""
    count = calls.floor(k) + 1.0
    a, none = calls.maximum(count, 1.0), calls.less(count, 1.0)
    upper, lower = gammaincc(a, mu), gammainc(a, mu)
    return calls.where(none, 0.0, upper), calls.where(none, 1.0, lower)


def _binom_tails(k: Value, n: Value, p: Value) -> tuple[Any, Any]:
    """Abramowitz and Stegun 26.5.24: the tails of a beta distribution."""
    count = calls.floor(k)
    none, all_ = calls.less(count, 0.0), calls.greater_equal(count, n)
    a = calls.where(all_, 1.0, n - count)
    b = calls.where(none, 1.0, count + 1.0)
    lower, upper = betainc(a, b, 1.0 - p), betainc(b, a, p)
    return (
        calls.where(none, 0.0, calls.where(all_, 1.0, lower)),
        calls.where(none, 1.0, calls.where(all_, 0.0, upper)),
    )


_discrete("poisson", "mu", _poisson, **_by_both_tails(_poisson_tails))
_discrete("binom", "n p", _binom, **_by_both_tails(_binom_tails))
_discrete("bernoulli", "p", _bernoulli)
_discrete("geom", "p", _geom)
_discrete("nbinom", "n p", _nbinom)


# -- distributions with their parameters: scipy.stats.norm(0.0, 2.0)
class Frozen:
    """A distribution and its parameters, traced ones among them; its methods are the distribution's."""

    def __init__(self, distribution: Any, *args: Any, **kwargs: Any) -> None:
        self.distribution, self.args, self.kwargs = distribution, args, kwargs

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.distribution, name)
        return lambda x, *more: dispatch(method, (x, *self.args, *more), self.kwargs)


def _frozen(function: Any) -> Formula | None:
    """Making a frozen distribution of Values, and the methods of one that SciPy has made of numbers."""
    if not str(function.__module__).startswith("scipy.stats."):
        return None
    if hasattr(function, "logpdf") or hasattr(function, "logpmf"):
        return lambda *args, **kwargs: Frozen(function, *args, **kwargs)
    owner: Any = getattr(function, "__self__", None)
    name = getattr(function, "__name__", "")
    inner = getattr(owner, "dist", None)
    if inner is not None:
        return getattr(Frozen(inner, *owner.args, **owner.kwds), name)
    if type(owner).__name__ == "multivariate_normal_frozen":
        return getattr(Frozen(owner._dist, owner.mean, owner.cov), name)
    return None


FINDERS.append(_frozen)
