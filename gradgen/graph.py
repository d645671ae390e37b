"""A graph that eager Values remember, as a Function: the micrograd way into the compiler.

    loss = ...built from gg.Value leaves...;   from_graph(loss, [a, b]) -> Function of a and b

Leaves that are not arguments are constants. No recursion: a chain of a million operations is walked in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradgen.eager import topological
from gradgen.errors import SpecError
from gradgen.ir import CONST, Function
from gradgen.value import LEAF, Trace, Value, apply, constant


def from_graph(root: Value, args: Sequence[Value], names: Sequence[str]) -> Function:
    """The Function from `args` to `root`. SpecError if an argument is no leaf of the graph's kind."""
    for a in args:
        if not isinstance(a, Value) or a._data is None:
            raise SpecError(f"compiling a graph needs eager Values as arguments, got {a!r}")
    if root._data is None:
        raise SpecError(
            "compiling a graph needs an eager Value, got a traced one",
            "Compile the function instead.",
        )
    with Trace() as trace:
        env: dict[int, Value] = {}
        for a, name in zip(args, names, strict=True):
            env[id(a)] = trace.input(a.type, name)
        for node in topological(root, set(env)):
            if id(node) in env:
                continue
            if node.op is LEAF or node.op is CONST:
                env[id(node)] = constant(node._data, node.type.dtype, node.name)
                continue
            trace.site = node.site or ("", 0)
            out = apply(node.op, *[env[id(a)] for a in node.args], **node.params)
            out.name = out.name or node.name
            env[id(node)] = out
        return trace.function("graph", [env[id(root)]])


def constants_of(root: Value, args: Sequence[Value]) -> list[str]:
    """The leaves that are no arguments, as text: those that have a label, and all that could have changed their value."""
    found = []
    for node in topological(root, {id(a) for a in args}):
        fixed = node.op is LEAF and all(node is not a for a in args)
        if fixed and not (node.type.shape and node.label):  # those are captured arrays
            size = node.type.shape
            value = repr(node._data) if size else repr(float(node._data))
            found.append(f"{node.label or 'a leaf'} = {' '.join(value.split())}")
    return list(dict.fromkeys(found))
