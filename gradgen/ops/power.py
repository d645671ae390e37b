"""Powers and roots.

    power   a**b in general; both operands may be differentiated
    powc    x**n with a constant scalar n that is not between 0 and 1: its slope is finite at 0, so it needs no guard
    square, reciprocal, sqrt, cbrt

`raise_to` is what `**` and np.power do: it picks the cheapest of these for an exponent known at trace time.
"""

from __future__ import annotations

import numpy as np

from gradgen.ops.elementwise import elementwise, libm, numbers
from gradgen.spelling import POWER, PRODUCT, call, template

SQUARE = elementwise(
    "square", "number", np.square,
    "x * x.",
    sympy="x**2", functions=(np.square,),
    numpy=template("{0} ** 2", POWER, (POWER + 1,)), python=template("{0} ** 2", POWER, (POWER + 1,)),
    c=template("{0} * {0}", PRODUCT, (PRODUCT + 1,)),
)  # fmt: skip
RECIPROCAL = elementwise(
    "reciprocal", "float", lambda x: np.true_divide(1, x),
    "1 / x.",
    sympy="1/x",
    numpy=template("1.0 / {0}", PRODUCT, (PRODUCT + 1,)), python=template("1.0 / {0}", PRODUCT, (PRODUCT + 1,)),
    c=numbers("1. / {0}", PRODUCT, (PRODUCT + 1,)),
)  # fmt: skip
SQRT = elementwise(
    "sqrt", "float", np.sqrt,
    "The square root of x >= 0; NaN below.",
    sympy="sqrt(x)", unbounded=(True,), functions=(np.sqrt,), kink="sqrt(x): inf at 0",
    numpy=call("np.sqrt"), python=call("math.sqrt"), c=libm("sqrt"),
)  # fmt: skip
