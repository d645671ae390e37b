"""Functions of np.polynomial on vectors of coefficients, the lowest power or degree first.

polyval polyder polyint    of powers
chebval legval             of Chebyshev's and Legendre's polynomials, by Clenshaw's recurrence as NumPy does it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import UnsupportedError
from gradgen.functions import implements
from gradgen.ir import CONST
from gradgen.ops import calls
from gradgen.ops.algebra import polyval
from gradgen.ops.ranges import iota
from gradgen.ops.rearrange import flip
from gradgen.ops.reduce import as_value
from gradgen.ops.reductions import floats
from gradgen.ops.shape import broadcast_to, concatenate, reshape
from gradgen.value import Value, constant


def _coefficients(what: str, c: Any, counted: bool = False) -> Value:
    """The vector of coefficients; `counted`: their number must be known at trace time."""
    c = as_value(c)
    if c.type.ndim > 1 or (counted and not c.type.static):
        needs = "a known number" if counted and c.type.ndim < 2 else "a vector"
        raise UnsupportedError(
            f"np.polynomial's {what} needs {needs} of coefficients, got {c.type}",
            "Evaluate each column, or write the sum out.",
        )
    return reshape(c, -1)


def _as_floats(c: Value, x: Value) -> Value:
    """Coefficients that are integers are f64 to these functions; numbers beside a float x have its dtype anyway."""
    return c if x.type.is_float and c.op is CONST else floats(c)


@implements(np.polynomial.polynomial.polyval)
def series(x: Any, c: Any, tensor: bool = True) -> Value:
    """Horner's rule, the lowest power first."""
    x = as_value(x)
    return polyval(flip(_as_floats(_coefficients("polyval", c), x)), x)


def _plain(what: str, order: Any, axis: Any, *others: bool) -> None:
    if order != 1 or axis != 0 or not all(others):
        raise UnsupportedError(
            f"np.polynomial's {what} needs m=1 and its other arguments at their defaults",
            "Call it once for each order.",
        )


def _numbers(c: Value) -> Value:
    """0, 1, ... for the coefficients, in their dtype."""
    return calls.cast(iota(c.type.shape[0]), dtype=c.type.dtype)


@implements(np.polynomial.polynomial.polyder)
def polyder(c: Any, m: int = 1, scl: Any = 1, axis: int = 0) -> Value:
    """The coefficients of the derivative; of a constant the one 0."""
    _plain("polyder", m, axis)
    c = floats(_coefficients("polyder", c, counted=True))
    return (c * _numbers(c))[1:] * scl if c.type.lengths[0] > 1 else c * 0.0


@implements(np.polynomial.polynomial.polyint)
def polyint(c: Any, m: int = 1, k: Any = (), lbnd: Any = 0, scl: Any = 1, axis: int = 0) -> Value:
    """The coefficients of the integral from 0."""
    _plain(
        "polyint", m, axis, isinstance(k, (list, tuple)) and not k, type(lbnd) is int and not lbnd
    )
    c = floats(_coefficients("polyint", c))
    return concatenate([reshape(constant(0, c.type.dtype), 1), c * scl / (_numbers(c) + 1)])


def _clenshaw(what: str, x: Any, c: Any, factors: Callable[[int], tuple[float, float]]) -> Value:
    """The sum over k of c[k] p[k](x), where p[0] = 1, p[1] = x and p[k+1] = b x p[k] - a p[k-1] with (a, b) = factors(k)."""
    x = as_value(x)
    c = _as_floats(_coefficients(what, c, counted=True), x)
    n = c.type.lengths[0]
    if n < 2:
        return broadcast_to(c[0], x.type.shape)
    low, high = c[n - 2], c[n - 1]
    for k in range(n - 2, 0, -1):
        low, high = c[k - 1] - factors(k)[0] * high, low + factors(k)[1] * (high * x)
    return low + high * x


@implements(np.polynomial.chebyshev.chebval)
def chebval(x: Any, c: Any, tensor: bool = True) -> Value:
    return _clenshaw("chebval", x, c, lambda k: (1.0, 2.0))


@implements(np.polynomial.legendre.legval)
def legval(x: Any, c: Any, tensor: bool = True) -> Value:
    return _clenshaw("legval", x, c, lambda k: (k / (k + 1), (2 * k + 1) / (k + 1)))
