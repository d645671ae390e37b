"""Sparse Jacobians by blocks: of items that each read a few items of the arguments, at places known when the code is called.

The residual of an observation reads a camera and a point, `cams[i]` and `points[j]`; its derivative by those is a small dense
matrix. One map over the observations computes all of them, as the dense Jacobian of the program of one item (items): no
colours, and as many statements for any number of observations. Columns follow from the places at which items are read.

    found = blocks(fn, outputs, wrt, mode)      in the open trace, which holds fn's statements

Sizes may be symbolic. A column comes twice in a row where both places are the same: such entries add up.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

from gradgen.differentiate.batch import Unbatchable, batch, numbers, spread
from gradgen.differentiate.jacobians import cheaper, jacobian_of, mapped
from gradgen.ir import LEAVES, PARAM, Function, needed
from gradgen.ops.index import zeros
from gradgen.ops.ranges import ARANGE
from gradgen.ops.shape import BROADCAST, CONCATENATE, STACK, concatenate, moveaxis, reshape
from gradgen.rewriting import splice
from gradgen.sites import PLACES
from gradgen.sizes import Dim
from gradgen.sparse.formats import Entries, Rows
from gradgen.sparse.item_rules import Mixed
from gradgen.sparse.items import Items, Reading
from gradgen.types import I64, Type
from gradgen.value import Extent, Trace, Value, apply, current_trace


@dataclass
class Piece:
    """A part of a result whose elements follow one another there: all along `axis` are items, or it is one (no axis)."""

    value: Value
    axis: int | None = None
    item: Value | None = None
    data: dict[int, Value] = field(default_factory=dict)
    rows: dict[int, Rows] = field(default_factory=dict)

    @property
    def length(self) -> Dim:
        return 1 if self.axis is None else self.value.type.shape[self.axis]


@dataclass
class Group:
    """Pieces whose items are of one program.

    counted: what the items read is at these places, counted from the start of the axis.  used: what the pieces' items
    depend on.  own: for each piece (by number) and argument, which of those are of it.
    """

    items: Items
    pieces: list[Piece]
    prelude: list[Value]
    main: list[Value]
    counted: dict[Value | None, Value]
    used: list[Reading] = field(default_factory=list)
    own: dict[tuple[int, int], list[int]] = field(default_factory=dict)


@dataclass
class Blocks:
    """Jacobians for each output and input.  fixed: no place at which an argument is read depends on data."""

    entries: dict[tuple[int, int], Entries]
    fixed: bool


def blocks(fn: Function, outputs: Sequence[int], wrt: Sequence[int], mode: str) -> Blocks:
    """The Jacobians of outputs by inputs of fn. Mixed (and no statements) where an item reads all along an argument."""
    outer = current_trace()
    assert outer is not None
    programs: dict[Dim, Items] = {}
    pieces = {k: [Piece(v) for v in joined(fn.outputs[k])] for k in outputs}
    everything = [p for k in outputs for p in pieces[k]]
    for piece in everything:
        _itemise(piece, fn, wrt, programs)
    entries = {}
    with Trace(trusted=True) as trace:
        groups = []
        for length, items in programs.items():
            own = [p for p in everything if p.length == length]
            if own:
                groups.append(_group(items, own))
                _values(groups[-1], wrt, mode)
        data = {}
        for k in outputs:
            for i in wrt:
                parts = [p.data[i] for p in pieces[k] if i in p.data]
                none = Type.of(fn.outputs[k].type.dtype, (0,))
                data[k, i] = concatenate(parts, axis=0) if parts else zeros(none)
        trace.site = ("", 0, PLACES)
        for group in groups:
            _placed(group, wrt)
        for (k, i), values in data.items():
            entries[k, i] = Entries(values, [p.rows[i] for p in pieces[k]])
    outer.body += trace.body
    given = given_values(fn)
    return Blocks(entries, not any(_varying(group, given) for group in groups))


def joined(value: Value) -> list[Value]:
    """The parts that a result is put together of, each with all its elements in one stretch."""
    parts: list[Value] = []
    todo = [value]
    while todo:
        v = todo.pop()
        if v.op.name == "reshape":
            todo.append(v.args[0])
        elif v.op in (CONCATENATE, STACK) and v.params["axis"] == 0:
            todo += reversed(v.args)
        else:
            parts.append(v)
    return parts


def _itemise(piece: Piece, fn: Function, wrt: Sequence[int], programs: dict[Dim, Items]) -> None:
    """Choose the axis along which a piece's items are: the one of symbolic length, else the first that can be."""
    ty = piece.value.type
    axes: list[int | None] = [k for k, d in enumerate(ty.shape) if not isinstance(d, int)]
    axes = axes or [*range(ty.ndim), None]
    refused: Mixed | None = None
    for axis in axes:
        piece.axis = axis
        program = programs.setdefault(piece.length, Items(fn, wrt, piece.length))
        try:
            piece.item = program.of(piece.value, axis)
        except Mixed as mixed:
            refused = refused or mixed
            continue
        if piece.item.type.static:
            return
    raise refused or Mixed(piece.value)


# -- pieces of one length
def _group(items: Items, pieces: list[Piece]) -> Group:
    with items.trace:
        items.trace.site = ("", 0, PLACES)
        counted: dict[Value | None, Value] = {
            r.at: items.counted(r.at, r.value.type.shape[r.axis])
            for r in items.readings.values()
            if r.at is not None
        }
    return Group(items, pieces, *items.parts(), counted)


def _values(group: Group, wrt: Sequence[int], mode: str) -> None:
    """Enter the values of the entries of pieces: one map over their items."""
    outer = current_trace()
    assert outer is not None
    items, pieces = group.items, group.pieces
    outs = [p.item for p in pieces if p.item is not None]
    item, used, of_item = _program(group.main, outs, list(items.readings.values()))
    for j in range(len(outs)):
        for i in wrt:
            found = [n for n in of_item[j] if used[n].view.number == i]
            if found:
                group.own[j, i] = found
    group.used = used
    if mode == "auto":
        mode = cheaper(item, range(len(used)))
    jacobian = _jacobian(item, group, mode)
    with Trace(trusted=True, site=("", 0)) as trace:
        trace.body = list(group.prelude)
        read = [items.read(r.value, r.axis, r.at) for r in used]
        results = splice(jacobian, [*read, *item.inputs[len(used) :]])
    outer.body += items.outside.body
    outer.site = ("", 0, mode)
    stacks = _over_items(items, "block", results, trace.body)
    for (j, i), stack in zip(group.own, stacks, strict=True):
        pieces[j].data[i] = _flat(pieces[j], stack)


def _jacobian(item: Function, group: Group, mode: str) -> Function:
    """The dense Jacobian of an item's program: for each piece and argument by all of that argument that it reads."""
    locals_ = [r.local for r in group.used]
    with Trace(trusted=True, site=("", 0)) as trace:
        trace.inputs, trace.body = list(item.inputs), list(item.body)
        table = jacobian_of(item, range(len(locals_)), mode, False) if locals_ else []
        blocks = []
        trace.site = ("", 0, mode)
        for (j, _), numbers in group.own.items():
            rows = item.outputs[j].type.size
            parts = [reshape(table[j][n], (rows, locals_[n].type.size)) for n in numbers]
            blocks.append(concatenate(parts, axis=1))
    return trace.function("block", blocks)


def _over_items(
    items: Items, name: str, results: Sequence[Value], body: Sequence[Value]
) -> list[Value]:
    """Results of a program for all items, one below the other, by a map."""
    stand_ins = [*items.items.values(), *items.wholes.values()]
    fn = Function(name, stand_ins, list(results), list(body))
    return mapped(fn, list(items.items), list(items.wholes), items.length, items.index)


def _program(
    body: Sequence[Value], outs: Sequence[Value], readings: Sequence[Reading]
) -> tuple[Function, list[Reading], list[list[int]]]:
    """The Function of the readings that are used, and of what else it reads; those readings; their numbers for each result."""
    own = {r.local: 1 << n for n, r in enumerate(readings)}
    masks: dict[Value, int] = dict(own)
    for node in body:
        found = 0
        for a in node.args:
            found |= masks.get(a, 0)
        masks[node] = found
    of_out = [masks.get(v, 0) for v in outs]
    used = [n for n in range(len(readings)) if any(mask >> n & 1 for mask in of_out)]
    inputs = [readings[n].local for n in used]
    fn = Function("item", inputs, list(outs), needed(body, outs))
    known = {*inputs, *fn.body}
    free = dict.fromkeys(
        a
        for a in [*(a for node in fn.body for a in node.args), *outs]
        if a not in known and (a.op not in LEAVES or a.op is PARAM)
    )
    fn.inputs = [*inputs, *free]
    numbers_of = [[k for k, n in enumerate(used) if mask >> n & 1] for mask in of_out]
    return fn, [readings[n] for n in used], numbers_of


def given_values(fn: Function) -> set[Value]:
    """The values that depend on a Function's inputs."""
    given = set(fn.inputs)
    for node in fn.body:
        if any(a in given for a in node.args):
            given.add(node)
    return given


def _varying(group: Group, given: set[Value]) -> bool:
    """Whether places at which arguments are read depend on data."""
    stand_ins = [*group.items.items.items(), *group.items.wholes.items()]
    found = {inner for outer, inner in stand_ins if outer in given}
    for node in group.prelude:
        if any(a in found for a in node.args):
            found.add(node)
    return any(r.at in found for r in group.used)


# -- rows and columns
def _placed(group: Group, wrt: Sequence[int]) -> None:
    """Enter the columns of the entries of pieces."""
    length = group.items.length
    places = _places(group)
    columns = [_columns(r, places.get(group.counted.get(r.at)), length) for r in group.used]
    for j, piece in enumerate(group.pieces):
        for i in wrt:
            piece.rows[i] = _rows(piece, [columns[n] for n in group.own.get((j, i), ())])


def _places(group: Group) -> dict[Value | None, Value]:
    """What places are for all items, one below the other: as statements over whole arrays where that can be."""
    outer = current_trace()
    assert outer is not None
    items = group.items
    wanted = [group.counted[r.at] for r in group.used if r.at is not None]
    body = needed(group.prelude, wanted)
    reads = {a for node in body for a in node.args} | set(wanted)
    stand_ins = [*items.items.values(), *items.wholes.values()]
    fn = Function("places", [items.index, *stand_ins], wanted, body)
    flags = [True] * (1 + len(items.items)) + [False] * len(items.wholes)
    try:
        with Trace(trusted=True, site=outer.site) as trace:
            index = numbers(items.length, 1) if items.index in reads else items.index
            pairs = batch(fn, [index, *items.items, *items.wholes], flags, items.length)
            found = [spread(v, m, items.length) for v, m in pairs]
        outer.body += trace.body
    except Unbatchable:
        found = _over_items(items, "places", wanted, body)
    return dict(zip(wanted, found, strict=True))


def _columns(reading: Reading, at: Value | None, length: Dim) -> Value:
    """The columns of what each item reads of an argument, numbered row by row: of shape (length, elements read)."""
    shape, (_, offset, steps) = reading.value.type.shape, reading.view
    count = reading.local.type.size
    parts: list[Value] = []
    axes = list(range(len(shape)))
    if at is not None:
        inner = at.type.shape[1:]
        axes[reading.axis : reading.axis + 1] = [-1] * len(inner)
        ones = [(1,) * reading.axis, (1,) * (len(shape) - reading.axis - 1)]
        parts.append(_times(reshape(at, (length, *ones[0], *inner, *ones[1])), steps[reading.axis]))
    for position, k in enumerate(axes):
        if k >= 0 and shape[k] != 1:
            behind = (1,) * (len(axes) - position - 1)
            grid = apply(ARANGE, n=shape[k])
            parts.append(_times(reshape(grid, (shape[k], *behind)) if behind else grid, steps[k]))
    found = functools.reduce(operator.add, parts) if parts else zeros(I64)
    found = found + Extent.of(offset) if offset != 0 else found
    if at is None:
        return apply(BROADCAST, reshape(found, (1, count)), shape=(length, count))
    return reshape(found, (length, count))


def _times(v: Value, factor: Dim) -> Value:
    return v * Extent.of(factor) if factor != 1 else v


def _rows(piece: Piece, columns: Sequence[Value]) -> Rows:
    """The rows of a piece, in their order, from the columns of what its items read."""
    assert piece.item is not None
    if not columns:
        return Rows(piece.value.type.size, 0, None)
    whole = concatenate(columns, axis=1)
    length, width = whole.type.shape
    height = piece.item.type.size
    assert isinstance(width, int)
    if height != 1:
        whole = reshape(whole, (length, 1, width))
        whole = apply(BROADCAST, whole, shape=(length, height, width))
    return Rows(piece.value.type.size, width, _flat(piece, whole))


def _flat(piece: Piece, stack: Value) -> Value:
    """What there is for every item, every element of it, and every entry of those, row by row of the result."""
    assert piece.item is not None
    if piece.axis:
        width = stack.type.shape[-1]
        stack = reshape(stack, (piece.length, *piece.item.type.shape, width))
        stack = moveaxis(stack, 0, piece.axis)
    return reshape(stack, (stack.type.size,))
