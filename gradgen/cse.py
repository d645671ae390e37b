"""Common subexpressions: equal op, operands and params are computed once.

Scope: the Function's own statements. Loops and branches are equal if their regions are, statement for statement. Constants are
equal by type and bit pattern, sizes by normal form. Of two equal values the one that the user named gives its name. It runs
before differentiation (so that a slice taken twice has one cotangent) and among the passes.
"""

from __future__ import annotations

from typing import Any

from gradgen.ir import CONST, OPS, SIZE, Function
from gradgen.rewriting import with_args
from gradgen.value import Value


def cse(fn: Function) -> Function:
    """`fn` with each distinct computation once, where it stands first."""
    seen: dict[Any, Value] = {}
    leaves: dict[Any, Value] = {}
    new: dict[Value, Value] = {}
    body: list[Value] = []
    get, fill, barrier = new.get, OPS["broadcast"], OPS["barrier"]
    for node in fn.body:
        op, args = node.op, node.args
        changed = False
        for a in args:
            b = get(a)
            if b is None and (a.op is CONST or a.op is SIZE):
                b = new[a] = leaves.setdefault(_leaf_key(a), a)
            if b is not None and b is not a:
                changed = True
        resolved = tuple([get(a, a) for a in args]) if changed else args
        if len(resolved) == 2:
            a, b = resolved
            if op.commutative and id(a) > id(b) and a.type is b.type:
                a, b = b, a  # only within the key: the statement keeps the user's order
            key: Any = (op, a, b)
        else:
            key = (op, *resolved)
        if node.params:
            key = (key, _params_key(node.params))
        if op is barrier:
            key = node
        if op is fill and not resolved[0].type.shape:
            key = node  # np.zeros(n) costs little, and each may be somebody's buffer
        known = seen.get(key)
        if known is not None:
            if known.name is None and node.name is not None:
                known.name = node.name
            new[node] = known
            continue
        if changed:
            copy = with_args(node, resolved)
            new[node] = copy
            node = copy
        seen[key] = node
        body.append(node)
    return fn.with_body(body, [new.get(v, v) for v in fn.outputs])


def _leaf_key(node: Value) -> Any:
    if node.op is SIZE:
        return "size", node.params["size"]
    array = node.params["value"]
    return node.type, array.tobytes() if array.size <= 64 else id(array)


def _params_key(params: dict[str, Any]) -> Any:
    found = []
    for k, v in params.items():
        if isinstance(v, Function):
            v = _region_key(v)
        found.append((k, v if v.__hash__ else id(v)))
    return tuple(sorted(found, key=lambda kv: kv[0]))


def _region_key(fn: Function) -> Any:
    """What a region computes: its inputs' types, then each statement by the numbers of its operands."""
    number = {v: k for k, v in enumerate(fn.inputs)}
    keys: list[Any] = [v.type for v in fn.inputs]

    def key_of(v: Value) -> Any:
        known = number.get(v)
        return known if known is not None else ("leaf", _leaf_key(v))

    for node in fn.body:
        params = _params_key(node.params) if node.params else ()
        unique = node if node.op is OPS["barrier"] else 0
        keys.append((node.op, tuple([key_of(a) for a in node.args]), params, unique))
        number[node] = len(number)
    return tuple(keys), tuple([key_of(v) for v in fn.outputs])
