"""`in`, keys and `type()` with traced numbers: compared by value, or refused; never looked up by what stands for them."""

import numpy as np
import pytest

import gradgen as gg

NUMBERS = np.array([1, 2])


def in_a_set(x, k):
    return x * 2.0 if k in {1, 2} else x * 3.0


def in_a_tuple(x, k):
    if k in (1, 2) and x > 0.0:
        return x * 2.0
    return x * 3.0


def in_the_keys(x, k):
    return x * 2.0 if k in {1: 0, "a": 1} else x * 3.0


def not_in_a_frozenset(x, k):
    return x * 2.0 if k not in frozenset([1]) else x * 3.0


def in_a_range(x, k):
    return x * 2.0 if k in range(1, 3) else x * 3.0


def in_an_array(x, k):
    return x * 2.0 if k in NUMBERS else x * 3.0


def nowhere(x, k):
    return x * 2.0 if k in ("a",) else x * 3.0


@pytest.mark.parametrize(
    "f",
    [in_a_set, in_a_tuple, in_the_keys, not_in_a_frozenset, in_a_range, in_an_array, nowhere],
)
def test_a_traced_number_is_found_by_its_value(f):
    for target in ("numpy", "c"):
        fn = gg.compile(f, "f64[]", "i64[]", target=target)
        assert [fn(1.5, k) for k in (0, 1, 2, 3)] == [f(1.5, k) for k in (0, 1, 2, 3)]


def test_a_plain_number_is_found_in_a_traced_array():
    def f(x):
        return np.sum(x) if 2.0 in x else np.prod(x)

    fn = gg.compile(f, "f64[n]")
    assert [fn([3.0, last]) for last in (2.0, 4.0)] == [5.0, 12.0]


def from_a_dict(x, k):
    return x * {1: 2.0}.get(k, 3.0)


def into_a_set(x, k):
    seen = {1}
    seen.add(k)
    return x * len(seen)


@pytest.mark.parametrize("f", [from_a_dict, into_a_set])
def test_keys_are_plain(f):
    with pytest.raises(gg.TraceError, match="plain value for its key"):
        gg.compile(f, "f64[]", "i64[]")


def test_arrays_remembered_under_themselves():
    def f(x):
        known = {}
        if known.get(x) is None and x not in known:
            known[x] = np.sum(x)
        return known[x] * known.get(x)

    assert gg.compile(f, "f64[n]")([1.0, 2.0]) == 9.0


def test_the_type_of_an_array_is_numpys():
    def f(x):
        return np.sum(x) if type(x) is np.ndarray else np.sum(x) * 7.0

    assert gg.compile(f, "f64[n]")([1.0, 2.0]) == 3.0


def test_the_type_of_a_number_is_the_callers():
    def f(x):
        return x if type(x) is float else x * 7.0

    with pytest.raises(gg.TraceError, match=r"type\(\)(.|\n)*isinstance\(x, float\)"):
        gg.compile(f, "f64[]")
