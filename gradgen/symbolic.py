"""SymPy at the user's border: expressions in, expressions out, and elementwise functions with partials that SymPy derives.

    define("swish", "x / (1 + exp(-x))")     a function of one's own
    from_sympy(expression, symbols)          a function that computes a SymPy expression
    to_sympy(function)                       the outputs of a scalar Function as SymPy expressions

SymPy never sees a whole program of arrays; it is imported when one of these is called (about a second). The text given to
`define` is the user's own code: SymPy evaluates it.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from gradgen.errors import SpecError, UnsupportedError
from gradgen.ir import CONST, OPS, Function
from gradgen.ops.regions import ITEM
from gradgen.trace.calls import Special
from gradgen.value import Value, current_trace


def from_sympy(expr: Any, symbols: Sequence[Any]) -> Callable[..., Any]:
    """A function of the symbols, by position, that computes `expr` on numbers, arrays and Values.

    SpecError where the expression has other free symbols; UnsupportedError where it has a function that neither NumPy nor
    SciPy computes (SciPy need not be installed for the others).
    """
    import sympy as sp

    given = [symbols] if isinstance(symbols, (str, sp.Symbol)) else list(symbols)
    given = [sp.Symbol(s) if isinstance(s, str) else s for s in given]
    expr = sp.sympify(expr)
    rest = {str(s) for s in expr.free_symbols} - {str(s) for s in given}
    if rest:
        raise SpecError(
            f"from_sympy needs every free symbol among {', '.join(map(str, given))}, "
            f"got {', '.join(sorted(rest))} too"
        )
    modules = ["scipy", "numpy"] if find_spec("scipy") is not None else ["numpy"]
    f: Any = None
    try:
        f = sp.lambdify(given, expr, modules=modules, cse=True)
        unknown = [n for n in f.__code__.co_names if not _is_of_arrays(n, f.__globals__)]
    except NotImplementedError as error:  # of SymPy's printers; its first line names the class
        unknown = [str(error).splitlines()[0].rpartition(".")[2].strip("'>")]
    if unknown:
        raise UnsupportedError(
            f"{' and '.join(modules)} cannot compute {', '.join(unknown)} in {expr}",
            remedy="Write it with other functions."
            if "scipy" in modules
            else "Install scipy, or write it with other functions.",
        )
    f.__name__ = "expression"
    f.__doc__ = str(expr)
    made: Callable[..., Any] = f
    return made


def _is_of_arrays(name: str, scope: dict[str, Any]) -> bool:
    """Whether a name of a printed expression means something, and not a function of `math`, which takes single floats."""
    found = scope.get(name, getattr(builtins, name, None))
    return found is not None and getattr(found, "__module__", None) != "math"


class Defined(Special):
    """An elementwise function of the user's with its partials from SymPy."""

    def __init__(self, name: str, f: Any, rule: Any, expr: Any) -> None:
        super().__init__(f, "jvp", rule)
        self.__name__ = name
        self.expr = expr
        self.__doc__ = f"{name} = {expr}, elementwise."

    def __call__(self, *args: Any) -> Any:
        return self.f(*args) if current_trace() is None else super().__call__(*args)


def define(name: str, text: str, args: Sequence[str] | None = None) -> Defined:
    """An elementwise function from a SymPy expression: `swish = gg.define("swish", "x / (1 + exp(-x))")`.

    args: names of the arguments in order; by default the free symbols in the order in which the text mentions them. Its
    partials are derived by SymPy, in the form that is right at most points, and are what emitted code computes. SpecError for
    text that is no expression.
    """
    import re

    import sympy as sp

    if not name.isidentifier():
        raise SpecError(f"define needs an identifier, got {name!r}")
    words = list(dict.fromkeys(re.findall(r"[^\W\d]\w*", text)))
    try:
        scope = {
            word: sp.Symbol(word, real=True) for word in (args or words) if _is_free(sp, word, args)
        }
        expr = sp.sympify(text, locals=scope)
    except (sp.SympifyError, TypeError, SyntaxError, AttributeError) as error:
        raise SpecError(
            f"define needs an expression that SymPy reads, got {text!r}: {error}"
        ) from None
    names = (
        list(args)
        if args is not None
        else [w for w in words if w in {str(s) for s in expr.free_symbols}]
    )
    symbols = [scope[n] for n in names]
    value = from_sympy(expr, symbols)
    partials = [from_sympy(_steady(sp, sp.diff(expr, s), symbols), symbols) for s in symbols]

    def rule(x_dot: Any, y: Any, *given: Any) -> Any:
        dots = (x_dot,) if len(names) == 1 else x_dot
        total = None
        for dot, partial in zip(dots, partials, strict=True):
            term = dot * partial(*given)
            total = term if total is None else total + term
        return total

    return Defined(name, value, rule, expr)


def _steady(sp: Any, derivative: Any, symbols: Sequence[Any]) -> Any:
    """Of several forms of a derivative, the one that is right at most points in double precision; the shorter of equals."""
    import numpy as np

    forms = [derivative, sp.simplify(derivative), sp.factor(derivative), sp.together(derivative)]
    points = [p * s for p in (1e-9, 0.3, 1.7, 12.0, 45.0, 720.0) for s in (1, -1)]
    exact = []
    for k, _ in enumerate(points):
        at = {x: sp.Float(points[(k + 3 * j) % len(points)], 60) for j, x in enumerate(symbols)}
        exact.append((at, derivative.evalf(60, subs=at, maxn=400)))

    def wrong(form: Any) -> int:
        f = from_sympy(form, symbols)
        count = 0
        with np.errstate(all="ignore"):
            for at, value in exact:
                try:
                    wanted = float(value)
                except (TypeError, ValueError):
                    continue
                found = f(*(np.float64(at[x]) for x in symbols))
                count += not np.isclose(found, wanted, rtol=1e-9, atol=1e-300)
        return count

    return min(forms, key=lambda form: (wrong(form), sp.count_ops(form)))


def _is_free(sp: Any, word: str, args: Sequence[str] | None) -> bool:
    return args is not None or not hasattr(sp, word)


def to_sympy(fn: Function) -> list[Any]:
    """The outputs of a Function of scalars as SymPy expressions of its inputs' names (real symbols)."""
    import sympy as sp

    env: dict[int, Any] = {}
    for v in fn.inputs:
        if v.type.shape:
            raise UnsupportedError(
                f"to_sympy needs a function of numbers, got {v.name}: {v.type}",
                "Give every element an argument of its own.",
            )
        env[id(v)] = sp.Symbol(v.name or "x", real=True, integer=v.type.dtype[0] == "i" or None)

    def of(v: Value) -> Any:
        if id(v) in env:
            return env[id(v)]
        if v.op is CONST and not v.type.shape:
            number = v.params["value"].item()
            exact = isinstance(number, float) and number.is_integer()
            return sp.Integer(int(number)) if exact else sp.sympify(number)
        raise UnsupportedError(f"to_sympy has no expression for {v.op} {v.type}")

    for node in fn.body:
        if node.type.shape or node.op.regions or node.op is ITEM:
            raise UnsupportedError(
                f"to_sympy needs a function of numbers without loops, got {node.op} of {node.type}",
                site=node.site,
            )
        args = [of(a) for a in node.args]
        env[id(node)] = _expression(sp, node, args)
    return [of(v) for v in fn.outputs]


def _expression(sp: Any, node: Value, args: list[Any]) -> Any:
    name = node.op.name
    made = {
        "where": lambda c, a, b: sp.Piecewise((a, c), (b, True)),
        "maximum": sp.Max, "minimum": sp.Min, "abs": sp.Abs, "sign": sp.sign, "mulz": lambda a, p: a * p,
        "powc": lambda a, b: a**b, "power": lambda a, b: a**b, "logaddexp": lambda a, b: sp.log(sp.exp(a) + sp.exp(b)),
        "less": sp.Lt, "less_equal": sp.Le, "greater": sp.Gt, "greater_equal": sp.Ge, "equal": sp.Eq, "not_equal": sp.Ne,
        "logical_and": sp.And, "logical_or": sp.Or, "logical_not": sp.Not, "hypot": lambda a, b: sp.sqrt(a**2 + b**2),
        "arctan2": sp.atan2, "root": sp.sqrt, "softplus": lambda x: sp.log(1 + sp.exp(x)), "cast": lambda x: x,
        "sigmoid": lambda x: 1 / (1 + sp.exp(-x)), "barrier": lambda x: x, "stop_gradient": lambda x: x,
    }.get(name)  # fmt: skip
    if made is not None:
        return made(*args)
    text = OPS[name].sympy
    if not text:
        raise UnsupportedError(f"to_sympy has no expression for {name}", site=node.site)
    free = sorted({str(s) for s in sp.sympify(text).free_symbols})
    scope = {n: sp.Dummy(n) for n in free}
    expr = sp.sympify(text, locals=scope)
    return expr.subs(dict(zip([scope[n] for n in free], args, strict=True)), simultaneous=True)


__all__ = ["define", "from_sympy", "to_sympy"]
