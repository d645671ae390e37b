"""Specs: what each argument of a compiled function is.

    "f64[n,3]"  "f32[]"  "i64[k]"  "bool[n]"     dtype and shape; sizes are integers, letters and polynomials of letters
    "i64[p] < n"                                 indices into an axis of size n
    "size"                                       an integer argument that is the size of its own name
    an array                                     its dtype and shape, all sizes static;  a float: "f64[]"
    int, bool, None, static(v)                   known at trace time, not passed at call time
    dict, list, tuple, named tuple, dataclass    a structure of specs

A Signature is a compiled function's interface: its arguments with their leaves, and the letters that sizes are made of.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType
from typing import Any

import numpy as np

from gradgen.errors import SpecError
from gradgen.functions import lookup
from gradgen.ir import NO_PARAMS, PARAM
from gradgen.sizes import Dim, Size, letter, letters, parse
from gradgen.tree import Tree, flatten, leaf_names, unflatten
from gradgen.types import DTYPES, Type, type_of
from gradgen.value import Extent, Value, new_node

_ARRAY = re.compile(r"\s*(\w+)\s*\[([^\[\]]*)\]\s*(?:<\s*(.+))?$")


class Static:
    """A value known at trace time. No dataclass: `flatten` must not look inside."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"gg.static({self.value!r})"


@dataclass(frozen=True)
class Spec:
    """An array argument: its type; `below` bounds the indices it holds; range, example and text for checks and headers."""

    type: Type
    below: Dim | None = None
    low: float | None = None
    high: float | None = None
    example: Any = None
    doc: str = ""


@dataclass(frozen=True)
class SizeSpec:
    """An integer argument that is a size."""


def static(value: Any) -> Static:
    """Mark an argument as known at trace time: it is frozen into the code and not passed at call time."""
    return Static(value)


def spec(s: Any, low: Any = None, high: Any = None, example: Any = None, doc: str = "") -> Spec:
    """A spec with a sampling range for checks (`low` <= x <= `high`), an example value, and text for the header."""
    found = parse_leaf(s)
    if not isinstance(found, Spec):
        raise SpecError(f"gg.spec needs the spec of an array, got {s!r}")
    for word, bound in (("low", low), ("high", high)):
        if bound is not None and not isinstance(bound, (int, float, np.integer, np.floating)):
            raise SpecError(f"gg.spec needs a number for {word}, got {bound!r}")
    if low is not None and high is not None and low > high:
        raise SpecError(f"gg.spec needs low <= high, got low={low} and high={high}")
    return Spec(found.type, found.below, low, high, example, doc)


def parse_leaf(s: Any) -> Spec | SizeSpec | Static:
    """One leaf of a spec. SpecError says what a spec can be."""
    if isinstance(s, (Spec, SizeSpec, Static)):
        return s
    if isinstance(s, Type):
        return Spec(s)
    if isinstance(s, str):
        return _parse_text(s)
    if s is None or isinstance(s, (bool, int, np.bool_)):
        return Static(s)
    if isinstance(s, Value):
        return Spec(s.type)
    if isinstance(s, (np.ndarray, np.generic)):
        return Spec(type_of(s))
    if isinstance(s, float):
        return Spec(Type.of("f64"))
    raise SpecError(
        f"a spec needs text like 'f64[n,3]', an array, a number or a structure of them, got {type(s).__name__}",
        "Wrap what is known at trace time in gg.static(...).",
    )


def _parse_text(text: str) -> Spec | SizeSpec:
    if text.strip() == "size":
        return SizeSpec()
    match = _ARRAY.match(text)
    if match is None or match[1] not in DTYPES:
        raise SpecError(
            f"a spec needs a dtype and a shape like 'f64[n,3]' (dtypes {', '.join(DTYPES)}) or 'size', got {text!r}",
            "A string that is a plain value known at trace time is given as gg.static('...').",
        )
    dtype, inside, bound = match.groups()
    dims = tuple(parse(part) for part in inside.split(",") if part.strip())
    if any(isinstance(dim, int) and dim < 0 for dim in dims):
        raise SpecError(f"a spec needs sizes of zero or more, got {text!r}")
    below = None
    if bound is not None:
        if dtype not in ("i64", "i32"):
            raise SpecError(f"a bound needs an integer dtype, got {text!r}")
        below = parse(bound)
    return Spec(Type.of(dtype, dims), below)


@dataclass
class Leaf:
    """One array of the interface: its flat label, its type, and what the spec said of it."""

    label: str
    type: Type
    doc: str = ""
    below: Dim | None = None
    low: float | None = None
    high: float | None = None
    example: Any = None


@dataclass
class Argument:
    """One parameter: its structure, and for each leaf a Leaf (an array), a SizeSpec, or a Static."""

    name: str
    tree: Tree
    entries: list[Leaf | SizeSpec | Static]

    @property
    def is_static(self) -> bool:
        """Whether nothing of it is passed at call time."""
        return all(isinstance(e, Static) for e in self.entries)

    @property
    def is_size(self) -> bool:
        return self.tree.kind == "leaf" and isinstance(self.entries[0], SizeSpec)

    @property
    def leaves(self) -> list[Leaf]:
        return [e for e in self.entries if isinstance(e, Leaf)]


@dataclass
class Signature:
    """The interface of a compiled function.

    leaves align with the Function's inputs (captured arrays last), `results` with its outputs; `result` and `slots` give the
    structure returned: the output's number for each leaf, None where there is no gradient. `flops`: nominal operations;
    `constants`: what a graph that was built already holds fixed, as text. `weighed`: by the last argument (vjp).
    `moved`: the inputs that the last argument's leaves are directions of (jvp).
    """

    name: str
    arguments: list[Argument]
    result: Tree
    slots: list[int | None]
    results: list[str]
    result_types: list[Type] = field(default_factory=list)
    captures: dict[str, np.ndarray] = field(default_factory=dict)
    captured_leaves: list[Leaf] = field(default_factory=list)
    title: str = ""
    command: str = ""
    flops: Dim = 0
    constants: list[str] = field(default_factory=list)
    weighed: bool = False
    moved: tuple[int, ...] = ()

    @property
    def leaves(self) -> list[Leaf]:
        return [leaf for a in self.arguments for leaf in a.leaves] + self.captured_leaves

    @property
    def size_arguments(self) -> list[str]:
        return [a.name for a in self.arguments if a.is_size]

    @property
    def letters(self) -> list[str]:
        """Letters of all sizes: size arguments first, then as they appear in the arguments, those of highest rank first.

        (n, d) for w[d], X[n, d], y[n]: a matrix says more about the order that a reader expects than a vector.
        """
        found = dict.fromkeys(self.size_arguments)
        for leaf in sorted(self.leaves, key=lambda leaf: -leaf.type.ndim):
            for dim in leaf.type.shape:
                found.update(dict.fromkeys(letters(dim)))
        return list(found)

    @property
    def passed(self) -> list[Argument]:
        """Arguments that are passed at call time."""
        return [a for a in self.arguments if not a.is_static]


def arguments_of(
    f: Any, names: Sequence[str], positional: Sequence[Any], named: Mapping[str, Any]
) -> list[Argument]:
    """Pair the parameters of `f` with their specs. SpecError for too many, unknown or missing ones."""
    given = dict(named)
    f_inner = f
    while hasattr(f_inner, "derive"):
        f_inner = f_inner.f
    if len(positional) > len(names) and not _variadic(f_inner):
        raise SpecError(
            f"{_label(f)} takes {len(names)} arguments ({', '.join(names)}), got {len(positional)} specs"
        )
    out: list[Argument] = []
    defaults = {p.name: p.default for p in _parameters(f_inner) if p.default is not p.empty}
    for k, s in enumerate(positional):
        name = names[k] if k < len(names) else f"x{k}"
        if name in given:
            raise SpecError(f"{name} needs one spec, got one by position and one by name")
        out.append(_argument(name, s))
    rest = list(names[len(positional) :])
    if (
        isinstance(f_inner, BuiltinFunctionType) or lookup(f_inner) is not None
    ):  # np.outer's out=: a library's own defaults are its own affair
        while rest and rest[-1] in defaults and rest[-1] not in given:
            rest.pop()
    for name in rest:
        if name in given:
            out.append(_argument(name, given.pop(name)))
        elif name in defaults:
            out.append(Argument(name, Tree("leaf"), [Static(defaults[name])]))
        else:
            raise SpecError(
                f"{_label(f)} needs a spec for {name}", f'Add {name}="f64[]" or another spec.'
            )
    if given:
        found, remedy = _parameters(f_inner), ""
        if any(p.name in given for p in found if p.kind is p.KEYWORD_ONLY):
            remedy = "Its *args come first: fix what is behind them with functools.partial."
        elif any(p.kind is p.VAR_KEYWORD for p in found):
            remedy = "What **kwargs catches takes no spec: give it parameters of their own, or one dict of specs."
        raise SpecError(
            f"{_label(f)} has no parameter {', '.join(given)}; it takes {', '.join(names) or 'none'}",
            remedy,
        )
    _distinguish(out)
    _check_letters(out)
    return out


def _distinguish(arguments: list[Argument]) -> None:
    """Give every leaf a label of its own: p["a_b"], p["a"]["b"] and an argument p_a_b would share one."""
    taken = {a.name for a in arguments}
    for argument in arguments:
        if argument.tree.kind == "leaf":
            continue
        for leaf in argument.leaves:
            leaf.label = unused(leaf.label, taken)
            taken.add(leaf.label)


def unused(label: str, taken: Container[str]) -> str:
    """The label, or the first of label_2, label_3, ... that is not taken."""
    name, count = label, 2
    while name in taken:
        name, count = f"{label}_{count}", count + 1
    return name


def _argument(name: str, s: Any) -> Argument:
    found, tree = flatten(s, is_leaf=lambda v: isinstance(v, (Spec, SizeSpec, Static)))
    check_keys(name, tree)
    entries: list[Leaf | SizeSpec | Static] = []
    for item, label in zip(found, leaf_names(name, tree), strict=True):
        try:
            entry = parse_leaf(item)
        except SpecError as error:
            raise SpecError(f"{name}: {error.what}", error.remedy) from None
        if isinstance(entry, Spec):
            entries.append(
                Leaf(
                    label, entry.type, entry.doc, entry.below, entry.low, entry.high, entry.example
                )
            )
        else:
            entries.append(entry)
    return Argument(name, tree, entries)


def check_keys(name: str, tree: Tree) -> None:
    """SpecError unless every dict key is one that can be written as a literal: it will stand in emitted text."""
    todo = [tree]
    while todo:
        node = todo.pop()
        todo += node.children
        if node.kind == "dict":
            for key in node.keys:
                if not _is_literal(key):
                    raise SpecError(
                        f"{name} needs keys that are text, numbers, None or tuples of them, "
                        f"got a key of type {type(key).__name__}"
                    )


def _is_literal(key: Any) -> bool:
    if type(key) is tuple:
        return all(map(_is_literal, key))
    if type(key) is float:
        return bool(np.isfinite(key))
    return isinstance(key, str) or key is None or type(key) in (int, bool)


def _check_letters(arguments: list[Argument]) -> None:
    """Every letter must be solvable: it is a size argument or stands alone as an axis somewhere."""
    bare = {a.name for a in arguments if a.is_size}
    used: dict[str, str] = {}
    for argument in arguments:
        for leaf in argument.leaves:
            for dim in (*leaf.type.shape, *(() if leaf.below is None else (leaf.below,))):
                for name in letters(dim):
                    used.setdefault(name, leaf.label)
            for dim in leaf.type.shape:
                if isinstance(dim, Size) and dim.terms == ((((dim.terms[0][0][0]),), 1),):
                    bare.add(str(dim))
    for name, label in used.items():
        if name not in bare:
            raise SpecError(
                f"the size {name} of {label} needs an axis that is just {name}, so that it can be read off an argument",
                f'Give an argument the shape [{name}], or add an integer argument with the spec "size".',
            )


def _variadic(f: Any) -> bool:
    return any(p.kind is p.VAR_POSITIONAL for p in _parameters(f))


def _parameters(f: Any) -> list[inspect.Parameter]:
    try:
        return _signature(f)
    except (TypeError, ValueError):
        return []


def _signature(f: Any) -> list[inspect.Parameter]:
    """The parameters of a function; TypeError or ValueError where it does not say. Those of a ufunc are its operands."""
    if not isinstance(f, np.ufunc):
        return list(inspect.signature(f).parameters.values())
    # Only NumPy's own have a signature, since 2.4, and there `out` is a parameter.
    names = ["x"] if f.nin == 1 else [f"x{k + 1}" for k in range(f.nin)]
    return [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]


def takes(f: Any) -> tuple[list[str], list[str]]:
    """Names of the parameters of a plain function: those that are passed by position, and the keyword-only ones behind them.

    What functools.partial has fixed is none of them; nor is what stands behind *args, whose number nobody knows, nor what a
    library's function in C has (`where=`, `dtype=`).
    """
    found = _signature(f)
    fixed = f.keywords if isinstance(f, functools.partial) else {}
    positional = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    inner = f
    while isinstance(inner, functools.partial):
        inner = inner.func
    in_python = any(hasattr(part, "__code__") for part in (inner, type(inner).__call__))
    if not in_python or any(p.kind is p.VAR_POSITIONAL for p in found):
        return positional, []
    return positional, [p.name for p in found if p.kind is p.KEYWORD_ONLY and p.name not in fixed]


def default_of(f: Any, name: str) -> Any:
    """The default of a parameter, or inspect's `empty`."""
    while hasattr(f, "derive"):
        f = f.f
    return next((p.default for p in _parameters(f) if p.name == name), inspect.Parameter.empty)


def _label(f: Any) -> str:
    return getattr(f, "__name__", type(f).__name__)


def placeholders(arguments: Sequence[Argument]) -> list[Any]:
    """Arguments to trace with: Values of the specs' types, sizes, and Statics, in their structures."""
    out = []
    for argument in arguments:
        leaves: list[Any] = []
        for entry in argument.entries:
            if isinstance(entry, Leaf):
                node = new_node(PARAM, (), NO_PARAMS, entry.type, None, None)
                node.name = entry.label
                leaves.append(node)
            elif isinstance(entry, SizeSpec):
                leaves.append(Extent(letter(argument.name), argument.name))
            else:
                leaves.append(entry)
        out.append(unflatten(argument.tree, leaves))
    return out
