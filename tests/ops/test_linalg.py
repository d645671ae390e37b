"""Linear algebra beyond the table of functions: rules that are wrong, singular matrices, equal values, sizes, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg as sla
from compilers import C
from ops import test_functions
from ops.function_rows import ROWS
from ops.test_array_ops import richardson, same, scaled

import gradgen as gg
from gradgen.ir import OPS
from gradgen.passes.scalarise import LINALG

RNG = np.random.default_rng(3)
FIRST = {
    "inv": "np.linalg.inv(M)", "solve": "np.linalg.solve(M, v[:3])", "det": "np.linalg.det(P)",
    "solve_triangular": "sla.solve_triangular(np.triu(M), A.T)", "cofactor": "", "logabsdet": "np.linalg.slogdet(M)[1]",
    "det_sign": "", "cholesky": "np.linalg.cholesky(M)", "qr": "np.linalg.qr(A)[1]", "eigh": "np.abs(np.linalg.eigh(M)[1])",
    "eigvalsh": "np.linalg.eigvalsh(M)", "svd": "np.abs(np.linalg.svd(A, full_matrices=False)[0])",
    "svdvals": "np.linalg.svdvals(A)", "pinv": "np.linalg.pinv(A)", "expm": "sla.expm(S)",
}  # fmt: skip
BY_TITLE = {test_functions.title(f): f for f in ROWS}


def test_every_op_is_here():
    assert set(FIRST) == LINALG - {"dft"} <= set(OPS)


@pytest.mark.parametrize("name", [name for name, text in FIRST.items() if text])
@pytest.mark.parametrize("kind", ["vjp", "jvp"])
def test_a_wrong_rule_is_found(name, kind):
    f = BY_TITLE.get(FIRST[name], expm_row)
    op, rules = OPS[name], getattr(OPS[name], kind)
    object.__setattr__(op, kind, scaled(rules, 1.001))
    try:
        with pytest.raises(AssertionError):
            test_functions.test_engine(f)
    finally:
        object.__setattr__(op, kind, rules)


def expm_row(S):
    return sla.expm(S)


def test_expm():
    test_functions.test_engine(expm_row)
    fn = gg.compile(gg.vjp(expm_row), "f64[n,n]", "f64[n,n]")
    a = RNG.normal(size=(4, 4)) * 3.0
    same(fn(a, np.ones((4, 4)))[0], sla.expm(a), 1e-11, 1e-11)
    with pytest.raises(gg.EmitError, match="target C has no expm"):
        gg.compile(expm_row, "f64[3,3]", target="c").build()
    with pytest.raises(gg.EmitError, match="python target has no expm"):
        gg.compile(expm_row, "f64[3,3]", target="python")


# -- singular matrices
def of_rank(rank, n=4):
    return RNG.normal(size=(n, rank)) @ RNG.normal(size=(rank, n))


def determinant(A):
    return np.linalg.det(A)


@pytest.mark.parametrize("target", ["numpy", C])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_gradient_of_det_is_the_cofactors(n, target):
    """Also where the matrix is singular: minors, computed one by one."""
    fn = gg.compile(gg.value_and_grad(determinant), f"f64[{n},{n}]", target=target)
    for rank in range(max(0, n - 2), n + 1):
        a = of_rank(rank, n) if rank else np.zeros((n, n))
        value, bar = fn(a)
        minors = [
            [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)]
            for i in range(n)
        ]
        np.testing.assert_allclose(bar, minors, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(value, np.linalg.det(a), rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(gg.grad(determinant)(a), minors, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("target", ["numpy", C])
def test_singular_systems_are_refused(target):
    zero = np.zeros((3, 3))
    for f in (np.linalg.inv, np.linalg.cholesky, lambda A: np.linalg.solve(A, A)):
        fn = gg.compile(lambda A, f=f: f(A), "f64[3,3]", target=target)
        with pytest.raises(np.linalg.LinAlgError):
            fn(zero)


# -- equal values
def values_of(A):
    return np.sum(np.linalg.eigvalsh(A) ** 2 * np.array([1.0, 2.0, 3.0]))


def values_among_vectors(A):
    return np.sum(np.linalg.eigh(A)[0] ** 2 * np.array([1.0, 2.0, 3.0]))


def singular_values(A):
    return np.sum(np.linalg.svdvals(A) ** 3)


@pytest.mark.parametrize("target", ["numpy", C])
def test_values_of_equal_values_have_finite_gradients(target):
    for f, a in (
        (values_of, 2.0 * np.eye(3)),
        (values_among_vectors, 2.0 * np.eye(3)),
        (singular_values, np.eye(3)),
    ):
        value, bar = gg.compile(gg.value_and_grad(f), "f64[3,3]", target=target)(a)
        assert np.isfinite(bar).all()
        assert value == pytest.approx(f(a))
        assert np.trace(bar) == pytest.approx(
            float(richardson(lambda t, f=f, a=a: f(a + t * np.eye(3)))), rel=1e-8
        )


@pytest.mark.parametrize("target", ["numpy", C])
def test_symmetric_functions_have_symmetric_gradients(target):
    a = of_rank(4) + np.eye(4) * 0.1
    a = a @ a.T + np.eye(4)
    for f in (
        lambda A: np.sum(np.linalg.cholesky(A) ** 3),
        lambda A: np.sum(np.linalg.eigvalsh(A) ** 3),
    ):
        bar = gg.compile(gg.grad(f), "f64[n,n]", target=target)(a)
        np.testing.assert_allclose(bar, bar.T, rtol=1e-12)


# -- sizes
def least_squares(A, b):
    x = np.linalg.solve(A.T @ A + np.eye(A.shape[1]), A.T @ b)
    return x @ x + np.linalg.slogdet(A.T @ A + np.eye(A.shape[1]))[1]


def of_stacks(A, b):
    return np.sum(np.linalg.solve(A, b[:, :, None])[..., 0] ** 2) + np.sum(np.linalg.inv(A) ** 2)


@pytest.mark.parametrize("target", ["numpy", C])
def test_symbolic_sizes(target):
    fn = gg.compile(
        gg.value_and_grad(least_squares, wrt=(0, 1)), "f64[m,n]", "f64[m]", target=target
    )
    for m, n in ((5, 3), (2, 2), (4, 1), (3, 0), (2, 4)):
        a, b = RNG.normal(size=(m, n)), RNG.normal(size=m)
        value, bars = fn(a, b)
        want, known = gg.value_and_grad(least_squares, wrt=(0, 1))(a, b)
        np.testing.assert_allclose(value, want, rtol=1e-10)
        for bar, other in zip(bars, known, strict=True):
            np.testing.assert_allclose(bar, other, rtol=1e-9, atol=1e-11)
    fn = gg.compile(
        gg.value_and_grad(of_stacks, wrt=(0, 1)), "f64[k,n,n]", "f64[k,n]", target=target
    )
    for k, n in ((3, 2), (1, 4), (0, 2)):
        a, b = RNG.normal(size=(k, n, n)) + 3 * np.eye(n), RNG.normal(size=(k, n))
        value, bars = fn(a, b)
        want, known = gg.value_and_grad(of_stacks, wrt=(0, 1))(a, b)
        np.testing.assert_allclose(value, want, rtol=1e-10)
        for bar, other in zip(bars, known, strict=True):
            np.testing.assert_allclose(bar, other, rtol=1e-9, atol=1e-11)


# -- refusals
@pytest.mark.parametrize(
    ("f", "specs", "words"),
    [
        (lambda A: np.linalg.inv(A), ("f64[n,m]",), "np.linalg.inv needs square matrices"),
        (lambda A: np.linalg.solve(A, A), ("f64[n,m]",), "np.linalg.solve needs square matrices"),
        (lambda A, b: np.linalg.solve(A, b), ("f64[n,n]", "f64[m]"), "as many rows on the right"),
        (lambda A: np.linalg.eig(A), ("f64[n,n]",), "use np.linalg.eigh"),
        (lambda A: np.linalg.eigvals(A), ("f64[n,n]",), "use np.linalg.eigvalsh"),
        (lambda A: np.linalg.svd(A), ("f64[4,3]",), "full_matrices=False"),
        (lambda A: np.linalg.svdvals(A), ("f64[n,m]",), "the shorter side, which no size says"),
        (
            lambda A: np.linalg.qr(A, mode="complete"),
            ("f64[4,3]",),
            "np.linalg.qr needs mode 'reduced' or 'r'",
        ),
        (lambda A: np.linalg.pinv(A, 0.1), ("f64[4,3]",), "needs the default cutoff"),
        (lambda A: sla.sqrtm(A), ("f64[n,n]",), "sqrtm is not differentiated"),
    ],
)
def test_refused_by_name(f, specs, words):
    with pytest.raises(gg.GradgenError, match=words.replace("[", ".")):
        gg.compile(f, *specs)


@pytest.mark.parametrize("f", [
    lambda A: np.sum(np.linalg.cholesky(A) ** 3),
    lambda A: np.linalg.eigvalsh(A)[0],
    lambda A: np.linalg.eigh(A)[1][0, 0] ** 2,
    lambda A: np.sum(np.linalg.cholesky(A @ A.T)),
])  # fmt: skip
def test_checks_of_what_takes_a_matrix_as_symmetric(f):
    """Sampled as one, and moved along symmetric matrices; a rule that is wrong is still seen."""
    assert gg.compile(gg.value_and_grad(f), "f64[n,n]").check()
    assert gg.compile(gg.jvp(f), "f64[3,3]", "f64[3,3]").check()
    wrong = gg.custom_vjp(f, lambda y_bar, y, A: (1.01 * y_bar * gg.grad(f)(A),))
    assert not gg.compile(gg.value_and_grad(wrong), "f64[3,3]").check()
