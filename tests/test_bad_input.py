"""Bad input, by the message: what was needed and what came, the line of the user's function, the remedy."""

from __future__ import annotations

import inspect
import math
import os
import random
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compilers import ARRAY_TARGETS, TARGETS, needs_c
from scipy import stats

import gradgen as gg


def refusal(kind, call):
    """The message of the error that `call` raises."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def cites(message, f, text):
    """Whether the message cites this file, the line of `f` that holds `text`, and its source."""
    lines, first = inspect.getsourcelines(f)
    number = next(first + k for k, line in enumerate(lines) if text in line)
    wanted = f"test_bad_input.py:{number}: {lines[number - first].strip()}"
    assert wanted in message, f"{wanted!r} is not in {message!r}"


# -- models, each with one line that is refused
def mismatched(w, X):
    return np.sum(X @ w)


def adds_two_sizes(x, y):
    z = x + y
    return np.sum(z)


def indexes_with_a_mask(x):
    return np.sum(x[x > 0])


def counts_distinct(x):
    y = np.unique(x)
    return np.sum(y)


def transforms(x):
    return np.sum(np.fft.hfft(x))


def asserts(x):
    assert np.sum(x) > 0
    return np.sum(x)


def conjoins(x):
    return np.sum(x) * (x > 0 and x < 1)


def iterates(x):
    return sum(v * w for v in x for w in x)


def floats(x):
    return float(x) * 2.0


def floats_where_python_asks(x):
    return sum(map(float, x)) * 2.0


def items(x):
    return x.item()


def indexes_a_list(x):
    return [1.0, 2.0, 3.0][x[0]]


def writes(x):
    x[0] = 1.0
    return np.sum(x)


def adds_in_place(x):
    x += 1.0
    return np.sum(x)


def writes_through_out(x):
    np.add(x, 1.0, out=x)
    return np.sum(x)


def writes_into_a_structure(p):
    p["w"][0] = 2.0
    return np.sum(p["w"])


def fills_a_plain_array(x):
    TABLE[0] = x[0]
    return np.sum(TABLE)


def draws_from_the_global_generator(x):
    noise = np.random.rand()
    return np.sum(x) * noise


def draws_from_a_generator(x):
    noise = GENERATOR.normal(size=3)
    return np.sum(x * noise)


def makes_a_generator(x):
    return np.sum(x) * np.random.default_rng(0).normal()


def draws_from_the_standard_library(x):
    return np.sum(x) * random.random()


def draws_from_a_distribution(x):
    return np.sum(x) * stats.norm.rvs()


def deletes_the_largest(x):
    return np.sum(np.delete(x, np.argmax(x)))


def repeats_as_told(x):
    return np.sum(np.repeat(x, x.astype(int)))


def repeats_too_few(x):
    return np.sum(np.repeat(x, [1, 2]))


def finds_places(x):
    return np.sum(x[x.nonzero()])


def draws_in_a_helper(x):
    return np.sum(x) * helper_that_draws()


def helper_that_draws():
    return GENERATOR.uniform()


def takes_complex(x):
    return np.sum(x * 1j)


def wrong_axis(x):
    return np.sum(x, axis=3)


def too_many_indices(x):
    return x[0, 0]


def out_of_range(x):
    return x[7]


def reshapes(x):
    return np.sum(x.reshape(2, 2))


def sorts_by_key(x):
    return sorted(x, key=abs)[0]


def enumerates(x):
    return sum(v for _, v in np.ndenumerate(x))


def vectorises(x):
    return np.sum(np.vectorize(np.sum, signature="(n)->()")(x))


TABLE = np.zeros(3)
GENERATOR = np.random.default_rng(0)
THREE, ANY = ("f64[3]",), ("f64[n]",)

# model, specs, the error, what it must say, the text of the line to cite
ROWS = [
    (
        mismatched,
        ("f64[d]", "f64[n,k]"),
        gg.ShapeError,
        ["f64[n, k] @ f64[d]", "one letter"],
        "X @ w",
    ),
    (adds_two_sizes, ("f64[n]", "f64[m]"), gg.ShapeError, ["(n,) and (m,)", "x[:, None]"], "x + y"),
    (adds_two_sizes, ("f64[2]", "f64[3]"), gg.ShapeError, ["(2,) and (3,)"], "x + y"),
    (indexes_with_a_mask, ANY, gg.UnsupportedError, ["depends on data", "np.where"], "x[x > 0]"),
    (counts_distinct, ANY, gg.UnsupportedError, ["np.unique", "depends on data"], "np.unique"),
    (transforms, ANY, gg.UnsupportedError, ["np.fft.hfft", "gradgen ops"], "np.fft"),
    (asserts, ANY, gg.TraceError, ["truth value", "bool[]", "np.where"], "assert np.sum"),
    (conjoins, ANY, gg.UnsupportedError, ["scalar truth", "np.logical_and"], "x > 0 and"),
    (iterates, ANY, gg.TraceError, ["known at trace time", "n"], "for w in x"),
    (
        floats,
        THREE,
        gg.TraceError,
        ["float() needs a number", "f64[3]"],
        "float(x)",
    ),
    (
        floats_where_python_asks,
        THREE,
        gg.TraceError,
        ["float() needs a number", "Leave the float() out"],
        "map(float",
    ),
    (items, THREE, gg.ShapeError, ["reshape"], "item()"),
    (writes, THREE, gg.UnsupportedError, ["assignment into an array", "x.copy()"], "x[0] = 1.0"),
    (adds_in_place, THREE, gg.UnsupportedError, ["in-place +=", "x = x + ..."], "x += 1.0"),
    (
        writes_through_out,
        THREE,
        gg.UnsupportedError,
        ["assignment into an array needs an array made inside", "an argument", "x.copy()"],
        "out=x",
    ),
    (
        writes_into_a_structure,
        ({"w": "f64[2]"},),
        gg.UnsupportedError,
        ["assignment", "copy()"],
        '["w"][0] =',
    ),
    (
        fills_a_plain_array,
        THREE,
        gg.UnsupportedError,
        ["plain NumPy array", "np.zeros"],
        "TABLE[0] =",
    ),
    (
        draws_from_the_global_generator,
        THREE,
        gg.UnsupportedError,
        ["rand draws", "argument"],
        "random.rand",
    ),
    (
        draws_from_a_generator,
        THREE,
        gg.UnsupportedError,
        ["normal draws", "argument"],
        "GENERATOR.normal",
    ),
    (makes_a_generator, THREE, gg.UnsupportedError, ["default_rng", "argument"], "default_rng(0)"),
    (
        draws_from_a_distribution,
        THREE,
        gg.UnsupportedError,
        ["rvs draws", "argument"],
        "stats.norm.rvs",
    ),
    (
        deletes_the_largest,
        THREE,
        gg.UnsupportedError,
        ["np.delete", "depends on data", "np.where"],
        "np.delete",
    ),
    (repeats_as_told, THREE, gg.UnsupportedError, ["repeats", "depends on data"], "np.repeat"),
    (repeats_too_few, THREE, gg.ShapeError, ["np.repeat", "3 elements", "got 2"], "np.repeat"),
    (
        finds_places,
        THREE,
        gg.UnsupportedError,
        ["np.nonzero", "depends on data", "np.where"],
        "x.nonzero()",
    ),
    (
        draws_from_the_standard_library,
        THREE,
        gg.UnsupportedError,
        ["random", "argument"],
        "random.random",
    ),
    (
        takes_complex,
        THREE,
        gg.UnsupportedError,
        ["complex numbers are refused", "imaginary part apart"],
        "1j",
    ),
    (wrong_axis, THREE, (gg.ShapeError, gg.SpecError), ["axis", "3"], "axis=3"),
    (too_many_indices, THREE, (gg.ShapeError, gg.SpecError), ["f64[3]"], "x[0, 0]"),
    (out_of_range, THREE, (gg.ShapeError, IndexError), ["7"], "x[7]"),
    (reshapes, THREE, gg.ShapeError, ["3", "2, 2"], "reshape(2, 2)"),
    (vectorises, THREE, gg.UnsupportedError, [], "np.vectorize"),
    (sorts_by_key, THREE, gg.UnsupportedError, ["key", "argsort"], "key=abs"),
    (enumerates, ["f64[n]"], gg.UnsupportedError, ["sizes known", "f64[n]"], "np.ndenumerate"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].__name__)
def test_refused_while_tracing(row):
    model, specs, kind, says, text = row
    message = refusal(kind, lambda: gg.compile(gg.grad(model), *specs))
    for words in says:
        assert words in message, message
    cites(message, model, text)


def test_a_refusal_in_a_helper_cites_the_helper():
    message = refusal(gg.UnsupportedError, lambda: gg.compile(draws_in_a_helper, "f64[3]"))
    cites(message, helper_that_draws, "GENERATOR.uniform")


def test_the_same_refusals_on_arrays():
    message = refusal(gg.TraceError, lambda: gg.grad(asserts)(np.ones(3)))
    cites(message, asserts, "assert np.sum")


def test_nothing_was_written_by_refused_models():
    assert not TABLE.any()


# -- specs
def two(w, X):
    return np.sum(X @ w)


SPECS = [
    ((), {}, "needs a spec for w", "Add w="),
    (("f64[d]",), {}, "needs a spec for X", "Add X="),
    (("f64[d]", "f64[n,d]", "f64[]"), {}, "takes 2 arguments (w, X), got 3 specs", ""),
    (("f64[d]", "f64[n,d]"), {"z": "f64[]"}, "no parameter z; it takes w, X", ""),
    (("f64[d]", "f64[n,d]"), {"w": "f64[]"}, "w needs one spec", ""),
    (("f63[d]", "f64[n,d]"), {}, "w: a spec needs a dtype", "gg.static"),
    (("f64[d", "f64[n,d]"), {}, "got 'f64[d'", "gg.static"),
    (("f64[d+]", "f64[n,d]"), {}, "got 'd+'", ""),
    (("f64[1.5]", "f64[n,d]"), {}, "got '1.5'", ""),
    (("f64[-1]", "f64[n,d]"), {}, "zero or more", ""),
    (("f64[__import__('os').getcwd()]", "f64[n,d]"), {}, "a size needs integers, letters", ""),
    (("f64[d]", "f64[n,d] < n"), {}, "integer dtype", ""),
    (("f64[d]", "i64[n,d] < q"), {}, "the size q of X", '"size"'),
    (("text", "f64[n,d]"), {}, "got 'text'", "gg.static"),
    ((1j, "f64[n,d]"), {}, "got complex", "gg.static"),
    ((np.ones(2, complex), "f64[n,d]"), {}, "got complex128", "astype"),
    ((np.ones(2, np.uint8), "f64[n,d]"), {}, "got uint8", "astype"),
    ((np.array(["a"]), "f64[n,d]"), {}, "<U1", ""),
    ((object(), "f64[n,d]"), {}, "got object", "gg.static"),
]


@pytest.mark.parametrize("row", SPECS, ids=[row[2] for row in SPECS])
def test_specs_are_refused(row):
    positional, named, says, remedy = row
    for f in (two, gg.grad(two)):
        message = refusal(gg.SpecError, lambda f=f: gg.compile(f, *positional, **named))
        assert says in message and remedy in message, message
        assert "test_bad_input.py:" in message


OPTIONS = [
    ({"target": "rust"}, "numpy, python, c, got 'rust'"),
    ({"name": "a b"}, "identifier, got 'a b'"),
    ({"name": 'x");import os'}, "identifier"),
    ({"options": {"optimise": "fast"}}, "got ['optimise']"),
    ({"options": {"optimize": "more"}}, "got 'more'"),
    ({"options": {"checks": 1}}, "True or False"),
    ({"options": 3}, "gg.Options or a dict"),
]


@pytest.mark.parametrize(("named", "says"), OPTIONS, ids=[row[1] for row in OPTIONS])
def test_options_are_refused(named, says):
    message = refusal(gg.SpecError, lambda: gg.compile(two, "f64[d]", "f64[n,d]", **named))
    assert says in message and "test_bad_input.py:" in message


@pytest.mark.parametrize("what", [3, None, "text", [1]])
def test_compile_needs_a_function(what):
    assert "needs a function or a Value" in refusal(gg.SpecError, lambda: gg.compile(what, "f64[]"))


def test_python_target_needs_numbers_for_sizes():
    message = refusal(
        gg.EmitError, lambda: gg.compile(lambda x: np.sum(x), "f64[n]", target="python")
    )
    assert "python" in message and "n" in message


# -- losses and wrt
LOSSES: list[tuple[Any, str]] = [
    (lambda x: x * 2.0, "f64[n]"),
    (lambda x: np.sum(x) > 0, "bool[]"),
    (lambda x: (np.sum(x), x), "a structure"),
    (lambda x: np.sum(x.astype(int)), "i64[]"),
]


@pytest.mark.parametrize(("loss", "got"), LOSSES, ids=[row[1] for row in LOSSES])
@pytest.mark.parametrize("transform", [gg.grad, gg.value_and_grad])
def test_loss_must_be_a_scalar(transform, loss, got):
    message = refusal(gg.ShapeError, lambda: gg.compile(transform(loss), "f64[n]"))
    assert f"needs a scalar loss of floating dtype, got {got}" in message
    assert "np.sum, np.mean" in message
    assert refusal(gg.ShapeError, lambda: transform(loss)(np.ones(3))).startswith(
        transform.__name__
    )


WRT = [
    ("q", "one of the arguments w, X, got 'q'"),
    (5, "number below 2, got 5"),
    ("w.q", "a path inside w, got 'w.q'"),
    ((), "at least one"),
    (True, "got True"),
]


@pytest.mark.parametrize(("wrt", "says"), WRT, ids=[str(row[0]) for row in WRT])
def test_wrt_is_refused(wrt, says):
    message = refusal(gg.SpecError, lambda: gg.compile(gg.grad(two, wrt=wrt), "f64[d]", "f64[n,d]"))
    assert says in message


def test_integer_wrt_is_refused():
    def f(k, x):
        return np.sum(x) * np.sum(k)

    message = refusal(gg.SpecError, lambda: gg.compile(gg.grad(f), "i64[n]", "f64[n]"))
    assert "floating argument, got k: i64[n]" in message and "float64" in message
    assert "floating argument, got k" in refusal(
        gg.SpecError, lambda: gg.compile(gg.grad(f), 3, "f64[n]")
    )
    assert "floating argument" in refusal(
        gg.SpecError, lambda: gg.grad(f)(np.arange(3), np.ones(3))
    )


RETURNED: list[tuple[Any, str]] = [
    (lambda x: None, "NoneType"),
    (lambda x: "text", "str"),
    (lambda x: {1.0}, "set"),
    (lambda x: object(), "object"),
    (lambda x: (v for v in [x]), "generator"),
    (lambda x: {"a": x, "b": None}, "NoneType"),
]


@pytest.mark.parametrize(("f", "got"), RETURNED, ids=[row[1] for row in RETURNED])
def test_a_function_must_return_values(f, got):
    for made in (f, gg.grad(f)):
        message = refusal(gg.SpecError, lambda made=made: gg.compile(made, "f64[]"))
        assert f"needs to return Values (or a structure of them), got {got}" in message
        assert "without a return statement" in message


# -- values that leave their trace
def test_leaked_values_are_refused():
    kept: list[Any] = []

    def leaks(x):
        kept.append(x * 2.0)
        return np.sum(x)

    gg.compile(leaks, "f64[]")

    def uses(x):
        return x + kept[0]

    message = refusal(gg.TraceError, lambda: gg.compile(uses, "f64[]"))
    assert "needs its own Values" in message and "Pass it as an argument" in message
    cites(message, uses, "x + kept[0]")
    assert "needs its own Values" in refusal(gg.TraceError, lambda: gg.grad(uses)(2.0))
    for use in (lambda v: v + 1.0, np.sin, lambda v: gg.Value(2.0) * v, lambda v: np.ones(3) * v):
        message = refusal(gg.TraceError, lambda use=use: use(kept[0]))
        assert "open trace" in message and "return it" in message
    for use in (float, int, bool, lambda v: v.data, lambda v: v.backward(), np.asarray):
        refusal(gg.TraceError, lambda use=use: use(kept[0]))


def test_an_error_leaves_no_trace_open():
    with pytest.raises(gg.TraceError):
        gg.compile(asserts, "f64[3]")
    assert gg.grad(lambda x: x * x)(3.0) == 6.0
    assert (gg.Value(2.0) * 3.0).data == 6.0  # eager again


def test_eager_values_are_not_converted_silently():
    v = gg.Value(2.0)
    for use in (float, int, np.asarray, lambda v: np.array([v, 1.0]), lambda v: math.sin(v)):
        assert ".data" in refusal(gg.TraceError, lambda use=use: use(v))
    assert "needs a scalar" in refusal(gg.ShapeError, lambda: gg.Value([1.0, 2.0]).backward())
    assert "real numbers" in refusal(gg.SpecError, lambda: gg.Value("text"))


def test_an_error_of_the_users_own_passes_through():
    def fails(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        gg.compile(fails, "f64[]")


# -- calls
@pytest.fixture(scope="module", params=ARRAY_TARGETS)
def compiled(request):
    return gg.compile(gg.value_and_grad(two), "f64[d]", "f64[n,d]", target=request.param)


CALLS = [
    ((np.ones(2),), {}, gg.SpecError, "two_grad needs X; it takes w, X"),
    ((1, 2, 3), {}, gg.SpecError, "takes 2 arguments (w, X), got 3"),
    ((np.ones(2), np.ones((3, 3))), {}, gg.ShapeError, "X needs d = 2 (from w), got 3"),
    (
        (np.ones((2, 2)), np.ones((3, 2))),
        {},
        gg.ShapeError,
        "f64[d] for w, got an array of shape (2, 2)",
    ),
    ((1.0, np.ones((3, 2))), {}, gg.ShapeError, "for w, got an array of shape ()"),
    ((np.ones(2, complex), np.ones((3, 2))), {}, gg.SpecError, "float64 for w, got complex128"),
    (("abc", np.ones((3, 2))), {}, gg.SpecError, "float64 for w"),
    ((None, np.ones((3, 2))), {}, gg.SpecError, "float64 for w, got object"),
    (([1.0, [2.0]], np.ones((3, 2))), {}, gg.SpecError, "for w, got a ragged list"),
    ((np.ones(2),), {"w": np.ones(2)}, gg.SpecError, "got w twice"),
    ((np.ones(2),), {"q": np.ones(2)}, gg.SpecError, "no argument q; it takes w, X"),
    ((gg.Value([1.0, 2.0]), np.ones((3, 2))), {}, gg.GradgenError, ".data"),
]


@pytest.mark.parametrize("row", CALLS, ids=[row[3] for row in CALLS])
def test_calls_are_refused(compiled, row):
    args, kwargs, kind, says = row
    message = refusal(kind, lambda: compiled(*args, **kwargs))
    assert says in message, message
    assert "test_bad_input.py:" in message


def test_structures_at_a_call():
    fn = gg.compile(gg.grad(lambda p: np.sum(p["w"]) * p["b"]), {"w": "f64[2]", "b": "f64[]"})
    for bad, shown in (
        ({"w": np.ones(2)}, "dict(w)"),
        ({"w": np.ones(2), "b": 1.0, "c": 2.0}, "dict(w, b, c)"),
        ([np.ones(2), 1.0], "list(0, 1)"),
        (3.0, "float"),
        (None, "NoneType"),
    ):
        message = refusal(gg.SpecError, lambda bad=bad: fn(bad))
        assert f"needs p to be dict(w: *, b: *), got {shown}" in message


def test_unsafe_conversions_are_refused():
    fn = gg.compile(gg.grad(lambda x: np.sum(x * x)), "f32[n]")
    assert "float32 for x, got float64" in refusal(gg.SpecError, lambda: fn(np.ones(2)))
    assert fn([1.0, 2.0]).dtype == np.float32
    fn = gg.compile(lambda i: np.sum(i), "i32[n]")
    assert fn([1, 2]) == 3
    assert "integer too large" in refusal(gg.SpecError, lambda: fn([2**31]))
    fn = gg.compile(lambda i: np.sum(i), "i64[n]")
    assert "int64 for i, got float64" in refusal(gg.SpecError, lambda: fn([1.5]))


def test_errors_are_also_the_kinds_that_others_expect():
    assert issubclass(gg.SpecError, TypeError) and issubclass(gg.ShapeError, ValueError)
    for kind in (
        gg.SpecError,
        gg.ShapeError,
        gg.TraceError,
        gg.UnsupportedError,
        gg.EmitError,
        gg.BuildError,
    ):
        assert issubclass(kind, gg.GradgenError)


@pytest.mark.parametrize("target", TARGETS)
def test_nan_in_data_is_data(target):
    fn = gg.compile(gg.value_and_grad(lambda x, y: x * y), "f64[]", "f64[]", target=target)
    value, x_bar = fn(math.nan, 2.0)
    assert math.isnan(value) and x_bar == 2.0
    value, x_bar = fn(2.0, math.inf)
    assert value == math.inf and x_bar == math.inf


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_nan_in_arrays_is_data(target):
    fn = gg.compile(
        gg.value_and_grad(lambda x: np.sum(np.where(x > 0, x * x, 0.0))), "f64[n]", target=target
    )
    value, x_bar = fn(np.array([np.nan, 1.0, -1.0]))
    assert value == 1.0
    np.testing.assert_array_equal(x_bar, [0.0, 2.0, 0.0])


# -- saving
def test_save_refuses_to_overwrite_anothers_file(tmp_path):
    fn = gg.compile(gg.grad(lambda x: x * x), "f64[]", name="square_grad")
    mine = tmp_path / "square_grad.py"
    mine.write_text("print('mine')\n")
    message = refusal(gg.EmitError, lambda: fn.save(tmp_path))
    assert "gradgen's own or absent" in message and "another folder" in message
    assert mine.read_text() == "print('mine')\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["square_grad.py"]
    mine.unlink()
    assert fn.save(tmp_path) == [mine]
    assert fn.save(tmp_path) == [mine]  # its own file is written again
    assert mine.read_text() == fn.source


def test_save_of_three_files_is_all_or_nothing(tmp_path):
    fn = gg.compile(gg.grad(lambda x: x * x), "f64[]", name="square_grad", target="c")
    foreign = tmp_path / "square_grad.h"
    foreign.write_text("/* mine */\n")
    refusal(gg.EmitError, lambda: fn.save(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["square_grad.h"]


def test_save_into_what_is_no_folder(tmp_path):
    fn = gg.compile(gg.grad(lambda x: x * x), "f64[]", name="square_grad")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "a folder that can be written" in refusal(
            gg.EmitError, lambda place=place: fn.save(place)
        )
    (tmp_path / "square_grad.py").mkdir()
    assert "square_grad.py" in refusal(gg.EmitError, lambda: fn.save(tmp_path))
    assert list((tmp_path / "square_grad.py").iterdir()) == []


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    fn = gg.compile(gg.grad(lambda x: x * x), "f64[]", name="square_grad", target="c")
    replace, count = os.replace, [0]

    def full(source, destination):
        count[0] += 1
        if count[0] == 2:
            raise OSError(28, "No space left on device")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", full)
    assert "No space left on device" in refusal(gg.EmitError, lambda: fn.save(tmp_path))
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    fn.save(tmp_path)
    before = {p.name: p.read_text() for p in tmp_path.iterdir()}
    other = gg.compile(gg.grad(lambda x: x * x * x), "f64[]", name="square_grad", target="c")
    count[0] = 0
    monkeypatch.setattr(os, "replace", full)
    refusal(gg.EmitError, lambda: other.save(tmp_path))
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == before


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
def test_unwritable_folder(tmp_path):
    fn = gg.compile(gg.grad(lambda x: x * x), "f64[]", name="square_grad")
    tmp_path.chmod(0o500)
    try:
        assert "can be written" in refusal(gg.EmitError, lambda: fn.save(tmp_path))
    finally:
        tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []


# -- compilers
def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    fn = gg.compile(gg.grad(lambda x: x * x), "f64[]", target="c", name="no_compiler_grad")
    assert "no_compiler_grad" in fn.source and fn.save(tmp_path)  # the source needs none
    message = refusal(gg.BuildError, lambda: fn(1.0))
    assert "needs a C compiler, got none" in message and "CC" in message and "fn.source" in message


@needs_c
def test_a_compiler_that_fails_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADGEN_CACHE", str(tmp_path / "cache"))
    broken = tmp_path / "broken-cc"
    broken.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('broken-cc: out of coffee')\n")
    broken.chmod(0o755)
    fn = gg.compile(gg.grad(lambda x: x * x), "f64[]", target="c")
    message = refusal(gg.BuildError, lambda: fn.build(cc=str(broken)))
    assert "out of coffee" in message and "exit code 1" in message
    message = refusal(gg.BuildError, lambda: fn.build(flags=["-Dfn_grad=3"]))
    assert "error" in message
    leftovers = [p for p in Path(tmp_path / "cache").rglob("*") if p.is_file()]
    assert leftovers == []
    assert fn(3.0) == 6.0  # the failed builds did not spoil it


@needs_c
def test_an_unwritable_cache(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADGEN_CACHE", str(tmp_path / "file"))
    fn = gg.compile(gg.grad(lambda x: x * x * 1.25), "f64[]", target="c", name="uncached_grad")
    message = refusal(gg.BuildError, lambda: fn(1.0))
    assert "cache folder that can be written" in message and "GRADGEN_CACHE" in message


@pytest.mark.parametrize("target", TARGETS)
def test_enormous_sizes_are_no_reason_to_fill_memory(target):
    with pytest.raises(gg.SpecError, match="a size needs at most 281474976710656"):
        gg.compile(lambda x: x, f"f64[{10**30}]", target=target)
    if target != "python":
        fn = gg.compile(lambda x: np.sum(x), "f64[100000000000]", target=target)
        assert "self_test" not in fn.source and "_SELFTEST" not in fn.source


def test_specs_are_a_dict():
    with pytest.raises(gg.SpecError, match="specs needs a dict of specs by parameter, got list"):
        gg.compile(lambda x: x, specs=["f64[]"])


@pytest.mark.parametrize("target", TARGETS)
def test_masked_arrays_are_refused(target):
    fn = gg.compile(lambda x: np.sum(x), "f64[3]", target=target)
    message = refusal(gg.SpecError, lambda: fn(np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])))
    assert "needs all elements of x, got masked ones" in message and "filled" in message


@pytest.mark.parametrize("folder", [None, "a\0b", 3])
def test_what_is_no_folder(folder):
    fn = gg.compile(lambda x: x * 2.0, "f64[]")
    with pytest.raises(gg.EmitError, match="saving needs a folder that can be written, got"):
        fn.save(folder)


@pytest.mark.parametrize("x", ["abc", [1j, 2.0], np.array([1j, 2.0]), [None, 1.0]])
def test_flat_takes_real_numbers(x):
    fn = gg.compile(gg.value_and_grad(lambda x: np.sum(x**2)), "f64[2]")
    with pytest.raises(gg.SpecError, match="needs a vector of float64, got"):
        fn.flat()(x)


@pytest.mark.parametrize(
    "f", [np.any, np.all, np.sum, np.max, np.mean, np.prod, np.diff, np.cumsum]
)
def test_numpys_own_functions_are_compiled_with_their_defaults(f):
    x = np.array([3.0, 1.0, 2.0])
    np.testing.assert_array_equal(gg.compile(f, "f64[3]")(x), f(x))


def by_pattern(x):
    match x > 0.0:
        case True:
            return x * 2.0
        case _:
            return x * 3.0


def by_class(x):
    match (x, 1):
        case (float(), _):
            return x * 2.0
        case _:
            return x * 3.0


def halved(x):
    return x if x < 1.0 else halved(x / 2.0)


@pytest.mark.parametrize(
    ("f", "says", "text"),
    [
        (by_pattern, "`match` cannot tell True, False or a class from a traced value", "match"),
        (by_class, "`match` cannot tell True, False or a class from a traced value", "match"),
        (halved, "halved calls functions too deep.*Write a while loop", "halved(x / 2.0)"),
    ],
)
def test_what_a_trace_cannot_follow(f, says, text):
    message = refusal(gg.TraceError, lambda: gg.compile(gg.grad(f), "f64[]"))
    assert re.search(says, message, re.DOTALL)
    cites(message, f, text)


def test_parameters_that_take_no_spec():
    def caught(x, **rest):
        return x * rest["a"]

    message = refusal(gg.SpecError, lambda: gg.compile(caught, x="f64[]", a="f64[]"))
    assert (
        "no parameter a; it takes x" in message and "What **kwargs catches takes no spec" in message
    )
    message = refusal(gg.SpecError, lambda: gg.compile(lambda **k: k["a"], a="f64[]"))
    assert "it takes none" in message


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_sizes_that_divide_are_not_zero(target):
    """n // n is 1, but for n = 0, where Python divides by zero."""

    def f(x):
        n = x.shape[0]
        return np.sum(x) * (n // n) + np.sum(np.ones((3 * n * n) // n))

    fn = gg.compile(f, "f64[n]", target=target)
    assert fn(np.ones(2)) == 8.0
    assert "needs n >= 1, got 0" in refusal(gg.ShapeError, lambda: fn(np.ones(0)))


def test_the_maximum_of_nothing():
    fn = gg.compile(lambda x: np.max(x), "f64[n]")
    assert (
        refusal(gg.ShapeError, lambda: fn(np.ones(0)))
        .split("\n")[0]
        .endswith("needs n >= 1, got 0")
    )
