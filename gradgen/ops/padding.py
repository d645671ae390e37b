"""np.pad: constant, edge, reflect, symmetric and wrap, axis by axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.errors import SpecError, UnsupportedError
from gradgen.functions import implements
from gradgen.ops.rearrange import along, count_of, flip
from gradgen.ops.reduce import as_value, as_values
from gradgen.ops.shape import broadcast_to, concatenate
from gradgen.value import Value

_MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", *, constant_values: Any = 0) -> Value:
    """Widths are numbers known at trace time; a symbolic axis must be as long as what is reflected or wrapped."""
    x = as_value(array)
    if mode not in _MODES:
        raise UnsupportedError(
            f"np.pad needs mode {', '.join(map(repr, _MODES))}, got {mode!r}",
            "Compute what goes to the ends and join it with np.concatenate.",
        )
    widths = _pairs("pad_width", pad_width, x.type.ndim)
    fills = _pairs("constant_values", constant_values, x.type.ndim)
    for axis, (pair, fill) in enumerate(zip(widths, fills, strict=True)):
        before, after = (count_of("np.pad", w) for w in pair)
        if before < 0 or after < 0:
            raise SpecError(f"np.pad needs widths of 0 or more, got {pair}")
        if before or after:
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
                _, value = as_values((x, value))
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
