"""Rows abreast: a long loop whose rows take steps of their own takes the steps of a block of rows side by side.

    for i < n: { y = y0[i]; for t < T (sequential): y = y + h * f(y); out[i] = y }

becomes, for blocks of rows, with one element of y for each,

    for i < n by ROWS: { for r: y[r] = y0[i + r]   for t < T: for r: y[r] = y[r] + h * f(y[r])   for r: out[i + r] = y[r] }

The innermost loop is then one over independent rows, which a compiler makes vectors of. Loops of a row before and after its
steps stay as they are, within a row. What crosses from one run of statements to the next, and what the rows keep over their
steps, becomes an array of the block with the rows along its last axis; memory that no step writes is read again instead. Blocks
are as long as their arrays fit into ROOM, but not shorter than LEAST; arrays of more than STACK bytes, or of a length not known
yet, go into the workspace.

    write_out    the short loops of such rows are written out first, so that their small arrays become scalars
    abreast      the rows side by side

Legal because the rows are independent but for sums (see `fuse` for when an element is touched by one row alone). Linear in the
statements.
"""

from __future__ import annotations

from typing import Any

from gradgen.lower.block import name_in_block, rows_of_block
from gradgen.lower.fuse import accesses
from gradgen.lower.kernel import (
    READ,
    WRITE,
    Affine,
    Buffer,
    Check,
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
from gradgen.lower.unroll import written_out
from gradgen.types import BYTES
from gradgen.value import constant

ROWS = 64
ROOM = 32768  # bytes of the arrays of a block of more than LEAST rows
STACK = 65536  # bytes of the arrays of a block that are on the stack, at most
LEAST = 16  # rows of a block
SHORT = 8  # steps of a loop that is written out
MOST = 2000  # statements of a row


# -- short loops
def write_out(kernel: Kernel) -> Kernel:
    """`kernel` with the short loops of rows that take steps written out."""
    return kernel.with_body(_written(kernel.body))


def _written(body: list[Any]) -> list[Any]:
    out: list[Any] = []
    for stmt in body:
        if _takes_steps(stmt):
            out.append(_flat(stmt))
        elif type(stmt) is Loop and stmt.kind == "sequential":
            out.append(stmt.with_body(_written(stmt.body)))
        else:
            out.append(stmt)
    return out


def _takes_steps(stmt: Any) -> bool:
    """Whether a statement is a long loop over rows that take steps, and do nothing else but compute."""
    if type(stmt) is not Loop or stmt.kind == "sequential" or stmt.start != 0 or stmt.step != 1:
        return False
    if type(stmt.extent) is Clip or (isinstance(stmt.extent, int) and stmt.extent < 2 * SHORT):
        return False
    inner = list(walk(stmt.body))
    if not all(type(s) in (Let, Load, Store, Declare, Check, Loop) for s in inner):
        return False
    loops = [s for s in inner if type(s) is Loop]
    if not any(s.kind == "sequential" for s in loops):
        return False
    return all(type(s.extent) is not Clip for s in loops) and all(
        s.accumulate in (None, "add") for s in inner if type(s) is Store
    )


def _flat(loop: Loop) -> Loop:
    body = _without_short(loop.body)
    return loop.with_body(body) if sum(1 for _ in walk(body)) <= MOST else loop


def _without_short(body: list[Any]) -> list[Any]:
    out: list[Any] = []
    for stmt in body:
        if type(stmt) is not Loop:
            out.append(stmt)
        elif _is_short(stmt) and all(_is_short(s) for s in walk(stmt.body) if type(s) is Loop):
            out += written_out(stmt, {})
        else:
            out.append(stmt.with_body(_without_short(stmt.body)))
    return out


def _is_short(loop: Loop) -> bool:
    extent = loop.extent
    short = isinstance(extent, int) and extent <= SHORT and loop.start == 0 and loop.step == 1
    return short and loop.kind != "sequential" and not any(type(s) is Declare for s in loop.body)


# -- rows side by side
def abreast(kernel: Kernel) -> Kernel:
    """`kernel` with the steps of its rows side by side."""
    users: dict[int, set[int]] = {}  # by memory, the statements of the top level that touch it
    for k, stmt in enumerate(kernel.body):
        for inner in walk([stmt]):
            for buffer, _, _ in accessed(inner):
                users.setdefault(id(buffer.memory), set()).add(k)
    private = {key for key, where in users.items() if len(where) == 1}
    return kernel.with_body(_block(kernel.body, private))


def _block(body: list[Any], private: set[int]) -> list[Any]:
    out: list[Any] = []
    for stmt in body:
        block = _Block.of(stmt, private) if _takes_steps(stmt) else None
        if block is not None:
            out.append(block.build())
        elif type(stmt) is Loop and stmt.kind == "sequential":
            out.append(stmt.with_body(_block(stmt.body, set())))
        else:
            out.append(stmt)
    return out


def _has_steps(loop: Loop) -> bool:
    """Whether a loop is over steps, or around one that is."""
    return any(type(s) is Loop and s.kind == "sequential" for s in walk([loop]))


def _has_long_work(body: list[Any], in_steps: bool = False) -> bool:
    """Whether a step has loops of its own that do more than move numbers: those are vectors already."""
    for stmt in body:
        if type(stmt) is Loop and _has_steps(stmt):
            if _has_long_work(stmt.body, True):
                return True
        elif type(stmt) is Loop and in_steps and not only_moves(stmt.body):
            return True
    return False


class _Block:
    """A loop over rows, its statements in runs between the loops over steps, and what crosses from run to run."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.run_of: dict[int, int] = {}  # by the id of a statement
        self.runs = 0
        self.tree = self._cut(loop.body)
        inner = list(walk(loop.body))
        self.stored = {id(s.buffer.memory) for s in inner if type(s) is Store}
        self.same: set[int] = set()  # scalars that are the same in all rows
        for stmt in inner:
            if self._is_same(stmt):
                self.same.add(id(stmt))

    @classmethod
    def of(cls, loop: Loop, private: set[int]) -> _Block | None:
        """The block of a loop, if its rows are independent; private: memory that one statement of the top level uses."""
        if _has_long_work(loop.body):
            return None
        block = cls(loop)
        own = {id(s.buffer) for s in walk(loop.body) if type(s) is Declare}
        touched, _ = accesses(loop.body, loop.var, True)
        buffers = {
            id(buffer): buffer
            for s in walk(loop.body)
            if type(s) is Load or type(s) is Store
            for buffer in (s.buffer,)
        }
        for buffer in buffers.values():
            memory = buffer.memory
            mode, places = touched.get(id(memory), (READ, frozenset()))
            if mode != WRITE or places:
                continue
            if id(memory) not in own and memory.storage == "temp" and id(memory) in private:
                own.add(id(memory))
            if id(memory) not in own or buffer is not memory:
                return None
        block._find(own, buffers)
        return block

    # -- runs of statements
    def _cut(self, body: list[Any]) -> list[Any]:
        """Lists of statements, and pairs of a loop over steps and what is in it."""
        tree: list[Any] = []
        run: list[Any] = []
        for stmt in body:
            if type(stmt) is Loop and _has_steps(stmt):
                if run:
                    tree.append(run)
                    self.runs += 1
                    run = []
                tree.append((stmt, self._cut(stmt.body)))
            else:
                run.append(stmt)
                for inner in walk([stmt]):
                    self.run_of[id(inner)] = self.runs
        if run:
            tree.append(run)
            self.runs += 1
        return tree

    def _is_same(self, stmt: Any) -> bool:
        if type(stmt) is Let:
            return all(id(a) in self.same or id(a) not in self.run_of for a in stmt.args)
        if type(stmt) is not Load or id(stmt.buffer.memory) in self.stored:
            return False
        terms = [t for a in stmt.index for t, _ in a.terms]
        return all(
            t is not self.loop.var and (id(t) in self.same or id(t) not in self.run_of)
            for t in terms
        )

    def _find(self, own: set[int], buffers: dict[int, Buffer]) -> None:
        """What becomes an array of the block."""
        scalars: dict[int, Any] = {}
        crossing: dict[int, Any] = {}
        where: dict[int, set[int]] = {key: set() for key in own}
        for stmt in walk(self.loop.body):
            if type(stmt) is Loop:
                continue
            run = self.run_of[id(stmt)]
            if type(stmt) is Let or type(stmt) is Load:
                scalars[id(stmt)] = stmt
            for a in operands(stmt):
                if self.run_of.get(id(a), run) != run and id(a) not in self.same:
                    crossing[id(a)] = scalars[id(a)]
            for buffer, _, _ in accessed(stmt):
                if id(buffer) in where:
                    where[id(buffer)].add(run)
        self.crossing = {k: s for k, s in crossing.items() if not self._again(s)}
        self.own = own
        self.kept = {k: buffers[k] for k, runs in where.items() if len(runs) > 1 and k in buffers}
        row = sum(BYTES[s.type.dtype] for s in self.crossing.values())
        for b in self.kept.values():
            row += BYTES[b.dtype] * b.size if isinstance(b.size, int) else 0
        self.rows = ROWS
        while self.rows > LEAST and self.rows * row > ROOM:
            self.rows //= 2
        self.fits = self.rows * row <= STACK

    def _again(self, stmt: Any) -> bool:
        """Whether a scalar that crosses is loaded again where it is needed: a neighbour of the next row's, never written."""
        if type(stmt) is not Load or id(stmt.buffer.memory) in self.stored:
            return False
        terms = [(t, c) for a in stmt.index for t, c in a.terms]
        return terms == [(self.loop.var, 1)] and bool(stmt.index[-1].terms)

    # -- the loops
    def build(self) -> Loop:
        loop = self.loop
        self.arrays = {
            key: Buffer(name_in_block(s), s.type.dtype, (self.rows,), "local", site=s.site)
            for key, s in self.crossing.items()
        }
        self.wide = {
            key: Buffer(
                b.name,
                b.dtype,
                (*b.shape, self.rows),
                "local" if not b.shape or (self.fits and b.storage == "local") else "temp",
                site=b.site,
            )
            for key, b in self.kept.items()
        }
        body: list[Any] = [Declare(b, b.site) for b in self.arrays.values()]
        body += self._build(self.tree)
        return Loop(loop.var, loop.extent, loop.kind, body, loop.site, 0, self.rows)

    def _build(self, tree: list[Any]) -> list[Any]:
        out: list[Any] = []
        for piece in tree:
            if type(piece) is tuple:
                steps, inner = piece
                out.append(steps.with_body(self._build(inner)))
            else:
                out += self._run(piece)
        return out

    def _run(self, run: list[Any]) -> list[Any]:
        """The statements of a run: what is the same for all rows, the rest for each, and sums over the rows."""
        loop, row = self.loop, Var()
        r = Affine.of(row)
        table: dict[int, Any] = {id(loop.var): Affine.of(loop.var).plus(r)}

        def access(buffer: Buffer, index: Index) -> tuple[Buffer, Index]:
            wide = self.wide.get(id(buffer))
            return (buffer, index) if wide is None else (wide, (*index, r))

        rewriter = Rewriter(table, access)
        before: list[Any] = []
        made: list[Any] = []
        after: list[Any] = []
        mine = self.run_of[id(run[0])]
        for stmt in run:
            kind = type(stmt)
            if kind is Declare and id(stmt.buffer) in self.wide:
                wide = self.wide[id(stmt.buffer)]
                if wide.storage == "local":
                    before.append(Declare(wide, stmt.site, stmt.fill))
                continue
            if id(stmt) in self.same:
                before.append(stmt)
                continue
            for a in [a for inner in walk([stmt]) for a in operands(inner)]:
                other = self.run_of.get(id(a), mine) != mine and id(a) not in self.same
                if other and id(a) not in table:
                    table[id(a)] = load = self._brought(a, r, rewriter)
                    made.append(load)
            if kind is Store and self._is_shared(stmt):
                total = Buffer("total", stmt.buffer.dtype, (), "local", site=stmt.site)
                zero = constant(0, total.dtype)
                before += [Declare(total, stmt.site), Store(total, (), zero, None, stmt.site)]
                made.append(Store(total, (), rewriter.scalar(stmt.value), "add", stmt.site))
                load = Load(total, (), None, stmt.site)
                after += [load, Store(stmt.buffer, stmt.index, load, "add", stmt.site)]
                continue
            new = rewriter.statement(stmt)
            made.append(new)
            if id(stmt) in self.arrays:
                made.append(Store(self.arrays[id(stmt)], (r,), new, None, stmt.site))
        if not made:
            return [*before, *after]
        adds = any(type(s) is Store and s.accumulate for s in walk(made))
        sort = "reduction" if adds else "parallel"
        extent = rows_of_block(loop, self.rows)
        return [*before, Loop(row, extent, sort, made, run[0].site), *after]

    def _brought(self, scalar: Any, r: Affine, rewriter: Rewriter) -> Load:
        """A scalar of another run."""
        array = self.arrays.get(id(scalar))
        if array is not None:
            return Load(array, (r,), scalar.name, scalar.site)
        buffer, index = rewriter.where(scalar.buffer, scalar.index)
        return Load(buffer, index, scalar.name, scalar.site)

    def _is_shared(self, stmt: Store) -> bool:
        """Whether all rows add to one place."""
        if not stmt.accumulate:
            return False
        if id(stmt.buffer) in self.own:
            return False
        terms = [t for a in stmt.index for t, _ in a.terms]
        return all(
            t is not self.loop.var and (id(t) in self.same or id(t) not in self.run_of)
            for t in terms
        )
