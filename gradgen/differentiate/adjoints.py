"""Reverse mode of loops and branches.

A region statement is differentiated in two halves. The body is differentiated as any Function; the statements of its
adjoint that read values of the forward half decide what is kept: results and carries that exist anyway, then whatever cannot
be recomputed cheaply from those, from the items and from the operands (the residuals). The statement is replaced by one
that also returns its residuals, and its adjoint is a region statement of the same set, so every order works:

    scan, while   a scan in the other direction; cotangents of operands that all steps read are carries, but a sum of
                  outer products over the steps becomes one matrix product after the loop
    cond          a cond on the same condition, with the residuals of both branches
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gradgen.differentiate.activity import (
    active_carries,
    active_outputs,
    loop_wrt,
    masked_outputs,
    seeds_of,
)
from gradgen.differentiate.calls import Pulled, Reverse, item_of, pull_call
from gradgen.differentiate.residuals import local_letters, split
from gradgen.differentiate.snapshots import pull_from_snapshots
from gradgen.ir import LEAVES, OPS, Function
from gradgen.ops.index import SLICE, is_zeros, zeros
from gradgen.ops.regions import CALL, COND, ITEM, SCAN, WHILE, Loop, all_letters
from gradgen.ops.shape import reshape, transpose
from gradgen.ops.spans import Span
from gradgen.rewriting import with_args
from gradgen.sizes import Dim, Size, letter, letters, mul
from gradgen.types import Bundle, Type
from gradgen.value import Trace, Value, apply, current_trace, new_node


def pull(
    node: Value, bars: Mapping[int, Value], active: Sequence[bool], masked: Collection[int], reverse: Reverse
) -> Pulled:  # fmt: skip
    """Reverse mode of one region statement for cotangents of some of its results (by number), of which those in `masked` may
    hold exact zeros of a branch not taken."""
    if node.op is COND:
        return _pull_cond(node, bars, active, masked, reverse)
    if node.op is CALL:
        return pull_call(node, bars, active, masked, reverse)
    if node.params.get("snapshots"):
        return pull_from_snapshots(node, bars, active, masked, reverse)
    return _pull_loop(node, bars, active, masked, reverse)


def _substituted(
    statements: Sequence[Value], env: dict[Value, Value], outputs: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    """The statements and outputs with values replaced as `env` says."""
    body = []
    for node in statements:
        if any(a in env for a in node.args):
            copy = with_args(node, tuple(env.get(a, a) for a in node.args))
            env[node] = copy
            node = copy
        body.append(node)
    return body, [env.get(v, v) for v in outputs]


def _parameter(ty: Type, name: str | None) -> Value:
    with Trace() as trace:
        return trace.input(ty, name)


def _pull_loop(
    node: Value, bars: Mapping[int, Value], active: Sequence[bool], masked: Collection[int], reverse: Reverse
) -> Pulled:  # fmt: skip
    loop = Loop.of(node)
    carried = active_carries(loop, active)
    wrt = loop_wrt(loop, active, carried)
    seeds = seeds_of(loop, bars, wrt, carried)
    joint, count, guarded = reverse(loop.body, wrt, seeds, masked_outputs(loop, bars, masked))
    outputs = len(loop.body.outputs)
    in_bars = dict(zip(wrt, joint.outputs[outputs:], strict=True))
    seed_inputs = iter(joint.inputs[len(loop.body.inputs) :])
    seeded = {k: next(seed_inputs) for k, s in enumerate(seeds) if s is not None}

    at_hand = {v: v for v in joint.inputs}
    for v in joint.outputs[:outputs]:
        at_hand[v] = v
    kept_bars = [v for v in in_bars.values() if not is_zeros(v)]
    cut = split(joint, count, kept_bars, at_hand)

    # What is kept: results that exist, carries as states, residuals as further ys.
    carry_outputs = joint.outputs[: loop.carries]
    entering = [k for k, v in enumerate(loop.carry_inputs) if v in cut.reads]
    own = set(joint.body[:count])
    leaving = [k for k, v in enumerate(carry_outputs) if v in cut.reads and v in own]
    kept = tuple(dict.fromkeys([*loop.kept, *sorted({*entering, *leaving})]))
    residuals = cut.residuals
    body = Function(
        loop.body.name, loop.body.inputs, [*joint.outputs[:outputs], *residuals], joint.body[:count]
    )
    changed: dict[str, Any] = {"kept": kept}
    length = loop.length
    if length is None:
        assert node.op is WHILE
        length = changed["steps"] = fresh_letter()
    replaced = new_node(node.op, node.args, {**node.params, **changed, "body": body},
                        node.type, node.site, node.owner)  # fmt: skip
    replaced.type = node.op.infer(*[a.type for a in node.args], **replaced.params)
    replaced.name = node.name
    after = Loop.of(replaced)
    numbers = {k: k for k in range(loop.first_state)}
    for j, k in enumerate(loop.kept):
        numbers[loop.first_state + j] = after.first_state + kept.index(k)

    made: list[Value] = []
    operands: list[Value] = []
    inputs: list[Value] = []
    env: dict[Value, Value] = {}

    def take(value: Value, operand: Value) -> None:
        """`operand` is an array of one `value` for each step: an item of the adjoint."""
        operands.append(operand)
        if value.op in LEAVES and not any(value is v for v in inputs):
            inputs.append(value)
            return
        stand = _parameter(value.type, value.name)
        env[value] = stand
        inputs.append(stand)

    def result(k: int, name: str | None) -> Value:
        found = item_of(replaced, k, name)
        made.append(found)
        return found

    state: dict[int, Value] = {}
    for k in kept:
        if k in entering or k in leaving:
            name = loop.carry_inputs[k].name
            state[k] = result(after.first_state + kept.index(k), name and f"{name}_tape")
    first, last = (1, 0) if loop.reverse else (0, 1)
    for k in entering:
        take(loop.carry_inputs[k], _shifted(state[k], first, length))
    for k in leaving:
        if carry_outputs[k] not in env:
            take(carry_outputs[k], _shifted(state[k], last, length))
    for k, v in enumerate(joint.outputs[loop.carries : outputs]):
        if v in cut.reads and v in own and v not in env:
            take(v, result(after.first_y + k, v.name))
    for k, v in enumerate(residuals):
        take(v, result(after.first_y + outputs - loop.carries + k, v.name and f"{v.name}_tape"))
    for v, x in zip(loop.item_inputs, loop.xs, strict=True):
        if v in cut.reads:
            take(v, x)
    for k in range(loop.carries, outputs):
        if k in seeded:
            take(seeded[k], bars[loop.first_y + k - loop.carries])

    # The adjoint's carries: cotangents of the carries, then sums of cotangents of the operands that every step reads.
    starts: list[Value] = []
    carry_params: list[Value] = []
    finals: list[Value] = []
    targets: list[int] = []
    body_env = env
    extra: list[tuple[int, Value]] = []
    for k in range(loop.carries):
        if not carried[k]:
            continue
        start = bars.get(loop.first_final + k)
        states_bar = bars.get(loop.first_state + loop.kept.index(k)) if k in loop.kept else None
        if states_bar is not None:
            end: Dim = 0 if loop.reverse else length
            edge = apply(SLICE, states_bar, index=(end, *[Span()] * (states_bar.type.ndim - 1)))
            start = edge if start is None else apply(OPS["add"], start, edge)
            item = _parameter(loop.init[k].type, "state_bar")
            operands.append(_shifted(states_bar, first, length))
            inputs.append(item)
            extra.append((k, item))
        starts.append(zeros(loop.init[k].type) if start is None else start)
        carry_params.append(seeded[k] if k in seeded else _parameter(loop.init[k].type, None))
        finals.append(in_bars.get(1 + k, zeros(loop.init[k].type)))
        targets.append(k)
    statements, mapped = _substituted(cut.statements, body_env, [*finals, *in_bars.values()])
    finals, mapped_bars = (
        mapped[: len(finals)],
        dict(zip(in_bars, mapped[len(finals) :], strict=True)),
    )
    with Trace(trusted=True) as trace:
        trace.site = node.site and (node.site[0], node.site[1], "reverse")
        trace.body = statements
        # A cotangent that is zero was cut off with the other zeros: the adjoint makes its own.
        finals = [zeros(v.type) if is_zeros(v) else v for v in finals]
        for k, item in extra:
            j = targets.index(k)
            finals[j] = apply(OPS["add"], finals[j], item)
        ys: list[Value] = []
        y_targets: list[int] = []
        for j in range(loop.items):
            position = 1 + loop.carries + j
            bar = mapped_bars.get(position)
            if bar is not None and not is_zeros(bar):
                ys.append(bar)
                y_targets.append(loop.carries + j)
        sums = _Sums(loop, statements, inputs, operands, ys, bool(targets))
        for j, const in enumerate(loop.const_inputs):
            position = 1 + loop.carries + loop.items + j
            bar = mapped_bars.get(position)
            if bar is None or is_zeros(bar):
                continue
            sums.add(loop.carries + loop.items + j, const, bar)
    consts, const_inputs = [], []
    for v, x in zip(loop.const_inputs, loop.consts, strict=True):
        consts.append(x)
        const_inputs.append(v)
    adjoint = Function(
        "adjoint",
        [loop.index, *carry_params, *sums.params, *inputs, *const_inputs],
        [*finals, *sums.finals, *ys],
        trace.body,
    )
    starts += map(zeros, sums.types)
    out = apply(
        SCAN, *starts, *operands, *consts, body=adjoint, carries=len(starts),
        items=len(operands), length=length, reverse=bool(starts) and not loop.reverse, kept=(),
    )  # fmt: skip
    found: list[tuple[int, Value]] = []
    parts = len(out.type.parts) if isinstance(out.type, Bundle) else 0
    results = [apply(ITEM, out, k=k) for k in range(parts)]
    for j, k in enumerate(targets):
        if active[k]:
            found.append((k, results[j]))
    for j, k in enumerate(sums.targets):
        found.append((k, results[len(targets) + j]))
    first_y = len(starts)
    for j, k in enumerate(y_targets):
        name = loop.item_inputs[k - loop.carries].name
        results[first_y + j].name = name and f"{name}_bar"
        found.append((k, results[first_y + j]))
    found += sums.after(results[first_y:], operands, length)
    return Pulled(replaced, numbers, made, found, frozenset([k - 1 for k in guarded]))


def _shifted(states: Value, first: int, length: Dim) -> Value:
    """The `length` states from number `first` (0 or 1) on."""
    span = Span(None, -1) if first == 0 else Span(1, None)
    return apply(SLICE, states, index=(span, *[Span()] * (states.type.ndim - 1)))


class _Sums:
    """Cotangents of operands that every step reads: summed over the steps.

    A product of a column and a row per step is not summed but kept as two stacks, for one matrix product after the loop; in a
    map, which has no carries, every contribution is a stack that is summed after it.
    """

    def __init__(
        self, loop: Loop, statements: list[Value], inputs: list[Value], operands: list[Value], ys: list[Value],
        has_carries: bool,
    ) -> None:  # fmt: skip
        self.loop, self.inputs, self.operands, self.ys = loop, inputs, operands, ys
        self.has_carries = has_carries or loop.carries > 0
        self.local = local_letters(statements)
        # Blocks that are computed again to save memory keep no stacks for after the loop.
        self.stacks = not any(
            n.op is CALL and n.params["kind"] == "checkpoint" for n in loop.body.body
        )
        self.params: list[Value] = []
        self.types: list[Type] = []
        self.finals: list[Value] = []
        self.targets: list[int] = []
        self.products: list[tuple[int, str, Any, Any]] = []

    def add(self, target: int, const: Value, bar: Value) -> None:
        terms, rest = _terms(bar), []
        for term in terms:
            pair = _product(term, self.loop) if self.stacks else None
            if pair is not None and not any(self.is_local(v) for v in pair[1:]):
                kind, a, b = pair
                self.products.append((target, kind, self.stack(a), self.stack(b)))
            else:
                rest.append(term)
        if not rest:
            return
        if len(rest) == len(terms):
            rest = [bar]
        for term in rest:
            stackable = term.op.name not in ("slice_add", "scatter_add", "slice_set")
            if (not self.has_carries and stackable) or (
                term.type.shape and any(term is y for y in self.ys)
            ):
                self.products.append((target, "sum", self.stack(term), None))
                continue
            if target in self.targets:
                j = self.targets.index(target)
                self.finals[j] = _onto(self.finals[j], term)
                continue
            name = const.name and f"{const.name}_bar"
            param = _parameter(const.type, name)
            self.params.append(param)
            self.types.append(const.type)
            final = _onto(param, term)
            if final.name is None:
                final.name = name
            self.finals.append(final)
            self.targets.append(target)

    def is_local(self, value: Value) -> bool:
        """Whether the steps' values differ in size, so that they make no stack."""
        return not self.local.isdisjoint(x for dim in value.type.shape for x in letters(dim))

    def stack(self, value: Value) -> tuple[str, int]:
        """Where the values of all steps are: an operand of the adjoint, or a result of it."""
        for k, v in enumerate(self.inputs):
            if v is value:
                return "operand", k
        for k, v in enumerate(self.ys):
            if v is value:
                return "y", k
        self.ys.append(value)
        return "y", len(self.ys) - 1

    def after(
        self, ys: Sequence[Value], operands: Sequence[Value], length: Dim
    ) -> list[tuple[int, Value]]:
        """Cotangents computed from the stacks, after the loop."""

        def of(place: tuple[str, int]) -> Value:
            return operands[place[1]] if place[0] == "operand" else ys[place[1]]

        out = []
        for target, kind, a, b in self.products:
            if kind == "sum":
                out.append((target, apply(OPS["sum"], of(a), axes=(0,))))
                continue
            left, right = of(a), of(b)
            if kind == "matmul":
                rows = mul(length, left.type.shape[1])
                left = reshape(left, (rows, left.type.shape[2]))
                right = reshape(right, (rows, right.type.shape[2]))
            out.append((target, apply(OPS["matmul"], transpose(left), right)))
        return out


def _terms(bar: Value) -> list[Value]:
    """The summands of a sum, when each has the sum's type."""
    out, todo = [], [bar]
    while todo:
        term = todo.pop()
        if term.op is OPS["add"] and all(a.type is bar.type for a in term.args):
            todo.extend(reversed(term.args))
        else:
            out.append(term)
    return out


def _product(term: Value, loop: Loop) -> tuple[str, Value, Value] | None:
    """Column and row of an outer product, or the two factors of X.T @ Y."""
    consts = set(loop.const_inputs)
    if any(a in consts for a in term.args):
        return None
    if term.op is OPS["outer"]:
        return "outer", term.args[0], term.args[1]
    if term.op is OPS["matmul"] and term.type.ndim == 2:
        a, b = term.args
        if a.op is OPS["transpose"] and a.type.ndim == 2 and a.args[0] not in consts:
            return "matmul", a.args[0], b
    return None


def _onto(total: Value, term: Value) -> Value:
    """total + term; a part added into zeros is added into `total`."""
    if term.op.name in ("slice_add", "scatter_add") and is_zeros(term.args[0]):
        return apply(term.op, total, *term.args[1:], **term.params)
    return apply(OPS["add"], total, term)


def _pull_cond(
    node: Value, bars: Mapping[int, Value], active: Sequence[bool], masked: Collection[int], reverse: Reverse
) -> Pulled:  # fmt: skip
    pred, *consts = node.args
    wrt = [k for k, a in enumerate(active[1:]) if a]
    branches = [node.params["then"], node.params["otherwise"]]
    halves = []
    for fn in branches:
        flows = active_outputs(fn, wrt)
        seeds = [
            f"{v.name or 'y'}_bar" if k in bars and flows[k] else None
            for k, v in enumerate(fn.outputs)
        ]
        joint, count, _ = reverse(fn, wrt, seeds, masked)
        outputs = len(fn.outputs)
        in_bars = joint.outputs[outputs:]
        at_hand = {v: v for v in joint.inputs} | {v: v for v in joint.outputs[:outputs]}
        cut = split(joint, count, [v for v in in_bars if not is_zeros(v)], at_hand)
        halves.append((fn, joint, count, cut, in_bars, seeds))
    pulled = [k for k in range(len(wrt)) if any(not is_zeros(h[4][k]) for h in halves)]
    residual_types = [[r.type for r in h[3].residuals] for h in halves]
    count_out = len(branches[0].outputs)

    # The branches return the residuals of both; of the branch not taken, zeros that nothing reads.
    forward = []
    for j, (fn, joint, count, cut, _, _) in enumerate(halves):
        with Trace(trusted=True) as trace:
            trace.body = list(joint.body[:count])
            other = [zeros(ty) for ty in residual_types[1 - j]]
            kept = [*cut.residuals, *other] if j == 0 else [*other, *cut.residuals]
        forward.append(
            Function(fn.name, fn.inputs, [*joint.outputs[:count_out], *kept], trace.body)
        )
    params = {"then": forward[0], "otherwise": forward[1]}
    ty = node.op.infer(*[a.type for a in node.args], **params)
    replaced = new_node(node.op, node.args, params, ty, node.site, node.owner)
    replaced.name = node.name
    made: list[Value] = []
    for h in halves:
        for r in h[3].residuals:
            made.append(item_of(replaced, count_out + len(made), r.name))
    results_read = sorted(
        {k for h in halves for k, v in enumerate(h[1].outputs[:count_out])
         if v in h[3].reads and any(v is n for n in h[1].body[: h[2]])}
    )  # fmt: skip
    outer_results = {k: item_of(replaced, k) for k in results_read}
    made_results = list(outer_results.values())
    bar_numbers = sorted(bars)
    operands = [*consts, *made, *made_results, *(bars[k] for k in bar_numbers)]
    adjoints = []
    for j, (fn, joint, count, cut, in_bars, seeds) in enumerate(halves):
        names = [f"{v.name or 'y'}_bar" for v in fn.outputs]
        seed_inputs = iter(joint.inputs[len(fn.inputs) :])
        seeded = {k: next(seed_inputs) for k, s in enumerate(seeds) if s is not None}
        env: dict[Value, Value] = {}
        inputs = list(fn.inputs)
        for i, types in enumerate(residual_types):
            for k, rty in enumerate(types):
                own = cut.residuals[k] if i == j else None
                p = _parameter(rty, own.name if own is not None else None)
                if own is not None:
                    env[own] = p
                inputs.append(p)
        for k in results_read:
            v = joint.outputs[k]
            p = _parameter(v.type, v.name)
            if any(v is n for n in joint.body[:count]):
                env.setdefault(v, p)
            inputs.append(p)
        for k in bar_numbers:
            p = seeded[k] if k in seeded else _parameter(bars[k].type, names[k])
            inputs.append(p)
        statements, outs = _substituted(cut.statements, env, in_bars)
        with Trace(trusted=True) as trace:
            trace.body = statements
            outs = [zeros(fn.inputs[wrt[k]].type) if is_zeros(outs[k]) else outs[k] for k in pulled]
        adjoints.append(Function("adjoint", inputs, outs, trace.body))
    found = []
    if pulled:
        out = apply(COND, pred, *operands, then=adjoints[0], otherwise=adjoints[1])
        found = [(1 + wrt[k], apply(ITEM, out, k=j)) for j, k in enumerate(pulled)]
    return Pulled(replaced, {k: k for k in range(count_out)}, [*made, *made_results], found)


def fresh_letter() -> Size:
    """A size that no Function of the open traces knows: the number of steps of a while."""
    trace = current_trace()
    assert trace is not None
    while trace.parent is not None:
        trace = trace.parent
    if trace.letters is None:
        trace.letters = {x for v in trace.inputs for dim in v.type.shape for x in letters(dim)}
        trace.letters |= all_letters(trace.body)
    name, count = "steps", 1
    while name in trace.letters:
        count += 1
        name = f"steps_{count}"
    trace.letters.add(name)
    return letter(name)
