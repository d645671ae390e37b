"""Lowering of matmul and outer: loop orders that stream both operands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradgen.lower.builder import Builder
from gradgen.lower.kernel import (
    ZERO,
    Affine,
    Gemm,
    Load,
    Window,
)
from gradgen.lower.views import View, last_contiguous
from gradgen.sizes import Dim, add, mul
from gradgen.value import constant

# A product of matrices is a Gemm from this many multiplications on, a symbolic size counted as TYPICAL; unless its loops
# are so short that they fuse with what is around them into something that stays in registers.
LARGE = 32**3
TYPICAL = 128
SHORT = 16
TURNED = 1024  # elements of a matrix that is copied the other way round


class Contractions(Builder):
    """Mixin of Lowering."""

    def _is_large(self, node: Any, left: Any, right: Any) -> bool:
        a, b = node.args
        if a.type.ndim < 2 or b.type.ndim < 2 or node.type.dtype not in ("f64", "f32"):
            return False
        if not (isinstance(left, View) and isinstance(right, View)):
            return False
        if {a.type.dtype, b.type.dtype} != {node.type.dtype}:
            return False
        sizes = [
            d if isinstance(d, int) else TYPICAL
            for d in (a.type.shape[-2], a.type.shape[-1], b.type.shape[-1])
        ]
        short = sum(d <= SHORT for d in sizes)
        return math.prod(sizes) >= LARGE and short < 2 and min(sizes) >= 4

    def _is_worth_turning(self, right: Any, m: Sequence[Dim]) -> bool:
        """Whether a small matrix, read against its rows for many rows of the other, is copied the other way round."""
        if not self.gemm or self.inner or not m or not isinstance(right, View):
            return False
        if len(right.shape) != 2 or last_contiguous(right, 1):
            return False
        k, n = right.shape
        if not (isinstance(k, int) and isinstance(n, int)):
            return False
        many = not isinstance(m[0], int) or m[0] >= SHORT
        return many and min(k, n) > 1 and n >= 8 and k * n <= TURNED

    def _gemm(self, node: Any, left: View, right: View) -> None:
        out = self.temp(node.type, node.name)
        (m, k), n = node.args[0].type.shape[-2:], node.args[1].type.shape[-1]
        with self.loops(node.type.shape[:-2]) as at:
            windows = [_window(v, at) for v in (View.whole(out), left, right)]
            self.emit(Gemm(windows[0], windows[1], windows[2], m, n, k, self.site))
        self.env[id(node)] = View.whole(out)

    def outer(self, node: Any) -> None:
        a, b = (self.value(v) for v in node.args)
        dtype = node.type.dtype
        out = self.temp(node.type, node.name)
        with self.loops(node.type.shape) as at:
            x = self.cast(self.read(a, at[:1]), dtype)
            y = self.cast(self.read(b, at[1:]), dtype)
            self.store(out, tuple(at), self.compute("mul", x, y))
        self.env[id(node)] = View.whole(out)

    def matmul(self, node: Any) -> None:
        """A Gemm for large products of matrices; else loops in an order that streams both operands."""
        a, b = node.args
        left, right = self.value(a), self.value(b)
        if self.gemm and self._is_large(node, left, right):
            self._gemm(node, left, right)
            return
        dtype = node.type.dtype
        k = a.type.shape[-1]
        m = a.type.shape[-2:-1]
        n = b.type.shape[-1:] if b.type.ndim > 1 else ()
        batch = node.type.shape[: node.type.ndim - len(m) - len(n)]

        def product(
            at: Sequence[Affine], i: Sequence[Affine], t: Affine, j: Sequence[Affine]
        ) -> Any:
            x = self.read(left, [*at, *i, t])
            y = self.read(right, [*at, t, *j])
            return self.compute("mul", self.cast(x, dtype), self.cast(y, dtype))

        if not node.type.shape:
            acc = self.local(dtype, node.name or "dot")
            self.store(acc, (), constant(0, dtype))
            with self.loops([k], "reduction") as (t,):
                self.store(acc, (), product([], [], t, []), accumulate=True)
            self.env[id(node)] = self.emit(Load(acc, (), node.name, self.site))
            return
        if self._is_worth_turning(right, m):
            # x @ W.T for many x: sums along W's rows would be one after the other, along its columns they go side by side
            right = View.whole(self.copy(right, b.type, "turned"))
        out = self.temp(node.type, node.name)
        a_rows = not m or last_contiguous(left, a.type.ndim - 1)  # a is read along k
        b_columns = bool(n) and not last_contiguous(right, b.type.ndim - 2)  # b is read along n
        if not b_columns and (a_rows or n):
            with self.loops((*batch, *m, *n)) as at:
                head, i, j = (
                    at[: len(batch)],
                    at[len(batch) : len(batch) + len(m)],
                    at[len(batch) + len(m) :],
                )
                acc = self.local(dtype, node.name or "dot")
                self.store(acc, (), constant(0, dtype))
                with self.loops([k], "reduction") as (t,):
                    self.store(acc, (), product(head, i, t, j), accumulate=True)
                self.store(out, tuple(at), self.emit(Load(acc, (), None, self.site)))
        else:
            with self.loops((*batch, *m) if m and a_rows else batch) as at:
                head = at[: len(batch)]
                inside = (*m, *n) if len(at) == len(batch) else n
                with self.loops(inside) as rest:
                    self.store(out, (*at, *rest), constant(0, dtype))
                with self.loops([k], "reduction") as (t,), self.loops(inside) as rest:
                    i = at[len(batch) :] or (rest[: len(m)] if m else [])
                    j = rest[len(rest) - len(n) :] if n else []
                    self.store(out, (*at, *rest), product(head, i, t, j), accumulate=True)
        self.env[id(node)] = View.whole(out)


def _window(view: View, batch: Sequence[Affine]) -> Window:
    """The last two axes of a view, at coordinates of the others (broadcast: trailing ones)."""
    ndim = len(view.shape)
    own = [*batch[len(batch) - (ndim - 2) :], ZERO, ZERO]
    own = [
        ZERO if isinstance(d, int) and d == 1 else x for d, x in zip(view.shape, own, strict=True)
    ]
    steps: list[Dim] = [0, 0]
    for (_, axis, coefficient), stride in zip(view.axes, view.buffer.strides(), strict=True):
        if axis is not None and axis >= ndim - 2:
            place = axis - (ndim - 2)
            steps[place] = add(steps[place], mul(coefficient, stride))
    return Window(view.buffer, view.index(own), steps[0], steps[1])
