"""Looking at a Kernel: the verifier that runs after passes, and the text that `show("loops")` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradgen.errors import GradgenError
from gradgen.ir import LEAVES
from gradgen.lower.kernel import (
    Affine,
    Bind,
    Break,
    Buffer,
    Check,
    Clip,
    Declare,
    Fail,
    Fold,
    Gemm,
    If,
    Index,
    Kernel,
    Let,
    Load,
    Loop,
    Routine,
    Store,
    Var,
    blocks,
    operands,
)
from gradgen.sites import Site, cite


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
            if kind is Load or kind is Store or kind is Fold:
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
            if kind is Gemm:
                for w in (stmt.c, stmt.a, stmt.b):
                    if len(w.index) != len(w.buffer.shape) or w.buffer.dtype != stmt.c.buffer.dtype:
                        fail(f"a product of matrices touches {w.buffer}")
                if stmt.c.buffer.memory in (stmt.a.buffer.memory, stmt.b.buffer.memory):
                    fail(f"a product of matrices overwrites {stmt.c.buffer}")
            if kind is Let or kind is Load or kind is Fold:
                if id(stmt) in defined:
                    fail("a scalar is defined twice")
                defined.add(id(stmt))
                here.append(id(stmt))
            elif kind is Declare:
                declared.add(id(stmt.buffer))
                local.append(id(stmt.buffer))
            elif kind is Loop:
                if type(stmt.extent) is Clip and any(
                    type(t) is Var and id(t) not in defined for t, _ in stmt.extent.base.terms
                ):
                    fail("a block is counted from a variable of another loop")
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

    def extent(e: Any) -> str:
        if type(e) is not Clip:
            return str(e)
        whole = f"min({e.size}, {e.total} - {affine(e.base)})"
        return whole if e.unit == 1 else f"{whole} // {e.unit} * {e.unit}"

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
                start = "" if stmt.start == 0 else f"{extent(stmt.start)} <= "
                step = "" if stmt.step == 1 else f" by {stmt.step}"
                text = f"{stmt.kind} {start}{fresh(stmt.var, 'i')} < {extent(stmt.extent)}{step}:"
                emit(depth, text, stmt.site)
                block(stmt.body, depth + 1)
            elif kind is Routine:
                places = [place(p.buffer, p.index[: p.lead]) for p in (*stmt.reads, *stmt.writes)]
                emit(depth, f"{stmt.name} {' '.join(places)}", stmt.site)
            elif kind is Gemm:
                c, a, b = (place(w.buffer, w.index) for w in (stmt.c, stmt.a, stmt.b))
                emit(depth, f"{c} = {a} @ {b} : {stmt.m} x {stmt.k} x {stmt.n}", stmt.site)
            elif kind is Fold:
                text = f"{fresh(stmt, '%')} = {stmt.by} of {stmt.count} from "
                emit(depth, text + place(stmt.buffer, stmt.index), stmt.site)
            elif kind is Declare:
                fill = "" if stmt.fill is None else f" = {stmt.fill}"
                emit(depth, f"local {stmt.buffer!r}{fill}")
            elif kind is Break:
                emit(depth, f"break unless {scalar(stmt.value)}", stmt.site)
            elif kind is Bind:
                emit(depth, f"{stmt.letter} is {scalar(stmt.value)}", stmt.site)
            elif kind is Fail:
                emit(depth, f"fail {stmt.code}", stmt.site)
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
