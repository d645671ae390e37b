"""gg.register: a library's function, whose implementation is traced in its place."""

from __future__ import annotations

import operator
import types

import numpy as np
import pytest

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
