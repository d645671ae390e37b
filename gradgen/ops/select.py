"""Choosing between operands: where, maximum, minimum, clip.

Their rules are selects on the condition, not products with a 0-1 partial: a cotangent that is inf or nan on the branch not taken
(the slope of sqrt at 0, after a clip) then contributes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.ir import CONST, Op, define
from gradgen.ops.calls import greater, less, logical_and, maximum, where
from gradgen.ops.elementwise import by_dtype, elementwise, literal, type_rule
from gradgen.spelling import TERNARY, Expr, call, helper, template
from gradgen.types import Type
from gradgen.value import Value, unbroadcast


def _where_type(c: Type, a: Type, b: Type) -> Type:
    from gradgen.types import broadcast, promote

    return Type.of(promote(a.dtype, b.dtype), broadcast("where", c.shape, a.shape, b.shape))


WHERE = define(Op(
    "where", _where_type, np.where,
    "a where c is true, else b.",
    vjp=(
        None,
        lambda y_bar, y, c, a, b: unbroadcast(where(c, y_bar, 0.0), a.type),
        lambda y_bar, y, c, a, b: unbroadcast(where(c, 0.0, y_bar), b.type),
    ),
    jvp=(None, lambda a_dot, y, c, a, b: where(c, a_dot, 0.0), lambda b_dot, y, c, a, b: where(c, 0.0, b_dot)),
    masks=True, elementwise=True, memo={}, functions=(),
    operand_dtypes=lambda types, result: ("bool", result.dtype, result.dtype),
    numpy=call("np.where"),
    python=template("{1} if {0} else {2}", TERNARY, (TERNARY + 1, TERNARY + 1, TERNARY)),
    c=template("{0} ? {1} : {2}", TERNARY, (TERNARY + 1, TERNARY, TERNARY)),
))  # fmt: skip


def _share(bar: Value, wins: Value, a: Value, b: Value) -> Value:
    """What flows to the operand of a maximum or minimum that wins where `wins`; at a tie of a and b, half of it.

    A constant wins its ties: nothing flows there. The policy `ties="first"` would be decided here.
    """
    if a.op is CONST or b.op is CONST:
        return where(wins, bar, 0.0)
    return where(wins, bar, where(a == b, 0.5 * bar, 0.0))


def _extremum(name: str, ufunc: Any, beats: Any, symbol: str) -> Op:
    """maximum or minimum; `beats(a, b)` says whether a wins over b, as `symbol` does in source text."""
    other = "<" if symbol == ">" else ">"

    def first(bar: Value, y: Value, a: Value, b: Value) -> Value:
        return _share(bar, beats(a, b), a, b)

    def second(bar: Value, y: Value, a: Value, b: Value) -> Value:
        return _share(bar, beats(b, a), a, b)

    def constant_last(operands: Any, node: Any) -> tuple[Expr, Expr] | None:
        """(variable, constant), if one operand is a number: then a shorter text passes NaN on as well."""
        args = getattr(node, "args", ())
        for i, arg in enumerate(args):
            if literal(arg) is not None and literal(arg) == literal(arg):
                return operands[1 - i], operands[i]
        return None

    def python(operands: Any, node: Any, target: Any) -> Expr:
        # Python's max(x, 0.0) answers x unless 0.0 > x, hence NaN for NaN; max(0.0, x) would lose it.
        pair = constant_last(operands, node)
        if pair is not None:
            return Expr(f"{name[:3]}({pair[0].text}, {pair[1].text})")
        return Expr(f"{target.helper(name, node)}({operands[0].text}, {operands[1].text})")

    def c(operands: Any, node: Any, target: Any) -> Expr:
        pair = constant_last(operands, node)
        if pair is not None:
            x, k = (e.at(TERNARY + 1) for e in pair)
            return Expr(f"{x} {other} {k} ? {k} : {x}", TERNARY)
        a, b = (e.at(TERNARY + 1) for e in operands)
        return Expr(f"{a} {symbol} {b} || {a} != {a} ? {a} : {b}", TERNARY)

    return elementwise(
        name, "same", ufunc,
        f"The {'larger' if name == 'maximum' else 'smaller'} of a and b; NaN if one of them is.",
        vjp=(
            lambda y_bar, y, a, b: unbroadcast(first(y_bar, y, a, b), a.type),
            lambda y_bar, y, a, b: unbroadcast(second(y_bar, y, a, b), b.type),
        ),
        jvp=(first, second), masks=True, commutative=True, functions=(ufunc,),
        kink=f"{name}(a, b): half each at a tie; {name}(x, constant): 0 at the tie",
        numpy=call(f"np.{name}"), python=python, c=c,
    )  # fmt: skip


MAXIMUM = _extremum("maximum", np.maximum, greater, ">")
MINIMUM = _extremum("minimum", np.minimum, less, "<")
