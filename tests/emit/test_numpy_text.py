# ruff: noqa: E501  (the models are a text of their own)
"""Emitted Python as text: linted, formatted, the same in every process, and run where gradgen is not installed."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import gradgen as gg

RUFF = Path(sys.prefix) / "bin" / "ruff"
needs_ruff = pytest.mark.skipif(not RUFF.exists(), reason="ruff is not installed")

MODELS = '''
import numpy as np

import gradgen as gg

TABLE = np.arange(12.0).reshape(3, 4) / 7.0
LARGE = np.linspace(0.0, 1.0, 200)


def logistic(w, b, X, y):
    """Mean log-loss of a linear classifier."""
    z = X @ w + b
    return np.mean(np.logaddexp(0.0, z) - y * z)


def network(p, X, y):
    h = X
    for layer in p["layers"]:
        h = np.tanh(h @ layer["W"] + layer["b"])
    e = h @ p["out"] - y
    return np.mean(e * e) + 1e-3 * np.sum(p["out"] ** 2)


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def gather(table, i, weight):
    rows = table[i]
    return np.sum(np.where(rows > 0.5, rows * TABLE[1], np.abs(rows))) * weight


def captured(x):
    return np.sum(np.maximum(x * LARGE, 0.0) ** 2)


def scalar(x, y):
    s = np.sin(x) * np.exp(x * y)
    return s + np.log1p(x * x) / y


def small(A, x):
    y = A @ x
    return y @ y + np.max(x)


def many(alpha_coefficient, beta_coefficient, gamma_coefficient, delta_coefficient, epsilon_coefficient, zeta_coefficient):
    total = alpha_coefficient * beta_coefficient + gamma_coefficient * delta_coefficient * epsilon_coefficient
    return np.sum(np.exp(total) * zeta_coefficient + np.sin(alpha_coefficient) * np.cos(beta_coefficient) * total)


def writes(x, n):
    out = np.zeros((3, 2))
    for k in range(3):
        out[k, 0] = x[k] ** 2
        out[k, 1] = out[k, 0] * x[0]
    out[1] += x[2]
    return np.sum(out * out) / n


def keys(p):
    return p["it's"] * p['say "x"'] ** 2 + p["a b"]


def chain(x):
    for k in range(3000):
        x = np.sin(x) * (1.0 + k % 3)
    return x


def long_names(observation_weights, measurement_matrix, regularisation_strength):
    predicted_measurements = measurement_matrix @ observation_weights
    squared_residual_total = np.sum(predicted_measurements * predicted_measurements * predicted_measurements)
    return squared_residual_total + regularisation_strength * np.sum(observation_weights * observation_weights) / 2.0


def l1(l, O, I):
    return np.sum(np.abs(l)) * O + I


grads = gg.value_and_grad
LOGISTIC = ("f64[d]", "f64[]", "f64[n,d]", "f64[n]")
NETWORK = ({"layers": [{"W": "f64[d,h]", "b": "f64[h]"}, {"W": "f64[h,k]", "b": "f64[k]"}], "out": "f64[k]"}, "f64[n,d]", "f64[n]")
PROGRAMS = {
    "logistic": lambda **k: gg.compile(grads(logistic, wrt=("w", "b")), *LOGISTIC, **k),
    "logistic_lecture": lambda **k: gg.compile(grads(logistic, wrt=("w", "b")), *LOGISTIC, options={"optimize": "lecture"}, **k),
    "logistic_fast": lambda **k: gg.compile(grads(logistic), *LOGISTIC, options={"optimize": "fast"}, **k),
    "logistic_unchecked": lambda **k: gg.compile(grads(logistic), *LOGISTIC, options={"checks": False}, **k),
    "many_wide": lambda **k: gg.compile(grads(many, wrt=tuple(range(6))), *["f64[n,m]"] * 6, options={"optimize": "lecture"}, **k),
    "logistic_f32": lambda **k: gg.compile(grads(logistic), "f32[d]", "f32[]", "f32[n,d]", "f32[n]", **k),
    "logistic_value": lambda **k: gg.compile(logistic, *LOGISTIC, **k),
    "logistic_hvp": lambda **k: gg.compile(gg.hvp(logistic), *LOGISTIC, "f64[d]", **k),
    "logistic_jvp": lambda **k: gg.compile(gg.jvp(logistic), *LOGISTIC, "f64[d]", **k),
    "network": lambda **k: gg.compile(grads(network, wrt="p"), *NETWORK, **k),
    "network_lecture": lambda **k: gg.compile(grads(network, wrt="p"), *NETWORK, options={"optimize": "lecture"}, **k),
    "rosenbrock": lambda **k: gg.compile(grads(rosenbrock), "f64[n]", **k),
    "rosenbrock_lecture": lambda **k: gg.compile(grads(rosenbrock), "f64[n]", options={"optimize": "lecture"}, **k),
    "gather": lambda **k: gg.compile(grads(gather), "f64[n,4]", "i64[p] < n", "f64[]", **k),
    "captured": lambda **k: gg.compile(grads(captured), "f64[200]", **k),
    "scalar_numpy": lambda **k: gg.compile(grads(scalar, wrt=(0, 1)), "f64[]", "f64[]", **k),
    "scalar": lambda **k: gg.compile(grads(scalar, wrt=(0, 1)), "f64[]", "f64[]", target="python", **k),
    "scalar_lecture": lambda **k: gg.compile(grads(scalar, wrt=(0, 1)), "f64[]", "f64[]", target="python", options={"optimize": "lecture"}, **k),
    "small": lambda **k: gg.compile(grads(small, wrt=("A", "x")), "f64[2,3]", "f64[3]", target="python", **k),
    "many": lambda **k: gg.compile(grads(many, wrt=tuple(range(6))), *["f64[n]"] * 6, **k),
    "many_python": lambda **k: gg.compile(grads(many, wrt=tuple(range(6))), *["f64[]"] * 6, target="python", **k),
    "writes": lambda **k: gg.compile(grads(writes), "f64[3]", "size", **k),
    "writes_python": lambda **k: gg.compile(grads(writes), "f64[3]", 4, target="python", **k),
    "keys": lambda **k: gg.compile(grads(keys), {"it's": "f64[]", 'say "x"': "f64[]", "a b": "f64[]"}, **k),
    "chain": lambda **k: gg.compile(grads(chain), "f64[]", target="python", **k),
    "chain_numpy": lambda **k: gg.compile(grads(chain), "f64[]", **k),
    "long_names": lambda **k: gg.compile(grads(long_names, wrt=(0, 1, 2)), "f64[d]", "f64[n,d]", "f64[]", **k),
    "l1": lambda **k: gg.compile(grads(l1, wrt=(0, 1, 2)), "f64[n]", "f64[]", "f64[]", **k),
    "symmetric": lambda **k: gg.compile(grads(captured), gg.spec("f64[200]", low=0.5, high=2.0, doc="it's \\"quoted\\""), **k),
}


def texts():
    return {name: make(name=name).source for name, make in PROGRAMS.items()}


if __name__ == "__main__":
    import json
    import sys

    json.dump(texts(), sys.stdout)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The models' module, and all emitted texts, from two processes that hash differently."""
    place = tmp_path_factory.mktemp("models")
    (place / "models.py").write_text(MODELS, encoding="utf-8")
    return place


@functools.cache
def emitted(place, seed):
    import json

    done = subprocess.run(
        [sys.executable, str(place / "models.py")],
        capture_output=True, text=True, check=False, cwd=place, env={**os.environ, "PYTHONHASHSEED": str(seed)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def files(folder):
    """The emitted files on disk, in a folder of their own."""
    place = folder / "emitted"
    place.mkdir(exist_ok=True)
    for name, text in emitted(folder, 1).items():
        (place / f"{name}.py").write_text(text, encoding="utf-8")
    return place


def test_every_process_writes_the_same_bytes(folder):
    assert emitted(folder, 1) == emitted(folder, 2)


def test_another_folder_makes_no_difference(folder, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "models.py").write_text(MODELS, encoding="utf-8")
    assert emitted(other, 3) == emitted(folder, 1)


@needs_ruff
@pytest.mark.parametrize(
    "command",
    [["check"], ["format", "--check", "--diff", "--line-length", "100"]],
    ids=["lint", "format"],
)
def test_ruff(command, files):
    done = subprocess.run(
        [RUFF, *command, "--isolated", "--no-cache", files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"


@needs_ruff
def test_ruff_with_more_rules(files):
    rules = "E,F,W,I,B,UP,C4,PIE,SIM"
    done = subprocess.run(
        [RUFF, "check", "--isolated", "--no-cache", "--line-length", "100", "--select", rules, "--ignore", "E501,E741", files],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]


def test_self_tests_run_without_gradgen(files, tmp_path):
    """One interpreter for all files: isolated, elsewhere, with gradgen out of reach."""
    runner = textwrap.dedent(
        """
        import pathlib, runpy, sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("gradgen", "jinja2", "sympy", "scipy", "cffi"):
                    raise ImportError(f"{name} is out of reach here")

        sys.meta_path.insert(0, Refuse())
        for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
            sys.argv = [str(path), "--check"]
            runpy.run_path(str(path), run_name="__main__")
        """
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", runner, files],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    passed = {
        line.split(":")[0] for line in done.stdout.splitlines() if line.endswith("self-test passed")
    }
    assert passed == {p.stem for p in files.glob("*.py")}


def test_a_self_test_notices_a_wrong_file(files, tmp_path):
    text = (files / "logistic.py").read_text(encoding="utf-8")
    assert "z = X @ w + b" in text
    (tmp_path / "logistic.py").write_text(
        text.replace("z = X @ w + b", "z = X @ w - b"), encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-I", tmp_path / "logistic.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and "self-test needs" in done.stderr
    done = subprocess.run(
        [sys.executable, "-I", files / "logistic.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "usage" in done.stderr


def imports_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def test_imports_and_paths(files, folder):
    for path in files.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        wanted = {"math", "sys"} if "import math" in text else {"numpy", "sys"}
        assert set(imports_of(ast.parse(text))) <= wanted, path.name
        for place in (
            str(folder),
            str(Path(gg.__file__).parent),
            os.path.expanduser("~"),
            "/tmp",
            "/home/",
        ):
            assert place not in text, path.name
        assert " 0x" not in text and "object at" not in text
        assert text.endswith("\n") and not text.endswith("\n\n")


def test_lines_of_the_user_are_cited(files):
    text = (files / "logistic.py").read_text(encoding="utf-8")
    number = next(k for k, line in enumerate(MODELS.splitlines(), 1) if "z = X @ w + b" in line)
    assert f"# models.py:{number}" in text
    assert "SPDX-License-Identifier: 0BSD" in text and "Generated by gradgen" in text


def test_a_file_runs_from_a_users_script(files):
    space: dict = {"__name__": "theirs"}
    exec((files / "logistic.py").read_text(encoding="utf-8"), space)
    rng = np.random.default_rng(0)
    w, X, y = rng.normal(size=3), rng.normal(size=(5, 3)), rng.uniform(size=5)
    value, (w_bar, b_bar) = space["logistic"](w, 0.5, X, y)
    z = X @ w + 0.5
    residual = (1 / (1 + np.exp(-z)) - y) / 5
    assert value == pytest.approx(np.mean(np.logaddexp(0.0, z) - y * z))
    np.testing.assert_allclose(w_bar, X.T @ residual)
    assert b_bar == pytest.approx(np.sum(residual))


def test_readable_text_is_what_a_person_would_write(files):
    """The mark of shared/EMITTED.md: the adjoint of three operations in one line."""
    text = (files / "logistic.py").read_text(encoding="utf-8")
    assert "z_bar = (_expit(z) - y) / n" in text
    assert "w_bar = z_bar @ X" in text or "w_bar = X.T @ z_bar" in text
    lecture = (files / "logistic_lecture.py").read_text(encoding="utf-8")
    assert len(lecture.splitlines()) > len(text.splitlines())


def test_numbers_beside_float32_keep_float64_results():
    """A Python number is weakly typed in NumPy: 0.1 * x32 would lose half of its digits."""

    def f(x, y):
        return np.sum(x * y) * 0.1

    fn = gg.compile(gg.grad(f, (0, 1)), "f32[n]", "f64[n]")
    x = np.array([1.5, 2.5], np.float32)
    x_bar, y_bar = fn(x, np.ones(2))
    assert (x_bar.dtype, y_bar.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(y_bar, 0.1 * x.astype(np.float64), rtol=1e-15)


def test_a_converted_carry_is_read_before_it_changes():
    def total(x):
        body = lambda c: (c[0] * 0.5, c[1] + np.sum(c[0]))
        return gg.while_loop(lambda c: c[0][0] > 0.3, body, (x, np.float64(0.0)))[1]

    fn = gg.compile(total, "f32[n]")
    assert fn(np.float32([1.0, 2.0])) == 4.5


def test_reductions_of_variables_are_methods():
    def f(x):
        z = np.exp(x)
        return np.sum(z, axis=0) / np.max(z), np.sum(z + 1.0)

    source = gg.compile(f, "f64[n,m]").source
    assert "z.sum(axis=0) / z.max()" in source
    assert "np.sum(z + 1.0)" in source


def test_a_single_array_is_checked_without_a_routine():
    single = gg.compile(lambda x: np.cos(x), "f64[n]").source
    assert '    x = _array("x", x, np.float64, 1)\n' in single
    assert "_arguments" not in single
    for spec in ("f64[3]", "f64[n,n]"):
        assert "x = _arguments(x)" in gg.compile(lambda x: np.cos(x), spec).source
    assert "_arguments(p)" in gg.compile(lambda p: np.cos(p["a"]), {"a": "f64[n]"}).source


def test_augmented_assignment_where_a_variable_is_written_over():
    def f(x, y):
        z = np.sin(x) * 2.0 + y
        return np.sum(z * z * y)

    fn = gg.compile(gg.grad(f, wrt="x"), "f64[n]", "f64[n]", options={"optimize": "fast"})
    assert " *= 2.0\n" in fn.source
    assert "z *= " not in fn.source  # a name of the user's keeps its meaning
    x, y = np.linspace(0.0, 1.0, 5), np.linspace(1.0, 2.0, 5)
    wanted = 2.0 * (2.0 * np.sin(x) + y) * y * 2.0 * np.cos(x)
    np.testing.assert_allclose(fn(x, y), wanted, rtol=1e-14)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_a_size_is_checked_once(target):
    """Two lines that need k >= 1, and one that needs k >= 3: one check says it."""

    def f(x):
        return np.max(x) + np.min(x) * x[2]

    fn = gg.compile(f, "f64[k]", target=target)
    text = fn.source
    assert text.count("k < 3") == 1 and "k < 1" not in text
    assert "Sizes: k >= 3." in "".join(fn.files.values())


def test_long_sums_read_only_what_their_line_reads(monkeypatch):
    """A sum longer than a line continues in a variable, and what was read before it is not read again: printing is linear."""
    from gradgen.emit.printer import Printer

    counts = []
    plain = Printer._statement

    def counted(self, node, name, prefix, text, reads):
        counts.append(len(reads))
        plain(self, node, name, prefix, text, reads)

    monkeypatch.setattr(Printer, "_statement", counted)
    x, y = gg.Value(0.5), gg.Value(0.1)
    v = y
    for _ in range(2500):
        v = v * 0.999 + x
    fn = gg.compile(v, wrt=[x], target="python")
    assert len(counts) > 200 and max(counts) <= 50  # names in a line of 100 columns
    value, slopes = fn(0.5)
    assert value == pytest.approx(v.data, rel=1e-12)
    assert slopes[0] == pytest.approx((1 - 0.999**2500) / 0.001, rel=1e-9)


@pytest.mark.parametrize("method", ["lower", "higher", "nearest"])
def test_a_write_too_long_for_a_line_is_a_statement_still(method):
    """The place in brackets is long here; all of it in parentheses would be no Python."""
    fn = gg.compile(gg.grad(lambda x: np.quantile(x, 0.37, method=method)), "f64[n]")
    assert any(" += " in line and line.endswith("(") for line in fn.source.splitlines())
    x = np.array([0.3, -1.2, 2.5, 0.7])
    place = {"lower": 1, "higher": 2, "nearest": 1}[method]
    np.testing.assert_array_equal(fn(x), x == np.sort(x)[place])


@needs_ruff
@pytest.mark.parametrize("target", ["numpy", "python"])
def test_structures_of_which_not_all_is_read(target, tmp_path):
    """Unread parts have no name, dicts in the result are laid out inside, numbers are written as formatters do."""

    def model(p, q):
        z = p["first"]["weights"] @ p["first"]["offsets"] + p["second"]["offsets"]
        return np.sum(np.tanh(z) ** 2) * q[0] * 3e30

    layer = {"weights": "f64[3,3]", "offsets": "f64[3]"}
    fn = gg.compile(
        gg.value_and_grad(model), {"first": layer, "second": layer}, "f64[2]", target=target
    )
    assert " _, " in fn.source and "e+" not in fn.source
    fn.save(tmp_path)
    for command in (["check"], ["format", "--check", "--diff", "--line-length", "100"]):
        done = subprocess.run(
            [RUFF, *command, "--isolated", "--no-cache", tmp_path], capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "f", [lambda x: np.sqrt(x - 2.0), lambda x: np.log(-x), lambda x: 1.0 / np.floor(x)]
)
def test_self_tests_keep_off_poles(f, tmp_path):
    """Where the first range of samples has none of the function's values, another has; the python target would raise."""
    for target in ("numpy", "python"):
        fn = gg.compile(f, "f64[]", target=target)
        (path,) = fn.save(tmp_path / target)
        subprocess.run([sys.executable, "-W", "error", path, "--check"], check=True)


def test_no_self_test_where_python_raises_everywhere(tmp_path):
    fn = gg.compile(lambda x: np.sqrt(x - 1e3), "f64[]", target="python")
    assert "_self_test" not in fn.source
    fn = gg.compile(lambda i, j: i // j, "i64[]", "i64[]", target="python")
    (path,) = fn.save(tmp_path)
    subprocess.run([sys.executable, path, "--check"], check=True)
