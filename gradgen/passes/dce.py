"""Dead code: statements whose value nothing reads are dropped."""

from __future__ import annotations

from gradgen.ir import Function


def dce(fn: Function) -> Function:
    """`fn` without the statements that no output depends on."""
    live = {id(v) for v in fn.outputs}
    kept = []
    for node in reversed(fn.body):
        if id(node) in live:
            kept.append(node)
            for a in node.args:
                live.add(id(a))
    if len(kept) == len(fn.body):
        return fn
    kept.reverse()
    return fn.with_body(kept, fn.outputs)
