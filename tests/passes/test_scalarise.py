"""Small arrays taken apart into numbers: what branches on one condition have in common is computed once."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from compilers import TARGETS, needs_c

import gradgen as gg
from gradgen.toolchain import flags_for


def pulled(x, k):
    """A branch whose derivative reads what it computed."""
    square = x @ x
    if square < 1e-30:
        away = k * x
    else:
        angle = np.sqrt(square)
        away = x * np.cos(angle) + np.cross(x, k) * (np.sin(angle) / angle)
    return away[:2] / (2.0 + away[2])


def around(x, y):
    """Two results of one branch."""
    if x * x + y * y < 1e-30:
        return np.stack([x, y])
    angle = np.sqrt(x * x + y * y)
    a, b = x * np.cos(angle), y * np.sin(angle)
    return np.stack([a + b, a - b])


def compiled(f, spec, target="c"):
    return gg.compile(gg.vmap(gg.jacobian(f, wrt=(0, 1))), spec, spec, target=target)


def items():
    rng = np.random.default_rng(8)
    x, k = rng.normal(size=(2, 50, 3))
    x[3] = 0.0
    return x, k


@needs_c
def test_a_branch_reads_what_the_same_branch_computed():
    fn = compiled(pulled, "f64[n,3]")
    body = fn.source.split("SELFTEST")[0]
    for name in ("sqrt", "cos", "sin"):
        assert len(re.findall(rf"= .*\b{name}\(", body)) == 1, name
    with np.errstate(all="ignore"):
        wanted = compiled(pulled, "f64[n,3]", "numpy")(*items())
    for a, b in zip(fn(*items()), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@needs_c
def test_choices_by_one_condition_are_vectorised(tmp_path):
    """gcc makes no two paths of a loop's body of them."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc alone says which loops it did not make vectors of (-fopt-info-vec-missed)")
    fn = compiled(around, "f64[n]")
    fn.save(tmp_path)
    flags = [*flags_for(fn.source, "default"), "-fopt-info-vec-missed"]
    words = ["gcc", *flags, "-c", f"{fn.name}.c", "-o", "out.o"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "control flow in loop" not in done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_truth_values_are_counted_along_a_short_axis(target):
    mask = np.array([True, False, True, True])
    for f in (np.cumsum, np.cumprod, lambda m: m.cumsum() * np.sum(m)):
        found = np.asarray(gg.compile(f, "bool[4]", target=target)(mask))
        np.testing.assert_array_equal(found, f(mask))
        assert found.dtype == np.int64


@needs_c
@pytest.mark.parametrize("f", [np.sum, np.max, np.any, np.std])
def test_reductions_to_no_elements(f):
    for shape, axis in (((3, 0), 0), ((0, 4), 1)):
        x = np.zeros(shape)
        fn = gg.compile(lambda x, axis=axis: f(x, axis=axis), x, target="c", name="reduced")
        np.testing.assert_array_equal(fn(x), f(x, axis=axis))


@pytest.mark.parametrize("target", TARGETS)
def test_an_extremum_of_no_elements_is_its_initial_value(target):
    nothing = np.zeros((0, 3))
    for f in (
        lambda x: np.max(x, axis=0, initial=1.5),
        lambda x: np.min(x, axis=0, initial=-1.5),
        lambda x: np.max(x, axis=0, initial=0.0, where=x > 0),
    ):
        found = gg.compile(f, "f64[0,3]", target=target)(nothing)
        np.testing.assert_array_equal(found, f(nothing))
