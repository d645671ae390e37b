"""Which of gradgen's functions stands for which library function: the table behind NumPy's protocols.

Modules under `ops/` enter their functions with `implements`; `dispatch` looks them up, for `__array_ufunc__`,
`__array_function__`, the methods of a Value and the front end's calls alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import SpecError, UnsupportedError
from gradgen.ir import shows

# NumPy function, ufunc, (ufunc, method name), registered function, or SciPy's dotted name -> implementation on Values.
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
# Further ways to find an implementation, for objects that no key can name.
FINDERS: list[Callable[[Any], Callable[..., Any] | None]] = []


def implements(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the function stands for these library functions whenever a Value is among the arguments.

    A function of SciPy, which is never imported here, is given by its dotted public name: "scipy.special.erf",
    "scipy.stats.norm.logpdf".
    """

    def enter(implementation: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            FUNCTIONS[function] = implementation
        return implementation

    return enter


def register(foreign_function: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Teach gradgen a library's function: a decorator for its implementation in plain NumPy.

        @gg.register(library.rms)
        def _(x, axis=None):
            return np.sqrt(np.mean(x**2, axis=axis))

    Wherever a traced function calls `library.rms` on a Value, the implementation is called with the same arguments and
    traced in its place; with `gg.custom_vjp` it may bring a rule of its own. On plain numbers the library's function is
    called as ever. Returns the implementation. SpecError if the function is not callable or not hashable.
    """
    try:
        hash(foreign_function)
    except TypeError:
        foreign_function = None
    if not callable(foreign_function):
        raise SpecError(f"gg.register needs a function, got {type(foreign_function).__name__}")
    return implements(foreign_function)


def lookup(function: Any) -> Callable[..., Any] | None:
    """gradgen's implementation of a library's function; None if it has none."""
    try:
        found = FUNCTIONS.get(function)
    except TypeError:  # not hashable
        return None
    found = found or FUNCTIONS.get(_dotted(function))
    if found is None and str(getattr(function, "__module__", "")).startswith("scipy."):
        found = next(filter(None, (find(function) for find in FINDERS)), None)
    return found


def _dotted(function: Any) -> str:
    """`scipy.linalg.solve` for a function that lives in scipy.linalg._basic, `scipy.stats.norm.pdf` for a method."""
    name = getattr(function, "__name__", "")
    if isinstance(function, np.ufunc):  # which says nothing of the module that it comes from
        return "" if getattr(np, name, None) is function else f"scipy.special.{name}"
    module = str(getattr(function, "__module__", "") or "")
    if not module.startswith("scipy."):
        return ""
    owner = getattr(function, "__self__", None)
    if owner is not None:
        name = f"{type(owner).__name__.removesuffix('_gen')}.{name}"
    return f"{'.'.join(module.split('.')[:2])}.{name}"


class Elements:
    """What is no array and decides itself what a call with it makes: see `selection`."""

    __slots__ = ()
    called: Callable[..., Any]


def dispatch(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call gradgen's implementation of a NumPy function; UnsupportedError names function and argument if there is none."""
    for a in args:
        if isinstance(a, Elements):
            return a.called(function, args, kwargs)
    implementation = lookup(function)
    if implementation is None:
        raise UnsupportedError(
            f"{_function_name(function)} is not differentiated by gradgen", _alternative(function)
        )
    if isinstance(function, np.ufunc) and not kwargs and len(args) == function.nin:
        return _apart(function, args, implementation(*args))
    if kwargs or len(args) > 1:
        args, kwargs = _given(args, kwargs)
        args, kwargs, out = _split_out(function, args, kwargs)
        if isinstance(function, np.ufunc) and kwargs:
            args, kwargs, where = _split_where(function, args, kwargs, out)
        else:
            where = None
        if out is not None:
            result = dispatch(function, args, kwargs)
            out[...] = result if where is None else FUNCTIONS[np.where](where, result, out)
            return out
    try:
        return _apart(function, args, implementation(*args, **kwargs))
    except TypeError:
        _refuse_arguments(function, implementation, args, kwargs)
        raise


# Functions whose results may be their argument's memory; those of all others are new arrays.
# fmt: off
_VIEWS = frozenset((
    "array_split", "asanyarray", "asarray", "ascontiguousarray", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays",
    "broadcast_to", "diag", "diagonal", "diff", "dsplit", "einsum", "expand_dims", "flip", "fliplr", "flipud", "hsplit",
    "matrix_transpose", "moveaxis", "permute_dims", "ravel", "real", "real_if_close", "reshape", "rollaxis", "rot90", "split",
    "squeeze", "swapaxes", "transpose", "unstack", "vsplit",
))
# fmt: on


def _apart(function: Any, args: tuple[Any, ...], result: Any) -> Any:
    """The result of a NumPy function, a new array where NumPy makes one: it may be written into while an argument is kept."""
    if result.__class__ is list:  # np.split
        return [_apart(function, args, part) for part in result]
    op = getattr(result, "op", None)
    if op is None or not result.type.shape:
        return result
    held = [a for a in args if a is result or getattr(a, "state", None) is result]
    if getattr(function, "__name__", "") in _VIEWS:
        if (
            not op.view and not held and result.owner is not None
        ):  # np.diagonal: outdated by writes as a view is
            for base in (
                a for a in args if hasattr(a, "resolve")
            ):  # np.einsum: its text comes first
                result.owner.views.setdefault(id(base.resolve()), []).append(result)
        return held[0] if held else result
    listed = (b for a in args if isinstance(a, (list, tuple)) for b in a)  # np.concatenate([y])
    held += [b for b in listed if b is result or getattr(b, "state", None) is result]
    return FUNCTIONS[np.copy](result) if held or shows(result) else result


def _refuse_arguments(function: Any, implementation: Any, args: Any, kwargs: Any) -> None:
    """UnsupportedError if it is the arguments that do not fit: seen only where a call has failed, since it takes long."""
    try:
        inspect.signature(implementation).bind(*args, **kwargs)
    except TypeError as error:
        raise UnsupportedError(
            f"{_function_name(function)} is not supported with these arguments: {error}",
            "Leave the argument out, or write the computation with whole-array operations.",
        ) from None


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments without NumPy's mark for absent ones, which its own signatures have as a default."""
    while args and args[-1] is np._NoValue:
        args = args[:-1]
    return args, {k: v for k, v in kwargs.items() if v is not np._NoValue}


def _split_out(function: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
    """The arguments without `out`, and the array made inside the function that it is, if any."""
    out = kwargs.get("out")
    if isinstance(out, tuple):
        out = out[0] if len(out) == 1 else out
    if isinstance(function, np.ufunc) and len(args) > function.nin:
        out, args = args[function.nin], args[: function.nin]
    if out is None:
        return args, {k: v for k, v in kwargs.items() if k != "out"}, None
    if not hasattr(out, "own"):
        raise UnsupportedError(
            f"{_function_name(function)} is not supported with these arguments: out= needs an array made inside "
            f"the traced function, got {type(out).__name__}",
            "Make it with np.zeros or np.empty, or leave out= out.",
        )
    return args, {k: v for k, v in kwargs.items() if k != "out"}, out.own()


def _split_where(function: Any, args: Any, kwargs: Any, out: Any) -> tuple[Any, Any, Any]:
    """A ufunc's arguments in the dtype that they are computed in, without the options that say how, and its `where`."""
    kwargs = {k: v for k, v in kwargs.items() if k not in ("casting", "order", "subok")}
    dtype, where = kwargs.pop("dtype", None), kwargs.pop("where", True)
    if dtype is not None:
        args = tuple([FUNCTIONS[np.astype](a, dtype) for a in args])
    if where is True:
        return args, kwargs, None
    if out is None:
        raise UnsupportedError(
            f"{_function_name(function)} needs out= beside where=: elsewhere the result is not initialised",
            "Write np.where(mask, value, 0.0), or give out=np.zeros(...).",
        )
    return args, kwargs, where


def _function_name(function: Any) -> str:
    if isinstance(function, np.vectorize):
        return "np.vectorize"
    if isinstance(function, tuple):
        return f"np.{function[0].__name__}.{function[1]}"
    module = getattr(function, "__module__", None) or (
        "numpy" if isinstance(function, np.ufunc) else ""
    )
    if not module and hasattr(function, "__self__"):
        module = type(function.__self__).__name__
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", repr(function))
    return f"{module}.{name}".replace("numpy.", "np.").replace("np._core.", "np.").lstrip(".")


_ALTERNATIVES = {
    "nonzero": "The result's shape depends on data; use np.where(mask, x, 0.0).",
    "argwhere": "The result's shape depends on data; use np.where(mask, x, 0.0).",
    "flatnonzero": "The result's shape depends on data; use np.where(mask, x, 0.0).",
    "unique": "The result's shape depends on data; use masks with np.where.",
    "intersect1d": "The result's shape depends on data; use masks with np.where.",
    "setdiff1d": "The result's shape depends on data; use masks with np.where.",
    "union1d": "The result's shape depends on data; use masks with np.where.",
    "trim_zeros": "The result's shape depends on data; use masks with np.where.",
    "histogram": "Counts have no slope; compute them outside, or write a smooth kernel sum.",
    "eig": "Eigenvalues of a general matrix may be complex; for a symmetric one use np.linalg.eigh.",
    "eigvals": "Eigenvalues of a general matrix may be complex; for a symmetric one use np.linalg.eigvalsh.",
    **dict.fromkeys(
        ("polyadd", "polysub", "polymul", "polypow"),
        "NumPy drops zeros at the end, so that the result's shape depends on data; add arrays of one length, multiply with "
        "np.convolve.",
    ),
    "polyroots": "The roots of a polynomial may be complex; solve for the one that you need.",
    "roots": "The roots of a polynomial may be complex; solve for the one that you need.",
    "vectorize": "Write the function on whole arrays.",
}


def _alternative(function: Any) -> str:
    name = "vectorize" if isinstance(function, np.vectorize) else getattr(function, "__name__", "")
    return _ALTERNATIVES.get(name, "Write it with the functions in `gradgen ops`.")
