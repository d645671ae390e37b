"""What all elementwise ops share: type rules, the maker of records, and spellings that depend on the dtype.

    number   NumPy's promotion; bool is refused (sub, neg, sign)
    same     NumPy's promotion; bool computes as NumPy's bool does (add is or, mul is and)
    float    the promoted dtype, integers become f64 (sin, div); bool is refused: NumPy would answer in float16
    bool     a truth value (comparisons, logic)

The records live in arithmetic, power, transcendental, special, select and logic; functions that are composed of several ops in
compose. `flops` are nominal: 1 for arithmetic, comparison and selection, 10 for a transcendental function, 0 for a cast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradgen.errors import SpecError
from gradgen.ir import CONST, Op, define
from gradgen.ops.partials import PARTIALS
from gradgen.spelling import Expr, Spelling
from gradgen.types import Type, broadcast, floating, promote

TRANSCENDENTAL = 10


def type_rule(name: str, kind: str) -> Callable[..., Type]:
    """The rule of an elementwise op: broadcast shapes, and the dtype by `kind` (see above)."""

    def infer(*types: Type) -> Type:
        shape = broadcast(name, *[ty.shape for ty in types])
        if kind == "bool":
            return Type.of("bool", shape)
        dtype = promote(*[ty.dtype for ty in types])
        if dtype == "bool" and kind != "same":
            raise SpecError(
                f"{name} needs numbers, got {' and '.join(map(str, types))}",
                "Convert the truth values first: mask.astype(float).",
            )
        return Type.of(floating(dtype) if kind == "float" else dtype, shape)

    return infer


def promoted(types: Sequence[Type], result: Type) -> tuple[str, ...]:
    """Operands are read in their common dtype (comparisons, whose result says nothing of it)."""
    return (promote(*[ty.dtype for ty in types]),) * len(types)


def truths(types: Sequence[Type], result: Type) -> tuple[str, ...]:
    """Operands are read as truth values."""
    return ("bool",) * len(types)


def elementwise(name: str, kind: str, evaluate: Callable[..., Any], doc: str, **fields: Any) -> Op:
    """Enter the record of an elementwise op; its partials come from the generated table unless given."""
    if fields.get("sympy"):
        fields.setdefault("partials", PARTIALS.get(name))
    fields.setdefault("infer", type_rule(name, kind))
    return define(Op(name=name, evaluate=evaluate, doc=doc, elementwise=True, memo={}, **fields))


def literal(value: Any) -> Any:
    """The number of a constant scalar operand; None for anything else."""
    if getattr(value, "op", None) is not CONST or value.type.shape:
        return None
    return value.params["value"].item()


# -- spellings
def libm(name: str) -> Spelling:
    """A function of C's <math.h>: with an `f` suffix for f32."""

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        suffix = "f" if node.type.dtype == "f32" else ""
        return Expr(f"{name}{suffix}({', '.join(x.text for x in operands)})")

    return spell


def by_dtype(floats: Spelling, ints: Spelling, bools: Spelling | None = None) -> Spelling:
    """One spelling for float results, one for integers, one for bool. `choose(dtype)` of it is the one for a dtype."""

    def choose(dtype: str) -> Spelling:
        if dtype == "bool" and bools is not None:
            return bools
        return floats if dtype[0] == "f" else ints

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        return choose(node.type.dtype)(operands, node, target)

    spell.choose = choose  # type: ignore[attr-defined]
    return spell


def numbers(text: str, precedence: int, at: Sequence[int] = ()) -> Spelling:
    """A C template whose literals follow the result's dtype: `0.` is 0.0, 0.0f or 0, and `1.` likewise."""

    def spell(operands: Sequence[Expr], node: Any, target: Any) -> Expr:
        dtype = node.type.dtype
        ending = {"f64": ".0", "f32": ".0f"}.get(dtype, "")
        texts = [x.at(at[i] if i < len(at) else 0) for i, x in enumerate(operands)]
        filled = text.replace("0.", "0" + ending).replace("1.", "1" + ending)
        return Expr(filled.format(*texts), precedence)

    return spell
