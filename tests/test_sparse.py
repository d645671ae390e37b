"""Sparse Jacobians and Hessians against the dense ones: pattern, formats, targets."""

from __future__ import annotations

import numpy as np
import pytest

import gradgen as gg

X = np.random.default_rng(0).normal(size=8)


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def stencil(x):
    return np.sin(x[1:]) * x[:-1] + x[0]


def loop(x):
    return gg.scan(lambda c, v: (np.sin(c) + v, c * v), 0.5, x)[1]


def dense(x):
    return np.tanh(np.sum(x) * x)


@pytest.mark.parametrize("target", [None, "numpy", "c", "python"])
@pytest.mark.parametrize("format", [True, "coo", "csr", "csc"])
def test_a_tridiagonal_hessian(format, target):
    transform = gg.hessian(rosenbrock, sparse=format)
    found = transform(X) if target is None else gg.compile(transform, x="f64[8]", target=target)(X)
    exact = gg.hessian(rosenbrock)(X)
    assert found.nnz == 22 and found.shape == (8, 8)
    assert np.shape(found.data) == (22,)
    np.testing.assert_allclose(found.toarray(), exact, rtol=1e-12)
    np.testing.assert_allclose(found.to_scipy().toarray(), exact, rtol=1e-12)


@pytest.mark.parametrize("part", ["lower", "upper"])
def test_one_triangle(part):
    found = gg.compile(gg.hessian(rosenbrock, sparse="csc", part=part), x="f64[8]", target="c")(X)
    exact = gg.hessian(rosenbrock, part=part)(X)
    assert found.nnz == 15
    np.testing.assert_allclose(found.toarray(), exact, rtol=1e-12)


@pytest.mark.parametrize(("f", "entries"), [(stencil, 7 * 2 + 6), (loop, 8 * 9 // 2), (dense, 64)])
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_jacobians(f, entries, mode):
    exact = gg.jacobian(f)(X)
    found = gg.jacobian(f, mode=mode, sparse="csr")(X)
    assert found.nnz == entries
    np.testing.assert_allclose(found.toarray(), exact, rtol=1e-12, atol=1e-14)


def test_inside_a_traced_function():
    f = lambda x: np.sum(gg.jacobian(stencil, sparse=True)(x).toarray() ** 2)
    g = lambda x: np.sum(gg.jacobian(stencil)(x) ** 2)
    np.testing.assert_allclose(gg.grad(f)(X), gg.grad(g)(X), rtol=1e-12)


def test_refusals():
    with pytest.raises(gg.SpecError, match="sparse needs"):
        gg.jacobian(stencil, sparse="dok")
    with pytest.raises(gg.UnsupportedError, match="known"):
        gg.compile(gg.jacobian(stencil, sparse=True), x="f64[n]")
    with pytest.raises(gg.ShapeError, match="one argument"):
        gg.jacobian(lambda x, y: x * y, (0, 1), sparse=True)(X, X)
