"""Reverse mode: one backward sweep over the statements of a Function, linear in their number.

A missing cotangent is absent, not zero: nothing is emitted for it. Cotangents of slices and gathers are added into one
accumulator instead of being padded and summed. Which cotangents may hold the exact zeros of a branch not taken is followed
along the sweep; there products with partials that may not be finite are `mulz` (see `value.cotangent`).
"""

from __future__ import annotations

from collections.abc import Sequence

from gradgen.ir import LEAVES, OPS, Function
from gradgen.ops.index import is_zeros, zeros
from gradgen.value import Masks, Trace, Value, apply, constant, cotangent

_ACCUMULATES = frozenset(("slice_add", "scatter_add"))


def active_nodes(fn: Function, wrt: Sequence[int]) -> set[int]:
    """Ids of the values that depend on the inputs numbered in `wrt`, through floats."""
    active = {id(fn.inputs[i]) for i in wrt}
    for node in fn.body:
        if node.type.dtype[0] == "f":
            for a in node.args:
                if id(a) in active:
                    active.add(id(node))
                    break
    return active


def reverse(fn: Function, wrt: Sequence[int], seeds: Sequence[str | None]) -> Function:
    """The Function that returns fn's outputs, then the cotangent of each input in `wrt`.

    seeds: for each output, None (nothing flows back from it), "one" (the gradient of a scalar), or the name of a new
    input of the output's type that is its cotangent; these follow fn's inputs.
    """
    active = active_nodes(fn, wrt)
    with Trace(trusted=True) as trace:
        trace.inputs = list(fn.inputs)
        trace.body = list(fn.body)
        trace.requires = dict.fromkeys(fn.requires)
        bars: dict[int, Value] = {}
        for out, seed in zip(fn.outputs, seeds, strict=True):
            if seed is None:
                continue
            bar = constant(1.0, out.type.dtype) if seed == "one" else trace.input(out.type, seed)
            if id(out) in active:
                trace.site = ("", 0, "reverse")
                bars[id(out)] = _accumulate(bars.get(id(out)), bar)
        masks = Masks()
        mulz = OPS["mulz"]
        for node in reversed(fn.body):
            y_bar = bars.pop(id(node), None)
            if y_bar is None:
                continue
            _name(y_bar, node)
            site = node.site
            trace.site = (site[0], site[1], "reverse") if site else ("", 0, "reverse")
            guard = masks.guard(node)
            args = node.args
            # A store reads its cotangent before it clears the part, so that clearing can happen in place.
            numbered = enumerate(args)
            for i, a in numbered if node.op.store is None else reversed(list(numbered)):
                if id(a) not in active:
                    continue
                x_bar = cotangent(node, i, y_bar, node, args, guard)
                if x_bar is None:
                    continue
                known = bars.get(id(a))
                bars[id(a)] = x_bar if known is None else _accumulate(known, x_bar)
                # The cotangent of a guarded partial is a product with the zero that guarded it.
                masks.note(node, a, guard or (node.op is mulz and i == 1))
        trace.site = ("", 0, "reverse")
        gradients = []
        for i in wrt:
            p = fn.inputs[i]
            found = bars.get(id(p))
            gradient = zeros(p.type) if found is None else found
            _name(gradient, p)
            gradients.append(gradient)
    result = trace.function(fn.name, [*fn.outputs, *gradients], fn.title)
    result.notes = fn.notes
    return result


def _name(bar: Value, node: Value) -> None:
    if node.name and bar.name is None and bar.op not in LEAVES:
        bar.name = f"{node.name}_bar"


def _accumulate(known: Value | None, x_bar: Value) -> Value:
    """known + x_bar; a contribution that is a part added into zeros is added into `known` instead."""
    if known is None:
        return x_bar
    if x_bar.op.name in _ACCUMULATES and is_zeros(x_bar.args[0]):
        return apply(x_bar.op, known, *x_bar.args[1:], **x_bar.params)
    if known.op.name in _ACCUMULATES and is_zeros(known.args[0]):
        return apply(known.op, x_bar, *known.args[1:], **known.params)
    return apply(OPS["add"], known, x_bar)
