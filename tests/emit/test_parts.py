"""Long functions in C are cut into parts, which know what the whole function knows of its arrays."""

import os
import re
import subprocess
import sys

import numpy as np

import gradgen as gg


def stages(X, W):
    """Many loops one after the other, each with memory of its own."""
    h, total = X, 0.0
    for k in range(24):
        h = np.tanh(h * W[k] + np.sum(h, axis=1, keepdims=True))
        total = total + np.sum(h * h, axis=0)
    return np.sum(total)


def test_parts_are_told_that_arrays_lie_apart():
    """Without `restrict` a compiler checks each pair of arrays, and gives up vectors where there are many."""
    fn = gg.compile(gg.value_and_grad(stages, (0, 1)), "f64[n,8]", "f64[24]", target="c")
    heads = re.findall(r"static void \w+_part_\d+\((.*?)\)\n\{", fn.source, re.S)
    assert heads, "the function is long enough for parts"
    pointers = [p for head in heads for p in head.split(",") if "*" in p and "const" not in p]
    assert len(pointers) > 10 and all("restrict" in p for p in pointers)
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(9, 8)), rng.normal(size=24)
    found, expected = fn(X, W), gg.value_and_grad(stages, (0, 1))(X, W)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_values_and_tangents_that_take_turns_share_a_section():
    """One heading where each value is followed by its tangent, two where the tangents come after the values."""
    turns = gg.compile(
        gg.hessian(lambda x: np.sum((x[1:] - x[0]) ** 2 * np.exp(x[1:]))), "f64[9]", target="numpy"
    )
    headings = re.findall(r"^    # (.*)$", turns.source, re.M)
    assert headings.count("values and tangents") <= 1 and headings.count("tangents") <= 1
    plain = gg.compile(gg.jvp(lambda x: np.sum(np.sin(x) * x)), "f64[n]", "f64[n]", target="numpy")
    assert re.findall(r"^    # (forward|tangents|reverse)$", plain.source, re.M) == [
        "forward",
        "tangents",
    ]


LONG = """
import hashlib
import gradgen as gg

def chain(x, y, z):
    for _ in range(400):
        x, y, z = x * y + z, y * z + x, z * x + y
    return x, y, z

fn = gg.compile(gg.jacobian(chain, (0, 1, 2)), "f64[]", "f64[]", "f64[]", target="python")
assert "part_2" in fn.source
print(hashlib.sha256(fn.source.encode()).hexdigest())
"""


def test_parts_are_the_same_bytes_in_every_process():
    found = {
        subprocess.run(
            [sys.executable, "-c", LONG],
            capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in "123"
    }  # fmt: skip
    assert len(found) == 1
