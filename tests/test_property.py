"""Random compositions of array functions: the engines and targets agree, types are NumPy's, slopes are true.

A program is a list of numbers that choose operations on the values there are; the same list runs as plain NumPy,
interpreted, and emitted. Values are kept in a tame range by the operations themselves, so that rounding stays rounding.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from compilers import HAS_COMPILER
from hypothesis import given, settings
from hypothesis import strategies as st

import gradgen as gg

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60, database=None)
DTYPES = {"f64": np.float64, "f32": np.float32, "i64": np.int64, "bool": np.bool_}
SHAPES = [(), (3,), (1,), (2, 3), (2, 1), (1, 3), (0,), (0, 3)]


def tame(x):
    """Floats brought back to about one, smoothly; others as they are."""
    return np.sin(x) if np.asarray(x).dtype.kind == "f" else x


UNARY = [
    lambda x: -x,
    lambda x: x + 1,
    lambda x: x * x,
    lambda x: x.T,
    lambda x: x[::-1] if x.ndim else x,
    lambda x: x[None],
    lambda x: x.reshape(-1),
    lambda x: np.sum(x),
    lambda x: np.sum(x, axis=0) if x.ndim else x,
    lambda x: np.sum(x, axis=-1, keepdims=True) if x.ndim else x,
    lambda x: np.prod(x, axis=-1) if x.ndim else x,
    lambda x: np.mean(x, axis=0) if x.ndim and x.shape[0] else x,
    lambda x: np.max(x, axis=0) if x.ndim and x.shape[0] else x,
    lambda x: x[1:] if x.ndim and x.shape[0] > 1 else x,
    lambda x: x[[0, -1, 0]] if x.ndim and x.shape[0] else x,
    lambda x: np.broadcast_to(x, (2, *x.shape)),
    lambda x: np.exp(x) if x.dtype.kind == "f" else x,
    lambda x: np.sqrt(1.5 + x * x) if x.dtype.kind == "f" else x,
    lambda x: np.outer(x, x) if x.ndim == 1 else x,
    lambda x: x.astype(np.float64),
]
BINARY = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: x / (2.5 + y * y),
    lambda x, y: np.maximum(x, y),
    lambda x, y: np.where(x > y, x, 2 * y),
    lambda x, y: np.concatenate([x.reshape(-1), y.reshape(-1)]),
    lambda x, y: np.stack([x, x]) if x.shape != y.shape else np.stack([x, y]),
    lambda x, y: (
        x @ y if x.ndim and y.ndim and x.shape[-1] == y.shape[-2 if y.ndim > 1 else 0] else x
    ),
    lambda x, y: (x > y) * x + (x <= y) * y,
    lambda x, y: np.hypot(x, y + 3.0),
]


def run(program, values):
    """The last value and the sum of all float values; steps that NumPy refuses were left out beforehand."""
    values = list(values)
    for op, i, j in program:
        x, y = values[i % len(values)], values[j % len(values)]
        values.append(tame(UNARY[op](x) if op < len(UNARY) else BINARY[op - len(UNARY)](x, y)))
    total = 0.0
    for v in values:
        if np.dtype(v.dtype).kind == "f":
            total = total + np.sum(v * v * 0.5 + v)
    return total, values[-1]


def allowed(program, values):
    """The steps of a program that plain NumPy takes on these values, small enough to stay small."""
    kept, values = [], list(values)
    for step in program:
        op, i, j = step
        x, y = values[i % len(values)], values[j % len(values)]
        both = op >= len(UNARY)
        if x.dtype == np.bool_ or (both and y.dtype == np.bool_):
            continue  # NumPy has its own ideas about arithmetic on truth values
        try:
            new = np.asarray(tame(BINARY[op - len(UNARY)](x, y) if both else UNARY[op](x)))
        except ValueError:
            continue
        if (
            new.size <= 40
            and new.ndim <= 3
            and (new.dtype.kind == "f" or np.all(np.abs(new) < 1e6))
        ):
            kept.append(step)
            values.append(new)
    return kept


arguments = st.lists(
    st.tuples(st.sampled_from(["f64", "f64", "f32", "i64", "bool"]), st.sampled_from(SHAPES)),
    min_size=1,
    max_size=2,
)
steps = st.lists(
    st.tuples(st.integers(0, len(UNARY) + len(BINARY) - 1), st.integers(0, 9), st.integers(0, 9)),
    min_size=1,
    max_size=7,
)


def sample(types, seed):
    rng = np.random.default_rng(seed)
    out = [
        np.asarray(rng.uniform(-1.0, 1.0, (2,)))
    ]  # one float, so that there is something to differentiate
    for dtype, shape in types:
        numbers = rng.integers(-3, 4, shape) if dtype == "i64" else rng.uniform(-1.0, 1.0, shape)
        out.append(np.asarray(numbers > 0 if dtype == "bool" else numbers).astype(DTYPES[dtype]))
    return out


def function(program, count):
    if count == 2:
        return lambda a, b: run(program, [a, b])
    return lambda a, b, c: run(program, [a, b, c])


def same(got, want, rtol):
    assert np.shape(got) == np.shape(want)
    np.testing.assert_allclose(
        np.asarray(got, float), np.asarray(want, float), rtol=rtol, atol=rtol
    )


def slope(f, args, direction, h=1e-3, levels=3):
    at = lambda t: f(args[0] + t * direction, *args[1:])[0]
    rows = [(at(s) - at(-s)) / (2 * s) for s in (h / 2**k for k in range(levels))]
    for order in range(1, levels):
        rows = [(4**order * b - a) / (4**order - 1) for a, b in itertools.pairwise(rows)]
    return rows[0], abs(rows[0] - (at(h / 64) - at(-h / 64)) * 32 / h)


@pytest.mark.parametrize("target", ["numpy", "c"])
@SETTINGS
@given(types=arguments, program=steps, seed=st.integers(0, 99))
def test_random_compositions(target, types, program, seed):
    if target == "c" and not HAS_COMPILER:
        pytest.skip("no C compiler")
    args = sample(types, seed)
    program = allowed(program, args)
    f = function(program, len(args))
    total, last = map(np.asarray, f(*args))
    narrow = any(a.dtype == np.float32 for a in args)
    rtol = 1e-4 if narrow else 1e-10
    specs = [
        f"{d}[{','.join(map(str, a.shape))}]"
        for d, a in zip(["f64"] + [t[0] for t in types], args, strict=True)
    ]
    fn = gg.compile(
        gg.value_and_grad(f, aux=True),
        *specs,
        target=target,
        name="composed",
        options={"verify": True},
    )
    if target == "c":
        fn.build(flags=["-O1", "-std=c99"])
    for result in (fn(*args), fn.interpret(*args)):
        (value, out), bar = result
        same(value, total, rtol)
        same(out, last, rtol)
        assert np.asarray(out).dtype == last.dtype
        assert bar.shape == (2,)
    same(fn(*args)[1], fn.interpret(*args)[1], rtol)
    if not narrow:
        direction = np.array([0.6, -0.8])
        want, doubt = slope(f, args, direction)
        if doubt < 1e-5:  # else a kink is near
            assert float(bar @ direction) == pytest.approx(want, rel=1e-6, abs=1e-6)
