"""Steps of elementwise statements: a loop over steps around one loop over elements is turned inside out.

    for i < m (sequential): for j < n: p[j] = p[j] * t[j] + x[i]

becomes

    for j < n: for i < m (sequential): p[j] = p[j] * t[j] + x[i]

so that it may share a loop over the elements with what comes before and after it, its arrays become scalars of an element
(or an array of its steps, where reverse mode keeps them), and no step passes over memory; `abreast` then takes the steps of
many elements side by side. A sum over the elements that a step only stores, `s[i] = sum of p`, is added up in memory.

Legal where every element is touched at its own place alone, in all steps. Left as it is where every step passes over data of
its own. Linear in the statements.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from gradgen.ir import CONST
from gradgen.lower.fuse import accesses, fuse_block
from gradgen.lower.kernel import (
    READ,
    Affine,
    Buffer,
    Clip,
    Declare,
    Index,
    Kernel,
    Let,
    Load,
    Loop,
    Store,
    Var,
    accessed,
    only_moves,
    operands,
    walk,
)
from gradgen.lower.rewriter import Rewriter
from gradgen.value import constant

LONG = 64  # elements: fewer are as well in one loop a step


def interchange(kernel: Kernel) -> Kernel:
    """`kernel` with its steps of elementwise statements element by element."""
    return kernel.with_body(_block(kernel.body, False))


def _block(body: list[Any], in_steps: bool) -> list[Any]:
    out: list[Any] = []
    for stmt in body:
        steps = type(stmt) is Loop and stmt.kind == "sequential"
        if steps:
            inner = _block(stmt.body, True)
            if any(a is not b for a, b in zip_longest(inner, stmt.body)):
                stmt = stmt.with_body(fuse_block(inner))
        found = _Steps.of(stmt) if steps or (in_steps and _copies_states(stmt)) else None
        out += [stmt] if found is None else found.turned()
    return out


def _copies_states(stmt: Any) -> bool:
    """Whether a statement of a step only copies what an inner loop has kept of its own steps."""
    return type(stmt) is Loop and stmt.kind == "parallel" and only_moves(stmt.body)


class _Steps:
    """A sequential loop: scalars that only read what no step writes, one loop over elements, and stores of its sums."""

    def __init__(self, loop: Loop, inner: Loop) -> None:
        self.loop, self.inner = loop, inner
        self.scalars: list[Any] = []
        self.sums: dict[
            int, Store
        ] = {}  # by the id of the variable of a sum: where the step stores it

    @classmethod
    def of(cls, loop: Loop) -> _Steps | None:
        nested = [s for s in loop.body if type(s) is Loop]
        if len(nested) != 1 or type(loop.extent) is Clip:
            return None
        steps = cls(loop, nested[0])
        return steps if steps._elementwise() and steps._around() else None

    def _elementwise(self) -> bool:
        """Whether the loop over elements touches what it writes at the places of the element alone."""
        inner = self.inner
        if inner.kind == "sequential" or inner.start != 0 or inner.step != 1:
            return False
        if type(inner.extent) is Clip or (isinstance(inner.extent, int) and inner.extent < LONG):
            return False
        statements = list(walk(inner.body))
        if not all(type(s) in (Let, Load, Store, Loop) for s in statements):
            return False
        if any(type(s) is Store and s.accumulate not in (None, "add") for s in statements):
            return False
        if any(type(s) is Loop and type(s.extent) is Clip for s in statements):
            return False
        if any(_streams(s, self.loop.var, inner.var) for s in statements):
            return False
        touched, _ = accesses(inner.body, inner.var, True)
        self.own = {key for key, (mode, places) in touched.items() if mode == READ or places}
        self.added = set(touched) - self.own
        return any(touched[key][0] != READ for key in self.own)

    def _around(self) -> bool:
        """Whether the other statements are scalars that no step changes, and sums that a step stores."""
        inside = list(walk(self.inner.body))
        written = {id(s.buffer.memory) for s in inside if type(s) is Store}
        sums: dict[int, Any] = {}
        stored: set[int] = set()
        totals: dict[int, int] = {}
        for stmt in self.loop.body:
            kind = type(stmt)
            if stmt is self.inner or kind is Let:
                if kind is Let:
                    if any(id(a) in totals for a in stmt.args):
                        return False
                    self.scalars.append(stmt)
            elif kind is Declare and not stmt.buffer.shape and stmt.fill is None:
                sums[id(stmt.buffer)] = stmt
            elif kind is Load and id(stmt.buffer) in sums:
                totals[id(stmt)] = id(stmt.buffer)
            elif kind is Load:
                if id(stmt.buffer.memory) in written or any(
                    id(a) in totals for a in operands(stmt)
                ):
                    return False
                self.scalars.append(stmt)
            elif kind is Store and id(stmt.buffer) in sums:
                if stmt.accumulate or not _is_zero(stmt.value):
                    return False
            elif kind is Store and id(stmt.value) in totals:
                key = totals[id(stmt.value)]
                memory = id(stmt.buffer.memory)
                if (
                    not self._is_place_of_step(stmt)
                    or key in self.sums
                    or memory in stored | written
                ):
                    return False
                stored.add(memory)
                self.sums[key] = stmt
            else:
                return False
        reads = {id(s.buffer.memory) for s in (*self.scalars, *inside) if type(s) is Load}
        return self.added == set(self.sums) == set(sums) and not stored & reads

    def _is_place_of_step(self, stmt: Store) -> bool:
        """Whether a step stores at a place of its own, known from its number."""
        terms = [t for a in stmt.index for t, _ in a.terms]
        return not stmt.accumulate and bool(terms) and all(t is self.loop.var for t in terms)

    def turned(self) -> list[Any]:
        loop, inner = self.loop, self.inner
        out: list[Any] = []
        for stmt in self.sums.values():
            var = Var()
            index = tuple([a.substitute({id(loop.var): Affine.of(var)}) for a in stmt.index])
            zero = constant(0, stmt.buffer.dtype)
            fill = [Store(stmt.buffer, index, zero, None, stmt.site)]
            out.append(Loop(var, loop.extent, "parallel", fill, stmt.site, loop.start, loop.step))

        def access(buffer: Buffer, index: Index) -> tuple[Buffer, Index]:
            place = self.sums.get(id(buffer))
            return (buffer, index) if place is None else (place.buffer, place.index)

        body = [*self.scalars, *Rewriter({}, access).block(inner.body)]
        kind = "reduction" if self.sums else inner.kind
        return [*out, Loop(inner.var, inner.extent, kind, [loop.with_body(body)], inner.site)]


def _streams(stmt: Any, step: Var, element: Var) -> bool:
    """Whether every step reads or writes elements of its own of an argument or result: memory best passed row by row."""
    for buffer, index, _ in accessed(stmt):
        terms = [t for a in index for t, _ in a.terms]
        if buffer.memory.storage in ("input", "output") and step in terms and element in terms:
            return True
    return False


def _is_zero(value: Any) -> bool:
    return value.op is CONST and not value.params["value"]
