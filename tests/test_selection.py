"""`y[mask] = f(x[mask])` for a traced mask: elementwise pieces, written where they were read; anything else is refused."""

import numpy as np
import pytest
from compilers import ARRAY_TARGETS, TARGETS

import gradgen as gg

Z = np.array([1.5, -2.0, 0.2, 0.7, -0.1, 3.0])


def pieces(z, s):
    out = np.zeros(z.shape)
    high = z > 0.5
    out[high] = s * np.sqrt(z[high]) - z[high] ** 2
    out[z < -0.5] -= 3.0 * np.exp(z[z < -0.5])
    rest = ~high & (z >= -0.5)
    out[rest] += np.clip(np.sin(z[rest]), -1.0, s) / (2.0 + abs(-z[rest]))
    return np.sum(out * z)


def rows(X, w):
    Y = X * 1.0
    kept = X[:, 0] > 0
    Y[kept] = np.where(X[kept] > 1.0, X[kept] * w, 1.0 - X[kept])
    Y[kept] *= 2.0
    return np.sum(np.sin(Y))


def slope(f, args, dots, h=1e-4):
    """Richardson's, along `dots`."""
    at = lambda t: f(*[a + t * d for a, d in zip(args, dots, strict=True)])
    wide, narrow = (at(h) - at(-h)) / (2 * h), (at(h / 2) - at(-h / 2)) / h
    return (4 * narrow - wide) / 3


def agrees(f, specs, args, target):
    rng = np.random.default_rng(3)
    dots = [np.asarray(rng.normal(size=np.shape(a)))[()] for a in args]
    value, bars = gg.compile(gg.value_and_grad(f, wrt=(0, 1)), *specs, target=target)(*args)
    with np.errstate(invalid="ignore"):
        assert value == pytest.approx(f(*args), rel=1e-13)
        found = sum(np.vdot(b, d) for b, d in zip(bars, dots, strict=True))
        assert found == pytest.approx(slope(f, args, dots), rel=1e-8)


@pytest.mark.parametrize("target", TARGETS)
def test_pieces(target):
    """The root of a negative number, in a place that the mask leaves out, contributes nothing."""
    agrees(pieces, ["f64[6]", "f64[]"], [Z, 2.0], target)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_rows_under_a_mask_of_the_first_axis(target):
    X = np.random.default_rng(0).normal(size=(5, 3))
    agrees(rows, ["f64[n,3]", "f64[3]"], [X, np.array([1.0, 2.0, 0.5])], target)


def other_mask(x):
    y = np.zeros(3)
    y[x > 0] = x[x > 1]
    return y


def since_written(x):
    """The mask is of what x was, the elements too; under the mask of what it is now they are others."""
    y = x * 1.0
    t = y[y > 0]
    y[0] = -1.0
    y[y > 0] = t
    return y


def in_a_slice(x):
    y = np.zeros(3)
    y[0:2] = x[x > 0]
    return y


REFUSED = {
    "sum": lambda x: np.sum(x[x > 0]),
    "method": lambda x: x[x > 0].mean(),
    "result": lambda x: x[x > 0],
    "whole beside it": lambda x: x[x > 0] * x,
    "product": lambda x: x[x > 0] @ x[x > 0],
    "length": lambda x: len(x[x > 0]) * 1.0,
    "shape": lambda x: x[x > 0].shape[0] * 1.0,
    "np.size": lambda x: np.size(x[x > 0]) * 1.0,
    "ones_like": lambda x: np.ones_like(x[x > 0]).sum(),
    "iteration": lambda x: sum(v for v in x[x > 0]),
    "array": lambda x: np.array(x[x > 0]),
    "joined": lambda x: np.concatenate([x[x > 0], x]),
    "reduction": lambda x: np.maximum.reduce(x[x > 0]),
    "element": lambda x: x[x > 0][0],
    "test": lambda x: x[0] if x[x > 0] else x[1],
    "membership": lambda x: 1.0 if 2.0 in x[x > 0] else x[0],
    "round": lambda x: round(x[x > 0]),
    "other mask": other_mask,
    "since written": since_written,
    "slice": in_a_slice,
}


@pytest.mark.parametrize("use", REFUSED)
def test_what_depends_on_their_number_is_refused(use):
    with pytest.raises(gg.UnsupportedError, match=r"depends on data[\s\S]*np\.where"):
        gg.compile(REFUSED[use], "f64[3]")


def test_their_text_decides_nothing():
    with pytest.raises(gg.TraceError, match="text of a traced"):
        gg.compile(lambda x: x[0] if f"{x[x > 0]}" == "[]" else x[1], "f64[3]")
