"""Unroll and jam: loops that add to one small array take several steps at once, with the same result to the bit."""

import numpy as np
import pytest

import gradgen as gg
from gradgen.lower.jam import jam
from gradgen.lower.kernel import Loop, walk
from gradgen.lower.run import run


def layers(W, V, x):
    """Per row a product forward; in reverse the transposed one, and an outer product."""
    return np.sum(np.tanh(x @ W) @ V)


def specs(inner, outer):
    return {"W": f"f64[{inner},{outer}]", "V": f"f64[{outer},4]", "x": f"f64[n,{inner}]"}


def steps(fn):
    return [s.step for s in walk(fn._stages["kernel"]().body) if type(s) is Loop]


@pytest.mark.parametrize(("inner", "step"), [(8, 4), (12, 4), (10, 5), (9, 3), (14, 2)])
def test_a_product_goes_in_steps_that_divide_its_length(inner, step):
    fn = gg.compile(gg.value_and_grad(layers, (0, 1)), **specs(inner, 12), target="c")
    assert step in steps(fn)
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 7, 65):
        args = [rng.normal(size=s) for s in ((inner, 12), (12, 4), (n, inner))]
        value, grads = fn(*args)
        expected, right = gg.value_and_grad(layers, (0, 1))(*args)
        np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-13)
        for a, b in zip(grads, right, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_the_order_of_additions_stays():
    """The loops as they are interpreted: with and without the pass, equal to the last bit."""
    fn = gg.compile(layers, **specs(8, 12), target="c", options={"optimize": "readable"})
    kernel = fn._stages["kernel"]()
    jammed = jam(kernel)
    assert any(type(s) is Loop and s.step == 4 for s in walk(jammed.body))
    assert not any(type(s) is Loop and s.step == 4 for s in walk(kernel.body))
    rng = np.random.default_rng(1)
    args = [rng.normal(size=s) for s in ((8, 12), (12, 4), (3, 8))]
    np.testing.assert_array_equal(run(jammed, args, {"n": 3})[0], run(kernel, args, {"n": 3})[0])


@pytest.mark.parametrize(
    "f",
    [
        lambda W, x: np.cumsum(W @ x),  # a sum into one number: lanes, not this
        lambda W, x: W * x,  # nothing is added
    ],
)
def test_what_does_not_add_to_the_same_places_is_left(f):
    fn = gg.compile(f, W="f64[8,8]", x="f64[8]", target="c")
    assert 4 not in steps(fn)


def test_a_loop_of_few_steps_goes_away():
    """x @ W for a row of two: one loop, two additions."""
    fn = gg.compile(lambda W, x: np.tanh(x @ W), W="f64[2,16]", x="f64[n,2]", target="c")
    depth = max(
        line.index("for (")
        for line in fn.source.partition("SELFTEST")[0].splitlines()
        if "for (" in line
    )
    assert depth <= 8
    x, W = np.random.default_rng(2).normal(size=(5, 2)), np.ones((2, 16))
    np.testing.assert_allclose(fn(W, x), np.tanh(x @ W), rtol=1e-14)
