"""Which values depend, through floats, on the inputs that a derivative is taken by; which results of a loop have cotangents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gradgen.ir import Function
from gradgen.ops.regions import CALL, COND, ITEM, Loop
from gradgen.sites import warn
from gradgen.types import Bundle
from gradgen.value import Value


def active_results(node: Value, active: Sequence[bool]) -> list[bool]:
    """Which results of a region statement depend, through floats, on its active operands."""
    assert isinstance(node.type, Bundle)
    if node.op is COND:
        branches = [node.params["then"], node.params["otherwise"]]
        wrt = [k for k, a in enumerate(active[1:]) if a]
        found = [active_outputs(fn, wrt) for fn in branches]
        return [a or b for a, b in zip(*found, strict=True)]
    if node.op is CALL:
        return active_outputs(node.params["body"], [k for k, a in enumerate(active) if a])
    loop = Loop.of(node)
    carried = active_carries(loop, active)
    wrt = loop_wrt(loop, active, carried)
    outputs = active_outputs(loop.body, wrt)
    out = [False] * loop.first_final + carried + outputs[loop.carries :]
    out += [carried[k] for k in loop.kept]
    return out[: len(node.type.parts)]


def warn_of_steps(fn: Function, out: Value, still: Sequence[int]) -> None:
    """Warn of the inputs in `still`, whose gradient is zero, where `out` does depend on them: then only in steps."""
    read = {out} if still else set()
    for node in reversed(fn.body if still else ()):
        if node in read and node.op.name != "stop_gradient" and node.op is not CALL:
            read.update(node.args)
    for i in still:
        v = fn.inputs[i]
        if v in read and v.type.is_float:
            name = v.name or f"argument {i}"
            warn(
                f"the gradient of {fn.name} by {name} is zero: {name} reaches the result only through comparisons, "
                "rounding or integers"
            )


def active_outputs(fn: Function, wrt: Sequence[int]) -> list[bool]:
    active = active_nodes(fn, wrt)
    return [v in active for v in fn.outputs]


def active_nodes(fn: Function, wrt: Sequence[int]) -> set[Value]:
    """Ids of the values that depend on the inputs numbered in `wrt`, through floats."""
    active = {fn.inputs[i] for i in wrt}
    bundles: dict[Value, list[bool]] = {}
    for node in fn.body:
        if node.type.dtype[0] == "f":
            if node.op is ITEM:
                results = bundles.get(node.args[0])
                if results is not None and results[node.params["k"]]:
                    active.add(node)
                continue
            for a in node.args:
                if a in active:
                    active.add(node)
                    break
        elif node.op.regions:
            flags = [a in active for a in node.args]
            if any(flags):
                bundles[node] = active_results(node, flags)
                active.add(node)
    return active


def active_carries(loop: Loop, active: Sequence[bool]) -> list[bool]:
    """Which carries depend on the active operands, from the first step on or from a later one."""
    carried = [bool(a) for a in active[: loop.carries]]
    while True:
        outputs = active_outputs(loop.body, loop_wrt(loop, active, carried))
        new = [a or b for a, b in zip(carried, outputs[: loop.carries], strict=True)]
        if new == carried:
            return carried
        carried = new


def loop_wrt(loop: Loop, active: Sequence[bool], carried: Sequence[bool]) -> list[int]:
    """Numbers of the body's inputs that are active."""
    flags = [False, *carried, *active[loop.carries :]]
    return [k for k, a in enumerate(flags) if a]


def seeds_of(
    loop: Loop, bars: Mapping[int, Value], wrt: Sequence[int], carried: Sequence[bool]
) -> list[str | None]:
    """For each result of a loop's body the name of its cotangent, or None where it has none."""
    flows = active_outputs(loop.body, wrt)
    seeds: list[str | None] = []
    for k, out in enumerate(loop.body.outputs):
        is_carry = k < loop.carries
        wanted = flows[k] and (carried[k] if is_carry else loop.first_y + k - loop.carries in bars)
        source = loop.carry_inputs[k].name if is_carry else out.name
        seeds.append(f"{source or ('carry' if is_carry else 'y')}_bar" if wanted else None)
    return seeds


def masked_outputs(loop: Loop, bars: Mapping[int, Value], masked: Collection[int]) -> list[int]:
    """The results of the body whose cotangents from after the loop may all hold exact zeros of a branch not taken."""
    given: dict[int, list[int]] = {}
    for number in bars:
        if number >= loop.first_state:
            k = loop.kept[number - loop.first_state]
        else:  # the final carries, then the ys: the body's results in order
            k = number - loop.first_final
        given.setdefault(k, []).append(number)
    return [k for k, numbers in given.items() if all(n in masked for n in numbers)]
