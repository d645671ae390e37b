"""Arrays made inside a function are copied, aliased and viewed as NumPy does it, or the difference is refused."""

from __future__ import annotations

import numpy as np
import pytest
from compilers import ARRAY_TARGETS

import gradgen as gg

POINT = np.array([1.0, 2.0, 3.0, 4.0])

COPIES = {
    "np.array": lambda a: np.array(a),
    "np.array with dtype": lambda a: np.array(a, dtype=float),
    "plus": lambda a: +a,
    "power one": lambda a: a**1,
    "astype": lambda a: a.astype(float),
    "copy": lambda a: a.copy(),
    "np.copy": lambda a: np.copy(a),
    "flatten": lambda a: a.flatten(),
    "product": lambda a: a * 1.0,
    "sum": lambda a: np.sum(a),
}
ALIASES = {
    "name": lambda a: a,
    "asarray": lambda a: np.asarray(a, dtype=float),
    "slice": lambda a: a[1:],
    "whole slice": lambda a: a[...],
    "reversed": lambda a: a[::-1],
}
VIEWS = {
    "transpose": lambda a: a.T,
    "reshape": lambda a: a.reshape(2, 2),
    "np.reshape": lambda a: np.reshape(a, (4, 1)),
    "ravel": lambda a: a.ravel(),
    "new axis": lambda a: a[None],
    "squeeze": lambda a: a[None].squeeze(),
    "row of a reshape": lambda a: a.reshape(2, 2)[0],
    "reshape of a slice": lambda a: a[:2].reshape(2, 1),
    "broadcast": lambda a: np.broadcast_to(a, (3, 4)),
}


def written_after(make):
    """The array is written to after something was made of it, which is then read."""

    def f(x):
        a = x.copy()
        b = make(a)
        a[0] = 10.0 * x[1]
        return np.sum(b) + 0.5 * np.sum(a)

    return f


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("name", [*COPIES, *ALIASES])
def test_copies_keep_and_aliases_follow_a_later_write(name, target):
    f = written_after({**COPIES, **ALIASES}[name])
    value, gradient = gg.compile(gg.value_and_grad(f), "f64[4]", target=target)(POINT)
    assert value == f(POINT)
    step = 1e-6
    slopes = [(f(POINT + step * e) - f(POINT - step * e)) / (2 * step) for e in np.eye(4)]
    np.testing.assert_allclose(gradient, slopes, atol=1e-8)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_read_after_a_write_to_its_array_is_refused(name):
    with pytest.raises(gg.UnsupportedError, match="taken after the last write") as caught:
        gg.compile(gg.value_and_grad(written_after(VIEWS[name])), "f64[4]")
    assert "test_assignment.py" in str(caught.value)
    assert ".copy()" in str(caught.value)


def test_a_view_of_the_argument_survives_writes_to_its_copy():
    def f(x):
        out = x.copy()
        square = x.reshape(2, 2)
        out[0] = x[1]
        return np.sum(square @ square) + np.sum(out)

    assert gg.compile(gg.value_and_grad(f), "f64[4]")(POINT)[0] == f(POINT)
