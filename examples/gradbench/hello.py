"""hello: the square of a number, and twice the number as its gradient."""

from __future__ import annotations

import gradgen as gg
from examples.gradbench.compiling import compiled


def square(x):
    return x * x


SPECS = (("x", "f64[]"),)


def _square(given):
    fn = compiled(square, SPECS)
    return lambda: fn(float(given))


def _double(given):
    fn = compiled(GRADIENT, SPECS)
    return lambda: fn(float(given))


GRADIENT = gg.grad(square)
FUNCTIONS = {"square": _square, "double": _double}
