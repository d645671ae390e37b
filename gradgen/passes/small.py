"""What is small enough to be taken apart into its numbers (see `scalarise`)."""

from __future__ import annotations

import math
from typing import Any

from gradgen.ir import OPS, Function
from gradgen.ops.basis import EYE
from gradgen.ops.regions import ITEM
from gradgen.ops.shape import STACK
from gradgen.types import Bundle, Shape

MOVES = (ITEM, STACK, EYE, OPS["concatenate"])
SCALARS = 4096  # statements of a body of scalars, at most
VECTOR = 8  # numbers of a register: a loop of fewer steps is not worth having
FEW = 16  # numbers of an array that is computed with: a matrix of 4 x 4
EFFORT = 2000  # scalars of what is worth trying


def few_numbers(fn: Function, regions: bool = False) -> bool:
    """Whether a Function computes with arrays, and only with small ones. Loops (see `weight`) and branches only if allowed."""
    shapes: set[Shape] = set()
    parts = [fn]
    for part in parts:
        for node in part.body:
            if node.op.regions:
                if not regions:
                    return False
                parts += [node.params[name] for name in node.op.regions]
            elif not _moves(node):
                shapes.update(ty.shape for ty in (node.type, *(a.type for a in node.args)))
    shapes.discard(())
    return bool(shapes) and all(_is_small(s) for s in shapes)


def _is_small(shape: Shape) -> bool:
    sizes = [d for d in shape if isinstance(d, int)]
    return len(sizes) == len(shape) and max(sizes) < VECTOR and math.prod(sizes) <= FEW


def _moves(node: Any) -> bool:
    """Whether a statement only moves numbers."""
    return node.op.view or node.op.store is not None or node.op in MOVES


def weight(fn: Function) -> int:
    """About how many scalars the statements of a Function or region compute; too many where that is not known."""
    total = 0
    for node in [*fn.inputs, *fn.body]:
        ty = node.type
        if isinstance(ty, Bundle):
            length = node.params.get("length", 1)
            if not isinstance(length, int) or "test" in node.params:
                return SCALARS + 1
            total += length * sum(weight(node.params[name]) for name in node.op.regions)
        elif not ty.static:
            return SCALARS + 1
        else:
            inner = node.args[0].type.shape[-1] if node.op.name == "matmul" else 1
            total += math.prod(ty.lengths) * (inner if isinstance(inner, int) else 1)
        if total > SCALARS:
            break
    return total
