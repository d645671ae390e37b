"""NumPy's reductions on Values: each is one op of `reduce`, or made of several.

sum prod mean max min any all count_nonzero ptp average var std, their nan-variants, and ufunc.reduce.

`axis` is an int, a tuple or None; `where=` replaces what it masks by the reduction's neutral element before any arithmetic, so
that masked elements contribute nothing to value or gradient; `initial=` is combined with the result. var and std of equal
numbers have derivative 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import SpecError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ir import OPS, Op
from gradgen.ops import calls
from gradgen.ops.reduce import Axes, as_value, as_values, axes_of, no_truth, reduced_shape
from gradgen.sizes import add, max0, nonnegative, product
from gradgen.types import broadcast, dtype_name, floating, promote
from gradgen.value import Extent, Value, apply, current_trace

# Elements that change nothing: what `where=` leaves in place of the masked ones.
_NEUTRAL = {"sum": 0, "prod": 1, "any": False, "all": True}
_BINARY = {"sum": "add", "prod": "mul", "reduce_max": "maximum", "reduce_min": "minimum"}


def reduction(name: str, what: str) -> Callable[..., Value]:
    """The function of the op `name` with all of NumPy's arguments; `what` is what messages call it."""
    op = OPS[name]

    def reduce(
        x: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False,
        initial: Any = None, where: Any = True,
    ) -> Value:  # fmt: skip
        x = as_dtype(as_value(x), dtype)
        if where is not True:
            x = calls.where(where, x, _neutral(op, x, initial, what))
        if op in (OPS["any"], OPS["all"]) and x.type.dtype != "bool":
            x = calls.not_equal(x, 0)
        total = over(op, x, axes_of(what, x, axis), bool(keepdims), initial is None)
        return (
            total
            if initial is None
            else apply(OPS[_BINARY[name]], total, _start(what, total, initial))
        )

    return reduce


def _start(what: str, x: Value, initial: Any) -> Value:
    """`initial` in the dtype of the result, to which NumPy converts it."""
    start = as_values((x, initial))[1]
    if (
        isinstance(initial, (float, np.floating))
        and not x.type.is_float
        and not math.isfinite(initial)
    ):
        raise SpecError(
            f"{what} of {x.type} needs a finite initial=, got {initial}",
            "Pass np.iinfo(np.int64).min for a maximum, .max for a minimum.",
        )
    return as_dtype(start, x.type.dtype)


def _neutral(op: Op, x: Value, initial: Any, what: str) -> Any:
    if op.name in _NEUTRAL:
        return _NEUTRAL[op.name]
    if initial is None:
        raise SpecError(
            f"{what} with where= needs initial=, the result where nothing is selected, got none",
            "Pass initial=-np.inf for a maximum, np.inf for a minimum.",
        )
    return _start(what, x, initial)


def over(op: Op, x: Value, axes: Axes, keepdims: bool = False, first: bool = True) -> Value:
    """`op` over `axes`; over none, x itself. first: an extremum needs an element, else ShapeError."""
    extremum = op.name in ("reduce_max", "reduce_min")
    if first and extremum:
        trace = current_trace()
        for k in axes:
            dim = x.type.shape[k]
            if trace is not None:
                what = f"the length of an axis whose {op.name[-3:]}imum is taken"
                trace.require(dim, ">=", 1, what)
    if not axes:
        return x if op.name != "sum" or x.type.dtype != "bool" else calls.cast(x, dtype="i64")
    params: dict[str, Any] = {"keepdims": True} if keepdims else {}
    if extremum and not first and not all(nonnegative(add(x.type.shape[k], -1)) for k in axes):
        params["empty"] = True
    return apply(op, x, axes=axes, **params)


def as_dtype(x: Value, dtype: Any) -> Value:
    """x in a dtype; None leaves it as it is."""
    if dtype is None or dtype_name(dtype) == x.type.dtype:
        return x
    return calls.cast(x, dtype=dtype_name(dtype))


def _without_dtype(name: str, what: str) -> Callable[..., Value]:
    inner = reduction(name, what)

    def reduce(
        x: Any, axis: Any = None, out: None = None, keepdims: Any = False, initial: Any = None, where: Any = True
    ) -> Value:  # fmt: skip
        return inner(x, axis, None, None, keepdims, initial, where)

    return reduce


def _without_initial(name: str, what: str) -> Callable[..., Value]:
    inner = reduction(name, what)

    def reduce(
        x: Any, axis: Any = None, out: None = None, keepdims: Any = False, *, where: Any = True
    ) -> Value:
        return inner(x, axis, None, None, keepdims, None, where)

    return reduce


sum_ = implements(np.sum)(reduction("sum", "np.sum"))
prod = implements(np.prod)(reduction("prod", "np.prod"))
max_ = implements(np.max, np.amax)(_without_dtype("reduce_max", "np.max"))
min_ = implements(np.min, np.amin)(_without_dtype("reduce_min", "np.min"))
any_ = implements(np.any)(_without_initial("any", "np.any"))
all_ = implements(np.all)(_without_initial("all", "np.all"))


def _of_ufunc(name: str, what: str) -> Callable[..., Value]:
    """ufunc.reduce: as the function, but over axis 0 unless told."""
    inner = reduction(name, what)

    def reduce(
        x: Any, axis: Any = 0, dtype: Any = None, out: None = None, keepdims: Any = False,
        initial: Any = None, where: Any = True,
    ) -> Value:  # fmt: skip
        return inner(x, axis, dtype, out, keepdims, initial, where)

    return reduce


for _ufunc, _name in (
    (np.add, "sum"), (np.multiply, "prod"), (np.maximum, "reduce_max"), (np.minimum, "reduce_min"),
    (np.logical_or, "any"), (np.logical_and, "all"),
):  # fmt: skip
    implements((_ufunc, "reduce"))(_of_ufunc(_name, f"np.{_ufunc.__name__}.reduce"))


# -- counts and means
def count(x: Value, axes: Axes, where: Any = True, keepdims: bool = False) -> Any:
    """How many elements a reduction over `axes` takes: a float or a size; with a mask, a Value."""
    if where is not True:
        mask = FUNCTIONS[np.broadcast_to](where, x.type.shape)
        return over(OPS["sum"], mask, axes, keepdims)
    number = product(tuple(x.type.shape[k] for k in axes))
    return float(number) if isinstance(number, int) else Extent(number)


def quotient(total: Value, number: Any) -> Value:
    """total / number in total's dtype: a count is i64, which would widen f32."""
    if (
        isinstance(number, Value)
        and number.type.dtype != total.type.dtype
        and not isinstance(number, Extent)
    ):
        number = calls.cast(number, dtype=total.type.dtype)
    ratio = total / number
    return (
        ratio if ratio.type.dtype == total.type.dtype else calls.cast(ratio, dtype=total.type.dtype)
    )


def floats(x: Any, dtype: Any = None) -> Value:
    """x as floats: integers and truth values become f64."""
    x = as_dtype(as_value(x), dtype)
    return x if x.type.is_float else calls.cast(x, dtype="f64")


def floats_alike(what: str, a: Any, b: Any) -> list[Value]:
    """Two operands in the floating dtype that NumPy computes them in: nothing is rounded to the dtype of one of them."""
    both = as_values((a, b))
    dtype = promote(*[x.type.dtype for x in both])
    if dtype == "bool":
        no_truth(what, both[0])
    return [as_dtype(x, floating(dtype)) for x in both]


@implements(np.mean)
def mean(
    x: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False, *, where: Any = True
) -> Value:  # fmt: skip
    """The sum over axes divided by the number of elements."""
    x = floats(x, dtype)
    axes = axes_of("np.mean", x, axis)
    return quotient(
        sum_(x, axes, None, None, keepdims, None, where), count(x, axes, where, bool(keepdims))
    )


def _deviations(x: Value, axes: Axes, where: Any) -> Value:
    """x - mean(x) over axes, broadcast against x; 0 where it is masked."""
    apart = x - mean(x, axes, keepdims=True, where=where)
    return apart if where is True else calls.where(where, apart, 0.0)


@implements(np.var)
def var(
    x: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0, keepdims: Any = False,
    *, where: Any = True, mean: Any = None, correction: Any = None,
) -> Value:  # fmt: skip
    """Mean squared distance from the mean, over n - ddof."""
    x = floats(x, dtype)
    axes = axes_of("np.var", x, axis)
    apart = _deviations(x, axes, where) if mean is None else x - mean
    total = sum_(calls.square(apart), axes, None, None, keepdims)
    number = count(x, axes, where, bool(keepdims))
    ddof = ddof if correction is None else correction
    return quotient(total, _free(number, ddof) if ddof else number)


def _free(number: Any, ddof: Any) -> Any:
    """number - ddof, and 0 where it is negative: of too few elements a variance is not a number."""
    less = number - ddof
    if isinstance(less, Extent):
        return Extent.of(max0(less.params["size"]))
    return calls.maximum(less, 0) if isinstance(less, Value) else max(less, 0.0)


@implements(np.std)
def std(
    x: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0, keepdims: Any = False,
    *, where: Any = True, mean: Any = None, correction: Any = None,
) -> Value:  # fmt: skip
    """The root of the variance; derivative 0 where all elements are equal."""
    return apply(
        OPS["root"],
        var(x, axis, dtype, out, ddof, keepdims, where=where, mean=mean, correction=correction),
    )


@implements(np.ptp)
def ptp(x: Any, axis: Any = None, out: None = None, keepdims: Any = False) -> Value:
    """The largest less the smallest element."""
    return max_(x, axis, keepdims=keepdims) - min_(x, axis, keepdims=keepdims)


@implements(np.average)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False
) -> Any:
    """The mean, or sum(weights * a) / sum(weights); weights have a's shape, or that of one axis."""
    x = floats(a)
    axes = axes_of("np.average", x, axis)
    if weights is None:
        result: Any = mean(x, axes, keepdims=keepdims)
        total = calls.cast(count(x, axes) + 0.0 * result, dtype=x.type.dtype)
        return (result, total) if returned else result
    w = as_value(weights)
    if w.type.ndim != x.type.ndim:
        if w.type.ndim != len(axes):
            raise SpecError(f"np.average needs weights of a's shape or of one axis, got {w.type}")
        shape = tuple(d if k in axes else 1 for k, d in enumerate(x.type.shape))
        w = FUNCTIONS[np.reshape](w, shape)
    w = FUNCTIONS[np.broadcast_to](w, x.type.shape)
    total = sum_(w, axes, keepdims=keepdims)
    result = sum_(x * w, axes, keepdims=keepdims) / total
    return (result, total) if returned else result


@implements(np.count_nonzero)
def count_nonzero(x: Any, axis: Any = None, *, keepdims: Any = False) -> Value:
    x = as_value(x)
    return sum_(x if x.type.dtype == "bool" else calls.not_equal(x, 0), axis, keepdims=keepdims)


# -- with NaNs left out
def _present(x: Any, where: Any) -> tuple[Value, Any]:
    """The array and which of its elements count: none of integers and truth values is NaN."""
    x = as_value(x)
    if not x.type.is_float:
        return x, where
    known = calls.logical_not(calls.isnan(x))
    return x, known if where is True else calls.logical_and(known, where)


@implements(np.nansum)
def nansum(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False,
    initial: Any = None, where: Any = True,
) -> Value:  # fmt: skip
    x, known = _present(a, where)
    return sum_(x, axis, dtype, None, keepdims, initial, known)


@implements(np.nanprod)
def nanprod(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False,
    initial: Any = None, where: Any = True,
) -> Value:  # fmt: skip
    x, known = _present(a, where)
    return prod(x, axis, dtype, None, keepdims, initial, known)


def _nan_extreme(inner: Callable[..., Value], start: float) -> Callable[..., Value]:
    def extreme(
        a: Any, axis: Any = None, out: None = None, keepdims: Any = False, initial: Any = None, where: Any = True
    ) -> Value:  # fmt: skip
        x, known = _present(a, where)
        if not x.type.is_float:
            return inner(x, axis, None, keepdims, initial, known)
        found = inner(calls.where(known, x, start), axis, keepdims=keepdims)
        if initial is None:
            return calls.where(any_(known, axis, keepdims=keepdims), found, math.nan)
        return apply(OPS["maximum" if start < 0 else "minimum"], found, initial)

    return extreme


nanmax = implements(np.nanmax)(_nan_extreme(max_, -math.inf))
nanmin = implements(np.nanmin)(_nan_extreme(min_, math.inf))


@implements(np.nanmean)
def nanmean(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False, *, where: Any = True
) -> Value:  # fmt: skip
    x, known = _present(a, where)
    return mean(x, axis, dtype, None, keepdims, where=known)


@implements(np.nanvar)
def nanvar(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0, keepdims: Any = False,
    *, where: Any = True,
) -> Value:  # fmt: skip
    x, known = _present(a, where)
    return var(x, axis, dtype, None, ddof, keepdims, where=known)


@implements(np.nanstd)
def nanstd(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0, keepdims: Any = False,
    *, where: Any = True,
) -> Value:  # fmt: skip
    x, known = _present(a, where)
    return std(x, axis, dtype, None, ddof, keepdims, where=known)


# -- logsumexp and what is made of it
@implements((np.logaddexp, "reduce"))
def logaddexp_reduce(
    x: Any, axis: Any = 0, dtype: Any = None, out: None = None, keepdims: Any = False, initial: Any = None,
    where: Any = True,
) -> Value:  # fmt: skip
    x = no_truth("np.logaddexp.reduce", as_dtype(as_value(x), dtype))
    found = logsumexp(
        x if where is True else calls.where(where, x, -math.inf), axis, None, keepdims
    )
    return found if initial is None else FUNCTIONS[np.logaddexp](found, initial)


@implements("scipy.special.logsumexp")
def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: Any = False, return_sign: bool = False
) -> Any:
    """log(sum(b * exp(a))) without overflow, b = 1 by default; NaN where the sum is negative."""
    x = floats(a)
    if b is None and not return_sign:
        axes = axes_of("logsumexp", x, axis)
        if not axes:  # log(exp(x))
            return x
        return over(OPS["logsumexp"], x, axes, bool(keepdims))
    x, w = as_values((x, 1.0 if b is None else b))
    shape = broadcast("logsumexp", x.type.shape, w.type.shape)
    x = FUNCTIONS[np.broadcast_to](x, shape)
    axes = axes_of("logsumexp", x, axis)
    # The weights stay outside of the exponent, so that they may be 0 or negative.
    top = max_(calls.where(calls.not_equal(w, 0), x, -math.inf), axes, keepdims=True)
    top = calls.where(calls.isfinite(top), top, 0.0)
    total = sum_(w * calls.exp(x - top), axes, keepdims=True)
    parts = [calls.log(abs(total) if return_sign else total) + top, calls.sign(total)]
    if not keepdims:
        parts = [FUNCTIONS[np.reshape](p, reduced_shape(shape, axes, False)) for p in parts]
    return tuple(parts) if return_sign else parts[0]


@implements("scipy.special.log_softmax")
def log_softmax(x: Any, axis: Any = None) -> Value:
    """x - logsumexp(x) over axes; the largest x is taken off both, so that a common part of x costs no digits."""
    x = floats(no_truth("softmax", x))
    top = apply(OPS["stop_gradient"], max_(x, axis, keepdims=True))
    x = x - calls.where(calls.isfinite(top), top, 0.0)
    return x - logsumexp(x, axis, None, True)


@implements("scipy.special.softmax")
def softmax(x: Any, axis: Any = None) -> Value:
    """exp(x - logsumexp(x)) over axes."""
    return calls.exp(log_softmax(x, axis))
