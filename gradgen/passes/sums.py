"""Sums over the rows of a product of matrices become products of sums, where differentiation made them.

    sum over i of (A @ B)[i, :]            ->   (sum over i of A[i, :]) @ B       and over columns  A @ (sum over j of B[:, j])
    sum over i of (x[i] * c)               ->   (sum over i of x[i]) * c          c the same for all i
    sum of (u + v), of (u - v), of -u      ->   of each, where one of them holds such a product

The cotangent of what was broadcast (a bias, a centre) is such a sum; a product of m by k and k by n numbers then costs
(m + n) k operations instead of m n k, and the matrix is not made. Only products that nothing else reads are taken apart.
Rounding: the terms are added before they are multiplied; the error stays within that of adding up all of them.
"""

from __future__ import annotations

from gradgen.ir import OPS, Function, use_counts
from gradgen.ops.contract import MATMUL
from gradgen.ops.reduce import SUM
from gradgen.passes.dce import dce
from gradgen.passes.simplify import make
from gradgen.rewriting import rewrite
from gradgen.value import Value

DEPTH = 8  # of a sum of terms


def sums(fn: Function) -> Function:
    """`fn` with sums of products of matrices as products of sums."""
    if not fn.has(MATMUL):
        return fn
    counts = use_counts(fn)
    alone = {node for node in fn.body if counts.get(node, 0) == 1}

    def rule(node: Value, args: tuple[Value, ...]) -> Value | None:
        (axis, *more) = node.params["axes"]
        made = node.site is not None and len(node.site) > 2
        if more or not made or not _holds_product(args[0], axis, alone):
            return None
        total = _summed(args[0], axis, alone)
        if total.type is node.type:
            return total
        return make(OPS["reshape"], total, shape=node.type.shape)

    return dce(rewrite(fn, {SUM: [rule]}))


def _holds_product(x: Value, axis: int, alone: set[Value], depth: int = DEPTH) -> bool:
    """Whether a term of x is a product of matrices that is made for this sum alone."""
    if x not in alone or not depth:
        return False
    if x.op is MATMUL:
        return _kept_side(x, axis) is not None
    if x.op.name in ("add", "sub"):
        same = all(a.type is x.type for a in x.args)
        return same and any(_holds_product(a, axis, alone, depth - 1) for a in x.args)
    if x.op.name == "neg":
        return _holds_product(x.args[0], axis, alone, depth - 1)
    found = _steady_factor(x, axis)
    return found is not None and _holds_product(found[0], axis, alone, depth - 1)


def _summed(x: Value, axis: int, alone: set[Value]) -> Value:
    """The sum of x over an axis, which stays with length 1, taken apart as far as its terms are made for it."""
    if x in alone:
        if x.op is MATMUL and _kept_side(x, axis) is not None:
            return _product(x, axis)
        if x.op.name in ("add", "sub") and all(a.type is x.type for a in x.args):
            return make(x.op, *[_summed(a, axis, alone) for a in x.args])
        if x.op.name == "neg":
            return make(x.op, _summed(x.args[0], axis, alone))
        found = _steady_factor(x, axis)
        if found is not None:
            return make(OPS["mul"], _summed(found[0], axis, alone), found[1])
    return _total(x, axis)


def _kept_side(x: Value, axis: int) -> int | None:
    """The operand of a product that the sum leaves whole: 1 for a sum over rows, 0 for one over columns; None for others."""
    a, b = x.args
    if (
        not (a.type.ndim == b.type.ndim == x.type.ndim >= 2)
        or a.type.shape[:-2] != b.type.shape[:-2]
    ):
        return None
    return {x.type.ndim - 2: 1, x.type.ndim - 1: 0}.get(axis)


def _product(x: Value, axis: int) -> Value:
    a, b = x.args
    if _kept_side(x, axis) == 1:
        return make(MATMUL, _total(a, axis), b)
    return make(MATMUL, a, _total(b, axis))


def _total(x: Value, axis: int) -> Value:
    return make(SUM, x, axes=(axis,), keepdims=True)


def _steady_factor(x: Value, axis: int) -> tuple[Value, Value] | None:
    """(u, c) where x is u * c and c is the same all along the axis."""
    if x.op.name != "mul":
        return None
    for u, c in (x.args, x.args[::-1]):
        at = axis - (x.type.ndim - c.type.ndim)
        if u.type is x.type and c.type.dtype == u.type.dtype and (at < 0 or c.type.shape[at] == 1):
            return u, c
    return None
