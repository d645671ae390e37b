"""The workloads of the benchmark, one definition each: the model in plain NumPy, its data, and the same by hand.

A Workload's `model(np)` is the function in terms of a module that looks like NumPy (NumPy itself, JAX's, autograd's, a mask
over torch), so that every contender computes the same thing. `by_hand` is the value and gradient as an expert writes it in
NumPy: the reference that all are compared with. `hand/NAME.c` is the expert's C. `casadi(ca, p, data)` builds the loss from
the flat vector p of what is differentiated.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from bundle import BUNDLE
from sequences import SEQUENCES
from workload import Workload


# -- scalars
def micrograd(np: Any) -> Callable[..., Any]:
    def f(a, b):
        c = a + b
        d = a * b + b**3
        c = c + c + 1.0
        c = c + 1.0 + c - a
        d = d + d * 2.0 + np.maximum(b + a, 0.0)
        d = d + 3.0 * d + np.maximum(b - a, 0.0)
        e = c - d
        f = e**2
        return f / 2.0 + 10.0 / f

    return f


def micrograd_by_hand(a, b):
    up, down = b + a > 0.0, b - a > 0.0
    e = 4.0 * (a + b) + 3.0 - a - (12.0 * (a * b + b**3) + 4.0 * up * (b + a) + down * (b - a))
    f = e * e
    e_bar = (0.5 - 10.0 / (f * f)) * 2.0 * e
    a_bar = e_bar * (3.0 - (12.0 * b + 4.0 * up - down))
    b_bar = e_bar * (4.0 - (12.0 * (a + 3.0 * b * b) + 4.0 * up + down))
    return 0.5 * f + 10.0 / f, a_bar, b_bar


def micrograd_casadi(ca, p, data):
    a, b = p[0], p[1]
    d = 12.0 * (a * b + b**3) + 4.0 * ca.fmax(b + a, 0) + ca.fmax(b - a, 0)
    f = (4.0 * (a + b) + 3.0 - a - d) ** 2
    return f / 2.0 + 10.0 / f


def sin_exp(np: Any) -> Callable[..., Any]:
    def f(x, y):
        return np.sin(x) * np.exp(x * y)

    return f


def sin_exp_by_hand(x, y):
    import math

    e = math.exp(x * y)
    value = math.sin(x) * e
    return value, e * math.cos(x) + value * y, value * x


# -- one vector
def rosenbrock(np: Any) -> Callable[..., Any]:
    def f(x):
        return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    return f


def rosenbrock_by_hand(x):
    """In three arrays: what is not read any more is written over."""
    low = x[:-1]
    r = np.square(low)
    np.subtract(x[1:], r, out=r)
    s = np.subtract(1.0, low)
    value = 100.0 * (r @ r) + s @ s
    r *= 200.0
    x_bar = np.empty_like(x)
    g = np.multiply(r, low, out=x_bar[:-1])
    g += s
    g *= -2.0
    x_bar[-1] = 0.0
    x_bar[1:] += r
    return value, x_bar


def rosenbrock_casadi(ca, p, data):
    n = p.shape[0]
    return ca.sum1(100.0 * (p[1:] - p[: n - 1] ** 2) ** 2 + (1.0 - p[: n - 1]) ** 2)


def rosenbrock_loops(njit):
    @njit
    def f(x):
        n = x.shape[0]
        x_bar = np.zeros(n)
        total = 0.0
        for i in range(n - 1):
            r, s = x[i + 1] - x[i] * x[i], 1.0 - x[i]
            total += 100.0 * r * r + s * s
            x_bar[i] += -400.0 * x[i] * r - 2.0 * s
            x_bar[i + 1] = 200.0 * r
        return total, x_bar

    return f


def rosenbrock_hvp_by_hand(x, v):
    out = np.zeros_like(x)
    out[:-1] = (1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0) * v[:-1] - 400.0 * x[:-1] * v[1:]
    out[1:] += 200.0 * v[1:] - 400.0 * x[:-1] * v[:-1]
    return out


def rosenbrock_hessian_by_hand(x):
    n = x.size
    out = np.zeros((n, n))
    k = np.arange(n - 1)
    out[k, k] = 1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0
    out[k + 1, k + 1] += 200.0
    out[k, k + 1] = out[k + 1, k] = -400.0 * x[:-1]
    return out


def _rosenbrock(n: int) -> Workload:
    many = n > 100_000
    return Workload(
        f"rosenbrock-{n}", rosenbrock, ("f64[n]",), lambda: [np.linspace(-1.0, 1.0, n)], 1, rosenbrock_by_hand,
        None if many else rosenbrock_casadi, hand_c="rosenbrock", numba=rosenbrock_loops, quick=not many,
        skip={"casadi": "a graph of millions of scalars"} if many else {},
    )  # fmt: skip


# -- regression and networks
def logistic(np: Any) -> Callable[..., Any]:
    def f(w, b, X, y):
        z = X @ w + b
        return np.mean(np.logaddexp(0.0, z) - y * z)

    return f


def logistic_by_hand(w, b, X, y):
    z = X @ w + b
    t = np.exp(-np.abs(z))
    value = np.mean(np.maximum(z, 0.0) + np.log1p(t) - y * z)
    r = (np.where(z >= 0.0, 1.0, t) / (1.0 + t) - y) / y.size
    return value, r @ X, r.sum()


def logistic_casadi(ca, p, data):
    XT, y = data
    z = ca.mtimes(XT.T, p[:-1]) + p[-1]
    return ca.sum1(ca.fmax(z, 0) + ca.log1p(ca.exp(-ca.fabs(z))) - y * z) / y.shape[0]


def logistic_loops(njit):
    @njit
    def f(w, b, X, y):
        n, d = X.shape
        w_bar = np.zeros(d)
        total = b_bar = 0.0
        for i in range(n):
            z = b
            for j in range(d):
                z += X[i, j] * w[j]
            t = np.exp(-abs(z))
            total += max(z, 0.0) + np.log1p(t) - y[i] * z
            r = ((1.0 if z >= 0.0 else t) / (1.0 + t) - y[i]) / n
            b_bar += r
            for j in range(d):
                w_bar[j] += r * X[i, j]
        return total / n, w_bar, b_bar

    return f


def logistic_data() -> list[Any]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(10_000, 50))
    return [rng.normal(size=50) / 7.0, 0.1, X, (rng.random(10_000) < 0.5) * 1.0]


ALPHA = 1e-4


def mlp_small(np: Any) -> Callable[..., Any]:
    def f(W1, b1, W2, b2, W3, b3, X, y):
        h = np.maximum(X @ W1 + b1, 0.0)
        h = np.maximum(h @ W2 + b2, 0.0)
        score = h @ W3 + b3
        weights = np.sum(W1**2) + np.sum(b1**2) + np.sum(W2**2) + np.sum(b2**2) + np.sum(W3**2)
        return np.mean(np.maximum(1.0 - y * score, 0.0)) + ALPHA * (weights + b3**2)

    return f


def mlp_small_by_hand(W1, b1, W2, b2, W3, b3, X, y):
    h1 = np.maximum(X @ W1 + b1, 0.0)
    h2 = np.maximum(h1 @ W2 + b2, 0.0)
    margin = 1.0 - y * (h2 @ W3 + b3)
    s = np.where(margin > 0.0, -y, 0.0) / y.size
    g2 = np.where(h2 > 0.0, s[:, None] * W3, 0.0)
    g1 = np.where(h1 > 0.0, g2 @ W2.T, 0.0)
    squares = sum(np.vdot(v, v) for v in (W1, b1, W2, b2, W3)) + b3 * b3
    a = 2.0 * ALPHA
    return (
        np.mean(np.maximum(margin, 0.0)) + ALPHA * squares,
        X.T @ g1 + a * W1, g1.sum(0) + a * b1, h1.T @ g2 + a * W2, g2.sum(0) + a * b2,
        s @ h2 + a * W3, s.sum() + a * b3,
    )  # fmt: skip


def mlp_small_casadi(ca, p, data):
    XT, y = data
    # CasADi is column-major: every matrix is the transpose of ours.
    W1, b1 = ca.reshape(p[:32], 16, 2), p[32:48]
    W2, b2 = ca.reshape(p[48:304], 16, 16), p[304:320]
    W3, b3 = p[320:336], p[336]
    n = y.shape[0]
    h = ca.fmax(ca.mtimes(W1, XT) + ca.repmat(b1, 1, n), 0)
    h = ca.fmax(ca.mtimes(W2, h) + ca.repmat(b2, 1, n), 0)
    score = ca.mtimes(h.T, W3) + b3
    return ca.sum1(ca.fmax(1.0 - y * score, 0)) / n + ALPHA * ca.sumsqr(p)


def mlp_small_data() -> list[Any]:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100, 2))
    y = np.where(X[:, 0] * X[:, 1] > 0.0, 1.0, -1.0)
    shapes = ((2, 16), (16,), (16, 16), (16,), (16,))
    return [*(rng.normal(size=s) / np.sqrt(s[0]) for s in shapes), 0.1, X, y]


def mlp_large(np: Any) -> Callable[..., Any]:
    def f(W1, b1, W2, b2, X, Y):
        h = np.maximum(X @ W1 + b1, 0.0)
        z = h @ W2 + b2
        top = np.max(z, axis=1, keepdims=True)
        total = np.log(np.sum(np.exp(z - top), axis=1)) + top[:, 0]
        return np.mean(total * np.sum(Y, axis=1) - np.sum(Y * z, axis=1))

    return f


def mlp_large_by_hand(W1, b1, W2, b2, X, Y):
    h = np.maximum(X @ W1 + b1, 0.0)
    z = h @ W2 + b2
    z -= z.max(1, keepdims=True)
    e = np.exp(z)
    total = e.sum(1, keepdims=True)
    weight = Y.sum(1, keepdims=True)
    value = np.mean(np.log(total) * weight - (Y * z).sum(1, keepdims=True))
    g2 = (e / total * weight - Y) / len(X)
    g1 = np.where(h > 0.0, g2 @ W2.T, 0.0)
    return value, X.T @ g1, g1.sum(0), h.T @ g2, g2.sum(0)


def mlp_large_casadi(ca, p, data):
    XT, YT = data
    W1, b1 = ca.reshape(p[:100_352], 128, 784), p[100_352:100_480]
    W2, b2 = ca.reshape(p[100_480:101_760], 10, 128), p[101_760:]
    n = XT.shape[1]
    h = ca.fmax(ca.mtimes(W1, XT) + ca.repmat(b1, 1, n), 0)
    z = ca.mtimes(W2, h) + ca.repmat(b2, 1, n)
    return (ca.sum2(ca.log(ca.sum1(ca.exp(z)))) - ca.sum2(ca.sum1(YT * z))) / n


def mlp_large_data() -> list[Any]:
    rng = np.random.default_rng(2)
    W1, W2 = rng.normal(size=(784, 128)) / 28.0, rng.normal(size=(128, 10)) / 11.0
    Y = np.eye(10)[rng.integers(0, 10, 64)]
    return [
        W1,
        rng.normal(size=128) / 10.0,
        W2,
        rng.normal(size=10) / 10.0,
        rng.random((64, 784)),
        Y,
    ]


# -- a graph without structure
def steps(nodes: int) -> list[tuple[int, int, int]]:
    """(op, i, j) of each node over ten inputs: op 0 sine, 1 cosine, 2 product, 3 mean, 4 weighted difference."""
    draw = random.Random(7)
    out = []
    for k in range(10, 10 + nodes):
        first = max(0, k - 50)
        out.append((draw.randrange(5), draw.randrange(first, k), draw.randrange(first, k)))
    return out


def graph(nodes: int) -> Callable[[Any], Callable[..., Any]]:
    def model(np: Any) -> Callable[..., Any]:
        program = steps(nodes)

        def f(x):
            v = [x[k] for k in range(10)]
            for op, i, j in program:
                if op == 0:
                    v.append(np.sin(v[i]))
                elif op == 1:
                    v.append(np.cos(v[i]))
                elif op == 2:
                    v.append(v[i] * v[j])
                elif op == 3:
                    v.append(0.5 * (v[i] + v[j]))
                else:
                    v.append(0.7 * v[i] - 0.3 * v[j])
            return v[-1] + v[-2] + v[-3]

        return f

    return model


def graph_by_hand(nodes: int) -> Callable[[Any], Any]:
    """A tape walked twice."""
    import math

    program = steps(nodes)

    def f(x):
        v = x.tolist()
        for op, i, j in program:
            a, b = v[i], v[j]
            v.append(
                math.sin(a) if op == 0 else math.cos(a) if op == 1 else a * b if op == 2
                else 0.5 * (a + b) if op == 3 else 0.7 * a - 0.3 * b
            )  # fmt: skip
        bar = [0.0] * len(v)
        for k in (-1, -2, -3):
            bar[k] = 1.0
        for k in range(len(program) - 1, -1, -1):
            op, i, j = program[k]
            g = bar[k + 10]
            if op == 0:
                bar[i] += g * math.cos(v[i])
            elif op == 1:
                bar[i] -= g * math.sin(v[i])
            elif op == 2:
                bar[i] += g * v[j]
                bar[j] += g * v[i]
            elif op == 3:
                bar[i] += 0.5 * g
                bar[j] += 0.5 * g
            else:
                bar[i] += 0.7 * g
                bar[j] -= 0.3 * g
        return v[-1] + v[-2] + v[-3], np.array(bar[:10])

    return f


def graph_casadi(nodes: int):
    def build(ca, p, data):
        class Names:
            sin, cos = staticmethod(ca.sin), staticmethod(ca.cos)

        return graph(nodes)(Names)(p)

    return build


def _graph(nodes: int) -> Workload:
    skip = {"jax": "tens of seconds of XLA"} if nodes >= 1000 else {}
    if nodes > 10_000:
        skip |= {
            "casadi-c": "minutes of gcc",
            "torch": "seconds a call",
            "autograd": "seconds a call",
        }
    return Workload(
        f"graph-{nodes}", graph(nodes), ("f64[10]",), lambda: [np.linspace(0.1, 1.0, 10)], 1, graph_by_hand(nodes),
        graph_casadi(nodes), targets=("python", "c"), skip=skip, quick=nodes <= 1000,
    )  # fmt: skip


_SMALL = ("f64[2,16]", "f64[16]", "f64[16,16]", "f64[16]", "f64[16]", "f64[]", "f64[n,2]", "f64[n]")
_LARGE = ("f64[784,128]", "f64[128]", "f64[128,10]", "f64[10]", "f64[64,784]", "f64[64,10]")
TWO = ("f64[]", "f64[]")

WORKLOADS = {
    w.name: w
    for w in (
        Workload(
            "micrograd", micrograd, TWO, lambda: [-4.0, 2.0], 2, micrograd_by_hand, micrograd_casadi,
            targets=("numpy", "python", "c"), hand_c="micrograd", numba=lambda njit: njit(micrograd_by_hand),
        ),
        Workload(
            "sin_exp", sin_exp, TWO, lambda: [0.7, 0.3], 2, sin_exp_by_hand,
            lambda ca, p, data: ca.sin(p[0]) * ca.exp(p[0] * p[1]),
            targets=("numpy", "python", "c"), hand_c="sin_exp",
        ),
        _rosenbrock(10),
        _rosenbrock(1000),
        _rosenbrock(1_000_000),
        Workload(
            "logistic", logistic, ("f64[d]", "f64[]", "f64[n,d]", "f64[n]"), logistic_data, 2, logistic_by_hand,
            logistic_casadi, hand_c="logistic", numba=logistic_loops,
        ),
        Workload(
            "mlp_small", mlp_small, _SMALL, mlp_small_data, 6, mlp_small_by_hand, mlp_small_casadi, hand_c="mlp_small",
        ),
        Workload(
            "mlp_large", mlp_large, _LARGE, mlp_large_data, 4, mlp_large_by_hand, mlp_large_casadi, hand_c="mlp_large",
            skip={"casadi-c": "no blocked product: 14 ms"},
        ),
        Workload(
            "rosenbrock-hvp", rosenbrock, ("f64[50]", "f64[50]"), lambda: [np.linspace(-1.0, 1.0, 50), np.ones(50)], 1,
            rosenbrock_hvp_by_hand, rosenbrock_casadi, derive="hvp", hand_c="rosenbrock_hvp",
        ),
        Workload(
            "rosenbrock-hessian", rosenbrock, ("f64[50]",), lambda: [np.linspace(-1.0, 1.0, 50)], 1,
            rosenbrock_hessian_by_hand, rosenbrock_casadi, derive="hessian", hand_c="rosenbrock_hessian",
        ),
        *SEQUENCES,
        *BUNDLE,
        _graph(1000),
        _graph(10_000),
        _graph(100_000),
    )
}  # fmt: skip
