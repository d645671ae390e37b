"""A Function as a standalone Python module: `numpy` target (imports numpy) and `python` target (scalars; imports math).

The module holds the function, the helpers that it uses, the conversion and checks of its arguments, and its self-test, which
`python NAME.py --check` runs. Bodies of more than `PART` statements are split into functions of that size, since CPython's
compiler is far from linear in the length of one function.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from gradgen.emit.files import MARK, render
from gradgen.emit.header import LICENCE, dim_text, header_lines, one_line
from gradgen.emit.layout import Group, Item, flat, layout
from gradgen.emit.names import OWN, Names
from gradgen.emit.parts import PART, section_title, split, statement_lines
from gradgen.emit.printer import Printed, Printer
from gradgen.emit.python_selftest import python_selftest
from gradgen.emit.python_text import (
    accesses,
    assign_many,
    command_lines,
    literal_key,
    quote,
    raise_lines,
)
from gradgen.emit.selftest import SelfTest
from gradgen.ir import CONST, PARAM, Function
from gradgen.ops.helpers import HELPERS, with_needs
from gradgen.ops.regions import ITEM, is_stack
from gradgen.sizes import Size, letters, spell
from gradgen.spelling import Expr
from gradgen.trace.spec import Argument, Leaf, Signature
from gradgen.tree import Tree
from gradgen.types import DTYPES
from gradgen.value import Value
from gradgen.version import VERSION


class Module:
    """Prints one module: `Module(fn, signature, options, target).files()`."""

    def __init__(
        self,
        fn: Function,
        signature: Signature,
        target: str,
        level: str,
        checks: bool,
        selftest: SelfTest | None,
        length: int,
    ) -> None:
        self.fn = fn
        self.signature = signature
        self.target = target
        self.level = level
        self.checks = checks
        self.selftest = selftest
        self.names = Names()
        self.names.reserve(*OWN, *(f"_{helper}" for helper in HELPERS), signature.name)
        if length > PART:
            count = length // PART + 2
            self.names.reserve(*(f"{stem}{k}" for stem in ("_part_", "p") for k in range(1, count)))
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

    def text(self) -> str:
        printed = self.printed()
        helpers = [h.source(self.target).rstrip() for h in with_needs(printed.helpers, self.target)]
        parts, body = self._body(printed)
        arguments = self._arguments_text() if self.target == "numpy" and self.checks else ""
        selftest = self._selftest_text()
        return render(
            "module.py.j2",
            header="\n".join(self._header()),
            imports=self._imports("\n".join([*body, *parts, *helpers, arguments, selftest])),
            name=self.signature.name,
            parameters=self._parameters(),
            summary=self._summary(),
            body="\n".join(body),
            helpers=parts + helpers,
            arguments=arguments,
            selftest=selftest,
        )

    def _imports(self, text: str) -> str:
        """What the text uses of NumPy or math: nothing, perhaps."""
        module, line = (
            ("np", "import numpy as np") if self.target == "numpy" else ("math", "import math")
        )
        return line if re.search(rf"\b{module}\.", text) else ""

    def printed(self) -> Printed:
        """The body's statements."""
        fold = self.level != "lecture"
        return Printer(
            self.fn,
            self.names,
            self.target,
            self.inputs(),
            self.letters,
            fold,
            "_",
            self.signature.results,
        ).print()

    def inputs(self) -> list[str]:
        """Variables that hold the Function's inputs."""
        return [self.labels[leaf.label] for leaf in self.signature.leaves]

    # -- interface
    def _parameters(self) -> str:
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

    def _summary(self) -> str:
        text = one_line(f"Return {self._returned_text()}; shapes and conventions above.")
        return text if len(text) <= 90 else "Return the results listed above."

    def _header(self) -> list[str]:
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
        lines += [f"{MARK} {VERSION}:", *command_lines(self.signature.command), LICENCE]
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
        entries: list[Item] = []
        for key, item in zip(tree.keys, items, strict=True):
            prefix = f"{literal_key(key)}: "
            entries.append(
                prefix + item
                if isinstance(item, str)
                else Group(prefix + item.open, item.items, item.close)
            )
        return Group("{", entries, "}")

    def _body(self, printed: Printed) -> tuple[list[str], list[str]]:
        returned = self._return_lines(printed)
        lines = self._entry_lines(printed)
        statements = printed.statements
        if len(statements) > PART:
            parts, calls = split(self, printed, self.inputs())
            return parts, [*lines, *calls]
        sections = {s.phase for s in statements}
        previous_phase, previous_cited = None, ""
        for statement in statements:
            if statement.phase != previous_phase and len(sections) > 1:
                title = section_title(statement.phase, sections)
                if lines and lines[-1]:
                    lines.append("")
                lines.append(f"    # {title}")
                previous_cited = ""  # the first line of a section says where it is from
            previous_phase = statement.phase
            lines += statement_lines(statement, previous_cited)
            previous_cited = statement.cited or previous_cited
        return [], [*lines, *returned]

    def _entry_lines(self, printed: Printed) -> list[str]:
        lines: list[str] = []
        unpacked = any(a.tree.kind != "leaf" for a in self.signature.passed)
        if self.target == "numpy" and self.checks:
            names = [self.labels[leaf.label] for leaf in self.signature.leaves]
            names += [self.arguments[n] for n in self.signature.size_arguments]
            passed = Group("_arguments(", [self.arguments[a.name] for a in self.signature.passed] + [
                self.labels[leaf.label] for leaf in self.signature.captured_leaves
            ], ")")  # fmt: skip
            if names:
                lines += assign_many(names, passed)
        elif unpacked:
            for argument in self.signature.passed:
                if argument.tree.kind != "leaf":
                    lines += [f"    {line}" for line in self._unpack(argument)]
        for letter, name in sorted(
            printed.letters.items(), key=lambda kv: self.signature.letters.index(kv[0])
        ):
            if letter not in self.signature.size_arguments:
                lines.append(f"    {name} = {self._shape_of_letter(letter)}")
        if lines and printed.statements:
            lines.append("")
        return lines

    def _unpack(self, argument: Argument) -> list[str]:
        lines = []
        base = self.arguments[argument.name]
        for entry, access in zip(argument.entries, accesses(argument.tree), strict=True):
            if isinstance(entry, Leaf):
                lines.append(f"{self.labels[entry.label]} = {base}{access}")
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
        if value.op is CONST:
            return expr.text
        if value.op is PARAM or value.op.view or (value.op is ITEM and not is_stack(value)):
            if value.op.name == "broadcast" and not value.args[0].type.shape:
                return expr.text
            ordered = (
                value.type.ndim < 2 or value.op is PARAM
            )  # np.array keeps a layout unless told
            return f"np.array({expr.text})" if ordered else f'np.array({expr.text}, order="C")'
        if id(value) in self.reordered:
            return f"np.ascontiguousarray({expr.text})"
        return expr.text

    @functools.cached_property
    def reordered(self) -> set[int]:
        """Values of two axes or more that NumPy may lay out in another order than C: it keeps the order of its operands."""
        found: set[int] = set()
        for v in self.fn.body:
            name, ndim = v.op.name, v.type.ndim
            filled = name == "broadcast" and not v.args[0].type.shape  # np.full
            if ndim < 2 or filled or (name == "matmul" and ndim == 2):
                continue
            if name in ("transpose", "broadcast", "gather", "matmul") or any(
                id(a) in found for a in v.args
            ):
                found.add(id(v))
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

    # -- arguments
    def _arguments_text(self) -> str:
        name = self.signature.name
        params = self._parameters()
        lines = [
            f"def _arguments({params}):",
            '    """Convert safely and hold the sizes against each other."""',
        ]
        for argument in self.signature.passed:
            if argument.tree.kind == "leaf":
                continue
            for line in self._unpack(argument):
                lines.append(f"    {line}")
        for leaf in self.signature.leaves:
            label = self.labels[leaf.label]
            given: list[Item] = [quote(leaf.label), label, self._np_type(leaf), str(leaf.type.ndim)]
            lines += layout(4, f"{label} = ", Group("_array(", given, ")"))
        for size in self.signature.size_arguments:
            target = self.arguments[size]
            lines.append(f"    {target} = _size({quote(size)}, {target})")
        lines += self._shape_checks()
        names = [self.labels[leaf.label] for leaf in self.signature.leaves]
        names += [self.arguments[n] for n in self.signature.size_arguments]
        if names:
            lines += layout(
                4, "return ", Group("(", names, ")", True) if len(names) > 1 else names[0]
            )
        helpers = [named(ARRAY, name)]
        if self.signature.size_arguments:
            helpers.append(named(SIZE, name))
        return "\n".join(lines) + "\n\n\n" + "\n\n\n".join(helpers)

    def _np_type(self, leaf: Leaf) -> str:
        return f"np.{DTYPES[leaf.type.dtype]}" if leaf.type.dtype != "bool" else "np.bool_"

    def _shape_checks(self) -> list[str]:
        """Sizes read off the arguments, then every other axis held against them."""
        source: dict[str, tuple[str, str]] = {n: (n, "") for n in self.signature.size_arguments}
        compared: list[Leaf] = []
        for leaf in self.signature.leaves:
            fresh = 0
            for axis, dim in enumerate(leaf.type.shape):
                if isinstance(dim, Size) and str(dim) in self.letters and str(dim) not in source:
                    source[str(dim)] = (leaf.label, f"{self.labels[leaf.label]}.shape[{axis}]")
                    fresh += 1
            if fresh < leaf.type.ndim:
                compared.append(leaf)
        used: set[str] = set()

        def name(letter: str) -> str:
            used.add(letter)
            return self.letters[letter]

        lines: list[str] = []
        function = self.signature.name
        for leaf in compared:
            label, dims = self.labels[leaf.label], leaf.type.shape
            comma = "," if len(dims) == 1 else ""
            wanted = ", ".join(spell(d, name) for d in dims)
            shown = ", ".join(dim_text(d) for d in dims)
            origin = sorted(
                {
                    f"{n} from {source[n][0]}"
                    for d in dims
                    for n in letters(d)
                    if source[n][0] != leaf.label
                }
            )
            note = f" ({', '.join(origin)})" if origin else ""
            lines.append(f"    if {label}.shape != ({wanted}{comma}):")
            message = f"{function} needs {leaf.label} of shape ({shown}{comma})"
            if leaf.type.static:
                lines += raise_lines("ValueError", f"{message}, got ", f"{label}.shape", "", "")
            else:
                lines += raise_lines(
                    "ValueError",
                    f"{message} = ",
                    f"({wanted}{comma})",
                    f"{note}, got ",
                    f"{label}.shape",
                )
        for need in self.fn.requires:
            left, right = spell(need.left, name), spell(need.right, name)
            opposite = "<" if need.relation == ">=" else "!="
            lines.append(f"    if {left} {opposite} {right}:")
            lines += raise_lines("ValueError", f"{function} needs {need}, got ", left, "", "")
        for leaf in self.signature.leaves:
            if leaf.below is not None:
                bound, label = spell(leaf.below, name), self.labels[leaf.label]
                negative = f"-{bound}" if bound.isidentifier() or bound.isdigit() else f"-({bound})"
                lines.append(f"    if np.any(({label} < {negative}) | ({label} >= {bound})):")
                lines += raise_lines(
                    "IndexError",
                    f"{function} needs {leaf.label} below {leaf.below} = ",
                    bound,
                    "",
                    "",
                )
        first = [
            f"    {self.letters[n]} = {access}"
            for n, (_, access) in source.items()
            if n in used and access
        ]
        return first + lines

    # -- self-test
    def _selftest_text(self) -> str:
        test = self.selftest
        if test is None or self.signature.captured_leaves:
            return ""
        return python_selftest(self, test)


ARRAY = '''def _array(name, value, dtype, ndim):
    """`value` as an array of `dtype` if that loses nothing."""
    array = np.asarray(value)
    given = isinstance(value, (np.ndarray, np.generic))
    if not np.can_cast(array.dtype, dtype, "safe" if given else "same_kind"):
        raise TypeError(f"NAME needs {np.dtype(dtype)} for {name}, got {array.dtype}")
    if not given and array.dtype.kind == "i":
        array = np.asarray(value, dtype)  # an integer too large raises OverflowError
    if array.ndim != ndim:
        raise ValueError(f"NAME needs {ndim} dimensions for {name}, got shape {array.shape}")
    return np.asarray(array, dtype, order="C")[()]'''

SIZE = '''def _size(name, value):
    """`value` as a size."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise TypeError(f"NAME needs an integer of zero or more for {name}, got {value!r}")
    return int(value)'''


def named(text: str, name: str) -> str:
    """A routine's text with the function's name in its messages; a raise that becomes too long is broken as formatters do."""
    lines = []
    for line in text.replace("NAME", name).split("\n"):
        opened = line.find("(") + 1
        if len(line) > 100 and line.lstrip().startswith("raise "):
            pad = " " * (len(line) - len(line.lstrip()))
            lines += [line[:opened], f"{pad}    {line[opened:-1]}", f"{pad})"]
        else:
            lines.append(line)
    return "\n".join(lines)


def emit_python(
    fn: Function,
    signature: Signature,
    target: str,
    level: str,
    checks: bool = True,
    selftest: SelfTest | None = None,
) -> dict[str, str]:
    """The files of the numpy or python target: one module."""
    return {
        f"{signature.name}.py": Module(
            fn, signature, target, level, checks, selftest, len(fn.body)
        ).text()
    }
