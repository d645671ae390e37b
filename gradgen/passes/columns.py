"""Maps over small arrays by columns, for NumPy: each number of an item becomes one array over all items.

    p = away[:, :2] / away[:, 2, None]        p_0 = away_0 / away_2
                                              p_1 = away_1 / away_2

A statement over n items of two numbers runs in n loops of two steps, one over n numbers in a single loop; and taken apart
(see `scalarise`) a body loses the zeros of its matrices and the directions that do not meet. Only for bodies whose arrays
are all small, and whose text is not much longer for it: a sum over an axis or a product of matrices is better as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.cse import cse
from gradgen.errors import EmitError
from gradgen.ir import CONST, Function, use_counts
from gradgen.ops.assign import setitem
from gradgen.ops.index import zeros
from gradgen.ops.regions import ITEM, SCAN, Loop, items
from gradgen.ops.shape import STACK
from gradgen.passes.dce import dce
from gradgen.passes.scalarise import scalarise
from gradgen.passes.simplify import simplify
from gradgen.passes.small import EFFORT, few_numbers, weight
from gradgen.rewriting import with_args, with_regions, within
from gradgen.sizes import Dim
from gradgen.value import Trace, Value, apply

GROWTH = 2  # statements by columns for each statement over arrays, at most


def columns(fn: Function) -> Function:
    """`fn` with its maps over small arrays by columns, the outermost that can be."""
    return with_regions(_own(fn), columns)


def _own(fn: Function) -> Function:
    if not any(_is_map(node) for node in fn.body):
        return fn
    new: dict[Value, Value] = {}
    with Trace(trusted=True) as trace:
        for node in fn.body:
            if node in new:
                continue  # a result of a map by columns
            made = node
            if any(a in new for a in node.args):
                made = with_args(node, tuple([new.get(a, a) for a in node.args]))
            parts = _apart(node.params["body"]) if _is_map(node) else None
            if parts is None:
                if made is not node:
                    new[node] = made
                trace.body.append(made)
                continue
            trace.site = node.site
            results = _by_columns(made, *parts)
            for item in fn.body:
                if item.op is ITEM and item.args[0] is node:
                    new[item] = result = results[item.params["k"]]
                    result.name = result.name or item.name
    return fn.with_body(trace.body, [new.get(v, v) for v in fn.outputs])


def _is_map(node: Value) -> bool:
    return node.op is SCAN and not node.params["carries"]


def _apart(body: Function) -> tuple[Function, list[np.ndarray], list[np.ndarray]] | None:
    """A body as scalars, where that is worth it; see `scalarise`."""
    if not few_numbers(body, regions=True) or weight(body) > EFFORT:
        return None
    try:
        scalars, places, slots = scalarise(body)
    except EmitError:
        return None
    scalars = _neat(scalars)
    if len(scalars.body) > GROWTH * _length(_neat(body)):
        return None
    return scalars, places, slots


def _neat(fn: Function) -> Function:
    for step in (simplify, dce, cse):
        fn = step(within(fn, step))
    return fn


def _length(fn: Function) -> int:
    """Statements of a Function and of its branches."""
    inner = (node.params[name] for node in fn.body for name in node.op.regions)
    return len(fn.body) + sum(_length(region) for region in inner)


def _by_columns(
    node: Value, body: Function, places: list[np.ndarray], slots: list[np.ndarray]
) -> list[Value]:
    """The results of a map whose body has been taken apart."""
    loop, length = Loop.of(node), node.params["length"]
    arrays = [(x, (slice(None),)) for x in loop.xs] + [(x, ()) for x in loop.consts]
    counts = use_counts(body)
    operands: list[Any] = []
    for (x, lead), place in zip(arrays, places[1:], strict=True):
        for index in np.ndindex(*place.shape):
            operand = x[(*lead, *index)] if index else x
            p = body.inputs[len(operands) + 1]
            if index and x.name and counts[p] > 1:
                operand.name = "_".join([x.name, *map(str, index)])
            operands.append(operand)
    count = sum(place.size for place in places[1 : 1 + loop.items])
    found = items(apply(SCAN, *operands, **{**node.params, "body": body, "items": count}))
    return [_whole(slot, found, body.outputs, length) for slot in slots]


def _whole(slot: np.ndarray, found: list[Value], outputs: list[Value], length: Dim) -> Value:
    """A result of its columns: stacked, or stored one by one between zeros."""
    if not slot.shape:
        return found[int(slot)]
    absent = [_is_zero(outputs[k]) for k in slot.ravel()]
    if slot.ndim == 1 and not any(absent):
        return apply(STACK, *[found[k] for k in slot], axis=1)
    out = zeros(outputs[int(slot.ravel()[0])].type.with_shape((length, *slot.shape)))
    for (index, k), gone in zip(np.ndenumerate(slot), absent, strict=True):
        if not gone:
            out = setitem(out, (slice(None), *index), found[k])
    return out


def _is_zero(value: Value) -> bool:
    return value.op is CONST and not value.params["value"]
