"""The interpreted engine: evaluates a Function at any stage, one statement after another, by the ops' meaning in NumPy.

Slow and plain on purpose: emitted code is checked against it. No recursion; values are dropped after their last use.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np

from gradgen.errors import GradgenError, ShapeError
from gradgen.ir import CONST, SIZE, Function
from gradgen.ops.regions import CALL, COND, SCAN, WHILE, Loop, out_of_steps
from gradgen.sizes import Dim, Size, evaluate, letters
from gradgen.types import DTYPES, F64, Bundle, Type

Poles = Literal["ignore", "raise"]


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
        if ty.static and shape != ty.lengths:
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


def interpret(
    fn: Function, args: Sequence[Any], sizes: Mapping[str, int] = {}, poles: Poles = "ignore"
) -> list[Any]:
    """The outputs of `fn` on arrays. `sizes` gives letters that no argument's shape shows.

    poles: "raise" raises FloatingPointError where anything divides by zero, overflows or has no value.
    Raises ShapeError when the arguments disagree on a size or an entry check of the Function fails.
    """
    names = [v.name or f"argument {k}" for k, v in enumerate(fn.inputs)]
    env_sizes = bind_sizes([v.type for v in fn.inputs], args, names, sizes)
    check_requirements(fn, env_sizes)
    arrays = [
        np.asarray(value, DTYPES[node.type.dtype])
        for node, value in zip(fn.inputs, args, strict=True)
    ]
    with np.errstate(divide=poles, over=poles, invalid=poles, under="ignore"):
        return [
            np.array(value, DTYPES[v.type.dtype])
            for value, v in zip(run(fn, arrays, env_sizes), fn.outputs, strict=True)
        ]


# NumPy's scalars by Python's operators: the same numbers and the same poles in a tenth of a ufunc's time.
_OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg,
    "square": lambda x: x * x,
}  # fmt: skip


def run(fn: Function, arrays: Sequence[Any], sizes: dict[str, int]) -> list[Any]:
    """The outputs of a Function or region on arrays of its inputs' types; a taped while enters its steps into `sizes`."""
    env: dict[int, Any] = {id(node): array for node, array in zip(fn.inputs, arrays, strict=True)}
    numbers = fn.has_numbers_only
    dying = {} if numbers else _last_reads(fn)
    if numbers:
        env = {k: x[()] if isinstance(x, np.ndarray) else x for k, x in env.items()}

    def value_of(a: Any) -> Any:
        if a.op is CONST:
            return a.params["value"][()] if numbers else a.params["value"]
        if a.op is SIZE:
            return np.int64(evaluate(a.params["size"], sizes))
        return env[id(a)]

    for node in fn.body:
        operands = []
        for a in node.args:
            known = env.get(id(a))
            operands.append(value_of(a) if known is None else known)
        if numbers and node.type is F64:
            meaning = _OF_NUMBERS.get(node.op.name)
            if meaning is not None:
                env[id(node)] = meaning(*operands)
                continue
        params = node.params
        if node.op.regions:
            env[id(node)] = _REGIONS[node.op](node, operands, sizes)
        else:
            if params and sizes:
                params = concrete(params, sizes)
            result = node.op.evaluate(*operands, **params)
            dtype = DTYPES[node.type.dtype]
            if getattr(result, "dtype", None) is not dtype:
                result = np.asarray(result, dtype)
            env[id(node)] = result
        for a in dying.get(id(node), ()):
            env.pop(a, None)
    return [value_of(v) for v in fn.outputs]


def _last_reads(fn: Function) -> dict[int, list[int]]:
    """By statement, what it reads and nothing after it: arrays whose memory is given up."""
    seen = {id(v) for v in fn.outputs}
    dying: dict[int, list[int]] = {}
    for node in reversed(fn.body):
        ended = [a for a in dict.fromkeys(map(id, node.args)) if a not in seen]
        seen.update(ended)
        dying[id(node)] = ended
    return dying


# -- loops and branches
_left: ContextVar[list[int] | None] = ContextVar("steps left", default=None)


class Exhausted(GradgenError):
    """A loop took more steps than it was given."""


@contextmanager
def at_most(steps: int) -> Iterator[list[int]]:
    """Within, all loops together take so many steps, or raise Exhausted: a while loop need not end on inputs of ours.

    Gives a list of one number: the steps that are left.
    """
    left = [steps]
    token = _left.set(left)
    try:
        yield left
    finally:
        _left.reset(token)


def _step() -> None:
    left = _left.get()
    if left is not None:
        left[0] -= 1
        if left[0] < 0:
            raise Exhausted("the loops take too many steps")


def _scan(node: Any, operands: list[Any], sizes: dict[str, int]) -> list[Any]:
    loop = Loop.of(node)
    length = evaluate(node.params["length"], sizes)
    carry, xs = operands[: loop.carries], operands[loop.carries : loop.carries + loop.items]
    consts = operands[loop.carries + loop.items :]
    ys: list[list[Any]] = [[] for _ in loop.y_outputs]
    states = [[carry[k]] for k in loop.kept]
    for i in reversed(range(length)) if loop.reverse else range(length):
        _step()
        found = run(loop.body, [np.int64(i), *carry, *(x[i] for x in xs), *consts], sizes)
        carry = found[: loop.carries]
        for kept, y in zip(ys, found[loop.carries :], strict=True):
            kept.append(y)
        for kept, k in zip(states, loop.kept, strict=True):
            kept.append(carry[k])
    if loop.reverse:
        for kept in (*ys, *states):
            kept.reverse()
    return [*carry, *_stack(loop, ys, states, sizes)]


def _while(node: Any, operands: list[Any], sizes: dict[str, int]) -> list[Any]:
    loop, test = Loop.of(node), node.params["test"]
    carry, consts = operands[: loop.carries], operands[loop.carries :]
    ys: list[list[Any]] = [[] for _ in loop.y_outputs]
    states = [[carry[k]] for k in loop.kept]
    most, i = node.params.get("max_steps"), 0
    while run(test, [np.int64(i), *carry, *consts], sizes)[0]:
        if i == most:
            raise GradgenError(out_of_steps(node))
        _step()
        found = run(loop.body, [np.int64(i), *carry, *consts], sizes)
        carry = found[: loop.carries]
        for kept, y in zip(ys, found[loop.carries :], strict=True):
            kept.append(y)
        for kept, k in zip(states, loop.kept, strict=True):
            kept.append(carry[k])
        i += 1
    if isinstance(loop.length, Size):
        sizes[str(loop.length)] = i
    tape = _stack(loop, ys, states, sizes) if loop.length is not None else []
    return [np.int64(i), *carry, *tape]


def _stack(loop: Loop, ys: Any, states: Any, sizes: dict[str, int]) -> list[Any]:
    assert isinstance(loop.node.type, Bundle)
    types = loop.node.type.parts[loop.first_y :]
    return [
        np.array(values, DTYPES[ty.dtype]).reshape([evaluate(d, sizes) for d in ty.shape])
        for values, ty in zip([*ys, *states], types, strict=True)
    ]


def _cond(node: Any, operands: list[Any], sizes: dict[str, int]) -> list[Any]:
    pred, *consts = operands
    return run(node.params["then" if pred else "otherwise"], consts, sizes)


def _call(node: Any, operands: list[Any], sizes: dict[str, int]) -> list[Any]:
    return run(node.params["body"], operands, sizes)


_REGIONS = {SCAN: _scan, WHILE: _while, COND: _cond, CALL: _call}


def check_requirements(fn: Function, sizes: Mapping[str, int]) -> None:
    """Raise ShapeError when an entry check on sizes does not hold."""
    for need in fn.requires:
        left, right = (concrete(d, sizes) for d in (need.left, need.right))
        if not (left >= right if need.relation == ">=" else left == right):
            got = f"{left}" if isinstance(need.right, int) else f"{left} and {right}"
            raise ShapeError(f"{fn.name} needs {need}, got {got}", site=need.site)
