"""Python's own functions on Values: builtins and `math`, which reach no protocol, NumPy's types as casts, and np.vectorize.

On plain values each is plain Python. float(x) and int(x) of a traced number are casts: the slope passes the first, and is 0
behind the second. Where no rewritten copy of the code runs, Python asks the Value itself, which refuses.
"""

from __future__ import annotations

import builtins
import functools
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import TraceError, UnsupportedError
from gradgen.functions import FUNCTIONS, dispatch
from gradgen.handle import Handle
from gradgen.ops.reduce import as_value
from gradgen.ops.shape import array as array_of
from gradgen.ops.shape import as_dtype, reshape
from gradgen.sites import warn
from gradgen.trace.control import map as map_over
from gradgen.trace.hooks import CALLS, KINDS, call, calls
from gradgen.value import Extent, Value, any_value, current_trace


@calls(builtins.sum)
def _sum(items: Any, /, start: Any = 0) -> Any:
    if isinstance(items, Value):
        return FUNCTIONS[np.sum](items, 0) + start
    found = list(items)
    if type(start) is int and start == 0 and found and isinstance(found[0], Value):
        if found[0].type.dtype == "bool":
            found[0] = as_dtype(
                found[0], "i64"
            )  # truth values are counted: that is what 0 + is for
        return functools.reduce(operator.add, found)  # as builtins.sum, without its 0 + first
    return builtins.sum(found, start)


def _is_long(x: Any) -> bool:
    """Whether x is a traced array whose one axis has a symbolic size."""
    return isinstance(x, Value) and x.type.ndim == 1 and not isinstance(x.type.shape[0], int)


def _extreme(
    plain: Callable[..., Any], better: Any, function: Any, whole: Any
) -> Callable[..., Any]:
    def pick(*items: Any, key: Any = None, **kwargs: Any) -> Any:
        if len(items) == 1 and key is None and _is_long(items[0]):
            return FUNCTIONS[whole](items[0])
        found = list(items[0]) if len(items) == 1 else list(items)
        if key is None and not any(isinstance(v, Value) for v in found):
            return plain(found, **kwargs) if len(items) == 1 else plain(*items, **kwargs)
        if key is None:
            return functools.reduce(FUNCTIONS[function], found)
        keys = [call(key, v) for v in found]
        if not any_value(keys):
            return found[keys.index(plain(keys))] if found else plain(found, **kwargs)
        if not all(isinstance(v, (Value, int, float, np.generic)) for v in found):
            raise UnsupportedError(
                f"{plain.__name__}() with a key that is traced needs numbers to choose from",
                "Write np.argmax or np.argmin of an array of the keys, and index an array with it.",
            )
        best, top = found[0], keys[0]
        for v, k in zip(found[1:], keys[1:], strict=True):
            first = better(k, top)
            best, top = FUNCTIONS[np.where](first, v, best), FUNCTIONS[np.where](first, k, top)
        return best

    return pick


CALLS[builtins.max] = _extreme(builtins.max, operator.gt, np.maximum, np.max)
CALLS[builtins.min] = _extreme(builtins.min, operator.lt, np.minimum, np.min)


def _of_math(plain: Callable[..., Any], function: Any) -> Callable[..., Any]:
    def compute(*args: Any) -> Any:
        if any(isinstance(a, Value) for a in args):
            return dispatch(function, args, {})
        return plain(*args)

    return compute


def _of_floats(plain: Callable[..., Any], function: Any) -> Callable[..., Any]:
    """A function of math that makes floats of integers, where NumPy's has integers for them."""

    def compute(*args: Any) -> Any:
        if not any(isinstance(a, Value) for a in args):
            return plain(*args)
        whole = all(
            isinstance(a, int) or (isinstance(a, Value) and not a.type.is_float) for a in args
        )
        return dispatch(function, (call(builtins.float, args[0]), *args[1:]) if whole else args, {})

    return compute


def _hypot(*args: Any) -> Any:
    """The norm of any number of coordinates."""
    if not any_value(args):
        return math.hypot(*args)
    return abs(args[0]) if len(args) == 1 else functools.reduce(np.hypot, args)


def _isclose(a: Any, b: Any, *, rel_tol: Any = 1e-09, abs_tol: Any = 0.0) -> Any:
    if not any_value((a, b, rel_tol, abs_tol)):
        return math.isclose(a, b, rel_tol=rel_tol, abs_tol=abs_tol)
    apart, size = np.abs(a - b), np.maximum(np.abs(a), np.abs(b))
    close = FUNCTIONS[np.logical_and](apart <= np.maximum(rel_tol * size, abs_tol), size < np.inf)
    return FUNCTIONS[np.logical_or](
        close, FUNCTIONS[np.equal](a, b)
    )  # an infinity is close to itself alone


_MATH = "exp expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh tanh floor ceil trunc fabs exp2 cbrt degrees radians"
for _name in _MATH.split():
    if hasattr(math, _name):
        CALLS[getattr(math, _name)] = _of_math(getattr(math, _name), getattr(np, _name))
for _name, _numpy in {
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "copysign": np.copysign,
    "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite,
}.items():  # fmt: skip
    CALLS[getattr(math, _name)] = _of_math(getattr(math, _name), _numpy)
for _name, _numpy in {"fmod": np.fmod, "pow": np.power}.items():
    CALLS[getattr(math, _name)] = _of_floats(getattr(math, _name), _numpy)
for _name in ("erf", "erfc", "lgamma"):
    CALLS[getattr(math, _name)] = _of_math(getattr(math, _name), getattr(math, _name))


def _dist(p: Any, q: Any, /) -> Any:
    """The distance of two points; its slope is 0 where they are the same."""
    p, q = (x if isinstance(x, (Value, np.ndarray)) else list(x) for x in (p, q))
    if not any_value((p, q)):
        return math.dist(p, q)
    return FUNCTIONS[np.linalg.norm](array_of(p) - array_of(q))


CALLS[math.hypot] = _hypot
CALLS[math.dist] = _dist
CALLS[math.isclose] = _isclose


@calls(math.log)
def _log(x: Any, *base: Any) -> Any:
    """The second argument of math.log is the base; that of np.log is where the result goes."""
    if not any_value((x, base)):
        return math.log(x, *base)
    natural = dispatch(np.log, (x,), {})
    return natural / call(math.log, *base) if base else natural


@calls(math.fsum)
def _fsum(items: Any) -> Any:
    found = list(items)
    if not any_value(found):
        return math.fsum(found)
    total = FUNCTIONS[np.sum](array_of(found))
    return total if total.type.is_float else call(builtins.float, total)


# -- truth
def _truth(x: Any) -> Any:
    """The truth value of a number that is traced: bool[]."""
    value = as_value(x)
    if value.type.shape:
        raise UnsupportedError(
            f"a truth value needs a number, got {value.type}", "Write np.any(x) or np.all(x)."
        )
    return value if value.type.dtype == "bool" else FUNCTIONS[np.not_equal](value, 0)


@calls(builtins.bool)
def _bool(x: Any = False, /) -> Any:
    return _truth(x) if _is_traced(x) else builtins.bool(x)


def _quantifier(whole: Any, join: Any, stops: bool) -> Callable[..., Any]:
    """any or all: a plain element decides as ever, truth values that are traced are joined."""

    def over(items: Any, /) -> Any:
        if isinstance(items, Value) and items.type.ndim == 1:
            return FUNCTIONS[whole](items)
        found = None
        for x in items:
            if _is_traced(x):
                found = _truth(x) if found is None else FUNCTIONS[join](found, _truth(x))
            elif builtins.bool(x) is stops:
                return stops
        return (not stops) if found is None else found

    return over


CALLS[builtins.any] = _quantifier(np.any, np.logical_or, True)
CALLS[builtins.all] = _quantifier(np.all, np.logical_and, False)


def _is_traced(x: Any) -> bool:
    return isinstance(x, Value) and x._data is None and not isinstance(x, Extent)


# -- types
_SCALARS: dict[str, tuple[Any, ...]] = {
    "f64": (np.float64(0), 0.0), "f32": (np.float32(0),), "i64": (np.int64(0), 0), "i32": (np.int32(0),),
    "bool": (np.bool_(False), False),
}  # fmt: skip


@calls(builtins.isinstance)
def _isinstance(x: Any, kinds: Any, /) -> bool:
    """A traced array is an ndarray, and a number whatever a caller may give for it: the branch that they take is traced."""
    if not _is_traced(x) or isinstance(x, kinds):
        return isinstance(x, kinds)
    like = (np.empty(0),) if x.type.shape else _SCALARS.get(x.type.dtype, ())
    return any(isinstance(value, kinds) for value in like)


@calls(builtins.type)
def _type(*args: Any, **kwargs: Any) -> Any:
    """`type(x)` of a traced array is NumPy's; a number's depends on what a caller gives."""
    if len(args) != 1 or not _is_traced(args[0]):
        return builtins.type(*args, **kwargs)
    if args[0].type.shape:
        return np.ndarray
    raise TraceError(
        f"type() needs a plain number, got a traced {args[0].type}: a caller may give Python's or NumPy's",
        "Write isinstance(x, float), which both are.",
    )


# -- numbers and order
def _single() -> bool:
    """Whether the open trace computes in f32 alone: there no number of Python's may widen what it meets."""
    trace = current_trace()
    while trace is not None and trace.parent is not None:
        trace = trace.parent
    floats = {v.type.dtype for v in trace.inputs if v.type.is_float} if trace is not None else set()
    return floats == {"f32"}


def _number(plain: type, dtype: str, single: str | None) -> Callable[..., Any]:
    """float or int of a number that is traced: a cast, so that what float() is asked for keeps its slope.

    single: the dtype in a program of f32, where Python's own number would be weak; None: refused there.
    """

    def convert(*args: Any) -> Any:
        x = args[0] if len(args) == 1 else None
        if isinstance(x, Value) and not x.type.shape and x._data is None:
            wanted = single if _single() else dtype
            if wanted is not None:
                return x if x.type.dtype == wanted else as_dtype(x, wanted)
        return plain(*args)

    return convert


CALLS[builtins.float] = _number(float, "f64", "f32")
CALLS[builtins.int] = _number(int, "i64", None)


@calls(builtins.sorted)
def _sorted(items: Any, /, *, key: Any = None, reverse: Any = False) -> Any:
    """A list of the elements in order; with a `key` that is traced it is refused."""
    found = items if isinstance(items, Value) else list(items)
    if not any_value(found):
        return builtins.sorted(found, key=key, reverse=reverse)
    if key is not None:
        raise UnsupportedError(
            "sorted() with a key needs plain elements, got traced ones",
            "Write x[np.argsort(keys)].",
        )
    rising = FUNCTIONS[np.sort](array_of(found) if isinstance(found, list) else found)
    return list(FUNCTIONS[np.flip](rising) if reverse else rising)


# -- what iterates
@calls(np.fromiter)
def _fromiter(iter: Any, dtype: Any, count: Any = -1, **kwargs: Any) -> Any:
    found = list(iter) if count < 0 else list(itertools.islice(iter, count))
    if any_value(found):
        return Handle(array_of(found, dtype), fresh=True)
    return np.fromiter(found, dtype, count, **kwargs)


# -- NumPy's scalar types as casts
def _cast(dtype: type) -> Callable[..., Any]:
    def cast(*args: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], Value):
            return as_dtype(args[0], dtype)
        return dtype(*args)

    return cast


for _dtype in (np.float64, np.float32, np.int64, np.int32, np.bool_):
    CALLS[_dtype] = _cast(_dtype)


# -- np.vectorize
def _vectorized(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """The function on every element of the broadcast arguments: a map, which becomes whole-array statements where it can."""
    if not any_value((args, tuple(kwargs.values()))):
        return fn(*args, **kwargs)
    if fn.signature is not None or kwargs:
        raise UnsupportedError(
            "np.vectorize is supported for positional arguments and without a signature",
            "Give the arguments by position, or use gg.vmap.",
        )
    fixed = fn.excluded or set()
    moving = [k for k in range(len(args)) if k not in fixed]
    wide = FUNCTIONS[np.broadcast_arrays](*[as_value(args[k]) for k in moving])
    shape = wide[0].type.shape

    def one(items: Any) -> Any:
        given = list(args)
        for k, item in zip(moving, items, strict=True):
            given[k] = item
        return call(fn.pyfunc, *given)

    made = map_over(one, tuple([reshape(w, -1) for w in wide]))
    outputs = made if isinstance(made, tuple) else (made,)
    types = fn.otypes or ""
    cast = [as_dtype(y, np.dtype(t)) for y, t in zip(outputs, types, strict=False)] or outputs
    shaped = tuple([reshape(y, shape) for y in cast])
    return shaped if isinstance(made, tuple) else shaped[0]


KINDS[np.vectorize] = _vectorized
KINDS[np.poly1d] = lambda fn, x: FUNCTIONS[np.polyval](fn.coeffs, x) if any_value(x) else fn(x)


def _polynomial(fn: Any, x: Any) -> Any:
    """A numpy.polynomial.Polynomial of plain coefficients."""
    if not any_value(x):
        return fn(x)
    off, scale = fn.mapparms()
    return FUNCTIONS[np.polynomial.polynomial.polyval](x if (off, scale) == (0, 1) else off + scale * x, fn.coef)  # fmt: skip


KINDS[np.polynomial.Polynomial] = _polynomial


@calls(np.ndenumerate)
def _ndenumerate(arr: Any) -> Any:
    if not isinstance(arr, Value):
        return np.ndenumerate(arr)
    lengths = [dim for dim in arr.type.shape if isinstance(dim, int)]
    if len(lengths) < arr.type.ndim:
        raise UnsupportedError(
            f"np.ndenumerate needs sizes known at trace time, got {arr.type}",
            "Write whole-array operations, or nested loops over the axes.",
        )
    return ((at, arr[at]) for at in np.ndindex(*lengths))


@calls(builtins.print)
def _print(*args: Any, **kwargs: Any) -> None:
    trace = current_trace()
    if trace is not None and trace.region:
        warn(
            "print in a captured branch or loop runs while it is traced, whichever way its test goes; "
            "emitted code does not print"
        )
    builtins.print(*args, **kwargs)
