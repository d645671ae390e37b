"""Firsts: a row of zeros that the same block then adds to place by place starts with what is added first.

    for k < 6: q_bar[i, k] = 0;   q_bar[i, 1] += a;   q_bar[i, 5] += b;   q_bar[i, 1] += c

becomes

    q_bar[i, 0] = 0; q_bar[i, 2] = 0; ...;   q_bar[i, 1] = a;   q_bar[i, 5] = b;   q_bar[i, 1] += c

so that an adjoint of columns taken one by one is stored, not collected in memory. For rows of up to ROW places, known now, of
which at least half are added to before anything else touches their memory. Linear in the statements.
"""

from __future__ import annotations

from typing import Any

from gradgen.ir import CONST
from gradgen.lower.kernel import Affine, Kernel, Loop, Store, accessed, blocks, walk, with_blocks

ROW = 16


def firsts(kernel: Kernel) -> Kernel:
    """`kernel` with rows of zeros replaced by the first additions to their places."""
    return kernel.with_body(_block(kernel.body))


def _block(body: list[Any]) -> list[Any]:
    out = [with_blocks(stmt, _block) for stmt in body]
    fills = {id(s.body[0].buffer.memory): k for k, s in enumerate(out) if _is_fill(s)}
    if not fills:
        return out
    for k, found in _additions(out, fills):
        fill = out[k]
        if 2 * len(found) >= fill.extent:
            zero = fill.body[0]
            missing = [place for place in range(fill.extent) if place not in found]
            axis = _axis(fill)
            out[k] = [
                Store(zero.buffer, _at(zero.index, axis, place), zero.value, None, zero.site)
                for place in missing
            ]
            for j in found.values():
                s = out[j]
                out[j] = Store(s.buffer, s.index, s.value, None, s.site)
    return [s for stmt in out for s in (stmt if isinstance(stmt, list) else [stmt])]


def _is_fill(stmt: Any) -> bool:
    """Whether a statement is a short loop that sets a row to zero."""
    if type(stmt) is not Loop or len(stmt.body) != 1 or stmt.start != 0 or stmt.step != 1:
        return False
    store = stmt.body[0]
    if not (isinstance(stmt.extent, int) and 0 < stmt.extent <= ROW and type(store) is Store):
        return False
    zero = store.value.op is CONST and not store.value.params["value"]
    return zero and not store.accumulate and _axis(stmt) >= 0


def _axis(fill: Loop) -> int:
    """The one axis of the place that runs with the loop; -1 if there is none."""
    key = Affine.of(fill.var).key()
    index = fill.body[0].index
    axes = [k for k, a in enumerate(index) if any(t is fill.var for t, _ in a.terms)]
    return axes[0] if len(axes) == 1 and index[axes[0]].key() == key else -1


def _at(index: Any, axis: int, place: int) -> Any:
    return (*index[:axis], Affine(place), *index[axis + 1 :])


def _additions(body: list[Any], fills: dict[int, int]) -> list[tuple[int, dict[int, int]]]:
    """By fill: place -> the statement that adds to it first, up to the first that touches its memory in another way."""
    found: dict[int, dict[int, int]] = {k: {} for k in fills.values()}
    live: dict[int, int] = {}
    for j, stmt in enumerate(body):
        inner = [stmt] if not blocks(stmt) else walk([stmt])
        touched = {id(b.memory) for s in inner for b, _, _ in accessed(s)}
        for memory in touched & fills.keys():
            if fills[memory] == j:
                live[memory] = j
            elif memory in live:
                place = _place(body[live[memory]], stmt)
                if place is None:
                    del live[memory]
                else:
                    found[live[memory]].setdefault(place, j)
    return list(found.items())


def _place(fill: Loop, stmt: Any) -> int | None:
    """The place of the row that a statement adds to; None if it does anything else."""
    zero, axis = fill.body[0], _axis(fill)
    if type(stmt) is not Store or not stmt.accumulate or stmt.buffer is not zero.buffer:
        return None
    others = (
        a.key() == b.key()
        for k, (a, b) in enumerate(zip(stmt.index, zero.index, strict=True))
        if k != axis
    )
    last = stmt.index[axis]
    inside = not last.terms and isinstance(last.constant, int) and 0 <= last.constant < fill.extent  # type: ignore[operator]
    return last.constant if inside and all(others) else None  # type: ignore[return-value]
