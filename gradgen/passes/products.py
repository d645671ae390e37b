"""Products: sums that NumPy computes as one product of vectors, and zeros that are written over; for whole arrays only.

    sum(a * b)                        ->   a @ b                          over all elements, a and b of one shape
    sum(c * a**2 + b**2)              ->   c * (a @ a) + b @ b            c > 0: terms of one sign, so that nothing cancels
    zeros, then [index] += v          ->   zeros, then [index] = v        the first addition there

Rounding: a BLAS adds in another order. Each saves a pass over memory and an array; in C, where loops are fused, nothing.
"""

from __future__ import annotations

from typing import Any

from gradgen.ir import CONST, OPS, Function, use_counts
from gradgen.ops.contract import MATMUL
from gradgen.ops.index import SLICE_ADD, SLICE_SET, is_zeros
from gradgen.ops.reduce import SUM
from gradgen.ops.spans import Index, Stretch, extents
from gradgen.passes.dce import dce
from gradgen.rewriting import rewrite
from gradgen.types import Shape
from gradgen.value import Value, apply, constant

Args = tuple[Value, ...]
TERMS = 8  # of one sum
STORES = 16  # into one array, looked through for those at one place


def products(fn: Function) -> Function:
    """`fn` with sums of products as products of vectors."""
    if not fn.has(SUM, SLICE_ADD):
        return fn
    counts = use_counts(fn)

    def sum_rule(node: Value, args: Args) -> Value | None:
        (x,) = args
        if node.type.shape or not x.type.is_float or not x.type.shape:
            return None
        if counts.get(node.args[0], 0) > 1:
            return None  # the product is there anyway
        terms = _terms(x)
        if terms is None:
            return None
        total: Value | None = None
        for c, a, b in terms:
            dot = apply(MATMUL, _flat(a), _flat(b))
            term = dot if c is None else apply(OPS["mul"], c, dot)
            total = term if total is None else total + term
        return total

    def add_rule(node: Value, args: Args) -> Value | None:
        first = _is_first(node, counts)
        return apply(SLICE_SET, *args, **node.params) if first else None

    return dce(rewrite(fn, {SUM: [sum_rule], SLICE_ADD: [add_rule]}))


def _is_first(node: Value, counts: dict[Value, int]) -> bool:
    """Whether an addition is to zeros of the function's own into which nothing was written where it adds."""
    index, acc = node.params["index"], node.args[0]
    for _ in range(STORES):
        if counts.get(acc, 0) != 1:
            return False
        if acc.op is not SLICE_ADD and acc.op is not SLICE_SET:
            return is_zeros(acc)
        if not _are_apart(index, acc.params["index"], acc.type.shape):
            return False
        acc = acc.args[0]
    return False


def _are_apart(one: Index, other: Index, shape: Shape) -> bool:
    """Whether two places of an array have no element in common, as the known bounds of one axis tell."""
    pairs = zip(extents(shape, one), extents(shape, other), strict=True)
    bounds = [(_bounds(a), _bounds(b)) for a, b in pairs]
    return any(a and b and (a[1] < b[0] or b[1] < a[0]) for a, b in bounds)


def _bounds(at: Stretch) -> tuple[int, int] | None:
    """The lowest and the highest element of an axis that a place has, if they are known."""
    if not isinstance(at.start, int) or not isinstance(at.length, int):
        return None
    last = at.start + at.step * (at.length - 1)
    return min(at.start, last), max(at.start, last)


def _flat(x: Value) -> Value:
    return x if x.type.ndim == 1 else apply(OPS["reshape"], x, shape=(x.type.size,))


def _terms(x: Value) -> list[tuple[Value | None, Value, Value]] | None:
    """(c, a, b) for each term c*a*b of x; None unless x is one product, or a sum of squares times positive numbers."""
    waiting: list[tuple[Any, Value]] = [(1.0, x)]
    found: list[tuple[Any, Value, Value]] = []
    while waiting:
        c, value = waiting.pop()
        if value.type is not x.type or len(found) + len(waiting) > TERMS:
            return None
        if value.op is OPS["add"]:
            waiting += [(c, a) for a in reversed(value.args)]
        elif value.op is OPS["square"]:
            found.append((c, value.args[0], value.args[0]))
        elif value.op is OPS["mul"]:
            number = next((a for a in value.args if _is_number(a)), None)
            if number is None:
                found.append((c, *value.args))
            else:
                other = value.args[1] if number is value.args[0] else value.args[0]
                waiting.append((c * number.params["value"], other))
        else:
            return None
    if len(found) > 1 and not all(a is b and c > 0 for c, a, b in found):
        return None
    if any(a.type is not x.type or b.type is not x.type for _, a, b in found):
        return None
    return [(None if c == 1 else constant(c, x.type.dtype), a, b) for c, a, b in found]


def _is_number(value: Value) -> bool:
    return value.op is CONST and not value.type.shape


__all__ = ["products"]
