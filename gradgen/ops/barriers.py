"""Identities that mean something to a transformation: stop_gradient, and the barrier of what is computed again on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradgen.ops.elementwise import elementwise
from gradgen.spelling import Expr


def _itself(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
    return operands[0]


STOP = elementwise(
    "stop_gradient", "same", lambda x: x,
    "x, with derivative 0.",
    partials=(None,), bounded=(True,), flops=0, shows=lambda node: True, numpy=_itself, python=_itself, c=_itself,
)  # fmt: skip
BARRIER = elementwise(
    "barrier", "same", lambda x: x,
    "x; what is computed from it is not taken for what was computed from x before.",
    partials=(lambda y, x: 1,), bounded=(True,), flops=0, shows=lambda node: True, numpy=_itself, python=_itself, c=_itself,
)  # fmt: skip
