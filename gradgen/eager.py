"""What eager Values remember: the order in which they were computed, their gradients, and how they are pickled.

`backward` is reverse mode over the operands of eager Values in one of two sweeps. Where every value is a finite number of f64,
as in micrograd, nothing but Python floats move: each op's rule is traced once, as the compiler traces it, and compiled to a
function of floats. Else the rules compute with Values, on arrays.

No recursion: a chain of a million operations is walked in order.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from gradgen.cotangents import Masks, cotangent
from gradgen.errors import TraceError
from gradgen.handle import Handle
from gradgen.inplace import Current, Written
from gradgen.ir import CONST, NO_PARAMS, OPS
from gradgen.scalars import compiled
from gradgen.types import F64, Type
from gradgen.value import LEAF, Outdated, Trace, Value, constant, new_node


def topological(root: Value, stop: set[int]) -> list[Any]:
    """Every value that root was computed from, operands first; values in `stop` are not looked behind."""
    order: list[Any] = []
    seen: set[int] = set()
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            if id(node) not in stop:
                stack.extend((a, False) for a in reversed(node.args))
    return order


# -- reverse mode
def backward(root: Value, y_bar: Any) -> None:
    """Add to `.grad` of every float Value that root was computed from what the cotangent y_bar of root makes of it."""
    order, earlier, plain = _computed(root)
    if plain:
        root._grad = float(y_bar) if root._grad is None else root._grad + float(y_bar)
        _sweep_numbers(order)
        for node, grad in earlier:
            node._grad += grad
        return
    for node in order:
        node._grad = None
    for node, grad in earlier:
        node._grad = grad
    _sweep(root, y_bar, order)


Value._reverse = staticmethod(backward)


def _computed(root: Value) -> tuple[list[Value], list[tuple[Value, Any]], bool]:
    """The values that were computed on the way to root, from root back; those of them that have a gradient, with it; and
    whether all of them and their operands are finite numbers of f64.

    Their gradients are left at zeros of this call's own, which tell where it has been. What no derivative passes through,
    integers and truth values, is not among them.
    """
    begun, done = float("0"), float("0")
    order: list[Value] = []
    earlier: list[tuple[Value, Any]] = []
    stack: list[Value] = [root] if root.args else []
    plain = root._data.__class__ is float
    while stack:
        node = stack[-1]
        grad = node._grad
        if grad is begun:  # and its operands are done
            node._grad = done
            order.append(node)
            stack.pop()
            continue
        if grad is done:
            stack.pop()
            continue
        if grad is not None:
            earlier.append((node, grad))
        node._grad = begun
        x = node._data
        if x.__class__ is not float or x - x != 0.0:
            plain = False
        for a in node.args:
            if a.args:
                if a._grad is not done:
                    if a._data.__class__ is float or a.type.dtype[0] == "f":
                        stack.append(a)
                    else:
                        plain = False
            else:
                x = a._data
                if x.__class__ is not float or x - x != 0.0:
                    plain = False
    order.reverse()
    return order, earlier, plain


def _sweep_numbers(order: Sequence[Value]) -> None:
    """The sweep over finite numbers: cotangents are summed in `.grad` itself, which is 0 at first.

    Nothing needs a guard here. A partial is finite where result and operands are, except at the poles of ops that say so
    (`unbounded`); so a cotangent of 0 contributes 0 whatever the op, and with any other one a guarded product is a product.
    """
    rules = _RULES
    for node in order:
        y_bar = node._grad
        if not y_bar:
            continue
        args = node.args
        rule = rules.get(node.op) or _rule(node)
        try:
            if len(args) == 2:
                a, b = args
                a_bar, b_bar = rule(y_bar, node._data, a._data, b._data)
                if a_bar is not None:
                    grad = a._grad
                    a._grad = a_bar if grad is None else grad + a_bar
                if b_bar is not None:
                    grad = b._grad
                    b._grad = b_bar if grad is None else grad + b_bar
                continue
            bars = rule(y_bar, node._data, *[a._data for a in args])
        except (ArithmeticError, ValueError):
            bars = _by_arrays(node, y_bar)
        for a, x_bar in zip(args, bars, strict=True):
            if x_bar is not None:
                a._grad = x_bar if a._grad is None else a._grad + x_bar


# Rules on floats, (y_bar, y, *operands) -> cotangents: by op, or by op and constants among the operands.
_RULES: dict[Any, Callable[..., Sequence[float | None]]] = {}
_MOST_RULES = 1000


def _rule(node: Value) -> Callable[..., Sequence[float | None]]:
    """The reverse rule of a statement on floats.

    Partials that were derived depend on the operands as numbers alone; a rule that was written by hand may also ask
    whether an operand is a constant, and which.
    """
    op, args = node.op, node.args
    key: Any = op
    if not op.sympy:
        key = (op, *[a._data.hex() if a.op is CONST else None for a in args])
    known = _RULES.get(key)
    if known is not None:
        return known
    rule = _compiled_rule(node) if len(_RULES) < _MOST_RULES else None
    if rule is None:
        return lambda y_bar, *_: _by_arrays(node, y_bar)
    _RULES[key] = rule
    return rule


def _compiled_rule(node: Value) -> Callable[..., Any] | None:
    """The node's `cotangent`s, traced at scalars and compiled; None if they need more than ops on scalars."""
    with Trace(site=("", 0)) as trace:
        y_bar, y = trace.input(F64), trace.input(F64)
        inputs = [trace.input(F64) for _ in node.args]
        args = tuple(
            [
                constant(a._data) if a.op is CONST and not node.op.sympy else x
                for a, x in zip(node.args, inputs, strict=True)
            ]
        )
        copy = new_node(node.op, args, NO_PARAMS, F64, None, trace)
        bars = [
            None if a.op is CONST else cotangent(copy, i, y_bar, y, args, False)
            for i, a in enumerate(args)
        ]
    return compiled([y_bar, y, *inputs], trace.body, bars)


def _by_arrays(node: Value, y_bar: float) -> list[float | None]:
    """The cotangents of a statement's operands at a pole, where Python's arithmetic raises and NumPy's is inf or nan."""
    bar = constant(y_bar)
    args = node.args
    bars = [
        None if a.op is CONST else cotangent(node, i, bar, node, args, False)
        for i, a in enumerate(args)
    ]
    return [None if x_bar is None else x_bar._data for x_bar in bars]


def _sweep(root: Value, y_bar: Any, order: Sequence[Value]) -> None:
    """The sweep in general: cotangents are numbers or arrays, and rules compute with them as Values."""
    bars: dict[Value, Any] = {root: y_bar}
    masks = Masks()
    mulz = OPS["mulz"]
    for node in order:
        y_bar = bars.get(node)
        if y_bar is None:
            continue
        guard = masks.guard(node)
        bar = _bar(y_bar, node.type)
        read, args = node.as_read(), tuple([a.as_read() for a in node.args])
        for i, a in enumerate(node.args):
            if a.op is CONST or a.type.dtype[0] != "f":
                continue
            x_bar = cotangent(read, i, bar, read, args, guard)
            if x_bar is not None:
                known = bars.get(a)
                bars[a] = x_bar._data if known is None else known + x_bar._data
                # The cotangent of a guarded partial is a product with the zero that guarded it.
                masks.note(node, a, guard or (node.op is mulz and i == 1))
    for node, bar in bars.items():
        node._grad = bar if node._grad is None else node._grad + bar
        if node.type is F64:
            node._grad = float(node._grad)


def _bar(y_bar: Any, ty: Type) -> Value:
    """A cotangent of type `ty` as a Value."""
    if ty is F64:
        return constant(float(y_bar))
    bar = new_node(CONST, (), {"value": y_bar}, ty, None, None)
    bar._data = y_bar
    return bar


# -- pickling and copying
def _packed(value: Value) -> Any:
    """How `pickle` and `copy` take a Value apart: what it was computed from as one list, so that depth does not matter.

    Leaves are objects of their own: pickled together, a model and its loss still share their parameters afterwards.
    """
    if (
        value._data is None
    ):  # traced: the copy that NumPy makes of an array; a number is the same one
        return (_copied, (_Whole(value),)) if value.type.shape else "number"
    value = value.resolve()
    if not value.args:
        return _leaf, (value.op.name, value.type, value.name, value._data, value._grad)
    order = topological(value, set())
    places = {id(v): k for k, v in enumerate(order)}
    return _unpacked, (
        [
            (v.op.name, tuple([places[id(a)] for a in v.args]), v.params, v.type, v.name, v._data, v._grad)
            if v.args
            else v
            for v in order
        ],
    )  # fmt: skip


class _Whole:
    """A traced array, which `copy.deepcopy` must not take apart on its way to `_copied`."""

    __slots__ = ("array",)

    def __init__(self, array: Value) -> None:
        self.array = array

    def __deepcopy__(self, memo: Any) -> _Whole:
        return self

    def __reduce__(self) -> NoReturn:
        raise TraceError(
            f"pickling needs an eager Value, got a traced {self.array.type}",
            "Return it from the function that is traced.",
        )


def _copied(whole: _Whole) -> Handle:
    return Handle(whole.array.resolve())


def _leaf(op: str, ty: Type, name: str | None, data: Any, grad: Any) -> Value:
    params = {"value": np.asarray(data)} if op == CONST.name else NO_PARAMS
    return _computed_value(op, (), params, ty, name, data, grad)


def _computed_value(
    op: str, args: tuple[Any, ...], params: Any, ty: Type, name: str | None, data: Any, grad: Any
) -> Value:
    value = new_node(LEAF if op == LEAF.name else OPS[op], args, params, ty, None, None)
    value.name, value._data, value._grad = name, data, grad
    return value


def _unpacked(entries: list[Any]) -> Value:
    values: list[Value] = []
    for entry in entries:
        if not isinstance(entry, Value):
            op, places, *rest = entry
            entry = _computed_value(op, tuple([values[k] for k in places]), *rest)
        values.append(entry)
    return values[-1]


for _class in (Value, Handle, Written, Outdated, Current):
    copyreg.pickle(_class, _packed)
