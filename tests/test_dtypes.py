"""The dtype of a result is NumPy's, whatever meets: arrays, Python's numbers, NumPy's numbers and captured arrays.

One exception, on purpose: no number and no array of floats that is captured widens f32.
"""

import re

import numpy as np
import pytest

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
