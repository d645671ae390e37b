"""Operators on bits inside programs: plain NumPy's numbers in every target, brackets where a target needs them, no slope."""

import numpy as np
import pytest

import gradgen as gg


def mixed(k, m):
    low = (k & 7) == 3
    return np.where(
        low | ((m >> 1 & 1) > 0), (k ^ m) << 2, ~(k | m) + (k & m & 12) * 2 - (1 << (k & 3))
    )


def weights(k, x):
    """Of each x by the set bits of k."""
    bits = (k[:, None] >> np.arange(4)) & 1
    return np.sum(bits @ np.arange(1.0, 5.0) * x**2)


K = np.array([0, 1, 3, 11, -1, -8, 2**62, -(2**63)])
M = np.array([5, -2, 2**40, 7, 12, 3, -1, 2**63 - 1])


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("spec", ["i64[n]", "i64[8]"])
def test_arrays(target, spec):
    fn = gg.compile(mixed, spec, spec, target=target)
    np.testing.assert_array_equal(fn(K, M), mixed(K, M))


@pytest.mark.parametrize("target", ["numpy", "python", "c"])
def test_numbers(target):
    fn = gg.compile(mixed, "i64[]", "i64[]", target=target)
    for k, m in ((3, 5), (-7, 12), (1000, -1)):
        assert fn(k, m) == mixed(np.int64(k), np.int64(m))


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_shifts_past_the_width(target):
    """What NumPy answers, where C's own operators mean nothing."""
    counts = np.array([0, 1, 63, 64, 65, -1, 200, 2**40])
    for shift in (np.left_shift, np.right_shift):
        fn = gg.compile(lambda k, b, f=shift: f(k, b), "i64[n]", "i64[n]", target=target)
        for k in (1, -1, 12345, -(2**63)):
            np.testing.assert_array_equal(fn(np.full(8, k), counts), shift(np.full(8, k), counts))


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_truth_values_stay_logic(target):
    def f(x):
        return np.sum(x, where=(x > 0.0) & ~(x > 2.0) | (x < -1.0) ^ (x < -3.0))

    x = np.array([-4.0, -2.0, -0.5, 1.0, 3.0])
    assert gg.compile(f, "f64[n]", target=target)(x) == f(x)
    mask = lambda b, k: np.where(b & (k > 0), k & b, k | b)
    b, k = np.array([True, False, True]), np.array([3, 4, -5])
    np.testing.assert_array_equal(
        gg.compile(mask, "bool[n]", "i64[n]", target=target)(b, k), mask(b, k)
    )


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_bits_choose_what_is_differentiated(target):
    k, x = np.array([1, 6, 15]), np.array([0.5, -1.0, 2.0])
    value, x_bar = gg.compile(
        gg.value_and_grad(weights, wrt="x"), "i64[n]", "f64[n]", target=target
    )(k, x)
    assert value == pytest.approx(weights(k, x), rel=1e-14)
    np.testing.assert_allclose(x_bar, 2.0 * x * np.array([1.0, 5.0, 10.0]), rtol=1e-14)
