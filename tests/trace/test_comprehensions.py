# ruff: noqa: C400, C416, RUF015  (comprehensions as users write them)
"""Comprehensions over symbolic sizes are maps; what a list is that an array is not is refused."""

from __future__ import annotations

import numpy as np
import pytest
from compilers import ARRAY_TARGETS

import gradgen as gg

X = np.array([0.3, -0.5, 0.8])


def bent(v):
    if v > 0:
        return v * v
    return np.sin(v)


MAPS = {
    "branch": lambda x: np.array([bent(v) for v in x]),
    "index": lambda x: np.array([x[i] * i for i in range(x.shape[0])]),
    "downwards": lambda x: np.array([x[i] for i in range(len(x) - 1, -1, -1)]),
    "conditional element": lambda x: np.array(
        [x[i] - x[i - 1] if i > 0 else 0.0 for i in range(len(x))]
    ),
    "zip": lambda x: np.array([a * b for a, b in zip(x[1:], x[:-1], strict=True)]),
    "enumerate": lambda x: np.array([i * v for i, v in enumerate(x)]),
    "rows of lists": lambda x: np.array([[v, v**2] for v in x]),
    "rows of tuples": lambda x: np.array([(v, 2 * v) for v in x]).T @ x,
    "nested": lambda x: np.array([[a * b for b in x] for a in x]),
    "nested sum": lambda x: np.array([sum(a * b for b in x) for a in x]),
    "over rows": lambda x: np.array([r @ r for r in np.outer(x, x)]),
    "stack": lambda x: np.stack([np.array([v, v**2]) for v in x], axis=1),
    "concatenate": lambda x: np.concatenate([np.array([v, v**2]) for v in x]),
    "vstack": lambda x: np.vstack([np.array([v, v**2]) for v in x]),
    "sum": lambda x: sum(bent(v) for v in x),
    "sum from one": lambda x: sum([v * v for v in x], 1.0),
    "min": lambda x: min(v * v for v in x),
    "all": lambda x: 1.0 * all(v > -1 for v in x),
    "len": lambda x: len([v for v in x]) * x,
    "item": lambda x: [v * v for v in x][-1],
    "list of a list": lambda x: sum(y * y for y in list(v * 2 for v in x)),
    "mean": lambda x: np.mean([v * v for v in x]),
    "ufunc": lambda x: np.exp([v * v for v in x]),
    "dot": lambda x: np.dot([v * v for v in x], x),
    "with an array": lambda x: x + [v * 2 for v in x],
}


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("f", MAPS.values(), ids=MAPS)
def test_maps(f, target):
    fn = gg.compile(f, "f64[n]", target=target)
    np.testing.assert_allclose(fn(X), f(X), rtol=1e-14)
    assert np.shape(fn(X)) == np.shape(f(X))
    slopes = gg.compile(gg.jacobian(f), "f64[n]", target=target)(X)
    np.testing.assert_allclose(slopes, gg.compile(gg.jacobian(f), "f64[3]")(X), rtol=1e-13)


def test_statements_over_whole_arrays_come_out():
    source = gg.compile(lambda x: sum(v * v for v in x), "f64[n]").source
    assert "for " not in source.split("\ndef ")[1]


REFUSED = {
    "two lists": (lambda x: np.array([v for v in x] + [v for v in x]), "got another use"),
    "repeated": (lambda x: np.array([v for v in x] * 2), "got another use"),
    "as a truth value": (lambda x: x if [v for v in x] else 2 * x, "got another use"),
    "next": (lambda x: next(v for v in x), "got another use"),
    "selected": (lambda x: sum(v for v in x if v > 0), "needs a number, got a traced"),
    "second for": (lambda x: sum(a * b for a in x for b in x), "size known at trace time"),
    "columns": (lambda x: np.column_stack([np.array([v, v]) for v in x]), "got another use"),
    "item that is a list": (lambda x: [[v, v] for v in x][0][0], "items that are lists"),
    "a set": (lambda x: sum({v for v in x}), "size known at trace time"),
}


@pytest.mark.parametrize(("f", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(f, words):
    with pytest.raises(gg.GradgenError, match=words):
        gg.compile(f, "f64[n]")


def test_a_side_effect_in_one_is_refused():
    seen = []

    def f(x):
        return sum(seen.append(1) or v for v in x)

    with pytest.raises(gg.UnsupportedError, match="a list"):
        gg.compile(f, "f64[n]")
    assert seen == []


def test_plain_ones_stay_what_they_are():
    """Lazy where they are generators, with names of theirs alone, conditions and walrus included."""

    def f(x):
        order = []
        lazy = (order.append(k) or k for k in (1, 2, 3))
        first = next(lazy)
        v = 5.0
        kept = [v for v in (1.0, 2.0, 3.0) if v > 1.0]
        last = [(w := 2 * a) for a in kept]
        return x * (first + len(order) + v + sum(kept) + last[-1] + w)

    assert gg.compile(f, "f64[]")(1.0) == f(1.0)
