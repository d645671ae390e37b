"""Bits of integers: and, or, xor, not and shifts, as NumPy has them; no derivative. On truth values these operators are logic.

A shift by 64 or more (32 for i32), or by a negative number, leaves 0, or -1 where a negative integer is shifted right: as
in NumPy; C leaves it undefined, and the python target raises Python's own exceptions. Shifts of two truth values are
refused: NumPy would answer in int8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradgen.errors import SpecError
from gradgen.functions import implements
from gradgen.ops import calls
from gradgen.ops.elementwise import elementwise
from gradgen.spelling import (
    BITAND,
    BITOR,
    BITXOR,
    NOT,
    SHIFT,
    UNARY,
    Expr,
    Spelling,
    helper,
    infix,
    prefix,
)
from gradgen.types import Type, broadcast, promote
from gradgen.value import Value


def _integers(name: str) -> Callable[..., Type]:
    def infer(*types: Type) -> Type:
        dtype = promote(*[ty.dtype for ty in types])
        if dtype[0] != "i":
            raise SpecError(
                f"{name} needs integers, got {' and '.join(map(str, types))}",
                "Compare first, e.g. (x > 0) & (y > 0), or convert: x.astype(int).",
            )
        return Type.of(dtype, broadcast(name, *[ty.shape for ty in types]))

    return infer


def _c(symbol: str) -> Spelling:
    """C's operator: it binds more loosely than a comparison, unlike Python's, and compilers want brackets beside others."""

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        a, b = operands
        return Expr(f"{a.at(UNARY)} {symbol} {b.at(UNARY)}", NOT)

    return spell


def _enter(name: str, ufunc: Any, symbol: str, precedence: int, doc: str) -> None:
    spelling = infix(symbol, precedence)
    shift = "shift" in name  # the others are logic on truth values: see below
    elementwise(
        name, "number", ufunc, doc,
        infer=_integers(name), partials=(None, None), symbol=symbol, commutative=not shift,
        functions=(ufunc,) if shift else (),
        numpy=spelling, python=spelling, c=helper(name) if shift else _c(symbol),
    )  # fmt: skip


_enter("bitwise_and", np.bitwise_and, "&", BITAND, "The bits that are set in both.")
_enter("bitwise_or", np.bitwise_or, "|", BITOR, "The bits that are set in one of them.")
_enter("bitwise_xor", np.bitwise_xor, "^", BITXOR, "The bits that are set in one of them alone.")
_enter("left_shift", np.left_shift, "<<", SHIFT, "a * 2**b modulo the integer's range.")
_enter("right_shift", np.right_shift, ">>", SHIFT, "a / 2**b rounded down.")
elementwise(
    "invert", "number", np.invert,
    "All bits turned over: -x - 1.",
    infer=_integers("invert"), partials=(None,), symbol="~",
    numpy=prefix("~"), python=prefix("~"), c=prefix("~"),
)  # fmt: skip


def _truths(*operands: Any) -> bool:
    return all(
        x.type.dtype == "bool" if isinstance(x, Value) else np.asarray(x).dtype == np.bool_
        for x in operands
    )


@implements(np.bitwise_and)
def bitwise_and(a: Any, b: Any) -> Any:
    return calls.logical_and(a, b) if _truths(a, b) else calls.bitwise_and(a, b)


@implements(np.bitwise_or)
def bitwise_or(a: Any, b: Any) -> Any:
    return calls.logical_or(a, b) if _truths(a, b) else calls.bitwise_or(a, b)


@implements(np.bitwise_xor)
def bitwise_xor(a: Any, b: Any) -> Any:
    return calls.not_equal(a, b) if _truths(a, b) else calls.bitwise_xor(a, b)


@implements(np.invert)
def invert(x: Any) -> Any:
    return calls.logical_not(x) if _truths(x) else calls.invert(x)
