"""Order in C: the routines against NumPy's on ties, NaN and all lengths; integers, which are counted."""

from __future__ import annotations

import numpy as np
import pytest
from compilers import needs_c

import gradgen as gg

RNG = np.random.default_rng(7)


def orders(x, v):
    y = np.sort(x)
    return np.argsort(x), np.searchsorted(y, v), np.searchsorted(y, v, side="right")


@needs_c
@pytest.mark.parametrize("dtype", ["f64", "f32", "i64", "i32"])
def test_orders_are_numpys(dtype):
    fn = gg.compile(orders, f"{dtype}[n]", f"{dtype}[m]", target="c")
    kind = {"f64": np.float64, "f32": np.float32, "i64": np.int64, "i32": np.int32}[dtype]
    for n in (0, 1, 2, 3, 8, 100, 257):
        x, v = (np.round(3.0 * RNG.normal(size=k)).astype(kind) for k in (n, 6))
        if kind(0.5):
            v[0] = np.nan
            x[::7] = np.nan
        want = np.argsort(x, kind="stable"), *orders(x, v)[1:]
        for got, known in zip(fn(x, v), want, strict=True):
            np.testing.assert_array_equal(got, known)


@needs_c
def test_many_elements_take_little_time():
    """By merging: counting would take minutes."""
    fn = gg.compile(lambda x: np.sort(x), "f64[n]", target="c")
    x = RNG.normal(size=300_000)
    np.testing.assert_array_equal(fn(x), np.sort(x))
