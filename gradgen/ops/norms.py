"""Norms of vectors and matrices: np.linalg.norm with every `ord`, vector_norm, matrix_norm, cond.

A norm has derivative 0 at 0, and a maximum among equals shares it evenly. Of matrices: sums of rows or columns (1, inf),
singular values (2, -2, "nuc"), all elements ("fro").
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ir import OPS
from gradgen.ops import calls
from gradgen.ops.reduce import as_value, axes_of
from gradgen.ops.reductions import floats, max_, min_, sum_
from gradgen.value import Value, apply


@implements(np.linalg.norm, "scipy.linalg.norm")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Value:
    """The norm of vectors along one axis, of matrices along two; of all elements where neither is given."""
    x = floats(x)
    if axis is None and (
        ord is None or (ord == "fro" and x.type.ndim == 2) or (ord == 2 and x.type.ndim == 1)
    ):
        return apply(OPS["root"], sum_(calls.square(x), None, keepdims=keepdims))
    if axis is None:
        axis = tuple(range(x.type.ndim))
    axes = axes_of("np.linalg.norm", x, axis)
    if len(axes) == 1:
        return _of_vectors(x, 2 if ord is None else ord, axes, keepdims)
    if len(axes) == 2:
        given = axis if isinstance(axis, (tuple, list)) else axes
        rows, columns = (int(k) % x.type.ndim for k in given)
        return _of_matrices(x, ord, rows, columns, keepdims)
    raise ShapeError(f"np.linalg.norm needs one axis or two for ord={ord!r}, got {len(axes)}")


def _of_vectors(x: Value, p: Any, axes: tuple[int, ...], keepdims: Any) -> Value:
    if isinstance(p, str):
        raise SpecError(f"np.linalg.norm of vectors needs a number as ord, got {p!r}")
    if p == 2:
        return apply(OPS["root"], sum_(calls.square(x), axes, keepdims=keepdims))
    size = abs(x)
    if p in (math.inf, -math.inf):
        return (max_ if p > 0 else min_)(size, axes, keepdims=keepdims)
    if p == 0:
        return calls.cast(sum_(calls.not_equal(x, 0), axes, keepdims=keepdims), dtype=x.type.dtype)
    if p == 1:
        return sum_(size, axes, keepdims=keepdims)
    # The root's slope is infinite at 0, where a norm has none: 0 there, as for p = 2.
    total = sum_(size**p, axes, keepdims=keepdims)
    zero = calls.equal(total, 0)
    return calls.where(zero, 0.0, FUNCTIONS[np.power](calls.where(zero, 1.0, total), 1.0 / p))


def _of_matrices(x: Value, p: Any, rows: int, columns: int, keepdims: Any) -> Value:
    if p in (None, "fro"):
        return apply(OPS["root"], sum_(calls.square(x), (rows, columns), keepdims=keepdims))
    if p in (1, -1, math.inf, -math.inf):
        along, across = (rows, columns) if abs(p) == 1 else (columns, rows)
        totals = sum_(abs(x), along, keepdims=True)
        found = (max_ if p > 0 else min_)(totals, across, keepdims=True)
    elif p in (2, -2, "nuc"):
        s = FUNCTIONS[np.linalg.svdvals](FUNCTIONS[np.moveaxis](x, (rows, columns), (-2, -1)))
        found = sum_(s, -1) if p == "nuc" else (max_ if p > 0 else min_)(s, -1)
        return FUNCTIONS[np.expand_dims](found, (rows, columns)) if keepdims else found
    else:
        raise SpecError(
            f"np.linalg.norm of matrices needs ord 1, 2, inf, their negatives, 'fro' or 'nuc', got {p!r}"
        )
    return found if keepdims else FUNCTIONS[np.squeeze](found, (rows, columns))


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: Any = False, ord: Any = 2) -> Value:
    """The norm of vectors along axes, whose elements count as one vector."""
    x = floats(x)
    return _of_vectors(x, ord, axes_of("np.linalg.vector_norm", x, axis), keepdims)


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: Any = False, ord: Any = "fro") -> Value:
    x = floats(x)
    return _of_matrices(x, ord, x.type.ndim - 2, x.type.ndim - 1, keepdims)


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Value:
    """The condition number: norm(x, p) * norm(inv(x), p), or the quotient of singular values for p = 2."""
    x = as_value(x)
    if p in (None, 2, -2):
        s = FUNCTIONS[np.linalg.svdvals](x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(x, p, (-2, -1)) * norm(FUNCTIONS[np.linalg.inv](x), p, (-2, -1))
