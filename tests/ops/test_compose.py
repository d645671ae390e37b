"""Kinks where ops meet, powers known at trace time, casts, and NumPy's and SciPy's functions made of several ops."""

import mpmath as mp
import numpy as np
import pytest
from ops.test_elementwise import close, slopes

from gradgen.cotangents import cotangent
from gradgen.errors import GradgenError
from gradgen.functions import FUNCTIONS, lookup
from gradgen.ir import OPS
from gradgen.value import Value, apply, constant


@pytest.fixture(autouse=True)
def quiet():
    """Poles warn in NumPy, as they should; here they are the subject."""
    with np.errstate(all="ignore"):
        yield


# -- EDGE_CASES rows that combine ops
def grad(f, *xs):
    values = [Value(x) for x in xs]
    f(*values).backward()
    return [v.grad for v in values]


def test_constant_wins_its_ties():
    assert grad(lambda x: np.maximum(x, 0.0), 0.0) == [0.0]
    assert grad(lambda x: np.maximum(0.0, x), 0.0) == [0.0]
    assert grad(lambda x: np.minimum(x, 1.0), 1.0) == [0.0]
    assert grad(lambda x: np.maximum(x, 0.0), 3.0) == [1.0]


def test_branch_not_taken_contributes_nothing():
    assert grad(lambda x: np.where(x > 0, np.sqrt(x), x), -1.0) == [1.0]
    assert grad(lambda x: np.where(x > 0, np.log(x), 0.0), 0.0) == [0.0]
    assert grad(lambda x: np.where(x != 0, x * np.sin(1 / x), 0.0), 0.0) == [0.0]
    assert grad(lambda x: np.where(x > 0, np.tanh(np.sqrt(x)), 2 * x), -1.0) == [2.0]
    assert grad(lambda x: np.sqrt(np.maximum(x, 0.0)), -1.0) == [0.0]
    (g,) = grad(lambda x: np.sum(np.where(x > 0, np.sqrt(x), x)), np.array([-1.0, 4.0, 0.0]))
    assert g.tolist() == [1.0, 0.25, 1.0]


def test_guards_are_not_selects():
    """f = (sqrt(x) - 1)**2: f''(1) = 0.5, though the cotangent of sqrt is 0 there."""
    x = Value(1.0)
    y = np.sqrt(x)
    e = y - 1.0
    x_bar = cotangent(y, 0, 2.0 * e, y, (x,), False)
    assert x_bar.data == 0.0
    x_bar.backward()
    assert x.grad == 0.5


def test_second_derivative_of_logaddexp_at_a_tie():
    a, b = Value(2.0), Value(2.0)
    slopes(OPS["logaddexp"], [a, b])[0].backward()
    assert (a.grad, b.grad) == (0.25, -0.25)


def test_unbounded_partials_with_a_zero_cotangent():
    assert grad(lambda x: 0.0 * np.sqrt(x), 0.0) == [0.0]
    assert grad(lambda x: np.sqrt(x) ** 2, 0.0) == [0.0]
    assert grad(lambda x: np.hypot(x, 0.0) ** 2, 0.0) == [0.0]


# -- powers known at trace time
@pytest.mark.parametrize(
    ("n", "op"),
    [
        (2, "square"),
        (2.0, "square"),
        (-1, "reciprocal"),
        (0.5, "sqrt"),
        (3, "powc"),
        (-2, "powc"),
        (0.3, "power"),
    ],
)
def test_power_of_a_literal(n, op):
    y = Value(1.7) ** n
    assert y.op.name == op
    assert close(y.data, mp.mpf(1.7) ** mp.mpf(n), 1e-15)


def test_power_of_zero_and_one():
    x = Value(0.0)
    assert (x**1) is x
    assert (x**0).data == 1.0
    assert grad(lambda x: x * x**0, 3.0) == [1.0]
    assert grad(lambda x: 2**x, 3.0)[0] == pytest.approx(8 * np.log(2), rel=1e-15)


def test_integer_powers():
    k = constant(np.arange(-3, 4))
    assert apply(OPS["power"], k, constant(np.array(3))).type.dtype == "i64"
    with pytest.raises(GradgenError, match="negative integer powers"):
        FUNCTIONS[np.power](k, -1)
    assert FUNCTIONS[np.power](k, 0.5).type.dtype == "f64"


# -- casts
def test_cast_keeps_the_gradients_dtype_and_cuts_it_at_integers():
    x = Value(np.array([1.5, 2.5], np.float32))
    y = x.astype("f64")
    y.backward(np.ones(2))
    assert y.type.dtype == "f64" and x.grad.dtype == np.float32
    assert x.astype(int).data.tolist() == [1, 2]
    same = x.astype(np.float32)
    assert same is not x and same.type == x.type  # as NumPy's, it may be written into
    with pytest.raises(GradgenError, match="dtype"):
        x.astype(complex)


# -- NumPy's functions made of several ops
@pytest.mark.parametrize(
    ("call", "x"),
    [
        (lambda x: np.clip(x, 0.0, 1.0), 0.5), (lambda x: np.clip(x, None, 1.0), 0.5),
        (lambda x: np.clip(x, min=0.0), 0.5), (lambda x: np.clip(x, a_min=0.0, a_max=None), 0.5),
        (np.fabs, -0.5), (np.radians, 0.5), (np.degrees, 0.5), (np.positive, 0.5), (np.isinf, 0.5),
        (lambda x: np.float_power(x, 3), 0.5), (np.reciprocal, 0.5), (lambda x: np.logical_xor(x, 0.0), 0.5),
        (lambda x: (x > 0) & (x < 1), 0.5), (lambda x: ~(x > 0), 0.5), (lambda x: (x > 0) ^ (x < 1), 0.5),
    ],
)  # fmt: skip
def test_composed_functions(call, x):
    assert call(Value(x)).data == call(np.float64(x))


def test_refused_by_name():
    x = Value(np.ones(3))
    with pytest.raises(GradgenError, match="depends on data"):
        np.where(x > 0)
    with pytest.raises(GradgenError, match=r"np\.sin is not supported with these arguments"):
        np.sin(x, out=np.empty(3))
    with pytest.raises(GradgenError, match="needs integers"):
        np.bitwise_and(x, 1)
    with pytest.raises(GradgenError, match="three times"):
        slopes(OPS["tetragamma"], [Value(2.0)])


def test_scipy_functions_are_known_by_name():
    special = pytest.importorskip("scipy.special")
    found = [name for name in FUNCTIONS if str(name).startswith("scipy.special.")]
    ufuncs = [
        f
        for f in (getattr(special, n.rpartition(".")[2]) for n in found)
        if isinstance(f, np.ufunc)
    ]
    assert len(ufuncs) > 15
    for ufunc in ufuncs:
        args = (0.3, 0.7, 0.4)[: ufunc.nin]
        got = lookup(ufunc)(*map(Value, args))
        assert got.data == pytest.approx(float(ufunc(*args)), rel=5e-15), ufunc
    assert lookup(special.jv) is None and lookup(len) is None and lookup([]) is None
