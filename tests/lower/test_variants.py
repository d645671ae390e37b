"""The loops of the benchmark's workloads are no special cases: other losses, penalties, dtypes and stencils come out alike."""

from __future__ import annotations

import numpy as np
import pytest
from compilers import needs_c

import gradgen as gg
from gradgen.sizes import evaluate

pytestmark = needs_c

LOSSES = {
    "softplus": lambda z, y: np.logaddexp(0.0, z) - y * z,
    "tanh": lambda z, y: (np.tanh(z) - y) ** 2,
    "poisson": lambda z, y: np.exp(z) - y * z,
    "huber": lambda z, y: np.where(np.abs(z - y) < 1.0, 0.5 * (z - y) ** 2, np.abs(z - y) - 0.5),
    "hinge": lambda z, y: np.maximum(0.0, 1.0 - y * z),
}
SIZES = ((0, 3), (1, 1), (2, 5), (7, 4), (65, 17))  # one past a block of rows and of lanes


def regression(loss):
    def f(w, b, X, y):
        return np.sum(loss(X @ w + b, y)) + 0.01 * np.sum(w * w) + 0.001 * np.sum(np.abs(w))

    return f


def compiled(f, dtype, target="c"):
    specs = (f"{dtype}[d]", f"{dtype}[]", f"{dtype}[n,d]", f"{dtype}[n]")
    return gg.compile(gg.value_and_grad(f, wrt=("w", "b")), *specs, target=target)


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize("name", LOSSES)
def test_one_pass_over_the_data(name, dtype):
    """X and y are read once for value and gradient; everything else is of the length of w."""
    fn = compiled(regression(LOSSES[name]), dtype)
    n, d, width = 1000, 50, 8 if dtype == "f64" else 4
    moved = evaluate(fn.cost().bytes, {"n": n, "d": d})
    assert width * (n * d + n) <= moved <= width * (n * d + n + 20 * d)


@pytest.mark.parametrize("name", LOSSES)
def test_blocks_and_what_is_left_of_them(name):
    f = regression(LOSSES[name])
    c, plain = compiled(f, "f64"), compiled(f, "f64", "numpy")
    rng = np.random.default_rng(5)
    for n, d in SIZES:
        args = rng.normal(size=d), 0.3, rng.normal(size=(n, d)), rng.normal(size=n)
        (value, bars), (value_2, bars_2) = c(*args), plain(*args)
        for a, b in zip((value, *bars), (value_2, *bars_2), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def heat(u):
    inner = u[1:-1, 1:-1]
    lap = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4.0 * inner
    return np.sum(lap * lap)


def variation(u):
    dx, dy = u[1:, :-1] - u[:-1, :-1], u[:-1, 1:] - u[:-1, :-1]
    return np.sum(np.sqrt(dx * dx + dy * dy + 1e-6))


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize("f", [heat, variation])
def test_stencils_need_no_memory(f, dtype):
    """Differences and their adjoints in one nest: u is read, its gradient cleared and written, nothing is kept between."""
    fn = gg.compile(gg.value_and_grad(f), f"{dtype}[n,m]", target="c")
    assert fn.cost().workspace == 0
    tolerance = 1e-12 if dtype == "f64" else 2e-4
    plain = gg.compile(gg.value_and_grad(f), f"{dtype}[n,m]")
    rng = np.random.default_rng(6)
    for shape in ((2, 2), (3, 3), (3, 20), (5, 4), (19, 35)):
        u = rng.normal(size=shape).astype(np.float64 if dtype == "f64" else np.float32)
        for a, b in zip(fn(u), plain(u), strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_arrays_need_only_lie_as_their_elements_do():
    """Rows that start at odd multiples of eight bytes: no load asks for more."""
    fn = gg.compile(gg.grad(lambda x: np.sum(np.exp(x) * x)), "f64[n]", target="c")
    memory = np.linspace(-1.0, 1.0, 80)
    for start in range(1, 8):
        x = memory[start : start + 67]
        np.testing.assert_allclose(fn(x), np.exp(x) * (x + 1.0), rtol=1e-13, atol=1e-15)
