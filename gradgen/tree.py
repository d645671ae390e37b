"""Structures of values: nested dicts, lists, tuples, named tuples and dataclasses, flattened in a fixed order.

    leaves, tree = flatten({"m": a, "s": [b, c]})     leaves [a, b, c]; tree remembers the rest
    unflatten(tree, leaves)                           the same structure around other leaves

Dict keys are taken in insertion order. `None` is a leaf here; callers decide what it means.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Tree:
    """One node of a structure. kind: leaf, none, dict, list, tuple, namedtuple, dataclass; `cls` rebuilds the last two.

    A `cls` may have `taken(value, path)`, which says what a value's parts are: a sequence, or Mismatch.
    """

    kind: str
    keys: tuple[Any, ...] = ()
    children: tuple[Tree, ...] = ()
    cls: Any = None

    @property
    def size(self) -> int:
        """Number of leaves."""
        return 1 if self.kind == "leaf" else sum(child.size for child in self.children)

    def __str__(self) -> str:
        if self.kind == "leaf":
            return "*"
        if self.kind == "none":
            return "None"
        inner = ", ".join(f"{k}: {c}" for k, c in zip(self.keys, self.children, strict=True))
        return f"{getattr(self.cls, '__name__', self.kind)}({inner})"


LEAF = Tree("leaf")
NONE = Tree("none")


def is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _parts(value: Any) -> tuple[str, tuple[Any, ...], list[Any], Any] | None:
    if isinstance(value, dict):
        return "dict", tuple(value), list(value.values()), None
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return "namedtuple", tuple(value._fields), list(value), type(value)
    if isinstance(value, tuple):
        return "tuple", tuple(range(len(value))), list(value), None
    if isinstance(value, list):
        return "list", tuple(range(len(value))), list(value), None
    if is_dataclass(value):
        names = tuple(f.name for f in dataclasses.fields(value))
        return "dataclass", names, [getattr(value, n) for n in names], type(value)
    return None


def flatten(
    value: Any, is_leaf: Callable[[Any], bool] | None = None, nones: bool = False
) -> tuple[list[Any], Tree]:
    """The leaves in order, and the structure around them. nones: None is part of the structure, not a leaf."""
    if nones and value is None:
        return [], NONE
    parts = None if is_leaf is not None and is_leaf(value) else _parts(value)
    if parts is None:
        return [value], LEAF
    kind, keys, items, cls = parts
    leaves: list[Any] = []
    children = []
    for item in items:
        found, child = flatten(item, is_leaf, nones)
        leaves += found
        children.append(child)
    return leaves, Tree(kind, keys, tuple(children), cls)


def unflatten(tree: Tree, leaves: Sequence[Any] | Iterator[Any]) -> Any:
    """The structure `tree` around `leaves`."""
    source = iter(leaves)
    if tree.kind == "leaf":
        return next(source)
    if tree.kind == "none":
        return None
    items = [unflatten(child, source) for child in tree.children]
    if tree.kind == "dict":
        return dict(zip(tree.keys, items, strict=True))
    if tree.kind == "list":
        return items
    if tree.kind == "tuple":
        return tuple(items)
    if tree.kind == "namedtuple":
        return tree.cls(*items)
    return tree.cls(**dict(zip(tree.keys, items, strict=True)))


class Mismatch(Exception):
    """A value is not of a structure: at which path, what is needed there and what was given."""

    def __init__(self, path: str, needed: Any, given: Any) -> None:
        super().__init__(f"{path} to be {needed}, got {given}")


def fitted(tree: Tree, value: Any, path: str) -> list[Any]:
    """The leaves of `value`, taken apart as `tree` says: by key, whatever the order. Mismatch where it is built otherwise."""
    found: list[Any] = []
    stack = [(tree, value, path)]
    while stack:
        tree, item, path = stack.pop()
        if tree.kind == "leaf":
            found.append(item)
        elif tree.kind != "none":
            taken = getattr(tree.cls, "taken", None)
            parts = taken(item, path) if taken else _parts_by(tree, item)
            if parts is None:
                raise Mismatch(path, tree, described(item))
            below = zip(tree.keys, tree.children, parts, strict=True)
            stack += reversed([(child, part, f"{path}.{key}") for key, child, part in below])
    return found


def _parts_by(tree: Tree, item: Any) -> list[Any] | None:
    if hasattr(item, "keys"):
        return [item[k] for k in tree.keys] if set(item.keys()) == set(tree.keys) else None
    if tree.kind in ("dataclass", "namedtuple") and all(hasattr(item, k) for k in tree.keys):
        return [getattr(item, k) for k in tree.keys]
    if tree.kind in ("dict", "dataclass") or isinstance(item, str):
        return None
    try:
        parts = list(item)
    except TypeError:
        return None
    return parts if len(parts) == len(tree.keys) else None


def described(item: Any) -> str:
    """A value's type, or the structure that it is of."""
    parts = _parts(item)
    if parts is None:
        return type(item).__name__
    kind, keys, _, _ = parts
    name = type(item).__name__ if kind in ("namedtuple", "dataclass") else kind
    return f"{name}({', '.join(map(str, keys))})"


def paths(tree: Tree, root: str = "") -> list[tuple[Any, ...]]:
    """The keys that lead to each leaf, in order."""
    if tree.kind == "leaf":
        return [()]
    return [
        (key, *rest)
        for key, child in zip(tree.keys, tree.children, strict=True)
        for rest in paths(child)
    ]


def leaf_names(root: str, tree: Tree) -> list[str]:
    """A readable identifier for each leaf: `p`, `p_m`, `layers_0_w`."""
    return ["_".join([root, *(_word(key) for key in path)]) for path in paths(tree)]


def _word(key: Any) -> str:
    return re.sub(r"\W", "_", str(key))


def subtree(tree: Tree, path: Sequence[str]) -> tuple[int, Tree] | None:
    """Offset of the first leaf below `path` (keys as text), and the structure there; None if there is no such path."""
    offset = 0
    for word in path:
        for key, child in zip(tree.keys, tree.children, strict=True):
            if str(key) == word:
                tree = child
                break
            offset += child.size
        else:
            return None
    return offset, tree
