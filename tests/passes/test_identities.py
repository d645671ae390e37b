"""Sums over an axis of an identity matrix, as the directions of Jacobians make them: in NumPy's text only."""

import numpy as np
import pytest

import gradgen as gg
from gradgen.ir import OPS, Function
from gradgen.ops.basis import eye
from gradgen.passes.identities import identities
from gradgen.types import Type
from gradgen.value import Trace, apply

RNG = np.random.default_rng(6)


def summed(f, *shapes, axis, keepdims=False, dtype="f64"):
    """A Function of arrays of these shapes: the sum over an axis of f(identity of 3, arrays), and what the pass makes of it."""
    with Trace(trusted=True) as trace:
        inputs = [trace.input(Type.of(dtype, s), "abc"[k]) for k, s in enumerate(shapes)]
        product = f(eye(3, dtype), *inputs)
        out = apply(OPS["sum"], product, axes=(axis % product.type.ndim,), keepdims=keepdims)
    return Function("f", inputs, [out], trace.body)


def run(fn, args):
    env = dict(zip(fn.inputs, args, strict=True))
    for node in fn.body:
        operands = [env[a] if a in env else a.params["value"] for a in node.args]
        env[node] = node.op.evaluate(*operands, **node.params)
    return env[fn.outputs[0]]


@pytest.mark.parametrize(
    ("f", "shapes", "axis", "left"),
    [
        (lambda e, a: e * a, [(3,)], -1, 0),  # how many statements are left
        (lambda e, a: a * e, [(3,)], -2, 0),
        (lambda e, a: e * a, [(3, 1)], -1, 1),
        (lambda e, a: e * a, [(3, 1)], -2, 1),
        (lambda e, a: e * a, [(5, 1, 3)], -1, 1),
        (lambda e, a, b: e * a * b, [(5, 1, 1), (5, 1, 3)], -1, 3),
        (lambda e, a, b: a * (b * e) * 2.0, [(5, 1, 3), (5, 3, 1)], -2, 4),
        (lambda e, a, b: e * a * b, [(), (3,)], -1, 1),
    ],
)
def test_what_the_identity_picks(f, shapes, axis, left):
    for keepdims in (False, True):
        fn = summed(f, *shapes, axis=axis, keepdims=keepdims)
        found = identities(fn)
        assert not {OPS["eye"], OPS["sum"]} & {n.op for n in found.body}
        assert keepdims or len(found.body) == left
        args = [RNG.normal(size=s) for s in shapes]
        assert found.outputs[0].type == fn.outputs[0].type
        np.testing.assert_allclose(run(found, args), run(fn, args), rtol=1e-15)


@pytest.mark.parametrize(
    ("f", "shapes", "axis"),
    [
        (lambda e, a: e * a, [(3, 3)], -1),  # its diagonal
        (lambda e, a: e * a, [(5, 1, 1)], -1),  # the same for all
        (lambda e, a: e * a, [(5, 1, 3)], 0),  # the identity stays
        (lambda e, a: e + a, [(3,)], -1),
        (lambda e, a: e * e * a, [(3,)], -1),
    ],
)
def test_what_stays_a_sum(f, shapes, axis):
    fn = summed(f, *shapes, axis=axis)
    assert [n.op for n in identities(fn).body] == [n.op for n in fn.body]


@pytest.mark.parametrize("level", ["readable", "fast"])
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_jacobians_of_a_batch(level, dtype):
    def f(x, w):
        return w * x * np.sum(x * x)

    jacobian = gg.jacobian(f, wrt=(0, 1))
    specs = (f"{dtype}[n,3]", f"{dtype}[n]")
    fn = gg.compile(gg.vmap(jacobian), *specs, options={"optimize": level, "verify": True})
    kind = {"f64": np.float64, "f32": np.float32}[dtype]
    x, w = RNG.normal(size=(5, 3)).astype(kind), RNG.normal(size=5).astype(kind)
    by_x, by_w = fn(x, w)
    squares = np.sum(x * x, axis=1)
    np.testing.assert_allclose(by_w, x * squares[:, None], rtol=1e-6)
    want = w[:, None, None] * (
        np.eye(3) * squares[:, None, None] + 2.0 * x[:, :, None] * x[:, None]
    )
    np.testing.assert_allclose(by_x, want, rtol=1e-5, atol=1e-6)
    assert by_x.dtype == by_w.dtype == kind
    x[0, 0] = np.inf  # what is not finite stays in its own row
    with np.errstate(all="ignore"):
        assert np.isfinite(fn(x, w)[1][1:]).all()
