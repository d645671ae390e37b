"""`gg.module`: several functions in one file, in every target."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from compilers import ARRAY_TARGETS, TARGETS, needs_c

import gradgen as gg
import gradgen.build
from gradgen import cli

STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
X = np.array([0.3, 0.5])


def step(x, u):
    """One step of a cart."""
    return np.array([x[1], np.sin(x[0]) + u * np.logaddexp(0.0, x[1])])


def cost(x, u):
    d = step(x, u)
    return np.sum(d**2) + 1.0 / (1.0 + np.exp(-u))


def fit(X, w):
    return np.sum(np.logaddexp(0.0, X @ w))


def walk(x, n):
    for k in range(n):
        x = np.sin(x) + 0.01 * np.cos(k * x)
    return x


SPECS = {"x": "f64[2]", "u": "f64[]"}


def cartpole(target, **more):
    entries = {
        "f": (step, SPECS),
        "f_jac": (gg.jacobian(step), ("f64[2]", "f64[]")),
        "cost": (gg.value_grad_hessian(cost), SPECS),
        **more,
    }
    return gg.module("cartpole", entries, target=target)


def run_alone(m, folder):
    """The self-test of the saved files, where gradgen is not to be found."""
    m.save(folder)
    if m.target == "c":
        build = ["cc", *STRICT, f"-D{m.name.upper()}_SELFTEST", f"{m.name}.c", "-lm", "-o", "test"]
        subprocess.run(build, cwd=folder, check=True)
        command = ["./test"]
    else:
        command = [sys.executable, "-S", f"{m.name}.py", "--check"]
        if m.target == "numpy":
            command = [sys.executable, f"{m.name}.py", "--check"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("target", TARGETS)
def test_every_entry_computes_what_it_computes_alone(target):
    m = cartpole(target)
    np.testing.assert_allclose(m.f(X, 2.0), step(X, 2.0), rtol=1e-14)
    alone = gg.compile(gg.jacobian(step), **SPECS, target=target)
    np.testing.assert_allclose(m["f_jac"](x=X, u=2.0), alone(X, 2.0), rtol=1e-14)
    value, grad, hessian = m.cost(X, 2.0)
    np.testing.assert_allclose(value, cost(X, 2.0), rtol=1e-14)
    np.testing.assert_allclose(grad, gg.grad(cost)(X, 2.0), rtol=1e-13)
    np.testing.assert_allclose(hessian, gg.hessian(cost)(X, 2.0), rtol=1e-13)
    assert m.check(), m.check()
    assert list(m) == ["f", "f_jac", "cost"] and len(m) == 3 and "cost" in m and "g" not in m
    assert "f_jac" in dir(m) and repr(m).endswith("cartpole: f, f_jac, cost>")


@pytest.mark.parametrize("target", TARGETS)
def test_one_file_with_shared_routines_once(target):
    m = cartpole(target)
    ending = "c" if target == "c" else "py"
    assert next(iter(m.files)) == f"cartpole.{ending}" and m.source == m.files[f"cartpole.{ending}"]
    definition = {"c": "static double expit(", "numpy": "def _expit(", "python": "def _expit("}
    assert m.source.count(definition[target]) == 1  # used by f_jac and by cost
    assert m.f.source == m.source and m.f.files == m.files
    if target == "numpy":
        assert m.source.count("def _array(") == m.source.count("def _compare(") == 1
    if target == "c":
        header = m.files["cartpole.h"]
        assert re.findall(r"^int (\w+)\(", header, re.MULTILINE) == [
            "f", "f_jac", "cost", "cartpole_selftest",
        ]  # fmt: skip
        assert "enum { F_JAC_OK = 0 };" in header
        assert all(f"    int {name}(" in m.files["cartpole_build.py"] for name in m)


@pytest.mark.parametrize("target", TARGETS)
def test_the_saved_files_test_every_entry(target, tmp_path):
    scalar = {"wave": (gg.grad(lambda a: np.sin(a) * a), ("f64[]",))}
    m = cartpole(target, **scalar)
    done = run_alone(m, tmp_path)
    assert done.returncode == 0 and done.stdout == "cartpole: self-test passed\n", done
    main = tmp_path / next(iter(m.files))
    text = main.read_text()
    wrong = text.replace("cos(a)", "sin(a)")
    assert wrong != text
    main.write_text(wrong)
    again = tmp_path / "again"
    again.mkdir()
    for path in tmp_path.glob("cartpole*"):
        (again / path.name).write_text(path.read_text())
    if target == "c":
        words = ["cc", "-DCARTPOLE_SELFTEST", "cartpole.c", "-lm", "-o", "test"]
        subprocess.run(words, cwd=again, check=True)
        command = ["./test"]
    else:
        command = [sys.executable, "cartpole.py", "--check"]
    assert subprocess.run(command, cwd=again, capture_output=True).returncode != 0


@pytest.mark.parametrize("target", ["numpy", "python"])
def test_python_files_are_formatted(target, tmp_path):
    cartpole(target).save(tmp_path)
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run(
        [*ruff, "format", "--check", "--line-length", "100", "."], cwd=tmp_path, check=True
    )


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_modules_and_entries_pickle(target):
    bound = np.arange(80.0)
    m = gg.module(
        "two",
        {
            "fit": (gg.value_and_grad(fit, 1), {"X": "f64[n,d]", "w": "f64[d]"}),
            "bound": (lambda x, mode: np.sum(bound * x), {"x": "f64[]", "mode": gg.static(len)}),
        },
        target=target,
    )
    matrix, w = np.arange(6.0).reshape(3, 2), np.array([0.1, -0.2])
    expected = m.fit(matrix, w)
    other = pickle.loads(pickle.dumps(m))
    fit_alone, bound_alone = pickle.loads(pickle.dumps((m["fit"], m.bound)))
    for fn in (other.fit, fit_alone):
        value, bar = fn(matrix, w)
        assert value == expected[0]
        np.testing.assert_array_equal(bar, expected[1])
    assert other.bound(2.0) == bound_alone(2.0) == m.bound(2.0) == 2.0 * np.sum(bound)


# Names that functions of a file, their routines and their codes could share.
NASTY = [
    "two", "two_selftest", "f", "F", "f_code", "f_work_bytes", "_f_arguments", "_arguments", "_expit", "expit", "f_ok", "F_OK",
    "F_CODE_OK", "f_jac", "f_jac_2", "F_JAC_SIZE", "sin", "int", "np", "unit", "f_test", "f_part_1", "x", "value", "TWO_H",
    "work", "lambda_", "λ", "gg_run", "source", "save", "main", "sum16", "sample", "differs_f64", "gg_gemm_f64",
]  # fmt: skip


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_entries_of_any_name(target, tmp_path):
    entries = {
        name: (
            gg.hessian(lambda x, k=k: np.sum(np.sin(k * x) ** 2 / (1 + np.exp(-x)))),
            ("f64[2]",),
        )
        for k, name in enumerate(NASTY)
    }
    m = gg.module("two", entries, target=target)
    for k in (0, 2, 3, 5, 11, len(NASTY) - 1):
        alone = gg.compile(*map(entries[NASTY[k]].__getitem__, (0,)), "f64[2]", target=target)
        np.testing.assert_allclose(m[NASTY[k]](X), alone(X), rtol=1e-13)
    assert run_alone(m, tmp_path).stdout == "two: self-test passed\n"


@pytest.mark.parametrize("target", TARGETS)
def test_long_bodies_of_two_entries_are_split_apart(target, tmp_path):
    entries = {
        "a": (gg.value_and_grad(lambda x: walk(x, 800)), ("f64[]",)),
        "b": (gg.value_and_grad(lambda x: walk(x, 801)), ("f64[]",)),
    }
    m = gg.module("long", entries, target=target)
    assert m.source.count("a_part_1(") >= 2 and m.source.count("b_part_1(") >= 2
    np.testing.assert_allclose(m.a(0.3)[0], walk(0.3, 800), rtol=1e-12)
    np.testing.assert_allclose(m.b(0.3)[0], walk(0.3, 801), rtol=1e-12)
    assert run_alone(m, tmp_path).returncode == 0


def test_a_graph_that_is_built_already_is_an_entry():
    a, b = gg.Value(2.0, label="a"), gg.Value(-3.0, label="b")
    m = gg.module("built", {"product": (a * b + a, {"wrt": [a, b]})})
    assert m.product(2.0, -3.0) == (-4.0, (-2.0, 2.0))


@needs_c
def test_the_c_file_is_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(gradgen.build, "_built", {})
    m = cartpole("c").build()
    assert len(list(tmp_path.glob("*.so"))) == 1
    assert {fn.caller for fn in m.entries.values()} == {"extension"}
    found = []
    threads = [
        threading.Thread(target=lambda: found.append((m.f(X, 1.0)[1], m.cost(X, 1.0)[0])))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(m.f(X, 1.0)[1], m.cost(X, 1.0)[0])] * 8


@needs_c
def test_without_python_headers_entries_are_called_through_cffi(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(gradgen.build, "_built", {})
    monkeypatch.setattr(gradgen.build, "_includes", lambda: (str(tmp_path), np.get_include()))
    big = {"big": (gg.value_and_grad(fit, 1), {"X": "f64[n,d]", "w": "f64[d]"})}
    m = cartpole("c", **big)
    assert m.f.caller.startswith("cffi: Python.h is not in")
    np.testing.assert_allclose(m.f(X, 2.0), step(X, 2.0), rtol=1e-14)
    assert m.big(np.ones((3, 2)), X)[0] == pytest.approx(fit(np.ones((3, 2)), X))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_the_messages_name_the_function(target):
    m = cartpole(target)
    with pytest.raises(gg.ShapeError, match=r"x needs f64\[2\], got an array of shape \(3,\)"):
        m.f_jac(np.ones(3), 1.0)
    with pytest.raises(gg.SpecError, match="f needs float64 for u, got complex128"):
        m.f(X, 1j)


@pytest.mark.parametrize(
    ("name", "entries", "message"),
    [
        ("a-b", {"f": (step, SPECS)}, "a module needs a name that is an identifier, got 'a-b'"),
        ("m", {}, "a module needs its functions by name, got none"),
        ("m", [step], "a module needs its functions by name, got list"),
        ("m", {"f g": (step, SPECS)}, "a module needs names that are identifiers, got 'f g'"),
        ("m", {"f": step}, "f of a module needs a pair of a function and its specs, got function"),
        ("m", {"f": (step,)}, "needs a pair of a function and its specs, got 1 items"),
        (
            "m",
            {"f": (step, "f64[2]")},
            "f of a module needs its specs in a dict or a tuple, got str",
        ),
        ("m", {"f": (step, ("f64[2]",))}, "step needs a spec for u"),
        ("m", {"f": (3, SPECS)}, "compile needs a function or a Value, got int"),
        ("m", {"f": (gg.Value(1.0), ("f64[]",))}, "compiling a graph takes wrt"),
    ],
)
def test_wrong_modules_are_refused(name, entries, message):
    with pytest.raises(gg.SpecError, match=re.escape(message)):
        gg.module(name, entries)


def test_what_is_no_entry():
    m = cartpole("numpy")
    with pytest.raises(KeyError, match="cartpole has no function g; it has f, f_jac, cost"):
        m["g"]
    with pytest.raises(AttributeError, match="has no function g; it has f, f_jac, cost"):
        m.g  # noqa: B018


MODEL = """
import numpy as np
import gradgen as gg

def f(x):
    return np.sum(np.sin(x))

pair = gg.module("pair", {"f": (f, ("f64[n]",)), "f_grad": (gg.grad(f), ("f64[n]",))})
one = gg.compile(gg.grad(f), "f64[n]", name="one")
"""


def test_the_command_line_writes_what_a_file_defines(tmp_path, monkeypatch, capsys):
    (tmp_path / "defined.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    for name, files in (("pair", "pair.py"), ("one", "one.py")):
        words = ["build", f"defined.py:{name}", "-o", "out"]
        assert cli.main([*words, "--verify"]) == 1
        assert cli.main(words) == 0
        assert cli.main([*words, "--verify"]) == 0
        assert (tmp_path / "out" / files).is_file()
        assert cli.main(["check", f"defined.py:{name}"]) == 0
        assert cli.main(["show", f"defined.py:{name}", "--stage", "optimized"]) == 0
    assert "f_grad: numpy code against the interpreter" in capsys.readouterr().out
    assert cli.main(["build", "defined.py:pair", "-a", "x:f64:n"]) == 2
    assert cli.main(["graph", "defined.py:pair"]) == 2
    assert "a graph needs one function" in capsys.readouterr().err
    sys.modules.pop("defined", None)
