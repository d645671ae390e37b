"""One function of an emitted Python module: `numpy` target (imports numpy) and `python` target (scalars; imports math).

Its text, the helpers that it uses, the conversion and checks of its arguments, and its self-test; `python_file` puts them
together. Bodies of more than `PART` statements are split into functions of that size, since CPython's compiler is far from
linear in the length of one function.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradgen.emit.blocks import is_own_final
from gradgen.emit.buffers import Buffers, plan
from gradgen.emit.entry import Entry, Heading
from gradgen.emit.header import header_lines, one_line
from gradgen.emit.layout import Group, Item, entry, flat, layout
from gradgen.emit.names import OWN, Names
from gradgen.emit.parts import PART, sections, split, statement_lines
from gradgen.emit.printer import Printed, Printer
from gradgen.emit.python_arguments import arguments_text, single_conversion
from gradgen.emit.python_selftest import selftest_function
from gradgen.emit.python_text import accesses, assign_many, literal_key
from gradgen.emit.tables import named, table_text, tables_of
from gradgen.ir import CONST, PARAM, shows, use_counts
from gradgen.ops.contract import in_order
from gradgen.ops.helpers import HELPERS
from gradgen.ops.index import SLICE
from gradgen.ops.regions import ITEM, is_stack
from gradgen.ops.shape import CONCATENATE, RESHAPE, STACK
from gradgen.sizes import Size
from gradgen.spelling import Expr
from gradgen.trace.spec import Argument, Leaf
from gradgen.tree import Tree
from gradgen.types import DTYPES
from gradgen.value import Value


@dataclass(frozen=True)
class PythonText:
    """A printed function: parts are the functions that its body is split into, helpers the names of routines, tables the
    constants of the module that it reads."""

    name: str
    parameters: str
    docstring: str
    body: str
    parts: list[str]
    helpers: list[str]
    arguments: str
    selftest: str
    tables: list[str]


class PythonFunction:
    """Prints one function of a file. `own(stem)` names the routines of the file that are this function's."""

    def __init__(
        self,
        entry: Entry,
        heading: Heading,
        target: str,
        level: str,
        checks: bool = True,
        length: int | None = None,
        order: str = "C",
    ) -> None:
        self.order = order
        self.fn = entry.fn
        self.signature = signature = entry.signature
        self.selftest = entry.selftest
        self.heading = heading
        self.target = target
        self.level = level
        self.checks = checks
        self.names = Names()
        self.names.reserve(*OWN, *(f"_{helper}" for helper in HELPERS), *heading.entries)
        self.names.reserve(*(self.own(stem) for stem in ("arguments", "self_test")))
        length = len(self.fn.body) if length is None else length
        if length > PART:
            count = length // PART + 2
            stems = (self.own("part_"), "p")
            self.names.reserve(*(f"{stem}{k}" for stem in stems for k in range(1, count)))
        self.arguments = {a.name: self.names.fresh(a.name) for a in signature.passed}
        self.labels: dict[str, str] = {}
        for argument in signature.passed:
            for leaf in argument.leaves:
                bare = argument.tree.kind == "leaf"
                self.labels[leaf.label] = (
                    self.arguments[argument.name] if bare else self.names.fresh(leaf.label)
                )
        for leaf in signature.captured_leaves:
            self.labels[leaf.label] = self.names.fresh(leaf.label)
        self.letters = {
            letter: self.arguments[letter]
            if letter in signature.size_arguments
            else self.names.fresh(letter)
            for letter in signature.letters
        }
        prefix = "" if heading.alone else f"{signature.name}_"
        found = tables_of(self.fn) if target == "numpy" else []  # lists are taken apart
        self.tables = named(found, prefix, self.names)

    def own(self, stem: str) -> str:
        """The name of a routine of this function's alone."""
        return f"_{stem}" if self.heading.alone else f"_{self.signature.name}_{stem}"

    def said(self, label: str) -> str:
        """What the messages of shared routines call an argument."""
        return label if self.heading.alone else f"{label} of {self.signature.name}"

    def print(self) -> PythonText:
        printed = self.printed()
        parts, body = self._body(printed)
        checked = self.target == "numpy" and self.checks
        return PythonText(
            self.signature.name,
            self.parameters(),
            self._docstring(),
            "\n".join(body),
            parts,
            list(printed.helpers),
            arguments_text(self) if checked and single_conversion(self) is None else "",
            self._selftest_text(),
            [table_text(name, v.params["value"]) for v, name in self.tables.items()],
        )

    def printed(self) -> Printed:
        """The body's statements."""
        fold = self.level != "lecture"
        printer = Printer(
            self.fn,
            self.names,
            self.target,
            self.inputs(),
            self.letters,
            fold,
            "_",
            self.signature.results,
            self._buffers(),
        )
        printer.tables = self.tables
        return printer.print()

    def _buffers(self) -> Buffers | None:
        fast = self.target == "numpy" and self.level == "fast"
        return plan(self.fn, self.reordered) if fast else None

    def inputs(self) -> list[str]:
        """Variables that hold the Function's inputs."""
        return [self.labels[leaf.label] for leaf in self.signature.leaves]

    # -- interface
    def parameters(self) -> str:
        items = [self.arguments[a.name] for a in self.signature.passed]
        items += [self.labels[leaf.label] for leaf in self.signature.captured_leaves]
        line = ", ".join(items)
        if len(line) + len(self.signature.name) + 8 <= 100:
            return line
        return "\n    " + ",\n    ".join(items) + ",\n"

    def _call_text(self) -> str:
        items = [self.arguments[a.name] for a in self.signature.passed]
        items += [self.labels[leaf.label] for leaf in self.signature.captured_leaves]
        return f"{self.signature.name}({', '.join(items)})"

    def _returned_text(self) -> str:
        return flat(
            self._structure(self.signature.result, iter(self._slots(self.signature.results)), True)
        )

    def _docstring(self) -> str:
        """What it returns; in a file of several functions all that the head of a file of one says."""
        if not self.heading.alone:
            lines = [f"    {line}" if line else "" for line in self.header()]
            return "\n".join([lines[0].lstrip(), *lines[1:], "    "])
        text = one_line(f"Return {self._returned_text()}; shapes and conventions above.")
        return text if len(text) <= 90 else "Return the results listed above."

    def header(self) -> list[str]:
        """What it computes, its arguments and results, conventions, cost."""
        call = one_line(f"{self._call_text()} -> {self._returned_text()}")  # dict keys stand in it
        if len(call) > 92:
            call = f"{self.signature.name}(...) -> the results below"
        lines = header_lines(
            self.fn, self.signature, call, lambda n: self.labels.get(n, self.arguments.get(n, n))
        )
        if self.target == "python":
            lines += [
                "Poles raise Python's own exceptions (ZeroDivisionError, ValueError, OverflowError)."
            ]
        return lines

    # -- body
    def _slots(self, texts: Sequence[str]) -> list[str | None]:
        return [None if k is None else texts[k] for k in self.signature.slots]

    def _structure(self, tree: Tree, leaves: Any, bare: bool = False) -> Item:
        if tree.kind == "leaf":
            text = next(leaves)
            return "None" if text is None else str(text)
        items = [self._structure(child, leaves) for child in tree.children]
        if tree.kind == "tuple":
            return Group("(", items, ")", bare and len(items) > 1)
        if tree.kind == "list":
            return Group("[", items, "]")
        entries = [entry(f"{literal_key(k)}: ", i) for k, i in zip(tree.keys, items, strict=True)]
        return Group("{", entries, "}")

    def _body(self, printed: Printed) -> tuple[list[str], list[str]]:
        returned = self._return_lines(printed)
        lines = self._entry_lines(printed)
        statements = printed.statements
        if len(statements) > PART:
            parts, calls = split(self, printed, self.inputs())
            return parts, [*lines, *calls]
        titles = sections(statements)
        several = len(set(titles)) > 1
        previous_title, previous_cited = "", ""
        for title, statement in zip(titles, statements, strict=True):
            if title != previous_title and several:
                if lines and lines[-1]:
                    lines.append("")
                lines.append(f"    # {title}")
                previous_cited = ""  # the first line of a section says where it is from
            previous_title = title
            lines += statement_lines(statement, previous_cited)
            previous_cited = statement.cited or previous_cited
        return [], [*lines, *returned]

    def _entry_lines(self, printed: Printed) -> list[str]:
        lines: list[str] = []
        unpacked = any(a.tree.kind != "leaf" for a in self.signature.passed)
        if self.target == "numpy" and self.checks:
            names = [self.labels[leaf.label] for leaf in self.signature.leaves]
            names += [self.arguments[n] for n in self.signature.size_arguments]
            passed = Group(f"{self.own('arguments')}(", [self.arguments[a.name] for a in self.signature.passed] + [
                self.labels[leaf.label] for leaf in self.signature.captured_leaves
            ], ")")  # fmt: skip
            alone = single_conversion(self)
            if alone is not None:
                lines += alone
            elif names:
                read = self.read(printed)
                if any(n in read for n in names):
                    names = [n if n in read else self.unread for n in names]
                    lines += assign_many(names, passed)
                else:
                    lines += layout(4, "", passed)
        elif unpacked:
            for argument in self.signature.passed:
                if argument.tree.kind != "leaf":
                    lines += [f"    {line}" for line in self.unpack(argument)]
        for letter, name in sorted(
            printed.letters.items(), key=lambda kv: self.signature.letters.index(kv[0])
        ):
            if letter not in self.signature.size_arguments:
                lines.append(f"    {name} = {self._shape_of_letter(letter)}")
        lines += [f"    {name} = {text}" for name, text in printed.sizes.items()]
        if lines and printed.statements:
            lines.append("")
        return lines

    @functools.cached_property
    def unread(self) -> str:
        """What stands for values that an unpacking gives and nothing reads."""
        return "_" if "_" not in self.labels.values() else self.names.fresh("unused")

    def read(self, printed: Printed) -> set[str]:
        """Words of the statements, results and sizes: all names that are read, and more."""
        lines = [line for s in printed.statements for line in s.lines]
        lines += [e.text for e in printed.results]
        lines += [
            self._shape_of_letter(n)
            for n in printed.letters
            if n not in self.signature.size_arguments
        ]
        return set(re.findall(r"\w+", "\n".join(lines)))

    def unpack(self, argument: Argument) -> list[str]:
        lines = []
        base = self.arguments[argument.name]
        for part, access in zip(argument.entries, accesses(argument.tree), strict=True):
            if isinstance(part, Leaf):
                lines.append(f"{self.labels[part.label]} = {base}{access}")
        return lines

    def _shape_of_letter(self, letter: str) -> str:
        for leaf in self.signature.leaves:
            for axis, dim in enumerate(leaf.type.shape):
                if isinstance(dim, Size) and str(dim) == letter:
                    return f"{self.labels[leaf.label]}.shape[{axis}]"
        raise AssertionError(f"{letter} is not an axis of its own")

    def _return_lines(self, printed: Printed) -> list[str]:
        texts = [
            self._result_text(v, e) for v, e in zip(self.fn.outputs, printed.results, strict=True)
        ]
        texts = self._distinct(texts, printed)
        item = self._structure(self.signature.result, iter(self._slots(texts)), True)
        return layout(4, "return ", item)

    def _result_text(self, value: Value, expr: Expr) -> str:
        """A result as returned: float for an f64 scalar; a fresh, writable, C-ordered array otherwise."""
        if self.target == "python":
            return expr.text
        if not value.type.shape:
            if value.op is CONST and value.type.dtype in ("f64", "i64", "bool"):
                return expr.text  # a literal is a Python number already
            cast = {"f64": "float", "i64": "int", "bool": "bool"}.get(value.type.dtype)
            return f"{cast}({expr.text})" if cast else f"{self._np(value.type.dtype)}({expr.text})"
        if self.order == "F" and value.type.ndim > 1:
            kept = value.op is PARAM or shows(value) or value.op is CONST
            return (
                f'np.array({expr.text}, order="F")' if kept else f"np.asfortranarray({expr.text})"
            )
        if value.op is CONST:
            return expr.text
        shared = value.op is ITEM and not is_stack(value) and not is_own_final(value, self.counts)
        if self._own_view(value):
            return expr.text
        if value.op is PARAM or shows(value) or shared:
            if value.op.name == "broadcast" and not value.args[0].type.shape:
                return expr.text
            ordered = (
                value.type.ndim < 2 or value.op is PARAM
            )  # np.array keeps a layout unless told
            return f"np.array({expr.text})" if ordered else f'np.array({expr.text}, order="C")'
        if value in self.reordered:
            return f"np.ascontiguousarray({expr.text})"
        return expr.text

    def _own_view(self, value: Value) -> bool:
        """Whether a result is another shape, or the first elements, of an array that was made here and nothing else reads."""
        counts, view = self.counts, value
        while view.op is RESHAPE or (
            view.op is SLICE and view.type.ndim == view.args[0].type.ndim == 1
        ):
            if view.op is SLICE and view.params["index"][0].step != 1:
                return False
            if counts[view] > 1:
                return False
            view = view.args[0]
        made = view.op in (CONCATENATE, STACK) or (view.op.elementwise and view.op.flops > 0)
        fresh = view.op.store is not None or (
            made and (value.type.ndim == 1 or view not in self.reordered)
        )
        return view is not value and fresh and counts[view] == 1

    @functools.cached_property
    def counts(self) -> dict[Value, int]:
        return use_counts(self.fn)

    @functools.cached_property
    def reordered(self) -> set[Value]:
        """Values of two axes or more that NumPy may lay out in another order than C: it keeps the order of its operands."""
        found: set[Value] = set()
        for v in self.fn.body:
            name, ndim = v.op.name, v.type.ndim
            filled = name == "broadcast" and not v.args[0].type.shape  # np.full
            if ndim < 2 or filled or (name == "matmul" and ndim == 2):
                continue
            if (
                name in ("transpose", "broadcast", "gather", "matmul")
                or (name == "einsum" and not in_order(v.params["text"]))
                or any(a in found for a in v.args)
            ):
                found.add(v)
        return found

    def _np(self, dtype: str) -> str:
        return f"np.{DTYPES[dtype]}"

    def _distinct(self, texts: list[str], printed: Printed) -> list[str]:
        """Two results that are one array: the second is a copy."""
        seen: set[str] = set()
        out = []
        for text, value in zip(texts, self.fn.outputs, strict=True):
            if value.type.shape and text in seen and text.isidentifier():
                text = f"{text}.copy()"
            seen.add(text)
            out.append(text)
        return out

    def _selftest_text(self) -> str:
        return "" if self.selftest is None else selftest_function(self, self.selftest)
