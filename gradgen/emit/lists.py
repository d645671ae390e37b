"""The python target for small arrays of fixed size: nested lists in, nested lists out, scalars inside.

Arguments are taken apart at entry (`x_0, x_1 = x`), results put together in the return statement; in between the scalar
program of `passes.scalarise`, printed as any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.emit.entry import Entry, Heading
from gradgen.emit.layout import Group, Item, entry, layout
from gradgen.emit.numpy import PythonFunction
from gradgen.emit.printer import Printed, Printer
from gradgen.emit.python_text import literal_key
from gradgen.ir import Function
from gradgen.ops.index import SLICE
from gradgen.ops.regions import ITEM, is_stack
from gradgen.passes import optimise
from gradgen.passes.scalarise import scalarise
from gradgen.value import Value


class ListFunction(PythonFunction):
    """A PythonFunction whose array arguments and results are nested lists. EmitError where they are not small and static."""

    def __init__(self, entry: Entry, heading: Heading, level: str) -> None:
        scalars, self.places, self.outputs = scalarise(entry.fn)
        self.scalars = optimise(scalars, level)
        super().__init__(entry, heading, "python", level, length=len(self.scalars.body))
        signature = self.signature
        self.scalar_names = [
            self.labels[leaf.label] if not place.shape else ""
            for leaf, place in zip(signature.leaves, self.places, strict=True)
            for _ in range(place.size)
        ]
        for k, value in enumerate(self.scalars.inputs):
            if not self.scalar_names[k]:
                self.scalar_names[k] = self.names.fresh(value.name)

    def printed(self) -> Printed:
        hints = [""] * len(self.scalars.outputs)
        for label, place in zip(self.signature.results, self.outputs, strict=True):
            for index, k in np.ndenumerate(place):
                hints[k] = "_".join([label, *map(str, index)])
        fold = self.level != "lecture"
        return Printer(
            self.scalars, self.names, "python", self.scalar_names, self.letters, fold, "_", hints
        ).print()

    def inputs(self) -> list[str]:
        return self.scalar_names

    def _entry_lines(self, printed: Printed) -> list[str]:
        lines = super()._entry_lines(printed)
        while lines and not lines[-1]:
            lines.pop()
        read = self.read(printed)
        for leaf, place in zip(self.signature.leaves, self.places, strict=True):
            if place.size and place.shape:
                targets = [n if n in read else self.unread for n in self.scalar_names]
                pattern = self._nested(place, lambda k, targets=targets: targets[k], bare=True)
                lines += layout(4, "", pattern, f" = {self.labels[leaf.label]}")
        return [*lines, ""] if lines else lines

    def _nested(self, place: Any, text: Any, bare: bool = False, brackets: str = "()") -> Item:
        if not place.shape:
            return str(text(int(place)))
        items = [self._nested(part, text, False, brackets) for part in place]
        if brackets == "()" and bare and len(items) > 1:
            return Group("(", items, ")", True)
        return Group(brackets[0], items, brackets[1])

    def _return_lines(self, printed: Printed) -> list[str]:
        texts: list[Any] = []
        for place in self.outputs:
            texts.append(self._nested(place, lambda k: printed.results[k].text, False, "[]"))
        item = self._items(self.signature.result, iter(self._slot_items(texts)))
        return layout(4, "return ", item)

    def _slot_items(self, texts: list[Any]) -> list[Any]:
        return [None if k is None else texts[k] for k in self.signature.slots]

    def _items(self, tree: Any, leaves: Any, bare: bool = True) -> Item:
        if tree.kind == "leaf":
            found = next(leaves)
            return "None" if found is None else found
        items = [self._items(child, leaves, False) for child in tree.children]
        if tree.kind == "tuple":
            return Group("(", items, ")", bare and len(items) > 1)
        if tree.kind == "list":
            return Group("[", items, "]")
        entries = [entry(f"{literal_key(k)}: ", i) for k, i in zip(tree.keys, items, strict=True)]
        return Group("{", entries, "}")


def is_scalar(fn: Function) -> bool:
    """Whether a Function computes with numbers alone: its only arrays are what loops keep of each step for other loops."""
    if any(v.type.shape for v in [*fn.inputs, *fn.outputs]):
        return False
    if fn.has_numbers_only:
        return True
    stacks: set[Value] = set()
    for node in fn.body:
        if not (node.type.shape or stacks or node.op.regions):
            continue
        kept = node.op is ITEM and is_stack(node)
        sliced = node.op is SLICE and node.args[0] in stacks
        if node.type.shape:
            if node.type.ndim > 1 or not (kept or sliced):
                return False
            stacks.add(node)
        elif any(a in stacks for a in node.args) and not node.op.regions and not sliced:
            return False
        if node.op.regions and not all(is_scalar(node.params[name]) for name in node.op.regions):
            return False
    return True
