"""Reverse mode of a scan that keeps a few of its states: what lies between them is computed again, on a binomial schedule.

The scan runs without a tape. Its adjoint is a scan in the other direction that carries a stack of states, the snapshots, with
the number of the step that each goes into. Before a step is reversed, the stack is filled from its top to that step; then the
step's state is taken off. With s snapshots, l <= binomial(s + t, s) steps are each computed t times at most, which no schedule
does better, if of l steps the next snapshot is binomial(s + t - 1, s) steps further for the smallest such t. (A. Griewank and
A. Walther, "Algorithm 799: Revolve", ACM Transactions on Mathematical Software 26(1), 2000.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gradgen.differentiate.activity import active_carries, loop_wrt, masked_outputs, seeds_of
from gradgen.differentiate.calls import Pulled, Reverse
from gradgen.ir import OPS
from gradgen.ops.assign import SCATTER_SET
from gradgen.ops.index import GATHER, is_zeros, zeros
from gradgen.ops.regions import Loop
from gradgen.sizes import Dim, add
from gradgen.trace.control import scan_numbered, while_traced
from gradgen.trace.stage import inline
from gradgen.tree import flatten
from gradgen.value import Extent, Value, apply, constant


def pull_from_snapshots(
    node: Value, bars: Mapping[int, Value], active: Sequence[bool], masked: Collection[int], reverse: Reverse
) -> Pulled:  # fmt: skip
    """The adjoint of a scan that has `snapshots`."""
    loop = Loop.of(node)
    length: Dim = node.params["length"]
    carried = active_carries(loop, active)
    wrt = loop_wrt(loop, active, carried)
    seeds = seeds_of(loop, bars, wrt, carried)
    joint, _, guarded = reverse(loop.body, wrt, seeds, masked_outputs(loop, bars, masked))
    outputs = len(loop.body.outputs)
    moved = [k for k in range(loop.carries) if carried[k]]
    summed = [j for j in range(len(loop.consts)) if active[loop.carries + loop.items + j]]
    y_numbers = [k for k in range(loop.carries, outputs) if seeds[k] is not None]
    slots, zero = node.params["snapshots"], constant(0, "i64")
    names = [v.name or "state" for v in loop.carry_inputs]
    kept_names = [f"{name}_kept" for name in names]
    bars_of_inputs = dict(zip(wrt, joint.outputs[outputs:], strict=True))
    first = 1 + loop.carries + loop.items  # of the body's inputs, those that all steps read
    pulled_items = [
        j for j in range(loop.items)
        if (slope := bars_of_inputs.get(1 + loop.carries + j)) is not None and not is_zeros(slope)
    ]  # fmt: skip

    def number_of(step: Value) -> Value:
        """The index of a step, which is the number of steps before it unless the scan runs backwards."""
        return Extent.of(add(length, -1)) - step if loop.reverse else step

    def stepped(step: Value, states: list[Value]) -> list[Value]:
        i = number_of(step)
        items = [apply(GATHER, x, i, axis=0) for x in loop.xs]
        return inline(loop.body, [i, *states, *items, *loop.consts])[: loop.carries]

    def further(carry: Any) -> Any:
        """One more snapshot, on the way to the step `goal`."""
        stacks, places, top, goal = carry
        place = apply(GATHER, places, top, axis=0)
        states = [apply(GATHER, s, top, axis=0) for s in stacks]
        steps = _distance(goal - place + 1, slots - 1 - top)
        _, states = while_traced(
            lambda c: c[0] < steps, lambda c: (c[0] + 1, stepped(place + c[0], c[1])), (zero, states),
            words=(["step", *names],),
        )  # fmt: skip
        top = top + 1
        stacks = [
            apply(SCATTER_SET, s, v, top, axis=0) for s, v in zip(stacks, states, strict=True)
        ]
        return stacks, apply(SCATTER_SET, places, place + steps, top, axis=0), top, goal

    def back(i: Value, carry: Any, x: Any) -> Any:
        stacks, places, top, state_bars, sums = carry
        items, y_bars = x
        goal = number_of(i)
        stacks, places, top, _ = while_traced(
            lambda c: apply(GATHER, c[1], c[2], axis=0) < c[3], further, (stacks, places, top, goal),
            words=([*kept_names, "places", "top", "goal"],),
        )  # fmt: skip
        states = [apply(GATHER, s, top, axis=0) for s in stacks]
        given = dict(zip(moved, state_bars, strict=True)) | dict(
            zip(y_numbers, y_bars, strict=True)
        )
        cotangents = [given[k] for k, seed in enumerate(seeds) if seed is not None]
        found = inline(joint, [i, *states, *items, *loop.consts, *cotangents])[outputs:]
        in_bars = dict(zip(wrt, found, strict=True))

        def bar(position: int, like: Value) -> Value:
            value = in_bars.get(position)
            return zeros(like.type) if value is None or is_zeros(value) else value

        new_sums = [
            apply(OPS["add"], total, bar(first + j, loop.consts[j]))
            for j, total in zip(summed, sums, strict=True)
        ]
        states = [bar(1 + k, loop.init[k]) for k in moved]
        item_bars = [in_bars[1 + loop.carries + j] for j in pulled_items]
        return (stacks, places, top - 1, states, new_sums), item_bars

    at_start = [
        apply(SCATTER_SET, zeros(v.type.with_shape((slots, *v.type.shape))), v, zero, axis=0)
        for v in loop.init
    ]
    for v, name in zip(at_start, kept_names, strict=True):
        v.name = name
    ends = [bars.get(loop.first_final + k) for k in moved]
    starts = [
        zeros(loop.init[k].type) if bar is None else bar for k, bar in zip(moved, ends, strict=True)
    ]
    y_bars = [bars[loop.first_y + k - loop.carries] for k in y_numbers]
    xs, tree = flatten((list(loop.xs), y_bars))
    init = (at_start, zeros(zero.type.with_shape((slots,))), zero, starts,
            [zeros(loop.consts[j].type) for j in summed])  # fmt: skip
    bar_names = [f"{loop.carry_inputs[k].name or 'state'}_bar" for k in moved]
    item_names = [v.name or "" for v in loop.item_inputs]
    y_names = [seeds[k] or "" for k in y_numbers]
    sum_names = [f"{loop.const_inputs[j].name or 'sum'}_bar" for j in summed]
    (_, _, _, state_bars, sums), item_bars = scan_numbered(
        back, init, xs, tree, length, not loop.reverse,
        ("", [*kept_names, "places", "top", *bar_names, *sum_names], [*item_names, *y_names]),
    )  # fmt: skip
    found = [(k, v) for k, v in zip(moved, state_bars, strict=True) if active[k]]
    found += [(loop.carries + j, v) for j, v in zip(pulled_items, item_bars, strict=True)]
    found += [(loop.carries + loop.items + j, v) for j, v in zip(summed, sums, strict=True)]
    numbers = {k: k for k in range(loop.first_state)}
    return Pulled(node, numbers, [], found, frozenset([k - 1 for k in guarded]))


def _distance(steps: Value, free: Value) -> Value:
    """How far from a snapshot the next one is, where `steps` steps are to be reversed and `free` places are left."""

    def more(c: Any) -> Any:
        t, _, reach = c
        return t + 1, reach, reach * (free + t + 1) // (t + 1)

    one = constant(1, "i64")
    start = (constant(0, "i64"), one, one)
    return while_traced(lambda c: c[2] < steps, more, start, words=(["t", "distance", "reach"],))[1]
