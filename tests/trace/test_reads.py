"""A traced number has no text, hash or identity to decide by: programs that would are refused at their line."""

# The functions under test are written to use constructs, not to use them well.
# ruff: noqa: C405, C416, C420, F632, UP031, UP032

from __future__ import annotations

import collections
import copy
import math
import operator
import pickle

import numpy as np
import pytest

import gradgen as gg


def text_is(x, k):
    return x if str(x) == "0.5" else 2.0 * x


def text_as_formatted(x, k):
    return x if f"{x:.1f}" == "0.5" else 2.0 * x


def text_with_words(x, k):
    return x if f"x = {x}" == "x = 0.5" else 2.0 * x


def text_by_percent(x, k):
    return x if "%s" % x == "0.5" else 2.0 * x


def text_by_format(x, k):
    return x if "{}".format(x) == "0.5" else 2.0 * x


def text_joined(x, k):
    return x if ",".join(map(str, [x, x])) == "0.5,0.5" else 2.0 * x


def text_counted(x, k):
    return len(str(x)) * x


def text_read(x, k):
    return float(str(x)) * x


def text_searched(x, k):
    return x if repr(x).startswith("0") else 2.0 * x


def text_contains(x, k):
    return x if "5" in f"{x}" else 2.0 * x


def text_as_key(x, k):
    return {"0.5": 1.0}.get(str(x), 2.0) * x


def set_display(x, k):
    return len({k, 1}) * x


def dict_display(x, k):
    return len({k: 1.0, 1: 2.0}) * x


def set_comprehension(x, k):
    return len({j for j in (k, 1)}) * x


def dict_comprehension(x, k):
    return len({j: 0 for j in (k, 1)}) * x


def set_of(x, k):
    return len(set([k, 1])) * x


def frozen(x, k):
    return len(frozenset((k, 1))) * x


def keys_of(x, k):
    return len(dict.fromkeys([k, 1])) * x


def counted(x, k):
    return collections.Counter([k, 1])[1] * x


def added(x, k):
    seen = set()
    seen.add(k)
    return x if 1 in seen else 2.0 * x


def stored(x, k):
    table = {}
    table[k] = x
    return table.get(1, 2.0 * x)


def updated(x, k):
    seen = {1}
    seen.update([k])
    return len(seen) * x


def pair_as_key(x, k):
    return len({(k, 0), (1, 0)}) * x


def hashed(x, k):
    return x if hash(k) == hash(1) else 2.0 * x


def is_true(x, k):
    return x if (x > 0.0) is True else 2.0 * x


def is_not_false(x, k):
    return x if (x > 0.0) is not False else 2.0 * x


def is_one(x, k):
    return x if k is 1 else 2.0 * x


def is_other(x, k):
    return x if operator.is_(2.0 * x, x + x) else 2.0 * x


def class_is(x, k):
    return x if x.__class__ is float else 2.0 * x


def has_shape(x, k):
    return x if hasattr(x, "shape") else 2.0 * x


def repeated(x, k):
    return len([x] * k) * x


def caught(x, k):
    try:
        scale = complex(x).real
    except Exception:
        scale = 7.0
    return scale * x


def caught_bare(x, k):
    try:
        scale = complex(x).real
    except:  # noqa: E722
        scale = 7.0
    return scale * x


def to_a_modulus(x, k):
    return pow(k, 2, 3) * x


REFUSED = [
    text_is, text_as_formatted, text_with_words, text_by_percent, text_by_format, text_joined, text_counted, text_read,
    text_searched, text_contains, text_as_key, set_display, dict_display, set_comprehension, dict_comprehension, set_of, frozen,
    keys_of, counted, added, stored, updated, pair_as_key, hashed, is_true, is_not_false, is_one, is_other, class_is, has_shape,
    repeated, caught, caught_bare, to_a_modulus,
]  # fmt: skip


@pytest.mark.parametrize("f", REFUSED, ids=[f.__name__ for f in REFUSED])
def test_what_would_decide_by_more_than_the_number_is_refused(f):
    with pytest.raises(gg.GradgenError) as caught:
        gg.compile(f, "f64[]", "i64[]")
    first = f.__code__.co_firstlineno
    lines = {line for *_, line in f.__code__.co_lines() if line is not None}
    file, line = caught.value.site[:2]
    assert file == __file__ and line in lines and line > first


def whole(x, a):
    return x if x.is_integer() else 2.0 * x


def close(x, a):
    return x if math.isclose(x, 2.0 + 1e-12) and not math.isclose(x, a[0]) else 3.0 * x


def truncated(x, a):
    return math.trunc(1.3 * x) * x


def far(x, a):
    return math.hypot(x, *a)


def counted_truths(x, a):
    return sum([x > 1.0, x > 0.0, x > 9.0]) * x


def sorted_in_place(x, a):
    items = [x, a[1], a[0]]
    items.sort(reverse=True)
    return items[0] * 4.0 + items[1] * 2.0 + items[2]


def has_what_all_numbers_have(x, a):
    return x if hasattr(x, "real") and not hasattr(x, "__len__") else 3.0 * x


def copied(x, a):
    b = 1.0 * a
    c, d = copy.copy(b), copy.deepcopy([b, b])
    c[0] = 5.0
    d[0][1] = 7.0
    return np.sum(a * b) + np.sum(a * c) + np.sum(a * d[1]) + copy.copy(x) * copy.deepcopy(x)


def copied_before_a_write(x, a):
    b = np.zeros(3)
    b[1] = a[1]
    c = copy.copy(b)
    c[0] = x
    b[2] = x
    return np.sum(a * b) + np.sum(a * c * c)


def copied_with_what_holds_it(x, a):
    model = copy.deepcopy({"w": a, "b": x})
    model["w"][0] = 5.0
    return np.sum(a) + np.sum(model["w"] * a) + model["b"]


def prints(x, a):
    text = f"{x} and {a}"
    print(text, "x = %s" % x, str(x).ljust(9))
    try:
        return x * a[0]
    except Exception as error:
        raise ValueError(f"{x} does not fit") from error


SUPPORTED = [
    whole, close, truncated, far, counted_truths, sorted_in_place, has_what_all_numbers_have, copied, copied_before_a_write,
    copied_with_what_holds_it, prints,
]  # fmt: skip


@pytest.mark.parametrize("f", SUPPORTED, ids=[f.__name__ for f in SUPPORTED])
@pytest.mark.parametrize("x", [2.0, 2.5, -3.0])
def test_what_has_a_meaning_is_what_plain_python_says(f, x, capsys):
    a = np.array([1.5, 4.0, -0.5])
    compiled = gg.compile(f, "f64[]", "f64[3]", target="numpy")
    assert np.allclose(compiled(x, a.copy()), f(x, a.copy()))


def test_a_traced_array_is_not_pickled():
    with pytest.raises(gg.TraceError, match="pickling needs an eager Value"):
        gg.compile(lambda a: len(pickle.dumps(a)) * a[0], "f64[3]")


def test_an_error_of_the_program_is_caught_as_ever():
    def f(a):
        try:
            scale = a[7]
        except Exception:
            scale = 2.0
        return scale * a[0]

    assert gg.compile(f, "f64[3]")([3.0, 0.0, 0.0]) == 6.0


def size_as_text(x):
    return 2.0 * x if str(x.shape[0]) == "3" else x


def size_in_words(x):
    return 2.0 * x if f"n = {x.shape[0]}" == "n = 3" else x


def shape_as_text(x):
    return 2.0 * x if str(x.shape) == "(3,)" else x


def size_as_key(x):
    return x * {3: 1.0, 4: 2.0}.get(x.shape[0], 5.0)


def size_in_set(x):
    return x * len({x.shape[0], 3})


def shape_among_keys(x):
    return 2.0 * x if x.shape in {(3,): 1} else x


@pytest.mark.parametrize(
    "f",
    [size_as_text, size_in_words, shape_as_text, size_as_key, size_in_set, shape_among_keys],
    ids=lambda f: f.__name__,
)
def test_a_symbolic_size_is_not_read_as_its_letter(f):
    with pytest.raises(gg.TraceError) as caught:
        gg.compile(f, "f64[n]")
    assert caught.value.site[1] == f.__code__.co_firstlineno + 1
    assert np.array_equal(
        gg.compile(f, "f64[3]")(np.ones(3)), f(np.ones(3))
    )  # known, it is a number


def test_symbolic_sizes_are_printed_and_compared():
    def f(x):
        text = f"{x.shape[0]} {x.shape}" + str(x.shape)
        print(text, x.shape[0])
        return 2.0 * x if x.shape[0] in {3: 1} and x.shape[0] in (3, 4) else x

    fn = gg.compile(f, "f64[n]")
    assert fn(np.ones(3)).tolist() == [2.0, 2.0, 2.0] and fn(np.ones(2)).tolist() == [1.0, 1.0]
