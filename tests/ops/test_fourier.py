"""np.fft: row by row in the interpreter and the NumPy target; what the other targets and complex results are told."""

from __future__ import annotations

import numpy as np
import pytest
from ops import test_functions
from ops.test_array_ops import scaled

import gradgen as gg
from gradgen.ir import OPS

# fmt: off
ROWS = [
    lambda v: np.abs(np.fft.fft(v)),
    lambda v: np.real(np.fft.fft(v)) + np.imag(np.fft.fft(v)),
    lambda v: np.fft.ifft(np.fft.fft(v)).real,
    lambda v: np.abs(np.fft.rfft(v)) ** 2,
    lambda A: np.abs(np.fft.fft(A, axis=0)),
    lambda A: np.abs(np.fft.fft2(A)),
    lambda A: np.fft.ifft2(np.fft.fft2(A) ** 2).real,
    lambda A: np.abs(np.conj(np.fft.fftn(A)) / (1 + 2j)),
    lambda v, w: np.real(np.fft.ifft(np.fft.fft(v) * np.fft.fft(w))),
    lambda v, w: np.fft.irfft(np.fft.rfft(v) * np.fft.rfft(w), 5),
    lambda B: np.fft.irfft(np.fft.rfft(B, axis=1) * 2j, axis=1),
    lambda v: np.fft.irfft(np.fft.rfft(v), 5),
    lambda A: np.abs(np.fft.rfft2(A)) ** 2,
    lambda A: np.fft.irfft2(np.fft.rfft2(A) * 2.0, s=(3, 4)),
    lambda A: np.abs(np.fft.rfftn(A, s=(2, 5), axes=(1, 0), norm="ortho")),
    lambda A: np.fft.irfftn(np.fft.rfftn(A), axes=(1,)),
    lambda v: np.fft.fft(v, 8).imag,
    lambda v: np.fft.fft(v, 3, norm="ortho").real,
    lambda v: np.fft.ifft(v, norm="forward").real,
    lambda v: np.angle(np.fft.rfft(v)),
    lambda v: np.abs(1.0 / np.fft.fft(v)),
    lambda v: np.abs(np.sum(np.fft.fft(v)[1:3])) + np.abs(-np.fft.fft(v) + 1.0),
    lambda v: np.fft.fftshift(np.abs(np.fft.fft(v))) + np.fft.ifftshift(v),
]
# fmt: on
ROW = pytest.mark.parametrize("f", test_functions.parameters(ROWS))


@ROW
def test_engine(f):
    test_functions.test_engine(f)


@ROW
def test_numpy_target(f):
    test_functions.test_numpy_target(f)


@ROW
def test_float32(f):
    test_functions.test_float32(f)


@pytest.mark.parametrize("kind", ["vjp"])
def test_a_wrong_rule_is_found(kind):
    op, rules = OPS["dft"], OPS["dft"].vjp
    object.__setattr__(op, kind, scaled(rules, 1.001))
    try:
        with pytest.raises(AssertionError):
            test_functions.test_engine(ROWS[0])
    finally:
        object.__setattr__(op, kind, rules)


def test_symbolic_sizes():
    fn = gg.compile(gg.value_and_grad(lambda x: np.sum(np.abs(np.fft.rfft(x)) ** 2)), "f64[n]")
    for n in (1, 4, 7):
        x = np.arange(1.0, n + 1.0)
        value, bar = fn(x)
        assert value == pytest.approx(np.sum(np.abs(np.fft.rfft(x)) ** 2))
        assert bar @ x == pytest.approx(2.0 * value)


def test_refused_by_name():
    spectrum = lambda x: np.abs(np.fft.fft(x))
    for target in ("c", "python"):
        with pytest.raises(gg.EmitError, match="has no dft"):
            gg.compile(spectrum, "f64[4]", target=target).source  # noqa: B018
    with pytest.raises(gg.SpecError, match="needs to return Values"):
        gg.compile(lambda x: np.fft.fft(x), "f64[4]")
    with pytest.raises(gg.UnsupportedError, match="exp of complex numbers"):
        gg.compile(lambda x: np.exp(np.fft.fft(x)), "f64[4]")
    with pytest.raises(gg.UnsupportedError, match="raised to positive integers"):
        gg.compile(lambda x: np.fft.fft(x) ** 0.5, "f64[4]")
    with pytest.raises(gg.SpecError, match="axis of known length"):
        gg.compile(lambda x: np.fft.irfft(np.fft.rfft(x)), "f64[n]")
