"""Large captured arrays become inputs: up to 64 elements stay in the text, larger ones are bound trailing parameters."""

from __future__ import annotations

import numpy as np

from gradgen.ir import CONST, NO_PARAMS, PARAM, Function
from gradgen.rewriting import with_args
from gradgen.value import Value, is_table, new_node

EMBEDDED = 64


def captured(fn: Function) -> list[Value]:
    """The distinct array constants of a Function, in order of use, but for the tables of derivatives."""
    found: dict[Value, Value] = {}
    body = [] if fn.has_numbers_only else fn.body
    for node in [*body, *fn.outputs]:
        for a in (*node.args, node):
            if a.op is CONST and a.type.shape and not is_table(a):
                found.setdefault(a, a)
    return list(found.values())


def lift_captures(fn: Function) -> tuple[Function, dict[str, np.ndarray], list[Value]]:
    """`fn` with large array constants as further inputs; all captured arrays by name; the new inputs."""
    arrays: dict[str, np.ndarray] = {}
    new: dict[Value, Value] = {}
    taken = {v.name for v in fn.inputs}
    for const in captured(fn):
        array = const.params["value"]
        if const.name is None and array.size <= EMBEDDED:
            continue  # a literal of the text, not a capture
        base = name = const.name or "captured"
        count = 2
        while name in arrays or name in taken:
            name, count = f"{base}_{count}", count + 1
        arrays[name] = array
        if array.size > EMBEDDED:
            node = new_node(PARAM, (), NO_PARAMS, const.type, None, None)
            node.name = name
            new[const] = node
    if not new:
        return fn, arrays, []
    changed: dict[Value, Value] = dict(new)
    body = []
    for node in fn.body:
        if any(a in changed for a in node.args):
            copy = with_args(node, tuple(changed.get(a, a) for a in node.args))
            changed[node] = copy
            node = copy
        body.append(node)
    lifted = fn.with_body(body, [changed.get(v, v) for v in fn.outputs])
    lifted.inputs = [*fn.inputs, *new.values()]
    large = {k: v for k, v in arrays.items() if v.size > EMBEDDED}
    return (
        lifted,
        {**{k: v for k, v in arrays.items() if k not in large}, **large},
        list(new.values()),
    )
