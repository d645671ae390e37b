"""Sums over products of matrices become products of sums: cheaper, and the same to rounding."""

import numpy as np
import pytest

import gradgen as gg


def centred(mu, Q, X):
    """Batches of points about centres, through a matrix each: the cotangent of mu is a sum over points."""
    gap = X[None, :, :] - mu[:, None, :]
    z = gap @ Q + 0.5 * gap
    return np.sum(np.log(1.0 + z * z))


def shifted(b, W, X):
    """One matrix: b is added to every row before the product."""
    return np.sum(np.tanh((X + b) @ W) ** 2)


def columns(c, W, X):
    """c is added to every column of the second factor."""
    return np.sum(np.sin(W @ (X - c[:, None]))) + c[0]


RNG = np.random.default_rng(5)
CASES = {
    "centred": (centred, ("f64[k,4]", "f64[k,4,4]", "f64[n,4]"), [(3, 4), (3, 4, 4), (50, 4)]),
    "shifted": (shifted, ("f64[4]", "f64[4,6]", "f64[n,4]"), [(4,), (4, 6), (50, 4)]),
    "columns": (columns, ("f64[4]", "f64[6,4]", "f64[4,n]"), [(4,), (6, 4), (4, 50)]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_one_product_less_and_the_same_numbers(name, target):
    f, specs, shapes = CASES[name]
    args = [RNG.normal(size=s) for s in shapes]
    fn = gg.compile(gg.grad(f), *specs, target=target)
    plain = gg.compile(gg.grad(f), *specs, target=target, options=gg.Options(optimize="lecture"))
    sizes = {"n": 1000, "k": 3} if name == "centred" else {"n": 1000}
    assert fn.cost(**sizes).flops < 0.8 * plain.cost(**sizes).flops
    found, expected = fn(*args), plain(*args)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    step = 1e-6
    for i in np.ndindex(found.shape):
        e = np.zeros(found.shape)
        e[i] = step
        difference = (f(args[0] + e, *args[1:]) - f(args[0] - e, *args[1:])) / (2 * step)
        assert abs(difference - found[i]) <= 1e-6 * np.abs(found).max()


def test_a_product_that_something_else_reads_stays():
    """The cotangent of X is the product itself: taking its sum apart would save nothing."""
    specs = ("f64[4]", "f64[4,6]", "f64[n,4]")
    fn = gg.compile(gg.grad(shifted, (0, 2)), *specs, target="numpy")
    assert fn.source.count("@") == 2


def test_sums_that_the_user_wrote_stay():
    """What a user adds up after a product, perhaps because it cancels there, is added up after it."""
    fn = gg.compile(lambda X, W, y: np.sum(X @ W - y, axis=0), "f64[n,3]", "f64[3,2]", "f64[n,2]")
    assert "X @ W" in fn.source


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_rows(n):
    args = RNG.normal(size=4), RNG.normal(size=(4, 6)), RNG.normal(size=(n, 4))
    expected = gg.grad(shifted)(*args)
    for target in ("numpy", "c"):
        fn = gg.compile(gg.grad(shifted), "f64[4]", "f64[4,6]", "f64[n,4]", target=target)
        np.testing.assert_allclose(fn(*args), expected, rtol=1e-13, atol=1e-14)
