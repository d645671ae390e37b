"""Scans that keep a few snapshots, on a binomial schedule: the same derivatives as with all states kept, of little memory."""

from math import comb

import numpy as np
import pytest

import gradgen as gg

RNG = np.random.default_rng(1)
X, W, H = RNG.normal(size=(11, 3)), 0.4 * RNG.normal(size=(3, 3)), RNG.normal(size=3)


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
        args = (W, H, X[:n], *[np.array([1.0, 0.5, -2.0]) for _ in more])
        for a, b in zip(leaves(some(*args)), leaves(every(*args)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_a_batch_of_scans():
    f = lambda checkpoint: gg.vmap(gg.grad(program(checkpoint, False), 1), in_axes=(None, 0, None))
    many = np.stack([H, 0.5 * H, -H])
    specs = ("f64[3,3]", "f64[b,3]", "f64[11,3]")
    a, b = (gg.compile(f(c), *specs)(W, many, X) for c in ("binomial", None))
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


def test_the_remedy_for_another_word():
    with pytest.raises(gg.SpecError, match='a number of steps, "sqrt" or "binomial", got \'log\''):
        gg.compile(gg.grad(program("log", False), 1), W, H, X)


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
