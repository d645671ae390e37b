"""Sparse derivatives by colours: patterns, colourings, the emitted text, against dense ones and numbers that know no rules."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradgen as gg
from gradgen.sparse import colouring
from gradgen.sparse.colouring import column_colours, readable, star_colours
from gradgen.sparse.sets import Pattern, gathered


def point(n):
    return np.random.default_rng(n).uniform(0.2, 1.2, n)


def differences(f, x):
    """The Jacobian by central differences of two steps, extrapolated (Richardson)."""

    def slope(h):
        steps = h * np.eye(len(x))
        return np.stack([(f(x + e) - f(x - e)) / (2.0 * h) for e in steps], axis=-1)

    return (4.0 * slope(5e-4) - slope(1e-3)) / 3.0


# -- functions of any size, and the entries of their derivatives
def arrow(x):
    """A full row, a full column and a diagonal."""
    return np.concatenate((np.sum(x**2)[None], x[0] * np.sin(x[1:])))


def arrow_energy(x):
    return np.exp(x[0]) * np.sum(x[1:] ** 2) + np.sum(x**3)


def blocks(x):
    y = x.reshape(-1, 3)
    return (np.sin(y) * np.sum(y**2, axis=1)[:, None]).ravel()


def block_energy(x):
    y = x.reshape(-1, 3)
    return np.sum(np.prod(y, axis=1) ** 2)


def side(x):
    return round(x.shape[0] ** 0.5)


def stencil(x):
    """Five points of a square grid."""
    u = x.reshape(side(x), side(x))
    c = u[1:-1, 1:-1]
    return (np.exp(c) * (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4.0 * c)).ravel()


def membrane(x):
    u = x.reshape(side(x), side(x))
    return np.sum((u[1:] - u[:-1]) ** 4) + np.sum((u[:, 1:] - u[:, :-1]) ** 4) + np.sum(np.exp(u))


# The corners of triangles, some of them twice the same.
ELEMENTS = {n: np.random.default_rng(n).integers(0, n, (n, 3)) for n in (3, 9, 36, 225)}


def assembled(x):
    """Finite elements: what each gives to its corners is gathered and added up."""
    corners = ELEMENTS[x.shape[0]]
    local = x[corners]
    force = local**2 * np.sum(local, axis=1)[:, None]
    total = np.zeros(x.shape[0])
    np.add.at(total, corners.ravel(), force.ravel())
    return total


def element_energy(x):
    return np.sum(np.prod(1.0 + x[ELEMENTS[x.shape[0]]], axis=1) ** 2)


def mapped(x):
    """A function of each item, whose branches read different elements."""

    def item(v):
        return gg.cond(v[0] > 0.7, lambda v: v[0] * v[1], lambda v: np.sin(v[1]) * v[2], v)

    return gg.map(item, x.reshape(-1, 3))


def looped(x):
    return gg.scan(lambda c, v: (0.5 * v, c * v), x[0], x[1:])[1]


def mixing(x):
    """A known matrix with zeros, a mask, and a cut."""
    n = x.shape[0]
    matrix = np.diag(np.arange(1.0, n + 1)) + np.eye(n, k=3)
    return np.where(np.arange(n) % 2 == 0, np.sin(matrix @ x), x[::-1]) * (np.arange(n) != 2)


JACOBIANS = [arrow, blocks, stencil, assembled, mapped, looped, mixing]
ENERGIES = [arrow_energy, block_energy, membrane, element_energy]


@pytest.mark.parametrize("f", [*JACOBIANS, *ENERGIES])
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_against_the_dense_derivative(f, target):
    n = 225
    derive = gg.hessian if f in ENERGIES else gg.jacobian
    x = point(n)
    exact = derive(f)(x)
    fn = gg.compile(derive(f, sparse="csr"), x=f"f64[{n}]", target=target)
    found = fn(x)
    np.testing.assert_allclose(found.toarray(), exact, rtol=1e-11, atol=1e-12)
    assert np.count_nonzero(exact) <= found.nnz < 7 * n + 3
    np.testing.assert_array_equal(found.to_scipy().toarray(), found.toarray())
    assert found.to_scipy().has_canonical_format
    assert not fn.captures or f in (assembled, element_energy, mixing)


@pytest.mark.parametrize("f", [*JACOBIANS, *ENERGIES])
def test_against_numbers_that_know_no_rules(f):
    x = point(36)
    first = gg.grad(f) if f in ENERGIES else f
    derive = gg.hessian if f in ENERGIES else gg.jacobian
    found = derive(f, sparse=True)(x).toarray()
    np.testing.assert_allclose(found, differences(first, x), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("f", [*JACOBIANS, *ENERGIES])
@pytest.mark.parametrize("n", [3, 9, 36])
@pytest.mark.parametrize("format", ["coo", "csc"])
def test_small_sizes(f, n, format):
    derive = gg.hessian if f in ENERGIES else gg.jacobian
    x = point(n)
    for target in ("numpy", "c"):
        if n == 3 and f in (stencil, membrane):
            continue
        found = gg.compile(derive(f, sparse=format), x=f"f64[{n}]", target=target)(x)
        np.testing.assert_allclose(found.toarray(), derive(f)(x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_hardly_any_elements(n, target):
    for derive, f in (
        (gg.jacobian, lambda x: np.cumsum(x)[::-1] * x[:1].sum()),
        (gg.hessian, lambda x: np.sum(x) ** 3 * np.sum(x[::2])),
    ):
        found = gg.compile(derive(f, sparse="csr"), x=f"f64[{n}]", target=target)(point(n))
        assert found.shape == (n, n)
        np.testing.assert_allclose(found.toarray(), derive(f)(point(n)).reshape(n, n), rtol=1e-12)


@pytest.mark.parametrize("f", [arrow, stencil, membrane])
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_single_precision(f, target):
    derive = gg.hessian if f in ENERGIES else gg.jacobian
    x = point(225).astype(np.float32)
    found = gg.compile(derive(f, sparse=True), x="f32[225]", target=target)(x)
    assert found.data.dtype == np.float32
    exact = derive(f)(x.astype(np.float64))
    np.testing.assert_allclose(found.toarray(), exact, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("f", [arrow, stencil, membrane, element_energy])
def test_agrees_with_jax(f):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    x = point(36)
    source = __import__("inspect").getsource(f).replace("np.", "jnp.")
    space = {**globals(), "jnp": jnp}
    exec(source, space)
    g = space[f.__name__]
    exact = (jax.hessian if f in ENERGIES else jax.jacobian)(g)(jnp.asarray(x))
    derive = gg.hessian if f in ENERGIES else gg.jacobian
    np.testing.assert_allclose(derive(f, sparse=True)(x).toarray(), exact, rtol=1e-10, atol=1e-12)


# -- the text
def skeleton(text):
    """The function and its tables, without their numbers: neither the head of the file nor its self-test."""
    start = re.search(r"^(import|#include)", text, re.M).start()
    stop = re.search(r"^(def _arguments|#if defined\(\w+SELFTEST)|\Z", text[start:], re.M).start()
    text = re.sub(r"(?:\d+,\s+)+\d+", "0", text[start : start + stop])
    return re.sub(r"\d+", "0", text).strip()


@pytest.mark.parametrize("f", [arrow, blocks, stencil, arrow_energy, membrane])
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_source_as_long_for_any_size_but_for_the_tables(f, target):
    derive = gg.hessian if f in ENERGIES else gg.jacobian

    def lines(n):
        fn = gg.compile(derive(f, sparse="csr"), x=f"f64[{n}]", target=target)
        return skeleton(fn.source).splitlines()

    assert lines(48**2) == lines(96**2)
    assert len(lines(48**2)) < 150


def test_tables_are_the_derivatives_own():
    """Of the module they are constants, and no parameters, however long."""
    fn = gg.compile(gg.jacobian(blocks, sparse=True), x="f64[3000]")
    assert fn.captures == {} and fn.signature.captured_leaves == []
    assert fn.source.index("\nCOLOUR = np.array([") < fn.source.index("\ndef blocks_jac(x):")
    both = gg.module("both", {
        "a": (gg.jacobian(blocks, sparse=True), {"x": "f64[3000]"}),
        "b": (gg.hessian(arrow_energy, sparse=True), {"x": "f64[300]"}),
    })  # fmt: skip
    assert "\nA_COLOUR = " in both.source and "\nB_COLOUR = " in both.source
    np.testing.assert_allclose(both.b(point(300)).toarray(), gg.hessian(arrow_energy)(point(300)))


def test_a_long_row_goes_by_reverse_mode():
    fn = gg.compile(gg.jacobian(arrow, sparse="csr"), x="f64[2000]", target="c")
    assert fn.cost().flops < 100 * 2000
    only = gg.compile(gg.jacobian(arrow, mode="forward", sparse="csr"), x="f64[200]")
    np.testing.assert_allclose(only(point(200)).toarray(), gg.jacobian(arrow)(point(200)))


def test_a_rule_of_ones_own_may_read_anything():
    def strange(y_bar, y, x):
        return (np.roll(y_bar, 1) * np.cos(x),)

    f = gg.custom_vjp(lambda x: np.sin(x), strange)
    g = lambda x: np.sum(f(x) ** 3 * x)
    x = point(40)
    for derive, h in ((gg.jacobian, f), (gg.hessian, g)):
        with pytest.warns(UserWarning, match="dense"):
            found = derive(h, sparse=True)(x).toarray()
        np.testing.assert_allclose(found, derive(h)(x), rtol=1e-12, atol=1e-14)


# -- colourings
@st.composite
def patterns(draw, square=False):
    rows = draw(st.integers(1, 9))
    columns = rows if square else draw(st.integers(1, 9))
    cells = st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1))
    entries = draw(st.lists(cells, max_size=30))
    row, col = np.array(entries, np.int64).reshape(-1, 2).T
    return rows, columns, row, col


@given(patterns())
@settings(max_examples=150, deadline=None)
def test_columns_of_a_colour_share_no_row(drawn):
    rows, columns, row, col = drawn
    pattern = gathered(row, col, rows)
    for short in (1, 64):  # rows that are long, and not
        colouring.SHORT = short
        try:
            colour = column_colours(pattern, columns)
        finally:
            colouring.SHORT = 64
        met = pattern.row * columns + colour[pattern.indices]
        assert len(np.unique(met)) == pattern.nnz


@given(patterns(square=True), st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_a_symmetric_matrix_is_read_from_a_star_colouring(drawn, seed):
    n, _, row, col = drawn
    pattern = gathered(np.concatenate((row, col)), np.concatenate((col, row)), n)
    colour = star_colours(pattern)
    values = np.random.default_rng(seed).normal(size=(n, n))
    matrix = np.zeros((n, n))
    matrix[pattern.row, pattern.indices] = (values + values.T)[pattern.row, pattern.indices]
    along = matrix @ np.eye(int(colour.max()) + 1)[:, colour].T
    row, col = pattern.row, pattern.indices
    alone = readable(pattern, colour, row, col)
    found = np.where(alone, along[row, colour[col]], along[col, colour[row]])
    np.testing.assert_array_equal(found, matrix[row, col])


def grid(n):
    i, j = np.divmod(np.arange(n * n), n)
    parts = []
    for a, b in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        inside = (i + a >= 0) & (i + a < n) & (j + b >= 0) & (j + b < n)
        parts.append(((i * n + j)[inside], ((i + a) * n + j + b)[inside]))
    row, col = (np.concatenate(p) for p in zip(*parts, strict=True))
    return gathered(row, col, n * n)


def test_as_few_colours_as_there_can_be():
    assert column_colours(grid(20), 400).max() == 4
    assert star_colours(grid(20)).max() <= 4
    n = 500
    rest = np.arange(1, n)
    head = np.zeros(n - 1, np.int64)
    cross = gathered(np.concatenate((rest, head, rest)), np.concatenate((head, rest, rest)), n)
    assert star_colours(cross).max() == 1 and column_colours(cross, n).max() == n - 1


@given(patterns(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_any_pattern(drawn, seed):
    """Sums of products of gathered elements, added up at other places."""
    rows, columns, row, col = drawn
    factor = np.random.default_rng(seed).uniform(1.0, 2.0, len(row))

    def f(x):
        out = np.zeros(rows)
        np.add.at(out, row, factor * np.sin(x[col]) * x[col[::-1]])
        return out

    x = point(columns)
    exact = gg.jacobian(f)(x)
    for mode in ("auto", "forward", "reverse"):
        found = gg.jacobian(f, mode=mode, sparse="csc")(x)
        np.testing.assert_allclose(found.toarray(), exact, rtol=1e-12, atol=1e-12)
    g = lambda x: np.sum(f(x) ** 2)
    found = gg.hessian(g, sparse="csr")(x)
    np.testing.assert_allclose(found.toarray(), gg.hessian(g)(x), rtol=1e-10, atol=1e-10)


def test_a_pattern_is_rows_of_columns():
    pattern = gathered(np.array([2, 0, 2, 2]), np.array([1, 3, 0, 1]), 3)
    assert pattern.indptr.tolist() == [0, 1, 1, 3] and pattern.indices.tolist() == [3, 0, 1]
    flipped = pattern.transpose(4)
    assert isinstance(flipped, Pattern) and flipped.indptr.tolist() == [0, 1, 2, 2, 3]
