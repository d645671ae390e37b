"""Masks: small arrays of truth values are kept as numbers, 1.0 and 0.0, of the kernel's own width.

    mask[j] = t > 0.0; ...; mask[j] ? a : 0.0     becomes     mask[j] = t > 0.0 ? 1.0 : 0.0; ...; mask[j] != 0.0 ? a : 0.0

A vector of doubles and a vector of bytes do not fit together: a loop over both packs and unpacks in every step, which costs
more than what it computes. Only arrays that live in a block; what is given, returned or in the workspace stays as it is.
"""

from __future__ import annotations

from typing import Any

from gradgen.ir import OPS
from gradgen.lower.kernel import (
    NO_PARAMS,
    Buffer,
    Call,
    Declare,
    If,
    Kernel,
    Let,
    Load,
    Loop,
    Store,
    accessed,
    walk,
)
from gradgen.lower.rewriter import Rewriter
from gradgen.types import Type
from gradgen.value import constant


def masks(kernel: Kernel) -> Kernel:
    """`kernel` with the small arrays of truth values of its blocks as numbers."""
    floats = {b.dtype for b in kernel.outputs if b.dtype[0] == "f"}
    dtype = "f32" if floats == {"f32"} else "f64"
    shared = {
        id(b.memory) for s in walk(kernel.body) for b, _, _ in accessed(s) if b is not b.memory
    }
    wide = {
        id(s.buffer): Buffer(s.buffer.name, dtype, s.buffer.shape, "local", site=s.buffer.site)
        for s in walk(kernel.body)
        if type(s) is Declare
        and s.buffer.dtype == "bool"
        and s.buffer.shape
        and id(s.buffer) not in shared
    }
    return kernel.with_body(_Masks(wide, dtype).block(kernel.body)) if wide else kernel


class _Masks:
    def __init__(self, wide: dict[int, Buffer], dtype: str) -> None:
        self.wide = wide
        self.one, self.zero = constant(1, dtype), constant(0, dtype)
        self.rewriter = Rewriter()

    def block(self, body: list[Any]) -> list[Any]:
        out: list[Any] = []
        for stmt in body:
            kind = type(stmt)
            new = self.wide.get(id(getattr(stmt, "buffer", None)))
            if kind is Loop:
                out.append(self.rewriter.loop(stmt, self.block(stmt.body)))
            elif kind is If:
                condition = self.rewriter.scalar(stmt.condition)
                then, otherwise = self.block(stmt.then), self.block(stmt.otherwise)
                out.append(If(condition, then, otherwise, stmt.site))
            elif kind is Call:
                out.append(Call(self.block(stmt.body), stmt.site))
            elif new is None:
                out.append(self.rewriter.statement(stmt))
            elif kind is Declare:
                out.append(Declare(new, stmt.site, stmt.fill))
            elif kind is Load:
                _, index = self.rewriter.where(stmt.buffer, stmt.index)
                load = Load(new, index, None, stmt.site)
                test = Let(
                    OPS["not_equal"],
                    (load, self.zero),
                    Type.of("bool"),
                    NO_PARAMS,
                    stmt.name,
                    stmt.site,
                )
                self.rewriter.table[id(stmt)] = test
                out += [load, test]
            elif kind is Store:
                _, index = self.rewriter.where(stmt.buffer, stmt.index)
                choice = (self.rewriter.scalar(stmt.value), self.one, self.zero)
                value = Let(OPS["where"], choice, self.one.type, NO_PARAMS, None, stmt.site)
                out += [value, Store(new, index, value, None, stmt.site)]
        return out
