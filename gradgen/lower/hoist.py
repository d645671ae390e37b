"""Hoisting: scalars that do not depend on a loop's variable are computed once, before it.

A load moves only out of loops that do not store to its memory, and only where it is in bounds even if the loop runs no
iteration: every axis is indexed by variables of the loops around it (whose ranges fit that axis, whatever the other axes are),
or by a number below a known length. Linear in the statements, for each depth of nesting.
"""

from __future__ import annotations

from typing import Any

from gradgen.lower.kernel import (
    READ,
    Kernel,
    Let,
    Load,
    Loop,
    Var,
    accessed,
    operands,
    walk,
    with_blocks,
)


def hoist(kernel: Kernel) -> Kernel:
    """`kernel` with invariant scalars in front of their loops."""
    return kernel.with_body(_block(kernel.body))


def _block(body: list[Any]) -> list[Any]:
    out: list[Any] = []
    for stmt in body:
        if type(stmt) is Loop:
            inner = _block(stmt.body)
            moved, kept = _invariant(inner, stmt.var)
            out += moved
            out.append(stmt.with_body(kept))
        else:
            out.append(with_blocks(stmt, _block))
    return out


def _invariant(body: list[Any], var: Var) -> tuple[list[Any], list[Any]]:
    stored = {id(b.memory) for s in walk(body) for b, _, mode in accessed(s) if mode != READ}
    inside = {id(var)}
    moved: list[Any] = []
    kept: list[Any] = []
    for stmt in body:
        kind = type(stmt)
        if kind is Let:
            free = not any(id(a) in inside for a in stmt.args)
        elif kind is Load:
            free = id(stmt.buffer.memory) not in stored and _in_bounds(stmt, var)
        else:
            free = False
        if free:
            moved.append(stmt)
        else:
            kept.append(stmt)
            inside.add(id(stmt))
    return moved, kept


def _in_bounds(load: Load, var: Var) -> bool:
    if operands(load):  # a gathered index is in bounds only where it was checked
        return False
    for a, dim in zip(load.index, load.buffer.shape, strict=True):
        if any(t is var for t, _ in a.terms):
            return False
        if not a.terms and not (isinstance(dim, int) and isinstance(a.constant, int)):
            return False
    return True
