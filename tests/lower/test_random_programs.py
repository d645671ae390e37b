"""Random array programs, with updates in place, views and reductions: all stages of the loops, and the C, agree.

GRADGEN_FUZZ=2000 makes it a search; what it finds becomes a row in c_programs.
"""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
from c_programs import make, sample
from compilers import needs_c
from scipy import special

from gradgen.build import CFunction
from gradgen.emit.c import emit_c
from gradgen.engine import interpret
from gradgen.lower import stages
from gradgen.lower.inspect import verify
from gradgen.lower.run import run

SEEDS = range(int(os.environ.get("GRADGEN_FUZZ", "100")))
QUICK = ("-O1", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")


def shifted(v, c):
    u = np.zeros(v.shape)
    u[1:] = v[:-1]
    u[0] = c
    return u


def nudged(v, c):
    u = np.zeros(v.shape)
    u[:] = v
    u[:-1] += v[1:] * c
    w = u * 2.0  # reads the version before the next store
    u[0] = 0.25
    return u + w


def patched(m, c):
    b = np.zeros(m.shape)
    b[:] = m
    b[0] = b[1] * c
    b[:, 1] += m[:, 0]
    return b


# (takes, gives, function): v a vector, m a matrix, s a scalar; None where the shapes do not fit
STEPS = [
    ("vs", "v", lambda v, s: np.sin(v) * s),
    ("vv", "v", lambda v, u: v * u + 0.5 if v.type.shape == u.type.shape else None),
    ("v", "v", lambda v: v[::-1]),
    ("ms", "m", lambda m, s: np.tanh(m) * s),
    ("v", "s", lambda v: np.sum(v) * 0.1),
    ("ms", "s", lambda m, s: np.mean(m) + s),
    ("vs", "v", shifted),
    ("vs", "v", nudged),
    ("v", "v", lambda v: np.concatenate([v[1:], v[:1]])),
    ("mv", "v", lambda m, v: m @ v if m.type.shape[1] == v.type.shape[0] else None),
    ("mv", "v", lambda m, v: v @ m if m.type.shape[0] == v.type.shape[0] else None),
    ("m", "m", lambda m: m.T),
    ("m", "m", lambda m: (m @ m) * 0.3 if m.type.shape[0] == m.type.shape[1] else None),
    ("m", "m", lambda m: m.T @ m * 0.2),
    ("v", "m", lambda v: np.outer(v, v) * 0.1),
    ("m", "v", lambda m: np.sum(m, axis=0)),
    ("m", "v", lambda m: np.max(m, axis=1)),
    ("m", "m", lambda m: m * m[::-1]),
    ("ms", "m", patched),
    ("m", "v", lambda m: m.reshape(-1)),
    ("ms", "v", lambda m, s: m[:, 0] * s + m[:, 1]),
    ("v", "v", lambda v: v[np.array([0, 1, 1, -1])]),
    ("vs", "v", lambda v, s: np.where(v > s, v, s * v)),
    ("v", "s", lambda v: special.logsumexp(v) + np.prod(v[:2])),
]


def program(seed):
    """A loss of (x, A, s), and its specs; every choice is made before it is traced."""
    r = random.Random(seed)
    specs = r.choice([("f64[4]", "f64[4,4]"), ("f64[n]", "f64[n,n]"), ("f64[n]", "f64[n,d]")])
    plan = [
        (r.randrange(len(STEPS)), [r.randrange(100) for _ in "ab"]) for _ in range(r.randint(3, 14))
    ]

    def loss(x, A, s):
        pool = {"v": [x], "m": [A], "s": [s]}
        for k, picks in plan:
            takes, gives, function = STEPS[k]
            given = [pool[t][p % len(pool[t])] for t, p in zip(takes, picks)]  # noqa: B905
            made = function(*given)
            if made is not None:
                pool[gives].append(made)
        total = pool["s"][-1]
        for v in pool["v"][-3:]:
            total = total + np.sum(v * v)
        for m in pool["m"][-2:]:
            total = total + np.sum(m) * 0.1
        return total

    return loss, (*specs, "f64[]")


def prepared(seed):
    loss, specs = program(seed)
    fn, signature = make(loss, specs, ("x", "A", "s") if seed % 3 else None)
    first = 4 if seed % 8 else 33  # more than one block of lanes, and some over
    sizes = {name: first + k for k, name in enumerate(signature.letters)}
    args = [sample(leaf, sizes, np.random.default_rng(seed)) for leaf in signature.leaves]
    return fn, signature, sizes, args


@pytest.mark.parametrize("seed", SEEDS)
def test_every_stage_agrees(seed):
    fn, signature, sizes, args = prepared(seed)
    wanted = interpret(fn, args, sizes)
    for name, kernel in stages(fn, signature.results):
        verify(kernel, name)
        for a, b in zip(run(kernel, args, sizes), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8, err_msg=name)


@needs_c
@pytest.mark.parametrize("seed", SEEDS[::5])
def test_c_agrees(seed):
    fn, signature, sizes, args = prepared(seed)
    compiled = CFunction(emit_c(fn, signature), fn, signature, flags=QUICK)
    for a, b in zip(compiled.call(args, sizes), interpret(fn, args, sizes), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
