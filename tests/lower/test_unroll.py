"""Short loops that only move elements of small arrays: written out, so that results are stored where they belong."""

import numpy as np

import gradgen as gg
from gradgen.lower.kernel import Declare, Loop, Store, walk


def rows(a, b):
    """Per item two rows of 3 + 2 numbers, made apart and put side by side."""

    def item(x, y):
        left = np.array([[x[0] * y, x[1], np.sin(x[0])], [y, x[1] * x[1], x[0]]])
        right = np.array([[y * y, x[0] + y], [np.cos(y), x[1] * y]])
        return left, right

    left, right = gg.vmap(item)(a, b)
    return np.concatenate([left, right], axis=2)


def test_blocks_side_by_side_need_no_arrays_of_the_item():
    fn = gg.compile(rows, a="f64[n,2]", b="f64[n]", target="c")
    kernel = fn._stages["kernel"]()
    outer = [s for s in kernel.body if type(s) is Loop]
    assert len(outer) == 1
    assert not any(type(s) is Declare and s.buffer.shape[1:] for s in walk(kernel.body))
    stored = [s for s in walk(kernel.body) if type(s) is Store and s.buffer.storage == "output"]
    assert len(stored) == 10
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 31, 33, 100):
        a, b = rng.normal(size=(n, 2)), rng.normal(size=n)
        np.testing.assert_allclose(fn(a, b), rows(a, b), rtol=1e-14, atol=0)


def test_elements_at_numbered_places_do_not_hide_each_other():
    """A store to t[1] leaves what is known of t[0]; one to t[k] does not."""

    def f(x, k):
        t = np.zeros(4)
        t[0] = x
        t[1] = 2.0 * x
        t[k] = 3.0 * x
        return t[0] + t[1] * 10.0 + t[2] * 100.0 + t[3] * 1000.0

    fn = gg.compile(f, x="f64[]", k="i64[]", target="c")
    for k in range(4):
        assert fn(1.5, k) == f(1.5, k)


def test_text_stays_as_long_as_the_arrays():
    """Long loops, and loops that compute, are not written out."""
    fn = gg.compile(lambda x: np.concatenate([x * 2.0, x + 1.0]), x="f64[100]", target="c")
    assert fn.source.count("for (") >= 2
