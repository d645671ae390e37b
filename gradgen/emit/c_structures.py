"""The parts of call.c about structures: arguments taken apart, results put together, places for results found.

In C, `node` holds what an argument consists of (leaves first), KEY(k) is key, class or static value k of `keys_of`, made[k] and
rk are output k (array, scalar), place[k] where it is to go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gradgen.trace.spec import Signature, Static
from gradgen.tree import Tree
from gradgen.types import Type

NUMBERS = {
    "f64": "NPY_DOUBLE",
    "f32": "NPY_FLOAT",
    "i64": "NPY_INT64",
    "i32": "NPY_INT32",
    "bool": "NPY_BOOL",
}


def keys_of(signature: Signature) -> tuple[Any, ...]:
    """Keys, classes and static values of all structures, in the order in which call.c numbers them."""
    return tuple(key for _, keys in _numbered(signature) for key in keys)


def _numbered(signature: Signature) -> Iterator[tuple[Any, list[Any]]]:
    """Every tree node (of arguments, then the result) and Static that has keys, with its keys."""
    for argument in signature.passed:
        if argument.tree.kind != "leaf":
            for tree in _inner(argument.tree):
                yield tree, _keys(tree)
            for entry in argument.entries:
                if isinstance(entry, Static):
                    yield entry, [entry.value]
    for tree in _inner(signature.result):
        yield tree, _keys(tree)


def _inner(tree: Tree) -> list[Tree]:
    """The nodes that are no leaves, outer ones first."""
    found = [tree] if tree.kind != "leaf" else []
    for node in found:
        found += [child for child in node.children if child.kind != "leaf"]
    return found


def _keys(tree: Tree) -> list[Any]:
    if tree.kind == "dict":
        return list(tree.keys)
    if tree.kind == "namedtuple":
        return [tree.cls]
    if tree.kind == "dataclass":
        return [tree.cls, *tree.keys, tuple(tree.keys), *_taker(tree)]
    return []


def _taker(tree: Tree) -> list[Any]:
    """What takes apart a value of a class that does so itself (see `Tree`), if it is of one."""
    found = getattr(tree.cls, "taken", None)
    return [] if found is None else [found]


class Structures:
    """The structures of a signature.

    nodes: how many references `unpack` makes, 0 where every argument is a leaf.  homes: how many `places` makes.
    """

    def __init__(self, signature: Signature, outputs: Sequence[Type]) -> None:
        self.signature = signature
        self.outputs = outputs
        self.first_key: dict[int, int] = {}
        count = 0
        for owner, keys in _numbered(signature):
            self.first_key[id(owner)] = count
            count += len(keys)
        self.nodes = 0
        self.unpack = self._unpack() if any(a.tree.kind != "leaf" for a in signature.passed) else []
        self.homes = 0
        self.places = self._places()

    def _unpack(self) -> list[str]:
        lines: list[str] = []
        entries = [e for a in self.signature.passed for e in a.entries]
        spare = sum(not isinstance(e, Static) for e in entries)
        leaf = 0
        for k, argument in enumerate(self.signature.passed):
            given = iter(argument.entries)
            todo: list[tuple[Tree, str]] = [(argument.tree, f"gg_new_ref(given[{k}])")]
            while todo:
                tree, source = todo.pop()
                if tree.kind == "leaf":
                    entry = next(given)
                    if isinstance(entry, Static):
                        place, spare = spare, spare + 1
                    else:
                        place, leaf = leaf, leaf + 1
                    lines.append(f"    node[{place}] = {source};")
                    if isinstance(entry, Static):
                        lines += unless([f"node[{place}] == KEY({self.first_key[id(entry)]})"], "0")
                    continue
                place, spare = spare, spare + 1
                lines.append(f"    node[{place}] = {source};")
                lines += unless([self._is(tree, f"node[{place}]")], "0")
                parts = [self._part(tree, f"node[{place}]", i) for i in range(len(tree.children))]
                todo += reversed(list(zip(tree.children, parts, strict=True)))
        self.nodes = spare
        return [*lines, "    (void)state;", "    return gg_all_there(NODES, node);"]

    def _is(self, tree: Tree, value: str) -> str:
        count, key = len(tree.children), self.first_key[id(tree)]
        if tree.kind == "dict":
            return f"gg_is_dict({value}, {count})"
        if tree.kind in ("list", "tuple"):
            return f"gg_is_sequence({value}, {count})"
        return f"gg_is_of({value}, KEY({key}))"

    def _part(self, tree: Tree, value: str, k: int) -> str:
        key = self.first_key[id(tree)]
        if tree.kind == "dict":
            return f"gg_new_ref(PyDict_GetItemWithError({value}, KEY({key + k})))"
        if tree.kind == "dataclass":
            return f"PyObject_GetAttr({value}, KEY({key + 1 + k}))"
        return f"gg_sequence_item({value}, {k})"

    def result(self) -> tuple[list[str], str]:
        """Copies of what is returned twice, and the expression of the result's structure."""
        slots = iter(self.signature.slots)
        seen: set[int] = set()
        copies: list[str] = []

        def leaf() -> str:
            k = next(slots)
            if k is None:
                return "gg_new_ref(Py_None)"
            ty = self.outputs[k]
            if not ty.shape:
                return (
                    f"PyFloat_FromDouble(r{k})"
                    if ty.dtype == "f64"
                    else f"gg_scalar_of(&r{k}, {NUMBERS[ty.dtype]})"
                )
            if k in seen:
                name = f"copy{len(copies)}"
                copies.append(f"        PyObject *{name} = gg_copy_of(made[{k}]);")
                return name
            seen.add(k)
            return f"made[{k}]"

        def build(tree: Tree) -> str:
            if tree.kind == "leaf":
                return leaf()
            count = len(tree.children)
            items = ", ".join(build(child) for child in tree.children) or "NULL"
            key = self.first_key[id(tree)]
            head = {
                "dict": f"gg_dict_of(&KEY({key}), ",
                "namedtuple": f"gg_made_by(KEY({key}), NULL, ",
                "dataclass": f"gg_made_by(KEY({key}), KEY({key + count + 1}), ",
            }.get(tree.kind, f"gg_{tree.kind}_of(")
            return f"{head}{count}, ITEMS({items}))"

        text = build(self.signature.result)
        unused = [k for k, ty in enumerate(self.outputs) if ty.shape and k not in seen]
        return [*copies, *(f"        Py_DECREF(made[{k}]);" for k in unused)], text

    def _places(self) -> list[str]:
        """The places as new references, then the structures around them; 0 where Compiled has to look at them."""
        lines = ["    (void)state;"]
        slots = iter(self.signature.slots)
        seen: set[int] = set()
        spare = len(self.outputs)
        todo: list[tuple[Tree, str]] = [(self.signature.result, "gg_new_ref(out)")]
        while todo:
            tree, source = todo.pop()
            if tree.kind != "leaf":
                taker = _taker(tree)
                if taker:
                    key = self.first_key[id(tree)] + len(tree.keys) + 2
                    source = f"gg_taken_by(KEY({key}), {source})"
                node, spare = f"place[{spare}]", spare + 1
                lines.append(f"    {node} = {source};")
                count = len(tree.children)
                fits = f"gg_is_sequence({node}, {count})" if taker else self._is(tree, node)
                lines += unless([fits], "0")
                parts = [
                    f"gg_sequence_item({node}, {k})" if taker else self._part(tree, node, k)
                    for k in range(count)
                ]
                todo += reversed(list(zip(tree.children, parts, strict=True)))
                continue
            k = next(slots)
            if k is None:
                continue
            if k in seen:  # two places for one output
                self.homes = len(self.outputs)
                return ["    (void)state, (void)out, (void)place;", "    return 0;"]
            seen.add(k)
            lines.append(f"    place[{k}] = {source};")
            lines += unless([f"place[{k}] != NULL"], "0")
            lines += [f"    if (place[{k}] == Py_None)", f"        Py_CLEAR(place[{k}]);"]
        self.homes = spare
        return [*lines, "    return 1;"]


def unless(tests: Sequence[str], answer: str = "NULL") -> list[str]:
    """Leave with `answer` unless all tests hold."""
    if not tests:
        return []
    text = joined([f"!({test})" for test in tests], "||")
    return [f"    if ({text})", f"        return {answer};"]


def joined(tests: Sequence[str], sign: str) -> str:
    return f"\n        {sign} ".join(tests)
