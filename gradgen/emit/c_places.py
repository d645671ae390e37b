"""Sizes, indices and places in memory as C expressions."""

from __future__ import annotations

import abc
from typing import Any

from gradgen.emit.c_text import ROOT
from gradgen.emit.names import Names
from gradgen.lower.kernel import (
    IOTA,
    Affine,
    Buffer,
    Index,
    Var,
)
from gradgen.ops.helpers import HELPERS
from gradgen.sizes import Dim, Opaque, Size, mul, nonnegative, spell
from gradgen.spelling import ATOM, COMPARE, PRODUCT, SUM, TERNARY, UNARY, Expr


class CPlaces(abc.ABC):
    """Spells sizes and indices; `sizes` collects the lines that bind what is no polynomial of the letters."""

    def __init__(self, names: Names, letters: dict[str, str]) -> None:
        self.names = names
        self.letters = letters
        self.helpers: dict[tuple[str, str], None] = {}
        self.sizes: dict[str, str] = {}
        self.size_names: dict[str, str] = {}
        self.variable: dict[int, Expr] = {}
        self.pointer: dict[int, str] = {}

    @abc.abstractmethod
    def operand(self, x: Any) -> Expr:
        """The text of a scalar."""

    # -- sizes and indices
    def letter(self, name: str) -> str:
        return self.letters[name]

    def dim(self, dim: Dim) -> Expr:
        """A size as an int64_t expression; parts that are no polynomials are bound to a constant first."""
        if isinstance(dim, int):
            return Expr(str(dim), ATOM if dim >= 0 else UNARY)
        for monomial, _ in dim.terms:
            for atom in monomial:
                if isinstance(atom, Opaque):
                    self._bind(atom)
        text = spell(self._named(dim), lambda n: n)
        if len(dim.terms) > 1:
            return Expr(text, SUM)
        monomial, coefficient = dim.terms[0]
        return Expr(
            text,
            ATOM
            if coefficient == 1 and len(monomial) == 1
            else PRODUCT
            if coefficient > 0
            else SUM,
        )

    def _named(self, dim: Dim) -> Dim:
        """The size with letters and bound parts under their C names."""
        if isinstance(dim, int):
            return dim
        terms = tuple(
            (
                tuple(
                    self.size_names[a.key] if isinstance(a, Opaque) else self.letters[a] for a in m
                ),
                c,
            )
            for m, c in dim.terms
        )
        return Size(terms)

    def _bind(self, atom: Opaque) -> None:
        if atom.key in self.size_names:
            return
        args = [self.dim(a) for a in atom.args]
        if atom.kind == "max0":
            text = f"{args[0].at(COMPARE + 1)} > 0 ? {args[0].at(TERNARY + 1)} : 0"
        elif atom.kind == "isqrt":
            text = ROOT.format(args[0].at(UNARY))
        elif nonnegative(atom.args[0]) and isinstance(atom.args[1], int) and atom.args[1] > 0:
            text = f"{args[0].at(PRODUCT)} / {args[1].at(PRODUCT + 1)}"
        else:
            self.helpers["floor_div", "i64"] = None
            callee = HELPERS["floor_div"].called("c", "i64")
            text = f"{callee}({args[0].text}, {args[1].text})"
        name = self.names.fresh("m")
        self.size_names[atom.key] = name
        self.sizes[name] = f"const int64_t {name} = {text};"

    def extent(self, dim: Dim) -> Expr:
        """The bound of a loop: `i < max0(a)` is `i < a`."""
        if isinstance(dim, Size) and len(dim.terms) == 1:
            monomial, coefficient = dim.terms[0]
            if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], Opaque):
                atom = monomial[0]
                if atom.kind == "max0":
                    return self.dim(atom.args[0])
        return self.dim(dim)

    def affine(self, a: Affine) -> Expr:
        """An index as text: terms with a plus sign first, the constant last."""
        parts: list[tuple[bool, str]] = []
        inner = Expr("0")
        for c, terms in _by_coefficient(a):
            names = [self.variable[id(t)] if type(t) is Var else self.operand(t) for t in terms]
            inner = names[0]
            if len(names) > 1:
                inner = Expr(" + ".join(x.at(SUM) for x in names), SUM)
            negative = c < 0 if isinstance(c, int) else all(k < 0 for _, k in c.terms)
            factor = mul(c, -1) if negative else c
            if isinstance(factor, int) and factor == 1:
                text = inner.at(SUM + 1 if negative else SUM)
            else:
                coefficient = self.dim(factor)
                text = f"{inner.at(PRODUCT)} * {coefficient.at(PRODUCT + 1)}"
                if coefficient.precedence == PRODUCT:
                    text = f"{inner.at(PRODUCT)} * {coefficient.text}"
            parts.append((negative, text))
        constant = a.constant
        if not (isinstance(constant, int) and constant == 0) or not parts:
            if isinstance(constant, int):
                parts.append((constant < 0, str(abs(constant))))
            else:
                expr = self.dim(constant)
                parts.insert(0 if any(n for n, _ in parts) else len(parts), (False, expr.at(SUM)))
        if len(parts) == 1 and len(a.terms) == 1 and a.terms[0][1] == 1:
            return inner
        parts.sort(key=lambda p: p[0])
        text = ""
        for negative, part in parts:
            if not text:
                text = f"-{part}" if negative else part
            else:
                text += f" - {part}" if negative else f" + {part}"
        if len(parts) > 1:
            return Expr(text, SUM)
        return Expr(text, ATOM if text.isalnum() else PRODUCT)

    def element(self, buffer: Buffer, index: Index) -> Expr:
        """An element as an expression: a place in memory, or the index itself."""
        if buffer.data is IOTA:
            return self.affine(index[0])
        return Expr(self.place(buffer, index))

    def pointer_to(self, buffer: Buffer, index: Index) -> str:
        """`X`, or `&X[i * d]`."""
        place = self.place(buffer, index)
        return place.removesuffix("[0]") if place.endswith("[0]") else f"&{place}"

    def place(self, buffer: Buffer, index: Index) -> str:
        """`X[i * d + j]`; the variable itself for a scalar; `*value` for a scalar result."""
        name = self.pointer[id(buffer.memory)]
        if not buffer.shape:
            return f"*{name}" if buffer.memory.storage == "output" else name
        flat = Affine()
        for a, stride in zip(index, buffer.strides(), strict=True):
            flat = flat.plus(a.times(stride))
        return f"{name}[{self.affine(flat).text}]"


def _by_coefficient(a: Affine) -> list[tuple[Dim, list[Any]]]:
    """Terms with one coefficient together, as in (i + j) * d; terms with coefficient 1 each for itself."""
    found: dict[Any, tuple[Dim, list[Any]]] = {}
    for k, (t, c) in enumerate(a.terms):
        key = k if isinstance(c, int) and c == 1 else str(c)
        found.setdefault(key, (c, []))[1].append(t)
    return list(found.values())
