"""`order="F"`: arrays column by column, in the C interface and in NumPy results."""

from __future__ import annotations

import ctypes
import pickle
import subprocess
import sys

import numpy as np
import pytest
from compilers import ARRAY_TARGETS, needs_c

import gradgen as gg
from gradgen.tree import flatten

STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
BIG = np.arange(120.0).reshape(10, 12)
RNG = np.random.default_rng(3)


def network(X, w, A):
    z = np.tanh(X @ w) @ A
    return np.sum(z**2) + np.sum(X[:, ::2]) + np.sum(X.T * 2.0)


def pieces(x, y):
    shared = x + y
    return (
        shared,
        x.T,
        shared,
        x,
        x @ y.T,
        np.zeros((2, 3)),
        x.reshape(3, 2),
        x.reshape(-1),
        x[0, 1],
    )


ROWS = [
    (gg.value_and_grad(network, (0, 1, 2)), ("f64[n,d]", "f64[d,k]", "f64[k,2]"), [(5, 3), (3, 4), (4, 2)]),
    (pieces, ("f64[2,3]", "f64[2,3]"), [(2, 3), (2, 3)]),
    (lambda x: (np.transpose(x, (1, 2, 0)) * 2.0, np.sum(x, axis=1)), ("f64[a,b,c]",), [(2, 3, 4)]),
    (lambda x: BIG @ x, ("f64[12,m]",), [(12, 2)]),
    (gg.hessian(lambda x: np.sum(np.sin(x) ** 3 * x[::-1])), ("f64[4]",), [(4,)]),
    (gg.value_and_grad(lambda X: np.linalg.det(X @ X.T)), ("f64[2,3]",), [(2, 3)]),
    (gg.grad(lambda x: np.sum(x * x)), ("f64[n,m]",), [(0, 3)]),
]  # fmt: skip


@pytest.mark.parametrize("target", ARRAY_TARGETS)
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_the_same_numbers_column_by_column(row, target, tmp_path):
    f, specs, shapes = ROWS[row]
    usual = gg.compile(f, *specs, target=target)
    fn = gg.compile(f, *specs, target=target, options={"order": "F"}, name="columns")
    args = [RNG.normal(size=shape) for shape in shapes]
    expected = flatten(usual(*args))[0]
    for given in (args, [np.asfortranarray(a) for a in args], [a[::-1][::-1] for a in args]):
        found = flatten(fn(*given))[0]
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
            if np.ndim(b) > 1:
                assert b.flags.f_contiguous and b.flags.writeable
                assert not any(np.shares_memory(b, other) for other in given)
        arrays = [b for b in found if np.ndim(b)]
        assert not any(np.shares_memory(a, b) for k, a in enumerate(arrays) for b in arrays[:k])
    assert fn.check(*args)
    again = flatten(pickle.loads(pickle.dumps(fn))(*args))[0]
    for a, b in zip(expected, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    fn.save(tmp_path)
    if target == "c":
        words = ["cc", *STRICT, "-DCOLUMNS_SELFTEST", "columns.c", "-lm", "-o", "test"]
        subprocess.run(words, cwd=tmp_path, check=True)
        subprocess.run(["./test"], cwd=tmp_path, check=True)
    else:
        subprocess.run([sys.executable, "columns.py", "--check"], cwd=tmp_path, check=True)


@needs_c
def test_the_c_interface_is_column_major(tmp_path):
    fn = gg.compile(
        lambda x: (x[0, 1], 2.0 * x), "f64[2,3]", target="c", name="corner", options={"order": "F"}
    )
    assert "Arrays are column-major." in fn.files["corner.h"] and "float64[2, 3]" in fn.source
    fn.save(tmp_path)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "corner.c", "-o", "corner.so"], cwd=tmp_path, check=True
    )
    corner = ctypes.CDLL(str(tmp_path / "corner.so")).corner
    memory, one, doubled = np.arange(6.0), np.zeros(1), np.zeros(6)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (memory, one, doubled)]
    assert corner(*pointers) == 0
    assert one[0] == memory.reshape((2, 3), order="F")[0, 1] == 2.0
    np.testing.assert_array_equal(doubled, 2.0 * memory)


def test_lists_have_no_order():
    with pytest.raises(gg.SpecError, match='order="F" needs the target c or numpy'):
        gg.compile(lambda x: x, "f64[2,2]", target="python", options={"order": "F"})
    with pytest.raises(gg.SpecError, match="the option order needs one of"):
        gg.Options(order="A")
