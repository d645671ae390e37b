"""Methods of ufuncs over axes of symbolic length, and what they refuse; their rows with fixed sizes are in function_rows."""

from __future__ import annotations

import numpy as np
import pytest
from compilers import ARRAY_TARGETS
from ops.test_array_ops import richardson

import gradgen as gg

METHODS = [
    np.subtract.reduce,
    np.divide.reduce,
    np.hypot.reduce,
    np.fmax.reduce,
    np.subtract.accumulate,
    np.divide.accumulate,
    np.hypot.accumulate,
    np.fmin.accumulate,
    lambda x: np.add.reduceat(x, [0, 2, 1]),
]


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [3, 20])
def test_an_axis_of_symbolic_length(method, n, target):
    x = 1.3 + np.cos(np.arange(n) * 1.7)
    value = gg.compile(method, "f64[n]", target=target)(x)
    np.testing.assert_allclose(value, method(x), rtol=1e-12)
    assert np.shape(value) == np.shape(method(x))

    def total(x):
        return np.sum(np.sin(method(x)))

    slope = richardson(lambda t: total(x + t * np.cos(x)), 1e-3)
    x_bar = gg.compile(gg.grad(total), "f64[n]", target=target)(x)
    assert x_bar @ np.cos(x) == pytest.approx(slope, rel=1e-7)


def test_a_result_of_accumulate_has_the_length_of_its_argument():
    fn = gg.compile(lambda x: np.sum(x * np.subtract.accumulate(x)), "f64[n]")
    assert fn(np.array([3.0, 1.0, 5.0])) == 3.0 * 3.0 + 1.0 * 2.0 + 5.0 * -3.0


@pytest.mark.parametrize(
    ("f", "spec", "message"),
    [
        (lambda x: np.subtract.reduce(x, axis=None), "f64[2,3]", "needs one axis"),
        (lambda x: np.divide.reduce(x), "f64[0]", "needs initial="),
        (lambda x: np.divide.reduce(x, where=x > 0), "f64[n]", "needs initial= beside where="),
        (lambda x: np.add.reduceat(x, np.argsort(x)), "f64[n]", "indices known at trace time"),
        (lambda x: np.add.reduceat(x, [0, 5]), "f64[3]", "needs to be >= 6, got 3"),
    ],
)
def test_refusals(f, spec, message):
    with pytest.raises(gg.GradgenError, match=message):
        gg.compile(f, spec)


@pytest.mark.parametrize("ufunc", [np.power, np.arctan2])
def test_reductions_in_which_numpy_skips_elements_are_refused(ufunc):
    with pytest.raises(gg.UnsupportedError, match=f"functools.reduce.np.{ufunc.__name__}, x"):
        gg.compile(lambda x: ufunc.reduce(x), "f64[n]")
    x = np.array([1.1, 0.7, 1.3])
    fn = gg.compile(lambda x: ufunc.accumulate(x), "f64[n]")
    np.testing.assert_allclose(fn(x), ufunc.accumulate(x), rtol=1e-14)


@pytest.mark.parametrize("method", ["reduce", "accumulate"])
def test_differences_of_truth_values_are_refused(method):
    with pytest.raises(gg.SpecError, match=r"np\.subtract needs numbers, got bool\[3\]"):
        gg.compile(lambda x: getattr(np.subtract, method)(x > 0) * 1.0, "f64[3]")
