"""Exponentials, logarithms, circular and hyperbolic functions."""

from __future__ import annotations

import numpy as np

from gradgen.ops.elementwise import TRANSCENDENTAL, elementwise, libm
from gradgen.spelling import call


def _function(name, ufunc, doc, sympy, bounded=False, c=None, python=None, **fields):
    return elementwise(
        name, "float", ufunc, doc, sympy=sympy, bounded=(bounded,), flops=TRANSCENDENTAL,
        functions=(ufunc,), numpy=call(f"np.{name}"), python=call(f"math.{python or c or name}"),
        c=libm(c or name), **fields,
    )


_function("exp", np.exp, "e to the x.", "exp(x)")
_function("log", np.log, "The natural logarithm of x > 0.", "log(x)")
_function("sin", np.sin, "The sine of x radians.", "sin(x)", bounded=True)
_function("cos", np.cos, "The cosine of x radians.", "cos(x)", bounded=True)
_function("tanh", np.tanh, "The hyperbolic tangent of x.", "tanh(x)", bounded=True)
