"""Lowering of what runs along an axis one element after another: running sums and products, counts, triangles, positions.

The number of an iteration is an element of IOTA, which is the loop's own variable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gradgen.ir import OPS
from gradgen.lower.builder import Builder
from gradgen.lower.kernel import IOTA, NO_PARAMS, Affine, Buffer, Let, Load
from gradgen.lower.views import View
from gradgen.sizes import Dim, add
from gradgen.types import Type, promote
from gradgen.value import constant


class Scans(Builder):
    """Mixin of Lowering."""

    def compare(self, name: str, *args: Any) -> Let:
        """A comparison or logic op on scalars."""
        return self.emit(Let(OPS[name], args, Type.of("bool"), NO_PARAMS, None, self.site))

    def choose(self, condition: Any, a: Any, b: Any) -> Let:
        return self.emit(Let(OPS["where"], (condition, a, b), a.type, NO_PARAMS, None, self.site))

    @contextmanager
    def counted(self, extent: Dim, kind: str = "sequential") -> Iterator[tuple[Affine, Any]]:
        """A loop and the number of its iteration as an i64 scalar."""
        numbers = Buffer("i", "i64", (extent,), "const", data=IOTA)
        with self.loops([extent], kind) as (at,):
            yield at, self.emit(Load(numbers, (at,), None, self.site))

    def arange(self, node: Any) -> None:
        """No memory: an element is the number of the iteration that reads it."""
        self.env[id(node)] = View.whole(Buffer("i", "i64", node.type.shape, "const", data=IOTA))

    def triangle(self, node: Any, lower: bool) -> None:
        """Elements where column - row <= k (or >= k), zeros elsewhere."""
        value, shape, dtype = self.value(node.args[0]), node.type.shape, node.type.dtype
        k = constant(node.params["k"], "i64")
        out = self.temp(node.type, node.name)
        with (
            self.loops(shape[:-2]) as at,
            self.counted(shape[-2], "parallel") as (i, row),
            self.counted(shape[-1], "parallel") as (j, column),
        ):
            gap = self.compute("sub", column, row)
            kept = self.compare("less_equal" if lower else "greater_equal", gap, k)
            x = self.cast(self.read(value, [*at, i, j]), dtype)
            self.store(out, (*at, i, j), self.choose(kept, x, constant(0, dtype)))
        self.env[id(node)] = View.whole(out)

    def scan(self, node: Any, op: str, reverse: bool) -> None:
        """Running sums or products along the last axis."""
        value, shape, dtype = self.value(node.args[0]), node.type.shape, node.type.dtype
        out = self.temp(node.type, node.name)
        with self.loops(shape[:-1]) as at:
            total = self.local(dtype, "total")
            self.store(total, (), constant(0 if op == "add" else 1, dtype))
            with self.loops([shape[-1]], "sequential") as (t,):
                place = Affine(add(shape[-1], -1)).plus(t.times(-1)) if reverse else t
                x = self.cast(self.read(value, [*at, place]), dtype)
                x = self.compute(op, self.emit(Load(total, (), None, self.site)), x)
                self.store(total, (), x)
                self.store(out, (*at, place), x)
        self.env[id(node)] = View.whole(out)

    def arg_extreme(self, node: Any, kind: str) -> None:
        """The position of the first largest or smallest element, or of the first NaN, over the last axis."""
        value, x_type = self.value(node.args[0]), node.args[0].type
        beats = "greater" if kind == "max" else "less"
        out = self.temp(node.type, node.name) if node.type.shape else None
        with self.loops(x_type.shape[:-1]) as at:
            best, place = self.local(x_type.dtype, "best"), self.local("i64", "place")
            self.store(best, (), self.read(value, [*at, Affine(0)]))
            self.store(place, (), constant(0, "i64"))
            with self.counted(x_type.shape[-1]) as (t, number):
                x = self.read(value, [*at, t])
                old = self.emit(Load(best, (), None, self.site))
                wins = self.compare(beats, x, old)
                if x_type.is_float:  # the first NaN wins, and nothing beats it
                    fresh = self.compare("not_equal", x, x)
                    known = self.compare("equal", old, old)
                    wins = self.compare(
                        "logical_or", wins, self.compare("logical_and", fresh, known)
                    )
                last = self.emit(Load(place, (), None, self.site))
                self.store(best, (), self.choose(wins, x, old))
                self.store(place, (), self.choose(wins, number, last))
            found = self.emit(Load(place, (), None, self.site))
            if out is not None:
                self.store(out, tuple(at), found)
        self.env[id(node)] = View.whole(out) if out is not None else found

    # -- order
    def _before(self, a: Any, b: Any, ty: Type) -> tuple[Any, Any]:
        """Whether a comes before b in NumPy's order, NaN last, and whether neither comes before the other."""
        less, more = self.compare("less", a, b), self.compare("less", b, a)
        if ty.is_float:
            a_known, b_known = self.compare("equal", a, a), self.compare("equal", b, b)
            a_nan, b_nan = self.compare("not_equal", a, a), self.compare("not_equal", b, b)
            less = self.compare("logical_or", less, self.compare("logical_and", a_known, b_nan))
            more = self.compare("logical_or", more, self.compare("logical_and", b_known, a_nan))
        return less, self.compare("logical_not", self.compare("logical_or", less, more))

    def count_order(self, node: Any) -> None:
        """Each element goes to the place that the number of elements before it says; equal ones keep their order."""
        x = node.args[0]
        value, shape = self.value(x), node.type.shape
        out = self.temp(node.type, node.name or "order")
        n = shape[-1]
        with self.loops(shape[:-1]) as at, self.counted(n) as (i, row):
            mine = self.read(value, [*at, i])
            rank = self.local("i64", "rank")
            self.store(rank, (), constant(0, "i64"))
            with self.counted(n) as (j, column):
                other = self.read(value, [*at, j])
                before, tied = self._before(other, mine, x.type)
                first = self.compare("logical_and", tied, self.compare("less", column, row))
                ahead = self.compare("logical_or", before, first)
                count = self.cast(ahead, "i64")
                self.store(
                    rank, (), self.compute("add", self.emit(Load(rank, (), None, self.site)), count)
                )
            place = self.emit(Load(rank, (), None, self.site))
            self.store(out, (*at, Affine.of(place)), row)
        self.env[id(node)] = View.whole(out)

    def count_before(self, node: Any) -> None:
        """A count of the elements that come before v, or are not after it."""
        a, v = node.args
        table, wanted = self.value(a), self.value(v)
        dtype = promote(a.type.dtype, v.type.dtype)
        out = self.temp(node.type, node.name or "at") if node.type.shape else None
        with self.loops(node.type.shape) as at:
            x = self.cast(self.read(wanted, at), dtype)
            rank = self.local("i64", "rank")
            self.store(rank, (), constant(0, "i64"))
            with self.loops([a.type.shape[0]], "sequential") as (t,):
                item = self.cast(self.read(table, [t]), dtype)
                before, tied = self._before(item, x, Type.of(dtype))
                if node.params["side"] == "right":
                    before = self.compare("logical_or", before, tied)
                old = self.emit(Load(rank, (), None, self.site))
                self.store(rank, (), self.compute("add", old, self.cast(before, "i64")))
            found = self.emit(Load(rank, (), None, self.site))
            if out is not None:
                self.store(out, tuple(at), found)
        self.env[id(node)] = View.whole(out) if out is not None else found
