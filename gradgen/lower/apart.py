"""What becomes a program of scalars instead of loops: bodies of maps, and Functions of a few numbers.

A map over small arrays has a body of scalars, so that a loop over the items is all that is left. A Function whose arrays are
shorter than a vector register gains by it too: its loops would have two or three steps, keep their scalars in memory, and hide
the zeros and ones of its matrices. One that has loops and branches of its own keeps them, and its arrays.
"""

from __future__ import annotations

from typing import Any

from gradgen.errors import EmitError
from gradgen.ir import Function
from gradgen.passes import optimise
from gradgen.passes.scalarise import scalarise
from gradgen.passes.small import EFFORT, SCALARS, few_numbers, weight

WHOLE = 700  # statements of a Function taken apart


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
    return as_scalars(fn, WHOLE) if few_numbers(fn) and weight(fn) <= EFFORT else None
