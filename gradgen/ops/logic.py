"""Comparisons, logic and tests of floats: truth values, through which no gradient flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.ir import Op
from gradgen.ops.elementwise import elementwise, promoted, truths
from gradgen.spelling import AND, BITAND, COMPARE, NOT, OR, Expr, Spelling, call, infix, prefix
from gradgen.types import Type


def _comparison(name: str, ufunc: Any, symbol: str, words: str, commutative: bool = False) -> Op:
    # In Python a < b < c is a chain, not (a < b) < c: neither side may be a bare comparison.
    spell = infix(symbol, COMPARE, COMPARE + 1, COMPARE + 1)
    return elementwise(
        name, "bool", ufunc, f"Whether a is {words} b.",
        partials=(None, None), commutative=commutative, symbol=symbol, functions=(ufunc,),
        operand_dtypes=promoted, numpy=spell, python=spell, c=spell,
    )  # fmt: skip


EQUAL = _comparison("equal", np.equal, "==", "equal to", commutative=True)
NOT_EQUAL = _comparison("not_equal", np.not_equal, "!=", "unequal to", commutative=True)
LESS = _comparison("less", np.less, "<", "less than")
LESS_EQUAL = _comparison("less_equal", np.less_equal, "<=", "at most")
GREATER = _comparison("greater", np.greater, ">", "greater than")
GREATER_EQUAL = _comparison("greater_equal", np.greater_equal, ">=", "at least")


def _truths(function: str, scalar: Spelling) -> Spelling:
    """NumPy's function for arrays and numbers; Python's own operator between single truth values."""
    of_arrays = call(function)

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        single = all(a.type.dtype == "bool" and not a.type.shape for a in node.args)
        return (scalar if single else of_arrays)(operands, node, target)

    return spell


def _either(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
    """C's a || b: compilers warn of an && in it without brackets."""
    a, b = (x.text if x.precedence > AND else f"({x.text})" for x in operands)
    return Expr(f"{operands[0].text if operands[0].precedence == OR else a} || {b}", OR)


LOGICAL_AND = elementwise(
    "logical_and", "bool", np.logical_and,
    "Whether both are true; a number is true unless it is 0.",
    partials=(None, None), commutative=True, symbol="&", functions=(np.logical_and,),
    operand_dtypes=truths,
    numpy=_truths("np.logical_and", infix("and", AND)), python=infix("and", AND), c=infix("&&", AND),
)  # fmt: skip
LOGICAL_OR = elementwise(
    "logical_or", "bool", np.logical_or,
    "Whether one of them is true; a number is true unless it is 0.",
    partials=(None, None), commutative=True, symbol="|", functions=(np.logical_or,),
    operand_dtypes=truths,
    numpy=_truths("np.logical_or", infix("or", OR)), python=infix("or", OR), c=_either,
)  # fmt: skip
LOGICAL_NOT = elementwise(
    "logical_not", "bool", np.logical_not,
    "Whether x is false; a number is false if it is 0.",
    partials=(None,), symbol="~", functions=(np.logical_not,),
    operand_dtypes=truths,
    numpy=_truths("np.logical_not", prefix("not ", NOT)), python=prefix("not ", NOT), c=prefix("!"),
)  # fmt: skip


def _own_dtype(types: Sequence[Type], result: Type) -> tuple[str, ...]:
    return tuple(ty.dtype for ty in types)


def _c_test(integers: str) -> Spelling:
    """C's macro of the op's name for floats; for integers a constant answer that still reads its operand."""

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        if not node.args[0].type.is_float:
            return Expr(integers.format(operands[0].at(BITAND)), COMPARE)
        # The macros are ints; != 0 makes them truth values.
        return Expr(f"{node.op.name}({operands[0].text}) != 0", COMPARE)

    return spell


ISNAN = elementwise(
    "isnan", "bool", np.isnan,
    "Whether x is not a number.",
    partials=(None,), functions=(np.isnan,), operand_dtypes=_own_dtype,
    numpy=call("np.isnan"), python=call("math.isnan"), c=_c_test("({0} & 0) != 0"),
)  # fmt: skip
ISFINITE = elementwise(
    "isfinite", "bool", np.isfinite,
    "Whether x is neither infinite nor NaN.",
    partials=(None,), functions=(np.isfinite,), operand_dtypes=_own_dtype,
    numpy=call("np.isfinite"), python=call("math.isfinite"), c=_c_test("({0} & 0) == 0"),
)  # fmt: skip
