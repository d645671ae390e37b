"""Names and texts of the user's in emitted files: none can break or inject code, in any target; numbers stay right."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from compilers import ARRAY_TARGETS, TARGETS, needs_c

import gradgen as gg

# Words of Python, C, libm, NumPy, of the emitted files themselves, and other alphabets.
HOSTILE = str.split("""
λ σ ñ 名 int double float char long short signed unsigned void const static struct union register volatile auto default
inline restrict switch case goto sizeof typedef enum extern bool size_t int64_t uint8_t NULL NAN INFINITY I main errno
np numpy math sys self print list dict type object id range len sum max min abs pow sqrt exp log gamma lgamma tgamma erf
j0 j1 y0 y1 yn jn index time div round signal stdin work value value_0 y_bar x_bar w_bar z_bar t1 t2 p1 i j k n m
_arguments _array _size _self_test _sample _compare _part_1 _expit result arg0 x0 found expected args kwargs array name
sample check_sum differs failed total sum_ restrict_ float64 isnan fabs fmax fmin LANES BLOCK hostile HOSTILE_OK HOSTILE_H
lane rows M_PI EOF assert_ stdout FILE linux unix True_ match _ __class__ __init__ _private l O __builtins__
""")
FUNCTIONS = str.split("""
exp main gamma log pow int double lambda λ np math print list work value result x0 arg0 pyresult datasize
_self_test _array _arguments _compare y0 j1 abs free malloc read write printf sin erf index match _ __init__ f T
""")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("start", range(0, len(HOSTILE), 24))
def test_arguments_of_any_name(start, target):
    names = HOSTILE[start : start + 24]
    space: dict[str, Any] = {"np": np}
    body = " + ".join(f"{k + 1.0} * {name} * {name}" for k, name in enumerate(names))
    exec(f"def hostile({', '.join(names)}):\n    return {body}\n", space)
    fn = gg.compile(
        gg.value_and_grad(space["hostile"], wrt=tuple(names)),
        specs=dict.fromkeys(names, "f64[]"),
        target=target,
    )
    point = [0.5 + 0.25 * k for k in range(len(names))]
    value, bars = fn(*point)
    assert value == pytest.approx(sum((k + 1) * p * p for k, p in enumerate(point)))
    assert bars == pytest.approx([2 * (k + 1) * p for k, p in enumerate(point)])
    assert fn(**dict(zip(names, point, strict=True)))[0] == value


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("start", range(0, len(HOSTILE), 24))
def test_array_arguments_and_local_names(start, target):
    names = HOSTILE[start : start + 24]
    space: dict[str, Any] = {"np": np}
    lines = [
        f"def hostile({', '.join('q' + str(k) for k in range(len(names)))}):",
        "    acc_ = 0.0",
    ]
    for k, name in enumerate(names):
        if name not in ("np", "acc_"):
            lines.append(f"    {name} = q{k} * {k + 1.0}")
            lines.append(f"    acc_ = acc_ + np.sin({name}) * {name}")
    lines.append("    return np.sum(acc_)")
    exec("\n".join(lines), space)
    fn = gg.compile(gg.value_and_grad(space["hostile"]), *["f64[n]"] * len(names), target=target)
    x = [np.array([0.5, 1.0]) for _ in names]
    value, bar = fn(*x)
    assert value == pytest.approx(space["hostile"](*x))
    c = 1.0 if names[0] != "np" else 0.0
    np.testing.assert_allclose(bar, c * (np.sin(x[0]) + x[0] * np.cos(x[0])))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_any_name(name, target):
    fn = gg.compile(gg.value_and_grad(lambda x: x * np.exp(x)), "f64[]", target=target, name=name)
    assert fn.name.isidentifier() and fn(0.0) == (0.0, 1.0)
    assert all(file.isascii() for file in fn.files)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["exp", "main", "gamma", "int_", "np_"])
def test_functions_that_are_defined_under_such_names(name, target):
    space: dict[str, Any] = {"np": np}
    exec(f"def {name}(x):\n    return x * np.sinh(x)\n", space)
    fn = gg.compile(space[name], "f64[]", target=target)
    assert fn(1.0) == pytest.approx(np.sinh(1.0))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_an_argument_called_as_a_size_letter(target):
    def f(n, d, x):
        return np.sum(x) * n + d * x.shape[0]

    fn = gg.compile(
        gg.value_and_grad(f, wrt=("n", "x")), n="f64[]", d="f64[]", x="f64[n,d]", target=target
    )
    x = np.arange(6.0).reshape(2, 3)
    value, (n_bar, x_bar) = fn(4.0, 5.0, x)
    assert value == 15.0 * 4.0 + 5.0 * 2
    assert n_bar == 15.0
    np.testing.assert_array_equal(x_bar, np.full((2, 3), 4.0))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize(
    "letter", ["np", "work", "int", "x", "value", "x_bar", "i", "sum", "_array", "λ"]
)
def test_size_letters_of_any_name(letter, target):
    fn = gg.compile(
        gg.value_and_grad(lambda x: np.sum(x * x) / x.shape[0]), f"f64[{letter}]", target=target
    )
    value, x_bar = fn(np.array([1.0, 3.0]))
    assert value == 5.0
    np.testing.assert_array_equal(x_bar, [1.0, 3.0])


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("name", ["n", "np", "work", "value", "int", "λ", "y_bar"])
def test_size_arguments_of_any_name(name, target):
    space: dict[str, Any] = {"np": np}
    exec(f"def f(x, {name}):\n    return x.sum() / {name}\n", space)
    fn = gg.compile(gg.grad(space["f"]), specs={"x": f"f64[{name}]", name: "size"}, target=target)
    np.testing.assert_array_equal(fn(np.ones(4), 4), np.full(4, 0.25))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_a_name_of_a_helper_routine(target):
    def f(_expit, expit, _softplus):
        return np.sum(np.logaddexp(0.0, _expit) * expit * _softplus)

    fn = gg.compile(gg.grad(f, wrt=(0, 1)), *["f64[n]"] * 3, target=target, name="_expit")
    x = np.array([0.5, -1.0])
    found = fn(x, x, x)
    np.testing.assert_allclose(found[0], x * x / (1 + np.exp(-x)))
    np.testing.assert_allclose(found[1], np.logaddexp(0.0, x) * x)


@pytest.mark.parametrize("target", ["numpy", "python"])
def test_names_of_the_parts_of_a_long_function(target):
    def f(p1, _part_1, p2):
        for _ in range(1500):
            p1 = np.sin(p1 * _part_1) + p2
        return p1

    fn = gg.compile(gg.value_and_grad(f, wrt=(0, 1, 2)), *["f64[]"] * 3, target=target)
    assert "def _part_1(" in fn.source
    value, bars = fn(0.3, 0.2, 0.1)
    assert value == pytest.approx(f(0.3, 0.2, 0.1))
    assert bars == pytest.approx(gg.grad(f, wrt=(0, 1, 2))(0.3, 0.2, 0.1))


# -- texts
NASTY = [
    '"',
    "'",
    '"""',
    "'''",
    "\\",
    "\\n\\",
    "line\nbreak",
    "\r\n\t",
    "*/ int x; /*",
    "// \\",
    "??/",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "{x}",
    "{0.__class__}",
    "%s %n",
    '""" + __import__("os").getcwd() + """',
    '"); system("true"); ("',
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH SPACE}\x00\x07",
    "#include <x>",
    "# noqa",
    "é\U0001f600",
    "",
    " ",
    "1",
    "class",
    "a-b",
    "$x",
]


def standalone(fn, folder):
    """The saved Python file, parsed and imported as a module of its own."""
    path = fn.save(folder)[0]
    ast.parse(path.read_text(encoding="utf-8"))
    found = importlib.util.spec_from_file_location("standalone", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return getattr(module, fn.name)


@pytest.mark.parametrize("target", ["numpy", "python"])
@pytest.mark.parametrize("text", NASTY, ids=[ascii(t) for t in NASTY])
def test_dict_keys(text, target, tmp_path):
    def f(p):
        return p[text] * p["plain"] * 3.0

    fn = gg.compile(
        gg.value_and_grad(f), {text: "f64[]", "plain": "f64[]"}, target=target, name="keys_grad"
    )
    point = {text: 2.0, "plain": 5.0}
    assert fn(point) == (30.0, {text: 15.0, "plain": 6.0})
    assert standalone(fn, tmp_path)(point) == (30.0, {text: 15.0, "plain": 6.0})


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_all_nasty_keys_at_once(target):
    def f(p):
        return sum((k + 1.0) * np.sum(p[text] ** 2) for k, text in enumerate(NASTY))

    fn = gg.compile(gg.grad(f), dict.fromkeys(NASTY, "f64[n]"), target=target)
    point = {text: np.array([1.0 + k, 2.0]) for k, text in enumerate(NASTY)}
    found = fn(point)
    assert list(found) == NASTY
    for k, text in enumerate(NASTY):
        np.testing.assert_allclose(found[text], 2.0 * (k + 1.0) * point[text])


@pytest.mark.parametrize("target", ["numpy", "python"])
@pytest.mark.parametrize("text", NASTY, ids=[ascii(t) for t in NASTY])
def test_docs_of_specs_and_functions(text, target):
    def f(x):
        return x * x

    f.__doc__ = text
    fn = gg.compile(f, gg.spec("f64[]", doc=text), target=target, name="documented")
    assert fn(3.0) == 9.0
    ast.parse(fn.source)
    again = gg.compile(
        gg.grad(f), gg.spec("f64[]", doc=f"masses {text} in kg"), target=target, name="documented"
    )
    assert again(3.0) == 6.0


@pytest.mark.parametrize("target", ["numpy", "python"])
@pytest.mark.parametrize("text", NASTY, ids=[ascii(t) for t in NASTY])
def test_labels_of_graphs(text, target):
    a, b = gg.Value(2.0, label=text), gg.Value(3.0, label=text)
    c = a * b
    c.label = text
    fn = gg.compile(c * c, wrt=[a, b], target=target, name="graph")
    value, bars = fn(2.0, 3.0)
    assert (value, bars) == (36.0, (36.0, 24.0))


@pytest.mark.parametrize("target", TARGETS)
def test_all_nasty_docs_and_labels_at_once(target):
    leaves = [gg.Value(1.0 + k, label=text) for k, text in enumerate(NASTY)]
    total = leaves[0] * leaves[0]
    for leaf in leaves[1:]:
        total = total + leaf * leaf
        total.label = leaf.label
    fn = gg.compile(total, wrt=leaves, target=target, name="graph")
    point = [0.5 * k for k in range(len(NASTY))]
    value, bars = fn(*point)
    assert value == pytest.approx(sum(p * p for p in point))
    assert bars == pytest.approx([2 * p for p in point])

    def g(p):
        return sum(p) * p[0]

    g.__doc__ = "*/ int x; /* {{ x }} \\"
    specs = [gg.spec("f64[]", doc=text) for text in NASTY]
    documented = gg.compile(gg.value_and_grad(g), specs, target=target, name="documented")
    assert documented([1.0] * len(NASTY))[0] == len(NASTY)


@pytest.mark.parametrize("target", ["numpy", "python"])
def test_standalone_files_with_nasty_keys_pass_their_self_test(target, tmp_path):
    def f(p):
        return sum((k + 1.0) * p[text] ** 2 for k, text in enumerate(NASTY))

    fn = gg.compile(
        gg.value_and_grad(f), dict.fromkeys(NASTY, "f64[]"), target=target, name="keys_grad"
    )
    path = fn.save(tmp_path)[0]
    checked = subprocess.run(
        [sys.executable, "-I", path, "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "self-test passed" in checked.stdout


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("name", ["np", "work", "_array", "double", "value", "x_bar", "λ", "X"])
def test_captured_arrays_of_any_name(name, target):
    space: dict[str, Any] = {name: np.arange(100.0), "small": np.arange(3.0)}
    exec(f"def f(X):\n    return ({name} * X).sum() + (small * X[:3]).sum()\n", space)
    if name == "X":
        space = {"X": None, "Y": np.arange(100.0), "small": np.arange(3.0)}
        exec("def f(X):\n    return (Y * X).sum() + (small * X[:3]).sum()\n", space)
    fn = gg.compile(gg.grad(space["f"]), "f64[100]", target=target, name="captured_grad")
    expected = np.arange(100.0)
    expected[:3] += np.arange(3.0)
    np.testing.assert_array_equal(fn(np.ones(100)), expected)


def test_names_that_differ_only_in_what_c_cannot_spell():
    def f(λ, lambda_, é, e):
        return λ * 1.0 + lambda_ * 20.0 + é * 300.0 + e * 4000.0

    fn = gg.compile(gg.grad(f, wrt=("λ", "lambda_", "é", "e")), *["f64[]"] * 4)
    assert fn(0.0, 0.0, 0.0, 0.0) == (1.0, 20.0, 300.0, 4000.0)


@needs_c
def test_names_that_differ_only_in_what_c_cannot_spell_in_c():
    def f(λ, lambda_, é, e):
        return λ * 1.0 + lambda_ * 20.0 + é * 300.0 + e * 4000.0

    fn = gg.compile(gg.grad(f, wrt=("λ", "lambda_", "é", "e")), *["f64[]"] * 4, target="c")
    assert fn(0.0, 0.0, 0.0, 0.0) == (1.0, 20.0, 300.0, 4000.0)
    for name, text in fn.files.items():
        assert name.isascii()
        if not name.endswith(".py"):
            assert re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).isascii()


@pytest.mark.parametrize("target", TARGETS)
def test_flattened_labels_do_not_collide(target):
    def f(p, p_a, q):
        return (
            p["a"] * 1.0
            + p_a * 20.0
            + p["a_b"] * 300.0
            + p["a"] * 0.0
            + q["a"]["b"] * p["c"]["a_b"]
        )

    fn = gg.compile(
        gg.grad(f, wrt=("p", "p_a", "q")),
        p={"a": "f64[]", "a_b": "f64[]", "c": {"a_b": "f64[]"}}, p_a="f64[]", q={"a": {"b": "f64[]"}}, target=target,
    )  # fmt: skip
    found = fn({"a": 1.0, "a_b": 1.0, "c": {"a_b": 7.0}}, 1.0, {"a": {"b": 5.0}})
    assert found == ({"a": 1.0, "a_b": 300.0, "c": {"a_b": 5.0}}, 20.0, {"a": {"b": 7.0}})

    def squares(p, p_a):
        return p["a"] ** 2 + 10.0 * p["a b"] ** 2 + 100.0 * p["a_b"] ** 2 + 1000.0 * p_a**2

    fn = gg.compile(
        gg.grad(squares, wrt=(0, 1)),
        {"a": "f64[]", "a b": "f64[]", "a_b": "f64[]"},
        "f64[]",
        target=target,
    )
    found = fn({"a": 1.0, "a b": 2.0, "a_b": 3.0}, 4.0)
    assert found == ({"a": 2.0, "a b": 40.0, "a_b": 600.0}, 8000.0)


def test_a_key_that_is_no_number_or_text():
    key = (1, "a")
    fn = gg.compile(
        gg.grad(lambda p: p[key] * p[None] * p[2.5]), {key: "f64[]", None: "f64[]", 2.5: "f64[]"}
    )
    assert fn({key: 2.0, None: 3.0, 2.5: 5.0}) == {key: 15.0, None: 10.0, 2.5: 6.0}


class Odd:
    """A key whose text would be code."""

    def __repr__(self):
        return '__import__("os").abort()'

    __str__ = __repr__


def test_a_key_whose_text_would_be_code_is_refused():
    odd = Odd()
    with pytest.raises(gg.SpecError, match="key"):
        gg.compile(gg.grad(lambda p: p[odd] * 2.0), {odd: "f64[]"})


@pytest.mark.parametrize(
    "name", ["found", "expected", "types", "random", "numbers", "token", "sample", "f", "F"]
)
@pytest.mark.parametrize("target", ["numpy", "python"])
def test_the_file_of_any_function_runs_alone(name, target, tmp_path):
    fn = gg.compile(lambda x: np.sin(x) * x, "f64[]", target=target, name=name)
    fn.save(tmp_path)
    done = subprocess.run(
        [sys.executable, f"{fn.name}.py", "--check"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == f"{fn.name}: self-test passed\n", done.stderr


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["a\nb", '"""\nimport os\n"""', "a\\\n", "a\u2028b", "\x07"])
def test_file_names_are_no_code(name, target, tmp_path):
    path = tmp_path / f"{name}.py"
    path.write_text("def f(x):\n    t = x * x\n    return t * t\n")
    found = importlib.util.spec_from_file_location("odd", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    fn = gg.compile(gg.value_and_grad(module.f), "f64[]", target=target)
    for file, text in fn.files.items():
        if file.endswith(".py"):
            assert "import os\n" not in text.split('"""')[2].replace("import os\n\nfrom cffi", "")
            ast.parse(text)
        else:
            assert all("/*" not in line or "*/" in line for line in text.splitlines()[20:])
            assert not re.search(r"[\x07\u2028]", text)
    if target != "c":
        assert fn(2.0) == (16.0, 32.0)


def test_the_self_test_in_c_has_names_of_its_own():
    fn = gg.compile(
        gg.value_and_grad(lambda k, X: np.sum(np.tanh(X @ k))), "f64[d]", "f64[n,d]", target="c"
    )
    body = fn.source.split("_selftest(void)")[1]
    assert "for (int64_t k_2 = 0; k_2 < 4; k_2++)" in body  # k is an argument
    plain = gg.compile(
        gg.value_and_grad(lambda w, X: np.sum(np.tanh(X @ w))), "f64[d]", "f64[n,d]", target="c"
    )
    assert "for (int64_t k = 0; k < 4; k++)" in plain.source.split("_selftest(void)")[1]


def moves(v, v_2, y_bar, x_dot):
    return np.sum(v * v * v_2) + y_bar * x_dot * x_dot


@pytest.mark.parametrize("target", TARGETS)
def test_the_arguments_that_vjp_jvp_and_hvp_add_are_told_from_the_users(target):
    point = (2.0, 3.0, 5.0, 7.0)
    specs = ["f64[]"] * 5
    vjp = gg.compile(gg.vjp(moves, wrt="y_bar"), *specs, target=target)
    assert vjp(*point, y_bar_2=0.5) == (257.0, 24.5)
    jvp = gg.compile(gg.jvp(moves, wrt="x_dot"), *specs, target=target)
    assert jvp(*point, x_dot_2=0.5) == (257.0, 35.0)
    hvp = gg.compile(gg.hvp(moves, wrt="v"), *specs, target=target)
    assert hvp(*point, v_3=0.5) == 3.0
    assert vjp.check() and jvp.check() and hvp.check()
