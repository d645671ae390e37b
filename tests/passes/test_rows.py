"""Sums of products over short axes as einsum: in NumPy's text only, where rows are many and nothing else reads the products."""

import numpy as np
import pytest

import gradgen as gg

RNG = np.random.default_rng(4)
A, B, C = RNG.normal(size=(70, 3)), RNG.normal(size=(70, 3)), RNG.normal(size=(70, 2, 3))


def text(fn):
    start = fn.source.index("\n\ndef ")
    return fn.source[start : fn.source.index("\n\ndef _")]


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize("level", ["readable", "fast"])
@pytest.mark.parametrize(
    ("f", "specs", "written"),
    [
        (lambda a, b: np.sum(a * b, axis=1), ("[n,3]", "[n,3]"), '"ij,ij->i", a, b'),
        (lambda a: np.sum(a**2, axis=1), ("[n,3]",), '"ij,ij->i", a, a'),
        (lambda a: np.sum(a**2, axis=0), ("[70,n]",), None),  # a long axis
        (lambda a: np.sum(a**2, axis=0), ("[n,3]",), None),  # an axis that may be long
        (lambda c: np.sum(c * c, axis=1), ("[n,2,3]",), '"ijk,ijk->ik", c, c'),
        (lambda c: np.sum(c * c, axis=(1, 2)), ("[n,2,3]",), '"ijk,ijk->i", c, c'),
        (lambda c, a: np.sum(c * a[:, None, :], axis=2), ("[n,2,3]", "[n,3]"), '"ijk,ik->ij", c, a'),
        (lambda c, a: np.sum(a[:, None] * c, axis=2), ("[n,2,3]", "[n,1,3]"), None),  # four axes
        (lambda c, a: np.sum(a * c, axis=2), ("[n,2,3]", "[n,1,3]"), '"ik,ijk->ij", a.reshape(n, 3), c'),
        (lambda c, a: np.sum(a * c, axis=2), ("[n,2,3]", "[2,3]"), '"jk,ijk->ij", a, c'),
        (lambda c, a: np.sum(a * c, axis=2), ("[n,2,3]", "[3]"), '"k,ijk->ij", a, c'),
        (lambda c, a: np.sum(a * c, axis=2), ("[n,1,3]", "[n,1,3]"), '"ijk,ijk->ij", a, c'),
        (lambda c, a: np.sum(a * c, axis=2), ("[n,2,3]", "[n,2,1]"), None),  # a is a factor of the sum
        (lambda a: np.sum(a * 2.0, axis=1), ("[n,3]",), None),
        (lambda a: np.sum(a * a, axis=1), ("[n,33]",), None),
        (lambda a: np.sum(a * a, axis=1), ("[n,1]",), None),
        (lambda a: np.sum(a * a, axis=1), ("[63,3]",), None),  # few rows
        (lambda a: np.sum(a * a, axis=1), ("[64,3]",), '"ij,ij->i", a, a'),
        (lambda a: np.sum(a * a, axis=1, keepdims=True), ("[n,3]",), '"ij,ij->i", a, a)[:, None]'),
        (lambda a: np.sum(np.exp(a) - a, axis=1), ("[n,3]",), None),
    ],
)  # fmt: skip
def test_sums_of_rows(f, specs, written, level, dtype):
    fn = gg.compile(f, *(dtype + s for s in specs), options={"optimize": level, "verify": True})
    if written is None:
        assert "einsum" not in text(fn)
    else:
        assert f"np.einsum({written}" in text(fn)
    assert "einsum" not in gg.compile(f, *(dtype + s for s in specs), target="c").source
    for n in (0, 1, 5, 70):
        shapes = [[n if d == "n" else int(d) for d in s[1:-1].split(",")] for s in specs]
        args = [RNG.normal(size=shape).astype({"f64": "d", "f32": "f"}[dtype]) for shape in shapes]
        found, wanted = fn(*args), f(*args)
        assert found.shape == wanted.shape
        assert found.dtype == wanted.dtype
        eps = np.finfo(wanted.dtype).eps
        np.testing.assert_allclose(found, wanted, rtol=100 * eps, atol=20 * eps)
        np.testing.assert_array_equal(found, fn.interpret(*args))


def test_products_that_are_read_again_are_summed():
    fn = gg.compile(lambda a, b: (a * b, np.sum(a * b, axis=1)), "f64[n,3]", "f64[n,3]")
    assert ".sum(axis=1)" in text(fn) and "einsum" not in text(fn)
    np.testing.assert_allclose(fn(A, B)[1], np.sum(A * B, axis=1), rtol=1e-14, atol=1e-15)


def test_products_that_only_sums_read_are_contracted_once():
    def f(a, b):
        s = a * b
        return np.sum(s, axis=1, keepdims=True) * a + np.sum(s, axis=1)[:, None]

    fn = gg.compile(f, "f64[n,3]", "f64[n,3]")
    assert text(fn).count("einsum") == 1 and "sum(axis" not in text(fn)
    np.testing.assert_allclose(fn(A, B), f(A, B), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("level", ["readable", "fast"])
def test_jacobians_of_a_batch(level):
    """Results in C order, and right where arrays are large enough to share memory."""

    def f(x, y):
        return x * (x @ y), y / np.sqrt(x @ x)

    X, Y = np.hstack([A, B, A]), np.hstack([B, A, 2.0 * B])  # too long to be taken apart
    fn = gg.compile(
        gg.vmap(gg.jacobian(f, wrt=(0, 1))), "f64[n,9]", "f64[n,9]",
        options={"optimize": level, "verify": True},
    )  # fmt: skip
    assert "np.einsum(" in text(fn) and fn.check(X, Y).ok
    one = gg.jacobian(f, wrt=(0, 1))
    for k, parts in enumerate(fn(X, Y)):
        for j, part in enumerate(parts):
            assert part.flags.c_contiguous
            np.testing.assert_allclose(part[7], one(X[7], Y[7])[k][j], rtol=1e-12, atol=1e-13)


def test_columns_that_lie_in_another_order():
    """A transpose of a product's factor, and a result that must lie in C order all the same."""
    f = lambda c: np.sum(c.T * c.T, axis=0)
    fn = gg.compile(f, "f64[n,2,3]")
    assert "einsum" in text(fn)
    found = fn(C)
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, f(C), rtol=1e-14)
