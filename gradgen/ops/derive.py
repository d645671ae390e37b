"""`python -m gradgen.ops.derive` rewrites partials.py: SymPy differentiates each op's own expression.

For every operand a few equal forms are made: as SymPy gives it, simplified, factored, and each of these in terms of the result
(tanh' = 1 - y**2). The shortest form wins among those that keep their digits: each is evaluated in double precision over many
magnitudes and compared with 40 digits; forms that cancel (1 - x**2 near 1) or overflow (exp(-x) * y**2) drop out.
With --check nothing is written, and the exit status is 1 if the file is not what would be written.

SymPy is imported here, never by `import gradgen`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from gradgen.ir import OPS, Op
from gradgen.ops.derive_text import CONSTANTS, FUNCTIONS, text

FILE = Path(__file__).with_name("partials.py")
TOLERANCE = 2e-14
# 1 - y**2 cancels where tanh saturates: an absolute error of 1e-16 in a slope that is nearly 0; it is what everybody expects.
TEXTBOOK = {"tanh"}
Y = sp.Symbol("y", real=True)


class sigmoid(sp.Function):
    """1 / (1 + exp(-x)), kept whole because its slope is best written with itself."""

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sigmoid(self.args[0]) * sigmoid(-self.args[0])

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return (1 / (1 + sp.exp(-self.args[0])))._eval_evalf(prec)


def expression(op: Op) -> tuple[sp.Expr, list[sp.Symbol]]:
    """The op as a SymPy expression, and its operands: x, or a and b."""
    names = ("x",) if op.partials is not None and len(op.partials) == 1 else ("a", "b")
    if "x" in {str(s) for s in sp.sympify(op.sympy, {"sigmoid": sigmoid}).free_symbols}:
        names = ("x",)
    symbols = [sp.Symbol(name, real=True) for name in names]
    scope = dict(zip(names, symbols, strict=True)) | {"sigmoid": sigmoid}
    return sp.sympify(op.sympy, scope), symbols


# -- candidate forms
def forms(f: sp.Expr, d: sp.Expr) -> Iterator[sp.Expr]:
    """Expressions equal to d, some of them with y for f."""
    given = [d, sp.simplify(d), sp.factor(d), sp.cancel(d)]
    given += [_products(form) for form in given]
    given += [_idioms(form) for form in given]
    for form in given:
        yield form
        yield from _with_result(f, form)


def _with_result(f: sp.Expr, d: sp.Expr) -> Iterator[sp.Expr]:
    """d with y for f, and for a part of f of which y is a simple function."""
    yield d.subs(f, Y)
    for part in sp.postorder_traversal(f):
        if part.is_Function or part.is_Pow:
            t = sp.Dummy("t", positive=True)
            rest = f.subs(part, t)
            if rest.free_symbols == {t}:
                for solution in sp.solve(sp.Eq(rest, Y), t):
                    yield sp.simplify(d.subs(part, solution))


def _products(d: sp.Expr) -> sp.Expr:
    """With 1 - x**2 as (1 - x) * (1 + x), which does not cancel near 1."""
    x = sp.Symbol("x", real=True)
    split = sp.Mul(1 - x, 1 + x, evaluate=False)
    swapped = sp.Mul(x - 1, 1 + x, evaluate=False)
    replaced = d.subs(1 - x**2, sp.Symbol("_p")).subs(x**2 - 1, sp.Symbol("_q"))
    over = (sp.sqrt(x - 1) * sp.sqrt(x + 1)) ** -1
    if d == over:
        replaced = 1 / sp.sqrt(sp.Symbol("_q"))
    return replaced.subs({sp.Symbol("_p"): split, sp.Symbol("_q"): swapped})


def _idioms(d: sp.Expr) -> sp.Expr:
    x = sp.Symbol("x", real=True)
    return d.subs(sp.exp(x) / (1 + sp.exp(x)), sigmoid(x)).subs(1 / (1 + sp.exp(-x)), sigmoid(x))


# -- choice
def cost(code: str) -> tuple[int, int, str]:
    """Functions weigh more than operations, a square little more than a product; then the length; then the text."""
    calls = sum(code.count(f"{name}(") for name in [*FUNCTIONS.values(), "sqrt", "gamma"])
    signs = sum(code.count(symbol) for symbol in ("+", "-", "*", "/", "square("))
    return 8 * calls + signs, len(code), code


def _samples() -> list[float]:
    grid = [s * m * 10.0**e for e in range(-12, 3) for m in (1.0, 2.3, 7.1) for s in (1, -1)]
    return grid + [
        s * (1 + d) for s in (1, -1) for d in (-0.5, -0.1, -1e-3, -1e-8, 1e-8, 1e-3, 0.1)
    ]


_NUMPY: dict[str, Callable[..., Any]] = {
    name: getattr(np, name)
    for name in ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sqrt", "square")
}


def accurate(code: str, op: Op, f: sp.Expr, symbols: list[sp.Symbol], d: sp.Expr) -> bool:
    """Whether the text, in doubles, agrees with d in 40 digits wherever d is a moderate real number."""
    from gradgen.ops.helpers import HELPERS, run

    scope: dict[str, Any] = _NUMPY | {name: float(value) for name, value in CONSTANTS.items()}
    scope |= {"sigmoid": run("expit")}
    scope |= {name: run(name) for name in HELPERS if name.endswith("gamma")}
    names = [str(s) for s in symbols]
    compute = eval(f"lambda y, {', '.join(names)}: {code}", scope)
    with mpmath.workdps(40), np.errstate(all="ignore"):
        modules: list[Any] = [
            {"sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "polygamma": mpmath.polygamma}, "mpmath",
        ]  # fmt: skip
        exact_d, exact_f = (sp.lambdify(symbols, e, modules=modules) for e in (d, f))
        for point in _points(len(symbols)):
            try:
                values = [mpmath.mpf(v) for v in point]
                want, y = exact_d(*values), exact_f(*values)
            except (ZeroDivisionError, ValueError, OverflowError):
                continue
            if mpmath.im(want) or mpmath.im(y) or not 1e-290 < abs(want) < 1e290 or abs(y) > 1e290:
                continue
            got = float(compute(np.float64(float(mpmath.re(y))), *map(np.float64, point)))
            # The rounding of y and of the argument itself is forgiven where the slope is steep, as near a pole.
            slack = TOLERANCE * abs(want)
            if not (math.isfinite(got) and abs(got - want) <= slack):
                return False
    return True


def _points(arity: int) -> Iterator[tuple[float, ...]]:
    samples = _samples()
    if arity == 1:
        yield from ((x,) for x in samples)
    else:
        yield from ((a, b) for a in samples[::5] for b in samples[::7])


def partial(op: Op, f: sp.Expr, symbols: list[sp.Symbol], i: int) -> str:
    """The text of dy/d(operand i). ValueError if no form is known and accurate."""
    d = sp.diff(f, symbols[i])
    found: dict[str, None] = {}
    for form in forms(f, d):
        try:
            found.setdefault(text(form))
        except (KeyError, IndexError):
            continue
    for code in sorted(found, key=cost):
        if op.name in TEXTBOOK or accurate(code, op, f, symbols, d):
            return code
    raise ValueError(f"{op.name}: none of {list(found)} is accurate; declare the partial by hand")


def table() -> dict[str, tuple[tuple[str, ...], list[str]]]:
    """op name -> (operand names, text of each partial)."""
    rows = {}
    for op in OPS.values():
        if op.sympy:
            f, symbols = expression(op)
            texts = [partial(op, f, symbols, i) for i in range(len(symbols))]
            rows[op.name] = tuple(str(s) for s in symbols), texts
    return rows


def source() -> str:
    """What partials.py should be."""
    rows = table()
    body = []
    for name, (operands, texts) in rows.items():
        args = ", ".join(("y", *operands))
        lambdas = [f"lambda {args}: {t}" for t in texts]
        line = f'    "{name}": ({", ".join(lambdas)}{"," if len(texts) == 1 else ""}),'
        if len(line) > 100:
            line = f'    "{name}": (\n' + "".join(f"        {t},\n" for t in lambdas) + "    ),"
        body.append(line)
    everything = "\n".join(body)
    names = [*FUNCTIONS.values(), "sqrt", "square", "digamma", "trigamma", "tetragamma"]
    used = sorted({n for n in names if f"{n}(" in everything.replace("polygamma", "")})
    constants = {
        "LN2": "math.log(2.0)",
        "LN10": "math.log(10.0)",
        "TWO_OVER_SQRT_PI": "2.0 / math.sqrt(math.pi)",
    }
    lines = "\n".join(f"{n} = {v}" for n, v in constants.items() if n in everything)
    imported = f"from gradgen.ops.calls import {', '.join(used)}"
    if len(imported) > 100:
        names_in_lines = "".join(f"    {n},\n" for n in used)
        imported = f"from gradgen.ops.calls import (\n{names_in_lines})"
    return f'''"""Partials of the elementwise ops in terms of the result y and the operands.

Generated by `python -m gradgen.ops.derive` from each op's `sympy` expression; do not edit. Partials that are declared by hand,
and why, stand in the op's record.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

{imported}

{lines}

PARTIALS: dict[str, tuple[Callable[..., Any], ...]] = {{
{everything}
}}
'''


def main(arguments: list[str] | None = None) -> int:
    """Write partials.py, or with --check compare it."""
    parser = argparse.ArgumentParser(prog="python -m gradgen.ops.derive", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    check = parser.parse_args(arguments).check
    current = FILE.read_text() if FILE.exists() else ""
    wanted = source()
    if current == wanted:
        return 0
    if check:
        print(f"{FILE} is stale: run python -m gradgen.ops.derive", file=sys.stderr)
        return 1
    FILE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
