"""How a gather goes through a statement to its operands: one rule for each op, for `gradgen.sparse.items`.

A goal asks for a value's items at places `at` (i64, of a known shape S) along one axis: gather(value, at, axis=axis), which
has S where the axis was. Its rule yields goals for the operands and makes the statement of what they are. Without `at` a
goal asks for the whole value.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np

from gradgen.differentiate.jacobians import parameter
from gradgen.ir import CONST, OPS
from gradgen.ops.index import GATHER, SLICE
from gradgen.ops.ranges import ARANGE
from gradgen.ops.regions import SCAN, Loop
from gradgen.ops.shape import BROADCAST, reshape
from gradgen.ops.spans import Span, resolve
from gradgen.rewriting import with_args
from gradgen.sizes import Dim, mul, nonnegative, product
from gradgen.types import I64
from gradgen.value import Extent, Value, apply, constant, current_trace


class Mixed(Exception):
    """`node` reads more than a few items of its operands for an item of its own."""

    def __init__(self, node: Value) -> None:
        super().__init__(node)
        self.node = node


class Goal(NamedTuple):
    """What is wanted of a value: its items at places along an axis, or all of it (no places)."""

    value: Value
    axis: int = 0
    at: Value | None = None

    @property
    def key(self) -> tuple[int, int, int]:
        return id(self.value), self.axis, id(self.at)


# A rule yields goals, is sent what they are, and returns a Value (for a map, the results of a step).
Steps = Generator[Goal, Any, Any]


class Places:
    """Places along axes, as i64 values: which of them are known not to be negative, and what is made of them.

    index: the number of the item, out of `length`.  stretches: places that are those of all items, one after the other, in
    a stretch of an axis of some length; by place and length.
    """

    def __init__(self, length: Dim) -> None:
        self.index = parameter(I64, "i")
        self.stretches: dict[tuple[int, Dim], Span] = {(id(self.index), length): Span()}
        self._counted: set[int] = {id(self.index)}
        self._made: dict[tuple[Any, ...], Value] = {}

    def counted(self, at: Value, length: Dim) -> Value:
        """Places from the start of an axis of some length, where negative ones count from its end."""
        if at.op is CONST and not (at.params["value"] < 0).any():
            return at
        if id(at) in self._counted:
            return at

        def make() -> Value:
            return apply(OPS["where"], at < 0, at + Extent.of(length), at)

        return self._once((id(at), length), make, True)

    def shifted(self, at: Value, entry: Span, source: Dim) -> Value:
        """For places along a slice of an axis of length `source`, those along the axis."""
        start, length, step, _ = resolve(entry, source)
        moved = self._shifted(at, start, length, step, source)
        if self.stretches.get((id(at), length)) == Span():
            self.stretches[id(moved), source] = entry
        return moved

    def _shifted(self, at: Value, start: Dim, length: Dim, step: int, source: Dim) -> Value:
        if start == 0 and step == 1 and (length == source or id(at) in self._counted):
            return at

        def make() -> Value:
            found = self.counted(at, length)
            found = found * step if step != 1 else found
            return found + Extent.of(start) if start != 0 else found

        return self._once((id(at), length, start, step), make, nonnegative(start) and step > 0)

    def windows(self, at: Value, length: Dim, width: int) -> Value:
        """For places along rows of so many elements, the places of all those elements."""

        def make() -> Value:
            rows = self.counted(at, length)
            rows = reshape(rows, (*rows.type.shape, 1)) if rows.type.shape else rows
            return rows * width + apply(ARANGE, n=width)

        return self._once((id(at), length, width), make, True)

    def _once(self, key: tuple[Any, ...], make: Callable[[], Value], counted: bool) -> Value:
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make()
            if counted:
                self._counted.add(id(found))
        return found


def put(shape: tuple[Any, ...], axis: int, inner: tuple[Any, ...]) -> tuple[Any, ...]:
    """A shape or index with others in place of the entry for an axis."""
    return (*shape[:axis], *inner, *shape[axis + 1 :])


# -- ops that take elements side by side
def _operand(node: Value, a: Value, axis: int, at: Value) -> Steps:
    """An operand of a statement that broadcasts it against others: its items, or all of it where it has one for all."""
    k = axis - (node.type.ndim - a.type.ndim)
    if k < 0:
        return (yield Goal(a))
    if a.type.shape[k] == 1 and node.type.shape[axis] != 1:
        whole = yield Goal(a)
        return reshape(whole, put(a.type.shape, k, (1,) * at.type.ndim))
    return (yield Goal(a, k, at))


def _elementwise(places: Places, node: Value, axis: int, at: Value) -> Steps:
    args = []
    for a in node.args:
        args.append((yield from _operand(node, a, axis, at)))
    return apply(node.op, *args, **node.params)


def _broadcast(places: Places, node: Value, axis: int, at: Value) -> Steps:
    item = yield from _operand(node, node.args[0], axis, at)
    shape = put(node.type.shape, axis, at.type.shape)
    return apply(BROADCAST, item, shape=shape) if item.type.shape != shape else item


# -- moves
def _reshape(places: Places, node: Value, axis: int, at: Value) -> Steps:
    """Where the axis is one of the operand's, or a part of one of them: rows of a matrix that is a vector's."""
    (x,) = node.args
    old, new = x.type.shape, node.type.shape
    for k in range(x.type.ndim):
        if product(old[:k]) != product(new[:axis]):
            continue
        if old[k] == new[axis]:
            item = yield Goal(x, k, at)
            return reshape(item, put(new, axis, at.type.shape))
        for stop in range(axis + 1, node.type.ndim):
            width = product(new[axis + 1 : stop + 1])
            if isinstance(width, int) and old[k] == mul(new[axis], width):
                item = yield Goal(x, k, places.windows(at, new[axis], width))
                return reshape(item, put(new, axis, at.type.shape))
    raise Mixed(node)


def _transpose(places: Places, node: Value, axis: int, at: Value) -> Steps:
    axes = node.params["axes"]
    k, extra = axes[axis], at.type.ndim - 1
    item = yield Goal(node.args[0], k, at)
    order: list[int] = []
    for a in axes:
        order += range(k, k + extra + 1) if a == k else [a if a < k else a + extra]
    return apply(node.op, item, axes=tuple(order)) if order != sorted(order) else item


def _slice(places: Places, node: Value, axis: int, at: Value) -> Steps:
    (x,), index = node.args, node.params["index"]
    k = [j for j, e in enumerate(index) if isinstance(e, Span)][axis]
    item = yield Goal(x, k, places.shifted(at, index[k], x.type.shape[k]))
    return _sliced(item, put(index, k, (Span(),) * at.type.ndim))


def _sliced(x: Value, index: tuple[Any, ...]) -> Value:
    return apply(SLICE, x, index=index) if any(e != Span() for e in index) else x


def _gather(places: Places, node: Value, axis: int, at: Value) -> Steps:
    x, *indices = node.args
    first = node.params["axis"]
    ndim = node.type.ndim - x.type.ndim + len(indices)  # axes of the places in the result
    if first <= axis < first + ndim:
        inner = []
        for v in indices:
            k = axis - first - (ndim - v.type.ndim)
            shared = k < 0 or (v.type.shape[k] == 1 and node.type.shape[axis] != 1)
            if shared and v.type.shape:
                raise Mixed(node)
            inner.append((yield Goal(v)) if shared else (yield Goal(v, k, at)))
        return (yield from taken(places, node, x, first, inner))
    k = axis if axis < first else axis - ndim + len(indices)
    item = yield Goal(x, k, at)
    wholes = []
    for v in indices:
        wholes.append((yield Goal(v)))
    return apply(GATHER, item, *wholes, axis=first + (at.type.ndim - 1 if axis < first else 0))


def taken(places: Places, node: Value, x: Value, axis: int, ats: list[Value]) -> Steps:
    """x[..., at, at, ...] from an axis on, one place for each of neighbouring axes; all but one of them scalars."""
    lengths = x.type.shape[axis : axis + len(ats)]
    symbolic = [k for k, d in enumerate(lengths) if not isinstance(d, int)]
    wide = [k for k, at in enumerate(ats) if at.type.shape]
    if len(wide) > 1 or len(symbolic) > 1:
        raise Mixed(node)
    first = (symbolic or wide or [0])[0]
    item = yield Goal(x, axis + first, ats[first])
    for k, at in enumerate(ats):
        if k == first:
            axis += ats[first].type.ndim
        else:
            item = _at(item, axis, at)
            axis += at.type.ndim
    return item


def _at(x: Value, axis: int, at: Value) -> Value:
    if at.op is CONST and not at.type.shape:
        index = put((Span(),) * x.type.ndim, axis, (int(at.params["value"]),))
        return apply(SLICE, x, index=index)
    return apply(GATHER, x, at, axis=axis)


def _joined(places: Places, node: Value, axis: int, at: Value) -> Steps:
    """Parts one behind the other, or beside each other, along another axis."""
    along = node.params["axis"]
    if along == axis:
        raise Mixed(node)
    inner = axis - 1 if node.op.name == "stack" and along < axis else axis
    parts = []
    for a in node.args:
        parts.append((yield Goal(a, inner, at)))
    return apply(node.op, *parts, axis=along + (at.type.ndim - 1 if axis < along else 0))


def _put_in(places: Places, node: Value, axis: int, at: Value) -> Steps:
    """What is put in or added to a part of every item."""
    acc, v = node.args
    index = node.params["index"]
    if index[axis] != Span():
        raise Mixed(node)
    base = yield Goal(acc, axis, at)
    kept = sum(isinstance(e, Span) for e in index[axis:])
    k = v.type.ndim - kept
    if k < 0:
        part = yield Goal(v)
    elif v.type.shape[k] == 1 and node.type.shape[axis] != 1:
        whole = yield Goal(v)
        part = reshape(whole, put(v.type.shape, k, (1,) * at.type.ndim))
    else:
        part = yield Goal(v, k, at)
    return apply(node.op, base, part, index=put(index, axis, (Span(),) * at.type.ndim))


# -- sums and products
def _reduced(places: Places, node: Value, axis: int, at: Value) -> Steps:
    (x,), params = node.args, dict(node.params)
    axes, extra = params["axes"], at.type.ndim - 1
    k = axis
    if not params.get("keepdims"):
        k = [j for j in range(x.type.ndim) if j not in axes][axis]
    if k in axes:
        raise Mixed(node)
    item = yield Goal(x, k, at)
    params["axes"] = tuple(j if j < k else j + extra for j in axes)
    return apply(node.op, item, **params)


def _matmul(places: Places, node: Value, axis: int, at: Value) -> Steps:
    """A row by the right operand, the left one by a column, or a product of a batch."""
    a, b = node.args
    columns = node.type.ndim - 1 if b.type.ndim > 1 else None
    rows = node.type.ndim - (1 if columns is None else 2) if a.type.ndim > 1 else None
    if axis in (rows, columns):
        if at.type.ndim > 1 or len(node.type.shape) > 2:
            raise Mixed(node)
        if axis == rows:
            left = yield Goal(a, 0, at)
            right = yield Goal(b)
        else:
            left = yield Goal(a)
            right = yield Goal(b, 1, at)
        return apply(node.op, left, right)
    # The axes of the batch, counted from the last.
    behind = (rows if rows is not None else node.type.ndim - (columns is not None)) - axis
    args = []
    for v in node.args:
        k = max(v.type.ndim, 2) - 2 - behind
        args.append((yield Goal(v, k, at)) if k >= 0 and v.type.shape[k] != 1 else (yield Goal(v)))
        if k >= 0 and v.type.shape[k] == 1:
            args[-1] = reshape(args[-1], put(v.type.shape, k, (1,) * at.type.ndim))
    return apply(node.op, *args)


def _outer(places: Places, node: Value, axis: int, at: Value) -> Steps:
    if at.type.shape:
        raise Mixed(node)
    factor = yield Goal(node.args[axis], 0, at)
    other = yield Goal(node.args[1 - axis])
    return factor * other


# -- maps
def _result(places: Places, node: Value, axis: int, at: Value) -> Steps:
    """A result of a map, step by step."""
    (loop,) = node.args
    if loop.op is not SCAN or loop.params["carries"] or axis or at.type.shape:
        raise Mixed(loop)
    outputs = yield Goal(loop, 0, at)
    return outputs[node.params["k"]]


def step(places: Places, node: Value, at: Value) -> Steps:
    """The results of one step of a map; items that its body gathers of arrays outside are gathered where those are."""
    loop = Loop.of(node)
    trace = current_trace()
    assert trace is not None
    env: dict[Value, Any] = {loop.index: at}
    outside = dict(zip(loop.const_inputs, loop.consts, strict=True))
    for inner, outer in zip(loop.item_inputs, loop.xs, strict=True):
        env[inner] = yield Goal(outer, 0, at)
    for n in loop.body.body:
        array = outside.get(n.args[0]) if n.op is GATHER else None
        args = []
        for a in n.args if array is None else n.args[1:]:
            if a in outside:
                env[a] = yield Goal(outside.pop(a))
            args.append(env.get(a, a))
        if array is not None:
            env[n] = yield from taken(places, n, array, n.params["axis"], args)
            continue
        env[n] = made = with_args(n, tuple(args))
        trace.body.append(made)
    outputs = []
    for v in loop.body.outputs:
        if v in outside:
            env[v] = yield Goal(outside.pop(v))
        outputs.append(env.get(v, v))
    return outputs


# -- whole values
def whole(places: Places, value: Value) -> Steps:
    """All of a value: of a slice of known length, the items that it has."""
    if value.op is SLICE:
        (x,), index = value.args, value.params["index"]
        for k, entry in enumerate(index):
            found = resolve(entry, x.type.shape[k])
            if isinstance(x.type.shape[k], int) or not isinstance(found.length, int):
                continue
            at = constant(np.arange(found.length) * found.step if found.kept else 0)
            at = at + Extent.of(found.start) if found.start != 0 else at
            item = yield Goal(x, k, at)
            return _sliced(item, put(index, k, (Span(),) * at.type.ndim))
    args = []
    if value.op is GATHER:
        for a in value.args[1:]:
            args.append((yield Goal(a)))
        return (yield from taken(places, value, value.args[0], value.params["axis"], args))
    for a in value.args:
        args.append((yield Goal(a)))
    trace = current_trace()
    assert trace is not None
    made = with_args(value, tuple(args))
    trace.body.append(made)
    return made


RULES: dict[str, Callable[[Places, Value, int, Value], Steps]] = {
    "broadcast": _broadcast, "reshape": _reshape, "transpose": _transpose, "slice": _slice, "gather": _gather,
    "concatenate": _joined, "stack": _joined, "slice_add": _put_in, "slice_set": _put_in,
    **dict.fromkeys(("sum", "prod", "reduce_max", "reduce_min", "logsumexp", "peak"), _reduced),
    "matmul": _matmul, "outer": _outer, "item": _result,
}  # fmt: skip


def through(places: Places, node: Value, axis: int, at: Value) -> Steps:
    """The items at places along an axis of a statement that depends on an argument to derive by."""
    if node.op is SCAN:
        return (yield from step(places, node, at))
    rule = _elementwise if node.op.elementwise else RULES.get(node.op.name)
    if rule is None:
        raise Mixed(node)
    return (yield from rule(places, node, axis, at))
