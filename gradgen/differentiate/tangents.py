"""Forward mode of loops and branches: the tangents run beside the values in one statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradgen.differentiate.activity import active_carries, active_outputs, active_results, loop_wrt
from gradgen.differentiate.calls import push_call
from gradgen.ir import Function
from gradgen.ops.index import zeros
from gradgen.ops.regions import CALL, COND, SCAN, Loop
from gradgen.value import Value, apply


def push(
    node: Value,
    dots: Sequence[Value | None],
    forward: Callable[..., Function],
    reverse: Callable[..., Function],
) -> tuple[Value, dict[int, int], dict[int, Value | int]]:
    """A statement that computes results and tangents; the numbers of the results, and of their tangents (or these)."""
    if node.op is CALL:
        return push_call(node, dots, forward, reverse)
    active = [d is not None for d in dots]
    moving = [d for d in dots if d is not None]
    if node.op is COND:
        wrt = [k for k, a in enumerate(active[1:]) if a]
        flags = active_results(node, active)
        count = len(flags)
        branches = []
        for name in ("then", "otherwise"):
            fn = node.params[name]
            joint = forward(fn, wrt)
            dotted = [joint.outputs[count + k] for k in range(count) if flags[k]]
            branches.append(
                Function(fn.name, joint.inputs, [*joint.outputs[:count], *dotted], joint.body)
            )
        out = apply(node.op, *node.args, *moving, then=branches[0], otherwise=branches[1])
        moved_results = [k for k in range(count) if flags[k]]
        return (
            out,
            {k: k for k in range(count)},
            {k: count + j for j, k in enumerate(moved_results)},
        )
    loop = Loop.of(node)
    carried = active_carries(loop, active)
    wrt = loop_wrt(loop, active, carried)
    joint = forward(loop.body, wrt)
    outputs = len(loop.body.outputs)
    flows = active_outputs(loop.body, wrt)
    dot_inputs = dict(zip(wrt, joint.inputs[len(loop.body.inputs) :], strict=True))
    moved = [k for k in range(loop.carries) if carried[k]]
    y_moved = [k for k in range(loop.carries, outputs) if flows[k]]
    x_moved = [k for k in range(loop.carries, loop.carries + loop.items) if active[k]]
    c_moved = [k for k in range(loop.carries + loop.items, len(active)) if active[k]]

    def inputs_of(fn: Function) -> list[Value]:
        """The inputs of the body or test with the tangents between."""
        a, b = 1 + loop.carries, 1 + loop.carries + loop.items
        own = fn.inputs

        def dotted(ks: list[int]) -> list[Value]:
            return [dot_inputs[1 + k] for k in ks]

        return [*own[:a], *dotted(moved), *own[a:b], *dotted(x_moved), *own[b:], *dotted(c_moved)]

    body = Function(
        loop.body.name,
        inputs_of(loop.body),
        [
            *joint.outputs[: loop.carries],
            *(joint.outputs[outputs + k] for k in moved),
            *joint.outputs[loop.carries : outputs],
            *(joint.outputs[outputs + k] for k in y_moved),
        ],
        joint.body,
    )
    starts = [dots[k] if dots[k] is not None else zeros(loop.init[k].type) for k in moved]
    kept = (*loop.kept, *(loop.carries + moved.index(k) for k in loop.kept if carried[k]))
    params = {**node.params, "body": body, "carries": loop.carries + len(moved), "kept": kept}
    if node.op is SCAN:
        params["items"] = loop.items + len(x_moved)
    else:
        test = node.params["test"]
        params["test"] = Function(test.name, inputs_of(test), test.outputs, test.body)
    out = apply(
        node.op, *loop.init, *starts, *loop.xs, *(dots[k] for k in x_moved), *loop.consts,
        *(dots[k] for k in c_moved), **params,
    )  # fmt: skip
    after = Loop.of(out)
    numbers: dict[int, int] = {k: k for k in range(loop.first_y)}
    tangents: dict[int, Value | int] = {}
    for j, k in enumerate(moved):
        tangents[loop.first_final + k] = loop.first_final + loop.carries + j
    for k in range(outputs - loop.carries):
        numbers[loop.first_y + k] = after.first_y + k
    for j, k in enumerate(y_moved):
        tangents[loop.first_y + k - loop.carries] = after.first_y + outputs - loop.carries + j
    at = len(loop.kept)
    for j, k in enumerate(loop.kept):
        numbers[loop.first_state + j] = after.first_state + j
        if carried[k]:
            tangents[loop.first_state + j] = after.first_state + at
            at += 1
    return out, numbers, tangents
