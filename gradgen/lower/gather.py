"""Gathering: what iterations of a loop add to neighbouring places is collected place by place, and stored once.

The adjoint of x[1:] - x[:-1] adds twice to most places of x_bar, in different iterations:

    for j < N: x_bar[j] += a(j); x_bar[j + 1] += b(j)

That chains every iteration to the one before it. Place by place, with b computed again from what it is made of:

    first iterations      if 0 < N: x_bar[0] = a(0)
    the middle            for 1 <= j < N: x_bar[j] = a(j) + b(j - 1)
    places beyond N       if 0 < N: x_bar[N] += b(N - 1)

so that iterations are independent and x_bar is written once. Several additions to one row of places at distances known now
are gathered along the innermost axis; the other statements of the loop run once per j, as they did. Where the loop stands
alone between the zeros that a buffer starts with and everything else, the zeros go: only places that no iteration reaches
are set.

Not gathered: values that depend on memory that the loop writes, and mathematical functions that would be computed more than
twice. Linear in the statements, times the number of additions to a row.
"""

from __future__ import annotations

from typing import Any

from gradgen.ir import CONST, OPS
from gradgen.lower.kernel import (
    NO_PARAMS,
    Affine,
    Buffer,
    Clip,
    If,
    Index,
    Kernel,
    Let,
    Load,
    Loop,
    Store,
    Var,
    accessed,
    walk,
)
from gradgen.lower.rewriter import Rewriter
from gradgen.sizes import Dim, add, mul
from gradgen.types import Type
from gradgen.value import Extent, constant

SPAN = 8  # first iterations that are written out
MATHS = 10  # flops of a mathematical function


def gather(kernel: Kernel) -> Kernel:
    """`kernel` with the additions of innermost loops to neighbouring places gathered."""
    return kernel.with_body(_Gather(kernel).block(kernel.body, top=True))


class _Row:
    """Additions of one loop to one row of places: Stores with their distance from the first one."""

    def __init__(self, stores: list[Store], axis: int) -> None:
        constants: list[int] = []
        first = stores[0].index[axis].constant
        for s in stores:
            gap = add(s.index[axis].constant, mul(first, -1))
            assert isinstance(gap, int)
            constants.append(gap)
        low = min(constants)
        order = sorted(range(len(stores)), key=lambda k: constants[k])
        self.stores = [(stores[k], constants[k] - low) for k in order]
        self.axis = axis
        self.span = self.stores[-1][1]
        self.buffer = stores[0].buffer
        self.index = self.stores[0][0].index
        self.site = stores[0].site


class _Gather:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def block(self, body: list[Any], top: bool = False) -> list[Any]:
        out: list[Any] = []
        for stmt in body:
            if type(stmt) is not Loop:
                out.append(stmt)
            elif any(type(s) is Loop for s in stmt.body):
                out.append(stmt.with_body(self.block(stmt.body)))
            else:
                rows = _rows(stmt)
                if not rows:
                    out.append(stmt)
                    continue
                alone = [top and _take_zeros(out, row, body, stmt) for row in rows]
                out += _gathered(stmt, rows, alone)
        return out


# -- what can be gathered
def _rows(loop: Loop) -> list[_Row]:
    """The rows of places that the loop adds to more than once; empty if it does anything that forbids to gather."""
    body = loop.body
    if loop.kind == "sequential" or loop.step != 1 or loop.start != 0 or type(loop.extent) is Clip:
        return []
    if any(type(s) not in (Let, Load, Store) for s in body):
        return []
    stored = {id(s.buffer.memory) for s in body if type(s) is Store}
    found: dict[Any, list[Store]] = {}
    for stmt in body:
        if type(stmt) is Store and stmt.accumulate == "add" and stmt.index:
            key = _row_key(stmt, loop.var)
            if key is not None:
                found.setdefault(key, []).append(stmt)
    rows = [_Row(stores, len(stores[0].index) - 1) for stores in found.values() if len(stores) > 1]
    rows = [r for r in rows if 0 < r.span <= SPAN]
    mine = {id(r.buffer.memory) for r in rows}
    inside = {id(s) for s in body}
    for stmt in body:
        if type(stmt) is Load and id(stmt.buffer.memory) in mine:
            return []
    kept = []
    for row in rows:
        slices = [_slice(body, s.value, inside) for s, d in row.stores if d]
        maths = sum(type(x) is Let and x.op.flops >= MATHS for part in slices for x in part)
        reads = {id(x.buffer.memory) for part in slices for x in part if type(x) is Load}
        if not reads & stored and maths <= 2:
            kept.append(row)
    return kept


def _row_key(store: Store, var: Var) -> Any:
    """What two additions to one row share; None where the last axis is not var + a constant."""
    *head, last = store.index
    if len(last.terms) < 1 or not any(t is var and c == 1 for t, c in last.terms):
        return None
    if any(type(t) is not Var for a in store.index for t, _ in a.terms):
        return None
    if any(t is var for a in head for t, _ in a.terms):
        return None
    constant_part = last.constant
    symbolic = (
        constant_part
        if isinstance(constant_part, int)
        else add(constant_part, mul(_number(constant_part), -1))
    )
    where = 0 if isinstance(symbolic, int) else symbolic
    return (id(store.buffer), tuple(a.key() for a in head), Affine(0, last.terms).key(), where)


def _number(dim: Dim) -> int:
    """The constant term of a size."""
    if isinstance(dim, int):
        return dim
    return sum(c for monomial, c in dim.terms if not monomial)


def _slice(body: list[Any], value: Any, inside: set[int]) -> list[Any]:
    """The scalars of the loop that `value` is made of, in order."""
    needed: set[int] = set()
    waiting = [value]
    while waiting:
        x = waiting.pop()
        if id(x) in inside and id(x) not in needed:
            needed.add(id(x))
            if type(x) is Let:
                waiting += x.args
            elif type(x) is Load:
                waiting += [t for a in x.index for t, _ in a.terms if type(t) is not Var]
    return [s for s in body if id(s) in needed]


def _take_zeros(out: list[Any], row: _Row, body: list[Any], loop: Loop) -> bool:
    """Whether the row's buffer holds the zeros that a loop before has just set; that store is then removed."""
    memory = row.buffer.memory
    if row.buffer is not memory or len(row.buffer.shape) != 1:
        return False
    if row.index[row.axis].terms != ((loop.var, 1),):
        return False
    if any(
        type(s) is Store and s.buffer.memory is memory and s not in [x for x, _ in row.stores]
        for s in loop.body
    ):
        return False
    for k in range(len(out) - 1, -1, -1):
        touching = [s for s in walk([out[k]]) if any(b.memory is memory for b, _, _ in accessed(s))]
        if not touching:
            continue
        fill = out[k]
        if type(fill) is not Loop or len(touching) != 1 or touching[0] not in fill.body:
            return False
        store = touching[0]
        zero = type(store) is Store and store.value.op is CONST and not store.value.params["value"]
        whole = (
            zero
            and not store.accumulate
            and store.buffer is memory
            and fill.extent == memory.shape[0]
            and fill.start == 0
            and store.index[0].key() == Affine.of(fill.var).key()
        )
        if not whole:
            return False
        rest = [s for s in fill.body if s is not store]
        out[k : k + 1] = [fill.with_body(rest)] if rest else []
        return True
    return False


# -- the loops
def _gathered(loop: Loop, rows: list[_Row], alone: list[bool]) -> list[Any]:
    assert not isinstance(loop.extent, Clip)
    span = max(r.span for r in rows)
    out: list[Any] = []
    for row, fresh in zip(rows, alone, strict=True):
        if fresh:
            out += _zeros(row, loop)
    for j in range(span):
        made = _iteration(loop, rows, alone, Affine(j), j)
        out += _if_less(j, loop.extent, made, loop.site)
    if not isinstance(loop.extent, int) or loop.extent > span:
        var = Var()
        made = _iteration(loop, rows, alone, Affine.of(var), span)
        out.append(Loop(var, loop.extent, loop.kind, made, loop.site, span))
    for row in rows:
        for q in range(row.span):
            out += _beyond(loop, row, q)
    return out


def _iteration(
    loop: Loop, rows: list[_Row], alone: list[bool], j: Affine, reached: int
) -> list[Any]:
    """Iteration j, with what the `reached` iterations before it add to its places."""
    taken = {id(s) for row in rows for s, _ in row.stores}
    base = Rewriter({id(loop.var): j}, fresh=True)
    made = [base.statement(s) for s in loop.body if id(s) not in taken]
    for row, fresh in zip(rows, alone, strict=True):
        values = []
        for store, distance in row.stores:
            if distance > reached:
                continue
            if distance == 0:
                values.append(base.scalar(store.value))
            else:
                values.append(_again(loop, store, j.plus(Affine(-distance)), made))
        index = tuple(a.substitute({id(loop.var): j}) for a in row.index)
        _store_sum(made, row, index, values, not fresh)
    return made


def _again(loop: Loop, store: Store, j: Affine, made: list[Any]) -> Any:
    """The value that iteration j stores, computed once more."""
    inside = {id(s) for s in loop.body}
    copier = Rewriter({id(loop.var): j}, fresh=True)
    for stmt in _slice(loop.body, store.value, inside):
        new = copier.statement(stmt)
        new.name = None
        made.append(new)
    return copier.scalar(store.value)


def _store_sum(
    made: list[Any], row: _Row, index: Index, values: list[Any], accumulate: bool
) -> None:
    total = values[0]
    for value in values[1:]:
        total = Let(OPS["add"], (total, value), value.type, NO_PARAMS, None, row.site)
        made.append(total)
    made.append(Store(row.buffer, index, total, "add" if accumulate else None, row.site))


def _beyond(loop: Loop, row: _Row, q: int) -> list[Any]:
    """The place q beyond the last iteration: what iterations before the end add to it."""
    extent = loop.extent
    assert not isinstance(extent, Clip)
    here = Affine(add(extent, q))
    index = tuple(a.substitute({id(loop.var): here}) for a in row.index)
    out: list[Any] = []
    for store, distance in row.stores:
        if distance > q:
            made: list[Any] = []
            value = _again(loop, store, here.plus(Affine(-distance)), made)
            _store_sum(made, row, index, [value], True)
            out += _if_less(distance - q - 1, extent, made, loop.site)
    return out


def _zeros(row: _Row, loop: Loop) -> list[Any]:
    """Zeros where no iteration up to the last one stores: before the first place and beyond the last."""
    assert not isinstance(loop.extent, Clip)
    first = row.index[row.axis].constant
    last = add(loop.extent, first)
    out = []
    for start, end in ((0, first), (last, row.buffer.shape[0])):
        if start != end:
            out.append(_fill(row.buffer, start, end, row))
    return out


def _fill(buffer: Buffer, start: Dim, end: Dim, row: _Row) -> Loop:
    var = Var()
    zero = constant(0, buffer.dtype)
    store = Store(buffer, (Affine.of(var),), zero, None, row.site)
    return Loop(var, end, "parallel", [store], row.site, start)


def _if_less(number: int, extent: Dim, made: list[Any], site: Any) -> list[Any]:
    """`if number < extent`, decided now where that is possible."""
    if isinstance(extent, int):
        return made if number < extent else []
    ends = (constant(number, "i64"), Extent(extent))
    test = Let(OPS["less"], ends, Type.of("bool"), NO_PARAMS, None, site)
    return [test, If(test, made, [], site)]
