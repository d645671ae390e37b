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


def beam(x):
    bending = x[2:] - 2.0 * x[1:-1] + x[:-2]
    return np.sum(bending**2) + np.sum(np.exp(x)) + x[0] ** 3


def coupled(x):
    """Only the first elements meet their neighbours, and the last is alone."""
    return np.concatenate((x[:3] * x[1:4], np.sin(x[4:])))


@pytest.mark.parametrize("f", [beam, coupled, np.sin, lambda x: 3.0 * x[2:] - x[:-2]])
@pytest.mark.parametrize("format", ["csr", "csc"])
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_diagonals(f, format, target):
    derive = gg.hessian if f is beam else gg.jacobian
    exact = derive(f)(X)
    found = gg.compile(derive(f, sparse=format), x="f64[8]", target=target)(X)
    np.testing.assert_allclose(found.toarray(), exact, rtol=1e-12)
    assert found.nnz == np.count_nonzero(exact)
    order = np.lexsort((found.col, found.row) if format == "csr" else (found.row, found.col))
    np.testing.assert_array_equal(order, np.arange(found.nnz))
    matrix = found.to_scipy()
    assert matrix.has_canonical_format
    np.testing.assert_array_equal(matrix.toarray(), found.toarray())


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_source_as_long_for_any_size(target):
    def body(n):
        fn = gg.compile(gg.hessian(rosenbrock, sparse="csr"), x=f"f64[{n}]", target=target)
        lines = fn.source.splitlines()
        return lines[
            lines.index("import numpy as np" if target == "numpy" else f'#include "{fn.name}.h"') :
        ]

    assert len(body(70)) == len(body(200)) < 120


I, J = (np.random.default_rng(k).integers(0, 8, size=12) for k in (1, 2))


def arrow(x):
    return np.exp(x[0]) * np.sum(x[1:] ** 2) + np.sum(x**3)


def blocks(x):
    y = x.reshape(4, 2)
    return np.sum(np.sin(y[:, 0] * y[:, 1]) ** 2)


def residuals(x):
    """Each of them by two of the unknowns."""
    return np.sin(x[I]) * x[J] - 1.0


@pytest.mark.parametrize("f", [arrow, blocks, residuals])
@pytest.mark.parametrize("format", ["coo", "csr", "csc"])
def test_patterns_that_are_no_band(f, format):
    derive = gg.jacobian if f is residuals else gg.hessian
    exact = derive(f)(X)
    for target in ("numpy", "c"):
        found = gg.compile(derive(f, sparse=format), x="f64[8]", target=target)(X)
        np.testing.assert_allclose(found.toarray(), exact, rtol=1e-12)
        np.testing.assert_array_equal(found.to_scipy().toarray(), found.toarray())
        assert found.nnz == np.count_nonzero(exact)


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
    with pytest.raises(gg.SpecError, match="floating argument"):
        gg.jacobian(lambda i, x: x * i, sparse=True)(np.arange(8), X)
