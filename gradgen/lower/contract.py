"""Contraction: temporaries that live within one iteration become scalars or small arrays of their block.

    forward     a load of what the same block stored or loaded before is that scalar
    sweep       stores into temporaries that nothing loads go, and loops that are empty then
    contract    an axis of a temporary goes where all its places are the variable of a loop around all of them

Each is linear in the number of statements.
"""

from __future__ import annotations

from typing import Any

from gradgen.ir import CONST
from gradgen.lower.kernel import (
    READ,
    Buffer,
    Call,
    Check,
    Declare,
    Gemm,
    If,
    Index,
    Kernel,
    Let,
    Load,
    Loop,
    Routine,
    Store,
    accessed,
    blocks,
    operands,
    walk,
)
from gradgen.lower.rewriter import Rewriter
from gradgen.types import BYTES

# Conversions and index arithmetic, which lowering makes anew for every statement.
_REPEATED = frozenset(("cast", "wrap"))
SMALL = 4096  # bytes of an array in a block


def forward(kernel: Kernel) -> Kernel:
    """`kernel` without loads of what is known."""
    rewriter = Rewriter()
    version: dict[int, int] = {}  # stores into a memory
    unplaced: dict[int, int] = {}  # those whose place is not a number
    placed: dict[Any, int] = {}  # stores into one place
    reads: dict[int, int] = {}
    layers: list[dict[Any, tuple[Any, Any]]] = []
    # Per open block: place -> where in the block it was last stored to, and (version, reads) of its memory then.
    written: list[dict[Any, tuple[int, Any]]] = []

    def count(table: dict[Any, int], key: Any) -> None:
        table[key] = table.get(key, 0) + 1

    def bump(body: list[Any]) -> None:
        for stmt in walk(body):
            for buffer, _, mode in accessed(stmt):
                for table in (reads,) if mode == READ else (version, unplaced):
                    count(table, id(buffer.memory))

    def state(stmt: Load | Store, key: Any) -> Any:
        """What stays the same as long as the place keeps its contents."""
        memory = id(stmt.buffer.memory)
        if _is_placed(stmt):
            return unplaced.get(memory, 0), placed.get(key, 0)
        return version.get(memory, 0)

    def block(body: list[Any]) -> list[Any]:
        layers.append({})
        written.append({})
        out: list[Any] = []
        for stmt in body:
            kind = type(stmt)
            if kind is Let:
                new = rewriter.statement(stmt)
                if stmt.op.name in _REPEATED:
                    key = (new.op, new.type, *[id(a) for a in new.args])
                    found = next((layer[key] for layer in reversed(layers) if key in layer), None)
                    if found is not None:
                        rewriter.table[id(stmt)] = found[0]
                        continue
                    layers[-1][key] = (new, 0)
                out.append(new)
            elif kind is Load:
                new = rewriter.statement(stmt)
                memory = id(new.buffer.memory)
                key = (id(new.buffer), tuple(a.key() for a in new.index))
                now = state(new, key)
                for layer in reversed(layers):
                    known = layer.get(key)
                    if known is not None and known[1] == now:
                        rewriter.table[id(stmt)] = known[0]
                        if stmt.name and type(known[0]) in (Let, Load) and known[0].name is None:
                            known[0].name = stmt.name
                        break
                else:
                    layers[-1][key] = (new, now)
                    count(reads, memory)
                    out.append(new)
            elif kind is Store:
                new = rewriter.statement(stmt)
                memory = id(new.buffer.memory)
                key = (id(new.buffer), tuple(a.key() for a in new.index))
                before, stores = state(new, key), version.get(memory, 0)
                count(version, memory)
                count(placed, key) if _is_placed(new) else count(unplaced, memory)
                if new.accumulate and any(_is_zero(layer.get(key), before) for layer in layers):
                    new.accumulate = None  # a sum starts with its first term
                if not new.accumulate:
                    layers[-1][key] = (new.value, state(new, key))
                    since = (stores, reads.get(memory, 0))
                    if written[-1].get(key, (-1, None))[1] == since:
                        out[written[-1][key][0]] = None  # overwritten before anything reads it
                    written[-1][key] = (len(out), (stores + 1, since[1]))
                out.append(new)
            elif kind is Check:
                new = rewriter.statement(stmt)
                key = (id(new.value), new.extent)
                if not any(key in layer for layer in layers):
                    layers[-1][key] = (new, 0)
                    out.append(new)
            elif kind is Loop:
                bump(stmt.body)
                out.append(stmt.with_body(block(stmt.body)))
                bump(stmt.body)
            elif kind is If:
                new = If(
                    rewriter.scalar(stmt.condition),
                    block(stmt.then),
                    block(stmt.otherwise),
                    stmt.site,
                )
                bump([stmt])
                out.append(new)
            else:
                if kind in (Declare, Call, Gemm, Routine):
                    bump([stmt])
                out.append(rewriter.statement(stmt))
        layers.pop()
        written.pop()
        return [stmt for stmt in out if stmt is not None]

    return kernel.with_body(block(kernel.body))


def _is_placed(stmt: Load | Store) -> bool:
    """Whether the place is known as a number, so that stores to other such places leave it alone.

    A place n - 1 is not: it is also 0 where n is 1.
    """
    return stmt.buffer is stmt.buffer.memory and not any(
        a.terms or not isinstance(a.constant, int) for a in stmt.index
    )


def _is_zero(known: tuple[Any, Any] | None, now: Any) -> bool:
    """Whether what is known of a place is that it holds 0."""
    if known is None or known[1] != now or known[0].op is not CONST:
        return False
    return not known[0].params["value"]


def sweep(kernel: Kernel) -> Kernel:
    """`kernel` without stores that nothing reads, scalars that nothing reads, and empty loops."""
    wanted = {id(a) for s in walk(kernel.body) for a in operands(s)}
    loaded = {
        id(buffer.memory)
        for s in walk(kernel.body)
        if type(s) is not Load or id(s) in wanted
        for buffer, _, mode in accessed(s)
        if mode == READ
    }

    def dead(buffer: Buffer) -> bool:
        return buffer.memory.storage in ("temp", "local") and id(buffer.memory) not in loaded

    used: set[int] = set()

    def block(body: list[Any]) -> list[Any]:
        kept: list[Any] = []
        for stmt in reversed(body):
            kind = type(stmt)
            if kind is Let or kind is Load:
                if id(stmt) not in used:
                    continue
            elif kind is Store or kind is Declare:
                if dead(stmt.buffer):
                    continue
            elif kind is Gemm:
                if dead(stmt.c.buffer):
                    continue
            elif kind is Loop:
                inner = block(stmt.body)
                if not inner:
                    continue
                stmt = stmt.with_body(inner)
            elif kind is If:
                stmt = If(stmt.condition, block(stmt.then), block(stmt.otherwise), stmt.site)
            for a in operands(stmt):
                used.add(id(a))
            kept.append(stmt)
        kept.reverse()
        return kept

    return kernel.with_body(block(kernel.body))


def contract(kernel: Kernel) -> Kernel:
    """`kernel` with every temporary as small as its uses allow, declared in the block that it lives in."""
    paths: dict[int, list[tuple[Loop, ...]]] = {}
    places: dict[int, list[Index]] = {}
    temps: dict[int, Buffer] = {}
    shared: set[int] = set()
    windowed: set[int] = set()  # read or written as matrices, whose strides must stay

    home: dict[int, int] = {}  # arrays declared in a block: how many loops are around it

    def visit(body: list[Any], path: tuple[Loop, ...]) -> None:
        for stmt in body:
            kind = type(stmt)
            if kind is Declare and stmt.buffer.shape:
                home[id(stmt.buffer)] = len(path)
            elif kind is Load or kind is Store:
                memory = stmt.buffer.memory
                if memory.storage == "temp" or id(memory) in home:
                    temps[id(memory)] = memory
                    paths.setdefault(id(memory), []).append(path)
                    places.setdefault(id(memory), []).append(stmt.index)
                    if stmt.buffer is not memory:
                        shared.add(id(memory))
            elif kind is Loop:
                visit(stmt.body, (*path, stmt))
            elif kind is Gemm:
                for w in (stmt.a, stmt.b, stmt.c):
                    memory = w.buffer.memory
                    if memory.storage == "temp":
                        temps[id(memory)] = memory
                        windowed.add(id(memory))
                        paths.setdefault(id(memory), []).append(path)
                        places.setdefault(id(memory), []).append(w.index)
                    if w.buffer is not memory:
                        shared.add(id(memory))
            elif kind is Routine:
                shared.update(id(buffer.memory) for buffer, _, _ in accessed(stmt))
            else:
                for inner in blocks(stmt):
                    visit(inner, path)

    visit(kernel.body, ())
    smaller: dict[int, tuple[Buffer, tuple[int, ...]]] = {}
    declared: dict[int, list[Buffer]] = {}
    gone: set[int] = set()  # declared further in from now on
    for key, buffer in temps.items():
        if key in shared:
            continue
        dropped, scope = _private_axes(paths[key], places[key], home.get(key, 0))
        ones = {k for k, dim in enumerate(buffer.shape) if isinstance(dim, int) and dim == 1}
        if key in windowed:
            dropped = {k for k in dropped if set(range(k)) <= dropped}
        else:
            dropped |= ones
        at_home = key in home
        if not dropped or (scope is None and not at_home and len(dropped) < len(buffer.shape)):
            continue
        kept = tuple(k for k in range(len(buffer.shape)) if k not in dropped)
        shape = tuple(buffer.shape[k] for k in kept)
        new = Buffer(buffer.name, buffer.dtype, shape, "temp", site=buffer.site)
        size = new.size
        if isinstance(size, int) and size * BYTES[buffer.dtype] <= SMALL:
            new.storage = "local"
            if scope is not None or not at_home:
                declared.setdefault(id(scope) if scope else 0, []).append(new)
                gone.add(key)
        smaller[key] = (new, kept)
    if not smaller:
        return kernel

    def access(buffer: Buffer, index: Index) -> tuple[Buffer, Index]:
        found = smaller.get(id(buffer))
        if found is None:
            return buffer, index
        return found[0], tuple(index[k] for k in found[1])

    rewriter = Rewriter({}, access)

    def block(body: list[Any]) -> list[Any]:
        out: list[Any] = []
        for stmt in body:
            if type(stmt) is Loop:
                inner: list[Any] = [Declare(b, b.site) for b in declared.get(id(stmt), ())]
                inner += block(stmt.body)
                out.append(stmt.with_body(inner))
            elif type(stmt) is Declare and id(stmt.buffer) in smaller:
                if id(stmt.buffer) not in gone:
                    out.append(Declare(smaller[id(stmt.buffer)][0], stmt.site, stmt.fill))
            elif type(stmt) is If:
                out.append(
                    If(
                        rewriter.scalar(stmt.condition),
                        block(stmt.then),
                        block(stmt.otherwise),
                        stmt.site,
                    )
                )
            else:
                out.append(rewriter.statement(stmt))
        return out

    head = [Declare(b, b.site) for b in declared.get(0, ())]
    return kernel.with_body([*head, *block(kernel.body)])


def _private_axes(
    paths: list[tuple[Loop, ...]], places: list[Index], home: int = 0
) -> tuple[set[int], Loop | None]:
    """Axes that are the variables of the outermost loops around every access, and the innermost of those loops.

    home: the number of loops around the block that declares the array; it lives within one iteration of these.
    """
    common = list(paths[0])
    for path in paths[1:]:
        k = 0
        while k < len(common) and k < len(path) and common[k] is path[k]:
            k += 1
        del common[k:]
    axes: set[int] = set()
    scope = None
    for loop in common[home:]:
        found = None
        for axis in range(len(places[0])):
            if axis not in axes and all(
                len(p[axis].terms) == 1
                and p[axis].terms[0][0] is loop.var
                and p[axis].terms[0][1] == places[0][axis].terms[0][1]
                and p[axis].constant == places[0][axis].constant
                for p in places
            ):
                found = axis
                break
        if found is None:
            break
        axes.add(found)
        scope = loop
    return axes, scope
