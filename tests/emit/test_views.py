"""Emitted NumPy: what NumPy makes a view is not read after a store into its array, nor returned as a result."""

import numpy as np
import pytest

import gradgen as gg

X = np.arange(9.0).reshape(3, 3) / 10.0


def doubles_and_takes_back(X):
    out = X.copy()
    for i in range(X.shape[0]):
        row = out[i].copy()
        out[i] = row * 2.0
        out[i] -= row
    return np.sum(out * X)


def keeps_a_row(X, i):
    out = X.copy()
    row = out[i].copy()
    out[i] = 0.0
    return row, out


def keeps_what_is_cut(X, i):
    out = X.copy()
    row = gg.stop_gradient(out).copy()
    out[i] = 0.0
    return row, out


@pytest.mark.parametrize("optimize", ["lecture", "readable", "fast"])
def test_a_row_at_a_number_known_at_run_time_is_read_before_it_is_written_to(optimize):
    f = gg.value_and_grad(doubles_and_takes_back)
    fn = gg.compile(f, "f64[n,3]", options={"optimize": optimize})
    value, X_bar = fn(X)
    assert value == pytest.approx(np.sum(X * X))
    np.testing.assert_allclose(X_bar, 2.0 * X)


@pytest.mark.parametrize("optimize", ["lecture", "readable", "fast"])
@pytest.mark.parametrize("f", [keeps_a_row, keeps_what_is_cut])
def test_what_was_copied_before_a_store_keeps_its_numbers(f, optimize):
    fn = gg.compile(f, "f64[n,3]", "i64[]", options={"optimize": optimize})
    for found, expected in zip(fn(X, 1), f(X, 1), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_row_that_is_returned_is_no_view_of_the_argument():
    fn = gg.compile(lambda X, i: X[i], "f64[n,3]", "i64[]")
    names = {}
    exec(fn.source, names)
    assert not np.shares_memory(names[fn.name](X, 1), X)


def test_einsum_of_one_operand_may_be_a_view():
    fn = gg.compile(lambda x: np.einsum("ii->i", x) + np.einsum("ij->ji", x)[0], "f64[n,n]")
    np.testing.assert_array_equal(fn(X), np.diagonal(X) + X.T[0])
