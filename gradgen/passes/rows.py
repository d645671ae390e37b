"""Rows: sums of products over short axes of many rows become one np.einsum, for whole arrays only.

    sum(a * b, axis=1)                ->   einsum("ij,ij->i", a, b)
    sum(a * b[:, None, :], axis=2)    ->   einsum("ijk,ik->ij", a, b)         axes of one element broadcast: they go
    sum(a**2, axis=1)                 ->   einsum("ij,ij->i", a, a)

np.sum starts anew for each row, which costs it more than a short row's elements; and the products need no array. On 10,000
rows of 3 it takes 4 times as long, of 32 still 3 times; of 10 rows both take a call's time. Rounding: NumPy adds long rows
pairwise and einsum does not, so that those remain sums; of 32 elements neither is the better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradgen.ir import OPS, Function, use_counts
from gradgen.ops.contract import EINSUM
from gradgen.ops.reduce import SUM
from gradgen.passes.dce import dce
from gradgen.passes.simplify import make
from gradgen.rewriting import rewrite
from gradgen.types import Shape
from gradgen.value import Value, apply

MUL, SQUARE = OPS["mul"], OPS["square"]
LETTERS = "ijklmnopqrstuvwxyz"
SHORT = 32  # elements of a row, at most
MANY = 64  # rows, at least, where their number is known


def rows(fn: Function) -> Function:
    """`fn` with sums of products over short axes as einsum, where nothing else reads the products."""
    waiting = {node for node in fn.body if _is_sum_of_rows(node)}
    if not waiting:
        return fn
    counts = use_counts(fn)
    for node in waiting:
        counts[node.args[0]] -= 1
    made: dict[tuple[Value, Value, str], Value] = {}

    def rule(node: Value, args: tuple[Value, ...]) -> Value | None:
        if node not in waiting or counts[node.args[0]]:
            return None
        shape, factors = args[0].type.shape, args[0].args
        a, left = _squeezed(factors[0], shape)
        b, right = _squeezed(factors[-1], shape)
        out = "".join(LETTERS[k] for k in range(len(shape)) if k not in node.params["axes"])
        key = (a, b, f"{left},{right}->{out}")
        if key not in made:
            made[key] = apply(EINSUM, a, b, text=key[2])
        return make(OPS["reshape"], made[key], shape=node.type.shape)

    return dce(rewrite(fn, {SUM: [rule]}))


def _is_sum_of_rows(node: Value) -> bool:
    """Whether a statement is a sum of products over short axes, all of which both factors have, of many rows."""
    if node.op is not SUM or node.args[0].op not in (MUL, SQUARE):
        return False
    product, axes = node.args[0], node.params["axes"]
    shape = product.type.shape
    kept = [d for k, d in enumerate(shape) if k not in axes]
    summed = [shape[k] for k in axes]
    if not product.type.is_float or not kept or len(shape) > len(LETTERS):
        return False
    known = all(isinstance(d, int) for d in kept)
    if not all(isinstance(d, int) for d in summed) or not 2 <= math.prod(summed) <= SHORT:
        return False
    if known and math.prod(kept) < MANY:
        return False
    return all(
        v.type.dtype == product.type.dtype and _is_whole(v.type.shape, shape, axes)
        for v in product.args
    )


def _is_whole(own: Shape, shape: Shape, axes: Sequence[int]) -> bool:
    """Whether an operand's axes are the product's or broadcast, those summed over as they are."""
    lead = len(shape) - len(own)
    return all(k >= lead and own[k - lead] == shape[k] for k in axes) and all(
        d in (1, shape[lead + k]) for k, d in enumerate(own)
    )


def _squeezed(value: Value, shape: Shape) -> tuple[Value, str]:
    """A factor of a product of this shape without the axes that broadcast, and its letters."""
    lead = len(shape) - value.type.ndim
    kept = [k for k, d in enumerate(value.type.shape) if d == shape[lead + k]]
    dims = tuple(value.type.shape[k] for k in kept)
    value = value if len(kept) == value.type.ndim else make(OPS["reshape"], value, shape=dims)
    return value, "".join(LETTERS[lead + k] for k in kept)


__all__ = ["rows"]
