"""The programs of examples/programs: each on NumPy and in C, against numbers that know no derivative rules."""

from __future__ import annotations

import inspect

import arm
import bouncing_ball
import bundle_adjustment
import cartpole
import kepler
import lotka_volterra
import newton
import numpy as np
import pytest
import rnn
from scipy.integrate import solve_ivp

targets = pytest.mark.parametrize("target", ["numpy", "c"])
STEP = 1e-30


def complex_step(f, x):
    """The gradient of a function that is plain NumPy, from its values at complex arguments: exact to rounding."""
    x = np.asarray(x, float)
    out = np.empty(x.size)
    for k in range(x.size):
        moved = x.astype(complex).reshape(-1)
        moved[k] += 1j * STEP
        out[k] = np.imag(f(moved.reshape(x.shape))) / STEP
    return out.reshape(x.shape)


def lines(fn):
    """The lines of an emitted function's body."""
    text = fn.source
    return text[text.index(f"def {fn.name}(") :].split("\n\n\n")[0].splitlines()


@targets
def test_lotka_volterra(target):
    p, loss = lotka_volterra.main(target)
    np.testing.assert_allclose(p, lotka_volterra.TRUTH, rtol=1e-6)
    assert loss < 1e-15


@targets
def test_the_gradient_of_lotka_volterra(target):
    times = np.arange(1, 31) * 0.1
    exact = solve_ivp(
        lambda _, z: lotka_volterra.slope(z, lotka_volterra.TRUTH),
        (0, 3), lotka_volterra.START, t_eval=times, rtol=1e-10, atol=1e-10,
    ).y.T  # fmt: skip
    data = 1.1 * exact
    log_p = np.log(lotka_volterra.TRUTH)
    value, gradient = lotka_volterra.compiled(target)(log_p, lotka_volterra.START, 0.1, data)
    assert value == pytest.approx(np.log(1.1) ** 2, rel=1e-4)

    def loss(log_p):
        z, total = lotka_volterra.START, 0.0
        for row in data:
            z = lotka_volterra.runge_kutta(z, np.exp(log_p), 0.1)
            total = total + np.sum((np.log(z) - np.log(row)) ** 2)
        return total / data.size

    np.testing.assert_allclose(gradient, complex_step(loss, log_p), rtol=1e-11)


@targets
def test_cartpole(target):
    states = cartpole.main(target)
    assert np.abs(states[-1] - np.round(states[-1] / (2 * np.pi)) * 2 * np.pi)[1] < 0.05
    assert np.abs(states[-1, 0]) < 0.2 and np.abs(states[-10:, 3]).max() < 0.3
    forces = np.sin(np.arange(30.0))
    start = np.array([0.1, 2.0, -0.3, 0.4])
    value, gradient = cartpole.compiled(target)(forces, start)
    assert value == pytest.approx(cartpole.cost(forces, start), rel=1e-13)
    exact = complex_step(lambda u: cartpole.cost(u, start), forces)
    np.testing.assert_allclose(gradient, exact, rtol=1e-10, atol=1e-12)


@targets
def test_rnn(target):
    first, last = rnn.main(target, steps=400)
    assert last < 0.5 * first
    rng = np.random.default_rng(5)
    params, (xs, ys) = rnn.start(rng), rnn.sequence(rng)
    params["out"] = rng.normal(size=rnn.HIDDEN)
    value, gradient = rnn.compiled(target)(params, xs, ys)
    assert value == pytest.approx(rnn.loss(params, xs, ys), rel=1e-13)
    for name in params:
        exact = complex_step(
            lambda v, name=name: rnn.loss({**params, name: v}, xs, ys), params[name]
        )
        np.testing.assert_allclose(gradient[name], exact, rtol=1e-9, atol=1e-13)


@targets
def test_arm(target):
    gradient, before, after = arm.main(target, count=200)
    assert after < 0.2 * before
    q = np.array([0.1, -1.2, 1.0, -0.4, 0.6, 0.2])
    goal = np.array([-0.3, 0.2, 0.5])
    np.testing.assert_allclose(gradient, complex_step(lambda q: arm.miss(q, goal), q), rtol=1e-12)
    joints = np.random.default_rng(2).normal(size=(10_000, 6))
    values, gradients = arm.compiled_batch(target)(joints, np.tile(goal, (10_000, 1)))
    one = arm.compiled(target)
    for k in (0, 17, 9_999):
        value, gradient = one(joints[k], goal)
        assert values[k] == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(gradients[k], gradient, rtol=1e-10, atol=1e-14)


def test_the_batched_arm_has_no_loop_over_arms():
    assert not any(line.strip().startswith("for ") for line in lines(arm.compiled_batch("numpy")))


@targets
def test_bundle_adjustment(target):
    jacobian, errors = bundle_adjustment.main(target, count=10_000)
    assert jacobian.shape == (10_000, 2, 15) and errors[0] > 10 and errors[-1] < 1e-9
    cameras, points, weights = bundle_adjustment.scene(3, np.random.default_rng(4))
    seen = np.ones(2)
    one = bundle_adjustment.compiled(target)
    for k in range(3):
        value, found = one(cameras[k], points[k], weights[k], seen)
        flat = np.concatenate([cameras[k], points[k], weights[k : k + 1]])
        residual = lambda v: bundle_adjustment.residual(v[:11], v[11:14], v[14], seen)
        np.testing.assert_allclose(value, residual(flat), rtol=1e-12)
        steps = np.eye(15) * 1e-6
        exact = np.stack([(residual(flat + h) - residual(flat - h)) / 2e-6 for h in steps], axis=1)
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-4)


@targets
def test_newton(target):
    x, steps = newton.main(target)
    np.testing.assert_allclose(x, np.ones(8), rtol=1e-10)
    assert steps < 45
    value, gradient, hessian = newton.compiled(target)(x + 0.1)
    f = newton.rosenbrock
    assert value == pytest.approx(f(x + 0.1), rel=1e-13)
    np.testing.assert_allclose(gradient, complex_step(f, x + 0.1), rtol=1e-12)
    slope = lambda x: complex_step(f, x)
    exact = [(slope(x + 0.1 + h) - slope(x + 0.1 - h)) / 2e-4 for h in np.eye(8) * 1e-4]
    np.testing.assert_allclose(hessian, exact, rtol=1e-6, atol=1e-4)


@targets
def test_bouncing_ball(target):
    (vx, vy), value = bouncing_ball.main(target)
    assert value < 1e-12
    assert bouncing_ball.height(vx, vy) == pytest.approx(bouncing_ball.WINDOW, abs=1e-5)
    fn = bouncing_ball.compiled(target)
    for throw in ((4.0, 3.0), (7.7, -5.4), (3.0, 0.1)):
        v = np.array(throw)
        found = np.array(fn(*throw)[1])
        exact = [
            (bouncing_ball.miss(*(v + h)) - bouncing_ball.miss(*(v - h))) / 2e-7
            for h in np.eye(2) * 1e-7
        ]
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)


@targets
def test_kepler(target):
    rows = kepler.main(target)
    M, E, by_M, by_e = rows.T
    np.testing.assert_allclose(E - 0.6 * np.sin(E), M, rtol=1e-13)
    np.testing.assert_allclose(by_M, 1.0 / (1.0 - 0.6 * np.cos(E)), rtol=1e-12)
    np.testing.assert_allclose(by_e, np.sin(E) / (1.0 - 0.6 * np.cos(E)), rtol=1e-12)
    (x, y), velocity = kepler.compiled_velocity(target)(M[2], 0.6)
    # Kepler's second law: the sun sees equal areas in equal times.
    assert x * velocity[1] - y * velocity[0] == pytest.approx(np.sqrt(1.0 - 0.36), rel=1e-12)


def test_the_equation_is_solved_once():
    """Value and derivative share the loop, and what it starts from has no part in the derivative."""
    text = "\n".join(lines(kepler.compiled_velocity("numpy")))
    assert text.count("while True:") == 1


@pytest.mark.parametrize(
    "module",
    [arm, bouncing_ball, bundle_adjustment, cartpole, kepler, lotka_volterra, newton, rnn],
    ids=lambda m: m.__name__,
)
def test_every_program_says_what_it_does(module):
    assert inspect.getdoc(module) and inspect.getdoc(module.main)
