"""`gradgen ops`: the ops as a table with what the tests cover, and one op or function in full."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gradgen.errors import GradgenError
from gradgen.functions import FUNCTIONS
from gradgen.ir import LEAVES, OPS, Op
from gradgen.passes.scalarise import LINALG, ORDERS
from gradgen.spelling import Expr
from gradgen.types import F64
from gradgen.value import new_node

TARGETS = ("numpy", "python", "c")
COVERAGE = Path(__file__).with_name("COVERAGE.md")


def table() -> str:
    """One line an op: name, targets, meaning; then the page of functions that the tests make."""
    lines = [f"{'op':<16} {'targets':<18} meaning"]
    for op in sorted(OPS.values(), key=lambda o: o.name):
        if op in LEAVES:
            continue
        lines.append(f"{op.name:<16} {' '.join(targets(op)):<18} {op.doc.splitlines()[0]}")
    return "\n".join([*lines, "", COVERAGE.read_text(encoding="utf-8").rstrip()])


def targets(op: Op) -> list[str]:
    found = []
    if op.numpy is not None or op.store is not None:
        found.append("numpy")
    if op.python is not None or not (op.elementwise or op.name in LINALG or op.name in ORDERS):
        found.append("python")
    if op.c is not None or op.nest is not None:
        found.append("c")
    return found


def describe(name: str) -> str:
    """An op's record, or a function that is composed of ops, as text. GradgenError if there is neither."""
    full = re.sub(r"^numpy\.", "np.", name)
    word = full.removeprefix("np.")
    op = OPS.get(word)
    if op is None or op in LEAVES:
        op = next((o for o in OPS.values() if full in map(_public, o.functions)), None)
    if op is not None:
        return "\n".join(_op(op))
    for function, implementation in FUNCTIONS.items():
        if _public(function) in (full, f"np.{word}") or (
            "." not in name and _public(function).endswith(f".{name}")
        ):
            one = OPS.get(getattr(implementation, "op_name", ""))
            lines = _op(one) + _covered(_public(function)) if one else []
            return "\n".join(lines or _function(_public(function), implementation))
    raise GradgenError(f"there is no op or function {name}", "`gradgen ops` lists them all.")


def _public(function: Any) -> str:
    """The name by which a user calls it: np.linalg.norm, np.add.reduce, scipy.special.erf."""
    if isinstance(function, str):
        return function
    if isinstance(function, tuple):
        return f"{_public(function[0])}.{function[1]}"
    module = (
        "numpy" if isinstance(function, np.ufunc) else getattr(function, "__module__", "") or ""
    )
    return f"{module}.{getattr(function, '__name__', '')}".replace("numpy.", "np.", 1)


# -- an op
def _op(op: Op) -> list[str]:
    names = _operands(op)
    lines = [f"{op.name}({', '.join(names)}): {op.doc}" if names else f"{op.name}: {op.doc}"]
    if op.sympy:
        lines.append(f"  formula      {op.sympy}")
    if op.functions:
        lines.append(f"  functions    {', '.join(map(_public, op.functions))}")
    lines += [f"  derivative   {text}" for text in _derivative(op, names)]
    if op.kink:
        lines.append(f"  at kinks     {op.kink}")
    if op.integers:
        lines.append(f"  integers     {op.integers}")
    for target in TARGETS:
        text = _spelled(op, target, names) or (
            "loops over the elements" if op.nest and target == "c" else ""
        )
        if text:
            lines.append(f"  {target:<12} {text}")
    return lines + [line for f in op.functions for line in _covered(_public(f))]


def _operands(op: Op) -> list[str]:
    """The operands' names, where the record says how many there are."""
    rules = op.partials or (op.vjp if isinstance(op.vjp, tuple) else ())
    count = len(rules) or getattr(op.functions[0] if op.functions else None, "nin", 0)
    return ["x"] if count == 1 else ["a", "b", "c"][:count]


def _derivative(op: Op, names: list[str]) -> list[str]:
    if op.partials is None:
        return ["by a rule of its own"] if op.vjp is not None else ["none"]
    out = []
    for name, partial in zip(names, op.partials, strict=False):
        text = "0" if partial is None else _formula(partial)
        out.append(text if len(names) == 1 else f"by {name}: {text}")
    return out


def _formula(partial: Callable[..., Any]) -> str:
    """What a partial computes from the result y and the operands, as it is written in its record."""
    try:
        source = inspect.getsource(partial).strip()
    except OSError:
        return "by a formula of its own"
    words = list(inspect.signature(partial).parameters)
    match = re.search(rf"lambda {', '.join(words)}: (.*)", source, re.DOTALL)
    if match is None:
        return (inspect.getdoc(partial) or f"{partial.__name__}({', '.join(words)})").splitlines()[
            0
        ]
    return (
        f"{_balanced(match[1])}   (y: the result)"
        if re.search(r"\by\b", match[1])
        else _balanced(match[1])
    )


def _balanced(text: str) -> str:
    """An expression up to the comma or bracket that ends it."""
    depth = 0
    for k, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth < 0 or (depth == 0 and char == ","):
            return " ".join(text[:k].replace("calls.", "").split())
    return " ".join(text.replace("calls.", "").split())


class _Names:
    """A stand-in for the printer that spellings ask."""

    def __init__(self, target: str) -> None:
        self.target = target

    def helper(self, name: str, node: Any = None) -> str:
        return name if self.target == "c" else f"_{name}"

    def size(self, dim: Any) -> str:
        return str(dim)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: ""


def _spelled(op: Op, target: str, names: list[str]) -> str:
    spelling = getattr(op, target)
    if spelling is None or not op.elementwise:
        return ""
    operands = [Expr(n) for n in names or ["x"]]
    leaves = tuple([new_node(OPS["param"], (), {}, F64, None, None) for _ in operands])
    node = new_node(op, leaves, {"dtype": "f64", "n": 3}, F64, None, None)
    try:
        return str(spelling(operands, node, _Names(target)).text)
    except (IndexError, ValueError, KeyError, AttributeError, TypeError):
        return ""


# -- a function
def _function(name: str, implementation: Callable[..., Any]) -> list[str]:
    try:
        signature = str(inspect.signature(implementation))
    except ValueError:
        signature = "(...)"
    signature = re.sub(r"(: | -> )'[^']*'", "", signature).replace(
        " = ", "="
    )  # without annotations
    doc = (inspect.getdoc(implementation) or "Made of other ops.").splitlines()[0]
    return [f"{name}{signature}", f"  {doc}", *_covered(name)]


def _covered(name: str) -> list[str]:
    """The function's line of the page, with the columns' names."""
    rows = [line.strip("| \n").split(" | ") for line in COVERAGE.read_text("utf-8").splitlines()]
    head = next((r for r in rows if r[0] == "function"), ["function"])
    for row in rows:
        if row[0] == f"`{name}`":
            cells = ", ".join(f"{h} {c}" for h, c in zip(head[1:], row[1:], strict=True))
            return [f"  tested       {name}: {cells}"]
    return []
