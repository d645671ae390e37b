"""Assignment into arrays made inside a traced function: by slices, integer arrays and masks, np.put, np.add.at and their like.

    scatter_set(acc, v, *indices, axis=)   acc with v put at integer arrays; of repeated indices the last one counts

A write makes a new value of the array; writing in place is a pass's business. A traced mask keeps the shape: a[mask] = v is a
select, for a v that does not depend on how many elements the mask takes, and so is a[mask] = f(z[mask]) for an elementwise f.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.cotangents import unbroadcast
from gradgen.errors import SpecError, UnsupportedError
from gradgen.functions import FUNCTIONS, implements
from gradgen.handle import Handle
from gradgen.ir import CONST, Op, define
from gradgen.ops import calls
from gradgen.ops.index import (
    GATHER,
    SCATTER_ADD,
    SLICE_SET,
    Masked,
    canonical,
    check_constants,
    entries_of,
    getitem,
    is_traced_mask,
    require_mask_of,
    scatter_type,
)
from gradgen.ops.ranges import iota
from gradgen.ops.reduce import as_value
from gradgen.ops.selecting import along_places
from gradgen.ops.shape import broadcast_to, ravel, reshape
from gradgen.ops.spans import Span, resolve
from gradgen.selection import Selection, refuse_selection, require_alike
from gradgen.sizes import product
from gradgen.spelling import Expr
from gradgen.types import broadcast, promote
from gradgen.value import Value, apply, constant, current_trace


# -- integer arrays
def _set_evaluate(acc: Any, v: Any, *indices: Any, axis: int) -> Any:
    out = np.array(acc)
    out[(*(slice(None),) * axis, *indices)] = v
    return out


def _distinct(indices: tuple[Value, ...]) -> bool:
    """Whether constant index arrays name no place twice."""
    if any(i.op is not CONST for i in indices):
        return False
    rows = np.stack(
        [a.reshape(-1) for a in np.broadcast_arrays(*(i.params["value"] for i in indices))]
    )
    signs = (rows >= 0).all() or (rows < 0).all()
    return bool(signs) and np.unique(rows, axis=1).shape[1] == rows.shape[1]


def _wins(acc: Value, indices: tuple[Value, ...], axis: int) -> Value:
    """Which of the written elements is still there: the last one written to its place."""
    shape = broadcast("index arrays", *(i.type.shape for i in indices))
    numbers = reshape(iota(product(shape)), shape)
    places = acc.type.shape[axis : axis + len(indices)]
    nobody = broadcast_to(constant(-1, "i64"), places)
    owner = apply(SCATTER_SET, nobody, numbers, *indices, axis=0)
    wins = calls.equal(apply(GATHER, owner, *indices, axis=0), numbers)
    return reshape(wins, (*shape, *(1,) * (acc.type.ndim - axis - len(indices))))


def _set_vjp(
    i: int, y_bar: Value, y: Value, acc: Value, v: Value, *indices: Value, axis: int
) -> Any:
    if i == 0:
        return apply(SCATTER_SET, y_bar, constant(0, y_bar.type.dtype), *indices, axis=axis)
    if i > 1:
        return None
    found = apply(GATHER, y_bar, *indices, axis=axis)
    if not _distinct(indices):
        found = calls.where(_wins(acc, indices, axis), found, 0.0)
    return unbroadcast(found, v.type)


def _set_store(operands: Any, node: Any, target: Any) -> Expr:
    inside = ", ".join([":"] * node.params["axis"] + [x.text for x in operands[2:]])
    return Expr(f"{operands[0].text}[{inside}] = {operands[1].text}")


SCATTER_SET: Op = define(
    Op(
        "scatter_set",
        scatter_type,
        _set_evaluate,
        "The first operand with the second put at integer indices; of repeated ones the last counts.",
        vjp=_set_vjp,
        jvp="jointly",
        flops=0,
        store=_set_store,
        nest=lambda lowering, node: lowering.scatter(node, False),
    )
)


def _positions(x: Value, index: Any) -> Value:
    """Where the elements of x[index] lie in x read row by row."""
    if x.type.static and not _traced(index):
        return constant(np.arange(np.prod(x.type.lengths)).reshape(x.type.lengths)[index])
    return getitem(reshape(iota(x.type.size), x.type.shape), index)


def _traced(index: Any) -> bool:
    items = index if isinstance(index, tuple) else (index,)
    return any(isinstance(i, Value) or (isinstance(i, slice) and any(
        isinstance(b, Value) for b in (i.start, i.stop, i.step))) for i in items)  # fmt: skip


def _scattered(op: Op, x: Value, index: Any, value: Value) -> Value:
    """x with `value` put or added at an index with integer arrays in it."""
    # Beside an index array a number is one too, and is needed as one: a part that is no slice is written by its positions.
    entries = [constant(np.asarray(e)) if isinstance(e, int) else e for e in entries_of(x, index)]
    check_constants(x, entries, current_trace())
    arrays = [k for k, e in enumerate(entries) if isinstance(e, Value)]
    adjacent = arrays == list(range(arrays[0], arrays[0] + len(arrays)))
    plain = all(isinstance(e, Value) or e == Span() for e in entries)
    if plain and adjacent:
        return apply(op, x, value, *[entries[k] for k in arrays], axis=arrays[0])
    at = _positions(x, index)
    flat = apply(op, ravel(x), broadcast_to(value, at.type.shape), at, axis=0)
    return reshape(flat, x.type.shape)


# -- x[index] = v
def _fitted(x: Value, v: Any) -> Value:
    """`v` in the dtype of x; floats do not go into integers."""
    value = as_value(v)
    if value.type.dtype == x.type.dtype:
        return value
    if promote(value.type.dtype, x.type.dtype) != x.type.dtype and not x.type.is_float:
        raise SpecError(
            f"assignment into {x.type} needs integers, got {value.type}",
            "Make the array with a floating dtype.",
        )
    return calls.cast(value, dtype=x.type.dtype)


@implements("setitem")
def setitem(x: Value, index: Any, v: Any) -> Value:
    """`x` after `x[index] = v`."""
    x = as_value(x)
    if isinstance(v, Selection):
        return _rewritten(x, index, v)
    value = _fitted(x, v)
    if is_traced_mask(index):
        return _selected(x, index, value)
    entries = [e for e in entries_of(x, index) if e is not None]
    if any(isinstance(e, (Value, Masked)) for e in entries):
        return _scattered(SCATTER_SET, x, index, value)
    trace = current_trace()
    for e, dim in zip(entries, x.type.shape, strict=True):
        resolve(e, dim, trace)
    if not x.type.shape:
        return value
    places = tuple(canonical(e, d) for e, d in zip(entries, x.type.shape, strict=True))
    if all(e == Span() for e in places):  # nothing of x is left
        SLICE_SET.infer(x.type, value.type, index=places)
        return calls.copy(broadcast_to(value, x.type.shape))
    return apply(SLICE_SET, x, value, index=places)


def _selected(x: Value, mask: Value, value: Value) -> Value:
    lead = mask.type.ndim
    require_mask_of(x, mask)
    if value.type.ndim > x.type.ndim - lead:
        raise UnsupportedError(
            f"assignment through a traced mask needs one value for all of its places, got {value.type}",
            "Write a = np.where(mask, b, a) with b of a's shape.",
        )
    wide = reshape(mask, (*mask.type.shape, *(1,) * (x.type.ndim - lead)))
    return broadcast_to(calls.where(wide, value, x), x.type.shape)


def _rewritten(x: Value, index: Any, elements: Selection) -> Value:
    """`x` after `x[mask] = f(z[mask])`."""
    if not is_traced_mask(index) or elements.whole.type.shape != x.type.shape:
        refuse_selection()
    require_mask_of(x, index)
    require_alike(as_value(index), elements.mask)
    return masked_update(x, index, elements.whole)


@implements("masked_update")
def masked_update(x: Value, mask: Value, new: Value) -> Value:
    """`x` after `x[mask] op= v`, where `new` is `x op v` everywhere."""
    x = as_value(x)
    wide = reshape(mask, (*mask.type.shape, *(1,) * (x.type.ndim - mask.type.ndim)))
    return _fitted(x, calls.where(wide, new, x))


# -- functions that write
def _handle(what: str, a: Any) -> Handle:
    if not isinstance(a, Value):
        raise UnsupportedError(
            f"{what} writes into an array, which must have been made inside the function, got {a!r}",
            "Make it with np.zeros, np.empty or x.copy().",
        )
    handle: Handle = a.own()
    return handle


@implements((np.add, "at"))
def add_at(a: Any, indices: Any, b: Any) -> None:
    """Repeated indices add up."""
    handle = _handle("np.add.at", a)
    x = handle.resolve()
    value = _fitted(x, b)
    if any(isinstance(e, (Value, Masked)) for e in entries_of(x, indices)):
        handle.become(_scattered(SCATTER_ADD, x, indices, value))
    else:
        handle[indices] = getitem(x, indices) + value


@implements((np.subtract, "at"))
def subtract_at(a: Any, indices: Any, b: Any) -> None:
    add_at(a, indices, -as_value(b))


@implements(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """Elements by their places in the array read row by row."""
    handle = _handle("np.put", a)
    if mode != "raise":
        raise UnsupportedError(
            f"np.put needs mode 'raise', got {mode!r}", "Wrap the indices before."
        )
    x = handle.resolve()
    at: Any = ind if isinstance(ind, Value) else np.asarray(ind)
    handle.become(reshape(setitem(ravel(x), at, v), x.type.shape))


@implements("fill in order")
def fill_in_order(a: Any, values: Any) -> None:
    """`a.flat = values`: row by row, repeated or cut off as NumPy does it."""
    handle = _handle("assignment to .flat", a)
    shape, value = handle.resolve().type.shape, as_value(values)
    if value.type.size == 1:
        handle[...] = reshape(value, ())
    elif value.type.size == product(shape):
        handle[...] = reshape(value, shape)
    else:
        handle[...] = FUNCTIONS[np.resize](value, shape)


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> None:
    handle = _handle("np.put_along_axis", arr)
    x = handle.resolve()
    handle.become(setitem(x, along_places(x, as_value(indices), int(axis) % x.type.ndim), values))


@implements(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    handle = _handle("np.fill_diagonal", a)
    x = handle.resolve()
    n, m = x.type.shape[-2:]
    if wrap or x.type.ndim != 2:
        raise UnsupportedError(
            f"np.fill_diagonal needs a matrix, got {x.type}", "Assign a[i, i] = v."
        )
    if n == m:
        at = iota(n)
    elif isinstance(n, int) and isinstance(m, int):
        at = iota(min(n, m))
    else:
        raise UnsupportedError(f"np.fill_diagonal needs a square matrix, got {x.type}")
    handle.become(setitem(x, (at, at), val))


@implements(np.copyto)
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    handle = _handle("np.copyto", dst)
    handle[...] = src if where is True else calls.where(where, src, handle.resolve())


@implements(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    handle = _handle("np.putmask", a)
    handle[...] = calls.where(mask, values, handle.resolve())


# -- np.r_ and np.c_
def _joined(items: Any, columns: bool) -> Value:
    parts: list[Any] = []
    for item in items if isinstance(items, tuple) else (items,):
        if isinstance(item, str):
            raise UnsupportedError(
                "np.r_ with a text is not supported", "Use np.concatenate or np.stack."
            )
        if isinstance(item, slice):
            item = np.r_[item]
        parts.append(item)
    from gradgen.ops.reduce import as_values
    from gradgen.ops.shape import concatenate

    values = [reshape(p, 1) if not p.type.ndim else p for p in as_values(parts)]
    if columns:
        values = [reshape(p, (*p.type.shape, 1)) if p.type.ndim == 1 else p for p in values]
    return concatenate(values, -1 if columns else 0)


@implements("r_")
def r_(items: Any) -> Value:
    return _joined(items, False)


@implements("c_")
def c_(items: Any) -> Value:
    return _joined(items, True)
