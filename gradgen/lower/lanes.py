"""Lanes: what a loop collects in one scalar variable is collected in LANES of them, which are combined after the loop.

    for j < n: dot += a[j] * b[j]

becomes

    for j < n - n % LANES by LANES: for k < LANES: lane[k] += a[j + k] * b[j + k]
    for the other j: dot += a[j] * b[j]
    dot += the sum of the lanes, in pairs

The additions of one step do not wait for each other, so that a compiler may do them with vector instructions without
permission to reorder sums: the result is one for all compilers and flags. Works on innermost loops that touch the variable
only to add to it, or to take its maximum, minimum or product with something; the lanes are set up and combined outside of the
outermost loop for which that holds. Linear in the statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradgen.ir import OPS
from gradgen.lower.kernel import (
    NO_PARAMS,
    Affine,
    Buffer,
    Call,
    Check,
    Clip,
    Declare,
    Fold,
    If,
    Index,
    Kernel,
    Let,
    Load,
    Loop,
    Store,
    Var,
    blocks,
    operands,
    walk,
    with_blocks,
)
from gradgen.lower.rewriter import Rewriter
from gradgen.sizes import Dim, add, floordiv, max0, mul

# A long loop: one vector of 64 bytes is 8 doubles, and with two of them an addition hides behind another.
LANES = {"f64": 16, "f32": 16}
# A loop inside of another: iterations of that one hide each other's additions, and its lanes are combined in each of them.
INNER = {"f64": 8, "f32": 16}
_START = {
    "add": 0.0,
    "mul": 1.0,
    "maximum": float("-inf"),
    "minimum": float("inf"),
}


def lanes(kernel: Kernel) -> Kernel:
    """`kernel` with its reductions to scalars in lanes."""
    return kernel.with_body(_block(kernel.body, LANES))


@dataclass(eq=False)
class Collector:
    """A scalar variable and the op by which a loop collects in it; `lane` takes its place."""

    buffer: Buffer
    op: str
    lane: Buffer


def _block(body: list[Any], widths: dict[str, int]) -> list[Any]:
    out: list[Any] = []
    for stmt in body:
        if type(stmt) is Loop:
            out += _loop(stmt, widths)
        else:
            out.append(with_blocks(stmt, lambda inner: _block(inner, widths)))
    return out


def _loop(loop: Loop, widths: dict[str, int]) -> list[Any]:
    found = _collectors(loop, widths)
    if not found:
        return [loop.with_body(_block(loop.body, INNER))]
    new = _widened(loop, found)
    collectors = list(found.values())
    start = _stored_first(new, collectors) or set_up(collectors)
    return [*start, *new, *combined(collectors)]


def _stored_first(new: list[Any], collectors: list[Collector]) -> list[Any]:
    """Declarations without a start, where one loop alone adds to each lane once: it then stores there. Else none."""
    (width,) = collectors[0].lane.shape
    only = new[0]
    if len(new) > 1 or only.extent != width or any(type(s) in (Loop, If, Call) for s in only.body):
        return []
    lanes_of = {id(c.lane) for c in collectors if c.op == "add"}
    sums = [s for s in only.body if type(s) is Store and id(s.buffer) in lanes_of]
    if not len(sums) == len(lanes_of) == len(collectors):
        return []
    only.body = [
        Store(s.buffer, s.index, s.value, None, s.site) if s in sums else s for s in only.body
    ]
    return [Declare(c.lane, c.lane.site) for c in collectors]


# -- what is collected
def _collectors(loop: Loop, widths: dict[str, int]) -> dict[int, Collector]:
    """By id, the variables of outer blocks that long innermost loops in `loop` collect in, all of one dtype."""
    declared = {id(s.buffer) for s in walk([loop]) if type(s) is Declare}
    kinds: dict[int, str | None] = {}
    buffers: dict[int, Buffer] = {}
    wide: set[int] = set()
    extents: list[Any] = []

    def note(body: list[Any], long: bool) -> None:
        for key, op in _uses(body).items():
            kinds[key] = op if kinds.get(key, op) == op else None
            if long:
                wide.add(key)

    def visit(nest: Loop) -> None:
        innermost = not any(type(s) in (Loop, If, Call) for s in nest.body)
        long = innermost and _is_long(nest)
        note(nest.body, long)
        if long and _uses(nest.body):
            extents.append(nest.extent)
        for stmt in nest.body:
            if type(stmt) is Loop:
                visit(stmt)
            elif type(stmt) is If and not any(blocks(s) for s in (*stmt.then, *stmt.otherwise)):
                note(stmt.then, False)  # what it adds, it adds to the variable itself
                note(stmt.otherwise, False)
            elif type(stmt) is If or type(stmt) is Call:
                for inner in walk([stmt]):
                    if type(inner) is Load or type(inner) is Store:
                        kinds[id(inner.buffer)] = None

    visit(loop)
    for stmt in walk([loop]):
        if type(stmt) is Store:
            buffers[id(stmt.buffer)] = stmt.buffer
    out: dict[int, Collector] = {}
    dtype = None
    for key, op in kinds.items():
        buffer = buffers.get(key)
        if op is None or buffer is None or key not in wide or key in declared:
            continue
        if buffer.shape or buffer.storage != "local" or buffer.dtype not in LANES:
            continue
        if dtype is not None and buffer.dtype != dtype:
            continue
        dtype = buffer.dtype
        even = all(isinstance(e, int) and e % LANES[dtype] == 0 for e in extents)
        width = LANES[dtype] if even else widths[dtype]  # a few whole steps are unrolled
        lane = Buffer(f"{buffer.name}_lane", dtype, (width,), "local", site=buffer.site)
        out[key] = Collector(buffer, op, lane)
    return out


def _uses(body: Sequence[Any]) -> dict[int, str | None]:
    """How the statements of one block use scalar variables: by which op they collect, or None for any other use."""
    loads: dict[int, list[Load]] = {}
    stores: dict[int, list[Store]] = {}
    readers: dict[int, list[Any]] = {}
    for stmt in body:
        kind = type(stmt)
        if kind is Load and not stmt.buffer.shape:
            loads.setdefault(id(stmt.buffer), []).append(stmt)
        elif kind is Store and not stmt.buffer.shape:
            stores.setdefault(id(stmt.buffer), []).append(stmt)
        for a in operands(stmt):
            readers.setdefault(id(a), []).append(stmt)
    out: dict[int, str | None] = {}
    for key in {**loads, **stores}:
        writes, reads = stores.get(key, []), loads.get(key, [])
        if not reads and all(s.accumulate for s in writes):
            out[key] = "add"
            continue
        out[key] = None
        if len(writes) == 1 and len(reads) == 1:
            value = writes[0].value
            users = readers.get(id(reads[0]), [])
            if type(value) is Let and value.op.name in _START and users == [value]:
                once = sum(a is reads[0] for a in value.args) == 1
                out[key] = value.op.name if once and readers[id(value)] == writes else None
    return out


def _is_long(loop: Loop) -> bool:
    if loop.step != 1 or loop.kind == "sequential":
        return False
    if any(type(s) not in (Let, Load, Store, Check) for s in loop.body):
        return False
    if type(loop.extent) is Clip:
        return loop.start == 0 and isinstance(loop.extent.size, int)
    return not isinstance(loop.extent, int) or loop.extent >= LANES["f64"]


# -- the loops
def _widened(loop: Loop, found: dict[int, Collector]) -> list[Any]:
    """`loop` with the long innermost loops that collect in `found` in steps of LANES."""
    inner = [s for s in loop.body if type(s) in (Loop, If, Call)]
    if inner:
        body: list[Any] = []
        for stmt in loop.body:
            if type(stmt) is not Loop:
                body.append(stmt)
                continue
            touched = any(type(s) is Store and id(s.buffer) in found for s in walk(stmt.body))
            body += _widened(stmt, found) if touched else _loop(stmt, INNER)
        return [loop.with_body(body)]
    mine = {id(s.buffer) for s in loop.body if type(s) is Store and id(s.buffer) in found}
    if not mine or not _is_long(loop):
        return [loop]
    return _steps(loop, found)


def _steps(loop: Loop, found: dict[int, Collector]) -> list[Any]:
    (width,) = next(iter(found.values())).lane.shape
    assert isinstance(width, int)
    steps: Dim
    middle: Dim | Clip
    if isinstance(loop.extent, Clip):
        clip = loop.extent
        steps, middle = clip.size, Clip(clip.base, clip.size, clip.total, width)
    else:
        assert not isinstance(loop.start, Clip)
        count = max0(add(loop.extent, mul(loop.start, -1)))
        steps = floordiv(count, width)
        middle = add(loop.start, mul(steps, width))
    lane = Var()
    out: list[Any] = []

    def access(buffer: Buffer, index: Index) -> tuple[Buffer, Index]:
        collector = found.get(id(buffer))
        return (collector.lane, (Affine.of(lane),)) if collector else (buffer, index)

    if not isinstance(steps, int) or steps > 0:
        table: dict[int, Any] = {id(loop.var): Affine.of(loop.var).plus(Affine.of(lane))}
        body = Rewriter(table, access, fresh=True).block(loop.body)
        step = Loop(lane, width, "parallel", body, loop.site)
        if steps == 1 and loop.start == 0:
            step.body = Rewriter({id(loop.var): Affine.of(lane)}, access, fresh=True).block(
                loop.body
            )
            out.append(step)
        else:
            out.append(Loop(loop.var, middle, loop.kind, [step], loop.site, loop.start, width))
    if middle != loop.extent:
        rest = Var()
        body = Rewriter({id(loop.var): Affine.of(rest)}, fresh=True).block(loop.body)
        out.append(Loop(rest, loop.extent, loop.kind, body, loop.site, middle))
    return out


def set_up(found: list[Collector]) -> list[Any]:
    """Lanes that hold what collecting starts with."""
    return [Declare(c.lane, c.lane.site, _START[c.op]) for c in found]


def combined(found: list[Collector]) -> list[Any]:
    """The lanes of each collector, INNER or a multiple of LANES, combined with its variable."""
    if not found:
        return []
    (count,) = found[0].lane.shape
    assert isinstance(count, int)
    width = min(count, LANES[found[0].lane.dtype])
    if count == width:
        return [stmt for c in found for stmt in _combine(c, Affine(), width)]
    loop = Loop(Var(), count // width, "reduction", [])
    for c in found:
        loop.body += _combine(c, Affine.of(loop.var).times(width), width)
    return [loop]


def _combine(c: Collector, start: Affine, width: int) -> list[Any]:
    """`variable = op(variable, the lanes from start on)`."""
    op, site = OPS[c.op], c.lane.site
    fold = Fold(op, c.lane, (start,), width, site)
    if c.op == "add":
        return [fold, Store(c.buffer, (), fold, "add", site)]
    old = Load(c.buffer, (), None, site)
    let = Let(op, (fold, old), fold.type, NO_PARAMS, None, site)
    return [fold, old, let, Store(c.buffer, (), let, None, site)]
