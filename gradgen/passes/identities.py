"""Identities: a sum over an axis of an identity matrix is the term that it picks, for whole arrays only.

    sum(eye(n) * x, axis=1)                                  ->   x
    sum(eye(n) * w[:, None, None] * p[:, None, :], axis=2)   ->   w[:, None] * p

The directions of a Jacobian are the rows of an identity, so that its first products are such sums, of n times as many terms.
Exact where all factors are finite; where one is not, the terms left out would have been 0 * inf, which no derivative has.
"""

from __future__ import annotations

import functools

from gradgen.ir import OPS, Function
from gradgen.ops.reduce import SUM
from gradgen.passes.dce import dce
from gradgen.passes.simplify import make
from gradgen.rewriting import rewrite
from gradgen.value import Value

EYE, MUL, RESHAPE = OPS["eye"], OPS["mul"], OPS["reshape"]
FACTORS = 8  # of one product


def identities(fn: Function) -> Function:
    """`fn` with sums over an axis of an identity matrix as the terms on its diagonal."""
    if not any(node.op is EYE for node in fn.body):
        return fn

    def rule(node: Value, args: tuple[Value, ...]) -> Value | None:
        shape, axes = args[0].type.shape, node.params["axes"]
        factors = _factors(args[0])
        eye = next((v for v in factors if v.op is EYE and v.type.shape == shape[-2:]), None)
        if eye is None or len(axes) != 1 or axes[0] < len(shape) - 2:
            return None
        others = [v for v in factors if v is not eye]
        parts = [part for v in others if (part := _diagonal(v)) is not None]
        if not parts or len(parts) + 1 != len(factors):
            return None
        total = functools.reduce(lambda x, y: make(MUL, x, y), parts)
        same = total.type.size == node.type.size and total.type.dtype == node.type.dtype
        return make(RESHAPE, total, shape=node.type.shape) if same else None

    return dce(rewrite(fn, {SUM: [rule]}))


def _factors(product: Value) -> list[Value]:
    """What is multiplied, in order."""
    found: list[Value] = []
    waiting = [product]
    while waiting:
        v = waiting.pop()
        if v.op is MUL and len(found) + len(waiting) < FACTORS:
            waiting += v.args[::-1]
        else:
            found.append(v)
    return found


def _diagonal(v: Value) -> Value | None:
    """A factor where the last two axes of the product have one index; None if it has both of them."""
    *lead, row, column = (1, 1, *v.type.shape)[-max(2, v.type.ndim) :]
    if row != 1 and column != 1:
        return None
    shape = (*lead, column if row == 1 else row)
    return v if v.type.shape in ((), shape) else make(RESHAPE, v, shape=shape)


__all__ = ["identities"]
