"""Batching: the statements of a Function over a further leading axis of some of its inputs, as whole-array statements.

    batch(fn, operands, mapped, size)    the outputs of fn for operands of which those mapped have a leading axis of `size`

What depends on no mapped operand is computed once. Elementwise ops align by axes of one; other ops have a rule below, by the
name of their record; those that have none are alone in a loop over the items. Loops whose steps differ from item to item, and
branches on a mapped condition that cannot both be evaluated, raise Unbatchable: then the loop over items stays whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_letters
from typing import Any

from gradgen.ir import LEAVES, OPS, PARAM, Function
from gradgen.ops.contract import matmul, terms
from gradgen.ops.index import GATHER, SLICE
from gradgen.ops.ranges import ARANGE
from gradgen.ops.regions import CALL, COND, ITEM, SCAN, WHILE, Loop
from gradgen.ops.shape import reshape, transpose
from gradgen.ops.spans import Span
from gradgen.rewriting import with_args
from gradgen.sizes import Dim
from gradgen.types import BOOL, I64
from gradgen.value import Trace, Value, apply, constant, current_trace, new_node

Pair = tuple[Value, bool]


class Unbatchable(Exception):
    """Some statement has no form over a batch."""


def batch(fn: Function, operands: Sequence[Value], mapped: Sequence[bool], size: Dim) -> list[Pair]:
    """The outputs of `fn` in the open trace, each with whether it has the leading axis."""
    trace = current_trace()
    assert trace is not None
    env: dict[Value, Pair] = {
        p: (v, m) for p, v, m in zip(fn.inputs, operands, mapped, strict=True)
    }
    bundles: dict[Value, list[Pair]] = {}
    saved = trace.site
    for node in fn.body:
        trace.site = node.site
        if node.op is ITEM:
            env[node] = out = bundles[node.args[0]][node.params["k"]]
            _named(out[0], node)
            continue
        pairs = [env.get(a, (a, False)) for a in node.args]
        values = [v for v, _ in pairs]
        flags = [m for _, m in pairs]
        if node.op.regions:
            bundles[node] = _region(node, values, flags, size)
            continue
        if not any(flags):
            made = with_args(node, tuple(values))
            trace.body.append(made)
            env[node] = made, False
            continue
        rule = _aligned if node.op.elementwise else RULES.get(node.op.name, _looped)
        made = rule(node, values, flags, size)
        _named(made, node)
        env[node] = made, True
    trace.site = saved
    return [env.get(v, (v, False)) for v in fn.outputs]


def _named(value: Value, node: Value) -> None:
    if value.name is None and value.op not in LEAVES:
        value.name = node.name


def spread(value: Value, mapped: bool, size: Dim) -> Value:
    """The value with the leading axis, repeated along it if it has none."""
    return value if mapped else apply(OPS["broadcast"], value, shape=(size, *value.type.shape))


def _all(values: Sequence[Value], flags: Sequence[bool], size: Dim) -> list[Value]:
    return [spread(v, m, size) for v, m in zip(values, flags, strict=True)]


def padded(value: Value, ndim: int) -> Value:
    """A mapped value of fewer axes than `ndim`, with ones behind its leading axis."""
    shape = value.type.shape
    missing = ndim - len(shape)
    return reshape(value, (shape[0], *(1,) * missing, *shape[1:])) if missing > 0 else value


# -- rules: (node, values, flags, size) -> the mapped result
def _aligned(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    ndim = node.type.ndim + 1
    operands = [padded(v, ndim) if m else v for v, m in zip(values, flags, strict=True)]
    made = apply(node.op, *operands, **node.params)
    return made if made.type.ndim == ndim else spread(made, False, size)


def _axes(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    """Reductions over `axes`."""
    params = {**node.params, "axes": tuple(k + 1 for k in node.params["axes"])}
    return apply(node.op, *_all(values, flags, size), **params)


def _axis(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    """Ops along one `axis` of all their operands."""
    params = {**node.params, "axis": node.params["axis"] + 1}
    return apply(node.op, *_all(values, flags, size), **params)


def _reshape(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    return apply(node.op, values[0], shape=(size, *node.params["shape"]))


def _transpose(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    return apply(node.op, values[0], axes=(0, *(k + 1 for k in node.params["axes"])))


def _broadcast(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    shape = (size, *node.params["shape"])
    return apply(node.op, padded(values[0], len(shape)), shape=shape)


def _plain(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    return apply(node.op, values[0], **node.params)


def _together(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    """Ops along the last axis of all their operands."""
    return apply(node.op, *_all(values, flags, size), **node.params)


def _slice(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    return apply(node.op, values[0], index=(Span(), *node.params["index"]))


def _slice_update(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    acc, v = values
    index = (Span(), *node.params["index"])
    acc = spread(acc, flags[0], size)
    if flags[1]:
        part = apply(SLICE, acc, index=index).type  # a statement that nothing reads
        v = padded(v, part.ndim)
    return apply(node.op, acc, v, index=index)


def numbers(size: Dim, ndim: int) -> Value:
    """0 .. size - 1 along the first of `ndim` axes."""
    found = apply(ARANGE, n=size)
    return reshape(found, (size, *(1,) * (ndim - 1))) if ndim > 1 else found


def _indices(indices: Sequence[Value], flags: Sequence[bool]) -> tuple[list[Value], int]:
    """Index arrays brought to one number of axes behind the leading one."""
    ndim = max(v.type.ndim if m else v.type.ndim + 1 for v, m in zip(indices, flags, strict=True))
    return [padded(v, ndim) if m else v for v, m in zip(indices, flags, strict=True)], ndim


def _gather(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    x, *indices = values
    axis = node.params["axis"]
    if not any(flags[1:]):
        return apply(node.op, x, *indices, axis=axis + 1)
    indices, ndim = _indices(indices, flags[1:])
    if flags[0]:
        out = apply(GATHER, _first(x, axis, len(indices)), numbers(size, ndim), *indices, axis=0)
        return _first(out, ndim - 1, axis) if axis else out
    out = apply(GATHER, x, *indices, axis=axis)
    if axis == 0:
        return out
    order = [axis, *range(axis), *range(axis + 1, out.type.ndim)]
    return transpose(out, order)


def _first(x: Value, axis: int, count: int) -> Value:
    """`count` axes of each item, from `axis` on, before its others."""
    if axis == 0:
        return x
    moved = range(1 + axis, 1 + axis + count)
    rest = [k for k in range(1, x.type.ndim) if k not in moved]
    return transpose(x, [0, *moved, *rest])


def _scatter(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    """Values added or put at integer indices, of a part of the axes."""
    acc, v, *indices = values
    axis = node.params["axis"]
    acc = spread(acc, flags[0], size)
    count = len(indices)
    index_ndim = max(i.type.ndim for i in node.args[2:])
    part = node.args[0].type.ndim - count + index_ndim  # axes of what an item writes
    v = padded(v, part + 1) if flags[1] else v
    if not any(flags[2:]):
        return apply(node.op, acc, v, *indices, axis=axis + 1)
    indices, ndim = _indices(indices, flags[2:])
    if axis:
        full = v if flags[1] else reshape(v, (*(1,) * (part + 1 - v.type.ndim), *v.type.shape))
        v = _first(full, axis, index_ndim)
    out = apply(node.op, _first(acc, axis, count), v, numbers(size, ndim), *indices, axis=0)
    return _first(out, count, axis) if axis else out


def _matmul(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    a, b = values
    in_a, in_b = flags
    left, right = (x.type.ndim for x in node.args)  # ranks of one item's operands
    if in_a and in_b:
        if left == 1 and right == 1:
            return apply(OPS["sum"], a * b, axes=(1,))
        if left == 1:
            a = reshape(a, (size, *(1,) * (right - 1), a.type.shape[1]))
            out = apply(node.op, a, b)
            return reshape(out, (*out.type.shape[:-2], out.type.shape[-1]))
        if right == 1:
            b = reshape(b, (size, *(1,) * (left - 2), b.type.shape[1], 1))
            out = apply(node.op, a, b)
            return reshape(out, out.type.shape[:-1])
        ndim = max(left, right) + 1
        return apply(node.op, padded(a, ndim), padded(b, ndim))
    if in_a:
        if left == 1 and right > 2:
            a = reshape(a, (size, *(1,) * (right - 1), a.type.shape[1]))
            out = apply(node.op, a, b)
            return reshape(out, (*out.type.shape[:-2], out.type.shape[-1]))
        return matmul(padded(a, max(left, right) + 1) if left > 1 else a, b)
    if right == 1:
        if left > 2:
            b = reshape(b, (size, *(1,) * (left - 2), b.type.shape[1], 1))
            out = apply(node.op, a, b)
            return reshape(out, out.type.shape[:-1])
        return matmul(b, transpose(a) if left == 2 else a)
    if left == 1:
        a = reshape(a, (1, a.type.shape[0]))
        out = apply(node.op, a, b)
        return reshape(out, (*out.type.shape[:-2], out.type.shape[-1]))
    return apply(node.op, a, padded(b, max(left, right) + 1))


def _outer(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    a, b = values
    a = reshape(a, (*a.type.shape, 1))
    if flags[1]:
        b = reshape(b, (size, 1, b.type.shape[1]))
    return spread(a * b, True, size)


def _einsum(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    """A letter more, on the mapped operands and the result."""
    *operands, out = terms(node.params["text"])
    item = next(letter for letter in ascii_letters if letter not in node.params["text"])
    marked = [item + t if m else t for t, m in zip(operands, flags, strict=True)]
    return apply(node.op, *values, text=f"{','.join(marked)}->{item}{out}")


def _dft(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    """The parts of complex numbers stay first."""
    order = [1, 0, *range(2, node.type.ndim + 1)]
    return transpose(apply(node.op, transpose(values[0], order), **node.params), order)


def _searchsorted(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    if flags[0]:  # each item in a vector of its own
        return _looped(node, values, flags, size)
    return apply(node.op, *values, **node.params)


def _looped(node: Value, values: Any, flags: Any, size: Dim) -> Value:
    """A statement that has no form over a batch, in a loop of its own."""
    given = list(zip(node.args, flags, strict=True))
    with Trace() as trace:
        index = trace.input(I64, None)
        items = [trace.input(a.type, a.name) for a, m in given if m]
        consts = [trace.input(a.type, a.name) for a, m in given if not m]
        sources = iter(items), iter(consts)
        out = apply(node.op, *[next(sources[not m]) for m in flags], **node.params)
    body = Function("body", [index, *items, *consts], [out], trace.body)
    operands = [v for v, m in zip(values, flags, strict=True) if m]
    operands += [v for v, m in zip(values, flags, strict=True) if not m]
    made = apply(
        SCAN, *operands, body=body, carries=0, items=len(items), length=size, reverse=False, kept=()
    )
    return apply(ITEM, made, k=0)


RULES: dict[str, Callable[..., Value]] = {
    "sum": _axes, "prod": _axes, "reduce_max": _axes, "reduce_min": _axes, "logsumexp": _axes,
    "peak": _axes, "any": _axes, "all": _axes,
    "reshape": _reshape, "transpose": _transpose, "broadcast": _broadcast, "copy": _plain,
    "cumsum": _plain, "cumprod": _plain, "tril": _plain, "triu": _plain, "argsort": _plain, "recurrence": _together,
    "inv": _plain, "det": _plain, "cofactor": _plain, "logabsdet": _plain, "det_sign": _plain, "cholesky": _plain,
    "eigh": _plain, "eigvalsh": _plain, "svd": _plain, "svdvals": _plain, "pinv": _plain, "qr": _plain,
    "solve": _together, "solve_triangular": _together, "argmax": _plain, "argmin": _plain,
    "concatenate": _axis, "stack": _axis, "slice": _slice, "slice_add": _slice_update, "slice_set": _slice_update,
    "gather": _gather, "scatter_add": _scatter, "scatter_set": _scatter, "einsum": _einsum, "dft": _dft,
    "searchsorted": _searchsorted, "expm": _plain,
    "matmul": _matmul, "outer": _outer,
}  # fmt: skip


# -- loops and branches over a batch
def _region(node: Value, values: list[Value], flags: list[bool], size: Dim) -> list[Pair]:
    if not any(flags):
        trace = current_trace()
        assert trace is not None
        made = with_args(node, tuple(values))
        trace.body.append(made)
        parts = len(made.type.parts)  # type: ignore[attr-defined]
        return [(apply(ITEM, made, k=k), False) for k in range(parts)]
    if node.op is COND:
        return _cond(node, values, flags, size)
    if node.op is SCAN:
        return _scan(node, values, flags, size)
    if node.op is CALL:
        return batch(node.params["body"], values, flags, size)
    return _while(node, values, flags, size)


def _closed(
    fn: Function, flags: Sequence[bool], size: Dim, wanted: Sequence[bool] | None = None
) -> tuple[Function, list[bool]]:
    """`fn` over a batch as a Function; outputs in `wanted` get the leading axis in any case."""
    with Trace(trusted=True) as trace:
        inputs = []
        for v, m in zip(fn.inputs, flags, strict=True):
            ty = v.type.with_shape((size, *v.type.shape)) if m else v.type
            p = new_node(PARAM, (), {}, ty, None, None)
            p.name = v.name
            inputs.append(p)
        pairs = batch(fn, inputs, flags, size)
        if wanted is not None:
            pairs = [
                (spread(v, m, size), True) if w else (v, m)
                for (v, m), w in zip(pairs, wanted, strict=True)
            ]
    return Function(fn.name, inputs, [v for v, _ in pairs], trace.body), [m for _, m in pairs]


def _fixed_carries(loop: Loop, flags: Sequence[bool], size: Dim, first: bool) -> list[bool]:
    """Which carries have the leading axis, from the first step on or from a later one."""
    carried = list(flags[: loop.carries])
    while True:
        _, found = _closed(loop.body, [first, *carried, *flags[loop.carries :]], size)
        new = [a or b for a, b in zip(carried, found[: loop.carries], strict=True)]
        if new == carried:
            return carried
        carried = new


def swapped(value: Value) -> Value:
    """The first two axes exchanged: items of a batch, or a batch of items."""
    return transpose(value, [1, 0, *range(2, value.type.ndim)])


def _scan(node: Value, values: list[Value], flags: list[bool], size: Dim) -> list[Pair]:
    loop = Loop.of(node)
    carried = _fixed_carries(loop, flags, size, False)
    wanted = [*carried, *[False] * len(loop.y_outputs)]
    body, found = _closed(loop.body, [False, *carried, *flags[loop.carries :]], size, wanted)
    init = [
        spread(v, m, size) if c else v
        for v, m, c in zip(values[: loop.carries], flags, carried, strict=False)
    ]
    xs = [
        swapped(v) if m else v
        for v, m in zip(values[loop.carries :][: loop.items], flags[loop.carries :], strict=False)
    ]
    consts = values[loop.carries + loop.items :]
    made = apply(node.op, *init, *xs, *consts, **{**node.params, "body": body})
    after = Loop.of(made)
    out: list[Pair] = []
    for k in range(after.first_state + len(loop.kept)):
        item = apply(ITEM, made, k=k)
        if k < after.first_y:
            out.append((item, carried[k]))
            continue
        inner = found[k] if k < after.first_state else carried[loop.kept[k - after.first_state]]
        out.append((swapped(item), True) if inner else (item, False))
    return out


def _cond(node: Value, values: list[Value], flags: list[bool], size: Dim) -> list[Pair]:
    pred, *consts = values
    branches = [node.params["then"], node.params["otherwise"]]
    if not flags[0]:
        found = [_closed(fn, flags[1:], size)[1] for fn in branches]
        wanted = [a or b for a, b in zip(*found, strict=True)]
        then, otherwise = (_closed(fn, flags[1:], size, wanted)[0] for fn in branches)
        made = apply(COND, pred, *consts, then=then, otherwise=otherwise)
        return [(apply(ITEM, made, k=k), m) for k, m in enumerate(wanted)]
    results = [batch(fn, consts, flags[1:], size) for fn in branches]
    out: list[Pair] = []
    for (a, in_a), (b, in_b) in zip(*results, strict=True):
        ndim = max(a.type.ndim + (not in_a), b.type.ndim + (not in_b))
        test = reshape(pred, (size, *(1,) * (ndim - 1))) if ndim > 1 else pred
        made = apply(OPS["where"], test, a, b)
        out.append((made, True))
    return out


def _while(node: Value, values: list[Value], flags: list[bool], size: Dim) -> list[Pair]:
    """Items that are done keep their carry while others go on."""
    loop = Loop.of(node)
    test: Function = node.params["test"]
    carried = _fixed_carries(loop, flags, size, False)
    rest = flags[loop.carries :]
    _, (tested,) = _closed(test, [False, *carried, *rest], size)
    init, consts = values[: loop.carries], values[loop.carries :]
    if not tested:
        body, found = _closed(
            loop.body, [False, *carried, *rest], size, [*carried, *[False] * len(loop.y_outputs)]
        )
        check, _ = _closed(test, [False, *carried, *rest], size)
        starts = [
            spread(v, m, size) if c else v for v, m, c in zip(init, flags, carried, strict=False)
        ]
        made = apply(node.op, *starts, *consts, **{**node.params, "test": check, "body": body})
        after = Loop.of(made)
        out: list[Pair] = []
        count = len(made.type.parts)  # type: ignore[attr-defined]
        for k in range(count):
            item = apply(ITEM, made, k=k)
            if k < after.first_y:
                out.append((item, k > 0 and carried[k - 1]))
                continue
            inner = found[loop.carries + k - after.first_y] if k < after.first_state else (
                carried[loop.kept[k - after.first_state]]
            )  # fmt: skip
            out.append((swapped(item), True) if inner else (item, False))
        return out
    if node.params.get("steps") is not None:
        raise Unbatchable("while")  # each item has a number of steps of its own
    carried = [True] * loop.carries
    starts = [spread(v, m, size) for v, m in zip(init, flags, strict=False)]
    with Trace(trusted=True) as trace:
        inputs = _inputs(loop.body, [False, *carried, *rest], size)
        going = batch(test, inputs, [False, *carried, *rest], size)[0][0]
        results = batch(loop.body, inputs, [False, *carried, *rest], size)
        kept = []
        for (new, m), old in zip(results, inputs[1 : 1 + loop.carries], strict=True):
            mask = reshape(going, (size, *(1,) * (old.type.ndim - 1)))
            kept.append(apply(OPS["where"], mask, spread(new, m, size), old))
    body = Function(loop.body.name, inputs, kept, trace.body)
    with Trace(trusted=True) as trace:
        inputs = _inputs(test, [False, *carried, *rest], size)
        going = batch(test, inputs, [False, *carried, *rest], size)[0][0]
        count_of = apply(OPS["sum"], apply(OPS["cast"], going, dtype="i64"), axes=(0,))
        some = apply(OPS["greater"], count_of, constant(0))
    assert some.type is BOOL and count_of.type is I64
    check = Function(test.name, inputs, [some], trace.body)
    made = apply(WHILE, *starts, *consts, **{**node.params, "test": check, "body": body})
    return [(apply(ITEM, made, k=k), k > 0) for k in range(1 + loop.carries)]


def _inputs(fn: Function, flags: Sequence[bool], size: Dim) -> list[Value]:
    out = []
    for v, m in zip(fn.inputs, flags, strict=True):
        ty = v.type.with_shape((size, *v.type.shape)) if m else v.type
        p = new_node(PARAM, (), {}, ty, None, None)
        p.name = v.name
        out.append(p)
    return out
