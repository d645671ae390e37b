"""Every elementwise op against mpmath: value, slopes, second derivatives, tangents, broadcasting, float32, kinks, refusals."""

import dataclasses
import zlib

import mpmath as mp
import numpy as np
import pytest
from ops.elementwise_rows import BY_NAME, ROWS

import gradgen.ops
from gradgen.differentiate.forward import tangent
from gradgen.errors import GradgenError
from gradgen.ir import CONST, OPS
from gradgen.value import FUNCTIONS, Value, apply, constant, cotangent

ROW = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.op)
SMOOTH = pytest.mark.parametrize("row", [r for r in ROWS if r.exact], ids=lambda row: row.op)
POINTS = 12


@pytest.fixture(autouse=True)
def quiet():
    """Poles warn in NumPy, as they should; here they are the subject."""
    with np.errstate(all="ignore"):
        yield


def points(row, count=POINTS):
    """Random operands in the row's domains; an operand that is a number of a list stays a constant."""
    rng = np.random.default_rng(zlib.crc32(row.op.encode()))
    for k in range(count):
        yield [d[k % len(d)] if isinstance(d, list) else rng.uniform(*d) for d in row.domains]


def leaves(row, point):
    """Operands as Values; constants where the domain is a list."""
    return [
        constant(x) if isinstance(d, list) else Value(x)
        for d, x in zip(row.domains, point, strict=True)
    ]


def slopes(op, values, y_bar=1.0):
    """The cotangents of all operands, as Values that can be differentiated again."""
    y = apply(op, *values)
    bar = Value(y_bar)
    return [
        None if v.op is CONST else cotangent(y, i, bar, y, tuple(values), True)
        for i, v in enumerate(values)
    ]


def number(x_bar):
    return 0.0 if x_bar is None else float(x_bar.data)


def close(got, want, rel=3e-13):
    """Equal up to rounding; infinities and NaN by kind."""
    if not np.isfinite(float(want)):
        return np.array_equal(float(got), float(want), equal_nan=True)
    return abs(got - want) <= rel * max(1e-300, abs(want)) or abs(got - want) < 1e-15


def exact_slope(row, point, orders):
    """The mixed derivative of the row's function, to 20 digits or more; constants stay as they are."""
    if row.exact is None:
        return mp.mpf(0)
    free = [i for i, d in enumerate(row.domains) if not isinstance(d, list)]

    def exact(*xs):
        full = list(point)
        for i, x in zip(free, xs, strict=True):
            full[i] = x
        return row.exact(*full)

    with mp.workdps(50):
        at = tuple(mp.mpf(point[i]) for i in free)
        if not any(orders):
            return exact(*at)
        return mp.diff(exact, at, tuple(orders[i] for i in free))


def unit(row, *at):
    orders = [0] * len(row.domains)
    for i in at:
        orders[i] += 1
    return tuple(orders)


def test_every_op_has_a_row():
    assert {name for name, op in OPS.items() if op.elementwise} - {"cast"} == set(BY_NAME)


@ROW
def test_value(row):
    op = OPS[row.op]
    for point in points(row):
        got = op.evaluate(*point)
        if row.exact is None:
            assert got == getattr(np, row.op, op.evaluate)(*point)
        else:
            assert close(mp.mpf(float(got)), exact_slope(row, point, unit(row)), 2e-15), point


def check_slopes(row, op):
    for point in points(row):
        values = leaves(row, point)
        for i, x_bar in enumerate(slopes(op, values)):
            if values[i].op is not CONST:
                want = exact_slope(row, point, unit(row, i))
                assert close(number(x_bar), want), (point, i, number(x_bar), want)


@SMOOTH
def test_slopes(row):
    check_slopes(row, OPS[row.op])


def scaled(op, factor):
    """The op with every partial and rule scaled: a wrong op."""
    wrap = lambda rule: None if rule is None else lambda *args: factor * rule(*args)
    if op.partials is not None:
        return dataclasses.replace(op, partials=tuple(map(wrap, op.partials)))
    return dataclasses.replace(op, vjp=tuple(map(wrap, op.vjp)))


@pytest.mark.parametrize(
    "row",
    [r for r in ROWS if r.exact and any(OPS[r.op].partials or OPS[r.op].vjp)
     and r.op not in ("sign",)],
    ids=lambda row: row.op,
)  # fmt: skip
def test_a_wrong_partial_is_found(row):
    with pytest.raises(AssertionError):
        check_slopes(row, scaled(OPS[row.op], 1.001))


@pytest.mark.parametrize("row", [r for r in ROWS if r.exact and r.second], ids=lambda row: row.op)
def test_second_derivatives(row):
    op = OPS[row.op]
    for point in points(row, 6):
        for i in range(len(point)):
            values = leaves(row, point)
            x_bar = slopes(op, values)[i]
            if x_bar is None:
                continue
            x_bar.backward()
            for j, v in enumerate(values):
                if v.op is not CONST:
                    want = exact_slope(row, point, unit(row, i, j))
                    scale = 1 + abs(exact_slope(row, point, unit(row, i)))
                    assert abs(v.grad - want) < 1e-9 * max(abs(want), scale), (point, i, j)


@SMOOTH
def test_tangents_are_adjoint_to_cotangents(row):
    rng = np.random.default_rng(1)
    op = OPS[row.op]
    for point in points(row, 4):
        values = leaves(row, point)
        y = apply(op, *values)
        dots = {id(v): Value(rng.normal()) for v in values if v.op is not CONST}
        y_dot = tangent(y, dots)
        pulled = sum(
            number(x_bar) * dots[id(v)].data
            for v, x_bar in zip(values, slopes(op, values), strict=True)
            if v.op is not CONST
        )
        assert close(0.0 if y_dot is None else y_dot.data, pulled, 1e-12) or abs(pulled) < 1e-12


@pytest.mark.parametrize(
    "row",
    [r for r in ROWS if r.exact and len(r.domains) > 1 and r.op != "powc"],
    ids=lambda r: r.op,
)
def test_broadcasting_sums_back(row):
    """Operands of shapes (3, 1), (1, 4), () give x_bars of their own shapes: the sums of the scalar slopes."""
    op = OPS[row.op]
    rng = np.random.default_rng(2)
    sides = [(3, 1), (1, 4), ()][: len(row.domains)]
    arrays = [
        np.array(d[0]) if isinstance(d, list) else rng.uniform(*d, size=s)
        for d, s in zip(row.domains, sides, strict=True)
    ]
    values = [
        constant(a) if isinstance(d, list) else Value(a)
        for a, d in zip(arrays, row.domains, strict=True)
    ]
    y = apply(op, *values)
    y_bar = rng.normal(size=y.shape)
    y.backward(y_bar)
    full = np.broadcast_arrays(*arrays, y_bar)
    for i, v in enumerate(values):
        if v.op is CONST:
            continue
        want = np.zeros(full[0].shape)
        for at in np.ndindex(want.shape):
            point = [f[at].item() for f in full[:-1]]
            want[at] = full[-1][at] * number(slopes(op, leaves(row, point))[i])
        axes = tuple(k for k, n in enumerate((*(1,) * (2 - v.ndim), *v.shape)) if n == 1)
        got = np.broadcast_to(v.grad, (1,) * (2 - np.ndim(v.grad)) + np.shape(v.grad))
        np.testing.assert_allclose(
            got, want.sum(axis=axes, keepdims=True)[: got.shape[0]], rtol=1e-12
        )
        assert np.shape(v.grad) == v.shape


@SMOOTH
def test_the_same_operand_twice(row):
    if len(row.domains) != 2 or row.op in (
        "powc",
        "maximum",
        "minimum",
        "remainder",
        "fmod",
        "floor_divide",
    ):
        return
    lo = max(d[0] for d in row.domains)
    hi = min(d[1] for d in row.domains)
    x = Value((lo + hi) / 2)
    apply(OPS[row.op], x, x).backward()
    with mp.workdps(40):
        want = mp.diff(lambda t: row.exact(t, t), mp.mpf(x.data))
    assert abs(x.grad - want) < 1e-12 * (1 + abs(want))


@ROW
def test_float32_stays_float32(row):
    point = next(iter(points(row)))
    op = OPS[row.op]
    values = [
        constant(np.asarray(p)) if isinstance(p, bool) else constant(np.float32(p)) if isinstance(d, list)
        else Value(np.array([p], np.float32))
        for d, p in zip(row.domains, point, strict=True)
    ]  # fmt: skip
    y = apply(op, *values)
    assert y.dtype == np.bool_ if y.type.dtype == "bool" else y.dtype == np.float32
    if row.exact is None:
        return
    assert abs(float(y.data[0]) - float(exact_slope(row, point, unit(row)))) < 1e-5 * (
        1 + abs(y.data[0])
    )
    y.backward(np.ones(1, np.float32))
    for v in values:
        if v.op is not CONST:
            assert np.asarray(v.grad).dtype == np.float32


SPECIAL = [(row, *case) for row in ROWS for case in row.special]


@pytest.mark.parametrize(
    ("row", "point", "want"), SPECIAL, ids=lambda x: x.op if hasattr(x, "op") else str(x)
)
def test_kinks_and_poles(row, point, want):
    values = leaves(row, point)
    for i, (slope, w) in enumerate(zip(slopes(OPS[row.op], values), want, strict=True)):
        if w is not None:
            assert close(number(slope), w), (i, number(slope))


BAD = [(row, *case) for row in ROWS for case in row.bad]


@pytest.mark.parametrize(
    ("row", "operands", "words"), BAD, ids=lambda x: x.op if hasattr(x, "op") else ""
)
def test_refusals(row, operands, words):
    with pytest.raises(GradgenError, match=words):
        apply(OPS[row.op], *map(Value, operands))


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
    assert x.astype(np.float32) is x
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
    with pytest.raises(GradgenError, match="truth values"):
        np.bitwise_and(x, 1)
    with pytest.raises(GradgenError, match="three times"):
        slopes(OPS["tetragamma"], [Value(2.0)])


def test_scipy_functions_are_known_by_name():
    special = pytest.importorskip("scipy.special")
    lookup = gradgen.ops.special.lookup_foreign
    x = 0.3
    for name in gradgen.ops.special.foreign_names():
        ufunc = getattr(special, name)
        args = (x, 0.7)[: ufunc.nin]
        got = lookup(ufunc)(*map(Value, args))
        assert got.data == pytest.approx(float(ufunc(*args)), rel=2e-15), name
    assert lookup(np.exp) is None and lookup(special.jv) is None and lookup(len) is None
