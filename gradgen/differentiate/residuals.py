"""What the reverse half of a loop body or branch reads of the forward half, and which of that is kept or computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradgen.ir import LEAVES, Function, needed
from gradgen.ops.regions import WHILE, letters_of
from gradgen.value import Value

# What costs less to compute again than to keep; the rest by their flops.
_FREE = frozenset(("slice", "reshape", "transpose", "broadcast", "cast", "expand_dims", "squeeze", "copy"))  # fmt: skip
_CHEAP = frozenset(
    (
        "add", "sub", "mul", "neg", "abs", "square", "where", "maximum", "minimum", "clip", "sign", "mulz", "equal",
        "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_not",
        "gather",
    )
)  # fmt: skip
BUDGET = 6


@dataclass
class Split:
    """What the reverse half of a joint body reads: residuals to keep, statements to repeat, and its own statements."""

    residuals: list[Value]
    statements: list[Value]
    reads: set[Value]  # inputs and residuals that it reads


def split(
    joint: Function, count: int, results: Sequence[Value], at_hand: Mapping[Value, Value]
) -> Split:
    """Cut `joint` after its first `count` statements, for a second half that computes `results`.

    at_hand: values of the first half that the second has in any case: inputs, and results that are kept anyway.
    """
    forward, reverse = joint.body[:count], joint.body[count:]
    inner = {n: k for k, n in enumerate(forward)}
    second = needed(reverse, results)
    live = {*results, *(a for n in second for a in n.args)}
    local = local_letters(forward)
    counted: set[Value] = set()  # whiles whose number of steps the second half runs by
    if local:
        used = {x for n in second for x in letters_of(n)}
        counted = {n for n in forward if n.op is WHILE and str(n.params["steps"]) in used}
        live |= counted
        _demand_local(forward, inner, live, local)
    cost: dict[Value, int] = dict.fromkeys(at_hand, 0)
    for v in joint.inputs:
        cost.setdefault(v, 0)
    residuals: list[Value] = []
    again: set[Value] = set()
    for node in forward:
        if node in cost:
            continue
        total = _price(node, cost)
        if total is not None and total <= BUDGET:
            cost[node] = total
            again.add(node)
        elif node in live:
            if local and _is_local(node, local):
                again.add(node)  # its size is known only inside a step: it is computed again there
            else:
                residuals.append(node)
            cost[node] = 0
    wanted = {a for n in second for a in n.args} | set(results) | counted
    repeated = []
    for node in reversed(forward):
        if node in wanted and node in again and node not in at_hand:
            repeated.append(node)
            wanted.update(node.args)
    repeated.reverse()
    return Split([r for r in residuals if r in wanted], [*repeated, *second], wanted)


def _price(node: Value, cost: Mapping[Value, int]) -> int | None:
    """What computing the statement again costs, its operands included; None where it is not cheap."""
    name = node.op.name
    if name not in _FREE and name not in _CHEAP:
        return None
    total = 0 if name in _FREE else 1
    for a in node.args:
        if a.op in LEAVES and a not in cost:
            continue
        known = cost.get(a)
        if known is None:
            return None
        total += known
    return total


def local_letters(body: Sequence[Value]) -> set[str]:
    """Sizes that are known only inside a step of a loop with this body: numbers of steps of taped loops in it."""
    return {str(n.params["steps"]) for n in body if n.op is WHILE and n.params["steps"] is not None}


def _is_local(node: Value, local: set[str]) -> bool:
    own = {str(node.params["steps"])} if node.op is WHILE else set()
    return not local.isdisjoint(letters_of(node) | own)


def _demand_local(
    forward: Sequence[Value], inner: Mapping[Value, int], live: set[Value], local: set[str]
) -> None:
    """What a value of local size is computed from is read as well."""
    for node in reversed(forward):
        if node in live and _is_local(node, local):
            live.update(a for a in node.args if a in inner or a.op not in LEAVES)
