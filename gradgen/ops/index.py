"""Indexing: basic slices, integer-array gather, and their adjoints, which add into a part of an array.

    slice(x, index=)            x[index]; one entry per axis: an int or size (the axis goes), or a Span
    slice_add(acc, v, index=)   acc with v added at [index]; slice_set puts v there
    gather(x, *indices, axis=)  x at integer arrays that index consecutive axes from `axis` on; repeated indices are fine
    scatter_add(acc, v, *indices, axis=)   acc with v added there, repeated indices adding up

A slice of symbolic size n may need a fact about n (`x[:3]` needs n >= 3): it becomes an entry check of the function.
Assignment is in `assign`. What is read through a traced mask is there to be written through the same one (`selection`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradgen.cotangents import unbroadcast
from gradgen.errors import ShapeError, SpecError, UnsupportedError
from gradgen.functions import implements
from gradgen.handle import Handle, place_of
from gradgen.ir import OPS, Op, define
from gradgen.ops.reduce import as_value
from gradgen.ops.shape import reshape, transpose
from gradgen.ops.spans import (
    Index,
    Span,
    extents,
    index_text,
    python_index,
    require_length,
    resolve,
)
from gradgen.selection import Selection
from gradgen.sizes import Dim, Size
from gradgen.spelling import PRODUCT, UNARY, Expr
from gradgen.types import Type, broadcast
from gradgen.value import (
    CONST,
    Extent,
    Trace,
    Value,
    any_value,
    apply,
    constant,
    current_trace,
    dim_or_none,
)


def _slice_type(x: Type, index: Index) -> Type:
    return x.with_shape(tuple(e.length for e in extents(x.shape, index) if e.kept))


# -- text
def _slice_spell(operands: Any, node: Any, target: Any) -> Expr:
    return Expr(f"{operands[0].at(14)}[{index_text(node.params['index'], target.size)}]")


def _slice_store(symbol: str) -> Any:
    def spell(operands: Any, node: Any, target: Any) -> Expr:
        inside = index_text(node.params["index"], target.size) if node.params["index"] else "..."
        text = operands[1].text
        negative = node.args[1].op.name == "neg" and operands[1].precedence in (UNARY, PRODUCT)
        if symbol == "+=" and negative and text.startswith("-"):
            inner = text[1:]
            whole = inner.startswith("(") and inner.endswith(")") and inner.count("(") == 1
            return Expr(f"{operands[0].text}[{inside}] -= {inner[1:-1] if whole else inner}")
        return Expr(f"{operands[0].text}[{inside}] {symbol} {text}")

    return spell


# -- slices
def zeros(ty: Type) -> Value:
    """Zeros of a type: the accumulator that an adjoint starts from."""
    zero = constant(0, ty.dtype)
    return zero if not ty.shape else apply(OPS["broadcast"], zero, shape=ty.shape)


def is_zeros(value: Value) -> bool:
    """Whether `value` is what `zeros` makes."""
    if value.op is OPS["broadcast"]:
        value = value.args[0]
    return value.op is CONST and not value.type.shape and not value.params["value"]


def _evaluate_update(kind: str) -> Any:
    def evaluate(acc: Any, v: Any, index: Index) -> Any:
        out = np.array(acc)
        where = python_index(index)
        if kind == "add":
            out[where] += v
        else:
            out[where] = v
        return out

    return evaluate


def _update_type(acc: Type, v: Type, index: Index) -> Type:
    part = _slice_type(acc, index)
    if broadcast("assignment", v.shape, part.shape) != part.shape:
        raise ShapeError(f"assignment into {part} needs a value that fits, got {v}")
    return acc


SLICE: Op = define(
    Op(
        "slice",
        _slice_type,
        lambda x, index: np.asarray(x)[python_index(index)],
        "A basic slice.",
        vjp=(lambda y_bar, y, x, index: apply(SLICE_ADD, zeros(x.type), y_bar, index=index),),
        jvp=("linear",),
        view=True,
        flops=0,
        numpy=_slice_spell,
        python=_slice_spell,  # of a list, which loops keep their steps in
        nest=lambda lowering, node: lowering.slice(node),
    )
)

SLICE_ADD: Op = define(
    Op(
        "slice_add",
        _update_type,
        _evaluate_update("add"),
        "The first operand with the second added to a slice of it.",
        vjp=(
            lambda y_bar, y, acc, v, index: y_bar,
            lambda y_bar, y, acc, v, index: unbroadcast(apply(SLICE, y_bar, index=index), v.type),
        ),
        jvp="jointly",
        store=_slice_store("+="),
        nest=lambda lowering, node: lowering.slice_update(node, "add"),
    )
)

SLICE_SET: Op = define(
    Op(
        "slice_set",
        _update_type,
        _evaluate_update("set"),
        "The first operand with a slice of it replaced by the second.",
        vjp=(
            lambda y_bar, y, acc, v, index: apply(
                SLICE_SET, y_bar, constant(0, y_bar.type.dtype), index=index
            ),
            lambda y_bar, y, acc, v, index: unbroadcast(apply(SLICE, y_bar, index=index), v.type),
        ),
        jvp="jointly",
        flops=0,
        store=_slice_store("="),
        nest=lambda lowering, node: lowering.slice_update(node, "set"),
    )
)


# -- integer arrays
def gather_type(x: Type, *indices: Type, axis: int) -> Type:
    for ty in indices:
        if ty.dtype not in ("i64", "i32"):
            raise SpecError(f"an index array needs integers, got {ty}")
    shape = broadcast("index arrays", *(ty.shape for ty in indices))
    return x.with_shape((*x.shape[:axis], *shape, *x.shape[axis + len(indices) :]))


def _gather_index(indices: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, *indices)


def scatter_type(acc: Type, v: Type, *indices: Type, axis: int) -> Type:
    """acc's own, into which v must fit: checked here, since a rule would only stumble over it where a gradient is asked."""
    part = gather_type(acc, *indices, axis=axis)
    if broadcast("assignment", v.shape, part.shape) != part.shape:
        raise ShapeError(f"assignment into {part} needs a value that fits, got {v}")
    return acc


def _scatter_evaluate(acc: Any, v: Any, *indices: Any, axis: int) -> Any:
    out = np.array(acc)
    np.add.at(out, _gather_index(indices, axis), v)
    return out


def _scatter_vjp(
    i: int, y_bar: Value, y: Value, acc: Value, v: Value, *indices: Value, axis: int
) -> Any:
    if i == 0:
        return y_bar
    return unbroadcast(apply(GATHER, y_bar, *indices, axis=axis), v.type) if i == 1 else None


def _gather_text(operands: Any, axis: int) -> str:
    return ", ".join([":"] * axis + [x.text for x in operands])


GATHER: Op = define(
    Op(
        "gather",
        gather_type,
        lambda x, *indices, axis: np.asarray(x)[_gather_index(indices, axis)],
        "Elements at integer indices; negative ones count from the end, repeated ones are fine.",
        vjp=lambda i, y_bar, y, x, *indices, axis: (
            apply(SCATTER_ADD, zeros(x.type), y_bar, *indices, axis=axis) if i == 0 else None
        ),
        jvp=("linear",),
        flops=0,
        shows=lambda node: not any(i.type.shape for i in node.args[1:]),
        numpy=lambda operands, node, target: Expr(
            f"{operands[0].at(14)}[{_gather_text(operands[1:], node.params['axis'])}]"
        ),
        nest=lambda lowering, node: lowering.gather(node),
    )
)


def _scatter_store(operands: Any, node: Any, target: Any) -> Expr:
    acc, v, *indices = operands
    axis = node.params["axis"]
    if not any(a.type.shape for a in node.args[2:]):  # one place: nothing is repeated
        return Expr(f"{acc.text}[{_gather_text(indices, axis)}] += {v.text}")
    return Expr(f"np.add.at({acc.text}, {_scatter_where(indices, axis)}, {v.text})")


SCATTER_ADD: Op = define(
    Op(
        "scatter_add",
        scatter_type,
        _scatter_evaluate,
        "The first operand with the second added at integer indices; repeated indices add up.",
        vjp=_scatter_vjp,
        jvp="jointly",
        store=_scatter_store,
        nest=lambda lowering, node: lowering.scatter_add(node),
    )
)


def _scatter_where(operands: Any, axis: int) -> str:
    if len(operands) == 1 and not axis:
        return operands[0].text
    inside = ", ".join(["slice(None)"] * axis + [x.text for x in operands])
    return f"({inside})"


# -- x[...]
def entries_of(x: Value, index: Any) -> list[Any]:
    """The index with `...` expanded: Nones (new axes) and one entry per axis of x."""
    given = list(index) if isinstance(index, tuple) else [index]
    out: list[Any] = []
    consumed = sum(e is not None and e is not Ellipsis for e in given)
    for e in given:
        if isinstance(e, np.ndarray) and e.dtype == np.bool_ and e.ndim > 1:
            consumed += e.ndim - 1
    if consumed > x.type.ndim:
        raise ShapeError(
            f"an index needs at most {x.type.ndim} entries for {x.type}, got {consumed}"
        )
    if sum(e is Ellipsis for e in given) > 1:
        raise ShapeError("an index needs at most one ellipsis")
    fill = [Span()] * (x.type.ndim - consumed)
    for e in given:
        if e is Ellipsis:
            out.extend(fill)
            fill = []
        elif isinstance(e, slice):
            out.append(_span(e))
        elif isinstance(e, (list, range, np.ndarray)) and not any_value(e):
            out.extend(_integers(e))
        elif isinstance(e, (list, tuple)):
            out.append(as_value(e))
        else:
            out.append(_entry(e))
    return out + fill


class Masked(NamedTuple):
    """The part of a mask that indexes one axis: how long the axis must be, and which elements are taken."""

    length: int
    where: np.ndarray


def check_constants(x: Value, entries: list[Any], trace: Trace | None) -> None:
    """Index arrays that are known now need an axis long enough, masks one of their length; masks become index arrays."""
    axis = 0
    for k, e in enumerate(entries):
        if e is None:
            continue
        dim = x.type.shape[axis]
        axis += 1
        if isinstance(e, Masked):
            if dim != e.length:
                if isinstance(dim, int) or trace is None:
                    raise ShapeError(f"a mask needs the length of its axis, {dim}, got {e.length}")
                trace.require(dim, "==", e.length)
            entries[k] = constant(e.where)
        elif isinstance(e, Value) and e.op is CONST and e.params["value"].size:
            found = e.params["value"]
            require_length(trace, dim, max(int(found.max()) + 1, -int(found.min())))


def _integers(e: Any) -> list[Any]:
    array = np.asarray(e)
    if array.dtype == np.bool_:
        # The mask is known, and so is the count; the axes must be as long as the mask.
        return [Masked(n, k) for n, k in zip(array.shape, np.nonzero(array), strict=True)]
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise SpecError(f"an index array needs integers, got {array.dtype}")
    return [constant(array.astype(np.int64))] if array.ndim else [int(array)]


def _entry(e: Any) -> Any:
    if e is None:
        return None
    dim = dim_or_none(e)
    if dim is not None:
        return dim
    if isinstance(e, Value):
        if e.type.dtype == "bool":
            raise UnsupportedError(
                "indexing with a traced mask gives a shape that depends on data",
                "Write np.where(mask, x, 0.0) and sum, or index with integers.",
            )
        if e.type.is_float and not e.type.shape and _is_whole(e):
            return apply(
                OPS["cast"], e, dtype="i64"
            )  # of Python's math.floor(x) and round(x), which are integers there
        if e.type.dtype not in ("i64", "i32"):
            raise SpecError(
                f"an index needs integers, got {e.type}",
                "Write int(x), or x.astype(int) of an array.",
            )
        return as_value(e)
    raise SpecError(f"an index needs integers, slices or integer arrays, got {type(e).__name__}")


_ROUNDED = frozenset(("floor", "ceil", "trunc", "rint"))


def _is_whole(value: Value) -> bool:
    """Whether a float is a whole number as it is made: rounded, or sums and products of such."""
    todo, seen = [value], 0
    while todo:
        v = todo.pop()
        seen += 1
        if v.op.name in ("add", "sub", "mul", "neg", "maximum", "minimum") and seen < 50:
            todo += v.args
        elif v.op is CONST:
            if not np.all(v.params["value"] == np.rint(v.params["value"])):
                return False
        elif v.op.name not in _ROUNDED and not (
            v.op.name == "cast" and not v.args[0].type.is_float
        ):
            return False
    return True


def _span(s: slice) -> Span:
    parts: list[Dim | None] = []
    for bound in (s.start, s.stop, s.step):
        dim = None if bound is None else dim_or_none(bound)
        if bound is not None and dim is None:
            raise SpecError(
                f"a slice needs integers or sizes as bounds, got {type(bound).__name__}",
                "A slice whose length depends on data has no fixed shape; use np.where with a mask.",
            )
        parts.append(dim)
    start, stop, step = parts
    if isinstance(step, Size) or step == 0:
        raise SpecError(f"a slice needs a non-zero integer step, got {step}")
    by = 1 if step is None else int(step)
    if by > 0 and isinstance(start, int) and start == 0:
        start = None
    return Span(start, stop, by)


def is_traced_mask(index: Any) -> bool:
    return isinstance(index, Value) and index.type.dtype == "bool"


def require_mask_of(x: Value, mask: Value) -> None:
    if mask.type.shape != x.type.shape[: mask.type.ndim]:
        raise ShapeError(f"a mask needs the shape of {x.type}, got {mask.type}")


@implements("getitem")
def getitem(x: Value, index: Any) -> Value:
    """`x[index]` for basic and integer-array indices, NumPy's rules for where the indexed axes go; a Selection for a mask."""
    x = as_value(x)
    if is_traced_mask(index) and current_trace() is not None:
        require_mask_of(x, index)
        return Selection(x, as_value(index))  # type: ignore[return-value]
    entries = entries_of(x, index)
    trace = current_trace()
    check_constants(x, entries, trace)
    arrays = [k for k, e in enumerate(entries) if isinstance(e, Value)]
    if arrays:
        # With an array in the index, NumPy counts integers as arrays too.
        entries = [constant(e) if isinstance(e, int) and e is not None else e for e in entries]
        arrays = [k for k, e in enumerate(entries) if isinstance(e, Value)]
    basic: list[Any] = []
    axis = 0
    for e in entries:
        if e is None:
            continue
        basic.append(Span() if isinstance(e, Value) else e)
        resolve(basic[-1], x.type.shape[axis], trace)
        axis += 1
    basic = [canonical(e, dim) for e, dim in zip(basic, x.type.shape, strict=True)]
    out = x
    if any(e != Span() for e in basic):
        out = apply(SLICE, x, index=tuple(basic))
    if arrays:
        return _advanced(out, entries, arrays)
    if any(e is None for e in entries):
        rest = iter(out.type.shape)
        dims = [1 if e is None else next(rest) for e in entries if e is None or isinstance(e, Span)]
        return reshape(out, tuple(dims))
    return out


def canonical(entry: Any, dim: Dim) -> Any:
    """One spelling for one slice: bounds that say nothing are None."""
    if not isinstance(entry, Span):
        return entry
    start, stop, step = entry
    if (
        step > 0
        and stop is not None
        and (stop == dim or (isinstance(stop, int) and isinstance(dim, int) and stop >= dim))
    ):
        stop = None
    return Span(start, stop, step)


def _advanced(x: Value, entries: list[Any], arrays: list[int]) -> Value:
    """Gather after the basic part: adjacent index arrays stay where they are, others go to the front."""
    kept = [e for e in entries if e is None or isinstance(e, (Span, Value))]
    positions, axis = [], 0  # axes of x that are indexed by arrays
    for e in kept:
        if isinstance(e, Value):
            positions.append(axis)
        axis += e is not None
    indices = [e for e in kept if isinstance(e, Value)]
    places = [k for k, e in enumerate(kept) if isinstance(e, Value)]
    adjacent = places == list(range(places[0], places[0] + len(places)))
    if not adjacent:
        rest = [k for k in range(x.type.ndim) if k not in positions]
        x = transpose(x, positions + rest)
        kept = [e for e in kept if isinstance(e, Value)] + [
            e for e in kept if not isinstance(e, Value)
        ]
        positions = list(range(len(positions)))
    out = apply(GATHER, x, *indices, axis=positions[0])
    if any(e is None for e in kept):
        width = out.type.ndim - (x.type.ndim - len(indices))
        dims: list[Dim] = []
        rest_dims = list(out.type.shape)
        done = False
        for e in kept:
            if e is None:
                dims.append(1)
            elif isinstance(e, Value):
                if not done:
                    dims.extend(rest_dims[:width])
                    del rest_dims[:width]
                    done = True
            else:
                dims.append(rest_dims.pop(0))
        out = reshape(out, tuple(dims))
    return out


@implements("view")
def view(handle: Handle, index: Any) -> Any:
    """`handle[index]`: a view for a basic index, as in NumPy, so that writes to it reach the parent."""
    whole = handle.resolve()
    part = getitem(whole, index)
    if isinstance(part, Selection):
        return part
    if part.type.shape and (part is whole or part.op is SLICE):
        return Handle(None, handle, index)
    trace = current_trace()
    if trace is not None and part.type.shape and trace.memory(part) is trace.memory(whole):
        base, offset = place_of(index)
        handle.rows.setdefault(base, {}).setdefault(offset, []).append(part)
    return part


@implements("index of")
def index_of(part: Value) -> Any:
    """The index in Python's terms at which `part` is a slice of its operand; None if it is none."""
    if part.op is not SLICE:
        return None

    def bound(dim: Any) -> Any:
        return dim if dim is None or isinstance(dim, int) else Extent.of(dim)

    return tuple([
        slice(bound(e.start), bound(e.stop), e.step) if isinstance(e, Span) else bound(e)
        for e in part.params["index"]
    ])  # fmt: skip
