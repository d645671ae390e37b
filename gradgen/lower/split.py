"""Splitting: a long top level is cut into parts of about PART statements, each printed as a function of its own.

Compilers are worse than quadratic in the length of one function and linear in the number of functions. A scalar that crosses a
border is stored in a slot of an array and loaded where it is needed; a slot is free again after the part that reads it last.
Parts are cut where no scalar variable is open; statements that can leave the kernel (Check,
Fail) or set a size (Bind) stay outside.
"""

from __future__ import annotations

from typing import Any

from gradgen.lower.kernel import (
    Affine,
    Bind,
    Buffer,
    Call,
    Check,
    Declare,
    Fail,
    Fold,
    Kernel,
    Let,
    Load,
    Loop,
    Routine,
    Store,
    accessed,
    blocks,
    operands,
    walk,
)
from gradgen.lower.rewriter import Rewriter

PART = 200
LIMIT = 300


def split(kernel: Kernel) -> Kernel:
    """`kernel` with its top level in parts, if it is longer than LIMIT statements."""
    body = kernel.body
    if len(body) <= LIMIT and sum(1 for _ in walk(body)) <= LIMIT:
        return kernel
    parts = _cut(body)
    if len(parts) < 2:
        return kernel
    home: dict[int, int] = {}
    last: dict[int, int] = {}
    crossing: dict[int, list[Any]] = {}
    marked: set[int] = set()
    for p, part in enumerate(parts):
        for stmt in part:
            if type(stmt) in (Let, Load, Fold):
                home[id(stmt)] = p
        for stmt in walk(part):
            for a in operands(stmt):
                at = home.get(id(a))
                if at is not None and at != p:
                    last[id(a)] = p
                    if id(a) not in marked:
                        marked.add(id(a))
                        crossing.setdefault(at, []).append(a)
    slots = _slots(len(parts), crossing, last)
    out: list[Any] = []
    for part in parts:
        loaded: dict[int, Any] = {}
        mine = {id(s) for s in part if type(s) in (Let, Load, Fold)}
        rewriter = Rewriter(loaded)
        made: list[Any] = []
        for stmt in part:
            for inner in walk([stmt]) if blocks(stmt) else (stmt,):
                for a in operands(inner):
                    key = id(a)
                    if key in slots and key not in mine and key not in loaded:
                        buffer, k = slots[key]
                        loaded[key] = load = Load(buffer, (Affine(k),), a.name, stmt.site)
                        made.append(load)
            new = rewriter.statement(stmt)
            made.append(new)
            slot = slots.get(id(stmt))
            if slot is not None:
                made.append(Store(slot[0], (Affine(slot[1]),), new, None, stmt.site))
        inline = any(type(s) in (Check, Routine, Fail, Bind) for s in walk(made))
        out += made if inline else [Call(made, part[0].site)]
    return kernel.with_body(out)


def _cut(body: list[Any]) -> list[list[Any]]:
    """The top level in parts; no scalar variable or small array is used on both sides of a cut."""
    final: dict[int, int] = {}
    for k, stmt in enumerate(body):
        for inner in walk([stmt]) if blocks(stmt) else (stmt,):
            for buffer, _, _ in accessed(inner):
                if buffer.storage == "local":
                    final[id(buffer)] = k
    parts: list[list[Any]] = [[]]
    weight, open_until = 0, -1
    for k, stmt in enumerate(body):
        if type(stmt) is Declare:
            open_until = max(open_until, final.get(id(stmt.buffer), -1))
        parts[-1].append(stmt)
        weight += sum(1 for _ in walk([stmt])) if type(stmt) is Loop else 1
        if weight >= PART and open_until <= k and k + 1 < len(body):
            parts.append([])
            weight = 0
    return parts


def _slots(
    count: int, crossing: dict[int, list[Any]], last: dict[int, int]
) -> dict[int, tuple[Buffer, int]]:
    """A place for every scalar that crosses a border: an array per dtype, a slot reused once its scalar is dead."""
    place: dict[int, tuple[str, int]] = {}
    free: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}
    ending: dict[int, list[tuple[str, int]]] = {}
    for p in range(count):
        for a in crossing.get(p, ()):
            dtype = a.type.dtype
            pool = free.setdefault(dtype, [])
            slot = pool.pop() if pool else sizes.get(dtype, 0)
            sizes[dtype] = max(sizes.get(dtype, 0), slot + 1)
            place[id(a)] = (dtype, slot)
            ending.setdefault(last[id(a)], []).append((dtype, slot))
        for dtype, slot in ending.get(p, ()):
            free.setdefault(dtype, []).append(slot)
    arrays = {
        dtype: Buffer("v" if dtype == "f64" else f"v_{dtype}", dtype, (n,))
        for dtype, n in sizes.items()
    }
    return {key: (arrays[dtype], slot) for key, (dtype, slot) in place.items()}
