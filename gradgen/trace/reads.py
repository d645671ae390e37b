"""What looks at more of a value than its number: keys and elements by hash, texts, identity, and errors that are caught.

A traced number has none of them before the emitted code runs, so each is refused at the user's line where plain Python would
have decided by it. On plain values each hook is plain Python.
"""

from __future__ import annotations

import builtins
import collections
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import TraceError, UnsupportedError
from gradgen.texts import TracedText, joined
from gradgen.trace.branches import is_traced
from gradgen.trace.hooks import CALLS, HOOKS, METHODS, calls, hook, key
from gradgen.value import Extent, Value, any_value, current_trace


# -- elements of sets and keys of dicts
def _hashing(make: Any) -> Callable[..., Any]:
    """A constructor that hashes the elements of its first argument."""

    def check(*args: Any, **kwargs: Any) -> Any:
        if not args or isinstance(args[0], (dict, str)):
            return make(*args, **kwargs)
        found = list(args[0])
        for element in found:
            key(element)
        return make(found, *args[1:], **kwargs)

    return check


for _make in (set, frozenset, dict.fromkeys, collections.Counter):
    CALLS[_make] = _hashing(_make)
CALLS[builtins.hash] = lambda x, /: hash(key(x))


def _of_hashed(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """A method of a set or dict: its arguments are elements and keys, or lists of them."""
    for a in args[:1]:
        for element in a if isinstance(a, list) else (a,):
            key(element)
    return fn(*args, **kwargs)


for _kind in (dict, set, frozenset, collections.defaultdict, collections.OrderedDict):
    METHODS[_kind] = _of_hashed


def _of_list(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """`numbers.sort()`, as sorted() does it."""
    items = fn.__self__
    if fn.__name__ != "sort" or not any_value(items):
        return fn(*args, **kwargs)
    items[:] = CALLS[builtins.sorted](items, *args, **kwargs)
    return None


METHODS[list] = _of_list


# -- texts
HOOKS.joined = joined


@hook
def percent(form: str, values: Any) -> str:
    """`form % values`."""
    text = form % values
    return TracedText(text) if _is_told(values) else text


def _is_told(parts: Any) -> bool:
    """Whether a text made of `parts` tells a traced number."""
    if isinstance(parts, dict):
        parts = tuple(parts.values())
    if isinstance(parts, (tuple, list)):
        return any(_is_told(p) for p in parts)
    return isinstance(parts, TracedText) or is_traced(parts)


def _written(make: Callable[..., str]) -> Callable[..., str]:
    """str, repr or format, whose text of a list or tuple (a shape) would not know what is in it."""

    def text_of(*args: Any, **kwargs: Any) -> str:
        text = make(*args, **kwargs)
        return TracedText(text) if args and _is_told(args[0]) else text

    return text_of


for _writer in (builtins.str, builtins.repr, builtins.format):
    CALLS[_writer] = _written(_writer)


def _of_text(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """A method of a text: what it makes of a traced number is a TracedText, and nothing else is made of one."""
    if fn.__name__ == "join":
        args = (list(*args),)
    if not (_is_told(fn.__self__) or _is_told(args) or _is_told(kwargs)):
        return fn(*args, **kwargs)
    text = fn(*args, **kwargs)
    if not isinstance(text, str):
        TracedText()._refuse()
    return TracedText(text)


METHODS[str] = METHODS[TracedText] = _of_text


# -- identity
@hook
def is_(a: Any, b: Any) -> bool:
    """`a is b`: whether a number is the object True, 1 or another number depends on what a caller gives."""
    if a is not b:
        for one, other in ((a, b), (b, a)):
            if (
                is_traced(one)
                and not one.type.shape
                and isinstance(other, (Value, bool, int, float, np.generic))
            ):
                raise TraceError(
                    f"`is` needs plain values, got a traced {one.type}",
                    "Write ==, which is captured; a truth value is its own test: if flag, if not flag.",
                )
            if isinstance(one, type) and issubclass(one, Value) and isinstance(other, type):
                raise TraceError(
                    "x.__class__ needs a plain value, got a traced one",
                    "Write isinstance(x, float).",
                )
    return a is b


CALLS[operator.is_] = is_
CALLS[operator.is_not] = lambda a, b, /: not is_(a, b)


# A caller gives Python's numbers or NumPy's.
_NUMBERS: dict[str, tuple[Any, Any]] = {
    "f64": (0.0, np.float64(0)), "f32": (0.0, np.float32(0)), "i64": (0, np.int64(0)), "i32": (0, np.int32(0)),
    "bool": (False, np.bool_(False)),
}  # fmt: skip


@calls(builtins.hasattr)
def _hasattr(x: Any, name: str, /) -> bool:
    """A traced array has what an ndarray has, a number what both Python's and NumPy's have or lack."""
    if not is_traced(x) or isinstance(x, Extent):
        return hasattr(x, name)
    if x.type.shape:
        return hasattr(np.ndarray, name)
    known = {hasattr(number, name) for number in _NUMBERS[x.type.dtype]}
    if len(known) > 1:
        raise TraceError(
            f"hasattr(x, {name!r}) needs a plain number, got a traced {x.type}: a caller may give Python's or NumPy's",
            "Write np.ndim(x) or isinstance(x, float), which are the same for both.",
        )
    return known.pop()


# -- errors
@hook
def caught() -> None:
    """The start of an `except` for errors of every kind: what gradgen refuses is not an error of the user's program.

    Shapes and dtypes that do not fit are: NumPy would have raised as well.
    """
    if current_trace() is not None and isinstance(
        sys.exc_info()[1], (TraceError, UnsupportedError)
    ):
        raise
