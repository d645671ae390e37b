"""Trace a function to a closed Function, and put a Function's statements into the open trace.

Every transform stages (rule 8): trace at the operands' types, transform, inline. There are no tags or levels, hence no
perturbation confusion. What a function reads from an enclosing trace becomes an explicit input.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradgen.errors import SpecError, TraceError
from gradgen.handle import Handle
from gradgen.ir import CONST, LEAVES, PARAM, Function
from gradgen.ops.reduce import as_value
from gradgen.selection import Selection, refuse_selection
from gradgen.sites import raised_at
from gradgen.sizes import letters
from gradgen.trace.hooks import enter, is_unread
from gradgen.trace.spec import Static, takes
from gradgen.tree import Tree, flatten, paths, unflatten
from gradgen.types import Type, type_of
from gradgen.value import Extent, Trace, Value, apply, constant, current_trace, is_table


@dataclass
class Staged:
    """A traced function: `function` of `operands` (what it was called with, then what it closed over)."""

    function: Function
    operands: list[Any]
    result: Tree


def is_dynamic(leaf: Any) -> bool:
    """Whether a leaf of an argument is traced: arrays, floats and Values; ints, bools, None, strings are static."""
    if isinstance(leaf, Extent):
        return False
    if isinstance(leaf, (Value, np.ndarray)):
        return True
    return isinstance(leaf, (float, np.generic)) and not isinstance(leaf, np.bool_)


def leaf_type(leaf: Any) -> Type:
    return leaf.type if isinstance(leaf, Value) else type_of(np.asarray(leaf))


def stage(f: Any, args: Sequence[Any], names: Sequence[str] = (), name: str = "fn") -> Staged:
    """Trace `f(*args)` at the types of the dynamic leaves of args.

    names: a name for each argument. Raises SpecError when the result holds anything but Values and numbers.
    """
    leaves: list[Any] = []
    trees: list[Tree] = []
    labels: list[str] = []
    for k, arg in enumerate(args):
        found, tree = flatten(arg)
        leaves += found
        trees.append(tree)
        root = names[k] if k < len(names) else f"x{k}"
        labels += ["_".join([root, *map(str, path)]) for path in paths(tree)]
    operands = [leaf for leaf in leaves if is_dynamic(leaf)]
    with Trace() as trace:
        trace.letters = {name for leaf in leaves for name in _letters(leaf)}
        inner = [
            trace.input(leaf_type(leaf), _input_name(leaf, label))
            if is_dynamic(leaf)
            else leaf.value
            if isinstance(leaf, Static)
            else leaf
            for leaf, label in zip(leaves, labels, strict=True)
        ]
        source = iter(inner)
        try:
            result = _called(f, [unflatten(tree, source) for tree in trees])
        except RecursionError as error:
            raise TraceError(
                f"{name} calls functions too deep: a recursion that ends by a test of traced values has no end while it is "
                "traced, since both branches are",
                "Write a while loop, which is captured, or end it by plain values.",
                site=raised_at(error),
            ) from None
        except NameError as error:
            name_read = next(iter(re.findall(r"'(\w+)'", str(error))), "")
            if name_read not in trace.outermost().unbound:
                raise
            where, before = trace.outermost().unbound[name_read]
            raise TraceError(
                f"{name_read} needs a value on every path, got one in {where} only",
                f"Give it a value before {before}.",
                site=raised_at(error),
            ) from None
        except (TraceError, ValueError) as error:
            # NumPy raises a ValueError of its own where it asked a Value for a number.
            refused = error if isinstance(error, TraceError) else error.__cause__
            if type(refused) is not TraceError or not is_unread(f):
                raise
            raise TraceError(
                refused.what,
                f"{refused.remedy}\n  The source of {name} is not to be found (exec, an interactive prompt, an edited file, an "
                "assert in a test), so that its tests, loops, assignments and calls go unseen: put it into a file of its own.",
                site=raised_at(error),
            ) from error
        outputs, tree = results(f, result)
    function = trace.function(name, outputs)
    operands += [outer for outer, _ in trace.free.values()]
    parent = current_trace()
    if parent is not None:
        for need in trace.requires:
            parent.requires.setdefault(need)
    return Staged(function, operands, tree)


def _called(f: Any, args: list[Any]) -> Any:
    """The result of `f`, whose keyword-only parameters are the last arguments."""
    keywords: list[str] = []
    if not hasattr(f, "derive"):
        with contextlib.suppress(TypeError, ValueError):  # a builtin without a signature
            positional, keywords = takes(f)
    if not keywords:
        return enter(f)(*args)
    count = len(positional)
    return enter(f)(*args[:count], **dict(zip(keywords, args[count:], strict=False)))


def _letters(leaf: Any) -> Iterator[str]:
    """The letters of an argument's shape, or of the size that it is."""
    dims = (leaf.params["size"],) if isinstance(leaf, Extent) else getattr(leaf, "shape", ())
    if isinstance(leaf, Value) and not isinstance(leaf, Extent):
        dims = leaf.type.shape
    for dim in dims:
        yield from letters(dim)


def _input_name(leaf: Any, label: str) -> str:
    return leaf.name if isinstance(leaf, Value) and leaf.op is PARAM and leaf.name else label


def results(f: Any, result: Any) -> tuple[list[Value], Tree]:
    """The leaves of what a function returned, as Values of the open trace."""
    leaves, tree = flatten(result)
    return [as_result(f, leaf) for leaf in leaves], tree


def as_result(f: Any, leaf: Any) -> Value:
    trace = current_trace()
    if isinstance(leaf, (Value, np.ndarray, int, float, np.generic)):
        value = as_value(leaf) if not isinstance(leaf, Handle) else leaf.resolve()
        if trace is not None and trace.stale:
            trace.refuse_stale((value,))
        return trace.operand(value) if trace is not None else value
    if isinstance(leaf, Selection):
        refuse_selection()
    name = getattr(f, "__name__", "the function")
    raise SpecError(
        f"{name} needs to return Values (or a structure of them), got {type(leaf).__name__}",
        "Return the computed number or array; a function without a return statement returns None.",
    )


def inline(fn: Function, operands: Sequence[Any]) -> list[Value]:
    """The outputs of `fn` on `operands`, its statements appended to the open trace with their names and lines."""
    trace = current_trace()
    assert trace is not None
    env: dict[int, Value] = {id(p): as_value(v) for p, v in zip(fn.inputs, operands, strict=True)}
    saved = trace.site
    try:
        for node in fn.body:
            trace.site = node.site
            args = [env[id(a)] if id(a) in env else _leaf(a) for a in node.args]
            copy = apply(node.op, *args, **node.params)
            if copy.name is None:
                copy.name = node.name
            env[id(node)] = copy
    finally:
        trace.site = saved
    for need in fn.requires:
        trace.requires.setdefault(need)
    return [env[id(v)] if id(v) in env else _leaf(v) for v in fn.outputs]


def _leaf(node: Value) -> Value:
    assert node.op in LEAVES
    if node.op is CONST and not is_table(node):
        return constant(node.params["value"], node.type.dtype, node.name)
    return node
