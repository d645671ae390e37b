"""Scalar partials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradgen.ops.calls import cos, reciprocal, sigmoid, sin, square

PARTIALS: dict[str, tuple[Callable[..., Any], ...]] = {
    "add": (lambda y, a, b: 1, lambda y, a, b: 1),
    "sub": (lambda y, a, b: 1, lambda y, a, b: -1),
    "mul": (lambda y, a, b: b, lambda y, a, b: a),
    "div": (lambda y, a, b: reciprocal(b), lambda y, a, b: -y / b),
    "neg": (lambda y, x: -1,),
    "square": (lambda y, x: 2 * x,),
    "reciprocal": (lambda y, x: -square(y),),
    "sqrt": (lambda y, x: 0.5 / y,),
    "exp": (lambda y, x: y,),
    "log": (lambda y, x: 1 / x,),
    "sin": (lambda y, x: cos(x),),
    "cos": (lambda y, x: -sin(x),),
    "tanh": (lambda y, x: 1 - square(y),),
    "sigmoid": (lambda y, x: y * sigmoid(-x),),
}
