"""Dead code: statements whose value nothing reads are dropped, and of loops and branches the results that nothing reads."""

from __future__ import annotations

from typing import Any

from gradgen.ir import CONST, SIZE, Function, needed
from gradgen.ops.regions import COND, ITEM, WHILE, Loop, letters_of
from gradgen.rewriting import with_args
from gradgen.value import Value


def dce(fn: Function) -> Function:
    """`fn` without the statements that no output depends on."""
    live = set(fn.outputs)
    used: dict[Value, set[int]] = {}  # which results of a region statement are read
    kept = []
    known_letters: set[str] = set()
    regions = fn.has_regions
    pruned: dict[Value, tuple[Value, dict[int, int]]] = {}
    for node in reversed(fn.body):
        counted = node.op is WHILE and str(node.params["steps"]) in known_letters
        if node not in live and not counted:
            continue
        kept.append(node)
        args = node.args
        if regions:
            if node.op is ITEM:
                used.setdefault(args[0], set()).add(node.params["k"])
            elif node.op.regions:
                made, numbers = prune(node, used.get(node, set()), known_letters)
                pruned[node] = made, numbers
                args = made.args
            known_letters |= letters_of(node)
        for a in args:
            live.add(a)
    if len(kept) == len(fn.body) and not pruned:
        return fn
    kept.reverse()
    if not pruned:
        return fn.with_body(kept, fn.outputs)
    return _renumbered(fn, kept, pruned)


def _renumbered(
    fn: Function, body: list[Value], pruned: dict[Value, tuple[Value, dict[int, int]]]
) -> Function:
    """The body with pruned statements in place and items taken by their new numbers."""
    new: dict[Value, Value] = {}
    out = []
    for node in body:
        old = node
        if node in pruned:
            node = pruned[node][0]
        params: dict[str, Any] | None = None
        if node.op is ITEM and node.args[0] in pruned:
            params = {"k": pruned[node.args[0]][1][node.params["k"]]}
        args = tuple([new.get(a, a) for a in node.args])
        if params is not None or any(a is not b for a, b in zip(args, node.args, strict=True)):
            node = with_args(node, args, params)
        if node is not old:
            new[old] = node
        out.append(node)
    return fn.with_body(out, [new.get(v, v) for v in fn.outputs])


# -- loops and branches
def prune(node: Value, used: set[int], known_letters: set[str]) -> tuple[Value, dict[int, int]]:
    """A region statement with only the results in `used`, what they need, and the new numbers of these results."""
    return _prune_cond(node, used) if node.op is COND else _prune_loop(node, used, known_letters)


def _prune_cond(node: Value, used: set[int]) -> tuple[Value, dict[int, int]]:
    pred, *consts = node.args
    ks = sorted(used)
    branches = [
        dce(fn.with_body(fn.body, [fn.outputs[k] for k in ks]))
        for fn in (node.params["then"], node.params["otherwise"])
    ]
    branches, consts = _operands(branches, 0, consts)
    made = _remade(node, (pred, *consts), then=branches[0], otherwise=branches[1])
    return made, {k: j for j, k in enumerate(ks)}


def _prune_loop(
    node: Value, used: set[int], known_letters: set[str]
) -> tuple[Value, dict[int, int]]:
    loop = Loop.of(node)
    ys = [k for k in range(len(loop.y_outputs)) if loop.first_y + k in used]
    kept = [k for j, k in enumerate(loop.kept) if loop.first_state + j in used]
    needed = {k for k in range(loop.carries) if loop.first_final + k in used} | set(kept)
    if node.op is WHILE:
        needed |= _read_inputs(node.params["test"], loop, [])
    while True:
        outputs = [loop.carry_outputs[k] for k in sorted(needed)]
        outputs += [loop.y_outputs[k] for k in ys]
        more = _read_inputs(loop.body, loop, outputs) - needed
        if not more:
            break
        needed |= more
    carries = sorted(needed)
    body = dce(
        Function(
            loop.body.name,
            loop.body.inputs,
            [*(loop.carry_outputs[k] for k in carries), *(loop.y_outputs[k] for k in ys)],
            loop.body.body,
        )
    )
    read = {a for n in body.body for a in n.args} | set(body.outputs)
    xs = [j for j, v in enumerate(loop.item_inputs) if v in read]
    own = [loop.index, *(loop.carry_inputs[k] for k in carries)]
    body.inputs = [*own, *(loop.item_inputs[j] for j in xs), *loop.const_inputs]
    params: dict[str, Any] = {
        "carries": len(carries),
        "kept": tuple(carries.index(k) for k in kept),
    }
    functions = [body]
    if node.op is WHILE:
        test = node.params["test"]
        at = 1 + loop.carries
        inputs = [test.inputs[0], *(test.inputs[1 + k] for k in carries), *test.inputs[at:]]
        functions.append(Function(test.name, inputs, test.outputs, test.body))
        if not ys and not kept and str(node.params["steps"]) not in known_letters:
            params["steps"] = None
    else:
        params["items"] = len(xs)
    functions, consts = _operands(functions, len(own) + len(xs), list(loop.consts))
    params["body"] = functions[0]
    if node.op is WHILE:
        params["test"] = functions[1]
    args = (*(loop.init[k] for k in carries), *(loop.xs[j] for j in xs), *consts)
    made = _remade(node, args, **params)
    after = Loop.of(made)
    numbers = {0: 0} if node.op is WHILE else {}
    numbers |= {loop.first_final + k: after.first_final + j for j, k in enumerate(carries)}
    numbers |= {loop.first_y + k: after.first_y + j for j, k in enumerate(ys)}
    for j, k in enumerate(loop.kept):
        if k in kept:
            numbers[loop.first_state + j] = after.first_state + kept.index(k)
    return made, numbers


def _remade(node: Value, args: tuple[Value, ...], **changed: Any) -> Value:
    return with_args(node, args, {**node.params, **changed})


def _read_inputs(fn: Function, loop: Loop, outputs: list[Value]) -> set[int]:
    """Numbers of the carries that a region reads on the way to `outputs` (to its own outputs where none are given)."""
    wanted = outputs or fn.outputs
    read = {*wanted, *(a for n in needed(fn.body, wanted) for a in n.args)}
    return {k for k, v in enumerate(fn.inputs[1 : 1 + loop.carries]) if v in read}


def _operands(
    functions: list[Function], start: int, consts: list[Value]
) -> tuple[list[Function], list[Value]]:
    """Regions without the operands that none of them reads; equal ones once; numbers stand in the regions themselves."""
    kept: list[int] = []
    first: dict[Value, int] = {}
    env: list[dict[Value, Value]] = [{} for _ in functions]
    reads = [{a for n in fn.body for a in n.args} | set(fn.outputs) for fn in functions]
    for k, x in enumerate(consts):
        inputs = [fn.inputs[start + k] for fn in functions]
        if not any(v in read for v, read in zip(inputs, reads, strict=True)):
            continue
        if x.op is SIZE or (x.op is CONST and not x.type.shape):
            for v, table in zip(inputs, env, strict=True):
                table[v] = x
        elif x in first:
            for fn, table in zip(functions, env, strict=True):
                table[fn.inputs[start + k]] = fn.inputs[start + first[x]]
        else:
            first[x] = k
            kept.append(k)
    out = []
    for fn, table in zip(functions, env, strict=True):
        inputs = [*fn.inputs[:start], *(fn.inputs[start + k] for k in kept)]
        out.append(_with_inputs(fn, inputs, table))
    return out, [consts[k] for k in kept]


def _with_inputs(fn: Function, inputs: list[Value], env: dict[Value, Value]) -> Function:
    if not env:
        return Function(fn.name, inputs, fn.outputs, fn.body)
    body = []
    for node in fn.body:
        if any(a in env for a in node.args):
            made = with_args(node, tuple([env.get(a, a) for a in node.args]))
            env[node] = made
            node = made
        body.append(node)
    return Function(fn.name, inputs, [env.get(v, v) for v in fn.outputs], body)
