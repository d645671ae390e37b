"""What the head of every emitted file says: what it computes, its arguments and results, conventions at kinks, its origin."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from gradgen.cost import cost
from gradgen.ir import Function, entry_checks
from gradgen.lower.kernel import Kernel
from gradgen.ops.ties import WORDS
from gradgen.sizes import Dim, spell
from gradgen.trace.spec import Leaf, Signature
from gradgen.types import DTYPES, Type

LICENCE = (
    "SPDX-License-Identifier: 0BSD (this file, helpers included, belongs to whoever generated it)"
)


SHOWN = 20  # constants of a graph that the header lists


def type_text(ty: Type) -> str:
    """float64[n, d], or float64 for a scalar."""
    name = str(DTYPES[ty.dtype])
    return f"{name}[{', '.join(map(dim_text, ty.shape))}]" if ty.shape else name


def dim_text(dim: Dim) -> str:
    return str(dim) if isinstance(dim, int) else spell(dim, lambda letter: letter, tight=True)


def conventions(fn: Function) -> list[str]:
    """What the ops of `fn`, regions included, do at kinks: one text per op that has one; its own come first."""
    found = {op.integers if ty.dtype[0] == "i" else op.kink: None for op, ty in fn.kinds}
    if fn.has_regions:
        for node in fn.body:
            for region in node.op.regions:
                found |= dict.fromkeys(conventions(node.params[region]))
    return [text for text in found if text]


def kinks(fn: Function) -> list[str]:
    """The conventions in force: of the function as it was differentiated, much of which a derivative does not compute."""
    found = fn.notes["kinks"] if "kinks" in fn.notes else conventions(fn)
    if fn.notes.get("ties") != "first":
        return found
    for usual, words in WORDS.items():
        found = [text.replace(usual, words) for text in found]
    return found


def leaf_text(leaf: Leaf, names: Callable[[str], str] = str) -> str:
    text = f"{names(leaf.label)}  {type_text(leaf.type)}"
    if leaf.below is not None:
        text += f" < {dim_text(leaf.below)}"
    return f"{text}  {one_line(leaf.doc)}".rstrip()


def one_line(text: str) -> str:
    """Text of the user's, safe inside a docstring or comment: printable, on one line, without their terminators."""
    cleaned = "".join(c if c.isprintable() else " " for c in " ".join(str(text).split()))
    return (
        cleaned.strip()
        .replace("\\", "/")
        .replace('"""', "'''")
        .replace("*/", "* /")
        .replace("/*", "/ *")
        .replace('"', "'")
    )


def header_lines(
    fn: Function,
    signature: Signature,
    call: str,
    names: Callable[[str], str] = str,
    kernel: Kernel | None = None,
) -> list[str]:
    """The header as plain lines: `call` is the call and its result, in the target's words; for C the kernel is given."""
    lines = [*wrap(one_line(signature.title) + "."), "", *hanging(call), ""]
    lines += _columns([leaf_text(leaf, names) for leaf in signature.leaves])
    for name in signature.size_arguments:
        lines.append(f"    {names(name)}  a size")
    results = [
        f"{label}  {type_text(v.type)}"
        for label, v in zip(signature.results, fn.outputs, strict=True)
    ]
    lines += ["", "Results:", *_columns(results), ""]
    if signature.captures:
        listed = ", ".join(
            f"{one_line(k)} {type_text(Type.of('f64', v.shape)).replace('float64', str(v.dtype))}"
            for k, v in signature.captures.items()
        )
        lines += wrap(f"Captured arrays: {listed}.")
    if signature.constants:
        listed = ", ".join(map(one_line, signature.constants[:SHOWN]))
        more = len(signature.constants) - SHOWN
        lines += wrap(f"Constants: {listed}{f' and {more} more' if more > 0 else ''}.")
    lines += wrap(f"Kinks: {'; '.join(kinks(fn)) or 'none'}.")
    lines += wrap(_cost_text(fn, signature.flops, kernel))
    if fn.requires:
        lines += wrap(f"Sizes: {', '.join(map(str, entry_checks(fn.requires)))}.")
    return lines


def _cost_text(fn: Function, flops: Dim, kernel: Kernel | None) -> str:
    if fn.has_numbers_only:
        return f"Cost: {dim_text(flops)} flops, {len(fn.body)} operations."
    found = cost(fn, kernel)
    said = [f"Cost: {dim_text(flops)} flops"]
    if found.bytes != 0:
        said.append(f"{dim_text(found.bytes)} bytes moved")
    if kernel is None and found.peak != 0:
        said.append(f"at most {dim_text(found.peak)} bytes of arrays at once")
    return ", ".join([*said, f"{found.operations} operations."])


def _columns(entries: list[str]) -> list[str]:
    """Entries side by side while they fit in 96 columns, over several lines where one is longer."""
    lines: list[str] = []
    for entry in entries:
        if lines and len(lines[-1]) + len(entry) + 4 <= 96:
            lines[-1] += f"    {entry}"
        else:
            lines += hanging(entry)
    return lines


def wrap(text: str) -> list[str]:
    return textwrap.wrap(text, 96, break_long_words=False, break_on_hyphens=False)


def hanging(text: str) -> list[str]:
    """Indented lines of 96 columns, the first less: as it is where that fits."""
    if len(text) <= 92:
        return [f"    {text}"]
    found = textwrap.wrap(text, 88, break_long_words=False, break_on_hyphens=False)
    return [f"    {line}" if k == 0 else f"        {line}" for k, line in enumerate(found)]
