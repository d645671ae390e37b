"""Second derivatives through every construct, in every engine, against mpmath: numbers that know no derivative rule.

Each program is written twice: for gradgen, with the construct, and in plain Python for mpmath's numbers, which mpmath
differentiates by differences at 40 digits. Gradients, Hessians and Hessian products agree to 1e-8 of the largest entry.
"""

import mpmath as mp
import numpy as np
import pytest
from compilers import needs_c

import gradgen as gg

X = np.array([0.7, -0.4, 1.3])
V = np.array([0.3, 1.1, -0.6])
TABLE = np.array([0.5, -1.5, 2.0, 0.25])
PICKS = np.array([2, 0, 2, 1, 2])
DIRECTION = [mp.mpf(str(v)) for v in V]


# -- loops of known length
def pendulum(x):
    def step(state, force):
        angle, speed = state
        speed = speed + 0.1 * (force * x[2] - np.sin(angle))
        angle = angle + 0.1 * speed
        return (angle, speed), angle * speed

    (angle, _), work = gg.scan(step, (x[0], x[1]), TABLE)
    return np.sum(work * work) + np.exp(angle)


def pendulum_plain(x):
    angle, speed, total = x[0], x[1], 0
    for force in TABLE:
        speed = speed + 0.1 * (float(force) * x[2] - mp.sin(angle))
        angle = angle + 0.1 * speed
        total += (angle * speed) ** 2
    return total + mp.exp(angle)


def checkpointed(x):
    def step(state, k):
        return np.sin(state * x[1]) + x[0] * state + 0.1 * k, state * x[2]

    final, seen = gg.scan(step, x[2], np.arange(10.0), checkpoint=3)
    return final * final + np.sum(np.cos(seen))


def checkpointed_plain(x):
    state, total = x[2], 0
    for k in range(10):
        total += mp.cos(state * x[2])
        state = mp.sin(state * x[1]) + x[0] * state + 0.1 * k
    return state * state + total


def counted(x):
    return gg.fori_loop(0, 6, lambda k, s: np.tanh(s * x[0] + k * x[1]) + x[2], x[1])


def counted_plain(x):
    s = x[1]
    for k in range(6):
        s = mp.tanh(s * x[0] + k * x[1]) + x[2]
    return s


def nested(x):
    def row(total, k):
        def column(inner, j):
            return inner * np.cos(x[0] + k * j) + x[1], inner * x[2]

        inner, seen = gg.scan(column, total, np.arange(3.0))
        return inner, np.sum(seen * seen)

    final, sums = gg.scan(row, x[2], np.arange(2.0))
    return final * np.sum(sums)


def nested_plain(x):
    total, sums = x[2], 0
    for k in range(2):
        for j in range(3):
            sums += (total * x[2]) ** 2
            total = total * mp.cos(x[0] + k * j) + x[1]
    return total * sums


# -- loops of a length that the numbers decide
def halving(x):
    value, count = gg.while_loop(
        lambda s: s[0] > 0.2,
        lambda s: (s[0] * s[0] * x[0] * 0.8 + 0.01 * x[1], s[1] + x[2] * s[0]),
        (x[2], x[0]),
    )
    return np.exp(value) * count


def halving_plain(x):
    value, count = x[2], x[0]
    while value > 0.2:
        value, count = value * value * x[0] * 0.8 + 0.01 * x[1], count + x[2] * value
    return mp.exp(value) * count


def captured_while(x):
    value, steps = x[2], 0
    while value < 20.0:
        value = value * (1.5 + 0.1 * np.sin(x[0])) + x[1] * x[1]
        steps += 1
    return np.log(value) * x[0] + steps * x[1]


def captured_while_plain(x):
    value, steps = x[2], 0
    while value < 20.0:
        value = value * (1.5 + 0.1 * mp.sin(x[0])) + x[1] * x[1]
        steps += 1
    return mp.log(value) * x[0] + steps * x[1]


# -- branches
def branches(x):
    first = gg.cond(x[0] > 0.0, lambda a, b: np.sin(a * b), lambda a, b: a + b, x[0], x[1])
    if x[1] > 0.0:
        second = x[1] ** 3
    elif x[1] > -1.0:
        second = np.exp(x[1] * x[2])
    else:
        second = x[2]
    return first * second + np.where(x[2] > 2.0, np.sqrt(x[2] - 2.0), x[2] * x[0])


def branches_plain(x):
    return mp.sin(x[0] * x[1]) * mp.exp(x[1] * x[2]) + x[2] * x[0]


def loop_with_branches(x):
    total, state = 0.0, x[0]
    for k in range(5):
        if state * x[1] < 0.1 * k:
            state = state + np.cos(x[2] * state)
        else:
            state = state * x[1] + 0.3
        total = total + state * state
    return total


def loop_with_branches_plain(x):
    total, state = 0, x[0]
    for k in range(5):
        state = state + mp.cos(x[2] * state) if state * x[1] < 0.1 * k else state * x[1] + 0.3
        total += state * state
    return total


# -- gathers, maps, assignment
def gathered(x):
    picked = x[PICKS]
    out = np.zeros(3)
    np.add.at(out, PICKS, np.sin(picked) * picked)
    out[0] += x[1]
    return np.sum(out**3) + np.prod(picked)


def gathered_plain(x):
    out, product = [mp.mpf(0)] * 3, mp.mpf(1)
    for k in PICKS:
        out[k] += mp.sin(x[k]) * x[k]
        product *= x[k]
    out[0] += x[1]
    return sum(v**3 for v in out) + product


def mapped(x):
    rows = gg.vmap(lambda t: np.sin(x * t) @ x)(TABLE)
    return np.sum(np.exp(0.3 * rows)) + np.sum(
        gg.map(lambda t: t * x[0] * x[1] * np.cos(t * x[2]), TABLE) ** 2
    )


def mapped_plain(x):
    rows = [sum(mp.sin(v * float(t)) * v for v in x) for t in TABLE]
    waves = [float(t) * x[0] * x[1] * mp.cos(float(t) * x[2]) for t in TABLE]
    return sum(mp.exp(mp.mpf(0.3) * r) for r in rows) + sum(w * w for w in waves)


# -- rules of the user's own, checkpoints
cubed = gg.custom_vjp(
    lambda a, b: a**3 * np.sin(b),
    lambda y_bar, y, a, b: (y_bar * 3.0 * a**2 * np.sin(b), y_bar * a**3 * np.cos(b)),
)
softened = gg.custom_jvp(
    lambda a: np.log(1.0 + np.exp(a)), lambda a_dot, y, a: a_dot / (1.0 + np.exp(-a))
)
swish = gg.define("swish_2", "x / (1 + exp(-x))")


def own_rules(x):
    inner = gg.checkpoint(lambda a, b: np.tanh(a * b) + a)
    return cubed(x[0], x[1]) * softened(x[2]) + swish(x[0] * x[2]) + inner(x[1], x[2]) ** 2


def own_rules_plain(x):
    product = x[0] * x[2]
    inner = mp.tanh(x[1] * x[2]) + x[1]
    return (
        x[0] ** 3 * mp.sin(x[1]) * mp.log(1 + mp.exp(x[2]))
        + product / (1 + mp.exp(-product))
        + inner**2
    )


# -- solutions of equations
def solved(x):
    kepler = gg.root(lambda e: e - 0.3 * x[0] * np.sin(e) - x[2], x[2])
    rest = gg.fixed_point(lambda s: 0.5 * np.cos(s * x[1]) + 0.1 * x[0], 0.2)
    return kepler * kepler * x[1] + np.exp(rest)


def solved_plain(x):
    kepler = mp.findroot(lambda e: e - 0.3 * x[0] * mp.sin(e) - x[2], x[2])
    rest = mp.findroot(lambda s: s - mp.cos(s * x[1]) / 2 - 0.1 * x[0], 0.5)
    return kepler * kepler * x[1] + mp.exp(rest)


def inner_descent(x):
    """Gradient descent inside an objective, and its derivative."""
    slope = gg.grad(lambda s: (s - x[0]) ** 2 * x[2] + 0.1 * s**4)
    s = x[1]
    for _ in range(4):
        s = s - 0.1 * slope(s)
    return s * s + np.sin(s)


def inner_descent_plain(x):
    s = x[1]
    for _ in range(4):
        s = s - mp.mpf(0.1) * (2 * (s - x[0]) * x[2] + mp.mpf(0.1) * 4 * s**3)
    return s * s + mp.sin(s)


PROGRAMS = {
    "scan": (pendulum, pendulum_plain),
    "scan_checkpointed": (checkpointed, checkpointed_plain),
    "fori_loop": (counted, counted_plain),
    "scan_in_scan": (nested, nested_plain),
    "while_loop": (halving, halving_plain),
    "captured_while": (captured_while, captured_while_plain),
    "branches": (branches, branches_plain),
    "branches_in_loop": (loop_with_branches, loop_with_branches_plain),
    "gathers": (gathered, gathered_plain),
    "maps": (mapped, mapped_plain),
    "custom_rules": (own_rules, own_rules_plain),
    "implicit": (solved, solved_plain),
    "descent_inside": (inner_descent, inner_descent_plain),
}


@pytest.fixture(scope="module", params=PROGRAMS)
def case(request):
    """A program, and its gradient and Hessian at X by mpmath."""
    program, plain = PROGRAMS[request.param]
    with mp.workdps(40):
        point = tuple(mp.mpf(float(v)) for v in X)

        def derivative(*orders):
            return float(mp.diff(lambda *x: plain(x), point, orders))

        unit = np.eye(3, dtype=int)
        slope = np.array([derivative(*map(int, unit[i])) for i in range(3)])
        curvature = np.array(
            [[derivative(*map(int, unit[i] + unit[j])) for j in range(3)] for i in range(3)]
        )
    return program, slope, curvature


def agree(found, expected):
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=1e-8 * max(1.0, np.abs(expected).max())
    )


def test_interpreted(case):
    program, slope, curvature = case
    agree(gg.grad(program)(X), slope)
    agree(gg.hessian(program)(X), curvature)
    agree(gg.jacobian(gg.grad(program), mode="reverse")(X), curvature)
    agree(gg.hvp(program)(X, V), curvature @ V)


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("optimize", ["lecture", "fast"])
def test_emitted(case, target, optimize):
    program, slope, curvature = case
    options = gg.Options(optimize=optimize)
    both = gg.compile(gg.value_grad_hessian(program), "f64[3]", target=target, options=options)
    _, found, second = both(X)
    agree(found, slope)
    agree(second, curvature)
    product = gg.compile(gg.hvp(program), "f64[3]", "f64[3]", target=target, options=options)
    agree(product(X, V), curvature @ V)


@needs_c
def test_a_while_among_enough_statements_for_parts():
    """The statements are functions of their own in C, but for those that leave it or count the steps of a tape."""

    def f(x):
        def step(c, t):
            grown = gg.while_loop(
                lambda s: s[0] < 3.0,
                lambda s: (s[0] + 1.0, s[1] * np.sin(s[1] + x) + 0.1 * t),
                (0.0, c),
            )[1]
            c = gg.cond(
                grown > 0.2, lambda a: np.exp(-a * x) + a, lambda a: a * a + np.cos(x * a), grown
            )
            return c, gg.fori_loop(0, 2, lambda i, a: a * x + np.sin(a), c)

        c, ys = gg.scan(step, x * 0.5, np.array([0.3, 0.7, 1.1, 0.2]))
        return c + np.sum(ys * ys)

    twice = gg.compile(gg.grad(gg.grad(f)), "f64[]", target="c")
    h = 1e-5
    slope = gg.compile(gg.grad(f), "f64[]", target="c")
    np.testing.assert_allclose(twice(0.8), gg.grad(gg.grad(f))(0.8), rtol=1e-12)
    np.testing.assert_allclose(twice(0.8), (slope(0.8 + h) - slope(0.8 - h)) / (2 * h), rtol=1e-7)
