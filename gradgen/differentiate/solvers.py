"""Equations solved inside emitted code, and differentiated by the implicit function theorem.

    root(f, x0)           x with f(x) = 0                  Newton's method
    fixed_point(f, x0)    x with f(x) = x                  iteration
    minimize(f, x0)       x where the gradient of f is 0   Newton's method or gradient descent

Derivatives are those of the solution, not of the iteration: where r(x, p) = 0, dx = -(dr/dx)^-1 (dr/dp) dp, by the numbers that
f reads from outside. (A. Griewank and A. Walther, "Evaluating Derivatives", 2nd ed., SIAM 2008, chapter 15.) They hold in
every order. The iteration is a while loop: one that needs more than max_steps fails (an error in Python, NAME_DIVERGED in C).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradgen.differentiate.jacobians import Jacobian
from gradgen.differentiate.transforms import as_python, grad, jvp
from gradgen.engine import interpret
from gradgen.errors import ShapeError, SpecError
from gradgen.functions import FUNCTIONS
from gradgen.ir import OPS, Function
from gradgen.ops.index import zeros
from gradgen.ops.reduce import as_value
from gradgen.ops.regions import CALL, items
from gradgen.ops.shape import reshape
from gradgen.trace.control import while_traced
from gradgen.trace.hooks import enter
from gradgen.trace.regions import close, trace_region, words
from gradgen.trace.stage import inline, stage
from gradgen.tree import LEAF, Tree
from gradgen.value import Value, apply, current_trace

Residual = Callable[[Any], Any]
Update = Callable[[Any, Residual], Any]


def root(f: Callable[[Any], Any], x0: Any, tol: float = 1e-12, max_steps: int = 50) -> Any:
    """x with f(x) = 0, by Newton's method from x0; x and f(x) are numbers or arrays of one shape.

    tol: the last step, relative to 1 + |x|, is no larger. f may read traced values from outside: the result is differentiated
    by them (not by x0). ShapeError where f(x) is not shaped like x.
    """
    return _solve("root", f, x0, lambda F: F, newton, tol, max_steps)


def fixed_point(f: Callable[[Any], Any], x0: Any, tol: float = 1e-12, max_steps: int = 1000) -> Any:
    """x with f(x) = x, by iterating f from x0; see `root`."""
    return _solve(
        "fixed_point", f, x0, lambda F: lambda x: x - F(x), lambda x, r: x - r(x), tol, max_steps
    )


def minimize(
    f: Callable[[Any], Any],
    x0: Any,
    method: str = "newton",
    step: float = 0.1,
    tol: float = 1e-10,
    max_steps: int | None = None,
) -> Any:
    """x where the scalar function f has gradient 0, from x0: by Newton's method, or by gradient descent of a fixed step.

    method: "newton" (needs a Hessian that can be inverted) or "gradient". max_steps: 100, or 10,000 for descent. See `root`.
    """
    if method not in ("newton", "gradient"):
        raise SpecError(f'minimize needs method "newton" or "gradient", got {method!r}')
    update = newton if method == "newton" else lambda x, r: x - step * r(x)
    most = max_steps if max_steps is not None else 100 if method == "newton" else 10_000
    return _solve("minimize", f, x0, lambda F: grad(F), update, tol, most)


def newton(x: Any, residual: Residual) -> Any:
    """One step of Newton's method."""
    return x - solved(Jacobian(residual)(x), residual(x), x)


def solved(slope: Any, value: Any, like: Any) -> Any:
    """slope^-1 value, for a Jacobian of shape like + like."""
    shape = like.type.shape
    if not shape:
        return value / slope
    if np.linalg.solve not in FUNCTIONS:
        raise SpecError("this equation has several unknowns, which needs np.linalg.solve")
    n = like.type.size
    flat = FUNCTIONS[np.linalg.solve](reshape(slope, (n, n)), reshape(value, (n,)))
    return reshape(flat, shape)


def _solve(
    what: str, f: Any, x0: Any, residual_of: Callable[[Any], Residual], update: Update, tol: float, max_steps: int
) -> Any:  # fmt: skip
    if not callable(f):
        raise SpecError(f"{what} needs a function, got {type(f).__name__}")
    if current_trace() is None:
        start = x0.data if isinstance(x0, Value) else np.asarray(x0, float)
        inner = stage(
            lambda x: _solve(what, f, x, residual_of, update, tol, max_steps), [start], ["x0"]
        )
        return as_python(interpret(inner.function, inner.operands)[0])
    start = as_value(x0)
    if not start.type.is_float:
        start = apply(OPS["cast"], start, dtype="f64")
    start = apply(OPS["stop_gradient"], start)  # where the search begins does not matter
    traced = trace_region(enter(f), what, words(f), [LEAF], [[start.type]])
    wanted = start.type if what != "minimize" else start.type.with_shape(())
    found = [v.type for v in traced.outputs]
    if found != [wanted]:
        raise ShapeError(
            f"{what} needs f(x) of type {wanted} for x of type {start.type}, got {found}"
        )
    (fn,), consts = close(traced)
    types = [v.type for v in consts]
    names = [v.name or "" for v in consts]

    def residual(parameters: Sequence[Value]) -> Residual:
        return residual_of(lambda x: inline(fn, [x, *parameters])[0])

    def iterate(x: Value, parameters: list[Value]) -> Value:
        r = residual(parameters)

        def going(state: Any) -> Value:
            size = FUNCTIONS[np.max](abs(state[1])) if start.type.shape else abs(state[1])
            scale = FUNCTIONS[np.max](abs(state[0])) if start.type.shape else abs(state[0])
            # NaN or infinity is no convergence: the loop goes on to its last step, and fails.
            found = apply(OPS["logical_and"], size <= tol * (1.0 + scale), scale < np.inf)
            return apply(OPS["logical_not"], found)

        def step(state: Any) -> tuple[Value, Value]:
            new = update(state[0], r)
            return new, new - state[0]

        first = update(x, r)
        return while_traced(going, step, (first, first - x), max_steps, solver=what)[0]

    def rule(dots: list[Value], x: Value, given: list[Value]) -> Value:
        parameters = given[1:]
        r = residual(parameters)
        moving = [k for k, v in enumerate(parameters) if v.type.is_float]
        if not moving:
            return zeros(start.type)

        def of_parameters(*some: Value) -> Any:
            whole = list(parameters)
            for k, v in zip(moving, some, strict=True):
                whole[k] = v
            return residual(whole)(x)

        tangent = jvp(of_parameters, tuple(range(len(moving))))(
            *[parameters[k] for k in moving], tuple(dots[1:][k] for k in moving)
        )[1]
        return -solved(Jacobian(r)(x), tangent, x)

    flat = Tree("list", tuple(range(1 + len(types))), (LEAF,) * (1 + len(types)))
    inputs = [start.type, *types]
    body = trace_region(lambda given: iterate(given[0], given[1:]), what, [""], [flat], [inputs])
    derivative = trace_region(rule, "rule", [], [flat, LEAF, flat], [inputs, [start.type], inputs])
    for v, name in zip(body.trace.inputs, ["x0", *names], strict=True):
        v.name = name or None
    functions = [
        Function(r.name, r.trace.inputs, r.outputs, r.trace.body) for r in (body, derivative)
    ]
    made = apply(CALL, start, *consts, body=functions[0], kind="jvp", rule=functions[1])
    return items(made)[0]
