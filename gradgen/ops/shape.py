"""Ops that move elements without computing: reshape, transpose, broadcast, concatenate, stack.

`expand_dims`, `squeeze`, `ravel`, `x[:, None]` are reshapes. Shapes may hold symbolic sizes; a reshape needs equal element
counts in normal form.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.cotangents import unbroadcast
from gradgen.errors import ShapeError, SpecError, UnsupportedError
from gradgen.functions import implements
from gradgen.ir import CONST, OPS, Op, define
from gradgen.ops.reduce import as_value, as_values, axes_of
from gradgen.ops.spans import Span
from gradgen.sizes import Dim, add, constant_term, floordiv, product, relaxed
from gradgen.spelling import Expr
from gradgen.types import Shape, Type, promote, show_shape
from gradgen.types import broadcast as broadcast_shapes
from gradgen.value import Value, apply, current_trace, dim_or_none


def shape_of(what: str, shape: Any) -> Shape:
    """A shape argument (an int, a size, or a sequence of them) as dimensions; -1 stays for reshape to resolve."""
    one = dim_or_none(shape)
    dims = (one,) if one is not None else tuple(dim_or_none(d) for d in _sequence(what, shape))
    if any(d is None for d in dims):
        raise SpecError(f"{what} needs a shape of integers and sizes, got {shape!r}")
    return dims  # type: ignore[return-value]


def _sequence(what: str, shape: Any) -> list[Any]:
    if not isinstance(shape, (tuple, list, np.ndarray)):
        raise SpecError(f"{what} needs a shape of integers and sizes, got {shape!r}")
    return list(shape)


# -- reshape
def _reshape_type(x: Type, shape: Shape) -> Type:
    if product(shape) != x.size and _bare(product(shape)) != _bare(x.size):
        raise ShapeError(
            f"reshape needs as many elements as {x} has, got shape {show_shape(shape)}",
            "Sizes are compared by name: write the shape with the letters of the specs.",
        )
    return x.with_shape(shape)


def _bare(dim: Dim) -> Dim:
    return relaxed(dim)[0]


def _reshape_spell(operands: Any, node: Any, target: Any) -> Expr:
    old, new = node.args[0].type.shape, node.type.shape
    if node.args[0].op is CONST and not old:  # a literal has a dtype of its own
        dtype = "" if node.type.dtype == "f64" else f", dtype={target.dtype(node.type.dtype)}"
        return Expr(f"np.full({target.shape(new)}, {operands[0].text}{dtype})")
    if len(old) == len(new) and all(_bare(a) == _bare(b) for a, b in zip(old, new, strict=True)):
        return operands[0]  # of these lengths already
    inserted = _inserted_axes(old, new)
    if inserted is not None and old:
        return Expr(f"{operands[0].at(14)}[{', '.join(inserted)}]")
    if len(new) == 1:
        return Expr(
            f"{operands[0].at(14)}.ravel()" if old else f"np.reshape({operands[0].text}, 1)"
        )
    if not old or not new:
        return Expr(f"np.reshape({operands[0].text}, {target.shape(new)})")
    return Expr(f"{operands[0].at(14)}.reshape({', '.join(map(target.size, new))})")


def _inserted_axes(old: Shape, new: Shape) -> list[str] | None:
    """The index that turns `old` into `new` by inserting axes of length one, if that is all there is to it."""
    if len(new) <= len(old):
        return None
    index, k = [], 0
    for dim in new:
        if k < len(old) and dim == old[k]:
            index.append(":")
            k += 1
        elif dim == 1:
            index.append("None")
        else:
            return None
    return index if k == len(old) else None


RESHAPE: Op = define(
    Op(
        "reshape",
        _reshape_type,
        lambda x, shape: np.reshape(x, shape),
        "The same elements, row by row, in another shape.",
        vjp=(lambda y_bar, y, x, shape: apply(RESHAPE, y_bar, shape=x.type.shape),),
        jvp=("linear",),
        view=True,
        flops=0,
        numpy=_reshape_spell,
        nest=lambda lowering, node: lowering.reshape(node),
    )
)


def reshape(x: Any, shape: Any, order: str = "C") -> Value:
    """np.reshape with one dimension -1 resolved, sizes symbolic or not."""
    x = as_value(x)
    dims = shape_of("reshape", shape)
    if order == "F":  # column by column: the transposes of a reshape of the transpose
        return transpose(reshape(transpose(x), tuple(reversed(dims))))
    if order not in ("C", "A", "K"):
        raise UnsupportedError(f"reshape needs order 'C' or 'F', got {order!r}")
    if any(isinstance(d, int) and d == -1 for d in dims):
        known = product(tuple(d for d in dims if not (isinstance(d, int) and d == -1)))
        size = x.type.size
        rest = 0 if isinstance(known, int) and known == 0 else floordiv(size, known)
        dims = tuple(rest if isinstance(d, int) and d == -1 else d for d in dims)
    if dims == x.type.shape:
        return x
    trace = current_trace()
    if trace is not None and product(dims) != x.type.size:
        for inside in (*relaxed(product(dims))[1], *relaxed(x.type.size)[1]):
            least = -constant_term(inside)  # n >= 1, not n - 1 >= 0
            trace.require(add(inside, least), ">=", least)
    return apply(RESHAPE, x, shape=dims)


implements(np.reshape)(reshape)


@implements("sized alike")
def sized_alike(args: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Operands of an elementwise op whose sizes are equal but for a max(0, ...), in one size, with the entry check for it.

    np.concatenate([x[1:], x[:1]]) has max(0, n - 1) + 1 elements, which is n for n >= 1. None where sizes differ otherwise.
    """
    ndim = max(a.type.ndim for a in args)
    columns = zip(*[(1,) * (ndim - a.type.ndim) + a.type.shape for a in args], strict=True)
    sizes: list[Dim] = []
    for dims in columns:
        long = {d for d in dims if d != 1}
        bare = {_bare(d) for d in long}
        if len(bare) > 1:
            return None
        sizes.append(next(iter(long if len(long) == 1 else bare), 1))
    fitted = []
    for a in args:
        own = sizes[ndim - a.type.ndim :]
        fitted.append(
            reshape(a, tuple(1 if d == 1 else s for d, s in zip(a.type.shape, own, strict=True)))
        )
    return tuple(fitted) if any(a is not b for a, b in zip(args, fitted, strict=True)) else None


@implements(np.ravel)
def ravel(x: Any, order: str = "C") -> Value:
    return reshape(x, -1, order)


@implements(np.expand_dims)
def expand_dims(x: Any, axis: Any) -> Value:
    x = as_value(x)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    ndim = x.type.ndim + len(axes)
    if any(not -ndim <= k < ndim for k in axes):
        raise ShapeError(f"expand_dims needs axes below {ndim}, got {axis}")
    where = {k % ndim for k in axes}
    rest = iter(x.type.shape)
    return reshape(x, tuple(1 if k in where else next(rest) for k in range(ndim)))


@implements(np.squeeze)
def squeeze(x: Any, axis: Any = None) -> Value:
    x = as_value(x)
    shape = x.type.shape
    if axis is None:
        axes: tuple[int, ...] = tuple(k for k, d in enumerate(shape) if d == 1)
    else:
        axes = axes_of("squeeze", x, axis)
    if any(shape[k] != 1 for k in axes):
        raise ShapeError(f"squeeze needs axes of length 1, got {x.type} and axis {axis}")
    return reshape(x, tuple(d for k, d in enumerate(shape) if k not in axes))


# -- transpose
def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axes.index(k) for k in range(len(axes)))


def _transpose_spell(operands: Any, node: Any, target: Any) -> Expr:
    axes = node.params["axes"]
    x = operands[0].at(14)
    if axes == tuple(reversed(range(len(axes)))):
        return Expr(f"{x}.T")
    if sorted(axes) == list(range(len(axes))) and sum(k != a for k, a in enumerate(axes)) == 2:
        i, j = (k for k, a in enumerate(axes) if k != a)
        return Expr(f"{x}.swapaxes({i}, {j})")
    return Expr(f"{x}.transpose({', '.join(map(str, axes))})")


TRANSPOSE: Op = define(
    Op(
        "transpose",
        lambda x, axes: x.with_shape(tuple(x.shape[k] for k in axes)),
        lambda x, axes: np.transpose(x, axes),
        "The axes in another order.",
        vjp=(lambda y_bar, y, x, axes: apply(TRANSPOSE, y_bar, axes=inverse(axes)),),
        jvp=("linear",),
        view=True,
        flops=0,
        numpy=_transpose_spell,
        nest=lambda lowering, node: lowering.transpose(node),
    )
)


@implements(np.transpose)
def transpose(x: Any, axes: Any = None) -> Value:
    x = as_value(x)
    ndim = x.type.ndim
    order = tuple(reversed(range(ndim))) if axes is None else tuple(int(k) for k in axes)
    if any(not -ndim <= k < ndim for k in order) or sorted(k % ndim for k in order) != list(
        range(ndim)
    ):
        raise ShapeError(f"transpose needs each axis of {x.type} once, got {axes}")
    order = tuple(k % ndim for k in order)
    return x if order == tuple(range(ndim)) else apply(TRANSPOSE, x, axes=order)


@implements(np.swapaxes)
def swapaxes(x: Any, axis1: int, axis2: int) -> Value:
    x = as_value(x)
    (i,), (j,) = axes_of("swapaxes", x, axis1), axes_of("swapaxes", x, axis2)
    order = list(range(x.type.ndim))
    order[i], order[j] = j, i
    return transpose(x, order)


@implements(np.moveaxis)
def moveaxis(x: Any, source: Any, destination: Any) -> Value:
    """Axes to new places, the others in their order."""
    x = as_value(x)
    from_, to = (_axes_in_order(x, given) for given in (source, destination))
    if len(from_) != len(to):
        raise ShapeError(
            f"moveaxis needs as many destinations as sources, got {source} and {destination}"
        )
    order = [k for k in range(x.type.ndim) if k not in from_]
    for j, i in sorted(zip(to, from_, strict=True)):
        order.insert(j, i)
    return transpose(x, order)


def _axes_in_order(x: Value, given: Any) -> list[int]:
    axes_of("moveaxis", x, given)
    items = given if isinstance(given, (tuple, list)) else (given,)
    return [int(k) % x.type.ndim for k in items]


# -- broadcast
def _broadcast_type(x: Type, shape: Shape) -> Type:
    if broadcast_shapes("broadcast_to", x.shape, shape) != shape:
        raise ShapeError(f"broadcast_to needs a shape that {x} fits, got {show_shape(shape)}")
    return x.with_shape(shape)


def _broadcast_spell(operands: Any, node: Any, target: Any) -> Expr:
    x, shape = node.args[0], node.type.shape
    where = target.size(shape[0]) if len(shape) == 1 else target.shape(shape)
    dtype = "" if node.type.dtype == "f64" else f", dtype={target.dtype(node.type.dtype)}"
    if not x.type.shape:
        if operands[0].text in ("0.0", "0"):
            return Expr(f"np.zeros({where}{dtype})")
        if operands[0].text in ("1.0", "1"):
            return Expr(f"np.ones({where}{dtype})")
        return Expr(f"np.full({where}, {operands[0].text}{dtype})")
    return Expr(f"np.broadcast_to({operands[0].text}, {where})")


BROADCAST: Op = define(
    Op(
        "broadcast",
        _broadcast_type,
        lambda x, shape: np.broadcast_to(x, shape),
        "The array repeated along new axes and axes of length one.",
        vjp=(lambda y_bar, y, x, shape: unbroadcast(y_bar, x.type),),
        jvp=("linear",),
        view=True,
        flops=0,
        numpy=_broadcast_spell,
        nest=lambda lowering, node: lowering.broadcast(node),
    )
)


@implements(np.broadcast_to)
def broadcast_to(x: Any, shape: Any) -> Value:
    x = as_value(x)
    dims = shape_of("broadcast_to", shape)
    return x if dims == x.type.shape else apply(BROADCAST, x, shape=dims)


# -- concatenate and stack
def _concatenate_type(*types: Type, axis: int) -> Type:
    first = types[0]
    total: Dim = 0
    for ty in types:
        same = ty.ndim == first.ndim and all(
            k == axis or a == b for k, (a, b) in enumerate(zip(ty.shape, first.shape, strict=True))
        )
        if not same:
            raise ShapeError(
                f"concatenate needs arrays that fit along axis {axis}, got {first} and {ty}"
            )
        total = add(total, ty.shape[axis])
    shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
    return Type.of(promote(*(t.dtype for t in types)), shape)


def _concatenate_vjp(i: int, y_bar: Value, y: Value, *parts: Value, axis: int) -> Value:
    start: Dim = 0
    for part in parts[:i]:
        start = add(start, part.type.shape[axis])
    stop = add(start, parts[i].type.shape[axis])
    span = Span(None if start == 0 else start, None if i == len(parts) - 1 else stop)
    index = tuple(span if k == axis else Span() for k in range(y.type.ndim))
    whole = apply(OPS["slice"], y_bar, index=index)
    return unbroadcast(whole, parts[i].type)


CONCATENATE: Op = define(
    Op(
        "concatenate",
        _concatenate_type,
        lambda *parts, axis: np.concatenate(parts, axis=axis),
        "Arrays joined along an axis that they have.",
        vjp=_concatenate_vjp,
        jvp="jointly",
        flops=0,
        numpy=lambda operands, node, target: Expr(
            f"np.concatenate(({', '.join(x.text for x in operands)}{',' if len(operands) == 1 else ''})"
            + (f", axis={node.params['axis']})" if node.params["axis"] else ")")
        ),
        nest=lambda lowering, node: lowering.concatenate(node),
    )
)


@implements(np.concatenate)
def concatenate(
    arrays: Any, axis: Any = 0, out: None = None, *, dtype: Any = None, casting: Any = None
) -> Value:
    parts = as_values(arrays)
    if dtype is not None:
        parts = [as_dtype(p, dtype) for p in parts]
    if not parts:
        raise ShapeError("concatenate needs at least one array, got none")
    if axis is None:
        parts, axis = [ravel(p) for p in parts], 0
    if any(p.type.ndim == 0 for p in parts):
        raise ShapeError(
            "concatenate needs arrays of one dimension or more, got a scalar", "Use np.stack."
        )
    (axis,) = axes_of("concatenate", parts[0], axis)
    return parts[0] if len(parts) == 1 else apply(CONCATENATE, *parts, axis=axis)


def _stack_type(*types: Type, axis: int) -> Type:
    first = types[0]
    for ty in types:
        if ty.shape != first.shape:
            raise ShapeError(f"stack needs arrays of one shape, got {first} and {ty}")
    shape = (*first.shape[:axis], len(types), *first.shape[axis:])
    return Type.of(promote(*(t.dtype for t in types)), shape)


def _stack_vjp(i: int, y_bar: Value, y: Value, *parts: Value, axis: int) -> Value:
    index = tuple(i if k == axis else Span() for k in range(y.type.ndim))
    return unbroadcast(apply(OPS["slice"], y_bar, index=index), parts[i].type)


def _stack_spell(operands: Any, node: Any, target: Any) -> Expr:
    text = ", ".join(x.text for x in operands)
    if node.params["axis"] == 0 and not node.args[0].type.shape:
        dtype = "" if node.type.dtype == "f64" else f", dtype={target.dtype(node.type.dtype)}"
        return Expr(f"np.array([{text}]{dtype})")
    axis = f", axis={node.params['axis']}" if node.params["axis"] else ""
    return Expr(f"np.stack(({text}{',' if len(operands) == 1 else ''}){axis})")


STACK: Op = define(
    Op(
        "stack",
        _stack_type,
        lambda *parts, axis: np.stack([np.asarray(p) for p in parts], axis=axis),
        "Arrays of one shape joined along a new axis.",
        vjp=_stack_vjp,
        jvp="jointly",
        flops=0,
        numpy=_stack_spell,
        nest=lambda lowering, node: lowering.stack(node),
    )
)


@implements(np.stack)
def stack(arrays: Any, axis: int = 0, out: None = None) -> Value:
    parts = as_values(arrays)
    if not parts:
        raise ShapeError("stack needs at least one array, got none")
    ndim = parts[0].type.ndim + 1
    if not -ndim <= axis < ndim:
        raise ShapeError(f"stack needs an axis below {ndim}, got {axis}")
    return apply(STACK, *parts, axis=axis % ndim)


@implements("array")
def array(tree: Any, dtype: Any = None) -> Any:
    """np.array of nested lists with Values among the leaves: stacked level by level from the inside."""
    if isinstance(tree, (list, tuple)):
        parts = [array(item) for item in tree]
        floats = [p.type.dtype for p in parts if isinstance(p, Value)]
        out = stack(parts) if floats else np.asarray(parts)
    else:
        # A number stays one: in a list with Values it takes their dtype.
        out = tree if isinstance(tree, (Value, bool, int, float)) else np.asarray(tree)
    return out if dtype is None else as_dtype(out, dtype)


def as_dtype(x: Any, dtype: Any) -> Value:
    from gradgen.types import dtype_name

    name = dtype_name(dtype)
    x = as_value(x)
    return x if x.type.dtype == name else apply(OPS["cast"], x, dtype=name)


@implements(np.astype)
def _astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Value:
    return as_dtype(x, dtype)


@implements(np.vstack)
def vstack(arrays: Any, *, dtype: Any = None, casting: Any = None) -> Value:
    parts = as_values(arrays)
    return concatenate([reshape(p, (1, p.type.size)) if p.type.ndim < 2 else p for p in parts], 0)


@implements(np.hstack)
def hstack(arrays: Any, *, dtype: Any = None, casting: Any = None) -> Value:
    parts = as_values(arrays)
    parts = [reshape(p, 1) if p.type.ndim == 0 else p for p in parts]
    return concatenate(parts, 0 if parts[0].type.ndim == 1 else 1)


@implements(np.copy)
def copy(x: Any) -> Value:
    """A statement of its own for an array that may be written into; in a trace, an eager one is a constant."""
    x = as_value(x)
    kept = not x.type.shape or (x._data is not None and current_trace() is not None)
    return x if kept else apply(OPS["copy"], x)


@implements(np.zeros_like, np.empty_like)
def zeros_like(
    x: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None
) -> Value:
    return full_like_array(x, 0, dtype, shape=shape)


@implements(np.ones_like)
def ones_like(
    x: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None
) -> Value:
    return full_like_array(x, 1, dtype, shape=shape)


@implements(np.full_like)
def full_like_array(
    x: Any, fill: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None
) -> Value:
    from gradgen.types import dtype_name
    from gradgen.value import constant

    x = as_value(x)
    name = x.type.dtype if dtype is None else dtype_name(dtype)
    value = as_dtype(fill, name) if isinstance(fill, Value) else constant(fill, name)
    dims = x.type.shape if shape is None else shape_of("np.full_like", shape)
    return broadcast_to(value, dims) if dims else value


@implements(np.shape)
def np_shape(x: Any) -> Any:
    return as_value(x).shape


@implements(np.ndim)
def np_ndim(x: Any) -> int:
    return as_value(x).ndim


@implements(np.size)
def np_size(x: Any, axis: Any = None) -> Any:
    return as_value(x).size if axis is None else as_value(x).shape[axis]
