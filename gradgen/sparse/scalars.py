"""Small sparse Jacobians by scalars: each entry an expression of its own (passes.scalarise)."""

from __future__ import annotations

import numpy as np

from gradgen.errors import EmitError
from gradgen.ir import Function
from gradgen.ops.index import SLICE, zeros
from gradgen.ops.shape import STACK
from gradgen.passes.calls import inline_everywhere
from gradgen.passes.dce import dce
from gradgen.passes.scalarise import scalarise
from gradgen.rewriting import splice
from gradgen.types import Type
from gradgen.value import Trace, apply

MOST = 150  # statements; more are no longer read with ease


def by_scalars(dense: Function, row: np.ndarray, col: np.ndarray, columns: int) -> Function | None:
    """A Function of one Jacobian, returning its entries at (row, col); None where that takes more than MOST statements."""
    fn = dce(inline_everywhere(dense))
    try:
        scalars, _, slots = scalarise(fn, unrolled=MOST)
    except EmitError:
        return None
    matrix = slots[0].reshape(-1, columns)
    wanted = [scalars.outputs[k] for k in matrix[row, col]]
    kept = scalars.with_body(scalars.body, wanted)
    kept.inputs = scalars.inputs
    kept = dce(kept)
    if len(kept.body) > MOST:
        return None
    dtype = fn.outputs[0].type.dtype
    with Trace(trusted=True) as trace:
        trace.inputs = list(fn.inputs)
        trace.requires = dict.fromkeys(fn.requires)
        operands = [
            apply(SLICE, p, index=tuple(map(int, index))) if p.type.shape else p
            for p in fn.inputs
            for index in np.ndindex(*p.type.lengths)
        ]
        values = splice(kept, operands)
        data = apply(STACK, *values, axis=0) if values else zeros(Type.of(dtype, (0,)))
    return Function(fn.name, fn.inputs, [data], trace.body, fn.requires, fn.title)
