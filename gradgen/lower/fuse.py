"""Fusion: loops of one extent become one loop where that keeps every value, outermost first, then inside of each.

List scheduling in one walk: a statement goes to the earliest time that its dependences allow. Times alternate: scalars -1,
loop 0, scalars 1, loop 2, ... A loop joins the first loop of its extent from its earliest time on, or opens a new one; scalars
stay in order. Two nests that touch the same memory, one of them writing, may share a loop if both touch it only at places where
some axis is the same function of the loop's variable: then an element is touched in one iteration alone, in the old order.
Additions into the same memory commute (their order, hence the last digits, may change). What a reduction has collected
is read after its loop, so that a reduction whose result is needed cuts the nest.

Sequential loops join only sequential ones. Linear in the number of accesses.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import Any

from gradgen.lower.kernel import (
    WRITE,
    Affine,
    Bind,
    Break,
    Call,
    Fail,
    If,
    Kernel,
    Let,
    Load,
    Loop,
    Routine,
    Store,
    Var,
    accessed,
    operands,
    walk,
)
from gradgen.lower.rewriter import Rewriter

Places = frozenset[Any]


def fuse(kernel: Kernel) -> Kernel:
    """`kernel` with compatible loops merged at every depth."""
    return kernel.with_body(fuse_block(kernel.body))


def fuse_block(body: list[Any]) -> list[Any]:
    """The statements of one block with compatible loops merged, and in what is inside of them."""
    cuts = [k + 1 for k, s in enumerate(body) if type(s) in _BARRIERS]
    if cuts:
        # Nothing moves past what may end the loop or names a size.
        bounds = [0, *cuts, len(body)]
        return [s for lo, hi in pairwise(bounds) for s in _between(body[lo:hi])]
    return _between(body)


_BARRIERS = frozenset((Break, Bind, Fail, Routine))


def _between(body: list[Any]) -> list[Any]:
    loops = sum(type(s) is Loop for s in body)
    if loops > 1:
        body = _Schedule().run(body)
    return [_inside(s) for s in body]


def _inside(stmt: Any) -> Any:
    if type(stmt) is Loop:
        return stmt.with_body(fuse_block(stmt.body))
    if type(stmt) is If:
        return If(stmt.condition, fuse_block(stmt.then), fuse_block(stmt.otherwise), stmt.site)
    return stmt


class _Schedule:
    def __init__(self) -> None:
        self.groups: list[Loop] = []
        self.scalars: dict[int, list[Any]] = {}
        self.time: dict[int, int] = {}
        # Per memory, since it was last written: time -> (mode, places where it is touched).
        self.events: dict[int, dict[int, tuple[int, Places]]] = {}
        self.by_key: dict[Any, list[int]] = {}

    def run(self, body: list[Any]) -> list[Any]:
        results = []
        for stmt in _fills_first(body):
            if type(stmt) is Loop:
                self._loop(stmt)
            elif type(stmt) is Store and not stmt.index and stmt.buffer.storage == "output":
                results.append(stmt)  # nothing reads a scalar result
            else:
                self._scalar(stmt)
        out = list(self.scalars.get(-1, ()))
        for g, loop in enumerate(self.groups):
            out.append(loop)
            out += self.scalars.get(2 * g + 1, ())
        return _settle([*out, *results])

    def _scalar(self, stmt: Any) -> None:
        kind = type(stmt)
        if kind is Let:
            time = -1
            for a in stmt.args:
                t = self.time.get(id(a), -1)
                if t > time:
                    time = t
            self.time[id(stmt)] = time
            self.scalars.setdefault(time, []).append(stmt)
            return
        compound = kind is If or kind is Call
        touched, read = accesses([stmt], None, compound)
        time = max((self.time.get(key, -1) for key in read), default=-1)
        for memory, (mode, _) in touched.items():
            for t, (other, _) in self.events.get(memory, {}).items():
                if conflict(mode, other):
                    time = max(time, t | 1)
        if kind is Load:
            self.time[id(stmt)] = time
        self.scalars.setdefault(time, []).append(stmt)
        self._note(touched, time)

    def _loop(self, loop: Loop) -> None:
        touched, read = accesses(loop.body, loop.var, True)
        earliest = 0
        for key in read:
            earliest = max(earliest, self.time.get(key, -1) + 1)
        for memory, (mode, places) in touched.items():
            for t, (other, where) in self.events.get(memory, {}).items():
                if conflict(mode, other):
                    if t % 2:
                        earliest = max(earliest, t + 1)
                    else:
                        earliest = max(earliest, t if places & where else t + 2)
        ends = any(type(s) in _BARRIERS for s in loop.body)
        kind: Any = id(loop) if ends else (loop.extent, loop.kind == "sequential")
        mine = self.by_key.setdefault(kind, [])
        k = bisect_left(mine, earliest // 2)
        if k < len(mine):
            g = mine[k]
            group = self.groups[g]
            group.body += Rewriter({id(loop.var): Affine.of(group.var)}).block(loop.body)
            if "sequential" not in (group.kind, loop.kind) and "reduction" in (
                group.kind,
                loop.kind,
            ):
                group.kind = "reduction"
        else:
            g = len(self.groups)
            mine.append(g)
            self.groups.append(Loop(loop.var, loop.extent, loop.kind, list(loop.body), loop.site))
        self._note(touched, 2 * g)

    def _note(self, touched: dict[int, tuple[int, Places]], time: int) -> None:
        for memory, (mode, places) in touched.items():
            known = self.events.setdefault(memory, {})
            if mode == WRITE and known:
                # Whatever conflicts with what came before conflicts with this write, which is no earlier.
                for t in [t for t in known if t < time]:
                    del known[t]
            old = known.get(time)
            if old is not None:
                mode, places = (mode if mode == old[0] else WRITE), places & old[1]
            known[time] = (mode, places)


def _fills_first(body: list[Any]) -> list[Any]:
    """Loops that set fresh memory to constants go to the front: what adds to that memory may then join any loop.

    Of these, the ones whose memory is added to by loops of another extent come first: they cannot join those, and must not
    be kept behind one that can.
    """
    seen: set[int] = set()
    fills: list[Any] = []
    rest: list[Any] = []
    extents: dict[int, set[Any]] = {}
    for stmt in body:
        touched, read = accesses([stmt], None, True)
        fill = (
            type(stmt) is Loop
            and not read
            and all(m == WRITE and k not in seen for k, (m, _) in touched.items())
        )
        fill = fill and not any(type(s) is Load for s in walk([stmt]))
        (fills if fill else rest).append(stmt)
        seen.update(touched)
        for memory in touched:
            extents.setdefault(memory, set()).add(stmt.extent if type(stmt) is Loop else None)
    own = [all(len(extents[k]) == 1 for k in accesses([s], None, True)[0]) for s in fills]
    return [s for _, s in sorted(zip(own, fills, strict=True), key=lambda pair: pair[0])] + rest


def _settle(body: list[Any]) -> list[Any]:
    """Loads of inputs, which move up freely, stand where they are first needed; behind all if that is a later part."""
    movable = {
        id(s): s
        for s in body
        if type(s) is Load and s.buffer.memory.storage in ("input", "const") and not operands(s)
    }
    if not movable:
        return body
    out: list[Any] = []
    for stmt in body:
        if id(stmt) in movable:
            continue
        for inner in walk([stmt]):
            for a in operands(inner):
                load = movable.pop(id(a), None)
                if load is not None:
                    out.append(load)
        out.append(stmt)
    return [*out, *movable.values()]


def conflict(a: int, b: int) -> bool:
    return not (a == b and a != WRITE)


def accesses(
    body: list[Any], var: Var | None, deep: bool
) -> tuple[dict[int, tuple[int, Places]], set[int]]:
    """By memory, how statements touch it and at which (axis, coefficient, constant) of `var`; and the scalars read."""
    touched: dict[int, tuple[int, Places]] = {}
    read: set[int] = set()
    for stmt in walk(body) if deep else body:
        for a in operands(stmt):
            if type(a) is Let or type(a) is Load:
                read.add(id(a))
        for buffer, index, mode in accessed(stmt):
            memory = buffer.memory
            if memory.storage in ("input", "const"):
                continue
            places: Places = frozenset(
                (buffer.shape, axis, a.terms[0][1], a.constant)
                for axis, a in enumerate(index)
                if len(a.terms) == 1 and a.terms[0][0] is var
            )
            old = touched.get(id(memory))
            if old is not None:
                mode, places = (mode if mode == old[0] else WRITE), places & old[1]
            touched[id(memory)] = (mode, places)
    return touched, read
