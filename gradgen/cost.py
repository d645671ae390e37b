"""What a Function costs: operations, memory moved, memory held; as formulas in the sizes, and by statement.

    cost(fn, kernel=None) -> Cost          flops(fn) -> Dim
    Cost.at({"n": 100, "d": 5}) -> Cost    the same in numbers

flops       nominal operations: elements times the op's weight (1 for arithmetic, 10 for a transcendental function), 2mnk for a
            matrix product; a loop's body times its steps, the dearer of two branches. A while loop that nobody counts runs
            `steps` times, a letter.
bytes       moved between memory and processor. NumPy: every statement reads its operands and writes its result, views and
            scalars are free. C (with a kernel): every nest reads or writes an array once, however often it uses it.
workspace   C: the caller's workspace.       peak   temporaries and results alive at once; C: workspace, stack and results.

Sizes of slices are taken whole; where no single formula is the largest, `peak` bounds all until `at` puts in numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gradgen.errors import SpecError
from gradgen.ir import LEAVES, Function
from gradgen.lower.kernel import TAPE_STEPS, Buffer, Fold, Kernel, Load, Store, walk
from gradgen.ops.contract import letter_sizes
from gradgen.ops.regions import COND, ITEM, WHILE
from gradgen.sites import cite
from gradgen.sizes import (
    Dim,
    Size,
    add,
    evaluate,
    letter,
    letters,
    max0,
    mul,
    nonnegative,
    product,
    spell,
    substitute,
)
from gradgen.types import BYTES, Bundle, Type

STEPS = letter("steps")
TAPE = {TAPE_STEPS: letter("tape_steps")}


@dataclass(frozen=True)
class Statement:
    """One statement: its value's name or "", the op, the user's line, operations, bytes moved, bytes alive after it."""

    name: str
    op: str
    line: str
    flops: Dim
    bytes: Dim
    live: Dim


@dataclass(frozen=True)
class Cost:
    """A Function's cost: integers, or sizes (which print as `4*n*d + 11*n`). `cost["flops"]` is `cost.flops`."""

    flops: Dim
    bytes: Dim
    workspace: Dim
    peak: Dim
    operations: int
    statements: tuple[Statement, ...]
    held: Dim | None = None  # what is held besides, where statements do not say it (C)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    @property
    def letters(self) -> list[str]:
        """The sizes that the cost depends on."""
        dims = [self.flops, self.bytes, self.workspace, self.peak]
        dims += [d for s in self.statements for d in (s.flops, s.bytes, s.live)]
        return list(dict.fromkeys(x for d in dims for x in letters(d)))

    def at(self, sizes: Mapping[str, int]) -> Cost:
        """The cost in numbers. SpecError unless every letter has a size."""
        missing = [name for name in self.letters if name not in sizes]
        if missing:
            raise SpecError(
                f"cost needs the sizes {', '.join(self.letters)}, got {', '.join(sizes) or 'none'}"
            )
        number = lambda d: evaluate(d, sizes)
        statements = tuple(
            Statement(s.name, s.op, s.line, number(s.flops), number(s.bytes), number(s.live))
            for s in self.statements
        )
        peak = max((number(s.live) for s in statements), default=0)
        if self.held is not None:
            peak = number(self.held)
        return Cost(
            number(self.flops), number(self.bytes), number(self.workspace), peak,
            self.operations, statements, None if self.held is None else peak,
        )  # fmt: skip

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("statement", "line", "flops", "bytes", "live")]
        rows += [
            (f"{s.name or '·'} = {s.op}", s.line, *map(text, (s.flops, s.bytes, s.live)))
            for s in self.statements
        ]
        widths = [max(len(row[k]) for row in rows) for k in range(5)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        total = (
            f"{text(self.flops)} flops, {text(self.bytes)} bytes moved, {text(self.workspace)} bytes of workspace, "
            f"{text(self.peak)} bytes at the peak, {self.operations} operations"
        )
        return "\n".join([*lines, total])


def text(dim: Dim) -> str:
    return str(dim) if isinstance(dim, int) else spell(dim, lambda name: name, tight=True)


def cost(fn: Function, kernel: Kernel | None = None) -> Cost:
    """The cost of a Function; in C, where the kernel made of it is given."""
    statements = tuple(_statements(fn))
    moved = total(s.bytes for s in statements) if kernel is None else kernel_bytes(kernel)
    workspace: Dim = 0 if kernel is None else substitute(kernel.work_bytes, TAPE)
    held = None
    if kernel is None:
        peak: Dim = 0
        for s in statements:
            peak = bound(peak, s.live)
    else:
        results = total(array_bytes(v.type) for v in fn.outputs)
        held = peak = total((workspace, stack_bytes(kernel), results))
    return Cost(flops(fn), moved, workspace, peak, len(fn.body), statements, held)


def total(dims: Iterable[Dim]) -> Dim:
    found: Dim = 0
    for dim in dims:
        found = found + dim if dim.__class__ is int and found.__class__ is int else add(found, dim)
    return found


def bound(a: Dim, b: Dim) -> Dim:
    """The larger one, or where neither always is, a polynomial that both are below: the larger of each term."""
    if nonnegative(add(a, mul(b, -1))):
        return a
    if nonnegative(add(b, mul(a, -1))):
        return b
    terms = [dict(d.terms) if isinstance(d, Size) else {(): d} for d in (a, b)]
    return Size.make({m: max(t.get(m, 0) for t in terms) for m in [*terms[0], *terms[1]]})


# -- operations
def flops(fn: Function) -> Dim:
    """Nominal floating-point operations of a Function."""
    if fn.has_numbers_only:
        return sum(op.flops * count for (op, _), count in fn.kinds.items())
    return total(map(_flops, fn.body))


def _flops(node: Any) -> Dim:
    op, ty, args = node.op, node.type, node.args
    if op.elementwise and not ty.shape:
        return int(op.flops)
    if op.regions:
        return _region_flops(node)
    if op.name == "matmul":
        inner = args[0].type.shape[-1]
        return product((2, inner, *ty.shape))
    if op.name == "einsum":
        return product((2, *letter_sizes(node.params["text"], *(a.type for a in args)).values()))
    if op.flops == 0:
        return 0
    return product((op.flops, *(ty.shape if op.elementwise else args[0].type.shape)))


def _region_flops(node: Any) -> Dim:
    inside = [flops(node.params[name]) for name in node.op.regions]
    if node.op is COND:
        a, b = inside
        return add(a, max0(add(b, mul(a, -1))))
    return mul(total(inside), _steps(node))


def _steps(node: Any) -> Dim:
    """How often a region runs: a loop's length; 1 for a call."""
    if node.op is WHILE:
        return next(
            (s for s in (node.params["steps"], node.params["max_steps"]) if s is not None), STEPS
        )
    length: Dim = node.params.get("length", 1)
    return length


# -- statements
def _statements(fn: Function) -> list[Statement]:
    """Each statement; an array lives until its last reader, what a view looks at as long as the view."""
    owner: dict[int, int] = {}  # a view or item -> the statement whose memory it shows
    last: dict[int, int] = {}
    for k, node in enumerate(fn.body):
        if _is_view(node) and id(node.args[0]) in owner:
            owner[id(node)] = owner[id(node.args[0])]
        elif not _is_view(node) and (node.type.shape or isinstance(node.type, Bundle)):
            owner[id(node)] = id(node)
        for a in node.args:
            if id(a) in owner:
                last[owner[id(a)]] = k
    for v in fn.outputs:
        if id(v) in owner:
            last[owner[id(v)]] = len(fn.body)
    ends: dict[int, list[Dim]] = {}
    live: Dim = 0
    out = []
    for k, node in enumerate(fn.body):
        if owner.get(id(node)) == id(node):
            reused = node.op.store is not None and last.get(owner.get(id(node.args[0]), 0)) == k
            size = 0 if reused else array_bytes(node.type)
            live = total((live, size))
            end = last.get(id(node), k)
            if reused:  # the memory goes on under the result's name
                moved = ends[k].pop() if ends.get(k) else 0
                ends.setdefault(end, []).append(moved)
            else:
                ends.setdefault(end, []).append(size)
        out.append(
            Statement(
                node.name or "", node.op.name, cite(node.site), _flops(node), _moved(node), live
            )
        )
        for size in ends.pop(k, ()):
            live = add(live, mul(size, -1))
    return out


def _is_view(node: Any) -> bool:
    return node.op is ITEM or (node.op.view and bool(node.type.shape))


def _moved(node: Any) -> Dim:
    """Bytes that a statement reads and writes as one pass of NumPy."""
    if (node.op.elementwise and not node.type.shape) or _is_view(node):
        return 0
    if node.op.regions:
        inside = [total(map(_moved, node.params[name].body)) for name in node.op.regions]
        return mul(total(inside), _steps(node))
    if node.op.store is not None:  # only the part is written
        return total(mul(2, array_bytes(a.type)) for a in node.args[1:])
    operands = (array_bytes(a.type) for a in node.args if a.op not in LEAVES or a.type.shape)
    return total((*operands, array_bytes(node.type)))


def array_bytes(ty: Type) -> Dim:
    """Bytes of an array, or of a bundle's; a scalar is free."""
    if isinstance(ty, Bundle):
        return total(map(array_bytes, ty.parts))
    return product((BYTES[ty.dtype], *ty.shape)) if ty.shape else 0


# -- loops
def kernel_bytes(kernel: Kernel) -> Dim:
    """Bytes that the nests of a kernel move, each array read or written once per nest."""
    found: list[Dim] = []
    for stmt in (*kernel.prologue, *kernel.body):
        touched: dict[tuple[int, bool], tuple[Buffer, set[Any]]] = {}
        for inner in walk([stmt]):
            kind = type(inner)
            if kind not in (Load, Store, Fold) or inner.buffer.memory.storage in ("local", "const"):
                continue
            if kernel.placement.get(id(inner.buffer.memory), ("",))[0] == "stack":
                continue
            pattern = tuple("*" if a.terms else a.constant for a in inner.index)
            if kind is Fold and pattern:
                pattern = (*pattern[:-1], "*")
            writes = (True, False) if kind is Store and inner.accumulate else (kind is Store,)
            for write in writes:
                key = (id(inner.buffer.memory), write)
                touched.setdefault(key, (inner.buffer, set()))[1].add((inner.buffer.shape, pattern))
        found += [_touched_bytes(buffer, patterns) for buffer, patterns in touched.values()]
    return substitute(total(found), TAPE)


def _touched_bytes(buffer: Buffer, patterns: set[Any]) -> Dim:
    """The whole array if some access runs over all of it, else the parts that are named."""
    whole = mul(BYTES[buffer.dtype], buffer.memory.size)
    if any(all(p == "*" for p in pattern) for _, pattern in patterns):
        return whole
    parts = [
        product(tuple(d for d, p in zip(shape, pattern, strict=True) if p == "*"))
        for shape, pattern in patterns
    ]
    part = mul(BYTES[buffer.dtype], total(parts))
    return whole if nonnegative(add(part, mul(whole, -1))) else part


def stack_bytes(kernel: Kernel) -> int:
    """Bytes of arrays on the stack."""
    count = 0
    for buffer in kernel.buffers():
        placed = kernel.placement.get(id(buffer), ("",))[0]
        if (
            buffer.shape
            and isinstance(buffer.size, int)
            and (buffer.storage == "local" or placed == "stack")
        ):
            count += BYTES[buffer.dtype] * buffer.size
    return count
