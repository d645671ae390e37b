"""Maps without loops: a scan that carries nothing becomes statements over whole arrays, where every statement of it can.

For targets whose arrays are fast and whose loops are slow (NumPy). Innermost maps go first.
"""

from __future__ import annotations

from gradgen.differentiate.batch import Unbatchable, batch, numbers, spread
from gradgen.ir import Function
from gradgen.ops.regions import ITEM, SCAN, Loop
from gradgen.rewriting import with_args
from gradgen.value import Trace, Value


def vectorise(fn: Function) -> Function:
    """`fn` with its maps as whole-array statements."""
    if not any(node.op is SCAN and not node.params["carries"] for node in fn.body):
        return fn
    new: dict[Value, Value] = {}
    results: dict[Value, list[Value]] = {}
    with Trace(trusted=True) as trace:
        for node in fn.body:
            trace.site = node.site
            args = tuple([new.get(a, a) for a in node.args])
            if node.op is ITEM and node.args[0] in results:
                found = results[node.args[0]][node.params["k"]]
                if found.name is None:
                    found.name = node.name
                new[node] = found
                continue
            if any(a is not b for a, b in zip(args, node.args, strict=True)):
                new[node] = made = with_args(node, args)
            else:
                made = node
            if node.op is SCAN and not node.params["carries"]:
                mark = len(trace.body)
                try:
                    results[node] = _whole(made)
                    continue
                except Unbatchable:
                    del trace.body[mark:]
            trace.body.append(made)
    return fn.with_body(trace.body, [new.get(v, v) for v in fn.outputs])


def _whole(node: Value) -> list[Value]:
    loop = Loop.of(node)
    length = node.params["length"]
    read = any(a is loop.index for n in loop.body.body for a in n.args)
    read = read or any(v is loop.index for v in loop.body.outputs)
    # An index that nothing reads needs no array of numbers.
    index = numbers(length, 1) if read else loop.index
    flags = [read, *[True] * loop.items, *[False] * len(loop.consts)]
    pairs = batch(loop.body, [index, *loop.xs, *loop.consts], flags, length)
    return [spread(v, m, length) for v, m in pairs]
