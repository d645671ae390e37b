"""Python's builtins, NumPy's scalar types and np.vectorize on traced values, at sizes known and not, in every target."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compilers import C

import gradgen as gg

X = np.array([0.5, 2.0, 1.5])


def joined(x):
    return np.sum(x) if any(x > 1.0) and all(x > 0.0) else np.prod(x)


def vectorized(x):
    relu = np.vectorize(lambda v, slope: v if v > 1.0 else slope * v, otypes=[float])
    return np.sum(relu(x, 0.1) ** 2)


def measured(x):
    return np.sum(x) / float(len(x)) * int(x.shape[0] > 2)


def rounded(x):
    return np.sum(round(x[0]) * x + np.float64(x[1]) * np.int64(x))


def largest(x):
    *_, a, b = sorted([x[0], x[1], x[2]])
    return a * b


def from_generator(x):
    return np.sum(np.fromiter((v * v for v in (x[0], x[1])), float))


def by_type(x):
    """What a caller's own numbers and arrays would take."""
    if not isinstance(x, np.ndarray) or isinstance(x[0], (int, np.ndarray)):
        return np.sum(x)
    return x[0] ** 2 if isinstance(x[0], float) else x[1]


@pytest.mark.parametrize("target", ["numpy", C])
@pytest.mark.parametrize("spec", ["f64[3]", "f64[n]"])
@pytest.mark.parametrize(
    ("f", "want"),
    [
        (joined, [1.0, 1.0, 1.0]),
        (vectorized, [2 * 0.01 * 0.5, 4.0, 3.0]),
        (measured, [1 / 3] * 3),
        (rounded, [0.0, 0 + 2 + 1, 1.0]),
        (largest, [0.0, 1.5, 2.0]),
        (from_generator, [1.0, 4.0, 0.0]),
        (by_type, [1.0, 0.0, 0.0]),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_gradients(f, want, spec, target):
    if f is rounded:
        want = np.round(X[0]) + X[1] * 0 + np.array([0.0, np.sum(np.int64(X)), 0.0])
    fn = gg.compile(gg.value_and_grad(f), spec, target=target)
    value, slope = fn(X)
    assert value == pytest.approx(float(f(X)), rel=1e-14)
    np.testing.assert_allclose(slope, want, rtol=1e-14)


def plain(x):
    """Without a test or assert, so that its rewritten copy is what runs."""
    return [
        x,
        sorted([3, 1, 2], key=lambda v: -v) == [3, 2, 1],
        any([0, 1]) and not all(iter([1, 0])) and float("2.5") == 2.5 and int("11", 2) == 3,
        list(np.fromiter((k for k in range(5)), int, 3)) == [0, 1, 2],
        np.vectorize(lambda k: k + 1)([1, 2]).tolist() == [2, 3],
        bool([]) is False and round(2.567, 2) == 2.57,
    ]


def test_plain_values_are_left_to_python():
    assert plain(1.0) == [1.0, True, True, True, True, True]
    assert gg.vjp(plain)(1.0, [1.0, False, False, False, False, False])[0] == plain(1.0)


TABLE_OF_SQUARES = np.array([0.0, 1.0, 4.0, 9.0, 16.0])


def looked_up(x):
    """Between the entries of a table: the index is rounded down and has no slope, what remains has one."""
    at = int(x)
    return TABLE_OF_SQUARES[at] + (TABLE_OF_SQUARES[at + 1] - TABLE_OF_SQUARES[at]) * (x - at)


def looked_up_by_math(x):
    at = min(max(math.floor(x), 0), 3)
    return TABLE_OF_SQUARES[at] + (TABLE_OF_SQUARES[at + 1] - TABLE_OF_SQUARES[at]) * (x - at)


def looked_up_nearest(x):
    return TABLE_OF_SQUARES[round(x)] + 2 * math.ceil(x) * x - 6 * x + (x - round(x)) * 3.0


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize(
    ("f", "slope"), [(looked_up, 5.0), (looked_up_by_math, 5.0), (looked_up_nearest, 3.0)]
)
def test_the_whole_part_of_a_traced_number_is_an_index(f, slope, target):
    fn = gg.compile(gg.value_and_grad(f), "f64[]", target=target)
    assert fn(2.25) == (pytest.approx(f(2.25), rel=1e-15), slope)
    assert fn(2.75)[0] == pytest.approx(f(2.75), rel=1e-15)
    with pytest.raises(gg.SpecError, match=r"an index needs integers.*\n.*\n.*int\(x\)"):
        gg.compile(lambda x: TABLE_OF_SQUARES[x * 1.5], "f64[]")


def test_functions_of_math_make_floats_of_integers():
    f = lambda x, k: (math.pow(k, -1) + math.fmod(k, 3) + math.fsum([k, k])) * x
    assert gg.compile(f, "f64[]", "i64[]")(2.0, 5) == f(2.0, 5)


@pytest.mark.parametrize("target", ["numpy", "python", "c"])
def test_numbers_taken_out_of_a_trace_keep_their_slope(target):
    def f(x):
        a, b, c = (x * 2.0).tolist()
        return float(a) * x[1:2].item() * 2.0 + c * x.item(1) + b * 0 + int(x[2]) * x[0]

    fn = gg.compile(gg.value_and_grad(f), "f64[3]", target=target)
    x = np.array([0.5, 2.0, 3.25])
    value, slope = fn(x)
    assert value == f(x)
    assert list(slope) == [4 * x[1] + 3.0, 4 * x[0] + 2 * x[2], 2 * x[1]]


def test_a_number_of_pythons_does_not_widen_f32():
    fn = gg.compile(gg.vjp(lambda x: float(x > 0.5) * x), "f32[]", "f32[]")
    assert [np.asarray(v).dtype for v in fn(np.float32(0.7), np.float32(1.0))] == [np.float32] * 2
    assert gg.compile(gg.grad(lambda x: int(x > 0.5) * x), "f64[]")(0.7) == 1.0
    for f in (lambda x: int(x > 0.5) * x, lambda x: int(x) * x):
        with pytest.raises(gg.TraceError, match=r"int\(\) needs a number.*\n.*\n.*np.trunc"):
            gg.compile(gg.grad(f), "f32[]")


TABLE = np.arange(6.0).reshape(2, 3)


def by_methods(x):
    """Methods of arrays that are no Values."""
    A = 2.0 * np.eye(3)
    y = TABLE.dot(x) * TABLE.T.take([0, 1]) + TABLE.clip(0.0, x[0]).sum(axis=1)
    return x.dot(A.dot(x)) + y.dot(y)


def checked(x):
    x = np.asarray_chkfinite(x)
    return np.sum(
        np.asarray_chkfinite([1.0, 2.0, 3.0]) * np.asarray_chkfinite([x[0], x[1] ** 2, 0.0])
    )


def at_least(x):
    A = np.array(x, ndmin=3)
    return np.sum(A * np.arange(6.0).reshape(2, 1, 3)) + np.sum(np.asfortranarray(A).T ** 2)


def by_range(x):
    return np.sum(x[range(2)] ** 2) + np.sum(x[range(2, 0, -1)])


def of_math(x):
    a = math.log(x[0], 2) + math.log(x[1], x[2]) + math.log(8, 2) + math.fsum([x[0], x[1] * x[2]])
    return (
        a * math.fmod(x[1], 0.7) + math.copysign(x[2], -1.0) + (0.0 if math.isnan(x[0]) else x[1])
    )


@pytest.mark.parametrize("target", ["numpy", C])
@pytest.mark.parametrize("f", [of_math, by_methods, checked, at_least, by_range])
def test_what_reaches_no_protocol(f, target):
    fn = gg.compile(gg.value_and_grad(f), "f64[3]", target=target)
    value, slope = fn(X)
    assert value == pytest.approx(float(f(X)), rel=1e-14)
    h = 1e-6
    steps = [(f(X + h * e) - f(X - h * e)) / (2 * h) for e in np.eye(3)]
    np.testing.assert_allclose(slope, steps, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("target", ["numpy", C])
def test_extremes_by_a_key(target):
    f = lambda x: (
        max(x, key=lambda v: -v) * max((v * v for v in x), default=0.0)
        + min([x[0], x[1], 0.1], key=lambda v: (v - 1.9) ** 2)
        + max([x[0], x[2]], key=lambda v: 1)
    )
    value, slope = gg.compile(gg.value_and_grad(f), "f64[3]", target=target)(X)
    assert value == pytest.approx(0.5 * 4.0 + 2.0 + 0.5, rel=1e-14)
    np.testing.assert_allclose(slope, [4.0 + 1.0, 2.0 * 2.0 * 0.5 + 1.0, 0.0], rtol=1e-14)
    with pytest.raises(gg.UnsupportedError, match="a key that is traced needs numbers"):
        gg.grad(lambda x: max([(x[0], 1.0), (x[1], 2.0)], key=lambda pair: pair[0])[0])(X)


def test_numbers_known_at_trace_time_are_checked():
    def f(x):
        return np.sum(x * np.asarray_chkfinite([1.0, np.inf, 2.0]))

    with pytest.raises(ValueError, match="must not contain infs or NaNs"):
        gg.grad(f)(X)


def filled(x):
    TABLE.fill(x[0])
    return np.sum(TABLE)


def test_a_method_that_writes_into_a_plain_array_is_refused():
    with pytest.raises(
        gg.UnsupportedError,
        match=r"needs an array made inside the function[\s\S]*TABLE\.fill\(x\[0\]\)",
    ):
        gg.compile(filled, "f64[3]")
