"""Bad input around the function: names, ranges, blocks that raise, sources that are not there, points without a value."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.special as sp
import scipy.stats as st
from compilers import ARRAY_TARGETS, TARGETS, needs_c

import gradgen as gg


def refusal(kind, call):
    """The message of the error that `call` raises."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def total(x):
    return np.sum(x * x)


@pytest.mark.parametrize("name", [3, "", "a b"])
def test_a_name_is_an_identifier(name):
    message = refusal(gg.SpecError, lambda: gg.compile(total, "f64[n]", name=name))
    assert f"name needs an identifier, got {name!r}" in message


def test_a_parameter_called_target():
    def f(target):
        return np.sum(target)

    message = refusal(gg.SpecError, lambda: gg.compile(f, target="f64[n]"))
    assert 'specs={"target": ...}' in message
    assert gg.compile(f, specs={"target": "f64[n]"})(np.ones(3)) == 3.0


def test_a_keyword_only_parameter_without_a_value():
    def scaled(x, *, k):
        return k * np.sum(x)

    message = refusal(gg.SpecError, lambda: gg.compile(scaled, "f64[n]"))
    assert "scaled needs a spec for k" in message

    def behind(*xs, k):
        return k * np.sum(xs[0])

    message = refusal(gg.SpecError, lambda: gg.compile(behind, "f64[n]", k="f64[]"))
    assert "no parameter k" in message and "*args" in message and "functools.partial" in message


def test_the_range_of_a_spec():
    assert "low=2 and high=1" in refusal(gg.SpecError, lambda: gg.spec("f64[n]", low=2, high=1))
    message = refusal(gg.SpecError, lambda: gg.spec("f64[n]", high="a"))
    assert "needs a number for high, got 'a'" in message


def test_loops_are_a_stage_of_c():
    assert 'target="c"' in refusal(gg.EmitError, lambda: gg.compile(total, "f64[n]").show("loops"))


def test_a_carry_that_grows_in_every_step():
    def f(x):
        return gg.scan(lambda c, v: (np.stack([c, c]), None), 0.0, x)[0]

    message = refusal(gg.ShapeError, lambda: gg.compile(f, "f64[n]"))
    assert "got carry: f64[] in and f64[2, 2, 2] after 3 steps" in message


# -- blocks that raise
def checked_root(x):
    if x < 0:
        raise ValueError("negative")
    return np.sqrt(x)


def calls_what_raises(x):
    y = 1.0
    if x > 1:
        y = checked_root(x)
    return y


@pytest.mark.parametrize("f", [checked_root, calls_what_raises])
def test_a_branch_that_raises(f):
    message = refusal(gg.UnsupportedError, lambda: gg.compile(f, "f64[]"))
    assert "a branch that is taken by traced values raises ValueError" in message
    assert 'raise ValueError("negative")' in message and "np.nan" in message


def test_an_error_inside_a_branch_stays_what_it_is():
    def f(x):
        if x > 0:
            return x.shape[0]
        return x

    with pytest.raises(IndexError):
        gg.compile(f, "f64[]")


def test_a_branch_of_a_plain_test_may_raise():
    def f(x, strict):
        if strict and x.ndim > 1:
            raise ValueError("a vector is needed")
        return np.sum(x)

    assert gg.compile(f, "f64[n]", True)(np.ones(3)) == 3.0
    with pytest.raises(ValueError, match="a vector is needed"):
        gg.compile(f, "f64[n,m]", True)


MODEL = """
import numpy as np

def checked(x):
    assert x.ndim == 1, "a vector"
    assert x[0] > 0, "positive"
    return np.sum(x)

def looked_up(x):
    return {0.0: 1.0}[x[0]]
"""


def test_an_assert_of_traced_values(tmp_path, monkeypatch):
    (tmp_path / "bad_uses_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    import bad_uses_model

    message = refusal(gg.TraceError, lambda: gg.compile(bad_uses_model.checked, "f64[n]"))
    assert "`assert` needs a truth value known at trace time" in message
    assert 'bad_uses_model.py:6: assert x[0] > 0, "positive"' in message
    message = refusal(gg.TraceError, lambda: gg.compile(bad_uses_model.looked_up, "f64[n]"))
    assert "a dict or set needs a plain value for its key" in message


@pytest.mark.parametrize(
    "line",
    ["if x[0] > 0: x = 2.0 * x", "a = np.zeros(3); a[0] = x[0]", "a = np.array([x[0], x[1]])"],
)
def test_a_function_without_a_source(line):
    scope = {}
    exec(f"import numpy as np\ndef typed(x):\n    {line}\n    return np.sum(x)\n", scope)
    message = refusal(gg.TraceError, lambda: gg.compile(scope["typed"], "f64[3]"))
    assert "The source of typed is not to be found" in message


def test_lines_inside_jax_are_not_the_users():
    jnp = pytest.importorskip("jax.numpy")

    def f(x):
        return jnp.sum(x)

    assert "return jnp.sum(x)" in refusal(gg.TraceError, lambda: gg.compile(f, "f64[n]"))


# -- checks
def log_root(x):
    return np.log(x) + np.sqrt(x - 0.5)


@pytest.mark.parametrize("target", TARGETS)
def test_a_check_outside_of_the_domain(target):
    """Sample points are given by the specs; where the function has no value there the report says what to do."""
    fn = gg.compile(
        gg.value_and_grad(log_root), gg.spec("f64[]", low=-2.0, high=-1.0), target=target
    )
    if target == "python":
        message = refusal(gg.CheckError, fn.check)
        assert "got ValueError: math domain error at every one" in message and "low=" in message
    else:
        with np.errstate(all="raise"):  # its own warnings are not the user's
            assert "x: no smooth point found" in str(fn.check()) and "low=" in str(fn.check())
    partly = gg.spec("f64[]", low=0.0, high=0.8)
    report = gg.compile(gg.value_and_grad(log_root), partly, target=target).check()
    assert report.ok and "x_bar against Richardson" in str(report)


def test_a_check_leaves_out_points_where_a_matrix_has_no_root():
    def f(x):
        return np.sum(np.linalg.cholesky(np.array([[x, 0.1], [0.1, x]])))

    report = gg.compile(gg.value_and_grad(f), "f64[]").check()
    assert report.ok and "points left out: LinAlgError" in str(report)


def wave(p, s):
    return {"a": np.sin(p["u"]) * s, "b": np.sum(p["u"] ** 2)}


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_a_check_of_a_vjp_weighs_the_results(target):
    f = gg.vjp(wave, wrt=("p", "s"))
    fn = gg.compile(f, {"u": "f64[n]"}, "f64[]", {"a": "f64[n]", "b": "f64[]"}, target=target)
    report = fn.check()
    assert report.ok and "p_u_bar against" in str(report) and "s_bar against" in str(report)


def test_a_check_notices_a_vjp_of_a_wrong_rule():
    square = gg.custom_vjp(lambda x: x * x, lambda y_bar, y, x: (3.0 * x * y_bar,))
    assert not gg.compile(gg.vjp(square), "f64[n]", "f64[n]").check().ok


def test_a_check_follows_a_jvp_along_its_direction():
    f = lambda x, p: (np.sin(x) * p["k"], np.sum(x * x), 3)
    layers = {"k": "f64[n]"}
    fn = gg.compile(gg.jvp(f, wrt=("x", "p")), "f64[n]", layers, ("f64[n]", layers))
    report = fn.check()
    assert report.ok and report.rows[1].what == "tangents against Richardson differences"
    wrong = gg.custom_jvp(lambda x: np.sin(x), lambda x_dot, y, x: 3 * x_dot * np.cos(x))
    report = gg.check(gg.jvp(lambda x: wrong(x) * 2), 0.3, 1.0)
    assert not report.ok and report.rows[0].ok


def test_a_check_knows_single_precision_inside():
    def f(x):
        return np.sum((x.astype(np.float32) * np.float32(2.0)) ** 2)

    assert gg.compile(gg.value_and_grad(f), "f64[n]").check().ok


@pytest.mark.parametrize("y_bar", [np.ones(4), np.ones((1, 3)), 1.0])
def test_a_cotangent_of_another_shape(y_bar):
    x = gg.Value(np.ones(3))
    message = refusal(gg.ShapeError, lambda: (2.0 * x).backward(y_bar))
    assert f"backward() needs y_bar of shape (3,), got {np.shape(y_bar)}" in message
    assert not x.grad.any()


# -- data
@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("f", [np.linalg.cholesky, np.linalg.inv, np.linalg.det, np.linalg.qr])
def test_a_matrix_of_nan_is_data(f, target):
    def whole(A):
        parts = f(A)
        return parts[1] if isinstance(parts, tuple) else parts

    fn = gg.compile(whole, "f64[n,n]", target=target)
    assert np.isnan(fn(np.full((3, 3), np.nan))).any()


@needs_c
def test_a_pseudo_inverse_of_nan_is_not_zero():
    fn = gg.compile(np.linalg.pinv, "f64[n,m]", target="c")
    assert np.isnan(fn(np.full((3, 2), np.nan))).all()
    np.testing.assert_allclose(fn(np.ones((3, 2))), np.full((2, 3), 1 / 6), rtol=1e-14)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_an_empty_list_is_of_any_dtype(target, tmp_path):
    def f(x, k):
        return np.sum(x[k] ** 2)

    fn = gg.compile(f, "f64[n]", "i64[m]", target=target)
    assert fn([1.0, 2.0], []) == 0.0
    if target == "numpy":
        scope = {"__name__": "standalone"}
        exec(fn.source, scope)
        assert scope["f"]([1.0, 2.0], []) == 0.0
    with pytest.raises(TypeError):
        fn([1.0, 2.0], np.zeros(0))


# -- building
@needs_c
def test_flags_as_in_a_shell():
    fn = gg.compile(total, "f64[n]", target="c", name="flags_as_in_a_shell")
    assert fn.build(flags="-O0 -std=c99")(np.ones(3)) == 3.0


@needs_c
def test_a_compiler_that_writes_nothing(tmp_path):
    script = tmp_path / "nothing"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    fn = gg.compile(total, "f64[n]", target="c", name="writes_nothing")
    message = refusal(gg.BuildError, lambda: fn.build(cc=str(script)))
    assert "got success and no file from" in message


def test_documentation_that_is_blank(tmp_path):
    source = gg.compile(total, gg.spec("f64[n]", doc="\x00\u202e")).source
    assert not [line for line in source.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize("mode", ["same", "valid"])
@pytest.mark.parametrize("function", [np.convolve, np.correlate])
def test_a_filter_that_is_longer_than_the_samples(function, mode):
    """NumPy lets them change places, and the result is as long as the filter: no size for a shape to have."""
    fn = gg.compile(lambda x: function(x, np.array([1.0, -2.0, 1.5]), mode), "f64[n]")
    x = np.array([0.3, 0.7, 0.9])
    np.testing.assert_allclose(fn(x), function(x, [1.0, -2.0, 1.5], mode), rtol=1e-15)
    assert "needs n >= 3, got 2" in refusal(gg.ShapeError, lambda: fn(x[:2]))


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: np.delete(x, 2), "needs n >= 3, got 2"),
        (lambda x: np.delete(x, -3), "needs n >= 3, got 2"),
        (lambda x: np.partition(x, 2), "needs n >= 3, got 2"),
        (lambda x: np.argpartition(x, [0, -3]), "needs n >= 3, got 2"),
    ],
)
def test_an_element_that_is_not_there(f, words):
    fn = gg.compile(f, "f64[n]")
    assert len(fn(np.array([3.0, 1.0, 2.0]))) == len(f(np.array([3.0, 1.0, 2.0])))
    assert words in refusal(gg.ShapeError, lambda: fn(np.ones(2)))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_a_range_of_one_point(target):
    fn = gg.compile(lambda x: np.linspace(0.5, 1.0, len(x)), "f64[n]", target=target)
    for n in range(4):
        np.testing.assert_array_equal(fn(np.ones(n)), np.linspace(0.5, 1.0, n))


def test_a_set_over_a_symbolic_size():
    message = refusal(
        gg.TraceError, lambda: gg.compile(lambda x: sum({v * v for v in x}), "f64[n]")
    )
    assert (
        "iteration outside of a `for` statement needs a size known at trace time, got n" in message
    )
    assert "gg.map" in message


# -- far from the middle of the range: where factors overflow, and outside of the support
FAR = [
    (lambda n, k: sp.binom(n, k), (1000.0, 3.0)),
    (lambda n, k: sp.binom(n, k), (-1.5, 2.0)),
    (lambda a, b: sp.beta(a, b), (200.0, 300.0)),
    (lambda a, b: sp.beta(a, b), (-0.5, 0.7)),
    (lambda a, b: sp.beta(a, b), (-1.5, -0.3)),
    (lambda z: sp.poch(z, 2.0), (200.0,)),
    (lambda z: sp.poch(z, 0.5), (-0.7,)),
    (lambda x: sp.entr(x), (-1.0,)),
    (lambda d, r: sp.huber(d, r), (-1.0, 3.0)),
    (lambda d, r: sp.pseudo_huber(d, r), (1.0, 1e-9)),
    (lambda k, mu: st.poisson.logpmf(k, mu), (1.5, 2.0)),
    (lambda k, p: st.geom.pmf(k, p), (2.5, 0.3)),
    (lambda k, p: st.binom.logpmf(k, 5, p, 0.5), (2.5, 0.3)),
    (lambda p: st.binom.logpmf(2, 5, p, 0.5), (0.3,)),
]


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("k", range(len(FAR)))
def test_scipy_far_from_the_middle(k, target):
    f, args = FAR[k]
    found = gg.compile(f, *["f64[]"] * len(args), target=target)(*args)
    assert found == pytest.approx(float(f(*args)), rel=1e-11, nan_ok=False)


def by_cond(x):
    return np.sum(gg.cond(x[0] > 0, lambda: x, lambda: x[0]))


def by_if(x):
    y = x[0]
    if x[1] > 0:
        y = x
    return np.sum(y)


def by_number(x):
    return np.sum(gg.cond(x[0] > 0, lambda: x, lambda: 1.0))


@pytest.mark.parametrize("f", [by_cond, by_if, by_number])
def test_branches_of_two_shapes_are_refused(f):
    """A number spread over the other branch's array would be summed as often as that has elements."""
    with pytest.raises(gg.ShapeError, match=r"branches that return one type.*f64\[\]") as failed:
        gg.compile(f, "f64[3]")
    assert "f64[3]" in str(failed.value) and "Broadcast" in str(failed.value)


def test_counts_that_are_integers_need_no_mask():
    def f(k, mu):
        return np.sum(st.poisson.logpmf(k, mu))

    assert "= floor" not in str(gg.compile(f, "i64[n]", "f64[]").ir)
    slope = gg.compile(gg.grad(f, wrt="mu"), "f64[n]", "f64[]")(np.array([1.0, 2.0]), 2.0)
    assert math.isclose(slope, -0.5)


def test_the_examples_run_as_the_readme_says():
    done = subprocess.run(
        [sys.executable, "examples/classics/micrograd_readme.py"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "645.5773" in done.stdout
