"""Sparse Jacobians by colours: derivatives along few directions, each the sum of those of many elements.

    plan = plan_of(pattern, columns, mode, symmetric)     which colours, by columns (forward), rows (reverse), or both
    values(fn, i, plan, row, col)                         the entries at (row, col), in the open trace, which holds fn

Columns of one colour share no row, so the derivative along all of them at once holds their entries side by side, and they
are read from it at fixed places. A few full rows would leave no two columns apart: they go by reverse mode, the others by
forward mode (Coleman and Verma, SIAM J. Sci. Comput. 19, 1998). The statements do not grow with the matrix; its colours, rows
and columns are tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradgen.differentiate.batch import Unbatchable, batch
from gradgen.differentiate.forward import forward
from gradgen.differentiate.jacobians import mapped
from gradgen.differentiate.reverse import reverse
from gradgen.ir import OPS, Function
from gradgen.ops.basis import eye
from gradgen.ops.index import GATHER, SLICE
from gradgen.ops.shape import CONCATENATE, reshape
from gradgen.ops.spans import Span
from gradgen.rewriting import splice
from gradgen.sparse.colouring import column_colours, readable, star_colours
from gradgen.sparse.sets import Pattern, same, taken
from gradgen.types import Type
from gradgen.value import Trace, Value, apply, constant, current_trace, table

SPLITS = 8  # ways to part long rows from short ones that are tried


@dataclass(frozen=True)
class Plan:
    """Colours of the columns (for forward mode) and of the rows (for reverse mode); None where a mode is not used.

    long: with both, the numbers of the rows that go by reverse mode, which alone have colours.
    star: the columns' colours are for a symmetric matrix of this pattern.
    """

    columns: np.ndarray | None
    rows: np.ndarray | None
    long: np.ndarray | None = None
    star: Pattern | None = None

    @property
    def directions(self) -> int:
        """How many directions there are to derive along."""
        found = [c for c in (self.columns, self.rows) if c is not None]
        return sum(_count(c) for c in found)


def _count(colour: np.ndarray) -> int:
    return int(colour.max(initial=0)) + 1


def plan_of(pattern: Pattern, columns: int, mode: str, symmetric: bool) -> Plan:
    """The plan of fewest directions: mode is "forward", "reverse" or "auto"; symmetric matrices go forward in any."""
    symmetric = symmetric and _is_symmetric(pattern, columns)
    plans = []
    if mode != "reverse" or symmetric:
        plans.append(Plan(column_colours(pattern, columns), None))
    if symmetric:
        plans.append(Plan(star_colours(pattern), None, star=pattern))
    elif mode != "forward":
        by_column = pattern.transpose(columns)
        plans.append(Plan(None, column_colours(by_column, pattern.rows)))
    best = min(plans, key=lambda plan: plan.directions)
    if mode == "auto" and not symmetric:
        lengths = np.diff(pattern.indptr)
        levels = np.unique(lengths)[:-1]
        for level in levels[:: -(-len(levels) // SPLITS) or 1]:
            # Forward mode needs as many directions as the longest of its rows has entries.
            if level >= best.directions:
                break
            found = _split(pattern, columns, lengths > level)
            if found.directions < best.directions:
                best = found
    return best


def _is_symmetric(pattern: Pattern, columns: int) -> bool:
    return pattern.rows == columns and same(pattern, pattern.transpose(columns))


def _split(pattern: Pattern, columns: int, far: np.ndarray) -> Plan:
    """Rows where `far` by reverse mode, the others by forward mode."""
    long = np.flatnonzero(far)
    short = taken(pattern, np.where(far, -1, np.arange(pattern.rows)))
    by_column = taken(pattern, long).transpose(columns)
    return Plan(column_colours(short, columns), column_colours(by_column, len(long)), long)


def values(fn: Function, i: int, plan: Plan, row: np.ndarray, col: np.ndarray) -> Value:
    """The entries at (row, col) of the Jacobian of fn's output by input i."""
    x, y = fn.inputs[i].type, fn.outputs[0].type
    if plan.columns is not None:
        colour = table(plan.columns, "colour")
        joint = forward(fn, [i])
        body = Function("tangents", [joint.inputs[-1], *fn.inputs], joint.outputs[1:], joint.body)
        forth = along(body, fn.inputs, colour, x)
    if plan.rows is not None:
        whole = fn if plan.long is None else _with_rows(fn, plan.long)
        row_colour = table(plan.rows, "row_colour" if plan.columns is not None else "colour")
        joint = reverse(whole, [i], ["y_bar"])
        body = Function("adjoints", [joint.inputs[-1], *fn.inputs], joint.outputs[1:], joint.body)
        back = along(body, fn.inputs, row_colour, whole.outputs[0].type)
    if plan.columns is None:
        return _entries(back, row_colour, table(row, "row"), table(col, "col"))
    if plan.rows is None:
        via, at, names = col, row, ("col", "row")
        if plan.star is not None:
            # An entry that meets another of its colour is read as its mirror image.
            alone = readable(plan.star, plan.columns, row, col)
            via, at = np.where(alone, col, row), np.where(alone, row, col)
            names = names if alone.all() else ("via", "at")
        return _entries(forth, colour, table(via, names[0]), table(at, names[1]))
    assert plan.long is not None
    far = np.searchsorted(plan.long, row)
    in_long = np.append(plan.long, -1)[far] == row
    start = forth.type.size
    place = np.where(
        in_long,
        start + np.append(plan.rows, 0)[far] * int(x.size) + col,
        plan.columns[col] * int(y.size) + row,
    )
    lines = [reshape(v, (v.type.size,)) for v in (forth, back)]
    return apply(GATHER, apply(CONCATENATE, *lines, axis=0), table(place, "place"), axis=0)


def _with_rows(fn: Function, rows: np.ndarray) -> Function:
    """fn with some elements of its result, one after the other, as its result."""
    y = fn.outputs[0]
    with Trace(trusted=True) as trace:
        trace.body = list(fn.body)
        line = reshape(y, (y.type.size,))
        first, stop = int(rows[0]), int(rows[-1]) + 1
        while line.op is CONCATENATE and line.type.ndim == 1:  # down to the part that holds them
            ends = np.cumsum([v.type.lengths[0] for v in line.args])
            k = int(np.searchsorted(ends, first, "right"))
            if stop > ends[k]:
                break
            start = int(ends[k]) - line.args[k].type.lengths[0]
            line, rows, first, stop = line.args[k], rows - start, first - start, stop - start
        n = line.type.lengths[0]
        if stop - first == len(rows):
            if stop - first < n:
                span = Span(first or None, None if stop == n else stop)
                line = apply(SLICE, line, index=(span,))
        else:
            line = apply(GATHER, line, table(rows, "long"), axis=0)
    return fn.with_body(trace.body, [line])


def _entries(lines: Value, colour: Value, via: Value, at: Value) -> Value:
    """lines[colour[via], at]; what that leaves of it where there is one line, or one that is read from end to end."""
    if lines.type.lengths[0] > 1:
        return apply(GATHER, lines, apply(GATHER, colour, via, axis=0), at, axis=0)
    line = reshape(lines, lines.type.shape[1:])
    if np.array_equal(at.params["value"], np.arange(line.type.lengths[0])):
        return line
    return apply(GATHER, line, at, axis=0)


def along(body: Function, operands: Sequence[Value], colour: Value, ty: Type) -> Value:
    """The result of body(direction, *operands), flat, for each colour: the direction is 1 at the elements of that colour."""
    count, size = _count(colour.params["value"]), body.outputs[0].type.size
    if count == 1:
        one = constant(1, ty.dtype)
        ones = apply(OPS["broadcast"], one, shape=ty.shape) if ty.shape else one
        (out,) = splice(body, [ones, *operands])
        return reshape(out, (1, size))
    unit = apply(GATHER, eye(count, ty.dtype), colour, axis=1)
    unit.name = "seeds"
    seeds = reshape(unit, (count, *ty.shape))
    outer = current_trace()
    assert outer is not None
    try:
        with Trace(trusted=True) as trace:
            ((out, _),) = batch(body, [seeds, *operands], [True, *[False] * len(operands)], count)
        outer.body += trace.body
    except Unbatchable:
        (out,) = mapped(body, [seeds], operands, count)
    return reshape(out, (count, size))
