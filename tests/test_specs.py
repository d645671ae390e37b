"""What a compiled function takes and gives back: forms of spec, structures, sizes, captures, ways to call it."""

from __future__ import annotations

import collections
import dataclasses
import functools
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from compilers import ARRAY_TARGETS, TARGETS, C, differences

import gradgen as gg

Pair = collections.namedtuple("Pair", "w b")


@dataclasses.dataclass
class Layer:
    m: Any
    s: Any


def flat_leaves(tree):
    if isinstance(tree, dict):
        return [leaf for v in tree.values() for leaf in flat_leaves(v)]
    if isinstance(tree, (list, tuple)):
        return [leaf for v in tree for leaf in flat_leaves(v)]
    if dataclasses.is_dataclass(tree):
        return flat_leaves(vars(tree))
    return [tree]


# -- structures: gradients mirror them
def weighted(p):
    total = 0.0
    for k, leaf in enumerate(flat_leaves(p)):
        total = total + (k + 1.0) * np.sum(leaf * leaf)
    return total


STRUCTURES = {
    "dict": ({"a": "f64[n]", "b": "f64[]"}, {"a": np.array([1.0, 2.0]), "b": 3.0}),
    "list": (["f64[2]", "f64[]"], [np.array([1.0, 2.0]), 3.0]),
    "tuple": (("f64[2]", "f64[]"), (np.array([1.0, 2.0]), 3.0)),
    "named tuple": (Pair("f64[2]", "f64[]"), Pair(np.array([1.0, 2.0]), 3.0)),
    "dataclass": (Layer("f64[2]", "f64[]"), Layer(np.array([1.0, 2.0]), 3.0)),
    "nested": (
        {"layers": [Layer("f64[2]", ("f64[]", "f64[]")), Pair("f64[1]", {"x": "f64[2]"})]},
        {
            "layers": [
                Layer(np.array([1.0, 2.0]), (3.0, 4.0)),
                Pair(np.array([5.0]), {"x": np.array([6.0, 7.0])}),
            ]
        },
    ),
    "integer keys": ({0: "f64[]", 7: "f64[2]"}, {0: 1.0, 7: np.array([1.0, 2.0])}),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", STRUCTURES)
def test_gradient_mirrors_structure(form, target):
    spec, value = STRUCTURES[form]
    if target == "python" and form == "dict":
        spec = {**spec, "a": "f64[2]"}  # the python target needs fixed sizes
    fn = gg.compile(gg.value_and_grad(weighted), spec, target=target)
    loss, gradient = fn(value)
    assert loss == pytest.approx(weighted(value))
    assert type(gradient) is type(value)
    leaves, bars = flat_leaves(value), flat_leaves(gradient)
    for k, (leaf, bar) in enumerate(zip(leaves, bars, strict=True)):
        np.testing.assert_allclose(bar, 2.0 * (k + 1.0) * np.asarray(leaf))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_none_at_integer_leaves(target):
    def loss(p):
        return np.sum(p["x"][p["i"]]) + p["k"] * 0.0

    fn = gg.compile(gg.grad(loss), {"x": "f64[n]", "i": "i64[p]", "k": 3}, target=target)
    found = fn({"x": np.arange(3.0), "i": np.array([0, 0, 2]), "k": 3})
    np.testing.assert_array_equal(found["x"], [2.0, 0.0, 1.0])
    assert found["i"] is None and found["k"] is None


def test_static_leaf_of_a_structure_must_be_as_compiled():
    fn = gg.compile(gg.grad(lambda p: p["x"] * p["k"]), {"x": "f64[]", "k": 3})
    assert fn({"x": 2.0, "k": 3})["x"] == 3.0
    with pytest.raises(gg.SpecError, match="frozen into the code"):
        fn({"x": 2.0, "k": 4})


# -- statics
def staged(x, repeat, double=False, extra=None, mode="plain", scale=2.5):
    y = x * scale
    for _ in range(repeat):
        y = y + x
    if double:
        y = 2.0 * y
    if extra is not None:
        y = y * extra
    return np.sum(y) if mode == "plain" else np.sum(y * y)


STATICS = [
    ((3,), {}),
    ((3, True), {}),
    ((3, True, None), {}),
    ((gg.static(3), gg.static(True), gg.static(np.array([2.0, 3.0])), gg.static("square")), {}),
    ((1,), {"mode": gg.static("square"), "scale": gg.static(0.5)}),
]


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize(("positional", "named"), STATICS)
def test_statics_are_not_passed(positional, named, target):
    fn = gg.compile(gg.value_and_grad(staged), "f64[2]", *positional, target=target, **named)
    x = np.array([1.0, -2.0])

    def plain(a):
        values = [getattr(v, "value", v) for v in positional]
        return staged(a, *values, **{k: v.value for k, v in named.items()})

    value, x_bar = fn(x)
    assert value == pytest.approx(plain(x))
    np.testing.assert_allclose(x_bar, differences(plain, x), rtol=1e-6)


def test_a_float_or_array_default_without_a_spec_is_static():
    def f(x, scale=2.5, table=np.arange(3.0)):  # noqa: B008
        return np.sum(x * scale * table)

    np.testing.assert_array_equal(gg.compile(gg.grad(f), "f64[3]")(np.ones(3)), [0.0, 2.5, 5.0])
    both = gg.compile(gg.grad(f, wrt=("x", "scale")), "f64[3]", "f64[]")
    assert both(np.ones(3), 2.0)[1] == 3.0


def test_a_spec_may_skip_a_default():
    def f(x, k=2.0, c=1.0):
        return x * k * c

    assert gg.compile(gg.grad(f, wrt="c"), "f64[]", c="f64[]")(3.0, 5.0) == 6.0


def test_static_structures_stay_static():
    def f(x, settings):
        return x * settings["rate"] * settings["steps"]

    fn = gg.compile(gg.value_and_grad(f), "f64[]", gg.static({"rate": 0.5, "steps": 4}))
    assert fn(3.0) == (6.0, 2.0)


# -- sizes
@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_size_argument(target):
    fn = gg.compile(
        gg.value_and_grad(lambda x, n: np.sum(x) / n), x="f64[n]", n="size", target=target
    )
    value, x_bar = fn(np.array([1.0, 2.0, 6.0]), 3)
    assert value == 3.0
    np.testing.assert_allclose(x_bar, np.full(3, 1 / 3))
    with pytest.raises(gg.ShapeError, match=r"x needs n = 4 \(from n\), got 3"):
        fn(np.ones(3), 4)
    for bad in (3.0, True, -1, "3"):
        with pytest.raises(gg.SpecError, match="integer of zero or more for the size n"):
            fn(np.ones(3), bad)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize(
    ("size", "length"),
    [("d*(d-1)//2", 6), ("2*d", 8), ("d+1", 5), ("d-1", 3), ("d*d", 16), ("3", 3), ("2*d+1", 9)],
)
def test_polynomial_sizes(size, length, target):
    def f(L, x):
        return np.sum(L * L) * np.sum(x)

    fn = gg.compile(gg.value_and_grad(f, wrt=("L", "x")), f"f64[{size}]", "f64[d]", target=target)
    L, x = np.arange(float(length)), np.ones(4)
    value, (L_bar, x_bar) = fn(L, x)
    assert value == f(L, x)
    np.testing.assert_allclose(L_bar, 8.0 * L)
    np.testing.assert_allclose(x_bar, np.full(4, np.sum(L * L)))
    with pytest.raises(gg.ShapeError, match=r"\bL\b"):
        fn(np.ones(length + 1), x)


def test_a_size_must_be_solvable():
    with pytest.raises(gg.SpecError, match="an axis that is just n"):
        gg.compile(lambda x: np.sum(x), "f64[2*n]")


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_index_bounds(target):
    def f(x, i):
        return np.sum(x[i] ** 2)

    fn = gg.compile(gg.value_and_grad(f), x="f64[n]", i="i64[p] < n", target=target)
    x = np.array([1.0, 2.0, 3.0])
    value, x_bar = fn(x, [0, 0, -1])
    assert value == 11.0
    np.testing.assert_array_equal(x_bar, [4.0, 0.0, 6.0])
    for bad in ([3], [-4]):
        with pytest.raises(IndexError, match="needs i below n = 3"):
            fn(x, bad)
    unbound = gg.compile(gg.value_and_grad(f), x="f64[n]", i="i64[p]", target=target)
    with pytest.raises(IndexError):
        unbound(x, [3])


def test_spec_with_range_and_doc():
    def f(x, y):
        return np.sum(np.log(x)) * y

    x = gg.spec("f64[n]", low=0.5, high=2.0, doc="masses in kg")
    fn = gg.compile(gg.value_and_grad(f), x, gg.spec("f64[]", example=3.0))
    assert "masses in kg" in fn.source
    report = fn.check()
    assert report.ok and bool(report), str(report)
    with pytest.raises(gg.SpecError, match=r"gg\.spec needs the spec of an array"):
        gg.spec("size")


def test_an_array_stands_for_its_shape_and_dtype():
    fn = gg.compile(gg.grad(lambda a, b: np.sum(a) * b), np.ones((2, 3), np.float32), 1.5)
    assert fn(np.ones((2, 3), np.float32), 2.0).dtype == np.float32
    with pytest.raises(gg.ShapeError):
        fn(np.ones((3, 2), np.float32), 2.0)


WORDS = ("target", "name", "options", "specs", "wrt", "args")


@pytest.mark.parametrize("target", TARGETS)
def test_parameters_with_the_names_of_compiles_own(target):
    def f(target, name, options, specs, wrt, args):
        return target * name * options * specs * wrt * args

    fn = gg.compile(
        gg.value_and_grad(f, wrt=("target", "specs")),
        specs=dict.fromkeys(WORDS, "f64[]"),
        target=target,
    )
    assert fn(1.0, 2.0, 3.0, 4.0, 5.0, 6.0) == (720.0, (720.0, 180.0))
    values = dict(zip(WORDS, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), strict=True))
    assert fn(**values) == (720.0, (720.0, 180.0))


# -- derived sizes
def derived(x, y):
    d = x[1:] - x[:-1]
    z = np.concatenate([x, y])
    return np.sum(d**2) / x.shape[0] + np.sum(z**3) / len(y) + np.mean(z) * len(z)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize(("n", "m"), [(3, 2), (1, 4), (7, 1)])
def test_derived_sizes(n, m, target):
    fn = gg.compile(
        gg.value_and_grad(derived, wrt=("x", "y")), x="f64[n]", y="f64[m]", target=target
    )
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=n), rng.normal(size=m)
    value, (x_bar, y_bar) = fn(x, y)
    assert value == pytest.approx(derived(x, y))
    np.testing.assert_allclose(x_bar, differences(lambda a: derived(a, y), x), atol=1e-7)
    np.testing.assert_allclose(y_bar, differences(lambda a: derived(x, a), y), atol=1e-7)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_a_slice_that_needs_a_length_is_checked_at_entry(target):
    fn = gg.compile(gg.grad(lambda x: np.sum(x[:3] * x[-3:])), "f64[n]", target=target)
    np.testing.assert_array_equal(fn(np.arange(4.0)), [1.0, 2.0 + 0.0, 3.0 + 1.0, 2.0])
    with pytest.raises(gg.ShapeError, match="3"):
        fn(np.ones(2))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_disagreement_on_a_size_is_refused_by_name(target):
    fn = gg.compile(gg.grad(lambda x, y: np.sum(x * y)), "f64[n]", "f64[n]", target=target)
    with pytest.raises(gg.ShapeError, match=r"y needs n = 3 \(from x\), got 4"):
        fn(np.ones(3), np.ones(4))


def test_standalone_file_refuses_a_disagreement_by_name():
    fn = gg.compile(gg.grad(lambda x, y: np.sum(x * y)), "f64[n]", "f64[n]", name="dot_grad")
    space: dict[str, Any] = {}
    exec(fn.source, space)
    with pytest.raises(ValueError, match=r"y of shape \(n,\) = \(3,\) \(n from x\), got \(4,\)"):
        space["dot_grad"](np.ones(3), np.ones(4))
    with pytest.raises(TypeError, match="float64 for x"):
        space["dot_grad"](np.ones(3, complex), np.ones(3))


# -- aux
@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_aux(target):
    def f(x):
        y = np.sin(x)
        return np.sum(y), {"y": y, "top": np.max(x), "count": 3}

    x = np.array([0.0, 1.0])
    (value, aux), x_bar = gg.compile(gg.value_and_grad(f, aux=True), "f64[n]", target=target)(x)
    assert value == pytest.approx(np.sum(np.sin(x)))
    np.testing.assert_allclose(aux["y"], np.sin(x))
    assert aux["top"] == 1.0 and aux["count"] == 3
    np.testing.assert_allclose(x_bar, np.cos(x))
    gradient, again = gg.compile(gg.grad(f, aux=True), "f64[n]", target=target)(x)
    np.testing.assert_allclose(gradient, np.cos(x))
    np.testing.assert_allclose(again["y"], np.sin(x))


# -- captured arrays
SMALL = np.arange(10.0)
LARGE = np.linspace(-1.0, 1.0, 100)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_captured_arrays(target):
    inner = np.arange(3.0)

    def f(x):
        return np.sum(x * LARGE) + np.sum(SMALL * x[0]) * np.sum(inner * x[:3])

    fn = gg.compile(gg.value_and_grad(f), "f64[100]", target=target)
    x = np.ones(100)
    value, x_bar = fn(x)
    assert value == pytest.approx(f(x))
    np.testing.assert_allclose(x_bar, differences(f, x), atol=1e-6)
    assert set(fn.captures) == {"SMALL", "LARGE", "inner"}
    np.testing.assert_array_equal(fn.captures["LARGE"], LARGE)
    assert "Captured arrays" in fn.source
    for name in ("SMALL", "LARGE", "inner"):
        assert name in fn.source


def test_changing_a_captured_array_later_changes_nothing():
    table = np.arange(3.0)
    big = np.arange(100.0)
    fn = gg.compile(lambda x: x * np.sum(table) + np.sum(big), "f64[]")
    table += 1.0
    big += 1.0
    assert fn(1.0) == 3.0 + 4950.0


def test_a_large_capture_is_a_parameter_of_the_standalone_file():
    fn = gg.compile(lambda x: np.sum(x * LARGE), "f64[100]", name="weigh")
    space: dict[str, Any] = {}
    exec(fn.source, space)
    assert space["weigh"](np.ones(100), LARGE) == pytest.approx(np.sum(LARGE))


# -- calls
def logistic(w, b, X, y):
    z = X @ w + b
    return np.mean(np.logaddexp(0.0, z) - y * z)


def make(target="numpy"):
    return gg.compile(
        gg.value_and_grad(logistic, wrt=("w", "b")),
        w="f64[d]", b="f64[]", X="f64[n,d]", y="f64[n]", target=target,
    )  # fmt: skip


def example():
    rng = np.random.default_rng(5)
    return rng.normal(size=3), 0.25, rng.normal(size=(6, 3)), (rng.uniform(size=6) < 0.5) * 1.0


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_ways_to_call(target):
    fn = make(target)
    w, b, X, y = example()
    value, (w_bar, b_bar) = fn(w, b, X, y)
    assert type(value) is float and type(b_bar) is float
    calls = [
        fn(w=w, b=b, X=X, y=y),
        fn(w, b, y=y, X=X),
        fn(w.tolist(), b, X.tolist(), y.tolist()),
        fn(w, np.float64(b), np.asfortranarray(X), y),
        fn(w, np.array(b), np.repeat(X, 2, axis=0)[::2], np.repeat(y, 3)[::3]),
        fn(w[::-1][::-1], b, X, y.astype(np.int32)),
        fn(w, np.float32(b), X, y.astype(bool)),
    ]
    for again, (again_w, again_b) in calls:
        assert again == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(again_w, w_bar, rtol=1e-12)
        assert again_b == pytest.approx(b_bar, rel=1e-12)
    np.testing.assert_allclose(w_bar, differences(lambda a: logistic(a, b, X, y), w), atol=1e-8)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_inputs_may_alias_and_are_left_alone(target):
    fn = gg.compile(
        gg.value_and_grad(lambda a, b: np.sum(a * b * b), wrt=(0, 1)),
        "f64[n]",
        "f64[n]",
        target=target,
    )
    x = np.array([1.0, 2.0])
    before = x.copy()
    value, (a_bar, b_bar) = fn(x, x)
    assert value == 9.0
    np.testing.assert_array_equal(a_bar, x**2)
    np.testing.assert_array_equal(b_bar, 2 * x**2)
    np.testing.assert_array_equal(x, before)
    x.flags.writeable = False
    assert fn(x, x)[0] == 9.0


RESULTS = {
    "argument": lambda x: x,
    "argument twice": lambda x: (x, x),
    "transpose": lambda x: x.T,
    "slice": lambda x: x[1:, ::2],
    "reversed": lambda x: x[::-1],
    "row": lambda x: x[0],
    "reshape": lambda x: x.reshape(-1),
    "ravel": lambda x: np.ravel(x),
    "expand": lambda x: x[None],
    "broadcast": lambda x: np.broadcast_to(x[0], (2, 3)),
    "sum of transposes": lambda x: x.T + x.T,
    "negated transpose": lambda x: np.exp(x.T),
    "further from a transpose": lambda x: np.sin(np.exp(x.T) + 1.0) * 2.0,
    "concatenated transposes": lambda x: np.concatenate([x.T, x.T], axis=1),
    "stacked transposes": lambda x: np.stack([x.T, 2.0 * x.T]),
    "sum of a transposed stack": lambda x: np.sum(np.stack([x, x]).T, axis=1),
    "gathered columns": lambda x: x[:, np.array([2, 0])],
    "gathered rows": lambda x: x.T[np.array([2, 0])],
    "product": lambda x: x.T @ x,
    "updated": lambda x: updated(x),
    "copy": lambda x: x.copy(),
    "constant": lambda x: np.arange(3.0),
    "one twice": lambda x: (x * 2.0, x * 2.0),
    "a view of a result": lambda x: twice_and_view(x),
    "nested": lambda x: {"a": x, "b": [x.T, x]},
    "concatenated one": lambda x: np.concatenate([x]),
    "clip": lambda x: np.clip(x, -10.0, 10.0),
    "where": lambda x: np.where(x > 0, x.T[:2, :1], x[:, :1]),
}


def twice_and_view(x):
    y = x * 2.0
    return y, y[0], y.T, y.reshape(3, 2)


def updated(x):
    y = np.zeros((2, 3))
    y[0] = x[1]
    return y, y[1]


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("form", RESULTS)
def test_results_are_fresh_writable_and_c_ordered(form, target):
    f = RESULTS[form]
    fn = gg.compile(f, "f64[2,3]", target=target, name="returned")
    x = np.arange(6.0).reshape(2, 3)
    before = x.copy()
    expected = [np.array(v) for v in flat_leaves(f(x))]
    first = flat_leaves(fn(x))
    second = flat_leaves(fn(x))
    everything = [*first, *second, x]
    for k, (array, wanted) in enumerate(zip(first, expected, strict=True)):
        # C may compute exp and sin for whole vectors, to 4 ulp
        np.testing.assert_allclose(array, wanted, rtol=1e-12 if target == "c" else 0)
        assert array.flags.c_contiguous and array.flags.writeable and array.dtype == wanted.dtype
        for j, other in enumerate(everything):
            assert j == k or not np.shares_memory(array, other)
        array[...] = -99.0
    np.testing.assert_array_equal(x, before)
    for array, wanted in zip(second, expected, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=1e-12 if target == "c" else 0)
    if target == "numpy":  # the standalone file keeps the same promise
        space: dict[str, Any] = {}
        exec(fn.source, space)
        direct = flat_leaves(space["returned"](x))
        for k, array in enumerate(direct):
            assert array.flags.c_contiguous and array.flags.writeable
            for j, other in enumerate([*direct, x]):
                assert j == k or not np.shares_memory(array, other)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["f64", "f32", "i64", "bool"])
def test_scalar_results_keep_their_dtype(dtype, target):
    if target == "python" and dtype == "f32":
        pytest.skip("Python has one float")
    fn = gg.compile(lambda x: x, f"{dtype}[]", target=target, name="same")
    value = {"f64": 1.5, "f32": np.float32(1.5), "i64": 3, "bool": True}[dtype]
    found = fn(value)
    assert found == value
    if dtype == "f64":
        assert type(found) is float
    elif dtype == "f32":
        assert np.asarray(found).dtype == np.float32


@pytest.mark.parametrize("target", TARGETS)
def test_pickle(target):
    fn = gg.compile(
        gg.value_and_grad(lambda p, k: p["a"] * p["b"] ** k), {"a": "f64[]", "b": "f64[]"},
        gg.static(2), target=target, name="pickled",
    )  # fmt: skip
    point = {"a": 2.0, "b": 3.0}
    again = pickle.loads(pickle.dumps(fn))
    assert again(point) == fn(point) == (18.0, {"a": 9.0, "b": 12.0})
    assert again.source == fn.source
    with pytest.raises(gg.EmitError, match="was unpickled"):
        _ = again.ir


def test_pickle_with_statics_that_do_not_pickle():
    fn = gg.compile(gg.grad(lambda x, act: act(x)), "f64[]", gg.static(lambda v: v * v), name="act")
    assert pickle.loads(pickle.dumps(fn))(3.0) == 6.0


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_threads(target):
    fn = make(target)
    w, b, X, y = example()
    expected = [fn(w + k, b, X, y)[1][0] for k in range(8)]
    wrong = []
    fn = make(target)  # the first call, which builds, is raced for as well

    def work(k):
        for _ in range(50):
            found = fn(w + k, b, X, y)[1][0]
            if not np.array_equal(found, expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_threads_may_trace_at_once():
    found: dict[int, Any] = {}

    def work(k):
        found[k] = gg.compile(gg.grad(lambda x: np.sum(x**k)), "f64[2]")(np.array([1.0, 2.0]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2, 8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k in range(2, 8):
        np.testing.assert_allclose(found[k], k * np.array([1.0, 2.0]) ** (k - 1))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_into(target):
    fn = gg.compile(
        gg.grad(lambda x, y: np.sum(x * y), wrt=(0, 1)), "f64[n]", "f64[n]", target=target
    )
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    out = (np.empty(2), np.empty(2))
    assert fn.into(out, x, y) is out
    np.testing.assert_array_equal(out[0], y)
    np.testing.assert_array_equal(out[1], x)
    with pytest.raises(gg.ShapeError, match=r"shape \(2,\) in out"):
        fn.into((np.empty(3), np.empty(2)), x, y)
    with pytest.raises(gg.SpecError, match="float64 in out"):
        fn.into((np.empty(2, np.float32), np.empty(2)), x, y)
    with pytest.raises(gg.ShapeError, match="like its result"):
        fn.into((np.empty(2),), x, y)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_flat_drives_an_optimiser(target):
    minimize = pytest.importorskip("scipy.optimize").minimize

    def loss(p, X, y):
        r = X @ p["w"] + p["b"] - y
        return np.mean(r * r) + 1e-3 * np.sum(p["w"] ** 2)

    fn = gg.compile(
        gg.value_and_grad(loss, wrt="p"),
        p={"w": "f64[d]", "b": "f64[]"},
        X="f64[n,d]",
        y="f64[n]",
        target=target,
    )
    _, _, X, _ = example()
    y = X @ np.array([1.0, -2.0, 0.5]) + 3.0
    objective = fn.flat({"w": np.zeros(3), "b": 0.0}, X, y)
    value, gradient = objective(objective.x0)
    assert gradient.shape == (4,) and isinstance(value, float)
    best = minimize(objective, objective.x0, jac=True, method="BFGS")
    np.testing.assert_allclose(best.x, [1.0, -2.0, 0.5, 3.0], atol=0.05)
    with pytest.raises(gg.SpecError, match="value_and_grad"):
        gg.compile(loss, p={"w": "f64[3]", "b": "f64[]"}, X="f64[2,3]", y="f64[2]").flat()


# -- graphs that are already built
@pytest.mark.parametrize("target", TARGETS)
def test_built_graph(target):
    a, b, c = gg.Value(2.0, label="a"), gg.Value(-3.0), gg.Value(10.0, label="a")
    loss = (a * b + c).tanh() * a + b**2
    fn = gg.compile(loss, wrt=[a, b], target=target)
    value, (a_bar, b_bar) = fn(2.0, -3.0)
    loss.backward()
    assert value == pytest.approx(loss.data)
    assert (a_bar, b_bar) == (pytest.approx(a.grad), pytest.approx(b.grad))
    third = gg.compile(loss, args=[a, b, c], wrt=[c, c], target=target)
    assert third(2.0, -3.0, 10.0)[1] == (pytest.approx(c.grad),) * 2
    other = third(1.0, 1.0, 0.5)[0]
    assert other == pytest.approx(np.tanh(1.5) + 1.0)


def test_built_graph_of_arrays():
    w = gg.Value(np.array([1.0, 2.0]), label="w")
    X = gg.Value(np.arange(6.0).reshape(3, 2), label="X")
    fn = gg.compile(np.sum((X @ w) ** 2), wrt=[w])
    value, (w_bar,) = fn(np.array([1.0, 0.0]))
    assert value == 0.0 + 4.0 + 16.0
    np.testing.assert_allclose(w_bar, 2 * X.data.T @ (X.data @ np.array([1.0, 0.0])))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda a, b: gg.compile(a * b), "needs wrt"),
        (lambda a, b: gg.compile(a * b, args=[a], wrt=[b]), "among args"),
        (lambda a, b: gg.compile(np.ones(2) * a, wrt=[a]), "needs a scalar"),
        (lambda a, b: gg.compile(a * b, wrt=[1.0]), "eager Values"),
        (lambda a, b: gg.compile(a * a, wrt=[a, b]), "that the graph is built from, got .*2"),
        (lambda a, b: gg.compile((a + b) ** 2, wrt=[a, a + b]), "bound anew after the graph"),
    ],
)
def test_built_graph_refusals(call, says):
    with pytest.raises(gg.SpecError, match=says):
        call(gg.Value(1.0), gg.Value(2.0))


# -- names of what is made
def test_default_names():
    def energy(x):
        return x * x

    names = {
        gg.compile(energy, 1.0).name: "energy",
        gg.compile(gg.grad(energy), 1.0).name: "energy_grad",
        gg.compile(gg.value_and_grad(energy), 1.0).name: "energy_grad",
        gg.compile(gg.vjp(energy), 1.0, 1.0).name: "energy_vjp",
        gg.compile(gg.jvp(energy), 1.0, 1.0).name: "energy_jvp",
        gg.compile(gg.hvp(energy), 1.0, 1.0).name: "energy_hvp",
        gg.compile(lambda x: x, 1.0).name: "fn",
    }
    assert all(found == wanted for found, wanted in names.items())


@pytest.mark.parametrize("target", [C])
def test_checks_off_still_runs(target):
    fn = gg.compile(gg.grad(lambda x: np.sum(x * x)), "f64[n]", options=gg.Options(checks=False))
    np.testing.assert_array_equal(fn(np.ones(2)), [2.0, 2.0])
    assert "_arguments" not in fn.source


def keyworded(w, *, X, scale=2.0, y, power=2):
    """What a model's author wants called by name."""
    return scale * np.mean((X @ w - y) ** power)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_keyword_only_parameters(target):
    w, X, y = np.array([0.5, -1.0]), np.arange(6.0).reshape(3, 2), np.ones(3)
    value, slope = gg.value_and_grad(keyworded)(w, X=X, y=y)
    assert value == keyworded(w, X=X, y=y)
    fn = gg.compile(
        gg.value_and_grad(keyworded), w="f64[d]", X="f64[n,d]", y="f64[n]", target=target
    )
    found, gradient = fn(w, y=y, X=X)
    assert found == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(gradient, slope, rtol=1e-13)
    fn = gg.compile(
        gg.grad(keyworded, ("scale", "y")), w, X=X, scale="f64[]", y=y, power=3, target=target
    )
    by_scale, by_y = fn(w, X=X, scale=1.5, y=y)
    assert by_scale == pytest.approx(np.mean((X @ w - y) ** 3), rel=1e-14)
    np.testing.assert_allclose(by_y, -1.5 * (X @ w - y) ** 2, rtol=1e-14)
    assert fn.check(w, X, 1.5, y).ok


def test_what_a_partial_has_fixed_is_no_parameter():
    f = functools.partial(keyworded, X=np.ones((3, 2)), power=1)
    fn = gg.compile(gg.grad(f, "y"), w="f64[2]", y="f64[3]")
    np.testing.assert_allclose(fn(np.ones(2), np.zeros(3)), -2.0 / 3.0 * np.ones(3))
    assert gg.compile(gg.grad(lambda *, k: k * k), "f64[]")(3.0) == 6.0
