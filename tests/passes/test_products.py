"""Sums of products as products of vectors: in NumPy's text only, and only where nothing can cancel or is read twice."""

import numpy as np
import pytest

import gradgen as gg

A = np.random.default_rng(1).normal(size=(4, 3))
X = np.random.default_rng(2).normal(size=6)


def text(f, *specs, **options):
    source = gg.compile(f, *specs, **options).source
    start = source.index("\n\ndef ")
    return source[start : source.index("\n\ndef _")]


@pytest.mark.parametrize(
    ("f", "spec", "written"),
    [
        (lambda x: np.sum(x**2), "f64[n]", "x @ x"),
        (lambda x: np.sum(x * np.sin(x)), "f64[n]", "x @ np.sin(x)"),
        (lambda x: np.sum(100.0 * x**2 + (x - 1.0) ** 2), "f64[n]", "100.0 * (x @ x)"),
        (lambda x: np.sum(x**2), "f64[n,m]", "np.vdot(x, x)"),
    ],
)
def test_products_of_vectors(f, spec, written):
    assert written in text(f, spec)
    given = X if spec == "f64[n]" else A
    fn = gg.compile(gg.value_and_grad(f), spec)
    value, bar = fn(given)
    np.testing.assert_allclose(value, f(given), rtol=1e-14)
    np.testing.assert_allclose(bar, gg.grad(f)(given), rtol=1e-13)
    assert fn.check(given).ok


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(x * x[:, None]),  # another shape
        lambda x: np.sum(np.exp(x) - x * 2.0),  # differences may cancel
        lambda x: np.sum(x**2 - np.sin(x) ** 2),
        lambda x: np.sum(x * np.cos(x) + x**2),  # terms of both signs
        lambda x: np.sum(2.0 * x),
        lambda x: np.sum((x**2)[:, None] * np.ones((1, 3)), axis=0),
    ],
)
def test_what_stays_a_sum(f):
    assert "np.sum(" in text(f, "f64[n]") and "@" not in text(f, "f64[n]")


def test_a_product_that_is_read_again_is_summed():
    def f(x):
        s = x * np.sin(x)
        return np.sum(s) + np.max(s)

    assert "s.sum()" in text(f, "f64[n]")


def test_the_first_addition_to_zeros_is_an_assignment():
    def f(x):
        return np.sum(np.sin(x[1:] * x[:-1]))

    written = text(gg.grad(f), "f64[n]")
    assert written.count("] = ") == 1 and written.count("] += ") == 1


@pytest.mark.parametrize(
    ("f", "added"),
    [
        (lambda x: np.sin(x[:, 0]) * np.cos(x[:, 1]) + np.exp(x[:, 2]), 0),  # columns of their own
        (lambda x: np.sin(x[:, :2]) * np.cos(x[:, 2:]), 0),
        (lambda x: np.sin(x[:, ::-2]) * np.cos(x[:, ::2]), 1),  # between each other: not told apart
        (lambda x: np.sin(x[:, :2]) * np.cos(x[:, 1:3]), 1),
        (lambda x: np.sin(x[:2]) * np.cos(x[2:4]), 0),  # known places of unknown many
        (lambda x: np.sin(x[1:]) * np.cos(x[:-1]), 1),
    ],
)
def test_additions_to_zeros_at_places_of_their_own_are_assignments(f, added):
    slope = gg.grad(lambda x: np.sum(f(x)))
    assert text(slope, "f64[n,4]").count("] += ") == added
    x = np.random.default_rng(5).normal(size=(5, 4))
    np.testing.assert_allclose(gg.compile(slope, "f64[n,4]")(x), slope(x), rtol=1e-14)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_products_of_nothing(target):
    fn = gg.compile(
        gg.value_and_grad(lambda x: np.sum(x[1:] ** 2) + x[1:] @ x[:-1]), "f64[1]", target=target
    )
    value, bar = fn([3.0])
    assert value == 0.0 and bar[0] == 0.0
