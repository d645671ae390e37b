"""`optimize="fast"` for NumPy: arrays computed in the memory of arrays that nothing reads any more."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import c_programs
import numpy as np
import pytest

import gradgen as gg
from gradgen.emit import buffers
from gradgen.emit import numpy as emit_numpy
from gradgen.ir import OPS
from gradgen.tree import flatten
from gradgen.value import apply

RUFF = Path(sys.prefix) / "bin" / "ruff"


def both(f, specs, monkeypatch, **options):
    """The function with its buffers planned and without, of the same operations."""
    options = {"optimize": "fast", **options}
    planned = gg.compile(f, *specs, options=options, name="f")
    with monkeypatch.context() as patch:
        patch.setattr(emit_numpy, "plan", lambda fn, excluded: None)
        plain = gg.compile(f, *specs, options=options, name="f")
    assert "out=" not in plain.source
    return planned, plain


def arrays(found):
    return [np.asarray(a) for a in flatten(found)[0]]


def same(planned, plain, args):
    """Equal to the bit, with arguments left alone and results that share nothing."""
    before = [np.array(a) for a in args]
    found, wanted = arrays(planned(*args)), arrays(plain(*args))
    for a, b in zip(args, before, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)
    results = [a for a in found if a.ndim]
    for k, a in enumerate(results):
        assert a.flags.writeable and a.flags.c_contiguous
        assert not any(np.shares_memory(a, b) for b in [*results[:k], *args] if np.ndim(b))
    return found


def derived(f, wrt):
    if wrt is None:
        return f
    return gg.hvp(f) if wrt == "hvp" else gg.value_and_grad(f, wrt)


@pytest.mark.parametrize("f, specs, wrt", c_programs.PROGRAMS, ids=c_programs.IDS)
def test_programs(f, specs, wrt, monkeypatch):
    specs = (*specs, specs[0]) if wrt == "hvp" else specs
    planned, plain = both(derived(f, wrt), specs, monkeypatch)
    readable = gg.compile(derived(f, wrt), *specs, name="f")
    rng = np.random.default_rng(5)
    single = any(str(s).startswith("f32") for s in specs)
    tried = 0
    for sizes in c_programs.size_sets(planned.signature, planned.ir):
        leaves = planned.signature.leaves
        if 0 in sizes.values() and any(leaf.type.dtype == "i64" for leaf in leaves):
            continue  # no index is valid
        args = [c_programs.sample(leaf, sizes, rng) for leaf in leaves]
        args += [sizes[name] for name in planned.signature.size_arguments]
        with np.errstate(all="ignore"):
            found = same(planned, plain, args)
            for a, b in zip(found, arrays(readable(*args)), strict=True):
                c_programs.close(a, b, "f32" if single else "f64")
        tried += 1
    assert tried


# -- what a wrong plan would get wrong
def read_later(x):
    t = np.exp(x)
    u = t * 2.0
    return np.sum(u * u) + np.sum(t)


def view_read_later(x):
    t = np.exp(x)
    tail = t[1:]
    u = t * 2.0
    v = np.sin(u)
    return v, tail * tail


def view_of_view(x):
    t = np.exp(x * x)
    back = t[::-1]
    inner = back[1:-1]
    u = np.cos(t)
    return u + 1.0, np.sum(inner * inner), inner


def view_beside_itself(x):
    t = np.exp(x)
    return t + t[::-1] * 3.0, t * t


def widening(a, b):
    t = np.exp(a)
    u = b * t[:, None] + a
    return u * np.sin(u), np.sum(t)


def narrow_and_wide(x, y):
    t = x * x + 1.0
    u = t * y
    v = np.sqrt(t)
    return v * 2.0, u - 1.0


def twice(x):
    t = np.tanh(x * 2.0)
    return t, t, -t, t[1:]


def integers_and_floats(x, k):
    m = k * k + k
    t = x * m
    return t / m, m // 2, (m > 3) * t


def stored(x, y):
    a = np.exp(x)
    out = np.zeros(x.shape[0])
    out[1:] = a[1:] * y[:-1]
    out[0] = 1.0
    b = a * out
    out[:-1] += b[1:]
    return np.sin(out) * b, out


def stored_and_kept(x):
    inner = np.sqrt(x[1:] * x[1:] + 1.0)
    out = np.ones(x.shape[0])
    out[1:] = inner - 3.0 * x[:-1]
    return out, inner * 2.0


def read_between(x):
    out = np.zeros(x.shape[0])
    out[1:] = np.exp(x[1:]) * 2.0
    seen = out * 3.0
    out[:-1] = np.exp(seen[1:]) - out[1:]
    return out, seen


def columns_stored(x):
    out = np.zeros(x.shape)
    out[:, 1:] = np.exp(x[:, 1:]) * x[:, :-1]
    rest = np.zeros(x.shape)
    rest[:, 0] = np.exp(x[:, 0]) * 2.0
    return out.T * 2.0, rest


def chosen_and_stored(x, y):
    out = np.zeros(x.shape[0])
    out[1:] = np.where(x[1:] > 2.0, x[1:], y[:-1]) * y[1:]
    return out * 2.0


def turned(x, y):
    t = np.exp(x).T * 2.0
    return t + y, (t * t).T, np.cos(t - 1.0) @ x


def stopped(x):
    t = np.exp(x)
    kept = gg.stop_gradient(t)
    u = np.sin(t) * t
    return np.sum(u * kept), u


def scalars_late(x, s):
    t = np.exp(x) * s
    top = np.max(t)
    u = np.log(t)
    return u * 2.0, top * np.sum(u) + t[0]


def recomputed(x):
    inner = gg.checkpoint(lambda v: np.exp(np.sin(v) * 2.0) * v)
    return np.sum(inner(inner(x)) ** 2)


VECTOR = ("f64[n]",)
CASES = [
    (read_later, VECTOR), (gg.value_and_grad(read_later), VECTOR), (view_read_later, VECTOR), (view_of_view, VECTOR),
    (view_beside_itself, VECTOR), (widening, ("f64[n]", "f64[n,n]")), (narrow_and_wide, ("f32[n]", "f64[n]")),
    (twice, VECTOR), (integers_and_floats, ("f64[n]", "i64[n]")), (integers_and_floats, ("f32[n]", "i32[n]")),
    (stored, ("f64[n]", "f64[n]")), (stored_and_kept, VECTOR), (read_between, VECTOR), (columns_stored, ("f64[n,n]",)),
    (chosen_and_stored, ("f64[n]", "f64[n]")),
    (turned, ("f64[n,n]", "f64[n,n]")), (stopped, VECTOR), (gg.value_and_grad(lambda x: stopped(x)[0]), VECTOR),
    (scalars_late, ("f64[n]", "f64[]")), (gg.value_and_grad(recomputed), VECTOR),
    (gg.hvp(lambda x: np.sum(np.tanh(x[1:] * x[:-1]) ** 3)), ("f64[n]", "f64[n]")),
    (twice, ("f64[5000]",)), (gg.jacobian(lambda x: np.exp(x[1:]) * x[:-1]), VECTOR),
]  # fmt: skip


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("row", range(len(CASES)))
def test_nothing_is_written_over_too_early(row, order, monkeypatch):
    f, specs = CASES[row]
    planned, plain = both(f, specs, monkeypatch, order=order)
    rng = np.random.default_rng(row)
    for n in (2, 3, 7):
        args = []
        for leaf in planned.signature.leaves:
            shape = tuple(n if d != 5000 else 5000 for d in leaf.type.shape)
            dtype = {"f32": np.float32, "f64": float, "i64": np.int64, "i32": np.int32}
            args.append(rng.uniform(1.0, 4.0, shape).astype(dtype[leaf.type.dtype]))
        found, wanted = arrays(planned(*args)), arrays(plain(*args))
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
        if order == "C":
            same(planned, plain, args)


def random_program(seed):
    """A function of two vectors made of elementwise statements, views, stores and sums, and what it returns."""
    draw = np.random.default_rng(seed)
    steps = draw.integers(0, 2**30, (int(draw.integers(3, 25)), 4)).tolist()

    def f(x, y):
        values, sums = [x, y], []
        for kind, i, j, last in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            match kind % 10:
                case 0:
                    values.append(a + b)
                case 1:
                    values.append(a * b - 0.5)
                case 2:
                    values.append(np.tanh(a))
                case 3:
                    values.append(np.minimum(a, b) * 0.25)
                case 4:
                    values.append(a[::-1])
                case 5:
                    values.append(np.sin(a) - b[::-1])
                case 6:
                    values.append(np.exp(-np.abs(a)) + np.where(a > b, a, 1.0))
                case 7:
                    sums.append(np.sum(a * b))
                case 8:
                    values.append(a * (sums[last % len(sums)] if sums else 2.0) / 8.0)
                case 9:
                    out = np.zeros(x.shape[0])
                    out[1:] = np.cos(a[1:] * b[:-1])
                    if last % 2:
                        out[:-1] += a[1:]
                    values.append(out)
        kept = [v for k, v in enumerate(values[2:]) if k % 3 == 0]
        return [*kept, values[-1] * 2.0, *sums]

    return f


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed, monkeypatch):
    f = random_program(seed)

    def loss(x, y):
        return sum(np.sum(np.sin(v) * (k + 1.0)) for k, v in enumerate(f(x, y)))

    specs = ("f64[n]", "f64[n]")
    x, y = np.random.default_rng(seed).normal(size=(2, 9))
    found = same(*both(f, specs, monkeypatch), [x, y])
    for a, b in zip(found, f(x, y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    same(*both(gg.value_and_grad(loss), specs, monkeypatch), [x, y])


# -- what is planned
def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def test_memory_is_taken_over(tmp_path):
    """Of a gradient of Rosenbrock's function, three arrays are made: the gradient and two of its parts."""
    import tracemalloc

    fast = gg.compile(gg.value_and_grad(rosenbrock), "f64[n]", options={"optimize": "fast"})
    readable = gg.compile(gg.value_and_grad(rosenbrock), "f64[n]")
    peaks = []
    for fn in (fast, readable):
        namespace = {}
        exec(fn.source, namespace)
        f, x = namespace[fn.name], np.linspace(-1.0, 1.0, 100_000)
        f(x)
        tracemalloc.start()
        f(x)
        peaks.append(tracemalloc.get_traced_memory()[1] / x.nbytes)
        tracemalloc.stop()
    assert peaks[0] < 3.1 < 4.9 < peaks[1]


def test_small_arrays_and_other_targets_read_as_before():
    def f(x):
        return np.sum(np.exp(np.sin(x * 2.0)) ** 2)

    for spec in ("f64[100]", "f64[]"):
        fast = gg.compile(gg.value_and_grad(f), spec, options={"optimize": "fast"}, name="f")
        assert "out=" not in fast.source
    assert "out=" in gg.compile(f, "f64[4096]", options={"optimize": "fast"}).source
    assert "out=" not in gg.compile(f, "f64[4096]").source
    python = gg.compile(f, "f64[3]", target="python", options={"optimize": "fast"})
    assert "out=" not in python.source


def test_names_of_the_user_stay():
    def f(x, y):
        speed = np.exp(x) * y
        energy = speed * speed + 1.0
        return np.sum(np.sqrt(energy))

    source = gg.compile(
        gg.value_and_grad(f), "f64[n]", "f64[n]", options={"optimize": "fast"}
    ).source
    assert re.search(r"energy = np\.add\((\w+), 1\.0, out=\1\)", source)
    assert re.search(r"energy_bar = np\.divide\(0\.5, (\w+), out=\1\)", source)
    assert re.search(r"np\.multiply\(2\.0, speed, out=speed\)", source)
    assert re.search(r"x_bar = np\.multiply\(.*, out=\w+\)", source)


@pytest.mark.skipif(not RUFF.exists(), reason="ruff is not installed")
def test_the_text_is_linted_and_formatted(tmp_path):
    programs = [(derived(f, w), s) for f, s, w in c_programs.PROGRAMS if w != "hvp"] + CASES
    for k, (f, specs) in enumerate(programs):
        fn = gg.compile(f, *specs, options={"optimize": "fast"}, name=f"p{k}")
        (tmp_path / f"p{k}.py").write_text(fn.source, encoding="utf-8")
    for words in (["check", "--no-cache"], ["format", "--check", "--line-length", "100"]):
        done = subprocess.run(
            [RUFF, *words, "--isolated", tmp_path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:]


def test_long_bodies_in_parts():
    def f(x):
        y = x
        for k in range(1500):
            y = np.sin(y) + 0.01 * k * x
        return y, np.sum(y * y)

    fast = gg.compile(f, "f64[n]", options={"optimize": "fast"}, name="f")
    assert "_part_2" in fast.source and "out=" in fast.source
    x = np.linspace(0.0, 1.0, 5)
    y, total = fast(x)
    np.testing.assert_allclose(y, f(x)[0], rtol=1e-12)
    assert total == pytest.approx(np.sum(y * y))


BITS = ("bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift")
ELEMENTWISE = [op for op in OPS.values() if op.elementwise and op not in buffers.ITSELF]


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_elementwise_results_are_new_arrays(op):
    """What the plan counts on: no spelling of an elementwise op hands an operand on."""
    params = {"dtype": "f64"} if op.name == "cast" else {}
    calls = [
        lambda a: apply(op, a, **params),
        lambda a, b: apply(op, a, 3.0 if op.name == "powc" else b),
        lambda a, b, c: apply(op, a > 0.5 if op.name == "where" else a, b, c),
    ]
    count = len(op.partials or op.vjp)
    args = [np.linspace(0.1, 0.9, 4) + 0.01 * k for k in range(count)]
    if op.name in BITS:
        args = [np.arange(4) + k for k in range(count)]
    spec = "i64[n]" if op.name in BITS else "f64[n]"
    fn = gg.compile(calls[count - 1], *[spec] * count, name="f", options={"optimize": "lecture"})
    namespace: dict = {}
    exec(fn.source, namespace)
    with np.errstate(invalid="ignore"):
        found = namespace["f"](*args)
    assert not any(np.shares_memory(found, a) for a in args)
