"""NumPy's functions that move elements, each made of slices, joins, reshapes and gathers.

flip roll rot90 tile repeat rollaxis atleast_1d|2d|3d append insert delete resize broadcast_arrays
dstack column_stack block split array_split hsplit vsplit dsplit unstack

Counts and shifts are numbers known at trace time; sizes may be symbolic wherever the shape of the result can then be stated.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError, UnsupportedError
from gradgen.functions import implements
from gradgen.ops.index import getitem
from gradgen.ops.ranges import iota
from gradgen.ops.reduce import as_value, as_values, axes_of
from gradgen.ops.reductions import as_dtype
from gradgen.ops.shape import (
    broadcast_to,
    concatenate,
    moveaxis,
    reshape,
    shape_of,
    swapaxes,
    transpose,
)
from gradgen.ops.spans import require_length
from gradgen.sizes import Dim, add, floordiv, mul, product
from gradgen.types import broadcast
from gradgen.value import Extent, Value, any_value, current_trace, dim_or_none


def axis_of(what: str, x: Value, axis: Any) -> int:
    """One axis as a non-negative number."""
    (found,) = axes_of(what, x, int(axis) if isinstance(axis, np.integer) else axis)
    return found


def along(x: Value, axis: int, entry: Any) -> Value:
    """x indexed by `entry` on one axis."""
    return getitem(x, (*(slice(None),) * axis, entry))


def as_index(dim: Dim) -> Any:
    """A dimension as the bound of a slice."""
    return dim if isinstance(dim, int) else Extent(dim)


def count_of(what: str, number: Any) -> int:
    """A count or shift as an int; SpecError if it is not known at trace time."""
    try:
        return operator.index(number)
    except TypeError:
        raise SpecError(f"{what} needs an integer known at trace time, got {number!r}") from None


# -- reversed and rotated
@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Value:
    m = as_value(m)
    axes = axes_of("np.flip", m, axis)
    back = slice(None, None, -1)
    return getitem(m, tuple(back if k in axes else slice(None) for k in range(m.type.ndim)))


@implements(np.fliplr)
def fliplr(m: Any) -> Value:
    return flip(m, 1)


@implements(np.flipud)
def flipud(m: Any) -> Value:
    return flip(m, 0)


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Value:
    m = as_value(m)
    i, j = (axis_of("np.rot90", m, a) for a in axes)
    k = count_of("np.rot90", k) % 4
    if k == 0:
        return m
    if k == 2:
        return flip(m, (i, j))
    return swapaxes(flip(m, j), i, j) if k == 1 else flip(swapaxes(m, i, j), j)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Value:
    """Elements moved on by `shift`, those at the end to the front."""
    a = as_value(a)
    if axis is None:
        return reshape(roll(reshape(a, -1), shift, 0), a.type.shape)
    axes = list(axis) if isinstance(axis, (tuple, list)) else [axis]
    shifts = list(shift) if isinstance(shift, (tuple, list, np.ndarray)) else [shift]
    if len(shifts) == 1:
        shifts *= len(axes)
    if len(axes) == 1:
        axes *= len(shifts)
    for k, by in zip(axes, shifts, strict=True):
        a = _rolled(a, count_of("np.roll", by), axis_of("np.roll", a, k))
    return a


def _rolled(a: Value, by: int, axis: int) -> Value:
    dim = a.type.shape[axis]
    if isinstance(dim, int):
        by = by % dim if dim else 0
    if by == 0:
        return a
    if not isinstance(dim, int):  # any shift fits any size
        return along(a, axis, (iota(dim) - by) % Extent(dim))
    return concatenate([along(a, axis, slice(-by, None)), along(a, axis, slice(None, -by))], axis)


# -- repeated
@implements(np.tile)
def tile(A: Any, reps: Any) -> Value:
    A = as_value(A)
    given = reps if isinstance(reps, (tuple, list, np.ndarray)) else (reps,)
    times: list[Dim] = [_times("np.tile", r) for r in given]
    times[:0] = [1] * (A.type.ndim - len(times))
    shape = (1,) * (len(times) - A.type.ndim) + A.type.shape
    apart = [d for pair in zip((1,) * len(shape), shape, strict=True) for d in pair]
    wide = [d for pair in zip(times, shape, strict=True) for d in pair]
    spread = broadcast_to(reshape(A, tuple(apart)), tuple(wide))
    return reshape(spread, tuple(mul(r, d) for r, d in zip(times, shape, strict=True)))


def _refuse_traced(what: str, given: Any, remedy: str) -> None:
    if any_value(given):
        raise UnsupportedError(f"{what} has a shape that depends on data if it is traced", remedy)


def _times(what: str, number: Any) -> Dim:
    dim = dim_or_none(number)
    return count_of(what, number) if dim is None else dim


@implements(np.repeat)
def repeat(a: Any, repeats: Any, axis: Any = None) -> Value:
    """Each element `repeats` times: one number, or one per element."""
    a = as_value(a)
    if axis is None:
        a, axis = reshape(a, -1), 0
    axis = axis_of("np.repeat", a, axis)
    times = dim_or_none(repeats)
    if times is None:
        _refuse_traced("a number of repeats", repeats, "Pass the counts as plain integers.")
        counts = np.asarray(repeats)
        if counts.size == 1:
            times = int(counts.reshape(()))
        else:
            dim, trace = a.type.shape[axis], current_trace()
            if isinstance(dim, int) and dim != counts.size:
                raise ShapeError(
                    f"np.repeat needs a count for each of {dim} elements, got {counts.size}"
                )
            if not isinstance(dim, int) and trace is not None:
                trace.require(dim, "==", counts.size, "the number of counts of np.repeat")
            return along(a, axis, np.repeat(np.arange(counts.size), counts))
    shape = a.type.shape
    wide = broadcast_to(
        reshape(a, (*shape[: axis + 1], 1, *shape[axis + 1 :])),
        (*shape[: axis + 1], times, *shape[axis + 1 :]),
    )
    return reshape(wide, (*shape[:axis], mul(shape[axis], times), *shape[axis + 1 :]))


@implements(np.resize)
def resize(a: Any, new_shape: Any) -> Value:
    """The elements row by row in a new shape, repeated or cut off as it asks."""
    a = reshape(as_value(a), -1)
    shape = shape_of("np.resize", new_shape)
    old, new = a.type.size, product(shape)
    if not isinstance(old, int) or not isinstance(new, int):
        raise SpecError(f"np.resize needs sizes known at trace time, got {a.type}")
    if old != new:
        a = getitem(a, np.resize(np.arange(old), new))
    return reshape(a, shape)


# -- ranks
@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Value:
    a = as_value(a)
    k = axis_of("np.rollaxis", a, axis)
    if start < 0:
        start += a.type.ndim
    return moveaxis(a, k, start - 1 if k < start else start)


@implements(np.atleast_1d)
def atleast_1d(*arrays: Any) -> Any:
    return _each(arrays, lambda x: x if x.type.ndim else reshape(x, 1))


@implements(np.atleast_2d)
def atleast_2d(*arrays: Any) -> Any:
    return _each(arrays, _two)


def _two(x: Value) -> Value:
    return x if x.type.ndim > 1 else reshape(x, (1, x.type.size))


@implements(np.atleast_3d)
def atleast_3d(*arrays: Any) -> Any:
    return _each(arrays, _three)


def _three(x: Value) -> Value:
    if x.type.ndim == 2:
        return reshape(x, (*x.type.shape, 1))
    return x if x.type.ndim > 2 else reshape(x, (1, x.type.size, 1))


def _each(arrays: Sequence[Any], change: Any) -> Any:
    done = tuple(change(as_value(x)) for x in arrays)
    return done[0] if len(done) == 1 else done


@implements(np.broadcast_arrays)
def broadcast_arrays(*arrays: Any, subok: bool = False) -> tuple[Value, ...]:
    values = as_values(arrays)
    shape = broadcast("np.broadcast_arrays", *(x.type.shape for x in values))
    return tuple(broadcast_to(x, shape) for x in values)


@implements(np.permute_dims)
def permute_dims(a: Any, axes: Any = None) -> Value:
    return transpose(a, axes)


@implements(np.matrix_transpose, np.linalg.matrix_transpose, "mT")
def matrix_transpose(x: Any, /) -> Value:
    return swapaxes(x, -1, -2)


# -- joined
@implements(np.append)
def append(arr: Any, values: Any, axis: Any = None) -> Value:
    return concatenate((arr, values), axis)


@implements(np.dstack)
def dstack(tup: Any) -> Value:
    return concatenate([_three(x) for x in as_values(tup)], 2)


@implements(np.column_stack)
def column_stack(tup: Any) -> Value:
    parts = as_values(tup)
    return concatenate([reshape(x, (x.type.size, 1)) if x.type.ndim < 2 else x for x in parts], 1)


@implements(np.block)
def block(arrays: Any) -> Value:
    """Nested lists of blocks, the innermost along the last axis."""
    depth, inner = 0, arrays
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0]
    leaves: list[Any] = []

    def collect(tree: Any) -> None:
        for item in tree if isinstance(tree, list) else ():
            collect(item)
        if not isinstance(tree, list):
            leaves.append(tree)

    collect(arrays)
    values = as_values(leaves)
    ndim = max(depth, *(x.type.ndim for x in values))
    values = [reshape(x, (1,) * (ndim - x.type.ndim) + x.type.shape) for x in values]
    rest = iter(values)

    def join(tree: Any, level: int) -> Value:
        if not isinstance(tree, list):
            return next(rest)
        return concatenate([join(item, level + 1) for item in tree], ndim - depth + level)

    return join(arrays, 0)


# -- taken out and put in
@implements(np.delete)
def delete(arr: Any, obj: Any, axis: Any = None) -> Value:
    arr = as_value(arr)
    _refuse_traced(
        "what np.delete leaves out",
        obj,
        "Keep the shape and mask: np.where(np.arange(n) == i, 0.0, x).",
    )
    if axis is None:
        arr, axis = reshape(arr, -1), 0
    axis = axis_of("np.delete", arr, axis)
    dim = arr.type.shape[axis]
    if isinstance(dim, int):
        return along(arr, axis, np.delete(np.arange(dim), obj))
    k = count_of("np.delete of a symbolic axis", obj)
    require_length(current_trace(), dim, k + 1 if k >= 0 else -k)
    head, tail = slice(None, k), slice(k + 1 if k != -1 else None, None)
    if k == -1:
        return along(arr, axis, head)
    return concatenate([along(arr, axis, head), along(arr, axis, tail)], axis)


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Value:
    """`values` put before the elements at `obj`; they are broadcast to what is missing."""
    arr, new = as_values((arr, values))
    new = as_dtype(new, arr.type.dtype)
    _refuse_traced(
        "where np.insert puts values",
        obj,
        "Make the longer array with np.zeros and assign into it.",
    )
    if axis is None:
        arr, axis = reshape(arr, -1), 0
    axis = axis_of("np.insert", arr, axis)
    shape, dim = arr.type.shape, arr.type.shape[axis]
    if isinstance(obj, (int, np.integer)):  # a number puts `values` in as a whole
        k = int(obj)
        lone = new.type.ndim < arr.type.ndim or (new.type.ndim == arr.type.ndim == 1)
        if new.type.ndim == arr.type.ndim and not lone:
            new = moveaxis(new, 0, axis)
        width = (
            new.type.shape[axis - arr.type.ndim]
            if new.type.ndim >= arr.type.ndim - axis and new.type.ndim
            else 1
        )
        if lone and arr.type.ndim > 1:
            width = 1
            new = (
                reshape(new, (*new.type.shape[:axis], 1, *new.type.shape[axis:]))
                if new.type.ndim
                else new
            )
        part = broadcast_to(new, (*shape[:axis], width, *shape[axis + 1 :]))
        return concatenate(
            [along(arr, axis, slice(None, k)), part, along(arr, axis, slice(k, None))], axis
        )
    if not isinstance(dim, int):
        raise SpecError(
            f"np.insert at several places needs an axis of known length, got {arr.type}",
            "Join slices with np.concatenate.",
        )
    places = np.asarray(obj if not isinstance(obj, slice) else range(*obj.indices(dim)))
    # Where every element of the result comes from: 0..dim-1 from arr, then from the values.
    source = np.insert(np.arange(dim), places, dim + np.arange(places.size))
    part = broadcast_to(new, (*shape[:axis], places.size, *shape[axis + 1 :]))
    return along(concatenate([arr, part], axis), axis, source)


# -- split
@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Value]:
    return _split("np.array_split", ary, indices_or_sections, axis, False)


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Value]:
    return _split("np.split", ary, indices_or_sections, axis, True)


def _split(what: str, ary: Any, given: Any, axis: int, equal: bool) -> list[Value]:
    x = as_value(ary)
    k = axis_of(what, x, axis)
    dim = x.type.shape[k]
    if isinstance(given, (tuple, list, np.ndarray)):
        cuts: list[Any] = [0, *given, None]
    else:
        parts = count_of(what, given)
        if isinstance(dim, int):
            if equal and dim % parts:
                raise ShapeError(f"{what} needs an axis that divides by {parts}, got {x.type}")
            long = dim % parts
            cuts = [j * (dim // parts) + min(j, long) for j in range(parts + 1)]
        elif equal:
            part = floordiv(dim, parts)
            trace = current_trace()
            if trace is not None:
                trace.require(mul(part, parts), "==", dim)
            cuts = [as_index(mul(part, j)) for j in range(parts + 1)]
        else:  # the first dim % parts are one longer: part j has (dim + parts - 1 - j) // parts
            ends: list[Dim] = [0]
            for j in range(parts - 1):
                ends.append(add(ends[-1], floordiv(add(dim, parts - 1 - j), parts)))
            cuts = [*map(as_index, ends), None]
    return [along(x, k, slice(lo, hi)) for lo, hi in itertools.pairwise(cuts)]


@implements(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Value]:
    return split(ary, indices_or_sections, 0 if as_value(ary).type.ndim == 1 else 1)


@implements(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Value]:
    return split(ary, indices_or_sections, 0)


@implements(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Value]:
    return split(ary, indices_or_sections, 2)


@implements(np.unstack)
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Value, ...]:
    x = as_value(x)
    k = axis_of("np.unstack", x, axis)
    dim = x.type.shape[k]
    if not isinstance(dim, int):
        raise SpecError(f"np.unstack needs an axis of known length, got {x.type}")
    return tuple(along(x, k, j) for j in range(dim))


# -- np.fft's moves
@implements(np.fft.fftshift)
def fftshift(x: Any, axes: Any = None) -> Value:
    """The first half of each axis behind the second."""
    x = as_value(x)
    for k in axes_of("np.fft.fftshift", x, axes):
        dim = x.type.shape[k]
        cut = as_index(floordiv(add(dim, 1), 2))
        x = concatenate([along(x, k, slice(cut, None)), along(x, k, slice(None, cut))], k)
    return x


@implements(np.fft.ifftshift)
def ifftshift(x: Any, axes: Any = None) -> Value:
    x = as_value(x)
    for k in axes_of("np.fft.ifftshift", x, axes):
        cut = as_index(floordiv(x.type.shape[k], 2))
        x = concatenate([along(x, k, slice(cut, None)), along(x, k, slice(None, cut))], k)
    return x
