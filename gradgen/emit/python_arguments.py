"""The entry checks of an emitted NumPy function: arguments converted safely, their sizes held against each other."""

from __future__ import annotations

import re
from typing import Any

from gradgen.emit.header import dim_text
from gradgen.emit.layout import Group, Item, layout
from gradgen.emit.python_text import quote, raise_lines
from gradgen.ir import entry_checks
from gradgen.sizes import Size, letters, spell
from gradgen.trace.spec import Leaf
from gradgen.types import DTYPES


def arguments_text(function: Any) -> str:
    """The routine that the function (a `PythonFunction`) gives its arguments to."""
    signature, labels = function.signature, function.labels
    lines = [
        f"def {function.own('arguments')}({function.parameters()}):",
        '    """Convert safely and hold the sizes against each other."""',
    ]
    for argument in signature.passed:
        if argument.tree.kind != "leaf":
            lines += [f"    {line}" for line in function.unpack(argument)]
    for leaf in signature.leaves:
        lines += _conversion(function, leaf)
    for size in signature.size_arguments:
        target = function.arguments[size]
        lines.append(f"    {target} = _size({quote(function.said(size))}, {target})")
    lines += _shape_checks(function)
    names = [labels[leaf.label] for leaf in signature.leaves]
    names += [function.arguments[n] for n in signature.size_arguments]
    if names:
        lines += layout(4, "return ", Group("(", names, ")", True) if len(names) > 1 else names[0])
    return "\n".join(lines)


def single_conversion(function: Any) -> list[str] | None:
    """All there is to check where the function takes one array, whose shape nothing restricts; None for other functions."""
    signature = function.signature
    if len(signature.passed) != 1 or len(signature.leaves) != 1 or signature.size_arguments:
        return None
    structured = signature.passed[0].tree.kind != "leaf"
    return (
        None
        if structured or _shape_checks(function)
        else _conversion(function, signature.leaves[0])
    )


def _conversion(function: Any, leaf: Leaf) -> list[str]:
    label = function.labels[leaf.label]
    shown = quote(function.said(leaf.label))
    given: list[Item] = [shown, label, _np_type(leaf), str(leaf.type.ndim)]
    return layout(4, f"{label} = ", Group("_array(", given, ")"))


def routines(texts: str, file: str) -> list[str]:
    """The routines that all entry checks of a file share, those that `texts` call."""
    array = ARRAY
    if "np.int" in texts and re.search(r"np\.int(32|64),\s+[1-9]\)", texts):
        array = array.replace(_SHAPE_CHECK, _MASK_CHECK + _SHAPE_CHECK)
    return [
        _named(text, file)
        for call, text in (("_array", array), ("_size", SIZE))
        if f"{call}(" in texts and re.search(rf"\b{call}\(", texts)
    ]


def _np_type(leaf: Leaf) -> str:
    return f"np.{DTYPES[leaf.type.dtype]}" if leaf.type.dtype != "bool" else "np.bool_"


def _shape_checks(function: Any) -> list[str]:
    """Sizes read off the arguments, then every other axis held against them."""
    signature, labels = function.signature, function.labels
    source: dict[str, tuple[str, str]] = {n: (n, "") for n in signature.size_arguments}
    compared: list[Leaf] = []
    for leaf in signature.leaves:
        fresh = 0
        for axis, dim in enumerate(leaf.type.shape):
            if isinstance(dim, Size) and str(dim) in function.letters and str(dim) not in source:
                source[str(dim)] = (leaf.label, f"{labels[leaf.label]}.shape[{axis}]")
                fresh += 1
        if fresh < leaf.type.ndim:
            compared.append(leaf)
    used: set[str] = set()

    def name(letter: str) -> str:
        used.add(letter)
        return str(function.letters[letter])

    lines: list[str] = []
    for leaf in compared:
        label, dims = labels[leaf.label], leaf.type.shape
        comma = "," if len(dims) == 1 else ""
        wanted = ", ".join(spell(d, name) for d in dims)
        shown = ", ".join(dim_text(d) for d in dims)
        origin = sorted(
            {
                f"{n} from {source[n][0]}"
                for d in dims
                for n in letters(d)
                if source[n][0] != leaf.label
            }
        )
        note = f" ({', '.join(origin)})" if origin else ""
        lines.append(f"    if {label}.shape != ({wanted}{comma}):")
        message = f"{signature.name} needs {leaf.label} of shape ({shown}{comma})"
        if leaf.type.static:
            lines += raise_lines("ValueError", f"{message}, got ", f"{label}.shape", "", "")
        else:
            wanted = f"({wanted}{comma})"
            got = f"{label}.shape"
            lines += raise_lines("ValueError", f"{message} = ", wanted, f"{note}, got ", got)
    for need in entry_checks(function.fn.requires):
        left, right = spell(need.left, name), spell(need.right, name)
        opposite = "<" if need.relation == ">=" else "!="
        lines.append(f"    if {left} {opposite} {right}:")
        message = f"{signature.name} needs {need}, got "
        lines += raise_lines("ValueError", message, left, "", "")
    for leaf in signature.leaves:
        if leaf.below is not None:
            bound, label = spell(leaf.below, name), labels[leaf.label]
            negative = f"-{bound}" if bound.isidentifier() or bound.isdigit() else f"-({bound})"
            lines.append(f"    if np.any(({label} < {negative}) | ({label} >= {bound})):")
            message = f"{signature.name} needs {leaf.label} below {leaf.below} = "
            lines += raise_lines("IndexError", message, bound, "", "")
    first = [
        f"    {function.letters[n]} = {access}"
        for n, (_, access) in source.items()
        if n in used and access
    ]
    return first + lines


ARRAY = '''def _array(name, value, dtype, ndim):
    """`value` as an array of `dtype` if that loses nothing."""
    if type(value) is np.ndarray and value.dtype == dtype and value.ndim == ndim > 0:
        return np.ascontiguousarray(value)
    if type(value) is float and dtype is np.float64 and ndim == 0:
        return np.float64(value)
    array = np.asarray(value)
    given = isinstance(value, (np.ndarray, np.generic))
    safe = np.can_cast(array.dtype, dtype, "safe" if given else "same_kind")
    if not safe and (given or array.size):  # [] is of any dtype
        raise TypeError(f"NAME needs {np.dtype(dtype)} for {name}, got {array.dtype}")
    if not given and array.dtype.kind == "i":
        array = np.asarray(value, dtype)  # an integer too large raises OverflowError
    if array.ndim != ndim:
        raise ValueError(f"NAME needs {ndim} dimensions for {name}, got shape {array.shape}")
    return np.asarray(array, dtype, order="C")[()]'''

_SHAPE_CHECK = """    if array.ndim != ndim:
"""
_MASK_CHECK = """    if ndim and array.dtype == bool and np.issubdtype(dtype, np.integer):
        raise TypeError(f"NAME needs integers for {name}, got a mask: np.flatnonzero gives its indices")
"""

SIZE = '''def _size(name, value):
    """`value` as a size."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise TypeError(f"NAME needs an integer of zero or more for {name}, got {value!r}")
    return int(value)'''


def _named(text: str, name: str) -> str:
    """A routine's text with the file's name in its messages; a raise that becomes too long is broken as formatters do."""
    lines = []
    for line in text.replace("NAME", name).split("\n"):
        opened = line.find("(") + 1
        if len(line) > 100 and line.lstrip().startswith("raise "):
            pad = " " * (len(line) - len(line.lstrip()))
            lines += [line[:opened], f"{pad}    {line[opened:-1]}", f"{pad})"]
        else:
            lines.append(line)
    return "\n".join(lines)
