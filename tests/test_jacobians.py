"""jacobian, hessian and vmap in every mode, against differences and against loops of single calls."""

from __future__ import annotations

import numpy as np
import pytest

import gradgen as gg

RNG = np.random.default_rng(5)
A, X, B = RNG.normal(size=(3, 4)), RNG.normal(size=4), RNG.normal(size=(5, 4))


def layer(A, x):
    return np.tanh(A @ x) * np.exp(x[0])


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def numeric(f, x, h=1e-3):
    """The Jacobian by Richardson differences, of shape result + argument."""
    x = np.asarray(x, float)
    columns = []
    for k in range(x.size):
        e = np.zeros(x.size)
        e[k] = 1.0
        e = e.reshape(x.shape)
        d = [
            (np.asarray(f(x + s * e)) - np.asarray(f(x - s * e))) / (2 * s)
            for s in (h, h / 2, h / 4)
        ]
        t = [(4 * d[j + 1] - d[j]) / 3 for j in range(2)]
        columns.append((16 * t[1] - t[0]) / 15)
    return np.moveaxis(np.array(columns), 0, -1).reshape(np.shape(f(x)) + x.shape)


def close(found, expected, rtol=1e-8):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-8)


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_jacobian(mode):
    expected = (numeric(lambda a: layer(a, X), A), numeric(lambda x: layer(A, x), X))
    transform = gg.jacobian(layer, ("A", "x"), mode=mode)
    for found in (transform(A, X), gg.compile(transform, A="f64[m,n]", x="f64[n]")(A, X)):
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            close(a, b)
    value, jac = gg.compile(gg.value_and_jacobian(layer, "x", mode=mode), A, X)(A, X)
    close(value, layer(A, X))
    close(jac, expected[1])


def test_hessian():
    expected = numeric(gg.grad(rosenbrock), X)
    close(gg.hessian(rosenbrock)(X), expected)
    fn = gg.compile(gg.value_grad_hessian(rosenbrock), x="f64[n]")
    value, gradient, hess = fn(X)
    close(value, rosenbrock(X))
    close(gradient, numeric(rosenbrock, X))
    close(hess, expected)
    close(gg.compile(gg.hessian(rosenbrock, part="lower"), x="f64[4]")(X), np.tril(expected))
    close(gg.compile(gg.hessian(rosenbrock, part="upper"), x="f64[4]")(X), np.triu(expected))


def test_hessian_by_several_arguments():
    f = lambda w, b: np.sum(np.sin(w * b)) + b**3
    found = gg.hessian(f, ("w", "b"))(X, 0.7)
    assert [[h.shape if np.ndim(h) else () for h in row] for row in found] == [
        [(4, 4), (4,)],
        [(4,), ()],
    ]
    close(found[0][1], numeric(lambda b: gg.grad(f)(X, float(b)), 0.7))
    close(found[1][1], -np.sum(X**2 * np.sin(X * 0.7)) + 6 * 0.7)


def test_jacobian_of_structures():
    f = lambda p: {"sum": p["a"] + p["b"], "scaled": (p["a"] * 2.0,)}
    found = gg.jacobian(f)({"a": X, "b": 1.0})
    close(found["sum"]["a"], np.eye(4))
    close(found["sum"]["b"], np.ones(4))
    close(found["scaled"][0]["a"], 2 * np.eye(4))
    close(found["scaled"][0]["b"], np.zeros(4))


def test_jacobian_through_a_loop():
    def flow(x):
        return gg.scan(lambda s, t: (s + 0.1 * np.sin(s * t), None), x, np.arange(1.0, 6.0))[0]

    expected = numeric(flow, X)
    for mode in ("forward", "reverse"):
        close(gg.jacobian(flow, mode=mode)(X), expected)
        fn = gg.compile(gg.jacobian(flow, mode=mode), x="f64[n]")
        close(fn(X), expected)
        assert fn.source.count("for i in") <= 2  # over the steps, not over the directions


def test_jacobian_inside_a_traced_function():
    pair = lambda y: np.array([y[0] * y[1], np.sin(y[0])])
    f = lambda x: np.sum(gg.jacobian(pair)(x) ** 2)
    x = np.array([0.4, 1.3])
    close(gg.grad(f)(x), numeric(f, x))
    close(gg.compile(gg.grad(f), x="f64[2]")(x), numeric(f, x))


@pytest.mark.parametrize(
    ("in_axes", "out_axes", "x"), [((None, 0), 0, B), ((None, 1), 0, B.T), ((None, 0), 1, B)]
)
def test_vmap(in_axes, out_axes, x):
    batched = gg.vmap(layer, in_axes, out_axes)
    expected = np.stack([layer(A, row) for row in B], axis=out_axes)
    close(batched(A, x), expected)
    shape = "f64[b,n]" if in_axes[1] == 0 else "f64[n,b]"
    fn = gg.compile(batched, A="f64[m,n]", x=shape)
    close(fn(A, x), expected)
    assert "for " not in fn.source.partition("\n\ndef _")[0].partition("import numpy")[2].replace(
        "conventions", ""
    )


def test_vmap_of_a_gradient_and_gradient_of_a_vmap():
    f = lambda w, x: np.sum(np.logaddexp(0.0, w * x)) * x[0]
    per_item = gg.vmap(gg.grad(f), (None, 0))
    expected = np.stack([gg.grad(f)(X, row) for row in B])
    close(per_item(X, B), expected)
    close(gg.compile(per_item, w="f64[n]", x="f64[b,n]")(X, B), expected)
    total = lambda w, x: np.sum(gg.vmap(f, (None, 0))(w, x))
    close(gg.compile(gg.grad(total), w="f64[n]", x="f64[b,n]")(X, B), expected.sum(0))


def matrix_ops(M, v):
    return np.outer(v, M @ v)[1:, ::-1] + M[0, 1] * (v @ M @ v) + np.max(M, axis=0)[:2].sum()


def shape_ops(M, v):
    parts = np.concatenate([M.ravel(), v]).reshape(4, 3).T
    return np.stack([parts[0], parts[1] * v[0]]) - np.mean(parts, axis=1, keepdims=True)[:2]


def gather_ops(M, v):
    picked = M[np.array([0, 2, 0]), np.array([1, 1, 0])]
    out = np.zeros(5)
    out[1:4] = picked * v
    out[0] = v[2]
    return out + np.where(out > 0.0, out, 0.5 * out) ** 2


def loops(M, v):
    h, ys = gg.scan(lambda h, row: (np.tanh(h + row), h @ row), v, M)
    k = gg.while_loop(lambda s: np.sum(s * s) < 9.0, lambda s: 1.5 * s + 0.1, h)
    c = gg.cond(h[0] > 0.1, lambda: h * 2.0, lambda: np.exp(h))
    return k * c + ys


def running_ops(M, v):
    sums = np.cumsum(M, axis=1) + np.cumsum(v[::-1])[::-1]
    apart = M + np.array([20.0, 0.0, 10.0])  # no ties within a step of the differences
    ordered = np.take_along_axis(M, np.argsort(apart, axis=1), 1) @ np.cumprod(v)
    return (
        sums * np.triu(M) + np.tril(np.outer(v, v), -1) + np.where(np.any(apart > 15.0), ordered, v)
    )


@pytest.mark.parametrize(
    "f", [np.cumsum, np.cumprod, np.sort, lambda r: np.where(np.all(r > 0), r, -r)]
)
def test_running_ops_of_a_batch_have_no_loop_over_items(f):
    X = RNG.normal(size=(4, 5))
    fn = gg.compile(gg.vmap(f), "f64[b,5]")
    assert "for i in range(b)" not in fn.source
    close(fn(X), np.stack([f(row) for row in X]))


TABLE = np.array([0.0, 0.5, 1.0, 1.5, 9.0])


def chosen_by_data(M, v):
    """Places that depend on the item, along each axis, read and written; sums of products of parts."""
    near = np.argsort(v)
    along = M[:, near[:2]]
    out = M @ M
    out[near[0], 1:] = v[:2]
    out[:, near[1]] = out[:, near[1]] * v
    out[near[:2], near[1:]] += 1.0 + v[0]
    np.add.at(out, (slice(None), near[2]), 0.5)
    at = np.searchsorted(TABLE, np.abs(v))
    mixed = np.einsum("ij,kj,k->i", M, along @ along.T, v)
    return out * mixed + TABLE[at] + np.einsum("ij,ij", M, out) * v + np.tensordot(v, out, 1)


LINEAR_ALGEBRA = [
    np.linalg.inv,
    np.linalg.pinv,
    np.linalg.det,
    lambda a: np.linalg.slogdet(a)[1],
    lambda a: np.linalg.cholesky(a @ a.T),
    lambda a: np.linalg.solve(a, a[0]),
    lambda a: np.linalg.solve(np.eye(3) + a[:1], a),
    lambda a: np.linalg.eigh(a + a.T)[1] ** 2,
    lambda a: np.linalg.eigvalsh(a + a.T),
    lambda a: np.abs(np.linalg.svd(a)[0]),
    lambda a: np.linalg.norm(a, 2),
    lambda a: np.abs(np.linalg.qr(a)[1]),
    lambda a: a[np.argmax(a[0])] * a[1],
    lambda a: np.abs(np.fft.fft(a[0] * a[1])),
    lambda a: np.fft.irfft(np.fft.rfft(a, axis=0) * 2.0, 3, axis=0),
    lambda a: np.einsum("ij,kj->ik", a, a[:2]),
    lambda a: np.trace(a @ a) * a[np.argsort(a[0]), 1],
    lambda a: np.searchsorted(np.array([0.0, 1.0, 2.0]), a) * a,
]


@pytest.mark.parametrize("f", LINEAR_ALGEBRA, ids=range(len(LINEAR_ALGEBRA)))
def test_linear_algebra_of_a_batch_has_no_loop_over_items(f):
    X = RNG.normal(size=(4, 3, 3)) + 3.0 * np.eye(3)
    fn = gg.compile(gg.vmap(f), "f64[b,3,3]")
    slopes = gg.compile(gg.grad(lambda X: np.sum(np.sin(gg.vmap(f)(X)))), "f64[b,3,3]")
    for made in (fn, slopes):
        assert "for i in range(b)" not in made.source
    close(fn(X), np.stack([f(a) for a in X]))
    close(slopes(X), np.stack([gg.grad(lambda a: np.sum(np.sin(f(a))))(a) for a in X]))


@pytest.mark.parametrize(
    "f",
    [matrix_ops, shape_ops, gather_ops, running_ops, chosen_by_data, loops],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_every_batching_rule(f, axes):
    M = RNG.normal(size=(5, 3, 3) if axes[0] == 0 else (3, 3))
    v = RNG.normal(size=(5, 3) if axes[1] == 0 else 3)
    item = lambda a, k, axis: a[k] if axis == 0 else a
    expected = np.stack([f(item(M, k, axes[0]), item(v, k, axes[1])) for k in range(5)])
    fn = gg.compile(gg.vmap(f, axes), M, v)
    close(fn(M, v), expected, 1e-12)
    loss = lambda M, v: np.sum(gg.vmap(f, axes)(M, v) ** 2)
    found = gg.compile(gg.grad(loss, (0, 1)), M, v, options={"verify": True})(M, v)
    close(found[0], numeric(lambda a: loss(a, v), M), 1e-6)
    close(found[1], numeric(lambda b: loss(M, b), v), 1e-6)


def test_a_statement_without_a_form_over_a_batch_is_alone_in_a_loop():
    """Each item searches a table of its own; all else is done for the whole batch."""
    f = lambda v, x: np.sin(np.searchsorted(np.sort(v), x) * x) + np.tanh(v[0])
    V, x = RNG.normal(size=(4, 5)), RNG.normal(size=4)
    fn = gg.compile(gg.vmap(f), "f64[b,5]", "f64[b]")
    loop = fn.source.partition("for i in range(b):")[2].partition("value =")[0]
    assert "searchsorted" in loop and "np.sin" not in loop
    close(fn(V, x), np.array([f(v, y) for v, y in zip(V, x, strict=True)]))


def test_exponentials_of_matrices_of_very_different_size():
    linalg = pytest.importorskip("scipy.linalg")
    X = RNG.normal(size=(4, 3, 3)) * np.array([1e-3, 1.0, 30.0, 0.0])[:, None, None]
    fn = gg.compile(gg.vmap(linalg.expm), "f64[b,3,3]")
    assert "for i in range(b)" not in fn.source
    expected = np.stack([linalg.expm(a) for a in X])
    for found, want in zip(fn(X), expected, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-13 * np.max(np.abs(want)))


def test_bad_batches():
    with pytest.raises(gg.ShapeError, match="one size"):
        gg.vmap(lambda a, b: a + b)(np.zeros(3), np.zeros(4))
    with pytest.raises(gg.SpecError, match="in_axes"):
        gg.vmap(lambda a, b: a + b, (0,))(np.zeros(3), np.zeros(3))
    with pytest.raises(gg.SpecError, match="mode"):
        gg.jacobian(np.sin, mode="sideways")
