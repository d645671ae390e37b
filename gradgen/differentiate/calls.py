"""Derivatives of calls: checkpoints, and functions with a rule of the user's in one mode.

A rule is linear in its cotangents (or tangents), so the other mode is its transpose: reverse mode of the rule itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from gradgen.differentiate.activity import active_outputs
from gradgen.ir import OPS, Function
from gradgen.ops.index import is_zeros, zeros
from gradgen.ops.regions import ITEM
from gradgen.rewriting import splice
from gradgen.types import Bundle
from gradgen.value import Value, apply, new_node

Reverse = Callable[..., tuple[Function, int, frozenset[int]]]


@dataclass
class Pulled:
    """The adjoint of a region statement: its replacement, where its results are now, cotangents of operands, and which of
    these may hold exact zeros of a branch not taken."""

    node: Value
    numbers: dict[int, int]
    items: list[Value]
    bars: list[tuple[int, Value]]
    masked: frozenset[int] = frozenset()


def item_of(bundle: Value, k: int, name: str | None = None) -> Value:
    """A result of a statement that stands earlier in the trace."""
    assert isinstance(bundle.type, Bundle)
    found = new_node(ITEM, (bundle,), {"k": k}, bundle.type.parts[k], bundle.site, bundle.owner)
    found.name = name
    return found


def pull_call(
    node: Value, bars: Mapping[int, Value], active: Sequence[bool], masked: Collection[int], reverse: Reverse
) -> Pulled:  # fmt: skip
    """Reverse mode of a call for cotangents of some of its results."""
    body, rule = node.params["body"], node.params["rule"]
    count, wrt = len(body.outputs), [k for k, a in enumerate(active) if a]
    numbers = {k: k for k in range(count)}
    if node.params["kind"] == "checkpoint":
        flows = active_outputs(body, wrt)
        seeds = [
            f"{v.name or 'y'}_bar" if k in bars and flows[k] else None
            for k, v in enumerate(body.outputs)
        ]
        joint, _, guarded = reverse(body, wrt, seeds, masked)
        given = [bars[k] for k, seed in enumerate(seeds) if seed is not None]
        operands = [apply(OPS["barrier"], a) for a in node.args]
        found = splice(joint, [*operands, *given])[count:]
        pulled = [(k, v) for k, v in zip(wrt, found, strict=True) if not is_zeros(v)]
        return Pulled(node, numbers, [], pulled, guarded)
    results = [item_of(node, k) for k in range(count)]
    y_bars = [bars[k] if k in bars else zeros(v.type) for k, v in enumerate(body.outputs)]
    if node.params["kind"] == "vjp":
        found = splice(rule, [*y_bars, *results, *node.args])
        return Pulled(node, numbers, results, [(k, found[k]) for k in wrt])
    n = len(node.args)
    joint, _, _ = reverse(rule, wrt, ["y_bar"] * count, masked)
    dots = [zeros(a.type) for a in node.args]
    found = splice(joint, [*dots, *results, *node.args, *y_bars])[count:]
    assert len(rule.inputs) == 2 * n + count
    return Pulled(node, numbers, results, list(zip(wrt, found, strict=True)))


def push_call(
    node: Value,
    dots: Sequence[Value | None],
    forward: Callable[..., Function],
    reverse: Callable[..., Function],
) -> tuple[Value, dict[int, int], dict[int, Value | int]]:
    """Forward mode of a call: the call (with the tangents, for a checkpoint), and the tangents of its results."""
    body, rule = node.params["body"], node.params["rule"]
    count, wrt = len(body.outputs), [k for k, d in enumerate(dots) if d is not None]
    numbers = {k: k for k in range(count)}
    flows = active_outputs(body, wrt)
    if node.params["kind"] == "checkpoint":
        joint = forward(body, wrt)
        moving = [d for d in dots if d is not None]
        out = apply(node.op, *node.args, *moving, body=joint, kind="checkpoint", rule=None)
        return out, numbers, {k: count + k for k in range(count) if flows[k]}
    out = apply(node.op, *node.args, **node.params)
    results = [apply(ITEM, out, k=k) for k in range(count)]
    x_dots = [zeros(a.type) if d is None else d for a, d in zip(node.args, dots, strict=True)]
    if node.params["kind"] == "jvp":
        found = splice(rule, [*x_dots, *results, *node.args])
    else:
        y_bars = [zeros(v.type) for v in body.outputs]
        names = [f"x_dot{k}" for k in range(len(rule.outputs))]
        joint = reverse(rule, list(range(count)), names)
        found = splice(joint, [*y_bars, *results, *node.args, *x_dots])[len(rule.outputs) :]
    return out, numbers, {k: found[k] for k in range(count) if flows[k]}
