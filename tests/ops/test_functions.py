"""NumPy's and SciPy's functions row by row (function_rows): value and derivatives in every engine and target.

engine     the value is NumPy's own; vjp against Richardson's along a random direction; jvp against vjp; second order
numpy      the emitted module gives the engine's numbers, f32 stays f32
c          the same in C, many rows in one library
"""

from __future__ import annotations

import ctypes
import linecache
import shutil
import subprocess
import zlib

import numpy as np
import pytest
from compilers import needs_c
from ops.function_rows import ARGUMENTS, ROWS, SYMMETRIC
from ops.test_array_ops import dot, richardson, same

import gradgen as gg
from gradgen.types import DTYPES


def title(f):
    line = linecache.getline(f.__code__.co_filename, f.__code__.co_firstlineno)
    return line.strip().partition(": ")[2].rstrip(",")


def parameters(rows):
    return [pytest.param(f, id=title(f)) for f in rows]


def names_of(f):
    return f.__code__.co_varnames[: f.__code__.co_argcount]


def arguments(f):
    return [np.array(ARGUMENTS[n])[()] for n in names_of(f)]


def spec(x, dtype="f64"):
    return f"{dtype}[{','.join(map(str, np.shape(x)))}]"


def everything(f):
    return tuple(range(len(names_of(f))))


def direction(f, seed):
    rng = np.random.default_rng(zlib.crc32(title(f).encode()) + seed)
    out = []
    for name, x in zip(names_of(f), arguments(f), strict=True):
        d = rng.normal(size=np.shape(x))
        out.append(np.asarray(d + np.swapaxes(d, -1, -2) if name in SYMMETRIC else d)[()])
    return tuple(out)


def cotangent(y):
    return np.asarray(np.cos(np.arange(y.size)).reshape(y.shape) + 1.5)[()]


def moved(args, dots, t):
    return [a + t * d for a, d in zip(args, dots, strict=True)]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("f", parameters(ROWS))
def test_engine(f):
    args, where = arguments(f), everything(f)
    y = np.asarray(f(*args))
    y_bar, dots, more = cotangent(y), direction(f, 0), direction(f, 1)
    pull = gg.vjp(f, where)
    value, bars = pull(*args, y_bar)
    same(value, y, 1e-10, 1e-12)
    slope = richardson(lambda t: np.asarray(f(*moved(args, dots, t))), 1e-3)
    assert dot(bars, dots) == pytest.approx(float(np.sum(y_bar * slope)), rel=1e-6, abs=1e-8)
    _, y_dot = gg.jvp(f, where)(*args, dots)
    assert dot([y_bar], [y_dot]) == pytest.approx(dot(bars, dots), rel=1e-10, abs=1e-11)
    # Second order: the derivative of the pullback along `dots`, in the direction `more`.
    _, bent = along(pull, y_bar, where)(*args, dots)
    numeric = richardson(lambda t: dot(pull(*moved(args, dots, t), y_bar)[1], more), 1e-3)
    assert dot(bent, more) == pytest.approx(float(numeric), rel=1e-5, abs=1e-6)


def along(pull, y_bar, where):
    """The tangent of a pullback."""
    if len(where) == 1:
        return gg.jvp(lambda a: pull(a, y_bar)[1], where)
    if len(where) == 2:
        return gg.jvp(lambda a, b: pull(a, b, y_bar)[1], where)
    return gg.jvp(lambda a, b, c: pull(a, b, c, y_bar)[1], where)


@pytest.mark.parametrize("f", parameters(ROWS))
def test_numpy_target(f):
    args = arguments(f)
    y = np.asarray(f(*args))
    y_bar = cotangent(y)
    fn = gg.compile(
        gg.vjp(f, everything(f)), *map(spec, args), spec(y), name="row", options={"verify": True}
    )
    value, bars = fn(*args, y_bar)
    same(value, y, 1e-10, 1e-12)
    _, known = gg.vjp(f, everything(f))(*args, y_bar)
    for bar, want, x in zip(bars, known, args, strict=True):
        assert np.shape(bar) == np.shape(x)
        np.testing.assert_allclose(bar, want, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("f", parameters(ROWS[::3]))
def test_float32(f):
    """Results have NumPy's dtype, except that captured float arrays do not widen; cotangents the argument's."""
    args = [np.float32(a) for a in arguments(f)]
    y = np.asarray(f(*args))
    specs = [spec(a, "f32") for a in args]
    fn = gg.compile(gg.vjp(f, everything(f)), *specs, spec(y, "f32"), name="row")
    value, bars = fn(*args, np.float32(cotangent(y)))
    assert np.asarray(value).dtype in (y.dtype, np.float32)
    np.testing.assert_allclose(value, f(*arguments(f)), rtol=2e-3, atol=2e-3)
    assert {np.asarray(b).dtype for b in bars} == {np.dtype(np.float32)}


# -- C: the sources of many rows in one library
CHUNK = 48


FLAGS = [
    "-O0",
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Werror",
    "-shared",
    "-fPIC",
]
NUMBERS = {"f64": ctypes.c_double, "f32": ctypes.c_float}


def in_c(k, f, dtype="f64"):
    """A row's value and vjp as C source named after k."""
    args = arguments(f)
    y = np.asarray(f(*args))
    specs = [spec(a, dtype) for a in (*args, y)]
    return gg.compile(gg.vjp(f, everything(f)), *specs, name=f"row_{k}", target="c")


def built(made, folder):
    """One library of many C sources."""
    for fn in made:
        for name, text in fn.files.items():
            (folder / name).write_text(text)
    sources = sorted(str(p) for p in folder.glob("*.c"))
    compiler = shutil.which("gcc") or shutil.which("cc")
    done = subprocess.run(
        [compiler, *FLAGS, *sources, "-o", str(folder / "rows.so"), "-lm"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "rows.so"))


def c_call(library, fn, args):
    """Call an emitted function of fixed sizes: inputs in order, then the results, then the workspace."""
    stem = next(iter(fn.files)).removesuffix(".c")
    pointers, keep = [], []
    for node, x in zip(fn.ir.inputs, args, strict=True):
        if node.type.shape:
            keep.append(np.ascontiguousarray(x, DTYPES[node.type.dtype]))
            pointers.append(keep[-1].ctypes.data_as(ctypes.c_void_p))
        else:
            pointers.append(NUMBERS[node.type.dtype](float(x)))
    results = []
    for node in fn.ir.outputs:
        results.append(np.zeros(node.type.lengths, DTYPES[node.type.dtype]))
        if results[-1].dtype.kind == "f":
            results[-1][...] = np.nan
        pointers.append(results[-1].ctypes.data_as(ctypes.c_void_p))
    if hasattr(library, f"{stem}_work_bytes"):
        size = getattr(library, f"{stem}_work_bytes")
        size.restype = ctypes.c_size_t
        keep.append(np.zeros(size() // 8 + 16))
        start = keep[-1].ctypes.data
        pointers.append(ctypes.c_void_p(start + -start % 64))
    assert getattr(library, stem)(*pointers) == 0
    return results


def check_c(library, fn, f, near):
    """The C function's numbers are NumPy's and the engine's; near: tolerances of the value and of the cotangents."""
    args = arguments(f)
    y = np.asarray(f(*args))
    value, *bars = c_call(library, fn, [*args, cotangent(y)])
    np.testing.assert_allclose(value, y, **near[0], err_msg=title(f))
    _, known = gg.vjp(f, everything(f))(*args, cotangent(y))
    for bar, want in zip(bars, known, strict=True):
        np.testing.assert_allclose(bar, want, **near[1], err_msg=title(f))


EXACT = ({"rtol": 1e-9, "atol": 1e-11}, {"rtol": 1e-8, "atol": 1e-9})


@needs_c
@pytest.mark.parametrize("start", range(0, len(ROWS), CHUNK))
def test_c_target(start, tmp_path):
    rows = ROWS[start : start + CHUNK]
    made = [in_c(k, f) for k, f in enumerate(rows)]
    library = built(made, tmp_path)
    for f, fn in zip(rows, made, strict=True):
        check_c(library, fn, f, EXACT)
