"""Rebuilding statements: what passes over loops share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradgen.lower.kernel import (
    Bind,
    Break,
    Buffer,
    Call,
    Check,
    Clip,
    Fold,
    Gemm,
    If,
    Index,
    Let,
    Load,
    Loop,
    Patch,
    Routine,
    Store,
    Window,
)


class Rewriter:
    """Statements rebuilt with variables, scalars and buffers replaced; what does not change is kept as it is.

    table: id of a Var -> Affine or Var; id of a Let or Load -> another scalar.
    access: (buffer, index) -> (buffer, index), for passes that move or shrink buffers.
    fresh: every scalar is made anew, for passes that copy statements.
    """

    def __init__(
        self,
        table: dict[int, Any] | None = None,
        access: Callable[..., Any] | None = None,
        fresh: bool = False,
    ) -> None:
        self.table = {} if table is None else table
        self.access = access
        self.fresh = fresh

    def scalar(self, x: Any) -> Any:
        return self.table.get(id(x), x)

    def where(self, buffer: Buffer, index: Index) -> tuple[Buffer, Index]:
        if self.table and any(a.terms for a in index):
            index = tuple([a.substitute(self.table) for a in index])
        return (buffer, index) if self.access is None else self.access(buffer, index)

    def window(self, w: Window) -> Window:
        buffer, index = self.where(w.buffer, w.index)
        return Window(buffer, index, w.rows, w.columns)

    def loop(self, loop: Loop, body: list[Any]) -> Loop:
        new = loop.with_body(body)
        if self.table:
            new.start, new.extent = self.bound(loop.start), self.bound(loop.extent)
        return new

    def bound(self, bound: Any) -> Any:
        if type(bound) is not Clip:
            return bound
        return Clip(bound.base.substitute(self.table), bound.size, bound.total, bound.unit)

    def block(self, body: Sequence[Any]) -> list[Any]:
        return [self.statement(stmt) for stmt in body]

    def statement(self, stmt: Any) -> Any:
        kind = type(stmt)
        table = self.table
        if kind is Let:
            if self.fresh or any(id(a) in table for a in stmt.args):
                args = tuple([table.get(id(a), a) for a in stmt.args])
                new: Any = Let(stmt.op, args, stmt.type, stmt.params, stmt.name, stmt.site)
                table[id(stmt)] = new
                return new
            return stmt
        if kind is Load:
            buffer, index = self.where(stmt.buffer, stmt.index)
            if buffer is stmt.buffer and index is stmt.index and not self.fresh:
                return stmt
            table[id(stmt)] = new = Load(buffer, index, stmt.name, stmt.site)
            return new
        if kind is Fold:
            buffer, index = self.where(stmt.buffer, stmt.index)
            table[id(stmt)] = new = Fold(stmt.by, buffer, index, stmt.count, stmt.site)
            return new
        if kind is Store:
            buffer, index = self.where(stmt.buffer, stmt.index)
            return Store(buffer, index, self.scalar(stmt.value), stmt.accumulate, stmt.site)
        if kind is Routine:
            reads, writes = (
                tuple([Patch(*self.where(p.buffer, p.index), p.lead) for p in patches])
                for patches in (stmt.reads, stmt.writes)
            )
            return Routine(
                stmt.name,
                stmt.sizes,
                reads,
                writes,
                stmt.meaning,
                stmt.updates,
                stmt.fails,
                stmt.site,
            )
        if kind is Gemm:
            c, a, b = (self.window(w) for w in (stmt.c, stmt.a, stmt.b))
            return Gemm(c, a, b, stmt.m, stmt.n, stmt.k, stmt.site)
        if kind is Loop:
            return self.loop(stmt, self.block(stmt.body))
        if kind is Check:
            return Check(self.scalar(stmt.value), stmt.extent, stmt.site)
        if kind is Break:
            return Break(self.scalar(stmt.value), stmt.site)
        if kind is Bind:
            return Bind(stmt.letter, self.scalar(stmt.value), stmt.site)
        if kind is If:
            return If(
                self.scalar(stmt.condition),
                self.block(stmt.then),
                self.block(stmt.otherwise),
                stmt.site,
            )
        return Call(self.block(stmt.body), stmt.site) if kind is Call else stmt
