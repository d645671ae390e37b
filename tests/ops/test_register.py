"""gg.register: a library's function, whose implementation is traced in its place."""

from __future__ import annotations

import functools
import operator
import types

import numpy as np
import pytest
from scipy import stats

import gradgen as gg


def _native(x, power=2.0):
    raise AssertionError("the library's own code is not entered with Values")


_native.__module__ = "numpy.somewhere"  # as foreign as NumPy's own
library = types.SimpleNamespace(rms=_native)


def test_an_implementation_is_traced():
    @gg.register(library.rms)
    def rms(x, power=2.0):
        return np.mean(x**power) ** (1.0 / power)

    def loss(x):
        return library.rms(x, power=4.0) * 2.0

    x = np.array([1.0, 2.0, 3.0])
    value, bar = gg.compile(gg.value_and_grad(loss), "f64[n]")(x)
    want = np.mean(x**4) ** 0.25
    assert value == pytest.approx(2.0 * want)
    np.testing.assert_allclose(bar, 2.0 * want**-3 * x**3 / 3.0)


def test_a_builtin():
    gg.register(operator.truediv)(lambda a, b: a / b)

    def loss(x):
        return operator.truediv(1.0, x)

    assert gg.compile(gg.grad(loss), "f64[]")(2.0) == -0.25


def test_what_is_no_function_is_refused():
    for thing in (3, [], "scipy.special.erf"):
        with pytest.raises(gg.SpecError, match=r"gg\.register needs a function"):
            gg.register(thing)


def test_a_library_function_may_be_the_function_itself():
    x = np.array([0.3, -1.2])
    wide = functools.partial(stats.norm.logpdf, scale=2.0)
    for f, precision in ((stats.norm.logpdf, 1.0), (wide, 0.25)):
        np.testing.assert_allclose(gg.vjp(f)(x, np.ones(2))[1], -x * precision)
    fn = gg.compile(gg.value_and_grad(np.linalg.norm), "f64[n]")
    np.testing.assert_allclose(fn([3.0, 4.0])[1], [0.6, 0.8])


def test_parameters_of_a_distribution_are_taken_by_name():
    want = gg.grad(lambda a, b: stats.beta.logpdf(0.3, a, b), (0, 1))(1.5, 2.5)
    assert gg.grad(lambda a, b: stats.beta.logpdf(0.3, b=b, a=a), (0, 1))(1.5, 2.5) == want
    for bad in (
        lambda x: stats.beta.logpdf(x, 1.0),
        lambda x: stats.beta.logpdf(x, 1.0, 2.0, a=3.0),
        lambda x: stats.beta.logpdf(x, 1.0, c=3.0),
    ):
        with pytest.raises(gg.UnsupportedError, match="needs its parameters a, b, loc, scale"):
            gg.grad(bad)(0.3)


def test_where_of_a_ufunc_needs_the_array_that_it_leaves_alone():
    with pytest.raises(gg.UnsupportedError, match="needs out= beside where="):
        gg.grad(lambda x: np.sum(np.sqrt(x, where=x > 0)))(np.ones(2))
    slope = gg.grad(lambda x: np.sum(np.sqrt(x, out=np.zeros(2), where=x > 0)))(
        np.array([-1.0, 4.0])
    )
    np.testing.assert_array_equal(slope, [0.0, 0.25])


def test_incomplete_integrals_have_no_slope_by_their_parameters():
    with pytest.raises(gg.UnsupportedError, match="by its last argument only"):
        gg.grad(lambda a: stats.gamma.cdf(0.3, a))(1.5)
