"""Choosing between operands: where, maximum, minimum, clip.

Their rules are selects on the condition, not products with a slope of 0 or 1: a cotangent that is inf or nan where the branch
was not taken (the slope of sqrt at 0, after a clip) then contributes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.cotangents import unbroadcast
from gradgen.ir import CONST, Op
from gradgen.ops.calls import (
    equal,
    greater,
    less,
    less_equal,
    logical_and,
    logical_or,
    maximum,
    where,
)
from gradgen.ops.elementwise import elementwise, literal
from gradgen.ops.ties import first_wins
from gradgen.spelling import TERNARY, Expr, call, helper, template
from gradgen.types import Type, broadcast, promote
from gradgen.value import Value


def _where_type(c: Type, a: Type, b: Type) -> Type:
    return Type.of(promote(a.dtype, b.dtype), broadcast("where", c.shape, a.shape, b.shape))


WHERE = elementwise(
    "where", "same", np.where,
    "a where c is true, else b.",
    infer=_where_type,
    vjp=(
        None,
        lambda y_bar, y, c, a, b: unbroadcast(where(c, y_bar, 0.0), a.type),
        lambda y_bar, y, c, a, b: unbroadcast(where(c, 0.0, y_bar), b.type),
    ),
    jvp=(
        None,
        lambda a_dot, y, c, a, b: where(c, a_dot, 0.0),
        lambda b_dot, y, c, a, b: where(c, 0.0, b_dot),
    ),
    masks=True,
    operand_dtypes=lambda types, result: ("bool", result.dtype, result.dtype),
    numpy=call("np.where"),
    python=template("{1} if {0} else {2}", TERNARY, (TERNARY + 1, TERNARY + 1, TERNARY)),
    c=template("{0} ? {1} : {2}", TERNARY, (TERNARY + 1, TERNARY, TERNARY)),
)  # fmt: skip


# -- maximum and minimum
def _share(bar: Value, wins: Value, a: Value, b: Value) -> Value:
    """What flows to the operand that wins where `wins` is true; at a tie of a and b, half of it, or all to the first.

    A constant wins its ties: nothing flows to the other.
    """
    if a.op is CONST or b.op is CONST or first_wins():
        return where(wins, bar, 0.0)
    return where(wins, bar, where(equal(a, b), 0.5 * bar, 0.0))


def _constant_last(operands: Sequence[Expr], node: Any) -> tuple[Expr, Expr] | None:
    """(variable, number), if one operand is a number: then a shorter text passes NaN on."""
    for i, arg in enumerate(node.args):
        number = literal(arg)
        if number is not None and number == number:
            return operands[1 - i], operands[i]
    return None


def _extremum(name: str, ufunc: Any, beats: Any, symbol: str) -> Op:
    """maximum or minimum; `beats(a, b)` says whether a wins over b, as `symbol` does in source text."""
    reverse = "<" if symbol == ">" else ">"

    def first(bar: Value, y: Value, a: Value, b: Value) -> Value:
        wins = beats(a, b)
        if first_wins() and a.op is not CONST and b.op is not CONST:
            wins = logical_or(wins, equal(a, b))
        return _share(bar, wins, a, b)

    def second(bar: Value, y: Value, a: Value, b: Value) -> Value:
        return _share(bar, beats(b, a), a, b)

    def python(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        # Python's max(x, 0.0) is x unless 0.0 > x, hence NaN for NaN; max(0.0, x) would lose it.
        pair = _constant_last(operands, node)
        if pair is None and node.type.is_float:
            return helper(name)(operands, node, target)
        if (
            pair is not None and pair[0].text.isidentifier()
        ):  # a conditional is three times as fast as a call
            x, k = (e.text for e in pair)
            return Expr(f"{k} if {x} {reverse} {k} else {x}", TERNARY)
        return call(name[:3])(pair or operands, node, target)

    def c(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        pair = _constant_last(operands, node)
        if pair is not None:
            x, k = (e.at(TERNARY + 1) for e in pair)
            return Expr(f"{x} {reverse} {k} ? {k} : {x}", TERNARY)
        a, b = (e.at(TERNARY + 1) for e in operands)
        nan = f" || {a} != {a}" if node.type.is_float else ""
        return Expr(f"{a} {symbol} {b}{nan} ? {a} : {b}", TERNARY)

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


# -- clip
def _inside(bar: Value, y: Value, x: Value, lo: Value, hi: Value) -> Value:
    return where(logical_and(less_equal(lo, x), less_equal(x, hi)), bar, 0.0)


def _below(bar: Value, y: Value, x: Value, lo: Value, hi: Value) -> Value:
    return where(logical_and(less(x, lo), less_equal(lo, hi)), bar, 0.0)


def _above(bar: Value, y: Value, x: Value, lo: Value, hi: Value) -> Value:
    return where(less(hi, maximum(x, lo)), bar, 0.0)


def _clip_python(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
    if any(literal(bound) is None for bound in node.args[1:]):
        return helper("clip")(operands, node, target)
    x, lo, hi = (e.text for e in operands)
    return Expr(f"min(max({x}, {lo}), {hi})")


def _clip_c(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
    """With numbers for bounds, two comparisons, both false for NaN."""
    lo, hi = (literal(bound) for bound in node.args[1:])
    if lo is None or hi is None or not lo <= hi:
        return helper("clip")(operands, node, target)
    x, lo, hi = (e.at(TERNARY + 1) for e in operands)
    return Expr(f"{x} < {lo} ? {lo} : {x} > {hi} ? {hi} : {x}", TERNARY)


CLIP = elementwise(
    "clip", "number", lambda x, lo, hi: np.minimum(np.maximum(x, lo), hi),
    "x held between lo and hi; hi where the bounds cross.",
    vjp=(
        lambda y_bar, y, x, lo, hi: unbroadcast(_inside(y_bar, y, x, lo, hi), x.type),
        lambda y_bar, y, x, lo, hi: unbroadcast(_below(y_bar, y, x, lo, hi), lo.type),
        lambda y_bar, y, x, lo, hi: unbroadcast(_above(y_bar, y, x, lo, hi), hi.type),
    ),
    jvp=(_inside, _below, _above), masks=True, flops=2,
    kink="clip(x, lo, hi): slope 1 in the closed interval",
    numpy=call("np.clip"), python=_clip_python, c=_clip_c,
)  # fmt: skip
