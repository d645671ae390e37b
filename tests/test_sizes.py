"""Sizes made of others: those that are equal where an entry check holds are one."""

import numpy as np
import pytest
from compilers import ARRAY_TARGETS

import gradgen as gg


def periodic(x, w):
    """Neighbours in a ring: joined from slices, of max(0, n - 1) + 1 elements, which n are for n >= 1."""
    after = np.concatenate([x[1:], x[:1]])
    before = np.concatenate([x[-1:], x[:-1]])
    return np.sum((after - 2 * x + before) ** 2 * w) + np.sum(np.where(x > 0, after, before))


def in_columns(X, v):
    after = np.concatenate([X[:, 1:], X[:, :1]], axis=1)
    running = np.concatenate([np.zeros(1), np.cumsum(v)[:-1]])
    return np.sum((after - X) ** 2 * v) + np.sum(running * v)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("level", ["lecture", "readable", "fast"])
def test_sizes_that_are_equal_where_nothing_is_cut_off(target, level):
    rng = np.random.default_rng(2)
    options = {"optimize": level, "verify": True}
    cases = (periodic, ("f64[n]", "f64[n]"), ()), (in_columns, ("f64[m,n]", "f64[n]"), (3,))
    for f, specs, lead in cases:
        fn = gg.compile(gg.value_and_grad(f, wrt=(0, 1)), *specs, target=target, options=options)
        for n in (1, 2, 7, 65):
            args, dots = [(rng.normal(size=(*lead, n)), rng.normal(size=n)) for _ in range(2)]
            value, bars = fn(*args)
            at = lambda t: f(*[a + t * d for a, d in zip(args, dots, strict=True)])
            assert value == pytest.approx(f(*args), rel=1e-12)
            found = sum(np.vdot(b, d) for b, d in zip(bars, dots, strict=True))
            assert found == pytest.approx((at(1e-5) - at(-1e-5)) / 2e-5, rel=1e-6, abs=1e-7)
        with pytest.raises(gg.ShapeError, match="needs n >= 1, got 0"):
            fn(*[np.zeros((*lead, 0)), np.zeros(0)])


def test_other_sizes_are_told_apart_as_ever():
    for f, specs in (
        (lambda x: x[1:] + x, ("f64[n]",)),
        (lambda x, y: np.concatenate([x[1:], y[:1]]) + y, ("f64[n]", "f64[m]")),
        (lambda x: np.concatenate([x[1:], x[:2]]) * x, ("f64[n]",)),
    ):
        with pytest.raises(gg.ShapeError, match="needs shapes that broadcast"):
            gg.compile(f, *specs)
