"""`a += v` and `a[i] = v` on arrays: NumPy's meaning, for traced and for eager ones.

    write_over   `array symbol= value` on any array that may be written into
    Written      an eager array that was computed and then written into: the same object to all who hold it

A number is rebound by `+=`, as in Python. An eager array that the user made is a leaf, which `.grad` belongs to: it is updated
by way of its `.data`, and writing into it is refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError, UnsupportedError
from gradgen.functions import FUNCTIONS
from gradgen.handle import own
from gradgen.ir import OPS, shows
from gradgen.operators import Operators
from gradgen.types import DTYPES, Type
from gradgen.value import Outdated, Value, apply, current_trace, new_node

PLAIN: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "@": operator.matmul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}


def write_over(symbol: str, array: Value, value: Any) -> Any:
    """`array symbol= value`: the same object, which keeps its shape and dtype (ShapeError, SpecError)."""
    name = array.name or "x"
    anew = f"Write {name} = {name} {symbol} ..., which makes a new array"
    held = array.own(f"in-place {symbol}=", f"{anew}, or copy it first.")
    now = held.resolve()
    new = PLAIN[symbol](now, value)
    _check_fits(f"in-place {symbol}=", name, now.type, new.type, f"{anew}.")
    dtype = DTYPES[now.type.dtype]
    held.become(new if new.type is now.type else FUNCTIONS["astype"](new, dtype))
    return held


def _check_fits(what: str, name: str, old: Type, new: Type, remedy: str) -> None:
    """ShapeError and SpecError where NumPy raises: an array written in place keeps its shape and dtype."""
    if new.shape != old.shape:
        raise ShapeError(f"{what} needs a result of the shape of {name}, {old}, got {new}", remedy)
    if not np.can_cast(DTYPES[new.dtype], DTYPES[old.dtype], "same_kind"):
        raise SpecError(f"{what} needs a result that fits {name}, {old}, got {new}", remedy)


Operators._write_over = staticmethod(write_over)


# -- eager arrays
class _State:
    """What a Written array is: `node`, or the part of `parent` at `index`; `was` is what it was computed as."""

    __slots__ = ("index", "node", "parent", "was")

    def __init__(self, was: Value, parent: Written | None, index: Any) -> None:
        self.was = was
        self.node = was
        self.parent = parent
        self.index = index


class Current(Value):
    """What a Written array is now."""

    __slots__ = ()


class Written(Outdated):
    """An eager array that has been written into.

    Its own operands and number stay those it was computed with, since statements made before the write read it as it was;
    `resolve` gives what it is now, which all that is done with it from now on reads, and which `.data` and `.grad` are of.
    """

    __slots__ = ()
    owner: Any  # its _State: what is eager has no trace that owns it

    def resolve(self) -> Value:
        state: _State = self.owner
        if state.parent is None:
            return state.node
        return FUNCTIONS["getitem"](state.parent.resolve(), state.index)

    @property
    def state(self) -> Value | None:
        """The value that is this array whole, if any: see `functions.dispatch`."""
        return None if self.owner.parent is not None else self.owner.node

    def as_read(self) -> Value:
        return self.owner.was

    def own(self, what: str = "", remedy: str = "") -> Any:
        return self

    def become(self, new: Value) -> None:
        """Be `new` to all who hold this array."""
        state: _State = self.owner
        if state.parent is not None:
            state.parent[state.index] = new
            return
        if state.node is not state.was:
            state.node.__class__ = Outdated
        new.__class__ = Current
        state.node = new

    def __getitem__(self, index: Any) -> Any:
        whole = self.resolve()
        part = FUNCTIONS["getitem"](whole, index)
        if part is whole:
            return self
        return _part(part, self) if FUNCTIONS["index of"](part) is not None and part.shape else part

    def __setitem__(self, index: Any, value: Any) -> None:
        new = FUNCTIONS["setitem"](self.resolve(), index, value)
        if isinstance(value, Value) and new is value.resolve():  # a[:] = v, and v goes its own way
            new = apply(OPS["copy"], new)
        self.become(new)

    @property
    def data(self) -> Any:
        return self.resolve().data

    @data.setter
    def data(self, data: Any) -> None:
        self.resolve().data = data

    @property
    def grad(self) -> Any:
        return self.resolve().grad

    @grad.setter
    def grad(self, grad: Any) -> None:
        self.resolve().grad = grad

    @property
    def _prev(self) -> set[Any]:
        return self.resolve()._prev

    @property
    def _op(self) -> str:
        return self.resolve()._op

    def __bool__(self) -> bool:
        return bool(self.resolve())

    def __repr__(self) -> str:
        return repr(self.resolve())

    def __format__(self, spec: str) -> str:
        return format(self.resolve(), spec)

    def backward(self, y_bar: Any = None) -> None:
        self.resolve().backward(y_bar)


def _part(part: Value, parent: Written) -> Written:
    """The slice `part` of an array, through which it is written."""
    index = FUNCTIONS["index of"](part)
    was = new_node(part.op, part.args, part.params, part.type, None, None)
    was._data = part._data
    written: Any = part
    written.__class__ = Written
    written.owner = _State(was, parent, index)
    return written


def _own(value: Value, what: str = "", remedy: str = "") -> Any:
    """`value` as an array to write into: traced ones as `handle.own` has it, computed eager ones as Written."""
    if value._data is None or not value.type.shape or current_trace() is not None:
        return own(value, what, remedy)
    index = FUNCTIONS["index of"](value)
    if index is not None:
        return _part(value, _own(value.args[0], what, remedy))
    seen = shows(value) and value.op.name != "broadcast"
    got = "a view of one" if seen or isinstance(value, (Current, Outdated)) else ""
    if not value.args:
        got = "one that the user made, whose .grad it would not be any more"
        remedy = (
            remedy
            or "Copy it first, a = x.copy(); or update a parameter by way of its numbers, x.data[...] = v."
        )
    if got:
        raise UnsupportedError(
            f"{what or 'assignment into an eager array'} needs an array that was computed, got {got}",
            remedy or "Copy it first: a = x.copy().",
        )
    was = new_node(value.op, value.args, value.params, value.type, None, None)
    was._data, was.name = value._data, value.name
    written: Any = value
    written.__class__ = Written
    written.owner = _State(was, None, None)
    return written


Value.own = _own
