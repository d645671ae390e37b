"""Arrays made inside a function are copied, aliased and viewed as NumPy does it, or the difference is refused."""

from __future__ import annotations

import numpy as np
import pytest
from compilers import ARRAY_TARGETS, C

import gradgen as gg

POINT = np.array([1.0, 2.0, 3.0, 4.0])

COPIES = {
    "np.array": lambda a: np.array(a),
    "np.array with dtype": lambda a: np.array(a, dtype=float),
    "plus": lambda a: +a,
    "power one": lambda a: a**1,
    "astype": lambda a: a.astype(float),
    "copy": lambda a: a.copy(),
    "np.copy": lambda a: np.copy(a),
    "flatten": lambda a: a.flatten(),
    "product": lambda a: a * 1.0,
    "row of ones": lambda a: np.sum(a[None], axis=0),
    "roll": lambda a: np.roll(a, 0),
    "concatenate": lambda a: np.concatenate([a]),
    "hstack": lambda a: np.hstack([a]),
    "vstack": lambda a: np.vstack([a])[0],
    "block": lambda a: np.block([a]),
    "tile": lambda a: np.tile(a, 1),
    "repeat": lambda a: np.repeat(a, 1),
    "pad": lambda a: np.pad(a, 0),
    "resize": lambda a: np.resize(a, 4),
    "conj": lambda a: np.conj(a),
    "where": lambda a: np.where(True, a, 0.0),
    "gather": lambda a: a[np.arange(4)],
}
ALIASES = {
    "name": lambda a: a,
    "asarray": lambda a: np.asarray(a, dtype=float),
    "whole slice": lambda a: a[...],
    "transpose of a vector": lambda a: a.T,
    "ravel of a vector": lambda a: a.ravel(),
    "reshape to the same shape": lambda a: np.reshape(a, 4),
    "split in one": lambda a: np.split(a, 1)[0],
}
SLICES = {"slice": lambda a: a[1:], "reversed": lambda a: a[::-1]}
VIEWS = {
    "reshape": lambda a: a.reshape(2, 2),
    "np.reshape": lambda a: np.reshape(a, (4, 1)),
    "new axis": lambda a: a[None],
    "squeeze": lambda a: a[None].squeeze(),
    "row of a reshape": lambda a: a.reshape(2, 2)[0],
    "reshape of a slice": lambda a: a[:2].reshape(2, 1),
    "broadcast": lambda a: np.broadcast_to(a, (3, 4)),
    "diagonal": lambda a: np.diagonal(a.reshape(2, 2)),
}
ARRAYS = {"copied": lambda x: x.copy(), "computed": lambda x: 3.0 * x}


def written_after(make, array):
    """The array is written to after something was made of it, which is then read."""

    def f(x):
        a = array(x)
        b = make(a)
        a[0] = 10.0 * x[1]
        return np.sum(b * b) + 0.5 * np.sum(a)

    return f


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("name", [*COPIES, "sum", *ALIASES, *SLICES])
def test_sums_after_a_write_are_those_of_numpy_to_the_bit(name, target):
    def f(x):
        a = x.copy()
        b = {**COPIES, "sum": np.sum, **ALIASES, **SLICES}[name](a)
        a[0] = 10.0 * x[1]
        return np.sum(b) + 0.5 * np.sum(a)

    value, gradient = gg.compile(gg.value_and_grad(f), "f64[4]", target=target)(POINT)
    assert value == f(POINT)
    step = 1e-6
    slopes = [(f(POINT + step * e) - f(POINT - step * e)) / (2 * step) for e in np.eye(4)]
    np.testing.assert_allclose(gradient, slopes, atol=1e-8)


def written_in_turn(make, array):
    """What was made of the array is written to, then the array is read."""

    def f(x):
        a = array(x)
        b = make(a)
        b *= x[1]
        b[0] = 10.0 * x[2]
        return np.sum(b * b) + np.sum(a * a)

    return f


def check(f, target, spec="f64[4]", point=POINT):
    """Value and gradient are those of the plain function."""
    value, gradient = gg.compile(gg.value_and_grad(f), spec, target=target)(point)
    np.testing.assert_allclose(value, f(point.copy()), rtol=1e-12)
    step = 1e-5
    slopes = [(f(point + step * e) - f(point - step * e)) / (2 * step) for e in np.eye(len(point))]
    np.testing.assert_allclose(gradient, slopes, atol=1e-8 * max(1.0, abs(value)))


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("name", [*COPIES, *ALIASES])
@pytest.mark.parametrize("order", [written_after, written_in_turn])
def test_copies_keep_and_aliases_follow_a_later_write(order, name, array):
    check(order({**COPIES, **ALIASES}[name], ARRAYS[array]), "numpy")


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("order", [written_after, written_in_turn])
def test_slices_follow_writes_to_the_array_and_reach_it(order, name, array, target):
    check(order(SLICES[name], ARRAYS[array]), target)


def refused_after_the_write(f):
    with pytest.raises(gg.UnsupportedError, match="taken after the last write") as caught:
        gg.compile(gg.value_and_grad(f), "f64[4]")
    assert "test_assignment.py" in str(caught.value)
    assert ".copy()" in str(caught.value)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_read_after_a_write_to_its_array_is_refused(name):
    refused_after_the_write(written_after(VIEWS[name], ARRAYS["copied"]))


@pytest.mark.parametrize("name", ["reshape of a slice", "broadcast", "diagonal"])
def test_a_view_that_is_not_written_through_is_refused_after_a_write(name):
    refused_after_the_write(written_after(VIEWS[name], ARRAYS["computed"]))


def reshaped_and_read(x):
    a = 3.0 * x
    b, c = a.reshape(2, 2), a[None]
    a[1] = x[0] * x[2]
    c[0, 3] = x[1] ** 2
    return np.sum(b @ b) + np.sum(a * x)


# -- writes through views that show all of an array
WEIGHTS = np.arange(1.0, 5.0).reshape(2, 2)


def flat_elements(x):
    out = np.zeros((2, 2))
    for k in range(4):
        out.flat[k] = x[k] ** 2
    out.flat[-1] *= x[0]
    return np.sum(out * WEIGHTS)


def flat_whole(x):
    out, less = np.zeros((2, 2)), np.zeros((2, 2))
    out.flat = x * x
    less.flat = x[0]
    less.T.flat = x[1] * less
    return np.sum(out * WEIGHTS) + np.sum(less * out)


def flat_repeated(x):
    out = np.zeros((3, 2))
    out.flat = x
    return np.sum(out**2)


def transposed(x):
    out = np.outer(x, x)
    out.T[0, 1] = x[2] ** 3
    out.T[1] += x
    out.swapaxes(0, 1)[2:, 3] = x[:2]
    np.moveaxis(out, 0, 1)[:2, :2] = x[:2] * WEIGHTS
    return np.sum(out**2)


def raveled(x):
    out = np.outer(x, x)
    np.ravel(out)[6] = x[0]
    out.reshape(-1)[1:3] = x[2] * x[:2]
    out.T[2:].T[1, 0] = x[3]
    return np.sum(out**2)


def view_of_a_view(x):
    out = np.zeros((2, 2, 3))
    a = out[1].T
    b = out.reshape(4, 3)
    b[1] = x[1:]
    a[0, 1] = x[0]
    a *= x[2]
    return np.sum(out**2) + np.sum(a[0] * x[:2])


def one_after_another(x):
    out = np.zeros((2, 2))
    o = out.T
    o[0, 1] = x[0] ** 2
    total = np.sum(out * WEIGHTS)
    out[1, 1] = x[1]
    return total + np.sum(o * WEIGHTS * x[2])


def copies_are_not_written_through(x):
    out = np.outer(x, x)
    out.flatten()[1] = 7.0
    out.T.copy()[0] = 7.0
    return np.sum(out)


@pytest.mark.parametrize("target", ["numpy", "python", C])
@pytest.mark.parametrize(
    "f",
    [reshaped_and_read, flat_elements, flat_whole, flat_repeated, transposed, raveled, view_of_a_view, one_after_another,
     copies_are_not_written_through],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_a_write_through_a_view_of_the_whole_reaches_the_array(f, target):
    check(f, target)


def flat_in_a_loop(x):
    n = x.shape[0]
    out = np.zeros((n, 2, n))
    for k in range(n):
        out.flat[2 * k] = x[k] ** 2
        np.ravel(out)[-k - 1] = x[k]
    return np.sum(out[0] @ x) + np.sum(out**2)


def transposed_in_a_loop(x):
    n = x.shape[0]
    out = np.zeros((n, n))
    for k in range(n):
        out.T[k] = x[k] * x
        out.T[0, k] += x[k]
    return np.sum(out @ x)


def flat_in_a_branch(x):
    out = np.tile(x, (2, 1))
    if x[0] > 0:
        out.T[0, 1] = x[2] ** 2
    else:
        out.flat = x[1]
    return np.sum(out**2)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize(
    "f", [flat_in_a_loop, transposed_in_a_loop, flat_in_a_branch], ids=lambda f: f.__name__
)
def test_loops_and_branches_write_through_views(f, target):
    check(f, target, "f64[n]")
    check(f, target, "f64[n]", -POINT)


def test_an_element_of_a_flat_view_is_stored_without_a_copy_of_the_array():
    def f(x):
        n = x.shape[0]
        out = np.zeros((n, n))
        for k in range(n):
            out.flat[k] = x[k]
        return out

    assert "out[i // n, i % n] = x[i]" in gg.compile(f, "f64[n]").source


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_an_element_at_a_number_and_a_traced_number_is_stored_without_a_copy(target):
    def f(x):
        n = x.shape[0]
        out = np.zeros((n, 2, n))
        for k in range(n):
            out[k, 1, 0] = x[k] ** 2
            out[0, 0, k] = x[k]
            out[-1, 1, k] *= 3.0
        return np.sum(out[0] @ x) + np.sum(out**3)

    source = gg.compile(f, "f64[n]").source
    assert all(f"out[{at}] = " in source for at in ("i, 1, 0", "0, 0, i", "-1, 1, i"))
    check(f, target, "f64[n]")


def test_what_numpy_copies_is_not_taken_for_a_view():
    """NumPy lays `2 * x.T` as it lays `x.T`: its ravel() is a copy, and the write is lost."""

    def f(x):
        y = 2.0 * x.T
        y.ravel()[1] = 5.0
        return np.sum(y)

    with pytest.raises(gg.UnsupportedError, match="taken after the last write") as caught:
        gg.compile(f, "f64[2,3]")
    assert "np.sum(y)" in str(caught.value)
    assert "a[i // m, i % m] = v" in str(caught.value)


def test_a_view_of_the_argument_survives_writes_to_its_copy():
    def f(x):
        out = x.copy()
        square = x.reshape(2, 2)
        out[0] = x[1]
        return np.sum(square @ square) + np.sum(out)

    assert gg.compile(gg.value_and_grad(f), "f64[4]")(POINT)[0] == f(POINT)


# -- programs that write into arrays that they have computed
class Box:
    pass


def number_of_names(x):
    y = 2.0 * x
    z = y
    y += 1.0
    return np.sum(z * y)


def in_a_helper(x):
    def bump(a):
        a += x
        a[0] = 5.0

    y = np.sin(x)
    bump(y)
    return np.sum(y * x)


def returned_by_a_helper(x):
    def relu(a):
        a[a < 2] = 0.0
        return a

    y = x * 1.5
    z = relu(y)
    return np.sum(y + z * z)


def in_a_list(x):
    held = [2.0 * x, {"w": np.exp(x)}]
    first = held[0]
    held[0] += x
    held[1]["w"][1] = 4.0
    held[1]["w"] *= x
    return np.sum(first**2) + np.sum(held[1]["w"])


def in_an_object(x):
    box = Box()
    box.y = np.exp(x)
    seen = box.y
    box.y[0] = 1.0
    box.y += x
    box.total = 0.0
    box.total += np.sum(x)
    return np.sum(seen * box.y) + box.total


def of_two_axes(x):
    A = np.outer(x, x)
    A[0, 1] = 7.0
    A[1] *= 2.0
    A[:, 2] -= x
    return np.sum(A @ x)


def of_a_transpose(x):
    B = (np.outer(x, x) @ np.outer(x, x)).T
    B[0] = x
    return np.sum(B * np.outer(x, x))


def through_functions(x):
    y = np.sin(x)
    np.add.at(y, [0, 0, 1], x[:3])
    np.multiply(y, 2.0, out=y)
    np.copyto(y, y + x, where=x > 2.5)
    y.sort()
    return np.sum(y * np.arange(1.0, x.shape[0] + 1))


def exchanged(x):
    y = x * 2.0
    y[0], y[1] = y[1], y[0]
    return np.sum(y * x)


def bound_anew(x):
    a = x * 1.0
    b = a
    a = a + 1.0
    a += 1.0
    return np.sum(a * b)


def accumulated(x):
    y = x / 2.0
    for i in range(1, x.shape[0]):
        y[i] += 0.5 * y[i - 1]
    return np.sum(y**2)


def added_in_a_loop(x):
    y = 2.0 * x
    z = y
    for v in x:
        y += v * x
        z *= 1.1
    return np.sum(y * z)


def bound_anew_in_a_loop(x):
    y = x.copy()
    z = y
    for i in range(x.shape[0]):
        y = y * 1.5
        y[0] = i + x[1]
    return np.sum(y) + np.sum(z * z)


def bound_anew_in_a_while(x):
    y = np.zeros_like(x)
    z = y
    while np.sum(y) < 25.0:
        y = y + x
    return np.sum(y * y) + np.sum(z)


def written_in_a_branch(x):
    y = 2.0 * x
    z = y
    if x[0] > 0:
        y += 1.0
    else:
        z *= 3.0
    return np.sum(y * z)


def written_or_bound_anew(x):
    y = x.copy()
    z = y
    if x[0] > 9:
        y[0] = 5.0
    else:
        y = 2.0 * x
    return np.sum(y * y) + np.sum(z)


def written_or_bound_anew_else(x):
    y = x.copy()
    z = y
    if x[0] < 9:
        y[0] = 5.0
    else:
        y = 2.0 * x
    return np.sum(y * y * x) + np.sum(z)


def returned_from_a_branch(x):
    def inner(x):
        y = x * x
        if x[0] > 0:
            y[0] = 5.0 * x[3]
            return y
        return y * 2.0

    return np.sum(inner(x) * x)


def slices_of_slices(x):
    y = 2.0 * x
    z = y[1:]
    w = z[::-1]
    z *= x[1:]
    y[2] = 5.0
    w[0] = 7.0 * x[0]
    return np.sum(z * w) + np.sum(y * y)


def rows_and_columns(x):
    A = np.outer(x, x)
    row, column, first = A[1], A[:, 2], A[0, 0]
    A[1, 2] = 3.0 * x[3]
    row += 1.0
    column *= x
    return np.sum(A * A) + np.sum(row * column) + first


def heads_and_tails(x):
    n = x.shape[0]
    y = np.exp(x)
    head, tail = y[: n - 1], y[1:]
    for i in range(n - 1):
        y[i + 1] += 0.1 * y[i]
    return np.sum(head * tail)


def steps_of_a_network(x):
    h = x / 3.0
    for _ in range(3):
        h = np.tanh(h)
        h += x
        h[h < 0.2] = 0.0
    return np.sum(h)


PROGRAMS = (
    number_of_names, in_a_helper, returned_by_a_helper, in_a_list, in_an_object, of_two_axes, of_a_transpose, through_functions,
    exchanged, bound_anew, accumulated, added_in_a_loop, bound_anew_in_a_loop, bound_anew_in_a_while, written_in_a_branch,
    written_or_bound_anew, written_or_bound_anew_else, returned_from_a_branch, slices_of_slices, rows_and_columns,
    heads_and_tails, steps_of_a_network,
)  # fmt: skip


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("spec", ["f64[4]", "f64[n]"])
@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_programs_that_write_into_computed_arrays(f, spec, target):
    check(f, target, spec)


def test_writing_and_binding_anew_beside_an_alias_is_refused():
    def f(x):
        y = x.copy()
        z = y
        for _ in range(x.shape[0]):
            y[0] = 2.0
            y = y * x
            z = z
        return np.sum(y) + np.sum(z)

    with pytest.raises(gg.UnsupportedError, match="binds the name anew, while z is the same array"):
        gg.compile(f, "f64[n]")


def writes_into_a_view_of_the_argument(x):
    row = x[1:]
    row[0] = 2.0
    return np.sum(x)


def adds_to_a_view_of_the_argument(x):
    turned = x.T
    turned += 2.0
    return np.sum(x)


@pytest.mark.parametrize(
    "f",
    [writes_into_a_view_of_the_argument, adds_to_a_view_of_the_argument],
    ids=lambda f: f.__name__,
)
def test_a_view_of_an_argument_is_not_written_into(f):
    with pytest.raises(gg.UnsupportedError, match="argument") as caught:
        gg.compile(f, "f64[n]")
    assert "copy" in str(caught.value)


# -- arrays that are made of plain numbers
TABLE = np.array([[1.0, 2.0], [3.0, 4.0]])


def rotation(x):
    R = np.eye(3)
    c, s = np.cos(x[0]), np.sin(x[0])
    R[:2, :2] = np.array([[c, -s], [s, c]])
    R[2, 2] *= x[1]
    return np.sum(R @ x[1:])


def from_numbers(x):
    a = np.array([1.0, 2.0, 3.0])
    a[1] = x[0] * x[1]
    b = np.linspace(0.0, 1.0, 4)
    b += x
    c = np.arange(4.0)
    for k in range(2):
        c[k] -= x[k] ** 2
    return np.sum(a**2) + np.sum(b**3) + c @ x


def from_a_table(x):
    A = TABLE.copy()
    A[0] = x[:2]
    B = 2.0 * TABLE
    B[:, 1] *= x[3]
    np.add.at(B, (0, 0), x[2])
    return np.sum(A @ B)


def in_a_branch(x):
    A = np.identity(2)
    if x[0] > 0.0:
        A[0, 1] = x[1]
    else:
        A[1, 0] = x[2]
    return np.sum(A @ A @ x[:2])


def through_helpers(x):
    """What is stored was computed from an argument by way of a list, a loop and a nested function."""
    parts, total = [], 0.0
    for v in x:
        parts.append(v * v)
        total += v
    A, B = np.eye(2), np.eye(2)
    B = 3.0 * B

    def fill(at):
        A[at, 0] = parts[0] + parts[at]

    fill(1)
    B[0] = total
    C = np.arange(2.0)
    C[1] = np.ones(2)[0]
    return np.sum(A @ B @ C)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("f", [rotation, from_numbers, from_a_table, in_a_branch, through_helpers])
def test_arrays_of_plain_numbers_take_traced_ones(f, target):
    value, slope = gg.compile(gg.value_and_grad(f), "f64[4]", target=target)(POINT)
    assert value == pytest.approx(f(POINT), rel=1e-14)
    h = 1e-5
    steps = [(f(POINT + h * e) - f(POINT - h * e)) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(slope, steps, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(TABLE, [[1.0, 2.0], [3.0, 4.0]])


def stays_plain(x):
    """Nothing that may be traced is stored: the numbers are known while the function is traced."""
    n, factor = np.arange(3.0), 2.0
    m = 1.0 + n
    for k in range(3):
        n[k] = m[k] * factor
    n *= factor
    return np.sum(x) * float(n[0]) / int(n.max())


def test_arrays_of_numbers_known_while_tracing_stay_plain():
    np.testing.assert_array_equal(gg.grad(stays_plain)(POINT), np.full(4, 4.0 / 12.0))


def through_a_view(x):
    A = TABLE.reshape(4)
    A[0] = x[0]
    return np.sum(A)


def through_asarray(x):
    A = np.asarray(TABLE)
    A[0, 0] = x[0]
    return np.sum(A)


@pytest.mark.parametrize("f", [through_a_view, through_asarray])
def test_what_shares_memory_with_an_array_of_outside_is_refused(f):
    with pytest.raises(gg.UnsupportedError, match="plain NumPy array"):
        gg.grad(f)(POINT)


@pytest.mark.parametrize("add", [np.add.at, np.subtract.at])
@pytest.mark.parametrize("spec", ["f64[n]", "f64[2]", "f64[2,3]"])
def test_what_does_not_fit_its_indices_is_refused_where_it_is_added(add, spec):
    def f(x):
        out = np.zeros(3)
        add(out, [0, 1, 1], x)
        return np.sum(out)

    with pytest.raises(gg.ShapeError, match=r"test_assignment\.py:\d+: add\(out"):
        gg.compile(f, spec)
    assert gg.compile(gg.grad(f), "f64[1]")(np.ones(1)) in (3.0, -3.0)


def diagonal_written(x):
    out = np.zeros((3, 3)) * x
    np.diagonal(out)[1] = x
    return np.sum(out)


def diagonal_added_to(x):
    d = np.diag(x * np.ones((3, 3)))
    d += 1.0
    return np.sum(d)


def diagonal_read_after_a_write(x):
    out = np.zeros((3, 3)) * x
    d = np.diagonal(out)
    out[0, 0] = x
    return np.sum(d)


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (diagonal_written, "a diagonal, which NumPy only shows"),
        (diagonal_added_to, "a diagonal, which NumPy only shows"),
        (diagonal_read_after_a_write, "taken after the last write"),
    ],
)
def test_diagonals_are_views_that_are_not_written(f, said):
    with pytest.raises(gg.UnsupportedError, match=said):
        gg.compile(f, "f64[]")


def test_a_copied_diagonal_is_an_array_of_its_own():
    def f(x):
        out = np.zeros((3, 3)) * x
        d = np.diagonal(out).copy()
        d[1] = x
        out[0, 0] = 5.0 * x
        return np.sum(d) + np.sum(out) + np.trace(out) + np.sum(np.diagonal(out))

    assert gg.compile(f, "f64[]")(2.0) == f(2.0)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_a_copy_of_a_copy_is_an_array_of_its_own(target):
    def f(x):
        a = x.copy()
        b = a.copy()
        c, d = b.copy(), b.flatten()
        kept = c.copy() * 2.0
        b[0] = 5.0
        c[1] = 7.0
        d[2] = 9.0
        return a + 10.0 * b + 100.0 * c + 1000.0 * d + kept

    np.testing.assert_allclose(gg.compile(f, "f64[4]", target=target)(POINT), f(POINT), rtol=1e-12)
