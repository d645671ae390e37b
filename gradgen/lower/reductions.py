"""Lowering of reductions over axes, einsum, logsumexp, and the linear recurrence.

Loops run in the order of the operand's memory: a scalar accumulates over trailing reduced axes, memory over leading ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.ir import Op
from gradgen.lower.builder import Builder
from gradgen.lower.kernel import (
    NO_PARAMS,
    ZERO,
    Affine,
    Buffer,
    Index,
    Let,
    Load,
)
from gradgen.lower.views import Splat, View, memory_order
from gradgen.ops.contract import letter_sizes, terms
from gradgen.sizes import add, max0, mul
from gradgen.spelling import TERNARY, template
from gradgen.types import DTYPES, Shape, Type
from gradgen.value import constant

# log(sum(exp(x))) subtracts the maximum; an infinite maximum would give inf - inf.
FINITE = Op(
    "finite", lambda x: x, lambda x: np.where(np.isfinite(x), x, np.zeros_like(x)), "x, and 0 where x is not finite.",
    c=lambda operands, node, target: template(
        "isfinite({0}) ? {0} : 0.0" + ("f" if node.type.dtype == "f32" else ""), TERNARY
    )(operands, node, target),
)  # fmt: skip


class Reductions(Builder):
    """Mixin of Lowering."""

    def reduce(self, node: Any, kind: str) -> None:
        x = node.args[0]
        value, axes, dtype = self.value(x), node.params["axes"], node.type.dtype
        kept = tuple(d for k, d in enumerate(x.type.shape) if k not in axes)
        if kind == "logsumexp":
            result = self._logsumexp(value, x.type.shape, axes, Type.of(dtype, kept), node.name)
        elif kind == "peak":
            result = self._peak(value, x.type.shape, axes, Type.of(dtype, kept))
        else:
            result = self.reduction(
                kind, x.type.shape, axes, Type.of(dtype, kept), node.name,
                lambda at, _: self.cast(self.read(value, at), dtype), value,
            )  # fmt: skip
        if node.params.get("keepdims") and isinstance(result, View):
            j = iter(range(len(node.type.shape)))
            places = [next(j) for _ in node.type.shape]
            table = [(0, p, 1) for p in places if p not in axes]
            result = result.through(table, node.type.shape)
        elif node.params.get("keepdims") and node.type.shape:
            result = Splat(result, node.type.shape)
        self.env[id(node)] = result

    def reduction(
        self,
        kind: str,
        shape: Shape,
        axes: Sequence[int],
        ty: Type,
        name: str | None,
        element: Any,
        like: Any = None,
    ) -> Any:
        """A scalar or View: elements over `axes` combined; `element(coordinates, kept coordinates)` emits one of them.

        Loops run in the order of `like`'s memory, so that it is streamed: a scalar accumulates over trailing reduced axes,
        memory over leading ones.
        """
        dtype = ty.dtype
        order = memory_order(like, len(shape))
        tail = len(order)
        while tail and order[tail - 1] in axes:
            tail -= 1
        head, inner = order[:tail], order[tail:]
        direct = all(k not in axes for k in head)
        start = _start(kind, dtype)
        kept = [k for k in range(len(shape)) if k not in axes]
        out = self.temp(ty, name) if ty.shape else None
        if out is not None and not direct:
            with self.loops(ty.shape) as at:
                self.store(out, tuple(at), start)

        def combine(buffer: Buffer, index: Index, x: Any) -> None:
            if kind == "sum":
                self.store(buffer, index, x, accumulate=True)
                return
            old = self.emit(Load(buffer, index, None, self.site))
            op = {"prod": "mul", "max": "maximum", "min": "minimum"}[kind]
            self.store(buffer, index, self.compute(op, x, old))

        coordinates: list[Affine] = [ZERO] * len(shape)
        if out is None:
            acc = self.local(dtype, name or ("total" if kind == "sum" else kind))
            self.store(acc, (), start)
            with self.loops([shape[k] for k in order], "reduction") as at:
                for k, c in zip(order, at, strict=True):
                    coordinates[k] = c
                combine(acc, (), element(coordinates, []))
            return self.emit(Load(acc, (), name, self.site))
        with self.loops([shape[k] for k in head], "parallel" if direct else "reduction") as at:
            for k, c in zip(head, at, strict=True):
                coordinates[k] = c
            place = tuple(coordinates[k] for k in kept)
            if inner:
                acc = self.local(dtype, name or ("total" if kind == "sum" else kind))
                self.store(acc, (), start)
                with self.loops([shape[k] for k in inner], "reduction") as rest:
                    for k, c in zip(inner, rest, strict=True):
                        coordinates[k] = c
                    combine(acc, (), element(coordinates, place))
                x = self.emit(Load(acc, (), None, self.site))
            else:
                x = element(coordinates, place)
            if direct:
                self.store(out, place, x)
            else:
                combine(out, place, x)
        return View.whole(out)

    def einsum(self, node: Any) -> None:
        """Products summed over the letters that the result does not have."""
        a, b = (self.value(v) for v in node.args)
        dtype = node.type.dtype
        left, right, out = terms(node.params["text"])
        sizes = letter_sizes(node.params["text"], *(v.type for v in node.args))
        letters = list(sizes)

        def element(at: Any, place: Any) -> Any:
            x, y = (
                self.cast(self.read(v, [at[letters.index(c)] for c in own]), dtype)
                for v, own in ((a, left), (b, right))
            )
            return self.compute("mul", x, y)

        summed = range(len(out), len(letters))
        self.env[id(node)] = self.reduction(
            "sum", tuple(sizes.values()), summed, node.type, node.name, element
        )

    def _logsumexp(
        self, value: Any, shape: Shape, axes: Sequence[int], ty: Type, name: str | None
    ) -> Any:
        dtype = ty.dtype
        top = self._peak(value, shape, axes, ty)

        def term(at: Any, place: Any) -> Any:
            x = self.cast(self.read(value, at), dtype)
            return self.compute("exp", self.compute("sub", x, self.read(top, place)))

        total = self.reduction("sum", shape, axes, ty, "total", term, value)
        if not ty.shape:
            result = self.compute("add", self.compute("log", total), top)
            result.name = name
            return result
        out = self.temp(ty, name)
        with self.loops(ty.shape) as at:
            log = self.compute("log", self.read(total, at))
            self.store(out, tuple(at), self.compute("add", log, self.read(top, at)))
        return View.whole(out)

    def _peak(self, value: Any, shape: Shape, axes: Sequence[int], ty: Type) -> Any:
        """The maximum, and 0 where it is not finite."""
        top = self.reduction(
            "max", shape, axes, ty, "top", lambda at, _: self.cast(self.read(value, at), ty.dtype), value
        )  # fmt: skip
        if not ty.shape:
            return self._finite(top)
        finite = self.temp(ty, "top")
        with self.loops(ty.shape) as at:
            self.store(finite, tuple(at), self._finite(self.read(top, at)))
        return View.whole(finite)

    def _finite(self, x: Any) -> Let:
        return self.emit(Let(FINITE, (x,), x.type, NO_PARAMS, None, self.site))

    def recurrence(self, node: Any) -> None:
        """r_i = b_i + c_i r_{i-1} along the last axis; see ops.reduce.recurrence."""
        a, b = (self.value(v) for v in node.args)
        shape, dtype, p = node.type.shape, node.type.dtype, node.params
        n = shape[-1]
        out = self.temp(node.type, node.name)
        initial = constant(p["initial"], dtype)
        with self.loops(shape[:-1]) as at:
            state = self.local(dtype, "state")
            # state: what is added to b_i. With lag it is a_{i-1} r_{i-1}; else r_{i-1}, still to be multiplied by a_i.
            self.store(state, (), initial)

            def step(i: Affine, first: bool) -> None:
                x = self.cast(self.read(b, [*at, i]), dtype)
                old = self.emit(Load(state, (), None, self.site))
                if not p["lag"] and not first:
                    old = self.compute("mul", self.cast(self.read(a, [*at, i]), dtype), old)
                r = self.compute("add", x, old)
                self.store(out, (*at, i), r)
                if p["lag"]:
                    r = self.compute("mul", self.cast(self.read(a, [*at, i]), dtype), r)
                self.store(state, (), r)

            def position(t: Affine) -> Affine:
                return Affine(add(n, -1)).plus(t.times(-1)) if p["reverse"] else t

            if p["lag"]:
                with self.loops([n], "sequential") as (t,):
                    step(position(t), False)
            else:
                later = max0(add(n, -1))
                with self.loops([add(n, mul(later, -1))], "sequential") as (t,):
                    step(position(t), True)
                with self.loops([later], "sequential") as (t,):
                    step(position(t.plus(Affine(1))), False)
        self.env[id(node)] = View.whole(out)


def _start(kind: str, dtype: str) -> Any:
    if kind in ("sum", "prod"):
        return constant(0 if kind == "sum" else 1, dtype)
    if dtype == "bool":
        return constant(kind == "min", dtype)
    if dtype[0] == "f":
        return constant(float("-inf") if kind == "max" else float("inf"), dtype)
    info = np.iinfo(DTYPES[dtype])
    return constant(info.min if kind == "max" else info.max, dtype)
