"""SymPy at the border: functions defined by expressions, expressions in and out."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import gradgen as gg

X = np.linspace(-2.0, 2.0, 5)


def test_a_defined_function_in_every_target():
    swish = gg.define("swish", "x / (1 + exp(-x))")
    sigma = 1 / (1 + np.exp(-X))
    slope = sigma + X * sigma * (1 - sigma)
    np.testing.assert_allclose(swish(X), X * sigma)
    f = lambda x: np.sum(swish(x))
    np.testing.assert_allclose(gg.grad(f)(X), slope)
    second = (gg.grad(f)(X + 1e-6) - gg.grad(f)(X - 1e-6)) / 2e-6
    np.testing.assert_allclose(gg.hvp(f)(X, np.ones(5)), second, rtol=1e-7)
    for target in ("numpy", "c"):
        value, gradient = gg.compile(gg.value_and_grad(f), x="f64[n]", target=target)(X)
        np.testing.assert_allclose(value, np.sum(X * sigma))
        np.testing.assert_allclose(gradient, slope)


def test_two_arguments_in_a_given_order():
    f = gg.define("wave", "sqrt(a**2 + b**2) * sin(a)", args=["b", "a"])
    b, a = 2.0, 1.0
    assert np.isclose(f(b, a), np.sqrt(5) * np.sin(1))
    expected = (b / np.sqrt(5) * np.sin(a), a / np.sqrt(5) * np.sin(a) + np.sqrt(5) * np.cos(a))
    np.testing.assert_allclose(gg.grad(f, (0, 1))(b, a), expected)


def test_bad_definitions():
    with pytest.raises(gg.SpecError, match="identifier"):
        gg.define("a b", "x")
    with pytest.raises(gg.SpecError, match="expression"):
        gg.define("f", "x +* 2")
    with pytest.raises(gg.SpecError, match="free symbol"):
        gg.from_sympy(sp.Symbol("x") + sp.Symbol("y"), ["x"])


def test_what_no_library_computes_is_refused_by_name():
    with pytest.raises(gg.UnsupportedError, match="numpy cannot compute Derivative in Derivative"):
        gg.define("f", "zeta(x)")


def test_expressions_without_scipy(monkeypatch):
    monkeypatch.setattr("gradgen.symbolic.find_spec", lambda name: None)
    swish = gg.define("swish", "x / (1 + exp(-x))")
    np.testing.assert_allclose(swish(X), X / (1 + np.exp(-X)))
    for text, name in (("erf(x)", "erf"), ("x * besselj(0, x)", "besselj")):
        with pytest.raises(
            gg.UnsupportedError, match=f"numpy cannot compute {name}.*\n.*\n.*Install scipy"
        ):
            gg.define("f", text)


def test_from_sympy():
    x, y = sp.symbols("x y")
    f = gg.from_sympy(sp.sin(x) * sp.exp(x * y) + sp.Piecewise((x, x > 0), (y, True)), [x, y])
    plain = lambda x, y: np.sin(x) * np.exp(x * y) + (x if x > 0 else y)
    for a, b in ((1.0, 0.5), (-1.0, 0.5)):
        assert np.isclose(f(a, b), plain(a, b))
        slopes = [
            (plain(a + 1e-6, b) - plain(a - 1e-6, b)) / 2e-6,
            (plain(a, b + 1e-6) - plain(a, b - 1e-6)) / 2e-6,
        ]
        np.testing.assert_allclose(gg.grad(f, (0, 1))(a, b), slopes, rtol=1e-7)


def test_to_sympy_and_latex():
    f = lambda x, y: np.sin(x) * np.exp(x * y) + x**3 / y
    fn = gg.compile(gg.value_and_grad(f, (0, 1)), x="f64[]", y="f64[]")
    x, y = sp.symbols("x y", real=True)
    value, x_bar, y_bar = fn.to_sympy()
    exact = sp.sin(x) * sp.exp(x * y) + x**3 / y
    assert sp.simplify(value - exact) == 0
    assert sp.simplify(x_bar - sp.diff(exact, x)) == 0
    assert sp.simplify(y_bar - sp.diff(exact, y)) == 0
    assert fn.latex().count("\n") == 2 and r"\sin" in fn.latex()
    with pytest.raises(gg.UnsupportedError, match="numbers"):
        gg.compile(lambda x: np.sum(x), "f64[n]").to_sympy()
