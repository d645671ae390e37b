"""`Value`, the one handle that users and rules compute with, and `apply`, the one way to make a statement.

    eager    a Value with data, as in micrograd: apply computes at once and remembers the operands; `backward` walks them
    traced   a Value without data, made while a Trace is open: apply appends a statement to it

User code, derivative rules and rewrites all call `apply(op, *operands, **params)`; so a rule written once runs eagerly, traces,
prints to every target and can be differentiated again.

NumPy's own functions arrive through `__array_ufunc__` and `__array_function__` and are looked up in `FUNCTIONS`.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen import scalars
from gradgen.errors import ShapeError, SpecError, TraceError, UnsupportedError
from gradgen.functions import FUNCTIONS
from gradgen.ir import (
    CONST,
    NO_PARAMS,
    OPS,
    PARAM,
    SIZE,
    Function,
    Node,
    Op,
    Requirement,
    infer,
    shows,
)
from gradgen.operators import Operators
from gradgen.selection import Selection
from gradgen.sites import Site, user_site
from gradgen.sizes import Dim, Size, add, floordiv, mul, nonnegative
from gradgen.texts import TracedText
from gradgen.types import DTYPES, F64, Type, dtype_name, floating, promote, type_of

# Names under which the user's functions know arrays, by id; the weak reference tells whether the id is still that array's.
_names_of_arrays: dict[int, tuple[weakref.ref[Any], str]] = {}


def note_array_name(array: np.ndarray, name: str) -> None:
    """Remember that the user calls `array` `name`, for the day when it is captured."""
    known = _names_of_arrays.get(id(array))
    if known is None or known[0]() is not array:
        _names_of_arrays[id(array)] = (weakref.ref(array), name)


def array_name(array: Any) -> str | None:
    """The name noted for an array, if any."""
    known = _names_of_arrays.get(id(array))
    return known[1] if known is not None and known[0]() is array else None


class Value(Operators, Node):
    """An eager scalar or array that remembers how it was computed, or a value of a trace.

    Value(data, label=""): a leaf. `data` is a number or array (integers become float64); `.data` is a float for a
    scalar. `.grad` is dloss/dself after `loss.backward()`, which accumulates; zeros before. Both are assignable.

    `a += v` rebinds a number, as in Python. On an array that was computed it has NumPy's meaning, as `a[i] = v`, `out=a` and
    np.add.at(a, ...) have: all who hold it see the write, `.grad` is that of what it is now, and what was computed before keeps
    what it read. Into a Value that the user made, an array or a view of it, none writes (UnsupportedError): it is a leaf, which
    its gradient belongs to; `x.data -= rate * x.grad` updates it.
    """

    __slots__ = ("__weakref__", "_data", "_grad")
    _data: Any  # None while traced
    _grad: Any
    _reverse: Callable[..., None]  # `eager.backward`, which stands on this
    own: Callable[..., Any]  # `handle.own`, which does too

    def __init__(
        self, data: Any, _children: tuple[Any, ...] = (), _op: str = "", label: str = ""
    ) -> None:
        if isinstance(data, Value):
            data = data.data
        array = np.asarray(data)
        if array.dtype.kind in "iub" and array.dtype != np.bool_:
            array = array.astype(np.float64)
        if array.dtype.kind not in "fb":
            raise SpecError(f"a Value needs real numbers, got {array.dtype}")
        self.op = LEAF
        self.args = tuple(_children)
        self.params = NO_PARAMS
        self.type = type_of(array)
        self.name = label or None
        self.site = None
        self.owner = None
        self._data = float(array) if self.type is F64 else array
        self._grad = None

    def resolve(self) -> Value:
        """The SSA value that this is now; for a Handle, into which the user writes, another after each write."""
        return self

    def as_read(self) -> Value:
        """What statements that have this object as an operand read; for a Written array, what it was before the write."""
        return self

    # -- data and gradient
    @property
    def data(self) -> Any:
        """The number or array; assignable. TraceError on a traced Value, which has none."""
        if self._data is None:
            raise TraceError(f".data needs an eager Value, got a traced {self.type}")
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        self._data = float(data) if self.type is F64 else np.asarray(data, DTYPES[self.type.dtype])
        if np.shape(self._data) != self.type.shape:
            self.type = self.type.with_shape(np.shape(self._data))

    @property
    def grad(self) -> Any:
        """d(last backward's result)/d(self), accumulated; zeros of the Value's shape before."""
        if self._grad is None or self._data is None:
            shape = self.type.shape
            return 0.0 if not shape else np.zeros(shape, DTYPES[self.type.dtype])
        return self._grad

    @grad.setter
    def grad(self, grad: Any) -> None:
        self._grad = float(grad) if grad is not None and self.type is F64 else grad

    @property
    def label(self) -> str:
        return self.name or ""

    @label.setter
    def label(self, label: str) -> None:
        self.name = label or None

    @property
    def _prev(self) -> set[Any]:
        return {a for a in self.args if a.op is not CONST}

    @property
    def _op(self) -> str:
        return "" if self.op is LEAF else self.op.symbol or self.op.name

    # -- shape
    @property
    def shape(self) -> tuple[Any, ...]:
        shape = self.type.shape
        for dim in shape:
            if not isinstance(dim, int):
                return tuple([Extent.of(d) for d in shape])
        return shape

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def size(self) -> Any:
        size = self.type.size
        return Extent.of(size)

    @property
    def dtype(self) -> np.dtype[Any]:
        return DTYPES[self.type.dtype]

    def backward(self, y_bar: Any = None) -> None:
        """Add d(self)/d(v) to `.grad` of every Value v that self was computed from.

        y_bar: cotangent of self's shape; 1 by default, which a scalar alone allows.
        """
        if self._data is None:
            raise TraceError("backward() needs an eager Value, got a traced one", "Use gg.grad.")
        if y_bar is None:
            if self.type.shape:
                raise ShapeError(
                    f"backward() needs a scalar, got {self.type}", "Pass y_bar, or sum() first."
                )
            y_bar = 1.0
        y_bar = np.asarray(y_bar, DTYPES[self.type.dtype])
        if y_bar.shape != self.type.shape:
            raise ShapeError(
                f"backward() needs y_bar of shape {self.type.shape}, got {y_bar.shape}"
            )
        # An eager Value is a number to a trace that happens to be open: nothing of its sweep is a statement there.
        trace, _STATE.trace = _STATE.trace, None
        _STATE.sweeps = True
        try:
            self._reverse(self, y_bar)
        finally:
            _STATE.trace = trace
            _STATE.sweeps = False

    def __repr__(self) -> str:
        if self._data is None:
            return TracedText(f"Value({self.name + ': ' if self.name else ''}{self.type})")
        return f"Value(data={self._data}, grad={self.grad})"

    def __format__(self, spec: str) -> str:
        return repr(self) if self._data is None else format(self._data, spec)


class Outdated(Value):
    """What an eager array was before it was written into. Statements made of it keep reading it; views of it are refused."""

    __slots__ = ()


class Extent(Value):
    """A symbolic size used as a number: `x.shape[0]`. Sums and products of sizes stay sizes."""

    __slots__ = ()

    def __init__(self, size: Dim, name: str | None = None) -> None:
        self.op = SIZE
        self.args = ()
        self.params = {"size": size}
        self.type = Type.of("i64")
        self.name = name
        self.site = None
        self.owner = None
        self._data = None
        self._grad = None

    @staticmethod
    def of(dim: Dim) -> Any:
        """An int as it is, a symbolic size as a number."""
        return dim if isinstance(dim, int) else Extent(dim)

    def _combine(self, other: Any, op: Callable[[Dim, Dim], Dim], swap: bool = False) -> Any:
        dim = dim_or_none(other)
        if dim is None:
            return None
        mine = self.params["size"]
        result = op(dim, mine) if swap else op(mine, dim)
        return Extent.of(result)

    def __add__(self, other: Any) -> Any:
        result = self._combine(other, add)
        return Operators.__add__(self, other) if result is None else result

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        result = self._combine(other, lambda a, b: add(a, mul(b, -1)))
        return Operators.__sub__(self, other) if result is None else result

    def __rsub__(self, other: Any) -> Any:
        result = self._combine(other, lambda a, b: add(a, mul(b, -1)), swap=True)
        return Operators.__rsub__(self, other) if result is None else result

    def __mul__(self, other: Any) -> Any:
        result = self._combine(other, mul)
        return Operators.__mul__(self, other) if result is None else result

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        divisor = dim_or_none(other)
        trace = current_trace()
        if isinstance(divisor, Size) and trace is not None and nonnegative(divisor):
            # n // n is 1 but for n = 0, where Python divides by zero: so such sizes are refused at entry.
            trace.require(divisor, ">=", 1)
        result = self._combine(other, floordiv)
        return Operators.__floordiv__(self, other) if result is None else result

    def __eq__(self, other: object) -> Any:
        if dim_or_none(other) == self.params["size"]:
            return True
        return Operators.__eq__(self, other)

    def __ne__(self, other: object) -> Any:
        if dim_or_none(other) == self.params["size"]:
            return False
        return Operators.__ne__(self, other)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return TracedText(self.params["size"])

    def __format__(self, spec: str) -> str:
        return TracedText(self.params["size"])

    def __index__(self) -> int:
        raise TraceError(
            f"a count needs a number known at trace time, got the symbolic size {self.params['size']}",
            "Compute on whole arrays, or give the size a number in the spec.",
        )


def dim_or_none(value: Any) -> Dim | None:
    """A dimension from an int, NumPy integer, Size or Extent; None for anything else."""
    if isinstance(value, (int, Size)) and not isinstance(value, bool):
        return value
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, Value) and value.op is SIZE:
        return value.params["size"]
    return None


def _leaf_type(*types: Type, **params: Any) -> Type:
    return types[0]


LEAF = Op("leaf", _leaf_type, _leaf_type, "An eager Value made by the user.")


# -- traces
class ForeignValue(TraceError):
    """A Value of a trace that is over, or of another function's."""


class Trace:
    """A Function under construction; `with Trace(...) as trace:` makes it the one that `apply` appends to.

    trusted: operands are not checked for belonging here (derivative rules and passes reuse the nodes of the Function
    that they transform).  site: when set, the line given to new statements instead of the user's current one.
    region: the Function will be the body of a loop or branch; captured arrays become its operands.
    """

    __slots__ = (
        "body", "consts", "free", "held", "inputs", "letters", "overwritten", "parent", "read_only", "region", "requires",
        "row_by_row", "site", "sources", "stale", "trusted", "unbound", "views",
    )  # fmt: skip

    def __init__(
        self, trusted: bool = False, site: Site | None = None, region: bool = False
    ) -> None:
        self.body: list[Value] = []
        self.inputs: list[Value] = []
        self.consts: dict[Any, Value] = {}
        self.free: dict[int, tuple[Value, Value]] = {}
        self.parent: Trace | None = None
        self.letters: set[str] | None = None  # names of sizes in an outermost trace, once asked for
        self.unbound: dict[str, tuple[str, str]] = {}  # in an outermost trace: see `branches`
        # What shares memory in NumPy: views of a value, and the inputs that stand for a value of an enclosing trace.
        self.views: dict[int, list[Value]] = {}
        self.read_only: set[int] = set()  # views that NumPy lets nobody write into
        self.sources: dict[int, Value] = {}
        self.held: dict[int, Any] = {}  # the Handle that stands for a value
        self.stale: set[int] = set()
        self.overwritten: list[Value] = []
        self.row_by_row: dict[
            int, bool
        ] = {}  # what is known of how arrays lie in memory: see `ops.views`
        self.requires: dict[Requirement, None] = {}
        self.site = site
        self.trusted = trusted
        self.region = region

    def __enter__(self) -> Trace:
        self.parent = _STATE.trace
        _STATE.trace = self
        return self

    def __exit__(self, *exc: object) -> None:
        _STATE.trace = self.parent

    def input(self, ty: Type, name: str | None = None) -> Value:
        """A new parameter of the Function."""
        node = new_node(PARAM, (), NO_PARAMS, ty, None, self)
        node.name = name
        self.inputs.append(node)
        return node

    def require(self, left: Dim, relation: str, right: Dim, what: str = "a size") -> None:
        """Note an entry check on sizes, of `what`; what can be decided now is (ShapeError)."""
        if isinstance(left, int) and isinstance(right, int):
            if not (left >= right if relation == ">=" else left == right):
                raise ShapeError(f"{what} needs to be {relation} {right}, got {left}")
            return
        self.requires.setdefault(Requirement(left, relation, right, self.site or user_site()))

    def operand(self, value: Value) -> Value:
        """`value` as an operand in this trace: itself, a captured constant, or a new input for an outer trace's value."""
        owner = value.owner
        if owner is self or self.trusted:
            return value
        if owner is None:
            if value._data is not None:
                return constant(value._data, value.type.dtype, value.name)
            if value.op is not PARAM:
                return value
        outer = self.parent
        while outer is not None and outer is not owner and not outer.trusted:
            outer = outer.parent
        if outer is None:
            raise ForeignValue(
                f"a traced function needs its own Values, got {value!r} of another trace",
                "Pass it as an argument, or return it from the function that made it.",
            )
        return self.capture(value)

    def capture(self, value: Value) -> Value:
        """The input that stands for a value of an enclosing trace."""
        known = self.free.get(id(value))
        if known is None:
            trace: Trace | None = self
            while trace is not None:
                if trace.stale:
                    trace.refuse_stale((value,))
                trace = trace.parent
            known = self.free[id(value)] = (value, self.input(value.type, value.name))
            self.stand_in(known[1], value)
        return known[1]

    def stand_in(self, param: Value, value: Value) -> None:
        """Note that the input `param` is `value` of an enclosing trace, the same memory in NumPy."""
        self.sources[id(param)] = value
        self.views.setdefault(id(value), []).append(param)

    def outermost(self) -> Trace:
        """The trace that this one is in the end for."""
        trace = self
        while trace.parent is not None:
            trace = trace.parent
        return trace

    def source(self, value: Value) -> Value:
        """The value that an input of this trace or an enclosing one stands for, in the outermost trace that has it."""
        trace: Trace | None = self
        while trace is not None and value.op is PARAM:
            value, trace = trace.sources.get(id(value), value), trace.parent
        return value

    def memory(self, value: Value) -> Value:
        """The value whose memory `value` is in NumPy: what it is a view of, itself where it is none."""
        while True:
            found = self.source(value)
            if shows(found) and found.args[0].type.shape and found.op.name != "broadcast":
                found = found.args[0]
            if found is value:
                return value
            value = found

    def sharing(self, base: Value) -> set[int]:
        """Identities of `base`, its views and what stands for them, here and in enclosing traces."""
        found: set[int] = set()
        stack = [base]
        while stack:
            node = stack.pop()
            if id(node) in found:
                continue
            found.add(id(node))
            trace: Trace | None = self
            while trace is not None:
                stack += trace.views.get(id(node), ())
                trace = trace.parent
        return found

    def outdate(self, base: Value) -> None:
        """The memory of `base` has been written to: it and views of it no longer are what NumPy would show."""
        self.stale |= self.sharing(base)
        self.overwritten.append(base)

    def refuse_stale(self, args: tuple[Value, ...]) -> None:
        """UnsupportedError if an operand is an alias or view of an array that was written to after it was taken."""
        for a in args:
            if id(a) in self.stale:
                raise UnsupportedError(
                    "a view (reshape, .T, ravel, ...) or a second name of an array needs to be taken after the last write "
                    "to it, got one that was taken before",
                    "Take it again after the assignment, or take a copy: b = a.T.copy(); or write a = a + v for a += v. To "
                    "write through one that NumPy may make as a copy, index the array itself: a[i // m, i % m] = v.",
                )

    def function(self, name: str, outputs: list[Value], title: str = "") -> Function:
        return Function(name, self.inputs, outputs, self.body, tuple(self.requires), title)


class _State(threading.local):
    trace: Trace | None = None
    sweeps = False  # whether `backward` is at work, whose rules read arrays as they were


_STATE = _State()


def current_trace() -> Trace | None:
    """The innermost open trace of this thread."""
    return _STATE.trace


def new_node(
    op: Op, args: tuple[Any, ...], params: dict[str, Any], ty: Type, site: Site | None, owner: Any
) -> Value:
    """A Value with nothing checked and nothing appended."""
    node = Value.__new__(Value)
    node.op = op
    node.args = args
    node.params = params
    node.type = ty
    node.name = None
    node.site = site
    node.owner = owner
    node._data = None
    node._grad = None
    return node


def constant(value: Any, dtype: str | None = None, name: str | None = None) -> Value:
    """A constant of the current trace, interned by type and bit pattern (0.0 is not -0.0); eager outside of one."""
    trace = _STATE.trace
    if trace is None and value.__class__ is float and (dtype is None or dtype == "f64"):
        return _float_constant(value)
    array = np.asarray(value, None if dtype is None else DTYPES[dtype])
    ty = type_of(array)
    if trace is None:
        if ty is F64:
            return _float_constant(array.item())
        node = new_node(CONST, (), {"value": array}, ty, None, None)
        node._data = array
        return node
    key = (ty, array.tobytes() if array.size <= 64 else id(value))
    known = trace.consts.get(key)
    if known is None and trace.region and array.size > 64:
        # One array of the enclosing trace, whatever loop reads it.
        _STATE.trace = trace.parent
        try:
            outer = constant(value, dtype, name)
        finally:
            _STATE.trace = trace
        known = trace.consts[key] = trace.capture(outer)
    if known is None:
        label = name or array_name(value)
        if array.ndim:
            # The text that is emitted must not change when the user's array does later.
            array = array.copy()
        known = trace.consts[key] = new_node(CONST, (), {"value": array}, ty, None, None)
        known.name = label
        known._grad = (
            value  # keeps id(value) from being given to another array while the trace is open
        )
    return known


def table(array: np.ndarray, name: str) -> Value:
    """A constant array that belongs to the derivative, not to the user: it stays in the emitted text, whatever its size."""
    node = new_node(CONST, (), {"value": array, "table": True}, type_of(array), None, None)
    node.name = name
    return node


def is_table(value: Value) -> bool:
    """Whether `value` is what `table` makes."""
    return value.op is CONST and "table" in value.params


def is_scalar_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.generic))


def lift(op: Op, args: tuple[Any, ...]) -> tuple[Value, ...]:
    """Operands as Values: Python's numbers are weak (they take the dtype of what they meet), lists become arrays.

    NumPy's numbers count as NumPy counts them, but for one: nothing that is captured widens f32.
    """
    dtype = None
    weak = False
    out = list(args)
    for i, a in enumerate(out):
        if isinstance(a, Extent):
            pass  # a size is a number of Python's: it widens nothing
        elif isinstance(a, Value):
            node = a.resolve()
            out[i] = node
            d = node.type.dtype
            dtype = d if dtype is None or dtype == d else promote(dtype, d)
        elif is_scalar_number(a):
            weak = True
        else:
            if op is OPS["mul"]:
                _refuse_repetition(a, out[1 - i])
            out[i] = a = _array(op, a)
            if isinstance(a, Value):
                d = a.type.dtype
                dtype = d if dtype is None or dtype == d else promote(dtype, d)
    for i, a in enumerate(out):
        if isinstance(a, Value):
            continue
        if isinstance(a, np.ndarray):
            # A captured float array is as weak as a literal: it never widens f32.
            weak_float = a.dtype.kind == "f" and dtype == "f32"
            out[i] = constant(a, "f32" if weak_float else None)
            if dtype is None:
                dtype = out[i].type.dtype
    if weak:
        if dtype != "f32":
            for a in out:
                if isinstance(a, (np.float64, np.float32, np.int64, np.int32)):
                    own = dtype_name(a.dtype)
                    dtype = own if dtype is None else promote(dtype, own)
        for i, a in enumerate(out):
            if not isinstance(a, Value):
                out[i] = constant(a, _weak_dtype(a, dtype))
    if dtype == "f32" or dtype == "i32":
        for i, a in enumerate(out):
            if isinstance(a, Extent):
                out[i] = apply(OPS["cast"], a, dtype=dtype)
    return tuple(out)


def _weak_dtype(number: Any, dtype: str | None) -> str:
    if isinstance(number, (bool, np.bool_)):
        return "bool"
    if isinstance(number, (int, np.integer)):
        integers = "i32" if dtype == "i32" else "i64"
        if np.iinfo(DTYPES[integers]).min <= number <= np.iinfo(DTYPES[integers]).max:
            return integers if dtype is None or dtype == "bool" else dtype
        if dtype is None or dtype[0] == "f":
            return dtype or "f64"
        raise SpecError(
            f"a number beside {DTYPES[dtype]} needs to fit into {integers}, got {number}",
            "Write it as a float, or convert the array first: x.astype(float).",
        )
    if isinstance(number, np.complexfloating):
        raise UnsupportedError(
            "complex numbers are refused", "gradgen differentiates real functions."
        )
    return "f64" if dtype is None else floating(dtype)


def _refuse_repetition(items: Any, count: Any) -> None:
    """`[x] * k`, which repeats a list in Python and NumPy alike where k is an integer."""
    listed = isinstance(items, (list, tuple, str)) or hasattr(type(items), "__gradgen_array__")
    if not listed or not isinstance(count, Value):
        return
    if not count.type.shape and not count.type.is_float:
        raise TraceError(
            f"repeating a {type(items).__name__} needs a count known at trace time, got {count!r}",
            "Write np.full(n, x), or k * np.array([...]) for a product.",
        )


def _array(op: Op, value: Any) -> Any:
    """An operand that is neither Value nor number: an array, or a list (of Values, perhaps)."""
    if isinstance(value, (list, tuple)) and any_value(value):
        return FUNCTIONS["array"](value)
    if isinstance(value, Size):
        return Extent(value)
    if hasattr(type(value), "__gradgen_array__"):  # the list of a comprehension
        return value.__gradgen_array__()
    if callable(getattr(value, "__array__", None)) or isinstance(value, (list, tuple)):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            return array
        if array.dtype.kind == "c":
            raise _no_complex()
        if array.dtype.kind == "O":
            raise UnsupportedError(
                "arrays of objects are refused: they have no dtype to compute in",
                "Make one of numbers, np.array(values, dtype=float), or keep the objects in a list.",
            )
    if isinstance(value, complex):
        raise _no_complex()
    raise SpecError(f"{op.name} needs numbers, arrays or Values, got {type(value).__name__}")


def _no_complex() -> UnsupportedError:
    return UnsupportedError(
        "complex numbers are refused", "Differentiate real and imaginary part apart."
    )


def any_value(tree: Any) -> bool:
    """Whether a Value is somewhere in nested lists and tuples; iterative, so that depth does not matter."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, Value):
            return True
        if isinstance(item, (list, tuple)):
            stack.extend(item)
    return False


# -- the one way to make a statement
def apply(op: Op, *args: Any, **params: Any) -> Value:
    """The result of `op` on `args`: computed at once outside of a trace, a new statement inside one.

    Raises ShapeError or SpecError where the op's type rule does, TraceError for operands of another trace.
    """
    trace = _STATE.trace
    if trace is None:
        return _eager(op, args, params)
    for a in args:
        if a.__class__ is not Value or (a.owner is not trace and not trace.trusted):
            for b in args:
                if b.__class__ is Selection:
                    return b.apply(op, args, params)  # type: ignore[return-value]
            args = tuple([trace.operand(a) for a in lift(op, args)])
            break
    if trace.stale:
        trace.refuse_stale(args)
    if params or op.memo is None:
        ty = op.infer(*[a.type for a in args], **params)
    else:
        key = tuple([a.type for a in args])
        known = op.memo.get(key)
        if known is None:
            try:
                known = op.memo[key] = op.infer(*key)
            except ShapeError:
                fitted = FUNCTIONS["sized alike"](args) if op.elementwise else None
                if fitted is None:
                    raise
                return apply(op, *fitted)
        ty = known
    node = Value.__new__(Value)
    node.op = op
    node.args = args
    node.params = params or NO_PARAMS
    node.type = ty
    node.name = None
    node.site = trace.site or user_site(2)
    node.owner = trace
    node._data = None
    node._grad = None
    trace.body.append(node)
    if op.view and ty.shape:
        trace.views.setdefault(id(args[0]), []).append(node)
    return node


Operators._apply = staticmethod(apply)


# What ops compute on plain floats; None for those that do not.
_MEANINGS: dict[Op, Callable[..., float] | None] = {}


def _binary(a: Value, op: Op, b: Any) -> Value:
    """`apply(op, a, b)`; two eager numbers, of which networks of scalars are made, go the shortest way."""
    x = a._data
    if x.__class__ is float and _STATE.trace is None:
        if b.__class__ is float:
            b = _float_constant(b)
        y = b._data if b.__class__ is Value else None
        meaning = _MEANINGS.get(op)
        if y.__class__ is float and meaning is not None:
            try:
                data = meaning(x, y)
            except (ArithmeticError, ValueError):
                return apply(op, a, b)
            if data - data == 0.0:
                return _number(op, (a, b), data)
    return apply(op, a, b)


Operators._binary = _binary


def _eager(op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Value:
    if not params:
        try:
            meaning = _MEANINGS[op]
        except KeyError:
            meaning = _MEANINGS[op] = scalars.meaning(op, len(args))
        if meaning is not None:
            numbers = _numbers(args)
            if numbers is not None:
                try:
                    data = meaning(*[a._data for a in numbers])
                    if data - data == 0.0:  # inf and nan come with NumPy's warnings
                        return _number(op, numbers, data)
                except (ArithmeticError, ValueError):
                    pass
    for a in args:
        if a.__class__ is not Value or a._data is None:
            args = lift(op, args)
            break
    for a in args:
        if a._data is None:
            raise TraceError(
                f"{op.name} needs Values of an open trace, got {a!r} of one that has ended",
                "A traced Value lives only while its function is traced: return it instead of storing it.",
            )
        if a.op.view and not _STATE.sweeps:
            _refuse_outdated(a)
    ty = infer(op, args, params)
    operands = [a._data for a in args]
    if ty.dtype == "f64" and any(a.type.dtype == "f32" for a in args):
        operands = [
            np.asarray(d, np.float64) if a.type.dtype == "f32" else d
            for a, d in zip(args, operands, strict=True)
        ]
    data = op.evaluate(*operands, **params)
    node = new_node(op, args, params or NO_PARAMS, ty, None, None)
    node._data = float(data) if ty is F64 else np.asarray(data, DTYPES[ty.dtype])
    return node


def _refuse_outdated(view: Value) -> None:
    """UnsupportedError for a view of an eager array that was written to after it was taken, where NumPy shows the write."""
    of = view
    while shows(of) and of.op.name != "broadcast":
        of = of.args[0]
        if isinstance(of, Outdated):
            raise UnsupportedError(
                "a view (a slice, reshape, .T, ...) of an eager array needs to be taken after the last write to it, got one "
                "that was taken before",
                "Take it again after the assignment, or take a copy: b = a.T.copy(); or write a = a + v for a += v.",
            )


def _numbers(args: tuple[Any, ...]) -> tuple[Value, ...] | None:
    """Operands that are eager numbers of f64, and numbers of Python's beside them as constants; None for any others."""
    plain = True
    some = False
    for a in args:
        if a.__class__ is Value:
            if a._data.__class__ is not float:
                return None
            some = True
        elif a.__class__ in _WEAK:
            plain = False
        else:
            return None
    if plain:
        return args
    if not some:
        return None
    return tuple([a if a.__class__ is Value else _float_constant(float(a)) for a in args])


# Numbers that are as weak as a float literal: they take the dtype of what they meet.
_WEAK = frozenset((float, int, np.float64))


def _number(op: Op, args: tuple[Value, ...], data: float) -> Value:
    """The eager result of a statement on numbers."""
    node = Value.__new__(Value)
    node.op = op
    node.args = args
    node.params = NO_PARAMS
    node.type = F64
    node.name = None
    node.site = None
    node.owner = None
    node._data = data
    node._grad = None
    return node


def _float_constant(number: float) -> Value:
    node = _number(CONST, (), number)
    node.params = {"value": np.float64(number)}
    return node
