"""Lowering of matmul and outer: loop orders that stream both operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradgen.lower.builder import Builder
from gradgen.lower.kernel import (
    Affine,
    Load,
)
from gradgen.lower.views import View, last_contiguous
from gradgen.value import constant


class Contractions(Builder):
    """Mixin of Lowering."""

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
        """Loop orders that stream both operands; the packed kernel for large products will be chosen here."""
        a, b = node.args
        left, right = self.value(a), self.value(b)
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
