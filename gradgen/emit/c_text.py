"""Small parts of C text: literals, lines of 100 columns, parameter lists, citations of the user's lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.lower.kernel import (
    Loop,
    walk,
)
from gradgen.sites import PLACES, cite
from gradgen.spelling import ATOM, UNARY, Expr

WIDTH = 100
ROOT = "(int64_t)sqrt((double){0})"  # of a size, one that binds as tightly as a name


def summary(loop: Loop) -> str:
    """What a nest holds: its phases, and the user's lines in order."""
    phases: dict[str, None] = {}
    lines: dict[str, None] = {}
    for stmt in walk([loop]):
        site = getattr(stmt, "site", None)
        if site is None:
            continue
        phases[site[2] if len(site) > 2 else "forward"] = None
        if cite(site):
            lines[cite(site)] = None
    order = [p for p in ("forward", "reverse", PLACES) if p in phases]
    shown = " and ".join(order) if len(order) < 3 else ", ".join(order)
    return f"{shown}  {citations(list(lines))}".strip()


def citations(lines: list[str]) -> str:
    """model.py:3, 5, other.py:2: each file once, its lines in order."""
    files: dict[str, list[str]] = {}
    for line in lines:
        name, _, number = line.rpartition(":")
        files.setdefault(name, []).append(number)
    texts = []
    for name, numbers in files.items():
        numbers.sort(key=int)
        shown = numbers if len(numbers) <= 6 else [*numbers[:5], "...", numbers[-1]]
        texts.append(f"{name}:{', '.join(shown)}")
    return ", ".join(texts)


def is_single(lines: list[str], depth: int) -> bool:
    """Whether lines are one statement, so that a loop needs no braces around it."""
    pad = 4 * depth
    own = [line for line in lines if len(line) - len(line.lstrip()) == pad]
    return len(own) == 1 and not own[0].lstrip().startswith("/*")


def parameter_lines(head: str, parts: Sequence[str], ending: str) -> list[str]:
    """A parameter list in lines of 100 columns, aligned behind the bracket."""
    pad = " " * len(head) if len(head) < 40 else "        "
    lines, line = [], head
    for k, part in enumerate(parts):
        text = part + ("," if k + 1 < len(parts) else f"){ending}")
        if len(line) + len(text) + 1 > WIDTH and line.strip() not in ("", head.strip()):
            lines.append(line.rstrip())
            line = pad
        line += text + " "
    if not parts:
        line += (
            f"void){ending}" if ending != ";" or head.lstrip().startswith("int ") else f"){ending}"
        )
    return [*lines, line.rstrip()]


def fold_comment(pad: str, text: str) -> list[str]:
    words, lines, line = text.split(), [], f"{pad}/*"
    for word in words:
        if len(line) + len(word) + 4 > WIDTH:
            lines.append(line)
            line = f"{pad} *"
        line += f" {word}"
    return [*lines, f"{line} */"]


def fold_line(pad: str, text: str, width: int = WIDTH) -> list[str]:
    """A statement in lines of 100 columns, broken at blanks, the last one before the limit that opens fewest brackets."""
    lines = []
    current = pad + text
    deeper = pad + "    "
    while len(current) > width:
        cut = _break(current, len(deeper), width)
        if cut <= len(deeper):
            break
        lines.append(current[:cut].rstrip())
        current = deeper + current[cut:].lstrip()
    return [*lines, current]


def _break(text: str, start: int, width: int) -> int:
    depth = best_depth = 0
    best = -1
    for k, char in enumerate(text[:width]):
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == " " and k > start + 8 and (best < 0 or depth <= best_depth or k - best > 40):
            best, best_depth = k, depth
    return best


def literal(value: Any) -> Expr:
    """A number as a C constant of its own dtype."""
    dtype = np.asarray(value).dtype
    number = np.asarray(value)[()]
    if dtype == np.bool_:
        return Expr("true" if number else "false")
    if dtype.kind == "i":
        return integer(int(number), dtype.itemsize)
    single = dtype == np.float32
    x = float(number)
    if math.isnan(x):
        return Expr("NAN") if single else Expr("(double)NAN", UNARY)
    if math.isinf(x):
        name = "INFINITY" if single else "HUGE_VAL"
        return Expr(name) if x > 0 else Expr(f"-{name}", UNARY)
    text = (str(number) if single else repr(x)).lower()
    if "." not in text and "e" not in text:
        text += ".0"
    if single:
        text += "f"
    return Expr(text, UNARY if text.startswith("-") else ATOM)


def integer(n: int, size: int = 8) -> Expr:
    low = -(2 ** (8 * size - 1))
    if n == low:
        return Expr(f"INT{8 * size}_MIN")
    text = str(n) if abs(n) < 2**31 else f"INT64_C({n})" if n > 0 else f"-INT64_C({-n})"
    return Expr(text, UNARY if n < 0 else ATOM)


def negated(test: Expr) -> str:
    """The opposite of a condition, NaN included: !(a < b) is not a >= b."""
    inner = test.text[1:]
    if test.text.startswith("!(") and _is_bracketed(inner):
        return inner[1:-1]
    return f"!{test.at(UNARY)}" if test.precedence >= UNARY else f"!({test.text})"


def _is_bracketed(text: str) -> bool:
    """Whether one pair of brackets encloses the text."""
    depth = 0
    for k, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return k == len(text) - 1
    return False


def comment_text(text: str) -> str:
    """Text safe inside a C comment."""
    return text.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?").replace("\\", "/")
