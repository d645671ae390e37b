"""Printed statements, and their lines with the user's line behind the first of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Statement:
    """One printed statement: its lines without indentation, what it assigns, what it reads."""

    lines: list[str]
    target: str
    reads: Sequence[str]
    phase: str
    cited: str
    more: tuple[str, ...] = ()  # further names that it assigns
    block: bool = False  # a loop or branch: its first line stands for all


def statement_lines(statement: Statement, previous_cited: str) -> list[str]:
    """The lines of a statement, with the user's line behind the first of a group."""
    cited = statement.cited
    if len(statement.lines) == 1 and (not cited or cited == previous_cited):
        return [f"    {statement.lines[0]}"]
    lines = [f"    {line}" for line in statement.lines]
    if cited and cited != previous_cited:
        if (len(lines) == 1 or statement.block) and len(lines[0]) + len(cited) + 4 <= 100:
            lines[0] += f"  # {cited}"
        else:
            lines.insert(0, f"    # {cited}")
    return lines
