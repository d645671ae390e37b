"""Scans that keep some of their states for reverse mode, by blocks of steps or as snapshots on a binomial schedule: the same
derivatives as with all of them kept, in little memory."""

import re
from math import comb

import numpy as np
import pytest
from compilers import needs_c
from test_regions import W, X, same

import gradgen as gg

RNG = np.random.default_rng(1)
ROWS, WEIGHTS, START = RNG.normal(size=(11, 3)), 0.4 * RNG.normal(size=(3, 3)), RNG.normal(size=3)


# -- blocks of steps
def test_a_checkpointed_scan_keeps_one_carry_a_block():
    def f(x, w):
        return gg.scan(lambda h, v: (np.tanh(w * h + v), None), 0.1, x, checkpoint=100)[0]

    fn = gg.compile(gg.value_and_grad(f, (0, 1)), x="f64[10000]", w="f64[]")
    forward, reverse = fn.source.split("# reverse")
    assert "np.empty(101)" in forward and "np.empty(10001" not in fn.source
    assert "np.empty(101)" in reverse


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("reverse", [False, True])
def test_checkpoints_of_a_scan_of_symbolic_length(target, reverse):
    """Blocks of three steps, or of about the square root of n, and what is left of n steps."""

    def f(x, w, every):
        h, ys = gg.scan(
            lambda h, v: (np.tanh(w * h + v), h * v), 0.1, x, reverse=reverse, checkpoint=every
        )
        return h + np.sum(ys * x)

    fns = [
        gg.compile(
            gg.value_and_grad(lambda x, w, every=every: f(x, w, every), (0, 1)),
            "f64[n]", "f64[]", target=target,
        )
        for every in (None, 3, "sqrt")
    ]  # fmt: skip
    longer = np.resize(X, 26)
    for n in (0, 1, 2, 3, 4, 5, 8, 9, 10, 24, 25, 26):
        expected, gradient = fns[0](longer[:n], W)
        for fn in fns[1:]:
            value, bars = fn(longer[:n], W)
            assert value == pytest.approx(expected, rel=1e-14)
            same(bars, gradient, 1e-13)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_a_scan_over_what_is_left_of_an_argument(target):
    """Items of a slice that begins at a symbolic size, read where they lie."""

    def f(w, x):
        h, ys = gg.scan(lambda h, v: (np.tanh(w * h + v), h * h), 0.5 * w, x, checkpoint=3)
        return np.sum(ys) + h

    fn = gg.compile(gg.value_and_grad(f, (0, 1)), "f64[]", "f64[n]", target=target)
    for n in (0, 1, 3, 5):
        value, bars = fn(W, X[:n])
        expected, gradient = gg.value_and_grad(f, (0, 1))(W, X[:n])
        assert value == pytest.approx(expected, rel=1e-14)
        same(bars, gradient, 1e-13)


@needs_c
@pytest.mark.parametrize("math", ["strict", "default"])
def test_the_memory_of_a_checkpointed_scan(math):
    """T = 10,000 steps: the states of about 2 sqrt(T) of them are held, not of T; the results are the same.

    To the bit where products are not fused with additions; by default that is the compiler's choice, loop by loop.
    """
    steps, wide = 10_000, 8
    rng = np.random.default_rng(0)
    x, A = rng.normal(size=(steps, wide)), 0.3 * rng.normal(size=(wide, wide))

    def loss(x, A, every):
        step = lambda h, v: (np.tanh(A @ h + v), None)
        return np.sum(gg.scan(step, np.zeros(wide), x, checkpoint=every)[0] ** 2)

    found, held = [], []
    for every in (None, "sqrt"):
        f = lambda x, A, every=every: loss(x, A, every)
        fn = gg.compile(gg.value_and_grad(f, (0, 1)), x, A, target="c", options={"math": math})
        held.append(fn.cost().workspace)
        found.append(fn(x, A))
    one = 8 * wide
    any_length = gg.compile(
        gg.value_and_grad(lambda x, A: loss(x, A, "sqrt"), 1), "f64[n,8]", A, target="c"
    )
    held.append(any_length.cost(n=steps).workspace)
    assert held[0] >= steps * one
    assert max(held[1:]) <= 4.2 * np.sqrt(steps) * one
    np.testing.assert_allclose(any_length(x, A)[0], found[0][0], rtol=1e-14)
    (value, bars), (expected, gradient) = found
    if math == "strict":
        assert value == expected
        for a, b in zip(bars, gradient, strict=True):
            np.testing.assert_array_equal(a, b)
    else:
        np.testing.assert_allclose(value, expected, rtol=1e-14)
        for a, b in zip(bars, gradient, strict=True):
            np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-14 * np.max(np.abs(b)))


@needs_c
@pytest.mark.parametrize("steps", [0, 1, 9, 10, 11, 137])
def test_a_checkpointed_scan_keeps_a_state_a_block_and_no_copy_of_its_items(steps):
    """The tape of C: one state for each block and those within one, whatever the weights; items are read where they are."""

    def last(checkpoint, wrt):
        def f(h, W, X):
            step = lambda h, x: (np.tanh(W @ h + x), None)
            h, _ = gg.scan(step, h, X, checkpoint=checkpoint)
            return np.sum(h * h)

        return gg.compile(gg.value_and_grad(f, wrt), "f64[4]", "f64[4,4]", "f64[T,4]", target="c")

    for T in (1_000, 10_000):
        assert last(10, (0, 1)).cost(T=T).workspace < 8 * 4 * (T // 10 + 100) + 1000
        assert last(None, (0, 1)).cost(T=T).workspace > 8 * 4 * T
    fn, plain = last(10, (0, 1, 2)), last(None, (0, 1, 2))
    rng = np.random.default_rng(steps)
    args = rng.normal(size=4), rng.normal(size=(4, 4)) / 2, rng.normal(size=(steps, 4))
    found, expected = fn(*args), plain(*args)
    assert found[0] == expected[0]
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


# -- snapshots
def program(checkpoint, reverse):
    """Carries of three kinds, one of them an integer; two results a step; weights from outside."""

    def f(w, h, x):
        def body(carry, v):
            h, s, k = carry
            h = np.tanh(w @ h + v) * (1.0 + 0.01 * k)
            s = s * 0.9 + np.sum(h * h)
            return (h, s, k + 1), (h[0] * s, s)

        (h, s, k), (a, b) = gg.scan(body, (h, 0.5, 0), x, reverse=reverse, checkpoint=checkpoint)
        return np.sum(h) + s * 2.0 + np.sum(a * b) + 0.1 * k

    return f


MODES = {
    "value_and_grad": (lambda f: gg.value_and_grad(f, (0, 1, 2)), ()),
    "jvp": (lambda f: gg.jvp(f, 1), ("f64[3]",)),
    "hvp": (lambda f: gg.hvp(f, 1), ("f64[3]",)),
    "hessian": (lambda f: gg.hessian(f, 1), ()),
    "reverse of reverse": (
        lambda f: gg.grad(lambda w, h, x: np.sum(gg.grad(f, 1)(w, h, x) ** 2), 0),
        (),
    ),
}


def leaves(found):
    return (
        [leaf for part in found for leaf in leaves(part)] if isinstance(found, tuple) else [found]
    )


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_derivatives_are_those_of_a_scan_that_keeps_all_states(mode, reverse, target):
    derive, more = MODES[mode]
    specs = ("f64[3,3]", "f64[3]", "f64[n,3]", *more)
    some, every = (
        gg.compile(derive(program(checkpoint, reverse)), *specs, target=target)
        for checkpoint in ("binomial", None)
    )
    for n in (0, 1, 2, 3, 7, 11):
        args = (WEIGHTS, START, ROWS[:n], *[np.array([1.0, 0.5, -2.0]) for _ in more])
        for a, b in zip(leaves(some(*args)), leaves(every(*args)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_a_batch_of_scans():
    f = lambda checkpoint: gg.vmap(gg.grad(program(checkpoint, False), 1), in_axes=(None, 0, None))
    many = np.stack([START, 0.5 * START, -START])
    specs = ("f64[3,3]", "f64[b,3]", "f64[11,3]")
    a, b = (gg.compile(f(c), *specs)(WEIGHTS, many, ROWS) for c in ("binomial", None))
    np.testing.assert_allclose(a, b, rtol=1e-11)


def test_memory_is_logarithmic_and_no_step_is_computed_more_often_than_the_schedule_says(
    monkeypatch,
):
    steps = 2000

    def loss(x, every):
        h, _ = gg.scan(lambda h, v: (np.tanh(0.5 * h + v), None), np.zeros(8), x, checkpoint=every)
        return np.sum(h)

    x = RNG.normal(size=(steps, 8))
    fns = [
        gg.compile(gg.value_and_grad(lambda x, c=c: loss(x, c)), x, target=target)
        for c, target in (("binomial", "c"), (None, "c"), ("binomial", "numpy"))
    ]
    held = [fn.cost().peak - x.nbytes for fn in fns]
    snapshots = steps.bit_length()
    assert held[0] < 4 * snapshots * 64 < held[1] / 20
    calls = []
    tanh = np.tanh
    monkeypatch.setattr(np, "tanh", lambda v: calls.append(0) or tanh(v))
    value, slope = fns[2](x)
    monkeypatch.undo()
    repeats = next(t for t in range(steps) if comb(snapshots + t, snapshots) >= steps)
    assert repeats == 5 and 2 * steps <= len(calls) <= (2 + repeats) * steps
    expected, gradient = fns[1](x)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-300)


def test_the_schedule_stands_at_the_line_of_the_scan():
    fn = gg.compile(gg.grad(program("binomial", False), 1), WEIGHTS, START, ROWS)
    first = program.__code__.co_firstlineno
    own = range(first, first + 16)
    cited = [int(k) for k in re.findall(r"# test_checkpoints\.py:(\d+)", fn.source)]
    assert cited and all(k in own for k in cited)


def test_the_remedy_for_another_word():
    with pytest.raises(gg.SpecError, match='a number of steps, "sqrt" or "binomial", got \'log\''):
        gg.compile(gg.grad(program("log", False), 1), WEIGHTS, START, ROWS)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_inside_a_while_with_a_branch_on_what_does_not_change(target):
    """What moves out of the loop before it is differentiated is an operand of the schedule as well."""

    def program(checkpoint):
        def f(x, y):
            v = x * 1.0
            c = 0
            while np.sum(v * v) > 0.05 and c < 4:

                def body(h, e):
                    k = x * 1.0
                    if k[0] > v[1]:
                        k = np.maximum(v, x)
                    return 0.5 * np.tanh(h) + 0.2 * h * e, k

                s, ys = gg.scan(body, x * 1.0, y, checkpoint=checkpoint)
                v = 0.6 * np.tanh(s + 0.1 * ys[-1])
                c = c + 1
            return np.sum(v)

        return gg.grad(f, (0, 1))

    x, y = np.array([0.5, 1.0, -0.3]), np.array([0.2, 0.1, 0.4, -0.2])
    some, every = (
        gg.compile(program(c), "f64[3]", "f64[n]", target=target, options={"verify": True})
        for c in ("binomial", None)
    )
    for a, b in zip(some(x, y), every(x, y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
