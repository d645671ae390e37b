"""Banded forward mode: the Jacobian of one vector by another as its diagonals, without directions.

Where everything between them is made of elementwise ops and of stretches cut out, put in, added and joined, element i of each
value depends on elements i + k of the argument for a few fixed k. Its derivative is then a few whole vectors, one for each k,
and a statement's diagonals follow from those of its operands as tangents do:

    y = f(u)        y[k] = f'(u) * u[k]            y = u[a:]       y[k + a] = u[k] from row a on
    y = u + v       y[k] = u[k] + v[k]             y[a:] += u      y[k - a] = u[k], a rows further down

No seeds, no colours; sizes may be symbolic. What mixes elements in any other way (a sum that comes back, a product with a
matrix, a gather) is left to the modes that go direction by direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gradgen.differentiate.forward import times
from gradgen.ir import OPS, Function
from gradgen.ops.index import SLICE, SLICE_ADD, SLICE_SET, zeros
from gradgen.ops.shape import BROADCAST, CONCATENATE
from gradgen.ops.spans import Span, resolve
from gradgen.sizes import Dim, add, max0, mul
from gradgen.types import Type
from gradgen.value import Trace, Value, apply, constant, current_trace

MOST = 16  # diagonals of one value


class Diagonal(NamedTuple):
    """Elements i of a diagonal, from row `head` until `tail` rows before the end; `values` of shape () are all alike."""

    head: int
    tail: int
    values: Value


Band = dict[
    int, Diagonal
]  # by how far to the right of the main diagonal (element i by element i + k of the argument)


class _Mixed(Exception):
    """A statement that is not banded."""


def band(fn: Function, i: int, k: int) -> Band | None:
    """The diagonals of the Jacobian of output k by input i, in the open trace, which holds fn's statements; by offset.

    Empty where nothing depends on the input; None (and no statements) where the Jacobian is not banded in the sense above.
    """
    x, y = fn.inputs[i], fn.outputs[k]
    if x.type.ndim != 1 or y.type.ndim != 1:
        return None
    outer = current_trace()
    assert outer is not None
    with Trace(trusted=True) as trace:
        bands: dict[int, Band] = {id(x): {0: Diagonal(0, 0, constant(1.0, x.type.dtype))}}
        try:
            for node in _needed(fn, y):
                if any(id(a) in bands for a in node.args):
                    site = node.site
                    trace.site = (site[0], site[1], "forward") if site else ("", 0, "forward")
                    found = _statement(node, bands)
                    if len(found) > MOST:
                        return None
                    if found:
                        bands[id(node)] = found
        except _Mixed:
            return None
    outer.body += trace.body
    return dict(sorted(bands.get(id(y), {}).items()))


def length(rows: Dim, diagonal: Diagonal) -> Dim:
    """How many elements a diagonal has in a matrix of so many rows."""
    return max0(add(rows, -diagonal.head - diagonal.tail))


def _needed(fn: Function, y: Value) -> list[Value]:
    """The statements that y is made of, in order."""
    wanted = {id(y)}
    kept = []
    for node in reversed(fn.body):
        if id(node) in wanted:
            kept.append(node)
            wanted.update([id(a) for a in node.args])
    return kept[::-1]


def _statement(node: Value, bands: dict[int, Band]) -> Band:
    op, args = node.op, node.args
    if node.type.dtype[0] != "f" and not op.regions:
        return {}
    if op.elementwise:
        return _elementwise(node, bands)
    if op is SLICE:
        return _slice(args[0], bands[id(args[0])], node.params["index"])
    if op in (SLICE_ADD, SLICE_SET):
        return _update(node, bands)
    if op is CONCATENATE and node.type.ndim == 1:
        return _joined(node, bands)
    rules = op.jvp
    moves = [
        not isinstance(rules, tuple) or (i < len(rules) and rules[i] is not None)
        for i, a in enumerate(args) if id(a) in bands
    ]  # fmt: skip
    if op.regions or any(moves):
        raise _Mixed
    return {}


def _elementwise(node: Value, bands: dict[int, Band]) -> Band:
    op, args, ty = node.op, node.args, node.type
    rows = _rows(ty)
    total: Band = {}
    for i, a in enumerate(args):
        if id(a) not in bands:
            continue
        if a.type.shape != ty.shape:
            raise _Mixed
        if op.partials is not None and op.jvp is None:
            partial = op.partials[i]
            p = partial(node, *args) if partial is not None else None
            if p is None:
                continue
            if isinstance(p, Value):
                if p.op is BROADCAST and not p.args[0].type.shape:
                    p = p.args[0]  # one number all along
                if p.type.shape not in ((), ty.shape):
                    raise _Mixed
            for k, d in bands[id(a)].items():
                part = p if isinstance(p, int) else _cut(p, d.head, d.tail)
                values = times(d.values, part, op.unbounded[i])
                _add(total, rows, k, d._replace(values=_as(values, ty.dtype)))
            continue
        rule = op.jvp[i] if isinstance(op.jvp, tuple) and i < len(op.jvp) else None
        if rule is None:
            continue
        if isinstance(rule, str):
            raise _Mixed
        for k, d in bands[id(a)].items():
            moved = rule(_whole(d, a.type), node, *args, **node.params)
            if moved is not None:
                values = _as(_cut(moved, d.head, d.tail), ty.dtype)
                _add(total, rows, k, d._replace(values=values))
    return total


def _slice(a: Value, found: Band, index: Sequence[object]) -> Band:
    """Rows of a, counted from the first that is kept."""
    if len(index) != 1:
        raise _Mixed
    rows = _rows(a.type)
    out: Band = {}
    if not isinstance(index[0], Span):
        at = resolve(index[0], rows).start
        if not isinstance(at, int):
            raise _Mixed
        for k, d in found.items():
            end = add(rows, -d.tail)
            if not isinstance(end, int) and d.tail:
                raise _Mixed
            if d.head <= at and not (isinstance(end, int) and at >= end):
                values = d.values
                if values.type.shape:
                    values = apply(SLICE, values, index=(at - d.head,))
                out[k + at] = Diagonal(0, 0, values)
        return out
    before, after = _around(index[0], rows)
    for k, d in found.items():
        head, tail = max(d.head, before), max(d.tail, after)
        if not _empty(rows, head, tail):
            values = _cut(d.values, head - d.head, tail - d.tail)
            out[k + before] = Diagonal(head - before, tail - after, values)
    return out


def _update(node: Value, bands: dict[int, Band]) -> Band:
    """What is put in or added to stretches of the first operand, from where the stretch begins."""
    acc, v = node.args
    index = node.params["index"]
    if len(index) != 1:
        raise _Mixed
    rows = _rows(node.type)
    before, after = _around(index[0], rows)
    out = dict(bands.get(id(acc), {}))
    found = bands.get(id(v), {})
    if found and v.type.shape and v.type.shape != (max0(add(rows, -before - after)),):
        raise _Mixed
    if found and not v.type.shape and isinstance(index[0], Span):
        raise _Mixed
    if node.op is SLICE_SET and out:
        _clear(out, rows, before, after)
    for k, d in found.items():
        moved = Diagonal(d.head + before, d.tail + after, _as(d.values, node.type.dtype))
        _add(out, rows, k - before, moved)
    return out


def _clear(found: Band, rows: Dim, before: int, after: int) -> None:
    """Rows from `before` until `after` rows before the end no longer depend on the argument."""
    for k, d in list(found.items()):
        inside_left, inside_right = d.head >= before, d.tail >= after
        if inside_left and inside_right:
            del found[k]
        elif not isinstance(rows, int) or not (inside_left or inside_right):
            raise _Mixed  # two pieces are left
        elif inside_left:
            head = max(d.head, rows - after)
            found[k] = Diagonal(head, d.tail, _cut(d.values, head - d.head, 0))
        else:
            tail = max(d.tail, rows - before)
            found[k] = Diagonal(d.head, tail, _cut(d.values, 0, tail - d.tail))


def _joined(node: Value, bands: dict[int, Band]) -> Band:
    """Parts one below the other."""
    rows = _rows(node.type)
    out: Band = {}
    start: Dim = 0
    for part in node.args:
        end = add(start, _rows(part.type))
        if id(part) in bands:
            after = add(rows, mul(end, -1))
            if not isinstance(start, int) or not isinstance(after, int):
                raise _Mixed
            for k, d in bands[id(part)].items():
                values = _as(d.values, node.type.dtype)
                _add(out, rows, k - start, Diagonal(d.head + start, d.tail + after, values))
        start = end
    return out


# -- diagonals
def _add(found: Band, rows: Dim, k: int, d: Diagonal) -> None:
    """Diagonal k plus d; where they reach different rows, both are put into zeros for as far as either reaches."""
    known = found.get(k)
    if known is None:
        found[k] = d
        return
    head, tail = min(known.head, d.head), min(known.tail, d.tail)
    if (known.head, known.tail) == (d.head, d.tail):
        values = apply(OPS["add"], known.values, d.values)
    else:
        if isinstance(rows, int) and rows < max(known.head + d.tail, d.head + known.tail):
            raise _Mixed  # a gap between them
        if (d.head, d.tail) == (head, tail):
            known, d = d, known
        values = _spread(known, head, tail, rows)
        inside = _span(d.head - head, d.tail - tail)
        values = apply(SLICE_ADD, values, d.values, index=(inside,))
    found[k] = Diagonal(head, tail, values)


def _spread(d: Diagonal, head: int, tail: int, rows: Dim) -> Value:
    """The elements of d from row `head` until `tail` rows before the end, zero where d does not reach."""
    ty = Type.of(d.values.type.dtype, (max0(add(rows, -head - tail)),))
    if (d.head, d.tail) == (head, tail):
        return (
            d.values if d.values.type.shape else apply(OPS["broadcast"], d.values, shape=ty.shape)
        )
    inside = _span(d.head - head, d.tail - tail)
    return apply(SLICE_ADD, zeros(ty), d.values, index=(inside,))


def _whole(d: Diagonal, ty: Type) -> Value:
    """The diagonal with an element for every row of a value of type ty."""
    return _spread(d, 0, 0, _rows(ty)) if ty.shape else d.values


def _cut(values: Value, front: int, back: int) -> Value:
    """`values` without so many elements at the front and at the back."""
    if not values.type.shape or not (front or back):
        return values
    return apply(SLICE, values, index=(_span(front, back),))


def _span(front: int, back: int) -> Span:
    return Span(front or None, -back or None)


def _as(values: Value, dtype: str) -> Value:
    return values if values.type.dtype == dtype else apply(OPS["cast"], values, dtype=dtype)


def _rows(ty: Type) -> Dim:
    if ty.ndim > 1:
        raise _Mixed
    return ty.shape[0] if ty.shape else 1


def _empty(rows: Dim, head: int, tail: int) -> bool:
    return isinstance(rows, int) and head + tail >= rows


def _around(entry: object, rows: Dim) -> tuple[int, int]:
    """How many rows there are before and after those that an index takes."""
    found = resolve(entry, rows)
    if found.step != 1:
        raise _Mixed
    if isinstance(entry, Span) and not isinstance(rows, int):
        # A bound that counts from the end says how much is left out there, for any length.
        after: Dim = 0 if entry.stop is None else mul(entry.stop, -1)
        if not isinstance(after, int) or after < 0:
            raise _Mixed
    else:
        after = add(rows, mul(add(found.start, found.length), -1))
    if not isinstance(found.start, int) or not isinstance(after, int):
        raise _Mixed
    return found.start, after


# -- matrices
def dense(found: Band, rows: Dim, columns: Dim, dtype: str) -> Value:
    """The matrix with these diagonals.

    One after the other, the elements of a matrix of n columns that lie on one diagonal are n + 1 apart.
    """
    if not found:
        return zeros(Type.of(dtype, (rows, columns)))
    if isinstance(rows, int) and isinstance(columns, int):
        flat = zeros(Type.of(dtype, (rows * columns,)))
        for k, d in found.items():
            flat = put(flat, d, length(rows, d), d.head * (columns + 1) + k, columns + 1)
        return apply(OPS["reshape"], flat, shape=(rows, columns))
    # With a column more, they lie below one another: the first rows * columns elements are the matrix.
    wide = zeros(Type.of(dtype, (rows, add(columns, 1))))
    for k, d in found.items():
        head, tail = (d.head, d.tail) if k >= 0 else (d.head - 1, d.tail + 1)
        column = k if k >= 0 else add(columns, k + 1)
        values = d.values
        if values.type.shape:
            values = apply(OPS["reshape"], values, shape=(*values.type.shape, 1))
        place = (_span(head, tail), Span(column, add(column, 1)))
        wide = apply(SLICE_SET, wide, values, index=place)
    flat = apply(OPS["reshape"], wide, shape=(mul(rows, add(columns, 1)),))
    kept = apply(SLICE, flat, index=(Span(None, mul(rows, columns)),))
    return apply(OPS["reshape"], kept, shape=(rows, columns))


def put(flat: Value, d: Diagonal, count: Dim, first: int, step: int) -> Value:
    """`flat` with a diagonal's elements at every `step`-th place from `first` on."""
    size = flat.type.shape[0]
    assert isinstance(count, int) and isinstance(size, int)
    stop = first + (count - 1) * step + 1
    place = Span(first or None, None if stop + step > size else stop, step)
    return apply(SLICE_SET, flat, d.values, index=(place,))
