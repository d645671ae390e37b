"""Powers and roots.

    power   a**b in general; both operands may be differentiated
    powc    x**n for a constant number n outside of (0, 1): its slope is finite at 0, so that its product needs no guard
    square, reciprocal, sqrt, root, cbrt

`raise_to` is what `**` and np.power do: for an exponent known at trace time it picks the cheapest of them. A slope is never
computed by dividing by x. Integers to negative integer powers: ValueError in NumPy, as there; what 1 / x**-n truncates to in C.
A negative exponent that is known is refused while tracing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.errors import SpecError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ir import CONST, OPS
from gradgen.ops import calls
from gradgen.ops.elementwise import (
    TRANSCENDENTAL,
    by_dtype,
    elementwise,
    libm,
    literal,
    numbers,
)
from gradgen.spelling import POWER, PRODUCT, UNARY, Expr, Spelling, call, helper, template
from gradgen.types import DTYPES
from gradgen.value import Value, apply, constant

# What `ruff format` writes without spaces around **: names, attributes and numbers, perhaps with a minus.
_SIMPLE = re.compile(r"-?(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*|\d[\d_]*\.?\d*(?:e[+-]?\d+)?)")


def _raised(base: Expr, exponent: Expr) -> Expr:
    """`base**exponent` in Python, spaced as `ruff format` does."""
    a, b = base.at(POWER + 1), exponent.at(UNARY)
    close = _SIMPLE.fullmatch(a) and _SIMPLE.fullmatch(b)
    return Expr(f"{a}**{b}" if close else f"{a} ** {b}", POWER)


def _squared(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
    return _raised(operands[0], Expr("2"))


def _repeated(operands: Sequence[Expr], n: int) -> Expr | None:
    """x * x * ... for a name in Python, whose ** is a slower call; None for longer text."""
    x = operands[0].text
    return Expr(" * ".join([x] * n), PRODUCT) if x.isidentifier() and 2 <= n <= 3 else None


def _squared_python(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
    return _repeated(operands, 2) or _squared(operands, node, target)


SQUARE = elementwise(
    "square", "number", np.square,
    "x * x.",
    sympy="x**2", functions=(np.square,),
    numpy=_squared, python=_squared_python,
    c=by_dtype(template("{0} * {0}", PRODUCT, (PRODUCT + 1,)), helper("wrap_square")),
)  # fmt: skip
RECIPROCAL = elementwise(
    "reciprocal", "float", lambda x: np.true_divide(1, x),
    "1 / x.",
    sympy="1/x",
    numpy=template("1.0 / {0}", PRODUCT, (PRODUCT + 1,)),
    python=template("1.0 / {0}", PRODUCT, (PRODUCT + 1,)),
    c=numbers("1. / {0}", PRODUCT, (PRODUCT + 1,)),
)  # fmt: skip
SQRT = elementwise(
    "sqrt", "float", np.sqrt,
    "The square root of x >= 0; NaN below.",
    sympy="sqrt(x)", unbounded=(True,), functions=(np.sqrt,), kink="sqrt(x): inf at 0",
    numpy=call("np.sqrt"), python=call("math.sqrt"), c=libm("sqrt"),
)  # fmt: skip
# A norm has no derivative at 0; 0 is a subgradient there and what every use of it wants. The guard selects the *partial*, so
# away from 0 derivatives of all orders are sqrt's.
ROOT = elementwise(
    "root", "float", np.sqrt,
    "The square root of a sum of squares (a norm): sqrt(s), with derivative 0 at 0.",
    partials=(lambda y, s: calls.where(y == 0.0, 0.0, 0.5 / y),), flops=10,
    kink="norm (the root of a sum of squares): 0 at 0",
    numpy=call("np.sqrt"), python=call("math.sqrt"), c=libm("sqrt"),
)  # fmt: skip
CBRT = elementwise(
    "cbrt", "float", np.cbrt,
    "The cube root of any x.",
    sympy="cbrt(x)", unbounded=(True,), functions=(np.cbrt,), flops=TRANSCENDENTAL,
    kink="cbrt(x): inf at 0",
    numpy=call("np.cbrt"), python=call("math.cbrt"), c=libm("cbrt"),
)  # fmt: skip


# -- the general power
def _base_slope(y: Value, a: Value, b: Value) -> Any:
    """d(a**b)/da = b * a**(b - 1), and 0 for b = 0, where a = 0 would give 0 * inf."""
    if b.op is CONST and np.all(b.params["value"] != 0):
        n = literal(b)
        return b * calls.power(a, b - 1) if n is None else n * raise_to(a, n - 1)
    return calls.where(calls.equal(b, 0), 0.0, b * calls.power(a, b - 1))


def _exponent_slope(y: Value, a: Value, b: Value) -> Any:
    """d(a**b)/db = a**b * log(a), and 0 where a**b is 0, at a = 0: the product in `mulz`."""
    base = literal(a)
    if base is not None and base > 0:
        return y * math.log(base)
    return calls.mulz(y, calls.log(a))


def _text(function: str) -> Spelling:
    """`a ** b` where no operand can be a plain Python number that would turn complex; else a call of `function`."""

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        base = literal(node.args[0])
        if node.type.dtype[0] == "i" or (base is not None and base > 0):
            return _raised(*operands)
        return Expr(f"{function}({operands[0].text}, {operands[1].text})")

    return spell


POWER_OP = elementwise(
    "power", "number", np.power,
    "a ** b; a negative a needs an integral b, else NaN.",
    # By hand: SymPy divides by a, and knows neither of the zeros above.
    partials=(_base_slope, _exponent_slope), unbounded=(True, False),
    symbol="**", flops=TRANSCENDENTAL,
    kink="a**b: slope in a 0 for b = 0; slope in b 0 at a = 0",
    integers="a**b of integers, b < 0: ValueError, in C what 1 / a**-b truncates to",
    numpy=_text("np.power"), python=by_dtype(_text("math.pow"), helper("int_power")),
    c=by_dtype(libm("pow"), helper("int_power")),
)  # fmt: skip


# -- a constant exponent
def _constant_slope(y: Value, x: Value, n: Value) -> Any:
    number = literal(n)
    return _base_slope(y, x, n) if number is None else number * raise_to(x, number - 1)


def _exponent(node: Any) -> Any:
    """The exponent of a powc statement as a number, an int where it is integral."""
    n = literal(node.args[1])
    return int(n) if n is not None and math.isfinite(n) and n == int(n) else n


def _constant_text(function: str) -> Spelling:
    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        n = _exponent(node)
        if isinstance(n, int):
            return _raised(operands[0], Expr(str(n), UNARY if n < 0 else POWER + 1))
        return Expr(f"{function}({operands[0].text}, {operands[1].text})")

    return spell


def _powc_python(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
    n = _exponent(node)
    repeated = _repeated(operands, n) if isinstance(n, int) else None
    return repeated or _constant_text("math.pow")(operands, node, target)


def _powc_c(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
    """A chain of products up to the fourth power, `pow` beyond."""
    n = _exponent(node)
    if node.type.dtype[0] == "i":
        return helper("int_power")(operands, node, target)
    x = operands[0].at(PRODUCT + 1)
    if isinstance(n, int) and 2 <= abs(n) <= 4:
        chain = " * ".join([x] * abs(n))
        if n > 0:
            return Expr(chain, PRODUCT)
        return Expr(f"{'1.0f' if node.type.dtype == 'f32' else '1.0'} / ({chain})", PRODUCT)
    return libm("pow")(operands, node, target)


POWC = elementwise(
    "powc", "number", np.power,
    "x ** n for a constant number n that is not between 0 and 1.",
    partials=(_constant_slope, None),  # by hand: SymPy would divide by x
    symbol="**", flops=TRANSCENDENTAL,
    numpy=_constant_text("np.power"), python=_powc_python, c=_powc_c,
)  # fmt: skip


def raise_to(a: Any, b: Any) -> Any:
    """a ** b by the cheapest op: nothing for 1, square for 2, reciprocal for -1, sqrt for 0.5, powc or power."""
    n = b
    if isinstance(b, Value):
        n = literal(b)
    elif not isinstance(b, (int, float, np.number)):
        n = b[()] if isinstance(b, np.ndarray) and b.ndim == 0 else None
    if n is None or not isinstance(a, Value):
        _refuse_negative(a, b)
        return apply(OPS["power"], a, b)
    if isinstance(n, np.int64) and a.type.dtype == "i32":
        a = calls.cast(a, dtype="i64")
    if a.type.dtype == "bool":
        if n == 2 or isinstance(n, (bool, np.bool_)):
            return calls.square(a)  # int8 in NumPy: refused
        a = calls.cast(a, dtype=constant(n).type.dtype)
    if a.type.dtype[0] == "i":
        if not isinstance(n, (int, np.integer, np.bool_)):
            a = calls.cast(a, dtype="f64")
        else:
            _refuse_negative(a, n)
    if n == 0:
        return _ones_like(a)
    if n == 1:
        return +a
    if n == 2:
        return calls.square(a)
    if n == -1 and a.type.is_float:
        return calls.reciprocal(a)
    if n == 0.5:
        return calls.sqrt(a)
    return apply(OPS["power" if 0 < n < 1 or n != n else "powc"], a, n)


def _refuse_negative(a: Any, b: Any) -> None:
    """SpecError for integers to a power that is known, integral and negative somewhere."""
    known = b.params["value"] if isinstance(b, Value) and b.op is CONST else b
    if isinstance(known, Value):
        return
    kinds = [
        a.type.dtype[0] if isinstance(a, Value) else np.asarray(a).dtype.kind,
        np.asarray(known).dtype.kind,
    ]
    if kinds == ["i", "i"] and np.any(np.less(known, 0)):
        raise SpecError(
            f"integers are not raised to negative integer powers, got {getattr(a, 'type', a)} ** {known}",
            "Write the exponent as a float, or x.astype(float).",
        )


def _ones_like(x: Value) -> Any:
    """x ** 0: 1 of x's type, with no slope, also where x is 0, inf or nan."""
    if x.type.static:
        return constant(np.ones(x.type.shape, DTYPES[x.type.dtype]))
    return FUNCTIONS[np.ones_like](x)


@implements(np.power)
def power(a: Any, b: Any) -> Any:
    return raise_to(a, b)


@implements(np.float_power)
def float_power(a: Any, b: Any) -> Any:
    return raise_to(_widened(a), _widened(b))


def _widened(x: Any) -> Any:
    """np.float_power computes in float64 at least."""
    return calls.cast(x, dtype="f64") if isinstance(x, Value) and x.type.dtype != "f64" else x


@implements(np.reciprocal)
def reciprocal(x: Any) -> Any:
    if isinstance(x, Value) and not x.type.is_float:
        raise SpecError(f"np.reciprocal needs floats, got {x.type}", "Write 1 / x.")
    return calls.reciprocal(x)
