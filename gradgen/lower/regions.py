"""Lowering of loops and branches: scan, while, cond.

    scan    a sequential loop (a map: a parallel one). Carries are scalar variables or arrays that the loop writes anew in each
            step; states and per-step results are arrays with one more axis
    while   a loop that a Break ends; a tape has room for max_steps steps, or as many as the caller says (the letter tape_steps)
    cond    an If, whose branches store the results

Arrays that a body makes are declared in it where their size is known and small. A map over small arrays of known sizes has a
body of scalars (`apart`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gradgen.ir import NO_PARAMS, OPS, Function
from gradgen.lower.apart import as_scalars
from gradgen.lower.builder import Builder
from gradgen.lower.kernel import (
    FOREVER,
    IOTA,
    TAPE_STEPS,
    Affine,
    Bind,
    Break,
    Buffer,
    Declare,
    Fail,
    If,
    Let,
    Load,
    Loop,
    Var,
)
from gradgen.lower.views import Splat, View
from gradgen.ops.regions import ITEM, SCAN
from gradgen.ops.regions import Loop as LoopNode
from gradgen.sizes import Dim, Size, add, letter, substitute
from gradgen.types import BYTES, Type
from gradgen.value import Extent, constant

SMALL = 4096  # bytes of an array on the stack


class Regions(Builder):
    """Mixin of Lowering."""

    # -- the statements of a region
    def region(self, fn: Function, values: Sequence[Any], carries: int = 0) -> list[Any]:
        """The outputs of a region on values, its statements in the open block.

        carries: so many of its inputs, after the number of the step, lie in memory that is the region's to write into. That of
        the others is read again, by the next step or by what comes after.
        """
        # A region may share nodes with what is around it: what they are here holds here only.
        saved = self.fn, self.root, self.last, self.own, self.position, self.inner, self.env
        self.env = dict(self.env)
        for v, value in zip(fn.inputs, values, strict=True):
            self.env[id(v)] = value
        self.fn, self.inner = fn, True
        self._roots()
        self.own.update(id(v) for v in fn.inputs[1 : 1 + carries])
        self.statements(fn.body)
        results = [self.value(v) for v in fn.outputs]
        self.fn, self.root, self.last, self.own, self.position, self.inner, self.env = saved
        return results

    def temp(self, ty: Type, name: str | None) -> Buffer:
        buffer = super().temp(ty, name)
        size = buffer.size
        if self.inner and isinstance(size, int) and size * BYTES[ty.dtype] <= SMALL:
            buffer.storage = "local"
            self.block_start().append(Declare(buffer, self.site))
        return buffer

    def block_start(self) -> list[Any]:
        """Where arrays of the innermost region are declared."""
        return self.declared[-1]

    @contextmanager
    def block(self, body: list[Any]) -> Iterator[None]:
        """Statements go into `body`, which begins with the arrays declared meanwhile."""
        saved, self.body = self.body, []
        self.declared.append([])
        yield
        body[:0] = [*self.declared.pop(), *self.body]
        self.body = saved

    def counter(self, var: Var, extent: Dim) -> Load:
        """The number of the iteration as a scalar."""
        numbers = Buffer("i", "i64", (extent,), "const", data=IOTA)
        return Load(numbers, (Affine.of(var),), None, self.site)

    # -- carries
    def carry(
        self, node: Any, value: Any, ty: Type, name: str | None, read: Sequence[Any]
    ) -> Buffer:
        """Memory for a carry, holding its first value: that value's own where nothing `read` by the loop lies in it."""
        if not ty.shape:
            buffer = self.local(ty.dtype, name or "carry")
            self.store(buffer, (), self.cast(value, ty.dtype))
            return buffer
        own = (
            isinstance(value, View) and value.is_whole and value.buffer.base is None
            and value.buffer.storage in ("temp", "local") and self.is_last_read(node)
            and value.buffer not in _memories(read)
        )  # fmt: skip
        if own:
            return value.buffer
        return self.copy(value, ty, name)

    def put(self, buffer: Buffer, lead: tuple[Affine, ...], value: Any, ty: Type) -> None:
        """Store a value of type `ty` at buffer[*lead, ...]."""
        if not ty.shape:
            self.store(buffer, lead, self.cast(value, buffer.dtype))
            return
        if isinstance(value, _Pieces):
            for index, scalar in value.pieces.items():
                place = (*lead, *(Affine(int(i)) for i in index))
                self.store(buffer, place, self.cast(scalar, buffer.dtype))
            return
        with self.loops(ty.shape) as at:
            self.store(buffer, (*lead, *at), self.cast(self.read(value, at), buffer.dtype))

    def at(self, buffer: Buffer, lead: Affine, ty: Type) -> Any:
        """The item of a stack: a scalar, or a view."""
        if not ty.shape:
            return self.emit(Load(buffer, (lead,), None, self.site))
        return View.whole(buffer).item(lead, ty.shape)

    def held(self, value: Any, ty: Type, memories: set[int], own: Buffer) -> Any:
        """The new value of a carry, copied if it is a view of memory that another carry is about to overwrite."""
        if not isinstance(value, View) or not ty.shape:
            return value
        memory = value.buffer.memory
        if id(memory) not in memories or (memory is own.memory and value.is_whole):
            return value
        return View.whole(self.copy(value, ty, "new"))

    # -- scan
    def loop_scan(self, node: Any) -> None:
        loop = LoopNode.of(node)
        length = node.params["length"]
        parts = node.type.parts
        kept = {k: j for j, k in enumerate(loop.kept)}
        xs = [self.value(x) for x in loop.xs]
        consts = [self.value(x) for x in loop.consts]
        stacks = [
            self.temp_of(ty, name)
            for ty, name in zip(parts[loop.carries :], self.stack_names(loop), strict=True)
        ]
        states = stacks[len(loop.y_outputs) :]
        first: Dim = length if loop.reverse else 0
        carried: list[Buffer | None] = []
        for k, x in enumerate(loop.init):
            name = loop.carry_inputs[k].name
            if k in kept:
                self.put(states[kept[k]], (Affine(first),), self.value(x), x.type)
                carried.append(None)
            else:
                read = [*consts, *xs, *(b for b in carried if b is not None)]
                carried.append(self.carry(x, self.value(x), x.type, name, read))
        statement = Loop(Var(), length, "sequential" if loop.carries else "parallel", [], self.site)
        step = Affine.of(statement.var)
        if loop.reverse:
            step = Affine(add(length, -1)).plus(step.times(-1))
        into, out_of = (1, 0) if loop.reverse else (0, 1)
        self.emit(statement)
        with self.block(statement.body):
            values: list[Any] = [self.emit(_number(step, length, self.site))]
            for k, v in enumerate(loop.carry_inputs):
                buffer = carried[k]
                if buffer is None:
                    values.append(self.at(states[kept[k]], step.plus(Affine(into)), v.type))
                elif not v.type.shape:
                    values.append(self.emit(Load(buffer, (), None, self.site)))
                else:
                    values.append(View.whole(buffer))
            for v, x in zip(loop.item_inputs, xs, strict=True):
                values.append(self.item(x, step, v.type))
            results = self.body_of(node, loop.body, [*values, *consts])
            for k in range(len(loop.y_outputs)):
                ty = loop.y_outputs[k].type
                self.put(stacks[k], (step,), results[loop.carries + k], ty)
            self.advance(loop, carried, results, states, kept, step.plus(Affine(out_of)))
        self.finish(node, loop, carried, stacks, kept, Affine(0 if loop.reverse else length))

    def stack_names(self, loop: LoopNode) -> list[str | None]:
        names = [v.name for v in loop.y_outputs]
        return names + [loop.carry_inputs[k].name for k in loop.kept]

    def temp_of(self, ty: Type, name: str | None) -> Buffer:
        return self.temp(ty, name)

    def item(self, x: Any, step: Affine, ty: Type) -> Any:
        """Item number `step` of an array."""
        if isinstance(x, Splat):
            return Splat(x.scalar, ty.shape) if ty.shape else x.scalar
        if not ty.shape:
            return self.read(x, [step])
        return x.item(step, ty.shape)

    def body_of(self, node: Any, body: Function, values: list[Any]) -> list[Any]:
        """The results of a loop's body; of a map over small arrays, as scalars."""
        if node.op is SCAN and not node.params["carries"]:
            small = as_scalars(body)
            if small is not None:
                fn, places, slots = small
                return self.scalar_body(fn, places, slots, values, body)
        return self.region(body, values, node.params.get("carries", 0))

    def scalar_body(
        self, fn: Function, places: Any, slots: Any, values: list[Any], body: Function
    ) -> list[Any]:
        scalars: list[Any] = [None] * len(fn.inputs)
        read = {id(a) for n in fn.body for a in n.args} | {id(v) for v in fn.outputs}
        for value, place in zip(values, places, strict=True):
            for index, k in np.ndenumerate(place):
                if id(fn.inputs[k]) not in read:
                    scalars[k] = constant(0, fn.inputs[k].type.dtype)
                elif place.ndim:
                    scalars[k] = self.read(value, [Affine(int(i)) for i in index])
                else:
                    scalars[k] = value
        found = self.region(fn, scalars)
        out = []
        for v, slot in zip(body.outputs, slots, strict=True):
            out.append(_Pieces({i: found[k] for i, k in np.ndenumerate(slot)}, v.type.shape)
                       if v.type.shape else found[int(slot)])  # fmt: skip
        return out

    def advance(
        self, loop: LoopNode, carried: Sequence[Buffer | None], results: list[Any],
        states: Sequence[Buffer], kept: dict[int, int], out_of: Affine,
    ) -> None:  # fmt: skip
        """Store the new carries, all read before any is overwritten."""
        memories = {id(b.memory) for b in carried if b is not None and b.shape}
        new = []
        for k, buffer in enumerate(carried):
            value, ty = results[k], loop.init[k].type
            new.append(value if buffer is None else self.held(value, ty, memories, buffer))
        for k, buffer in enumerate(carried):
            ty = loop.init[k].type
            if buffer is None:
                self.put(states[kept[k]], (out_of,), new[k], ty)
            elif not (isinstance(new[k], View) and new[k].buffer is buffer and new[k].is_whole):
                self.put(buffer, (), new[k], ty)

    def finish(
        self, node: Any, loop: LoopNode, carried: Sequence[Buffer | None], stacks: Sequence[Buffer],
        kept: dict[int, int], end: Affine,
    ) -> None:  # fmt: skip
        """What the loop's results are, after it."""
        states = stacks[len(loop.y_outputs) :]
        found: list[Any] = []
        for k, buffer in enumerate(carried):
            ty = loop.init[k].type
            if buffer is None:
                found.append(self.at(states[kept[k]], end, ty))
            elif ty.shape:
                found.append(View.whole(buffer))
            else:
                found.append(self.emit(Load(buffer, (), None, self.site)))
        found += [
            _stack_view(b, ty)
            for b, ty in zip(stacks, node.type.parts[loop.first_y :], strict=True)
        ]
        self.bundles[id(node)] = found

    def take_item(self, node: Any) -> None:
        """A result of a loop or branch."""
        self.env[id(node)] = self.bundles[id(node.args[0])][node.params["k"]]

    # -- while
    def loop_while(self, node: Any) -> None:
        loop, test = LoopNode.of(node), node.params["test"]
        steps = loop.length
        most = node.params.get("max_steps")
        code = "STEPS" if node.params.get("solver") is None else "DIVERGED"
        if most is None and steps is not None:
            most, code = letter(TAPE_STEPS), "TAPE"
            self.tape = True
        kept = {k: j for j, k in enumerate(loop.kept)}
        consts = [self.value(x) for x in loop.consts]
        stacks = []
        for ty, name in zip(node.type.parts[loop.first_y :], self.stack_names(loop), strict=True):
            assert isinstance(steps, Size)
            shape = tuple(substitute(d, {str(steps): most}) for d in ty.shape)
            stacks.append(self.temp(ty.with_shape(shape), name))
        states = stacks[len(loop.y_outputs) :]
        carried: list[Buffer] = []
        for k, x in enumerate(loop.init):
            value = self.value(x)
            if k in kept:
                self.put(states[kept[k]], (Affine(0),), value, x.type)
            read = [*consts, *carried]
            carried.append(self.carry(x, value, x.type, loop.carry_inputs[k].name, read))
        counts = steps is not None or most is not None
        counts = counts or any(
            n.op is ITEM and n.args[0] is node and n.params["k"] == 0 for n in self.fn.body
        )
        count = self.local("i64", "steps") if counts else None
        if count is not None:
            self.store(count, (), constant(0, "i64"))
        statement = Loop(Var(), FOREVER, "sequential", [], self.site)
        step = Affine.of(statement.var)
        self.emit(statement)
        with self.block(statement.body):
            values: list[Any] = [self.emit(self.counter(statement.var, FOREVER))]
            for buffer in carried:
                values.append(
                    View.whole(buffer)
                    if buffer.shape
                    else self.emit(Load(buffer, (), None, self.site))
                )
            (going,) = self.region(test, [*values, *consts])
            self.emit(Break(self.cast(going, "bool"), self.site))
            if most is not None:
                room = constant(most, "i64") if isinstance(most, int) else Extent(most)
                full = self.compare_numbers("greater_equal", values[0], room)
                self.emit(If(full, [Fail(code, self.site)], [], self.site))
            results = self.region(loop.body, [*values, *consts], loop.carries)
            for k in range(len(stacks) - len(states)):
                self.put(stacks[k], (step,), results[loop.carries + k], loop.y_outputs[k].type)
            for k, j in kept.items():
                self.put(states[j], (step.plus(Affine(1)),), results[k], loop.init[k].type)
            self.advance(loop, carried, results, states, {}, step)
            if count is not None:
                one = self.compute("add", values[0], constant(1, "i64"))
                self.store(count, (), one)
        found: list[Any] = [None]
        if count is not None:
            found = [self.emit(Load(count, (), None, self.site))]
            if isinstance(steps, Size):
                self.emit(Bind(str(steps), found[0], self.site))
                self.local_letters[str(steps)] = most
        for k, buffer in enumerate(carried):
            ty = loop.init[k].type
            found.append(
                View.whole(buffer) if ty.shape else self.emit(Load(buffer, (), None, self.site))
            )
        for buffer, ty in zip(stacks, node.type.parts[loop.first_y :], strict=True):
            found.append(_stack_view(buffer, ty))
        self.bundles[id(node)] = found

    def compare_numbers(self, name: str, a: Any, b: Any) -> Let:
        return self.emit(Let(OPS[name], (a, b), Type.of("bool"), NO_PARAMS, None, self.site))

    # -- cond
    def branch(self, node: Any) -> None:
        pred = self.value(node.args[0])
        consts = [self.value(x) for x in node.args[1:]]
        names = [
            next((v.name for v in pair if v.name), None)
            for pair in zip(
                node.params["then"].outputs, node.params["otherwise"].outputs, strict=True
            )
        ]
        buffers = [
            self.temp(ty, name) if ty.shape else self.local(ty.dtype, name or "chosen")
            for ty, name in zip(node.type.parts, names, strict=True)
        ]
        blocks: list[list[Any]] = [[], []]
        for fn, body in zip((node.params["then"], node.params["otherwise"]), blocks, strict=True):
            with self.block(body):
                results = self.region(fn, consts)
                for buffer, value, ty in zip(buffers, results, node.type.parts, strict=True):
                    self.put(buffer, (), value, ty)
        self.emit(If(pred, blocks[0], blocks[1], self.site))
        self.bundles[id(node)] = [
            View.whole(b) if b.shape else self.emit(Load(b, (), None, self.site)) for b in buffers
        ]


class _Pieces(View):
    """An array whose elements are scalars."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: dict[Any, Any], shape: Any) -> None:
        self.pieces, self.shape = pieces, shape
        self.axes = ()
        self.buffer = None  # type: ignore[assignment]


def _memories(values: Sequence[Any]) -> list[Buffer]:
    """The memory that arrays among `values` lie in."""
    buffers = [v if isinstance(v, Buffer) else getattr(v, "buffer", None) for v in values]
    return [b.memory for b in buffers if b is not None]


def _number(step: Affine, length: Dim, site: Any) -> Load:
    return Load(Buffer("i", "i64", (length,), "const", data=IOTA), (step,), None, site)


def _stack_view(buffer: Buffer, ty: Type) -> View:
    return View(buffer, View.whole(buffer).axes, ty.shape)
