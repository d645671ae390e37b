"""Functions of a few numbers have no loops in C; longer arrays, loops and branches stay what they are."""

import numpy as np
import pytest
from compilers import needs_c

import gradgen as gg

pytestmark = needs_c


def reach(q, target):
    """Where three joints lead: turns about x and z."""
    turn, place = np.eye(3), np.zeros(3)
    for k in range(3):
        c, s = np.cos(q[k]), np.sin(q[k])
        place = place + turn @ np.array([0.4 * c, 0.4 * s, 0.1])
        turn = turn @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        turn = turn @ np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    away = place - target
    return 0.5 * (away @ away)


def swirl(A, x):
    y = A @ x
    return np.sum(np.cross(x, y) * np.sin(y)) + np.max(y) + np.linalg.norm(x)


CASES = [
    (reach, ("f64[3]", "f64[3]")),
    (swirl, ("f64[3,3]", "f64[3]")),
    (swirl, ("f32[3,3]", "f32[3]")),
]


@pytest.mark.parametrize(("f", "specs"), CASES)
def test_small_arrays_are_scalars(f, specs):
    derive = gg.value_and_grad(f, wrt=(0, 1))
    fn, plain = gg.compile(derive, *specs, target="c"), gg.compile(derive, *specs)
    body = fn.source.split("SELFTEST")[0]
    assert "for (" not in body and fn.cost().workspace == 0
    rng = np.random.default_rng(9)
    dtype = np.float64 if specs[0].startswith("f64") else np.float32
    args = [rng.normal(size=leaf.type.shape).astype(dtype) for leaf in fn.signature.leaves]
    tolerance = 1e-13 if specs[0].startswith("f64") else 1e-5
    (value, bars), (value_2, bars_2) = fn(*args), plain(*args)
    for a, b in zip((value, *bars), (value_2, *bars_2), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_zeros_of_matrices_are_numbers():
    """0 * inf is NaN, as in NumPy: only what no direction reaches is left out."""
    A = np.array([[1.0, 0.0], [0.0, 2.0]])
    fn = gg.compile(lambda x: A @ x, "f64[2]", target="c")
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(fn(np.array([np.inf, 1.0])), A @ np.array([np.inf, 1.0]))


@pytest.mark.parametrize(
    ("f", "spec"),
    [
        (lambda x: np.sum(np.sin(x) * x), "f64[8]"),
        (lambda x: np.sum(x @ x), "f64[5,5]"),
        (lambda x: np.sum(gg.fori_loop(0, 3, lambda i, y: np.sin(y) + x, x)), "f64[3]"),
    ],
)
def test_what_stays_loops(f, spec):
    assert "for (" in gg.compile(gg.grad(f), spec, target="c").source.split("SELFTEST")[0]


def test_readable_text_keeps_the_arrays():
    fn = gg.compile(
        gg.grad(swirl), "f64[3,3]", "f64[3]", target="c", options={"optimize": "readable"}
    )
    assert "for (" in fn.source.split("SELFTEST")[0]
