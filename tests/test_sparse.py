"""Sparse Jacobians and Hessians against the dense ones: pattern, formats, targets."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from compilers import needs_c

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


def products(x):
    return x[1:] * x[:-1] ** 2


def neighbours(x, i):
    return x[i] * x[i + 1]


FORMATS = ["coo", "csr", "csc"]
ARRAYS = ["numpy", pytest.param("c", marks=needs_c)]


@pytest.mark.parametrize("target", ARRAYS)
@pytest.mark.parametrize("format", FORMATS)
def test_a_sparse_result_in_given_memory(format, target):
    fn = gg.compile(gg.jacobian(products, sparse=format), "f64[8]", target=target)
    found = fn(X)
    seen = found.to_scipy()
    assert fn.into(found, X + 1.0) is found
    exact = gg.jacobian(products)(X + 1.0)
    np.testing.assert_allclose(found.toarray(), exact, rtol=1e-12)
    np.testing.assert_allclose(
        seen.toarray(), exact, rtol=1e-12
    )  # SciPy's matrix shares the values
    values = np.empty(found.nnz)
    assert fn.into(values, X + 1.0) is values
    np.testing.assert_array_equal(values, found.data)
    alike = pickle.loads(pickle.dumps(fn))(X)  # of the same places, in arrays of its own
    fn.into(alike, X + 1.0)
    np.testing.assert_array_equal(alike.data, found.data)
    with pytest.raises(ValueError, match="read-only"):
        found.row[0] = 3  # the next result has the same array


@pytest.mark.parametrize("target", ARRAYS)
@pytest.mark.parametrize("format", FORMATS)
def test_places_known_at_run_time_are_written_too(format, target):
    fn = gg.compile(gg.jacobian(neighbours, sparse=format), "f64[n]", "i64[k]", target=target)
    found = fn(X, [0, 2, 1])
    for x, i in ((X + 1.0, [3, 0, 2]), (X[:7], [1, 1, 0])):
        if format == "csc" and len(x) < 8:
            with pytest.raises(gg.ShapeError, match=r"an array of shape \(8,\) in out, got \(9,\)"):
                fn.into(found, x, i)
            continue
        fn.into(found, x, i)
        assert found.shape == (3, len(x))
        np.testing.assert_array_equal(found.toarray(), fn(x, i).toarray())
    values = np.empty(6)
    fn.into(values, X, [0, 2, 1])
    np.testing.assert_array_equal(values, fn(X, [0, 2, 1]).data)


@pytest.mark.parametrize("target", ARRAYS)
def test_memory_that_is_not_like_a_sparse_result_is_refused(target):
    fn = gg.compile(gg.jacobian(products, sparse="csr"), "f64[8]", target=target)
    made = fn(X)
    wrong = {
        "a csr Sparse or an array for its values, got csr_array": made.to_scipy(),
        "a csr Sparse or an array for its values, got tuple": (made.data,),
        "a csr Sparse, got <Sparse 7 x 8, 14 entries, coo>": gg.Sparse(
            made.data, made.row, made.col, made.shape, "coo"
        ),
        "of the places of the result's entries": gg.Sparse(
            made.data, made.row, made.row, made.shape, "csr"
        ),
        r"an array of shape \(14,\) in out, got \(7, 8\)": np.empty((7, 8)),
    }
    for words, out in wrong.items():
        with pytest.raises(gg.ShapeError, match=words):
            fn.into(out, X)
    fn = gg.compile(gg.jacobian(neighbours, sparse="csr"), "f64[n]", "i64[k]", target=target)
    made = fn(X, [0, 2, 1])
    with pytest.raises(gg.ShapeError, match="with an array indptr, as the result is"):
        fn.into(gg.Sparse(made.data, made.row, made.col, made.shape, "csr"), X, [0, 2, 1])


@needs_c
def test_matrices_in_a_structure_are_written_in_c_without_copies():
    derive = gg.jacobian(lambda x, y: x[1:] * y[:-1] ** 2, wrt=("x", "y"), sparse=True)
    fn = gg.compile(derive, x="f64[n]", y="f64[n]", target="c")
    out, seen, x = fn(X, X), [], X + 1.0
    sys.setprofile(lambda frame, event, arg: event == "call" and seen.append(frame.f_code.co_name))
    fn.into(out, x, X)
    sys.setprofile(None)
    assert seen.count("taken") == 2 and "_into" not in seen  # no conversion in Python
    assert fn.into((None, out[1].data), X + 1.0, X)[1] is out[1].data
    fresh = gg.compile(derive, x="f64[n]", y="f64[n]", target="c")(X + 1.0, X)
    for made, expected in zip(out, fresh, strict=True):
        np.testing.assert_array_equal(made.toarray(), expected.toarray())


def test_results_are_found_in_a_dict_by_key():
    fn = gg.compile(lambda x: {"a": x + 1.0, "b": x * 2.0}, "f64[8]")
    out = fn.into({"b": np.empty(8), "a": np.empty(8)}, X)
    np.testing.assert_array_equal(out["a"], X + 1.0)
    np.testing.assert_array_equal(out["b"], X * 2.0)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.parametrize("function", [np.sqrt, np.log])
def test_an_infinite_partial_leaves_no_entry_finite_and_wrong(function, mode):
    rng = np.random.default_rng(0)
    mixing = np.where(rng.uniform(size=(40, 40)) < 0.05, rng.normal(size=(40, 40)), 0.0)
    x = rng.uniform(0.5, 1.0, 40)
    x[5] = 0.0
    with np.errstate(all="ignore"):
        found = gg.compile(
            gg.jacobian(lambda x: mixing @ function(x), mode=mode, sparse=True), "f64[40]"
        )(x)
        slope = 0.5 / np.sqrt(x) if function is np.sqrt else 1.0 / x
        exact = mixing[found.row, found.col] * slope[found.col]
    known = ~np.isnan(found.data)
    np.testing.assert_allclose(found.data[known], exact[known], rtol=1e-12)
    assert known.all() == (mode == "reverse")  # 0 * inf, where the columns of a colour meet


@pytest.mark.parametrize("sparse", ["coo", "csr"])
def test_checkpoints_within_loops(sparse):
    def f(x):
        step = gg.checkpoint(lambda h: np.sin(h) * 0.5)
        return gg.scan(lambda h, u: (step(h) + u, h * u), 0.0, x)[1]

    x = np.array([0.1, 0.4, -0.3, 0.8])
    found = gg.compile(gg.jacobian(f, sparse=sparse), "f64[4]")(x).toarray()
    np.testing.assert_allclose(found, gg.jacobian(f)(x), rtol=1e-12)
    assert not np.triu(found, 1).any()


def test_a_refusal_names_a_line_where_the_statement_has_none():
    with pytest.raises(gg.UnsupportedError, match=r"at test_sparse\.py:\d+: gg\.compile"):
        gg.compile(
            gg.hessian(lambda x, Q: np.sum(np.sin(x)), "Q", sparse=True), "f64[n]", "f64[n,n]"
        )
