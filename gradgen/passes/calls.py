"""Calls are replaced by their statements: what was special of them, their derivative, has been taken."""

from __future__ import annotations

from gradgen.ir import Function
from gradgen.ops.regions import CALL, ITEM
from gradgen.rewriting import splice, with_args, within
from gradgen.value import Trace, Value


def inline(fn: Function) -> Function:
    """`fn` without calls."""
    if not fn.has(CALL):
        return fn
    new: dict[Value, Value] = {}
    results: dict[Value, list[Value]] = {}
    with Trace(trusted=True) as trace:
        for node in fn.body:
            args = tuple([new.get(a, a) for a in node.args])
            if node.op is CALL:
                body = inline(node.params["body"])
                results[node] = splice(body, args)
            elif node.op is ITEM and node.args[0] in results:
                new[node] = results[node.args[0]][node.params["k"]]
            elif any(a is not b for a, b in zip(args, node.args, strict=True)):
                new[node] = made = with_args(node, args)
                trace.body.append(made)
            else:
                trace.body.append(node)
    return fn.with_body(trace.body, [new.get(v, v) for v in fn.outputs])


def inline_everywhere(fn: Function) -> Function:
    """`fn` without calls, in its loops and branches too."""
    return inline(within(fn, inline))
