"""Comprehensions over a symbolic number of items: one map, and a list that is taken as an array.

    np.array([f(x[i]) for i in range(n)]), sum(v * v for v in x)

What such a list may be used for is what means the same for an array with one element an item: NumPy's functions, the builtins
that reduce, len(), an index and a `for` statement. Anything else is refused by name: `a + b` of two lists is not a sum.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import gradgen.trace.python_calls  # noqa: F401  (what it enters is wrapped here)
from gradgen.errors import TraceError, UnsupportedError
from gradgen.functions import FUNCTIONS, dispatch
from gradgen.handle import Handle
from gradgen.ops.reduce import as_value
from gradgen.ops.shape import array as array_of
from gradgen.ops.shape import reshape
from gradgen.trace.control import scan_numbered
from gradgen.trace.effects import check_unchanged, contents
from gradgen.trace.hooks import CALLS, hook
from gradgen.trace.loops import SizeRange, symbolic_items
from gradgen.tree import flatten
from gradgen.value import Value, any_value

REMEDY = "Write np.array([...]), a for loop, or whole-array operations."


class Listed:
    """The list that a comprehension makes. rows: its items are lists themselves, of numbers in a fixed order."""

    def __init__(self, value: Value, rows: bool) -> None:
        self.value, self.rows = value, rows

    def items_of_list(self) -> Value:
        """The array whose elements are the items."""
        if self.rows:
            raise TraceError("items that are lists are read through an array", REMEDY)
        return self.value

    def __getitem__(self, index: Any) -> Any:
        found = FUNCTIONS["getitem"](self.items_of_list(), index)
        return Listed(found, False) if isinstance(index, slice) else found

    def __array_function__(self, fn: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if fn in _OF_LISTS:
            self._refuse()
        return dispatch(fn, _as_arrays(args), {k: _as_array(v) for k, v in kwargs.items()})

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*_as_arrays(args), **kwargs)

    def _refuse(self, *args: Any) -> Any:
        raise TraceError(
            "a list of symbolic length is given to NumPy, sum, max, min, any, all, len or a for statement, got another use",
            REMEDY,
        )

    def __gradgen_array__(self) -> Value:
        """As an operand of a Value, and among a function's arguments."""
        return self.value

    def __add__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Value) else self._refuse()

    def __mul__(self, other: Any) -> Any:
        whole = isinstance(other, Value) and (other.type.shape or other.type.is_float)
        return NotImplemented if whole else self._refuse()

    __iter__ = __next__ = __len__ = __bool__ = __contains__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = None  # type: ignore[assignment]


@hook
def comprehension(items: Any, whole: Callable[[Any], Any]) -> Any:
    """`[... for target in items ...]`: `whole` is all of it as a function of the first iterable."""
    made = symbolic_items(items)
    if made is None or isinstance(made, SizeRange):
        return whole(items)
    length, xs, item_of = made
    found, tree = flatten(xs, nones=True)
    rows = []

    def step(i: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        elements = list(whole((item_of(i, x),)))
        if len(elements) != 1:
            raise UnsupportedError(
                f"a comprehension over {length} items gives one element an item, got {len(elements)}",
                "Write one `for` in it and no `if` that leaves items out.",
            )
        element = elements[0]
        if isinstance(element, Listed):
            return carry, element.value
        rows.append(isinstance(element, (list, tuple)))
        if rows[-1]:
            return carry, array_of(element)
        return carry, element.resolve() if isinstance(element, Handle) else as_value(element)

    held = contents(whole)
    value = scan_numbered(step, None, found, tree, length)[1]
    check_unchanged(held)
    return Listed(value, not rows or rows[-1])


def _as_array(x: Any) -> Any:
    return x.value if isinstance(x, Listed) else x


def _as_arrays(args: Any) -> tuple[Any, ...]:
    return tuple([_as_array(a) for a in args])


# -- functions that take a list for what it is
_JOINING = (np.stack, np.vstack, np.hstack, np.concatenate)
_OF_LISTS = (np.column_stack, np.dstack, np.block, np.select, np.piecewise, np.choose,
             np.linalg.multi_dot, np.meshgrid, np.ix_)  # fmt: skip


def _joined(fn: Any, parts: Any, axis: int = 0) -> Any:
    """np.stack and its kind over a list of equal arrays: the array of them all in another shape."""
    value = _as_array(parts)
    ndim = value.type.ndim
    if fn is np.stack:
        return Handle(FUNCTIONS[np.moveaxis](value, 0, axis), fresh=True)
    if ndim < 2 or axis != 0 or (fn is not np.concatenate and ndim != 2):
        raise UnsupportedError(
            f"np.{fn.__name__} of a list of symbolic length needs arrays of one axis, joined at axis 0",
            "Write np.stack([...]) and reshape it.",
        )
    if fn is np.vstack:
        return Handle(value, fresh=True)
    return Handle(reshape(value, (-1, *value.type.shape[2:])), fresh=True)


# -- functions that reach no protocol
def _taking(fn: Any) -> Callable[..., Any]:
    known = CALLS.get(fn)

    def take(*args: Any, **kwargs: Any) -> Any:
        if args and type(args[0]) is Listed:
            args = (args[0].value if fn in _ARRAYS else args[0].items_of_list(), *args[1:])
        if known is not None:
            return known(*args, **kwargs)
        return dispatch(fn, args, kwargs) if any_value(args) else fn(*args, **kwargs)

    return take


_ARRAYS: tuple[Any, ...] = (
    np.array,
    np.asarray,
    np.asanyarray,
    np.ascontiguousarray,
    np.asfortranarray,
)
for _taker in (*_ARRAYS, builtins.sum, builtins.max, builtins.min, builtins.any, builtins.all, builtins.len,
            builtins.enumerate, builtins.zip, builtins.reversed, math.fsum, np.fromiter):  # fmt: skip
    CALLS[_taker] = _taking(_taker)


def _same_list(plain: Any) -> Callable[..., Any]:
    known = CALLS.get(plain, plain)
    return lambda *args: args[0] if args and type(args[0]) is Listed else known(*args)


def _join(fn: Any) -> Callable[..., Any]:
    known = CALLS.get(fn)

    def join(*args: Any, **kwargs: Any) -> Any:
        if args and type(args[0]) is Listed:
            return _joined(fn, *args, **kwargs)
        if known is not None:
            return known(*args, **kwargs)
        return dispatch(fn, args, kwargs) if any_value(args) else fn(*args, **kwargs)

    return join


for _fn in _JOINING:
    CALLS[_fn] = _join(_fn)
CALLS[builtins.list] = _same_list(builtins.list)
CALLS[builtins.tuple] = _same_list(builtins.tuple)
