"""Forward mode: tangents beside the statements of a Function, linear in their number.

An op that is linear in an operand is its own tangent there. A missing tangent is absent, not zero.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from gradgen.differentiate.reverse import reverse
from gradgen.differentiate.tangents import push
from gradgen.ir import CONST, LEAVES, OPS, Function
from gradgen.ops.index import zeros
from gradgen.ops.regions import ITEM
from gradgen.rewriting import with_args
from gradgen.value import Trace, Value, apply


def forward(fn: Function, wrt: Sequence[int]) -> Function:
    """The Function with one more input per number in `wrt` (that input's tangent), returning fn's outputs, then
    their tangents."""
    with Trace(trusted=True) as trace:
        trace.inputs = list(fn.inputs)
        trace.requires = dict.fromkeys(fn.requires)
        dots: dict[Value, Value] = {}
        masked: set[Value] = set()
        for i in wrt:
            p = fn.inputs[i]
            dots[p] = trace.input(p.type, f"{p.name}_dot" if p.name else None)
        # What stands for statements that compute their tangents themselves.
        new: dict[Value, Value] = {}
        pushed: dict[Value, tuple[Value, dict[int, int], dict[int, Value | int]]] = {}
        for node in fn.body:
            given = node
            if new and node.op is not ITEM and any(a in new for a in node.args):
                new[given] = node = with_args(node, tuple([new.get(a, a) for a in node.args]))
            if node.op.regions and any(a in dots for a in node.args):
                trace.site = node.site
                made = push(node, [dots.get(a) for a in node.args], forward, reverse)
                pushed[given] = made
                continue
            if node.op is ITEM and node.args[0] in pushed:
                bundle, numbers, tangents_at = pushed[node.args[0]]
                trace.site = node.site
                value = apply(ITEM, bundle, k=numbers[node.params["k"]])
                value.name = node.name
                new[given] = value
                at = tangents_at.get(node.params["k"])
                if at is not None:
                    moved = at if isinstance(at, Value) else apply(ITEM, bundle, k=at)
                    if moved.name is None and moved.op not in LEAVES:
                        moved.name = node.name and f"{node.name}_dot"
                    dots[value] = moved
                continue
            if node.op is ITEM and node.args[0] in new:
                new[given] = node = with_args(node, (new[node.args[0]],))
            trace.body.append(node)
            if node.type.dtype[0] != "f":
                continue
            site = node.site
            trace.site = (site[0], site[1], "forward") if site else ("", 0, "forward")
            dot = tangent(node, dots, masked)
            if dot is not None:
                if node.op.masks or all(a in masked for a in node.args if a in dots):
                    masked.add(node)
                if node.name and dot.name is None and dot.op not in LEAVES:
                    dot.name = f"{node.name}_dot"
                dots[node] = dot
        trace.site = ("", 0, "forward")
        outputs = [new.get(v, v) for v in fn.outputs]
        tangents = [dots[v] if v in dots else zeros(v.type) for v in outputs]
    result = trace.function(fn.name, [*outputs, *tangents], fn.title)
    result.notes = fn.notes
    return result


def tangent(node: Value, dots: dict[Value, Value], masked: Collection[Value] = ()) -> Value | None:
    """The tangent of one statement from those of its operands; None if none of them has one.

    masked: the operands whose tangents may hold exact zeros of a branch not taken (rule 9 of DESIGN).
    """
    op, args = node.op, node.args
    if not any(a in dots for a in args):
        return None
    if op.jvp == "jointly":
        return apply(op, *_moved(node, dots), **node.params)
    total: Value | None = None
    for i, a in enumerate(args):
        dot = dots.get(a)
        if dot is None:
            continue
        part = _part(node, i, dot, a in masked)
        if part is not None:
            total = part if total is None else apply(OPS["add"], total, part)
    if total is not None and total.type is not node.type:
        if total.type.shape != node.type.shape:
            total = apply(OPS["broadcast"], total, shape=node.type.shape)
        if total.type.dtype != node.type.dtype:
            total = apply(OPS["cast"], total, dtype=node.type.dtype)
    return total


_SCATTERS = frozenset(("scatter_add", "scatter_set"))


def _moved(node: Value, dots: dict[Value, Value]) -> list[Value]:
    """The operands' tangents for an op that is linear in all of them at once; zeros where one stands still."""
    moved = []
    for i, a in enumerate(node.args):
        dot = dots.get(a)
        if dot is not None:
            moved.append(dot)
        elif node.op.name in _SCATTERS and i > 1:
            moved.append(a)  # where, not what
        else:
            moved.append(zeros(a.type))
    return moved


def _part(node: Value, i: int, dot: Value, masked: bool) -> Value | None:
    op, args = node.op, node.args
    if op.partials is not None and op.jvp is None:
        partial = op.partials[i]
        if partial is None:
            return None
        return times(dot, partial(node, *args), op.unbounded[i] or (masked and not op.bounded[i]))
    rules = op.jvp
    if not isinstance(rules, tuple):
        return None
    rule = rules[i] if i < len(rules) else None
    if rule == "linear":
        return apply(op, *args[:i], dot, *args[i + 1 :], **node.params)
    if rule is None or isinstance(rule, str):
        return None
    return rule(dot, node, *args, **node.params)


def times(dot: Value, p: Value | int, guard: bool) -> Value:
    """The tangent `dot` of an operand times the op's partial `p` by it; `guard`: p may be infinite where dot is 0."""
    if p.__class__ is int and p == 1:
        return dot
    if p.__class__ is int and p == -1:
        return apply(OPS["neg"], dot)
    # A constant 0 times what moves infinitely fast stands still, and so does what does not move (a constant direction through
    # sqrt at 0, a branch not taken), whatever the partial is there.
    if isinstance(p, Value) and p.op is CONST:
        moves = np.any(p.params["value"])
        return apply(OPS["mul"], dot, p) if moves else apply(OPS["mulz"], p, dot)
    return apply(OPS["mulz"] if guard else OPS["mul"], dot, p)
