"""Factors: multiples that are computed anyway serve other products, and the numbers are the same to rounding."""

import numpy as np
import pytest

import gradgen as gg
from gradgen.ir import OPS

X, Y, Z = np.random.default_rng(3).normal(size=(3, 50))


def rosenbrock(x, y, z):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def products_of(fn):
    """How many products with a number a Function computes over arrays."""
    return sum(
        n.op is OPS["mul"] and n.type.ndim > 0 and any(a.type.ndim == 0 for a in n.args)
        for n in fn.ir.body
    )


def compiled(f, level):
    return gg.compile(f, "f64[n]", "f64[n]", "f64[n]", options={"optimize": level, "verify": True})


@pytest.mark.parametrize("level", ["readable", "fast"])
@pytest.mark.parametrize(
    ("f", "products"),
    [
        (lambda x, y, z: (200.0 * y, 200.0 * (y * z)), 1),
        (lambda x, y, z: (200.0 * (z * y), 200.0 * y), 1),
        (lambda x, y, z: (200.0 * y, 2.0 * x + 400.0 * (y * z)), 2),
        (lambda x, y, z: (200.0 * y, 2.0 * x - 400.0 * (y * z)), 2),
        (lambda x, y, z: (200.0 * y, 400.0 * (y * z) + 2.0 * x), 2),
        (lambda x, y, z: (200.0 * y, 400.0 * (y * z) - 2.0 * x), 2),
        (lambda x, y, z: (200.0 * y, x * -2.0 + 400.0 * (y * z)), 2),
        (lambda x, y, z: (200.0 * y, x * -2.0 - 400.0 * (y * z)), 2),
        (lambda x, y, z: (200.0 * y, 400.0 * (y * z) + x * -2.0), 2),
        (lambda x, y, z: (200.0 * y, 400.0 * (y * z) - x * -2.0), 2),
        (lambda x, y, z: (-200.0 * y, 2.0 * x - 400.0 * (y * z)), 3),  # another multiple
        (lambda x, y, z: (200.0 * y, 3.0 * x - 600.0 * (y * z)), 3),  # 3 would round
        (lambda x, y, z: (200.0 * y, 0.5 * x + 100.0 * (y * z)), 3),  # the sum could overflow
        (lambda x, y, z: (7.0 * y, 2.0 * x + 400.0 * (y * z)), 3),  # nobody needs 200 * y
    ],
)
def test_a_multiple_that_is_there(f, products, level):
    fn = compiled(f, level)
    assert products_of(fn) == products
    for found, wanted in zip(fn(X, Y, Z), f(X, Y, Z), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=1e-12)


def test_what_the_user_named_stays():
    def f(x, y, z):
        p = 400.0 * (y * z)
        return 200.0 * y, 2.0 * x + p

    assert products_of(compiled(f, "fast")) == 3


def test_the_gradient_of_rosenbrock_is_as_by_hand():
    fn = gg.compile(gg.value_and_grad(rosenbrock), "f64[n]", "f64[n]", "f64[n]")
    assert "x_bar[:-1] = -2.0 * (t3 + t4 * t1)" in fn.source
    assert "x_bar[1:] += t4" in fn.source
    low = X[:-1]
    wanted = np.zeros_like(X)
    wanted[:-1] = -400.0 * low * (X[1:] - low**2) - 2.0 * (1.0 - low)
    wanted[1:] += 200.0 * (X[1:] - low**2)
    np.testing.assert_allclose(fn(X, Y, Z)[1], wanted, rtol=1e-13, atol=1e-12)
