"""`gradgen ops`: the ops as a table, and one op in full."""

from __future__ import annotations

import inspect
from typing import Any

from gradgen.errors import GradgenError
from gradgen.functions import FUNCTIONS
from gradgen.ir import LEAVES, OPS, Op
from gradgen.passes.scalarise import LINALG, ORDERS
from gradgen.spelling import Expr

TARGETS = ("numpy", "python", "c")


def table() -> str:
    """One line an op: name, targets, NumPy functions, meaning."""
    lines = [f"{'op':<16} {'targets':<18} meaning"]
    for op in sorted(OPS.values(), key=lambda o: o.name):
        if op in LEAVES:
            continue
        lines.append(f"{op.name:<16} {' '.join(targets(op)):<18} {op.doc.splitlines()[0]}")
    return "\n".join(lines)


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
    """An op's record as text: meaning, derivative, conventions at kinks, each target's spelling."""
    word = name.removeprefix("np.").removeprefix("numpy.")
    op = OPS.get(word)
    if op is None:
        for function in FUNCTIONS:
            if getattr(function, "__name__", None) == word:
                doc = inspect.getdoc(FUNCTIONS[function]) or "composed of other ops"
                return f"{name}: {doc.splitlines()[0]}"
        for candidate in OPS.values():
            if any(getattr(f, "__name__", "") == word for f in candidate.functions):
                op = candidate
    if op is None:
        raise GradgenError(f"there is no op {name}", "`gradgen ops` lists them all.")
    lines = [f"{op.name}: {op.doc}"]
    if op.sympy:
        lines.append(f"  formula      {op.sympy}")
    if op.functions:
        lines.append(
            f"  NumPy        {', '.join(getattr(f, '__name__', str(f)) for f in op.functions)}"
        )
    lines += [f"  derivative   {text}" for text in _derivative(op)]
    if op.kink:
        lines.append(f"  at kinks     {op.kink}")
    for target in TARGETS:
        text = _spelled(op, target)
        if text:
            lines.append(f"  {target:<12} {text}")
    return "\n".join(lines)


def _derivative(op: Op) -> list[str]:
    if op.partials is None:
        return ["by a rule of its own"] if op.vjp is not None else ["none"]
    out = []
    for k, partial in enumerate(op.partials):
        if partial is None:
            out.append(f"operand {k}: zero")
            continue
        try:
            source = inspect.getsource(partial).strip()
        except OSError:
            source = "declared by hand"
        out.append(f"operand {k}: {source}" if len(op.partials) > 1 else source)
    return list(dict.fromkeys(out))


class _Names:
    """A stand-in for the printer that spellings ask."""

    def helper(self, name: str, node: Any = None) -> str:
        return name

    def size(self, dim: Any) -> str:
        return str(dim)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: ""


def _spelled(op: Op, target: str) -> str:
    spelling = getattr(op, target)
    if spelling is None or not op.elementwise:
        return ""
    from gradgen.types import F64
    from gradgen.value import new_node

    count = len(op.partials) if op.partials else 1
    operands = [Expr(n) for n in ("a", "b", "c")[:count]] if count > 1 else [Expr("x")]
    node = new_node(op, (), {"dtype": "f64", "n": 3}, F64, None, None)
    try:
        return str(spelling(operands, node, _Names()).text)
    except (IndexError, ValueError, KeyError, AttributeError):
        return ""
