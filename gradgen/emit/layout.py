"""Line layout as the common Python formatters do it (ruff format, 100 columns), for the few things that can be long.

An item is text or a Group; a Group is printed on one line if it fits, else its items on one indented line, else one item a line
with a trailing comma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Union

WIDTH = 100
Item = Union[str, "Group"]


@dataclass
class Group:
    """`open item, item close`. A tuple of one keeps its comma; `bare` leaves the brackets out where it fits on the line.

    `key`: what stands before it in a dict, `"name": `.
    """

    open: str
    items: Sequence[Item]
    close: str
    bare: bool = False
    key: str = ""

    @property
    def one_tuple(self) -> bool:
        return (
            self.open.endswith("(")
            and self.close == ")"
            and self.open == "("
            and len(self.items) == 1
        )


def flat(item: Item) -> str:
    """The item on one line."""
    if isinstance(item, str):
        return item
    inner = ", ".join(flat(i) for i in item.items) + ("," if item.one_tuple else "")
    return inner if item.bare and item.items else f"{item.key}{item.open}{inner}{item.close}"


def layout(indent: int, prefix: str, item: Item, suffix: str = "") -> list[str]:
    """Lines of `prefix item suffix` at an indentation."""
    pad = " " * indent
    if isinstance(item, Group) and item.key:
        prefix, item = prefix + item.key, replace(item, key="")
    line = f"{pad}{prefix}{flat(item)}{suffix}"
    if isinstance(item, str) or len(line) <= WIDTH or not item.items:
        return [line]
    inner = " " * (indent + 4)
    body = ", ".join(flat(i) for i in item.items)
    if (
        len(inner) + len(body) <= WIDTH
        and not item.one_tuple
        and not item.bare
        and item.open[-1] == "("
        and item.open != "("  # literals go one item a line, arguments of a call may share one
    ):
        return [f"{pad}{prefix}{item.open}", inner + body, f"{pad}{item.close}{suffix}"]
    lines = [f"{pad}{prefix}{item.open}"]
    for inside in item.items:
        lines += layout(indent + 4, "", inside, ",")
    lines.append(f"{pad}{item.close}{suffix}")
    return lines


def entry(key: str, item: Item) -> Item:
    """`key: item` in a dict."""
    return key + item if isinstance(item, str) else replace(item, key=key, bare=False)


def closes(text: str, opened: int) -> int:
    """Index of the bracket that closes the one at `opened`."""
    depth = 0
    for k in range(opened, len(text)):
        if text[k] in "([{":
            depth += 1
        elif text[k] in ")]}":
            depth -= 1
            if depth == 0:
                return k
    return -1
