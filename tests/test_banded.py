"""Jacobians and Hessians by their diagonals: against jax, for lengths down to none, and how little text they take."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradgen as gg

jax.config.update("jax_enable_x64", True)
RNG = np.random.default_rng(3)


def rosenbrock(np, x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def chain(np, x):
    """Springs between neighbours, one of them to the wall."""
    return 0.5 * np.sum((x[1:] - x[:-1]) ** 2) + np.sum(np.sin(x) ** 2) + 3.0 * x[0] ** 2


def beam(np, x):
    """Five diagonals, and a branch for every element."""
    bending = x[2:] - 2.0 * x[1:-1] + x[:-2]
    return np.sum(bending**2 * np.exp(x[1:-1])) + np.sum(np.where(x > 0.0, x**3, x * x))


def corners(np, x):
    """Square roots, whose partials are not finite everywhere, and a kink."""
    return np.sum(np.sqrt(1.0 + x[1:] ** 2 * x[:-1] ** 2)) + np.sum(np.maximum(x[2:], x[:-2]) ** 3)


def ends(np, x):
    return np.concatenate((x[:1] ** 2, np.sin(x[1:-1]) * x[2:] - x[:-2], 2.0 * x[-1:]))


def separate(np, x):
    return np.tanh(x) * x


def upwind(np, x):
    return x[1:] * np.abs(x[:-1])


SCALARS = (rosenbrock, chain, beam, corners)
VECTORS = (ends, separate, upwind)


def derivatives(f, spec, target="numpy"):
    transform = gg.hessian if f in SCALARS else gg.jacobian
    return gg.compile(transform(lambda x: f(np, x)), x=spec, target=target)


@pytest.mark.parametrize("f", SCALARS + VECTORS)
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_against_jax(f, target):
    exact = (jax.hessian if f in SCALARS else jax.jacfwd)(lambda x: f(jnp, x))
    general = derivatives(f, "f64[n]", target)
    for n in (3, 9):
        x = RNG.normal(size=n)
        found = [general] + [derivatives(f, f"f64[{n}]", target)] * (target == "numpy" or n == 9)
        for fn in found:
            np.testing.assert_allclose(fn(x), np.asarray(exact(x)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("f", [rosenbrock, separate])
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_vectors_shorter_than_the_band(f, target):
    fn = derivatives(f, "f64[n]", target)
    for n in (0, 1):
        x = np.full(n, 0.5)
        expected = (jax.hessian if f in SCALARS else jax.jacfwd)(lambda x: f(jnp, x))(x)
        np.testing.assert_allclose(fn(x), expected, rtol=1e-12)


def test_the_modes_agree():
    x = RNG.normal(size=6)
    for f in VECTORS:
        banded = gg.jacobian(lambda x, f=f: f(np, x))(x)
        for mode in ("forward", "reverse"):
            np.testing.assert_allclose(
                banded, gg.jacobian(lambda x, f=f: f(np, x), mode=mode)(x), atol=1e-14
            )


def test_one_triangle_and_all_at_once():
    x = RNG.normal(size=7)
    f = lambda x: chain(np, x)
    full = gg.hessian(f)(x)
    np.testing.assert_array_equal(gg.hessian(f, part="lower")(x), np.tril(full))
    np.testing.assert_array_equal(gg.hessian(f, part="upper")(x), np.triu(full))
    value, gradient, hessian = gg.compile(gg.value_grad_hessian(f), x="f64[n]", target="c")(x)
    np.testing.assert_allclose(value, f(x))
    np.testing.assert_allclose(gradient, gg.grad(f)(x))
    np.testing.assert_allclose(hessian, full)


def test_third_derivatives_and_batches():
    x = RNG.normal(size=(3, 5))
    f = lambda x: np.sum(gg.hessian(lambda x: rosenbrock(np, x))(x) ** 2)
    g = lambda x: jnp.sum(jax.hessian(lambda x: rosenbrock(jnp, x))(x) ** 2)
    np.testing.assert_allclose(gg.grad(f)(x[0]), jax.grad(g)(x[0]), rtol=1e-12)
    batched = gg.compile(gg.vmap(gg.hessian(lambda x: rosenbrock(np, x))), x="f64[b,5]")(x)
    np.testing.assert_allclose(
        batched, jax.vmap(jax.hessian(lambda x: rosenbrock(jnp, x)))(x), rtol=1e-12
    )


def test_a_write_that_cuts_a_dependence():
    def f(x):
        out = x.copy()
        out[1:-1] = x[2:] - x[:-2]
        out[0] = 1.0
        return out

    x = RNG.normal(size=6)
    found = gg.jacobian(f)(x)
    np.testing.assert_array_equal(found, gg.jacobian(f, mode="forward")(x))
    assert not found[0].any() and found[-1, -1] == 1.0


@pytest.mark.parametrize("f", [
    lambda x: x * np.sum(x), lambda x: np.cumsum(x), lambda x: x[::-1] * x, lambda x: x - x[0],
    lambda x: x[np.array([0, 2, 1])], lambda x: gg.scan(lambda c, v: (c + v, c * v), 0.0, x)[1],
])  # fmt: skip
def test_what_is_not_banded_goes_direction_by_direction(f):
    x = RNG.normal(size=5)
    np.testing.assert_allclose(gg.jacobian(f)(x), gg.jacobian(f, mode="reverse")(x), atol=1e-14)


def test_three_diagonals_are_three_statements():
    def body(n, target):
        lines = derivatives(rosenbrock, f"f64[{n}]", target).source.splitlines()
        return lines[
            lines.index("import numpy as np" if target == "numpy" else '#include "fn_hess.h"') :
        ]

    short = body(50, "numpy")
    for line in (
        "t2[1:] += 200.0",
        "t3[50::51] = -400.0 * t1",
        "t3[::51] = t2",
        "t3[1::51] = -400.0 * t1",
        "hess = t3.reshape(50, 50)",
        "return hess",
    ):
        assert any(text.strip().startswith(line) for text in short), line
    assert len(short) == len(body(500, "numpy"))
    text = "\n".join(body(50, "c"))
    assert "hess[i * 51] =" in text and "hess[i * 51 + 1] =" in text
    assert len(body(50, "c")) == len(body(70, "c"))
