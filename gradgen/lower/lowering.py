"""Array SSA to loops: one nest per statement; scalars become Lets at the top level.

What a statement of the array IR becomes:

    elementwise, 0-d        a Let
    elementwise, an array   a nest over the result's shape that loads its operands with NumPy's broadcasting
    transpose, slice, broadcast, reshape    nothing: a View (index map) or a Splat; a reshape that moves elements across
                            axes shares the memory of a contiguous array under another shape, and copies any other first
    anything else           the method of Lowering that the op's record names (`nest=`)

slice_add, slice_set and scatter_add write into their first operand's memory where that is its last use. Index arrays that are
inputs are checked in the prologue, computed ones where they are used, constant ones here.
Not supported: region ops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gradgen.errors import EmitError, ShapeError
from gradgen.ir import CONST, LEAVES, OPS, PARAM, SIZE, Function, Op
from gradgen.lower.kernel import (
    NO_PARAMS,
    ZERO,
    Affine,
    Buffer,
    Check,
    Declare,
    Index,
    Kernel,
    Let,
    Load,
    Loop,
    Store,
    Var,
)
from gradgen.ops.spans import extents
from gradgen.sizes import Dim, add, max0, mul
from gradgen.spelling import TERNARY, infix, template
from gradgen.types import DTYPES, Shape, Type
from gradgen.value import Extent, constant

_VIEWS = frozenset(("transpose", "slice", "reshape", "broadcast"))
_UPDATES = frozenset(("slice_add", "slice_set", "scatter_add"))

# A negative index counts from the end; args: index, length of the axis.
WRAP = Op(
    "wrap", lambda i, n: i, lambda i, n: np.where(i < 0, i + n, i), "An index from 0 on.",
    c=template("{0} < 0 ? {0} + {1} : {0}", TERNARY, (10, 11)), numpy=infix("%", 11),
)  # fmt: skip
# log(sum(exp(x))) subtracts the maximum; an infinite maximum would give inf - inf.
FINITE = Op(
    "finite", lambda x: x, lambda x: np.where(np.isfinite(x), x, np.zeros_like(x)), "x, and 0 where x is not finite.",
    c=lambda operands, node, target: template(
        "isfinite({0}) ? {0} : 0.0" + ("f" if node.type.dtype == "f32" else ""), TERNARY
    )(operands, node, target),
)  # fmt: skip


class View:
    """An array as an index map on a buffer: axis k of the buffer is at `constant + coefficient * coordinate[axis]`."""

    __slots__ = ("axes", "buffer", "shape")

    def __init__(
        self, buffer: Buffer, axes: tuple[tuple[Dim, int | None, Dim], ...], shape: Shape
    ) -> None:
        self.buffer = buffer
        self.axes = axes
        self.shape = shape

    @staticmethod
    def whole(buffer: Buffer) -> View:
        return View(buffer, tuple((0, k, 1) for k in range(len(buffer.shape))), buffer.shape)

    @property
    def is_whole(self) -> bool:
        return self.shape == self.buffer.shape and all(
            axis == k and coefficient == 1 and constant == 0
            for k, (constant, axis, coefficient) in enumerate(self.axes)
        )

    def index(self, coordinates: Sequence[Affine]) -> Index:
        return tuple(
            Affine(constant)
            if axis is None
            else Affine(constant).plus(coordinates[axis].times(coefficient))
            for constant, axis, coefficient in self.axes
        )

    def through(self, table: Sequence[tuple[Dim, int | None, Dim]], shape: Shape) -> View:
        """The view after a move: its old coordinate k is `constant + coefficient * new coordinate[axis]`."""
        axes: list[tuple[Dim, int | None, Dim]] = []
        for start, axis, coefficient in self.axes:
            if axis is None:
                axes.append((start, None, coefficient))
                continue
            shift, new, scale = table[axis]
            axes.append(
                (
                    add(start, mul(coefficient, shift)),
                    new,
                    mul(coefficient, scale) if new is not None else 1,
                )
            )
        return View(self.buffer, tuple(axes), shape)


class Splat:
    """An array all of whose elements are one scalar."""

    __slots__ = ("scalar", "shape")

    def __init__(self, scalar: Any, shape: Shape) -> None:
        self.scalar = scalar
        self.shape = shape


def lower(fn: Function, labels: Sequence[str] = ()) -> Kernel:
    """The loops of `fn`. labels: a name per output."""
    return Lowering(fn, labels).run()


class Lowering:
    def __init__(self, fn: Function, labels: Sequence[str] = ()) -> None:
        self.fn = fn
        self.labels = list(labels) or [v.name or f"y{k}" for k, v in enumerate(fn.outputs)]
        self.body: list[Any] = []
        self.top = self.body
        self.prologue: list[Any] = []
        self.env: dict[int, Any] = {}
        self.casts: dict[tuple[int, str], Any] = {}
        self.checked: set[Any] = set()
        self.tables: dict[Any, Buffer] = {}
        self.lengths: dict[Dim, Any] = {}
        self.site: Any = None
        self.position = 0

    def run(self) -> Kernel:
        fn = self.fn
        inputs: list[tuple[Any, Buffer | None]] = []
        for v in fn.inputs:
            if not v.type.shape:
                self.env[id(v)] = v
                inputs.append((v, None))
                continue
            buffer = Buffer(v.name or "x", v.type.dtype, v.type.shape, "input")
            self.env[id(v)] = View.whole(buffer)
            inputs.append((v, buffer))
        self._roots()
        for k, node in enumerate(fn.body):
            self.position = k
            self.site = node.site
            op = node.op
            if op.elementwise:
                if node.type.shape:
                    self._array(node)
                else:
                    self.env[id(node)] = self._apply(op, [self.value(a) for a in node.args], node)
            elif op.nest is not None:
                op.nest(self, node)
            else:
                raise EmitError(f"target C needs a loop nest for every op, got none for {op}")
        self.site = None
        outputs = [self._output(v, label) for v, label in zip(fn.outputs, self.labels, strict=True)]
        return Kernel(fn.name, inputs, outputs, self.top, self.prologue, fn.requires)

    # -- values
    def value(self, node: Any) -> Any:
        """What a node is here: a scalar, a View or a Splat."""
        known = self.env.get(id(node))
        if known is not None:
            return known
        if node.op is SIZE or (node.op is CONST and not node.type.shape):
            return node
        if node.op is CONST:
            made = self._table(np.asarray(node.params["value"]), node.type, node.name)
            self.env[id(node)] = made
            return made
        raise EmitError(f"internal: {node.op} has no value")

    def _table(self, array: np.ndarray, ty: Type, name: str | None) -> Any:
        data = np.ascontiguousarray(array)
        raw = data.reshape(-1).view(np.uint8).reshape(data.size, -1) if data.size else None
        if raw is None or (raw == raw[0]).all():
            number = data.reshape(-1)[0] if data.size else 0
            return Splat(constant(np.asarray(number, data.dtype), ty.dtype), ty.shape)
        key = (ty, data.tobytes())
        known = self.tables.get(key)
        if known is None:
            known = self.tables[key] = Buffer(
                name or "table", ty.dtype, ty.shape, "const", data=data
            )
        return View.whole(known)

    def _roots(self) -> None:
        """For updates in place: which values may read whose memory later, and when each memory is read last."""
        root: dict[int, int] = {}
        last: dict[int, float] = {}
        for k, node in enumerate(self.fn.body):
            for a in node.args:
                if a.type.shape:
                    last[root.get(id(a), id(a))] = k
            if node.type.shape and node.op.name in _VIEWS:
                root[id(node)] = root.get(id(node.args[0]), id(node.args[0]))
        for v in self.fn.outputs:
            last[root.get(id(v), id(v))] = float("inf")
        self.root, self.last = root, last

    # -- building
    def emit(self, stmt: Any) -> Any:
        self.body.append(stmt)
        return stmt

    @contextmanager
    def loops(self, shape: Sequence[Dim], kind: str = "parallel") -> Iterator[list[Affine]]:
        """Statements emitted inside go into a nest over `shape`; an axis of length one needs no loop."""
        saved = self.body
        coordinates = []
        for dim in shape:
            if isinstance(dim, int) and dim == 1:
                coordinates.append(ZERO)
                continue
            loop = Loop(Var(), dim, kind, [], self.site)
            self.body.append(loop)
            self.body = loop.body
            coordinates.append(Affine.of(loop.var))
        yield coordinates
        self.body = saved

    def temp(self, ty: Type, name: str | None) -> Buffer:
        return Buffer(name or "t", ty.dtype, ty.shape, site=self.site)

    def local(self, dtype: str, name: str) -> Buffer:
        """A scalar variable of this block."""
        buffer = Buffer(name, dtype, (), "local", site=self.site)
        self.emit(Declare(buffer, self.site))
        return buffer

    def read(self, value: Any, coordinates: Sequence[Affine]) -> Any:
        """The element of an array value at coordinates of its own (broadcast: trailing ones, of a larger shape)."""
        if isinstance(value, Splat):
            return value.scalar
        if not isinstance(value, View):
            return value
        own = list(coordinates[len(coordinates) - len(value.shape) :])
        for k, dim in enumerate(value.shape):
            if isinstance(dim, int) and dim == 1:
                own[k] = ZERO
        return self.emit(Load(value.buffer, value.index(own), None, self.site))

    def cast(self, x: Any, dtype: str) -> Any:
        """A scalar in a dtype; constants are converted now."""
        if x.type.dtype == dtype:
            return x
        if x.op is CONST:
            key = (id(x), dtype)
            known = self.casts.get(key)
            if known is None:
                with np.errstate(all="ignore"):
                    number = np.asarray(x.params["value"]).astype(DTYPES[dtype])
                known = self.casts[key] = constant(number, dtype)
                self.casts[(id(known), dtype)] = known
            return known
        return self.emit(Let(OPS["cast"], (x,), Type.of(dtype), {"dtype": dtype}, None, self.site))

    def _apply(self, op: Op, scalars: Sequence[Any], node: Any) -> Let:
        """`op` on scalars, each read in the dtype that the op wants, as the value of `node`."""
        result = node.type
        if op.operand_dtypes is None:
            dtype = result.dtype
            args = tuple([a if a.type.dtype == dtype else self.cast(a, dtype) for a in scalars])
        else:
            wanted = op.operand_dtypes([a.type for a in node.args], result)
            args = tuple([self.cast(a, dtype) for a, dtype in zip(scalars, wanted, strict=True)])
        ty = result if not result.shape else Type.of(result.dtype)
        let = Let(op, args, ty, node.params, node.name, self.site)
        self.body.append(let)
        return let

    def compute(self, name: str, *args: Any) -> Let:
        """An op on scalars of one dtype."""
        return self.emit(Let(OPS[name], args, args[-1].type, NO_PARAMS, None, self.site))

    def store(self, buffer: Buffer, index: Index, value: Any, accumulate: bool = False) -> None:
        if accumulate and buffer.dtype[0] != "f":
            # Integers wrap around: C's own += would not.
            value = self.compute("add", self.emit(Load(buffer, index, None, self.site)), value)
            accumulate = False
        self.emit(Store(buffer, index, value, "add" if accumulate else None, self.site))

    def _array(self, node: Any) -> None:
        values = [self.value(a) for a in node.args]
        buffer = self.temp(node.type, node.name)
        with self.loops(node.type.shape) as at:
            result = self._apply(node.op, [self.read(v, at) for v in values], node)
            result.name = node.name
            self.store(buffer, tuple(at), result)
        self.env[id(node)] = View.whole(buffer)

    def copy(self, value: Any, ty: Type, name: str | None = None) -> Buffer:
        """The array in memory of its own."""
        buffer = self.temp(ty, name)
        with self.loops(ty.shape) as at:
            self.store(buffer, tuple(at), self.cast(self.read(value, at), ty.dtype))
        return buffer

    def _output(self, node: Any, label: str) -> Buffer:
        value = self.value(node)
        self.site = node.site
        if not node.type.shape:
            buffer = Buffer(label, node.type.dtype, (), "output")
            self.emit(Store(buffer, (), value, None, node.site))
            return buffer
        if isinstance(value, View) and value.is_whole and value.buffer.memory.storage == "temp":
            memory = value.buffer.memory
            memory.storage, memory.name = "output", label
            return value.buffer
        buffer = self.copy(value, node.type, label)
        buffer.storage = "output"
        return buffer

    # -- views
    def transpose(self, node: Any) -> None:
        x, axes = self.value(node.args[0]), node.params["axes"]
        table = [(0, axes.index(k), 1) for k in range(len(axes))]
        self._move(node, x, table)

    def broadcast(self, node: Any) -> None:
        x, shape = self.value(node.args[0]), node.type.shape
        if not isinstance(x, (View, Splat)):
            self.env[id(node)] = Splat(x, shape)
            return
        lead = len(shape) - len(x.shape)
        table = [
            (0, None, 0) if isinstance(dim, int) and dim == 1 else (0, lead + k, 1)
            for k, dim in enumerate(x.shape)
        ]
        self._move(node, x, table)

    def slice(self, node: Any) -> None:
        x = self.value(node.args[0])
        table: list[tuple[Dim, int | None, Dim]] = []
        k = 0
        for e in extents(node.args[0].type.shape, node.params["index"]):
            table.append((e.start, k, e.step) if e.kept else (e.start, None, 0))
            k += e.kept
        self._move(node, x, table)

    def _move(self, node: Any, x: Any, table: Sequence[tuple[Dim, int | None, Dim]]) -> None:
        shape = node.type.shape
        if isinstance(x, Splat):
            self.env[id(node)] = Splat(x.scalar, shape) if shape else x.scalar
            return
        view = x.through(table, shape)
        self.env[id(node)] = (
            view if shape else self.emit(Load(view.buffer, view.index(()), node.name, self.site))
        )

    def reshape(self, node: Any) -> None:
        x, shape = self.value(node.args[0]), node.type.shape
        if not isinstance(x, View):
            scalar = x.scalar if isinstance(x, Splat) else x
            self.env[id(node)] = Splat(scalar, shape) if shape else scalar
            return
        old = [(k, d) for k, d in enumerate(x.shape) if not (isinstance(d, int) and d == 1)]
        new = [(k, d) for k, d in enumerate(shape) if not (isinstance(d, int) and d == 1)]
        if [d for _, d in old] == [d for _, d in new]:
            table: list[tuple[Dim, int | None, Dim]] = [(0, None, 0)] * len(x.shape)
            for (k, _), (j, _) in zip(old, new, strict=True):
                table[k] = (0, j, 1)
            self._move(node, x, table)
            return
        buffer = x.buffer if x.is_whole else self.copy(x, node.args[0].type, node.name)
        memory = buffer.memory
        alias = Buffer(memory.name, memory.dtype, shape, memory.storage, base=memory)
        self.env[id(node)] = View.whole(alias)

    def concatenate(self, node: Any) -> None:
        axis = node.params["axis"]
        buffer = self.temp(node.type, node.name)
        start: Dim = 0
        for part in node.args:
            value = self.value(part)
            with self.loops(part.type.shape) as at:
                index = list(at)
                index[axis] = Affine(start).plus(index[axis])
                self.store(buffer, tuple(index), self.cast(self.read(value, at), buffer.dtype))
            start = add(start, part.type.shape[axis])
        self.env[id(node)] = View.whole(buffer)

    def stack(self, node: Any) -> None:
        axis = node.params["axis"]
        buffer = self.temp(node.type, node.name)
        for k, part in enumerate(node.args):
            value = self.value(part)
            with self.loops(part.type.shape) as at:
                index = (*at[:axis], Affine(k), *at[axis:])
                self.store(buffer, index, self.cast(self.read(value, at), buffer.dtype))
        self.env[id(node)] = View.whole(buffer)

    # -- updates of a part
    def _base(self, node: Any, others: Sequence[Any]) -> Buffer:
        """The buffer that holds operand 0 and may be written: its own if nothing reads that later, else a copy."""
        acc = node.args[0]
        value = self.value(acc)
        root = self.root.get(id(acc), id(acc))
        free = (
            isinstance(value, View)
            and value.is_whole
            and value.buffer.base is None
            and value.buffer.storage == "temp"
            and self.last.get(root) == self.position
            and all(self.root.get(id(v), id(v)) != root for v in others)
        )
        if free:
            if node.name:
                value.buffer.name = node.name
            return value.buffer
        return self.copy(value, node.type, node.name or acc.name)

    def slice_update(self, node: Any, kind: str) -> None:
        buffer = self._base(node, node.args[1:])
        value = self.value(node.args[1])
        spans = extents(node.type.shape, node.params["index"])
        part = [e.length for e in spans if e.kept]
        with self.loops(part) as at:
            rest = iter(at)
            index = tuple(
                Affine(e.start).plus(next(rest).times(e.step)) if e.kept else Affine(e.start)
                for e in spans
            )
            x = self.cast(self.read(value, at), buffer.dtype)
            self.store(buffer, index, x, accumulate=kind == "add")
        self.env[id(node)] = View.whole(buffer)

    # -- integer arrays
    def _positions(
        self, node: Any, arrays: Sequence[Any], axis: int
    ) -> list[tuple[Any, Dim, bool, bool]]:
        """Per index array: its value, the length of its axis, whether to check it at its use, whether it may be negative."""
        out: list[tuple[Any, Dim, bool, bool]] = []
        for k, a in enumerate(arrays):
            dim = node.args[0].type.shape[axis + k]
            if a.op is CONST:
                array = np.asarray(a.params["value"]).astype(np.int64)
                if isinstance(dim, int):
                    if array.size and (array.min() < -dim or array.max() >= dim):
                        raise ShapeError(
                            f"an index needs to lie in an axis of {dim} elements", site=node.site
                        )
                    array = np.where(array < 0, array + dim, array)
                elif array.size:
                    low, high = int(array.min()), int(array.max())
                    for number in [n for n in (low, high) if n < 0 or n == high]:
                        self._check_early(constant(number, "i64"), dim, (number, dim))
                table = constant(array, "i64", a.name)
                value = (
                    table if not a.type.shape else self._table(array, table.type, a.name or "at")
                )
                wrap = bool(array.size and array.min() < 0)
                out.append((value, dim, False, wrap))
                continue
            value = self.value(a)
            early = a.op is PARAM
            if early:
                self._check_early(value, dim, (id(a), dim), a.type.shape)
            out.append((value, dim, not early, True))
        return out

    def _check_early(self, value: Any, dim: Dim, key: Any, shape: Shape = ()) -> None:
        """Check indices in the prologue, once."""
        if key in self.checked:
            return
        self.checked.add(key)
        saved, self.body = self.body, self.prologue
        with self.loops(shape) as at:
            self.emit(Check(self.cast(self.read(value, at), "i64"), dim, self.site))
        self.body = saved

    def _place(
        self, positions: Sequence[tuple[Any, Dim, bool, bool]], at: Sequence[Affine]
    ) -> list[Affine]:
        place = []
        for value, dim, late, wrap in positions:
            i = self.cast(self.read(value, at), "i64")
            if late:
                self.emit(Check(i, dim, self.site))
            if i.op is CONST:
                number = int(i.params["value"])
                place.append(Affine(add(number, dim) if number < 0 else number))
                continue
            if wrap:
                size = self.lengths.get(dim)
                if size is None:
                    size = constant(dim, "i64") if isinstance(dim, int) else Extent(dim)
                    self.lengths[dim] = size
                i = self.emit(Let(WRAP, (i, size), i.type, NO_PARAMS, None, self.site))
            place.append(Affine.of(i))
        return place

    def gather(self, node: Any) -> None:
        x, *arrays = node.args
        axis = node.params["axis"]
        positions = self._positions(node, arrays, axis)
        width = node.type.ndim - (x.type.ndim - len(arrays))
        value = self.value(x)
        if not node.type.shape:
            self.env[id(node)] = self.read(value, self._place(positions, []))
            return
        buffer = self.temp(node.type, node.name)
        with self.loops(node.type.shape) as at:
            place = self._place(positions, at[axis : axis + width])
            element = self._element(value, [*at[:axis], *place, *at[axis + width :]])
            self.store(buffer, tuple(at), element)
        self.env[id(node)] = View.whole(buffer)

    def _element(self, value: Any, coordinates: Sequence[Affine]) -> Any:
        if not isinstance(value, View):
            return value.scalar if isinstance(value, Splat) else value
        return self.emit(Load(value.buffer, value.index(coordinates), None, self.site))

    def scatter_add(self, node: Any) -> None:
        acc, v, *arrays = node.args
        axis = node.params["axis"]
        positions = self._positions(node, arrays, axis)
        buffer = self._base(node, [v, *arrays])
        value = self.value(v)
        shape = self._gathered_shape(acc.type.shape, arrays, axis)
        width = len(shape) - (acc.type.ndim - len(arrays))
        with self.loops(shape, "reduction") as at:
            x = self.cast(self.read(value, at), buffer.dtype)
            place = self._place(positions, at[axis : axis + width])
            self.store(buffer, (*at[:axis], *place, *at[axis + width :]), x, accumulate=True)
        self.env[id(node)] = View.whole(buffer)

    @staticmethod
    def _gathered_shape(shape: Shape, arrays: Sequence[Any], axis: int) -> Shape:
        from gradgen.types import broadcast

        middle = broadcast("index arrays", *(a.type.shape for a in arrays))
        return (*shape[:axis], *middle, *shape[axis + len(arrays) :])

    # -- reductions
    def reduce(self, node: Any, kind: str) -> None:
        x = node.args[0]
        value, axes, dtype = self.value(x), node.params["axes"], node.type.dtype
        kept = tuple(d for k, d in enumerate(x.type.shape) if k not in axes)
        if kind == "logsumexp":
            result = self._logsumexp(value, x.type.shape, axes, Type.of(dtype, kept), node.name)
        else:
            result = self.reduction(
                kind, x.type.shape, axes, Type.of(dtype, kept), node.name,
                lambda at, _: self.cast(self.read(value, at), dtype), value,
            )  # fmt: skip
        if node.params.get("keepdims") and isinstance(result, View):
            j = iter(range(len(node.type.shape)))
            places = [next(j) for _ in node.type.shape]
            table = [(0, p, 1) for p in places if p not in axes]
            result = result.through(table, node.type.shape)
        elif node.params.get("keepdims") and node.type.shape:
            result = Splat(result, node.type.shape)
        self.env[id(node)] = result

    def reduction(
        self,
        kind: str,
        shape: Shape,
        axes: Sequence[int],
        ty: Type,
        name: str | None,
        element: Any,
        like: Any = None,
    ) -> Any:
        """A scalar or View: elements over `axes` combined; `element(coordinates, kept coordinates)` emits one of them.

        Loops run in the order of `like`'s memory, so that it is streamed: a scalar accumulates over trailing reduced axes,
        memory over leading ones.
        """
        dtype = ty.dtype
        order = _memory_order(like, len(shape))
        tail = len(order)
        while tail and order[tail - 1] in axes:
            tail -= 1
        head, inner = order[:tail], order[tail:]
        direct = all(k not in axes for k in head)
        start = _start(kind, dtype)
        kept = [k for k in range(len(shape)) if k not in axes]
        out = self.temp(ty, name) if ty.shape else None
        if out is not None and not direct:
            with self.loops(ty.shape) as at:
                self.store(out, tuple(at), start)

        def combine(buffer: Buffer, index: Index, x: Any) -> None:
            if kind == "sum":
                self.store(buffer, index, x, accumulate=True)
                return
            old = self.emit(Load(buffer, index, None, self.site))
            op = {"prod": "mul", "max": "maximum", "min": "minimum"}[kind]
            self.store(buffer, index, self.compute(op, x, old))

        coordinates: list[Affine] = [ZERO] * len(shape)
        if out is None:
            acc = self.local(dtype, name or ("total" if kind == "sum" else kind))
            self.store(acc, (), start)
            with self.loops([shape[k] for k in order], "reduction") as at:
                for k, c in zip(order, at, strict=True):
                    coordinates[k] = c
                combine(acc, (), element(coordinates, []))
            return self.emit(Load(acc, (), name, self.site))
        with self.loops([shape[k] for k in head], "parallel" if direct else "reduction") as at:
            for k, c in zip(head, at, strict=True):
                coordinates[k] = c
            place = tuple(coordinates[k] for k in kept)
            if inner:
                acc = self.local(dtype, name or ("total" if kind == "sum" else kind))
                self.store(acc, (), start)
                with self.loops([shape[k] for k in inner], "reduction") as rest:
                    for k, c in zip(inner, rest, strict=True):
                        coordinates[k] = c
                    combine(acc, (), element(coordinates, place))
                x = self.emit(Load(acc, (), None, self.site))
            else:
                x = element(coordinates, place)
            if direct:
                self.store(out, place, x)
            else:
                combine(out, place, x)
        return View.whole(out)

    def _logsumexp(
        self, value: Any, shape: Shape, axes: Sequence[int], ty: Type, name: str | None
    ) -> Any:
        dtype = ty.dtype

        def plain(at: Any, _: Any) -> Any:
            return self.cast(self.read(value, at), dtype)

        top = self.reduction("max", shape, axes, ty, "top", plain, value)
        if ty.shape:
            finite = self.temp(ty, "top")
            with self.loops(ty.shape) as at:
                x = self.read(top, at)
                self.store(finite, tuple(at), self._finite(x))
            top = View.whole(finite)
        else:
            top = self._finite(top)

        def term(at: Any, place: Any) -> Any:
            x = plain(at, place)
            return self.compute("exp", self.compute("sub", x, self.read(top, place)))

        total = self.reduction("sum", shape, axes, ty, "total", term, value)
        if not ty.shape:
            result = self.compute("add", self.compute("log", total), top)
            result.name = name
            return result
        out = self.temp(ty, name)
        with self.loops(ty.shape) as at:
            log = self.compute("log", self.read(total, at))
            self.store(out, tuple(at), self.compute("add", log, self.read(top, at)))
        return View.whole(out)

    def _finite(self, x: Any) -> Let:
        return self.emit(Let(FINITE, (x,), x.type, NO_PARAMS, None, self.site))

    def recurrence(self, node: Any) -> None:
        """r_i = b_i + c_i r_{i-1} along the last axis; see ops.reduce.recurrence."""
        a, b = (self.value(v) for v in node.args)
        shape, dtype, p = node.type.shape, node.type.dtype, node.params
        n = shape[-1]
        out = self.temp(node.type, node.name)
        initial = constant(p["initial"], dtype)
        with self.loops(shape[:-1]) as at:
            state = self.local(dtype, "state")
            # state: what is added to b_i. With lag it is a_{i-1} r_{i-1}; else r_{i-1}, still to be multiplied by a_i.
            self.store(state, (), initial)

            def step(i: Affine, first: bool) -> None:
                x = self.cast(self.read(b, [*at, i]), dtype)
                old = self.emit(Load(state, (), None, self.site))
                if not p["lag"] and not first:
                    old = self.compute("mul", self.cast(self.read(a, [*at, i]), dtype), old)
                r = self.compute("add", x, old)
                self.store(out, (*at, i), r)
                if p["lag"]:
                    r = self.compute("mul", self.cast(self.read(a, [*at, i]), dtype), r)
                self.store(state, (), r)

            def position(t: Affine) -> Affine:
                return Affine(add(n, -1)).plus(t.times(-1)) if p["reverse"] else t

            if p["lag"]:
                with self.loops([n], "sequential") as (t,):
                    step(position(t), False)
            else:
                later = max0(add(n, -1))
                with self.loops([add(n, mul(later, -1))], "sequential") as (t,):
                    step(position(t), True)
                with self.loops([later], "sequential") as (t,):
                    step(position(t.plus(Affine(1))), False)
        self.env[id(node)] = View.whole(out)

    # -- contractions
    def outer(self, node: Any) -> None:
        a, b = (self.value(v) for v in node.args)
        dtype = node.type.dtype
        out = self.temp(node.type, node.name)
        with self.loops(node.type.shape) as at:
            x = self.cast(self.read(a, at[:1]), dtype)
            y = self.cast(self.read(b, at[1:]), dtype)
            self.store(out, tuple(at), self.compute("mul", x, y))
        self.env[id(node)] = View.whole(out)

    def matmul(self, node: Any) -> None:
        """Loop orders that stream both operands; the packed kernel for large products will be chosen here."""
        a, b = node.args
        left, right = self.value(a), self.value(b)
        dtype = node.type.dtype
        k = a.type.shape[-1]
        m = a.type.shape[-2:-1]
        n = b.type.shape[-1:] if b.type.ndim > 1 else ()
        batch = node.type.shape[: node.type.ndim - len(m) - len(n)]

        def product(
            at: Sequence[Affine], i: Sequence[Affine], t: Affine, j: Sequence[Affine]
        ) -> Any:
            x = self.read(left, [*at, *i, t])
            y = self.read(right, [*at, t, *j])
            return self.compute("mul", self.cast(x, dtype), self.cast(y, dtype))

        if not node.type.shape:
            acc = self.local(dtype, node.name or "dot")
            self.store(acc, (), constant(0, dtype))
            with self.loops([k], "reduction") as (t,):
                self.store(acc, (), product([], [], t, []), accumulate=True)
            self.env[id(node)] = self.emit(Load(acc, (), node.name, self.site))
            return
        out = self.temp(node.type, node.name)
        a_rows = not m or _last_contiguous(left, a.type.ndim - 1)  # a is read along k
        b_columns = bool(n) and not _last_contiguous(right, b.type.ndim - 2)  # b is read along n
        if not b_columns and (a_rows or n):
            with self.loops((*batch, *m, *n)) as at:
                head, i, j = (
                    at[: len(batch)],
                    at[len(batch) : len(batch) + len(m)],
                    at[len(batch) + len(m) :],
                )
                acc = self.local(dtype, node.name or "dot")
                self.store(acc, (), constant(0, dtype))
                with self.loops([k], "reduction") as (t,):
                    self.store(acc, (), product(head, i, t, j), accumulate=True)
                self.store(out, tuple(at), self.emit(Load(acc, (), None, self.site)))
        else:
            with self.loops((*batch, *m) if m and a_rows else batch) as at:
                head = at[: len(batch)]
                inside = (*m, *n) if len(at) == len(batch) else n
                with self.loops(inside) as rest:
                    self.store(out, (*at, *rest), constant(0, dtype))
                with self.loops([k], "reduction") as (t,), self.loops(inside) as rest:
                    i = at[len(batch) :] or (rest[: len(m)] if m else [])
                    j = rest[len(rest) - len(n) :] if n else []
                    self.store(out, (*at, *rest), product(head, i, t, j), accumulate=True)
        self.env[id(node)] = View.whole(out)


def _start(kind: str, dtype: str) -> Any:
    if kind in ("sum", "prod"):
        return constant(0 if kind == "sum" else 1, dtype)
    if dtype == "bool":
        return constant(kind == "min", dtype)
    if dtype[0] == "f":
        return constant(float("-inf") if kind == "max" else float("inf"), dtype)
    info = np.iinfo(DTYPES[dtype])
    return constant(info.min if kind == "max" else info.max, dtype)


def _memory_order(value: Any, ndim: int) -> list[int]:
    """A view's axes in the order of its memory, axes along which it repeats first."""
    if not isinstance(value, View):
        return list(range(ndim))
    found = [axis for _, axis, _ in value.axes if axis is not None]
    return [k for k in range(ndim) if k not in found] + found


def _last_contiguous(value: Any, axis: int) -> bool:
    """Whether neighbours along `axis` are neighbours in memory (or the array has no memory)."""
    if not isinstance(value, View) or not value.axes:
        return True
    return value.axes[-1][1] == axis


__all__ = ["LEAVES", "Lowering", "Splat", "View", "lower"]
