"""Matrices that loops read against their rows are copied the other way round before the loop, and only those."""

import re

import numpy as np
import pytest

import gradgen as gg

C = {"target": "c", "options": {"verify": True}}


def chain(W, x, n):
    """W @ x, over and over, as a scan of n steps."""
    return gg.scan(lambda c, _: (np.tanh(W @ c), None), x, np.zeros(n))[0]


def transposed(W, x, drive):
    return gg.scan(lambda c, d: (np.tanh(c @ W.T + d), None), x, drive)[0]


def state(W, x, drive):
    """The weights after a few steps: what changed is a matrix that every step reads."""

    def step(c, d):
        x, W = c
        x = np.tanh(W @ x + d)
        return (x, W + 0.01 * np.outer(x, x)), None

    return gg.scan(step, (x, W), drive)[0][0]


def settled(W, x):
    """A while loop: as long as x is long."""
    return gg.while_loop(lambda c: np.sum(c * c) > 1e-2, lambda c: 0.5 * np.tanh(W @ c), x)


def data(rows, columns, dtype="f64"):
    rng = np.random.default_rng(rows)
    kind = {"f64": np.float64, "f32": np.float32}[dtype]
    return (rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(kind)


def is_turned(fn):
    return "turned[" in fn.source


def of(f, size, *more, dtype="f64", **options):
    specs = (f"{dtype}[{size},{size}]", f"{dtype}[{size}]", *more)
    return gg.compile(f, *specs, **{**C, **options})


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize(("size", "turned"), [(7, False), (8, True), (9, True), (128, True), (129, False)])  # fmt: skip
def test_sizes_at_the_limits(size, turned, dtype):
    f = lambda W, x, drive: np.sum(transposed(W, x, drive))
    fn = of(gg.value_and_grad(f, (0, 1)), size, f"{dtype}[n,{size}]", dtype=dtype)
    assert is_turned(fn) is turned
    W, x = data(size, size, dtype), data(size, 1, dtype)[:, 0]
    tolerance = 1e-11 if dtype == "f64" else 2e-4
    for n in (0, 1, 17):
        drive = np.linspace(-1, 1, n * size).reshape(n, size).astype(W.dtype)
        value, grads = fn(W, x, drive)
        expected, right = gg.value_and_grad(f, (0, 1))(W, x, drive)
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)
        for got, want in zip(grads, right, strict=True):
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("size", "steps", "turned"), [(8, 15, False), (8, 16, True), (64, 16, True), (128, 31, False), (128, 32, True)]
)  # fmt: skip
def test_a_loop_of_few_steps_reads_the_matrix_as_it_is(size, steps, turned):
    fn = of(lambda W, x: chain(W, x, steps), size)
    assert is_turned(fn) is turned
    W, x = data(size, size), data(size, 1)[:, 0]
    np.testing.assert_allclose(fn(W, x), chain(W, x, steps), rtol=1e-12)


def test_a_matrix_that_changes_in_the_loop_is_not_turned():
    fn = of(state, 8, "f64[n,8]")
    assert not is_turned(fn)
    W, x, drive = data(8, 8), data(8, 1)[:, 0], data(20, 8)
    np.testing.assert_allclose(fn(W, x, drive), state(W, x, drive), rtol=1e-12)


def test_a_matrix_read_along_its_rows_is_not_turned():
    along = lambda W, x, drive: gg.scan(lambda c, d: (np.tanh(c @ W + d), None), x, drive)[0]
    fn = of(along, 8, "f64[n,8]")
    assert not is_turned(fn)
    other = lambda W, x, drive: gg.scan(lambda c, d: (np.tanh(W.T @ c + d), None), x, drive)[0]
    assert not is_turned(of(other, 8, "f64[n,8]"))


def test_a_map_reads_the_matrix_as_it_is():
    """Its rows go in blocks whose functions are computed side by side."""
    fn = of(lambda W, x, rows: gg.map(lambda d: np.tanh(W @ d + x), rows), 12, "f64[n,12]")
    assert not is_turned(fn)
    W, x, rows = data(12, 12), data(12, 1)[:, 0], data(9, 12)
    np.testing.assert_allclose(fn(W, x, rows), np.tanh(rows @ W.T + x), rtol=1e-12)


@pytest.mark.parametrize(("size", "turned"), [(12, True), (64, True), (65, False)])
def test_a_while_loop_reads_a_small_turned_matrix_too(size, turned):
    fn = of(settled, size)
    assert is_turned(fn) is turned
    W, x = data(size, size), data(size, 1)[:, 0]
    np.testing.assert_allclose(fn(W, x), settled(W, x), rtol=1e-12)


@pytest.mark.parametrize("product", [lambda W, x: W @ x, lambda W, x: x @ W.T])
def test_one_copy_serves_nested_and_neighbouring_loops(product):
    """Two loops after one another, in a third one: the matrix is turned once, before all of them."""

    def inner(W, x, rows):
        return gg.scan(lambda c, d: (np.tanh(product(W, c) + d), None), x, rows)[0]

    def f(W, x, rows):
        return gg.scan(lambda c, d: (inner(W, np.sin(inner(W, c, rows)), rows) + d, None), x, rows)[0]  # fmt: skip

    fn = of(f, 8, "f64[n,8]")
    assert len(re.findall(r"W_turned\[[^\]]*\] = ", fn.source)) == 1
    assert len(re.findall(r"\* W_turned\[", fn.source)) == 8  # two loops, four steps at once
    assert fn.source.index("W_turned[i * 8 + j] = ") < fn.source.index("i < n")
    W, x, rows = data(8, 8), data(8, 1)[:, 0], data(5, 8)
    np.testing.assert_allclose(fn(W, x, rows), f(W, x, rows), rtol=1e-12)


def test_a_loop_that_reads_columns_of_an_outer_matrix_has_no_copy():
    """W.T @ x in a loop in a loop: where the transpose is made, the inner one does not see."""

    def f(W, x, rows):
        inner = lambda c: gg.scan(lambda a, d: (np.tanh(W.T @ a + d), None), c, rows)[0]
        return gg.scan(lambda c, d: (inner(c) + d, None), x, rows)[0]

    assert not is_turned(of(f, 8, "f64[n,8]"))


def test_what_is_computed_again_reads_a_turned_matrix_too():
    """A checkpointed scan, forward and once more in reverse, for W.T as well as for W."""
    for product in (lambda W, x: W @ x, lambda W, x: x @ W.T):

        def f(W, x, rows, product=product):
            step = lambda c, d: (np.tanh(product(W, c) + d), None)
            return np.sum(gg.scan(step, x, rows, checkpoint=16)[0])

        fn = of(gg.value_and_grad(f, (0, 1)), 8, "f64[64,8]")
        assert len(re.findall(r"\* W_turned\w*\[", fn.source)) == 8
        W, x, rows = data(8, 8), data(8, 1)[:, 0], data(64, 8)
        value, (W_bar, x_bar) = fn(W, x, rows)
        expected, (W_right, x_right) = gg.value_and_grad(f, (0, 1))(W, x, rows)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(W_bar, W_right, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(x_bar, x_right, rtol=1e-10, atol=1e-12)


def test_a_loop_in_a_branch_has_its_copy_there():
    def f(W, x, rows):
        long = lambda W, x: gg.scan(lambda c, d: (np.tanh(W @ c + d), None), x, rows)[0]
        return gg.cond(x[0] > 0, long, lambda W, x: x, W, x)

    fn = of(f, 8, "f64[n,8]")
    assert is_turned(fn)
    W, x, rows = data(8, 8), data(8, 1)[:, 0], data(5, 8)
    for sign in (1, -1):
        np.testing.assert_allclose(fn(W, sign * x, rows), f(W, sign * x, rows), rtol=1e-12)


def test_the_copy_is_in_the_cost_and_the_workspace():
    fn = of(transposed, 32, "f64[n,32]")
    plain = of(transposed, 32, "f64[n,32]", options={"optimize": "readable"})
    assert not is_turned(plain)
    assert fn.cost(n=16).workspace - plain.cost(n=16).workspace == 8 * 32 * 32
    assert fn.cost(n=16).bytes - plain.cost(n=16).bytes >= 2 * 8 * 32 * 32


def test_columns_in_memory_are_the_other_way_round():
    """order="F": W @ x runs along memory, x @ W against it."""
    against = lambda W, x, drive: gg.scan(lambda c, d: (np.tanh(c @ W + d), None), x, drive)[0]
    along = lambda W, x, drive: gg.scan(lambda c, d: (np.tanh(W @ c + d), None), x, drive)[0]
    W, x, drive = data(8, 8), data(8, 1)[:, 0], data(20, 8)
    for f, turned in ((against, True), (along, False)):
        fn = of(f, 8, "f64[n,8]", options={"order": "F"})
        assert is_turned(fn) is turned
        got = fn(np.asfortranarray(W), x, np.asfortranarray(drive))
        np.testing.assert_allclose(got, f(W, x, drive), rtol=1e-12)
