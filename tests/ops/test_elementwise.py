"""Every elementwise op against mpmath: value, slopes, second derivatives, tangents, broadcasting, float32, kinks, refusals."""

import dataclasses
import zlib

import mpmath as mp
import numpy as np
import pytest
from ops.elementwise_rows import BY_NAME, ROWS

from gradgen.cotangents import cotangent
from gradgen.differentiate.forward import tangent
from gradgen.errors import GradgenError
from gradgen.ir import CONST, OPS
from gradgen.value import Value, apply, constant

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
    elsewhere = {"cast", "stop_gradient", "barrier"}  # test_cast, test_regions
    assert {name for name, op in OPS.items() if op.elementwise} - elsewhere == set(BY_NAME)


@ROW
def test_value(row):
    op = OPS[row.op]
    for point in points(row):
        got = op.evaluate(*point)
        if row.exact is None:
            assert got == getattr(np, row.op, op.evaluate)(*point)
        else:
            assert close(mp.mpf(float(got)), exact_slope(row, point, unit(row)), row.rel), point


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


def check_tangents(row, op):
    """At kinks too, where the slopes are finite."""
    rng = np.random.default_rng(1)
    kinks = [
        point for point, want in row.special if None not in want and all(map(mp.isfinite, want))
    ]
    for point in (*points(row, 4), *kinks):
        values = leaves(row, point)
        y = apply(op, *values)
        dots = {v: Value(rng.normal()) for v in values if v.op is not CONST}
        y_dot = tangent(y, dots)
        pulled = sum(
            number(x_bar) * dots[v].data
            for v, x_bar in zip(values, slopes(op, values), strict=True)
            if v.op is not CONST
        )
        assert close(number(y_dot), pulled, 1e-12) or abs(number(y_dot) - pulled) < 1e-12


@SMOOTH
def test_tangents_are_adjoint_to_cotangents(row):
    check_tangents(row, OPS[row.op])


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
        np.full(s, d[0]) if isinstance(d, list) else rng.uniform(*d, size=s)
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
    if any(isinstance(d, list) for d in row.domains):
        return  # an operand without a slope
    lo = max(d[0] for d in row.domains)
    hi = min(d[1] for d in row.domains)
    x = Value((lo + hi) / 2)
    apply(OPS[row.op], x, x).backward()
    with mp.workdps(40):
        want = mp.diff(lambda t: row.exact(t, t), mp.mpf(x.data))
    assert abs(x.grad - want) < 1e-12 * (1 + abs(want))


@pytest.mark.parametrize("row", [r for r in ROWS if not r.only_ints], ids=lambda row: row.op)
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
    check_kink(row, OPS[row.op], point, want)


def check_kink(row, op, point, want):
    values = leaves(row, point)
    for i, (slope, w) in enumerate(zip(slopes(op, values), want, strict=True)):
        if w is not None:
            assert close(number(slope), w), (i, number(slope))


BAD = [(row, *case) for row in ROWS for case in row.bad]


@pytest.mark.parametrize(
    ("row", "operands", "words"), BAD, ids=lambda x: x.op if hasattr(x, "op") else ""
)
def test_refusals(row, operands, words):
    with pytest.raises(GradgenError, match=words):
        apply(OPS[row.op], *map(Value, operands))
