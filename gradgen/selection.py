"""`x[mask]` for a traced mask: elements whose number depends on data, so that no array of a fixed shape holds them.

They have a place in one kind of statement, `y[mask] = f(x[mask])`: elementwise functions of elements under one mask, and of
numbers, written under that mask. Each is computed on the whole array, and the write selects. All else is refused by name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from gradgen.errors import UnsupportedError
from gradgen.functions import Elements, dispatch
from gradgen.ir import CONST, PARAM, Op
from gradgen.operators import Operators
from gradgen.texts import TracedText

ALIKE = 200  # statements that are compared at most to see that two masks are one
ELEMENTWISE = (np.where, np.clip, np.round, np.around, np.sinc, np.nan_to_num)


def refuse_selection() -> NoReturn:
    raise UnsupportedError(
        "indexing with a traced mask gives a shape that depends on data",
        "Write np.where(mask, x, 0.0) and sum, or index with integers; y[mask] = f(x[mask]) needs f elementwise.",
    )


class Selection(Elements):
    """Elements of `whole`, an array of a trace, where `mask`, of its leading axes, is true."""

    __slots__ = ("mask", "whole")

    def __init__(self, whole: Any, mask: Any) -> None:
        self.whole = whole
        self.mask = mask

    def apply(self, op: Op, args: Sequence[Any], params: dict[str, Any]) -> Selection:
        """The result of an op that has this among its operands."""
        if not op.elementwise:
            refuse_selection()
        return self._of(lambda *wholes: Operators._apply(op, *wholes, **params), args)

    def _of(self, function: Callable[..., Any], args: Sequence[Any]) -> Selection:
        """An elementwise function of elements under this mask, and of what is the same for all of them."""
        free = self.whole.type.ndim - self.mask.type.ndim
        for a in args:
            if isinstance(a, Selection):
                require_alike(a.mask, self.mask)
            elif np.ndim(a) > free:
                refuse_selection()
        wholes = [a.whole if isinstance(a, Selection) else a for a in args]
        return Selection(function(*wholes), self.mask)

    def called(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Selection:
        """What a function of NumPy's makes of elements under this mask."""
        scalar = (
            isinstance(function, np.ufunc) and function.signature is None and function.nout == 1
        )
        if not scalar and function not in ELEMENTWISE:
            refuse_selection()
        if kwargs and (scalar or any(isinstance(v, Selection) for v in kwargs.values())):
            refuse_selection()
        return self._of(lambda *wholes: dispatch(function, wholes, kwargs), args)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self.called(ufunc if method == "__call__" else (ufunc, method), inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.called(function, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        refuse_selection()

    def __str__(self) -> str:
        return TracedText(f"<elements of {self.whole.type} under a mask>")

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return str(self)


def _refused(self: Any, *args: Any, **kwargs: Any) -> Any:
    refuse_selection()


for _name in (
    "array", "bool", "contains", "float", "getitem", "index", "int", "iter", "len", "matmul", "rmatmul", "round", "setitem",
):  # fmt: skip
    setattr(Selection, f"__{_name}__", _refused)


def _enter_operators() -> None:
    for name in ("neg", "pos", "abs", "invert"):
        unary = getattr(operator, name)
        setattr(Selection, f"__{name}__", lambda self, f=unary: self._of(f, [self]))
    binary = (
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "and",
        "or",
        "xor",
        "lshift",
        "rshift",
    )
    for name in (*binary, "eq", "ne", "lt", "le", "gt", "ge"):
        f = getattr(operator, f"__{name}__")
        setattr(Selection, f"__{name}__", lambda self, other, f=f: self._of(f, [self, other]))
        if name in binary:
            reflected = lambda self, other, f=f: self._of(f, [other, self])
            setattr(Selection, f"__r{name}__", reflected)
    Selection.__hash__ = object.__hash__  # type: ignore[method-assign]


_enter_operators()


def require_alike(a: Any, b: Any) -> None:
    """Refuse to mix elements under two masks, unless both are computed alike."""
    pairs, compared = [(a, b)], 0
    while pairs:
        x, y = pairs.pop()
        compared += 1
        if x is y:
            continue
        if (
            x.op is not y.op
            or x.type is not y.type
            or len(x.args) != len(y.args)
            or compared > ALIKE
        ):
            refuse_selection()
        if x.op is CONST:
            if not np.array_equal(x.params["value"], y.params["value"], equal_nan=True):
                refuse_selection()
        elif x.op is PARAM or x.op.regions or repr(x.params) != repr(y.params):
            refuse_selection()
        pairs += zip(x.args, y.args, strict=True)
