"""What rewrites have in common: one walk over a Function in order, with replacements carried along.

A rule is `(node, args) -> Value | None`: `args` are the operands after replacement; the rule makes statements with
`apply` (they go before the node) and returns what stands for the node, or None to keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradgen.ir import LEAVES, Function, infer
from gradgen.value import Trace, Value, new_node

Rule = Callable[[Value, tuple[Value, ...]], Value | None]


def rewrite(fn: Function, rules: dict[Any, list[Rule]]) -> Function:
    """`fn` with the rules of each op tried, first match first, once at every node, in order."""
    new: dict[int, Value] = {}
    get = new.get
    with Trace(trusted=True) as trace:
        body = trace.body
        for node in fn.body:
            args = node.args
            for a in args:
                if id(a) in new:
                    args = tuple([get(id(a), a) for a in args])
                    break
            out = None
            tried = rules.get(node.op)
            if tried is not None:
                trace.site = node.site
                for rule in tried:
                    out = rule(node, args)
                    if out is not None:
                        break
            if out is not None:
                if out is not node:
                    if out.name is None and node.name and out.op not in LEAVES:
                        out.name = node.name
                    new[id(node)] = out
            elif args is node.args:
                body.append(node)
            else:
                copy = with_args(node, args)
                new[id(node)] = copy
                body.append(copy)
    return fn.with_body(body, [get(id(v), v) for v in fn.outputs])


def with_args(node: Value, args: tuple[Value, ...]) -> Value:
    """`node` with other operands: name, line and params stay."""
    copy = new_node(
        node.op, args, node.params, infer(node.op, args, node.params), node.site, node.owner
    )
    copy.name = node.name
    return copy
