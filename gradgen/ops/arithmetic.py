"""Sums, products, quotients and what belongs to them: add sub mul div neg abs sign, the guarded product and casts.

Integer arithmetic wraps around and integer division does not trap, in C as in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.cotangents import unbroadcast
from gradgen.ir import CONST, PARAM, SIZE, Op, define
from gradgen.ops.calls import cast as cast_to
from gradgen.ops.calls import copysign, mulz, sign
from gradgen.ops.elementwise import by_dtype, elementwise, libm, numbers
from gradgen.ops.helpers import run
from gradgen.spelling import (
    AND,
    ATOM,
    OR,
    PRODUCT,
    SUM,
    TERNARY,
    UNARY,
    Expr,
    call,
    helper,
    infix,
    prefix,
    template,
)
from gradgen.types import C_NAMES, DTYPES, Type, dtype_name
from gradgen.value import Value

_plus, _minus = infix("+", SUM), infix("-", SUM)
NEGATIVE = prefix("-", through=("mul", "div", "matmul"))
_times, _over = infix("*", PRODUCT), infix("/", PRODUCT)
_divide = call("np.divide")


def _quotient(args: Sequence[Expr], node: Any, printer: Any) -> Expr:
    """a / b; np.divide for numbers of Python's own by a size, which might be 0: those raise, NumPy's are inf or nan."""
    a, b = node.args
    plain = b.op is not CONST and _is_plain(a) and _is_plain(b)
    return _divide(args, node, printer) if plain else _over(args, node, printer)


def _is_plain(v: Value) -> bool:
    """Whether a value is written as a number of Python's: it is made of constants and sizes, and of few."""
    todo = [v]
    for _ in range(8):
        if not todo:
            return True
        x = todo.pop()
        if x.type.shape or x.op is PARAM or not (x.op in (CONST, SIZE) or x.op.elementwise):
            return False
        todo += x.args
    return not todo


ADD = elementwise(
    "add", "same", np.add,
    "a + b; for two truth values, or.",
    sympy="a + b", bounded=(True, True), commutative=True, symbol="+", functions=(np.add,),
    numpy=_plus, python=by_dtype(_plus, _plus, infix("or", OR)),
    c=by_dtype(_plus, helper("wrap_add"), infix("||", OR)),
)  # fmt: skip
SUB = elementwise(
    "sub", "number", np.subtract,
    "a - b.",
    sympy="a - b", bounded=(True, True), symbol="-", functions=(np.subtract,),
    numpy=_minus, python=_minus, c=by_dtype(_minus, helper("wrap_sub")),
)  # fmt: skip
MUL = elementwise(
    "mul", "same", np.multiply,
    "a * b; for two truth values, and.",
    sympy="a*b", commutative=True, symbol="*", functions=(np.multiply,),
    numpy=_times, python=by_dtype(_times, _times, infix("and", AND)),
    c=by_dtype(_times, helper("wrap_mul"), infix("&&", AND)),
)  # fmt: skip
DIV = elementwise(
    "div", "float", np.true_divide,
    "a / b, in floating point for integers too.",
    sympy="a/b", symbol="/", functions=(np.true_divide,),
    numpy=_quotient, python=_over, c=_over,
)  # fmt: skip
NEG = elementwise(
    "neg", "number", np.negative,
    "-x.",
    sympy="-x", bounded=(True,), symbol="-", functions=(np.negative,),
    numpy=NEGATIVE, python=NEGATIVE, c=by_dtype(NEGATIVE, helper("wrap_neg")),
)  # fmt: skip
ABS = elementwise(
    "abs", "same", np.abs,
    "The magnitude of x.",
    partials=(lambda y, x: sign(x),),  # SymPy's sign has no value at NaN, and this is shorter
    functions=(np.absolute,), kink="abs(x): 0 at 0",
    numpy=call("np.abs"), python=call("abs"),
    c=by_dtype(libm("fabs"), helper("wrap_abs"), template("{0}")),
)  # fmt: skip
SIGN = elementwise(
    "sign", "number", np.sign,
    "-1, 0 or 1 by the sign of x; NaN stays NaN.",
    partials=(None,), functions=(np.sign,), kink="sign(x): 0 everywhere",
    numpy=call("np.sign"), python=helper("sign"),
    c=numbers("{0} > 0. ? 1. : {0} < 0. ? -1. : {0}", TERNARY),
)  # fmt: skip


COPYSIGN = elementwise(
    "copysign", "float", np.copysign,
    "The magnitude of a with the sign of b.",
    partials=(lambda y, a, b: sign(a) * copysign(1.0, b), None), functions=(np.copysign,),
    kink="copysign(a, b): 0 at a = 0",
    numpy=call("np.copysign"), python=call("math.copysign"), c=libm("copysign"),
)  # fmt: skip


# A value of its own: what `x.copy()` gives. It keeps what is written apart from what it was copied from, until
# simplification takes it out.
COPY = elementwise(
    "copy", "same", lambda x: np.array(x),
    "The same value, in memory of its own.",
    partials=(lambda y, x: 1,), bounded=(True,), flops=0,
    numpy=call("np.array"), python=template("{0}"), c=template("{0}"),
)  # fmt: skip


# -- the guarded product
def _mulz_python(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
    """A conditional expression where a is a name: then the partial is not evaluated at its pole."""
    a, p = operands
    if not a.text.isidentifier():
        return helper("mulz")(operands, node, target)
    return Expr(f"0.0 if {a.text} == 0.0 else {a.text} * {p.at(PRODUCT + 1)}", TERNARY)


MULZ = elementwise(
    "mulz", "number", run("mulz"),
    "a * p, and 0 where a is 0, whatever p is: the product of a cotangent and a partial that may be infinite.",
    # The product rule in mulz itself; a select on a == 0 would lose the second term (rule 9 of DESIGN).
    vjp=(
        lambda y_bar, y, a, p: unbroadcast(mulz(y_bar, p), a.type),
        lambda y_bar, y, a, p: unbroadcast(mulz(a, y_bar), p.type),
    ),
    jvp=(lambda a_dot, y, a, p: mulz(a_dot, p), lambda p_dot, y, a, p: mulz(a, p_dot)),
    numpy=helper("mulz"),
    python=_mulz_python,
    c=numbers("{0} == 0. ? 0. : {0} * {1}", TERNARY, (PRODUCT, PRODUCT + 1)),
)  # fmt: skip


# -- casts
def _cast_type(x: Type, dtype: str) -> Type:
    return x.with_dtype(dtype_name(dtype))


def _cast(x: Any, dtype: str) -> Any:
    target: Any = DTYPES[dtype]
    return np.asarray(x).astype(target)


def _cast_back(y_bar: Value, y: Value, x: Value, dtype: str) -> Value | None:
    return cast_to(y_bar, dtype=x.type.dtype) if dtype[0] == "f" and x.type.is_float else None


def _cast_tangent(x_dot: Value, y: Value, x: Value, dtype: str) -> Value | None:
    return cast_to(x_dot, dtype=dtype) if dtype[0] == "f" else None


def _cast_c(operands: Any, node: Any, target: Any) -> Expr:
    """C's own cast, but a float that no integer can hold becomes the smallest one, as NumPy on x86."""
    (x,) = operands
    dtype = node.type.dtype
    if dtype == "bool":
        return Expr(f"{x.at(SUM)} != 0", SUM - 1)
    if dtype[0] == "i" and node.args[0].type.is_float:
        wide = f"(double){x.at(UNARY)}" if node.args[0].type.dtype == "f32" else x.text
        return Expr(f"{target.helper('to_int', node)}({wide})")
    return Expr(f"({C_NAMES[dtype]}){x.at(UNARY)}", UNARY)


def _cast_python(operands: Any, node: Any, target: Any) -> Expr:
    kind = {"f": "float", "i": "int", "b": "bool"}[node.type.dtype[0]]
    return Expr(f"{kind}({operands[0].text})")


def _cast_numpy(operands: Any, node: Any, target: Any) -> Expr:
    name = {"bool": "bool_"}.get(node.type.dtype, str(DTYPES[node.type.dtype]))
    if not node.type.shape and (node.type.is_float or not node.args[0].type.is_float):
        return Expr(
            f"np.{name}({operands[0].text})"
        )  # a size or literal is a Python number, without astype
    return Expr(f"{operands[0].at(ATOM)}.astype(np.{name})")


CAST = define(Op(
    "cast", _cast_type, _cast,
    "x in another dtype, as astype does it: floats are truncated to integers, and that has no gradient.",
    vjp=(_cast_back,), jvp=(_cast_tangent,), elementwise=True, flops=0,
    operand_dtypes=lambda types, result: tuple(ty.dtype for ty in types),
    numpy=_cast_numpy, python=_cast_python, c=_cast_c,
))  # fmt: skip
