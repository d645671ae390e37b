"""grad, value_and_grad, vjp, jvp, hvp: on arrays and compiled, nested in any order, against derivatives that know no rules."""

from __future__ import annotations

import functools
import math
import sys
import types
from typing import Any

import numpy as np
import pytest
from compilers import ARRAY_TARGETS, TARGETS, differences

import gradgen as gg


def complex_step(f, x, h=1e-30):
    """The gradient of an analytic function to the last digit."""
    x = np.asarray(x, dtype=np.float64)
    out = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        z = x.astype(np.complex128)
        z[i] += 1j * h
        out[i] = np.imag(f(z)) / h
    return out


# -- models of every shape that a user writes; all analytic, so the complex step is exact
def vectors(x):
    return np.sum(np.sin(x) * x[::-1]) + x @ x


def matrices(x):
    A = np.outer(x, x) + np.eye(len(x))
    return np.sum(A @ A) * 0.1 + np.sum(A * np.eye(3))


def comprehension(x):
    terms = [np.sin(v) * (k + 1.0) for k, v in enumerate(x)]
    return sum(terms) * np.prod([t for t in terms if t is not None][:2])


def helper(a, b):
    return np.exp(-a) * b + a**3


def with_helpers(x):
    return functools.reduce(helper, [x[0], x[1], x[2]], 0.5)


def closures(x):
    scale = np.cos(x[0])

    def inner(v, power=2):
        return scale * v**power

    table = {k: inner(x[k], power=k + 1) for k in range(3)}
    return table[0] + table[1] * table[2]


class Model:
    rate = 0.5

    def __init__(self, offset):
        self.offset = offset

    def energy(self, x):
        return np.sum((x + self.offset) ** 2) * self.rate + self.twist(x)

    @staticmethod
    def twist(x):
        return x[0] * x[1]

    @classmethod
    def of_class(cls, x):
        return cls.rate * np.sum(np.sin(x))

    def __call__(self, x):
        return self.energy(x) * 2.0

    @property
    def doubled(self):
        return lambda x: 2.0 * self.energy(x)


def loops(x):
    total = 0.0
    y = x
    for k in range(3):
        y = np.sin(y) + k
        total += np.sum(y) * x[k]
    return total


def writes(x):
    out = np.zeros((3, 2))
    for i in range(3):
        out[i, 0] = x[i] ** 2
        out[i, 1] = out[i, 0] * x[0]
    out[1] += x[2]
    return np.sum(out * out)


def writes_into_copies(x):
    first, second, third = x.copy(), np.copy(x), np.array(x)
    first[0] = x[1] * 2.0
    second[1:] *= x[0]
    third[-1] += 1.0
    wide = np.outer(x, x).flatten()
    wide[4] = first[0]
    return np.sum(first * second * third) + wide @ wide


def scalars_and_math(x):
    a, b, c = x
    return math.sin(a) * math.exp(b) + math.sqrt(c) ** 3


def unpacking(x):
    first, *rest = x
    (a, b), c = rest, first
    return a * b + (d := c * a) * d


def generators(x):
    def steps():
        y = x[0]
        for v in x[1:]:
            y = y * v + 1.0
            yield y

    return sum(steps())


def plain_math(x):
    """What the complex step can follow of `scalars_and_math`."""
    a, b, c = x
    return np.sin(a) * np.exp(b) + np.sqrt(c) ** 3


MODELS: dict[str, tuple[Any, Any]] = {
    f.__name__: (f, f)
    for f in (
        vectors,
        matrices,
        comprehension,
        with_helpers,
        closures,
        loops,
        unpacking,
        generators,
    )
}
MODELS |= {
    "writes": (writes, None),
    "writes into copies": (writes_into_copies, None),
    "math": (scalars_and_math, plain_math),
    "method": (Model(0.25).energy, Model(0.25).energy),
    "static method": (Model.twist, Model.twist),
    "class method": (Model.of_class, Model.of_class),
    "callable object": (Model(0.25), Model(0.25)),
    "property": (Model(0.25).doubled, Model(0.25).doubled),
    "partial": (
        functools.partial(helper_of := lambda k, x: np.sum(x**k), 3),
        functools.partial(helper_of, 3),
    ),
    "lambda": (lambda x: x[0] * np.exp(x[1]), lambda x: x[0] * np.exp(x[1])),
    "lambda with default": (lambda x, k=2.0: np.sum(x) ** k, lambda x, k=2.0: np.sum(x) ** k),
}
POINT = np.array([0.6, -0.4, 1.3])


def expected_gradient(name):
    f, analytic = MODELS[name]
    return complex_step(analytic, POINT) if analytic is not None else differences(f, POINT)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_on_arrays(name):
    f = MODELS[name][0]
    value, bar = gg.value_and_grad(f)(POINT)
    assert value == pytest.approx(f(POINT), rel=1e-13)
    tolerance = 1e-6 if MODELS[name][1] is None else 1e-12
    np.testing.assert_allclose(bar, expected_gradient(name), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(gg.grad(f)(POINT), bar, rtol=1e-15)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_compiled(name, target):
    f = MODELS[name][0]
    value, bar = gg.compile(gg.value_and_grad(f), "f64[3]", target=target)(POINT)
    assert value == pytest.approx(f(POINT), rel=1e-13)
    tolerance = 1e-6 if MODELS[name][1] is None else 1e-12
    np.testing.assert_allclose(bar, expected_gradient(name), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_second_order_on_arrays(name):
    f = MODELS[name][0]
    v = np.array([1.0, -2.0, 0.5])
    gradient = gg.grad(f)
    wanted = (gradient(POINT + 1e-5 * v) - gradient(POINT - 1e-5 * v)) / 2e-5
    found = {
        "hvp": gg.hvp(f)(POINT, v),
        "jvp of grad": gg.jvp(gg.grad(f))(POINT, v)[1],
        "vjp of grad": gg.vjp(gg.grad(f))(POINT, v)[1],
        "grad of directional": gg.grad(lambda x: gg.jvp(f)(x, v)[1])(POINT),
        "grad of dot": gg.grad(lambda x: gg.grad(f)(x) @ v)(POINT),
    }
    for way, bar in found.items():
        np.testing.assert_allclose(bar, wanted, rtol=1e-6, atol=1e-7, err_msg=way)
        np.testing.assert_allclose(bar, found["hvp"], rtol=1e-10, atol=1e-12, err_msg=way)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["vectors", "with_helpers", "closures", "writes", "method"])
def test_second_order_compiled(name, target):
    f = MODELS[name][0]
    v = np.array([1.0, -2.0, 0.5])
    wanted = gg.hvp(f)(POINT, v)
    for made in (
        gg.hvp(f),
        lambda x, v: gg.jvp(gg.grad(f))(x, v)[1],
        lambda x, v: gg.grad(lambda a: gg.grad(f)(a) @ v)(x),
    ):
        fn = gg.compile(made, "f64[3]", "f64[3]", target=target)
        np.testing.assert_allclose(fn(POINT, v), wanted, rtol=1e-10, atol=1e-12)


# -- nesting and closing over
def test_scalars_to_the_fourth_order():
    f = np.sin
    for k, wanted in enumerate((np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin)):
        f = gg.grad(f)
        assert f(0.7) == pytest.approx(wanted(0.7)), k


@pytest.mark.parametrize("target", TARGETS)
def test_no_perturbation_confusion(target):
    def f(x):
        return x * gg.grad(lambda y: x * y)(2.0)  # x * x, not x * (x + 2)

    assert gg.grad(f)(3.0) == 6.0
    assert gg.compile(gg.value_and_grad(f), "f64[]", target=target)(3.0) == (9.0, 6.0)

    def g(x):
        return gg.jvp(lambda y: y * gg.jvp(lambda z: z * y * x, 0)(x, 1.0)[1], 0)(x, 1.0)[1]

    # inner: y*x; times y: x*y*y; derivative in y at y=x: 2*x*x
    assert g(3.0) == pytest.approx(18.0)
    assert gg.compile(gg.grad(g), "f64[]", target=target)(3.0) == pytest.approx(12.0)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_closed_over_traced_values(target):
    def step(w, X, y):
        def loss(v):
            r = X @ v - y  # X and y belong to the outer trace
            return np.mean(r * r)

        return w - 0.1 * gg.grad(loss)(w)

    def unrolled(w, X, y):
        for _ in range(3):
            w = step(w, X, y)
        return np.sum((X @ w - y) ** 2)

    rng = np.random.default_rng(2)
    w, X, y = rng.normal(size=2), rng.normal(size=(4, 2)), rng.normal(size=4)
    fn = gg.compile(
        gg.value_and_grad(unrolled, wrt=("w", "X")), "f64[d]", "f64[n,d]", "f64[n]", target=target
    )
    value, (w_bar, X_bar) = fn(w, X, y)
    assert value == pytest.approx(unrolled(w, X, y))
    np.testing.assert_allclose(
        w_bar, differences(lambda v: unrolled(v, X, y), w), rtol=1e-6, atol=1e-8
    )
    np.testing.assert_allclose(
        X_bar, differences(lambda v: unrolled(w, v, y), X), rtol=1e-6, atol=1e-8
    )
    np.testing.assert_allclose(gg.grad(unrolled, "X")(w, X, y), X_bar, rtol=1e-12)


def test_a_gradient_inside_a_traced_function_is_statements():
    def physics(q):
        force = -gg.grad(lambda x: 0.5 * np.sum(x * x) + np.sum(np.cos(x)))(q)
        return force

    fn = gg.compile(physics, "f64[n]")
    q = np.array([0.3, -1.0])
    np.testing.assert_allclose(fn(q), -(q - np.sin(q)))


# -- vjp and jvp of vector functions
def field(x, A):
    y = np.tanh(A @ x)
    return y * x[0], {"norm": np.sum(y * y)}


@pytest.mark.parametrize("target", ["arrays", *ARRAY_TARGETS])
def test_vjp_and_jvp_are_adjoint(target):
    rng = np.random.default_rng(4)
    x, A = rng.normal(size=3), rng.normal(size=(2, 3))
    x_dot, A_dot = rng.normal(size=3), rng.normal(size=(2, 3))
    y_bar = (rng.normal(size=2), {"norm": 0.7})
    backwards, forwards = gg.vjp(field, wrt=("x", "A")), gg.jvp(field, wrt=("x", "A"))
    if target != "arrays":
        specs = ("f64[d]", "f64[m,d]")
        backwards = gg.compile(backwards, *specs, ("f64[m]", {"norm": "f64[]"}), target=target)
        forwards = gg.compile(forwards, *specs, ("f64[d]", "f64[m,d]"), target=target)
    y, (x_bar, A_bar) = backwards(x, A, y_bar)
    same, (y_dot, more) = forwards(x, A, (x_dot, A_dot))
    np.testing.assert_allclose(y[0], field(x, A)[0])
    np.testing.assert_allclose(same[1]["norm"], field(x, A)[1]["norm"])
    left = y_bar[0] @ y_dot + y_bar[1]["norm"] * more["norm"]
    right = np.sum(x_bar * x_dot) + np.sum(A_bar * A_dot)
    assert left == pytest.approx(right, rel=1e-12)
    h = 1e-6
    numeric = (field(x + h * x_dot, A + h * A_dot)[0] - field(x - h * x_dot, A - h * A_dot)[0]) / (
        2 * h
    )
    np.testing.assert_allclose(y_dot, numeric, rtol=1e-7, atol=1e-8)


# -- wrt
def several(w, p, k, y):
    return np.sum(w) * p["Q"][0] * k + p["r"] ** 2 * y


VALUES = (np.array([1.0, 2.0]), {"Q": [3.0, 5.0], "r": 7.0}, 2, 11.0)
GRADIENTS = {
    "w": np.array([6.0, 6.0]),
    "p": {"Q": [6.0, 0.0], "r": 154.0},
    "p.Q": [6.0, 0.0],
    "p.Q.0": 6.0,
    "p.r": 154.0,
    "y": 49.0,
}
WRT = [
    ("w", "w"),
    (0, "w"),
    (-1, "y"),
    (3, "y"),
    ("p", "p"),
    (1, "p"),
    ("p.Q", "p.Q"),
    ("p.Q.0", "p.Q.0"),
    ("p.r", "p.r"),
    (("w",), ("w",)),
    (["y", "w"], ("y", "w")),
    ((0, "y", "p.r"), ("w", "y", "p.r")),
    (("w", "w"), ("w", "w")),
    (("p", "p.r"), ("p", "p.r")),
]


def same(found, wanted):
    if isinstance(wanted, dict):
        return set(found) == set(wanted) and all(same(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, (list, tuple)):
        return (
            type(found) is type(wanted)
            and all(map(same, found, wanted))
            and len(found) == len(wanted)
        )
    return np.allclose(found, wanted)


@pytest.mark.parametrize("target", ["arrays", *TARGETS])
@pytest.mark.parametrize(("wrt", "keys"), WRT, ids=[str(row[0]) for row in WRT])
def test_forms_of_wrt(wrt, keys, target):
    f = gg.grad(several, wrt)
    if target != "arrays":
        f = gg.compile(
            f,
            "f64[2]",
            {"Q": ["f64[]", "f64[]"], "r": "f64[]"},
            gg.static(2),
            "f64[]",
            target=target,
        )
        found = f(VALUES[0], VALUES[1], VALUES[3])
    else:
        found = f(*VALUES)
    wanted = GRADIENTS[keys] if isinstance(keys, str) else tuple(GRADIENTS[k] for k in keys)
    assert same(found, wanted), found


def test_calls_by_name_on_arrays():
    assert gg.grad(lambda a, b: a * b, wrt="b")(b=2.0, a=3.0) == 3.0
    assert gg.grad(lambda a, b=4.0: a * b)(a=3.0) == 4.0


def test_an_unused_argument_has_a_zero_gradient():
    f = gg.grad(lambda x, y: np.sum(x), wrt=("x", "y"))
    for made in (f, gg.compile(f, "f64[2]", "f32[3,1]")):
        x_bar, y_bar = made(np.ones(2), np.ones((3, 1), np.float32))
        np.testing.assert_array_equal(x_bar, [1.0, 1.0])
        assert y_bar.shape == (3, 1) and y_bar.dtype == np.float32 and not y_bar.any()


def test_cotangents_and_tangents_of_structures_are_matched_by_key():
    """In whatever order their keys were entered; other keys are refused, by path."""

    def f(p):
        return {"a": 2.0 * p["u"], "b": 3.0 * p["v"]}

    p = {"u": 1.0, "v": 1.0}
    back, ahead = gg.vjp(f), gg.jvp(f)
    assert back(p, {"b": 1.0, "a": 0.0})[1] == {"u": 0.0, "v": 3.0}
    assert ahead(p, {"v": 0.0, "u": 1.0})[1] == {"a": 2.0, "b": 0.0}
    with pytest.raises(
        gg.ShapeError, match=r"vjp needs y_bar to be dict\(a: \*, b: \*\), got dict\(a, c\)"
    ):
        back(p, {"a": 1.0, "c": 1.0})
    with pytest.raises(gg.ShapeError, match=r"jvp needs x_dot to be .*, got dict\(u\)"):
        ahead(p, {"u": 1.0})
    along = gg.hvp(lambda p: p["u"] * p["v"])
    assert along(p, {"v": 5.0, "u": 7.0}) == {"u": 5.0, "v": 7.0}
    with pytest.raises(gg.ShapeError, match=r"hvp needs v to be .*, got float"):
        along(p, 1.0)


def test_one_array_twice():
    f = gg.grad(lambda x, y: x @ y, wrt=(0, 1))
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(f(x, x), [x, x])
    np.testing.assert_array_equal(gg.grad(lambda x: x @ x)(x), 2 * x)


def test_helpers_of_another_module_of_the_users(tmp_path, monkeypatch):
    (tmp_path / "their_model.py").write_text(
        "import numpy as np\n\n\ndef total(parts):\n    out = np.zeros(len(parts))\n"
        "    for k, part in enumerate(parts):\n        out[k] = part * part\n    return np.sum(out)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__("their_model")
    try:
        fn = gg.compile(gg.grad(lambda x: module.total([x[0], 2.0 * x[1]])), "f64[2]")
        np.testing.assert_allclose(fn(np.array([1.0, 3.0])), [2.0, 24.0])
        assert "their_model.py:7" in fn.source
    finally:
        sys.modules.pop("their_model", None)


def test_functions_without_source_still_trace():
    space: dict[str, Any] = {"np": np}
    exec("def f(x):\n    y = np.sin(x) * x\n    return np.sum(y[1:])\n", space)
    np.testing.assert_allclose(gg.grad(space["f"])(POINT), complex_step(space["f"], POINT))
    assert isinstance(space["f"], types.FunctionType)


# -- gg.Value, like micrograd
def test_micrograds_expression():
    a, b = gg.Value(-4.0), gg.Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    g.backward()
    assert f"{g.data:.4f} {a.grad:.4f} {b.grad:.4f}" == "24.7041 138.8338 645.5773"


def test_reuse_accumulates():
    a = gg.Value(3.0)
    b = a + a
    (b * a).backward()
    assert a.grad == 12.0 and b.grad == 3.0


def test_a_second_backward_accumulates_until_grad_is_reset():
    a = gg.Value(2.0)
    y = a * a
    assert a.grad == 0.0
    y.backward()
    assert a.grad == 4.0
    y.backward()
    assert a.grad == 8.0
    a.grad = 0.0
    (a * 3.0).backward()
    assert a.grad == 3.0


def test_rebinding_leaves_the_first_value_alone():
    a = gg.Value(2.0)
    first = a
    a += 1.0
    assert a is not first and first.data == 2.0 and a.data == 3.0
    a *= a
    a -= 1
    a /= 2
    a **= 2
    a.backward()
    assert a.data == 16.0
    assert first.grad == pytest.approx(2 * 4.0 * 0.5 * 2 * 3.0)


REFLECTED = [
    (lambda v: 3.0 + v, 1.0),
    (lambda v: 3.0 - v, -1.0),
    (lambda v: 3.0 * v, 3.0),
    (lambda v: 3.0 / v, -0.75),
    (lambda v: 3.0**v, 9.0 * np.log(3.0)),
    (lambda v: -v, -1.0),
    (lambda v: +v, 1.0),
    (lambda v: abs(-v), 1.0),
    (lambda v: np.float64(3.0) * v, 3.0),
    (lambda v: np.float64(3.0) - v, -1.0),
    (lambda v: np.array(3.0) / v, -0.75),
    (lambda v: np.sum(np.array([1.0, 2.0]) * v), 3.0),
    (lambda v: v // 1.5 + v, 1.0),
    (lambda v: v % 1.5, 1.0),
    (lambda v: 7.0 % v, -3.0),
    (lambda v: True * v, 1.0),
]


@pytest.mark.parametrize("k", range(len(REFLECTED)))
def test_operators_of_eager_values(k):
    f, wanted = REFLECTED[k]
    v = gg.Value(2.0)
    y = f(v)
    assert isinstance(y, gg.Value) and y.data == pytest.approx(f(2.0))
    y.backward()
    assert v.grad == pytest.approx(wanted)


def test_eager_arrays():
    w = gg.Value(np.array([[1.0, 2.0], [3.0, 4.0]]), label="w")
    x = np.array([1.0, -1.0])
    loss = np.sum(np.tanh(w @ x) ** 2)
    loss.backward()
    np.testing.assert_allclose(w.grad, complex_step(lambda a: np.sum(np.tanh(a @ x) ** 2), w.data))
    assert w.grad.shape == w.shape == (2, 2) and w.label == "w"
    w.data = w.data - 0.1 * w.grad
    assert w.data[0, 0] != 1.0
    (w.T @ x).backward(np.array([1.0, 0.0]))
    rows = list(iter(w))
    assert len(rows) == 2 and rows[0].shape == (2,)


def test_values_are_their_own_keys_and_print():
    a, b = gg.Value(1.0), gg.Value(1.0)
    assert len({a, b}) == 2 and a in {a: 1}
    assert f"{a:.2f}" == "1.00" and "data=1.0" in repr(a)
    c = a * b
    assert c._prev == {a, b} and c._op == "*"
    assert gg.Value(3).data == 3.0 and isinstance(gg.Value(3).data, float)


def test_a_deep_chain_does_not_recurse():
    x = gg.Value(1.0)
    y = x
    for _ in range(30_000):
        y = y * 0.9999 + 0.0001
    y.backward()
    assert x.grad == pytest.approx(0.9999**30_000)


def test_comparisons_branch_on_eager_values():
    a = gg.Value(2.0)
    y = a * 3.0 if a > 1.0 else a
    y.backward()
    assert a.grad == 3.0


def test_the_trace_of_a_batched_derivative_is_the_batched_function():
    """Its arguments are batches: the function alone would not take them."""

    def f(x, scale):
        return np.sum(np.array([0.1, 0.2]) * x[0]) * scale

    jvp = gg.jvp(gg.vmap(gg.value_and_grad(f), (0, None)), wrt="x")
    fn = gg.compile(jvp, "f64[b,n]", "f64[]", "f64[b,n]")
    shown = fn.show("trace")
    assert "f64[b, n]" in shown and "x_dot" not in shown
