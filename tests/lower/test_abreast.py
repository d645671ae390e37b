"""Steps of elementwise statements turned inside out, rows that take their steps side by side, and what must stay."""

from __future__ import annotations

import numpy as np
import pytest
from c_programs import close, make, sample
from compilers import needs_c

import gradgen as gg
from gradgen.engine import interpret
from gradgen.lower import stages
from gradgen.lower.inspect import verify
from gradgen.lower.kernel import Loop, Store, walk
from gradgen.lower.run import run

STRICT = (
    "-O2",
    "-march=native",
    "-fopenmp",
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Werror",
)
SIZES = (0, 1, 17, 65)


def horner(x, t):
    p, _ = gg.scan(lambda p, c: (p * t + c, None), np.zeros_like(t), x)
    r = np.sign(t) - p
    return 0.5 * np.sum(r * r)


def newton(a):
    return np.sum(
        gg.fori_loop(0, 6, lambda i, x: x - (x * x - a) / (2.0 * x), np.ones_like(a)) ** 2
    )


def two_loops(a, c):
    def outer(x, k):
        y = gg.fori_loop(0, 3, lambda i, y: np.sin(y) + k * a, x)
        return 0.5 * x + y, None

    x, _ = gg.scan(outer, a, c)
    return np.sum(x * x)


def steps_kept(a, c):
    _, seen = gg.scan(lambda x, k: (np.tanh(x + k * a), x * k), a, c)
    return np.sum(seen * seen)


def rate(y, p):
    return np.array([p[0] * y[0] - p[1] * y[0] * y[1], p[1] * y[0] * y[1] - p[2] * y[1]])


def orbit(y, p, steps):
    def step(y, _):
        k = rate(y, p)
        return y + 0.01 * rate(y + 0.005 * k, p), None

    return gg.scan(step, y, None, length=steps)[0]


def orbits(y, p):
    return np.sum(gg.vmap(lambda y: orbit(y, p, 33))(y) ** 2)


def own_orbits(y, p):
    return np.sum(gg.vmap(lambda y, p: orbit(y, p, 33))(y, p) ** 2)


def long_orbits(y, p):
    return np.sum(gg.vmap(lambda y: orbit(y, p, 300))(y) ** 2)


def orbits_of(y, p, c):
    def one(y):
        return gg.scan(lambda y, k: (y + k * rate(y, p), None), y, c)[0]

    return np.sum(gg.vmap(one)(y) ** 2)


def picked(y, table, k):
    def one(y, k):
        return gg.fori_loop(0, 40, lambda i, x: np.sin(x) * table[k], y)

    return np.sum(gg.vmap(one)(y, k))


def swing(y, us):
    def step(y, u):
        half = y + 0.01 * np.array([y[1], u - 9.81 * np.sin(y[0])])
        return y + 0.02 * np.array([half[1], u - 9.81 * np.sin(half[0])]), None

    return gg.scan(step, y, us)[0]


def efforts(y, us):
    """Loops of a row before and after its steps."""

    def cost(y, us):
        end = swing(y, us * np.exp(-us * us))
        return end @ end + 0.01 * (us @ us)

    return np.sum(gg.vmap(cost)(y, us) ** 2)


def sensitivities(y, us):
    """Directions around the steps."""
    J = gg.vmap(gg.jacobian(swing), in_axes=(0, None))(y, us)
    return np.sum(J[:, 0, 1] * J[:, 1, 0])


CASES = [
    (horner, ("f64[m]", "f64[n]"), ("x",)),
    (horner, ("f64[m]", "f64[n]"), ("x", "t")),
    (horner, ("f32[m]", "f32[n]"), ("x", "t")),
    (newton, ("f64[n]",), ("a",)),
    (two_loops, ("f64[n]", "f64[3]"), ("a", "c")),
    (steps_kept, ("f64[n]", "f64[m]"), ("a", "c")),
    (orbits, ("f64[n,2]", "f64[3]"), ("y", "p")),
    (own_orbits, ("f64[n,2]", "f64[n,3]"), ("y", "p")),
    (own_orbits, ("f32[n,2]", "f32[n,3]"), ("y", "p")),
    (efforts, ("f64[n,2]", "f64[n,33]"), ("y", "us")),
    (efforts, ("f64[n,2]", "f64[n,m]"), ("us",)),
    (sensitivities, ("f64[n,2]", "f64[m]"), ("y",)),
    (sensitivities, ("f64[n,2]", "f64[33]"), ("y",)),
    (picked, ("f64[n]", "f64[5]", "i64[n] < 5"), ("y",)),
    (orbits_of, ("f64[n,2]", "f64[3]", "f64[m]"), ("y", "p")),
]
IDS = [f"{f.__name__}-{'-'.join(wrt)}-{specs[0][:3]}" for f, specs, wrt in CASES]


def kernels(f, specs, wrt):
    fn, signature = make(f, specs, wrt)
    return fn, signature, stages(fn, signature.results)


def in_blocks(kernel):
    """Whether steps are taken by blocks of rows: a loop over the rows of a block in a sequential one."""
    return any(
        type(inner) is Loop and inner.kind != "sequential"
        for loop in walk(kernel.body)
        if type(loop) is Loop and loop.step > 1
        for steps in walk(loop.body)
        if type(steps) is Loop and steps.kind == "sequential"
        for inner in steps.body
    )


@pytest.mark.parametrize(("f", "specs", "wrt"), CASES, ids=IDS)
def test_blocks_of_rows_mean_the_function(f, specs, wrt):
    fn, signature, found = kernels(f, specs, wrt)
    last = [kernel for name, kernel in found if name == "abreast"][-1]
    assert in_blocks(last)
    for n in SIZES:
        sizes = {"n": n, "m": 4}
        rng = np.random.default_rng(n)
        args = [sample(leaf, sizes, rng) for leaf in signature.leaves]
        expected = interpret(fn, args, sizes)
        for name, kernel in found:
            if name in ("interchange", "abreast"):
                verify(kernel, name)
                for a, b in zip(run(kernel, args, sizes), expected, strict=True):
                    close(a, b, "f32" if "f32" in specs[0] else "f64")


@pytest.mark.parametrize(("f", "specs", "wrt"), CASES, ids=IDS)
@pytest.mark.parametrize("parallel", [False, True])
@needs_c
def test_emitted(f, specs, wrt, parallel):
    fn = gg.compile(
        gg.value_and_grad(f, wrt=wrt), *specs, target="c", options={"parallel": parallel}
    )
    fn.build(flags=STRICT)
    reference = gg.compile(gg.value_and_grad(f, wrt=wrt), *specs)
    rng = np.random.default_rng(1)
    for n in (0, 1, 16, 77, 5000 if parallel else 130):
        args = [sample_of(spec, {"n": n, "m": 4}, rng) for spec in specs]
        single = "f32" in specs[0]
        for a, b in zip(flat(fn(*args)), flat(reference(*args)), strict=True):
            np.testing.assert_allclose(
                a, b, rtol=2e-3 if single else 1e-10, atol=1e-3 if single else 1e-12
            )


def sample_of(spec, sizes, rng):
    if spec == "i64[n] < 5":
        return rng.integers(-5, 5, sizes["n"])
    dtype, _, dims = spec.rstrip("]").partition("[")
    shape = [sizes[d] if d in sizes else int(d) for d in dims.split(",")]
    return rng.uniform(0.5, 1.0, shape).astype({"f32": np.float32, "f64": np.float64}[dtype])


def flat(result):
    value, gradients = result
    return [value, *gradients]


def test_long_tapes_go_into_the_workspace():
    fn, signature, found = kernels(long_orbits, ("f64[n,2]", "f64[3]"), ("y", "p"))
    kernel = found[-1][1]
    assert in_blocks(kernel) and kernel.work_bytes != 0
    sizes = {"n": 17}
    args = [sample(leaf, sizes, np.random.default_rng(5)) for leaf in signature.leaves]
    for a, b in zip(run(kernel, args, sizes), interpret(fn, args, sizes), strict=True):
        close(a, b, "f64")


def test_sums_over_rows_are_collected_in_lanes():
    _, _, found = kernels(horner, ("f64[m]", "f64[n]"), ("x",))
    stores = [
        s for s in walk(found[-1][1].body) if type(s) is Store and s.buffer.name == "total_lane"
    ]
    assert stores


def shifted(a, c):
    def step(x, k):
        y = x * k
        y[1:] += x[:-1]
        return y, None

    x, _ = gg.scan(step, a, c)
    return np.sum(x * x)


def normalised(a, c):
    x, _ = gg.scan(lambda x, k: (x * k / np.sum(x), None), a, c)
    return np.sum(x * a)


def mixed(a, c):
    def step(state, k):
        x, total = state
        return (x * k, total + np.sum(x)), None

    (x, total), _ = gg.scan(step, (a, 0.0), c)
    return np.sum(x) * total


@pytest.mark.parametrize("wrt", [None, ("a", "c")], ids=["primal", "gradient"])
@pytest.mark.parametrize("f", [shifted, normalised, mixed])
def test_steps_that_read_other_elements_stay(f, wrt):
    fn, signature, found = kernels(f, ("f64[n]", "f64[m]"), wrt)
    kernel = found[-1][1]
    if wrt is None:
        assert not in_blocks(kernel)
    for n in (1, 70):
        sizes = {"n": n, "m": 3}
        args = [sample(leaf, sizes, np.random.default_rng(2)) for leaf in signature.leaves]
        for a, b in zip(run(kernel, args, sizes), interpret(fn, args, sizes), strict=True):
            close(a, b, "f64")
