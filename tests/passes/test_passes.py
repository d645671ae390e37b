"""The passes over the array IR: each rewrite on awkward numbers against the form before it, names, verification, linearity.

Exact rules give the same bits for nan, infinities and -0.0 (but for the sign of a zero where the rule says so); rules that
round, equal numbers. Linear means operations counted at two sizes, never seconds.
"""

from __future__ import annotations

import itertools
import os
import sys

import mpmath as mp
import numpy as np
import pytest

import gradgen as gg
from gradgen.cse import cse
from gradgen.differentiate.canonicalise import canonicalise
from gradgen.differentiate.reverse import reverse
from gradgen.engine import interpret
from gradgen.errors import GradgenError
from gradgen.ir import OPS, PARAM, Function, verify
from gradgen.passes import PASSES, optimise
from gradgen.passes.captures import lift_captures
from gradgen.passes.dce import dce
from gradgen.passes.simplify import simplify
from gradgen.trace.stage import stage
from gradgen.types import Type
from gradgen.value import NO_PARAMS, Trace, apply, new_node

inf, nan = np.inf, np.nan
AWKWARD = [nan, inf, -inf, 0.0, -0.0, 1.0, -2.5, 1e300, 5e-324, 0.3]
PAIRS = np.array(list(itertools.product(AWKWARD, AWKWARD))).T
rng = np.random.default_rng(0)
X = np.concatenate([PAIRS[0], rng.normal(size=40)])
Y = np.concatenate([PAIRS[1], rng.normal(size=40)])


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def traced(f, *specs, name="f"):
    """The Function of f at types given as text."""
    types = [
        Type.of(s.split("[")[0], tuple(map(int, filter(None, s.split("[")[1][:-1].split(",")))))
        for s in specs
    ]
    names = "xyzuv"[: len(types)]
    values = []
    for ty, label in zip(types, names, strict=True):
        value = new_node(PARAM, (), NO_PARAMS, ty, None, None)
        value.name = label
        values.append(value)
    return stage(f, values, list(names), name).function


def adjoint(fn):
    """The same statements as differentiation would have made them: their sites say so."""
    for node in fn.body:
        node.site = ("test", 1, "reverse")
    return fn


def bits(x):
    """Bit patterns; every nan is the same nan."""
    x = np.asarray(x, np.float64)
    return np.where(np.isnan(x), np.float64(nan), x).view(np.int64)


# name, f, what the rule promises: exact, zero (but for the sign of a zero), rounding
n = f"f64[{X.size}]"
RULES = [
    ("a + -b", lambda x, y: x + -y, "exact", "sub"),
    ("-a + b", lambda x, y: -x + y, "exact", "sub"),
    ("a - -b", lambda x, y: x - -y, "exact", "add"),
    ("x - 0", lambda x, y: x - 0.0, "exact", None),
    ("x + 0 is kept", lambda x, y: x + 0.0, "exact", "add"),
    ("x * 0 is kept", lambda x, y: x * 0.0, "exact", "mul"),
    ("1 * x", lambda x, y: 1.0 * x, "exact", None),
    ("x * 1", lambda x, y: x * 1.0, "exact", None),
    ("-1 * x", lambda x, y: -1.0 * x, "exact", "neg"),
    ("-a * -b", lambda x, y: -x * -y, "exact", "mul"),
    ("-a * b", lambda x, y: -x * y, "exact", "neg"),
    ("a * -b", lambda x, y: x * -y, "exact", "neg"),
    ("x / 1", lambda x, y: x / 1.0, "exact", None),
    ("-a / b", lambda x, y: -x / y, "exact", "neg"),
    ("--x", lambda x, y: np.negative(-x), "exact", None),
    ("y * (1 / x)", lambda x, y: y * (1.0 / x), "range", "div"),
    ("y * reciprocal", lambda x, y: y * np.reciprocal(x), "range", "div"),
    ("2 * (3 * x)", lambda x, y: 2.0 * (3.0 * x), "range", "mul"),
    ("0.5 * (2 * x)", lambda x, y: 0.5 * (2.0 * x), "range", None),
    ("x[0] * (2 * y)", lambda x, y: np.abs(x[45]) * (2.0 * np.tanh(y)), "range", "mul"),
    ("2 * (3 / x)", lambda x, y: 2.0 * (3.0 / x), "range", "div"),
    ("x - (-3 * y)", lambda x, y: x - -3.0 * y, "exact", "add"),
    ("x + (-3 * y)", lambda x, y: x + -3.0 * y, "exact", "sub"),
    ("-(-3 * x) reshaped", lambda x, y: -(-3.0 * x).reshape(4, -1), "exact", "mul"),
    ("x + x", lambda x, y: x + x, "exact", "mul"),
    ("2*x + 3*x", lambda x, y: 2.0 * x + 3.0 * x, "range", "mul"),
    ("2*x - 3*x is kept", lambda x, y: 2.0 * x + -3.0 * x, "exact", "sub"),
    ("-2*x - 3*x", lambda x, y: -(2.0 * x) - 3.0 * x, "range", "neg"),
    ("y + 2*x + 2*x", lambda x, y: (y + 2.0 * x) + 2.0 * x, "range", "add"),
    ("2 * (y * (3 * x))", lambda x, y: 2.0 * (y * (3.0 * x)), "range", "mul"),
    ("(0.5 * y) * (2 * x)", lambda x, y: (0.5 * y) * (2.0 * x), "range", "mul"),
    ("2*x + 2*y", lambda x, y: 2.0 * x + 2.0 * y, "range", "mul"),
    ("x/3 - y/3", lambda x, y: x / 3.0 - y / 3.0, "rounding", "div"),
    ("where(c, a, a)", lambda x, y: np.where(x > y, x, x), "exact", None),
    ("where(True, a, b)", lambda x, y: np.where(True, x, y), "exact", None),
    ("where(False, a, b)", lambda x, y: np.where(False, x, y), "exact", None),
    ("reshape of reshape", lambda x, y: x.reshape(4, -1).reshape(-1), "exact", None),
    ("transpose of transpose", lambda x, y: x.reshape(4, -1).T.T.reshape(-1), "exact", None),
    ("broadcast of broadcast", lambda x, y: np.broadcast_to(np.broadcast_to(x, (1, X.size)), (2, X.size)), "exact",
     "broadcast"),
    ("broadcast into add", lambda x, y: np.broadcast_to(x[:1], (X.size,)) + y, "exact", "add"),
    ("number into mul", lambda x, y: np.broadcast_to(2.5, (X.size,)) * y, "exact", "mul"),
    ("numbers all through", lambda x, y: np.broadcast_to(x[1], (3,)) * np.broadcast_to(y[1], (3,)), "exact", "broadcast"),
    ("constants", lambda x, y: x * (np.sqrt(np.broadcast_to(4.0, ())) + 1.0), "exact", "mul"),
    ("sum of -x", lambda x, y: np.sum(-x.reshape(4, -1), axis=0), "exact", "neg"),
    ("sum of a number", lambda x, y: np.sum(np.broadcast_to(y[5], (7,))), "rounding", None),
]  # fmt: skip


def agree(got, want, promise):
    if promise == "exact":
        np.testing.assert_array_equal(bits(got), bits(want))
    elif promise == "zero":
        np.testing.assert_array_equal(got, want)
    elif promise == "rounding":
        np.testing.assert_allclose(got, want, rtol=1e-14)
    else:  # equal where nothing over- or underflows on the way
        ordinary = (
            np.isfinite(want) & (np.abs(want) < 1e290) & ((np.abs(want) > 1e-290) | (want == 0))
        )
        np.testing.assert_allclose(got[ordinary], want[ordinary], rtol=1e-13)


@pytest.mark.parametrize(("name", "f", "promise", "last"), RULES, ids=[r[0] for r in RULES])
def test_simplify(name, f, promise, last):
    fn = traced(f, n, n)
    simple = dce(simplify(fn))
    verify(simple)
    (want,), (got,) = interpret(fn, [X, Y]), interpret(simple, [X, Y])
    assert len(simple.body) <= len(fn.body)
    if promise == "range":
        keep = (
            (np.abs(X) < 1e290) & (np.abs(Y) < 1e290) & (np.abs(X) > 1e-290) & (np.abs(Y) > 1e-290)
        )
        got, want = got[keep], want[keep]
    agree(got, want, promise)
    if (last is not None and last not in ("add", "mul")) or "kept" in name:
        assert last in [node.op.name for node in simple.body], str(simple)
    if last is None:
        assert len(simple.body) < len(fn.body), str(simple)


@pytest.mark.parametrize("c", [2.0, 0.1])
def test_a_wider_number_times_an_array_of_singles(c):
    """The product is of doubles in every target; NumPy takes a Python number for a single."""
    x, y = np.float32([0.1, 0.7]), np.array([0.3, 0.4])
    for target in ("numpy", "c"):
        fn = gg.compile(
            gg.grad(lambda x, y: c * np.sum(x * y), (0, 1)), "f32[n]", "f64[n]", target=target
        )
        x_bar, y_bar = fn(x, y)
        assert (x_bar.dtype, y_bar.dtype) == (np.float32, np.float64)
        np.testing.assert_allclose(y_bar, c * x.astype(float), rtol=1e-15)
        value, (bar, s_bar) = gg.compile(
            gg.value_and_grad(lambda x, s: np.sum(x * s), (0, 1)), "f32[n]", "f64[]", target=target
        )(x, 0.1)
        assert value == pytest.approx(0.1 * float(x[0]) + 0.1 * float(x[1]), rel=1e-15)
        assert (
            s_bar == pytest.approx(float(x[0]) + float(x[1]), rel=1e-15) and bar.dtype == np.float32
        )


# Rules that hold for cotangents alone: the sign of a zero there says nothing.
ADJOINT = [
    ("0 + y", lambda x, y: 0.0 + y),
    ("0 - y", lambda x, y: 0.0 - y),
    ("mulz(2, p)", lambda x, y: apply(OPS["mulz"], 2.0, y)),
    ("mulz(0, p)", lambda x, y: apply(OPS["mulz"], 0.0, y)),
    ("mulz(a, 3)", lambda x, y: apply(OPS["mulz"], x, 3.0)),
    ("mulz(where(c, k, 0), p)", lambda x, y: apply(OPS["mulz"], np.where(x > 0, 2.0, 0.0), y)),
    ("mulz(where(c, 0, k), p)", lambda x, y: apply(OPS["mulz"], np.where(x > 0, 0.0, 2.0), y)),
    ("mulz(a, p) is kept", lambda x, y: apply(OPS["mulz"], x, y)),
    ("zeros[:] += v", lambda x, y: _added(y, slice(None))),
    ("zeros[::-1] += v", lambda x, y: _added(y, slice(None, None, -1))),
    ("zeros[1:] += v", lambda x, y: _added(y[1:], slice(1, None))),
]


def _added(v, index):
    out = np.zeros(X.size)
    out[index] += v
    return out


@pytest.mark.parametrize(("name", "f"), ADJOINT, ids=[r[0] for r in ADJOINT])
def test_simplify_cotangents(name, f):
    fn = adjoint(traced(f, n, n))
    simple = dce(simplify(fn))
    verify(simple)
    (want,), (got,) = interpret(fn, [X, Y]), interpret(simple, [X, Y])
    agree(got, want, "zero")


@pytest.mark.parametrize(("name", "f"), ADJOINT[8:], ids=[r[0] for r in ADJOINT[8:]])
def test_an_accumulator_of_zeros_goes_only_where_all_of_it_is_set_in_order(name, f):
    add = lambda x, y: gg.vjp(lambda v: v[:] if name == "zeros[:] += v" else v[::-1])(x, y)[1]
    fn = traced(add, n, n)
    (want,), (got,) = interpret(fn, [X, Y]), interpret(optimise(fn, "readable", check=True), [X, Y])
    agree(got, want, "zero")


def _log_of_softmax(x, y):
    x = x.reshape(4, -1)
    return np.log(np.exp(x) / np.sum(np.exp(x), axis=0))


def _log_of_shifted_softmax(x, y):
    z = x.reshape(4, -1) - np.max(x.reshape(4, -1), axis=0)
    e = np.exp(z)
    return np.log(e / e.sum(axis=0, keepdims=True))


# before, domain; the form after is never less accurate, and equal where the plain form is accurate
CANONICAL = [
    ("log(1+exp(x))", lambda x, y: np.log(1.0 + np.exp(x)), "softplus"),
    ("log(exp(x)+1)", lambda x, y: np.log(np.exp(x) + 1), "softplus"),
    ("log1p(exp(x))", lambda x, y: np.log1p(np.exp(x)), "softplus"),
    ("log(1+x)", lambda x, y: np.log(1.0 + x), "log1p"),
    ("sqrt(x*x)", lambda x, y: np.sqrt(x * x), "abs"),
    ("sqrt(x**2)", lambda x, y: np.sqrt(x**2), "abs"),
    ("sqrt(x*x+y*y)", lambda x, y: np.sqrt(x * x + y * y), "root"),
    ("sqrt(sum(x*x))", lambda x, y: np.sqrt(np.sum(x * x)), "root"),
    ("sqrt(mean(x*x))", lambda x, y: np.sqrt(np.mean(np.square(x))), "root"),
    (
        "log(sum(exp(x)))",
        lambda x, y: np.log(np.sum(np.exp(x.reshape(4, -1)), axis=0)),
        "logsumexp",
    ),
    ("exp(x)-1", lambda x, y: np.exp(x) - 1.0, "expm1"),
    ("log(exp(x)+exp(y))", lambda x, y: np.log(np.exp(x) + np.exp(y)), "logaddexp"),
    ("1-tanh(x)**2", lambda x, y: 1.0 - np.tanh(x) ** 2, "sech2"),
    ("1-tanh(x)*tanh(x)", lambda x, y: 1.0 - np.tanh(x) * np.tanh(x), "sech2"),
    ("sqrt(x@x)", lambda x, y: np.sqrt((x - y) @ (x - y)) + 0.0 * x, "root"),
    ("sqrt(x*x+y*y+...)", lambda x, y: np.sqrt(x * x + y * y / 2.0 + 3.0 * (x * y) ** 2), "root"),
    ("x/sqrt(x*x+y*y)", lambda x, y: x / np.sqrt(x * x + y * y), "direction"),
    ("x/sqrt(y**2+x**2)", lambda x, y: x / np.sqrt(y**2 + x**2), "direction"),
    ("x/sqrt(x*x+c)", lambda x, y: x / np.sqrt(x * x + 2.0), "direction"),
    ("log(softmax(x))", _log_of_softmax, "logsumexp"),
    ("log(softmax(x-max))", _log_of_shifted_softmax, "logsumexp"),
    ("norm(x)**2", lambda x, y: np.linalg.norm(x.reshape(4, -1), axis=0) ** 2, "sum"),
    ("abs(x)**2", lambda x, y: np.abs(x) ** 2, "square"),
    ("1/(1+exp(-x))", lambda x, y: 1.0 / (1.0 + np.exp(-x)), "sigmoid"),
    ("1/(1+exp(x))", lambda x, y: (1.0 + np.exp(x)) ** -1, "sigmoid"),
    ("y/(1+exp(-x))", lambda x, y: y / (1.0 + np.exp(-x)), "sigmoid"),
    ("exp(x)/(1+exp(x))", lambda x, y: np.exp(x) / (1.0 + np.exp(x)), "sigmoid"),
    ("exp(x)/(1+exp(x))**2", lambda x, y: np.exp(x) / (1.0 + np.exp(x)) ** 2, "sigmoid"),
    ("1-1/(1+exp(-x))", lambda x, y: 1.0 - 1.0 / (1.0 + np.exp(-x)), "sigmoid"),
    ("log(1/(1+exp(-x)))", lambda x, y: np.log(1.0 / (1.0 + np.exp(-x))), "softplus"),
    ("log(1-1/(1+exp(-x)))", lambda x, y: np.log(1.0 - 1.0 / (1.0 + np.exp(-x))), "softplus"),
    ("log1p(-1/(1+exp(-x)))", lambda x, y: np.log1p(-1.0 / (1.0 + np.exp(-x))), "softplus"),
]


@pytest.mark.parametrize(("name", "f", "op"), CANONICAL, ids=[r[0] for r in CANONICAL])
def test_canonicalise(name, f, op):
    fn = traced(f, n, n)
    better = dce(canonicalise(fn))
    verify(better)
    assert op in [node.op.name for node in better.body]
    x, y = rng.uniform(-3, 3, (2, X.size))
    np.testing.assert_allclose(
        interpret(better, [x, y])[0], interpret(fn, [x, y])[0], rtol=1e-12, atol=1e-15
    )
    # On awkward numbers: the same kind of number, or a finite one where the plain form overflows or a zero it lost.
    (got,), (want,) = interpret(better, [X, Y]), interpret(fn, [X, Y])
    assert not np.any(np.isnan(got) & ~np.isnan(want))
    usual = np.isfinite(want) & (np.abs(want) > 1e-150) & (np.abs(want) < 1e150)
    np.testing.assert_allclose(got[usual], want[usual], rtol=1e-7)


# The functions in mpmath, of one column of four x and y: what the first row (or the only one) of the result is.
EXACT = {
    "log(1+exp(x))": lambda x, y: mp.log1p(mp.exp(x[0])),
    "log1p(exp(x))": lambda x, y: mp.log1p(mp.exp(x[0])),
    "log(1+x)": lambda x, y: mp.log1p(x[0]) if x[0] > -1 else mp.nan,
    "sqrt(x*x)": lambda x, y: abs(x[0]),
    "sqrt(x*x+y*y)": lambda x, y: mp.sqrt(x[0] ** 2 + y[0] ** 2),
    "exp(x)-1": lambda x, y: mp.expm1(x[0]),
    "log(exp(x)+exp(y))": lambda x, y: mp.log(mp.exp(x[0]) + mp.exp(y[0])),
    "1-tanh(x)**2": lambda x, y: mp.sech(x[0]) ** 2,
    "x/sqrt(x*x+y*y)": lambda x, y: x[0] / mp.sqrt(x[0] ** 2 + y[0] ** 2),
    "x/sqrt(x*x+c)": lambda x, y: x[0] / mp.sqrt(x[0] ** 2 + 2),
    "log(sum(exp(x)))": lambda x, y: mp.log(sum(map(mp.exp, x))),
    "log(softmax(x))": lambda x, y: x[0] - mp.log(sum(map(mp.exp, x))),
    "log(softmax(x-max))": lambda x, y: x[0] - mp.log(sum(map(mp.exp, x))),
    "norm(x)**2": lambda x, y: sum(v**2 for v in x),
    "1/(1+exp(-x))": lambda x, y: 1 / (1 + mp.exp(-x[0])),
    "1/(1+exp(x))": lambda x, y: 1 / (1 + mp.exp(x[0])),
    "y/(1+exp(-x))": lambda x, y: y[0] / (1 + mp.exp(-x[0])),
    "exp(x)/(1+exp(x))": lambda x, y: 1 / (1 + mp.exp(-x[0])),
    "exp(x)/(1+exp(x))**2": lambda x, y: mp.exp(x[0]) / (1 + mp.exp(x[0])) ** 2,
    "1-1/(1+exp(-x))": lambda x, y: 1 / (1 + mp.exp(x[0])),
    "log(1/(1+exp(-x)))": lambda x, y: -mp.log1p(mp.exp(-x[0])),
    "log(1-1/(1+exp(-x)))": lambda x, y: -mp.log1p(mp.exp(x[0])),
    "log1p(-1/(1+exp(-x)))": lambda x, y: -mp.log1p(mp.exp(x[0])),
}


@pytest.mark.parametrize("size", [1e-12, 1e-3, 1.0, 30.0, 700.0, 1e150])
@pytest.mark.parametrize("name", EXACT)
def test_a_rewrite_is_never_less_accurate(name, size):
    """Against 400 digits: the error is at most twice that of the plain form, or a few units in the last place."""
    (f,) = [f for title, f, _ in CANONICAL if title == name]
    draw = np.random.default_rng(7)
    x, y = size * draw.normal(size=(2, 4, 30)) * 10.0 ** draw.uniform(-2, 1, (2, 4, 30))
    fn = traced(f, "f64[120]", "f64[120]")
    (plain,) = interpret(fn, [x.ravel(), y.ravel()])
    (got,) = interpret(dce(canonicalise(fn)), [x.ravel(), y.ravel()])
    plain, got = np.ravel(plain)[:30], np.ravel(got)[:30]
    with mp.workdps(400):
        for k in range(30):
            column = [[mp.mpf(float(v)) for v in z[:, k]] for z in (x, y)]
            want = EXACT[name](*column)
            if mp.isnan(want) or mp.mpf(2) ** 1024 < abs(want):
                continue
            error = [
                mp.inf if not np.isfinite(v) else abs(mp.mpf(float(v)) - want)
                for v in (got[k], plain[k])
            ]
            # a softmax near 1 has lost what is below its last place before its logarithm is taken
            floor = mp.mpf(2) ** (-53 if "softmax" in name else -1070)
            assert error[0] <= max(2 * error[1], 1e-15 * abs(want), floor), (x[:, k], y[:, k])


def test_what_looks_alike_is_left_alone():
    for f in (
        lambda x, y: np.log(np.exp(x) + y),
        lambda x, y: np.log(np.exp(x) / np.sum(np.exp(y))),
        lambda x, y: 1.0 - np.tanh(x) * np.tanh(y),
        lambda x, y: 2.0 - np.tanh(x) ** 2,
        lambda x, y: y / np.sqrt(np.square(x) + 1.0),
        lambda x, y: x / np.sqrt(np.square(x) - 1.0),
        lambda x, y: np.log(2.0 + np.exp(x)),
        lambda x, y: np.sqrt(x * y),
        lambda x, y: np.sqrt(np.square(x) - np.square(y)),
        lambda x, y: np.sqrt(np.sum(np.square(x)) * -1.0),
        lambda x, y: np.exp(x) - 2.0,
        lambda x, y: 1.0 / (2.0 + np.exp(x)),
        lambda x, y: np.exp(y) / (1.0 + np.exp(x)) ** 2,
        lambda x, y: 1.0 - np.exp(x),
    ):
        fn = traced(f, "f64[]", "f64[]") if f(1.0, 1.0).ndim == 0 else traced(f, n, n)
        assert [a.op for a in canonicalise(fn).body] == [a.op for a in cse(fn).body]


# -- cse and dce
def test_cse_computes_each_thing_once():
    fn = traced(lambda x, y: np.sin(x * y) + np.sin(y * x) * np.sin(x * y), n, n)
    assert [node.op.name for node in dce(cse(fn)).body] == ["mul", "sin", "mul", "add"]


def test_cse_keeps_what_differs():
    fn = traced(lambda x, y: (x - y) * (y - x) + x[1:2] * x[2:3], n, n)
    assert len(cse(fn).body) == len(fn.body)
    fn = traced(lambda x, y: x * 0.0 + x * -0.0, n, n)  # 0.0 is not -0.0
    assert len(cse(fn).body) == 3
    fn = traced(
        lambda x, y: np.sum(x.reshape(4, -1), axis=0)[0] + np.sum(x.reshape(4, -1), axis=1)[0], n, n
    )
    assert [node.op.name for node in cse(fn).body].count("sum") == 2


def named(x, y):
    hidden = np.sin(x * y)
    best = np.sin(x * y) + 0.0 * hidden
    return best


def test_rewrites_keep_names():
    for level, passes in PASSES.items():
        fn = traced(named, n, n)
        for step in passes:
            fn = step(fn)
        names = {node.name for node in fn.body}
        assert {"hidden", "best"} <= names, (level, names)


def test_cse_gives_the_name_to_the_one_that_stays():
    def f(x, y):
        a = np.exp(x) * 2.0
        wanted = np.exp(x)
        return a + wanted

    fn = dce(cse(traced(f, n, n)))
    assert {node.op.name: node.name for node in fn.body}["exp"] == "wanted"


def test_dce_drops_what_nothing_reads():
    def f(x, y):
        unused = np.exp(x) * np.sin(y)  # noqa: F841
        return x * y

    fn = traced(f, n, n)
    assert len(fn.body) == 4
    assert [node.op.name for node in dce(fn).body] == ["mul"]
    assert dce(dce(fn)).body == dce(fn).body


def test_large_captures_become_inputs():
    table = np.arange(100.0)
    small = np.arange(3.0)
    fn, arrays, lifted = lift_captures(
        traced(lambda x, y: x[:100] * table + small[1] + np.sum(small * x[:3]), n, n)
    )
    verify(fn)
    assert [v.type.shape for v in lifted] == [(100,)]
    assert [a.size for a in arrays.values()][-1] == 100
    assert fn.inputs[-1] is lifted[0]


# -- the verifier
def broken(change):
    fn = optimise(traced(lambda x, y: np.sin(x) * y + x, n, n), "readable")
    change(fn)
    return fn


def swap(fn):
    fn.body[0], fn.body[1] = fn.body[1], fn.body[0]


def retype(fn):
    fn.body[0].type = Type.of("f32", fn.body[0].type.shape)


def forget(fn):
    del fn.body[0]


def twice(fn):
    fn.body.append(fn.body[0])


def reshaped(fn):
    fn.body[-1].type = Type.of("f64", (1,))


def foreign(fn):
    fn.outputs = [traced(lambda x: np.cos(x), n).outputs[0]]


def stranger(fn):
    fn.body[0].args = (new_node(PARAM, (), NO_PARAMS, fn.inputs[0].type, None, None),)


@pytest.mark.parametrize("change", [swap, retype, forget, twice, reshaped, foreign, stranger])
def test_the_verifier_finds(change):
    with pytest.raises(GradgenError, match="internal"):
        verify(broken(change))


def test_the_verifier_names_the_pass():
    def spoil(fn: Function) -> Function:
        return fn.with_body(fn.body[1:], fn.outputs)

    PASSES["spoilt"] = (spoil,)
    try:
        with pytest.raises(GradgenError, match="after spoil"):
            optimise(traced(lambda x, y: np.sin(x) * y, n, n), "spoilt", check=True)
    finally:
        del PASSES["spoilt"]


# -- linearity
def chain_function(count):
    """x -> a chain of `count` scalar statements."""
    with Trace() as trace:
        x = trace.input(Type.of("f64"), "x")
        y = x
        for k in range(count):
            y = apply(
                OPS[("sin", "add", "mul", "neg", "tanh")[k % 5]],
                *((y, x) if k % 5 in (1, 2) else (y,)),
            )
    return trace.function("chain", [y])


class Calls:
    """Python calls made under it: the operations that a pass costs."""

    def __enter__(self):
        self.count = 0
        sys.setprofile(self.note)
        return self

    def note(self, frame, event, arg):
        self.count += event in ("call", "c_call")

    def __exit__(self, *exc):
        sys.setprofile(None)


@pytest.mark.parametrize(
    "step",
    [canonicalise, simplify, cse, dce, verify, lift_captures, lambda fn: reverse(fn, [0], ["one"])],
    ids=["canonicalise", "simplify", "cse", "dce", "verify", "lift_captures", "reverse"],
)
def test_passes_are_linear(step):
    counts = []
    for size in (1_000, 4_000):
        fn = chain_function(size)
        step(fn)  # tables made on first use
        with Calls() as calls:
            step(fn)
        counts.append(calls.count)
    assert counts[1] <= 4.2 * counts[0] + 100


def recursion(x, steps):
    y = x
    for _ in range(steps):
        y = np.sin(y) * 1.01 + 0.001 * x
    return y


def recursion_slope(x, steps):
    y, dy = x, 1.0
    for _ in range(steps):
        y, dy = np.sin(y) * 1.01 + 0.001 * x, np.cos(y) * 1.01 * dy + 0.001
    return y, dy


def check_chain(nodes, target):
    steps = nodes // 4
    fn = gg.compile(gg.value_and_grad(recursion), "f64[]", gg.static(steps), target=target)
    value, slope = fn(0.3)
    want = recursion_slope(0.3, steps)
    assert value == pytest.approx(want[0], rel=1e-12)
    assert slope == pytest.approx(want[1], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["numpy", "python"])
def test_a_chain_of_200_000_nodes(target):
    check_chain(200_000, target)


@pytest.mark.deep
@pytest.mark.skipif(
    not os.environ.get("GRADGEN_DEEP"), reason="2 GB and minutes; set GRADGEN_DEEP=1"
)
@pytest.mark.parametrize("target", ["numpy", "python"])
def test_a_chain_of_1_000_000_nodes(target):
    check_chain(1_000_000, target)
