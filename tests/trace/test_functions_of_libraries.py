"""What nobody wrote in Python as the function itself: NumPy's and math's functions, np.vectorize, methods, wrapped ones."""

from __future__ import annotations

import functools
import math
import operator

import numpy as np
import pytest

import gradgen as gg

X = np.array([1.0, 2.5, -0.5])
A = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 4.0]])


class Model:
    scale = 2.0

    def method(self, x):
        return self.scale * np.sum(x * x)

    def __call__(self, x):
        return self.scale * np.sum(x**3)

    @staticmethod
    def plain(x):
        return np.sum(x * x)

    @classmethod
    def of_class(cls, x):
        return cls.scale * np.sum(x)


def doubled(f):
    @functools.wraps(f)
    def wrapper(*args):
        return 2.0 * f(*args)

    return wrapper


@doubled
def cubes(x):
    return np.sum(x**3)


@functools.cache
def remembered(x):
    return np.sin(x) * x


TABLE = {"squares": lambda x: np.sum(x * x)}
ROWS = [
    (np.outer, ["f64[n]", "f64[m]"], [X, X]),
    (np.dot, ["f64[n,m]", "f64[m]"], [A, X]),
    (np.linalg.det, ["f64[3,3]"], [A]),
    (np.sum, ["f64[n]"], [X]),
    (np.add.reduce, ["f64[n]"], [X]),
    (math.sin, ["f64[]"], [0.5]),
    (abs, ["f64[]"], [-2.0]),
    (operator.mul, ["f64[n]", "f64[n]"], [X, X]),
    (functools.partial(np.power, 3.0), ["f64[n]"], [X]),
    (functools.partial(np.sum, axis=0), ["f64[n,m]"], [A]),
    (np.vectorize(lambda v: v * v if v > 2.0 else -v), ["f64[n]"], [X]),
    (A.dot, ["f64[3]"], [X]),
    (np.poly1d([1.0, 2.0]), ["f64[n]"], [X]),
    (Model().method, ["f64[n]"], [X]),
    (Model(), ["f64[n]"], [X]),
    (Model.plain, ["f64[n]"], [X]),
    (Model.of_class, ["f64[n]"], [X]),
    (cubes, ["f64[n]"], [X]),
    (remembered, ["f64[]"], [0.5]),
    (TABLE["squares"], ["f64[n]"], [X]),
]


def word(f):
    return getattr(f, "__name__", type(f).__name__)


@pytest.mark.parametrize(("f", "specs", "args"), ROWS, ids=[word(row[0]) for row in ROWS])
def test_it_compiles_as_it_is(f, specs, args):
    made = gg.compile(f, *specs)
    np.testing.assert_allclose(made(*args), f(*args), rtol=1e-14)
    if np.ndim(f(*args)) == 0:
        assert gg.compile(gg.grad(f), *specs).check()


def test_gradients_on_numbers():
    assert gg.grad(math.sin)(0.5) == pytest.approx(math.cos(0.5))
    assert gg.grad(np.vectorize(lambda v: v * v))(2.0) == 4.0


def test_a_default_that_is_followed_by_what_is_given():
    made = gg.compile(np.linalg.norm, "f64[n,m]", axis=0)
    np.testing.assert_allclose(made(A), np.linalg.norm(A, axis=0))


@pytest.mark.parametrize("f", [max, operator.itemgetter(1), np.frompyfunc(lambda v: v * v, 1, 1)])
def test_what_has_no_parameters_to_name_is_refused(f):
    with pytest.raises(gg.GradgenError):
        gg.compile(f, "f64[3]")


def test_a_ufunc_takes_its_operands():
    """Whether or not it has a signature, which NumPy's have since 2.4 (with `out` among the parameters)."""
    special = pytest.importorskip("scipy.special")
    x, y = np.array([0.3, 4.0]), np.array([0.4, 3.0])
    pulled = gg.compile(gg.vjp(np.hypot, wrt=("x1", "x2")), "f64[2]", "f64[2]", "f64[2]")
    value, (x_bar, y_bar) = pulled(x, y, np.ones(2))
    np.testing.assert_allclose(value, np.hypot(x, y))
    np.testing.assert_allclose([x_bar, y_bar], [x / value, y / value])
    np.testing.assert_allclose(gg.compile(special.erf, x="f64[2]")(x), special.erf(x), rtol=1e-15)


def test_a_builtin_that_does_not_say_what_it_takes_is_refused():
    with pytest.raises(gg.SpecError, match="gradgen needs a Python function, got <built-in"):
        gg.compile(max, "f64[3]")
