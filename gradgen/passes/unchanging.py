"""What a loop carries or reads step by step though no step changes it becomes an operand of the loop.

    a carry whose new value is its old one          its first value
    a tape of one value (a per-step result that is an operand of its loop), read by another loop step by step    that value
    copies of one value along a new first axis, read step by step                                                that value

Dead code takes away what is then not read, and puts operands that are numbers into the body.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradgen.ir import CONST, OPS, PARAM, SIZE, Function
from gradgen.ops.regions import ITEM, SCAN, WHILE, Loop
from gradgen.rewriting import with_args
from gradgen.value import NO_PARAMS, Value, new_node


def unchanging(fn: Function) -> Function:
    """`fn` with carries and tapes that never change as operands."""
    if not fn.has_regions:
        return fn
    new: dict[Value, Value] = {}
    body: list[Value] = []
    for node in fn.body:
        before = node
        args = tuple([new.get(a, a) for a in node.args])
        if any(a is not b for a, b in zip(args, node.args, strict=True)):
            node = with_args(node, args)
        if node.op is SCAN or node.op is WHILE:
            node = _with_operands(node, _steady(Loop.of(node)))
        elif node.op is ITEM:
            value = _first_value(node)
            if value is not None:
                new[before] = value
                continue
        if node is not before:
            new[before] = node
        body.append(node)
    return fn.with_body(body, [new.get(v, v) for v in fn.outputs])


def _same(loop: Loop, k: int) -> bool:
    return loop.carry_outputs[k] is loop.carry_inputs[k] and k not in loop.kept


def _first_value(item: Value) -> Value | None:
    """The value of a loop's final carry that no step has changed."""
    node = item.args[0]
    if node.op is not SCAN and node.op is not WHILE:
        return None
    loop = Loop.of(node)
    k = item.params["k"] - loop.first_final
    return loop.init[k] if 0 <= k < loop.carries and _same(loop, k) else None


def _steady(loop: Loop) -> list[tuple[Value, Value]]:
    """Inputs of a body, each with the one value that it has in every step."""
    regions = [loop.body, *([loop.node.params["test"]] if loop.node.op is WHILE else [])]
    read = {a for fn in regions for n in fn.body for a in n.args}
    read |= {v for fn in regions for v in fn.outputs[len(loop.carry_outputs) :]}
    if loop.node.op is WHILE:
        tested = loop.node.params["test"].inputs[1 : 1 + loop.carries]
        read |= set(loop.node.params["test"].outputs)
    else:
        tested = loop.carry_inputs
    found = []
    for k, v in enumerate(loop.carry_inputs):
        if _same(loop, k) and (v in read or tested[k] in read):
            found.append((v, loop.init[k]))
    for v, x in zip(loop.item_inputs, loop.xs, strict=True):
        value = _taped(x)
        if value is not None and x.type.shape[0] == loop.length:
            found.append((v, value))
    return found


def _taped(x: Value) -> Value | None:
    """The value of which there is one copy for each step: a broadcast, or what a loop has taped."""
    if x.op is OPS["broadcast"] and x.args[0].type.shape == x.type.shape[1:]:
        return x.args[0]
    if x.op is not ITEM or (x.args[0].op is not SCAN and x.args[0].op is not WHILE):
        return None
    loop = Loop.of(x.args[0])
    k = x.params["k"] - loop.first_y
    if not 0 <= k < len(loop.y_outputs):
        return None
    for v, value in zip(loop.const_inputs, loop.consts, strict=True):
        if v is loop.y_outputs[k]:
            return value
    return None


def _with_operands(node: Value, steady: Sequence[tuple[Value, Value]]) -> Value:
    """The loop with these inputs of its body read from new operands."""
    if not steady:
        return node
    loop = Loop.of(node)
    # A number stands in the body itself; anything else is a new operand.
    numbers = [x.op is SIZE or (x.op is CONST and not x.type.shape) for _, x in steady]
    stands = [x if n else _parameter(v) for (v, x), n in zip(steady, numbers, strict=True)]
    more = [v for v, n in zip(stands, numbers, strict=True) if not n]
    table = {v: stand for (v, _), stand in zip(steady, stands, strict=True)}
    carried = {v: k for k, v in enumerate(loop.carry_inputs)}
    keep = {k for k in range(loop.carries) if _same(loop, k)}
    params = {**node.params, "body": _reading(loop.body, table, more, keep)}
    if node.op is WHILE:
        test = node.params["test"]
        places = [carried.get(v) for v, _ in steady]
        own = {
            test.inputs[1 + k]: stand
            for k, stand in zip(places, stands, strict=True)
            if k is not None
        }
        params["test"] = _reading(test, own, more, set())
    added = [x for (_, x), n in zip(steady, numbers, strict=True) if not n]
    return with_args(node, (*node.args, *added), params)


def _reading(
    fn: Function, table: dict[Value, Value], more: Sequence[Value], keep: set[int]
) -> Function:
    """A region with `more` inputs, which it reads as `table` says; the outputs in `keep` stay as they are."""
    env = dict(table)
    body = []
    for node in fn.body:
        if any(a in env for a in node.args):
            made = with_args(node, tuple([env.get(a, a) for a in node.args]))
            env[node] = made
            node = made
        body.append(node)
    outputs = [v if k in keep else env.get(v, v) for k, v in enumerate(fn.outputs)]
    return Function(fn.name, [*fn.inputs, *more], outputs, body)


def _parameter(like: Value) -> Value:
    made = new_node(PARAM, (), NO_PARAMS, like.type, None, None)
    made.name = like.name
    return made
