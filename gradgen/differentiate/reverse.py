"""Reverse mode: one backward sweep over the statements of a Function, linear in their number.

A missing cotangent is absent, not zero: nothing is emitted for it. Cotangents of slices and gathers are added into one
accumulator instead of being padded and summed. Which cotangents may hold the exact zeros of a branch not taken is followed
along the sweep; there products with partials that may not be finite are `mulz` (see `value.cotangent`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gradgen.cotangents import Masks, cotangent
from gradgen.differentiate.activity import active_nodes
from gradgen.differentiate.adjoints import Pulled, pull
from gradgen.ir import LEAVES, OPS, Function
from gradgen.ops.index import is_zeros, zeros
from gradgen.ops.regions import COND, ITEM
from gradgen.rewriting import with_args
from gradgen.sites import Site
from gradgen.value import Trace, Value, apply, constant, new_node

_ACCUMULATES = frozenset(("slice_add", "scatter_add"))


def reverse(fn: Function, wrt: Sequence[int], seeds: Sequence[str | None]) -> Function:
    """The Function that returns fn's outputs, then the cotangent of each input in `wrt`.

    seeds: for each output, None (nothing flows back from it), "one" (the gradient of a scalar), or the name of a new
    input of the output's type that is its cotangent; these follow fn's inputs.
    """
    return joint(fn, wrt, seeds, region=False)[0]


def joint(
    fn: Function,
    wrt: Sequence[int],
    seeds: Sequence[str | None],
    masked: Collection[int] = (),
    region: bool = True,
) -> tuple[Function, int, frozenset[int]]:
    """What `reverse` returns, how many of its statements are fn's own (tapes included), and which inputs' cotangents may hold
    exact zeros of a branch not taken.

    masked: the outputs whose cotangents may.  region: fn is a body, whose gradients its loop names.
    """
    active = active_nodes(fn, wrt)
    tapes: dict[Value, Pulled] = {}
    partial: dict[Value, dict[int, Value]] = {}  # cotangents of some results of a statement
    with Trace(trusted=True) as trace:
        trace.inputs = list(fn.inputs)
        trace.body = list(fn.body)
        trace.requires = dict.fromkeys(fn.requires)
        bars: dict[Value, Value] = {}
        for out, seed in zip(fn.outputs, seeds, strict=True):
            if seed is None:
                continue
            bar = constant(1.0, out.type.dtype) if seed == "one" else trace.input(out.type, seed)
            if out in active:
                trace.site = ("", 0, "reverse")
                bars[out] = _accumulate(bars.get(out), bar)
        masks = Masks()
        masks.seed(fn.outputs[k] for k in masked)
        mulz = OPS["mulz"]
        for node in reversed(fn.body):
            if node.op.regions:
                results = partial.pop(node, None)
                if results:
                    trace.site = _reverse_site(node)
                    guards = masks.guarded_results(node, results)
                    flags = [a in active for a in node.args]
                    tape = tapes[node] = pull(node, results, flags, guards, joint)
                    for i, bar in tape.bars:
                        a = node.args[i]
                        bars[a] = _accumulate(bars.get(a), bar)
                        masks.note(node, a, node.op is COND or i in tape.masked)
                continue
            y_bar = bars.pop(node, None)
            if y_bar is None:
                continue
            if node.op is ITEM:
                _name(y_bar, node)
                trace.site = _reverse_site(node)
                parts = partial.setdefault(node.args[0], {})
                k = node.params["k"]
                parts[k] = _accumulate(parts.get(k), y_bar)
                masks.note_result(node)
                continue
            _name(y_bar, node)
            trace.site = _reverse_site(node)
            guard = masks.guard(node)
            args = node.args
            # A store reads its cotangent before it clears the part, so that clearing can happen in place.
            numbered = enumerate(args)
            for i, a in numbered if node.op.store is None else reversed(list(numbered)):
                if a not in active:
                    continue
                x_bar = cotangent(node, i, y_bar, node, args, guard)
                if x_bar is None:
                    continue
                known = bars.get(a)
                bars[a] = x_bar if known is None else _accumulate(known, x_bar)
                # The cotangent of a guarded partial is a product with the zero that guarded it.
                masks.note(node, a, guard or (node.op is mulz and i == 1))
        trace.site = ("", 0, "reverse")
        gradients = []
        for i in wrt:
            p = fn.inputs[i]
            found = bars.get(p)
            gradient = zeros(p.type) if found is None else found
            if not region:
                _name(gradient, p)
            gradients.append(gradient)
    result = trace.function(fn.name, [*fn.outputs, *gradients], fn.title)
    result.notes = fn.notes
    count = len(fn.body)
    if tapes:
        result, count = with_tapes(result, count, tapes)
    return result, count, frozenset([i for i in wrt if masks.guard(fn.inputs[i])])


def with_tapes(fn: Function, count: int, tapes: dict[Value, Pulled]) -> tuple[Function, int]:
    """`fn` with statements replaced by those that keep tapes; `count` statements of it are the forward half."""
    new: dict[Value, Value] = {}
    body: list[Value] = []
    grown = count
    for k, node in enumerate(fn.body):
        tape = tapes.get(node)
        if tape is not None:
            old, node = node, tape.node
        if node.op is ITEM and node.args[0] in tapes:
            tape_of = tapes[node.args[0]]
            copy = new_node(
                ITEM, (new[node.args[0]],), {"k": tape_of.numbers[node.params["k"]]}, node.type, node.site, node.owner
            )  # fmt: skip
            copy.name = node.name
            new[node] = copy
            body.append(copy)
            continue
        made = with_args(node, tuple([new.get(a, a) for a in node.args])) if (
            any(a in new for a in node.args)
        ) else node  # fmt: skip
        if made is not node:
            new[node] = made
        body.append(made)
        if tape is not None:
            new[old] = new[node] = made
            for item in tape.items:
                copy = with_args(item, (made,))
                new[item] = copy
                body.append(copy)
                grown += k < count
    return fn.with_body(body, [new.get(v, v) for v in fn.outputs]), grown


def _reverse_site(node: Value) -> Site:
    site = node.site
    return (site[0], site[1], "reverse") if site else ("", 0, "reverse")


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
