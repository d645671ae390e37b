"""np.pad, axis by axis: constant, edge, linear_ramp, reflect, symmetric, wrap, and the statistics of an end.

Not supported: mode "empty", whose ends are not initialised, and functions as modes; odd reflections wider than the axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.errors import SpecError, UnsupportedError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ops import calls
from gradgen.ops.rearrange import along, count_of, flip
from gradgen.ops.reduce import as_value, as_values, no_truth
from gradgen.ops.reductions import as_dtype
from gradgen.ops.shape import broadcast_to, concatenate
from gradgen.value import Value

_STATISTICS = {"maximum": np.max, "mean": np.mean, "median": np.median, "minimum": np.min}
_MODES = ("constant", "edge", "linear_ramp", "reflect", "symmetric", "wrap", *_STATISTICS)


@implements(np.pad)
def pad(
    array: Any, pad_width: Any, mode: Any = "constant", *, constant_values: Any = 0, end_values: Any = 0,
    stat_length: Any = None, reflect_type: str = "even",
) -> Value:  # fmt: skip
    """Widths are numbers known at trace time; a symbolic axis must be as long as what is reflected or wrapped."""
    x = as_value(array)
    if mode not in _MODES:
        raise UnsupportedError(
            f"np.pad needs mode {', '.join(map(repr, _MODES))}, got {mode!r}",
            "Compute what goes to the ends and join it with np.concatenate.",
        )
    widths = _pairs("pad_width", pad_width, x.type.ndim)
    if reflect_type not in ("even", "odd"):
        raise SpecError(f"np.pad needs reflect_type 'even' or 'odd', got {reflect_type!r}")
    if mode in _STATISTICS:
        fills = _pairs("stat_length", stat_length, x.type.ndim)
    elif mode == "linear_ramp":
        fills = _pairs("end_values", end_values, x.type.ndim)
    else:
        fills = _pairs("constant_values", constant_values, x.type.ndim)
    for axis, (pair, fill) in enumerate(zip(widths, fills, strict=True)):
        before, after = (count_of("np.pad", w) for w in pair)
        if before < 0 or after < 0:
            raise SpecError(f"np.pad needs widths of 0 or more, got {pair}")
        if not before and not after:
            continue
        if mode in _STATISTICS or mode == "linear_ramp":
            x = _with_ends(x, axis, before, after, mode, fill)
        elif reflect_type == "odd" and mode in ("reflect", "symmetric"):
            x = _turned(
                no_truth("np.pad with reflect_type 'odd'", x),
                axis,
                before,
                after,
                int(mode == "reflect"),
            )
        else:
            x = _padded(x, axis, before, after, mode, fill)
    return x


def _pairs(what: str, given: Any, ndim: int) -> list[tuple[Any, Any]]:
    """(before, after) per axis, from a number, a pair or one of them per axis (a dict by axis)."""
    if isinstance(given, dict):
        items = [given.get(k, given.get(k - ndim, 0)) for k in range(ndim)]
        return [tuple(i) if isinstance(i, (tuple, list)) else (i, i) for i in items]
    if not isinstance(given, (tuple, list, np.ndarray)):
        return [(given, given)] * ndim
    rows = list(given)
    nested = all(isinstance(r, (tuple, list, np.ndarray)) for r in rows)
    if nested and len(rows) in (1, ndim):
        rows = [tuple(r) if len(r) == 2 else (r[0], r[0]) for r in rows]
        return rows * ndim if len(rows) == 1 else rows
    if not nested and len(rows) in (1, 2):
        return [(rows[0], rows[-1])] * ndim
    raise SpecError(f"np.pad needs {what} as a number, a pair or one pair per axis, got {given!r}")


def _padded(
    x: Value, axis: int, before: int, after: int, mode: str, fill: tuple[Any, Any]
) -> Value:
    shape, dim = x.type.shape, x.type.shape[axis]
    if mode == "constant":
        parts: list[Any] = [x]
        for width, value, front in ((before, fill[0], True), (after, fill[1], False)):
            if width:
                value = as_dtype(as_values((x, value))[1], x.type.dtype)
                part = broadcast_to(value, (*shape[:axis], width, *shape[axis + 1 :]))
                parts.insert(0 if front else len(parts), part)
        return concatenate(parts, axis)
    if isinstance(dim, int):
        return along(x, axis, np.pad(np.arange(dim), (before, after), mode=mode))  # type: ignore[call-overload]
    # An axis of symbolic length: the parts as slices, which must lie within it.
    skip = int(mode == "reflect")
    if mode == "edge":
        head, tail = along(x, axis, slice(None, 1)), along(x, axis, slice(-1, None))
        head = broadcast_to(head, (*shape[:axis], before, *shape[axis + 1 :]))
        tail = broadcast_to(tail, (*shape[:axis], after, *shape[axis + 1 :]))
    elif mode == "wrap":
        head, tail = along(x, axis, slice(-before, None)), along(x, axis, slice(None, after))
    else:
        head = flip(along(x, axis, slice(skip, before + skip)), axis)
        tail = flip(along(x, axis, slice(-after - skip, -1 if skip else None)), axis)
    return concatenate([*([head] if before else []), x, *([tail] if after else [])], axis)


def _with_ends(
    x: Value, axis: int, before: int, after: int, mode: str, given: tuple[Any, Any]
) -> Value:
    """Ends that a statistic of the elements near them fills, or that go to given values in equal steps."""
    shape = x.type.shape
    parts = [x]
    for width, value, front in ((before, given[0], True), (after, given[1], False)):
        if not width:
            continue
        if mode == "linear_ramp":
            last = along(x, axis, slice(None, 1) if front else slice(-1, None))
            steps = np.arange(width) if front else np.arange(width)[::-1]
            share = (steps / width).reshape([-1 if k == axis else 1 for k in range(len(shape))])
            _, end = as_values((x, value))
            part = end + (last - end) * share
            if x.type.dtype[0] == "i":  # as np.linspace
                part = calls.floor(part)
        else:
            near = x
            if value is not None and not (isinstance(shape[axis], int) and value >= shape[axis]):
                near = along(x, axis, slice(None, value) if front else slice(-value, None))
            one = FUNCTIONS[_STATISTICS[mode]](near, axis=axis, keepdims=True)
            if x.type.dtype[0] == "i":  # means
                one = calls.rint(one)
            part = broadcast_to(one, (*shape[:axis], width, *shape[axis + 1 :]))
        parts.insert(0 if front else len(parts), as_dtype(part, x.type.dtype))
    return concatenate(parts, axis)


def _turned(x: Value, axis: int, before: int, after: int, skip: int) -> Value:
    """The ends turned about the outermost elements: twice the element minus what lies on its other side."""
    dim = x.type.shape[axis]
    if isinstance(dim, int) and max(before, after) > dim - skip:
        raise UnsupportedError(
            f"np.pad with reflect_type 'odd' needs widths of at most {dim - skip} here, got {(before, after)}",
            "Pad several times.",
        )
    parts = [x]
    if before:
        edge = along(x, axis, slice(None, 1))
        parts.insert(0, 2 * edge - flip(along(x, axis, slice(skip, before + skip)), axis))
    if after:
        edge = along(x, axis, slice(-1, None))
        inner = along(x, axis, slice(-after - skip, -1 if skip else None))
        parts.append(2 * edge - flip(inner, axis))
    return concatenate(parts, axis)
