"""What an array value is during lowering: an index map on a buffer, or one scalar repeated. Moves cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradgen.lower.kernel import (
    IOTA,
    Affine,
    Buffer,
    Index,
)
from gradgen.sizes import Dim, add, mul
from gradgen.types import Shape

Place = tuple[Dim | Affine, int | None, Dim]


class View:
    """An array as an index map on a buffer: axis k of the buffer is at `constant + coefficient * coordinate[axis]`.

    Where `axis` is None the constant stands alone; it may then run with a loop that the view is inside of.
    """

    __slots__ = ("axes", "buffer", "shape")

    def __init__(self, buffer: Buffer, axes: tuple[Place, ...], shape: Shape) -> None:
        self.buffer = buffer
        self.axes = axes
        self.shape = shape

    @staticmethod
    def whole(buffer: Buffer) -> View:
        return View(buffer, tuple((0, k, 1) for k in range(len(buffer.shape))), buffer.shape)

    @property
    def is_whole(self) -> bool:
        """Whether the array is all of its buffer's memory, as it lies there."""
        if self.buffer.data is IOTA:
            return False
        return self.shape == self.buffer.shape and all(
            axis == k and coefficient == 1 and constant == 0
            for k, (constant, axis, coefficient) in enumerate(self.axes)
        )

    @property
    def is_start(self) -> bool:
        """Whether the array is the first rows of an argument or table, as they lie there: nothing writes into these."""
        buffer = self.buffer
        return (
            buffer.storage in ("input", "const")
            and buffer.data is not IOTA
            and self.shape[1:] == buffer.shape[1:]
            and all(
                axis == k and coefficient == 1 and constant == 0
                for k, (constant, axis, coefficient) in enumerate(self.axes)
            )
        )

    def index(self, coordinates: Sequence[Affine]) -> Index:
        return tuple(
            _affine(constant)
            if axis is None
            else _affine(constant).plus(coordinates[axis].times(coefficient))
            for constant, axis, coefficient in self.axes
        )

    def item(self, number: Affine, shape: Shape) -> View:
        """Item `number` along the first axis, of this shape."""
        axes: list[Place] = []
        for constant, axis, coefficient in self.axes:
            if axis:
                axes.append((constant, axis - 1, coefficient))
            elif axis is None:
                axes.append((constant, None, coefficient))
            else:
                axes.append((_affine(constant).plus(number.times(coefficient)), None, coefficient))
        return View(self.buffer, tuple(axes), shape)

    def through(self, table: Sequence[tuple[Dim, int | None, Dim]], shape: Shape) -> View:
        """The view after a move: its old coordinate k is `constant + coefficient * new coordinate[axis]`."""
        axes: list[Place] = []
        for start, axis, coefficient in self.axes:
            if axis is None or isinstance(start, Affine):
                axes.append((start, None, coefficient))
                continue
            shift, new, scale = table[axis]
            axes.append(
                (
                    add(start, mul(coefficient, shift)),
                    new,
                    mul(coefficient, scale) if new is not None else 1,
                )
            )
        return View(self.buffer, tuple(axes), shape)


def _affine(constant: Dim | Affine) -> Affine:
    return constant if isinstance(constant, Affine) else Affine(constant)


class Splat:
    """An array all of whose elements are one scalar."""

    __slots__ = ("scalar", "shape")

    def __init__(self, scalar: Any, shape: Shape) -> None:
        self.scalar = scalar
        self.shape = shape


def memory_order(value: Any, ndim: int) -> list[int]:
    """A view's axes in the order of its memory, axes along which it repeats first."""
    if not isinstance(value, View):
        return list(range(ndim))
    found = [axis for _, axis, _ in value.axes if axis is not None]
    return [k for k in range(ndim) if k not in found] + found


def last_contiguous(value: Any, axis: int) -> bool:
    """Whether neighbours along `axis` are neighbours in memory (or the array has no memory)."""
    if not isinstance(value, View) or not value.axes:
        return True
    return value.axes[-1][1] == axis
