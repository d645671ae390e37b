"""Functions of scipy.optimize and scipy.signal on Values, by name: rosen; convolve and correlate of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.errors import ShapeError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ops import calls
from gradgen.ops.reduce import as_value, as_values
from gradgen.ops.reductions import sum_
from gradgen.value import Value


@implements("scipy.optimize.rosen")
def rosen(x: Any) -> Value:
    """The Rosenbrock function of the first axis."""
    x = as_value(x)
    bend, rest = x[1:] - calls.square(x[:-1]), 1.0 - x[:-1]
    return sum_(100.0 * calls.square(bend) + calls.square(rest), 0)


def _of_vectors(name: str, function: Any, a: Any, b: Any, mode: str) -> Value:
    a, b = as_values((a, b))
    if a.type.ndim != 1 or b.type.ndim != 1:
        raise ShapeError(
            f"scipy.signal.{name} needs two vectors, got {a.type} and {b.type}",
            "Convolve the rows apart, or write the sums over shifted slices.",
        )
    return FUNCTIONS[function](a, b, mode)


@implements("scipy.signal.convolve", "scipy.signal.fftconvolve")
def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Value:
    """As np.convolve; mode "same" has the length of the first, "valid" takes the longer first."""
    if mode != "same":
        return _of_vectors("convolve", np.convolve, in1, in2, mode)
    whole = _of_vectors("convolve", np.convolve, in1, in2, "full")
    first, second = as_values((in1, in2))
    n, m = first.type.shape[0], second.type.shape[0]
    if not (isinstance(n, int) and isinstance(m, int)):
        raise ShapeError(
            f"scipy.signal.convolve with mode 'same' needs sizes known at trace time, got {first.type} and {second.type}",
            "Cut the middle out of mode='full'.",
        )
    start = (m - 1) // 2
    return whole[start : start + n]
