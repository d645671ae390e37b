"""Factors: a multiple of an array that is computed anyway serves further products, where each statement is a pass over memory.

    d*(y*z)          ->   (d*y)*z                 d*y is computed anyway
    c*x + d*(y*z)    ->   c*(x + (k*y)*z)         k*y is, with k = |d/c|; likewise for differences, and with the terms exchanged

Each saves a pass over an array. c is a power of two of at least 1 and d/c exact, so that only the order of the products is
another: rounding, neither form being the better, and no sum overflows that did not.
"""

from __future__ import annotations

import numpy as np

from gradgen.ir import OPS, Function, use_counts
from gradgen.passes.dce import dce
from gradgen.passes.simplify import is_power_of_two, scaled
from gradgen.rewriting import rewrite
from gradgen.value import Value, apply, constant

Args = tuple[Value, ...]
Multiple = tuple[float, Value]  # (k, y) for k*y
ADD, SUB, MUL, NEG = OPS["add"], OPS["sub"], OPS["mul"], OPS["neg"]


def factors(fn: Function) -> Function:
    """`fn` with multiples of arrays shared among its products and sums of products."""
    there = {found for n in fn.body if (found := _multiple(n)) is not None}
    if len(there) < 2:
        return fn
    counts = use_counts(fn)
    made: dict[Multiple, Value] = {}

    def is_own(v: Value) -> bool:
        """Whether nothing else needs the value, and a rule may take it apart."""
        return counts.get(v) == 1 and v.name is None

    def term(v: Value) -> Multiple | None:
        """(k, y), where an operand is k*y or its negative and nothing else needs it."""
        if not is_own(v):
            return None
        if v.op is not NEG:
            return _multiple(v)
        inner = _multiple(v.args[0]) if is_own(v.args[0]) else None
        return None if inner is None else (-inner[0], inner[1])

    def times(k: float, product: Value) -> Value | None:
        """k*(y*z) as (k*y)*z, if k*y is computed anyway and y*z for nothing else."""
        if product.op is not MUL or not is_own(product):
            return None
        for y, z in (product.args, product.args[::-1]):
            if (k, y) in there and y.type is z.type is product.type:
                if (k, y) not in made:
                    made[k, y] = apply(MUL, constant(k, y.type.dtype), y)
                return apply(MUL, made[k, y], z)
        return None

    def product_rule(node: Value, args: Args) -> Value | None:
        found = _multiple(node)
        if found is None or args is not node.args:
            return None
        if found not in made:
            out = times(*found)
            if out is not None:
                return out
            made[found] = node
            return None
        return made[found]

    def sum_rule(node: Value, args: Args) -> Value | None:
        left, right = map(term, args)
        if left is None or right is None:
            return None
        plus = node.op is ADD
        for (c, x), (d, product), swapped in ((left, right, False), (right, left, True)):
            k = d / c
            if not (abs(c) >= 1 and is_power_of_two(c) and k * c == d):
                continue
            rest = times(abs(k), product)
            if rest is None:
                continue
            if not swapped:  # c*x +- d*p
                total = apply(ADD if plus == (k > 0) else SUB, x, rest)
            elif k > 0:  # d*p +- c*x
                total = apply(node.op, rest, x)
            else:  # -|d|*p + c*x = c*(x - |k|*p), and -|d|*p - c*x = -c*(x + |k|*p)
                c = c if plus else -c
                total = apply(SUB if plus else ADD, x, rest)
            return apply(MUL, constant(c, x.type.dtype), total)
        return None

    return dce(rewrite(fn, {MUL: [product_rule], ADD: [sum_rule], SUB: [sum_rule]}))


def _multiple(value: Value) -> Multiple | None:
    """(k, y), where value is an array k*y for a finite number k."""
    c, y = scaled(value)
    if c is None or not y.type.shape or not y.type.is_float:
        return None
    k = float(c.params["value"])
    return (k, y) if np.isfinite(k) and k else None


__all__ = ["factors"]
