"""How an op is written in a target language: text with its precedence, so that parentheses are set only where they must be.

One abstract scale serves Python and C. A spelling is a function `(operands, node, target) -> Expr`: `operands` are
Exprs, `node` the statement (for its params and types), `target` the printer, which spells sizes and dtypes and notes
the helpers in use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

(
    COMMA,
    TERNARY,
    OR,
    AND,
    NOT,
    COMPARE,
    BITOR,
    BITXOR,
    BITAND,
    SHIFT,
    SUM,
    PRODUCT,
    UNARY,
    POWER,
    ATOM,
) = range(15)


class Expr:
    """Text of an expression, how tightly its outermost operator binds, and (set by a printer) the variables it reads."""

    __slots__ = ("precedence", "reads", "text")

    def __init__(self, text: str, precedence: int = ATOM, reads: tuple[str, ...] = ()) -> None:
        self.text = text
        self.precedence = precedence
        self.reads = reads

    @classmethod
    def variable(cls, name: str) -> Expr:
        """A variable, or an element of one: what stands for a value that has been assigned."""
        return cls(name, ATOM, (name,))

    def __repr__(self) -> str:
        return f"Expr({self.text!r}, {self.precedence})"

    def at(self, precedence: int) -> str:
        """The text as an operand that must bind at least as tightly as `precedence`."""
        return self.text if self.precedence >= precedence else f"({self.text})"


Spelling = Callable[[Sequence[Expr], Any, Any], Expr]


def infix(
    symbol: str, precedence: int, left: int | None = None, right: int | None = None
) -> Spelling:
    """`a symbol b`; by default left-associative: the right operand must bind more tightly."""
    left = precedence if left is None else left
    right = precedence + 1 if right is None else right

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        a, b = operands
        x = a.text if a.precedence >= left else f"({a.text})"
        y = b.text if b.precedence >= right else f"({b.text})"
        return Expr(f"{x} {symbol} {y}", precedence)

    return spell


def prefix(symbol: str, precedence: int = UNARY, through: Sequence[str] = ()) -> Spelling:
    """`-a`: a nested prefix is parenthesised, since `--a` is another token in C.

    through: ops whose products need no brackets behind the sign, because (-a) * b and -(a * b) are the same number; but
    not where a is an integer, which may be the smallest one, or a truth value.
    """

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        inner = operands[0]
        if (
            inner.precedence == PRODUCT
            and not inner.text.startswith("-")
            and node.args[0].op.name in through
            and _starts_with_float(node.args[0], through)
        ):
            return Expr(f"{symbol}{inner.text}", PRODUCT)
        return Expr(f"{symbol}{operands[0].at(precedence + 1)}", precedence)

    return spell


def _starts_with_float(product: Any, through: Sequence[str]) -> bool:
    """Whether the first factor of a product is a float; in an expression of a loop an operand has a type alone."""
    while product.op is not None and product.op.name in through:
        product = product.args[0]
    return product.type is not None and product.type.dtype[0] == "f"


def call(name: str) -> Spelling:
    """`name(a, b)`."""

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        return Expr(f"{name}({', '.join([x.text for x in operands])})")

    return spell


def helper(name: str) -> Spelling:
    """A call of one of our own routines, which the printer then defines in the file (see `ops.helpers`)."""

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        return Expr(f"{target.helper(name, node)}({', '.join(x.text for x in operands)})")

    return spell


def template(text: str, precedence: int = ATOM, at: Sequence[int] = ()) -> Spelling:
    """`text` with `{0}`, `{1}` for operands; `at[i]` is what operand i must bind like (default: nothing, as in a call)."""

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        texts = [x.at(at[i] if i < len(at) else COMMA) for i, x in enumerate(operands)]
        return Expr(text.format(*texts), precedence)

    return spell
