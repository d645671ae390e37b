"""Numbers, small arrays and sizes as Python text."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.sizes import Dim, Opaque
from gradgen.spelling import ATOM, PRODUCT, SUM, UNARY, Expr


def size_precedence(dim: Dim) -> int:
    """How tightly the spelled size binds."""
    if isinstance(dim, int):
        return ATOM if dim >= 0 else UNARY
    if len(dim.terms) > 1:
        return SUM
    monomial, coefficient = dim.terms[0]
    if coefficient < 0:
        return UNARY if len(monomial) == 1 and coefficient == -1 else SUM
    if len(monomial) == 1 and coefficient == 1:
        atom = monomial[0]
        return PRODUCT if isinstance(atom, Opaque) and atom.kind == "floordiv" else ATOM
    return PRODUCT


def number(value: Any, module: str) -> Expr:
    """A scalar as a Python literal; inf and nan through `module`."""
    if value.dtype == np.bool_:
        return Expr("True" if value else "False")
    if value.dtype.kind in "iu":
        v = int(value)
        return Expr(str(v), UNARY if v < 0 else ATOM)
    if value.dtype == np.float32:
        text = python_float(float(str(value)))  # the shortest digits that give this float32 back
    else:
        text = python_float(float(value))
    if text == "nan":
        return Expr(f"{module}.nan")
    if text in ("inf", "-inf"):
        return Expr(f"{module}.inf") if text == "inf" else Expr(f"-{module}.inf", UNARY)
    return Expr(text, UNARY if text.startswith("-") else ATOM)


def python_float(value: float) -> str:
    """The shortest digits that give this float back, as formatters write them: 1e22, not 1e+22."""
    return repr(value).replace("e+", "e")


def repr_array(value: np.ndarray) -> str:
    """Nested list text of a small array."""
    if value.ndim == 0:
        return number(value, "np").text
    return f"[{', '.join(repr_array(v) for v in value)}]"
