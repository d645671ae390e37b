"""Unroll and jam: a loop that adds to the same small array in every step takes several steps at once.

    for j < 16: for k < 16: acc[k] += a[j] * B[j, k]

becomes

    for j < 16 by 4: for k < 16: { acc[k] += a[j] * B[j, k]; acc[k] += a[j + 1] * B[j + 1, k]; ... }

so that a compiler loads and stores the sums once in four steps: a product of a matrix and a vector, forward or transposed,
runs at the speed of its multiplications. Every sum keeps its order of additions. Only loops of a length known now, in steps
that divide it (`STEPS`), over a short inner loop; a loop of that many steps alone goes away. Linear in the statements.
"""

from __future__ import annotations

from typing import Any

from gradgen.lower.kernel import (
    Affine,
    Clip,
    Kernel,
    Let,
    Load,
    Loop,
    Store,
    with_blocks,
)
from gradgen.lower.rewriter import Rewriter

STEPS = (4, 5, 3, 2)
MOST = 8  # statements of the inner loop: a product, and what is picked or scaled in it


def jam(kernel: Kernel) -> Kernel:
    """`kernel` with loops over additions to the same places unrolled into their inner loop."""
    return kernel.with_body(_block(kernel.body))


def _block(body: list[Any]) -> list[Any]:
    out: list[Any] = []
    for stmt in body:
        step = _step(stmt) if type(stmt) is Loop else 0
        out += _jammed(stmt, step) if step else [with_blocks(stmt, _block)]
    return out


def _step(loop: Loop) -> int:
    """How many steps of a loop are taken at once; 0 if none of its inner loop's sums would gain by it."""
    if not isinstance(loop.extent, int) or loop.start != 0 or loop.step != 1 or not loop.body:
        return 0
    *before, inner = loop.body
    if type(inner) is not Loop or isinstance(inner.extent, Clip) or len(inner.body) > MOST:
        return 0
    if isinstance(inner.extent, int) and inner.extent < STEPS[0]:
        return 0
    if not all(type(s) in (Load, Let) for s in before):
        return 0
    stores = [s for s in inner.body if type(s) is Store]
    if not all(type(s) in (Load, Let, Store) for s in inner.body):
        return 0
    written = {id(s.buffer.memory) for s in stores}
    if len(written) < len(stores):
        return 0
    if any(type(s) is Load and id(s.buffer.memory) in written for s in (*before, *inner.body)):
        return 0
    sums = [_is_sum(s, loop, inner) for s in stores]
    apart = (_runs_with(s, loop) for s, is_sum in zip(stores, sums, strict=True) if not is_sum)
    if not any(sums) or not all(apart):
        return 0
    return next((n for n in STEPS if loop.extent % n == 0), 0)


def _is_sum(store: Store, loop: Loop, inner: Loop) -> bool:
    """Whether all steps of `loop` add to the places that `inner` runs through."""
    return (
        store.accumulate == "add"
        and store.value.type.dtype == store.buffer.dtype
        and _runs_with(store, inner)
        and not _runs_with(store, loop)
    )


def _runs_with(store: Store, loop: Loop) -> bool:
    return any(t is loop.var for a in store.index for t, _ in a.terms)


def _jammed(loop: Loop, step: int) -> list[Any]:
    """The loop in steps of `step`."""
    *before, inner = loop.body
    alone = loop.extent == step
    head: list[Any] = []
    body: list[Any] = []
    for k in range(step):
        place = Affine(k) if alone else Affine(k, ((loop.var, 1),))
        rewriter = Rewriter({id(loop.var): place}, fresh=True)
        head += rewriter.block(before)
        body += rewriter.block(inner.body)
    jammed = [*head, inner.with_body(body)]
    if alone:
        return jammed
    return [Loop(loop.var, loop.extent, loop.kind, jammed, loop.site, loop.start, step)]
