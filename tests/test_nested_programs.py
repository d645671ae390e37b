"""Random programs of nested loops and branches: interpreter, NumPy, C and differences agree, in value and gradient.

A program is a tree of expressions of the scalars in scope; each loop or branch brings its own scalars into scope and closes
over the others. Both spellings are drawn: gg.scan, gg.cond, ..., and Python's own `for`, `if`, `while`.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

import gradgen as gg

X = np.array([0.3, -0.7, 1.1, 0.6])
W = 0.45


# -- programs: (kind, ...) with expressions inside; env is the list of scalars in scope, x the array
def value(e, env, x):
    return KINDS[e[0]](env, x, *e[1:])


def variable(env, x, k):
    return env[k % len(env)]


def number(env, x, c):
    return c


def element(env, x, k):
    return x[k % 4]


def unary(env, x, name, a):
    v = value(a, env, x)
    if name == "sin":
        return np.sin(v)
    if name == "tanh":
        return np.tanh(v)
    if name == "bump":
        return np.exp(-v * v)
    return np.sqrt(1.0 + v * v)


def binary(env, x, name, a, b):
    u, v = value(a, env, x), value(b, env, x)
    if name == "add":
        return u + v
    if name == "mul":
        return u * np.tanh(v)
    return np.maximum(u, v)


def cond(env, x, a, c, then, other):
    return gg.cond(
        value(a, env, x) > c,
        lambda: value(then, env, x) * 1.0,
        lambda: value(other, env, x) * 1.0,
    )


def python_if(env, x, a, c, then, other):
    if value(a, env, x) > c and x[0] < 2.0:
        found = value(then, env, x) * 1.0
    else:
        found = value(other, env, x) * 1.0
    return found


def early_return(env, x, a, c, then, other):
    if value(a, env, x) > c:
        return value(then, env, x) * 1.0
    return value(other, env, x) * 1.0


def scan(env, x, start, body, y, reverse):
    def step(h, v):
        scope = [*env, h, v]
        return np.tanh(h + value(body, scope, x)), value(y, scope, x) * 1.0

    h, ys = gg.scan(step, value(start, env, x) * 1.0, x, reverse=reverse)
    return h + np.sum(ys * x)


def two_carries(env, x, start, a, b):
    def step(c, v):
        h, g = c
        scope = [*env, h, g, v]
        return (np.tanh(value(a, scope, x) + g), np.sin(value(b, scope, x) + h)), None

    (h, g), _ = gg.scan(step, (value(start, env, x) * 1.0, 0.2), x, checkpoint=2)
    return h * g


def python_for(env, x, start, body):
    h = value(start, env, x) * 1.0
    for v in x:
        h = np.tanh(h + value(body, [*env, h, v], x))
    return h


def fori(env, x, start, body):
    return gg.fori_loop(
        0,
        3,
        lambda i, h: np.sin(h + value(body, [*env, h], x) * (i + 1.0)),
        value(start, env, x) * 1.0,
    )


def while_loop(env, x, start, body):
    def step(c):
        h, total = c
        return h + 0.5 + 0.2 * np.tanh(value(body, [*env, h, total], x)), total + np.sin(h)

    return gg.while_loop(lambda c: c[0] < 1.6, step, (np.tanh(value(start, env, x)), 0.1))[1]


def python_while(env, x, start, body):
    h, total = np.tanh(value(start, env, x)), 0.1
    while h < 1.6:
        total = total + h * np.sin(value(body, [*env, h, total], x))
        h = h + 0.5
        if total > 5.0:
            break
    return total


def vmap(env, x, body):
    return np.sum(gg.vmap(lambda v: value(body, [*env, v], x) * v)(x))


def mapped(env, x, body):
    return np.sum(gg.map(lambda v: np.sin(value(body, [*env, v], x)), x))


def checkpoint(env, x, body):
    return gg.checkpoint(lambda a: value(body, [*env, a], x) * a)(env[-1])


def own_rule(env, x, a):
    """A function with a derivative of its own: the right one, of v**3 / (1 + v**2)."""
    cube = lambda v: v**3 / (1.0 + v * v)
    slope = lambda y_bar, y, v: (y_bar * (v * v * (3.0 + v * v)) / (1.0 + v * v) ** 2,)
    return gg.custom_vjp(cube, slope)(value(a, env, x) * 1.0)


def slope(env, x, a):
    """A derivative inside the program."""
    return gg.grad(lambda v: np.sin(v) * value(a, [*env, v], x))(env[-1])


KINDS = {
    "variable": variable, "number": number, "element": element, "unary": unary, "binary": binary, "cond": cond, "if": python_if,
    "return": early_return, "scan": scan, "two": two_carries, "for": python_for, "fori": fori, "while_loop": while_loop,
    "while": python_while, "vmap": vmap, "map": mapped, "checkpoint": checkpoint, "rule": own_rule, "slope": slope,
}  # fmt: skip

numbers = st.sampled_from([-0.8, -0.25, 0.15, 0.5, 1.3])
leaves = st.one_of(
    st.tuples(st.just("variable"), st.integers(0, 7)),
    st.tuples(st.just("variable"), st.integers(0, 7)),
    st.tuples(st.just("number"), numbers),
    st.tuples(st.just("element"), st.integers(0, 3)),
)


def larger(inner):
    test = (inner, numbers, inner, inner)
    return st.one_of(
        st.tuples(st.just("unary"), st.sampled_from(["sin", "tanh", "bump", "root"]), inner),
        st.tuples(st.just("binary"), st.sampled_from(["add", "mul", "max"]), inner, inner),
        st.tuples(st.just("cond"), *test),
        st.tuples(st.just("if"), *test),
        st.tuples(st.just("return"), *test),
        st.tuples(st.just("scan"), inner, inner, inner, st.booleans()),
        st.tuples(st.just("two"), inner, inner, inner),
        *(
            st.tuples(st.just(kind), inner, inner)
            for kind in ("for", "fori", "while_loop", "while")
        ),
        *(
            st.tuples(st.just(kind), inner)
            for kind in ("vmap", "map", "checkpoint", "rule", "slope")
        ),
    )


programs = st.recursive(leaves, larger, max_leaves=6)


def model(program):
    def f(x, w):
        return value(program, [w, x[1]], x) + 0.1 * w * x[0]

    return f


def slope_along(f, x, w, direction):
    """The derivative along a direction by central differences; None where two steps disagree: a kink or a jump is near."""
    dx, dw = direction
    at = lambda t: float(f(x + t * dx, w + t * dw))
    with np.errstate(all="ignore"):
        first, second = ((at(h) - at(-h)) / (2 * h) for h in (1e-5, 3e-6))
    return second if abs(first - second) <= 1e-6 * (1 + abs(second)) else None


examples = settings(
    derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None,
    phases=[Phase.explicit, Phase.generate],  # the programs are small; to shrink them takes minutes
)  # fmt: skip


def check(program, target, symbolic):
    f = model(program)
    transform = gg.value_and_grad(f, (0, 1))
    expected, (x_bar, w_bar) = transform(X, W)
    rng = np.random.default_rng(7)
    direction = rng.normal(size=4), rng.normal()
    numeric = slope_along(lambda x, w: gg.jvp(f, (0, 1))(x, w, (0 * x, 0 * w))[0], X, W, direction)
    if numeric is not None:
        assert x_bar @ direction[0] + w_bar * direction[1] == pytest.approx(
            numeric, rel=1e-5, abs=1e-6
        )
    fn = gg.compile(
        transform,
        "f64[n]" if symbolic else "f64[4]",
        "f64[]",
        target=target,
        options={"verify": True},
    )
    found, (x_found, w_found) = fn(X, W)
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-12)
    np.testing.assert_allclose(x_found, x_bar, rtol=1e-9, atol=1e-11)
    assert w_found == pytest.approx(w_bar, rel=1e-9, abs=1e-11)
    return numeric is not None


@pytest.mark.filterwarnings("ignore:the gradient of")
@example(("while", ("checkpoint", ("variable", 6)), ("slope", ("variable", 0))), False)
@settings(examples, max_examples=40)
@given(programs, st.booleans())
def test_numpy(program, symbolic):
    assume(program[0] not in ("variable", "number", "element"))
    check(program, "numpy", symbolic)


@pytest.mark.filterwarnings("ignore:the gradient of")
@settings(examples, max_examples=20)
@given(programs, st.booleans())
def test_c(program, symbolic):
    assume(program[0] not in ("variable", "number", "element", "unary", "binary"))
    check(program, "c", symbolic)


@pytest.mark.filterwarnings("ignore:the gradient of")
@settings(examples, max_examples=25)
@given(programs)
def test_second_order(program):
    """Reverse over reverse is forward over reverse, and the difference of gradients."""
    assume(program[0] not in ("variable", "number", "element", "unary", "binary"))
    f = model(program)
    rng = np.random.default_rng(3)
    v = rng.normal(size=4)
    along = gg.hvp(f, 0)(X, W, v)
    both = gg.grad(lambda x, w: gg.grad(f, 0)(x, w) @ v, 0)(X, W)
    np.testing.assert_allclose(along, both, rtol=1e-9, atol=1e-10)
    gradient = lambda x: gg.grad(f, 0)(x, W)
    first, second = ((gradient(X + h * v) - gradient(X - h * v)) / (2 * h) for h in (1e-5, 3e-6))
    if np.allclose(first, second, rtol=1e-6, atol=1e-7):
        np.testing.assert_allclose(along, second, rtol=1e-5, atol=1e-6)
