"""Exponentials: sums shifted by hand lose their shift before differentiation; softmaxes share what their sums are made of."""

import mpmath
import numpy as np
import pytest

import gradgen as gg
from gradgen.options import Options


def logsumexp_by_hand(x):
    m = np.max(x, axis=1)
    return np.log(np.sum(np.exp(x - m[:, None]), axis=1)) + m


def kept_axes(x):
    m = np.max(x, axis=1, keepdims=True)
    return np.log(np.sum(np.exp(x - m), axis=1)) + m[:, 0]


def leading_axis(x):
    m = np.max(x, axis=0)
    return m + np.log(np.sum(np.exp(x - m), axis=0))


def log_softmax(x):
    u = x - np.max(x, axis=1, keepdims=True)
    return np.sum((u - np.log(np.sum(np.exp(u), axis=1, keepdims=True)))[:, 0])


def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return np.sum((e / np.sum(e, axis=-1, keepdims=True)) ** 2)


def log_of_softmax(x):
    p = np.exp(x - np.max(x, axis=1, keepdims=True))
    p /= np.sum(p, axis=1, keepdims=True)
    return np.sum(np.log(p)[:, 0])


def shifted_by_one(x):
    return np.log(np.sum(np.exp(x - 1.0))) + 1.0


FUNCTIONS = [
    logsumexp_by_hand,
    kept_axes,
    leading_axis,
    log_softmax,
    softmax,
    log_of_softmax,
    shifted_by_one,
]
IDS = [f.__name__ for f in FUNCTIONS]


def loss_of(f):
    return lambda x: np.sum(np.sin(f(x)))


@pytest.mark.parametrize("f", FUNCTIONS, ids=IDS)
def test_no_ties_are_searched_for(f):
    """The shift is gone before differentiation: nothing is compared with a maximum."""
    fn = gg.compile(gg.value_and_grad(loss_of(f)), "f64[n,m]")
    ops = {node.op.name for node in fn.ir.body}
    assert not ops & {"equal", "where", "logsumexp"}
    assert sum(node.op.name == "exp" for node in fn.ir.body) == 1
    assert sum(node.op.name == "reduce_max" for node in fn.ir.body) <= 1


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("f", FUNCTIONS, ids=IDS)
def test_values_and_gradients(f, target):
    x = np.random.default_rng(3).normal(size=(4, 5)) * 3.0
    plain = gg.compile(
        gg.value_and_grad(loss_of(f)),
        "f64[n,m]",
        options=Options(rewrite=False, optimize="lecture"),
    )
    for given in (x, x + 700.0, x[:1], x[:, :1]):
        fn = gg.compile(gg.value_and_grad(loss_of(f)), "f64[n,m]", target=target)
        (value, (got,)), (wanted, (bar,)) = _pair(fn(given)), _pair(plain(given))
        if f is not shifted_by_one or given.max() < 700:  # there the plain form overflows
            np.testing.assert_allclose(value, wanted, rtol=1e-10)
            np.testing.assert_allclose(got, bar, rtol=1e-7, atol=1e-12)
        assert np.isfinite(value) and np.all(np.isfinite(got))


def _pair(result):
    value, grads = result
    return value, grads if isinstance(grads, tuple) else (grads,)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 300.0, 1e5])
def test_a_softmax_is_as_accurate_as_the_plain_form(scale):
    x = np.random.default_rng(4).normal(size=7) * scale
    fn = gg.compile(lambda x: np.exp(x - np.max(x)) / np.sum(np.exp(x - np.max(x))), "f64[n]")
    with mpmath.workdps(50):
        e = [mpmath.exp(mpmath.mpf(float(v)) - max(map(float, x))) for v in x]
        exact = [float(v / mpmath.fsum(e)) for v in e]
    plain = np.exp(x - x.max()) / np.sum(np.exp(x - x.max()))
    error = np.abs(fn(x) - exact).max()
    assert error <= np.abs(plain - exact).max() + 1e-16


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_what_is_not_finite(target):
    def f(x):
        m = np.max(x)
        return np.log(np.sum(np.exp(x - m))) + m

    fn = gg.compile(gg.value_and_grad(f), "f64[n]", target=target)
    inf = np.inf
    value, bar = fn([-inf, 1.0, 2.0])
    np.testing.assert_allclose(value, np.logaddexp(1.0, 2.0))
    np.testing.assert_allclose(bar, [0.0, 1 / (1 + np.e), np.e / (1 + np.e)])
    with np.errstate(invalid="ignore"):
        assert fn([inf, 1.0])[0] == inf  # the plain form is nan
        assert fn([-inf, -inf])[0] == -inf
        assert np.isnan(fn([np.nan, 1.0])[0])


def test_only_shifts_that_are_one_number_are_dropped():
    def f(x):
        return np.log(np.sum(np.exp(x - x[:, :1] * x), axis=1)) + x[:, 0]

    x = np.random.default_rng(5).normal(size=(3, 4))
    np.testing.assert_allclose(gg.compile(f, "f64[n,m]")(x), f(x), rtol=1e-13)


def test_softplus_and_sigmoid_share_an_exponential_in_fast_numpy():
    def loss(z, y):
        return np.mean(np.logaddexp(0.0, z) - y * z)

    fast = gg.compile(gg.value_and_grad(loss), "f64[n]", "f64[n]", options={"optimize": "fast"})
    assert fast.source.count("np.exp(") == 1 and "logaddexp" not in fast.source
    readable = gg.compile(gg.value_and_grad(loss), "f64[n]", "f64[n]")
    z = np.array([-np.inf, -800.0, -1.0, -0.0, 0.0, 2.0, 800.0])
    y = np.zeros(7)
    for a, b in zip(fast(z, y), readable(z, y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)
    value, z_bar = fast([np.inf, np.nan], [1.0, 0.0])
    assert np.isnan(value) and z_bar[0] == 0.0 and np.isnan(z_bar[1])


@pytest.mark.parametrize("optimize", ["readable", "fast"])
def test_a_sigmoid_and_its_slope_share_an_exponential_in_numpy(optimize):
    def loss(z, w):
        h = 1.0 / (1.0 + np.exp(-z))
        return np.sum(h * w)

    fn = gg.compile(gg.value_and_grad(loss), "f64[n]", "f64[n]", options={"optimize": optimize})
    assert fn.source.count("np.exp(") == 1 and "_expit" not in fn.source
    z = np.array([-np.inf, -1000.0, -700.0, -40.0, -1.0, -0.0, 0.0, 2.0, 40.0, 1000.0, np.inf])
    _, slope = fn(z, np.ones(11))
    with mpmath.workdps(50):
        exact = [
            float(mpmath.exp(-abs(mpmath.mpf(v))) / (1 + mpmath.exp(-abs(mpmath.mpf(v)))) ** 2)
            for v in z
        ]
    np.testing.assert_allclose(slope, exact, rtol=1e-14)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_a_cross_entropy_of_probabilities_by_hand_has_no_overflow(target):
    """What a textbook writes: p = 1 / (1 + exp(-z)), then log(p) and log(1 - p)."""

    def loss(z, y):
        p = 1 / (1 + np.exp(-z))
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    fn = gg.compile(gg.value_and_grad(loss), "f64[n]", "f64[n]", target=target)
    z, y = np.array([-1000.0, -40.0, 0.5, 40.0, 1000.0]), np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    value, slope = fn(z, y)
    assert value == pytest.approx((1000.0 + np.exp(-40.0) + np.log1p(np.exp(-0.5)) + 40.0) / 5)
    sigmoid = np.array([0.0, np.exp(-40.0), 1 / (1 + np.exp(-0.5)), 1.0, 1.0])
    np.testing.assert_allclose(slope, (sigmoid - y) / 5, rtol=1e-14, atol=1e-17)
