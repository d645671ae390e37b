"""Diagonals and triangles: diagonal, diag, diagflat, trace, tril, triu.

tril(x, k=)   x with 0 above the k-th diagonal; triu with 0 below it (linear: each is its own derivative)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.errors import ShapeError, UnsupportedError
from gradgen.functions import implements
from gradgen.ir import OPS, Op, define
from gradgen.ops.index import getitem, zeros
from gradgen.ops.ranges import iota
from gradgen.ops.rearrange import axis_of
from gradgen.ops.reduce import as_value
from gradgen.ops.reductions import sum_
from gradgen.ops.shape import moveaxis, reshape
from gradgen.sizes import Dim, add, max0, mul, nonnegative
from gradgen.spelling import Expr
from gradgen.types import Type
from gradgen.value import Value, apply, current_trace


def _triangle(name: str, function: Any, side: str) -> Op:
    def infer(x: Type, k: int) -> Type:
        if x.ndim < 2:
            raise ShapeError(f"{name} needs a matrix, got {x}")
        return x

    def spell(operands: Any, node: Any, target: Any) -> Expr:
        k = node.params["k"]
        return Expr(f"np.{name}({operands[0].text}{f', {k}' if k else ''})")

    return define(
        Op(
            name,
            infer,
            lambda x, k: function(x, k),
            f"The matrix with zeros {side} the k-th diagonal.",
            vjp=(lambda y_bar, y, x, k: apply(OPS[name], y_bar, k=k),),
            jvp=("linear",),
            flops=0,
            numpy=spell,
            nest=lambda lowering, node: lowering.triangle(node, name == "tril"),
        )
    )


TRIL = _triangle("tril", np.tril, "above")
TRIU = _triangle("triu", np.triu, "below")


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Value:
    m = as_value(m)
    return apply(TRIL, _square_of(m), k=int(k))


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Value:
    m = as_value(m)
    return apply(TRIU, _square_of(m), k=int(k))


def _square_of(m: Value) -> Value:
    """NumPy repeats a vector as the rows of a square."""
    from gradgen.ops.shape import broadcast_to

    return broadcast_to(m, (*m.type.shape, *m.type.shape)) if m.type.ndim == 1 else m


def _length(rows: Dim, columns: Dim, k: int) -> Dim:
    """How long the k-th diagonal is."""
    a, b = add(rows, min(k, 0)), add(columns, -max(k, 0))
    if isinstance(a, int) and isinstance(b, int):
        return max(0, min(a, b))
    gap = add(a, mul(b, -1))
    if gap == 0 or nonnegative(mul(gap, -1)):
        return max0(a)
    if nonnegative(gap):
        return max0(b)
    raise UnsupportedError(
        f"the diagonal of a matrix of {rows} by {columns} has a length that no size says",
        "Give both axes one name, or give them numbers.",
    )


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """The elements x[..., i, i + offset] of two axes, as a new last axis."""
    a = as_value(a)
    if a.type.ndim < 2:
        raise ShapeError(f"np.diagonal needs two axes or more, got {a.type}")
    i, j = axis_of("np.diagonal", a, axis1), axis_of("np.diagonal", a, axis2)
    if i == j:
        raise ShapeError(f"np.diagonal needs different axes, got {axis1} and {axis2}")
    x = moveaxis(a, (i, j), (-2, -1))
    rows, columns = x.type.shape[-2:]
    at = iota(_length(rows, columns, offset))
    row = at - offset if offset < 0 else at
    column = at + offset if offset > 0 else at
    found = getitem(x, (..., row, column))
    trace = current_trace()
    if trace is not None and a._data is None:  # NumPy's shows `a`, and is not to be written
        trace.views.setdefault(id(a), []).append(found)
        trace.read_only.add(id(found))
    return found


@implements(np.linalg.diagonal)
def linalg_diagonal(x: Any, /, *, offset: int = 0) -> Value:
    return diagonal(x, offset, -2, -1)


@implements(np.trace)
def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None
) -> Value:
    return sum_(diagonal(a, offset, axis1, axis2), -1, dtype)


@implements(np.linalg.trace)
def linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Value:
    return trace(x, offset, -2, -1, dtype)


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Value:
    """The diagonal of a matrix, or the matrix with a diagonal."""
    v = as_value(v)
    if v.type.ndim == 2:
        return diagonal(v, k)
    if v.type.ndim != 1:
        raise ShapeError(f"np.diag needs a vector or a matrix, got {v.type}")
    n = add(v.type.shape[0], abs(k))
    at = iota(v.type.shape[0])
    row, column = (at - k if k < 0 else at), (at + k if k > 0 else at)
    return apply(OPS["scatter_add"], zeros(v.type.with_shape((n, n))), v, row, column, axis=0)


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Value:
    return diag(reshape(as_value(v), -1), k)
