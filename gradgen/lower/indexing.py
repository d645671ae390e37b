"""Lowering of integer-array indices: gather and scatter_add. Negative indices count from the end.

Index arrays that are inputs are checked in the prologue, computed ones where they are used, constant ones here (or by their
extremes in the prologue, where the axis has a symbolic length).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradgen.errors import ShapeError
from gradgen.ir import CONST, SIZE, Op
from gradgen.lower.kernel import (
    IOTA,
    NO_PARAMS,
    Affine,
    Check,
    Let,
    Load,
)
from gradgen.lower.moves import Moves
from gradgen.lower.views import Splat, View
from gradgen.sizes import Dim, add, mul, nonnegative
from gradgen.spelling import TERNARY, infix, template
from gradgen.types import Shape
from gradgen.value import Extent, constant

# A negative index counts from the end; args: index, length of the axis.
WRAP = Op(
    "wrap", lambda i, n: i, lambda i, n: np.where(i < 0, i + n, i), "An index from 0 on.",
    c=template("{0} < 0 ? {0} + {1} : {0}", TERNARY, (10, 11)), numpy=infix("%", 11),
)  # fmt: skip


@dataclass
class Counted:
    """A number that runs with a loop: index, and low <= index < end."""

    index: Affine
    low: Dim
    end: Dim


def counted(x: Any) -> Counted | None:
    """An integer scalar as a function of loop variables, where it is the number of an iteration plus or minus sizes."""
    if type(x) is Load and x.buffer.data is IOTA:
        return Counted(x.index[0], 0, x.buffer.shape[0])
    if type(x) is not Let or x.op.name not in ("add", "sub"):
        return None
    a, b = x.args
    if x.op.name == "add" and _size(a) is not None:
        a, b = b, a
    inner, shift = counted(a), _size(b)
    if inner is None or shift is None:
        return None
    shift = mul(shift, -1) if x.op.name == "sub" else shift
    index = inner.index.plus(Affine(shift))
    return Counted(index, add(inner.low, shift), add(inner.end, shift))


def _size(x: Any) -> Dim | None:
    if x.op is CONST:
        return int(x.params["value"])
    found: Dim | None = x.params["size"] if x.op is SIZE else None
    return found


def _within(array: Any, dim: Dim) -> bool:
    """Whether all elements of a constant array are places in an axis."""
    if array.op is not CONST or not isinstance(dim, int):
        return False
    numbers = np.asarray(array.params["value"])
    return bool(np.all((numbers >= 0) & (numbers < dim)))


class Indexing(Moves):
    """Mixin of Lowering."""

    def _positions(
        self, node: Any, arrays: Sequence[Any], axis: int
    ) -> list[tuple[Any, Dim, bool, bool]]:
        """Per index array: its value, the length of its axis, whether to check it at its use, whether it may be negative."""
        out: list[tuple[Any, Dim, bool, bool]] = []
        for k, a in enumerate(arrays):
            dim = node.args[0].type.shape[axis + k]
            if a.op is CONST:
                array = np.asarray(a.params["value"]).astype(np.int64)
                if isinstance(dim, int):
                    if array.size and (array.min() < -dim or array.max() >= dim):
                        raise ShapeError(
                            f"an index needs to lie in an axis of {dim} elements", site=node.site
                        )
                    array = np.where(array < 0, array + dim, array)
                elif array.size:
                    low, high = int(array.min()), int(array.max())
                    for number in [n for n in (low, high) if n < 0 or n == high]:
                        self._check_early(constant(number, "i64"), dim, (number, dim))
                table = constant(array, "i64", a.name)
                value = (
                    table if not a.type.shape else self._table(array, table.type, a.name or "at")
                )
                wrap = bool(array.size and array.min() < 0)
                out.append((value, dim, False, wrap))
                continue
            value = self.value(a)
            if a.op.name == "gather" and _within(a.args[0], dim):
                out.append((value, dim, False, False))
                continue
            early = id(a) in self.given
            if early:
                self._check_early(value, dim, (id(a), dim), a.type.shape)
            out.append((value, dim, not early, True))
        return out

    def _check_early(self, value: Any, dim: Dim, key: Any, shape: Shape = ()) -> None:
        """Check indices in the prologue, once."""
        if key in self.checked:
            return
        self.checked.add(key)
        saved, self.body = self.body, self.prologue
        with self.loops(shape) as at:
            self.emit(Check(self.cast(self.read(value, at), "i64"), dim, self.site))
        self.body = saved

    def _place(
        self, positions: Sequence[tuple[Any, Dim, bool, bool]], at: Sequence[Affine]
    ) -> list[Affine]:
        place = []
        for value, dim, late, wrap in positions:
            i = self.cast(self.read(value, at), "i64")
            known = counted(i)
            if (
                known is not None
                and nonnegative(known.low)
                and nonnegative(add(dim, mul(known.end, -1)))
            ):
                place.append(known.index)  # the number of an iteration, within the axis
                continue
            if late:
                self.emit(Check(i, dim, self.site))
            if i.op is CONST:
                number = int(i.params["value"])
                place.append(Affine(add(number, dim) if number < 0 else number))
                continue
            if wrap:
                size = self.lengths.get(dim)
                if size is None:
                    size = constant(dim, "i64") if isinstance(dim, int) else Extent(dim)
                    self.lengths[dim] = size
                i = self.emit(Let(WRAP, (i, size), i.type, NO_PARAMS, None, self.site))
            place.append(Affine.of(i))
        return place

    def gather(self, node: Any) -> None:
        x, *arrays = node.args
        axis = node.params["axis"]
        positions = self._positions(node, arrays, axis)
        width = node.type.ndim - (x.type.ndim - len(arrays))
        value = self.value(x)
        if not node.type.shape:
            self.env[id(node)] = self.read(value, self._place(positions, []))
            return
        buffer = self.temp(node.type, node.name)
        with self.loops(node.type.shape) as at:
            place = self._place(positions, at[axis : axis + width])
            element = self._element(value, [*at[:axis], *place, *at[axis + width :]])
            self.store(buffer, tuple(at), element)
        self.env[id(node)] = View.whole(buffer)

    def _element(self, value: Any, coordinates: Sequence[Affine]) -> Any:
        if not isinstance(value, View):
            return value.scalar if isinstance(value, Splat) else value
        return self.emit(Load(value.buffer, value.index(coordinates), None, self.site))

    def scatter_add(self, node: Any) -> None:
        self.scatter(node, True)

    def scatter(self, node: Any, accumulate: bool) -> None:
        """Elements added, or put in order: of repeated indices the last one counts."""
        acc, v, *arrays = node.args
        axis = node.params["axis"]
        positions = self._positions(node, arrays, axis)
        buffer = self._base(node, [v, *arrays])
        value = self.value(v)
        shape = self._gathered_shape(acc.type.shape, arrays, axis)
        width = len(shape) - (acc.type.ndim - len(arrays))
        kind = "reduction" if accumulate else "sequential"
        with (
            self.loops(shape[:axis]) as head,
            self.loops(shape[axis : axis + width], kind) as middle,
            self.loops(shape[axis + width :]) as tail,
        ):
            at = [*head, *middle, *tail]
            x = self.cast(self.read(value, at), buffer.dtype)
            place = self._place(positions, at[axis : axis + width])
            self.store(buffer, (*at[:axis], *place, *at[axis + width :]), x, accumulate)
        self.env[id(node)] = View.whole(buffer)

    @staticmethod
    def _gathered_shape(shape: Shape, arrays: Sequence[Any], axis: int) -> Shape:
        from gradgen.types import broadcast

        middle = broadcast("index arrays", *(a.type.shape for a in arrays))
        return (*shape[:axis], *middle, *shape[axis + len(arrays) :])
