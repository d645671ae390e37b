"""What loops and branches refuse or warn of: the message, the line, and what to write instead."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import gradgen as gg

LOG: list[int] = []
COUNT = 0


def stacked_carry(x):
    return np.sum(gg.scan(lambda c, v: (np.stack([c, c]), None), x[0], x)[0])


def carry_that_grows(x):
    s = x[0]
    for v in x:
        s = np.array([s, v])
    return np.sum(s)


def carry_that_grows_in_a_while(x):
    s = x[:3]
    while np.sum(s) < 3.0:
        s = np.concatenate([s, s])
    return np.sum(s)


def branches_of_two_shapes(x):
    if x[0] > 0:
        part = x[:3]
    else:
        part = x[:1]
    return np.sum(part)


def cond_of_two_shapes(x):
    return np.sum(gg.cond(x[0] > 0, lambda: x[:3], lambda: x[:2]))


def branches_of_two_structures(x):
    if x[0] > 0:
        y = (x[0], x[1])
    else:
        y = x[0]
    return y[0]


def append_in_a_branch(x):
    if x[0] > 0:
        LOG.append(1)
        y = x[0]
    else:
        y = -x[0]
    return y


def append_in_a_loop(x):
    found = []
    for v in x:
        found.append(v)
    return found[0]


def counter_in_a_branch(x):
    global COUNT
    if x[0] > 0:
        COUNT += 1
    return x[0]


def walrus_in_a_branch(x):
    if x[0] > 0:
        y = (z := x[1]) + z
    else:
        y = x[0]
    return y


def two_lengths(x):
    return gg.scan(lambda c, v: (c + v[0] * v[1], None), 0.0, (x[:3], x[:4]))[0]


def no_pair(x):
    return gg.scan(lambda c, v: c + v, 0.0, x)[0]


def vector_test(x):
    return np.sum(gg.while_loop(lambda c: c > 0.0, lambda c: c - 1.0, x))


def float_bound(x):
    return gg.fori_loop(0, x[0], lambda i, c: c * 2.0, 1.0)


def two_batches(x):
    return np.sum(gg.vmap(lambda a, b: a * b)(x[:3], x[:4]))


def bound_in_one_branch(x):
    if x[0] > 0:
        y = x[1]
    return y


def bound_in_one_branch_of_a_loop(x):
    s = 0.0
    for v in x:
        if v > 0:
            part = v
        s = s + part
    return s


def bound_in_a_loop(x):
    for v in x:
        last = v
    return last


def loop_with_else(x):
    s = 0.0
    for v in x:
        s = s + v
        if s > 2.0:
            break
    else:
        s = -s
    return s


def range_with_else(x):
    s = 0.0
    for i in range(x.shape[0]):
        s = s + x[i]
    else:
        s = -s
    return s


def zip_of_two_lengths(x):
    s = 0.0
    for a, b in zip(x, x[2:], strict=False):
        s = s + a * b
    return s


REFUSED = [
    (bound_in_one_branch, gg.TraceError, "y needs a value on every path, got one in one branch", "return y"),
    (bound_in_one_branch_of_a_loop, gg.TraceError, "part needs a value on every path", "s = s + part"),
    (bound_in_a_loop, gg.TraceError, "last needs a value on every path, got one in the body", "return last"),
    (loop_with_else, gg.TraceError, "for loop without else", "for v in x:"),
    (range_with_else, gg.TraceError, "statement without else", "for i in range"),
    (zip_of_two_lengths, gg.ShapeError, "one length, got n and max(0, n - 2)", "for a, b in zip"),
    (stacked_carry, gg.ShapeError, "carry of one type, got c: f64[] in and f64[2] out", "gg.scan("),
    (carry_that_grows, gg.ShapeError, "got s: f64[] in and f64[2] out", "s = np.array([s, v])"),
    (
        carry_that_grows_in_a_while, gg.ShapeError, "got s: f64[3] in and f64[6] out",
        "s = np.concatenate([s, s])",
    ),
    (branches_of_two_shapes, gg.ShapeError, "got part: f64[3] and f64[1]", "part = x[:1]"),
    (cond_of_two_shapes, gg.ShapeError, "got result: f64[3] and f64[2]", "gg.cond("),
    (branches_of_two_structures, gg.ShapeError, "need one structure of y", "y = x[0]"),
    (append_in_a_branch, gg.UnsupportedError, "changes more than its variables: a list", "y = -x[0]"),
    (append_in_a_loop, gg.UnsupportedError, "changes more than its variables: a list", "found.append(v)"),
    (counter_in_a_branch, gg.TraceError, "assigns COUNT, a variable of the module", "if x[0] > 0:"),
    (walrus_in_a_branch, gg.TraceError, "assigns in an expression", "if x[0] > 0:"),
    (two_lengths, gg.ShapeError, "one leading length, got 3 and 4", "gg.scan("),
    (no_pair, gg.SpecError, "a body that returns (carry, y)", "gg.scan("),
    (vector_test, gg.ShapeError, "scalar condition, got bool[", "gg.while_loop("),
    (float_bound, gg.SpecError, "integers as bounds, got f64[]", "gg.fori_loop("),
    (two_batches, gg.ShapeError, "mapped axes of one size, got 3 and 4", "gg.vmap("),
]  # fmt: skip


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[0].__name__)
def test_refused(row):
    f, kind, says, text = row
    with pytest.raises(kind) as caught:
        gg.compile(f, x="f64[n]")
    message = str(caught.value)
    assert says in message
    lines, first = inspect.getsourcelines(f)
    line = next(first + k for k, source in enumerate(lines) if text in source)
    assert f"test_bad_loops.py:{line}: {lines[line - first].strip()}" in message
    assert COUNT == 0


def print_in_a_branch(x):
    if x > 0:
        print("positive")
        y = x
    else:
        y = -x
    return y


def test_print_in_a_branch_is_warned_of_at_its_line(capsys):
    with pytest.warns(UserWarning, match="print in a captured branch or loop runs while") as caught:
        gg.compile(print_in_a_branch, x="f64[]")
    _, first = inspect.getsourcelines(print_in_a_branch)
    assert caught[0].lineno == first + 2 and caught[0].filename == __file__
    assert capsys.readouterr().out == "positive\n"


def by_comparison(x, y):
    return np.where(x > 0, y, 2.0 * y)


def by_branch(x, y):
    if x > 0:
        return y
    return 2.0 * y


def by_rounding(x, y):
    return y * np.floor(x)


def by_trip_count(x, y):
    s = 0.0
    while s < x:
        s = s + y
    return s


@pytest.mark.parametrize("f", [by_comparison, by_branch, by_rounding, by_trip_count])
def test_a_gradient_through_steps_alone_is_zero_and_warned_of(f):
    with pytest.warns(UserWarning, match=f"gradient of {f.__name__} by x is zero: x reaches"):
        fn = gg.compile(gg.grad(f, wrt=("x", "y")), x="f64[]", y="f64[]")
    assert fn(2.5, 0.7)[0] == 0.0 and fn(2.5, 0.7)[1] != 0.0


@pytest.mark.parametrize(
    "f", [lambda x, y: y, lambda x, y: y * gg.stop_gradient(x), lambda x, y: np.abs(x) * y]
)
def test_other_zero_gradients_are_not_warned_of(f):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gg.compile(gg.grad(f, wrt=("x", "y")), x="f64[]", y="f64[]")


def test_a_root_that_does_not_converge_is_an_error_in_every_target():
    f = lambda a: gg.root(lambda x: x * x + a, 1.0)
    for target in ("numpy", "c"):
        with pytest.raises(ValueError, match="max_steps"):
            gg.compile(f, a="f64[]", target=target)(1.0)
    assert "_DIVERGED = 6" in gg.compile(f, a="f64[]", target="c").files["fn.h"]
    with pytest.raises(gg.GradgenError, match="max_steps = 50"):
        f(1.0)


def test_a_sparse_request_on_a_dense_pattern_works_and_says_so():
    f = lambda x: np.sum(x) * x
    with pytest.warns(UserWarning, match=r"is dense \(4 x 4\): sparse='csr' saves nothing"):
        fn = gg.compile(gg.jacobian(f, sparse="csr"), x="f64[4]")
    x = np.arange(4.0)
    np.testing.assert_allclose(fn(x).toarray(), gg.jacobian(f)(x))
    assert fn(x).nnz == 16
