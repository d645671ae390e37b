"""Order: argsort and searchsorted, and what is made of them: sort partition median quantile percentile digitize bincount.

    argsort(x)               i64: the stable order of the last axis, NaN last; no slope
    searchsorted(a, v, side=)  i64: where v would be put into the sorted vector a; no slope

A sorted array is the array gathered in its order, so that its gradient is scattered back; at ties the order is that of
the positions. Quantiles interpolate linearly between neighbours in order, or take the one that `method` names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError, UnsupportedError
from gradgen.functions import implements
from gradgen.ir import CONST, OPS, Op, define
from gradgen.ops import calls, sorting_c  # noqa: F401  enters the routines
from gradgen.ops.index import getitem, zeros
from gradgen.ops.rearrange import axis_of, flip
from gradgen.ops.reduce import as_value, as_values, axes_of, no_truth
from gradgen.ops.reductions import any_, count_nonzero, floats
from gradgen.ops.selecting import along_places
from gradgen.ops.shape import broadcast_to, moveaxis, reshape, stack, transpose
from gradgen.ops.spans import require_length
from gradgen.sizes import product
from gradgen.spelling import Expr
from gradgen.types import Type
from gradgen.value import Extent, Value, apply, constant, current_trace, dim_or_none


def _argsort_spell(operands: Any, node: Any, target: Any) -> Expr:
    return Expr(f'np.argsort({operands[0].text}, kind="stable")')


ARGSORT: Op = define(
    Op(
        "argsort",
        lambda x: Type.of("i64", x.shape),
        lambda x: np.argsort(x, axis=-1, kind="stable"),
        "The stable order of the last axis, NaN last.",
        flops=10,
        numpy=_argsort_spell,
        nest=lambda lowering, node: lowering.argsort(node),
    )
)


def _searchsorted_type(a: Type, v: Type, side: str) -> Type:
    if a.ndim != 1:
        raise ShapeError(f"searchsorted needs a sorted vector, got {a}")
    return Type.of("i64", v.shape)


def _searchsorted_spell(operands: Any, node: Any, target: Any) -> Expr:
    side = ', side="right"' if node.params["side"] == "right" else ""
    return Expr(f"np.searchsorted({operands[0].text}, {operands[1].text}{side})")


SEARCHSORTED: Op = define(
    Op(
        "searchsorted",
        _searchsorted_type,
        lambda a, v, side: np.searchsorted(a, v, side=side),
        "How many elements of a sorted vector are less than (side right: at most) each v; NaN is largest.",
        flops=10,
        numpy=_searchsorted_spell,
        nest=lambda lowering, node: lowering.searchsorted(node),
    )
)


@implements(np.argsort)
def argsort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Value:
    a = as_value(a)
    if axis is None:
        a, axis = reshape(a, -1), 0
    k = axis_of("np.argsort", a, axis)
    return moveaxis(apply(ARGSORT, moveaxis(a, k, -1)), -1, k)


@implements(np.sort)
def sort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Value:
    a = as_value(a)
    if axis is None:
        a, axis = reshape(a, -1), 0
    k = axis_of("np.sort", a, axis)
    x = moveaxis(a, k, -1)
    at = apply(ARGSORT, x)
    return moveaxis(getitem(x, along_places(x, at, x.type.ndim - 1)), -1, k)


@implements(np.partition)
def partition(a: Any, kth: Any, axis: Any = -1, kind: Any = None, order: Any = None) -> Value:
    """Sorted, which is a partition about every element."""
    _check_kth("np.partition", a, kth, axis)
    return sort(a, axis)


def _check_kth(what: str, a: Any, kth: Any, axis: Any) -> None:
    """NumPy refuses an element that is not there."""
    a = as_value(a)
    dim = product(a.type.shape) if axis is None else a.type.shape[axis_of(what, a, axis)]
    for k in np.ravel(kth).tolist():
        require_length(current_trace(), dim, k + 1 if k >= 0 else -k)


@implements(np.argpartition)
def argpartition(a: Any, kth: Any, axis: Any = -1, kind: Any = None, order: Any = None) -> Value:
    _check_kth("np.argpartition", a, kth, axis)
    return argsort(a, axis)


@implements(np.lexsort)
def lexsort(keys: Any, axis: int = -1) -> Value:
    """The order by the last key, then the one before it, ..."""
    parts = as_values(keys) if isinstance(keys, (list, tuple)) else list(as_value(keys))
    found = argsort(parts[0], axis)
    for key in parts[1:]:
        k = axis_of("np.lexsort", key, axis)
        moved, at = moveaxis(key, k, -1), moveaxis(found, k, -1)
        places = along_places(moved, at, moved.type.ndim - 1)
        again = apply(ARGSORT, getitem(moved, places))
        found = moveaxis(getitem(at, along_places(at, again, at.type.ndim - 1)), -1, k)
    return found


# -- quantiles
# (alpha, beta) of the methods that interpolate: R. J. Hyndman and Y. Fan, "Sample Quantiles in Statistical Packages", The
# American Statistician 50 (1996), 361-365, types 4 to 9.
_INTERPOLATED = {
    "interpolated_inverted_cdf": (0.0, 1.0), "hazen": (0.5, 0.5), "weibull": (0.0, 0.0), "linear": (1.0, 1.0),
    "median_unbiased": (1.0 / 3.0, 1.0 / 3.0), "normal_unbiased": (3.0 / 8.0, 3.0 / 8.0),
}  # fmt: skip
_NEIGHBOURS = ("lower", "higher", "midpoint", "nearest")
# Types 1 to 3 there: steps of the empirical distribution.
_STEPS = ("inverted_cdf", "averaged_inverted_cdf", "closest_observation")
_METHODS = (*_INTERPOLATED, *_NEIGHBOURS, *_STEPS)


def _floor(x: Any) -> Any:
    return calls.floor(x) if isinstance(x, Value) else float(np.floor(x))


def _choose(condition: Any, a: Any, b: Any, like: Any) -> Any:
    """a or b; numbers in the dtype of `like`, where that is a Value: two of Python's would make f64."""
    if not isinstance(condition, Value):
        return a if condition else b
    return calls.where(condition, *[v if isinstance(v, Value) else constant(v, like.type.dtype) for v in (a, b)])  # fmt: skip


def _equal(a: Any, b: float) -> Any:
    return calls.equal(a, b) if isinstance(a, Value) else a == b


def _place(part: Any, last: Any, method: str) -> Any:
    """Where the quantile `part` lies among the elements 0, 1, ..., last: a float or a Value."""
    if method == "linear" or method in _NEIGHBOURS:
        return part * last
    n = last + 1.0
    if method in _INTERPOLATED:
        alpha, beta = _INTERPOLATED[method]
        place = n * part + (alpha + part * (1.0 - alpha - beta)) - 1.0
    else:
        place = n * part - (1.5 if method == "closest_observation" else 1.0)
        low = _floor(place)
        exact = _equal(place - low, 0.0)
        if method == "averaged_inverted_cdf":
            place = low + _choose(exact, 0.5, 1.0, place)
        elif method == "inverted_cdf":
            place = low + _choose(exact, 0.0, 1.0, place)
        else:  # to the even one, counted from 1
            even = _choose(_equal(low - 2.0 * _floor(low / 2.0), 1.0), 0.0, 1.0, place)
            place = low + _choose(exact, even, 1.0, place)
    if isinstance(place, Value):
        return apply(OPS["minimum"], apply(OPS["maximum"], place, 0.0), last)
    return min(max(place, 0.0), last)


def _ranked(what: str, a: Any, axis: Any) -> tuple[Value, tuple[int, ...], Value]:
    """The elements over the axes, sorted, as a last axis; the axes; and where one of them is NaN."""
    x = floats(a)
    axes = axes_of(what, x, axis)
    kept = [k for k in range(x.type.ndim) if k not in axes]
    moved = transpose(x, [*kept, *axes])
    shape = moved.type.shape
    flat = reshape(moved, (*shape[: len(kept)], product(shape[len(kept) :])))
    trace = current_trace()
    if trace is not None:
        trace.require(flat.type.shape[-1], ">=", 1, "the length of an axis whose quantile is taken")
    return sort(flat), axes, any_(calls.isnan(flat), -1)


def _between(ordered: Value, place: Any, method: str, last: Any) -> Value:
    """The element at a fractional place of the last axis: interpolated, or the neighbour that `method` takes."""
    low = _floor(place)
    t = place - low
    if method == "nearest":
        low = calls.rint(place) if isinstance(place, Value) else float(np.rint(place))
    if method == "higher":
        low = calls.ceil(place) if isinstance(place, Value) else float(np.ceil(place))
    if method in ("lower", "higher", "nearest", "inverted_cdf", "closest_observation"):
        return _at(ordered, low)
    if not isinstance(place, Value) and t == 0.0:
        return _at(ordered, low)
    first = _at(ordered, low)
    second = _at(
        ordered, apply(OPS["minimum"], low + 1.0, last) if isinstance(place, Value) else low + 1.0
    )
    if method == "midpoint":
        t = calls.where(calls.equal(t, 0.0), 0.0, 0.5) if isinstance(t, Value) else 0.5
    return first + (second - first) * t


def _at(ordered: Value, k: Any) -> Value:
    if not isinstance(k, Value):
        return getitem(ordered, (..., int(k)))
    index = calls.cast(k, dtype="i64")
    if index.type.ndim == 0:
        return getitem(ordered, (..., index))
    column = reshape(index, (*index.type.shape, 1))
    found = getitem(ordered, along_places(ordered, column, ordered.type.ndim - 1))
    return getitem(found, (..., 0))


def _quantiles(
    what: str, a: Any, q: Any, axis: Any, method: str, keepdims: Any, skip_nan: bool = False
) -> Value:
    if method not in _METHODS:
        raise SpecError(f"{what} needs method {', '.join(map(repr, _METHODS))}, got {method!r}")
    ordered, axes, unknown = _ranked(what, a, axis)
    dtype = ordered.type.dtype
    dim = ordered.type.shape[-1]
    if skip_nan:
        count = count_nonzero(calls.logical_not(calls.isnan(ordered)), -1)
        last: Any = calls.cast(apply(OPS["maximum"], count - 1, 0), dtype=dtype)
    else:
        last = float(dim - 1) if isinstance(dim, int) else calls.cast(Extent(dim) - 1, dtype=dtype)
    if isinstance(q, Value):
        q, shape = reshape(as_value(q), -1), q.type.shape
        if not isinstance(q.type.shape[0], int):
            raise SpecError(f"{what} needs a number of quantiles known at trace time, got {q.type}")
        wanted: list[Any] = [q[k] for k in range(q.type.shape[0])]
    else:
        array = np.asarray(q, float)
        if np.any((array < 0) | (array > 1)):
            raise SpecError(f"{what} needs quantiles between 0 and 1 (percentiles: 100), got {q}")
        shape, wanted = array.shape, [float(v) for v in array.reshape(-1)]
    found = []
    for part in wanted:
        value = _between(ordered, _place(part, last, method), method, last)
        found.append(value if skip_nan else calls.where(unknown, np.nan, value))
    out = stack(found) if shape else found[0]
    rest = found[0].type.shape
    if keepdims:
        x = as_value(a)
        rest = tuple(1 if k in axes else d for k, d in enumerate(x.type.shape))
    return reshape(out, (*shape, *rest))


@implements(np.median)
def median(
    a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: Any = False
) -> Value:
    """The middle element in order, or the mean of the two in the middle."""
    return _quantiles("np.median", a, 0.5, axis, "linear", keepdims)


@implements(np.nanmedian)
def nanmedian(
    a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: Any = False
) -> Value:
    return _quantiles("np.nanmedian", a, 0.5, axis, "linear", keepdims, True)


def _quantile(what: str, scale: float, skip_nan: bool) -> Any:
    def quantile(
        a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
        method: str = "linear", keepdims: Any = False,
    ) -> Value:  # fmt: skip
        a = no_truth(what, a)
        part = q / scale if isinstance(q, Value) else np.asarray(q, float) / scale
        return _quantiles(what, a, part, axis, method, keepdims, skip_nan)

    return quantile


implements(np.quantile)(_quantile("np.quantile", 1.0, False))
implements(np.percentile)(_quantile("np.percentile", 100.0, False))
implements(np.nanquantile)(_quantile("np.nanquantile", 1.0, True))
implements(np.nanpercentile)(_quantile("np.nanpercentile", 100.0, True))


# -- bins
@implements(np.searchsorted)
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Value:
    a, v = as_value(a), as_value(v)
    if side not in ("left", "right"):
        raise SpecError(f"np.searchsorted needs side 'left' or 'right', got {side!r}")
    return apply(SEARCHSORTED, a if sorter is None else getitem(a, sorter), v, side=side)


@implements(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Value:
    """The bin of each x; known bins may also decrease."""
    bins = as_value(bins)
    known = np.asarray(bins.params["value"]) if bins.op is CONST else None
    if known is not None and known.size > 1 and known[0] > known[-1]:
        at = searchsorted(flip(bins), x, "right" if right else "left")
        return known.size - at
    return searchsorted(bins, x, "left" if right else "right")


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: Any = 0) -> Value:
    """Sums of weights by bin; the number of bins is known from constant bins, or is `minlength`."""
    at = as_value(x)
    least = dim_or_none(minlength)
    if at.op is CONST:
        array = np.asarray(at.params["value"])
        if array.size and array.min() < 0:
            raise SpecError(f"np.bincount needs bins of 0 or more, got {array.min()}")
        top = int(array.max()) + 1 if array.size else 0
        n = max(top, least) if isinstance(least, int) else least
    else:
        n = least
        if not n:
            raise UnsupportedError(
                "np.bincount of traced bins has a length that depends on data",
                "Pass minlength=, the number of bins; a bin beyond it is an index error.",
            )
        # A negative bin is none: it must not count from the end.
        size: Any = n if isinstance(n, int) else Extent(n)
        at = calls.where(calls.less(at, 0), size, at)
    if weights is None:
        w = broadcast_to(constant(1, "i64"), at.type.shape)
    else:
        w = calls.cast(as_value(weights), dtype="f64")  # NumPy's sums are, whatever the weights
        if w.type.shape != at.type.shape:
            raise ShapeError(f"np.bincount needs a weight per bin, got {at.type} and {w.type}")
    start = zeros(Type.of(w.type.dtype, (n,)))  # type: ignore[arg-type]
    return apply(OPS["scatter_add"], start, w, at, axis=0)
