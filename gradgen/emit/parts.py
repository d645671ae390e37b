"""The lines of a printed body: statements with the user's lines behind them, and bodies too long for one function in parts.

CPython's compiler is far from linear in the length of one function; in functions of `PART` statements it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from typing import Any

from gradgen.emit.layout import Group, layout
from gradgen.emit.lines import Statement, statement_lines
from gradgen.emit.printer import Printed
from gradgen.sites import PLACES
from gradgen.spelling import Expr

PART = 2000


def sections(statements: Sequence[Statement]) -> list[str]:
    """The section of each statement: forward, tangents, reverse or where entries of a sparse derivative are; where tangents
    run beside their values, one for both."""
    titles = {"": "forward", "reverse": "reverse", PLACES: PLACES}
    found = [titles.get(s.phase, "tangents") for s in statements]
    turns = [section for section, _ in groupby(found)]
    if turns.count("tangents") > 1:
        return [s if s in ("reverse", PLACES) else "values and tangents" for s in found]
    return found


def split(function: Any, printed: Printed, inputs: list[str]) -> tuple[list[str], list[str]]:
    """The statements as functions of PART statements each, and the lines that call them.

    A part returns what later parts read, as a tuple; a later part takes the tuples that it reads from by name.
    """
    part = function.own("part_")
    statements = printed.statements
    chunks = [statements[k : k + PART] for k in range(0, len(statements), PART)]
    result_names = dict.fromkeys(e.text for e in printed.results)
    entry = set(inputs) | set(printed.letters.values()) | set(printed.sizes)
    home: dict[str, int] = {}
    reads: list[dict[str, None]] = []
    for k, chunk in enumerate(chunks):
        seen = dict.fromkeys(chain.from_iterable([s.reads for s in chunk]))
        targets = [s.target for s in chunk] + [name for s in chunk for name in s.more]
        own = {name for name in targets if home.setdefault(name, k) == k} - entry
        reads.append(dict.fromkeys([n for n in seen if n not in own and (n in entry or n in home)]))
    letters_used = [*printed.letters.values(), *printed.sizes]
    exported: list[dict[str, int]] = [{} for _ in chunks]
    for read in reads:
        for name in read:
            if name in home:
                exported[home[name]].setdefault(name, len(exported[home[name]]))
    for name in result_names:
        if name in home:
            exported[home[name]].setdefault(name, len(exported[home[name]]))
    texts, calls = [], []
    for k, (chunk, read) in enumerate(zip(chunks, reads, strict=True)):
        direct = [n for n in inputs if n in read] + letters_used
        tuples = sorted({home[n] for n in read if n in home})
        params = ", ".join([*direct, *(f"p{j + 1}" for j in tuples)])
        lines = [
            f"def {part}{k + 1}({params}):",
            f'    """Statements {k * PART + 1} to {k * PART + len(chunk)}."""',
        ]
        for name in read:
            if name in home:
                lines.append(f"    {name} = p{home[name] + 1}[{exported[home[name]][name]}]")
        cited = ""
        for s in chunk:
            lines += statement_lines(s, cited)
            cited = s.cited or cited
        names = list(exported[k])
        if names:
            lines += layout(4, "return ", Group("(", names, ")", len(names) > 1))
        texts.append("\n".join(lines))
        call = f"{part}{k + 1}({params})"
        calls.append(f"    p{k + 1} = {call}" if names else f"    {call}")
    module_results = []
    for expr in printed.results:
        name = expr.text
        module_results.append(
            Expr(f"p{home[name] + 1}[{exported[home[name]][name]}]") if name in home else expr
        )
    final = Printed([], module_results, printed.helpers, printed.letters)
    return texts, [*calls, *function._return_lines(final)]
