"""SymPy expressions as the text of partials: Python over y, the operands, named constants and the functions of calls.py.

Deterministic: terms and factors are ordered by kind and by name, never by SymPy's own order of arguments.
"""

from __future__ import annotations

import sympy as sp

# What a number is called in the table.
CONSTANTS = {
    "LN2": sp.log(2),
    "LN10": sp.log(10),
    "TWO_OVER_SQRT_PI": 2 / sp.sqrt(sp.pi),
}
# SymPy's name -> the name in calls.py.
FUNCTIONS = {
    "exp": "exp", "log": "log", "sin": "sin", "cos": "cos", "tan": "tan", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "sigmoid": "sigmoid",
}  # fmt: skip
_SUM, _PRODUCT, _UNARY, _ATOM = 1, 2, 3, 4


def text(d: sp.Expr) -> str:
    """A Python expression over operands, y and the functions of calls.py. KeyError for a function it does not know."""
    return _text(d, 0)


def _text(d: sp.Expr, at: int) -> str:
    written, precedence = _written(d)
    return written if precedence >= at else f"({written})"


def _written(d: sp.Expr) -> tuple[str, int]:
    for name, value in CONSTANTS.items():
        if d == value:
            return name, _ATOM
    if d.is_Symbol:
        return str(d), _ATOM
    if d.is_Integer:
        return str(d), _ATOM if d >= 0 else _UNARY
    if d.is_Rational and d.q in (2, 4, 8):
        return str(float(d)), _ATOM if d >= 0 else _UNARY
    if d.is_Add:
        return _sum(d), _SUM
    if d.is_Mul or (d.is_Pow and d.exp.is_negative) or d.is_Rational:
        return _product(d)
    if d.is_Pow:
        if d.exp == 2:
            return f"square({_text(d.base, 0)})", _ATOM
        if d.exp == sp.Rational(1, 2):
            return f"sqrt({_text(d.base, 0)})", _ATOM
        if d.base == sp.E:
            return f"exp({_text(d.exp, 0)})", _ATOM
        raise KeyError(d)
    if d.func == sp.polygamma and d.args[0].is_Integer:
        name = ("digamma", "trigamma", "tetragamma")[int(d.args[0])]
        return f"{name}({_text(d.args[1], 0)})", _ATOM
    return f"{FUNCTIONS[d.func.__name__]}({', '.join(_text(a, 0) for a in d.args)})", _ATOM


def _sum(d: sp.Expr) -> str:
    """Numbers first, then by name, what is subtracted last."""
    terms = sorted(
        d.args, key=lambda t: (t.could_extract_minus_sign(), not t.is_number, _text(t, 0))
    )
    parts = [_text(terms[0], _SUM)]
    for term in terms[1:]:
        minus = term.could_extract_minus_sign()
        parts.append(f"- {_text(-term, _PRODUCT)}" if minus else f"+ {_text(term, _SUM)}")
    return " ".join(parts)


def _product(d: sp.Expr) -> tuple[str, int]:
    """c * a * b / (e * f), with a number first and named constants next."""
    sign = ""
    if d.could_extract_minus_sign() and not d.is_Add:
        sign, d = "-", -d
        if not (d.is_Mul or d.is_Pow or d.is_Rational):
            return f"-{_text(d, _UNARY)}", _UNARY
    above: list[sp.Expr] = []
    below: list[sp.Expr] = []
    for name, value in CONSTANTS.items():
        for factor, place in ((value, above), (1 / value, below)):
            if d.is_Mul and set(factor.args if factor.is_Mul else (factor,)) <= set(d.args):
                place.append(sp.Symbol(name))
                d = d / factor
    for factor in d.args if d.is_Mul else (d,):
        if factor.is_Rational and factor != 1:
            if factor.q in (2, 4, 8):
                above.append(factor)
            else:
                above += [sp.Integer(factor.p)] if factor.p != 1 else []
                below += [sp.Integer(factor.q)] if factor.q != 1 else []
        elif factor.is_Pow and factor.exp.is_negative:
            below.append(1 / factor)
        elif factor != 1:
            above.append(factor)
    top = " * ".join(_text(f, _PRODUCT) for f in sorted(above, key=_place)) or "1"
    if not below:
        return sign + top, _PRODUCT if len(above) > 1 or sign else _ATOM
    bottom = " * ".join(
        _text(f, _PRODUCT if len(below) > 1 else _UNARY) for f in sorted(below, key=_place)
    )
    return f"{sign}{top} / {bottom if len(below) == 1 else f'({bottom})'}", _PRODUCT


def _place(factor: sp.Expr) -> tuple[int, str]:
    """Numbers, named constants, variables, functions."""
    written = _text(factor, 0)
    kind = 0 if factor.is_number else 1 if written in CONSTANTS else 2 if factor.is_Symbol else 3
    return kind, written
