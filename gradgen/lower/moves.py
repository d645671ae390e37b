"""Lowering of what moves elements: views, joins, updates of a part, integer indices.

transpose, slice and broadcast are index maps and cost nothing; so is a reshape that only adds or drops axes of length one. Any
other reshape shares the memory of a contiguous array, or of the first rows of an argument, under another shape, and copies any
other first. slice_add, slice_set and scatter_add write into their first operand's memory where that is its last use. Index
arrays that are inputs are checked in the prologue, computed ones where they are used, constant ones here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.lower.builder import Builder
from gradgen.lower.kernel import (
    Affine,
    Buffer,
    Load,
)
from gradgen.lower.views import Splat, View
from gradgen.ops.spans import extents
from gradgen.sizes import Dim, add
from gradgen.types import DTYPES
from gradgen.value import constant


class Moves(Builder):
    """Mixin of Lowering."""

    # -- views
    def transpose(self, node: Any) -> None:
        x, axes = self.value(node.args[0]), node.params["axes"]
        table = [(0, axes.index(k), 1) for k in range(len(axes))]
        self._move(node, x, table)

    def broadcast(self, node: Any) -> None:
        x, shape = self.value(node.args[0]), node.type.shape
        if not isinstance(x, (View, Splat)):
            self.env[id(node)] = Splat(x, shape)
            return
        lead = len(shape) - len(x.shape)
        table = [
            (0, None, 0) if isinstance(dim, int) and dim == 1 else (0, lead + k, 1)
            for k, dim in enumerate(x.shape)
        ]
        self._move(node, x, table)

    def slice(self, node: Any) -> None:
        x = self.value(node.args[0])
        table: list[tuple[Dim, int | None, Dim]] = []
        k = 0
        for e in extents(node.args[0].type.shape, node.params["index"]):
            table.append((e.start, k, e.step) if e.kept else (e.start, None, 0))
            k += e.kept
        self._move(node, x, table)

    def _move(self, node: Any, x: Any, table: Sequence[tuple[Dim, int | None, Dim]]) -> None:
        shape = node.type.shape
        if isinstance(x, Splat):
            self.env[id(node)] = Splat(x.scalar, shape) if shape else x.scalar
            return
        view = x.through(table, shape)
        self.env[id(node)] = (
            view if shape else self.emit(Load(view.buffer, view.index(()), node.name, self.site))
        )

    def reshape(self, node: Any) -> None:
        x, shape = self.value(node.args[0]), node.type.shape
        if not isinstance(x, View):
            scalar = x.scalar if isinstance(x, Splat) else x
            self.env[id(node)] = Splat(scalar, shape) if shape else scalar
            return
        old = [(k, d) for k, d in enumerate(x.shape) if not (isinstance(d, int) and d == 1)]
        new = [(k, d) for k, d in enumerate(shape) if not (isinstance(d, int) and d == 1)]
        if [d for _, d in old] == [d for _, d in new]:
            table: list[tuple[Dim, int | None, Dim]] = [(0, None, 0)] * len(x.shape)
            for (k, _), (j, _) in zip(old, new, strict=True):
                table[k] = (0, j, 1)
            self._move(node, x, table)
            return
        shared = x.is_whole or x.is_start
        buffer = x.buffer if shared else self.copy(x, node.args[0].type, node.name)
        memory = buffer.memory
        alias = Buffer(memory.name, memory.dtype, shape, memory.storage, base=memory)
        self.env[id(node)] = View.whole(alias)

    def eye(self, node: Any) -> None:
        n = node.params["n"]
        if isinstance(n, int) and n <= 32:
            array = np.eye(n, dtype=DTYPES[node.params["dtype"]])
            self.env[id(node)] = self._table(array, node.type, "unit")
            return
        buffer = self.temp(node.type, node.name or "unit")
        dtype = node.params["dtype"]
        with self.loops(node.type.shape) as at:
            self.store(buffer, tuple(at), constant(0, dtype))
        with self.loops(node.type.shape[:1]) as at:
            self.store(buffer, (at[0], at[0]), constant(1, dtype))
        self.env[id(node)] = View.whole(buffer)

    def concatenate(self, node: Any) -> None:
        axis = node.params["axis"]
        buffer = self.temp(node.type, node.name)
        start: Dim = 0
        for part in node.args:
            value = self.value(part)
            with self.loops(part.type.shape) as at:
                index = list(at)
                index[axis] = Affine(start).plus(index[axis])
                self.store(buffer, tuple(index), self.cast(self.read(value, at), buffer.dtype))
            start = add(start, part.type.shape[axis])
        self.env[id(node)] = View.whole(buffer)

    def stack(self, node: Any) -> None:
        axis = node.params["axis"]
        buffer = self.temp(node.type, node.name)
        for k, part in enumerate(node.args):
            value = self.value(part)
            with self.loops(part.type.shape) as at:
                index = (*at[:axis], Affine(k), *at[axis:])
                self.store(buffer, index, self.cast(self.read(value, at), buffer.dtype))
        self.env[id(node)] = View.whole(buffer)

    # -- updates of a part
    def _base(self, node: Any, others: Sequence[Any]) -> Buffer:
        """The buffer that holds operand 0 and may be written: its own if nothing reads that later, else a copy."""
        acc = node.args[0]
        value = self.value(acc)
        root = self.root.get(id(acc), id(acc))
        free = (
            isinstance(value, View)
            and value.is_whole
            and value.buffer.base is None
            and value.buffer.storage in ("temp", "local")
            and self.is_last_read(acc)
            and all(self.root.get(id(v), id(v)) != root for v in others)
        )
        if free:
            if node.name:
                value.buffer.name = node.name
            return value.buffer
        return self.copy(value, node.type, node.name or acc.name)

    def slice_update(self, node: Any, kind: str) -> None:
        buffer = self._base(node, node.args[1:])
        value = self.value(node.args[1])
        spans = extents(node.type.shape, node.params["index"])
        part = [e.length for e in spans if e.kept]
        with self.loops(part) as at:
            rest = iter(at)
            index = tuple(
                Affine(e.start).plus(next(rest).times(e.step)) if e.kept else Affine(e.start)
                for e in spans
            )
            x = self.cast(self.read(value, at), buffer.dtype)
            self.store(buffer, index, x, accumulate=kind == "add")
        self.env[id(node)] = View.whole(buffer)
