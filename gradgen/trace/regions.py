"""Tracing the body of a loop, a branch or a call to a closed region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gradgen.ir import Function
from gradgen.trace.stage import as_result
from gradgen.tree import Tree, flatten, leaf_names, unflatten
from gradgen.types import Type
from gradgen.value import Trace, Value, current_trace


def words(f: Any) -> list[str]:
    """Names of the parameters of a plain function or method; none for other callables."""
    code = getattr(getattr(f, "__func__", f), "__code__", None)
    found = list(code.co_varnames[: code.co_argcount]) if code is not None else []
    return found[1:] if hasattr(f, "__self__") else found


# -- closing a body
@dataclass
class Region:
    """A traced body before it is closed: its own inputs, results, and what it read from outside."""

    trace: Trace
    outputs: list[Value]
    result: Tree
    name: str

    @property
    def free(self) -> dict[int, tuple[Value, Value]]:
        return self.trace.free


def trace_region(
    f: Callable[..., Any],
    name: str,
    labels: Sequence[str | Sequence[str]] = (),
    trees: Sequence[Tree] = (),
    types: Sequence[Sequence[Type]] = (),
) -> Region:
    """Trace `f` at arguments of these structures and types, whose leaves are named after the labels, or one by one."""
    outer = current_trace()
    # What a derivative's rule traces stands at the line that it differentiates.
    with Trace(region=True, site=outer.site if outer is not None else None) as trace:
        args = []
        for k, (tree, tys) in enumerate(zip(trees, types, strict=True)):
            label = labels[k] if k < len(labels) else ""
            named: Sequence[str] = [""] * len(tys)
            if label and tys:
                named = leaf_names(label, tree) if isinstance(label, str) else label
            made = [trace.input(ty, word or None) for ty, word in zip(tys, named, strict=True)]
            args.append(unflatten(tree, made))
        leaves, tree = flatten(f(*args), nones=True)
        outputs = [as_result(f, leaf) for leaf in leaves]
    return Region(trace, outputs, tree, name)


def close(*regions: Region) -> tuple[list[Function], list[Value]]:
    """The regions as closed Functions with the same constant operands, and these operands in the enclosing trace."""
    outer: dict[int, Value] = {}
    for region in regions:
        for key, (value, _) in region.free.items():
            outer.setdefault(key, value)
    parent = current_trace()
    assert parent is not None
    functions = []
    for region in regions:
        own = [v for v in region.trace.inputs if not any(v is w for _, w in region.free.values())]
        consts = []
        for key, value in outer.items():
            known = region.free.get(key)
            consts.append(known[1] if known is not None else parameter(value))
        fn = Function(region.name, [*own, *consts], region.outputs, region.trace.body)
        functions.append(fn)
        for need in region.trace.requires:
            parent.requires.setdefault(need)
    return functions, [parent.operand(v) for v in outer.values()]


def parameter(value: Value) -> Value:
    with Trace() as trace:
        return trace.input(value.type, value.name)
