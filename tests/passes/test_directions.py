"""x / sqrt(x*x + c): value, slope and curvature to the last digits over the range of floats, where the plain form cancels."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from compilers import TARGETS

import gradgen as gg

POINTS = [s * 1.7 * 10.0**k for k in range(-300, 301, 12) for s in (1, -1)]


def unit(x):
    return x / np.sqrt(x * x + 4.0)


def near(found, known):
    """Within four roundings, where the number is not denormal."""
    return abs(known) < 1e-300 or abs(mp.mpf(float(found)) / known - 1) < 9e-16


@pytest.mark.parametrize("target", TARGETS)
def test_a_direction_and_its_derivatives_do_not_cancel(target):
    grad = gg.compile(gg.value_and_grad(unit), "f64[]", target=target)
    bend = gg.compile(gg.hvp(unit), "f64[]", "f64[]", target=target)
    with mp.workdps(700):
        for x in POINTS:
            length = mp.sqrt(mp.mpf(x) ** 2 + 4)
            value, slope = grad(x)
            assert near(value, x / length), x
            assert near(slope, 4 / length**3), x
            assert near(bend(x, 1.0), -12 * mp.mpf(x) / length**5), x


def test_the_length_is_computed_once():
    source = gg.compile(gg.value_and_grad(lambda x: np.sum(unit(x))), "f64[n]").source
    assert source.count("np.hypot(") == 1
