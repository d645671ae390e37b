"""Eager Values: floats and arrays give the same numbers, at poles too; what backward adds to; pickling."""

import copy
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import gradgen as gg
from gradgen import eager, scalars
from gradgen.ir import NO_PARAMS, OPS
from gradgen.types import F64
from gradgen.value import Value, apply

sys.path.insert(0, str(Path(__file__).parent / "ops"))
sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
try:
    import eager as benchmark
    from elementwise_rows import ROWS
finally:
    del sys.path[:2]

# Ops that compute a float of floats, by what their rows say of them.
OF_FLOATS = [row for row in ROWS if scalars.meaning(OPS[row.op], len(row.domains)) is not None]


def drawn(row, rng):
    """Operands of an op: numbers from its intervals, constants from its lists."""
    return [float(rng.choice(d) if isinstance(d, list) else rng.uniform(*d)) for d in row.domains]


def on_values(row, numbers, as_arrays):
    """The op's variables and result on Values of these numbers: floats, or arrays of one element."""
    operands = [
        x if isinstance(d, list) else Value(np.array([x]) if as_arrays else x)
        for d, x in zip(row.domains, numbers, strict=True)
    ]
    return [v for v in operands if isinstance(v, Value)], apply(OPS[row.op], *operands)


@pytest.mark.parametrize("row", OF_FLOATS, ids=lambda row: row.op)
def test_floats_and_arrays_agree(row):
    """Result and gradient of each op by its own spelling on floats, against its meaning and rules on arrays."""
    rng = np.random.default_rng(7)
    for _ in range(20):
        numbers = drawn(row, rng)
        values, y = on_values(row, numbers, False)
        arrays, wanted = on_values(row, numbers, True)
        assert y.type is F64 and type(y.data) is float
        np.testing.assert_allclose([y.data], wanted.data, rtol=1e-12, atol=1e-300)
        try:
            wanted.backward(np.ones(1))
        except gg.UnsupportedError:  # the highest derivative of a family
            with pytest.raises(gg.UnsupportedError):
                y.backward()
            continue
        y.backward()
        for v, a in zip(values, arrays, strict=True):
            assert type(v.grad) is float
            np.testing.assert_allclose([v.grad], a.grad, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("row", OF_FLOATS, ids=lambda row: row.op)
def test_special_points_agree(row):
    """Kinks and poles, where floats of Python's raise, with NumPy's warnings or without."""
    with np.errstate(all="ignore"):
        for operands, _ in row.special:
            constant = [isinstance(d, list) for d in row.domains]
            both = []
            for as_arrays in (False, True):
                operand = [
                    x if fixed else Value(np.array([x], float) if as_arrays else float(x))
                    for fixed, x in zip(constant, operands, strict=True)
                ]
                y = apply(OPS[row.op], *operand)
                y.backward(np.ones(y.shape))
                grads = [v.grad for v in operand if isinstance(v, Value)]
                both.append([np.ravel(x)[0] for x in (y.data, *grads)])
            np.testing.assert_allclose(*both, rtol=1e-12)


def test_ops_that_are_none_of_floats():
    assert {"where", "less", "isnan", "cast"}.isdisjoint(row.op for row in OF_FLOATS)
    assert len(OF_FLOATS) > 50
    assert scalars.meaning(OPS["sum"], 1) is None


def test_inf_and_nan_come_with_warnings():
    x = Value(0.0)
    for compute in (lambda: x.log(), lambda: 1.0 / x, lambda: Value(1e300) * Value(1e300)):
        with pytest.warns(RuntimeWarning):
            y = compute()
        assert np.isinf(y.data)


def test_a_branch_not_taken_contributes_nothing():
    """The zero that guards: 0 times an infinite slope, beside finite and beside infinite values."""
    x = Value(0.0)
    y = np.sqrt(x) * 0.0 + x
    y.backward()
    assert x.grad == 1.0
    x = Value(0.0)
    with np.errstate(all="ignore"):
        y = np.minimum(1.0 / x, 5.0) + x
    y.backward()
    assert x.grad == 1.0


def test_zero_to_the_zero_and_ties():
    x, y = Value(0.0), Value(0.0)
    z = np.maximum(x, y) + np.maximum(x, 0.0) + x**0 + abs(x)
    z.backward()
    assert (x.grad, y.grad) == (0.5, 0.5)
    z = np.maximum(x, 1.0) + np.maximum(1.0, x) + np.maximum(x, -1.0)
    x.grad = 0.0
    z.backward()
    assert x.grad == 1.0


def test_constants_of_hand_written_rules_are_told_apart():
    x = Value(2.0)
    for n in (3, 4, -2, 1.5, 3):
        x.grad = None
        (x**n).backward()
        assert x.grad == pytest.approx(n * 2.0 ** (n - 1), rel=1e-15)
    x.grad = None
    (3.0**x + x**x).backward()
    assert x.grad == pytest.approx(9.0 * np.log(3.0) + 4.0 * (np.log(2.0) + 1.0), rel=1e-15)


def test_more_constants_than_rules_are_kept(monkeypatch):
    monkeypatch.setattr(eager, "_RULES", {})
    monkeypatch.setattr(eager, "_MOST_RULES", 3)
    for k in range(6):
        x = Value(2.0)
        np.maximum(x * x, float(k)).backward()
        assert x.grad == (4.0 if k < 4 else 0.0)
    assert len(eager._RULES) == 3


def test_backward_again_and_through_shared_values():
    a, b = Value(3.0), Value(-2.0)
    c = a * b
    d = c * c + c
    d.backward()
    assert (a.grad, b.grad, c.grad, d.grad) == (22.0, -33.0, -11.0, 1.0)
    d.backward()
    assert (a.grad, b.grad, c.grad, d.grad) == (44.0, -66.0, -22.0, 2.0)
    (c + d).backward()
    assert (a.grad, c.grad, d.grad) == (44.0 + 20.0, -22.0 - 10.0, 3.0)
    leaf = Value(1.0)
    leaf.backward()
    leaf.backward(2.0)
    assert leaf.grad == 3.0


def test_gradients_that_users_set():
    x = Value(2.0)
    x.grad = 1
    (x * x).backward()
    assert x.grad == 5.0 and type(x.grad) is float
    x.grad = np.float64(0.5)
    (x * np.float64(2.0) + 1).backward()
    assert x.grad == 2.5 and type(x.grad) is float
    x.grad = None
    assert x.grad == 0.0


def test_floats_beside_arrays_and_other_dtypes():
    x, w = Value(2.0), Value(np.array([1.0, 3.0]))
    y = np.sum(w * x) + x * x
    y.backward()
    assert x.grad == 8.0 and np.array_equal(w.grad, [2.0, 2.0])
    single = Value(np.float32(0.5))
    z = single * x
    z.backward()
    assert z.dtype == np.float64 and single.grad.dtype == np.float32 and x.grad == 8.5
    mask = np.where(x > 1.0, x * x, 0.0)
    mask.backward()
    assert x.grad == 12.5
    assert (x > 1.0).data.dtype == np.bool_ and isinstance((x * 2).data, float)
    assert apply(OPS["add"], 2, 3).type.dtype == "i64"


def test_a_long_chain_does_not_recurse():
    x = y = Value(1.0)
    for _ in range(100_000):
        y = y * 0.99999 + 0.00001
    y.backward()
    assert x.grad == pytest.approx(0.99999**100_000, rel=1e-9)
    again = pickle.loads(pickle.dumps(y))
    assert again.data == y.data


def test_in_a_trace_numbers_are_constants():
    w, seen = Value(3.0), []

    def f(x):
        seen.append(w * w)
        return x * (w * w)

    assert gg.grad(f)(2.0) == 9.0
    assert seen[0]._data is None
    assert (w * w).data == 9.0


def test_threads_have_traces_of_their_own():
    found = []

    def f(x):
        thread = threading.Thread(target=lambda: found.append((Value(2.0) * Value(3.0)).data))
        thread.start()
        thread.join()
        return x * 2.0

    assert gg.grad(f)(1.0) == 2.0
    assert found == [6.0]


def test_pickled_values_go_on_computing():
    model = gg.nn.MLP(2, [3, 1])
    loss = model([0.5, -1.0]) ** 2 + np.sum(Value(np.arange(3.0)) * model.parameters()[0])
    loss.backward()
    for make in (lambda v: pickle.loads(pickle.dumps(v)), copy.deepcopy):
        other, again = make((model, loss))
        assert again.data == loss.data
        assert [p.grad for p in other.parameters()] == [p.grad for p in model.parameters()]
        assert [p.label for p in other.parameters()] == [p.label for p in model.parameters()]
        other.zero_grad()
        again.backward()
        assert [p.grad for p in other.parameters()] == pytest.approx(
            [p.grad for p in model.parameters()]
        )
        one = gg.compile(again, wrt=other.parameters(), target="python")
        assert one(*[p.data for p in other.parameters()])[0] == pytest.approx(loss.data)
    assert copy.copy(loss).op is loss.op


def test_rules_of_floats_are_the_ops_own():
    """What is compiled is one expression for an operand, and a select that computes one branch."""
    x, y = Value(2.0), Value(3.0)
    assert eager._compiled_rule(x * y)(10.0, 6.0, 2.0, 3.0) == (30.0, 20.0)
    assert eager._compiled_rule(np.maximum(x, 0.0))(10.0, 2.0, 2.0, 0.0) == (10.0, None)
    assert scalars.compiled([x], [], [None, x])(5.0) == (None, 5.0)
    array = np.exp(Value(np.ones(2)))
    assert scalars.compiled(list(array.args), [array], array) is None
    assert NO_PARAMS == {}


@pytest.mark.parametrize("workload", ["moons-arrays", "mlp"])
def test_the_benchmarks_engines_agree(workload):
    pytest.importorskip("autograd")
    results = [make()() for make in benchmark.WORKLOADS[workload]().values()]
    for value, gradient in results[1:]:
        assert value == pytest.approx(results[0][0], rel=1e-12)
        np.testing.assert_allclose(gradient, results[0][1], rtol=1e-9, atol=1e-12)


def test_backward_while_a_trace_is_open():
    """An eager loss is differentiated as ever; its gradient is a number to the trace. Inside, all is traced."""
    w = Value(np.array([1.0, -2.0]))
    loss = np.sum(np.tanh(w) * w)
    pole = Value(0.0)
    at_pole = pole * np.sqrt(pole)

    def f(x):
        w.grad = pole.grad = None
        loss.backward()
        at_pole.backward()
        return np.sum(x * w.grad) + pole.grad

    def inside(x):
        np.sum(w * w).backward()
        return x

    found = gg.compile(f, "f64[2]")(np.ones(2))
    expected = np.tanh(w.data) + w.data / np.cosh(w.data) ** 2
    assert found == pytest.approx(np.sum(expected), rel=1e-14)
    np.testing.assert_allclose(w.grad, expected, rtol=1e-14)
    with pytest.raises(gg.TraceError, match="needs an eager Value, got a traced one"):
        gg.compile(inside, "f64[2]")


def test_every_method_of_an_array_is_there_or_refused_by_name():
    x = Value(np.array([[3.0, 1.0, 2.0]]))
    for name in dir(np.ndarray):
        if name.startswith("_"):
            continue
        try:
            getattr(x, name)
        except gg.GradgenError as error:
            assert name in str(error)
    np.testing.assert_array_equal(x.cumsum().data, [3.0, 4.0, 6.0])
    np.testing.assert_array_equal(x.mT.data, x.data.T)
    np.testing.assert_array_equal(x.real.data, x.data)
    with pytest.raises(gg.UnsupportedError, match="the method tobytes of an array"):
        x.tobytes()
    with pytest.raises(AttributeError, match="nonsense"):
        x.nonsense()
