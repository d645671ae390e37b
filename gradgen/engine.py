"""The interpreted engine: evaluates a Function at any stage, one statement after another, by the ops' meaning in NumPy.

Slow and plain on purpose: emitted code is checked against it. No recursion; values are dropped after their last use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradgen.errors import ShapeError
from gradgen.ir import CONST, SIZE, Function
from gradgen.sizes import Dim, Size, evaluate, letters
from gradgen.types import DTYPES, Type


def concrete(params: Any, env: Mapping[str, int]) -> Any:
    """Params with every size replaced by its number."""
    if isinstance(params, Size):
        return evaluate(params, env)
    if isinstance(params, dict):
        return {k: concrete(v, env) for k, v in params.items()}
    if isinstance(params, tuple):
        items = [concrete(v, env) for v in params]
        return type(params)(*items) if hasattr(params, "_fields") else tuple(items)
    return params


def bind_sizes(
    types: Sequence[Type],
    arrays: Sequence[Any],
    names: Sequence[str],
    given: Mapping[str, int] = {},
) -> dict[str, int]:
    """The value of every letter from the shapes of arrays; ShapeError names the two arguments that disagree."""
    env: dict[str, int] = dict(given)
    source: dict[str, str] = {k: k for k in given}
    pending: list[tuple[Dim, int, str]] = []
    for ty, array, name in zip(types, arrays, names, strict=True):
        shape = np.shape(array)
        if len(shape) != len(ty.shape):
            raise ShapeError(f"{name} needs {ty}, got an array of shape {shape}")
        for dim, actual in zip(ty.shape, shape, strict=True):
            pending.append((dim, actual, name))
    for dim, actual, name in pending:
        bare = _bare_letter(dim)
        if bare is None:
            continue
        if bare in env and env[bare] != actual:
            raise ShapeError(
                f"{name} needs {bare} = {env[bare]} (from {source[bare]}), got {actual}"
            )
        if bare not in env:
            env[bare], source[bare] = actual, name
    for dim, actual, name in pending:
        if all(x in env for x in letters(dim)):
            wanted = evaluate(dim, env)
            if wanted != actual:
                raise ShapeError(f"{name} needs an axis of {dim} = {wanted}, got {actual}")
    return env


def _bare_letter(dim: Dim) -> str | None:
    if isinstance(dim, Size) and len(dim.terms) == 1:
        monomial, coefficient = dim.terms[0]
        if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], str):
            return monomial[0]
    return None


def interpret(fn: Function, args: Sequence[Any], sizes: Mapping[str, int] = {}) -> list[Any]:
    """The outputs of `fn` on arrays. `sizes` gives letters that no argument's shape shows.

    Raises ShapeError when the arguments disagree on a size or an entry check of the Function fails.
    """
    names = [v.name or f"argument {k}" for k, v in enumerate(fn.inputs)]
    env_sizes = bind_sizes([v.type for v in fn.inputs], args, names, sizes)
    check_requirements(fn, env_sizes)
    symbolic = bool(env_sizes)
    env: dict[int, Any] = {}
    for node, value in zip(fn.inputs, args, strict=True):
        env[id(node)] = np.asarray(value, DTYPES[node.type.dtype])
    last: dict[int, int] = {}
    for k, node in enumerate(fn.body):
        for a in node.args:
            last[id(a)] = k
    keep = {id(v) for v in fn.outputs}

    def value_of(a: Any) -> Any:
        if a.op is CONST:
            return a.params["value"]
        if a.op is SIZE:
            return np.int64(evaluate(a.params["size"], env_sizes))
        return env[id(a)]

    with np.errstate(all="ignore"):
        for k, node in enumerate(fn.body):
            operands = [value_of(a) for a in node.args]
            params = node.params
            if params and symbolic:
                params = concrete(params, env_sizes)
            result = node.op.evaluate(*operands, **params)
            dtype = DTYPES[node.type.dtype]
            if getattr(result, "dtype", None) is not dtype:
                result = np.asarray(result, dtype)
            env[id(node)] = result
            for a in node.args:
                if last[id(a)] == k and id(a) not in keep:
                    env.pop(id(a), None)
        return [np.array(value_of(v), DTYPES[v.type.dtype]) for v in fn.outputs]


def check_requirements(fn: Function, sizes: Mapping[str, int]) -> None:
    """Raise ShapeError when an entry check on sizes does not hold."""
    for need in fn.requires:
        left, right = (concrete(d, sizes) for d in (need.left, need.right))
        if not (left >= right if need.relation == ">=" else left == right):
            raise ShapeError(f"{fn.name} needs {need}, got {left} and {right}", site=need.site)
