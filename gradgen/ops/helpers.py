"""Routines of ours that an emitted file defines when it uses them: what a target's library lacks, or spells too long.

`HELPERS[name].source(target, dtype)` is the text of one definition, `.called(target, dtype)` what a caller writes, `.needs` the
helpers that it calls. In Python the name is `_name`; in C `name`, `namef`, `name_i64`, `name_i32`: static
functions that meet no name of libc or libm. The interpreter runs the very NumPy text that is emitted (`run`), so both agree
to the bit.

Accuracy is stated in each routine's own line of documentation. Texts of the special functions: `helper_texts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from textwrap import indent
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Helper:
    """One routine: `doc` and a body per target (empty where the target has no need of it).

    c is written for double and turned into float by rule; c_int, where given, serves i64 and i32 (written for int64_t).
    signature: C parameters, where they are not all of the function's own type.
    result: C type of the result, where it is not the function's own type.
    """

    name: str
    params: tuple[str, ...]
    doc: str
    numpy: str = ""
    python: str = ""
    c: str = ""
    c_int: str = ""
    needs: tuple[str, ...] = ()
    signature: str = ""
    result: str = ""

    def defined(self, target: str) -> bool:
        """Whether the target has need of it."""
        return bool({"numpy": self.numpy, "python": self.python, "c": self.c or self.c_int}[target])

    def called(self, target: str, dtype: str = "f64") -> str:
        """The name by which emitted code calls it."""
        if target != "c":
            return f"_{self.name}"
        if dtype == "i64":
            return f"{self.name}_i64" if self.c else self.name
        return self.name + {"f32": "f", "i32": "_i32"}.get(dtype, "")

    def source(self, target: str, dtype: str = "f64") -> str:
        """Its definition, ending in a newline. KeyError if the target has none."""
        if target == "c":
            return self._c(dtype)
        body = {"numpy": self.numpy, "python": self.python}[target]
        if not body:
            raise KeyError(f"helper {self.name} has no text for {target}")
        head = f'def _{self.name}({", ".join(self.params)}):\n    """{self.doc}"""\n'
        return head + indent(body, "    ")

    def _c(self, dtype: str) -> str:
        integral = dtype[0] == "i"
        body = self.c_int if integral and self.c_int else self.c
        if not body:
            raise KeyError(f"helper {self.name} has no text for c and {dtype}")
        real = "int64_t" if integral else "double"
        signature = self.signature or ", ".join(f"{real} {p}" for p in self.params)
        text = f"/* {self.doc} */\nstatic {self.result or real} {self.name}({signature})\n{{\n{indent(body, '    ')}}}\n"
        if dtype == "f32":
            return _as_float(text)
        text = re.sub(rf"\b{self.name}\(", f"{self.called('c', dtype)}(", text)
        if dtype == "i32":
            return text.replace("int64_t", "int32_t").replace("INT64", "INT32")
        return text


HELPERS: dict[str, Helper] = {}


def enter(helper: Helper) -> None:
    """Add to the table; a name is given once."""
    if helper.name in HELPERS:
        raise ValueError(f"helper {helper.name} is already defined")
    HELPERS[helper.name] = helper


def with_needs(names: Iterable[str], target: str = "numpy") -> list[Helper]:
    """These helpers and all that they call, callees first; without those that the target's own library has."""
    done: dict[str, Helper] = {}

    def visit(name: str) -> None:  # as deep as helpers nest: three
        if name not in done:
            for need in HELPERS[name].needs:
                if HELPERS[need].defined(target):
                    visit(need)
            done[name] = HELPERS[name]

    for name in names:
        visit(name)
    return list(done.values())


_COMPILED: dict[str, Any] = {"np": np}


def run(name: str) -> Callable[..., Any]:
    """The helper as a function: its NumPy text, executed on first use."""

    def call(*args: Any) -> Any:
        function = _COMPILED.get(f"_{name}")
        if function is None:
            for needed in with_needs([name]):
                exec(compile(needed.source("numpy"), f"<helper {needed.name}>", "exec"), _COMPILED)
            function = _COMPILED[f"_{name}"]
        return function(*args)

    call.__name__ = name
    return call


_LIBM = "acos|asin|atan|ceil|copysign|cos|exp|expm1|fabs|floor|fmod|hypot|log|log1p|pow|rint|sin|sqrt|tan|trunc"


def _as_float(text: str) -> str:
    """A C text for double as one for float: type, literals, and the functions that it calls."""
    comment, newline, body = text.partition("\n")
    body = re.sub(r"\bdouble\b", "float", body)
    body = re.sub(r"(?<![\w.])(\d+\.\d*(?:e[+-]?\d+)?)", r"\1f", body)
    body = re.sub(rf"\b({_LIBM}|{'|'.join(HELPERS)})\(", r"\1f(", body)
    return comment + newline + body


# -- selections and signs
enter(Helper(
    "mulz", ("a", "p"), "a * p, and 0 where a is 0, even if p is inf or nan.",
    numpy="return a * np.where(a == 0.0, 0.0, p)\n",
    python="return 0.0 if a == 0.0 else a * p\n",
    c="return a == 0.0 ? 0.0 : a * p;\n",
))  # fmt: skip
enter(Helper(
    "gap", ("a", "b"), "a - b, and 0 where they are equal, infinities included.",
    numpy="same = a == b\ndifference = np.where(same, 0.0, a) - np.where(same, 0.0, b)\n"
    "return difference.astype(np.result_type(a, b), copy=False)\n",
    python="return 0.0 if a == b else a - b\n",
    c="return a == b ? 0.0 : a - b;\n",
))  # fmt: skip
enter(Helper(
    "direction", ("a", "b"), "a / sqrt(a**2 + b**2) without overflow.",
    numpy="return a / np.hypot(a, b)\n",
    python="return a / math.hypot(a, b)\n",
    c="return a / hypot(a, b);\n",
))  # fmt: skip
enter(Helper(
    "sign", ("x",), "-1, 0 or 1 by the sign of x; nan stays nan.",
    python="return x if math.isnan(x) else float((x > 0.0) - (x < 0.0))\n",
))  # fmt: skip
enter(Helper(
    "maximum", ("a", "b"), "The larger of a and b; nan if one of them is.",
    python="return a if a > b or math.isnan(a) else b\n",
))  # fmt: skip
enter(Helper(
    "minimum", ("a", "b"), "The smaller of a and b; nan if one of them is.",
    python="return a if a < b or math.isnan(a) else b\n",
))  # fmt: skip
enter(Helper(
    "clip", ("x", "lo", "hi"), "x held between lo and hi; hi if they cross, nan if one of them is.",
    python="y = x if x > lo or math.isnan(x) else lo\nreturn y if y < hi or math.isnan(y) else hi\n",
    c="const double y = x > lo || x != x ? x : lo;\nreturn y < hi || y != y ? y : hi;\n",
    c_int="const int64_t y = x > lo ? x : lo;\nreturn y < hi ? y : hi;\n",
))  # fmt: skip

# -- smooth functions of one or two numbers
enter(Helper(
    "expit", ("x",), "1 / (1 + exp(-x)) without overflow.",
    numpy="t = np.exp(-np.abs(x))\nreturn np.where(x >= 0.0, 1.0, t) / (1.0 + t)\n",
    python="t = math.exp(-abs(x))\nreturn (1.0 if x >= 0.0 else t) / (1.0 + t)\n",
    c="const double t = exp(-fabs(x));\nreturn (x >= 0.0 ? 1.0 : t) / (1.0 + t);\n",
))  # fmt: skip
enter(Helper(
    "softplus", ("x",), "log(1 + exp(x)) without overflow.",
    python="return max(x, 0.0) + math.log1p(math.exp(-abs(x)))\n",
    c="return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x)));\n",
))  # fmt: skip
enter(Helper(
    "sech2", ("x",), "1 - tanh(x)**2 without cancellation.",
    numpy="t = np.exp(-np.abs(x))\nreturn np.square(2.0 * t / (1.0 + t * t))\n",
    python="t = math.exp(-abs(x))\nreturn (2.0 * t / (1.0 + t * t)) ** 2\n",
    c="const double t = exp(-fabs(x));\nconst double y = 2.0 * t / (1.0 + t * t);\nreturn y * y;\n",
))  # fmt: skip
enter(Helper(
    "logaddexp", ("a", "b"), "log(exp(a) + exp(b)) without overflow.",
    python=(
        "if a == b:\n"
        "    return a + 0.6931471805599453\n"
        "return max(a, b) + math.log1p(math.exp(-abs(a - b)))\n"
    ),
    # a select in place of a branch: loops over it are vectorised
    c=(
        "const double gap = a == b ? 0.0 : a - b;\n"
        "return (a > b ? a : b) + log1p(exp(-fabs(gap)));\n"
    ),
))  # fmt: skip

# -- division as NumPy defines it (numpy/_core/src/npymath: the sign of the divisor, no trap at 0 for integers)
_INT_DIVISION = """\
if (b == 0)
    return 0;
if (b == -1)
    return {minus};
{rest}"""
enter(Helper(
    "floor_div", ("a", "b"), "floor(a / b), from the exact remainder; a / b at b = 0, and 0 for integers.",
    c=(
        "double r;\n"
        "double q;\n"
        "if (b == 0.0)\n"
        "    return a / b;\n"
        "r = fmod(a, b);\n"
        "q = (a - r) / b;\n"
        "if (r != 0.0 && (b < 0.0) != (r < 0.0))\n"
        "    q -= 1.0;\n"
        "return q == 0.0 ? copysign(0.0, a / b) : rint(q);\n"
    ),
    c_int=_INT_DIVISION.format(
        minus="(int64_t)(0 - (uint64_t)a)",
        rest="return a / b - (int64_t)(a % b != 0 && (a < 0) != (b < 0));\n",
    ),
))  # fmt: skip
enter(Helper(
    "floor_mod", ("a", "b"), "a - b * floor(a / b), with the sign of b; nan at b = 0, and 0 for integers.",
    c=(
        "const double r = fmod(a, b);\n"
        "if (r == 0.0)\n"
        "    return copysign(r, b);\n"
        "return (b < 0.0) != (r < 0.0) ? r + b : r;\n"
    ),
    c_int=(
        "int64_t r;\n"
        "if (b == 0 || b == -1)\n"
        "    return 0;\n"
        "r = a % b;\n"
        "return r != 0 && (r < 0) != (b < 0) ? r + b : r;\n"
    ),
))  # fmt: skip
enter(Helper(
    "int_mod", ("a", "b"), "The remainder of a / b with the sign of a; 0 at b = 0.",
    python="return (abs(a) % abs(b)) * (1 if a >= 0 else -1)\n",
    c_int="return b == 0 || b == -1 ? 0 : a % b;\n",
))  # fmt: skip

# -- integers that wrap around, where C would leave the result undefined
for _name, _symbol in (("wrap_add", "+"), ("wrap_sub", "-"), ("wrap_mul", "*")):
    enter(Helper(
        _name, ("a", "b"), f"a {_symbol} b modulo the integer's range.",
        c_int=f"return (int64_t)((uint64_t)a {_symbol} (uint64_t)b);\n",
    ))  # fmt: skip
enter(Helper(
    "wrap_neg", ("x",), "-x modulo the integer's range.",
    c_int="return (int64_t)(0 - (uint64_t)x);\n",
))  # fmt: skip
enter(Helper(
    "wrap_abs", ("x",), "The magnitude of x modulo the integer's range.",
    c_int="return x < 0 ? (int64_t)(0 - (uint64_t)x) : x;\n",
))  # fmt: skip
enter(Helper(
    "wrap_square", ("x",), "x * x modulo the integer's range.",
    c_int="return (int64_t)((uint64_t)x * (uint64_t)x);\n",
))  # fmt: skip
enter(Helper(
    "int_power", ("x", "n"),
    "x ** n modulo the integer's range; for n < 0 what 1 / x ** -n truncates to; ValueError in Python.",
    python=(
        "if n < 0:\n"
        "    raise ValueError(\"integers to negative integer powers are not allowed\")\n"
        "return x**n\n"
    ),
    c_int=(
        "uint64_t y = 1;\n"
        "uint64_t z = (uint64_t)x;\n"
        "if (n < 0)\n"
        "    return x == 1 ? 1 : x != -1 ? 0 : n % 2 == 0 ? 1 : -1;\n"
        "for (; n > 0; n /= 2) {\n"
        "    if (n % 2 == 1)\n"
        "        y *= z;\n"
        "    z *= z;\n"
        "}\n"
        "return (int64_t)y;\n"
    ),
))  # fmt: skip
enter(Helper(
    "left_shift", ("a", "b"), "a << b modulo the integer's range; 0 where b is negative or no bit is left.",
    c_int="return (uint64_t)b < 8 * sizeof a ? (int64_t)((uint64_t)a << b) : 0;\n",
))  # fmt: skip
enter(Helper(
    "right_shift", ("a", "b"), "a >> b, rounded down; 0 or -1 where b is negative or no bit is left.",
    c_int=(
        "if ((uint64_t)b < 8 * sizeof a)\n"
        "    return a < 0 ? ~(~a >> b) : a >> b;\n"
        "return a < 0 ? -1 : 0;\n"
    ),
))  # fmt: skip
enter(Helper(
    "to_int", ("x",), "x truncated; the smallest integer where it does not fit, as on x86.",
    signature="double x",
    c_int=(
        "const double limit = -(double)INT64_MIN;\n"
        "return x < limit && x >= -limit ? (int64_t)x : INT64_MIN;\n"
    ),
))  # fmt: skip
