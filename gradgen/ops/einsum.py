"""np.einsum and np.tensordot: normal form to diagonals, sums, transposes and one matmul per pair of operands.

A label repeated in one operand takes its diagonal; a label that no other operand and no result has is summed at once; then
operands are contracted pair by pair, in the order of NumPy's greedy path where all sizes are numbers, left to right else.
The product of a pair is a batched matmul: labels that both have and somebody still needs are the batch, labels that only
the pair has are contracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError
from gradgen.functions import implements
from gradgen.ops.contract import matmul
from gradgen.ops.diagonals import diagonal
from gradgen.ops.reduce import as_values, axes_of
from gradgen.ops.reductions import as_dtype, sum_
from gradgen.ops.shape import reshape, transpose
from gradgen.sizes import Dim, product
from gradgen.value import Value

Labels = tuple[str, ...]


@implements(np.einsum)
def einsum(
    *operands: Any, out: None = None, optimize: Any = False, dtype: Any = None, order: Any = "K", casting: Any = "safe"
) -> Value:  # fmt: skip
    """np.einsum in both its forms: a text with operands, or operands each followed by its labels."""
    terms, result, values = _parse(operands)
    sizes = _sizes(terms, values)
    parts = [_own(v, t) for v, t in zip(values, terms, strict=True)]
    path = _path(parts, result, sizes, optimize)
    for pick in path:
        chosen = [parts[k] for k in pick]
        for k in sorted(pick, reverse=True):
            del parts[k]
        needed = set(result).union(*[labels for _, labels in parts])
        x, labels = chosen[0]
        for y, more in chosen[1:-1]:
            x, labels = _pair(x, labels, y, more, needed | set(chosen[-1][1]))
        if len(chosen) > 1:
            x, labels = _pair(x, labels, *chosen[-1], needed)
        parts.append((x, labels))
    x, labels = parts[0]
    x, labels = _summed(x, labels, set(result))
    return transpose(x, [labels.index(l) for l in result]) if labels != result else x


# -- the text
def _parse(operands: Sequence[Any]) -> tuple[list[Labels], Labels, list[Value]]:
    if not operands:
        raise SpecError("np.einsum needs subscripts and operands, got nothing")
    if isinstance(operands[0], str):
        text = operands[0].replace(" ", "")
        values = as_values(operands[1:])
        left, arrow, right = text.partition("->")
        texts = left.split(",")
        target = right if arrow else None
    else:
        pairs = list(operands)
        last = pairs.pop() if len(pairs) % 2 else None
        values = as_values(pairs[::2])
        texts = [_from_list(item) for item in pairs[1::2]]
        target = None if last is None else _from_list(last)
    if len(texts) != len(values):
        raise SpecError(f"np.einsum needs one term per operand, got {len(texts)} for {len(values)}")
    terms = [_labels(t, v.type.ndim) for t, v in zip(texts, values, strict=True)]
    wide = sorted({l for t in terms for l in t if l.startswith(".")}, key=lambda l: -int(l[1:]))
    if target is None:
        named = [l for t in terms for l in t if not l.startswith(".")]
        return terms, (*wide, *sorted(l for l in set(named) if named.count(l) == 1)), values
    head, dots, tail = target.partition("...")
    result = (*head, *(wide if dots else ()), *tail)
    known = {l for t in terms for l in t}
    if len(set(result)) != len(result) or not set(result) <= known:
        raise SpecError(
            f"np.einsum needs each label of the result once, from the operands, got {target!r}"
        )
    return terms, result, values


def _from_list(items: Sequence[Any]) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join("..." if i is Ellipsis else letters[int(i)] for i in items)


def _labels(text: str, ndim: int) -> Labels:
    """A term's labels; the axes of an ellipsis are `.3 .2 .1`, counted from the right."""
    head, dots, tail = text.partition("...")
    if not all(c.isalpha() for c in head + tail):
        raise SpecError(f"np.einsum needs letters, ',', '...' and '->', got {text!r}")
    wide = ndim - len(head) - len(tail)
    if wide < 0 or (wide and not dots):
        raise ShapeError(f"np.einsum needs one letter per axis, got {text!r} for {ndim} axes")
    return (*head, *(f".{k}" for k in range(wide, 0, -1)), *tail)


def _sizes(terms: Sequence[Labels], values: Sequence[Value]) -> dict[str, Dim]:
    sizes: dict[str, Dim] = {}
    for term, value in zip(terms, values, strict=True):
        for label, dim in zip(term, value.type.shape, strict=True):
            known = sizes.get(label, 1)
            if known == 1:
                sizes[label] = dim
            elif dim not in (1, known):
                raise ShapeError(
                    f"np.einsum needs one size per label, got {known} and {dim} for {label!r}",
                    "Sizes are equal when their names are: give both axes one letter.",
                )
    return sizes


# -- one operand
def _own(x: Value, labels: Labels) -> tuple[Value, Labels]:
    """Labels that the operand has twice become its diagonal."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            x = diagonal(x, 0, i, j)
            labels = (*(l for k, l in enumerate(labels) if k not in (i, j)), label)
    return x, labels


def _summed(x: Value, labels: Labels, needed: set[str]) -> tuple[Value, Labels]:
    gone = tuple(k for k, l in enumerate(labels) if l not in needed)
    if not gone:
        return x, labels
    return as_dtype(sum_(x, gone), x.type.dtype), tuple(l for l in labels if l in needed)


# -- pairs
def _path(
    parts: Sequence[Any], result: Labels, sizes: dict[str, Dim], optimize: Any
) -> list[tuple[int, ...]]:
    """Which operands are contracted in which order, as np.einsum_path has it: results go to the end."""
    count = len(parts)
    if isinstance(optimize, (list, tuple)) and optimize and optimize[0] == "einsum_path":
        return [tuple(step) for step in optimize[1:]]
    if count > 2 and all(isinstance(d, int) for d in sizes.values()):
        names = {label: chr(97 + k) if k < 26 else chr(39 + k) for k, label in enumerate(sizes)}
        terms = ["".join(names[l] for l in labels) for _, labels in parts]
        text = ",".join(terms) + "->" + "".join(names[l] for l in result)
        shapes = [np.broadcast_to(0.0, x.type.lengths) for x, _ in parts]
        found = np.einsum_path(text, *shapes, optimize="greedy")[0][1:]
        return [tuple(step) for step in found]
    return [(0, 1), *[(0, k) for k in range(count - 2, 0, -1)]] if count > 1 else []


def _pair(x: Value, a: Labels, y: Value, b: Labels, needed: set[str]) -> tuple[Value, Labels]:
    """The product of two operands, summed over what only they have."""
    x, a = _summed(x, a, needed | set(b))
    y, b = _summed(y, b, needed | set(a))
    # Axes of length one broadcast: against the other's they say nothing.
    x, a = _without_ones(x, a, b, y)
    y, b = _without_ones(y, b, a, x)
    inner = [l for l in a if l in b and l not in needed]
    if not inner:
        return _multiplied(x, a, y, b)
    batch = [l for l in a if l in b and l in needed]
    rows = [l for l in a if l not in b]
    columns = [l for l in b if l not in a]
    left = _grouped(x, a, (batch, rows, inner))
    right = _grouped(y, b, (batch, inner, columns))
    found = matmul(left, right)
    dims = {
        l: d for labels, v in ((a, x), (b, y)) for l, d in zip(labels, v.type.shape, strict=True)
    }
    labels = (*batch, *rows, *columns)
    return reshape(found, tuple(dims[l] for l in labels)), labels


def _without_ones(x: Value, a: Labels, b: Labels, y: Value) -> tuple[Value, Labels]:
    other = dict(zip(b, y.type.shape, strict=True))
    gone = [
        k
        for k, (l, d) in enumerate(zip(a, x.type.shape, strict=True))
        if d == 1 and other.get(l, 1) != 1
    ]
    if not gone:
        return x, a
    shape = tuple(d for k, d in enumerate(x.type.shape) if k not in gone)
    return reshape(x, shape), tuple(l for k, l in enumerate(a) if k not in gone)


def _grouped(x: Value, labels: Labels, groups: Sequence[Sequence[str]]) -> Value:
    """Axes in the order of the groups: the batch as it is, each other group as one axis."""
    order = [labels.index(l) for group in groups for l in group]
    x = transpose(x, order)
    shape = x.type.shape
    batch, first = len(groups[0]), len(groups[0]) + len(groups[1])
    return reshape(x, (*shape[:batch], product(shape[batch:first]), product(shape[first:])))


def _multiplied(x: Value, a: Labels, y: Value, b: Labels) -> tuple[Value, Labels]:
    """Without a sum the product is elementwise, with broadcasting."""
    labels = (*a, *(l for l in b if l not in a))
    return _spread(x, a, labels) * _spread(y, b, labels), labels


def _spread(x: Value, own: Labels, labels: Labels) -> Value:
    x = transpose(x, [own.index(l) for l in labels if l in own])
    dims = iter(x.type.shape)
    return reshape(x, tuple(next(dims) if l in own else 1 for l in labels))


# -- tensordot
@implements(np.tensordot, np.linalg.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Value:
    """The sum of products over axes of a paired with axes of b."""
    a, b = as_values((a, b))
    if isinstance(axes, (int, np.integer)):
        n = int(axes)
        pairs: tuple[Any, Any] = (list(range(a.type.ndim - n, a.type.ndim)), list(range(n)))
    else:
        pairs = tuple(list(k) if isinstance(k, (tuple, list)) else [k] for k in axes)  # type: ignore[assignment]
    i, j = ([int(k) % v.type.ndim for k in given if axes_of("np.tensordot", v, int(k))]
            for v, given in zip((a, b), pairs, strict=True))  # fmt: skip
    if len(i) != len(j) or any(
        a.type.shape[p] != b.type.shape[q] for p, q in zip(i, j, strict=True)
    ):
        raise ShapeError(
            f"np.tensordot needs axes of equal sizes, got {a.type}, {b.type} and {axes}"
        )
    rows = [k for k in range(a.type.ndim) if k not in i]
    columns = [k for k in range(b.type.ndim) if k not in j]
    inner = product(tuple(a.type.shape[k] for k in i))
    left = reshape(
        transpose(a, [*rows, *i]), (product(tuple(a.type.shape[k] for k in rows)), inner)
    )
    right = reshape(
        transpose(b, [*j, *columns]), (inner, product(tuple(b.type.shape[k] for k in columns)))
    )
    shape = (*(a.type.shape[k] for k in rows), *(b.type.shape[k] for k in columns))
    return reshape(matmul(left, right), shape)
