"""The face of a Value: Python's operators, NumPy's protocols and an array's methods, all by way of `_apply` and `FUNCTIONS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gradgen.errors import TraceError, UnsupportedError
from gradgen.functions import FUNCTIONS, dispatch
from gradgen.ir import OPS
from gradgen.types import Type


class Operators:
    """Python's operators, NumPy's protocols and an array's methods, all by way of `apply` and `FUNCTIONS`."""

    __slots__ = ()
    __array_priority__ = 1000.0
    # `value.apply`, and the same for two operands, which Value sets: the operators stand below it.
    _apply: Callable[..., Any]
    _binary: Callable[..., Any]
    _data: Any
    type: Type
    _write_over: Callable[..., Any]  # `inplace.write_over`, which stands on Value

    def __add__(self, other: Any) -> Any:
        return self._binary(OPS["add"], other)

    def __radd__(self, other: Any) -> Any:
        return self._apply(OPS["add"], other, self)

    def __sub__(self, other: Any) -> Any:
        return self._binary(OPS["sub"], other)

    def __rsub__(self, other: Any) -> Any:
        return self._apply(OPS["sub"], other, self)

    def __mul__(self, other: Any) -> Any:
        return self._binary(OPS["mul"], other)

    def __rmul__(self, other: Any) -> Any:
        return self._apply(OPS["mul"], other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._binary(OPS["div"], other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._apply(OPS["div"], other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self._apply(OPS["floor_divide"], self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._apply(OPS["floor_divide"], other, self)

    def __mod__(self, other: Any) -> Any:
        return self._apply(OPS["remainder"], self, other)

    def __rmod__(self, other: Any) -> Any:
        return self._apply(OPS["remainder"], other, self)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        if modulus is not None:
            raise UnsupportedError("pow() with a modulus is refused", "Write x**k % m.")
        return self._anew(FUNCTIONS[np.power](self, other))  # x**1

    def __rpow__(self, other: Any) -> Any:
        return FUNCTIONS[np.power](other, self)

    def __matmul__(self, other: Any) -> Any:
        return FUNCTIONS[np.matmul](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return FUNCTIONS[np.matmul](other, self)

    def __neg__(self) -> Any:
        return self._apply(OPS["neg"], self)

    def __pos__(self) -> Any:
        return dispatch(np.positive, (self,), {})

    def __abs__(self) -> Any:
        return self._apply(OPS["abs"], self)

    def __eq__(self, other: object) -> Any:
        return self._apply(OPS["equal"], self, other)

    def __ne__(self, other: object) -> Any:
        return self._apply(OPS["not_equal"], self, other)

    def __lt__(self, other: Any) -> Any:
        return self._apply(OPS["less"], self, other)

    def __le__(self, other: Any) -> Any:
        return self._apply(OPS["less_equal"], self, other)

    def __gt__(self, other: Any) -> Any:
        return self._apply(OPS["greater"], self, other)

    def __ge__(self, other: Any) -> Any:
        return self._apply(OPS["greater_equal"], self, other)

    def __and__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_and](self, other)

    __rand__ = __and__

    def __or__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_or](self, other)

    __ror__ = __or__

    def __xor__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_xor](self, other)

    __rxor__ = __xor__

    def __invert__(self) -> Any:
        return FUNCTIONS[np.invert](self)

    def __lshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.left_shift](self, other)

    def __rlshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.left_shift](other, self)

    def __rshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.right_shift](self, other)

    def __rrshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.right_shift](other, self)

    __hash__ = object.__hash__

    # -- `+=` and its like: a number is rebound, an array written into
    def __iadd__(self, other: Any) -> Any:
        if self._data.__class__ is float:
            return self._binary(OPS["add"], other)
        return self._write_over("+", self, other) if self.type.shape else self + other

    def __isub__(self, other: Any) -> Any:
        if self._data.__class__ is float:
            return self._binary(OPS["sub"], other)
        return self._write_over("-", self, other) if self.type.shape else self - other

    def __imul__(self, other: Any) -> Any:
        if self._data.__class__ is float:
            return self._binary(OPS["mul"], other)
        return self._write_over("*", self, other) if self.type.shape else self * other

    def __itruediv__(self, other: Any) -> Any:
        if self._data.__class__ is float:
            return self._binary(OPS["div"], other)
        return self._write_over("/", self, other) if self.type.shape else self / other

    def __ifloordiv__(self, other: Any) -> Any:
        return self._write_over("//", self, other) if self.type.shape else self // other

    def __imod__(self, other: Any) -> Any:
        return self._write_over("%", self, other) if self.type.shape else self % other

    def __ipow__(self, other: Any) -> Any:  # type: ignore[misc]  # no modulus
        return self._write_over("**", self, other) if self.type.shape else self**other

    def __imatmul__(self, other: Any) -> Any:
        return self._write_over("@", self, other) if self.type.shape else self @ other

    def __iand__(self, other: Any) -> Any:
        return self._write_over("&", self, other) if self.type.shape else self & other

    def __ior__(self, other: Any) -> Any:
        return self._write_over("|", self, other) if self.type.shape else self | other

    def __ixor__(self, other: Any) -> Any:
        return self._write_over("^", self, other) if self.type.shape else self ^ other

    # -- NumPy's protocols
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return dispatch(ufunc if method == "__call__" else (ufunc, method), inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return dispatch(function, args, kwargs)

    # -- an array's methods: each is the NumPy function of the same name
    def __getitem__(self, index: Any) -> Any:
        return FUNCTIONS["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        array: Any = self
        array.own()[index] = value

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise TypeError("len() of a 0-d Value")
        if not isinstance(shape[0], int):
            raise TraceError(
                f"len() needs a size known at trace time, got {shape[0].params['size']}",
                "Use x.shape[0], which stays symbolic.",
            )
        return shape[0]

    def __iter__(self) -> Iterator[Any]:
        if self.shape and not isinstance(self.shape[0], int):
            raise TraceError(
                f"iteration outside of a `for` statement needs a size known at trace time, got {self.shape[0].params['size']}",
                "Write a for loop without else, which is captured, or gg.map(f, x): sets, dicts, * and a second `for` are run, "
                "not captured.",
            )
        return iter([self[i] for i in range(len(self))])

    def sum(self, axis: Any = None, **kwargs: Any) -> Any:
        return dispatch(np.sum, (self, axis), kwargs)

    def prod(self, axis: Any = None, **kwargs: Any) -> Any:
        return dispatch(np.prod, (self, axis), kwargs)

    def mean(self, axis: Any = None, **kwargs: Any) -> Any:
        return dispatch(np.mean, (self, axis), kwargs)

    def max(self, axis: Any = None, **kwargs: Any) -> Any:
        return dispatch(np.max, (self, axis), kwargs)

    def min(self, axis: Any = None, **kwargs: Any) -> Any:
        return dispatch(np.min, (self, axis), kwargs)

    def clip(self, *args: Any, **kwargs: Any) -> Any:
        return dispatch(np.clip, (self, *args), kwargs)

    def dot(self, other: Any) -> Any:
        return FUNCTIONS[np.dot](self, other)

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        return dispatch(np.reshape, (self, shape[0] if len(shape) == 1 else shape), kwargs)

    def transpose(self, *axes: Any) -> Any:
        whole = len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list)))
        return dispatch(np.transpose, (self, (axes[0] if whole else axes) or None), {})

    def ravel(self, *args: Any, **kwargs: Any) -> Any:
        return dispatch(np.ravel, (self, *args), kwargs)

    def flatten(self, *args: Any, **kwargs: Any) -> Any:
        return self._anew(dispatch(np.ravel, (self, *args), kwargs))

    def squeeze(self, axis: Any = None) -> Any:
        return dispatch(np.squeeze, (self, axis), {})

    def astype(self, dtype: Any, **kwargs: Any) -> Any:
        return self._anew(FUNCTIONS["astype"](self, dtype))

    def copy(self) -> Any:
        return FUNCTIONS[np.copy](self)

    def _anew(self, made: Any) -> Any:
        """What is a new array in NumPy, and may be written into: a copy where the eager array itself was given back."""
        value: Any = self
        if value._data is None or not value.type.shape:
            return made
        return FUNCTIONS[np.copy](made) if made is self or made is value.resolve() else made

    @property
    def T(self) -> Any:
        return dispatch(np.transpose, (self,), {})

    # -- micrograd's methods
    def relu(self) -> Any:
        return FUNCTIONS[np.maximum](self, 0.0)

    def exp(self) -> Any:
        return self._apply(OPS["exp"], self)

    def log(self) -> Any:
        return self._apply(OPS["log"], self)

    def tanh(self) -> Any:
        return self._apply(OPS["tanh"], self)

    # -- conversions that would cut the gradient silently
    def _refuse(self, what: str, remedy: str) -> Any:
        value: Any = self
        if getattr(value, "_data", None) is not None:
            raise TraceError(
                f"{what} of a Value is not taken silently",
                "Use its .data; or write a function of arrays and let gg.grad or gg.compile trace it.",
            )
        raise TraceError(f"{what} needs a number, got a traced {value.type}", remedy)

    def __bool__(self) -> bool:
        value: Any = self
        if getattr(value, "_data", None) is not None and np.size(value._data) == 1:
            return bool(
                value._data
            )  # a branch on an eager number is define-by-run, as in micrograd
        return self._refuse(
            "a truth value (if, while, and, or, not)",
            "Write np.where(condition, a, b), which computes and differentiates both.",
        )

    def __float__(self) -> float:
        return self._refuse("float()", "Leave the float() out: the Value itself is the number.")

    def __int__(self) -> int:
        return self._refuse(
            "int()", "Use np.trunc(x), which is rounded to zero too, or x.astype(int) for an index."
        )

    def __complex__(self) -> complex:
        return self._refuse("complex()", "gradgen differentiates real functions.")

    def __index__(self) -> int:
        return self._refuse(
            "an integer index or count", "Index with x[i] on a Value, or make the count static."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self._refuse(
            "np.asarray()",
            "Build arrays of Values with np.array([...]) or np.stack inside a traced function.",
        )

    def __round__(self, digits: int | None = None) -> Any:
        return FUNCTIONS[np.round](self, digits or 0)

    def __floor__(self) -> Any:
        return FUNCTIONS[np.floor](self)

    def __ceil__(self) -> Any:
        return FUNCTIONS[np.ceil](self)

    def __trunc__(self) -> Any:
        return FUNCTIONS[np.trunc](self)

    @property
    def flat(self) -> Any:
        """The elements in order."""
        return FUNCTIONS[np.reshape](self, -1)

    @flat.setter
    def flat(self, values: Any) -> None:
        FUNCTIONS["fill in order"](self, values)

    def compress(self, condition: Any, axis: Any = None) -> Any:
        return FUNCTIONS[np.compress](condition, self, axis)

    def is_integer(self) -> Any:
        """As of Python's numbers: whether a number is whole, which inf is not."""
        return self - FUNCTIONS[np.floor](self) == 0

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def sort(self, axis: Any = -1, **kwargs: Any) -> None:
        self[...] = dispatch(np.sort, (self, axis), kwargs)

    def partition(self, kth: Any, axis: Any = -1, **kwargs: Any) -> None:
        self[...] = dispatch(np.partition, (self, kth, axis), kwargs)

    def resize(self, *shape: Any, **kwargs: Any) -> None:
        raise UnsupportedError(
            "x.resize() changes the size of an array in place",
            "Write x = np.resize(x, shape), which repeats the elements, or np.pad(x, widths), which adds zeros.",
        )

    def fill(self, value: Any) -> None:
        self[...] = value

    def put(self, indices: Any, values: Any, mode: str = "raise") -> None:
        FUNCTIONS[np.put](self, indices, values, mode)

    if TYPE_CHECKING:  # the methods that are installed below

        def __getattr__(self, name: str) -> Any: ...

    def item(self, *at: Any) -> Any:
        """While a function is traced: the one element, or the one at an index into the axes (or into all, in order)."""
        value: Any = self
        if getattr(value, "_data", None) is not None:
            return self._refuse("item()", "")
        if not at:
            return FUNCTIONS[np.reshape](self, ())
        return (
            self.flat[at[0]]
            if len(at) == 1 and not isinstance(at[0], tuple)
            else self[at if len(at) > 1 else at[0]]
        )

    def tolist(self) -> Any:
        """While a function is traced: lists of its elements, as deep as it has axes."""
        value: Any = self
        if getattr(value, "_data", None) is not None:
            return self._refuse("tolist()", "")
        return [part.tolist() for part in value] if value.type.shape else self


def _function_of(name: str) -> Any:
    """The method `name` that calls NumPy's function of the same name."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return dispatch(function, (self, *args), kwargs)

    function = getattr(np, name)
    method.__name__, method.__doc__ = name, f"NumPy's {name} of this array."
    return method


def _value_of(function: Any) -> property:
    return property(lambda self: FUNCTIONS[function](self))


def _refused(name: str) -> property:
    def refuse(self: Any) -> Any:
        raise UnsupportedError(
            f"the method {name} of an array is not differentiated by gradgen",
            "Write it with the functions in `gradgen ops`.",
        )

    return property(refuse)


def _install() -> None:
    """Give Operators what else an array has. No `__getattr__` does it: where a class has one, each read of a slot is slow."""
    values = {"real": np.real, "imag": np.imag, "mT": np.matrix_transpose}
    for name in dir(np.ndarray):
        if name.startswith("_") or hasattr(Operators, name):
            continue
        if name in values:
            setattr(Operators, name, _value_of(values[name]))
        else:
            found = _function_of(name) if hasattr(np, name) else _refused(name)
            setattr(Operators, name, found)


_install()
