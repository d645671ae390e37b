"""Maps over small arrays by columns: what is taken apart, what is left as it is, and that the numbers are the same."""

from __future__ import annotations

import numpy as np
import pytest

import gradgen as gg

RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(7, 3)), RNG.normal(size=(7, 3))


def turned(r, x):
    """x turned by r (Rodrigues); of a small angle its linear part."""
    square = r @ r
    if square < 1e-6:
        return x + np.cross(r, x)
    angle = np.sqrt(square)
    axis = r / angle
    across = np.cross(axis, x)
    return x * np.cos(angle) + across * np.sin(angle) + axis * (axis @ x) * (1.0 - np.cos(angle))


def body(fn):
    return fn.source.partition("def ")[2].partition('"""')[2].partition("def _")[0]


@pytest.mark.parametrize("level", ["lecture", "readable", "fast"])
@pytest.mark.parametrize("length", ["n", 7])
def test_jacobians_of_items(level, length):
    r = A.copy()
    r[2] *= 1e-5
    fn = gg.compile(
        gg.vmap(gg.jacobian(turned, wrt=(0, 1))), f"f64[{length},3]", f"f64[{length},3]",
        options={"optimize": level, "verify": True},
    )  # fmt: skip
    one = gg.jacobian(turned, wrt=(0, 1))
    for k in range(7):
        for whole, item in zip(fn(r, B), one(r[k], B[k]), strict=True):
            assert whole.flags.c_contiguous and whole.flags.writeable
            np.testing.assert_allclose(whole[k], item, rtol=1e-11, atol=1e-13)
    if length == "n":
        assert [part.shape for part in fn(r[:0], B[:0])] == [(0, 3, 3)] * 2
        assert ("r_0 = r[:, 0]" in body(fn)) == (level != "lecture")


def test_zeros_of_a_result_are_not_computed():
    fn = gg.compile(gg.vmap(gg.jacobian(lambda x: x * x)), "f64[n,3]")
    assert "np.zeros((n, 3, 3))" in body(fn) and body(fn).count("value[:, ") == 3
    np.testing.assert_array_equal(fn(A)[4], np.diag(2.0 * A[4]))


def test_what_the_items_share_is_taken_apart_too():
    def model(X, c):
        return gg.vmap(lambda x: np.cross(c, x) * np.sin(c[0]))(X)

    fn = gg.compile(model, "f64[n,3]", "f64[3]")
    assert "[:, None]" not in body(fn)
    np.testing.assert_allclose(fn(A, B[0]), np.cross(B[0], A) * np.sin(B[0, 0]), rtol=1e-14)
    total = gg.compile(
        gg.grad(lambda X, c: np.sum(model(X, c) ** 2), wrt=(0, 1)), "f64[n,3]", "f64[3]"
    )
    assert total.check(A, B[0]).ok


def test_single_precision_stays_single():
    fn = gg.compile(gg.vmap(gg.jacobian(turned)), "f32[n,3]", "f32[n,3]")
    a, b = A.astype(np.float32), B.astype(np.float32)
    found = fn(a, b)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, gg.vmap(gg.jacobian(turned))(A, B), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("f", "specs"),
    [
        (lambda x: np.sum(x * x), ["f64[n,3]"]),
        (lambda x, M: M @ x, ["f64[n,3]", "f64[n,3,3]"]),
        (lambda x: np.exp(x) / np.sum(np.exp(x)), ["f64[n,40]"]),
    ],
    ids=["sum", "product", "long"],
)
def test_what_is_shorter_over_arrays_stays(f, specs):
    fn = gg.compile(gg.vmap(f), *specs)
    assert "_0 = " not in body(fn) and "[:, 0]" not in body(fn)
    assert fn.check().ok
