"""Signs: a constant factor takes the sign over, and the number is the same to the bit."""

import numpy as np
import pytest

import gradgen as gg
from gradgen.ir import OPS


@pytest.mark.parametrize(
    "f",
    [
        lambda x: -(2.0 * x),
        lambda x: -(x * 0.1),
        lambda x: -(3.0 / x),
        lambda x: -(x / 3.0),
        lambda x: np.exp(-(x**2 * 0.5)),
    ],
)
def test_the_factor_takes_the_sign(f):
    x = np.array([0.3, -0.0, np.inf, -1e-308, np.nan, 7.0])
    fast = gg.compile(f, "f64[n]", options={"optimize": "fast"})
    assert OPS["neg"] in [n.op for n in gg.compile(f, "f64[n]").ir.body]
    assert OPS["neg"] not in [n.op for n in fast.ir.body]
    with np.errstate(all="ignore"):
        found, wanted = fast(x), f(x)
    np.testing.assert_array_equal(found, wanted)
    known = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(wanted[known]))


def test_products_that_are_read_elsewhere_keep_theirs():
    def f(x):
        y = 2.0 * x
        return -y, y

    fast = gg.compile(f, "f64[n]", options={"optimize": "fast"})
    assert OPS["neg"] in [n.op for n in fast.ir.body]


def test_numbers_and_integers_are_left_alone():
    scalar = gg.compile(lambda x: -(2.0 * x), "f64[]", options={"optimize": "fast"})
    assert OPS["neg"] in [n.op for n in scalar.ir.body]
    whole = gg.compile(lambda k: -(2 * k), "i64[n]", options={"optimize": "fast"})
    np.testing.assert_array_equal(whole(np.array([1, -4])), [-2, 8])


Q = np.random.default_rng(3).normal(size=(3, 3))


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda x, t, q: x + -t @ q, "x - t @ q"),
        (lambda x, t, q: -t @ q + x, "x - t @ q"),
        (lambda x, t, q: x - q @ -t, "x + q @ t"),
        (lambda x, t, q: -(-t @ q - t * x), "t @ q + t * x"),
        (lambda x, t, q: -(-t @ q), "t @ q"),
        (lambda x, t, q: q + np.outer(-t, x), "q - np.outer(t, x)"),
    ],
)
def test_a_sum_takes_the_sign_of_a_product(f, text):
    x, t = np.array([0.5, -2.0, 3.0]), np.array([1.0, 0.1, -7.0])
    fn = gg.compile(f, "f64[n]", "f64[n]", "f64[n,n]", name="fn")
    assert f"value = {text}  #" in fn.source
    np.testing.assert_array_equal(fn(x, t, Q), f(x, t, Q))


def test_a_sign_that_is_read_elsewhere_stays():
    def f(x, t, q):
        s = -t
        return x + s @ q, s

    fn = gg.compile(f, "f64[n]", "f64[n]", "f64[n,n]")
    assert "x + s @ q" in fn.source
    twice = gg.compile(
        lambda x, t, q: (x + -t @ q, np.outer(-t, x)), "f64[n]", "f64[n]", "f64[n,n]"
    )
    assert twice.source.count(" = -t  #") == 1
