"""Calls of emitted Python that need no conversion, without the steps that would do one: a subclass of Compiled.

    quick_type(base, compiled, function) -> a subclass of `base`, or None where every call needs a conversion

The emitted statements stand in the call itself (one frame, not two), behind a test of the arguments' types. python: scalars
that are floats already. numpy: arrays and floats, which the emitted function converts and checks by itself, and where it
raises, Compiled's own way says it in gradgen's words; without checks, arrays of the right dtype and number of axes.
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
from gradgen.types import DTYPES

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
    if any(ty.shape or ty.dtype != "f64" for ty in types):
        return None
    return _spliced(compiled, function, ["type({}) is float"] * len(signature.passed), {}, False)


def _array_call(compiled: Any, function: Callable[..., Any]) -> Callable[..., Any] | None:
    """The emitted function with a head that sends away what it does not convert by itself."""
    signature = compiled.signature
    entries = [e for a in signature.passed for e in a.entries]
    if any(isinstance(e, Leaf) and e.below is not None for e in entries):
        return None
    space: dict[str, Any] = {"_gradgen_plain": _PLAIN, "_gradgen_array": np.ndarray}
    if compiled.options.checks:
        return _spliced(
            compiled, function, ["type({}) in _gradgen_plain"] * len(signature.passed), space, True
        )
    tests = []
    for k, e in enumerate(entries):
        if not isinstance(e, Leaf) or not e.type.shape:
            return None
        space[f"_gradgen_dtype_{k}"] = np.dtype(DTYPES[e.type.dtype])
        tests.append(
            f"type({{0}}) is _gradgen_array and {{0}}.dtype is _gradgen_dtype_{k} and {{0}}.ndim == {e.type.ndim}"
        )
    return _spliced(compiled, function, tests, space, True)


def _spliced(
    compiled: Any,
    function: Callable[..., Any],
    tests: list[str],
    space: dict[str, Any],
    translate: bool,
) -> Callable[..., Any] | None:
    """A method of Compiled: the statements of the emitted function behind `tests` of its arguments, one each.

    translate: where the statements raise a TypeError or ValueError, `_call` repeats the call to say it.
    """
    if len(compiled.source) > LONGEST:
        return None
    tree = ast.parse(compiled.source)
    found = next(
        n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function.__name__
    )
    names = [a.arg for a in found.args.args][: len(tests)]
    if not names:
        return None
    absent = "_gradgen_absent"
    tested = " and ".join(test.format(n) for test, n in zip(tests, names, strict=True))
    given = ", ".join(names)
    head = (
        f"def _gradgen_call(_gradgen_self, {', '.join(f'{n}={absent}' for n in names)}, /, *_gradgen_rest, **_gradgen_named):\n"
        f"    if not ({tested}) or _gradgen_rest or _gradgen_named:\n"
        f"        given = [a for a in ({given},) if a is not {absent}]\n"
        "        if _gradgen_named:\n"
        "            return _gradgen_call(_gradgen_self, *_gradgen_self._by_name([*given, *_gradgen_rest], _gradgen_named))\n"
        "        return _gradgen_self._call(*given, *_gradgen_rest)\n"
    )
    if translate:
        head += (
            f"    _gradgen_given = ({given},)\n"
            "    try:\n"
            "        pass\n"
            "    except (TypeError, ValueError):\n"
            "        return _gradgen_self._call(*_gradgen_given)\n"
        )
    entry = ast.parse(head)
    call = entry.body[0]
    assert isinstance(call, ast.FunctionDef)
    body = [_Names().visit(statement) for statement in found.body]
    for k, (a, leaf) in enumerate(
        zip(found.args.args[len(tests) :], compiled.signature.captured_leaves, strict=True)
    ):
        space[f"_gradgen_bound_{k}"] = compiled.signature.captures[leaf.label]
        body = [*ast.parse(f"{a.arg} = _gradgen_bound_{k}").body, *body]
    guarded = call.body[-1]
    if isinstance(guarded, ast.Try):
        guarded.body = body
    else:
        call.body += body
    namespace = {**function.__globals__, **space, absent: object()}
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
