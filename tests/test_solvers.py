"""root, fixed_point, minimize: solutions, and derivatives by the implicit function theorem in every order and target."""

from __future__ import annotations

import numpy as np
import pytest

import gradgen as gg


def kepler(e, M):
    return gg.root(lambda E: E - e * np.sin(E) - M, M)


def cosine(a):
    return gg.fixed_point(lambda x: np.cos(a * x), 0.5)


def valley(a):
    return gg.minimize(lambda x: (x - a) ** 2 * np.exp(0.1 * x * x) + 0.3 * x, 0.0)


def descent(a):
    return gg.minimize(lambda x: (x - a) ** 2 + 0.1 * x**4, 0.0, method="gradient", step=0.3)


def slope(f, x, h=1e-5):
    d = [(f(x + s) - f(x - s)) / (2 * s) for s in (h, h / 2)]
    return (4 * d[1] - d[0]) / 3


def test_kepler():
    e, M = 0.3, 1.1
    E = kepler(e, M)
    assert abs(E - e * np.sin(E) - M) < 1e-14
    exact = (np.sin(E) / (1 - e * np.cos(E)), 1 / (1 - e * np.cos(E)))
    np.testing.assert_allclose(gg.grad(kepler, (0, 1))(e, M), exact, rtol=1e-13)
    for target in ("numpy", "c"):
        fn = gg.compile(gg.value_and_grad(kepler, (0, 1)), e="f64[]", M="f64[]", target=target)
        value, gradient = fn(e, M)
        assert np.isclose(value, E)
        np.testing.assert_allclose(gradient, exact, rtol=1e-12)
    second = slope(lambda t: gg.grad(kepler)(t, M), e)
    np.testing.assert_allclose(gg.grad(gg.grad(kepler))(e, M), second, rtol=1e-7)
    assert fn.source.count("for (") < 4  # the derivative does not unroll the iteration


@pytest.mark.parametrize("f", [cosine, valley, descent], ids=lambda f: f.__name__)
def test_derivatives(f):
    for a in (0.4, 0.9):
        np.testing.assert_allclose(gg.grad(f)(a), slope(f, a), rtol=1e-6)
        np.testing.assert_allclose(gg.jvp(f)(a, 1.0)[1], slope(f, a), rtol=1e-6)
        fn = gg.compile(gg.value_and_grad(f), a="f64[]")
        np.testing.assert_allclose(fn(a), (f(a), gg.grad(f)(a)), rtol=1e-9)


def test_no_convergence_is_an_error_that_names_the_solver():
    f = lambda a: gg.root(lambda x: x * x + a, 1.0, max_steps=20)
    with pytest.raises(gg.GradgenError, match="root did not converge in max_steps = 20 steps"):
        f(1.0)
    for target in ("numpy", "c"):
        fn = gg.compile(f, a="f64[]", target=target)
        with pytest.raises(ValueError, match=r"root.* did not converge in"):
            fn(1.0)
        assert np.isclose(fn(-4.0), 2.0)
    assert "FN_DIVERGED = 6" in fn.files["fn.h"] and "return FN_DIVERGED;" in fn.source


def test_a_check_leaves_out_points_without_a_solution():
    report = gg.compile(
        gg.value_and_grad(lambda a: gg.root(lambda x: x * x + a, 1.0)), "f64[]"
    ).check()
    assert report.ok and "did not converge" in str(report)


def test_bad_arguments():
    with pytest.raises(gg.ShapeError, match="f\\(x\\) of type"):
        gg.compile(lambda x: gg.root(lambda v: v[:1], x), x="f64[3]")
    with pytest.raises(gg.SpecError, match="method"):
        gg.minimize(lambda x: x * x, 1.0, method="magic")
