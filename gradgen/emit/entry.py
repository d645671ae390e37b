"""What emitters are given: the functions of a file, and what the file itself is called.

A file of one function is a file whose one entry has the file's name; its own routines then need no prefix, and the header of
the function is that of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradgen.emit.selftest import SelfTest
from gradgen.ir import Function
from gradgen.trace.spec import Signature


@dataclass(frozen=True)
class Entry:
    """One function of a file. laid: `fn` on arrays as they lie in memory, where that is not row by row."""

    fn: Function
    signature: Signature
    selftest: SelfTest | None = None
    laid: Function | None = None

    @property
    def name(self) -> str:
        return self.signature.name


@dataclass(frozen=True)
class Heading:
    """A file: its name without the ending, its title, the command or call that writes it again, and its functions' names."""

    name: str
    title: str
    command: str
    entries: tuple[str, ...]

    @property
    def alone(self) -> bool:
        """Whether the file is that of its only function."""
        return self.entries == (self.name,)


def heading_of(entry: Entry) -> Heading:
    """The heading of a file that is one function."""
    signature = entry.signature
    return Heading(signature.name, signature.title, signature.command, (signature.name,))


def contents(entries: Sequence[Entry]) -> list[str]:
    """A line for each function of a file of several."""
    width = max(len(entry.name) for entry in entries)
    return [f"    {entry.name:<{width}}  {entry.signature.title}" for entry in entries]
