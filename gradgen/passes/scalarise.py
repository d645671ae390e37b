"""Static arrays taken apart into scalars, for targets that have none (python): x of f64[3] becomes x[0], x[1], x[2].

Each statement is carried out on NumPy arrays of Values: moves (reshape, slice, stack ...) by their own meaning,
elementwise ops element by element, reductions and contractions by + and *; loops of few steps are unrolled, branches without
while loops computed both; other loops are kept, which must hold numbers alone. The directions of a Jacobian are sparse: what is
absent in one (a zero of the identity matrix) is not computed with. The program grows with the arrays: this is for small fixed
sizes.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.errors import EmitError
from gradgen.ir import CONST, OPS, SIZE, Function
from gradgen.ops.basis import EYE
from gradgen.ops.regions import COND, ITEM, SCAN, WHILE, Loop, items
from gradgen.ops.spans import python_index
from gradgen.rewriting import with_args
from gradgen.types import DTYPES, Bundle, Type
from gradgen.value import Trace, Value, apply, constant, current_trace, new_node

LIMIT = 10_000
UNROLLED = 32  # steps of a loop, at most


def is_absent(value: Value) -> bool:
    """Whether a scalar is zero because nothing reaches it, or is the number 0."""
    return id(value) in _ZERO_IDS or (value.op is CONST and not value.params["value"])


def scalarise(
    fn: Function, unrolled: int = UNROLLED
) -> tuple[Function, list[np.ndarray], list[np.ndarray]]:
    """The scalar program, and for each old input and output the array of its scalar inputs' and outputs' numbers.

    EmitError for sizes that are symbolic or more than LIMIT elements, and loops of more than `unrolled` steps.
    """
    env: dict[int, Any] = {}
    saved, _limits.unrolled = _limits.unrolled, unrolled
    try:
        return _scalarised(fn, env)
    finally:
        _limits.unrolled = saved


class _Limits(threading.local):
    unrolled = UNROLLED


_limits = _Limits()


def _scalarised(
    fn: Function, env: dict[int, Any]
) -> tuple[Function, list[np.ndarray], list[np.ndarray]]:
    with Trace(trusted=True) as trace:
        trace.requires = dict.fromkeys(fn.requires)
        places = []
        for p in fn.inputs:
            _check(p.type, p)
            block = np.empty(p.type.lengths, dtype=object)
            place = np.empty(p.type.lengths, dtype=int)
            for index in np.ndindex(*p.type.lengths):
                place[index] = len(trace.inputs)
                label = "_".join([p.name or "x", *map(str, index)])
                block[index] = trace.input(Type.of(p.type.dtype), label)
            env[id(p)] = block
            places.append(place)
        _statements(fn.body, env)
        outputs: list[Value] = []
        slots = []
        for v in fn.outputs:
            block = _block(env, v)
            place = np.empty(v.type.lengths, dtype=int)
            for index in np.ndindex(*v.type.lengths):
                place[index] = len(outputs)
                outputs.append(block[index])
            slots.append(place)
    result = trace.function(fn.name, outputs, fn.title)
    result.notes = fn.notes
    return result, places, slots


def _statements(body: Sequence[Value], env: dict[int, Any]) -> None:
    """Carry out the statements of a Function or region, in the open trace."""
    trace = current_trace()
    assert trace is not None
    for node in body:
        trace.site = node.site
        blocks = [_block(env, a) for a in node.args]
        if node.op.regions:
            env[id(node)] = _region(node, blocks)
            continue
        if node.op is ITEM:
            env[id(node)] = env[id(node.args[0])][node.params["k"]]
            continue
        _check(node.type, node)
        out = _evaluate(node, blocks)
        if node.name:
            for index, value in np.ndenumerate(out):
                if value.name is None and value.op not in (CONST, OPS["param"]):
                    value.name = "_".join([node.name, *map(str, index)])
        env[id(node)] = out


# -- loops of few steps, and branches
def _outputs(fn: Function, blocks: Sequence[Any]) -> list[Any]:
    env = {id(v): block for v, block in zip(fn.inputs, blocks, strict=True)}
    _statements(fn.body, env)
    return [_block(env, v) for v in fn.outputs]


def _region(node: Value, blocks: list[Any]) -> list[Any]:
    if node.op is COND and any(inner.op is WHILE for inner in _all_inside(node)):
        return _branched(node, blocks)
    if node.op is COND:
        pred, *consts = blocks
        branches = [
            _outputs(node.params[name], [_known(pred[()], x, arm) for x in consts])
            for name, arm in (("then", 1), ("otherwise", 2))
        ]
        return [_chosen(pred[()], a, b) for a, b in zip(*branches, strict=True)]
    length = node.params.get("length")
    if node.op is not SCAN or not isinstance(length, int) or length > _limits.unrolled:
        if _of_numbers(node):
            return _kept(node, blocks)
        raise EmitError(
            f"arrays are taken apart only outside of while loops and loops of more than {_limits.unrolled} steps",
            'Use target="numpy" or "c".',
            site=node.site,
        )
    loop = Loop.of(node)
    carry, xs = blocks[: loop.carries], blocks[loop.carries : loop.carries + loop.items]
    consts = blocks[loop.carries + loop.items :]
    ys: list[list[Any]] = [[] for _ in loop.y_outputs]
    states = [[carry[k]] for k in loop.kept]
    for i in reversed(range(length)) if loop.reverse else range(length):
        found = _outputs(
            loop.body, [_cell(constant(i, "i64")), *carry, *(_at(x, i) for x in xs), *consts]
        )
        carry = found[: loop.carries]
        for kept, y in zip(ys, found[loop.carries :], strict=True):
            kept.append(y)
        for kept, k in zip(states, loop.kept, strict=True):
            kept.append(carry[k])
    if loop.reverse:
        for kept in (*ys, *states):
            kept.reverse()
    assert isinstance(node.type, Bundle)
    stacks = [
        _stacked(kept, ty)
        for kept, ty in zip([*ys, *states], node.type.parts[loop.first_y :], strict=True)
    ]
    return [*carry, *stacks]


def _branched(node: Value, blocks: list[Any]) -> list[Any]:
    """A branch that stays one, its arms taken apart: where it is not taken, a loop in it need not end."""
    pred, *consts = blocks
    arms = [_scalarised(node.params[name], {}) for name in ("then", "otherwise")]
    flat = [v for block in consts for v in block.ravel()]
    found = items(apply(COND, pred[()], *flat, then=arms[0][0], otherwise=arms[1][0]))
    out = []
    for slot in arms[0][2]:
        block = np.empty(slot.shape, dtype=object)
        for index, k in np.ndenumerate(slot):
            block[index] = found[k]
        out.append(block)
    return out


def _all_inside(node: Value) -> list[Value]:
    """A loop or branch and all statements in it, however deep."""
    found = [node]
    for inner in found:
        for name in inner.op.regions:
            found += inner.params[name].body
    return found


def _of_numbers(node: Value) -> bool:
    """Whether a loop has no arrays, whatever it contains: it may stay a loop."""
    shapes = []
    for inner in _all_inside(node):
        parts = inner.type.parts if isinstance(inner.type, Bundle) else (inner.type,)
        shapes += [ty.shape for ty in (*parts, *(a.type for a in inner.args if a.op is not SIZE))]
    return not any(shapes)


def _kept(node: Value, blocks: list[Any]) -> list[Any]:
    """The loop as it stands, on the numbers of the program taken apart."""
    trace = current_trace()
    assert trace is not None
    made = with_args(node, tuple([b[()] for b in blocks]))
    trace.body.append(made)
    return [_cell(item) for item in items(made)]


def _cell(value: Value) -> Any:
    """The block of one number."""
    block = np.empty((), dtype=object)
    block[()] = value
    return block


def _at(x: Any, i: int) -> Any:
    item = np.empty(x.shape[1:], dtype=object)
    item[() if x.ndim == 1 else ...] = x[i]
    return item


def _stacked(items: list[Any], ty: Type) -> Any:
    out = np.empty(ty.lengths, dtype=object)
    for k, item in enumerate(items):
        out[k] = item if item.shape else item[()]
    return out


def _known(pred: Value, block: Any, arm: int) -> Any:
    """What a block is in a branch that is taken where an earlier choice by the same condition took its `arm`: 1 or 2."""
    if not isinstance(block, np.ndarray):  # the results of a loop that is kept
        return block
    out = block
    for index, v in np.ndenumerate(block):
        if v.op is OPS["where"] and v.args[0] is pred:
            if out is block:
                out = block.copy()
            out[index] = v.args[arm]
    return out


def _chosen(pred: Value, a: Any, b: Any) -> Any:
    out = np.empty(a.shape, dtype=object)
    for index in np.ndindex(*a.shape):
        x, y = a[index], b[index]
        out[index] = x if x is y else scalar(OPS["where"], pred, x, y)
    return out


# -- zeros that are no numbers but the absence of a direction: rows of an identity matrix
ZEROS = {
    dtype: new_node(CONST, (), {"value": np.zeros((), DTYPES[dtype])}, Type.of(dtype), None, None)
    for dtype in ("f64", "f32")
}
_ZERO_IDS = {id(v) for v in ZEROS.values()}


def scalar(op: Any, *args: Any, **params: Any) -> Value:
    """`op` on scalars; an absent direction stays absent through products and drops out of sums."""
    trace = current_trace()
    site = trace.site if trace is not None else None
    # In a statement that differentiation made, the number 0 is where a tangent starts that nothing reaches.
    derived = site is not None and len(site) > 2
    absent = [
        id(a) in _ZERO_IDS
        or (derived and isinstance(a, Value) and a.op is CONST and not a.params["value"])
        for a in args
    ]
    if True in absent:
        name = op.name
        first = absent[0]
        if (
            name in ("mul", "mulz", "neg")
            or (name in ("div", "cast") and first)
            or (name == "where" and absent[1] and absent[2])
            or (name in ("add", "sub") and all(absent))
        ):
            dtype = op.infer(*[a.type for a in args], **params).dtype
            if dtype in ZEROS:
                return ZEROS[dtype]
        if name in ("add", "sub") and not all(absent) and args[0].type is args[1].type:
            other = args[1] if first else args[0]
            return apply(OPS["neg"], other) if name == "sub" and first else other
    return apply(op, *args, **params)


def _check(ty: Type, node: Value) -> None:
    if ty.shape and (not ty.static or math.prod(ty.lengths) > LIMIT):
        raise EmitError(
            f"the python target needs scalars and small arrays of fixed size, got {ty}",
            'Use target="numpy" or "c", or give the sizes numbers.',
            site=node.site,
        )


def _block(env: dict[int, Any], node: Value) -> Any:
    known = env.get(id(node))
    if known is not None:
        return known
    if node.op is not CONST:
        raise EmitError(
            f"the python target needs sizes that are numbers, got {node.params.get('size')}"
        )
    value = node.params["value"]
    block = np.empty(node.type.lengths, dtype=object)
    for index in np.ndindex(*node.type.lengths):
        block[index] = constant(value[index], node.type.dtype)
    env[id(node)] = block
    return block


def _evaluate(node: Value, blocks: list[Any]) -> Any:
    """The block of a statement's result, its elements in the result's dtype: parts that are joined may be of others."""
    out = _elements(node, blocks)
    dtype = node.type.dtype
    if not node.op.elementwise and any(a.type.dtype != dtype for a in node.args):
        out = out.copy()
        for index, v in np.ndenumerate(out):
            if v.type.dtype != dtype:
                out[index] = scalar(OPS["cast"], v, dtype=dtype)
    return out


def _elements(node: Value, blocks: list[Any]) -> Any:
    op = node.op
    if op is EYE:
        dtype = node.params["dtype"]
        unit = np.empty(node.type.lengths, dtype=object)
        for i, j in np.ndindex(*unit.shape):
            unit[i, j] = constant(1, dtype) if i == j else ZEROS[dtype]
        return unit
    if op.elementwise:
        if not node.type.shape:  # by far the most common
            return _cell(scalar(op, *[b[()] for b in blocks], **node.params))
        shape = node.type.lengths
        spread = [np.broadcast_to(b, shape) for b in blocks]
        out = np.empty(shape, dtype=object)
        for index in np.ndindex(*shape):
            out[index] = scalar(op, *[b[index] for b in spread], **node.params)
        return out
    if op.name in _FOLDS or op.name in ("logsumexp", "peak"):
        return _reduce(node, blocks[0])
    if op.name in ORDERS or op.name in LINALG:
        why = "which element it takes depends on data" if op.name in ORDERS else "it needs arrays"
        raise EmitError(
            f"the python target has no {op.name}: {why}",
            'Use target="numpy" or "c".',
            site=node.site,
        )
    if op.name in ("slice_add", "slice_set", "scatter_add", "scatter_set"):
        return _update(node, blocks)
    if op.name == "gather":
        blocks = [
            np.vectorize(_index, otypes=[int])(b) if not a.type.is_float else b
            for a, b in zip(node.args, blocks, strict=True)
        ]
    if op.name == "stack":  # np.stack of 0-d object arrays would look inside the Values
        out = np.empty((len(blocks), *blocks[0].shape), dtype=object)
        for k, b in enumerate(blocks):
            out[k] = b[()] if not b.shape else b
        return np.moveaxis(out, 0, node.params["axis"])
    dtype = node.type.dtype
    if op.name in ("cumsum", "cumprod") and node.args[0].type.dtype != dtype:  # of bool and i32
        blocks = [np.frompyfunc(lambda v: scalar(OPS["cast"], v, dtype=dtype), 1, 1)(blocks[0])]
    if op.name == "recurrence":
        return _recurrence(blocks, **node.params)
    if op.name == "outer":
        return _times(blocks[0][:, None], blocks[1][None, :])
    if op.name == "matmul":
        return _matmul(blocks[0], blocks[1], node.type.lengths)
    out = op.evaluate(*blocks, **node.params)
    return _as_block(out, node.type.lengths, node.type.dtype)


def _as_block(out: Any, shape: tuple[Any, ...], dtype: str) -> Any:
    if isinstance(out, np.ndarray) and out.dtype == object:
        for index, item in np.ndenumerate(out):
            if not isinstance(item, Value):  # the zeros of a triangle
                out[index] = constant(item, dtype)
        return out
    block = np.empty(shape, dtype=object)
    block[()] = out
    return block


def _update(node: Value, blocks: list[Any]) -> Any:
    """The accumulator with some elements replaced or added to, one by one: indices may repeat."""
    acc, v, *indices = blocks
    places = np.arange(acc.size).reshape(acc.shape)
    if node.op.name in ("scatter_add", "scatter_set"):
        arrays = [np.vectorize(_index, otypes=[int])(b) for b in indices]
        places = places[(slice(None),) * node.params["axis"] + tuple(arrays)]
    else:
        places = np.asarray(places[python_index(node.params["index"])])
    flat = acc.reshape(-1).copy()
    spread = np.broadcast_to(v, places.shape)
    for index in np.ndindex(*places.shape):
        k = int(places[index])
        put = node.op.name in ("slice_set", "scatter_set")
        flat[k] = spread[index] if put else scalar(OPS["add"], flat[k], spread[index])
    return flat.reshape(acc.shape)


def _index(value: Value) -> int:
    if value.op is not CONST:
        raise EmitError("the python target needs indices that are known at trace time")
    return int(value.params["value"])


def _reduce(node: Value, x: Any) -> Any:
    axes, ndim = node.params["axes"], x.ndim
    kept = [k for k in range(ndim) if k not in axes]
    count = math.prod(x.shape[k] for k in axes)
    moved = x.transpose(kept + list(axes)).reshape(*(x.shape[k] for k in kept), count)
    out = np.empty(moved.shape[:-1], dtype=object)
    for index in np.ndindex(*out.shape):
        out[index] = _fold(node, list(moved[index]))
    return out.reshape(node.type.lengths)


_FOLDS = {
    "sum": "add", "prod": "mul", "reduce_max": "maximum", "reduce_min": "minimum", "any": "logical_or", "all": "logical_and",
}  # fmt: skip
LINALG = frozenset((
    "inv", "solve", "solve_triangular", "det", "cofactor", "logabsdet", "det_sign", "cholesky", "qr", "eigh", "eigvalsh",
    "svd", "svdvals", "pinv", "expm", "dft",
))  # fmt: skip
ORDERS = frozenset(("argsort", "searchsorted", "argmax", "argmin"))


def _fold(node: Value, items: list[Value]) -> Value:
    name = node.op.name
    if not items:  # what the op makes of nothing
        params = {k: v for k, v in node.params.items() if k not in ("axes", "keepdims")}
        nothing = np.zeros(0, DTYPES[node.args[0].type.dtype])
        return constant(node.op.evaluate(nothing, axes=(0,), **params), node.type.dtype)
    if name == "logsumexp":
        top = _peak(items)
        total = functools.reduce(lambda a, b: a + b, [apply(OPS["exp"], v - top) for v in items])
        return apply(OPS["log"], total) + top
    if name == "peak":
        return _peak(items)
    if not node.args[0].type.is_float and name in ("sum", "prod"):
        items = [apply(OPS["cast"], v, dtype=node.type.dtype) for v in items]
    binary = OPS[_FOLDS[name]]
    return functools.reduce(lambda a, b: scalar(binary, a, b), items)


def _peak(items: list[Value]) -> Value:
    """The largest item, 0 where that is not finite: from infinite ones nothing is taken off, which would make NaN."""
    top = functools.reduce(lambda a, b: apply(OPS["maximum"], a, b), items)
    return apply(OPS["where"], apply(OPS["isfinite"], top), top, constant(0.0, top.type.dtype))


def _recurrence(blocks: list[Any], reverse: bool, lag: bool, initial: float) -> Any:
    a, b = blocks
    r = b.copy()
    order = list(range(b.shape[-1]))[:: -1 if reverse else 1]
    for k, i in enumerate(order):
        for index in np.ndindex(*b.shape[:-1]):
            if k == 0:
                r[(*index, i)] = r[(*index, i)] + initial
            else:
                before = order[k - 1]
                c = a[(*index, before if lag else i)]
                r[(*index, i)] = r[(*index, i)] + c * r[(*index, before)]
    return r


_times = np.frompyfunc(lambda a, b: scalar(OPS["mul"], a, b), 2, 1)
_plus = np.frompyfunc(lambda a, b: scalar(OPS["add"], a, b), 2, 1)


def _matmul(a: Any, b: Any, shape: tuple[Any, ...]) -> Any:
    if a.shape[-1] == 0:
        out = np.empty(shape, dtype=object)
        for index in np.ndindex(*shape):
            out[index] = constant(0.0)
        return out
    rows = a if a.ndim > 1 else a[None, :]
    columns = b if b.ndim > 1 else b[:, None]
    total = None
    for k in range(rows.shape[-1]):
        term = _times(rows[..., :, k, None], columns[..., None, k, :])
        total = term if total is None else _plus(total, term)
    return np.asarray(total).reshape(shape)
