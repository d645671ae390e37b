"""The methods of NumPy's binary ufuncs: reduce, accumulate, outer and reduceat.

add, multiply, maximum, minimum, logaddexp and the logical ones have reductions and scans of their own (`ops`); all others are
folded from the left, as NumPy does it: short axes statement by statement, others in a scan.

Not supported: `at` but of add and subtract, and reduceat at indices that are traced.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import SpecError, UnsupportedError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ops import calls
from gradgen.ops.ranges import iota
from gradgen.ops.rearrange import along, axis_of
from gradgen.ops.reduce import as_value, as_values, axes_of
from gradgen.ops.reductions import as_dtype
from gradgen.ops.shape import moveaxis, reshape, stack, transpose
from gradgen.sizes import product
from gradgen.trace.control import scan
from gradgen.types import DTYPES
from gradgen.value import Value, current_trace

# Of a vector, NumPy's own `reduce` of these leaves elements out: np.power.reduce([a, b, c]) is a**c.
_SKIPPING = (np.power, np.arctan2)
_SHORT = 8  # an axis whose elements are folded one statement each


def _name(ufunc: np.ufunc, method: str) -> str:
    return f"np.{ufunc.__name__}.{method}"


def _operand(ufunc: np.ufunc, array: Any, dtype: Any) -> Value:
    """The array in the dtype that the ufunc computes in."""
    x = as_dtype(as_value(array), dtype)
    given = np.dtype(DTYPES[x.type.dtype])
    try:
        computed = ufunc.resolve_dtypes((given, given, None))[-1]
    except TypeError as error:  # a difference of truth values
        raise SpecError(f"np.{ufunc.__name__} needs numbers, got {x.type}: {error}") from None
    return as_dtype(x, computed)


def _fold(ufunc: np.ufunc, what: str, rows: Value, start: Any, keep: Any) -> Value:
    """`rows` folded along the first axis; start: what it begins with, else the first row; keep: where a row counts."""
    step, n = FUNCTIONS[ufunc], rows.type.shape[0]
    if start is None and isinstance(n, int) and n == 0:
        if ufunc.identity is None:
            raise SpecError(
                f"{what} of no elements needs initial=, since the function has no identity"
            )
        start = float(ufunc.identity)
    if start is None:
        trace = current_trace()
        if trace is not None:
            trace.require(n, ">=", 1, f"the length of an axis that {what} goes over")
        start, rows = rows[0], rows[1:]
        keep = None if keep is None else keep[1:]
    first = FUNCTIONS[np.broadcast_to](as_values((start, rows))[0], rows.type.shape[1:])

    def after(carry: Any, row: Any) -> Any:
        if keep is None:
            return step(carry, row)
        return calls.where(row[1], step(carry, row[0]), carry)

    n = rows.type.shape[0]
    if isinstance(n, int) and n <= _SHORT:
        items = [rows[k] if keep is None else (rows[k], keep[k]) for k in range(n)]
        return functools.reduce(after, items, first)
    folded: Value = scan(
        lambda c, row: (after(c, row), None), first, rows if keep is None else (rows, keep)
    )[0]
    return folded


def _reduce(ufunc: np.ufunc) -> Callable[..., Value]:
    what = _name(ufunc, "reduce")
    if ufunc in _SKIPPING:

        def refused(*args: Any, **kwargs: Any) -> Value:
            raise UnsupportedError(
                f"{what} is refused: NumPy's own leaves out elements",
                f"Write functools.reduce(np.{ufunc.__name__}, x).",
            )

        return refused
    apart = ufunc in (np.subtract, np.divide, np.float_power, np.fmod, np.remainder)

    def reduce(
        array: Any, axis: Any = 0, dtype: Any = None, out: None = None, keepdims: Any = False, initial: Any = None,
        where: Any = True,
    ) -> Value:  # fmt: skip
        x = _operand(ufunc, array, dtype)
        axes = axes_of(what, x, axis)
        if apart and len(axes) > 1:
            raise SpecError(f"{what} needs one axis, since its order counts, got {axis}")
        if where is not True and initial is None and ufunc.identity is None:
            raise SpecError(
                f"{what} needs initial= beside where=, since the function has no identity"
            )
        rest = [k for k in range(x.type.ndim) if k not in axes]
        kept = [x.type.shape[k] for k in rest]
        length = product(tuple([x.type.shape[k] for k in axes]))

        def lines(value: Value) -> Value:
            return reshape(transpose(value, [*axes, *rest]), (length, *kept))

        if where is True:
            found = _fold(ufunc, what, lines(x), initial, None)
        else:
            keep = lines(FUNCTIONS[np.broadcast_to](as_value(where), x.type.shape))
            start = float(ufunc.identity) if initial is None else initial
            found = _fold(ufunc, what, lines(x), start, keep)
        if not keepdims:
            return found
        return reshape(found, tuple(1 if k in axes else d for k, d in enumerate(x.type.shape)))

    return reduce


def _of_nan(ufunc: np.ufunc, whole: Any) -> Callable[..., Value]:
    """fmax.reduce and fmin.reduce: the function that skips NaN, whose ties share evenly."""

    def reduce(
        array: Any, axis: Any = 0, dtype: Any = None, out: None = None, keepdims: Any = False, initial: Any = None,
        where: Any = True,
    ) -> Value:  # fmt: skip
        x = as_dtype(as_value(array), dtype)
        if where is not True:
            x = calls.where(where, x, np.nan)
        found: Value = FUNCTIONS[whole](x, axis, keepdims=keepdims)
        return found if initial is None else FUNCTIONS[ufunc](found, initial)

    return reduce


def _accumulate(ufunc: np.ufunc) -> Callable[..., Value]:
    what = _name(ufunc, "accumulate")
    step = FUNCTIONS[ufunc]

    def accumulate(array: Any, axis: Any = 0, dtype: Any = None, out: None = None) -> Value:
        x = _operand(ufunc, array, dtype)
        k = axis_of(what, x, axis)
        rows = moveaxis(x, k, 0)
        n = rows.type.shape[0]
        if isinstance(n, int) and n <= 1:
            return x
        trace = current_trace()
        if trace is not None:
            trace.require(n, ">=", 1, f"the length of an axis that {what} goes over")
        if isinstance(n, int) and n <= _SHORT:
            results = [rows[0]]
            for j in range(1, n):
                results.append(step(results[-1], rows[j]))
            return moveaxis(stack(results), 0, k)

        # Over all rows, so that the length is the axis's own: n, not 1 + max(0, n - 1).
        def after(carry: Any, item: Any) -> Any:
            row, is_first = item
            y = calls.where(is_first, row, step(carry, row))
            return y, y

        _, found = scan(after, rows[0], (rows, calls.equal(iota(n), 0)))
        return moveaxis(found, 0, k)

    return accumulate


def _outer(ufunc: np.ufunc) -> Callable[..., Value]:
    def outer(a: Any, b: Any, /, **kwargs: Any) -> Value:
        a, b = as_values((a, b))
        wide = reshape(a, (*a.type.shape, *(1,) * b.type.ndim)) if b.type.ndim else a
        return FUNCTIONS[ufunc](wide, b, **kwargs)

    return outer


def _reduceat(ufunc: np.ufunc) -> Callable[..., Value]:
    """reduce over array[i:j] for each index i and the next, j; array[i] where j <= i."""
    what = _name(ufunc, "reduceat")

    def reduceat(
        array: Any, indices: Any, axis: Any = 0, dtype: Any = None, out: None = None
    ) -> Value:
        if isinstance(indices, Value):
            raise UnsupportedError(
                f"{what} needs indices known at trace time, got {indices.type}",
                "Sum by groups with np.bincount(group, weights, minlength=k) or np.add.at.",
            )
        x = as_dtype(as_value(array), dtype)
        k = axis_of(what, x, axis)
        starts = [int(i) for i in np.asarray(indices).reshape(-1)]
        if not starts or min(starts) < 0:
            raise SpecError(f"{what} needs indices of 0 or more, got {indices}")
        trace = current_trace()
        if trace is not None:
            trace.require(x.type.shape[k], ">=", max(starts) + 1, f"the length of an axis that {what} goes over")  # fmt: skip
        parts = []
        for i, j in zip(starts, [*starts[1:], None], strict=True):
            alone = j is not None and j <= i
            part = along(x, k, i) if alone else FUNCTIONS[ufunc, "reduce"](along(x, k, slice(i, j)), k)  # fmt: skip
            parts.append(part)
        return stack(parts, k)

    return reduceat


def _of_floats(ufunc: np.ufunc) -> bool:
    """Whether it makes a float of two, which another may follow."""
    number = np.dtype(float)
    try:
        return bool(ufunc.resolve_dtypes((number, number, None))[-1] == number)
    except TypeError:
        return False


for _ufunc in [f for f in FUNCTIONS if isinstance(f, np.ufunc) and (f.nin, f.nout) == (2, 1)]:
    if _ufunc.signature is None:
        implements((_ufunc, "outer"))(_outer(_ufunc))
        for _method, _make in (("reduce", _reduce), ("accumulate", _accumulate), ("reduceat", _reduceat)):  # fmt: skip
            if (_ufunc, _method) not in FUNCTIONS and _of_floats(_ufunc):
                implements((_ufunc, _method))(_make(_ufunc))
for _ufunc, _whole in ((np.fmax, np.nanmax), (np.fmin, np.nanmin)):
    implements((_ufunc, "reduce"))(_of_nan(_ufunc, _whole))
