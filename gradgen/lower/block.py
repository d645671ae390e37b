"""Blocking: a long loop with mathematical functions among inner loops goes in blocks of rows, one task at a time.

    for i < n: { inner loops; exp and log of a row's scalars; inner loops }

becomes, for blocks of ROWS rows that stay in cache,

    for i < n by ROWS: { for r: inner loops   for r: the scalars   for r: inner loops }

so that the scalars of many rows are computed side by side, and what the inner loops read is read once. A scalar that crosses
from one task to the next becomes a small array of the block, and so does a small array of the row, an element of all rows after
the other where scalars of a row are computed of its elements; a load of memory that the loop does not write is made again
instead. A sum over rows is collected in ROWS lanes, which are added up after the loop.
Where neighbouring rows are not neighbours in memory (the columns of a row-major matrix), loads and stores of a loop with
mathematical functions go with the inner loops, so that the mathematics runs over arrays of the block.

Legal because the rows are independent but for sums: statements that touch memory in ways that depend on the order of rows stay
in one task (see `fuse` for when an element is touched by one row alone). Linear in the statements of the loop, and in the
pairs of accesses to one memory.
"""

from __future__ import annotations

from typing import Any

from gradgen.lower.fuse import accesses, conflict
from gradgen.lower.kernel import (
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
    operands,
    walk,
)
from gradgen.lower.lanes import LANES, Collector, combined, set_up
from gradgen.lower.rewriter import Rewriter
from gradgen.types import BYTES

ROWS = 64
INNER = 32  # rows of a block of a loop inside of another one: its lanes are set up and added in every iteration
WHOLE = (
    2 * ROWS
)  # a loop up to this long is one block: its tasks are told apart whatever they compute
ROOM = 16384  # bytes of the small arrays of a block
MATHS = 10  # flops of what is worth computing side by side
# Rows of which more is copied in and out than computed go in blocks of one vector, 64 bytes: the memory of one block is on its
# way while another is computed. Measured: the Jacobian of a camera's view, 46 numbers a row and two calls of mathematics, takes
# 0.75 times the time that it takes in blocks of 32; a row with a call for every number takes 1.2 times the time.
COPIED = 8  # numbers for each call of mathematics
VECTOR = 64


def block(kernel: Kernel) -> Kernel:
    """`kernel` with its long loops in blocks, where that lets mathematical functions be computed side by side."""
    return kernel.with_body(_block(kernel.body, ROWS))


def _block(body: list[Any], rows: int) -> list[Any]:
    out: list[Any] = []
    for stmt in body:
        if type(stmt) is not Loop:
            out.append(stmt)
            continue
        made = _blocked(stmt, rows) if _suits(stmt) else [stmt]
        out += [s.with_body(_block(s.body, INNER)) if type(s) is Loop else s for s in made]
    return out


def _suits(loop: Loop) -> bool:
    if (
        loop.kind == "sequential"
        or loop.step != 1
        or type(loop.extent) is Clip
        or (isinstance(loop.extent, int) and loop.extent < 8)
    ):
        return False
    if any(
        type(s) not in (Let, Load, Store, Declare, Loop)
        or (type(s) is Loop and s.kind == "sequential")
        for s in walk(loop.body)
    ):
        return False
    nested = any(type(s) is Loop for s in loop.body)
    if nested and isinstance(loop.extent, int) and loop.extent <= WHOLE:
        return any(type(s) is Let for s in loop.body)
    maths = any(type(s) is Let and s.op.flops >= MATHS for s in loop.body)
    return maths and (nested or bool(_accumulators(loop.body, loop)) or bool(_far(loop)))


def _far(loop: Loop) -> set[int]:
    """By id, loads and stores of the loop's own that go from row to row by more than one element; with mathematics only."""
    if not any(type(s) is Let and s.op.flops >= MATHS for s in loop.body):
        return set()
    return {
        id(s)
        for s in loop.body
        if (type(s) is Load or type(s) is Store) and s.index and _is_strided(s, loop.var)
    }


def _is_strided(stmt: Load | Store, var: Var) -> bool:
    *head, last = stmt.index
    if any(t is var for a in head for t, _ in a.terms):
        return True
    return any(t is var and c != 1 for t, c in last.terms)


def _accumulators(body: list[Any], loop: Loop) -> dict[int, Buffer]:
    """Scalar variables of an outer block that the loop only adds to, in statements of its own."""
    inside = {id(s.buffer) for s in walk(loop.body) if type(s) is Declare}
    found: dict[int, Buffer] = {}
    spoilt: set[int] = set()
    own = {id(s) for s in body}
    for stmt in walk(loop.body):
        if type(stmt) is Load or type(stmt) is Store:
            buffer = stmt.buffer
            if buffer.shape or buffer.storage != "local" or id(buffer) in inside:
                continue
            if buffer.dtype not in LANES:
                continue
            if type(stmt) is Store and stmt.accumulate == "add" and id(stmt) in own:
                found[id(buffer)] = buffer
            else:
                spoilt.add(id(buffer))
    return {key: b for key, b in found.items() if key not in spoilt}


def _blocked(loop: Loop, most: int) -> list[Any]:
    tasks = _tasks(loop)
    split = _Split(loop, tasks)
    extent = loop.extent
    whole = isinstance(extent, int) and extent <= WHOLE and loop.start == 0
    rows = extent if whole else min(most, split.longest())
    assert isinstance(rows, int)
    while split.bytes_per_row * rows > ROOM and not whole:
        rows //= 2
    if rows < 8 or split.bytes_per_row * rows > ROOM:
        return [loop]
    return split.build(rows, whole)


# -- which statements form a task
def _tasks(loop: Loop) -> list[list[Any]]:
    """The loop's statements in tasks, in an order in which they may run one after the other over all rows of a block."""
    body = loop.body
    position = {id(s): k for k, s in enumerate(body)}
    leader = list(range(len(body)))

    def find(k: int) -> int:
        while leader[k] != k:
            leader[k] = leader[leader[k]]
            k = leader[k]
        return k

    arrays = {id(s.buffer) for s in body if type(s) is Declare and s.buffer.shape}
    after: list[list[int]] = []  # per statement: those that it must follow
    seen: dict[int, list[tuple[int, int, Any]]] = {}
    for k, stmt in enumerate(body):
        touched, read = accesses([stmt], loop.var, True)
        after.append([position[key] for key in read if key in position and position[key] != k])
        for memory, (mode, places) in touched.items():
            for j, other, where in seen.get(memory, ()):
                if not conflict(mode, other):
                    continue
                if memory in arrays or places & where:
                    after[k].append(j)
                else:
                    leader[find(k)] = find(j)
            seen.setdefault(memory, []).append((k, mode, places))
    # A cluster that must both follow and precede another is one task with it, and with all between.
    times = _times(body, after, find, _far(loop))
    tasks: dict[int, list[Any]] = {}
    for k, stmt in enumerate(body):
        tasks.setdefault(times[find(k)], []).append(stmt)
    return [tasks[t] for t in sorted(tasks)]


def _times(body: list[Any], after: list[list[int]], find: Any, far: set[int]) -> dict[int, int]:
    """A time per cluster: scalars at odd ones, loops and what is far at even ones, each as early as what it follows allows.

    Times only grow; where clusters wait for each other they would grow for ever, so that a time past the number of
    statements means that the loop is one task.
    """
    loops = {find(k) for k, s in enumerate(body) if type(s) is Loop or id(s) in far}
    times: dict[int, int] = {find(k): 0 if find(k) in loops else -1 for k in range(len(body))}
    changed = True
    while changed:
        changed = False
        for k in range(len(body)):
            c = find(k)
            for j in after[k]:
                b = find(j)
                if b == c:
                    continue
                least = times[b] if (b in loops) == (c in loops) else times[b] + 1
                if times[c] < least:
                    times[c] = least
                    changed = True
                    if least > len(body) + 1:
                        return dict.fromkeys(times, 0)
    return times


# -- the tasks as loops of their own
class _Split:
    """What crosses between tasks, and the loops made of them."""

    def __init__(self, loop: Loop, tasks: list[list[Any]]) -> None:
        self.loop = loop
        self.tasks = tasks
        self.stored = {id(s.buffer.memory) for s in walk(loop.body) if type(s) is Store}
        self.home: dict[int, int] = {}
        self.crossing: dict[int, Any] = {}
        self.needed: set[int] = set()  # scalars that are read in their own task
        uses: dict[int, set[int]] = {}
        arrays: dict[int, Buffer] = {}
        for t, task in enumerate(tasks):
            for stmt in task:
                if type(stmt) is Let or type(stmt) is Load:
                    self.home[id(stmt)] = t
                elif type(stmt) is Declare and stmt.buffer.shape:
                    arrays[id(stmt.buffer)] = stmt.buffer
        scalars = {id(s): s for s in loop.body if id(s) in self.home}
        self.stands: dict[int, Load] = {}
        for t, task in enumerate(tasks):
            for key, load in _stored_once(loop, task).items():
                if self.home.get(key) == t:
                    self.stands[key] = load
        for t, task in enumerate(tasks):
            for stmt in walk(task):
                for a in operands(stmt):
                    if self.home.get(id(a), t) != t:
                        self.crossing[id(a)] = scalars[id(a)]
                    elif id(a) in self.home:
                        self.needed.add(id(a))
                if type(stmt) in (Load, Store, Declare) and id(stmt.buffer) in arrays:
                    uses.setdefault(id(stmt.buffer), set()).add(t)
        self.expanded = {key: arrays[key] for key, where in uses.items() if len(where) > 1}
        # Elements that stand among the scalars of a row lie beside those of the next row.
        self.across = {
            id(s.buffer)
            for s in loop.body
            if type(s) is Load
            and id(s.buffer) in self.expanded
            and not any(a.terms for a in s.index)
        }
        self.lanes = _accumulators(loop.body, loop)
        self.far = _far(loop)
        kept = [s for s in self.crossing.values() if not self._again(s)]
        self.bytes_per_row = sum(BYTES[s.type.dtype] for s in kept)
        for buffer in self.expanded.values():
            assert isinstance(buffer.size, int)
            self.bytes_per_row += BYTES[buffer.dtype] * buffer.size

    def _again(self, stmt: Any) -> bool:
        """Whether a scalar that crosses is loaded (again) where it is needed."""
        if id(stmt) in self.far:
            return False
        if id(stmt) in self.stands:
            return True
        return (
            type(stmt) is Load
            and id(stmt.buffer.memory) not in self.stored
            and all(id(a) not in self.home for a in operands(stmt))
        )

    def longest(self) -> int:
        """Rows of a block at most: of one vector where rows are mostly copied."""
        body = self.loop.body
        calls = sum(type(s) is Let and s.op.flops >= MATHS for s in body)
        if any(type(s) is Loop for s in body) or len(self.far) <= COPIED * calls:
            return ROWS
        return VECTOR // max(BYTES[s.type.dtype] for s in body if type(s) is Let)

    def build(self, rows: int, whole: bool) -> list[Any]:
        loop = self.loop
        base = loop.var
        arrays: dict[int, Buffer] = {
            key: Buffer(name_in_block(s), s.type.dtype, (rows,), "local", site=s.site)
            for key, s in self.crossing.items()
            if not self._again(s)
        }
        wide = {
            key: Buffer(
                b.name,
                b.dtype,
                (*b.shape, rows) if key in self.across else (rows, *b.shape),
                "local",
                site=b.site,
            )
            for key, b in self.expanded.items()
        }
        collectors = {
            key: Collector(b, "add", Buffer(f"{b.name}_lane", b.dtype, count, "local", site=b.site))
            for key, b in self.lanes.items()
            for count in [(-(-rows // LANES[b.dtype]) * LANES[b.dtype],)]
        }
        lanes = {key: c.lane for key, c in collectors.items()}
        inner: list[Any] = [Declare(b, b.site) for b in (*arrays.values(), *wide.values())]
        for t, task in enumerate(self.tasks):
            made = self._task(t, task, rows, whole, arrays, wide, lanes)
            if made.body:
                inner.append(made)
        if whole:
            result = inner
        else:
            result = [Loop(base, loop.extent, loop.kind, inner, loop.site, loop.start, rows)]
        found = list(collectors.values())
        after = [
            stmt
            for dtype in LANES
            for stmt in combined([c for c in found if c.lane.dtype == dtype])
        ]
        return [*set_up(found), *result, *after]

    def _task(
        self, t: int, task: list[Any], rows: int, whole: bool,
        arrays: dict[int, Buffer], wide: dict[int, Buffer], lanes: dict[int, Buffer],
    ) -> Loop:  # fmt: skip
        loop, row = self.loop, Var()
        r = Affine.of(row)
        here = r if whole else Affine.of(loop.var).plus(r)

        def access(buffer: Buffer, index: Index) -> tuple[Buffer, Index]:
            if id(buffer) in wide:
                across = id(buffer) in self.across
                return wide[id(buffer)], (*index, r) if across else (r, *index)
            if id(buffer) in lanes:
                return lanes[id(buffer)], (r,)
            return buffer, index

        table: dict[int, Any] = {id(loop.var): here}
        rewriter = Rewriter(table, access)
        made: list[Any] = []
        for stmt in task:
            if type(stmt) is Declare and id(stmt.buffer) in wide:
                continue
            idle = id(stmt) in self.crossing and id(stmt) not in self.needed
            if idle and type(stmt) is Load and id(stmt) not in arrays:
                continue
            for one in walk([stmt]):
                for a in operands(one):
                    if self.home.get(id(a), t) != t and id(a) not in table:
                        array = arrays.get(id(a))
                        if array is None:
                            load = self.stands.get(id(a), self.crossing[id(a)])
                            copied = rewriter.statement(
                                Load(load.buffer, load.index, a.name, a.site)
                            )
                            table[id(a)] = copied
                            made.append(copied)
                        else:
                            table[id(a)] = load = Load(array, (r,), a.name, a.site)
                            made.append(load)
            new = rewriter.statement(stmt)
            made.append(new)
            if id(stmt) in arrays:
                made.append(Store(arrays[id(stmt)], (r,), new, None, stmt.site))
        adds = any(type(s) is Store and s.accumulate for s in walk(made))
        kind = loop.kind if adds else "parallel"
        extent = rows if whole else rows_of_block(loop, rows)
        return Loop(row, extent, kind, made, task[0].site)


def rows_of_block(loop: Loop, rows: int) -> Any:
    """The extent of a loop over one block of `rows` of a loop's iterations."""
    count = loop.extent if loop.start == 0 else None
    if isinstance(count, int) and count % rows == 0:
        return rows
    assert not isinstance(loop.extent, Clip)
    return Clip(Affine.of(loop.var), rows, loop.extent)


def _stored_once(loop: Loop, task: list[Any]) -> dict[int, Load]:
    """Scalars that a task stores where the loop stores nothing else: by id, what loads them from there."""
    count: dict[int, int] = {}
    for stmt in walk(loop.body):
        if type(stmt) is Store:
            key = id(stmt.buffer.memory)
            count[key] = count.get(key, 0) + 1
    return {
        id(s.value): Load(s.buffer, s.index)
        for s in task
        if type(s) is Store
        and not s.accumulate
        and count[id(s.buffer.memory)] == 1
        and any(t is loop.var for a in s.index for t, _ in a.terms)
        and not operands(Load(s.buffer, s.index))
    }


def name_in_block(stmt: Any) -> str:
    """What the array of a scalar that crosses from one task to the next is called."""
    if stmt.name:
        return str(stmt.name)
    return stmt.buffer.name if type(stmt) is Load else "t"
