"""Which of gradgen's functions stands for which library function: the table behind NumPy's protocols.

Modules under `ops/` enter their functions with `implements`; `dispatch` looks them up, for `__array_ufunc__`,
`__array_function__`, the methods of a Value and the front end's calls alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import UnsupportedError

# NumPy function, ufunc, (ufunc, method name) or a foreign library's function -> implementation on Values.
FUNCTIONS: dict[Any, Callable[..., Any]] = {}


def implements(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the function stands for these library functions whenever a Value is among the arguments."""

    def enter(implementation: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            FUNCTIONS[function] = implementation
        return implementation

    return enter


def dispatch(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call gradgen's implementation of a NumPy function; UnsupportedError names function and argument if there is none."""
    implementation = FUNCTIONS.get(function) or FUNCTIONS["foreign"](function)
    if implementation is None:
        raise UnsupportedError(
            f"{_function_name(function)} is not differentiated by gradgen", _alternative(function)
        )
    if kwargs or len(args) > 1:
        try:
            inspect.signature(implementation).bind(*args, **kwargs)
        except TypeError as error:
            raise UnsupportedError(
                f"{_function_name(function)} is not supported with these arguments: {error}",
                "Leave the argument out, or write the computation with whole-array operations.",
            ) from None
    return implementation(*args, **kwargs)


def _function_name(function: Any) -> str:
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
    "sort": "Sorting depends on data; sum or max over the axis is differentiable.",
    "nonzero": "The result's shape depends on data; use np.where(mask, x, 0.0).",
    "unique": "The result's shape depends on data; use masks with np.where.",
    "einsum": "Write it with @, np.sum and broadcasting.",
    "argmax": "Use np.max, or compute the index outside and pass it as an i64 argument.",
}


def _alternative(function: Any) -> str:
    name = getattr(function, "__name__", "")
    return _ALTERNATIVES.get(name, "Write it with the functions in `gradgen ops`.")
