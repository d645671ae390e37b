"""lse: log of a sum of exponentials, in terms of max, exp and sum."""

from __future__ import annotations

import numpy as np

import gradgen as gg
from examples.gradbench.compiling import compiled


def lse(x):
    a = np.max(x)
    return np.log(np.sum(np.exp(x - a))) + a


GRADIENT = gg.grad(lse)


def _prepare(f):
    def prepare(given):
        x = np.array(given["x"], float)
        fn = compiled(f, (("x", "f64[n]"),))
        return lambda: fn(x)

    return prepare


FUNCTIONS = {"primal": _prepare(lse), "gradient": _prepare(GRADIENT)}
