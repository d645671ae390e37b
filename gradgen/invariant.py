"""Loop-invariant statements: what every step of a loop computes alike moves before the loop.

Scans and whiles only: a branch that is not taken must not be evaluated. What a loop of no steps would not have computed
is computed then; no op of ours fails on data.

Before differentiation it is worth more: the cotangent of what left the loop is summed over the steps, and passed on once.
A loop of no steps gives that sum as 0, which a partial that is not finite would make NaN: out of a loop that may have none,
`differentiable` moves only statements whose partials are finite wherever their operands are.
"""

from __future__ import annotations

from gradgen.ir import CONST, LEAVES, PARAM, Function
from gradgen.ops.basis import EYE
from gradgen.ops.regions import SCAN, WHILE, Loop
from gradgen.rewriting import with_args, with_operands
from gradgen.value import NO_PARAMS, Value, new_node

# Ops whose partials are finite at every finite point.
_ENTIRE = frozenset(
    (
        "add", "sub", "mul", "neg", "abs", "sign", "copy", "cast", "square", "exp", "exp2", "expm1", "sin", "cos", "arctan",
        "sinh", "cosh", "tanh", "arcsinh", "logaddexp", "sigmoid", "softplus", "erf", "erfc", "where", "maximum", "minimum",
        "clip", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or",
        "logical_not", "sum", "reshape", "transpose", "broadcast", "concatenate", "stack", "slice", "gather", "matmul",
        "outer", "arange", "tril", "triu",
    )
)  # fmt: skip


def differentiable(fn: Function) -> Function:
    """`invariant`, before differentiation."""
    return invariant(fn, _ENTIRE)


def invariant(fn: Function, finite: frozenset[str] | None = None) -> Function:
    """`fn` with the invariant statements of its loops before them; of loops that may have no steps, only those in `finite`."""
    if not fn.has_regions:
        return fn
    new: dict[Value, Value] = {}
    body: list[Value] = []
    for node in fn.body:
        if any(a in new for a in node.args):
            made = with_args(node, tuple([new.get(a, a) for a in node.args]))
            new[node] = made
            node = made
        if node.op is SCAN or node.op is WHILE:
            length = node.params.get("length")
            runs = isinstance(length, int) and length > 0
            moved, made = _lifted(node, None if runs else finite)
            if moved:
                new[node] = made
                new.update({key: made for key, v in new.items() if v is node})
                body += moved
                node = made
        body.append(node)
    return fn.with_body(body, [new.get(v, v) for v in fn.outputs])


def _divides_by_number(node: Value) -> bool:
    if node.op.name != "div" or node.args[1].op is not CONST:
        return False
    return bool((node.args[1].params["value"] != 0).all())


def _lifted(node: Value, only: frozenset[str] | None) -> tuple[list[Value], Value]:
    """The statements that leave the loop (`only` these ops), over the loop's operands, and the loop without them."""
    loop = Loop.of(node)
    outer: dict[Value, Value] = dict(zip(loop.const_inputs, loop.consts, strict=True))
    moved: list[Value] = []
    stay: list[Value] = []
    for n in loop.body.body:
        free = not n.op.regions and n.op.name != "item" and all(
            a in outer or (a.op in LEAVES and a.op is not PARAM) for a in n.args
        )  # fmt: skip
        filled = n.op.name == "broadcast" and not n.args[0].type.shape
        allowed = only is None or n.op.name in only or _divides_by_number(n)
        if free and allowed and not filled and n.op is not EYE:
            # (What costs nothing stays where it is seen.)
            made = with_args(n, tuple([outer.get(a, a) for a in n.args]))
            outer[n] = made
            moved.append(made)
        else:
            stay.append(n)
    if not moved:
        return [], node
    # What the rest of the body reads of them are new operands.
    env: dict[Value, Value] = {}
    operands: list[Value] = []
    inputs: list[Value] = []
    gone = set(loop.body.body) - set(stay)
    for v in [*(a for n in stay for a in n.args), *loop.body.outputs]:
        if v in gone and v not in env:
            stand = new_node(PARAM, (), NO_PARAMS, v.type, None, None)
            stand.name = v.name
            env[v] = stand
            inputs.append(stand)
            operands.append(outer[v])
    body = []
    for n in stay:
        if any(a in env for a in n.args):
            made = with_args(n, tuple([env.get(a, a) for a in n.args]))
            env[n] = made
            n = made
        body.append(n)
    region = Function(
        loop.body.name,
        [*loop.body.inputs, *inputs],
        [env.get(v, v) for v in loop.body.outputs],
        body,
    )
    return moved, with_operands(node, region, operands)
