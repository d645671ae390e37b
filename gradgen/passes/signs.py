"""Signs: -(c * x) with a number c is (-c) * x, one pass over memory less where each statement is one; the same number."""

from __future__ import annotations

from gradgen.ir import CONST, OPS, Function, use_counts
from gradgen.passes.dce import dce
from gradgen.rewriting import rewrite
from gradgen.value import Value, apply, constant

MUL, DIV, NEG = OPS["mul"], OPS["div"], OPS["neg"]


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


__all__ = ["signs"]
