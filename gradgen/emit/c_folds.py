"""C routines that combine lanes in pairs: the sum, product, maximum or minimum of a small array (see `lower.lanes`)."""

from __future__ import annotations

from gradgen.types import C_NAMES

_WORDS = {"add": "sum", "mul": "product", "maximum": "max", "minimum": "min"}
_PAIR = {
    "add": "{a} + {b}",
    "mul": "{a} * {b}",
    # a maximum passes NaN on
    "maximum": "{a} > {b} || {a} != {a} ? {a} : {b}",
    "minimum": "{a} < {b} || {a} != {a} ? {a} : {b}",
}


def fold_name(op: str, dtype: str, count: int) -> str:
    """`sum16`; `sum32f` for f32."""
    return f"{_WORDS[op]}{count}{'f' if dtype == 'f32' else ''}"


def fold_text(op: str, dtype: str, count: int) -> str:
    """The definition: halves are combined until two elements are left."""
    kind = C_NAMES[dtype]
    word = {"add": "sum", "mul": "product", "maximum": "maximum", "minimum": "minimum"}[op]
    lines = [
        f"/* The {word} of {count} numbers, in pairs: no addition waits for more than it must. */",
        f"static {kind} {fold_name(op, dtype, count)}(const {kind} *x)",
        "{",
    ]
    if op != "add":
        lines[0] = f"/* The {word} of {count} numbers, in pairs. */"
    source = "x"
    while count > 2:
        count //= 2
        here = "abcdefgh"[count.bit_length() - 1]
        lines.append(f"    {kind} {here}[{count}];")
        pair = _PAIR[op].format(a=f"{source}[k]", b=f"{source}[k + {count}]")
        lines += [f"    for (int k = 0; k < {count}; k++)", f"        {here}[k] = {pair};"]
        source = here
    return "\n".join(
        [*lines, f"    return {_PAIR[op].format(a=f'{source}[0]', b=f'{source}[1]')};", "}"]
    )
