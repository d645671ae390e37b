"""Eager arrays that are written into: NumPy's meaning to all who hold them, right gradients, refusals in words."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import gradgen as gg

X = np.array([1.0, 2.0, 3.0])


def in_place(x):
    a = x * 2.0
    b = a
    before = a * a
    a += 1.0
    a *= x
    return np.sum(before * b * b)


def entries_and_slices(x):
    a = x * 2.0
    b = a
    before = a * x
    a[0] = x[1] * 5.0
    a[1:] += x[0]
    a[-1] *= 3.0
    a[[0, 1]] -= 0.5
    return np.sum(before * b * a)


def views_are_written_through(x):
    a = x * 1.5
    part = a[1:]
    part -= 1.0
    again = a[:2]
    again *= x[2]
    return np.sum(a * a) + np.sum(part * again)


def methods_and_out(x):
    a = x * 2.0
    np.add.at(a, [0, 0, 2], x)
    np.multiply(a, x, out=a)
    np.copyto(a, a * 0.5)
    a.sort()
    a[np.array([True, False, True])] = x[1]
    return np.sum(a * a * x)


def whole(x):
    a, b = x * 2.0, x * 3.0
    a[:] = b
    b += 1.0
    a -= x
    return np.sum(a * b)


def new_arrays(x):
    a = x * 2.0
    copies = [a.copy(), a.flatten(), a.astype(float), a**1, +a, np.roll(a, 0), np.concatenate([a])]
    for k, c in enumerate(copies):
        c += float(k)
        a[0] += 0.5
    return sum(np.sum(c * c) for c in copies) + np.sum(a)


def a_sum_over_steps(x):
    state = np.sin(x)
    total = state * 0.0
    for k in range(4):
        state = state * x + float(k)
        total += state
        total[k % 3] *= 0.5
    return np.sum(total * total)


PROGRAMS = [
    in_place, entries_and_slices, views_are_written_through, methods_and_out, whole, new_arrays, a_sum_over_steps,
]  # fmt: skip


@pytest.mark.parametrize("f", PROGRAMS, ids=[f.__name__ for f in PROGRAMS])
def test_writes_mean_what_they_mean_in_numpy(f):
    x = gg.Value(X)
    loss = f(x)
    loss.backward()
    value, grad = gg.value_and_grad(f)(X)
    assert loss.data == pytest.approx(f(X.copy())) == pytest.approx(value)
    np.testing.assert_allclose(x.grad, grad)


def test_all_names_see_a_write():
    x = gg.Value(X)
    a = x * 2.0
    b, held = a, [a]
    a += 1.0
    assert a is b and held[0] is a
    assert np.array_equal(b.data, 2.0 * X + 1.0)
    assert repr(b).startswith("Value(data=[3. 5. 7.]")
    (a * a).sum().backward()
    np.testing.assert_allclose(b.grad, 2.0 * (2.0 * X + 1.0))
    np.testing.assert_allclose(x.grad, 4.0 * (2.0 * X + 1.0))
    for twin in (copy.deepcopy(a), copy.copy(a), pickle.loads(pickle.dumps(a))):
        assert np.array_equal(twin.data, a.data)


def test_a_number_is_rebound():
    a = b = gg.Value(2.0) * 3.0
    a += 1.0
    a *= 2.0
    assert (a.data, b.data) == (14.0, 6.0)


def add(x):
    x += 1.0


def put(x):
    x[0] = 1.0


def add_to_a_slice(x):
    x[1:] += 1.0


def write_into_a_reshaped(x):
    rows = (x * 2.0).reshape(3, 1)
    rows += 1.0


@pytest.mark.parametrize(
    ("write", "got"),
    [
        (add, "one that the user made"),
        (put, "one that the user made"),
        (add_to_a_slice, "one that the user made"),
        (write_into_a_reshaped, "a view of one"),
    ],
)
def test_leaves_and_views_are_not_written_into(write, got):
    x = gg.Value(X)
    with pytest.raises(gg.UnsupportedError, match=f"needs an array that was computed, got {got}"):
        write(x)
    assert np.array_equal(x.data, X)


def test_a_view_that_was_taken_before_a_write():
    a = gg.Value(np.ones((2, 3))) * 2.0
    turned = a.T
    used = turned * 3.0
    a += 1.0
    with pytest.raises(gg.UnsupportedError, match="taken after the last write"):
        turned * 2.0
    used.sum().backward()  # what was computed in time keeps what it read
    a += 1.0
    again = a.T
    assert again.sum().data == 24.0
    a += 1.0
    with pytest.raises(gg.UnsupportedError, match="taken after the last write"):
        again.sum()


@pytest.mark.parametrize(
    ("v", "kind"), [(np.ones((2, 3)), gg.ShapeError), (np.ones((3, 1)), gg.ShapeError)]
)
def test_a_write_that_does_not_fit(v, kind):
    a = gg.Value(X) * 2.0
    with pytest.raises(kind, match="in-place"):
        a += v


def test_a_written_array_is_a_constant_of_a_trace():
    a = gg.Value(X) * 2.0
    a[0] = 7.0
    assert gg.grad(lambda x: np.sum(x * a))(X).tolist() == [7.0, 4.0, 6.0]
