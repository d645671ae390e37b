"""Small pieces of Python source: strings and keys quoted so that nothing of a user's becomes code, raises, unpackings."""

from __future__ import annotations

from typing import Any

from gradgen.emit.layout import Group, flat, layout
from gradgen.tree import Tree


def raise_lines(kind: str, before: str, value: str, middle: str, last: str) -> list[str]:
    """A raise statement with an f-string, broken in two literals where it is long."""
    text = (
        escape(before) + "{" + value + "}" + escape(middle) + (("{" + last + "}") if last else "")
    )
    one = f'        raise {kind}(f"{text}")'
    if len(one) <= 100:
        return [one]
    single = f'            f"{text}"'
    if len(single) <= 100:
        return [f"        raise {kind}(", single, "        )"]
    return [
        f"        raise {kind}(",
        f'            f"{escape(before)}{{{value}}}"',
        f'            f"{escape(middle)}{{{last}}}"' if last else f'            "{escape(middle)}"',
        "        )",
    ]


def escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("{", "{{").replace("}", "}}")


def quote(text: str) -> str:
    """A Python string literal as formatters write it: in double quotes unless that needs more escapes."""
    mark = "'" if text.count('"') > text.count("'") else '"'
    return mark + "".join(_quoted(c, mark) for c in text) + mark


def _quoted(char: str, mark: str) -> str:
    if char in (mark, "\\"):
        return f"\\{char}"
    return char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()


def literal_key(key: Any) -> str:
    return quote(key) if isinstance(key, str) else repr(key)


def accesses(tree: Tree) -> list[str]:
    """How each leaf is reached from the argument: `["m"]`, `[0].w`."""
    if tree.kind == "leaf":
        return [""]
    out = []
    for key, child in zip(tree.keys, tree.children, strict=True):
        step = f".{key}" if tree.kind in ("dataclass", "namedtuple") else f"[{literal_key(key)}]"
        out += [step + rest for rest in accesses(child)]
    return out


def assign_many(names: list[str], call: Group) -> list[str]:
    """`a, b = call`, targets in brackets one a line where they are many."""
    if len(names) == 1:
        return layout(4, f"{names[0]} = ", call)
    left = ", ".join(names)
    if len(left) + len(flat(call)) + 7 <= 100:
        return [f"    {left} = {flat(call)}"]
    if len(left) + 12 + len(call.open) <= 100 and len(", ".join(flat(i) for i in call.items)) <= 92:
        return [
            f"    {left} = {call.open}",
            f"        {', '.join(flat(i) for i in call.items)}",
            "    )",
        ]
    return ["    (", *(f"        {n}," for n in names), *layout(4, ") = ", call)]
