"""Kinks, poles and ties: the table of conventions, row by row, in every engine and target.

Edge(name, f, at, want, python, second, v)
    f        plain NumPy; a scalar function of its arguments
    at       the arguments
    want     the gradient by the first argument; ANY where no number is promised
    value    the value there, where it is part of the promise
    python   the exception that the python target raises at a pole (its arithmetic does), or where it refuses the function;
             None where the row holds there too
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from compilers import ARRAY_TARGETS, C
from scipy import special

import gradgen as gg

inf, nan = np.inf, np.nan
MASK = np.array([True, False, True])


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


@dataclass
class Edge:
    name: str
    f: Callable[..., Any]
    at: tuple[Any, ...]
    want: Any
    value: Any = None
    python: Any = None
    eager: bool = True


def arr(*xs: float) -> np.ndarray:
    return np.array(xs)


POLE = (ZeroDivisionError, ValueError, OverflowError)
REFUSED = gg.GradgenError
EDGES = [
    Edge("abs at 0", lambda x: np.abs(x), (0.0,), 0.0),
    Edge("sqrt at 0", lambda x: np.sqrt(x), (0.0,), inf, python=POLE),
    Edge("0 * sqrt at 0", lambda x: 0.0 * np.sqrt(x), (0.0,), 0.0, 0.0),
    Edge("sqrt(x**2) at 0", lambda x: np.sqrt(x**2), (0.0,), 0.0, 0.0, eager=False),
    Edge("sqrt(x*x) at -2", lambda x: np.sqrt(x * x), (-2.0,), -1.0, 2.0),
    Edge("norm at 0", lambda x: np.linalg.norm(x), (np.zeros(3),), np.zeros(3), 0.0),
    Edge("norm**2 at 0", lambda x: np.linalg.norm(x) ** 2, (np.zeros(3),), np.zeros(3), 0.0),
    Edge("norm by hand at 0", lambda x: np.sqrt(np.sum(x * x)), (np.zeros(3),), np.zeros(3), 0.0, eager=False),
    Edge("norm by a product at 0", lambda x: np.sqrt((x - 1.0) @ (x - 1.0)), (np.ones(3),), np.zeros(3), 0.0, eager=False),
    Edge("norm by an einsum at 0", lambda x: np.sqrt(np.einsum("i,i", x, x)), (np.zeros(3),), np.zeros(3), 0.0, eager=False),
    Edge("norm of components at 0", lambda x: np.sqrt(x[0] ** 2 + 2.0 * x[1] ** 2 + x[2] ** 2 / 3.0), (np.zeros(3),),
         np.zeros(3), 0.0, eager=False),
    Edge("norm of a sum over a loop at 0", lambda x: np.sqrt(sum(x[k] * x[k] for k in range(5))), (np.zeros(5),),
         np.zeros(5), 0.0, eager=False),
    Edge("row norms, one 0", lambda x: np.sum(np.linalg.norm(x, axis=1)), (np.array([[3.0, 4.0], [0.0, 0.0]]),),
         np.array([[0.6, 0.8], [0.0, 0.0]]), 5.0),
    Edge("where sqrt at -1", lambda x: np.where(x > 0, np.sqrt(x), x), (-1.0,), 1.0, -1.0),
    Edge("where log at 0", lambda x: np.where(x > 0, np.log(x), 0.0), (0.0,), 0.0, 0.0),
    Edge("where sqrt, array", lambda x: np.sum(np.where(x > 0, np.sqrt(x), x)),
         (arr(-1.0, 4.0, 0.0),), arr(1.0, 0.25, 1.0), 1.0),
    Edge("where log, array", lambda x: np.sum(np.where(x > 0, np.log(x), 0.0)), (arr(0.0, 2.0, -1.0),), arr(0.0, 0.5, 0.0)),
    Edge("where 1/x, array", lambda x: np.sum(np.where(x == 0.0, 1.0, np.sin(x) / x)), (arr(0.0, 2.0),),
         arr(0.0, (2 * np.cos(2.0) - np.sin(2.0)) / 4)),
    Edge("where of a chain, array", lambda x: np.sum(np.where(x > 0, np.exp(np.sqrt(x) * 2.0), x * x)), (arr(-3.0, 1.0),),
         arr(-6.0, np.exp(2.0))),
    Edge("where of a sum, array", lambda x: np.where(np.sum(x) > 0, np.log(np.sum(x)), 0.0), (arr(-3.0, 1.0),), arr(0.0, 0.0)),
    Edge("where with a mask, array", lambda x: np.sum(np.where(MASK, np.sqrt(x), 0.0)),
         (arr(4.0, -1.0, 1.0),), arr(0.25, 0.0, 0.5)),
    Edge("clip before sqrt", lambda x: np.sum(np.sqrt(np.clip(x, 0.0, 9.0))), (arr(-1.0, 4.0),), arr(0.0, 0.25), python=POLE),
    Edge("max before sqrt", lambda x: np.sum(np.sqrt(np.maximum(x, 0.0))), (arr(-1.0, 4.0),), arr(0.0, 0.25), python=POLE),
    Edge("maximum tie", lambda x: np.maximum(x, x * 1.0 + 0.0 * x), (2.0,), 1.0),
    Edge("maximum tie of two", lambda x, y: np.maximum(x, y), (2.0, 2.0), 0.5),
    Edge("minimum tie of two", lambda x, y: np.minimum(x, y), (2.0, 2.0), 0.5),
    Edge("relu at 0", lambda x: np.maximum(x, 0.0), (0.0,), 0.0),
    Edge("relu at 0, array", lambda x: np.sum(np.maximum(0.0, x)), (arr(0.0, 1.0, -1.0),), arr(0.0, 1.0, 0.0)),
    Edge("max tie", lambda x: np.max(x), (arr(1.0, 3.0, 3.0),), arr(0.0, 0.5, 0.5), 3.0),
    Edge("min tie of all", lambda x: np.min(x), (arr(2.0, 2.0, 2.0, 2.0),), arr(0.25, 0.25, 0.25, 0.25)),
    Edge("max tie axis", lambda x: np.sum(np.max(x, axis=0) * arr(1.0, 2.0)), (np.array([[1.0, 5.0], [1.0, 4.0]]),),
         np.array([[0.5, 2.0], [0.5, 0.0]])),
    Edge("max of nan", lambda x: np.max(x), (arr(1.0, nan),), arr(0.0, 0.0), nan, python=POLE),
    Edge("clip at the bounds", lambda x: np.sum(np.clip(x, 0.0, 1.0)), (arr(0.0, 1.0, 0.5, 2.0),), arr(1.0, 1.0, 1.0, 0.0)),
    Edge("x**0 at 0", lambda x: x**0, (0.0,), 0.0, 1.0),
    Edge("x**2 at 0", lambda x: x**2.0, (0.0,), 0.0),
    Edge("x**1 at 0", lambda x: x**1, (0.0,), 1.0),
    Edge("x**0.5 at 0", lambda x: x**0.5, (0.0,), inf, python=POLE),
    Edge("x**p at 0, p=2", lambda x, p: x**p, (0.0, 2.0), 0.0),
    Edge("x**p at 0, p=1", lambda x, p: x**p, (0.0, 1.0), 1.0),
    Edge("d/dp of 0**p", lambda p, x: x**p, (2.0, 0.0), 0.0),
    Edge("(-2)**3", lambda x: x**3.0, (-2.0,), 12.0, -8.0),
    Edge("prod with one zero", lambda x: np.prod(x), (arr(2.0, 0.0, 3.0),), arr(0.0, 6.0, 0.0), 0.0),
    Edge("prod with two zeros", lambda x: np.prod(x), (arr(2.0, 0.0, 0.0),), arr(0.0, 0.0, 0.0), 0.0),
    Edge("prod axis with zeros", lambda x: np.sum(np.prod(x, axis=1)), (np.array([[2.0, 0.0], [0.0, 0.0]]),),
         np.array([[0.0, 2.0], [0.0, 0.0]])),
    Edge("std of a constant vector", lambda x: np.sqrt(np.sum((x - np.mean(x)) ** 2) / 3), (arr(2.0, 2.0, 2.0),),
         arr(0.0, 0.0, 0.0), 0.0, eager=False),
    Edge("rms at 0", lambda x: np.sqrt(np.mean(x**2)), (np.zeros(3),), np.zeros(3), 0.0, eager=False),
    Edge("hypot(0,0)", lambda x, y: np.hypot(x, y), (0.0, 0.0), 0.0),
    Edge("arctan2(0,0)", lambda x, y: np.arctan2(x, y), (0.0, 0.0), 0.0),
    Edge("log(1+exp(1000))", lambda x: np.log(1 + np.exp(x)), (1000.0,), 1.0, 1000.0, eager=False),
    Edge("log(sum(exp))", lambda x: np.log(np.sum(np.exp(x))), (arr(1000.0, 1000.0),), arr(0.5, 0.5),
         1000.0 + np.log(2.0), eager=False),
    Edge("logsumexp", lambda x: special.logsumexp(x), (arr(1000.0, 1000.0),), arr(0.5, 0.5), 1000.0 + np.log(2.0), eager=False),
    Edge("logsumexp of -inf and a number", lambda x: special.logsumexp(x), (arr(-inf, 2.0),), arr(0.0, 1.0), 2.0, eager=False),
    Edge("logaddexp(-inf,-inf)", lambda x, y: np.logaddexp(x, y), (-inf, -inf), 0.5, -inf),
    Edge("gather repeated", lambda x: np.sum(x[np.array([0, 0, 2])] * arr(1.0, 2.0, 4.0)),
         (arr(1.0, 2.0, 3.0),), arr(3.0, 0.0, 4.0)),
    Edge("masked sum", lambda x: np.sum(np.where(MASK, x * x, 0.0)), (arr(1.0, nan, 3.0),), arr(2.0, 0.0, 6.0), 10.0),
    Edge("broadcast (n,1)x(1,m)", lambda x, y: np.sum(x * y),
         (np.ones((2, 1)), arr(1.0, 2.0, 3.0).reshape(1, 3)), np.full((2, 1), 6.0)),
    Edge("f(x, x)", lambda x: np.sum(x[:, None] * x[None, :]), (arr(1.0, 2.0),), arr(6.0, 6.0)),
    Edge("unused input", lambda x, y: y * y, (arr(1.0, 2.0), 3.0), arr(0.0, 0.0), 9.0),
    Edge("log of softmax", lambda x: np.log(special.softmax(x))[0], (arr(0.0, 1000.0),), arr(1.0, -1.0), -1000.0, eager=False),
    Edge("cumprod with a zero", lambda x: np.sum(np.cumprod(x)), (arr(2.0, 0.0, 3.0, 4.0),), arr(1.0, 32.0, 0.0, 0.0), 2.0),
    Edge("var of a constant vector", lambda x: np.var(x), (arr(2.0, 2.0, 2.0),), arr(0.0, 0.0, 0.0), 0.0),
    Edge("np.std of a constant vector", lambda x: np.std(x), (arr(2.0, 2.0, 2.0),), arr(0.0, 0.0, 0.0), 0.0),
    Edge("sinc at 0", lambda x: np.sinc(x), (0.0,), 0.0, 1.0),
    Edge("sum where=", lambda x: np.sum(x * x, where=MASK), (arr(1.0, nan, 3.0),), arr(2.0, 0.0, 6.0), 10.0, python=POLE),
    Edge("mean where=", lambda x: np.mean(x, where=MASK), (arr(1.0, nan, 3.0),), arr(0.5, 0.0, 0.5), 2.0, python=POLE),
    Edge("nansum", lambda x: np.nansum(x * x), (arr(1.0, nan, 3.0),), arr(2.0, 0.0, 6.0), 10.0, python=POLE),
    Edge("norm(x, inf)", lambda x: np.linalg.norm(x, np.inf), (arr(1.0, -3.0, 2.0),), arr(0.0, -1.0, 0.0), 3.0),
    Edge("norm(x, inf) tie", lambda x: np.linalg.norm(x, np.inf), (arr(3.0, -3.0, 2.0),), arr(0.5, -0.5, 0.0), 3.0),
    Edge("norm(x, 3) at 0", lambda x: np.linalg.norm(x, 3), (np.zeros(2),), np.zeros(2), 0.0, python=POLE),
    Edge("det of a singular 2 x 2", lambda x: np.linalg.det(x), (np.array([[1.0, 2.0], [2.0, 4.0]]),),
         np.array([[4.0, -2.0], [-2.0, 1.0]]), 0.0),
    Edge("det of a singular 3 x 3, rank 2", lambda x: np.linalg.det(x), (np.arange(9.0).reshape(3, 3),),
         np.array([[-3.0, 6.0, -3.0], [6.0, -12.0, 6.0], [-3.0, 6.0, -3.0]]), 0.0, python=REFUSED),
    Edge("det of rank 1, of 0", lambda x: np.sum(np.linalg.det(x)), (np.stack([np.ones((3, 3)), np.zeros((3, 3))]),),
         np.zeros((2, 3, 3)), 0.0, python=REFUSED),
    Edge("eigvalsh, all equal", lambda x: np.sum(np.linalg.eigvalsh(x) ** 2), (2.0 * np.eye(3),), 4.0 * np.eye(3), 12.0,
         python=REFUSED),
    Edge("eigenvalues of eigh, equal", lambda x: np.sum(np.linalg.eigh(x)[0] ** 3), (2.0 * np.eye(3),), 12.0 * np.eye(3),
         24.0, python=REFUSED),
    Edge("singular values, equal", lambda x: np.sum(np.linalg.svd(x, compute_uv=False)), (2.0 * np.eye(2),), np.eye(2), 4.0,
         python=REFUSED),
    Edge("s of svd, equal", lambda x: np.sum(np.linalg.svd(x)[1] ** 2), (2.0 * np.eye(2),), 4.0 * np.eye(2), 8.0,
         python=REFUSED),
    Edge("cholesky is symmetrised", lambda x: np.linalg.cholesky(x)[1, 0], (np.array([[4.0, 2.0], [2.0, 9.0]]),),
         np.array([[-0.125, 0.25], [0.25, 0.0]]), 1.0, python=REFUSED),
    Edge("arctan2, by the second", lambda y, x: np.arctan2(x, y), (0.0, 0.0), 0.0),
    Edge("hypot, arrays", lambda x, y: np.sum(np.hypot(x, y)), (arr(0.0, 3.0), arr(0.0, 4.0)), arr(0.0, 0.6)),
    Edge("logaddexp, arrays", lambda x, y: np.sum(np.logaddexp(x, y)), (arr(-inf, 1.0), arr(-inf, 1.0)), arr(0.5, 0.5)),
    Edge("powers at 0, arrays", lambda x, p: np.sum(x**p), (arr(0.0, 0.0, 0.0), arr(0.0, 1.0, 2.0)), arr(0.0, 1.0, 0.0)),
    Edge("minimum with a constant, array", lambda x: np.sum(np.minimum(x, 1.0)), (arr(0.0, 1.0, 2.0),), arr(1.0, 0.0, 0.0)),
    Edge("max of a nan, axis", lambda x: np.sum(np.max(x, axis=1)), (np.array([[1.0, nan], [1.0, 2.0]]),),
         np.array([[0.0, 0.0], [0.0, 1.0]]), nan, python=POLE),
    Edge("size 0", lambda x, y: np.sum(x * y), (np.zeros((0, 3)), arr(1.0, 2.0, 3.0)), np.zeros((0, 3)), 0.0, python=REFUSED),
    Edge("size 0 on the other side", lambda y, x: np.sum(x * y), (arr(1.0, 2.0, 3.0), np.zeros((0, 3))), np.zeros(3), 0.0,
         python=REFUSED),
    Edge("0-d and an array", lambda s, x: np.sum(s * x), (2.0, arr(1.0, 2.0)), 3.0, 6.0),
    Edge("x / sqrt(x*x + y*y), huge", lambda x, y: x / np.sqrt(x * x + y * y), (3e200, 4e200), 1.28e-201,
         0.6, eager=False),
    Edge("1 - tanh(x)**2, large", lambda x: 1.0 - np.tanh(x) ** 2, (30.0,), -8.0 * np.exp(-60.0), 4.0 * np.exp(-60.0),
         eager=False),
    Edge("log(exp + exp), large", lambda x, y: np.log(np.exp(x) + np.exp(y)), (1000.0, 1000.0), 0.5, 1000.0 + np.log(2.0),
         eager=False),
    Edge("log of softmax by hand", lambda x: np.log(np.exp(x) / np.sum(np.exp(x)))[0], (arr(0.0, 1000.0),), arr(1.0, -1.0),
         -1000.0, eager=False),
    Edge("ptp tie", lambda x: np.ptp(x), (arr(1.0, 3.0, 3.0),), arr(-1.0, 0.5, 0.5), 2.0),
    Edge("xlogy at 0", lambda x: special.xlogy(x, x), (0.0,), -inf, 0.0, python=POLE),
    Edge("softmax of equals", lambda x: special.softmax(x)[0], (arr(5.0, 5.0),), arr(0.25, -0.25), 0.5, eager=False),
]  # fmt: skip
EDGE = pytest.mark.parametrize("edge", EDGES, ids=lambda e: e.name)


def spec(x: Any) -> str:
    return f"f64[{','.join(map(str, np.shape(x)))}]"


def held(got: Any, want: Any) -> None:
    np.testing.assert_allclose(
        np.asarray(got, float).reshape(np.shape(want)), want, rtol=1e-12, atol=1e-14
    )


@EDGE
def test_interpreter(edge):
    value, slope = gg.value_and_grad(edge.f)(*edge.at)
    held(slope, edge.want)
    held(value, edge.f(*edge.at) if edge.value is None else edge.value)


@pytest.mark.parametrize("target", ["numpy", "python", C])
@EDGE
def test_targets(edge, target):
    args = [a.tolist() if target == "python" and np.ndim(a) else a for a in edge.at]
    make = lambda: gg.compile(
        gg.value_and_grad(edge.f), *map(spec, edge.at), target=target, name="edge"
    )
    if target == "python" and edge.python:
        # A pole raises there, what it has not is refused, or the row holds.
        try:
            value, slope = make()(*args)
        except edge.python:
            return
    else:
        value, slope = make()(*args)
    held(slope, edge.want)
    held(value, edge.f(*edge.at) if edge.value is None else edge.value)


@pytest.mark.parametrize("edge", [e for e in EDGES if np.ndim(e.want)], ids=lambda e: e.name)
@pytest.mark.parametrize("target", ["numpy", C])
def test_targets_at_symbolic_sizes(edge, target):
    if any(e in edge.name for e in ("mask", "where=", "axis", "gather", "singular")):
        pytest.skip("the arrays inside have fixed sizes")
    letter = lambda d: "1" if d == 1 else "nmkdpq"[d]  # a letter for a size
    specs = [f"f64[{','.join(map(letter, np.shape(a)))}]" for a in edge.at]
    fn = gg.compile(gg.value_and_grad(edge.f), *specs, target=target, name="edge_n")
    _, slope = fn(*edge.at)
    held(slope, edge.want)


@pytest.mark.parametrize("edge", [e for e in EDGES if e.eager], ids=lambda e: e.name)
def test_eager_values(edge):
    """Eager Values keep the conventions; only the stability rewrites are not theirs."""
    values = [gg.Value(a) for a in edge.at]
    y = edge.f(*values)
    y.backward()
    held(values[0].grad, edge.want)


# -- second derivatives: a guard must not have become a select
SECOND = [
    ("(sqrt(x)-1)**2 at 1", lambda x: (np.sqrt(x) - 1.0) ** 2, 1.0, 0.5),
    (
        "(sqrt(x)-1)**2 at 1, in where",
        lambda x: np.where(x > 0, (np.sqrt(x) - 1.0) ** 2, x),
        1.0,
        0.5,
    ),
    ("relu(sqrt(x)-1)**2 at 4", lambda x: np.maximum(np.sqrt(x) - 1.0, 0.0) ** 2, 4.0, 1.0 / 16),
    ("(cbrt(x)-1)**2 at 1", lambda x: (np.cbrt(x) - 1.0) ** 2, 1.0, 2.0 / 9),
    ("(x**1.5-1)**2 at 1", lambda x: (x**1.5 - 1.0) ** 2, 1.0, 4.5),
    ("(log(x))**2 at 1, in where", lambda x: np.where(x > 0, np.log(x) ** 2, 0.0), 1.0, 2.0),
    ("abs(x)**2 at 0", lambda x: np.abs(x) ** 2, 0.0, 2.0),
    ("abs(x)*abs(x) at 0", lambda x: np.abs(x) * np.abs(x), 0.0, 2.0),
    ("sqrt(x*x)**2 at 0", lambda x: np.sqrt(x * x) ** 2, 0.0, 2.0),
    ("hypot(x, x)**2 at 0", lambda x: np.hypot(x, x) ** 2, 0.0, 4.0),
    (
        "norm**2 at 0",
        lambda x: np.sum(np.linalg.norm(x[None], axis=0, keepdims=True) ** 2),
        0.0,
        2.0,
    ),
    ("x*abs(x) at 2", lambda x: x * np.abs(x), 2.0, 2.0),
    ("softplus", lambda x: np.log(1 + np.exp(x)), 0.0, 0.25),
]


@pytest.mark.parametrize(("name", "f", "at", "want"), SECOND, ids=[s[0] for s in SECOND])
def test_second_derivatives(name, f, at, want):
    held(gg.grad(gg.grad(f))(at), want)
    held(gg.hvp(f)(at, 1.0), want)
    many = lambda x: np.sum(f(x))
    held(gg.hvp(many)(np.array([at, at]), np.array([1.0, 2.0])), [want, 2 * want])


@pytest.mark.parametrize("target", ["numpy", "python", C])
@pytest.mark.parametrize(("name", "f", "at", "want"), SECOND, ids=[s[0] for s in SECOND])
def test_second_derivatives_in_the_targets(name, f, at, want, target):
    fn = gg.compile(gg.grad(gg.grad(f)), "f64[]", target=target, name="second")
    held(fn(at), want)
    many = lambda x: np.sum(f(x))
    fn = gg.compile(gg.hvp(many), "f64[2]", "f64[2]", target=target, name="second_n")
    held(fn([at, at], [1.0, 2.0]), [want, 2 * want])


# -- branches not taken: each function is x*x where it stands
def below(x):
    u = np.sqrt(x - 1.0)
    return np.where(x > 1, u * np.log(x - 1.0) / (x - 1.0), x * x)


def ratio(x):
    u = np.sqrt(3.0 * x)
    return np.where(3.0 * x > 0, u / (3.0 * x), x * x)


def nested(x):
    low = np.where(x < -1, np.sqrt(-1.0 - x), x * x)
    return np.where(x > 0, np.where(x > 1, np.log(x - 1.0), np.sqrt(x)), low)


def denominator(x):
    return x**3 / np.where(x > 0, np.sqrt(x), x)


def product(x):
    return np.where(x > 0, np.sqrt(x), x) * np.where(x > 0, np.log(x), x)


def quotient(x):
    return np.where(x < 700, np.exp(x) / (1.0 + np.exp(x)), x * x)


def piecewise(x):
    return np.piecewise(x, [x > 0], [lambda x: 1.0 / x, lambda x: x * x])


NOT_TAKEN = [
    ("sqrt", lambda x: np.where(x > 0, np.sqrt(x), x * x), -1.0),
    ("sqrt at 0", lambda x: np.where(x > 0, np.sqrt(x), x * x), 0.0),
    ("log", lambda x: np.where(x > 0, np.log(x), x * x), -1.0),
    ("log at 0", lambda x: np.where(x > 0, np.log(x), x * x), 0.0),
    ("powers", lambda x: np.where(x <= 0, x * x, x**0.5 * x**-0.5), 0.0),
    ("log of sqrt", lambda x: np.where(x > 0, np.log(np.sqrt(x)), x) ** 2, -1.0),
    ("sin of log", lambda x: np.where(x > 0, np.sin(np.log(np.sqrt(x) / x)), x * x), 0.0),
    ("reciprocal", lambda x: np.where(x != 0, 1.0 / x, x * x), 0.0),
    ("0**p", lambda x: np.where(x > 0, x**-1.5, x * x), 0.0),
    ("arccos", lambda x: np.where(np.abs(x) < 1, np.arccos(x), x * x), 2.0),
    ("arccosh", lambda x: np.where(x > 1, np.arccosh(x), x * x), 0.5),
    ("exp", lambda x: np.where(x < 700, np.sinh(x) / np.cosh(x), x * x), 800.0),
    ("select", lambda x: np.select([x > 1, x > 0], [np.log(x), np.sqrt(x)], x * x), -1.0),
    ("condition on a part", ratio, 0.0),
    ("nested", nested, -0.5),
    ("quotient", quotient, 800.0),
    ("chain", below, 1.0),
    ("denominator", denominator, -1.0),
    ("product", product, -1.0),
    ("piecewise", piecewise, 0.0),
]  # fmt: skip


def derivatives_of_a_square(f, at):
    """Transforms of x*x with arguments and results."""
    yield "value_and_grad", gg.value_and_grad(f), (at,), (at * at, 2.0 * at)
    yield "jvp", gg.jvp(f), (at, 3.0), (at * at, 6.0 * at)
    yield "hvp", gg.hvp(f), (at, 3.0), 6.0
    yield "grad_grad", gg.grad(gg.grad(f)), (at,), 2.0


@pytest.mark.parametrize(("name", "f", "at"), NOT_TAKEN, ids=[s[0] for s in NOT_TAKEN])
def test_branches_not_taken(name, f, at):
    for _, g, args, want in derivatives_of_a_square(f, at):
        held(g(*args), want)


@pytest.mark.parametrize("optimize", ["lecture", "readable", "fast"])
@pytest.mark.parametrize("target", ["numpy", "python", C])
def test_branches_not_taken_in_the_targets(target, optimize):
    """The python target does not evaluate them: its arithmetic would raise."""
    rows = {
        f"{kind}_{k}": (g, args, want)
        for k, (_, f, at) in enumerate(NOT_TAKEN)
        for kind, g, args, want in derivatives_of_a_square(f, at)
    }
    entries = {key: (g, [*map(spec, args)]) for key, (g, args, _) in rows.items()}
    m = gg.module("edges", entries, target=target, options={"optimize": optimize})
    for key, (_, args, want) in rows.items():
        np.testing.assert_allclose(m[key](*args), want, rtol=1e-12, atol=1e-14, err_msg=key)


# -- inside loops, branches and batches: a cotangent that may be zero keeps its guard across the border
def between(x):
    """A pole computed before a loop, and read in its steps where it is none."""
    inverse = 1.0 / x
    return gg.fori_loop(0, 2, lambda i, s: s + np.sum(np.where(x > 0, inverse, x * x)), 0.0)


def kept(x):
    """A pole computed in a loop's steps, and read after it where it is none."""
    inverses = gg.scan(lambda c, v: (c, 1.0 / v), 0.0, x)[1]
    return np.sum(np.where(x > 0, inverses, x * x))


def fill(x):
    return np.sum(np.divide(1.0, x, out=np.zeros(3), where=x > 0))


def choose(x):
    return np.sum(np.where(x > 0, np.sin(1.0 / x), x * x))


AT = arr(0.0, 2.0, -1.0)
CHOSEN = arr(0.0, -np.cos(0.5) / 4, -2.0), arr(2.0, np.cos(0.5) / 4 - np.sin(0.5) / 16, 2.0)
INSIDE = [
    ("loop, pole before it", between, arr(0.0, -0.5, -4.0), arr(4.0, 0.5, 4.0)),
    ("loop, pole in it", kept, arr(0.0, -0.25, -2.0), arr(2.0, 0.25, 2.0)),
    ("loop, same in all steps", lambda x: gg.fori_loop(0, 1, lambda i, s: s + fill(x), 0.0), arr(0.0, -0.25, 0.0),
     arr(0.0, 0.25, 0.0)),
    ("loop over items", lambda x: gg.scan(lambda c, v: (c + choose(v), None), 0.0, x[None])[0], *CHOSEN),
    ("branch", lambda x: gg.cond(x[1] > 0, choose, np.sum, x), *CHOSEN),
    ("batch, one of it", lambda x: gg.vmap(choose)(np.stack([x, x]))[1], *CHOSEN),
    ("batch of numbers", lambda x: np.sum(gg.vmap(choose)(x)), *CHOSEN),
    ("recomputed", lambda x: np.where(x[0] < 1.0, gg.checkpoint(lambda v: 1.0 / v[1])(x), 1.0), arr(0.0, -0.25, 0.0),
     arr(0.0, 0.25, 0.0)),
    ("branch not taken", lambda x: gg.cond(x[0] > 0, lambda x: np.sum(1.0 / x), choose, x), *CHOSEN),
]  # fmt: skip


@pytest.mark.parametrize("target", [None, "numpy", C])
@pytest.mark.parametrize(("name", "f", "slope", "curve"), INSIDE, ids=[s[0] for s in INSIDE])
def test_poles_of_branches_not_taken_across_loops_and_branches(name, f, slope, curve, target):
    ones = np.ones(3)
    twice = lambda x: np.sum(gg.grad(f)(x))
    rows = [(gg.grad(f), (AT,), slope), (gg.hvp(f), (AT, ones), curve), (gg.grad(twice), (AT,), curve)]  # fmt: skip
    for g, args, want in rows:
        h = g if target is None else gg.compile(g, *map(spec, args), target=target, name="edge")
        held(h(*args), want)


def test_prod_with_zeros_has_second_derivatives():
    held(gg.hvp(np.prod)(arr(0.0, 0.0, 3.0), arr(1.0, 0.0, 0.0)), [0.0, 3.0, 0.0])


def test_float32_cotangents_keep_the_dtype():
    x = np.array([1.0, 2.0], np.float32)
    for f in (
        lambda x: np.sum(x**2 * np.pi),
        lambda x: np.mean(np.exp(x)) * 2,
        np.prod,
        np.max,
        np.linalg.norm,
    ):
        assert gg.grad(f)(x).dtype == np.float32


def test_a_rewrite_can_be_turned_off():
    f = lambda x: np.log(1 + np.exp(x))
    fn = gg.compile(gg.grad(f), "f64[]", options={"rewrite": False})
    assert np.isnan(fn(1000.0)) or fn(1000.0) != 1.0


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("size", ["2", "n"])
def test_logsumexp_of_infinities_alone(target, size):
    fn = gg.compile(special.logsumexp, f"f64[{size}]", target=target)
    assert fn(arr(-inf, -inf)) == -inf and fn(arr(inf, 1.0)) == inf


ROOTS = [
    ("var", lambda x: np.sqrt(np.var(x))),
    ("mean by hand", lambda x: np.sqrt(np.sum((x - x.mean()) ** 2) / (len(x) - 1))),
    ("a factor", lambda x: np.sqrt(1 / len(x) * np.sum((x - x.mean()) ** 2))),
    ("a column's", lambda x: np.sqrt(np.var(np.stack([x, x], 1), axis=0)[0])),
    ("to the half", lambda x: np.var(x) ** 0.5),
]


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("kind", ["f32[3]", "f32[n]", "f64[n]"])
@pytest.mark.parametrize(("name", "f"), ROOTS, ids=[r[0] for r in ROOTS])
def test_standard_deviations_by_hand_of_a_constant_vector(name, f, kind, target):
    fn = gg.compile(gg.value_and_grad(f), kind, target=target, name="edge")
    value, slope = fn(np.full(3, 2.0, np.float32 if kind[:3] == "f32" else float))
    held(value, 0.0)
    held(slope, np.zeros(3))


# -- the policy for ties
@pytest.mark.parametrize("target", ["numpy", "python", C])
@pytest.mark.parametrize(
    ("f", "at", "want"),
    [
        (lambda x: np.max(x), (arr(1.0, 3.0, 3.0),), arr(0.0, 1.0, 0.0)),
        (
            lambda x: np.sum(np.min(x, axis=0)),
            (np.array([[1.0, 5.0], [1.0, 4.0]]),),
            np.array([[1.0, 0.0], [0.0, 1.0]]),
        ),
        (
            lambda x: np.max(x),
            (np.array([[2.0, 7.0], [7.0, 4.0]]),),
            np.array([[0.0, 1.0], [0.0, 0.0]]),
        ),
        (lambda x, y: np.maximum(x, y), (2.0, 2.0), 1.0),
        (lambda y, x: np.maximum(x, y), (2.0, 2.0), 0.0),
        (lambda x: np.maximum(x, 0.0), (0.0,), 0.0),
    ],
)
def test_the_first_of_equals(f, at, want, target):
    options = {"ties": "first"}
    specs = list(map(spec, at))
    fn = gg.compile(gg.grad(f), *specs, target=target, name="edge", options=options)
    held(fn(*[a.tolist() if target == "python" and np.ndim(a) else a for a in at]), want)
    assert "half each" not in fn.source and "evenly" not in fn.source
    fn = gg.compile(gg.jvp(f), *specs, specs[0], options=options)
    direction = np.asarray(np.arange(1.0, 1 + np.size(at[0]))).reshape(np.shape(at[0]))[()]
    held(fn(*at, direction)[1], np.sum(want * direction))


# -- what headers say
def looped(x):
    return gg.fori_loop(0, 3, lambda i, v: np.abs(v) * 0.5, x)


@pytest.mark.parametrize("target", ["numpy", "python", C])
@pytest.mark.parametrize("ties", ["split", "first"])
def test_conventions_are_stated_where_only_the_derivative_is_computed(target, ties):
    """Of which the op itself is no part any more."""
    for f, said in [
        (lambda x: np.abs(x), "abs(x): 0 at 0"),
        (lambda x: np.maximum(x, 0.0), "maximum(x, constant): 0 at the tie"),
        (
            lambda x: np.maximum(x, 2.0 - x),
            "half each at a tie" if ties == "split" else "all to the first at a tie",
        ),
        (lambda x: np.clip(x, 0.0, 1.0), "slope 1 in the closed interval"),
        (looped, "abs(x): 0 at 0"),
    ]:
        fn = gg.compile(gg.grad(f), "f64[]", target=target, name="edge", options={"ties": ties})
        assert said in " ".join(fn.source.replace(" * ", " ").split())


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize(
    ("f", "n"),
    [
        (np.mean, 0),
        (np.var, 0),
        (lambda x: np.sum(x) / (len(x) - 1), 1),
        (lambda x: np.mean(x**2), 0),
    ],
)
def test_means_of_nothing_are_nan_or_inf_and_their_gradients_are_computed(f, n, target):
    fn = gg.compile(gg.value_and_grad(f), "f64[n]", target=target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value, bar = fn(np.ones(n))
        np.testing.assert_equal(value, f(np.ones(n)))
    np.testing.assert_array_equal(bar, np.full(n, np.inf))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize(
    ("f", "at", "want"),
    [
        (lambda x: np.log(np.maximum(x, 0.0)), -1.0, 0.0),
        (lambda x: np.log(3.0 * np.maximum(x, 0.0)), -1.0, 0.0),
        (lambda x: np.where(x > 0, 2.0 * np.log(np.where(x > 0, x, 0.0)), x), -1.0, 1.0),
        (lambda x: 0.0 * np.sqrt(x), 0.0, 0.0),
        (lambda x: np.log(np.maximum(x, 0.0) + 0.0 * x), 2.0, 0.5),
    ],
)
def test_tangents_of_branches_not_taken_are_zero(f, at, want, target):
    """What reverse mode says there."""
    fn = gg.compile(gg.jvp(f), "f64[]", "f64[]", target=target)
    assert fn(at, 1.0)[1] == want
    assert gg.grad(f)(at) == want
