"""Calls of a Compiled: those that need no conversion have no Python frame between, all others say and do the same as ever."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import pydoc
import resource
import subprocess
import sys
import sysconfig
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from compilers import TARGETS, C, needs_c

import gradgen as gg
import gradgen.build
from gradgen.emit.c_call import Interface, call_files

TABLE = np.arange(100.0)


@dataclass
class Point:
    a: Any
    b: Any


class Pair(NamedTuple):
    u: Any
    v: Any


def two(x, y):
    return np.sin(x) * np.exp(x * y)


def three(a, b, c):
    return np.sum(a * b * c)


def nested(p, k):
    return np.sum(p["a"] * p["b"][:3]) * k, {"x": p["a"] * 2, 3: (k * k, [p["b"] + 0.0])}


def gathered(x, i, w):
    return np.sum(x[i]) * w


def mixed(k, j, t, s):
    return np.where(t, k + j, k - j), s * 2.0, t


def choose(p, q):
    return p["m"] * q if p["way"] == "a" else q


def products(A, x):
    return A @ np.tanh(A.T @ x), x


X = np.linspace(-1.0, 1.0, 5)
W = np.float32(2.0)
ROWS = [
    (gg.value_and_grad(two, wrt=(0, 1)), ("f64[]", "f64[]"), (0.5, np.float64(0.25))),
    (gg.value_and_grad(two), ("f64[]", "f64[]"), (1, np.array(0.25))),
    (gg.value_and_grad(two), ("f32[]", "f32[]"), (W, 0.5)),
    (gg.value_and_grad(three, wrt=(0, 2)), ("f64[n]",) * 3, (X, X, X)),
    (gg.value_and_grad(three, wrt=(2, 2)), ("f32[3]",) * 3, (np.ones(3, np.float32),) * 3),
    (nested, ({"a": "f64[3]", "b": "f64[n]"}, "f64[]"), ({"a": X[:3], "b": X}, 2.0)),
    (gg.value_and_grad(lambda p: np.sum(p.a**2) * p.b), (Point("f64[n]", "f64[]"),), (Point(X, 2.0),)),
    (lambda n, q: Pair(n.u * n.v, q[0] + q[1][0]), (Pair("f64[n]", "f32[n]"), ["f64[]", ("f64[]",)]),
     (Pair(X, np.ones(5, np.float32)), [1.0, (2.0,)])),
    (gg.value_and_grad(gathered), ("f64[n]", "i64[p] < n", "f32[]"), (X, np.array([0, -1, 4]), W)),
    (lambda i, x: x + i, ("i32[] < n", "f64[n]"), (-5, X)),
    (mixed, ("i64[]", "i32[]", "bool[]", "f64[]"), (np.int64(3), 4, True, 2.5)),
    (mixed, ("i64[n]", "i32[n]", "bool[n]", "f64[]"), (np.arange(3), np.arange(3, dtype="i4"), np.ones(3, bool), 1.0)),
    (lambda x, n: np.zeros(n) + x, ("f64[n]", "size"), (X, 5)),
    (gg.value_and_grad(lambda x: np.sum(TABLE * x)), ("f64[]",), (3.0,)),
    (lambda A, x: (A * x)[:, 1:], ("f64[n,n+1]", "f64[n+1]"), (np.ones((2, 3)), np.ones(3))),
    (lambda A, x: A * x[0], ("f64[n*(n-1)//2]", "f64[n]"), (np.ones(6), np.ones(4))),
    (choose, ({"m": "f64[n]", "way": gg.static("a")}, "f64[]"), ({"m": X, "way": "a"}, 2.0)),
    (gg.vjp(products), ("f64[n,m]", "f64[n]", ("f64[n]", "f64[n]")), (np.ones((5, 2)), X, (X, X))),
]  # fmt: skip


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, Point):
        a, b = [a.a, a.b], [b.a, b.b]
    if isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
        return
    np.testing.assert_array_equal(a, b)
    assert getattr(a, "dtype", None) == getattr(b, "dtype", None)


def frames(call):
    """The names of the Python functions that run during a call."""
    seen = []
    sys.setprofile(lambda frame, event, arg: event == "call" and seen.append(frame.f_code.co_name))
    try:
        call()
    finally:
        sys.setprofile(None)
    return [
        name for name in seen if name not in ("<lambda>", "__init__")
    ]  # the test's, a dataclass's


@needs_c
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_no_python_frame_and_the_same_results(row):
    f, specs, args = ROWS[row]
    fn = gg.compile(f, *specs, target="c")
    slow = fn._call(*args)
    assert fn.caller == "extension"
    found = []
    assert frames(lambda: found.append(fn(*args))) == []
    same(slow, found[0])
    names = list(inspect.signature(fn).parameters)
    assert frames(lambda: fn(**dict(zip(names, args, strict=True)))) == []
    again = fn(*args)
    arrays = [v for v in flat(found[0]) + flat(again) if isinstance(v, np.ndarray)]
    given = [v for v in flat(args) if isinstance(v, np.ndarray)]
    for k, a in enumerate(arrays):
        assert a.flags.writeable and a.flags.c_contiguous
        assert not any(np.shares_memory(a, b) for b in arrays[:k] + given)


def flat(value):
    from gradgen.tree import flatten

    return flatten(value)[0]


@needs_c
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_the_wrapper_compiles_without_a_warning(row, tmp_path):
    f, specs, _ = ROWS[row]
    fn = gg.compile(f, *specs, target="c")
    work = f"{fn.name}_work_bytes(" in fn.files[f"{fn.name}.h"]
    inputs = [leaf.type for leaf in fn.signature.leaves]
    interface = Interface(fn.name, fn.signature, inputs, fn.signature.result_types, work)
    for name, text in call_files([interface]).items():
        (tmp_path / name).write_text(text)
    include = [f"-isystem{p}" for p in (sysconfig.get_paths()["include"], np.get_include())]
    words = ["cc", "-std=gnu11", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-O1", *include]
    done = subprocess.run(
        [*words, "-fsyntax-only", "gradgen-call-0.c"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("target", "allowed"), [("python", ["_gradgen_call"]), ("numpy", ["_gradgen_call"])]
)
def test_emitted_python_is_called_directly(target, allowed):
    fn = gg.compile(gg.value_and_grad(two), "f64[]", "f64[]", target=target, name="f")
    fn(0.5, 0.25)
    found = frames(lambda: fn(0.5, 0.25))
    assert "_call" not in found and found[: len(allowed)] == allowed
    same(fn(0.5, 0.25), fn._call(0.5, 0.25))
    for args in ((1, 2), (np.float32(0.5), True), (np.array(0.5), 0.25)):
        same(fn(*args), fn._call(*args))
    same(fn(0.5, y=0.25), fn._call(0.5, 0.25))
    assert "_call" not in frames(lambda: fn(y=0.25, x=0.5))
    for args, named in (
        ((0.5,), {"x": 1.0}),
        ((0.5,), {"z": 1.0}),
        ((), {"x": 1.0}),
        ((1.0, 2.0, 3.0), {}),
    ):
        with pytest.raises(gg.SpecError):
            fn(*args, **named)


BAD: list[tuple[tuple, dict]] = [
    ((X, X), {}),
    ((X, X, X, X), {}),
    ((X, X, X[:4]), {}),
    ((X, X), {"c": X[:4]}),
    ((X, X), {"d": X}),
    ((X, X, X), {"a": X}),
    ((X, X, X + 1j), {}),
    ((X, X, "x"), {}),
    ((X, X, None), {}),
    ((X, X, np.ones((5, 1))), {}),
    ((X, X, [[1.0], [2.0, 3.0]]), {}),
]


@pytest.mark.parametrize("target", ["numpy", C])
@pytest.mark.parametrize("row", range(len(BAD)))
def test_bad_calls_say_what_they_always_said(target, row):
    args, named = BAD[row]
    fn = gg.compile(gg.value_and_grad(three), *["f64[n]"] * 3, target=target)
    with pytest.raises((gg.SpecError, gg.ShapeError)) as slow:
        fn._call(*args, **named)
    fn(X, X, X)
    with pytest.raises(type(slow.value)) as quick:
        fn(*args, **named)
    assert quick.value.what == slow.value.what


@needs_c
def test_what_needs_a_conversion_is_converted():
    fn = gg.compile(gg.value_and_grad(three), *["f64[n]"] * 3, target="c")
    expected = fn(X, X, X)
    unaligned = np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float64)
    readonly = X.copy()
    readonly.flags.writeable = False
    for x in (list(X), X[::-1][::-1], np.repeat(X, 2)[::2], X.astype(">f8"), unaligned, readonly):
        same(fn(X, x, X), expected)
    same(fn(np.ma.array(X), np.asarray(X).view(np.matrix).A1, X), expected)
    same(
        fn(np.arange(3, dtype="i4"), np.ones(3, "f4"), [1, 1, 1]),
        fn(np.arange(3.0), np.ones(3), np.ones(3)),
    )


@needs_c
def test_results_in_given_arrays():
    fn = gg.compile(gg.value_and_grad(three, wrt=(0, 1)), *["f64[n]"] * 3, target="c")
    value, bars = fn(X, X + 1.0, X)
    out = (np.empty(()), (np.empty(5), np.empty(5)))
    assert frames(lambda: fn.into(out, X, X + 1.0, X)) == []
    assert fn.into(out, X, X + 1.0, X) is out
    same((out[0][()], out[1]), (np.float64(value), bars))
    out = (None, (np.empty(5), np.empty(5)))
    assert frames(lambda: fn.into(out, X, X + 1.0, c=X)) == []
    same(out[1], bars)
    fn.into((None, (None, out[1][0])), X, X + 1.0, X)
    same(out[1][0], bars[1])


@needs_c
def test_given_arrays_that_overlap_or_do_not_fit():
    fn = gg.compile(gg.value_and_grad(three, wrt=(0, 1)), *["f64[n]"] * 3, target="c")
    _, (a_bar, _) = fn(X, X + 1.0, X)
    a, memory = X.copy(), np.zeros(7)
    fn.into((None, (a, np.empty(5))), a, X + 1.0, X)  # the result over an argument
    same(a, a_bar)
    with pytest.raises(gg.ShapeError, match="do not overlap"):
        fn.into((None, (memory[:5], memory[2:])), X, X + 1.0, X)
    for wrong in (np.empty(4), np.empty((5, 1)), 0.0):
        with pytest.raises(gg.ShapeError, match="needs an array of shape"):
            fn.into((None, (wrong, np.empty(5))), X, X, X)
    with pytest.raises(gg.SpecError, match="needs float64 in out"):
        fn.into((None, (np.empty(5, np.float32), np.empty(5))), X, X, X)
    with pytest.raises(gg.ShapeError, match="needs out= like its result"):
        fn.into((np.empty(5),), X, X, X)
    readonly = np.empty(5)
    readonly.flags.writeable = False
    with pytest.raises(gg.SpecError, match="can be written in out"):
        fn.into((None, (readonly, np.empty(5))), X, X, X)
    strided = np.zeros(10)[::2]
    fn.into((None, (strided, np.empty(5))), X, X + 1.0, X)
    same(strided.copy(), a_bar)


@needs_c
def test_a_bad_index_is_found_in_c():
    fn = gg.compile(gg.value_and_grad(gathered), "f64[n]", "i64[p] < n", "f64[]", target="c")
    fn(X, np.array([4, -5]), 1.0)
    for bad in ([5], [-6]):
        with pytest.raises(IndexError, match="needs i below n = 5"):
            fn(X, np.array(bad), 1.0)
    fn = gg.compile(lambda x, i: x[i] * 2.0, "f64[n]", "i64[p]", target="c")
    with pytest.raises(IndexError, match="index 5 is out of bounds"):
        fn(X, np.array([5]))


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@needs_c
@pytest.mark.parametrize("row", [0, 3, 4, 5, 6, 7, 8, 13, 15])
def test_many_calls_hold_no_memory(row):
    f, specs, args = ROWS[row]
    fn = gg.compile(f, *specs, target="c")
    counts = [sys.getrefcount(v) for v in flat(args)]
    for _ in range(1000):
        fn(*args)
    before = memory()
    for _ in range(100_000):
        fn(*args)
    with pytest.raises((TypeError, ValueError, AttributeError)):
        fn(*args, 1.0)
    assert memory() - before < 2000  # kilobytes; one leaked float a call would be 2400
    assert [sys.getrefcount(v) for v in flat(args)] == counts


@needs_c
def test_the_class_of_a_function_goes_with_it():
    import weakref

    fn = gg.compile(gg.value_and_grad(two), "f64[]", "f64[]", target="c")
    fn(0.5, 0.25)
    kind = weakref.ref(type(fn))
    assert issubclass(kind(), gg.Compiled) and isinstance(fn, gg.Compiled)
    del fn
    gc.collect()
    assert kind() is None


@pytest.mark.parametrize("target", ["numpy", "python", C])
def test_a_built_function_is_still_a_compiled_one(target):
    fn = gg.compile(gg.value_and_grad(two), "f64[]", "f64[]", target=target)
    value = fn(0.5, 0.25)
    assert isinstance(fn, gg.Compiled) and type(fn).__name__ == "Compiled"
    assert str(inspect.signature(fn)) == "(x, y)"
    assert "two_grad" in repr(fn) and fn.source and fn.ir
    again = pickle.loads(pickle.dumps(fn))
    assert again(0.5, 0.25) == value and again(0.5, 0.25) == value
    assert fn.build() is fn and fn(0.5, 0.25) == value
    assert copy.copy(fn)(0.5, 0.25) == copy.deepcopy(fn)(0.5, 0.25) == value
    assert "Compiled in module gradgen.compiled" in pydoc.render_doc(fn)
    assert fn.caller == ("extension" if target == "c" else "python")


@needs_c
def test_captured_arrays_belong_to_one_function():
    """Two functions of one text share the object code, not the arrays bound to it."""
    functions = []
    for k in (1.0, 2.0):
        table = TABLE * k
        functions.append(gg.compile(_scaled(table), "f64[]", target="c"))
    assert [fn(1.0) for fn in functions] == [4950.0, 9900.0]
    assert [fn(1.0) for fn in functions] == [4950.0, 9900.0]


def _scaled(table):
    def scaled(x):
        return np.sum(table * x)

    return scaled


@needs_c
def test_first_calls_of_many_threads():
    for k in range(3):
        fn = gg.compile(lambda x, k=k: np.sum(x * x) + k, "f64[n]", k=gg.static(k), target="c")
        found: list[float] = []
        start = threading.Barrier(6)

        def work(fn=fn, found=found, start=start):
            start.wait()
            found.extend(fn(X) for _ in range(20))

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [X @ X + k] * 120


@needs_c
def test_built_anew_while_others_call():
    """The old class, and the workspace in it, live until the last call that runs in them is over."""
    fn = gg.compile(gg.value_and_grad(products_value), "f64[n,m]", "f64[n]", target="c")
    args = (np.ones((300, 20)) / 300.0, np.ones(300))
    wanted = fn(*args)[0]
    found: list[float] = []
    stop = threading.Event()

    def work():
        while not stop.is_set():
            found.append(fn(*args)[0])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        fn.build(flags=["-O1", "-std=c99"])
        gc.collect()
    stop.set()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@needs_c
def test_threads_have_workspaces_of_their_own():
    fn = gg.compile(gg.value_and_grad(products_value), "f64[n,m]", "f64[n]", target="c")
    rng = np.random.default_rng(0)
    problems = [(rng.normal(size=(n, 30)), rng.normal(size=n)) for n in (3, 40, 300, 900)] * 2
    wanted = [fn(*args) for args in problems]
    assert "work_bytes(" in fn.files[f"{fn.name}.h"]
    failures = []

    def work(k):
        for _ in range(60):
            value, bar = fn(*problems[k])
            if value != wanted[k][0] or not np.array_equal(bar, wanted[k][1]):
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(problems))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def products_value(A, x):
    h = np.tanh(A.T @ x)
    return np.sum(np.exp(A @ h) * x) / np.max(h)


@needs_c
def test_long_work_lets_other_threads_run():
    fn = gg.compile(
        gg.value_and_grad(lambda x: np.sum(np.sin(x) * np.exp(x))), "f64[n]", target="c"
    )
    x = np.linspace(0.0, 1.0, 3_000_000)
    fn(x)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    thread = threading.Thread(target=lambda: [fn(x) for _ in range(5)])
    turns = 0
    try:
        thread.start()
        while thread.is_alive():
            turns += 1
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert turns > 1000


# Names that the wrapper, its files, Python, NumPy and the C library use themselves.
NAMES = (
    "call", "run", "invoke", "attempt", "kernel", "gg_kernel", "gg_invoke", "gg_run", "ggg_x", "methods", "into", "State",
    "main_", "out", "digest", "call_support", "PyInit_gradgen_call_0",
    "PyFloat_FromDouble", "ARRAY", "DIM", "KEY", "sbrk", "environ", "dlopen", "sample", "differs_f64", "sum16", "weyl", "gemm",
)  # fmt: skip


@needs_c
@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_the_users_meets_one_of_the_wrapper(name):
    fn = gg.compile(lambda x, y: np.sin(x) * np.sum(y), "f64[]", "f64[n]", target="c", name=name)
    for _ in range(2):
        assert fn(1.0, X + 2.0) == np.sin(1.0) * 10.0
    assert fn.caller == (
        "cffi: there is no wrapper for it" if name.startswith("Py") else "extension"
    )


@needs_c
@pytest.mark.parametrize("why", ["no headers", "no wrapper"])
def test_without_the_wrapper_calls_go_through_cffi(why, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(gradgen.build, "_built", {})
    if why == "no headers":
        monkeypatch.setattr(gradgen.build, "_includes", lambda: (str(tmp_path), np.get_include()))
        says = "cffi: Python.h is not in"
    else:
        monkeypatch.setattr(gradgen.build, "CALL_FLAGS", ("-not-a-flag",))
        says = "cffi: gradgen-call-0.c does not compile here"
    for row in (0, 3, 5, 8, 10, 11):
        f, specs, args = ROWS[row]
        fn = gg.compile(f, *specs, target="c")
        assert fn.caller.startswith(says)
        same(fn(*args), gg.compile(f, *specs)._structure(fn._ready.call(*fn.arrays(args, {}))))
        same(fn(*args), fn(*args))
    with pytest.raises(gg.SpecError):
        fn()


@needs_c
def test_an_undefined_function_is_named():
    files = gg.compile(lambda x: np.sin(x), "f64[]", target="c", name="bent").files
    broken = {k: v.replace("sin(x)", "no_such_sine(x)") for k, v in files.items()}
    broken["bent.c"] = broken["bent.c"].replace(
        "int bent(", "double no_such_sine(double);\nint bent(", 1
    )
    fn = gg.compile(lambda x: np.sin(x), "f64[]", target="c", name="bent")
    fn.files = broken
    with pytest.raises(gg.BuildError, match=r"bent.c needs the function no_such_sine"):
        fn(1.0)


@pytest.mark.parametrize("target", ["numpy", C])
def test_a_flat_vector_of_another_length_is_refused(target):
    fn = gg.compile(gg.value_and_grad(three, wrt=(0, 1)), *["f64[n]"] * 3, target=target)
    flat = fn.flat(X, X, X)
    value, gradient = flat(flat.x0)
    assert value == fn(X, X, X)[0] and gradient.shape == (10,)
    for wrong in (9, 11):
        with pytest.raises(gg.ShapeError, match="needs a vector of 10 numbers"):
            flat(np.zeros(wrong))


@pytest.mark.parametrize("target", ["numpy", C])
def test_results_are_not_written_over_each_other(target):
    fn = gg.compile(gg.value_and_grad(three, wrt=(0, 1)), *["f64[n]"] * 3, target=target)
    both = np.zeros(6)
    for places in ((both[:5], both[:5]), (both[:5], both[1:])):
        with pytest.raises(gg.ShapeError, match="needs arrays in out that do not overlap"):
            fn.into((None, places), X, X, X)
    assert not both.any()
    readonly = np.zeros(5)
    readonly.setflags(write=False)
    with pytest.raises(gg.SpecError, match="needs arrays that can be written in out"):
        fn.into((None, (readonly, np.zeros(5))), X, X, X)
    apart = np.zeros(10)
    fn.into((None, (apart[::2], apart[1::2])), X, X + 1.0, X)
    expected = fn(X, X + 1.0, X)[1]
    same((apart[::2], apart[1::2]), expected)


def test_the_python_target_returns_arrays_of_their_dtype():
    fn = gg.compile(lambda x, k: (x * 2.0, k + 1, k > 1), "f32[2]", "i64[2]", target="python")
    found = fn(np.ones(2, np.float32), [1, 2])
    assert [v.dtype for v in found] == [np.float32, np.int64, np.bool_]


def test_a_partial_has_its_functions_name():
    import functools

    fn = gg.compile(gg.grad(functools.partial(three, c=X)), "f64[5]", "f64[5]")
    assert fn.name == "three_grad"


def test_check_takes_static_arguments_as_they_are():
    report = gg.check(
        lambda x, k: np.sum(x) ** k, X, 3, against=lambda x, k: 3 * np.sum(x) ** 2 + 0 * x
    )
    assert report, report


LISTS = [
    (lambda x, k, b: np.where(b, np.sin(x) * k, x), ("f64[2,3]", "i64[3]", "bool[2,3]")),
    (lambda x: (np.array([x, x * 2]), x), ("f64[]",)),
    (lambda p: {"a": p["W"] @ p["v"]}, ({"W": "f64[2,2]", "v": "f64[2]"},)),
    (lambda x: np.sin(x) * 3 + np.exp(x) / 7, ("f32[4]",)),
    (lambda x, i: x * i, ("f64[]", gg.spec("i64[4]", low=-3, high=3))),
    (lambda x, i: x * i, ("f64[]", gg.spec("i64[]", low=-3, high=3))),
    (lambda x: np.sum(x), ("f64[0]",)),
]


@pytest.mark.parametrize("row", range(len(LISTS)))
def test_self_tests_of_the_python_target_take_lists(row, tmp_path):
    f, specs = LISTS[row]
    fn = gg.compile(f, *specs, target="python", name="listed")
    fn.save(tmp_path)
    command = [sys.executable, "-S", "listed.py", "--check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "listed: self-test passed\n", done.stderr


@pytest.mark.parametrize("target", ["numpy", C])
def test_captures_are_shown_and_cannot_be_changed(target):
    small, large = np.arange(3.0), np.arange(100.0)
    fn = gg.compile(lambda x: np.sum(small * x) + np.sum(large * x[0]), "f64[3]", target=target)
    before = fn(np.ones(3))
    small[:], large[:] = 7.0, 8.0
    assert fn(np.ones(3)) == before and fn.check(np.ones(3))
    for array in fn.captures.values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5.0


@pytest.mark.parametrize("target", ["numpy", C])
def test_sizes_fit_64_bits(target):
    fn = gg.compile(lambda x, n: x / n, "f64[]", "size", target=target)
    assert fn(1.0, 2**62) == 1.0 / 2**62
    with pytest.raises(gg.SpecError, match="needs an int64 for the size n"):
        fn(1.0, 2**63)


@pytest.mark.parametrize("dtype", ["i64", "i32"])
@pytest.mark.parametrize("target", ["numpy", C])
def test_a_mask_is_no_array_of_indices(target, dtype):
    """NumPy's x[mask] picks elements; zeros and ones as indices would be a silently wrong number."""
    fn = gg.compile(
        lambda x, i: x[i] * 2.0, x="f64[n]", i=f"{dtype}[k] < n", target=target, name="picked"
    )
    x = np.arange(4.0)
    for mask in (np.array([True, False, True, False]), [True, False]):
        with pytest.raises(gg.SpecError, match=r"for i, got a mask of bool(?s:.*)flatnonzero"):
            fn(x, mask)
    np.testing.assert_array_equal(fn(x, [1, 3]), [2.0, 6.0])
    if target == "numpy":
        names: dict = {}
        exec(fn.source, names)
        with pytest.raises(TypeError, match="picked needs integers for i, got a mask"):
            names["picked"](x, np.array([True, False, True, False]))
        np.testing.assert_array_equal(names["picked"](x, [1, 3]), [2.0, 6.0])


def test_calls_without_checks_take_arrays_as_they_are_and_convert_the_rest():
    def f(x, y):
        return np.sum(x * y), x - y

    fn = gg.compile(f, "f64[n]", "f64[n]", options={"checks": False})
    x, y = np.arange(4.0), np.ones(4)
    for given in ((x, y), (list(x), y), (x.astype(np.float32), y), (np.arange(4), y)):
        total, gap = fn(*given)
        assert total == 6.0 and gap.dtype == np.float64
    np.testing.assert_array_equal(fn(y=y, x=x)[1], x - y)
    with pytest.raises(gg.GradgenError):
        fn(x[None], y)
    with pytest.raises(gg.GradgenError):
        fn(x)


def test_a_call_with_captured_arrays_and_an_argument_named_like_ours():
    table = np.arange(100.0)

    def f(given, self):
        return np.sum(table * given) * self

    fn = gg.compile(f, "f64[100]", "f64[]")
    assert fn(np.ones(100), 2.0) == 2.0 * table.sum()
    assert fn(np.ones(100), self=2.0) == 2.0 * table.sum()
    with pytest.raises(gg.ShapeError, match="given"):
        fn(np.ones(99), 2.0)


@pytest.mark.parametrize(
    "bad", [lambda fn: fn(1.0), lambda fn: fn(1.0, 2.0, 3.0), lambda fn: fn(1.0, c=2.0)]
)
@pytest.mark.parametrize("target", TARGETS)
def test_bad_calls_cite_the_line_of_the_call(target, bad):
    fn = gg.compile(lambda a, b: a * b, "f64[]", "f64[]", target=target)
    with pytest.raises(gg.SpecError, match=r"test_calls\.py:\d+"):
        bad(fn)


@needs_c
def test_a_bad_index_in_c_is_named():
    fn = gg.compile(gg.grad(lambda x, k: np.sum(x[k] ** 2)), "f64[n]", "i64[m]", target="c")
    with pytest.raises(IndexError, match="index 7 is out of bounds for axis 0 with size 5"):
        fn(np.ones(5), np.array([0, 7]))
    with pytest.raises(IndexError, match="index -9 is out of bounds"):
        fn.into(np.empty(5), np.ones(5), np.array([-9, 0]))
    with pytest.raises(IndexError):  # its source alone
        pickle.loads(pickle.dumps(fn))(np.ones(5), np.array([0, 7]))
