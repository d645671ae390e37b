"""One function of an emitted C file: its kernel printed, its head, its declaration, its workspace, its self-test.

The interface is plain:

    int NAME(sizes as int64_t, inputs in fn.inputs order (scalars by value), outputs as pointers[, void *work])

`work`, NAME_WORK_BYTES(sizes) and NAME_work_bytes(sizes) exist only where a workspace is needed; `int64_t tape_steps` stands
before it, and among the sizes of the two, where a while loop is taped that nothing bounds. Returns 0 or a code of the enum in
the header: NAME_INDEX (an index out of range), NAME_SIZE (an entry check on sizes fails), NAME_STEPS (a while loop needs more
than its max_steps), NAME_DIVERGED (a root, fixed_point or minimize does), NAME_SINGULAR, NAME_TAPE (a while loop needs more
than tape_steps: call again with more).
Not supported: outputs that overlap inputs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from gradgen.emit.c_body import CBody
from gradgen.emit.c_call import TAPE_FULL
from gradgen.emit.c_gemm import stack_bytes
from gradgen.emit.c_selftest import selftest_text
from gradgen.emit.c_text import ROOT, fold_line, literal, parameter_lines
from gradgen.emit.entry import Entry
from gradgen.emit.header import header_lines, wrap
from gradgen.emit.names import Names, c_prefix, c_routines, owned_in_c
from gradgen.ir import entry_checks
from gradgen.lower import compile_loops
from gradgen.lower.kernel import TAPE_STEPS, Buffer, Kernel, Loop, walk
from gradgen.options import Options
from gradgen.sizes import Dim, add, nonnegative, spell
from gradgen.spelling import COMPARE, Expr
from gradgen.types import BYTES, C_NAMES

# Numbers of the codes, the same in every file.
CODES = {
    "OK": 0,
    "INDEX": 1,
    "SIZE": 2,
    "STEPS": 3,
    "SINGULAR": 4,
    "TAPE": TAPE_FULL,
    "DIVERGED": 6,
}


class CFunction:
    """Prints one function. taken: what else has a name in the file; `outer`: the file-scope names that this one adds."""

    def __init__(
        self, entry: Entry, options: Options, file: str, taken: Iterable[str] = ()
    ) -> None:
        self.fn = entry.fn
        self.signature = signature = entry.signature
        self.selftest = entry.selftest
        self.options = options
        self.kernel: Kernel = compile_loops(entry.laid or entry.fn, signature.results, options)
        self.name = signature.name
        self.prefix = self.name.upper()
        self.code = c_prefix(self.name)
        self.names = Names()
        self.names.reserve(self.name, *owned_in_c(self.name), *c_routines(), *taken)
        self.names.reserve(f"{file}_selftest", f"{file.upper()}_H")
        self.labels = [self.names.fresh(leaf.label) for leaf in signature.leaves]
        self.letters = {letter: self.names.fresh(letter) for letter in signature.letters}
        self.results = [self.names.fresh(label) for label in signature.results]
        steps = {letter: self.names.fresh(letter) for letter in self.kernel.letters}
        self.steps = list(steps.values())
        self.tape = {TAPE_STEPS: self.names.fresh(TAPE_STEPS)} if self.kernel.tape else {}
        self.sizes = {**self.letters, **self.tape}
        self.head = self.names.mark()  # names of what the function takes and returns
        self.body = CBody(self.kernel, self.names, {**self.sizes, **steps}, self.name, self.code)
        self._print()

    def _print(self) -> None:
        self.parameters = self._parameters()
        body = self.body
        body.scope = {p.split()[-1].lstrip("*"): p for p in self.parameters}
        body.scope |= {name: f"int64_t {name}" for name in self.steps}
        self.buffers = self.kernel.buffers()
        self._places = Counter(self.kernel.placement.get(id(b)) for b in self.buffers)
        for buffer in self.buffers:
            if buffer.storage != "local":
                name = (
                    self.names.temporary() if buffer.name == "t" else self.names.fresh(buffer.name)
                )
                body.pointer[id(buffer)] = name
                if buffer.storage != "const":
                    # A part of the function has to know what this function sees: that arrays lie apart.
                    qualifier = "restrict " if self._lies_apart(buffer) else ""
                    body.scope[name] = f"{C_NAMES[buffer.dtype]} *{qualifier}{name}"
        body.block([*self.kernel.prologue, *self.kernel.body], 1)
        checks = self._checks()
        memory = self._memory()
        counters = [f"    int64_t {name} = 0;" for name in self.steps]
        flush = [f"    DENORMALS_OFF({self.names.fresh('state')});"] if self.flushes else []
        lines = [
            *[f"    {line}" for line in body.sizes.values()],
            *checks,
            *memory,
            *counters,
            *flush,
        ]
        if lines and body.lines:
            lines.append("")
        lines += body.lines
        self.codes_used = {
            "OK": True, "INDEX": body.exits, "SIZE": bool(checks), "STEPS": "STEPS" in body.failures,
            "SINGULAR": "SINGULAR" in body.failures, "TAPE": "TAPE" in body.failures,
            "DIVERGED": "DIVERGED" in body.failures,
        }  # fmt: skip
        self.test = selftest_text(self)
        unused = self._unused("\n".join([*lines, *body.sizes.values()]))
        self.lines = [f"    (void){name};" for name in unused] + lines
        self.tables = self._tables()

    @property
    def text(self) -> str:
        """All that is the function's alone, as printed: for seeing what it uses."""
        return "\n".join([*self.lines, *self.body.parts, *self.tables])

    @property
    def outer(self) -> list[str]:
        """Names of its tables and parts, which the whole file sees."""
        tables = [self.body.pointer[id(b)] for b in self.buffers if b.storage == "const"]
        return [*tables, *self.body.part_names]

    @property
    def loops(self) -> bool:
        return any(type(s) is Loop for s in walk(self.kernel.body))

    @property
    def flushes(self) -> bool:
        """Whether denormal numbers count as zero while it runs."""
        return self.options.math == "fast" and self.loops

    def _parameters(self) -> list[str]:
        parts = [f"int64_t {name}" for name in self.letters.values()]
        for (node, buffer), name in zip(self.kernel.inputs, self.labels, strict=True):
            if buffer is None:
                self.body.variable[id(node)] = Expr(name)
                parts.append(f"{C_NAMES[node.type.dtype]} {name}")
            else:
                self.body.pointer[id(buffer)] = name
                parts.append(f"const {C_NAMES[buffer.dtype]} *{name}")
        for buffer, name in zip(self.kernel.outputs, self.results, strict=True):
            self.body.pointer[id(buffer.memory)] = name
            parts.append(f"{C_NAMES[buffer.dtype]} *restrict {name}")
        parts += [f"int64_t {name}" for name in self.tape.values()]
        if self.needs_work:
            parts.append("void *work")
        return parts

    @property
    def needs_work(self) -> bool:
        work = self.kernel.work_bytes
        return not (isinstance(work, int) and work == 0)

    def prototype(self, ending: str) -> str:
        """The head of the function; its declaration (ending ";") is for C++ too, which has no `restrict`."""
        parts = self.declared() if ending else self.parameters
        return "\n".join(parameter_lines(f"int {self.name}(", parts, ending))

    def declared(self) -> list[str]:
        return [p.replace("*restrict ", "*") for p in self.parameters]

    def _checks(self) -> list[str]:
        """The entry checks on sizes, none of which is negative."""
        lines = []
        if self.sizes:
            negative = " || ".join(f"{name} < 0" for name in self.sizes.values())
            lines += fold_line("    ", f"if ({negative})")
            lines.append(f"        return {self.code}_SIZE;")
        for need in entry_checks(self.kernel.requires):
            left, right = self.body.dim(need.left), self.body.dim(need.right)
            opposite = "<" if need.relation == ">=" else "!="
            test = f"{left.at(COMPARE + 1)} {opposite} {right.at(COMPARE + 1)}"
            lines += [f"    if ({test})", f"        return {self.code}_SIZE;"]
        return lines

    def _lies_apart(self, buffer: Buffer) -> bool:
        """Whether no other array is ever placed where this one is."""
        place = self.kernel.placement.get(id(buffer))
        if place is None or place[0] != "work":
            return place is not None
        return self._places[place] == 1

    def _memory(self) -> list[str]:
        lines = []
        for buffer in self.buffers:
            name = self.body.pointer.get(id(buffer))
            kind = C_NAMES[buffer.dtype]
            where, start = self.kernel.placement.get(id(buffer), ("", 0))
            if where == "stack":
                lines.append(f"    {kind} {name}[{buffer.size or 1}];")  # no array is of nothing
            elif where == "work":
                offset = self.body.dim(start)
                place = (
                    "work" if offset.text == "0" else f"(void *)((char *)work + {offset.at(11)})"
                )
                qualifier = "restrict const" if self._lies_apart(buffer) else "const"
                lines += fold_line("    ", f"{kind} *{qualifier} {name} = {place};")
        return lines

    def _unused(self, text: str) -> list[str]:
        words = set(re.findall(r"\w+", text))
        names = [p.split()[-1].lstrip("*") for p in self.parameters]
        return [name for name in names if name not in words]

    # -- around it

    def _tables(self) -> list[str]:
        out = []
        for buffer in self.buffers:
            if buffer.storage == "const":
                values = ", ".join(literal(v).text for v in np.asarray(buffer.data).reshape(-1))
                name = self.body.pointer[id(buffer)]
                head = f"static const {C_NAMES[buffer.dtype]} {name}[{buffer.size}] = {{{values}}};"
                out.append("\n".join(fold_line("", head)))
        return out

    def codes(self) -> str:
        used = [word for word, yes in self.codes_used.items() if yes]
        return ", ".join(f"{self.code}_{word} = {CODES[word]}" for word in used)

    def work_text(self) -> str:
        if not self.needs_work:
            return ""
        clip = "({0} > 0 ? {0} : 0)"

        def quotient(divisor: Dim) -> str:
            positive = nonnegative(add(divisor, -1))
            return "(({0}) / ({1}))" if positive else "(({1}) != 0 ? ({0}) / ({1}) : 0)"

        text = spell(
            self.kernel.work_bytes, lambda n: f"(int64_t)({self.sizes[n]})", clip, quotient, ROOT
        )
        return " \\\n".join(fold_line("    ", f"((size_t)({text}))", 98))

    def work_lines(self) -> list[str]:
        """The function that gives the bytes of the workspace, where there is one."""
        if not self.needs_work:
            return []
        used = self.work_text()
        idle = [n for n in self.sizes.values() if f"({n})" not in used]
        return [
            f"size_t {self.name}_work_bytes({self.size_parameters()})",
            "{",
            *[f"    (void){n};" for n in idle],
            f"    return {self.prefix}_WORK_BYTES({', '.join(self.sizes.values())});",
            "}",
        ]

    def header(self) -> list[str]:
        call = f"{self.name}({', '.join(p.split()[-1].lstrip('*') for p in self.parameters)})"
        names = dict(zip([leaf.label for leaf in self.signature.leaves], self.labels, strict=True))
        lines = header_lines(
            self.fn,
            self.signature,
            call,
            lambda n: names.get(n, self.letters.get(n, n)),
            self.kernel,
        )
        return [*lines, *self.notes()]

    def notes(self) -> list[str]:
        arrays = [
            b
            for b in self.buffers
            if b.storage == "local" or self.kernel.placement.get(id(b), ("",))[0] == "stack"
        ]
        stack = sum(BYTES[b.dtype] * _count(b) for b in arrays if b.shape)
        if self.options.blas != "cblas":
            stack += max((stack_bytes(dtype) for dtype in self.body.gemms), default=0)
        work = "Needs no workspace."
        if self.needs_work:
            macro = f"{self.prefix}_WORK_BYTES({', '.join(self.sizes.values())})"
            work = f"Workspace: {macro} bytes, aligned to 64."
        lines = [f"{work} Stack: {stack} bytes of arrays." if stack else work]
        lines += [
            f"{name}: steps that a while loop's tape has room for; {self.code}_TAPE asks for more."
            for name in self.tape.values()
        ]
        order = "column" if self.options.order == "F" else "row"
        lines.append(
            f"Arrays are {order}-major. Inputs may alias each other; outputs overlap nothing."
        )
        return [part for line in lines for part in wrap(line)]

    def size_parameters(self) -> str:
        return ", ".join(f"int64_t {n}" for n in self.sizes.values()) or "void"


def _count(buffer: Buffer) -> int:
    size = buffer.size
    assert isinstance(size, int)
    return size
