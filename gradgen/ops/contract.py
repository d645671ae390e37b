"""Contractions: matmul for every rank, outer, dot, inner; and einsum, which the passes make.

    matmul(a, b)   (k)(k) -> (),  (m,k)(k) -> (m),  (k)(k,n) -> (n),  (...,m,k)(...,k,n) -> (...,m,n)
    outer(a, b)    (m)(n) -> (m,n)
    einsum(a, b)   as the letters say: "ij,ij->i" for the products of the rows of a and of b

Every derivative of a contraction is a contraction: the rules below are the textbook's (M. Giles, "Collected matrix derivative
results for forward and reverse mode AD", 2008, section 2.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.cotangents import unbroadcast
from gradgen.errors import ShapeError
from gradgen.functions import implements
from gradgen.ir import Op, define
from gradgen.ops.reduce import as_values
from gradgen.ops.shape import reshape, swapaxes, transpose
from gradgen.sizes import Dim, product
from gradgen.spelling import PRODUCT, Expr, infix
from gradgen.types import Type, broadcast, promote
from gradgen.value import Value, apply


def _matmul_type(a: Type, b: Type) -> Type:
    k = a.shape[-1]
    l = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if k != l:
        raise ShapeError(
            f"matmul needs equal inner sizes, got {a} @ {b}",
            "Sizes are equal when their names are; transpose an operand or give both one letter.",
        )
    batch = broadcast("matmul", a.shape[:-2], b.shape[:-2])
    rows = a.shape[-2:-1]
    columns = b.shape[-1:] if b.ndim > 1 else ()
    return Type.of(promote(a.dtype, b.dtype), (*batch, *rows, *columns))


def _t(x: Value) -> Value:
    return swapaxes(x, -1, -2)


def _matmul_a(y_bar: Value, y: Value, a: Value, b: Value) -> Value:
    if a.type.ndim == 1 and b.type.ndim == 1:
        a_bar = y_bar * b
    elif b.type.ndim == 1:
        a_bar = apply(OUTER, y_bar, b)
    elif a.type.ndim == 1:
        a_bar = apply(MATMUL, b, y_bar)
    else:
        a_bar = apply(MATMUL, y_bar, _t(b))
    return unbroadcast(a_bar, a.type)


def _matmul_b(y_bar: Value, y: Value, a: Value, b: Value) -> Value:
    if a.type.ndim == 1 and b.type.ndim == 1:
        b_bar = y_bar * a
    elif b.type.ndim == 1:
        b_bar = apply(MATMUL, y_bar, a)
    elif a.type.ndim == 1:
        b_bar = apply(OUTER, a, y_bar)
    else:
        b_bar = apply(MATMUL, _t(a), y_bar)
    return unbroadcast(b_bar, b.type)


def _spell_matmul(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
    """`a @ b`; np.vdot where both are matrices laid out flat for it."""
    texts = [_FLAT.fullmatch(x.text) for x in operands]
    if all(texts) and all(a.op.name == "reshape" for a in node.args):
        a, b = (str(t and t[1]) for t in texts)
        return Expr(f"np.vdot({a}, {b})")
    return infix("@", PRODUCT)(operands, node, target)


_FLAT = re.compile(r"([\w.]+)\.ravel\(\)")
MATMUL: Op = define(
    Op(
        "matmul",
        _matmul_type,
        lambda a, b: np.matmul(a, b),
        "Matrix product; vectors count as rows on the left and columns on the right.",
        vjp=(_matmul_a, _matmul_b),
        jvp=("linear", "linear"),
        numpy=_spell_matmul,
        nest=lambda lowering, node: lowering.matmul(node),
    )
)


def _outer_type(a: Type, b: Type) -> Type:
    return Type.of(promote(a.dtype, b.dtype), (*a.shape, *b.shape))


OUTER: Op = define(
    Op(
        "outer",
        _outer_type,
        lambda a, b: np.outer(a, b),
        "All products of an element of a and one of b.",
        vjp=(
            lambda y_bar, y, a, b: unbroadcast(apply(MATMUL, y_bar, b), a.type),
            lambda y_bar, y, a, b: unbroadcast(apply(MATMUL, a, y_bar), b.type),
        ),
        jvp=("linear", "linear"),
        numpy=lambda operands, node, target: Expr(
            f"np.outer({operands[0].text}, {operands[1].text})"
        ),
        nest=lambda lowering, node: lowering.outer(node),
    )
)


# -- einsum of two
def terms(text: str) -> list[str]:
    """The letters of a, of b and of the result."""
    return text.replace("->", ",").split(",")


def in_order(text: str) -> bool:
    """Whether no axes change places: then of operands in C order NumPy makes a result in C order."""
    return all(sorted(letters) == list(letters) for letters in terms(text))


def letter_sizes(text: str, a: Type, b: Type) -> dict[str, Dim]:
    """The size of each letter, those of the result first."""
    left, right, out = terms(text)
    found = dict(zip(left + right, a.shape + b.shape, strict=True))
    return {letter: found[letter] for letter in out + left}


def _einsum_type(a: Type, b: Type, text: str) -> Type:
    left, right, out = terms(text)
    found = dict(zip(left + right, a.shape + b.shape, strict=True))
    twice = all((left + right + out).count(letter) > 1 for letter in found)
    if not twice or tuple(found[letter] for letter in left) != a.shape:
        raise ShapeError(f"einsum needs one size per letter, each twice in {text}, got {a}, {b}")
    return Type.of(promote(a.dtype, b.dtype), tuple(found[letter] for letter in out))


def _einsum_a(y_bar: Value, y: Value, a: Value, b: Value, text: str) -> Value:
    left, right, out = terms(text)
    return apply(EINSUM, y_bar, b, text=f"{out},{right}->{left}")


def _einsum_b(y_bar: Value, y: Value, a: Value, b: Value, text: str) -> Value:
    left, right, out = terms(text)
    return apply(EINSUM, y_bar, a, text=f"{out},{left}->{right}")


EINSUM: Op = define(
    Op(
        "einsum",
        _einsum_type,
        lambda a, b, text: np.einsum(text, a, b),
        "Sums of products of two arrays over the letters that only they have.",
        vjp=(_einsum_a, _einsum_b),
        jvp=("linear", "linear"),
        numpy=lambda operands, node, target: Expr(
            f'np.einsum("{node.params["text"]}", {operands[0].text}, {operands[1].text})'
        ),
        nest=lambda lowering, node: lowering.einsum(node),
    )
)


@implements(np.matmul)
def matmul(a: Any, b: Any) -> Value:
    """`a @ b` by NumPy's rules; scalars are refused, as there."""
    a, b = as_values((a, b))
    if not a.type.shape or not b.type.shape:
        raise ShapeError(f"matmul needs arrays, got {a.type} @ {b.type}", "Use * for scalars.")
    if a.type.ndim > 2 and b.type.ndim == 1:
        out = matmul(a, reshape(b, (*b.type.shape, 1)))
        return reshape(out, out.type.shape[:-1])
    if b.type.ndim > 2 and a.type.ndim == 1:
        out = matmul(reshape(a, (1, *a.type.shape)), b)
        return reshape(out, (*out.type.shape[:-2], out.type.shape[-1]))
    return apply(MATMUL, a, b)


@implements(np.dot)
def dot(a: Any, b: Any) -> Value:
    """np.dot: a product for scalars, matmul up to two dimensions, else a sum over a's last and b's last but one axis."""
    a, b = as_values((a, b))
    if not a.type.shape or not b.type.shape:
        return a * b
    if a.type.ndim <= 2 and b.type.ndim <= 2:
        return apply(MATMUL, a, b)
    if b.type.ndim == 1:
        return matmul(a, b)
    k = b.type.ndim - 2
    columns = transpose(b, [k, *(j for j in range(b.type.ndim) if j != k)])
    flat = matmul(
        reshape(a, (product(a.type.shape[:-1]), a.type.shape[-1])),
        reshape(columns, (columns.type.shape[0], product(columns.type.shape[1:]))),
    )
    return reshape(flat, (*a.type.shape[:-1], *columns.type.shape[1:]))


@implements(np.outer)
def outer(a: Any, b: Any) -> Value:
    a, b = as_values((a, b))
    return apply(OUTER, reshape(a, -1), reshape(b, -1))


@implements(np.inner)
def inner(a: Any, b: Any) -> Value:
    a, b = as_values((a, b))
    if not a.type.shape or not b.type.shape:
        return a * b
    if a.type.ndim <= 2 and b.type.ndim == 1:
        return apply(MATMUL, a, b)
    order = (b.type.ndim - 1, *range(b.type.ndim - 1))
    return dot(a, transpose(b, order) if b.type.ndim <= 2 else swapaxes(b, -1, -2))


@implements(np.vdot)
def vdot(a: Any, b: Any) -> Value:
    a, b = as_values((a, b))
    return apply(MATMUL, reshape(a, -1), reshape(b, -1))
