"""The array IR: typed SSA statements in closed Functions.

    Op         one record: type rule, meaning, derivative, spelling, loop nest   (records live in gradgen.ops)
    Node       one SSA value: op, operands, params, type; user's name and line    (gradgen.value.Value is the only subclass)
    Function   inputs, body in order, outputs; closed: every operand is an input, a leaf or an earlier statement

Leaves (`param`, `const`, `size`) are operands but not statements: they are not in the body. Nodes are immutable once made
and may be shared between Functions, so a pass keeps what it does not change. Nothing here recurses over the graph; what
loops and branches run are Functions among their params, and only their nesting is walked by recursion.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from gradgen.errors import GradgenError
from gradgen.sites import Site
from gradgen.sizes import Dim, letters
from gradgen.spelling import Spelling
from gradgen.types import Type
from gradgen.written import written


@dataclass(frozen=True, eq=False)
class Op:
    """Everything that gradgen knows of one operation.

    infer       (*types, **params) -> Type of the result; raises ShapeError or SpecError
    evaluate    (*arrays, **params) -> array: the meaning, in NumPy
    partials    elementwise ops: one function (y, *args) -> dy/d(arg i) per operand, or None where it is zero
    vjp         other ops: one rule (y_bar, y, *args, **params) -> arg_bar per operand, or one rule with the
                operand's number first, for ops with any number of operands; None where the result does not depend
                smoothly on it
    jvp         other ops: one rule (x_dot, y, *args, **params) -> y_dot per operand; "linear" applies the op itself
                with the operand replaced; the word "jointly" alone: the op is linear in all its operands at once
    bounded     per operand, whether the partial is finite for any operand, inf and nan included
    unbounded   per operand, whether the partial is infinite at an ordinary point (sqrt at 0): its product is always `mulz`
    kink        what it does at kinks and poles of floats, for headers;  integers: where targets differ on integers
    masks       the cotangents that leave this op may be exact zeros of a branch not taken (where, max, clip)
    operand_dtypes  elementwise ops: (types, result) -> the dtype in which each operand is read; by default the result's
    sympy       elementwise ops: the op as a SymPy expression in its operands' names, from which the table of
                partials is derived; empty where the partials are declared by hand
    functions   NumPy and SciPy functions that mean exactly this op
    view        the result may share memory with operand 0 in NumPy (slice, reshape, transpose, broadcast);
    shows       the same where it depends on the statement: see `shows` below
    store       ops that return operand 0 with a part of it changed: the NumPy statement that does it in place
    nest        (lowering, node) -> None: builds the loop nest of a structured op
    symmetric   reads one triangle of a matrix that it takes as symmetric, as its derivative is
    regions     names of the params that are closed Functions: what loops and branches run (gradgen.ops.regions)
    """

    name: str
    infer: Callable[..., Type]
    evaluate: Callable[..., Any]
    doc: str
    partials: tuple[Callable[..., Any] | None, ...] | None = None
    vjp: tuple[Callable[..., Any] | None, ...] | Callable[..., Any] | None = None
    jvp: tuple[Callable[..., Any] | str | None, ...] | str | None = None
    bounded: tuple[bool, ...] = (False, False, False)
    unbounded: tuple[bool, ...] = (False, False, False)
    masks: bool = False
    elementwise: bool = False
    commutative: bool = False
    symbol: str = ""
    kink: str = ""
    integers: str = ""
    flops: int = 1
    numpy: Spelling | None = None
    python: Spelling | None = None
    c: Spelling | None = None
    operand_dtypes: Callable[..., tuple[str, ...]] | None = None
    sympy: str = ""
    functions: tuple[Any, ...] = ()
    view: bool = False
    shows: Callable[[Any], bool] | None = None
    store: Spelling | None = None
    nest: Callable[..., None] | None = None
    symmetric: bool = False
    regions: tuple[str, ...] = ()
    memo: dict[tuple[Type, ...], Type] | None = None

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<op {self.name}>"


OPS: dict[str, Op] = {}


def define(op: Op) -> Op:
    """Enter a record; a name is given once."""
    if op.name in OPS:
        raise ValueError(f"op {op.name} is already defined")
    OPS[op.name] = op
    return op


def shows(node: Any) -> bool:
    """Whether a statement's result may be the memory of its first operand, in NumPy and in what is printed for it."""
    op = node.op
    return bool(node.type.shape) and (op.view or (op.shows is not None and op.shows(node)))


class Node:
    """One SSA value. `owner` is the trace that made it (None for constants and eager values)."""

    __slots__ = ("args", "name", "op", "owner", "params", "site", "type")
    op: Op
    args: tuple[Any, ...]
    params: dict[str, Any]
    type: Type
    name: str | None
    site: Site | None
    owner: Any


NO_PARAMS: dict[str, Any] = {}


def _leaf(*types: Type, **params: Any) -> Type:
    raise GradgenError("a leaf has the type that it was made with")


PARAM = define(Op("param", _leaf, _leaf, "An input of a Function."))
CONST = define(Op("const", _leaf, _leaf, "A number or array known at trace time: params value."))
SIZE = define(Op("size", _leaf, _leaf, "A dimension as an i64 number: params size."))
LEAVES = frozenset((PARAM, CONST, SIZE))


@dataclass(frozen=True)
class Requirement:
    """An entry check that the trace relies on: `left >= right` (or `==`), because of the user's line."""

    left: Dim
    relation: str
    right: Dim
    site: Site | None

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right}"


def entry_checks(requires: Iterable[Requirement]) -> list[Requirement]:
    """What is to be checked of them: each once, and of several lower bounds by numbers the largest."""
    bounds: dict[Any, Requirement] = {}
    for need in requires:
        number = need.relation == ">=" and isinstance(need.right, int)
        key = (need.left, "number") if number else (need.left, need.relation, need.right)
        known = bounds.get(key)
        if known is None or (
            isinstance(need.right, int)
            and isinstance(known.right, int)
            and need.right > known.right
        ):
            bounds[key] = need
    return list(bounds.values())


@dataclass(eq=False)
class Function:
    """A closed program: `outputs` from `inputs` by the statements of `body`, in order.

    requires: entry checks on sizes.  title: what it computes, for headers.
    """

    name: str
    inputs: list[Any]
    outputs: list[Any]
    body: list[Any]
    requires: tuple[Requirement, ...] = ()
    title: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def with_body(self, body: list[Any], outputs: list[Any]) -> Function:
        """The same interface with another body: what a pass returns."""
        return Function(
            self.name, self.inputs, outputs, body, self.requires, self.title, self.notes
        )

    @functools.cached_property
    def kinds(self) -> dict[tuple[Op, Type], int]:
        """How many statements there are of each op and type, in order of first appearance; counted when first asked for."""
        return Counter([(node.op, node.type) for node in self.body])

    @functools.cached_property
    def ops(self) -> frozenset[Op]:
        """The ops of its statements, as they were when first asked for."""
        return frozenset([node.op for node in self.body])

    def has(self, *ops: Op) -> bool:
        """Whether a statement is of one of the ops."""
        return not self.ops.isdisjoint(ops)

    @property
    def has_regions(self) -> bool:
        """Whether there are loops, branches or calls."""
        return any(op.regions for op in self.ops)

    @property
    def has_numbers_only(self) -> bool:
        """Whether each statement is elementwise, of numbers: maybe a million of them."""
        return all(op.elementwise for op in self.ops) and not any(ty.shape for _, ty in self.kinds)

    def letters(self) -> list[str]:
        """Letters of the sizes of the inputs, in the order of their first appearance."""
        found: dict[str, None] = {}
        for value in self.inputs:
            for dim in value.type.shape:
                for name in letters(dim):
                    found.setdefault(name)
        return list(found)

    def __str__(self) -> str:
        return written(self)


def use_counts(fn: Function) -> Counter[Any]:
    """How often each value is read; an output counts as a read."""
    counts = Counter(chain.from_iterable([node.args for node in fn.body]))
    counts.update(fn.outputs)
    return counts


def needed(body: Iterable[Any], wanted: Iterable[Any]) -> list[Any]:
    """The statements of a body that some values are made of, in order."""
    live = set(wanted)
    kept = []
    for node in reversed(list(body)):
        if node in live:
            kept.append(node)
            live.update(node.args)
    return kept[::-1]


def verify(fn: Function, after: str = "") -> None:
    """Every operand is defined before use, once, and every type is what its op's rule says. GradgenError if not."""
    where = f" after {after}" if after else ""
    defined = set(fn.inputs)
    for node in fn.body:
        for arg in node.args:
            if arg not in defined and (arg.op not in LEAVES or arg.op is PARAM):
                raise GradgenError(
                    f"internal: {node.op} reads {arg.op} before it is defined{where}"
                )
        if node in defined:
            raise GradgenError(f"internal: {node.op} is defined twice{where}")
        defined.add(node)
        op = node.op
        for region in op.regions:
            verify(node.params[region], after)
        expected = op.memo.get(tuple([a.type for a in node.args])) if op.memo is not None else None
        if expected is None:
            expected = infer(op, node.args, node.params)
        if expected is not node.type:
            raise GradgenError(
                f"internal: {op} has type {node.type}, its rule says {expected}{where}"
            )
    for out in fn.outputs:
        if out not in defined and (out.op not in LEAVES or out.op is PARAM):
            raise GradgenError(f"internal: output {out.op} is not defined{where}")


def infer(op: Op, args: Iterable[Any], params: dict[str, Any]) -> Type:
    """The type of `op(*args, **params)` by the op's own rule; remembered for ops without params."""
    types = tuple([a.type for a in args])
    memo = op.memo
    if memo is not None and not params:
        ty = memo.get(types)
        if ty is None:
            ty = memo[types] = op.infer(*types)
        return ty
    return op.infer(*types, **params)
