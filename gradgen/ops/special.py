"""Special functions, rounding, and division with remainder.

    sigmoid softplus sech2 erf erfc gammaln digamma trigamma tetragamma    floor ceil rint trunc    floor_divide remainder fmod

SciPy is neither needed nor imported: its functions are recognised by name (`functions.lookup`; `scipy_special` lists them), and
computed by routines of ours (`helpers`, accuracy stated there) in the interpreter and in emitted files alike.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradgen.errors import UnsupportedError
from gradgen.ir import Op
from gradgen.ops import calls, helper_texts  # noqa: F401  enters the routines
from gradgen.ops.elementwise import TRANSCENDENTAL, by_dtype, elementwise, libm
from gradgen.ops.helpers import run
from gradgen.spelling import PRODUCT, call, helper, infix, template
from gradgen.value import Value


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
SECH2 = _special(
    "sech2", "1 - tanh(x)**2, precise where tanh is nearly 1.", "",
    partials=(lambda y, x: -2.0 * y * calls.tanh(x),),
)  # fmt: skip
ERF = _special("erf", "The error function.", "erf(x)", python="erf", c="erf")
ERFC = _special("erfc", "1 - erf(x), precise for large x.", "erfc(x)", python="erfc", c="erfc")
GAMMALN = _special(
    "gammaln", "The logarithm of |gamma(x)|; inf at 0, -1, -2, ...", "loggamma(x)", python="lgamma"
)
DIGAMMA = _special("digamma", "The derivative of gammaln.", "polygamma(0, x)")
TRIGAMMA = _special("trigamma", "The second derivative of gammaln.", "polygamma(1, x)")


def _hazard(y: Value, x: Value) -> Any:
    """d log ndtr(x)/dx = exp(-x**2/2) / (ndtr(x) sqrt(2 pi)), of which the logarithm is y."""
    return calls.exp(-0.5 * calls.square(x) - y) * (2.0 * math.pi) ** -0.5


LOG_NDTR = _special(
    "log_ndtr", "The logarithm of the normal distribution function.", "", partials=(_hazard,)
)


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
