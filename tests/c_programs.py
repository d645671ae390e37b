"""Programs for the tests of the C path: function, specs, what to differentiate with respect to (None: nothing)."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from scipy import special

import gradgen.ops  # noqa: F401
from gradgen.differentiate.transforms import hvp, value_and_grad
from gradgen.ir import Function
from gradgen.passes import optimise
from gradgen.sizes import evaluate
from gradgen.trace.spec import Leaf, Signature, arguments_of, placeholders
from gradgen.trace.stage import stage

TABLE = np.arange(12.0).reshape(3, 4) / 7.0
CHOICE = np.array([0, 2, -1, 0])


def logistic(w, b, X, y):
    z = X @ w + b
    return np.mean(np.logaddexp(0.0, z) - y * z)


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def network(X, Y, W1, b1, W2, b2):
    hidden = np.tanh(X @ W1 + b1)
    z = hidden @ W2 + b2
    top = np.max(z, axis=1, keepdims=True)
    total = np.log(np.sum(np.exp(z - top), axis=1)) + top[:, 0]
    return np.mean(total - np.sum(Y * z, axis=1))


def scalars(x, y):
    return np.sin(x) * np.exp(x * y) + x / y


def relu_sum(x, w):
    return np.sum(np.maximum(x * w, 0.0) ** 2)


def quadratic(A, x):
    return x @ A @ x + np.sum(A.T @ x)


def columns(A):
    return np.sum(np.sum(A, axis=0) ** 2) + np.sum(np.mean(A, axis=1) ** 3)


def extremes(A):
    return np.sum(np.max(A, axis=0)) + np.sum(np.min(A, axis=1)) * np.max(A)


def products(A):
    return np.sum(np.prod(A, axis=1)) + np.prod(A[0])


def spread(a, b):
    return np.sum(a[:, None] * b[None, :] + np.outer(a, b) ** 2)


def gathered(x, k):
    return np.sum(x[k] ** 2) + np.sum(x[np.array([0, 1, 0])])


def chosen(A):
    return np.sum(A[CHOICE] * A[:, CHOICE].T) + np.sum(TABLE[:, :3] @ A[:3, :3])


def joined(a, b):
    c = np.concatenate([a, b * 2.0, a[:2]])
    return np.sum(np.sin(c) * c[::-1]) + np.sum(np.stack([a, a * a], axis=1) ** 3)


def assigned(x, n):
    out = np.zeros(n)
    out[1:] = x[:-1] * x[1:]
    out[0] = x[0] ** 2
    out[1:-1] += x[2:]
    return np.sum(out**2) / n


def reshaped(A):
    B = A.reshape(-1)
    C = A.T.reshape(-1)
    return np.sum(B * C) + np.sum(B.reshape(A.shape[1], A.shape[0]) ** 2)


def flipped(x):
    return np.sum(x[::-1] * x) + np.sum(x[::2] ** 2)


def masked(x):
    return np.sum(np.where(x > 0.5, np.sqrt(x), x * x)) + np.sum(np.clip(x, 0.3, 0.9))


def batched(A, B):
    return np.sum((A @ B) ** 2)


def normalised(A):
    return np.sum(np.std(A, axis=0)) + np.linalg.norm(A) if hasattr(A, "std") else 0.0


def log_sums(A):
    top = np.logaddexp.reduce(A, axis=1) if isinstance(A, np.ndarray) else _lse(A)
    return np.sum(top**2)


def _lse(A):
    return special.logsumexp(A, axis=1)


def mixed(x, y):
    return np.sum(x * y) + np.mean(x)


def integers(k, m):
    return np.sum(k // m + k % m - k * k) + np.sum((k > m) & (k != 0))


def truths(x, p):
    return np.where(p, x, -x), np.logical_not(p), x > 0.0, np.sum(p)


def same(x):
    return x, x[::-1], x + 0.0, np.zeros(3)


def specials(x):
    return np.sum(special.erf(x) + special.gammaln(x + 1.0) + special.expit(x))


def scaled(x, s):
    y = x * s
    return np.sum(y) * s, y / np.sum(y**2)


def softmax(x):
    e = np.exp(x - np.max(x))
    return np.sum((e / np.sum(e)) ** 2)


def powers(x, p):
    return np.sum(x**3 + x**p + x**-2.0 + x**0.5 + np.cbrt(x))


def means(x):
    return np.sum((x - np.mean(x)) ** 2) / (x.shape[0] - 1 + 2)


def chain(x):
    y = x
    for k in range(300):
        y = np.sin(y) + 0.01 * k * x
    return y


def constant_result(x):
    return np.array([1.0, 2.0, 3.0]), 2.5


def single(x):
    return np.sum(np.exp(-x) * np.log1p(x) / (1.0 + x))


def computed(x, y):
    k = np.floor(x * 2.0).astype(np.int64)
    return np.sum(y[k] ** 2 * x) + np.sum(y[k - 1])


def pairs(A, i, j):
    return np.sum(A[i, j] ** 2) + np.sum(A[:, j] * A[0, j]) + np.sum(A[i][:, 1:] * 3.0)


def where_all(x, y):
    big = np.max(x) > np.min(y)
    return np.where(big, np.sum(x * y), np.mean(x - y)) + np.where(x > y, x, y)[-1]


def deep(A, B):
    return np.sum(np.sum(A * B[:, None, :], axis=(0, 2)) ** 2) + np.sum(
        np.mean(A, axis=1)[::-1] * B
    )


def late(A):
    # The load of B[0, 0] waits for the sum; by then D lies in B's place of the workspace.
    B = A @ A
    first = B[0, 0]
    C = B @ B
    D = C @ C
    return np.sum(D @ D) + first


def flat(A):
    return (A @ A).reshape(-1), (A @ A)[::-1]


def second_differences(x):
    d = x[2:] - 2.0 * x[1:-1] + x[:-2]
    return np.sum(d**2) + np.sum((x[1:] - x[:-1]) ** 4)


def bonds(x, k):
    r = x[1:] - x[:-1]
    return np.sum(k * np.exp(-r) * r) + np.sum(x * x)


def laplace(u):
    lap = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4.0 * u[1:-1, 1:-1]
    return np.sum(lap**2)


def taps(x):
    y = 0.1 * x[:-3] + 0.5 * x[1:-2] + 0.25 * x[2:-1] + x[3:]
    return np.sum(y**2) + np.sum(np.tanh(y))


def matrices(A, B, C):
    D = np.maximum(A @ B + 0.5, 0.0)
    return np.sum((C @ D) ** 2) + np.sum(D.T @ A)


def turns(q, target):
    """Columns of a matrix through sines: column 1 once, column 3 never."""
    x = np.cos(q[:, 0]) + np.cos(q[:, 0] + q[:, 2])
    y = np.sin(q[:, 0]) * q[:, 1]
    return np.sum((x - target[:, 0]) ** 2 + (y - target[:, 1]) ** 2)


def strided(x):
    return np.exp(x[:, 1]) * x[:, 0], np.sin(x[::2, 0])


def filtered(A, b, ys):
    """A reduction of an item of the tape: the forward algorithm of a hidden Markov model."""
    alpha = b
    for y in ys:
        alpha = special.logsumexp(alpha[:, np.newaxis] + A, axis=0) - 0.5 * (y - b) ** 2
    return special.logsumexp(alpha) + np.max(alpha)


def batches(W, Xs):
    """Products of matrices that are items of a stack, one of them transposed."""
    total = 0.0
    for X in Xs:
        total += np.sum(np.tanh(W @ X.T))
    return total


PROGRAMS: list[tuple[Any, tuple[str, ...], Any]] = [
    (logistic, ("f64[d]", "f64[]", "f64[n,d]", "f64[n]"), ("w", "b")),
    (logistic, ("f32[d]", "f32[]", "f32[n,d]", "f32[n]"), ("w", "b", "X")),
    (rosenbrock, ("f64[n]",), 0),
    (rosenbrock, ("f64[5]",), 0),
    (
        network,
        ("f64[n,d]", "f64[n,k]", "f64[d,h]", "f64[h]", "f64[h,k]", "f64[k]"),
        ("W1", "b1", "W2", "b2"),
    ),
    (
        network,
        ("f32[n,4]", "f32[n,3]", "f32[4,5]", "f32[5]", "f32[5,3]", "f32[3]"),
        ("W1", "b1", "W2", "b2", "X"),
    ),
    (filtered, ("f64[n,n]", "f64[n]", "f64[k]"), ("A", "b", "ys")),
    (batches, ("f64[m,d]", "f64[k,n,d]"), ("W", "Xs")),
    (batches, ("f64[33,34]", "f64[2,35,34]"), ("W", "Xs")),
    (scalars, ("f64[]", "f64[]"), ("x", "y")),
    (scalars, ("f32[]", "f32[]"), ("x", "y")),
    (relu_sum, ("f64[n]", "f64[]"), ("x", "w")),
    (quadratic, ("f64[n,n]", "f64[n]"), ("A", "x")),
    (columns, ("f64[n,d]",), 0),
    (extremes, ("f64[n,d]",), 0),
    (products, ("f64[n,d]",), 0),
    (spread, ("f64[n]", "f64[d]"), ("a", "b")),
    (gathered, ("f64[n]", "i64[k]"), 0),
    (chosen, ("f64[4,4]",), 0),
    (joined, ("f64[n]", "f64[d]"), ("a", "b")),
    (assigned, ("f64[n]", "size"), 0),
    (reshaped, ("f64[n,d]",), 0),
    (flipped, ("f64[n]",), 0),
    (masked, ("f64[n]",), 0),
    (batched, ("f64[b,n,d]", "f64[b,d,m]"), ("A", "B")),
    (batched, ("f64[2,n,d]", "f64[d,m]"), ("A", "B")),
    (log_sums, ("f64[n,d]",), 0),
    (mixed, ("f32[n]", "f64[n]"), ("x", "y")),
    (integers, ("i64[n]", "i64[n]"), None),
    (truths, ("f64[n]", "bool[n]"), None),
    (same, ("f64[n]",), None),
    (specials, ("f64[n]",), 0),
    (scaled, ("f64[n]", "f64[]"), None),
    (softmax, ("f64[n]",), 0),
    (powers, ("f64[n]", "f64[]"), ("x", "p")),
    (means, ("f64[n]",), 0),
    (chain, ("f64[]",), 0),
    (chain, ("f64[n]",), None),
    (constant_result, ("f64[]",), None),
    (single, ("f32[n]",), 0),
    (rosenbrock, ("f64[n]",), "hvp"),
    (late, ("f64[n,n]",), None),
    (computed, ("f64[n]", "f64[4]"), ("x", "y")),
    (pairs, ("f64[n,d]", "i64[k]", "i64[k]"), 0),
    (pairs, ("f64[3,3]", "i64[k]", "i64[k]"), 0),
    (where_all, ("f64[n]", "f64[n]"), ("x", "y")),
    (deep, ("f64[n,m,d]", "f64[n,d]"), ("A", "B")),
    (flat, ("f64[n,n]",), None),
    (second_differences, ("f64[n]",), 0),
    (second_differences, ("f64[7]",), 0),
    (bonds, ("f64[n]", "f64[]"), ("x", "k")),
    (laplace, ("f64[n,d]",), 0),
    (matrices, ("f64[n,40]", "f64[40,40]", "f64[2,40,n]"), ("A", "B", "C")),
    (laplace, ("f32[n,5]",), 0),
    (taps, ("f64[n]",), 0),
    (rosenbrock, ("f64[1]",), 0),
    (rosenbrock, ("f32[n]",), 0),
    (turns, ("f64[n,4]", "f64[n,2]"), ("q", "target")),
    (turns, ("f32[n,3]", "f32[n,2]"), "q"),
    (strided, ("f64[n,3]",), None),
]
IDS = [f"{f.__name__}-{','.join(s)}-{w}".replace(" ", "") for f, s, w in PROGRAMS]


def make(
    f: Any, specs: tuple[str, ...], wrt: Any, level: str = "fast"
) -> tuple[Function, Signature]:
    """The optimised Function and its Signature."""
    names = list(inspect.signature(f).parameters)
    if wrt == "hvp":
        derived, extra = hvp(f, 0), ["v"]
        specs = (*specs, specs[0])
    else:
        derived, extra = (f if wrt is None else value_and_grad(f, wrt)), []
    arguments = arguments_of(f if not extra else derived, names + extra, specs, {})
    values = placeholders(arguments)
    if hasattr(derived, "derive"):
        staged = derived.derive(values, names + extra)
    else:
        staged = stage(f, values, names, f.__name__)
    fn = optimise(staged.function, level, check=True, target="c")
    words = (wrt,) if isinstance(wrt, (str, int)) else wrt or ()
    labels = [v.name or f"y{k}" for k, v in enumerate(fn.outputs)]
    if wrt is not None and wrt != "hvp":
        labels = ["value", *(f"{names[w] if isinstance(w, int) else w}_bar" for w in words)]
    labels = [
        label if labels.index(label) == k else f"{label}{k}" for k, label in enumerate(labels)
    ]
    name = f.__name__ if wrt is None else f"{f.__name__}_grad"
    slots = list(range(len(fn.outputs)))
    return fn, Signature(
        name, arguments, staged.result, slots, labels, title=f.__name__, command="none"
    )


def sample(leaf: Leaf, sizes: dict[str, int], rng: np.random.Generator) -> Any:
    shape = tuple(evaluate(d, sizes) for d in leaf.type.shape)
    if leaf.type.dtype[0] == "i":
        index = leaf.label in ("i", "j", "k") and "k" in sizes
        return rng.integers(-1, 1, shape) if index else rng.integers(-3, 4, shape)
    if leaf.type.dtype == "bool":
        return rng.random(shape) < 0.5
    return rng.uniform(0.1, 1.2, shape).astype(
        np.float32 if leaf.type.dtype == "f32" else np.float64
    )


def size_sets(signature: Signature, fn: Function) -> list[dict[str, int]]:
    """Sizes 0, 1, 2, odd, and different ones; those that the entry checks allow."""
    letters = signature.letters
    found = [dict.fromkeys(letters, n) for n in (0, 1, 2, 5)]
    found.append({name: 3 + k for k, name in enumerate(letters)})
    ok = []
    for sizes in found:
        if all(
            evaluate(r.left, sizes) >= evaluate(r.right, sizes)
            if r.relation == ">="
            else evaluate(r.left, sizes) == evaluate(r.right, sizes)
            for r in fn.requires
        ):
            ok.append(sizes)
    return ok[:1] if not letters else ok


def close(found: Any, wanted: Any, dtype: str) -> None:
    tolerance = 2e-4 if dtype == "f32" else 1e-11
    np.testing.assert_allclose(
        np.asarray(found), wanted, rtol=tolerance, atol=tolerance, equal_nan=True
    )
