"""Names of arrays that a function stores something into that may be traced.

    stored_into(function, free)

An array of plain numbers under such a name (`R = np.eye(3); R[0, 0] = np.cos(x)`) has to be one of Values; under every other
name it stays plain, so that its numbers are known while the function is traced. What may be traced: parameters, free variables
and nested functions, and by fixed point all that is computed from them or has them put into it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_BINDINGS = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr, ast.For, ast.comprehension)


def stored_into(function: ast.AST, free: Iterable[str]) -> frozenset[str]:
    """The names, given the function's free variables; names of modules and globals are not among them."""
    nodes = list(ast.walk(function))
    stores = list(_stores(nodes))
    local = {name for targets, _ in stores for name, into in targets if not into}
    traced = {_VALUES, *free}
    for node in nodes:
        if isinstance(node, ast.arg):
            traced.add(node.arg)
        elif isinstance(node, _FUNCTIONS) and not isinstance(node, ast.Lambda):
            traced.add(node.name)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            traced.update(node.names)
    found: set[str] = set()
    changed = True
    while changed:
        changed = False
        for targets, sources in stores:
            if traced.isdisjoint(sources):
                continue
            for name, inside in targets:
                if name in local and inside and name not in found:
                    found.add(name)
                    changed = True
                if name not in traced and name in local:
                    traced.add(name)
                    changed = True
    return frozenset(found)


def _stores(nodes: Iterable[ast.AST]) -> Iterator[tuple[list[tuple[str, bool]], set[str]]]:
    """Of every store: names, each with whether it goes into what the name holds; and the names that it is computed from."""
    for node in nodes:
        if isinstance(node, _BINDINGS):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            source = node.iter if isinstance(node, ast.For | ast.comprehension) else node.value
            into = isinstance(node, ast.AugAssign)
            yield (
                [found for t in targets for found in _targets(t, into)],
                {n for tree in (source, *targets) if tree is not None for n in _read(tree)},
            )
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, given = node.func.attr, [*node.args, *[k.value for k in node.keywords]]
            changed = node.func.value if name in _METHODS else None
            if name in _WRITERS and node.args:
                changed = node.args[0]
            if changed is not None:
                yield list(_targets(changed, True)), {n for tree in given for n in _read(tree)}


# Functions that write into their first argument, methods that write into their object.
_WRITERS = ("at", "copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask")
_METHODS = ("append", "extend", "insert", "fill", "setdefault", "update")


def _targets(target: ast.expr, into: bool) -> Iterator[tuple[str, bool]]:
    """The names that a target binds (False) or stores into (True)."""
    todo: list[tuple[ast.expr, bool]] = [(target, into)]
    while todo:
        node, inside = todo.pop()
        if isinstance(node, ast.Tuple | ast.List):
            todo += [(e, inside) for e in node.elts]
        elif isinstance(node, ast.Starred):
            todo.append((node.value, inside))
        elif isinstance(node, ast.Subscript | ast.Attribute):
            todo.append((node.value, True))
        elif isinstance(node, ast.Name):
            yield node.id, inside


# Arrays that are Values from the first, whatever is put into them; the name that stands for them cannot be a user's.
_FILLED = ("empty", "full", "ones", "zeros")
_VALUES = "()"


def _read(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Call):
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if name in _FILLED:
                yield _VALUES
