"""`a += v` on arrays that were computed: NumPy's meaning, or a refusal; never a view that keeps the old numbers."""

import numpy as np
import pytest

import gradgen as gg

X = np.arange(9.0).reshape(3, 3) / 10.0


def agrees(f, spec="f64[n,3]", x=X):
    for target in ("numpy", "c"):
        fn = gg.compile(gg.value_and_grad(f), spec, target=target)
        assert fn(x)[0] == pytest.approx(f(x.copy()))
        assert fn.check()


# -- what has NumPy's meaning
def sums_rows(X):
    total = X[0] * 2.0
    for row in X:
        total += row
    return np.sum(total**2)


def two_arrays(X):
    a, b = X * 1.0, X + 1.0
    for _ in range(X.shape[0]):
        a += b
        b *= 0.5
    return np.sum(a * b)


def nested(X):
    y = X * 2.0
    for i in range(X.shape[0]):
        for j in range(3):
            y -= X[i, j]
        y *= 0.9
    return np.sum(y * X)


def in_both_branches(X):
    y = X * 2.0
    if np.sum(X) > 0.0:
        y += 1.0
    else:
        y -= 1.0
    y *= 2.0
    return np.sum(y * X)


def in_one_branch_of_a_loop(X):
    h = X[0] * 1.0
    for x in X:
        if np.sum(x) > 0.5:
            h += x
        else:
            h *= 0.5
    return np.sum(h)


def until_it_is_small(X):
    y = X * 2.0
    while np.sum(y) > 0.5:
        y *= 0.5
    return np.sum(y * X)


def rows_of_two_steps(X):
    H, V = np.zeros((X.shape[0] + 1, 3)), np.zeros((X.shape[0] + 1, 3))
    for i in range(X.shape[0]):
        x, v = H[i], V[i]
        V[i + 1] = v + 0.1 * X[i] - x
        H[i + 1] = x + 0.1 * V[i + 1]
        V[i + 1] = V[i + 1] + x * v
    return np.sum(H**2) + np.sum(V)


def second_name(X):
    y = X * 2.0
    z = y
    y += 1.0
    return np.sum(z * X)


def in_a_list(X):
    y = X * 2.0
    kept = [y]
    y *= X
    return np.sum(kept[0])


def adds_one(v):
    v += 1.0


def in_a_function(X):
    y = X * 2.0
    adds_one(y)
    return np.sum(y)


def second_name_and_a_branch(X):
    y = X * 2.0
    z = y
    if np.sum(X) > 0.0:
        y += 1.0
    return np.sum(z)


def second_name_and_a_loop(X):
    y = X * 2.0
    z = y
    for _ in range(X.shape[0]):
        y += 1.0
    return np.sum(z)


def view_before(X):
    y = X * 2.0
    z = y[1:]
    y += 1.0
    return np.sum(z)


def through_a_view(X):
    y = X * 2.0
    z = y[1:]
    z += 1.0
    return np.sum(y)


@pytest.mark.parametrize(
    "f",
    [sums_rows, two_arrays, nested, in_both_branches, in_one_branch_of_a_loop, until_it_is_small, rows_of_two_steps,
     second_name, in_a_list, in_a_function, second_name_and_a_branch, second_name_and_a_loop, view_before, through_a_view],
)  # fmt: skip
def test_arrays_are_updated_in_place_in_loops_and_branches(f):
    agrees(f)


def test_the_array_keeps_its_dtype():
    def f(x):
        y = x.astype(np.float32) * np.float32(2.0)
        y += x
        return y

    found = gg.compile(f, "f64[n]")(X[0])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, f(X[0]))


# -- what is refused
def through_what_may_be_a_copy(X):
    y = X.T * 2.0
    z = y.ravel()
    z += 1.0
    return np.sum(y)


def view_and_a_write_in_a_branch(X):
    out = X.copy()
    z = out.T
    if np.sum(X) > 0.0:
        out[0] = 1.0
    return np.sum(z)


def row_at_a_number(X):
    y = X * 2.0
    for i in range(X.shape[0]):
        row = y[i]
        row += 1.0
    return np.sum(y)


def row_of_its_own_array(X):
    out = np.zeros((3, 3))
    for i in range(X.shape[0]):
        row = out[i]
        row += X[i]
    return np.sum(out)


def row_read_after_it_was_written(X):
    out, total = X.copy(), 0.0
    for i in range(X.shape[0]):
        row = out[i]
        out[i] = row * 2.0
        total += np.sum(row)
    return total


@pytest.mark.parametrize(
    "f",
    [through_what_may_be_a_copy, view_and_a_write_in_a_branch, row_read_after_it_was_written],
)  # fmt: skip
def test_a_view_is_not_read_after_the_write(f):
    with pytest.raises(gg.UnsupportedError, match=r"a view(.|\n)*test_in_place.py(.|\n)*copy"):
        gg.compile(f, "f64[n,3]")


def loops_over_a_function(X):
    y = X * 2.0
    for _ in range(X.shape[0]):
        adds_one(y)
    return np.sum(y)


@pytest.mark.parametrize("f", [loops_over_a_function, row_at_a_number, row_of_its_own_array])
def test_a_loop_does_not_write_into_an_array_under_another_name(f):
    with pytest.raises(gg.UnsupportedError, match="made outside of it"):
        gg.compile(f, "f64[n,3]")


def slice_of_an_argument(x):
    y = x[1:]
    y += 1.0
    return np.sum(x)


def argument_in_a_loop(x):
    y = x
    for _ in range(len(x)):
        y += 1.0
    return np.sum(y)


@pytest.mark.parametrize("f", [slice_of_an_argument, argument_in_a_loop])
def test_an_argument_is_not_changed_through_another_name(f):
    with pytest.raises(gg.UnsupportedError, match=r"argument(.|\n)*y = y \+ \.\.\."):
        gg.compile(f, "f64[n]")


def test_a_result_that_does_not_fit_is_refused_as_numpy_does():
    def broadcasts(x):
        y = x[:1] * 2.0
        y += x
        return y

    def widens(x, k):
        m = k * 2
        m += x
        return m

    with pytest.raises(gg.ShapeError, match=r"shape of y, f64\[1\], got f64\[3\]"):
        gg.compile(broadcasts, "f64[3]")
    with pytest.raises(gg.SpecError, match=r"fits m, i64\[3\], got f64\[3\]"):
        gg.compile(widens, "f64[3]", "i64[3]")
