"""Short loops that only move elements of the iteration's own small arrays are written out.

    t[0] = a; t[1] = b; for k < 2: out[i, k + 3] = t[k]       becomes      out[i, 3] = a; out[i, 4] = b

once loads of what the block knows are that scalar, and arrays that nothing reads are gone (`contract`): a Jacobian whose
blocks are put side by side is stored where it belongs. Only loops over arrays whose every element is stored at a place of its
own are written out, up to MOST moves each, so that the text stays as long as the arrays are. Linear in the statements.
"""

from __future__ import annotations

from typing import Any

from gradgen.lower.kernel import Affine, Declare, Kernel, Load, Loop, Store, walk
from gradgen.lower.rewriter import Rewriter

MOST = 64


def unroll(kernel: Kernel) -> Kernel:
    """`kernel` with its short moving loops written out."""
    return kernel.with_body(_block(kernel.body))


def _block(body: list[Any]) -> list[Any]:
    arrays = _elementwise(body)
    out: list[Any] = []
    for stmt in body:
        if type(stmt) is not Loop:
            out.append(stmt)
        elif 0 < _moves(stmt, arrays, set()) <= MOST:
            out += written_out(stmt, {})
        else:
            out.append(stmt.with_body(_block(stmt.body)))
    return out


def _elementwise(body: list[Any]) -> set[int]:
    """By id, the arrays declared in a block whose elements are only ever stored one by one, by statements of the block."""
    found = {id(s.buffer) for s in body if type(s) is Declare and s.buffer.shape and s.fill is None}
    own = {id(s) for s in body}
    for stmt in walk(body) if found else ():
        if type(stmt) is Store and id(stmt.buffer) in found:
            fixed = not any(a.terms for a in stmt.index)
            if id(stmt) not in own or stmt.accumulate or not fixed:
                found.discard(id(stmt.buffer))
    return found


def _moves(loop: Loop, arrays: set[int], around: set[int]) -> int:
    """How many elements a loop moves out of `arrays`; 0 if it does anything else."""
    if not isinstance(loop.extent, int) or loop.start != 0 or loop.step != 1:
        return 0
    variables = around | {id(loop.var)}
    total = 0
    for stmt in loop.body:
        kind = type(stmt)
        if kind is Loop:
            inner = _moves(stmt, arrays, variables)
            if not inner:
                return 0
            total += inner
        elif kind is Load:
            if id(stmt.buffer) not in arrays:
                return 0
            if any(id(t) not in variables for a in stmt.index for t, _ in a.terms):
                return 0
        elif kind is Store and not stmt.accumulate and type(stmt.value) is Load:
            total += 1
        else:
            return 0
    return total * loop.extent


def written_out(loop: Loop, places: dict[int, Any]) -> list[Any]:
    """The statements of all iterations of a loop of known length, and of the loops in it; places: what variables are."""
    out: list[Any] = []
    for k in range(int(loop.extent)):  # type: ignore[arg-type]
        table = {**places, id(loop.var): Affine(k)}
        for stmt in loop.body:
            if type(stmt) is Loop:
                out += written_out(stmt, table)
            else:
                rewriter = Rewriter(table, fresh=True)
                out.append(rewriter.statement(stmt))
    return out
