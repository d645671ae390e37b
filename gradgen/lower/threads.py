"""Threads: a long loop at the top level is cut into PARTS parts that may run at the same time.

    for i < n: total += f(i); g[...] += ...; y[i] = ...

becomes

    for p < PARTS (threads): for i of part p: total_part[p] += f(i); g_part[p, ...] += ...; y[i] = ...
    for p < PARTS: total += total_part[p]; g[...] += g_part[p, ...]

The number of parts is fixed and they are added up in order: the result is the same for every number of threads, and
without OpenMP too. A loop is cut where its iterations touch shared memory only to add to it, or at places of their own (see
`fuse`); where it takes a maximum, or leaves the kernel, it stays whole. What is added to costs PARTS times its memory; small
arrays are on the stack of their part as long as it runs.
"""

from __future__ import annotations

from typing import Any

from gradgen.lower.fuse import accesses
from gradgen.lower.kernel import (
    ADD,
    READ,
    Affine,
    Break,
    Buffer,
    Call,
    Check,
    Clip,
    Declare,
    Fail,
    Gemm,
    Index,
    Kernel,
    Load,
    Loop,
    Store,
    Var,
    accessed,
    walk,
)
from gradgen.lower.rewriter import Rewriter
from gradgen.sizes import Dim, add, floordiv, mul
from gradgen.types import BYTES
from gradgen.value import constant

PARTS = 16
UNIT = 64  # parts are a multiple of this, so that blocks and lanes fit
LONG = 4096  # a loop of known length is cut from this on
SMALL = 4096  # bytes of an array of a part on its stack


def share(kernel: Kernel) -> Kernel:
    """`kernel` with its long loops in parts for threads."""
    out: list[Any] = []
    for stmt in kernel.body:
        out += _shared(stmt) if type(stmt) is Loop and _is_long(stmt) else [stmt]
    return kernel.with_body(out)


def _is_long(loop: Loop) -> bool:
    if loop.kind == "sequential" or isinstance(loop.extent, Clip):
        return False
    if any(
        type(s) in (Break, Check, Fail, Call, Gemm) or (type(s) is Loop and s.kind == "threads")
        for s in walk(loop.body)
    ):
        return False
    return not isinstance(loop.extent, int) or loop.extent >= LONG


def _shared(loop: Loop) -> list[Any]:
    assert not isinstance(loop.extent, Clip)
    assert not isinstance(loop.start, Clip)
    collected = _collected(loop)
    if collected is None:
        return [loop]
    count = add(loop.extent, mul(loop.start, -1))
    length = mul(UNIT, floordiv(add(count, UNIT * PARTS - 1), UNIT * PARTS))
    part, inner = Var(), Var()
    base = Affine.of(part).times(length)
    here = base.plus(Affine.of(inner)).plus(Affine(loop.start))
    body: list[Any] = []
    after: list[Any] = []
    places: dict[int, tuple[Buffer, bool]] = {}
    sums = Loop(Var(), PARTS, "reduction", [])
    for key, buffer in collected.items():
        own = Buffer(f"{buffer.name}_part", buffer.dtype, buffer.shape, "local", site=buffer.site)
        every = Buffer(
            f"{buffer.name}_parts", buffer.dtype, (PARTS, *buffer.shape), "temp", site=buffer.site
        )
        small = isinstance(buffer.size, int) and buffer.size * BYTES[buffer.dtype] <= SMALL
        places[key] = (own if small else every, small)
        sums.body += _each(buffer, lambda at, e=every, b=buffer: _add(e, b, sums.var, at))
        if small:
            body.append(Declare(own, buffer.site, 0.0 if buffer.shape else None))
            if not buffer.shape:
                body.append(Store(own, (), constant(0, buffer.dtype), None, buffer.site))
            after += _each(own, lambda at, o=own, e=every: _move(o, e, part, at))
        else:
            body += _each(every, lambda at, e=every: _zero(e, part, at), skip=1)

    def access(buffer: Buffer, index: Index) -> tuple[Buffer, Index]:
        found = places.get(id(buffer))
        if found is None:
            return buffer, index
        return found[0], index if found[1] else (Affine.of(part), *index)

    rewriter = Rewriter({id(loop.var): here}, access)
    extent = Clip(base, length, count)
    body.append(Loop(inner, extent, loop.kind, rewriter.block(loop.body), loop.site, 0, loop.step))
    threads = Loop(part, PARTS, "threads", [*body, *after], loop.site)
    return [threads, sums] if sums.body else [threads]


def _collected(loop: Loop) -> dict[int, Buffer] | None:
    """By id, the buffers of outer blocks that the loop adds to; None if iterations depend on each other otherwise."""
    inside = {id(s.buffer) for s in walk(loop.body) if type(s) is Declare}
    touched, _ = accesses(_by_block(loop), loop.var, True)
    buffers = {id(b.memory): b for s in walk(loop.body) for b, _, _ in accessed(s)}
    aliases = {
        id(b.memory) for s in walk(loop.body) for b, _, _ in accessed(s) if b is not b.memory
    }
    out: dict[int, Buffer] = {}
    for key, (mode, places) in touched.items():
        if key in inside or mode == READ:
            continue
        if places:
            continue
        if mode != ADD or key in aliases or buffers[key].dtype[0] != "f":
            return None
        out[key] = buffers[key].memory
    return out


def _by_block(loop: Loop) -> list[Any]:
    """The body of a loop over blocks with each row at its block's first: rows of different blocks are different."""
    first = Affine.of(loop.var).key()
    table: dict[int, Any] = {}
    for stmt in walk(loop.body):
        if type(stmt) is Loop and type(stmt.extent) is Clip and stmt.start == 0:
            clip = stmt.extent
            if clip.base.key() == first and clip.size == loop.step:
                table[id(stmt.var)] = Affine()
    return Rewriter(table).block(loop.body) if table else loop.body


def _each(buffer: Buffer, make: Any, skip: int = 0) -> list[Any]:
    """A nest over a buffer's elements."""
    top: list[Any] = []
    body, at = top, []
    for dim in buffer.shape[skip:]:
        loop = Loop(Var(), dim, "parallel", [], buffer.site)
        body.append(loop)
        body = loop.body
        at.append(Affine.of(loop.var))
    body += make(tuple(at))
    return top


def _zero(every: Buffer, part: Var, at: Index) -> list[Any]:
    zero = constant(0, every.dtype)
    return [Store(every, (Affine.of(part), *at), zero, None, every.site)]


def _move(own: Buffer, every: Buffer, part: Var, at: Index) -> list[Any]:
    load = Load(own, at, None, own.site)
    return [load, Store(every, (Affine.of(part), *at), load, None, own.site)]


def _add(every: Buffer, buffer: Buffer, part: Var, at: Index) -> list[Any]:
    load = Load(every, (Affine.of(part), *at), None, buffer.site)
    return [load, Store(buffer, at, load, "add", buffer.site)]


def work(loop: Loop) -> Dim:
    """A size that grows with what a loop over parts does: iterations of its longest nest."""
    best: Dim = 1

    def visit(body: list[Any], so_far: Dim) -> None:
        nonlocal best
        for stmt in body:
            if type(stmt) is Loop:
                extent = stmt.extent.total if isinstance(stmt.extent, Clip) else stmt.extent
                inner = isinstance(stmt.extent, Clip) and not isinstance(stmt.extent.size, int)
                known = isinstance(stmt.extent, Clip) and not inner
                visit(stmt.body, so_far if known else mul(so_far, extent))
        depth = _degree(so_far)
        if depth > _degree(best):
            best = so_far

    visit(loop.body, 1)
    return best


def _degree(dim: Dim) -> int:
    return 0 if isinstance(dim, int) else max(len(m) for m, _ in dim.terms)
