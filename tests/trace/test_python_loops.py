"""Python's own control flow on traced values, as people write it: plain NumPy, emitted NumPy and C agree, gradients too."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import gradgen as gg

X = np.array([0.3, -0.7, 1.1, 0.6])


def builtins_of_numbers(x):
    return max(x[0], x[1] * 2.0, 0.1) + min(x[2], x[3]) + abs(x[1]) + sum([x[0], x[1]])


def builtins_of_arrays(x):
    return sum(x) * max(x) + min(x)


def numbered_pairs(x):
    s = 0.0
    for i, (a, b) in enumerate(zip(x, 2.0 * x, strict=True), 1):
        s = s + a * b / i
    turned = zip(x, x[::-1], strict=True)
    for (i, a), k, (b, c) in zip(enumerate(x), range(x.shape[0]), turned, strict=True):
        s = s + a * b * c * (i + k)
    return s


def enumerated(x):
    s = 0.0
    for i, v in enumerate(x):
        if v < 0:
            continue
        if i > 2:
            break
        s += v * v * (i + 1)
    return s


def triangular(x):
    s = 0.0
    for i in range(x.shape[0]):
        for j in range(i):
            s += x[i] * x[j]
    return s


def left_inside(x):
    """What a break or continue of the inner loop sets is gone in the next step of the outer one."""
    s = 0.0
    for i in range(x.shape[0]):
        if x[i] < -0.9:
            continue
        for j in range(x.shape[0]):
            if x[j] < 0.0:
                continue
            if x[j] * x[i] > 0.5:
                break
            s += x[i] * x[j] ** 2
        if s > 0.9:
            return s * 2.0
    return s


def guarded_index(x):
    """The second half of the test must not be looked at behind the end."""
    i, s = 0, 0.0
    while i < len(x) and x[i] < 2.0:
        s += x[i]
        i += 1
    return s * s


def chained(x):
    s = 0.0
    for v in x:
        if 0.0 < v < 1.0 or v < -0.5:
            s += np.sin(v)
        elif not v > 1.05:
            s -= v
        else:
            s += 3.0 * v
    return s


def writes(x):
    h = np.zeros((x.shape[0], 2))
    for i in range(1, x.shape[0]):
        h[i, 0] = h[i - 1, 1] + x[i]
        h[i, 1] = np.sin(h[i, 0]) * x[i - 1]
    return np.sum(h)


def returns_from_a_loop(x):
    for v in x:
        if v > 1.0:
            return v * 2.0
    return x[0]


def forty_ifs(x):
    y = x[0]
    for _ in range(40):
        if y > 0.5:
            y = y * 0.9 + 0.01 * x[1]
        else:
            y = y + 0.3 * x[2]
    return y


def descent_inside(x):
    """Gradient descent until the gradient is small: a gradient in the test and in the body."""
    inner = lambda p: np.sum((p - x) ** 4)
    p, k = np.zeros_like(x), 0
    while np.sum(gg.grad(inner)(p) ** 2) > 1e-2:
        p = p - 0.02 * gg.grad(inner)(p)
        k += 1
        if k >= 300:
            break
    return np.sum(p * x)


def nested_whiles(x):
    s, i = 0.0, 0
    while i < x.shape[0]:
        j = i
        while j < x.shape[0]:
            s = s + x[i] * x[j] * 0.1
            j += 1
        i += 2
    return s


def dict_carry(x):
    d = {"a": x[0], "b": 1.0}
    for v in x:
        d = {"a": d["a"] * 0.5 + v, "b": d["b"] * np.cos(v)}
    return d["a"] * d["b"]


def break_of_a_short_loop_in_a_long_one(x):
    total = 0.0
    for v in x:
        u = v
        for _ in range(3):
            u = np.tanh(u + total)
            if u > 0.9:
                break
        total = total + u
    return total


def largest_by_hand(x):
    best, at = x[0], 0
    for i in range(x.shape[0]):
        if x[i] > best:
            best, at = x[i], i
    return best * at + x[at]


def any_and_all(x):
    return np.sum(x) * 2.0 if np.any(x > 1.0) and not np.all(x > 0) else np.prod(x)


PROGRAMS = [
    builtins_of_numbers, builtins_of_arrays, enumerated, numbered_pairs, triangular, left_inside, guarded_index, chained,
    writes, returns_from_a_loop, forty_ifs, descent_inside, nested_whiles, dict_carry,
    break_of_a_short_loop_in_a_long_one, largest_by_hand, any_and_all,
]  # fmt: skip


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("spec", ["f64[n]", "f64[4]"])
@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_as_plain_python(f, spec, target):
    fn = gg.compile(gg.value_and_grad(f), spec, target=target, options={"verify": True})
    value, gradient = fn(X)
    assert value == pytest.approx(f(X), rel=1e-12)
    exact = [(f(X + h) - f(X - h)) / 2e-6 for h in np.eye(4) * 1e-6]
    np.testing.assert_allclose(gradient, exact, rtol=1e-6, atol=1e-7)


def test_successive_ifs_do_not_multiply():
    lengths = []
    for count in (20, 40):

        def f(x, count=count):
            for _ in range(count):
                if x > 0.5:
                    x = x * 0.9
                else:
                    x = x + 0.3
            return x

        lengths.append(len(gg.compile(gg.value_and_grad(f), x="f64[]").source))
    assert lengths[1] < 2.2 * lengths[0]


def test_a_loop_over_plain_items_says_when_it_makes_a_long_text():
    def f(x, y, count):
        for _ in range(count):
            y = np.sin(y * x)
        return y

    with pytest.warns(UserWarning, match=r"unrolled into 10,000 statements.*gg.fori_loop"):
        gg.compile(f, "f64[]", "f64[]", count=gg.static(5000), target="python")

    def plain(x):
        total = 0
        for k in range(20_000):
            total += k
        return x * total

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gg.compile(plain, "f64[]")(1.0) == 199_990_000.0
