"""Beta functions and log-densities at large parameters, where terms of size n log n leave a result of size log n: values and
gradients against mpmath at 60 digits, in every target."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import scipy.special as sp
import scipy.stats as st
from compilers import TARGETS, C

import gradgen as gg


def betaln(a, b):
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def log_choose(n, k):
    return mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)


def log_t(x, df):
    constant = mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2) - mp.log(mp.pi * df) / 2
    return constant - (df + 1) / 2 * mp.log1p(x * x / df)


def log_binom(n, p):
    return log_choose(n, mp.mpf(3)) + 3 * mp.log(p) + (n - 3) * mp.log1p(-p)


def log_nbinom(n, p):
    return log_choose(n + 2, mp.mpf(3)) + n * mp.log(p) + 3 * mp.log1p(-p)


# (program, the same of mpmath's numbers, point, relative error allowed of the slopes by each argument)
CASES = {
    "betaln": (lambda a, b: sp.betaln(a, b), betaln, (1e10, 3.0), (1e-14, 1e-14)),
    "betaln, exchanged": (lambda a, b: sp.betaln(a, b), betaln, (3.0, 1e10), (1e-14, 1e-14)),
    "betaln, both large": (lambda a, b: sp.betaln(a, b), betaln, (1e10, 2e10), (1e-14, 1e-14)),
    "betaln, one just": (lambda a, b: sp.betaln(a, b), betaln, (1e6, 9.75), (1e-14, 1e-14)),
    # by df two terms of size 1 / df leave one of size 1 / df**2
    "t": (lambda x, df: st.t.logpdf(x, df=df), log_t, (1.3, 1e8), (1e-14, 1e-7)),
    "poch": (lambda a, b: sp.poch(a, b), mp.rf, (1e9, 1.5), (1e-14, 1e-14)),
    "binom": (lambda n, p: st.binom.logpmf(3.0, n, p), log_binom, (1e10, 1e-10), (1e-14, 1e-14)),
    "nbinom": (lambda n, p: st.nbinom.logpmf(3.0, n, p), log_nbinom, (1e10, 0.9999999999), (1e-14, 1e-14)),
}  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES)
def test_digits_are_kept(case, target):
    f, exact, at, allowed = CASES[case]
    fn = gg.compile(gg.value_and_grad(f, (0, 1)), "f64[]", "f64[]", target=target)
    value, slopes = fn(*at)
    with mp.workdps(60):
        point = tuple(mp.mpf(x) for x in at)
        want = [mp.diff(exact, point, orders) for orders in ((0, 0), (1, 0), (0, 1))]
        bounds = (1e-14, *allowed)
        for found, number, bound in zip((value, *slopes), want, bounds, strict=True):
            assert abs(mp.mpf(found) - number) <= bound * abs(number)


def test_second_derivatives():
    """At equal arguments too, where no maximum may take part."""
    for at in ((1e6, 3.0), (20.0, 20.0), (2.0, 2.0)):
        found = gg.hessian(lambda x: sp.betaln(x[0], x[1]))(np.array(at))
        with mp.workdps(60):
            orders = [[(2, 0), (1, 1)], [(1, 1), (0, 2)]]
            want = [[float(mp.diff(betaln, at, o)) for o in row] for row in orders]
        np.testing.assert_allclose(found, want, rtol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
def test_a_cauchy_density_far_out(target):
    """1 + x**2 overflows at 1e155, its logarithm nowhere."""
    fn = gg.compile(gg.value_and_grad(lambda x: st.cauchy.logpdf(x)), "f64[]", target=target)
    value, slope = fn(1e200)
    assert value == pytest.approx(-np.log(np.pi) - 400.0 * np.log(10.0), rel=1e-15)
    assert slope == pytest.approx(-2e-200, rel=1e-15)


@pytest.mark.parametrize("target", ["numpy", C])
def test_boxcox_at_and_near_zero(target):
    f = lambda x, power: sp.boxcox(x, power)
    fn = gg.compile(gg.value_and_grad(f, (0, 1)), "f64[]", "f64[]", target=target)
    assert fn(0.0, 0.5) == (-2.0, (np.inf, 4.0))
    assert fn(0.0, 2.0) == (-0.5, (0.0, 0.25))
    assert fn(0.0, -1.0)[0] == fn(0.0, 0.0)[0] == -np.inf
    value, (slope, by_power) = fn(
        1e-40, 0.5
    )  # 1 - x**0.5 is 1: no difference of it may be the slope
    assert (value, by_power) == (-2.0, pytest.approx(4.0))
    assert slope == pytest.approx(1e20, rel=1e-13)
