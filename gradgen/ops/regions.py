"""Loops and branches: statements whose params hold closed Functions, their regions.

    scan(*init, *xs, *consts, body=)        body(i, *carry, *items, *consts) -> (*carry, *ys), `length` times
    while(*init, *consts, test=, body=)     test(i, *carry, *consts) -> bool;  body the same -> (*carry, *ys)
    cond(pred, *consts, then=, otherwise=)  each branch (*consts) -> results
    call(*args, body=, kind=, rule=)        body(*args); what is special is its derivative (see below)
    item(bundle, k=)                        result k of such a statement

A region is closed: what it reads from outside is among its operands (`consts`). The results of a loop are

    (*finals, *ys, *states)

finals: the carry at the end.  ys: per-step results, stacked.  states: for each carry numbered in `kept`, its values before the
first step and after each (length + 1 of them): the tape that reverse mode reads. A scan with `reverse` runs from the last
step to the first; its states then lie in that order too: states[i + 1] goes into step i, states[i] comes out. A scan without
carries is a map: its steps may run in any order. Of a scan with `snapshots` reverse mode keeps that many states; it computes
the others again.

A call is of kind "checkpoint" (reverse mode keeps its operands only and computes the rest again), "vjp" with the rule
(*y_bar, *y, *args) -> x_bar, or "jvp" with the rule (*x_dot, *y, *args) -> y_dot. A pass puts its statements in its place.

A while that keeps a tape (ys or states) names the number of its steps by a letter, `steps`: a size known once it has run.
`max_steps` bounds it; `solver` names the equation solver whose iteration it is. Its first result is the number of steps (i64),
before the finals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradgen.errors import GradgenError, ShapeError
from gradgen.ir import Function, Op, define
from gradgen.sizes import Dim, add, letters
from gradgen.types import BOOL, I64, Bundle, Type
from gradgen.value import Value, apply

NO_FUNCTION = "regions are evaluated by the interpreter, which knows the sizes"


def _evaluate(*operands: Any, **params: Any) -> Any:
    raise GradgenError(f"internal: {NO_FUNCTION}")


def stacked(ty: Type, length: Dim) -> Type:
    """The type of `length` values of type `ty`."""
    return ty.with_shape((length, *ty.shape))


def unstacked(ty: Type) -> Type:
    """The type of one item along the first axis."""
    return ty.with_shape(ty.shape[1:])


def _expect(what: str, got: Sequence[Type], wanted: Sequence[Type]) -> None:
    if list(got) != list(wanted):
        raise ShapeError(
            f"{what} needs ({', '.join(map(str, wanted))}), got ({', '.join(map(str, got))})"
        )


# -- item
ITEM: Op = define(
    Op(
        "item",
        lambda bundle, k: bundle.parts[k],
        lambda bundle, k: bundle[k],
        "One result of a statement that has several.",
        flops=0,
        nest=lambda lowering, node: lowering.take_item(node),
    )
)


def items(bundle: Value) -> list[Value]:
    """All results of a region statement."""
    assert isinstance(bundle.type, Bundle)
    return [apply(ITEM, bundle, k=k) for k in range(len(bundle.type.parts))]


# -- scan
def _scan_type(
    *types: Type,
    body: Function,
    carries: int,
    items: int,
    length: Dim,
    reverse: bool = False,
    kept: tuple[int, ...] = (),
    snapshots: int = 0,
) -> Bundle:
    init, xs, consts = types[:carries], types[carries : carries + items], types[carries + items :]
    for ty in xs:
        if not ty.shape or ty.shape[0] != length:
            raise ShapeError(f"scan needs arrays of {length} items, got {ty}")
    wanted = [v.type for v in body.inputs]
    _expect("the body of a scan", wanted, [I64, *init, *map(unstacked, xs), *consts])
    results = [v.type for v in body.outputs]
    _expect("the carry of a scan", results[:carries], init)
    ys = [stacked(ty, length) for ty in results[carries:]]
    states = [stacked(init[k], add(length, 1)) for k in kept]
    return Bundle.of_parts((*init, *ys, *states))


SCAN: Op = define(
    Op(
        "scan",
        _scan_type,
        _evaluate,
        "A loop with a known number of steps.",
        flops=0,
        nest=lambda lowering, node: lowering.loop_scan(node),
        regions=("body",),
    )
)


# -- while
def out_of_steps(node: Any) -> str:
    """What is said of a while loop that needs more than its max_steps."""
    most, solver = node.params["max_steps"], node.params.get("solver")
    if solver is not None:
        return f"{solver} did not converge in max_steps = {most} steps"
    return f"the loop needs more than max_steps = {most} steps"


def _while_type(
    *types: Type,
    test: Function,
    body: Function,
    carries: int,
    steps: Dim | None = None,
    max_steps: int | None = None,
    kept: tuple[int, ...] = (),
    solver: str | None = None,
) -> Bundle:
    init = types[:carries]
    for what, fn in (("the test", test), ("the body", body)):
        _expect(f"{what} of a while loop", [v.type for v in fn.inputs], [I64, *types])
    _expect("the test of a while loop", [v.type for v in test.outputs], [BOOL])
    results = [v.type for v in body.outputs]
    _expect("the carry of a while loop", results[:carries], init)
    parts: list[Type] = [I64, *init]
    if steps is not None:
        parts += [stacked(ty, steps) for ty in results[carries:]]
        parts += [stacked(init[k], add(steps, 1)) for k in kept]
    return Bundle.of_parts(tuple(parts))


WHILE: Op = define(
    Op(
        "while",
        _while_type,
        _evaluate,
        "A loop that runs as long as its test holds.",
        flops=0,
        nest=lambda lowering, node: lowering.loop_while(node),
        regions=("test", "body"),
    )
)


# -- cond
def _cond_type(pred: Type, *types: Type, then: Function, otherwise: Function) -> Bundle:
    if pred is not BOOL:
        raise ShapeError(f"a branch needs a scalar condition (bool[]), got {pred}")
    for what, fn in (("then", then), ("otherwise", otherwise)):
        _expect(f"the branch {what}", [v.type for v in fn.inputs], types)
    results = [v.type for v in then.outputs]
    _expect("the branch otherwise", [v.type for v in otherwise.outputs], results)
    return Bundle.of_parts(tuple(results))


COND: Op = define(
    Op(
        "cond",
        _cond_type,
        _evaluate,
        "One of two branches; the other is not evaluated.",
        flops=0,
        nest=lambda lowering, node: lowering.branch(node),
        regions=("then", "otherwise"),
    )
)


# -- call
def _call_type(*types: Type, body: Function, kind: str, rule: Function | None = None) -> Bundle:
    _expect("a function", types, [v.type for v in body.inputs])
    return Bundle.of_parts(tuple(v.type for v in body.outputs))


CALL: Op = define(
    Op(
        "call",
        _call_type,
        _evaluate,
        "A function whose derivative is special; once derivatives are taken, its statements.",
        flops=0,
        regions=("body",),
    )
)


def is_stack(item: Value) -> bool:
    """Whether a result is an array that its loop fills, one step's value after the other."""
    (node,) = item.args
    return node.op in (SCAN, WHILE) and item.params["k"] >= Loop.of(node).first_y


def letters_of(node: Value) -> set[str]:
    """Letters of the sizes that a statement runs by or returns, but for the one that it names itself."""
    parts = node.type.parts if isinstance(node.type, Bundle) else (node.type,)
    found = {x for ty in parts for dim in ty.shape for x in letters(dim)}
    if node.op is WHILE:
        found.discard(str(node.params["steps"]))
    if node.op is SCAN:
        found.update(letters(node.params["length"]))
    return found


def all_letters(body: Sequence[Value]) -> set[str]:
    """Letters of the sizes in statements and in their regions, those that loops name themselves too."""
    found: set[str] = set()
    for node in body:
        found |= letters_of(node)
        for name in node.op.regions:
            found |= all_letters(node.params[name].body)
        if node.op is WHILE and node.params["steps"] is not None:
            found.add(str(node.params["steps"]))
    return found


# -- reading a loop statement
@dataclass(frozen=True)
class Loop:
    """The parts of a scan or while statement by their roles, and where its results are."""

    node: Value
    body: Function
    carries: int
    items: int
    kept: tuple[int, ...]
    length: Dim | None  # None: a while without a tape

    @staticmethod
    def of(node: Value) -> Loop:
        p = node.params
        length = p["length"] if node.op is SCAN else p.get("steps")
        return Loop(
            node, p["body"], p["carries"], p.get("items", 0), tuple(p.get("kept", ())), length
        )

    @property
    def reverse(self) -> bool:
        return bool(self.node.params.get("reverse", False))

    @property
    def init(self) -> tuple[Value, ...]:
        return self.node.args[: self.carries]

    @property
    def xs(self) -> tuple[Value, ...]:
        return self.node.args[self.carries : self.carries + self.items]

    @property
    def consts(self) -> tuple[Value, ...]:
        return self.node.args[self.carries + self.items :]

    @property
    def index(self) -> Value:
        """The body's first input: the number of the step."""
        return self.body.inputs[0]

    @property
    def carry_inputs(self) -> list[Value]:
        return self.body.inputs[1 : 1 + self.carries]

    @property
    def item_inputs(self) -> list[Value]:
        return self.body.inputs[1 + self.carries : 1 + self.carries + self.items]

    @property
    def const_inputs(self) -> list[Value]:
        return self.body.inputs[1 + self.carries + self.items :]

    @property
    def carry_outputs(self) -> list[Value]:
        return self.body.outputs[: self.carries]

    @property
    def y_outputs(self) -> list[Value]:
        return self.body.outputs[self.carries :]

    # -- numbers of results
    @property
    def first_final(self) -> int:
        return 1 if self.node.op is WHILE else 0

    @property
    def first_y(self) -> int:
        return self.first_final + self.carries

    @property
    def first_state(self) -> int:
        return self.first_y + len(self.y_outputs)

    def with_parts(self, body: Function, args: Sequence[Value], **changed: Any) -> Value:
        """The statement with another body and operands, made with `apply`."""
        return apply(self.node.op, *args, **{**self.node.params, "body": body, **changed})
