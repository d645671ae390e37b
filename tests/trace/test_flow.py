"""Python's own control flow on traced values: the same numbers as plain Python, and derivatives of the branch taken."""

from __future__ import annotations

import numpy as np
import pytest

import gradgen as gg


# -- of one number
def if_else(x):
    if x > 0:
        y = np.sin(x)
    else:
        y = x**2
    return y * 2


def early_returns(x):
    if x > 1:
        return x**3
    if x > 0:
        return np.sin(x)
    elif x > -1:
        z = x * 5
    else:
        return -x
    return z + 1


def counted_while(x):
    n = 0
    x = abs(x) + 1.0
    while x < 100:
        x = x * 1.7 + 1
        n += 1
    return x + n


def break_and_continue(x):
    s = 0.0
    for i in range(10):
        if s > 5:
            break
        if i % 2 == 0:
            continue
        s = s + x * i
    return s


def expressions(x):
    return np.exp(x) if 0 < x < 2 and not x > 1.45 else (x if x < 0 or x > 3 else x * x)


def return_from_a_loop(x):
    s = 0.0
    for i in range(20):
        s += x
        if s > 3.35:
            return s * i
    return -1.0 * x


def writes_in_branches(x):
    out = np.zeros(3)
    if x > 0:
        out[0] = x
        out[1:] = x * x
    else:
        out[2] = 1.0 * x
    return np.sum(out * np.array([1.0, 2.0, 3.0]))


def endless_with_break(x):
    total = 0.0
    k = 0
    while True:
        total = total + x / (k + 1)
        k = k + 1
        if total > 2.5 or k > 50:
            break
    return total


def largest(x):
    best = x
    for a in [1.0, 2.0, -3.0]:
        v = a * x
        if v > best:
            best = v
    return best


def tuples_and_dicts(x):
    state = {"p": x, "q": (1.0, x)}
    if x > 0.4:
        state = {"p": x * 2, "q": (x, 3.0)}
        kind = "big"
    else:
        kind = "big"
    return state["p"] * state["q"][1] + (state["q"][0] if kind == "big" else 0.0)


def nested(x):
    y = x
    for _ in range(3):
        if y > 1:
            if y > 2:
                y = y / 3
            else:
                y = y - 0.4
        else:
            while y < 1.2:
                y = y + 0.5 * x * x + 0.3
    return y


def helper(v, limit):
    if v > limit:
        return limit + np.log(v - limit + 1)
    return v


def through_a_helper(x):
    return helper(x, 0.6) * helper(2 * x, 0.6)


def annotated(x):
    total: float = 0.0
    for k in range(3):
        step: float = x * k
        if step > 0.5:
            total = total + step
            import math

            total = total * math.e
        late = [lambda: k]
    return total + late[0]()


def caught(x):
    y = x
    for k in (0, 1, 2):
        try:
            y = y + 1.0 / k
        except ZeroDivisionError as error:
            y = y * len(str(error))
        if y > 3.0:
            del k
            y = y - 1.0
    return y


SCALARS = [annotated, caught,
    if_else, early_returns, counted_while, break_and_continue, expressions, return_from_a_loop, writes_in_branches,
    endless_with_break, largest, tuples_and_dicts, nested, through_a_helper,
]  # fmt: skip
POINTS = (-3.0, -0.55, 0.31, 0.72, 1.33, 4.1)


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("f", SCALARS, ids=lambda f: f.__name__)
def test_values(f, target):
    fn = gg.compile(f, x="f64[]", target=target, options={"verify": True})
    for x in (*POINTS, 1.5):
        np.testing.assert_allclose(fn(x), f(x), rtol=1e-13)


@pytest.mark.parametrize("f", SCALARS, ids=lambda f: f.__name__)
def test_slopes(f):
    fn = gg.compile(gg.grad(f), x="f64[]")
    for x in POINTS:
        slope = (f(x + 1e-6) - f(x - 1e-6)) / 2e-6
        np.testing.assert_allclose(fn(x), slope, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(gg.grad(f)(x), slope, rtol=1e-6, atol=1e-7)


# -- of arrays of any length
def weighted(x):
    s = 0.0
    for i in range(len(x)):
        s += x[i] * i
    return s


def branch_per_item(x):
    s = 1.0
    for v in x:
        if v > 0:
            s = s * v
        else:
            s += v
    return s


def until(x):
    t = 0.0
    for i, v in enumerate(x):
        t = t + (i + 1) * v
        if t > 3:
            break
    return t


def pairs(x):
    h = np.zeros(2)
    for a, b in zip(x, x[::-1]):  # noqa: B905
        h = np.tanh(h * 0.5 + np.array([a, b]))
    return h @ h


def backwards(x):
    m = x[0]
    for i in reversed(range(len(x))):
        m = max(m, x[i] * 0.9) + 0.1 * x[i]
    return m


def skips_and_returns(x):
    total = 0
    for i in range(len(x)):
        if x[i] < 0:
            continue
        if x[i] > 1.5:
            return x[i] * 10 + total
        total = total + x[i]
    return total


ARRAYS = [weighted, branch_per_item, until, pairs, backwards, skips_and_returns]


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("f", ARRAYS, ids=lambda f: f.__name__)
def test_loops_over_any_length(f, target):
    fn = gg.compile(gg.value_and_grad(f), x="f64[n]", target=target, options={"verify": True})
    for x in (np.array([0.5, -0.3, 1.2, 0.8, -1.0, 1.7]), np.array([0.4, 0.9])):
        value, gradient = fn(x)
        np.testing.assert_allclose(value, f(x), rtol=1e-13)
        steps = 1e-6 * np.eye(len(x))
        slopes = [(f(x + e) - f(x - e)) / 2e-6 for e in steps]
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-7)
    assert fn.source.count("for ") < 60


def test_forty_successive_ifs_stay_forty():
    def f(x):
        for k in range(40):
            if x > k * 0.1:
                x = x * 0.99
            else:
                x = x + 0.01
        return x

    fn = gg.compile(f, x="f64[]")
    assert fn(1.7) == f(1.7)
    assert len(fn.source.splitlines()) < 400


def test_what_no_branch_binds_is_unbound():
    """Python's own error; what one branch binds is told by name (test_bad_loops)."""

    def f(x):
        if x > 0:
            return x
        y = y + x  # noqa: F821
        return y

    with pytest.raises(NameError, match="'y'"):
        gg.compile(f, x="f64[]")


def test_plain_tests_stay_plain():
    def f(x, n):
        out = []
        for k in range(n):
            if k == 1:
                continue
            out.append(x * k)
            if k > 3:
                break
        else:
            out.append(x)
        return sum(out)

    assert gg.compile(f, "f64[]", gg.static(7))(2.0) == f(2.0, 7)
    assert gg.compile(f, "f64[]", gg.static(2))(2.0) == f(2.0, 2)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: x if x > 0 else None, "return a value"),
        (lambda x: (x, x) if x > 0 else x, "one structure"),
        (lambda x: x * {"a": 1, "b": 2}["a" if x > 0 else "b"], "numbers and arrays"),
    ],
)
def test_refusals(f, words):
    with pytest.raises(gg.GradgenError, match=words):
        gg.compile(f, "f64[]")
