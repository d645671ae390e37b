"""What rewrites have in common: one walk over a Function in order, with replacements carried along.

A rule is `(node, args) -> Value | None`: `args` are the operands after replacement; the rule makes statements with
`apply` (they go before the node) and returns what stands for the node, or None to keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradgen.ir import LEAVES, PARAM, Function, infer
from gradgen.value import NO_PARAMS, Trace, Value, current_trace, new_node

Rule = Callable[[Value, tuple[Value, ...]], Value | None]


def rewrite(fn: Function, rules: dict[Any, list[Rule]]) -> Function:
    """`fn` with the rules of each op tried, first match first, once at every node, in order; itself where none applies."""
    new: dict[Value, Value] = {}
    get = new.get
    with Trace(trusted=True) as trace:
        body = trace.body
        for node in fn.body:
            args = node.args
            for a in args:
                if a in new:
                    args = tuple([get(a, a) for a in args])
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
                    new[node] = out
            elif args is node.args:
                body.append(node)
            else:
                copy = with_args(node, args)
                new[node] = copy
                body.append(copy)
    return fn.with_body(body, [get(v, v) for v in fn.outputs]) if new else fn


def within(fn: Function, step: Callable[[Function], Function]) -> Function:
    """`fn` with `step` applied to the regions of its loops and branches, innermost first."""
    return with_regions(fn, lambda region: step(within(region, step)))


def with_regions(fn: Function, step: Callable[[Function], Function]) -> Function:
    """`fn` with `step` applied to the regions of its own loops and branches, not to what is in them."""
    if not fn.has_regions:
        return fn
    new: dict[Value, Value] = {}
    body = []
    for node in fn.body:
        args = tuple([new.get(a, a) for a in node.args])
        params = node.params
        if node.op.regions:
            params = dict(params)
            for name in node.op.regions:
                params[name] = step(params[name])
        if node.op.regions or any(a is not b for a, b in zip(args, node.args, strict=True)):
            new[node] = node = with_args(node, args, params)
        body.append(node)
    return fn.with_body(body, [new.get(v, v) for v in fn.outputs])


def splice(fn: Function, operands: Sequence[Value]) -> list[Value]:
    """The outputs of `fn` on operands, its statements appended to the open trace as they are."""
    trace = current_trace()
    assert trace is not None
    env: dict[Value, Value] = dict(zip(fn.inputs, operands, strict=True))
    for node in fn.body:
        made = with_args(node, tuple([env.get(a, a) for a in node.args]))
        env[node] = made
        trace.body.append(made)
    return [env.get(v, v) for v in fn.outputs]


def with_args(node: Value, args: tuple[Value, ...], params: dict[str, Any] | None = None) -> Value:
    """`node` with other operands (and params, if given): name and line stay."""
    if params is None and [a.type for a in args] == [a.type for a in node.args]:
        params, ty = node.params, node.type
    else:
        params = node.params if params is None else params
        ty = infer(node.op, args, params)
    copy = new_node(node.op, args, params, ty, node.site, node.owner)
    copy.name = node.name
    return copy


def with_operands(node: Value, body: Function, operands: Sequence[Value]) -> Value:
    """A loop with more operands, which `body` has as its last inputs; the test of a while does not read them."""
    params = {**node.params, "body": body}
    if "test" in params:
        test = params["test"]
        spare = [new_node(PARAM, (), NO_PARAMS, v.type, None, None) for v in operands]
        params["test"] = Function(test.name, [*test.inputs, *spare], test.outputs, test.body)
    return with_args(node, (*node.args, *operands), params)
