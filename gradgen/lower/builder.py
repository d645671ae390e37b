"""Making statements of the loop IR: nests, scalars in the right dtype, loads with broadcasting, stores.

`body` is the block that statements go to; `loops` opens a nest for a while. Leaves of the array IR are scalars as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gradgen.errors import EmitError
from gradgen.ir import CONST, OPS, SIZE, Function, Op
from gradgen.lower.kernel import (
    NO_PARAMS,
    ZERO,
    Affine,
    Buffer,
    Declare,
    Index,
    Let,
    Load,
    Loop,
    Store,
    Var,
)
from gradgen.lower.views import Splat, View
from gradgen.sizes import Dim
from gradgen.types import DTYPES, Type
from gradgen.value import constant

_VIEWS = frozenset(("transpose", "slice", "reshape", "broadcast", "barrier"))


class Builder:
    """The statements made so far, and how to make more: what every part of lowering uses."""

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
        self.gemm = False  # whether large products of matrices become a Gemm
        self.apart = False  # whether a Function of a few numbers becomes a program of scalars
        self.root: dict[int, int] = {}
        self.last: dict[int, float] = {}
        self.own: set[int] = set()
        self.given = {id(v) for v in fn.inputs}
        self.inner = False  # inside a loop's body or a branch
        self.declared: list[list[Any]] = [[]]
        self.bundles: dict[int, list[Any]] = {}
        self.local_letters: dict[str, Dim] = {}  # numbers of steps, and the most that each can be
        self.tape = False  # whether the caller says how many steps tapes have room for

    def statements(self, body: Sequence[Any]) -> None:
        """Lower the statements of a Function or region."""
        raise AssertionError("Lowering knows how")

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
        self.own = {id(node) for node in self.fn.body}

    def is_last_read(self, node: Any) -> bool:
        """Whether the statement at hand is the last to read a value that this Function or region made, or owns."""
        root = self.root.get(id(node), id(node))
        return root in self.own and self.last.get(root) == self.position

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

    def copy(self, value: Any, ty: Type, name: str | None = None) -> Buffer:
        """The array in memory of its own."""
        buffer = self.temp(ty, name)
        with self.loops(ty.shape) as at:
            self.store(buffer, tuple(at), self.cast(self.read(value, at), ty.dtype))
        return buffer
