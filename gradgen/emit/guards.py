"""For targets whose arithmetic raises (python): under which conditions each statement is needed.

    y = log(x);  z = where(x > 0, y, 0.0)        ->        c = x > 0.0;  y = log(x) if c else 0.0;  z = y if c else 0.0

A value that is read only in one branch of a `where`, or only by a `mulz` whose other factor is zero in that branch, is
needed under that branch's condition; conditions of values read in several places are what these have in common.
Conditions are moved before what they guard. Without `where` in the Function there is nothing to do.
"""

from __future__ import annotations

import heapq

from gradgen.ir import CONST, LEAVES, OPS, Function
from gradgen.value import Value

Guard = frozenset[tuple[Value, bool]]
NONE: Guard = frozenset()
DEPTH = 4  # conditions kept per value
# Python computes these for all numbers, infinities and NaN included.
SAFE = frozenset(
    (
        "add", "sub", "mul", "neg", "abs", "square", "where", "mulz", "maximum", "minimum", "clip", "cast",
        "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
        "logical_and", "logical_or", "logical_not",
    )
)  # fmt: skip


def guarded(fn: Function) -> tuple[list[Value], dict[Value, list[tuple[Value, bool]]]]:
    """The statements with conditions moved up, and for each that may raise the conditions under which it is needed."""
    if not fn.has(OPS["where"]):
        return fn.body, {}
    guards = _needed(fn)
    body = _ordered(fn.body, guards)
    position = {n: k for k, n in enumerate(body)}
    found: dict[Value, list[tuple[Value, bool]]] = {}
    for node in body:
        guard = guards.get(node, NONE)
        if guard and node.op.name not in SAFE:
            ordered = sorted(guard, key=lambda cp: position.get(cp[0], -1))
            found[node] = ordered
    return body, found


def _needed(fn: Function) -> dict[Value, Guard]:
    guards: dict[Value, Guard] = dict.fromkeys(fn.outputs, NONE)
    statements = set(fn.body)
    for node in reversed(fn.body):
        own = guards.get(node, NONE)
        for i, a in enumerate(node.args):
            if a.op in LEAVES:
                continue
            use = own | _extra(node, i, statements)
            if len(use) > DEPTH:
                use = own
            known = guards.get(a)
            guards[a] = use if known is None else known & use
    return guards


def _extra(node: Value, i: int, statements: set[Value]) -> Guard:
    """The condition that reading operand i of `node` adds."""
    if node.op.name == "where" and i > 0:
        c = node.args[0]
        return frozenset([(c, i == 1)]) if c in statements else NONE
    if node.op.name == "mulz" and i == 1:
        return _zero_unless(node.args[0], statements)
    return NONE


def _zero_unless(value: Value, statements: set[Value]) -> Guard:
    """Conditions without which `value` is a plain zero."""
    found: Guard = NONE
    for _ in range(64):  # through products with a select somewhere inside
        name = value.op.name
        if name == "where":
            c, a, b = value.args
            if c in statements:
                if _is_zero(b):
                    found |= {(c, True)}
                    value = a
                    continue
                if _is_zero(a):
                    found |= {(c, False)}
                    value = b
                    continue
            return found
        if name in ("neg", "div", "mulz"):
            value = value.args[0]
        elif name == "mul":
            left = value.args[0]
            value = (
                left if left.op.name in ("where", "mul", "neg", "div", "mulz") else value.args[1]
            )
        else:
            return found
    return found


def _is_zero(value: Value) -> bool:
    return value.op is CONST and not value.type.shape and not value.params["value"]


def _ordered(body: list[Value], guards: dict[Value, Guard]) -> list[Value]:
    """A stable order in which operands and guarding conditions come first."""
    number = {n: k for k, n in enumerate(body)}
    waiting: dict[Value, int] = {}
    followers: dict[Value, list[Value]] = {}
    for node in body:
        before = {a for a in node.args if a in number}
        if node.op.name not in SAFE:
            before |= {c for c, _ in guards.get(node, NONE) if c in number}
        waiting[node] = len(before)
        for b in before:
            followers.setdefault(b, []).append(node)
    ready = [k for k, n in enumerate(body) if waiting[n] == 0]
    heapq.heapify(ready)
    out: list[Value] = []
    while ready:
        node = body[heapq.heappop(ready)]
        out.append(node)
        for f in followers.get(node, ()):
            waiting[f] -= 1
            if waiting[f] == 0:
                heapq.heappush(ready, number[f])
    return out if len(out) == len(body) else body
