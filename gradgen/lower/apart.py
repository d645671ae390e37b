"""What becomes a program of scalars instead of loops: bodies of maps, and Functions of a few numbers.

A map over small arrays has a body of scalars, so that a loop over the items is all that is left. A Function whose arrays are
shorter than a vector register gains by it too: its loops would have two or three steps, keep their scalars in memory, and hide
the zeros and ones of its matrices. One that has loops and branches of its own keeps them, and its arrays.
"""

from __future__ import annotations

import math
from typing import Any

from gradgen.errors import EmitError
from gradgen.ir import OPS, Function
from gradgen.ops.basis import EYE
from gradgen.ops.shape import STACK
from gradgen.passes import optimise
from gradgen.passes.scalarise import scalarise
from gradgen.types import Bundle, Shape

MOVES = (STACK, EYE, OPS["concatenate"])
SCALARS = 4096  # statements of a body of scalars, at most
VECTOR = 8  # numbers of a register: a loop of fewer steps is not worth having
FEW = 16  # numbers of an array that is computed with: a matrix of 4 x 4
WHOLE = 700  # statements of a Function taken apart
EFFORT = 2000  # scalars of one that is worth trying


def as_scalars(body: Function, most: int = SCALARS) -> Any:
    """The body as a program of at most that many scalars where its arrays are small and of known size."""
    if not any(v.type.shape for v in [*body.inputs, *body.outputs, *body.body]):
        return None
    if weight(body) > SCALARS:
        return None
    try:
        fn, places, slots = scalarise(body)
    except EmitError:
        return None
    fn = optimise(fn, "fast")
    return (fn, places, slots) if len(fn.body) <= most else None


def whole_as_scalars(fn: Function) -> Any:
    """A Function as a program of scalars where that is better than loops."""
    return as_scalars(fn, WHOLE) if _few_numbers(fn) and weight(fn) <= EFFORT else None


def _few_numbers(fn: Function) -> bool:
    """Whether a Function computes with arrays, and only with small ones; it has no regions."""
    shapes: set[Shape] = set()
    for node in fn.body:
        if node.op.regions:
            return False
        if not _moves(node):
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
