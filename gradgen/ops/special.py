"""Special functions, rounding, and division with remainder.

    sigmoid softplus erf erfc gammaln digamma trigamma tetragamma    floor ceil rint trunc    floor_divide remainder fmod

SciPy is neither needed nor imported: its ufuncs are recognised by name (`lookup_foreign`), and computed by routines of ours
(`helpers`, accuracy stated there) in the interpreter and in emitted files alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradgen.errors import UnsupportedError
from gradgen.ir import OPS, Op
from gradgen.ops import calls, helper_texts  # noqa: F401  enters the routines
from gradgen.ops.elementwise import TRANSCENDENTAL, by_dtype, elementwise, libm
from gradgen.ops.helpers import run
from gradgen.spelling import PRODUCT, call, helper, infix, template
from gradgen.value import Value, apply


def _special(name: str, doc: str, sympy: str, python: str = "", c: str = "", **fields: Any) -> Op:
    fields.setdefault("evaluate", run(name))
    fields.setdefault("numpy", helper(name))
    return elementwise(
        name, "float", doc=doc, sympy=sympy, flops=2 * TRANSCENDENTAL,
        python=call(f"math.{python}") if python else helper(name),
        c=libm(c) if c else helper(name), **fields,
    )  # fmt: skip


SIGMOID = elementwise(
    "sigmoid", "float", run("expit"),
    "1 / (1 + exp(-x)) without overflow.",
    sympy="sigmoid(x)", flops=TRANSCENDENTAL,
    numpy=helper("expit"), python=helper("expit"), c=helper("expit"),
)  # fmt: skip
SOFTPLUS = _special(
    "softplus", "log(1 + exp(x)) without overflow.", "log(1 + exp(x))",
    evaluate=lambda x: np.logaddexp(np.zeros_like(x), x), numpy=template("np.logaddexp(0.0, {0})"),
)  # fmt: skip
ERF = _special("erf", "The error function.", "erf(x)", python="erf", c="erf")
ERFC = _special("erfc", "1 - erf(x), precise for large x.", "erfc(x)", python="erfc", c="erfc")
GAMMALN = _special(
    "gammaln", "The logarithm of |gamma(x)|; inf at 0, -1, -2, ...", "loggamma(x)", python="lgamma"
)
DIGAMMA = _special("digamma", "The derivative of gammaln.", "polygamma(0, x)")
TRIGAMMA = _special("trigamma", "The second derivative of gammaln.", "polygamma(1, x)")


def _no_further(y: Value, x: Value) -> Any:
    raise UnsupportedError(
        "gammaln is differentiated three times at most, got a fourth derivative",
        "Take one derivative less.",
    )


TETRAGAMMA = _special("tetragamma", "The third derivative of gammaln.", "", partials=(_no_further,))


# -- rounding
def _rounded(name: str, ufunc: Any, doc: str, python: str, kind: str = "number") -> Op:
    return elementwise(
        name, kind, ufunc, doc,
        partials=(None,), functions=(ufunc,), kink=f"{name}(x): slope 0 everywhere",
        numpy=call(f"np.{name}"), python=template(f"float({python}({{0}}))"),
        c=by_dtype(libm(name), template("{0}")),
    )  # fmt: skip


FLOOR = _rounded("floor", np.floor, "The largest integer <= x, in x's dtype.", "math.floor")
CEIL = _rounded("ceil", np.ceil, "The smallest integer >= x, in x's dtype.", "math.ceil")
RINT = _rounded("rint", np.rint, "The nearest integer, ties to even, as a float.", "round", "float")
TRUNC = _rounded("trunc", np.trunc, "x without its fraction, in x's dtype.", "math.trunc")

FLOOR_DIVIDE = elementwise(
    "floor_divide", "number", np.floor_divide,
    "floor(a / b); for integers 0 at b = 0.",
    partials=(None, None), symbol="//", functions=(np.floor_divide,), flops=4,
    kink="a // b: slope 0 everywhere",
    numpy=infix("//", PRODUCT), python=infix("//", PRODUCT), c=helper("floor_div"),
)  # fmt: skip
REMAINDER = elementwise(
    "remainder", "number", np.remainder,
    "a - b * floor(a / b), with the sign of b; for integers 0 at b = 0.",
    partials=(lambda y, a, b: 1, lambda y, a, b: -calls.floor_divide(a, b)),
    symbol="%", functions=(np.remainder,), flops=4,
    kink="a % b: at a jump, the slopes of the branch that the value is on",
    numpy=infix("%", PRODUCT), python=infix("%", PRODUCT), c=helper("floor_mod"),
)  # fmt: skip
FMOD = elementwise(
    "fmod", "number", np.fmod,
    "The remainder of a / b with the sign of a; for integers 0 at b = 0.",
    # rint removes the rounding error of a quotient that is an integer
    partials=(lambda y, a, b: 1, lambda y, a, b: -calls.rint((a - y) / b)),
    functions=(np.fmod,), flops=4,
    kink="fmod(a, b): at a jump, the slopes of the branch that the value is on",
    numpy=call("np.fmod"), python=by_dtype(call("math.fmod"), helper("int_mod")),
    c=by_dtype(libm("fmod"), helper("int_mod")),
)  # fmt: skip


# -- SciPy's ufuncs, by name: they say nothing of the module that they come from
def _op(name: str) -> Callable[..., Any]:
    return lambda *args: apply(OPS[name], *args)


def _xlogy(x: Any, y: Any) -> Any:
    """x * log(y), and 0 where x is 0: the product in `mulz`."""
    return calls.mulz(x, calls.log(y))


def _xlog1py(x: Any, y: Any) -> Any:
    return calls.mulz(x, calls.log1p(y))


_FOREIGN: dict[str, Callable[..., Any]] = {
    "expit": _op("sigmoid"),
    "erf": _op("erf"),
    "erfc": _op("erfc"),
    "gammaln": _op("gammaln"),
    "loggamma": _op("gammaln"),
    "psi": _op("digamma"),
    "digamma": _op("digamma"),
    "log_expit": lambda x: -calls.softplus(-x),
    "logit": lambda x: calls.log(x) - calls.log1p(-x),
    "exp2": _op("exp2"),
    "expm1": _op("expm1"),
    "log1p": _op("log1p"),
    "cbrt": _op("cbrt"),
    "xlogy": _xlogy,
    "xlog1py": _xlog1py,
    "entr": lambda x: -_xlogy(x, x),
    "rel_entr": lambda x, y: _xlogy(x, x / y),
}


def lookup_foreign(function: Any) -> Callable[..., Any] | None:
    """gradgen's implementation of a SciPy ufunc; None if it has none, or if `function` is NumPy's own."""
    if not isinstance(function, np.ufunc) or getattr(np, function.__name__, None) is function:
        return None
    return _FOREIGN.get(function.__name__)


def foreign_names() -> Sequence[str]:
    """The names in scipy.special that are understood."""
    return tuple(_FOREIGN)
