"""The dtype of a result is NumPy's, whatever meets: arrays, Python's numbers, NumPy's numbers and captured arrays.

One exception, on purpose: no number and no array of floats that is captured widens f32.
"""

import re

import numpy as np
import pytest
import scipy.special as sp

import gradgen as gg

ARRAYS = {
    "bool": np.array([True, False, True]),
    "i64": np.array([1, 2, 3]),
    "i32": np.array([3, 2, 1], np.int32),
    "f32": np.array([1, 2, 3], np.float32),
    "f64": np.array([3.0, 2.0, 1.0]),
}
CONSTANTS = {
    "True": True,
    "2": 2,
    "2.0": 2.0,
    "bool_": np.bool_(True),
    "int32": np.int32(2),
    "int64": np.int64(2),
    "float32": np.float32(2),
    "float64": np.float64(2),
    "array of i32": np.array([3, 1, 2], np.int32),
    "array of i64": np.array([3, 1, 2]),
    "array of f32": np.array([3, 1, 2], np.float32),
    "array of f64": np.array([3.0, 1.0, 2.0]),
    "0-d array of f32": np.array(2, np.float32),
}
OPERATORS = {
    "add": lambda a, b: a + b,
    "difference": lambda a, b: b * 3 + a,
    "where": lambda a, b: np.where(a > 1, a, b),
    "maximum": np.maximum,
    "hypot": np.hypot,
    "power": lambda a, b: np.abs(b) ** np.abs(a),
    "raised": lambda a, b: np.abs(a) ** np.abs(b),
}


KNOWN = [np.dtype(d) for d in ("float64", "float32", "int64", "int32", "bool")]


def cases(op):
    """(name, function of one array, the array, what NumPy makes of it)"""
    for dtype, x in ARRAYS.items():
        for constant, c in CONSTANTS.items():
            for side, f in (
                ("left", lambda x, c=c: op(c, x)),
                ("right", lambda x, c=c: op(x, c)),
            ):
                try:
                    y = f(x)
                except TypeError:
                    continue
                if dtype == "f32" and y.dtype == np.float64 and "array of i" not in constant:
                    y = y.astype(np.float32)
                if y.dtype in KNOWN:  # int8 and float16 are not gradgen's
                    yield re.sub(r"\W", "_", f"{dtype}_{constant}_{side}"), f, x, y


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_dtype_of_mixed_operands_is_numpys(operator):
    entries, wanted, refused = {}, {}, 0
    for name, f, x, y in cases(OPERATORS[operator]):
        spec = f"{name.split('_')[0]}[3]"
        try:
            found = gg.compile(f, spec, name=name)
        except gg.SpecError as error:
            assert "bool" in str(error)  # by name, at the user's line
            refused += 1
            continue
        same(found(x), y, name)
        if "32" in name:
            entries[name], wanted[name] = (f, (spec,)), (x, y)
    assert len(entries) > 4 * refused
    made = gg.module("mixed", entries, target="c")
    for name, (x, y) in wanted.items():
        same(getattr(made, name)(x), y, name)


def same(found, wanted, name):
    assert found.dtype == wanted.dtype, (name, found.dtype, wanted.dtype)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_a_choice_between_numbers_has_their_dtype(target):
    def f(k):
        single = np.where(k > 1, np.float32(1), 2.0)
        return (
            single,
            np.where(k > 1, np.float32(1), np.float64(2)),
            np.where(k > 1, 1, np.int32(2)),
        )

    k = np.array([1, 2])
    for found, y in zip(gg.compile(f, k="i64[n]", target=target)(k), f(k), strict=True):
        same(found, y, "choice")


def test_a_size_is_a_number_of_pythons():
    def f(k):
        return k * k.shape[0]

    for target in ("numpy", "c"):
        same(gg.compile(f, k="i32[n]", target=target)(ARRAYS["i32"]), f(ARRAYS["i32"]), target)


NEGATIVE = [
    lambda k: k ** np.array([1, -1]),
    lambda k: np.power(k, -1),
    lambda k: k ** np.int64(-2),
    lambda k: k**-1,
]


@pytest.mark.parametrize("f", NEGATIVE)
def test_integers_to_negative_powers_are_refused(f):
    with pytest.raises(gg.SpecError, match="integers are not raised to negative integer powers"):
        gg.compile(f, "i64[2]")


@pytest.mark.parametrize("target", ["numpy", "python", "c"])
def test_integers_to_powers_that_turn_out_negative(target):
    """NumPy's error; in C, whose functions compute no such test for each element, what its header says."""
    fn = gg.compile(lambda k: 2**k, "i64[]", target=target)
    assert fn(5) == 32
    text = " ".join("".join(fn.files.values()).replace("*", " ").split())
    assert "of integers, b < 0: ValueError, in C what" in text
    if target == "c":
        assert fn(-1) == 0
    else:
        with pytest.raises(ValueError, match=r"(?i)integers to negative integer powers"):
            fn(-1)


# Arrays of numbers at which dtypes differ: the last integers, halves, signed zeros, infinities and NaN.
EDGES = {
    "bool": np.array([True, False]),
    "i64": np.array([0, 3, -3, 2**63 - 1, -(2**63), 5000]),
    "f32": np.array([0.0, -0.0, 2.5, -np.inf, np.inf, np.nan], np.float32),
    "f64": np.array([0.0, -0.0, 2.5, -np.inf, np.inf, np.nan]),
}
OF_ONE = [
    (("f64", "f32", "i64"), lambda x: np.where(x, 1, 2)),
    (("f64", "f32", "i64"), lambda x: np.where(x, np.float32(1), 2)),
    (("f64", "f32", "i64", "bool"), lambda x: np.where(np.float64(1), x, 0)),
    (("f64", "f32", "i64", "bool"), lambda x: np.where([x[0] > 1, True], x[:2], 0)),
    (("i64", "bool"), lambda x: np.clip(2, x, None)),
    (("i64",), lambda x: np.clip(True, None, x)),
    (("i64",), lambda x: np.isclose(x, 0)),
    (("f64", "f32"), np.isreal),
    (("f64", "f32"), np.angle),
    (("i64",), lambda x: np.ldexp(0.0, x)),
    (("i64",), lambda x: np.ldexp(np.float32(2.5), x)),
    (("i64",), lambda x: np.ldexp(np.inf, -np.abs(x // 2))),
    (("f64", "f32"), lambda x: np.ldexp(x, 3)),
    (("f32",), lambda x: np.heaviside(x, True)),
    (("f32",), lambda x: np.logaddexp2(x, True)),
    (("bool",), lambda x: x**0),
    (("bool",), lambda x: x**0.0),
    (("bool",), lambda x: x**3),
    (("i64",), lambda x: x ** np.bool_(True)),
    (("f32",), lambda x: x + 2**63),
    (("i64",), sp.erf),
    (("i64",), sp.erfc),
    (("bool",), lambda x: sp.expit(x)),
    (("bool",), sp.log_ndtr),
    (("i64", "bool"), lambda x: np.max(x, initial=2.5)),
    (("i64",), lambda x: np.min(x, initial=True)),
    (("i64", "bool"), lambda x: np.sum(x, initial=2.5)),
    (("i64",), lambda x: np.max(x, where=x < 4, initial=-7.9)),
    (("bool",), lambda x: np.max(x, where=x, initial=0)),
    (("i64", "bool"), np.nansum),
    (("i64", "bool"), np.nanprod),
    (("i64", "bool"), np.nanmax),
    (("i64",), lambda x: np.nanmin(x, where=x > 0, initial=99)),
    (("i64",), np.nancumsum),
    (("i64", "bool"), np.maximum.accumulate),
    (("i64", "bool"), np.minimum.accumulate),
    (("i64", "bool"), lambda x: np.pad(x, 1)),
    (("i64", "bool"), lambda x: np.pad(x, 1, constant_values=-2.7)),
    (("i64",), lambda x: np.pad(x // 8, 2, mode="mean", stat_length=3)),
    (("i64",), lambda x: np.pad(x // 8, 3, mode="linear_ramp", end_values=(2, -5))),
    (("i64",), lambda x: np.pad(x, 2, mode="reflect", reflect_type="odd")),
    (("i64", "bool"), lambda x: np.insert(x, 1, 2.7)),
    (("f32",), lambda x: np.ediff1d(x, to_end=[1.5])),
    (("i64", "bool"), lambda x: np.einsum("i->", x)[None]),
]
OF_TWO = [
    lambda a, b: np.where(a, b, 0),
    lambda a, b: np.where(b, a, a),
    lambda a, b: np.heaviside(a, b),
    lambda a, b: np.logaddexp2(a, b),
    lambda a, b: np.isclose(a, b),
]


def in_both(calls, rtol):
    """Each (function, arrays): the dtype, shape and values of NumPy's result, in NumPy and in C."""
    entries = {
        f"call_{k}": (f, tuple(f"{spec_dtype(x)}[{len(x)}]" for x in arrays))
        for k, (f, arrays) in enumerate(calls)
    }
    in_c = gg.module("calls", entries, target="c")
    for k, (f, arrays) in enumerate(calls):
        with np.errstate(all="ignore"):
            wanted = f(*arrays)
            texts = gg.compile(f, *entries[f"call_{k}"][1], name="call")
            for found in (texts(*arrays), getattr(in_c, f"call_{k}")(*arrays)):
                found = np.asarray(found)
                assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), (k, arrays)
                np.testing.assert_allclose(found, wanted, rtol=rtol, err_msg=f"{k}")


def spec_dtype(x):
    return next(name for name, known in ARRAYS.items() if known.dtype == x.dtype)


def test_functions_of_one_array_at_the_edges_of_its_dtype():
    in_both([(f, (EDGES[d],)) for dtypes, f in OF_ONE for d in dtypes], 3e-7)


def test_functions_of_two_dtypes_are_computed_in_the_common_one():
    calls = []
    for f in OF_TWO:
        for a in EDGES:
            for b in EDGES:
                pairs = np.repeat(EDGES[a], len(EDGES[b])), np.tile(EDGES[b], len(EDGES[a]))
                with np.errstate(all="ignore"):
                    if f(*pairs).dtype != np.float16:
                        calls.append((f, pairs))
    in_both(calls, 1e-6)


def test_what_is_computed_of_f32_and_f64_is_precise():
    x, y = np.float32([1.1, -3.3]), np.array([0.7, 2.2])
    for f in (np.logaddexp2, sp.xlogy, sp.xlog1py):
        found = gg.compile(lambda x, y, f=f: f(np.abs(x), y), "f32[2]", "f64[2]")(x, y)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, f(np.abs(x), y), rtol=1e-15)


OF_TRUTH = [
    lambda x: +x,
    np.fabs,
    np.deg2rad,
    np.degrees,
    np.modf,
    np.frexp,
    lambda x: np.ldexp(x, 2),
    np.round,
    lambda x: round(x[0]),
    np.conj,
    np.ediff1d,
    lambda x: x**2,
    lambda x: x**True,
    lambda x: np.heaviside(x, True),
    lambda x: np.logaddexp2(x, x),
    lambda x: np.logaddexp.reduce(x),
    lambda x: np.quantile(x, 0.3),
    np.gradient,
    np.trapezoid,
    lambda x: np.convolve(x, x),
    lambda x: np.correlate(x, [True]),
    sp.softmax,
    sp.log_softmax,
]


@pytest.mark.parametrize("k", range(len(OF_TRUTH)))
def test_what_numpy_refuses_of_truth_values_or_answers_in_small_dtypes_is_refused(k):
    """float16 and int8, which gradgen has no names for, or UFuncTypeError."""
    with pytest.raises(gg.SpecError, match="needs numbers, got bool"):
        gg.compile(OF_TRUTH[k], "bool[3]")


@pytest.mark.parametrize(
    ("spec", "f"),
    [
        ("i64[2]", lambda k: k + 2**63),
        ("i64[2]", lambda k: k < 2**63),
        ("bool[2]", lambda k: k * -(2**70)),
        ("i32[2]", lambda k: 2**40 * k),
    ],
)
def test_integers_that_are_too_large_for_the_dtype_they_meet_are_refused(spec, f):
    with pytest.raises(gg.SpecError, match="needs to fit into i"):
        gg.compile(f, spec)


def test_ldexp_needs_integers():
    with pytest.raises(gg.SpecError, match="ldexp needs integers"):
        gg.compile(lambda x: np.ldexp(x, x), "f64[2]")


def test_integers_have_no_infinity_to_start_from():
    with pytest.raises(gg.SpecError, match="needs a finite initial="):
        gg.compile(lambda k: np.max(k, initial=-np.inf), "i64[n]")


def test_ends_of_differences_of_integers_are_integers():
    with pytest.raises(gg.SpecError, match="needs integers for its ends"):
        gg.compile(lambda k: np.ediff1d(k, to_end=2.5), "i64[3]")


def chosen(x, y):
    a = x[0] if x[0] > 0 else 2.5
    if x[1] > 0:
        b = 0
    else:
        b = x[1]
    return a, b, a * y


def test_numbers_of_pythons_in_one_branch_widen_nothing():
    x, y = np.float32([-1.5, -2.0]), np.float32([3.0])
    for target in ("numpy", "c"):
        for found, wanted in zip(
            gg.compile(chosen, "f32[2]", "f32[1]", target=target)(x, y), chosen(x, y), strict=True
        ):
            assert np.asarray(found).dtype == np.float32
            np.testing.assert_array_equal(found, wanted)


OF_F32_AND = [  # (the other operand's spec, its value, a function whose derivative has a helper of two operands)
    ("f32[2]", np.float32([0.5, 2.0]), lambda x, y: np.logaddexp2(x, 1) + y),
    ("bool[2]", np.array([True, False]), lambda x, y: np.logaddexp(x, y)),
    ("i64[2]", np.array([1, 2]), lambda x, y: np.logaddexp(x, y.astype(np.float32))),
]


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize(("spec", "y", "f"), OF_F32_AND, ids=lambda v: v if type(v) is str else "")
def test_cotangents_and_tangents_of_f32_are_f32_whatever_stands_beside(spec, y, f, target):
    x, one = np.float32([0.25, -1.5]), np.ones(2, np.float32)
    _, x_bar = gg.compile(gg.vjp(f), "f32[2]", spec, "f32[2]", target=target)(x, y, one)
    _, y_dot = gg.compile(gg.jvp(f), "f32[2]", spec, "f32[2]", target=target)(x, y, one)
    assert x_bar.dtype == y_dot.dtype == np.float32
    np.testing.assert_allclose(x_bar, y_dot, rtol=1e-6)


JOINED = [
    lambda k, y: np.concatenate([k, y])[:-1] * np.concatenate([k, y])[1:],
    lambda k, y: np.stack([k, y])[0] * np.stack([k, y], axis=1)[:, 0],
    lambda k, y: np.stack([k > 1, y])[0] + np.array([k[0], y[0]])[0],
    lambda k, y: np.append(y, k)[2] * np.append(y, k)[2] + y,
]


@pytest.mark.parametrize("target", ["numpy", "c", "python"])
def test_joined_parts_are_computed_with_in_the_dtype_of_the_whole(target):
    """Products that would wrap around as integers, sums that would be `or`."""
    k, y = np.array([2**62, 3]), np.array([0.5, 2.0])
    for f in JOINED:
        found = gg.compile(f, "i64[2]", "f64[2]", name="joined", target=target)(k, y)
        np.testing.assert_allclose(found, f(k, y), rtol=1e-15)


@pytest.mark.parametrize("target", ["numpy", "c", "python"])
def test_a_sign_before_a_product_is_not_that_of_its_integer(target):
    def f(k, m, y):
        return -(k * y), -(k / 2), -(m * y)

    k, m, y = np.array([-(2**63), 3]), np.array([True, False]), np.array([0.5, 2.0])
    fn = gg.compile(f, "i64[2]", "bool[2]", "f64[2]", target=target)
    for found, wanted in zip(fn(k, m, y), f(k, m, y), strict=True):
        np.testing.assert_array_equal(found, wanted)


def carried(body, starts):
    """The last carries of a loop over x, as a gg.scan and as plain NumPy."""

    def found(x, y):
        return gg.scan(lambda c, u: (body(c, u, y), None), starts, x)[0]

    def plain(x, y):
        c = starts
        for u in x:
            c = body(c, u, y)
        return c

    return found, plain


@pytest.mark.parametrize(
    ("body", "starts"),
    [
        (
            lambda c, u, y: (np.tanh(c[0] + u), c[1] * 0.5 + 1),
            (0.2, 0.3),
        ),  # the second meets no f32
        (lambda c, u, y: (c[1] + u, c[0]), (0.1, 0)),
        (lambda c, u, y: (c[1], c[2], c[0] + u * y[0]), (0.1, 0.0, 0.7)),  # f64 goes round
        (lambda c, u, y: (np.where(u > 0, c[0], 0.7) + 0.1, c[1] + u * y), (0.1, 0.1)),
    ],
)
def test_a_number_of_pythons_that_a_loop_carries_does_not_widen_f32(body, starts):
    x, y = np.float32([0.5, -0.25, 0.75]), np.array([0.3, 0.6])
    found, plain = carried(body, starts)
    for got, want in zip(gg.compile(found, "f32[n]", "f64[m]")(x, y), plain(x, y), strict=True):
        assert np.asarray(got).dtype == np.asarray(want).dtype
        np.testing.assert_allclose(
            got, want, rtol=1e-6 if np.asarray(got).dtype == np.float32 else 1e-14
        )


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_functions_that_numpy_computes_in_f64_whatever_they_are_given(target):
    calls = {
        "cov": (np.cov, np.array([[0.3, 1.7, 0.9], [2.0, 0.1, 0.4]])),
        "corrcoef": (np.corrcoef, np.array([[0.3, 1.7, 0.9], [2.0, 0.1, 0.4]])),
        "vander": (lambda x: np.vander(x, 3), np.array([0.1, 3.0])),
        "bincount": (lambda w: np.bincount([0, 2, 0], w), np.array([0.3, 1.7, 0.9])),
    }
    for name, (f, x) in calls.items():
        f32 = x.astype(np.float32)
        fn = gg.compile(f, f32, name=name, target=target)
        np.testing.assert_allclose(fn(f32), f(f32), rtol=1e-14, err_msg=name)
        assert fn(f32).dtype == np.float64, name
        bar = gg.compile(gg.grad(lambda x, f=f: np.sum(f(x) ** 2)), f32, name=name, target=target)
        assert bar(f32).dtype == np.float32, name


def test_vander_of_truth_values_counts():
    x = np.array([True, False])
    found = gg.compile(lambda x: np.vander(x, 3), x)(x)
    np.testing.assert_array_equal(found, np.vander(x, 3))
    assert found.dtype == np.int64


def test_truth_values_and_integers_in_series_and_products():
    k, m = np.array([3, 1, 2]), np.array([True, False, True])
    for f in (
        np.polynomial.polynomial.polyval,
        np.polynomial.chebyshev.chebval,
        np.polynomial.legendre.legval,
    ):
        for x in (k, m):
            found = gg.compile(f, x, x)(x, x)
            np.testing.assert_array_equal(found, f(x, x))
            assert found.dtype == np.float64
    rows = np.stack([m, ~m])
    found = gg.compile(np.vecdot, rows, rows)(rows, rows)
    np.testing.assert_array_equal(found, np.vecdot(rows, rows))
    assert found.dtype == np.bool_
    with pytest.raises(gg.SpecError, match="needs numbers"):
        gg.compile(lambda x: np.pad(x, 1, mode="reflect", reflect_type="odd"), m)
