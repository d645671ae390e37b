"""Tables that belong to a derivative (where the entries of a sparse one are), as constants of an emitted Python module."""

from __future__ import annotations

import textwrap

import numpy as np

from gradgen.emit.names import Names
from gradgen.ir import Function
from gradgen.value import Value, is_table


def tables_of(fn: Function) -> list[Value]:
    """The tables that a Function and its regions read, in order."""
    found: dict[Value, None] = {}
    todo = [fn]
    while todo:
        fn = todo.pop()
        for node in fn.body:
            for a in node.args:
                if is_table(a):
                    found.setdefault(a)
            todo += [node.params[name] for name in node.op.regions]
    return list(found)


def named(tables: list[Value], prefix: str, names: Names) -> dict[Value, str]:
    """A name for each table: in capitals, as those of constants are."""
    return {v: names.fresh(f"{prefix}{v.name}".upper()) for v in tables}


def table_text(name: str, array: np.ndarray) -> str:
    """A table of whole numbers as a statement."""
    text = ", ".join(map(str, array.tolist()))
    if len(name) + len(text) + 15 <= 100:
        return f"{name} = np.array([{text}])"
    lines = textwrap.wrap(text, 96)
    return "\n".join(
        [f"{name} = np.array([", *(f"    {line}" for line in lines), "])  # fmt: skip"]
    )
