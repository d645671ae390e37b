"""`cotangent`, the reverse rule of one operand of one statement: what eager `backward` and the compiler's reverse mode share.

It is the only place where `mulz` guards are set; `Masks` follows along a sweep where they are needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from gradgen.ir import CONST, OPS
from gradgen.types import Type
from gradgen.value import Value, apply


def cotangent(
    node: Value,
    i: int,
    y_bar: Value,
    y: Value,
    args: tuple[Value, ...],
    masked: bool,
) -> Value | None:
    """What `y_bar` contributes to the cotangent of operand i of `node`; None if nothing flows there.

    masked: y_bar may hold exact zeros of a branch not taken, where the partial may be inf or nan; the product is then
    `mulz` (0 where y_bar is 0), unless the partial is bounded. Rule 9 of DESIGN: a select there would make
    second derivatives silently wrong, a plain product would make NaN.
    """
    op = node.op
    if op.partials is not None:
        partial = op.partials[i]
        if partial is None:
            return None
        p = partial(y, *args)
        if p.__class__ is int and (p == 1 or p == -1):
            x_bar = y_bar if p == 1 else apply(OPS["neg"], y_bar)
        elif y_bar.op is CONST and isinstance(p, Value) and _is_one(y_bar) and p.type is y_bar.type:
            x_bar = p
        elif (op.unbounded[i] or (masked and not op.bounded[i])) and not (
            _finite(p) or _nonzero(y_bar)
        ):
            x_bar = apply(OPS["mulz"], y_bar, p)
        else:
            x_bar = apply(OPS["mul"], y_bar, p)
        return unbroadcast(x_bar, args[i].type)
    rules = op.vjp
    if rules is None:
        return None
    if callable(rules):
        return rules(i, y_bar, y, *args, **node.params)
    rule = rules[i]
    return None if rule is None else rule(y_bar, y, *args, **node.params)


_PARTIAL_READS = frozenset(("slice", "gather"))


class Masks:
    """Which cotangents may hold exact zeros of a branch not taken, followed along a reverse sweep.

    That is so where every use that reads the whole value is a select (where, max, clip) or leads to nothing else. One plain use
    ends it: then the value counts everywhere, and a partial that is not finite is the user's own.
    """

    __slots__ = ("_masked", "_plain")

    def __init__(self) -> None:
        self._masked: set[Value | tuple[Value, int]] = set()
        self._plain: set[Value | tuple[Value, int]] = set()

    def seed(self, outputs: Iterable[Value]) -> None:
        """The cotangents given for `outputs` may hold exact zeros."""
        self._masked.update(outputs)

    def guard(self, node: Value) -> bool:
        """Whether products with partials of `node` are guarded; all its uses must have been noted."""
        return node.op.masks or (node in self._masked and node not in self._plain)

    def note(self, user: Value, operand: Value, guard: bool) -> None:
        """`user`, guarded or not, has contributed to the cotangent of `operand`."""
        if guard:
            self._masked.add(operand)
        elif user.op.name not in _PARTIAL_READS:
            self._plain.add(operand)

    def note_result(self, item: Value) -> None:
        """`item`, which is a result of a loop or branch, has contributed to the cotangent of that result."""
        result = (item.args[0], item.params["k"])
        (self._masked if self.guard(item) else self._plain).add(result)

    def guarded_results(self, node: Value, numbers: Iterable[int]) -> frozenset[int]:
        """Which of these results of a loop or branch have cotangents that may hold exact zeros."""
        masked, plain = self._masked, self._plain
        return frozenset([k for k in numbers if (node, k) in masked and (node, k) not in plain])


def _finite(p: Any) -> bool:
    if isinstance(p, Value):
        return p.op is CONST and bool(np.all(np.isfinite(p.params["value"])))
    return math.isfinite(p)


def _is_one(y_bar: Value) -> bool:
    """Whether it is the number that a sweep starts with."""
    return not y_bar.type.shape and y_bar.params["value"] == 1


def _nonzero(value: Value) -> bool:
    return value.op is CONST and bool(np.all(value.params["value"] != 0))


def unbroadcast(x_bar: Value, ty: Type) -> Value:
    """Sum a cotangent back over the axes along which an operand of type `ty` was broadcast; give it ty's dtype."""
    if x_bar.type is ty:
        return x_bar
    shape, target = x_bar.type.shape, ty.shape
    if shape != target:
        lead = len(shape) - len(target)
        axes = tuple(range(lead)) + tuple(
            lead + k for k, dim in enumerate(target) if dim == 1 and shape[lead + k] != 1
        )
        if axes:
            x_bar = apply(OPS["sum"], x_bar, axes=axes)
        if x_bar.type.shape != target:
            x_bar = apply(OPS["reshape"], x_bar, shape=target)
    if x_bar.type.dtype != ty.dtype:
        x_bar = apply(OPS["cast"], x_bar, dtype=ty.dtype)
    return x_bar
