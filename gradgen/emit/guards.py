"""For targets whose arithmetic raises (python): under which conditions each statement is needed.

    y = log(x);  z = where(x > 0, y, 0.0)        ->        c = x > 0.0;  y = log(x) if c else 0.0;  z = y if c else 0.0

A value that is read only in one branch of a `where`, or only by a `mulz` whose other factor is zero in the other branch, is
needed under that branch's condition; conditions of values read in several places are what these have in common.
Conditions are moved before what they guard. Without `where` in the Function there is nothing to do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

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


def guarded(
    fn: Function, folded: Callable[[Value], bool]
) -> tuple[list[Value], dict[Value, list[tuple[Value, bool]]]]:
    """The statements with conditions moved up, and for each that may raise the conditions under which it is needed.

    folded: whether a value may be part of the text of the one statement that reads it, which may raise then too.
    """
    if not fn.has(OPS["where"]):
        return fn.body, {}
    guards = _needed(fn)
    raising: set[Value] = set()
    for node in fn.body:
        if node.op.name not in SAFE or any(a in raising and folded(a) for a in node.args):
            raising.add(node)
    body = _ordered(fn.body, {n: g for n, g in guards.items() if n in raising})
    position = {n: k for k, n in enumerate(body)}
    found: dict[Value, list[tuple[Value, bool]]] = {}
    for node in body:
        guard = guards.get(node, NONE)
        if guard and node in raising:
            found[node] = sorted(guard, key=lambda cp: position.get(cp[0], -1))
    return body, found


def _needed(fn: Function) -> dict[Value, Guard]:
    guards: dict[Value, Guard] = dict.fromkeys(fn.outputs, NONE)
    statements = set(fn.body)
    vanishing = _vanishing(fn, statements)
    for node in reversed(fn.body):
        own = guards.get(node, NONE)
        for i, a in enumerate(node.args):
            if a.op in LEAVES:
                continue
            use = own
            if node.op.name == "where" and i > 0 and node.args[0] in statements:
                use = own | {(node.args[0], i == 1)}
            elif node.op.name == "mulz" and i == 1:
                use = own | vanishing.get(node.args[0], NONE)
            if len(use) > DEPTH:
                use = own
            known = guards.get(a)
            guards[a] = use if known is None else known & use
    return guards


def _vanishing(fn: Function, statements: set[Value]) -> dict[Value, Guard]:
    """Conditions without each of which a value is a plain zero."""
    found: dict[Value, Guard] = {}

    def of(value: Value) -> Guard | None:
        """None: it is always zero."""
        return None if _is_zero(value) else found.get(value, NONE)

    for node in fn.body:
        name, args = node.op.name, node.args
        guard: Guard = NONE
        if name == "where" and args[0] in statements:
            taken, other = of(args[1]), of(args[2])
            if other is None:
                guard = (taken or NONE) | {(args[0], True)}
            elif taken is None:
                guard = other | {(args[0], False)}
            else:
                guard = taken & other
        elif name in ("add", "sub"):
            a, b = of(args[0]), of(args[1])
            guard = (b or NONE) if a is None else a if b is None else a & b
        elif name in ("neg", "div", "square", "abs"):
            guard = of(args[0]) or NONE
        elif name in ("mul", "mulz"):
            guard = (of(args[0]) or NONE) | (of(args[1]) or NONE)
        if guard and len(guard) <= DEPTH:
            found[node] = guard
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
