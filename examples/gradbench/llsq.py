"""llsq: least squares fit of a polynomial to a step; y(x) = 1/2 sum over i of (s_i - sum over j of x_j t_i^j)^2."""

from __future__ import annotations

import numpy as np

import gradgen as gg
from examples.gradbench.compiling import compiled


def loss(x, t):
    p, _ = gg.scan(lambda p, c: (p * t + c, None), np.zeros_like(t), x, reverse=True)  # Horner
    r = np.sign(t) - p
    return 0.5 * np.sum(r * r)


GRADIENT = gg.grad(loss)
SPECS = (("x", "f64[m]"), ("t", "f64[n]"))


def _prepare(f):
    def prepare(given):
        x, n = np.array(given["x"], float), int(given["n"])
        t = -1.0 + 2.0 * np.arange(n) / (n - 1)
        fn = compiled(f, SPECS)
        return lambda: fn(x, t)

    return prepare


FUNCTIONS = {"primal": _prepare(loss), "gradient": _prepare(GRADIENT)}
