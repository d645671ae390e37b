"""NumPy's elementwise functions on Values: those that are one op, entered from the records, and those made of several.

np.where np.clip np.positive np.fabs np.isinf np.logical_xor np.radians np.degrees astype
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import UnsupportedError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ir import OPS, Op
from gradgen.ops import calls
from gradgen.ops.reduce import as_value, no_truth
from gradgen.ops.reductions import floats
from gradgen.types import dtype_name
from gradgen.value import Value, apply


def _function(op: Op) -> Callable[..., Any]:
    """The op as NumPy's function: positional operands only, so that `out=` and `where=` are refused by name."""
    if len(op.partials or op.vjp or ()) == 1:  # type: ignore[arg-type]

        def unary(x: Any) -> Any:
            return apply(op, x)

        return unary

    def binary(a: Any, b: Any) -> Any:
        return apply(op, a, b)

    return binary


for _op in tuple(OPS.values()):
    for _numpy_function in _op.functions if _op.elementwise else ():
        FUNCTIONS[_numpy_function] = _function(_op)


@implements(np.where)
def where(condition: Any, *branches: Any) -> Any:
    if len(branches) != 2:
        raise UnsupportedError(
            "np.where(condition) has a shape that depends on data",
            "Keep the shape and mask: np.where(condition, x, 0.0).",
        )
    return calls.where(_truth(condition), *branches)


def _truth(condition: Any) -> Any:
    """A condition as truth values: its own dtype is not among those that the branches are promoted to."""
    if isinstance(condition, (list, tuple)):
        condition = as_value(condition)
    if not isinstance(condition, Value):
        return np.asarray(condition, np.bool_)[()]
    return condition if condition.type.dtype == "bool" else calls.cast(condition, dtype="bool")


@implements(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """np.clip; a bound that is absent is infinite, so that the slope is 1 at the other one too."""
    lo, hi = (a_min if min is None else min), (a_max if max is None else max)
    if (lo is None or hi is None) and not any(map(_is_float, (a, lo, hi))):
        # Integers have no infinity, and no slope.
        x = a if lo is None else FUNCTIONS[np.maximum](a, lo)
        return x if hi is None else FUNCTIONS[np.minimum](x, hi)
    return calls.clip(a, -math.inf if lo is None else lo, math.inf if hi is None else hi)


def _is_float(x: Any) -> bool:
    return x.type.is_float if isinstance(x, Value) else np.asarray(x).dtype.kind == "f"


@implements("astype")
def astype(x: Any, dtype: Any) -> Any:
    name = dtype_name(dtype)
    return x if x.type.dtype == name else calls.cast(x, dtype=name)


@implements(np.positive)
def positive(x: Any) -> Any:
    return no_truth("positive", x)


@implements(np.fabs)
def fabs(x: Any) -> Any:
    return abs(floats(no_truth("fabs", x)))


@implements(np.isinf)
def isinf(x: Any) -> Any:
    return calls.equal(abs(x), math.inf)


@implements(np.radians, np.deg2rad)
def radians(x: Any) -> Any:
    return no_truth("radians", x) * (math.pi / 180.0)


@implements(np.degrees, np.rad2deg)
def degrees(x: Any) -> Any:
    return no_truth("degrees", x) * (180.0 / math.pi)


@implements(np.logical_xor)
def logical_xor(a: Any, b: Any) -> Any:
    return calls.not_equal(calls.not_equal(a, 0), calls.not_equal(b, 0))
