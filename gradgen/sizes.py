"""Sizes of arrays that are known only when the emitted code is called.

A size is a Python `int`, or a `Size`: an integer polynomial over letters (`n`, `2*n + 1`, `d*(d-1)//2`) in one normal
form, so that equal sizes are equal objects and a shape can be compared structurally. Floor division, clipping at zero and
whole square roots are opaque atoms.

    n - 1 of `x[1:]` is max(0, n - 1): correct for n = 0 too; `max0` keeps it in normal form:
    max0(max0(n - 1) - 1) = max0(n - 2)

Sizes with different normal forms are different: they never broadcast, and a letter is never taken for 1. Not supported:
division by a size that can be zero (it raises when evaluated), sizes that depend on data.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Union

from gradgen.errors import SpecError

Dim = Union[int, "Size"]
Atom = Union[str, "Opaque"]
Monomial = tuple[Atom, ...]


class Opaque:
    """An atom that is not a letter: `floordiv(a, b)`, `max0(a)` or `isqrt(a)`; compared by structure."""

    __slots__ = ("args", "key", "kind")

    def __init__(self, kind: str, *args: Dim) -> None:
        self.kind = kind
        self.args = args
        self.key = f"{kind}({', '.join(map(str, args))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _key(atom: Atom) -> tuple[int, str]:
    return (0, atom) if isinstance(atom, str) else (1, atom.key)


class Size:
    """A polynomial with integer coefficients over atoms; immutable, hashable, in normal form."""

    __slots__ = ("_hash", "terms")
    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._hash = hash(terms)

    # -- construction in normal form
    @staticmethod
    def make(terms: Mapping[Monomial, int]) -> Dim:
        kept = [(m, c) for m, c in terms.items() if c]
        if not kept:
            return 0
        if len(kept) == 1 and not kept[0][0]:
            return kept[0][1]
        # Highest degree first, the constant last: n*d + n + 1.
        kept.sort(key=lambda mc: (-len(mc[0]), tuple(_key(a) for a in mc[0])))
        return Size(tuple(kept))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Size) and self.terms == other.terms)

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Dim) -> Dim:
        return add(self, other)

    __radd__ = __add__

    def __sub__(self, other: Dim) -> Dim:
        return add(self, mul(other, -1))

    def __rsub__(self, other: Dim) -> Dim:
        return add(other, mul(self, -1))

    def __mul__(self, other: Dim) -> Dim:
        return mul(self, other)

    __rmul__ = __mul__

    def __neg__(self) -> Dim:
        return mul(self, -1)

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floordiv(other, self)

    def __bool__(self) -> bool:
        raise TypeError("a Size has no truth value; compare normal forms with ==")

    def __str__(self) -> str:
        return spell(self, lambda letter: letter)

    __repr__ = __str__

    def letters(self) -> Iterator[str]:
        """Every letter in the size, with repetitions, in reading order."""
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    yield atom
                else:
                    for arg in atom.args:
                        yield from letters(arg)


def of_atom(atom: Atom) -> Size:
    """The size that is one atom."""
    return Size((((atom,), 1),))


def letter(name: str) -> Size:
    """The size that is the letter (or word) `name`."""
    return of_atom(name)


def letters(dim: Dim) -> Iterator[str]:
    """Letters of a dimension; none for an int."""
    return iter(()) if isinstance(dim, int) else dim.letters()


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(dim, Size):
        return dim.terms
    return (((), dim),) if dim else ()


def add(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    total: dict[Monomial, int] = dict(_terms(a))
    for monomial, coefficient in _terms(b):
        total[monomial] = total.get(monomial, 0) + coefficient
    return Size.make(total)


def mul(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    total: dict[Monomial, int] = {}
    for ma, ca in _terms(a):
        for mb, cb in _terms(b):
            monomial = tuple(sorted(ma + mb, key=_key))
            total[monomial] = total.get(monomial, 0) + ca * cb
    return Size.make(total)


def floordiv(a: Dim, b: Dim) -> Dim:
    """a // b; exact where every coefficient divides, an opaque atom otherwise."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if a == b or (isinstance(b, int) and b == 1):
        return 1 if a == b else a
    if isinstance(b, int) and b and all(c % b == 0 for _, c in _terms(a)):
        return Size.make({m: c // b for m, c in _terms(a)})
    quotient = _exact(a, b)
    return quotient if quotient is not None else of_atom(Opaque("floordiv", a, b))


def _exact(a: Dim, b: Dim) -> Dim | None:
    """a / b where b is one monomial that divides every term of a (n*d // d = n); else None."""
    if not isinstance(b, Size) or len(b.terms) != 1:
        return None
    divisor, scale = b.terms[0]
    total: dict[Monomial, int] = {}
    for monomial, coefficient in _terms(a):
        rest = list(monomial)
        for atom in divisor:
            if atom not in rest:
                return None
            rest.remove(atom)
        if coefficient % scale:
            return None
        total[tuple(rest)] = coefficient // scale
    return Size.make(total)


def max0(a: Dim) -> Dim:
    """max(0, a) in normal form; letters are never negative."""
    if isinstance(a, int):
        return max(0, a)
    if nonnegative(a):
        return a
    # max0(max0(x) - k) = max0(x - k) for k >= 0
    atoms = [(m, c) for m, c in a.terms if m]
    constant = constant_term(a)
    if len(atoms) == 1 and atoms[0][1] == 1 and len(atoms[0][0]) == 1 and constant <= 0:
        atom = atoms[0][0][0]
        if isinstance(atom, Opaque) and atom.kind == "max0":
            return max0(add(atom.args[0], constant))
    return of_atom(Opaque("max0", a))


def constant_term(a: Dim) -> int:
    return a if isinstance(a, int) else sum(c for m, c in a.terms if not m)


def isqrt(a: Dim) -> Dim:
    """The whole part of the square root of a, which is not negative."""
    return math.isqrt(a) if isinstance(a, int) else of_atom(Opaque("isqrt", a))


def nonnegative(a: Dim) -> bool:
    """Whether a >= 0 for every value of its letters, as far as signs of coefficients and k * (b // k) <= b show it."""
    if isinstance(a, int):
        return a >= 0
    for m, c in a.terms:
        for atom in m:
            if c < 0 and isinstance(atom, Opaque) and atom.kind == "floordiv":
                b, k = atom.args
                quotient = of_atom(atom)
                if isinstance(k, int) and k > 0 and m == (atom,) and c % k == 0:
                    return nonnegative(add(add(a, mul(-c, quotient)), mul(c // k, b)))
                rest = add(a, mul(quotient, k))  # a = b - k * (b // k) + what is left
                if isinstance(k, Size) and not any(atom in n for n, _ in _terms(rest)):
                    return nonnegative(k) and nonnegative(add(rest, mul(-1, b)))
    return all(c >= 0 and all(_atom_nonnegative(x) for x in m) for m, c in a.terms)


def _atom_nonnegative(atom: Atom) -> bool:
    if isinstance(atom, str) or atom.kind in ("max0", "isqrt"):
        return True
    return all(nonnegative(arg) for arg in atom.args)


def product(dims: tuple[Dim, ...]) -> Dim:
    """Number of elements of a shape."""
    total: Dim = 1
    for dim in dims:
        total = mul(total, dim)
    return total


def evaluate(dim: Dim, env: Mapping[str, int]) -> int:
    """The number that `dim` is when the letters have the values in `env`."""
    if isinstance(dim, int):
        return dim
    total = 0
    for monomial, coefficient in dim.terms:
        value = coefficient
        for atom in monomial:
            if isinstance(atom, str):
                value *= env[atom]
            elif atom.kind == "max0":
                value *= max(0, evaluate(atom.args[0], env))
            elif atom.kind == "isqrt":
                value *= math.isqrt(evaluate(atom.args[0], env))
            else:
                value *= evaluate(atom.args[0], env) // evaluate(atom.args[1], env)
        total += value
    return total


def with_atoms(dim: Dim, instead: Callable[[Atom], Dim]) -> Dim:
    """`dim` with a size in the place of each of its atoms."""
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        value: Dim = coefficient
        for atom in monomial:
            value = mul(value, instead(atom))
        total = add(total, value)
    return total


def relaxed(dim: Dim) -> tuple[Dim, list[Dim]]:
    """`dim` with `a` for each max(0, a) in it, and these `a`: the same size where none of them is negative."""
    inside: list[Dim] = []

    def bare(atom: Atom) -> Dim:
        if isinstance(atom, str) or atom.kind != "max0":
            return of_atom(atom)
        inside.append(atom.args[0])
        return with_atoms(atom.args[0], bare)

    return with_atoms(dim, bare), inside


_MADE: dict[str, Callable[..., Dim]] = {"max0": max0, "isqrt": isqrt, "floordiv": floordiv}


def substitute(dim: Dim, env: Mapping[str, Dim]) -> Dim:
    """`dim` with letters replaced by sizes."""

    def instead(atom: Atom) -> Dim:
        if isinstance(atom, str):
            return env.get(atom, letter(atom))
        return _MADE[atom.kind](*[substitute(arg, env) for arg in atom.args])

    return with_atoms(dim, instead)


def spell(
    dim: Dim,
    name: Callable[[str], str],
    max0_text: str = "max(0, {0})",
    floordiv_text: str | Callable[[Dim], str] = "{0} // {1}",
    isqrt_text: str = "isqrt({0})",
    tight: bool = False,
) -> str:
    """The size as an expression of a target language: `name` spells a letter; a sum of products.

    floordiv_text: the text, or which one for a divisor. tight: no blanks around `*` (for comments and shapes), as in `n*d + 1`.
    """
    if isinstance(dim, int):
        return str(dim)
    times = "*" if tight else " * "
    parts: list[str] = []
    for monomial, coefficient in dim.terms:
        factors = []
        if abs(coefficient) != 1 or not monomial:
            factors.append(str(abs(coefficient)))
        for atom in monomial:
            if isinstance(atom, str):
                factors.append(name(atom))
                continue
            args = [spell(a, name, max0_text, floordiv_text, isqrt_text, tight) for a in atom.args]
            if atom.kind == "max0":
                factors.append(max0_text.format(*args))
            elif atom.kind == "isqrt":
                factors.append(isqrt_text.format(_wrap(atom.args[0], args[0])))
            else:
                wrapped = [_wrap(a, text) for a, text in zip(atom.args, args, strict=True)]
                form = (
                    floordiv_text if isinstance(floordiv_text, str) else floordiv_text(atom.args[1])
                )
                text = form.format(*(wrapped if " // " in form else args))
                alone = len(monomial) == 1 and abs(coefficient) == 1
                factors.append(text if alone or " // " not in form else f"({text})")
        term = times.join(factors)
        if not parts:
            parts.append(f"-{term}" if coefficient < 0 else term)
        else:
            parts.append(f"{'-' if coefficient < 0 else '+'} {term}")
    return " ".join(parts)


def _wrap(dim: Dim, text: str) -> str:
    atomic = isinstance(dim, int) or (len(dim.terms) == 1 and len(dim.terms[0][0]) == 1)
    return text if atomic and (isinstance(dim, int) or dim.terms[0][1] == 1) else f"({text})"


LARGEST = 2**48  # products of a few fit 64 bits, and no memory holds more


def parse(text: str) -> Dim:
    """A size from its spelling in a spec: integers, names, `+ - * //` and parentheses.

    Raises SpecError for anything else; the text is parsed, never evaluated.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise SpecError(
            f"a size needs integers, letters and + - * //, got {text!r}", site=None
        ) from None
    return _parse(tree, text)


def _parse(node: ast.AST, text: str) -> Dim:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        if node.value > LARGEST:
            raise SpecError(f"a size needs at most {LARGEST}, got {text!r}")
        return node.value
    if isinstance(node, ast.Name):
        return letter(node.id)
    if isinstance(node, ast.BinOp):
        a, b = _parse(node.left, text), _parse(node.right, text)
        if isinstance(node.op, ast.Add):
            return add(a, b)
        if isinstance(node.op, ast.Sub):
            return add(a, mul(b, -1))
        if isinstance(node.op, ast.Mult):
            return mul(a, b)
        if isinstance(node.op, ast.FloorDiv) and b != 0:
            return floordiv(a, b)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return mul(_parse(node.operand, text), -1)
    raise SpecError(f"a size needs integers, letters and + - * //, got {text!r}")
