"""Signs, the number being the same (a zero's sign apart):

signs         -(c * x) with a number c is (-c) * x, one pass over memory less where each statement is one
differences   a + -x @ y is a - x @ y, and -(-x @ y - b) is x @ y + b
"""

from __future__ import annotations

from gradgen.ir import CONST, OPS, Function, use_counts
from gradgen.passes.dce import dce
from gradgen.rewriting import rewrite
from gradgen.value import Value, apply, constant

ADD, SUB, MUL, DIV, NEG = (OPS[name] for name in ("add", "sub", "mul", "div", "neg"))
PRODUCTS = (OPS["matmul"], OPS["outer"])


def signs(fn: Function) -> Function:
    """`fn` with the signs of products and quotients of arrays in their constant factors."""
    if not any(node.op is NEG and node.type.shape for node in fn.body):
        return fn
    counts = use_counts(fn)

    def rule(node: Value, args: tuple[Value, ...]) -> Value | None:
        (x,) = args
        single = counts.get(node.args[0]) == 1 and x.name is None
        if not (single and node.type.shape and x.op in (MUL, DIV)):
            return None
        for k, a in enumerate(x.args):
            if a.op is CONST and not a.type.shape and a.type.is_float:
                c = constant(-a.params["value"], a.type.dtype)
                return apply(x.op, *x.args[:k], c, *x.args[k + 1 :])
        return None

    return dce(rewrite(fn, {NEG: [rule]}))


def differences(fn: Function) -> Function:
    """`fn` where the sign of a product's operand that is read nowhere else turns a sum into a difference, or the reverse."""
    if not fn.has(NEG):
        return fn
    counts = use_counts(fn)

    def own(old: Value, new: Value) -> bool:
        return counts.get(old) == 1 and new.name is None and old.op is new.op

    def unsigned(old: Value, new: Value) -> Value | None:
        """x @ y where an operand is -x @ y, and nothing else reads that or -x."""
        if new.op not in PRODUCTS or not own(old, new):
            return None
        for k, a in enumerate(new.args):
            if a.op is NEG and own(old.args[k], a):
                return apply(new.op, *new.args[:k], a.args[0], *new.args[k + 1 :], **new.params)
        return None

    def added(node: Value, args: tuple[Value, ...]) -> Value | None:
        for k in (1, 0):
            product = unsigned(node.args[k], args[k])
            if product is not None:
                return apply(SUB, args[1 - k], product)
        return None

    def subtracted(node: Value, args: tuple[Value, ...]) -> Value | None:
        product = unsigned(node.args[1], args[1])
        return None if product is None else apply(ADD, args[0], product)

    def negated(node: Value, args: tuple[Value, ...]) -> Value | None:
        old, new = node.args[0], args[0]
        if new.op is SUB and own(old, new):
            product = unsigned(old.args[0], new.args[0])
            return None if product is None else apply(ADD, product, new.args[1])
        return unsigned(old, new)

    return dce(rewrite(fn, {ADD: [added], SUB: [subtracted], NEG: [negated]}))


__all__ = ["differences", "signs"]
