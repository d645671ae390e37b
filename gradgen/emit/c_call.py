"""The C source that calls an emitted function from Python without conversions: built beside it, never saved with it.

    call_files(interfaces) -> {"gradgen-support.h": ..., "gradgen-module.h": ..., "gradgen-call-0.c": ..., ...}

The text depends on types and structure alone: names, keys and classes of the user's are given to the module when it is bound,
and the function's symbol, an identifier, stands in one string. Not supported: what needs a conversion; `attempt` then answers
NULL and Compiled takes its own slow way, which converts or raises.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gradgen.emit.c_structures import NUMBERS, Structures, joined, unless
from gradgen.emit.c_text import ROOT
from gradgen.emit.files import render, verbatim
from gradgen.sizes import Dim, Size, letters, spell
from gradgen.trace.spec import Leaf, Signature, SizeSpec, Static
from gradgen.types import C_NAMES, Type

MODULE = "gradgen_call"
# Nominal operations from which on other threads may run meanwhile: some ten microseconds, against 50 ns for letting go.
LONG_WORK = 20_000
# Workspaces up to this size are on the stack.
SMALL_WORK = 4096
# The code of a function whose tape has too little room.
TAPE_FULL = 5
# How many steps a tape has room for at first.
TAPE_START = 256


@dataclass(frozen=True)
class Interface:
    """What a caller in C needs: the signature, and the types of the function's inputs (captured arrays last) and outputs.

    work: the function has a workspace.  tape: it is told how many steps the tapes of its loops have room for, and says when
    they are too few.
    """

    name: str
    signature: Signature
    inputs: Sequence[Type]
    outputs: Sequence[Type]
    work: bool
    tape: bool = False


def call_files(interfaces: Sequence[Interface]) -> dict[str, str]:
    """The sources of the extension modules around the functions of a file, one for each; {} for a name of Python's own.

    They are linked into one shared object, where Python finds module k by its name, `MODULE` and k. The linker knows static
    names too: ours begin with a prefix that no function's name begins with. The hyphens keep the files apart from NAME.c.
    """
    names = tuple(interface.name for interface in interfaces)
    if any(name.startswith(("Py", "_Py")) for name in names):
        return {}
    prefix = "gg_"
    while any(name.startswith(prefix) for name in names):
        prefix = f"g{prefix}"
    texts = {
        "gradgen-support.h": verbatim("call_support.h"),
        "gradgen-module.h": verbatim("call_module.h"),
    }
    for k, interface in enumerate(interfaces):
        texts[f"gradgen-call-{k}.c"] = CallFile(interface, f"{MODULE}_{k}").text()
    # Not in quotes: there the function's own symbol stands.
    return {name: re.sub(r'(?<!")\bgg_', prefix, text) for name, text in texts.items()}


class CallFile:
    """call.c. Names in it: s0 a size, a0 an input, r0 an output, each in the order of the C function's parameters."""

    def __init__(self, interface: Interface, module: str) -> None:
        self.module = module
        self.signature = signature = interface.signature
        self.name = interface.name
        self.inputs = list(interface.inputs)
        self.outputs = list(interface.outputs)
        self.work = interface.work
        self.tape = interface.tape
        self.sizes = {letter: f"s{k}" for k, letter in enumerate(signature.letters)}
        self.structures = Structures(signature, self.outputs)
        self.entries = [
            entry
            for argument in signature.passed
            for entry in argument.entries
            if not isinstance(entry, Static)
        ]
        self.direct = not any(
            isinstance(e, SizeSpec)
            for a in signature.passed
            if a.tree.kind != "leaf"
            for e in a.entries
        )

    def text(self) -> str:
        sizes = [f"int64_t {s}" for s in self.sizes.values()]
        inputs = [
            f"const {C_NAMES[ty.dtype]} *a{k}" if ty.shape else f"{C_NAMES[ty.dtype]} a{k}"
            for k, ty in enumerate(self.inputs)
        ]
        outputs = [f"{C_NAMES[ty.dtype]} *r{k}" for k, ty in enumerate(self.outputs)]
        return render(
            "call.c.j2", name=self.name, module=self.module, work=self.work, tape=self.tape,
            parameters=[*sizes, *inputs, *outputs],
            size_parameters=[*sizes, *["int64_t tape"] * self.tape], sizes=len(self.sizes),
            arguments=len(self.signature.passed),
            leaves=len(self.inputs), outputs=len(self.outputs), nodes=self.structures.nodes,
            invoke=self._invoke(), attempt=self._attempt(), unpack=self.structures.unpack,
            places=self.structures.places, homes=self.structures.homes, run=self._run(),
        )  # fmt: skip

    # -- the kernel
    def _invoke(self) -> list[str]:
        call = [
            *self.sizes.values(),
            *(f"a{k}" for k in range(len(self.inputs))),
            *(f"r{k}" for k in range(len(self.outputs))),
        ]
        lines = []
        tape = ["tape"] * self.tape
        call += tape
        if self.work:
            lines += [
                f"    const size_t bytes = gg_kernel_work_bytes({', '.join([*self.sizes.values(), *tape])});",
                f"    size_t small[{SMALL_WORK} / sizeof(size_t) + 16];",
                f"    void *block = bytes <= {SMALL_WORK} ? small : gg_take_work(state, bytes);",
                "    if (block == NULL)",
                "        return -1;",
            ]
            call.append("gg_aligned(block)")
        else:
            lines.append("    (void)state;")
        run = f"gg_kernel({', '.join(call)})"
        cost = self._cost()
        if isinstance(cost, int) and cost < LONG_WORK:
            lines.append(f"    const int code = {run};")
        else:
            heavy = spell(
                cost,
                lambda n: f"(double){self.sizes[n]}",
                "gg_larger0({0})",
                "gg_floor_div({0}, {1})",
                "sqrt({0})",
            )
            lines += [
                f"    PyThreadState *saved = {heavy} >= {LONG_WORK} ? PyEval_SaveThread() : NULL;",
                f"    const int code = {run};",
                "    if (saved != NULL)",
                "        PyEval_RestoreThread(saved);",
            ]
        if self.work:
            lines += ["    if (block != small)", "        gg_give_work(state, block);"]
        if self.tape:
            # Twice the room until it is enough; the next call begins with what this one needed.
            return [
                f"    for (int64_t tape = state->tape > 0 ? state->tape : {TAPE_START};; tape *= 2) {{",
                *[f"    {line}" for line in lines],
                f"        if (code != {TAPE_FULL} || tape > INT64_MAX / 2) {{",
                "            state->tape = tape;",
                "            return code;",
                "        }",
                "    }",
            ]
        return [*lines, "    return code;"]

    def _cost(self) -> Dim:
        """Nominal operations; a loop that nobody counts is long."""
        known = self.signature.flops
        return known if set(letters(known)) <= set(self.sizes) else LONG_WORK

    # -- a call from Python
    def _attempt(self) -> list[str]:
        if not self.direct:
            return ["    (void)state, (void)leaf, (void)out, (void)gg_invoke;", "    return NULL;"]
        tests, loads = self._arguments()
        lines = ["    (void)state;"]
        lines += [
            f"    {C_NAMES[ty.dtype]} a{k};" for k, ty in enumerate(self.inputs) if not ty.shape
        ]
        lines += [f"    int64_t {self.sizes[n]};" for n in self.signature.size_arguments]
        lines += [*unless(tests), *loads]
        lines += [
            f"    {C_NAMES[ty.dtype]} r{k};" for k, ty in enumerate(self.outputs) if not ty.shape
        ]
        lines.append(f"    PyObject *made[] = {{{', '.join(self._made()) or 'NULL'}}};")
        arguments = [*self.sizes.values(), *(f"a{k}" for k in range(len(self.inputs)))]
        arguments += [
            f"DATA(made[{k}])" if ty.shape else f"&r{k}" for k, ty in enumerate(self.outputs)
        ]
        failed = [
            f"made[{k}] == NULL"
            if ty.shape
            else f"(out != NULL && out[{k}] != NULL && made[{k}] == NULL)"
            for k, ty in enumerate(self.outputs)
        ]
        ins = "leaf" if self.entries else "made"
        failed.append(f"(out != NULL && !gg_apart(OUTPUTS, made, {len(self.entries)}, {ins}))")
        failed += [
            f"(out != NULL && !gg_apart(OUTPUTS, made, {n}, &KEEP(0)))" for n in self._captured()
        ]
        failed.append(f"gg_invoke(state, {', '.join(arguments)}) != 0")
        copies, result = self.structures.result()
        lines += [
            f"    if ({joined(failed, '||')}) {{",
            "        gg_drop(OUTPUTS, made);",
            "        return NULL;",
            "    }",
            "    if (out == NULL) {",
            *copies,
            f"        return {result};",
            "    }",
        ]
        for k, ty in enumerate(self.outputs):
            if not ty.shape:
                lines += [
                    f"    if (made[{k}] != NULL)",
                    f"        memcpy(DATA(made[{k}]), &r{k}, sizeof r{k});",
                ]
        return [*lines, "    gg_drop(OUTPUTS, made);", "    return gg_new_ref(Py_None);"]

    def _captured(self) -> list[int]:
        count = len(self.signature.captured_leaves)
        return [count] if count else []

    def _arguments(self) -> tuple[list[str], list[str]]:
        """Tests that each leaf is what it should be; then the lines that read sizes and addresses."""
        tests, known, checks, below = [], {}, [], []
        sources: list[str] = []
        names = iter(self.signature.size_arguments)
        for k, entry in enumerate(self.entries):
            if isinstance(entry, SizeSpec):
                name = self.sizes[next(names)]
                tests.append(f"gg_take_integer(leaf[{k}], 0, INT64_MAX, &{name})")
                known[name] = ""
            else:
                sources.append(f"leaf[{k}]")
        sources += [f"KEEP({k})" for k in range(len(self.signature.captured_leaves))]
        for k, (ty, source) in enumerate(zip(self.inputs, sources, strict=True)):
            tests.append(_test(ty, source, f"a{k}"))
        axes = [
            (dim, f"DIM({source}, {axis})")
            for ty, source in zip(self.inputs, sources, strict=True)
            for axis, dim in enumerate(ty.shape)
        ]
        loads = []
        for dim, place in axes:
            letter = self.sizes.get(str(dim), "") if isinstance(dim, Size) else ""
            if letter and letter not in known:
                known[letter] = place
                loads.append(f"    const int64_t {letter} = {place};")
            else:
                checks.append(f"{place} == {self._size(dim)}")
        for k, (leaf, source) in enumerate(zip(self.signature.leaves, sources, strict=True)):
            if leaf.below is not None:
                below.append(_below(leaf, source, f"a{k}", self._size(leaf.below)))
        loads += unless([*self._moderate(), *checks]) + unless(below)
        loads += [
            f"    const {C_NAMES[ty.dtype]} *a{k} = DATA({source});"
            for k, (ty, source) in enumerate(zip(self.inputs, sources, strict=True))
            if ty.shape
        ]
        return tests, loads

    def _moderate(self) -> list[str]:
        """Where products of sizes are formed, that they cannot overflow (Python takes care of larger ones)."""
        dims = [d for ty in (*self.inputs, *self.outputs) for d in ty.shape if isinstance(d, Size)]
        if all(str(d) in self.sizes for d in dims):
            return []
        degree = max(len(monomial) for d in dims for monomial, _ in d.terms)
        bits = {1: 48, 2: 30, 3: 20}.get(degree, 12)
        return [f"({' | '.join(self.sizes.values())}) < (int64_t)1 << {bits}"]

    def _size(self, dim: Dim) -> str:
        return spell(
            dim, lambda n: self.sizes[n], "gg_larger0({0})", "gg_floor_div({0}, {1})", ROOT
        )

    def _made(self) -> list[str]:
        """Each output: an array for it, fresh or given; for a scalar the given place, if any."""
        out = []
        for k, ty in enumerate(self.outputs):
            dims = ", ".join(self._size(d) for d in ty.shape)
            if ty.shape:
                out.append(
                    f"gg_result(out == NULL ? NULL : out[{k}], {NUMBERS[ty.dtype]}, {ty.ndim}, (npy_intp[]){{{dims}}})"
                )
            else:
                out.append(
                    f"out == NULL || out[{k}] == NULL ? NULL : gg_result(out[{k}], {NUMBERS[ty.dtype]}, 0, NULL)"
                )
        return out

    # -- arrays that are prepared
    def _run(self) -> list[str]:
        sizes, first = list(self.sizes.values()), len(self.sizes)
        tests = [f"gg_take_integer(given[{k}], 0, INT64_MAX, &{s})" for k, s in enumerate(sizes)]
        lines = ["    State *own = state;", *(f"    int64_t {s};" for s in sizes)]
        values = list(sizes)
        for k, ty in enumerate(self.inputs):
            source = f"given[{first + k}]"
            tests.append(_test(ty, source, f"a{k}"))
            values.append(f"DATA({source})" if ty.shape else f"a{k}")
            if not ty.shape:
                lines.append(f"    {C_NAMES[ty.dtype]} a{k};")
        for k, ty in enumerate(self.outputs):
            source = f"given[{first + len(self.inputs) + k}]"
            tests.append(f"gg_is_array({source}, {NUMBERS[ty.dtype]}, {ty.ndim})")
            tests.append(f"PyArray_ISWRITEABLE(ARRAY({source}))")
            values.append(f"DATA({source})")
        lines += unless(tests, "0")
        return [*lines, f"    *code = gg_invoke(own, {', '.join(values)});", "    return 1;"]


def _test(ty: Type, source: str, name: str) -> str:
    if ty.shape:
        return f"gg_is_array({source}, {NUMBERS[ty.dtype]}, {ty.ndim})"
    return f"gg_take_{ty.dtype}({source}, &{name})"


def _below(leaf: Leaf, source: str, name: str, bound: str) -> str:
    if leaf.type.shape:
        return f"gg_below_{leaf.type.dtype}({source}, {bound})"
    return f"{name} < {bound} && {name} >= -({bound})"
