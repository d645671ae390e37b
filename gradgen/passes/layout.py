"""Arrays column by column (`order="F"`): the same Function on arrays whose axes are in reverse order.

What lies column-major in memory is row-major with its axes reversed, and loops know row-major alone. The transposes that this
takes are index maps, which cost nothing where they meet an elementwise statement, a reduction or a product.
"""

from __future__ import annotations

from gradgen.ir import NO_PARAMS, OPS, PARAM, Function
from gradgen.rewriting import splice
from gradgen.value import Trace, Value, apply, new_node


def column_major(fn: Function) -> Function:
    """`fn` with the axes of every input and output reversed."""
    inputs, operands = [], []
    with Trace(trusted=True) as trace:
        for v in fn.inputs:
            node = v
            if v.type.ndim > 1:
                ty = v.type.with_shape(v.type.shape[::-1])
                node = new_node(PARAM, (), NO_PARAMS, ty, None, None)
                node.name = v.name
            inputs.append(node)
            operands.append(_reversed(node))
        outputs = [_reversed(v) for v in splice(fn, operands)]
        laid = fn.with_body(trace.body, outputs)
    laid.inputs = inputs
    return laid


def _reversed(v: Value) -> Value:
    axes = tuple(reversed(range(v.type.ndim)))
    return apply(OPS["transpose"], v, axes=axes) if len(axes) > 1 else v
