"""Ops on plain floats: Python functions made of the ops' own `python` spellings, for eager Values that are numbers.

    meaning(op, 2)                          (a, b) -> float: what the op computes
    compiled(inputs, body, results)         the statements `body` on f64 scalars as one function of `inputs`

No op is known here by name. As in the `python` target, Python's own exceptions (ArithmeticError, ValueError) take the place of
inf and nan at a pole; who calls then computes with arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from gradgen.errors import SpecError
from gradgen.ir import CONST, NO_PARAMS, PARAM, Node, Op, infer
from gradgen.spelling import UNARY, Expr
from gradgen.types import F64


class _Target:
    """What a spelling asks of its printer: it notes the helpers in use."""

    def __init__(self) -> None:
        self.helpers: dict[str, None] = {}

    def helper(self, name: str, node: Any) -> str:
        self.helpers.setdefault(name)
        return f"_{name}"


def meaning(op: Op, arity: int) -> Callable[..., float] | None:
    """The op as a function of `arity` floats; None if it is not elementwise or its result is no f64."""
    if not op.elementwise or op.python is None:
        return None
    operands = [_node(PARAM, ()) for _ in range(arity)]
    try:
        if op.operand_dtypes is not None or infer(op, operands, NO_PARAMS) is not F64:
            return None
    except SpecError:  # an op on integers
        return None
    node = _node(op, tuple(operands))
    function = compiled(operands, [node], node)
    assert function is not None
    return function


def compiled(
    inputs: Sequence[Node], body: Sequence[Node], results: Node | Sequence[Node | None]
) -> Callable[..., Any] | None:
    """`results` (one, or a tuple with None where there is none) as a function of `inputs`.

    A value that is read once is written where it is read, so that only the branch taken of a select is computed.
    None if a statement of the body has no spelling on scalars.
    """
    from gradgen.ops.helpers import with_needs  # ops import Values, which import this

    many = [results] if isinstance(results, Node) else list(results)
    reads = [a for node in body for a in node.args] + [v for v in many if v is not None]
    counts: dict[int, int] = {}
    for v in reads:
        counts[id(v)] = counts.get(id(v), 0) + 1
    written = {id(v): Expr(f"x{k}") for k, v in enumerate(inputs)}
    target = _Target()
    lines: list[str] = []
    for node in body:
        if not node.op.elementwise or node.op.python is None or node.type.shape:
            return None
        expr = node.op.python([_operand(a, written) for a in node.args], node, target)
        if counts.get(id(node), 0) > 1:
            lines.append(f"    t{len(lines)} = {expr.text}\n")
            expr = Expr(f"t{len(lines) - 1}")
        written[id(node)] = expr
    texts = ["None" if v is None else _operand(v, written).text for v in many]
    returned = texts[0] if isinstance(results, Node) else f"({', '.join(texts)},)"
    head = f"def function({', '.join(f'x{k}' for k in range(len(inputs)))}):\n"
    helpers = [helper.source("python") for helper in with_needs(target.helpers, "python")]
    space: dict[str, Any] = {"math": math}
    exec("\n".join([*helpers, f"{head}{''.join(lines)}    return {returned}\n"]), space)
    return space["function"]


def _operand(value: Node, written: dict[int, Expr]) -> Expr:
    if value.op is not CONST:
        return written[id(value)]
    number = value.params["value"].item()
    if isinstance(number, float) and not math.isfinite(number):
        return Expr(f"float('{number}')")
    return Expr(repr(number), UNARY) if number < 0 else Expr(repr(number))


def _node(op: Op, args: tuple[Node, ...]) -> Node:
    node = Node()
    node.op, node.args, node.params, node.type = op, args, NO_PARAMS, F64
    node.name = node.site = node.owner = None
    return node
