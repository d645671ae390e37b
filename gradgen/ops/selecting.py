"""Choosing elements: select choose piecewise compress extract take take_along_axis argmax argmin.

argmax(x), argmin(x)   i64: where the first largest (smallest) element of the last axis is; no slope
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError, UnsupportedError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ir import OPS, Op, define
from gradgen.ops import calls
from gradgen.ops.index import getitem
from gradgen.ops.ranges import grid
from gradgen.ops.rearrange import along, axis_of
from gradgen.ops.reduce import as_value, as_values
from gradgen.ops.shape import moveaxis, reshape, shape_of, stack
from gradgen.spelling import Expr
from gradgen.types import Type
from gradgen.value import Extent, Value, apply, current_trace


# -- where an extreme is
def _arg_extreme(name: str, function: Any, kind: str) -> Op:
    return define(
        Op(
            name,
            lambda x: Type.of("i64", x.shape[:-1]),
            lambda x: function(x, axis=-1),
            f"Where the first {kind}imum (or NaN) of the last axis is.",
            numpy=lambda operands, node, target: Expr(
                f"np.{name}({operands[0].text}" + (", axis=-1)" if node.type.ndim else ")")
            ),
            nest=lambda lowering, node: lowering.arg_extreme(node, kind),
        )
    )


_arg_extreme("argmax", np.argmax, "max")
_arg_extreme("argmin", np.argmin, "min")


def _arg(name: str) -> Callable[..., Value]:
    def arg(a: Any, axis: Any = None, out: None = None, *, keepdims: Any = False) -> Value:
        x = as_value(a)
        ndim = x.type.ndim
        if axis is None:
            x, k = reshape(x, -1), 0
        else:
            k = axis_of(f"np.{name}", x, axis)
        trace = current_trace()
        if trace is not None:
            trace.require(
                x.type.shape[k], ">=", 1, "the length of an axis whose extremum is looked for"
            )
        found = apply(OPS[name], moveaxis(x, k, -1))
        if not keepdims:
            return found
        shape = (1,) * ndim if axis is None else (*x.type.shape[:k], 1, *x.type.shape[k + 1 :])
        return reshape(found, shape)

    return arg


argmax = implements(np.argmax)(_arg("argmax"))
argmin = implements(np.argmin)(_arg("argmin"))


def _nan_arg(inner: Callable[..., Value], fill: float) -> Callable[..., Value]:
    def arg(a: Any, axis: Any = None, out: None = None, *, keepdims: Any = False) -> Value:
        x = as_value(a)
        return inner(calls.where(calls.isnan(x), fill, x), axis, keepdims=keepdims)

    return arg


implements(np.nanargmax)(_nan_arg(argmax, -np.inf))
implements(np.nanargmin)(_nan_arg(argmin, np.inf))


# -- by conditions
@implements(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Value:
    """The choice of the first condition that holds."""
    if len(condlist) != len(choicelist) or not condlist:
        raise SpecError(
            f"np.select needs as many choices as conditions, got {len(choicelist)} and {len(condlist)}"
        )
    *choices, out = as_values((*choicelist, default))
    for condition, choice in reversed(list(zip(condlist, choices, strict=True))):
        out = calls.where(condition, choice, out)
    return out


@implements(np.choose)
def choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Value:
    """choices[a[i]][i]: the choices are joined, then indexed."""
    parts = as_values(choices) if isinstance(choices, (list, tuple)) else list(as_value(choices))
    from gradgen.ops.rearrange import broadcast_arrays

    index = as_value(a)
    index, *wide = broadcast_arrays(index, *parts)
    joined = stack(wide, 0)
    if mode != "raise":
        index = calls.clip(index, 0, len(wide) - 1) if mode == "clip" else index % len(wide)
    places = [grid(index.type.shape, k) for k in range(index.type.ndim)]
    return getitem(joined, (index, *places))


@implements(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Value:
    """Each function on all of x, and the value of the last one whose condition holds."""
    x = as_value(x)
    conditions = list(condlist) if isinstance(condlist, (list, tuple)) else [condlist]
    functions = list(funclist)
    out: Any = functions.pop() if len(functions) == len(conditions) + 1 else 0.0
    out = out(x, *args, **kw) if callable(out) else out
    if len(functions) != len(conditions):
        raise SpecError(
            f"np.piecewise needs a function per condition, got {len(functions)} and {len(conditions)}"
        )
    for condition, f in zip(conditions, functions, strict=True):
        out = calls.where(condition, f(x, *args, **kw) if callable(f) else f, out)
    return calls.cast(out, dtype=x.type.dtype) if out.type.dtype != x.type.dtype else out


def _known_mask(what: str, condition: Any) -> np.ndarray:
    if isinstance(condition, Value):
        raise UnsupportedError(
            f"{what} with a traced condition gives a shape that depends on data",
            "Keep the shape and mask: np.where(condition, x, 0.0).",
        )
    return np.asarray(condition, bool)


@implements(np.compress)
def compress(condition: Any, a: Any, axis: Any = None, out: None = None) -> Value:
    x = as_value(a)
    if axis is None:
        x, axis = reshape(x, -1), 0
    mask = _known_mask("np.compress", condition)
    return along(x, axis_of("np.compress", x, axis), np.flatnonzero(mask))


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Value:
    mask = _known_mask("np.extract", condition)
    return getitem(reshape(as_value(arr), -1), np.flatnonzero(mask))


# -- by integers
@implements(np.take)
def take(a: Any, indices: Any, axis: Any = None, out: None = None, mode: str = "raise") -> Value:
    """x at integer indices of one axis; modes wrap and clip bring them into its range."""
    x = as_value(a)
    if axis is None:
        x, axis = reshape(x, -1), 0
    k = axis_of("np.take", x, axis)
    at: Any = indices if isinstance(indices, Value) else np.asarray(indices)
    if mode != "raise":
        if mode not in ("wrap", "clip"):
            raise SpecError(f"np.take needs mode 'raise', 'wrap' or 'clip', got {mode!r}")
        dim = x.type.shape[k]
        size: Any = dim if isinstance(dim, int) else Extent(dim)
        if isinstance(at, np.ndarray) and isinstance(size, int):
            at = at % size if mode == "wrap" else np.clip(at, 0, size - 1)
        else:
            at = as_value(at) % size if mode == "wrap" else calls.clip(at, 0, size - 1)
    return along(x, k, at)


@implements(np.unravel_index)
def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Value, ...]:
    """The coordinates of places in an array read row by row."""
    at = as_value(indices)
    found: list[Value] = []
    for dim in reversed(shape_of("np.unravel_index", shape)):
        size: Any = dim if isinstance(dim, int) else Extent(dim)
        found.append(at % size)
        at = at // size
    return tuple(reversed(found))


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Value:
    """x[i, ..., indices[i, ..., k], ...]: one index array of x's rank, along one axis."""
    x, at = as_value(arr), as_value(indices)
    if axis is None:
        x, axis = reshape(x, -1), 0
    return getitem(x, along_places(x, at, axis_of("np.take_along_axis", x, axis)))


def along_places(x: Value, at: Value, axis: int) -> tuple[Value, ...]:
    """The index arrays that `at`, along one axis of x, means."""
    if at.type.ndim != x.type.ndim:
        raise ShapeError(f"indices along an axis need the rank of {x.type}, got {at.type}")
    return tuple(at if k == axis else grid(x.type.shape, k) for k in range(x.type.ndim))


@implements(np.apply_along_axis)
def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Value:
    """The function on every vector along an axis of known other lengths, one after another."""
    x = as_value(arr)
    k = axis_of("np.apply_along_axis", x, axis)
    moved = moveaxis(x, k, -1)
    lead = moved.type.shape[:-1]
    if not all(isinstance(d, int) for d in lead):
        raise UnsupportedError(
            f"np.apply_along_axis needs numbers as the lengths of the other axes, got {x.type}",
            "Write the function with axis= on the whole array.",
        )
    places = np.ndindex(*[d for d in lead if isinstance(d, int)])
    done = [func1d(getitem(moved, i), *args, **kwargs) for i in places]
    rows = stack(done)
    out = reshape(rows, (*lead, *rows.type.shape[1:]))
    width = rows.type.ndim - 1
    for j in range(width):
        out = moveaxis(out, len(lead) + j, k + j)
    return out


@implements(np.apply_over_axes)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Value:
    x = as_value(a)
    for k in axes if isinstance(axes, (tuple, list)) else (axes,):
        found = func(x, k)
        x = found if found.ndim == x.type.ndim else FUNCTIONS[np.expand_dims](found, k)
    return x
