"""What the rewritten copy of a user's function does at assignments, subscripts and calls.

On plain Python values each hook behaves exactly as plain Python. On Values: assignments give names; array constructors make
arrays that can be assigned into; builtins and `math` functions that reach no NumPy protocol are mapped to ops; calls of the
user's own functions enter their rewritten copies; random numbers are refused.
"""

from __future__ import annotations

import builtins
import functools
import operator
import os
import random
import sysconfig
import types
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from gradgen.errors import TraceError, UnsupportedError
from gradgen.functions import FUNCTIONS, dispatch, lookup
from gradgen.handle import Handle
from gradgen.inplace import PLAIN, write_over
from gradgen.ir import CONST, PARAM
from gradgen.ops.shape import array as array_of
from gradgen.ops.shape import as_dtype, broadcast_to, reshape, shape_of
from gradgen.selection import Selection
from gradgen.sites import is_internal
from gradgen.trace.rewrite import rewrite
from gradgen.types import dtype_name
from gradgen.value import Value, any_value, constant, current_trace, note_array_name

_STDLIB = os.path.realpath(sysconfig.get_paths()["stdlib"]) + os.sep
CALLS: dict[Any, Callable[..., Any]] = {}
KINDS: dict[type, Callable[..., Any]] = {}  # what calling an object of a library's class means
METHODS: dict[type, Callable[..., Any]] = {}  # what a method of a dict, list or text means
_user_files: dict[str, bool] = {}


def is_user_code(code: types.CodeType) -> bool:
    """Whether a function is entered by its rewritten copy: not gradgen's, NumPy's, SciPy's or the standard library's."""
    name = code.co_filename
    known = _user_files.get(name)
    if known is None:
        path = os.path.realpath(name)
        library = path.startswith(_STDLIB) and "site-packages" not in path
        known = _user_files[name] = not library and not is_internal(name)
    return known


def enter(f: Any) -> Any:
    """The rewritten copy of a user's function or method, gradgen's version of a library's; `f` itself where there is none."""
    if lookup(f) is not None or _has_meaning(f):
        return functools.partial(call, f)
    if isinstance(f, types.MethodType):
        inner = enter(f.__func__)
        for name, value in getattr(f.__self__, "__dict__", {}).items():
            if isinstance(value, np.ndarray):
                note_array_name(value, name)
        return f if inner is f.__func__ else types.MethodType(inner, f.__self__)
    if isinstance(f, types.FunctionType):
        if not is_user_code(f.__code__):
            return f
        note_captures(f)
        return rewrite(f, HOOKS) or f
    if isinstance(f, functools.partial):
        return functools.partial(enter(f.func), *f.args, **f.keywords)
    method = getattr(type(f), "__call__", None)  # noqa: B004  (the function itself is wanted)
    if isinstance(method, types.FunctionType) and is_user_code(method.__code__):
        return types.MethodType(enter(method), f)
    return f


def _has_meaning(f: Any) -> bool:
    """Whether `call` knows what `f`, which is nobody's Python, does to Values: math.sin, an np.vectorize, A.dot."""
    if type(f) in KINDS:
        return True
    if isinstance(f, types.BuiltinFunctionType):
        return f in CALLS or isinstance(f.__self__, np.ndarray)
    return isinstance(f, type) and f in CALLS


def is_unread(f: Any) -> bool:
    """Whether `f` is a user's function whose source is not to be found, so that it runs as it is."""
    f = getattr(f, "__func__", f)
    return isinstance(f, types.FunctionType) and is_user_code(f.__code__) and not rewrite(f, HOOKS)


def note_captures(f: types.FunctionType) -> None:
    """Remember under which global or closure name an array is known, to name it so when it is captured."""
    code = f.__code__
    for name in code.co_names:
        value = f.__globals__.get(name)
        if isinstance(value, np.ndarray):
            note_array_name(value, name)
    for name, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        if isinstance(value, np.ndarray):
            note_array_name(value, name)


# -- the hooks
HOOKS = types.SimpleNamespace()


def hook(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: rewritten code calls the function under its name."""
    setattr(HOOKS, function.__name__, function)
    return function


@hook
def assign(name: str, value: Any) -> Any:
    """`name = value`: a Value without a name takes it."""
    if isinstance(value, Value):
        node: Any = value.state if isinstance(value, Handle) else value
        if node is not None and node.name is None and node.op is not PARAM and node.op is not CONST:
            node.name = name
    elif isinstance(value, np.ndarray):
        note_array_name(value, name)
    return value


_INPLACE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.iadd,
    "-": operator.isub,
    "*": operator.imul,
    "/": operator.itruediv,
    "//": operator.ifloordiv,
    "%": operator.imod,
    "**": operator.ipow,
    "@": operator.imatmul,
    "&": operator.iand,
    "|": operator.ior,
    "^": operator.ixor,
    "<<": operator.ilshift,
    ">>": operator.irshift,
}


@hook
def inplace(symbol: str, old: Any, value: Any) -> Any:
    """`old symbol= value`: arrays are written in place; numbers are rebound, and eager arrays where a trace is open."""
    if isinstance(old, Value):
        if not isinstance(old, Handle) and (
            not old.type.shape or (old._data is not None and current_trace() is not None)
        ):
            return PLAIN[symbol](old, value)
        return write_over(symbol, old, value)
    if isinstance(old, np.ndarray) and any_value(value):
        raise UnsupportedError(
            "in-place arithmetic on a plain array needs plain numbers, got a traced Value",
            "Write a = a + v, or make the array inside the function with np.zeros.",
        )
    return _INPLACE[symbol](old, value)


@hook
def make_slice(start: Any, stop: Any, step: Any) -> slice:
    return slice(start, stop, step)


@hook
def getitem(obj: Any, index: Any) -> Any:
    """`obj[index]`: a plain array indexed by a Value becomes a constant; np.r_ and np.c_ join."""
    if (obj is np.r_ or obj is np.c_) and (any_value(index) or index_has_value(index)):
        return FUNCTIONS["r_" if obj is np.r_ else "c_"](index)
    if isinstance(obj, (np.ndarray, list, tuple)) and index_has_value(index):
        if not isinstance(obj, np.ndarray):
            if isinstance(index, Value) and not isinstance(index, Handle) and not any_value(obj):
                obj = np.asarray(obj)
            elif any_value(obj):
                obj = array_of(obj)
        if isinstance(obj, np.ndarray):
            obj = constant(obj)
        return FUNCTIONS["getitem"](obj, index)
    if isinstance(obj, dict):
        key(index)
    return obj[index]


@hook
def key(value: Any) -> Any:
    """`value` as a key of a dict or element of a set, which would look for its hash, not its value: no traced number."""
    parts = value if isinstance(value, tuple) else (value,)
    for v in parts:
        if isinstance(v, Value) and v._data is None and not v.type.shape:
            raise TraceError(
                f"a dict or set needs a plain value for its key, got a traced {v.type}",
                "Index an array with it, or write if and elif, which are captured.",
            )
    return value


def index_has_value(index: Any) -> bool:
    if isinstance(index, slice):
        return any(isinstance(b, Value) for b in (index.start, index.stop, index.step))
    if isinstance(index, tuple):
        return any(index_has_value(i) for i in index)
    return isinstance(index, Value)


@hook
def setitem(obj: Any, index: Any, value: Any) -> None:
    """`obj[index] = value`."""
    if isinstance(obj, np.ndarray) and (any_value(value) or index_has_value(index)):
        _refuse_write()
    if isinstance(obj, dict):
        key(index)
    obj[index] = value


def _refuse_write() -> NoReturn:
    raise UnsupportedError(
        "assignment of a traced Value needs an array made inside the function, got a plain NumPy array",
        "Make it with np.zeros, np.empty, np.ones or np.full inside the traced function.",
    )


@hook
def aug_setitem(obj: Any, index: Any, symbol: str, value: Any) -> None:
    """`obj[index] symbol= value`."""
    if isinstance(obj, Value):
        obj = obj.own()
        old = obj.resolve()
        whole = isinstance(value, Selection) or np.ndim(value) != 0
        if isinstance(index, Value) and index.type.dtype == "bool" and not whole:
            obj.become(FUNCTIONS["masked_update"](old, index, PLAIN[symbol](old, value)))
        else:
            obj[index] = PLAIN[symbol](FUNCTIONS["getitem"](old, index), value)
        return
    item = getitem(obj, index)
    setitem(obj, index, inplace(symbol, item, value))


@hook
def call(fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    """`fn(*args, **kwargs)`."""
    try:
        special, known = CALLS.get(fn), FUNCTIONS.get(fn)
    except TypeError:  # an unhashable callable
        special = known = None
    if special is not None:
        return special(*args, **kwargs)
    if known is not None and any_value((args, tuple(kwargs.values()))):
        # An implementation that the user registered is the user's code as any other.
        own = isinstance(known, types.FunctionType) and is_user_code(known.__code__)
        return enter(known)(*args, **kwargs) if own else dispatch(fn, args, kwargs)
    if isinstance(getattr(fn, "__self__", None), _GENERATORS):
        _refuse_random(fn)
    cls = type(fn)
    if cls in KINDS:
        return KINDS[cls](fn, *args, **kwargs)
    if cls is np.ufunc:
        for a in args:
            if isinstance(a, Value):
                return dispatch(fn, args, kwargs)
        return fn(*args, **kwargs)
    if cls is types.FunctionType:
        if is_user_code(fn.__code__):
            return enter(fn)(*args, **kwargs)
    elif cls is types.MethodType and str(fn.__module__).startswith("scipy."):
        # a distribution's method
        if fn.__name__ == "rvs":
            _refuse_random(fn)
        return (
            dispatch(fn, args, kwargs)
            if any_value((args, tuple(kwargs.values())))
            else fn(*args, **kwargs)
        )
    elif cls is types.MethodType or isinstance(fn, functools.partial):
        made = enter(fn)(*args, **kwargs)
        if isinstance(getattr(fn, "__self__", None), Value) and fn.__name__ in _COPIES:
            copied = fn.__name__ == "copy"
            # The user's own to assign into, as the copy of a Handle is already.
            return made if copied and type(made) is Handle else Handle(made, fresh=copied)
        return made
    elif isinstance(fn, functools._lru_cache_wrapper) and any_value((args, tuple(kwargs.values()))):
        return call(
            fn.__wrapped__, *args, **kwargs
        )  # a cache would keep Values of a trace that ends
    elif cls is types.BuiltinFunctionType:
        if isinstance(fn.__self__, np.ndarray):
            return _method(fn, args, kwargs)
        of_owner = METHODS.get(type(fn.__self__))
        if of_owner is not None:
            return of_owner(fn, *args, **kwargs)
    module = getattr(fn, "__module__", None) or ""
    if module.startswith("numpy.random"):
        _refuse_random(fn)
    if not isinstance(fn, (type, types.BuiltinFunctionType)) and not module.startswith(
        ("numpy", "scipy")
    ):
        return enter(fn)(*args, **kwargs)
    if module.startswith("numpy"):
        if any_value((args, tuple(kwargs.values()))):
            return dispatch(fn, args, kwargs)
    elif module.startswith("scipy") and any_value((args, tuple(kwargs.values()))):
        return dispatch(fn, args, kwargs)
    return fn(*args, **kwargs)


# Methods that change the array itself.
_WRITES = ("fill", "itemset", "partition", "put", "resize", "setfield", "sort")


def _method(fn: Any, args: Any, kwargs: Any) -> Any:
    """`array.method(...)` of a plain array: given a Value, the method of a Value, such as A.dot(x)."""
    if not any_value((args, tuple(kwargs.values()))):
        return fn(*args, **kwargs)
    if fn.__name__ in _WRITES:
        _refuse_write()
    return getattr(constant(fn.__self__), fn.__name__)(*args, **kwargs)


@hook
def make(fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    """`name = fn(...)`, for a name that is stored into: an array that NumPy makes new takes traced numbers."""
    result = call(fn, *args, **kwargs)
    if type(result) is not np.ndarray or not result.flags.writeable:
        return result
    given = (getattr(fn, "__self__", None), *args, *kwargs.values())
    module = getattr(fn, "__module__", None) or ""
    of_numpy = module.startswith("numpy") or isinstance(given[0], np.ndarray)
    if not of_numpy or any(
        isinstance(a, np.ndarray) and np.may_share_memory(a, result) for a in given
    ):
        return result
    return made(result)


_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


@hook
def made(value: Any) -> Any:
    """A new array of the function's own, as `2 * np.eye(3)` is, into which it stores: floats become a Handle."""
    if type(value) is np.ndarray and value.dtype in _FLOATS and current_trace() is not None:
        return Handle(constant(value))
    return value


# Module-level functions such as np.random.rand and random.random are methods of a generator that nobody sees.
_GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)


# Methods whose result is a new array in NumPy, whatever it is made from.
_COPIES = ("copy", "flatten", "astype")


def _refuse_random(fn: Any) -> None:
    raise UnsupportedError(
        f"{getattr(fn, '__name__', 'a random function')} draws random numbers inside a traced function: "
        "they would be frozen into the code",
        "Draw them outside and pass them as an argument.",
    )


# -- calls that reach no protocol
def calls(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter_all(hook: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            CALLS[function] = hook
        return hook

    return enter_all


@calls(len)
def _len(x: Any) -> Any:
    return x.shape[0] if isinstance(x, Value) and x.type.shape else builtins.len(x)


def _filled(fill: Any, plain: Callable[..., Any]) -> Callable[..., Any]:
    def make(shape: Any, dtype: Any = float, order: str = "C", **kwargs: Any) -> Any:
        if current_trace() is None or kwargs or order != "C":
            return plain(shape, dtype, order, **kwargs)
        name = dtype_name(dtype)
        dims = shape_of(plain.__name__, shape)
        if not dims:
            return Handle(constant(fill, name))
        return Handle(broadcast_to(constant(fill, name), dims), fresh=True)

    return make


# np.empty promises nothing about its contents; zeros keep what is read before it is written well defined.
CALLS[np.zeros] = _filled(0, np.zeros)
CALLS[np.empty] = _filled(0, np.empty)
CALLS[np.ones] = _filled(1, np.ones)


@calls(np.full)
def _full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C") -> Any:
    if current_trace() is None:
        return np.full(shape, fill_value, dtype, order)
    value = array_of(fill_value, dtype)
    if not isinstance(value, Value):
        value = constant(value)
    dims = shape_of("np.full", shape)
    return Handle(broadcast_to(value, dims), fresh=bool(dims) and not value.type.shape)


def _made(function: Callable[..., Any]) -> Callable[..., Any]:
    """A constructor whose result the user may assign into when it is made from a Value."""

    def make(x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, Value):
            return Handle(dispatch(function, (x, *args), kwargs), fresh=function is np.copy)
        return function(x, *args, **kwargs)

    return make


for _function in (np.zeros_like, np.ones_like, np.full_like, np.copy):
    CALLS[_function] = _made(_function)
CALLS[np.empty_like] = _made(np.zeros_like)


def _of_sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    """A constructor that reaches no protocol, with a size or a Value among its arguments."""

    def make(*args: Any, **kwargs: Any) -> Any:
        if any_value((args, tuple(kwargs.values()))):
            return dispatch(function, args, kwargs)
        return function(*args, **kwargs)

    return make


_CONSTRUCTORS: tuple[Any, ...] = (
    np.arange, np.eye, np.identity, np.tri, np.indices, np.linspace, np.logspace, np.geomspace,
)  # fmt: skip
CALLS |= {function: _of_sizes(function) for function in _CONSTRUCTORS}


def _at(ufunc: Any) -> Callable[..., None]:
    def write(a: Any, indices: Any, *values: Any) -> None:
        if any_value((a, indices, values)):
            dispatch((ufunc, "at"), (a, indices, *values), {})
        else:
            ufunc.at(a, indices, *values)

    return write


CALLS[np.add.at] = _at(np.add)
CALLS[np.subtract.at] = _at(np.subtract)


@calls(np.array)
def _array(x: Any, dtype: Any = None, *, ndmin: int = 0, **kwargs: Any) -> Any:
    if not any_value(x):
        return np.array(x, dtype, ndmin=ndmin, **kwargs)
    made, fresh = array_of(x, dtype), not isinstance(x, Value)
    missing = ndmin - made.type.ndim
    if missing > 0:
        made = reshape(made, (*(1,) * missing, *made.type.shape))
    return Handle(made, fresh=fresh)


@calls(np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray)
def _asarray(x: Any, dtype: Any = None, **kwargs: Any) -> Any:
    if isinstance(x, Value):
        same = dtype is None or dtype_name(dtype) == x.type.dtype
        return x if same else as_dtype(x, dtype)
    return array_of(x, dtype) if any_value(x) else np.asarray(x, dtype, **kwargs)


@calls(np.asarray_chkfinite)
def _asarray_chkfinite(x: Any, dtype: Any = None, order: Any = None) -> Any:
    """Numbers that are known now are checked; those of a Value come at run time, and emitted code passes NaN and inf on."""
    return _asarray(x, dtype) if any_value(x) else np.asarray_chkfinite(x, dtype, order)


def check_own(value: Value) -> None:
    """TraceError unless `value` may be used in the open trace."""
    trace = current_trace()
    if trace is not None and value.owner is not None:
        trace.operand(value)
    elif value.owner is not None:
        raise TraceError(f"{value!r} belongs to a trace that has ended")
