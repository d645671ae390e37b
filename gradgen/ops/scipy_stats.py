"""scipy.stats' log-densities, densities and distribution functions on Values, by name, as methods of the distributions.

norm expon uniform laplace logistic cauchy lognorm halfnorm t gamma invgamma chi2 beta multivariate_normal dirichlet
poisson bernoulli binom geom

Each is one function of the standardised argument, log density first: pdf is its exponential. Outside of the support the log
density is -inf and has no slope. Formulas: Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradgen.errors import ShapeError
from gradgen.functions import implements
from gradgen.ops import calls
from gradgen.ops.diagonals import diagonal
from gradgen.ops.linalg import t as transposed
from gradgen.ops.matrices import cholesky
from gradgen.ops.reduce import as_value, as_values
from gradgen.ops.reductions import floats, sum_
from gradgen.ops.scipy_linalg import solve_triangular
from gradgen.ops.scipy_special import betaln, log_expit, log_ndtr, ndtr, xlog1py, xlogy
from gradgen.value import Value

LOG_2_PI = math.log(2.0 * math.pi)
Formula = Callable[..., Any]


def _on(inside: Any, value: Any) -> Any:
    """`value` where the condition holds, -inf elsewhere."""
    return calls.where(inside, value, -math.inf)


def _continuous(name: str, log_density: Formula, shapes: int = 0, **more: Formula) -> None:
    """Enter a family of location and scale: log_density(z, *shapes) of z = (x - loc) / scale."""

    def scaled(f: Formula, density: bool) -> Formula:
        def method(x: Any, *args: Any, loc: Any = 0.0, scale: Any = 1.0, **named: Any) -> Any:
            given = [*args[:shapes], *named.values()]
            place = [*args[shapes:], *(loc, scale)[len(args[shapes:]) :]]
            x, *parts = as_values((x, *given, *place))
            x, *parts = (floats(v) for v in (x, *parts))
            loc, scale = parts[-2:]
            z = (x - loc) / scale
            found = f(z, *parts[:-2])
            return found - calls.log(scale) if density else found

        return method

    log_method = scaled(log_density, True)
    implements(f"scipy.stats.{name}.logpdf")(log_method)
    implements(f"scipy.stats.{name}.pdf")(lambda *a, **k: calls.exp(log_method(*a, **k)))
    for method, f in more.items():
        implements(f"scipy.stats.{name}.{method}")(scaled(f, False))


def _discrete(name: str, log_mass: Formula) -> None:
    """Enter a family on the integers: log_mass(k, *parameters)."""

    def method(k: Any, *args: Any, loc: Any = 0, **named: Any) -> Any:
        k, *parts = as_values((k, *args, *named.values()))
        return log_mass(floats(k) - loc, *parts)

    implements(f"scipy.stats.{name}.logpmf")(method)
    implements(f"scipy.stats.{name}.pmf")(lambda *a, **k: calls.exp(method(*a, **k)))


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
    lambda z: _on(calls.greater_equal(z, 0), -z),
    cdf=lambda z: calls.where(calls.less(z, 0), 0.0, -calls.expm1(-z)),
    sf=lambda z: calls.where(calls.less(z, 0), 1.0, calls.exp(-z)),
    logsf=lambda z: calls.where(calls.less(z, 0), 0.0, -z),
)
_continuous(
    "uniform",
    lambda z: _on(calls.logical_and(calls.greater_equal(z, 0), calls.less_equal(z, 1)), 0.0 * z),
    cdf=lambda z: calls.clip(z, 0.0, 1.0),
)
_continuous("laplace", lambda z: -abs(z) - math.log(2.0))
_continuous(
    "logistic",
    lambda z: -z - 2.0 * calls.softplus(-z),
    cdf=calls.sigmoid,
    logcdf=log_expit,
    sf=lambda z: calls.sigmoid(-z),
)
_continuous(
    "cauchy",
    lambda z: -calls.log1p(calls.square(z)) - math.log(math.pi),
    cdf=lambda z: 0.5 + calls.arctan(z) / math.pi,
)
_continuous(
    "halfnorm",
    lambda z: _on(
        calls.greater_equal(z, 0), -0.5 * calls.square(z) + 0.5 * math.log(2.0 / math.pi)
    ),
)


def _lognorm(z: Value, s: Value) -> Any:
    log = calls.log(z)
    return _on(
        calls.greater(z, 0), -0.5 * calls.square(log / s) - log - calls.log(s) - 0.5 * LOG_2_PI
    )


def _t(z: Value, df: Value) -> Any:
    half = 0.5 * (df + 1.0)
    constant = calls.gammaln(half) - calls.gammaln(0.5 * df) - 0.5 * calls.log(math.pi * df)
    return constant - half * calls.log1p(calls.square(z) / df)


def _gamma(z: Value, a: Value) -> Any:
    return _on(calls.greater_equal(z, 0), xlogy(a - 1.0, z) - z - calls.gammaln(a))


def _invgamma(z: Value, a: Value) -> Any:
    return _on(calls.greater(z, 0), -(a + 1.0) * calls.log(z) - 1.0 / z - calls.gammaln(a))


def _chi2(z: Value, df: Value) -> Any:
    half = 0.5 * df
    value = xlogy(half - 1.0, z) - 0.5 * z - half * math.log(2.0) - calls.gammaln(half)
    return _on(calls.greater_equal(z, 0), value)


def _beta(z: Value, a: Value, b: Value) -> Any:
    inside = calls.logical_and(calls.greater_equal(z, 0), calls.less_equal(z, 1))
    return _on(inside, xlogy(a - 1.0, z) + xlog1py(b - 1.0, -z) - betaln(a, b))


_continuous("lognorm", _lognorm, 1)
_continuous("t", _t, 1)
_continuous("gamma", _gamma, 1)
_continuous("invgamma", _invgamma, 1)
_continuous("chi2", _chi2, 1)
_continuous("beta", _beta, 2)


# -- of vectors
def _normal_parts(x: Any, mean: Any, cov: Any) -> tuple[Value, Value]:
    values = [x, 0.0 if mean is None else mean, 1.0 if cov is None else cov]
    x, mean, cov = (floats(v) for v in as_values(values))
    gap = x - mean
    if cov.type.ndim < 2:
        scale = calls.sqrt(cov)
        d = gap.type.shape[-1] if gap.type.ndim else 1
        if not isinstance(d, int):
            raise ShapeError(f"multivariate_normal of {x.type} needs a matrix of covariances")
        logs = calls.log(scale)
        total = sum_(logs, -1) if cov.type.ndim else d * logs
        z = gap / scale
        return (
            sum_(calls.square(z), -1) if gap.type.ndim else calls.square(z)
        ), 2.0 * total + d * LOG_2_PI
    factor = cholesky(cov)
    z = solve_triangular(factor, transposed(gap) if gap.type.ndim > 1 else gap, lower=True)
    log_det = 2.0 * sum_(calls.log(diagonal(factor)), -1)
    dim = cov.type.shape[-1]
    count: Any = dim if isinstance(dim, int) else cov.shape[-1]
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


@implements("scipy.stats.dirichlet.logpdf")
def dirichlet_logpdf(x: Any, alpha: Any) -> Any:
    """x of shape (k,), or (k - 1,): then the last share is what is missing from 1."""
    x, alpha = (floats(v) for v in as_values((x, alpha)))
    if x.type.ndim != 1:
        raise ShapeError(f"dirichlet.logpdf needs a vector, got {x.type}")
    constant = calls.gammaln(sum_(alpha)) - sum_(calls.gammaln(alpha))
    return constant + sum_(xlogy(alpha - 1.0, x))


# -- on the integers
def _poisson(k: Value, mu: Value) -> Any:
    return _on(calls.greater_equal(k, 0), xlogy(k, mu) - mu - calls.gammaln(k + 1.0))


def _binom(k: Value, n: Value, p: Value) -> Any:
    choose = calls.gammaln(n + 1.0) - calls.gammaln(k + 1.0) - calls.gammaln(n - k + 1.0)
    inside = calls.logical_and(calls.greater_equal(k, 0), calls.less_equal(k, n))
    return _on(inside, choose + xlogy(k, p) + xlog1py(n - k, -p))


def _bernoulli(k: Value, p: Value) -> Any:
    inside = calls.logical_or(calls.equal(k, 0), calls.equal(k, 1))
    return _on(inside, xlogy(k, p) + xlog1py(1.0 - k, -p))


def _geom(k: Value, p: Value) -> Any:
    return _on(calls.greater_equal(k, 1), xlog1py(k - 1.0, -p) + calls.log(as_value(p)))


_discrete("poisson", _poisson)
_discrete("binom", _binom)
_discrete("bernoulli", _bernoulli)
_discrete("geom", _geom)
