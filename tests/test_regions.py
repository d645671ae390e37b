"""Loops and branches: scan, fori_loop, while_loop, cond, map in every target, derivatives against numeric ones."""

from __future__ import annotations

import numpy as np
import pytest
from compilers import ARRAY_TARGETS, TARGETS, needs_c

import gradgen as gg
from gradgen.lower import stages
from gradgen.lower.run import run

X = np.linspace(0.1, 1.2, 6)
W = 0.3
X_DOT, W_DOT = np.cos(3.0 * X), 0.7  # a direction in which no two operands move alike


def scan_final(x, w):
    return gg.scan(lambda h, v: (np.tanh(w * h + v), None), 0.1, x)[0]


def scan_results(x, w):
    h, ys = gg.scan(lambda h, v: (np.sin(w * h + v), h * v), 0.1, x)
    return np.sum(ys * ys) + h


def scan_backwards(x, w):
    (a, b), ys = gg.scan(
        lambda c, v: ((c[0] * w + v, c[1] + c[0]), np.exp(-c[1])), (0.5, w), x, reverse=True
    )
    return a * b + np.sum(ys[1:] * ys[:-1])


def scan_vector_carry(x, w):
    A = np.array([[0.3, -0.2], [0.1, 0.4]])

    def step(h, v):
        h = np.tanh(A @ h + w * v)
        return h, np.sum(h)

    h, ys = gg.scan(step, np.zeros(2), x)
    return h @ h + np.sum(ys)


def nested_scans(x, w):
    def outer(c, v):
        inner, _ = gg.scan(lambda s, u: (s * np.cos(u * v) + w, None), c, x)
        return inner, inner * v

    c, ys = gg.scan(outer, 1.0, x)
    return c + np.sum(ys)


def counted(x, w):
    return gg.fori_loop(0, 5, lambda i, s: s * w + i * x[i] ** 2, 1.0)


def while_loop(x, w):
    return gg.while_loop(lambda s: s < 20.0, lambda s: s * (1.5 + w) + np.sin(x[0]) * s, 1.0 + w)


def while_pair(x, w):
    a, b = gg.while_loop(
        lambda s: s[0] < 9.0, lambda s: (s[0] * (1.3 + w) + s[1], np.sin(s[0]) * x[1]), (x[0], x[2])
    )
    return a * b


def while_in_scan(x, w):
    def step(h, v):
        return gg.while_loop(lambda s: s < 4.0, lambda s: s * 1.4 + w, h * 0.2 + v), None

    return gg.scan(step, 1.0, x)[0]


def branches(x, w):
    a = gg.cond(w > 0.0, lambda: np.exp(w) * x[1], lambda: w * x[0])
    b = gg.cond(np.sum(x) < 0.0, lambda v: np.sin(v), lambda v: v**3, a)
    return a + b * w


def guarded_branch(x, w):
    root = np.sqrt(w - w)  # infinite slope, in a branch that is not taken
    return gg.cond(w > 1.0, lambda: root * w, lambda: w * w) + x[0]


def mapped(x, w):
    return np.sum(gg.map(lambda v: np.exp(v * w) * v, x) ** 2)


def mapped_pairs(x, w):
    p, q = gg.map(lambda t: (t["a"] * t["b"], np.sin(t["a"]) + w), {"a": x, "b": x[::-1]})
    return np.sum(p * q)


def mapped_columns(x, w):
    """vmap over one axis, then over the other, with an operand that all items share."""
    f = gg.vmap(lambda row, k, v: (np.sin(row * v) @ row + w * k, k * v), in_axes=(1, 0, None))
    p, q = f(np.reshape(x, (2, 3)), x[:3], x[4])
    return p @ q


def branch_in_map(x, w):
    return np.sum(gg.map(lambda v: gg.cond(v > 0.5, lambda: v * v * w, lambda: np.sin(v)), x))


def two_names_of_one_array(x, w):
    a = np.zeros(len(x))
    b = a
    for i in range(len(x)):
        a[i] = x[i] * w
        b[i] = b[i] + a[i]
    return np.sum(b * x)


PROGRAMS = [
    two_names_of_one_array,
    scan_final, scan_results, scan_backwards, scan_vector_carry, nested_scans, counted, while_loop,
    while_pair, while_in_scan, branches, guarded_branch, mapped, mapped_pairs, mapped_columns, branch_in_map,
]  # fmt: skip


def numeric(f, x, w, h=1e-3):
    """Richardson differences of a scalar function, in both arguments."""

    def slope(g):
        d = [(g(s) - g(-s)) / (2 * s) for s in (h, h / 2, h / 4)]
        e = [(4 * d[k + 1] - d[k]) / 3 for k in range(2)]
        return (16 * e[1] - e[0]) / 15

    eye = np.eye(len(x))
    return (
        np.array([slope(lambda t, k=k: f(x + t * eye[k], w)) for k in range(len(x))]),
        slope(lambda t: f(x, w + t)),
    )


def same(found, expected, rtol=1e-8):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_gradients(f):
    expected = numeric(f, X, W)
    same(gg.grad(f, (0, 1))(X, W), expected)
    value, tangent = gg.jvp(f, (0, 1))(X, W, (X_DOT, W_DOT))
    np.testing.assert_allclose(value, f(X, W), rtol=1e-14)
    np.testing.assert_allclose(tangent, expected[0] @ X_DOT + expected[1] * W_DOT, rtol=1e-8)


@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_second_order(f):
    if f is guarded_branch:
        pytest.skip("the slope of the branch not taken is infinite")

    def along(x, w):
        g, s = gg.grad(f, (0, 1))(x, w)
        return np.sum(g) + s

    same(gg.hvp(f, (0, 1))(X, W, (np.ones(6), 1.0)), numeric(along, X, W), 1e-6)
    same(gg.grad(along, (0, 1))(X, W), numeric(along, X, W), 1e-6)


@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("level", ["lecture", "readable"])
def test_numpy_target(f, level):
    fn = gg.compile(gg.value_and_grad(f, (0, 1)), X, W, options={"optimize": level, "verify": True})
    value, gradient = fn(X, W)
    np.testing.assert_allclose(value, f(X, W), rtol=1e-14)
    same(gradient, gg.grad(f, (0, 1))(X, W), 1e-12)


def test_plain_loops_in_the_python_target():
    def f(w, v):
        s = gg.while_loop(lambda s: s < 10.0, lambda s: s * w, v)
        return gg.fori_loop(0, 100, lambda i, c: np.sin(c) * v + 0.01 * i, s)

    fn = gg.compile(gg.value_and_grad(f, (0, 1)), w="f64[]", v="f64[]", target="python")
    value, gradient = fn(1.7, 0.9)
    np.testing.assert_allclose(value, f(1.7, 0.9), rtol=1e-13)
    same(gradient, gg.grad(f, (0, 1))(1.7, 0.9), 1e-11)
    body = fn.source.partition("def f_grad")[2].partition("\n\n\n")[0]
    assert "np." not in body and body.count("for i in") == 3 and body.count("while") == 1


def bounded_while(x, w):
    body = lambda s: s * (1.5 + w) + np.sin(x[0]) * s
    return gg.while_loop(lambda s: s < 20.0, body, 1.0 + w, max_steps=50)


def captured_while(x, w):
    y = w
    while y < 20.0:
        y = y * (1.5 + x[0]) + np.sin(y)
    return y + w


@pytest.mark.parametrize("f", [*PROGRAMS, bounded_while, captured_while], ids=lambda f: f.__name__)
def test_c_target(f):
    expected = gg.grad(f, (0, 1))(X, W)
    fn = gg.compile(gg.value_and_grad(f, (0, 1)), X, W, target="c", options={"verify": True})
    for name, kernel in stages(fn.ir):
        same(run(kernel, [X, np.float64(W)], {})[1:], expected, 1e-11)
        assert name
    value, gradient = fn(X, W)
    np.testing.assert_allclose(value, f(X, W), rtol=1e-13)
    same(gradient, expected, 1e-11)


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("f", [scan_results, nested_scans, mapped_pairs, branch_in_map])
def test_c_with_symbolic_lengths(f, n):
    transform = gg.value_and_grad(f, (0, 1))
    fn = gg.compile(transform, x="f64[n]", w="f64[]", target="c", options={"verify": True})
    other = gg.compile(transform, x="f64[n]", w="f64[]")
    (value, gradient), (expected, slope) = fn(X[:n], W), other(X[:n], W)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    same(gradient, slope, 1e-11)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_symbolic_length(n):
    fn = gg.compile(gg.value_and_grad(scan_results, (0, 1)), x="f64[n]", w="f64[]")
    x = X[:n]
    value, (x_bar, w_bar) = fn(x, W)
    np.testing.assert_allclose(value, scan_results(x, W) if n else 0.1)
    assert x_bar.shape == (n,)
    if n:
        same((x_bar, w_bar), numeric(scan_results, x, W))


def test_one_loop_each_way_whatever_the_length():
    lengths = []
    for n in (10, 10_000):
        fn = gg.compile(gg.value_and_grad(scan_final, (0, 1)), x=f"f64[{n}]", w="f64[]")
        lengths.append(len(fn.source.splitlines()))
    assert lengths[0] == lengths[1]
    assert fn.source.count("for i in") == 2


def test_weight_gradients_are_one_product_after_the_loop():
    def rnn(W, X):
        h, _ = gg.scan(lambda h, x: (np.tanh(x + h @ W), None), np.zeros(3), X)
        return np.sum(h)

    fn = gg.compile(gg.grad(rnn), W="f64[3,3]", X="f64[T,3]")
    after = fn.source.partition("# reverse")[2]
    assert "W_bar = h[:-1].T @ " in after and "outer" not in after


# -- what is refused
def test_a_carry_that_changes_its_type():
    with pytest.raises(gg.ShapeError, match=r"carry.*f64\[3\] in and f64\[4\] out"):
        gg.compile(
            lambda x: np.sum(gg.scan(lambda c, v: (np.concatenate([c, [v]]), None), np.zeros(3), x)[0]),
            x="f64[n]",
        )  # fmt: skip


def test_branches_that_disagree():
    with pytest.raises(gg.ShapeError, match="one type"):
        gg.compile(lambda x: gg.cond(x[0] > 0, lambda: x[:2], lambda: x[:3]), x="f64[5]")
    with pytest.raises(gg.ShapeError, match="one structure"):
        gg.compile(lambda x: gg.cond(x[0] > 0, lambda: (x, x), lambda: x), x="f64[5]")


def test_lengths_that_disagree():
    with pytest.raises(gg.ShapeError, match="one leading length"):
        gg.compile(
            lambda x, y: gg.scan(lambda c, v: (c + v[0] * v[1], None), 0.0, (x, y))[0],
            x="f64[n]", y="f64[m]",
        )  # fmt: skip


def test_a_write_to_an_outer_array():
    def f(x):
        out = np.zeros(3)

        def step(c, v):
            out[0] = v
            return c, None

        return gg.scan(step, 0.0, x)[0] + np.sum(out)

    with pytest.raises(gg.UnsupportedError, match="array made outside"):
        gg.compile(f, x="f64[n]")


def test_max_steps():
    def f(w):
        return gg.while_loop(lambda s: s < 100.0, lambda s: s * w, 1.0, max_steps=3)

    with pytest.raises(ValueError, match="max_steps = 3"):
        gg.compile(f, w="f64[]")(1.5)
    for target in ("numpy", "c"):
        fn = gg.compile(gg.value_and_grad(f), w="f64[]", target=target)
        assert fn(10.0) == (100.0, 20.0)
        with pytest.raises(ValueError, match="steps"):
            fn(1.5)


def slow(w):
    """A loop of about 1/w steps."""
    s, total = 0.0, 0.0
    while s < 1.0:
        s = s + w * np.cos(s * w)
        total = total + w * s * s
    return total


def test_the_tape_of_a_while_in_c_grows_until_it_is_long_enough():
    fn = gg.compile(gg.value_and_grad(slow), w="f64[]", target="c")
    other = gg.compile(gg.value_and_grad(slow), w="f64[]")
    for w in (0.7, 1e-2, 1e-4, 3e-3, 2.0):
        same(fn(w), other(w), 1e-9)
    header = fn.files["slow_grad.h"]
    assert "SLOW_GRAD_TAPE = 5" in header and "int64_t tape_steps, void *work);" in header
    assert "WORK_BYTES(tape_steps)" in header
    assert fn.cost(tape_steps=1000, steps=1).workspace < 3 * 8 * 1000 + 200


def test_second_order_of_a_while_in_c():
    """Arrays whose length is a loop's number of steps have room for as many as its tape."""
    fn = gg.compile(gg.grad(gg.grad(slow)), w="f64[]", target="c", options={"verify": True})
    slope = gg.compile(gg.grad(slow), w="f64[]")
    w, h = 0.0123, 1e-7  # no step more or less within h
    np.testing.assert_allclose(fn(w), (slope(w + h) - slope(w - h)) / (2 * h), rtol=1e-5)
    np.testing.assert_allclose(fn(w), gg.compile(gg.grad(gg.grad(slow)), w="f64[]")(w), rtol=1e-9)


def test_a_full_tape_is_a_code_and_nothing_is_written_behind_it(tmp_path):
    """Called as C code would: too little room, then enough; the bytes behind the workspace stay as they were."""
    import cffi

    from gradgen.build import build, cdef_of

    fn = gg.compile(gg.value_and_grad(slow), w="f64[]", target="c")
    ffi = cffi.FFI()
    ffi.cdef(cdef_of(fn.files["slow_grad.h"]))
    library = ffi.dlopen(str(build(fn.files).path))
    value, w_bar = np.zeros(1), np.zeros(1)
    pointers = [ffi.from_buffer("double[]", v) for v in (value, w_bar)]
    expected, slope = fn(1e-2)
    codes = []
    for steps in (0, 1, 50, 1000, -1):
        size = library.slow_grad_work_bytes(max(steps, 0))
        memory = np.full(size + 64 + 1024, 7, np.uint8)
        start = -memory.ctypes.data % 64
        work = ffi.from_buffer(memory[start:])
        codes.append(library.slow_grad(1e-2, *pointers, steps, work))
        assert (memory[start + size :] == 7).all()
    assert codes == [5, 5, 5, 0, 2]
    assert (value[0], w_bar[0]) == (expected, slope)


def test_the_tape_grows_without_the_extension_too(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADGEN_CACHE", str(tmp_path))
    monkeypatch.setattr("gradgen.build.headers_missing", lambda: "no headers")
    fn = gg.compile(gg.value_and_grad(slow), w="f64[]", target="c")
    same(fn(1e-4), gg.value_and_grad(slow)(1e-4), 1e-9)
    assert fn.caller.startswith("cffi")


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_a_size_that_the_user_calls_steps(target):
    """The letter that a taped while makes for its trip count is another one."""

    def f(w, x):
        y = w
        while y < 20.0:
            y = y * (1.5 + np.sum(x)) + np.sin(y)
        return y

    fn = gg.compile(gg.value_and_grad(f, (0, 1)), w="f64[]", x="f64[steps]", target=target)
    _, (w_bar, x_bar) = fn(0.4, X)
    assert x_bar.shape == X.shape
    same((w_bar, x_bar), numeric(lambda x, w: f(w, x), X, 0.4)[::-1])


# -- functions with a derivative of their own
def checkpointed(x, w):
    f = gg.checkpoint(lambda a, b: np.sin(a * b) * np.exp(b))
    return np.sum(f(x, w) ** 2)


def checkpointed_steps(x, w):
    step = gg.checkpoint(lambda h, v: (np.tanh(np.sin(w * h) + v) * np.exp(h * v), None))
    return gg.scan(step, 0.1, x)[0]


def blocks(x, w):
    step = lambda h, v: (np.tanh(np.sin(w * h) + v), h * v)
    h, ys = gg.scan(step, 0.1, x, checkpoint=4)
    k, zs = gg.scan(step, w, x, checkpoint="sqrt", reverse=True)
    return h * k + np.sum(ys * zs)


def own_reverse_rule(x, w):
    rule = lambda y_bar, y, a, b: (y_bar * np.cos(a) * b, np.sum(y_bar * np.sin(a)))
    return np.sum(gg.custom_vjp(lambda a, b: np.sin(a) * b, rule)(x, w) ** 2)


def own_forward_rule(x, w):
    rule = lambda dots, y, a, b: dots[0] * np.cos(a) * b + np.sin(a) * dots[1]
    return np.sum(gg.custom_jvp(lambda a, b: np.sin(a) * b, rule)(x, w) ** 2)


tilted = gg.define("tilted", "a * exp(-b * a)", ["a", "b"])


def own_partials(x, w):
    return np.sum(tilted(x, w * x[::-1]) ** 2) + tilted(w, x[0])


SPECIAL = [
    checkpointed, checkpointed_steps, blocks, own_reverse_rule, own_forward_rule, own_partials,
]  # fmt: skip


@pytest.mark.parametrize("f", SPECIAL, ids=lambda f: f.__name__)
def test_special_derivatives(f):
    test_gradients(f)
    test_second_order(f)
    test_numpy_target(f, "lecture")
    test_numpy_target(f, "readable")


def test_the_rule_is_what_is_used():
    doubled = gg.custom_vjp(np.sin, lambda y_bar, y, x: (2.0 * y_bar * np.cos(x),))
    assert gg.grad(doubled)(0.5) == 2.0 * np.cos(0.5)
    assert np.isclose(gg.jvp(doubled)(0.5, 1.0)[1], 2.0 * np.cos(0.5))
    fn = gg.compile(gg.grad(lambda x: doubled(x) * x), x="f64[]")
    assert np.isclose(fn(0.5), np.sin(0.5) + np.cos(0.5))


def test_stop_gradient():
    f = lambda x: np.sum(x * gg.stop_gradient(x))
    np.testing.assert_array_equal(gg.grad(f)(X), X)
    np.testing.assert_array_equal(gg.compile(gg.grad(f), x="f64[n]")(X), X)
    np.testing.assert_allclose(f(X), X @ X)


def test_a_rule_of_the_wrong_shape():
    f = gg.custom_vjp(lambda a, b: a * b, lambda y_bar, y, a, b: (y_bar * b,))
    with pytest.raises(gg.ShapeError, match="one cotangent for each of 2 arguments"):
        gg.compile(gg.grad(f), a="f64[]", b="f64[]")


@pytest.mark.parametrize("target", TARGETS)
def test_a_while_loop_that_does_not_end_on_the_samples_of_the_self_test(target):
    """x -> x**k > 100 never comes for x below 1: the file is written without a self-test, not waited for."""

    def grow(x):
        return gg.while_loop(lambda c: c < 100.0, lambda c: c * x, 1.0)

    fn = gg.compile(grow, "f64[]", target=target)
    assert fn(2.0) == 128.0
    assert "self_test" not in fn.source and "_selftest" not in fn.source


def test_loops_of_numbers_stay_loops_where_arrays_are_taken_apart():
    """The python target unrolls a short scan over an array; a while loop and a long scan of numbers in it need no arrays."""

    def f(x):
        def body(c, i):
            s = gg.while_loop(lambda s: s < 2.0, lambda s: s * 1.3 + 0.1, c, max_steps=50)
            s = s + gg.fori_loop(0, 50, lambda _, v: 0.5 * v + 0.1 * i, s)
            return gg.cond(s > 2.4, lambda: s * 0.5, lambda: s * 0.25) + np.sin(x[1]), s

        c, ys = gg.scan(body, x[0], np.arange(4.0))
        return c + np.sum(ys)

    x = np.array([0.3, 0.8])
    found = [gg.compile(f, "f64[2]", target=t)(x) for t in ("python", "numpy")]
    assert found[0] == pytest.approx(found[1], rel=1e-14)
    text = gg.compile(f, "f64[2]", target="python").source.split("def _self_test")[0]
    assert text.count("\n    while ") == text.count(" in range(50):") == 4


@pytest.mark.parametrize("target", TARGETS)
def test_a_loop_that_ends_only_where_its_branch_is_taken(target):
    """Doubling a negative number reaches no bound: the branch stays one where the arrays are taken apart."""

    def f(v):
        x = v[0] * v[1]
        scaled = v * x
        if x > 0.0:
            while x < 10.0:
                x = x * 2.0
            scaled = v * (x + v[1])
        return x + np.sum(scaled)

    fn = gg.compile(f, "f64[2]", target=target)
    for v in (np.array([-1.0, 1.0]), np.array([1.5, 0.5])):
        assert fn(v) == pytest.approx(f(v), rel=1e-14)


def test_loops_of_arrays_are_refused_by_the_python_target():
    def f(x):
        return np.sum(gg.while_loop(lambda s: s[0] < 2.0, lambda s: s * 1.3, x))

    with pytest.raises(gg.EmitError, match="while loops"):
        gg.compile(f, "f64[2]", target="python")


def in_while(a):
    b = a * 2
    return gg.while_loop(
        lambda s: np.max(abs(s[1])) < 10, lambda s: (s[0] - s[1] * 0.1, s[1] * 1.5 + s[0]), (b, b)
    )


def in_scan(a):
    b = a * 2
    return gg.scan(lambda s, x: ((s[0] - s[1] * 0.1, s[1] * 1.5 + x), s[0]), (b, b), a)


def in_newton(a):
    f = lambda z: np.sum((z - a) ** 2) + 0.1 * np.sum(z**4) + 0.05 * z[0] * z[1] * a[0]
    return gg.minimize(f, np.zeros(2))  # the first step from zero is also the first difference


def test_a_branch_in_a_loop_is_listed_deeper_than_the_loop():
    def f(x):
        return gg.fori_loop(0, 9, lambda i, c: gg.cond(c > 1.0, np.sin, np.cos, c) * 2.0, x)

    lines = gg.compile(f, "f64[]").show("trace").splitlines()
    depth = {
        word: len(line) - len(line.lstrip())
        for line in lines
        for word in ("* 2.0", "then", "= sin(", "otherwise", "= cos(")
        if word in line
    }
    assert (
        depth["* 2.0"] == depth["then"] == depth["otherwise"] < depth["= sin("] == depth["= cos("]
    )


def turned(x):
    return np.sum(gg.scan(lambda c, v: (np.sin(c * x) + v * c[::-1], None), x, np.arange(4.0))[0])


def turned_in_while(x):
    step = lambda c: np.sin(c * x) + 1.5 * c[::-1]
    return np.sum(gg.while_loop(lambda c: np.sum(c) < 9.0, step, x))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("f", [turned, turned_in_while])
def test_a_carry_is_read_whole_after_the_array_of_the_next_one_is_begun(f, target):
    x = np.array([0.7, 0.4, 1.3])
    found = gg.compile(gg.grad(f), "f64[3]", target=target)(x)
    np.testing.assert_allclose(found, gg.grad(f)(x), rtol=1e-12)


@needs_c
@pytest.mark.parametrize(
    ("f", "spec"),
    [
        (in_while, "f64[2]"),
        (in_while, "f64[n]"),
        (in_scan, "f64[2]"),
        (in_scan, "f64[n]"),
        (in_newton, "f64[2]"),  # whose start has two elements
    ],
)
def test_two_carries_that_begin_as_one_array(f, spec):
    a = np.array([0.3, 0.4])
    found = gg.compile(f, spec, target="c")(a)
    for x, y in zip(leaves(found), leaves(f(a)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


def leaves(result):
    return [x for r in result for x in leaves(r)] if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_a_step_that_changes_a_copy_of_what_all_steps_read(target):
    """An array made before the loop is the loop's to read, in every step: a copy is written into, never itself."""

    def f(x):
        table = x * 2.0

        def body(c, v):
            own = table.copy()
            own[0] = own[0] + v
            own[1:] += c
            return np.sum(own * own) * 0.01, None

        return (
            gg.scan(body, 0.5, x)[0]
            + gg.cond(x[0] > 0.0, lambda: body(0.1, 0.2)[0], lambda: 0.0)
            + table[0]
        )

    start = X[:3]
    value, slope = gg.compile(gg.value_and_grad(f), "f64[3]", target=target)(start)
    expected, gradient = gg.value_and_grad(f)(start)
    assert value == pytest.approx(expected, rel=1e-14)
    same(slope, gradient, 1e-13)
    step = 1e-6 * np.eye(3)[1]
    assert slope[1] == pytest.approx((f(start + step) - f(start - step)) / 2e-6, rel=1e-8)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_weights_that_a_while_in_a_scan_reads(target):
    """The steps of the inner loop differ in number: their cotangents of the weights make no stack over the outer one."""

    def f(w, x):
        def body(h, v):
            while np.sum(h * h) < 1.0 + v:
                h = np.tanh(w @ h) + 0.3 * h + 0.05
            return h * 0.3, None

        return np.sum(gg.scan(body, np.ones(2) * 0.1, x)[0])

    w = np.array([[0.5, 0.2], [0.3, 0.8]])
    x = np.array([0.1, 0.2, 0.05])
    slope = gg.compile(gg.grad(f), "f64[2,2]", "f64[n]", target=target)(w, x)
    for i, j in np.ndindex(2, 2):
        step = np.zeros((2, 2))
        step[i, j] = 1e-6
        assert slope[i, j] == pytest.approx((f(w + step, x) - f(w - step, x)) / 2e-6, rel=1e-7)


@needs_c
@pytest.mark.parametrize("optimize", ["lecture", "fast"])
def test_the_steps_of_a_while_are_known_in_every_part_of_a_long_function(optimize):
    def f(x, y):
        v = x * 1.0
        while np.sum(v * v) > 0.05:
            v = 0.9 * np.tanh(v) * y
        s = v
        for _ in range(60):
            s = np.sin(s * 1.1 + x) * 0.5 + y * s
        return np.sum(s)

    x, y = np.array([0.7, 1.0, 0.2]), np.array([0.9, 0.8, 1.0])
    fn = gg.compile(
        gg.grad(f, (0, 1)), "f64[3]", "f64[3]", target="c", options={"optimize": optimize}
    )
    assert "_part_1(" in fn.source
    same(fn(x, y), gg.grad(f, (0, 1))(x, y), 1e-12)
