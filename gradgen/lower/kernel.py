"""The loop IR, on one screen: a Kernel is a list of statements over buffers.

    Loop(var, extent, kind, body)    kind: parallel (iterations independent), reduction (they only add up), sequential
    Let(op, args)                    one scalar, by one elementwise op; Load(buffer, index) one scalar from memory
    Store(buffer, index, value, accumulate)    buffer[index] = value, or += value with accumulate
    Declare(buffer)                  a buffer that lives in this block only: a scalar variable or a small array
    Check(value, extent)             leave the kernel with INDEX unless -extent <= value < extent
    If(condition, then, otherwise); Call(part)       a straight-line part moved into a function of its own

Scalars are SSA: a Let or Load is both the statement and its value; its args are Lets, Loads and the 0-d leaves of the array IR
(`const`, `size`, `param`). There are no deep expressions: nothing here recurses over the graph, only over the depth of a nest.
An index has one Affine per axis of the buffer: a constant and coefficients (sizes, symbolic or not) of loop variables and of
scalars that were loaded (gather). `kernel.prologue` checks index arrays before anything is written.
Every statement knows the user's site; its third element says forward or reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradgen.errors import GradgenError
from gradgen.ir import LEAVES, Op, Requirement
from gradgen.sites import Site, cite
from gradgen.sizes import Dim, add, mul, product
from gradgen.types import Shape, Type


class Var:
    """A loop variable; the printer chooses its name."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"v{id(self) % 997}"


class Affine:
    """constant + sum of coefficient * term; terms are Vars and integer scalars. Immutable."""

    __slots__ = ("constant", "terms")

    def __init__(self, constant: Dim = 0, terms: tuple[tuple[Any, Dim], ...] = ()) -> None:
        self.constant = constant
        self.terms = terms

    @staticmethod
    def of(term: Any) -> Affine:
        return Affine(0, ((term, 1),))

    def plus(self, other: Affine) -> Affine:
        if not other.terms:
            return Affine(add(self.constant, other.constant), self.terms)
        total: dict[int, tuple[Any, Dim]] = {id(t): (t, c) for t, c in self.terms}
        for t, c in other.terms:
            known = total.get(id(t))
            total[id(t)] = (t, c if known is None else add(known[1], c))
        kept = tuple((t, c) for t, c in total.values() if not (isinstance(c, int) and c == 0))
        return Affine(add(self.constant, other.constant), kept)

    def times(self, factor: Dim) -> Affine:
        if isinstance(factor, int):
            if factor == 1:
                return self
            if factor == 0:
                return ZERO
        return Affine(mul(self.constant, factor), tuple((t, mul(c, factor)) for t, c in self.terms))

    def substitute(self, table: dict[int, Any]) -> Affine:
        """Terms replaced by Affines or other terms where the table (by id) has them."""
        if not any(id(t) in table for t, _ in self.terms):
            return self
        total = Affine(self.constant)
        for t, c in self.terms:
            new = table.get(id(t), t)
            total = total.plus((new if isinstance(new, Affine) else Affine.of(new)).times(c))
        return total

    def key(self) -> Any:
        return self.constant, tuple((id(t), c) for t, c in self.terms)


ZERO = Affine()
Index = tuple[Affine, ...]


@dataclass(eq=False)
class Buffer:
    """Memory for an array in row-major order.

    storage: input, output, const (data), temp (not placed yet), local (declared in a block).
    base: the buffer whose memory this one shares under another shape.
    """

    name: str
    dtype: str
    shape: Shape
    storage: str = "temp"
    base: Buffer | None = None
    data: Any = None
    site: Site | None = None

    @property
    def memory(self) -> Buffer:
        """The buffer that owns the memory."""
        return self if self.base is None else self.base

    @property
    def size(self) -> Dim:
        """Number of elements."""
        return product(self.shape)

    def strides(self) -> Shape:
        """Elements between neighbours along each axis."""
        out: list[Dim] = [1] * len(self.shape)
        for k in range(len(self.shape) - 2, -1, -1):
            out[k] = mul(out[k + 1], self.shape[k + 1])
        return tuple(out)

    def __repr__(self) -> str:
        return f"{self.name}:{Type.of(self.dtype, self.shape)}"


class Let:
    """A scalar: `op(*args, **params)`, in the dtype of `type`. Looks like a Node, so that an op's spelling can read it."""

    __slots__ = ("args", "name", "op", "params", "site", "type")

    def __init__(
        self, op: Op, args: tuple[Any, ...], type: Type, params: dict[str, Any],
        name: str | None = None, site: Site | None = None,
    ) -> None:  # fmt: skip
        self.op = op
        self.args = args
        self.type = type
        self.params = params
        self.name = name
        self.site = site


NO_PARAMS: dict[str, Any] = {}


class Load:
    """A scalar from memory: `buffer[index]`."""

    __slots__ = ("buffer", "index", "name", "site", "type")
    op = None
    params = NO_PARAMS

    def __init__(
        self, buffer: Buffer, index: Index, name: str | None = None, site: Site | None = None
    ) -> None:
        self.buffer = buffer
        self.index = index
        self.type = Type.of(buffer.dtype)
        self.name = name
        self.site = site


class Store:
    """`buffer[index] = value`, or `+= value` where accumulate is "add"."""

    __slots__ = ("accumulate", "buffer", "index", "site", "value")

    def __init__(
        self,
        buffer: Buffer,
        index: Index,
        value: Any,
        accumulate: str | None = None,
        site: Site | None = None,
    ) -> None:
        self.buffer = buffer
        self.index = index
        self.value = value
        self.accumulate = accumulate
        self.site = site


class Loop:
    """`for var in range(extent)`."""

    __slots__ = ("body", "extent", "kind", "site", "var")

    def __init__(
        self, var: Var, extent: Dim, kind: str, body: list[Any], site: Site | None = None
    ) -> None:
        self.var = var
        self.extent = extent
        self.kind = kind
        self.body = body
        self.site = site


class Declare:
    __slots__ = ("buffer", "site")

    def __init__(self, buffer: Buffer, site: Site | None = None) -> None:
        self.buffer = buffer
        self.site = site


class Check:
    __slots__ = ("extent", "site", "value")

    def __init__(self, value: Any, extent: Dim, site: Site | None = None) -> None:
        self.value = value
        self.extent = extent
        self.site = site


class If:
    __slots__ = ("condition", "otherwise", "site", "then")

    def __init__(
        self, condition: Any, then: list[Any], otherwise: list[Any], site: Site | None = None
    ) -> None:
        self.condition = condition
        self.then = then
        self.otherwise = otherwise
        self.site = site


class Call:
    """A part of the kernel that is printed as a function of its own; scalars do not cross its border."""

    __slots__ = ("body", "site")

    def __init__(self, body: list[Any], site: Site | None = None) -> None:
        self.body = body
        self.site = site


@dataclass(eq=False)
class Kernel:
    """inputs: the array IR's inputs in order, each with its Buffer, or None where it is a scalar passed by value.

    outputs: a Buffer each (0-d for scalars). prologue: checks, before anything is written.
    placement: by id, where a temporary lives: ("stack", 0) or ("work", its offset in bytes); set by the last pass, with
    work_bytes, the size of the workspace.
    """

    name: str
    inputs: list[tuple[Any, Buffer | None]]
    outputs: list[Buffer]
    body: list[Any]
    prologue: list[Any] = field(default_factory=list)
    requires: tuple[Requirement, ...] = ()
    placement: dict[int, tuple[str, Dim]] = field(default_factory=dict)
    work_bytes: Dim = 0

    def with_body(self, body: list[Any]) -> Kernel:
        """The same interface with another body: what a pass returns."""
        return Kernel(
            self.name,
            self.inputs,
            self.outputs,
            body,
            self.prologue,
            self.requires,
            self.placement,
            self.work_bytes,
        )

    def buffers(self) -> list[Buffer]:
        """Buffers in use besides the inputs and outputs, in the order of first use; only those that own memory."""
        seen = {id(b) for _, b in self.inputs if b is not None} | {
            id(b.memory) for b in self.outputs
        }
        found = []
        for stmt in walk([*self.prologue, *self.body]):
            if isinstance(stmt, (Load, Store, Declare)):
                memory = stmt.buffer.memory
                if id(memory) not in seen:
                    seen.add(id(memory))
                    found.append(memory)
        return found


def blocks(stmt: Any) -> tuple[list[Any], ...]:
    """The lists of statements inside a statement."""
    kind = type(stmt)
    if kind is Loop or kind is Call:
        return (stmt.body,)
    if kind is If:
        return (stmt.then, stmt.otherwise)
    return ()


_COMPOUND = frozenset((Loop, Call, If))


def walk(body: Sequence[Any]) -> Iterator[Any]:
    """Every statement, outer ones before what is inside."""
    stack = [iter(body)]
    while stack:
        for stmt in stack[-1]:
            yield stmt
            if type(stmt) in _COMPOUND:
                stack.append(iter([s for block in blocks(stmt) for s in block]))
                break
        else:
            stack.pop()


def operands(stmt: Any) -> tuple[Any, ...]:
    """The scalars that a statement itself reads (not those of its inner statements); leaves included."""
    kind = type(stmt)
    if kind is Let:
        return stmt.args
    if kind is Load:
        return tuple(t for a in stmt.index for t, _ in a.terms if type(t) is not Var)
    if kind is Store:
        return (stmt.value, *(t for a in stmt.index for t, _ in a.terms if type(t) is not Var))
    if kind is Check:
        return (stmt.value,)
    if kind is If:
        return (stmt.condition,)
    return ()


class Rewriter:
    """Statements rebuilt with variables, scalars and buffers replaced; what does not change is kept as it is.

    table: id of a Var -> Affine or Var; id of a Let or Load -> another scalar.
    access: (buffer, index) -> (buffer, index), for passes that move or shrink buffers.
    """

    def __init__(
        self, table: dict[int, Any] | None = None, access: Callable[..., Any] | None = None
    ) -> None:
        self.table = {} if table is None else table
        self.access = access

    def scalar(self, x: Any) -> Any:
        return self.table.get(id(x), x)

    def where(self, buffer: Buffer, index: Index) -> tuple[Buffer, Index]:
        if self.table and any(a.terms for a in index):
            index = tuple([a.substitute(self.table) for a in index])
        return (buffer, index) if self.access is None else self.access(buffer, index)

    def block(self, body: Sequence[Any]) -> list[Any]:
        return [self.statement(stmt) for stmt in body]

    def statement(self, stmt: Any) -> Any:
        kind = type(stmt)
        table = self.table
        if kind is Let:
            for a in stmt.args:
                if id(a) in table:
                    args = tuple([table.get(id(a), a) for a in stmt.args])
                    new: Any = Let(stmt.op, args, stmt.type, stmt.params, stmt.name, stmt.site)
                    table[id(stmt)] = new
                    return new
            return stmt
        if kind is Load:
            buffer, index = self.where(stmt.buffer, stmt.index)
            if buffer is stmt.buffer and index is stmt.index:
                return stmt
            table[id(stmt)] = new = Load(buffer, index, stmt.name, stmt.site)
            return new
        if kind is Store:
            buffer, index = self.where(stmt.buffer, stmt.index)
            return Store(buffer, index, self.scalar(stmt.value), stmt.accumulate, stmt.site)
        if kind is Loop:
            return Loop(stmt.var, stmt.extent, stmt.kind, self.block(stmt.body), stmt.site)
        if kind is Check:
            return Check(self.scalar(stmt.value), stmt.extent, stmt.site)
        if kind is If:
            return If(
                self.scalar(stmt.condition),
                self.block(stmt.then),
                self.block(stmt.otherwise),
                stmt.site,
            )
        return Call(self.block(stmt.body), stmt.site) if kind is Call else stmt


def verify(kernel: Kernel, after: str = "") -> None:
    """Scalars are defined before use, once, in a block that encloses the use; indices fit ranks. GradgenError if not."""
    where = f" after {after}" if after else ""

    def fail(text: str) -> None:
        raise GradgenError(f"internal: {text} in the loops of {kernel.name}{where}")

    defined: set[int] = set()
    declared: set[int] = set()

    def check(body: Sequence[Any]) -> None:
        here: list[int] = []
        local: list[int] = []
        for stmt in body:
            kind = type(stmt)
            for a in operands(stmt):
                if id(a) not in defined and getattr(a, "op", None) not in LEAVES:
                    fail(f"{kind.__name__} reads a scalar before it is defined")
            if kind is Load or kind is Store:
                if len(stmt.index) != len(stmt.buffer.shape):
                    fail(f"an index of {len(stmt.index)} axes into {stmt.buffer}")
                for a in stmt.index:
                    for t, _ in a.terms:
                        if type(t) is Var and id(t) not in defined:
                            fail(f"{stmt.buffer} is indexed by a variable of another loop")
                if stmt.buffer.memory.storage == "local" and id(stmt.buffer.memory) not in declared:
                    fail(f"{stmt.buffer} is used outside of its block")
                if kind is Store and stmt.buffer.memory.storage in ("input", "const"):
                    fail(f"{stmt.buffer} is written")
                if kind is Store and stmt.value.type.dtype != stmt.buffer.dtype:
                    fail(f"a {stmt.value.type} is stored in {stmt.buffer}")
            if kind is Let or kind is Load:
                if id(stmt) in defined:
                    fail("a scalar is defined twice")
                defined.add(id(stmt))
                here.append(id(stmt))
            elif kind is Declare:
                declared.add(id(stmt.buffer))
                local.append(id(stmt.buffer))
            elif kind is Loop:
                defined.add(id(stmt.var))
                check(stmt.body)
                defined.discard(id(stmt.var))
            else:
                for block in blocks(stmt):
                    check(block)
        defined.difference_update(here)
        declared.difference_update(local)

    check(kernel.prologue)
    check(kernel.body)


def show(kernel: Kernel) -> str:
    """The Kernel as indented text: what `show("loops")` prints."""
    names: dict[int, str] = {}
    taken: dict[str, int] = {}

    def fresh(thing: Any, hint: str) -> str:
        known = names.get(id(thing))
        if known is None:
            count = taken[hint] = taken.get(hint, 0) + 1
            known = names[id(thing)] = hint if count == 1 else f"{hint}.{count}"
        return known

    def scalar(x: Any) -> str:
        if getattr(x, "op", None) in LEAVES:
            if "value" in x.params:
                return repr(x.params["value"].item())
            return str(x.params["size"]) if "size" in x.params else fresh(x, x.name or "arg")
        return fresh(x, x.name or "%")

    def affine(a: Affine) -> str:
        parts = [
            (fresh(t, "i") if type(t) is Var else scalar(t)) + ("" if c == 1 else f"*({c})")
            for t, c in a.terms
        ]
        if not parts or a.constant != 0:
            parts.append(str(a.constant))
        return " + ".join(parts)

    def place(buffer: Buffer, index: Index) -> str:
        return f"{fresh(buffer, buffer.name)}[{', '.join(map(affine, index))}]"

    lines: list[str] = []

    def emit(depth: int, text: str, site: Site | None = None) -> None:
        lines.append(f"{'  ' * depth + text:<64} {cite(site)}".rstrip())

    def block(body: Sequence[Any], depth: int) -> None:
        for stmt in body:
            kind = type(stmt)
            if kind is Let:
                args = " ".join(map(scalar, stmt.args))
                emit(
                    depth,
                    f"{fresh(stmt, stmt.name or '%')}: {stmt.type.dtype} = {stmt.op} {args}",
                    stmt.site,
                )
            elif kind is Load:
                emit(
                    depth,
                    f"{fresh(stmt, stmt.name or '%')} = {place(stmt.buffer, stmt.index)}",
                    stmt.site,
                )
            elif kind is Store:
                sign = "+=" if stmt.accumulate else "="
                emit(
                    depth,
                    f"{place(stmt.buffer, stmt.index)} {sign} {scalar(stmt.value)}",
                    stmt.site,
                )
            elif kind is Loop:
                emit(depth, f"{stmt.kind} {fresh(stmt.var, 'i')} < {stmt.extent}:", stmt.site)
                block(stmt.body, depth + 1)
            elif kind is Declare:
                emit(depth, f"local {stmt.buffer!r}")
            elif kind is Check:
                emit(depth, f"check {scalar(stmt.value)} < {stmt.extent}", stmt.site)
            elif kind is If:
                emit(depth, f"if {scalar(stmt.condition)}:", stmt.site)
                block(stmt.then, depth + 1)
                emit(depth, "else:")
                block(stmt.otherwise, depth + 1)
            else:
                emit(depth, "part:")
                block(stmt.body, depth + 1)

    heads = [f"{b!r}" if b is not None else f"{v.name}: {v.type}" for v, b in kernel.inputs]
    emit(0, f"{kernel.name}({', '.join(heads)}) -> {', '.join(map(repr, kernel.outputs))}")
    for b in kernel.buffers():
        if b.storage != "local":
            where, offset = kernel.placement.get(id(b), (b.storage, 0))
            emit(1, f"{where} {b!r}" + (f" at {offset}" if where == "work" else ""))
    block(kernel.prologue, 1)
    block(kernel.body, 1)
    return "\n".join(lines)
