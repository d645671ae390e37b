"""Calls of emitted Python that need no conversion, without the steps that would do one: a subclass of Compiled.

    quick_type(base, compiled, function) -> a subclass of `base`, or None where every call needs a conversion

python: scalars that are floats already go into the emitted statements themselves (one frame, not two), behind a test of
their types. numpy: the emitted function converts and checks by itself; where it raises, Compiled's own way says
it in gradgen's words.
All other calls (lists, structures, wrong ones) go to Compiled's `_call`.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.trace.spec import Leaf
from gradgen.tree import Tree

# Longer text costs more to read again than a call saves.
LONGEST = 20_000
# What emitted NumPy takes with messages as good as Compiled's.
_PLAIN = frozenset((np.ndarray, float))


def quick_type(base: type, compiled: Any, function: Callable[..., Any]) -> type | None:
    signature = compiled.signature
    plain = all(a.tree.kind == "leaf" and not a.is_size for a in signature.passed)
    slots = signature.slots
    if not plain or not _native(signature.result) or None in slots or len(set(slots)) < len(slots):
        return None
    if compiled.target == "python":
        call = _scalar_call(compiled, function)
    else:
        call = _array_call(compiled, function)
    return call and type(
        base.__name__,
        (base,),
        {"__slots__": (), "__call__": call, "__doc__": base.__doc__, "__module__": base.__module__},
    )


def _native(tree: Tree) -> bool:
    """Whether emitted Python returns the structure itself."""
    return tree.kind in ("leaf", "tuple", "list", "dict") and all(map(_native, tree.children))


def _scalar_call(compiled: Any, function: Callable[..., Any]) -> Callable[..., Any] | None:
    """The emitted function with a head that sends away what is not a float."""
    signature = compiled.signature
    types = [leaf.type for leaf in signature.leaves] + signature.result_types
    if any(ty.shape or ty.dtype != "f64" for ty in types) or len(compiled.source) > LONGEST:
        return None
    tree = ast.parse(compiled.source)
    found = next(
        n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function.__name__
    )
    names = [a.arg for a in found.args.args]
    if not names:
        return None
    absent = "_gradgen_absent"
    head = (
        f"def _gradgen_call(_gradgen_self, {', '.join(f'{n}={absent}' for n in names)}, /, *_gradgen_rest, **_gradgen_named):\n"
        f"    if not ({' is float is '.join(f'type({n})' for n in names)}{' is float' if len(names) == 1 else ''})"
        " or _gradgen_rest or _gradgen_named:\n"
        f"        given = [a for a in ({', '.join(names)},) if a is not {absent}]\n"
        "        if _gradgen_named:\n"
        "            return _gradgen_call(_gradgen_self, *_gradgen_self._by_name([*given, *_gradgen_rest], _gradgen_named))\n"
        "        return _gradgen_self._call(*given, *_gradgen_rest)\n"
    )
    entry = ast.parse(head)
    call = entry.body[0]
    assert isinstance(call, ast.FunctionDef)
    call.body += [_Names().visit(statement) for statement in found.body]
    namespace = {**function.__globals__, absent: object()}
    namespace.update({f"math_{name}": getattr(math, name) for name in dir(math)})
    exec(
        compile(ast.fix_missing_locations(entry), f"<gradgen {compiled.name}.py>", "exec"),
        namespace,
    )
    made: Callable[..., Any] = namespace["_gradgen_call"]
    return made


class _Names(ast.NodeTransformer):
    """math.exp becomes one name: a look-up less."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "math":
            return ast.copy_location(ast.Name(f"math_{node.attr}", node.ctx), node)
        return node


def _array_call(compiled: Any, function: Callable[..., Any]) -> Callable[..., Any] | None:
    signature = compiled.signature
    entries = [e for a in signature.passed for e in a.entries]
    if not compiled.options.checks or any(
        isinstance(e, Leaf) and e.below is not None for e in entries
    ):
        return None
    count = len(signature.passed)
    bound = tuple(signature.captures[leaf.label] for leaf in signature.captured_leaves)

    def call(self: Any, /, *args: Any, **named: Any) -> Any:
        if named:
            args = tuple(self._by_name(list(args), named))
        if len(args) == count:
            for a in args:
                if type(a) not in _PLAIN:
                    break
            else:
                try:
                    return function(*args, *bound)
                except (TypeError, ValueError):  # said again below, in gradgen's words
                    return self._call(*args)
        return self._call(*args)

    return call
