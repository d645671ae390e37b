"""The loop IR, on one screen: a Kernel is a list of statements over buffers.

    Loop(var, extent, kind, body)    kind: parallel (iterations independent), reduction (they only add up), sequential;
                                     var runs from `start` up to `extent` by `step`
    Let(op, args)                    one scalar, by one elementwise op; Load(buffer, index) one scalar from memory
    Fold(by, buffer, index, count)   one scalar: neighbours in memory combined in pairs, by addition or another op
    Store(buffer, index, value, accumulate)    buffer[index] = value, or += value with accumulate
    Declare(buffer)                  a buffer that lives in this block only: a scalar variable or a small array
    Gemm(c, a, b, m, n, k)           a product of matrices, each a Window: a place in a buffer and two strides
    Check(value, extent)             leave the kernel with INDEX unless -extent <= value < extent
    Break(value)                     leave the innermost loop unless the value is true
    Routine(name, sizes, reads, writes)         a helper on whole arrays: linear algebra
    Bind(letter, value)              name a number of steps;  Fail(code)  leave the kernel with a code
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

from gradgen.ir import Op, Requirement
from gradgen.sites import Site
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


IOTA = "iota"
TAPE_STEPS = "tape steps"  # no letter of a spec
FOREVER = 2**62  # the extent of a loop that only a Break ends


@dataclass(eq=False)
class Buffer:
    """Memory for an array in row-major order.

    storage: input, output, const (data), temp (not placed yet), local (declared in a block). Data may be IOTA: element k is k,
    without memory: how the number of an iteration becomes a scalar.
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


class Fold:
    """A scalar: `count` elements of a buffer from `index` on (along its last axis), combined by `by` in pairs.

    Pairs are k and k + count/2, count a power of two, until one element is left.
    """

    __slots__ = ("buffer", "by", "count", "index", "name", "site", "type")
    op = None
    params = NO_PARAMS

    def __init__(
        self, by: Op, buffer: Buffer, index: Index, count: int, site: Site | None = None
    ) -> None:
        self.by = by
        self.buffer = buffer
        self.index = index
        self.count = count
        self.type = Type.of(buffer.dtype)
        self.name: str | None = None
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


class Clip:
    """The extent of a loop over one block of another loop: min(size, total - base), for a base below total.

    unit: only so many that they are a multiple of it.
    """

    __slots__ = ("base", "size", "total", "unit")

    def __init__(self, base: Affine, size: Dim, total: Dim, unit: int = 1) -> None:
        self.base = base
        self.size = size
        self.total = total
        self.unit = unit

    def __str__(self) -> str:
        return f"min({self.size}, {self.total} - block)"


class Loop:
    """`for var in range(start, extent, step)`."""

    __slots__ = ("body", "extent", "kind", "site", "start", "step", "var")

    def __init__(
        self,
        var: Var,
        extent: Dim | Clip,
        kind: str,
        body: list[Any],
        site: Site | None = None,
        start: Dim | Clip = 0,
        step: int = 1,
    ) -> None:
        self.var = var
        self.extent = extent
        self.kind = kind
        self.body = body
        self.site = site
        self.start = start
        self.step = step

    def with_body(self, body: list[Any]) -> Loop:
        """The same loop around other statements."""
        return Loop(self.var, self.extent, self.kind, body, self.site, self.start, self.step)


class Declare:
    """A buffer of this block; each of its elements is `fill`, if that is given."""

    __slots__ = ("buffer", "fill", "site")

    def __init__(self, buffer: Buffer, site: Site | None = None, fill: float | None = None) -> None:
        self.buffer = buffer
        self.site = site
        self.fill = fill


@dataclass(frozen=True, eq=False)
class Window:
    """A matrix in a buffer: the place of its first element, and how many elements apart rows and columns are."""

    buffer: Buffer
    index: Index
    rows: Dim
    columns: Dim


class Gemm:
    """c = a @ b for windows of m x k, k x n and m x n elements; c overlaps neither a nor b."""

    __slots__ = ("a", "b", "c", "k", "m", "n", "site")

    def __init__(
        self, c: Window, a: Window, b: Window, m: Dim, n: Dim, k: Dim, site: Site | None = None
    ) -> None:
        self.c, self.a, self.b = c, a, b
        self.m, self.n, self.k = m, n, k
        self.site = site


@dataclass(frozen=True, eq=False)
class Patch:
    """The elements of a buffer under its first `lead` coordinates, one after another in memory: what a routine gets."""

    buffer: Buffer
    index: Index
    lead: int


class Routine:
    """A call of a helper in C on whole arrays: name(sizes, reads, writes).

    meaning: arrays of the reads, and of the first write if `updates` -> the array of the first write; the other writes are
    room to work in.  fails: it returns not 0 for a singular matrix; the kernel then leaves with SINGULAR.
    """

    __slots__ = ("dtype", "fails", "meaning", "name", "reads", "site", "sizes", "updates", "writes")

    def __init__(
        self, name: str, sizes: tuple[Dim, ...], reads: tuple[Patch, ...], writes: tuple[Patch, ...],
        meaning: Any, updates: bool = False, fails: bool = False, site: Site | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.sizes = sizes
        self.reads = reads
        self.writes = writes
        self.meaning = meaning
        self.updates = updates
        self.fails = fails
        self.dtype = reads[0].buffer.dtype
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


class Break:
    """Leave the innermost loop unless the value is true."""

    __slots__ = ("site", "value")

    def __init__(self, value: Any, site: Site | None = None) -> None:
        self.value = value
        self.site = site


class Fail:
    """Leave the kernel with a code of its header.

    "STEPS": a loop of more than max_steps; "DIVERGED": a solver's; "TAPE": a loop of more than its tape has room for.
    """

    __slots__ = ("code", "site")

    def __init__(self, code: str, site: Site | None = None) -> None:
        self.code = code
        self.site = site


class Bind:
    """From here on the letter of a size has this value: the number of steps that a while took."""

    __slots__ = ("letter", "site", "value")

    def __init__(self, letter: str, value: Any, site: Site | None = None) -> None:
        self.letter = letter
        self.value = value
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
    work_bytes, the size of the workspace. letters: sizes that the body names itself (Bind), with the most that each can be.
    tape: whether a loop has a tape whose room the caller says, in steps (the letter TAPE_STEPS); one of more leaves with TAPE.
    """

    name: str
    inputs: list[tuple[Any, Buffer | None]]
    outputs: list[Buffer]
    body: list[Any]
    prologue: list[Any] = field(default_factory=list)
    requires: tuple[Requirement, ...] = ()
    placement: dict[int, tuple[str, Dim]] = field(default_factory=dict)
    work_bytes: Dim = 0
    letters: dict[str, Dim] = field(default_factory=dict)
    tape: bool = False

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
            self.letters,
            self.tape,
        )

    def buffers(self) -> list[Buffer]:
        """Buffers in use besides the inputs and outputs, in the order of first use; only those that own memory."""
        seen = {id(b) for _, b in self.inputs if b is not None} | {
            id(b.memory) for b in self.outputs
        }
        found = []
        for stmt in walk([*self.prologue, *self.body]):
            for buffer, _, _ in accessed(stmt):
                memory = buffer.memory
                if id(memory) not in seen and memory.data is not IOTA:
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


def with_blocks(stmt: Any, step: Callable[[list[Any]], list[Any]]) -> Any:
    """A loop or branch with the lists of statements inside it after `step`; any other statement is itself."""
    if type(stmt) is Loop:
        return stmt.with_body(step(stmt.body))
    if type(stmt) is If:
        return If(stmt.condition, step(stmt.then), step(stmt.otherwise), stmt.site)
    return stmt


def only_moves(body: Sequence[Any]) -> bool:
    """Whether statements, and what is inside of them, only load and store numbers."""
    return all(
        type(s) in (Load, Loop) or (type(s) is Store and not s.accumulate) for s in walk(body)
    )


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


READ, ADD, WRITE = 0, 1, 2


def accessed(stmt: Any) -> list[tuple[Buffer, Index, int]]:
    """The buffers that a statement itself touches, where, and how; a Declare writes its buffer, anywhere."""
    kind = type(stmt)
    if kind is Load or kind is Fold:
        return [(stmt.buffer, stmt.index, READ)]
    if kind is Store:
        return [(stmt.buffer, stmt.index, ADD if stmt.accumulate else WRITE)]
    if kind is Declare:
        return [(stmt.buffer, (), WRITE)]
    if kind is Routine:
        places = [(p.buffer, p.index, READ) for p in (*stmt.reads, *stmt.writes)]
        return [*places, *((p.buffer, p.index, WRITE) for p in stmt.writes)]
    if kind is Gemm:
        reads = [(w.buffer, w.index, READ) for w in (stmt.a, stmt.b)]
        return [*reads, (stmt.c.buffer, stmt.c.index, WRITE)]
    return []


def operands(stmt: Any) -> tuple[Any, ...]:
    """The scalars that a statement itself reads (not those of its inner statements); leaves included."""
    kind = type(stmt)
    if kind is Let:
        return stmt.args
    if kind is Load or kind is Fold:
        return tuple(t for a in stmt.index for t, _ in a.terms if type(t) is not Var)
    if kind is Store:
        return (stmt.value, *(t for a in stmt.index for t, _ in a.terms if type(t) is not Var))
    if kind is Gemm:
        windows = (stmt.a, stmt.b, stmt.c)
        return tuple(t for w in windows for a in w.index for t, _ in a.terms if type(t) is not Var)
    if kind is Routine:
        indices = [a for p in (*stmt.reads, *stmt.writes) for a in p.index]
        return tuple(t for a in indices for t, _ in a.terms if type(t) is not Var)
    if kind is Check or kind is Break or kind is Bind:
        return (stmt.value,)
    if kind is If:
        return (stmt.condition,)
    return ()
