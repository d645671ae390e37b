"""One item of a result, as a program of the few items of the arguments that it reads.

    items = Items(fn, wrt)      the program of item `items.index`, of fn's statements
    v = items.of(value, axis)   that item of a value along an axis, as statements of the program

Taking an item of a result is a gather at its number, and a gather goes through a statement to its operands: through
elementwise ops as it is, through a slice shifted, through `cams[i]` as a gather at item i, into the body of a map
(item_rules). Where it reaches an argument to derive by, it is a `Reading`; what does not depend on those arguments is read
from the whole value. Mixed is raised where that ends: a statement that mixes items, or all of an argument whose length is
no number. No recursion: rules are generators that yield what they want of their operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gradgen.differentiate.jacobians import parameter
from gradgen.ir import CONST, LEAVES, PARAM, Function
from gradgen.ops.index import GATHER, SLICE
from gradgen.ops.ranges import ARANGE
from gradgen.ops.shape import BROADCAST, RESHAPE, TRANSPOSE, moveaxis
from gradgen.ops.spans import Span, extents
from gradgen.sizes import Dim, add, mul, product
from gradgen.sparse.item_rules import Goal, Mixed, Places, Steps, put, through, whole
from gradgen.types import Shape
from gradgen.value import Trace, Value, apply

SMALL = 64  # elements of a constant that stands in the program as it is


class View(NamedTuple):
    """An array whose elements are some of an argument's: element (i, j, ...) is number offset + i * steps[0] + ... there."""

    number: int
    offset: Dim
    steps: Shape


@dataclass(frozen=True, eq=False)
class Reading:
    """What an item reads of a view of an argument: its elements at places along an axis, or all of them (`at` None).

    local: the parameter that stands for them.
    """

    view: View
    value: Value
    axis: int
    at: Value | None
    local: Value


class Items(Places):
    """The program of one item: its statements are those of `trace`.

    readings: what it reads of the arguments to derive by.  items, wholes: the parameters that stand for this item of values
    outside along their first axes, and for all of them.  outside: statements that those need.
    """

    def __init__(self, fn: Function, wrt: Sequence[int], length: Dim) -> None:
        super().__init__(length)
        self.length = length
        self.views = views(fn, wrt)
        self.dependent = dependents(fn, [fn.inputs[i] for i in wrt])
        self.outside = Trace(trusted=True)
        self.trace = Trace(trusted=True)
        self.readings: dict[tuple[int, int, int], Reading] = {}
        self.items: dict[Value, Value] = {}
        self.wholes: dict[Value, Value] = {}
        self._along: dict[tuple[int, int, int], Value] = {}
        self._indices: dict[
            Value, Value
        ] = {}  # the parameters in `items`, and what they are items of
        self._known: dict[tuple[int, int, int], Any] = {}
        self._active: set[Value] = set()
        self._looked = 0

    def of(self, value: Value, axis: int | None) -> Value:
        """The item of a value along an axis; with no axis, all of the value."""
        goal = Goal(value) if axis is None else Goal(value, axis, self.index)
        with self.trace:
            stack = [(goal, self._steps(goal))]
            found: Any = None
            while stack:
                wanted, steps = stack[-1]
                self.trace.site = wanted.value.site
                try:
                    goal = steps.send(found)
                except StopIteration as done:
                    found = self._known[wanted.key] = done.value
                    stack.pop()
                    continue
                except Mixed as mixed:
                    readers = [g.value for g, _ in stack if g.value not in self.views]
                    raise Mixed(readers[-1] if readers else mixed.node) from None
                found = self._known.get(goal.key)
                if found is None:
                    stack.append((goal, self._steps(goal)))
        made: Value = found
        return made

    def _steps(self, goal: Goal) -> Steps:
        value, axis, at = goal
        if value not in self.dependent:
            return (yield from self._outside(goal))
        if value in self.views:
            return self._reading(goal)
        made = yield from (whole(self, value) if at is None else through(self, value, axis, at))
        if isinstance(made, Value) and made.name is None and made.op not in LEAVES:
            made.name = value.name
        return made

    def _outside(self, goal: Goal) -> Steps:
        """What depends on no argument to derive by is computed outside, but for what is the same for all items."""
        value, axis, at = goal
        if at is None:
            known = value.op in LEAVES and value.op is not PARAM
            if known and (value.op is not CONST or value.params["value"].size <= SMALL):
                return value
            return self.read(value, 0, None)
        if value.op is ARANGE:
            return self.counted(at, value.type.shape[0])
        if value.op is BROADCAST and not value.args[0].type.shape:
            scalar = yield Goal(value.args[0])
            shape = put(value.type.shape, axis, at.type.shape)
            return apply(BROADCAST, scalar, shape=shape) if shape else scalar
        return self.read(value, axis, at)

    def _reading(self, goal: Goal) -> Value:
        value, axis, at = goal
        shape = value.type.shape
        ty = value.type.with_shape(shape if at is None else put(shape, axis, at.type.shape))
        if not ty.static or (at is not None and self._depends(at)):
            raise Mixed(value)
        local = parameter(ty, value.name)
        self._active.add(local)
        self.readings[goal.key] = Reading(self.views[value], value, axis, at, local)
        return local

    def read(self, value: Value, axis: int, at: Value | None) -> Value:
        """What a value outside has at places along an axis, or all of it, as it stands in the program."""
        if at is None:
            return self.wholes.setdefault(value, parameter(value.type, value.name))
        key = Goal(value, axis, at).key
        found = self._along.get(key)
        if found is None:
            stretch = self.stretches.get((id(at), value.type.shape[axis]))
            with self.outside:
                if stretch is not None:
                    index = put((Span(),) * value.type.ndim, axis, (stretch,))
                    moved = apply(SLICE, value, index=index) if stretch != Span() else value
                elif at in self._indices:  # a place for each item, known outside
                    moved = apply(GATHER, value, self._indices[at], axis=axis)
                else:
                    moved = None
                if moved is not None and axis:
                    moved = moveaxis(moved, axis, 0)
            if moved is None:
                found = apply(GATHER, self.read(value, axis, None), at, axis=axis)
            else:
                name = value.name if value.op is not PARAM else None
                ty = moved.type.with_shape(moved.type.shape[1:])
                found = self.items.setdefault(moved, parameter(ty, name))
                self._indices[found] = moved
            self._along[key] = found
        return found

    def _depends(self, value: Value) -> bool:
        """Whether a statement of the program depends on what it reads of the arguments to derive by."""
        body = self.trace.body
        for node in body[self._looked :]:
            if any(a in self._active for a in node.args):
                self._active.add(node)
        self._looked = len(body)
        return value in self._active

    def parts(self) -> tuple[list[Value], list[Value]]:
        """The statements that depend on nothing read of the arguments to derive by, and those that do."""
        self._depends(self.index)
        body = self.trace.body
        return [v for v in body if v not in self._active], [v for v in body if v in self._active]


def dependents(fn: Function, sources: Sequence[Value]) -> set[Value]:
    """The values of fn that may have a slope along its inputs `sources`."""
    found = set(sources)
    for node in fn.body:
        if (node.type.is_float or node.op.regions) and any(a in found for a in node.args):
            found.add(node)
    return found


def views(fn: Function, wrt: Sequence[int]) -> dict[Value, View]:
    """The arguments to derive by, and what slices, transposes and reshapes make of them alone."""
    found: dict[Value, View] = {}
    for i in wrt:
        found[fn.inputs[i]] = View(i, 0, _row_major(fn.inputs[i].type.shape))
    for node in fn.body:
        view = found.get(node.args[0]) if node.args else None
        if view is None:
            continue
        shape = node.args[0].type.shape
        if node.op is TRANSPOSE:
            found[node] = view._replace(steps=tuple(view.steps[k] for k in node.params["axes"]))
        elif node.op is RESHAPE and view.steps == _row_major(shape):
            found[node] = view._replace(steps=_row_major(node.type.shape))
        elif node.op is SLICE:
            offset, steps = view.offset, []
            for entry, step in zip(extents(shape, node.params["index"]), view.steps, strict=True):
                offset = add(offset, mul(entry.start, step))
                steps += [mul(step, entry.step)] if entry.kept else []
            found[node] = View(view.number, offset, tuple(steps))
    return found


def _row_major(shape: Shape) -> Shape:
    return tuple(product(shape[k + 1 :]) for k in range(len(shape)))
