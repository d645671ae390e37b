"""Differences, integrals and filters over samples: diff ediff1d gradient trapezoid convolve correlate interp unwrap."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ir import OPS
from gradgen.ops import calls
from gradgen.ops.contract import matmul, outer
from gradgen.ops.index import getitem, zeros
from gradgen.ops.padding import pad
from gradgen.ops.ranges import iota
from gradgen.ops.rearrange import along, as_index, axis_of, count_of, flip
from gradgen.ops.reduce import as_value, as_values, no_truth
from gradgen.ops.reductions import as_dtype, floats, sum_
from gradgen.ops.scans import cumsum
from gradgen.ops.shape import broadcast_to, concatenate, expand_dims, moveaxis, ravel, reshape
from gradgen.ops.spans import require_length
from gradgen.sizes import add, mul, nonnegative
from gradgen.value import Value, apply, current_trace


# -- differences
@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Value:
    """x[i + 1] - x[i] along an axis, n times."""
    a = as_value(a)
    k = axis_of("np.diff", a, axis)
    if prepend is not None or append is not None:
        a = concatenate([*_end(prepend, a, k), a, *_end(append, a, k)], k)
    for _ in range(count_of("np.diff", n)):
        after, before = along(a, k, slice(1, None)), along(a, k, slice(None, -1))
        a = calls.not_equal(after, before) if a.type.dtype == "bool" else after - before
    return a


def _end(part: Any, a: Value, axis: int) -> list[Value]:
    if part is None:
        return []
    _, part = as_values((a, part))
    if part.type.ndim == 0:
        part = broadcast_to(part, (*a.type.shape[:axis], 1, *a.type.shape[axis + 1 :]))
    return [part]


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Value:
    middle = diff(ravel(no_truth("np.ediff1d", ary)))
    ends = [[] if e is None else [_joined(middle, e)] for e in (to_begin, to_end)]
    return concatenate([*ends[0], middle, *ends[1]])


def _joined(middle: Value, end: Any) -> Value:
    """An end of np.ediff1d in the dtype of the differences; SpecError for floats beside integers, as in NumPy."""
    end = ravel(as_values((middle, end))[1])
    if end.type.is_float and not middle.type.is_float:
        raise SpecError(f"np.ediff1d of {middle.type} needs integers for its ends, got {end.type}")
    return as_dtype(end, middle.type.dtype)


@implements(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Central differences inside, one-sided ones of first or second order at the ends; spacings are numbers or coordinates."""
    f = floats(no_truth("np.gradient", f))
    axes = (
        list(range(f.type.ndim))
        if axis is None
        else [
            axis_of("np.gradient", f, k)
            for k in (axis if isinstance(axis, (tuple, list)) else (axis,))
        ]
    )
    steps: Sequence[Any] = varargs or (1.0,)
    if len(steps) == 1:
        steps = list(steps) * len(axes)
    if len(steps) != len(axes):
        raise SpecError(
            f"np.gradient needs one spacing per axis, got {len(varargs)} for {len(axes)}"
        )
    if edge_order not in (1, 2):
        raise SpecError(f"np.gradient needs edge_order 1 or 2, got {edge_order}")
    found = [_slope(f, k, h, edge_order) for k, h in zip(axes, steps, strict=True)]
    return found[0] if len(found) == 1 else tuple(found)


def _slope(f: Value, axis: int, h: Any, edge_order: int) -> Value:
    f = moveaxis(f, axis, -1)
    x = None if np.ndim(h) == 0 and not isinstance(h, Value) else as_values((f, h))[1]
    at = lambda lo, hi=None: getitem(f, (..., slice(lo, hi)))
    if x is None or x.type.ndim == 0:
        h = h if x is None else x
        inside = (at(2) - at(None, -2)) / (2.0 * h)
        if edge_order == 1:
            first, last = (at(1, 2) - at(None, 1)) / h, (at(-1) - at(-2, -1)) / h
        else:
            first = (-1.5 * at(None, 1) + 2.0 * at(1, 2) - 0.5 * at(2, 3)) / h
            last = (0.5 * at(-3, -2) - 2.0 * at(-2, -1) + 1.5 * at(-1)) / h
    else:  # Lagrange's parabola through three points of coordinates x
        d = diff(x)
        d1, d2 = d[:-1], d[1:]
        inside = (
            -d2 / (d1 * (d1 + d2)) * at(None, -2)
            + (d2 - d1) / (d1 * d2) * at(1, -1)
            + d1 / (d2 * (d1 + d2)) * at(2)
        )
        if edge_order == 1:
            first, last = (at(1, 2) - at(None, 1)) / d[0], (at(-1) - at(-2, -1)) / d[-1]
        else:
            p, q = d[0], d[1]
            first = (
                -(2.0 * p + q) / (p * (p + q)) * at(None, 1)
                + (p + q) / (p * q) * at(1, 2)
                - p / (q * (p + q)) * at(2, 3)
            )
            p, q = d[-2], d[-1]
            last = (
                q / (p * (p + q)) * at(-3, -2)
                - (q + p) / (p * q) * at(-2, -1)
                + (2.0 * q + p) / (q * (p + q)) * at(-1)
            )
    return moveaxis(concatenate([first, inside, last], f.type.ndim - 1), -1, axis)


@implements(np.trapezoid, "scipy.integrate.trapezoid")
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Value:
    """Half the sum of neighbours, times the step between them."""
    y = floats(no_truth("np.trapezoid", y))
    k = axis_of("np.trapezoid", y, axis)
    if x is None:
        step = dx
    else:
        x = as_values((y, x))[1]
        step = diff(x) if x.type.ndim == 1 else diff(x, axis=k)
        if x.type.ndim == 1:
            step = reshape(step, (*step.type.shape, *(1,) * (y.type.ndim - k - 1)))
    pairs = along(y, k, slice(1, None)) + along(y, k, slice(None, -1))
    return sum_(step * pairs / 2.0, k)


# -- filters
def _full(a: Value, v: Value) -> Value:
    """The full convolution of two vectors: the longer one's windows times the shorter one, reversed."""
    n, m = a.type.shape[0], v.type.shape[0]
    length = add(add(n, m), -1)
    if isinstance(m, int) and m <= _SHORT:
        parts = [pad(a * v[j], (j, m - 1 - j)) for j in range(m)]
        return functools.reduce(operator.add, parts)
    if isinstance(m, int) and isinstance(length, int):
        windows = np.arange(length)[:, None] + np.arange(m - 1, -1, -1)
        return matmul(getitem(pad(a, m - 1), windows), v)
    # Of symbolic lengths: every product goes where its indices add up to.
    place = expand_dims(iota(n), 1) + iota(m)
    return apply(
        OPS["scatter_add"], zeros(a.type.with_shape((length,))), outer(a, v), place, axis=0
    )


_SHORT = 4  # as many shifted copies are added up one by one


def _filtered(what: str, a: Value, v: Value, mode: Any) -> Value:
    """np.convolve for a longer a."""
    if mode not in ("full", "same", "valid"):
        raise SpecError(f"{what} needs mode 'full', 'same' or 'valid', got {mode!r}")
    full = _full(a, v)
    n, m = a.type.shape[0], v.type.shape[0]
    if mode == "full":
        return full
    require_length(current_trace(), n, m)  # a longer filter would change places with the samples
    if mode == "valid":
        return getitem(full, slice(as_index(add(m, -1)), as_index(n)))
    start = (m - 1) // 2 if isinstance(m, int) else None
    if start is None:
        raise SpecError(f"{what} with mode 'same' needs a filter of known length, got {v.type}")
    return getitem(full, slice(start, as_index(add(n, start))))


def _longer_first(what: str, a: Any, v: Any) -> tuple[Value, Value, bool]:
    a, v = as_values((a, v))
    if a.type.ndim > 1 or v.type.ndim > 1:
        raise ShapeError(f"{what} needs vectors, got {a.type} and {v.type}")
    a, v = reshape(a, -1), reshape(v, -1)
    if v.type.dtype == "bool":
        no_truth(what, a)  # and, or in NumPy
    trace = current_trace()
    for x in (a, v):
        if trace is not None:
            trace.require(x.type.shape[0], ">=", 1, "the length of a sequence in a convolution")
    gap = add(a.type.shape[0], mul(v.type.shape[0], -1))
    swap = not nonnegative(gap) and nonnegative(mul(gap, -1))
    return (v, a, True) if swap else (a, v, False)


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: Any = "full") -> Value:
    a, v, _ = _longer_first("np.convolve", a, v)
    return _filtered("np.convolve", a, v, mode)


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: Any = "valid") -> Value:
    """The convolution with the reversed second vector; with a longer second one, reversed as a whole."""
    a, v, swapped = _longer_first("np.correlate", a, v)
    if not swapped:
        return _filtered("np.correlate", a, flip(v), mode)
    return flip(_filtered("np.correlate", a, flip(v), mode))


@implements(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Value:
    """Piecewise linear through the points (xp, fp), constant beyond them; at a knot, the slope of the piece to its right."""
    x, xp, fp = as_values((x, xp, fp))
    x, xp, fp = floats(x), floats(xp), floats(fp)
    if xp.type.ndim != 1 or fp.type.shape != xp.type.shape:
        raise ShapeError(
            f"np.interp needs xp and fp as vectors of one length, got {xp.type} and {fp.type}"
        )
    if period is not None:
        x, xp = x % period, xp % period
        order = FUNCTIONS[np.argsort](xp)
        xp, fp = getitem(xp, order), getitem(fp, order)
        xp = concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = concatenate([fp[-1:], fp, fp[:1]])
    last = add(xp.type.shape[0], -2)
    upper = last if isinstance(last, int) else as_index(last)
    k = calls.clip(FUNCTIONS[np.searchsorted](xp, x, "right") - 1, 0, upper)
    x0, f0 = getitem(xp, k), getitem(fp, k)
    inside = f0 + (x - x0) * ((getitem(fp, k + 1) - f0) / (getitem(xp, k + 1) - x0))
    low, high = fp[0] if left is None else left, fp[-1] if right is None else right
    beyond = calls.where(calls.greater(x, xp[-1]), high, inside)
    beyond = calls.where(calls.equal(x, xp[-1]), fp[-1], beyond)
    return calls.where(calls.less(x, xp[0]), low, beyond)


@implements(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2.0 * math.pi) -> Value:
    """Jumps of more than half a period taken out; the correction is constant, so the slope is 1."""
    p = floats(p)
    k = axis_of("np.unwrap", p, axis)
    steps = diff(p, axis=k)
    half = period / 2.0
    wrapped = (steps + half) % period - half
    wrapped = calls.where(
        calls.logical_and(calls.equal(wrapped, -half), calls.greater(steps, 0)), half, wrapped
    )
    # In whole periods, which have no slope: wrapped - steps is one only up to rounding.
    turns = calls.rint((wrapped - steps) / period) * period
    limit = half if discont is None else discont
    turns = calls.where(calls.less(abs(steps), limit), 0.0, turns)
    return concatenate(
        [along(p, k, slice(None, 1)), along(p, k, slice(1, None)) + cumsum(turns, k)], k
    )
