"""Every array op and NumPy function of the surface, row by row (array_rows.py), in every mode and target.

value          the interpreted engine and every target give NumPy's numbers, dtypes and shapes
derivatives    vjp against Richardson's along a random direction; jvp against vjp, to rounding; second order both ways
sizes          0 and 1 as NumPy has them, static and symbolic; inputs that are not contiguous
rules          wrong by a thousandth must fail; every array op has a row
"""

from __future__ import annotations

import itertools
import re
import warnings
import zlib

import numpy as np
import pytest
from compilers import C
from ops.array_rows import BAD, ROWS
from scipy import special

import gradgen as gg
from gradgen.ir import LEAVES, OPS
from gradgen.passes.scalarise import LINALG


def params(rows, waiting=None):
    """Rows as parameters; `waiting` marks those that wait for a fix elsewhere."""
    return [pytest.param(r, id=r.name, marks=(waiting or {}).get(r.name, ())) for r in rows]


ROW = pytest.mark.parametrize("row", params(ROWS))
DTYPE = {"f64": np.float64, "f32": np.float32, "i64": np.int64, "bool": np.bool_}
# Loops, branches and the directions of Jacobians have their own tests: tests/test_regions.py, tests/test_jacobians.py.
REGIONS = {"item", "eye"} | {name for name, op in OPS.items() if op.regions}
ARRAY_OPS = {name for name, op in OPS.items() if not op.elementwise and op not in LEAVES} - REGIONS
ARRAY_OPS -= LINALG  # rows of their own: function_rows, test_linalg


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


# -- samples
def parsed(spec):
    """dtype, dimensions, bound of `i64[k] < n`."""
    dtype, dims, bound = re.fullmatch(r"(\w+)\[(.*?)\](?: < (\w+))?", spec).groups()
    return dtype, [d for d in dims.split(",") if d], bound


def number_of(dim, sizes):
    return int(dim) if dim.isdigit() else sizes[dim]


def static(spec, sizes):
    """The spec with its letters replaced by numbers."""
    dtype, dims, bound = parsed(spec)
    text = f"{dtype}[{','.join(str(number_of(d, sizes)) for d in dims)}]"
    return text if bound is None else f"{text} < {number_of(bound, sizes)}"


def sample(row, sizes=None, seed=0):
    """Arguments of the row; indices may be negative and repeat. None where no index fits (an axis of length 0)."""
    sizes = sizes or row.sizes
    rng = np.random.default_rng(zlib.crc32(row.name.encode()) + seed)
    shapes = [[number_of(d, sizes) for d in parsed(spec)[1]] for spec in row.specs]
    total = sum(int(np.prod(shape)) for shape in shapes)
    # A shuffled grid: no two numbers are so close that a difference quotient steps over a tie.
    grid = row.lo + (row.hi - row.lo) * (rng.permutation(total) + 0.5) / max(1, total)
    args = []
    for spec in row.specs:
        dtype, dims, bound = parsed(spec)
        shape = tuple(number_of(d, sizes) for d in dims)
        if dtype == "bool":
            args.append(rng.random(shape) < 0.5)
        elif bound is not None:
            top = number_of(bound, sizes)
            if not top and np.prod(shape):
                return None
            args.append(rng.integers(-top, top, shape) if top else np.zeros(shape, np.int64))
        else:
            count = int(np.prod(shape))
            args.append(grid[:count].reshape(shape).astype(DTYPE[dtype]))
            grid = grid[count:]
    return [a if np.ndim(a) else a[()] for a in map(np.asarray, args)]


def floats(row):
    return tuple(k for k, spec in enumerate(row.specs) if spec.startswith("f"))


def f32(row):
    return [spec.replace("f64", "f32") for spec in row.specs]


def with_parts(args, where, parts):
    out = list(args)
    for k, part in zip(where, parts, strict=True):
        out[k] = part
    return out


def directions(args, where, rng):
    return tuple(
        np.asarray(rng.uniform(-1, 1, np.shape(args[k])), np.asarray(args[k]).dtype) for k in where
    )


def dot(a, b):
    return sum(float(np.sum(np.asarray(x) * np.asarray(y))) for x, y in zip(a, b, strict=True))


def richardson(f, h=2e-3, levels=3):
    """d f / d t at t = 0, from central differences at h, h/2, ...; f may return arrays."""
    rows = [
        (np.asarray(f(s)) - np.asarray(f(-s))) / (2 * s) for s in (h / 2**k for k in range(levels))
    ]
    for order in range(1, levels):
        rows = [(4**order * b - a) / (4**order - 1) for a, b in itertools.pairwise(rows)]
    return rows[0]


def moved(args, where, parts, t):
    return with_parts(args, where, [args[k] + t * p for k, p in zip(where, parts, strict=True)])


def loss_and_value(y):
    """A loss whose cotangent differs from element to element, and the value beside it."""
    return np.sum(0.5 * y * y + y), y


def packed(f, count):
    """f's parameters, returning (loss, value)."""
    if count == 1:
        return lambda a: loss_and_value(f(a))
    if count == 2:
        return lambda a, b: loss_and_value(f(a, b))
    return lambda a, b, c: loss_and_value(f(a, b, c))


def loss(f, count):
    if count == 1:
        return lambda a: loss_and_value(f(a))[0]
    if count == 2:
        return lambda a, b: loss_and_value(f(a, b))[0]
    return lambda a, b, c: loss_and_value(f(a, b, c))[0]


def same(got, want, rtol=1e-12, atol=1e-13):
    """Equal dtype, shape and, up to rounding, numbers."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


# -- the interpreted engine against plain NumPy and plain numbers
def check_vjp(row):
    args, where = sample(row), floats(row)
    rng = np.random.default_rng(1)
    y = np.asarray(row.f(*args))
    y_bar = np.asarray(rng.normal(size=y.shape))
    value, bars = gg.vjp(row.f, where)(*args, y_bar)
    same(value, y, 1e-14)
    dots = directions(args, where, rng)
    for k, bar in zip(where, bars, strict=True):
        assert np.shape(bar) == np.shape(args[k])
    numeric = richardson(lambda t: row.f(*moved(args, where, dots, t)))
    assert dot(bars, dots) == pytest.approx(dot([y_bar], [numeric]), rel=1e-7, abs=1e-9)
    return args, where, dots, y_bar, bars, numeric


@ROW
def test_value_and_vjp(row):
    check_vjp(row)


@ROW
def test_jvp_is_the_adjoint_of_vjp(row):
    args, where, dots, y_bar, bars, numeric = check_vjp(row)
    value, y_dot = gg.jvp(row.f, where)(*args, dots)
    same(value, row.f(*args), 1e-14)
    same(y_dot, np.asarray(numeric), 1e-6, 1e-8)
    assert dot([y_bar], [y_dot]) == pytest.approx(dot(bars, dots), rel=1e-12, abs=1e-13)


@ROW
def test_second_order(row):
    args, where = sample(row), floats(row)
    f = loss(row.f, len(args))
    v = directions(args, where, np.random.default_rng(2))
    forward_over_reverse = gg.hvp(f, where)(*args, v)
    gradient = gg.grad(f, where)
    for k in range(len(where)):
        numeric = richardson(lambda t, k=k: gradient(*moved(args, where, v, t))[k])
        np.testing.assert_allclose(forward_over_reverse[k], numeric, rtol=1e-6, atol=1e-7)
    _, reverse_over_reverse = gg.vjp(gradient, where)(*args, v)
    for a, b in zip(forward_over_reverse, reverse_over_reverse, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@ROW
def test_float32_stays_float32(row):
    args = [a.astype(np.float32) if np.asarray(a).dtype.kind == "f" else a for a in sample(row)]
    where = floats(row)
    y, bars = gg.vjp(row.f, where)(*args, np.ones_like(row.f(*sample(row))))
    assert np.asarray(y).dtype == (np.float64 if row.wide else np.float32)
    np.testing.assert_allclose(y, row.f(*sample(row)), rtol=1e-4)
    for k, bar in zip(where, bars, strict=True):
        assert np.asarray(bar).dtype == np.float32
        assert np.shape(bar) == np.shape(args[k])


# -- the targets
def compiled(row, specs, target, name):
    f = gg.value_and_grad(packed(row.f, len(row.specs)), wrt=floats(row), aux=True)
    fn = gg.compile(f, *specs, target=target, name=name, options={"verify": True})
    if target == "c":
        fn.build(flags=["-O1", "-std=c99"])
    return fn


def identifier(row):
    return "row_" + re.sub(r"\W", "_", row.name).strip("_")


def compare(fn, args, row, rtol=1e-12):
    """The emitted function against plain NumPy; its gradients against the interpreted engine, before and after the passes."""
    (total, value), bars = fn(*args)
    y = np.asarray(row.f(*args))
    if np.float32 in [np.asarray(a).dtype for a in args] and not row.wide:
        y = y.astype(np.float32)  # captured arrays are as weak as numbers: they do not widen
    lists = fn.target == "python"
    if lists:
        value, bars = np.asarray(value, y.dtype), [np.asarray(b) for b in bars]
    (_, _), known = fn.interpret(*args)
    _, plain = gg.value_and_grad(loss(row.f, len(args)), floats(row))(*args)
    same(np.asarray(value).reshape(y.shape), y, rtol, rtol)
    np.testing.assert_allclose(total, np.sum(0.5 * y * y + y), rtol=10 * rtol, atol=rtol)
    for k, bar, want, unoptimised in zip(floats(row), bars, known, plain, strict=True):
        if lists:
            bar = np.reshape(bar, np.shape(args[k]))
        assert np.shape(bar) == np.shape(args[k])
        assert lists or np.asarray(bar).dtype == np.asarray(args[k]).dtype
        np.testing.assert_allclose(bar, want, rtol=10 * rtol, atol=rtol)
        np.testing.assert_allclose(want, unoptimised, rtol=10 * rtol, atol=rtol)


@pytest.mark.parametrize("target", ["numpy", "python", C])
@ROW
def test_static_sizes(row, target):
    if target == "python" and any(s.startswith("i64") for s in row.specs):
        pytest.skip("the python target needs indices that are known at trace time")
    if target == "python" and row.op in ("argsort", "argmax", "argmin", "searchsorted"):
        with pytest.raises(gg.EmitError, match=r"python target has no|known at trace time"):
            compiled(row, [static(s, row.sizes) for s in row.specs], target, "refused")
        return
    specs = [static(s, row.sizes) for s in row.specs]
    fn = compiled(row, specs, target, identifier(row) + "_static")
    compare(fn, sample(row, seed=3), row)


def symbolic(row):
    return any(d.isalpha() for spec in row.specs for d in parsed(spec)[1])


def strided(x):
    """The same numbers in memory that is neither contiguous nor in C order."""
    x = np.asarray(x)
    if not x.shape:
        return x[()]
    wide = np.zeros((*(2 * n for n in x.shape[::-1]),), x.dtype).T
    view = wide[(slice(None, None, 2),) * x.ndim]
    view[...] = x
    return view


@pytest.mark.parametrize("target", ["numpy", C])
@pytest.mark.parametrize("row", params(r for r in ROWS if symbolic(r)))
def test_symbolic_sizes(row, target):
    fn = compiled(row, row.specs, target, identifier(row))
    args = sample(row, seed=3)
    compare(fn, args, row)
    compare(fn, [strided(a) for a in args], row)
    for change in (1, 2):
        compare_if_legal(fn, row, {k: n + change for k, n in row.sizes.items()})
    for tiny in (0, 1):
        compare_if_legal(fn, row, dict.fromkeys(row.sizes, tiny))
    for letter in row.sizes:
        compare_if_legal(fn, row, {**row.sizes, letter: 0})


def compare_if_legal(fn, row, sizes):
    """What NumPy refuses, the emitted function refuses; what its entry checks allow is equal."""
    args = sample(row, sizes, seed=4)
    if args is None or ((row.op == "logsumexp" or "logsumexp" in row.name) and 0 in sizes.values()):
        return  # SciPy's versions differ about the logsumexp of nothing: it has a test of its own
    try:
        row.f(*args)
    except (ValueError, IndexError) as error:
        if "cannot reshape array of size 0" in str(error):
            return  # NumPy cannot tell what -1 is among zeros; symbolic sizes can
        with pytest.raises((ValueError, IndexError)):
            fn(*args)
        return
    try:
        fn(*args)
    except gg.ShapeError:
        assert fn.ir.requires, "only an entry check may refuse what NumPy allows"
        return
    compare(fn, args, row)


@pytest.mark.parametrize("target", ["numpy", C])
@pytest.mark.parametrize("row", params(ROWS))
def test_float32_in_the_targets(row, target):
    if target == "c" and ROWS.index(row) % 3:
        pytest.skip("every third row: a compiler takes its time")
    fn = compiled(row, f32(row), target, identifier(row) + "_f32")
    args = [a.astype(np.float32) if np.asarray(a).dtype.kind == "f" else a for a in sample(row)]
    compare(fn, args, row, 2e-5)


# -- the rules
def traced_ops(row):
    fn = gg.compile(gg.grad(loss(row.f, len(row.specs)), floats(row)), *row.specs)
    return names_of(fn._stages["adjoint"]())


def names_of(fn):
    regions = [node.params[r] for node in fn.body for r in node.op.regions]
    return {node.op.name for node in fn.body}.union(*map(names_of, regions))


def test_every_array_op_has_a_row():
    found = {}
    for row in ROWS:
        if row.op and row.op not in found:
            assert row.op in traced_ops(row), row.name
            found[row.op] = row
    assert set(found) == ARRAY_OPS


def scaled(rules, factor):
    wrap = lambda rule: None if rule is None else lambda *a, **p: _times(rule(*a, **p), factor)
    return wrap(rules) if callable(rules) else tuple(map(wrap, rules))


def _times(x_bar, factor):
    return None if x_bar is None else factor * x_bar


@pytest.mark.parametrize("row", params(r for r in ROWS if r.op))
def test_a_wrong_rule_is_found(row):
    """A vjp scaled by 1.001 fails its row: at first order, or, for ops that only adjoints hold, at second."""
    op = OPS[row.op]
    rules = op.vjp
    if rules is None:
        pytest.skip("no slope")
    first = row.op not in ("slice_add", "scatter_add", "recurrence")
    object.__setattr__(op, "vjp", scaled(rules, 1.001))
    try:
        with pytest.raises(AssertionError):
            (check_vjp if first else test_second_order)(row)
    finally:
        object.__setattr__(op, "vjp", rules)


@pytest.mark.parametrize("row", params(r for r in ROWS if r.op))
def test_a_wrong_tangent_is_found(row):
    op = OPS[row.op]
    rules = op.jvp
    if rules is None or isinstance(rules, str) or all(isinstance(r, str) for r in rules):
        pytest.skip("linear, its own tangent, or without a slope")
    first = row.op != "recurrence"
    object.__setattr__(op, "jvp", scaled(rules, 1.001))
    try:
        with pytest.raises(AssertionError):
            (test_jvp_is_the_adjoint_of_vjp if first else test_second_order)(row)
    finally:
        object.__setattr__(op, "jvp", rules)


@pytest.mark.parametrize("bad", BAD, ids=lambda b: b.name)
def test_refusals(bad):
    with pytest.raises(gg.GradgenError, match=bad.words):
        gg.compile(bad.f, *bad.specs)


@pytest.mark.parametrize("target", ["numpy", C])
def test_logsumexp_of_nothing_is_minus_infinity(target):
    f = lambda x: special.logsumexp(x, axis=1)
    fn = gg.compile(gg.vjp(f), "f64[n,m]", "f64[n]", target=target)
    for y, bar in (fn(np.zeros((2, 0)), np.ones(2)), fn.interpret(np.zeros((2, 0)), np.ones(2))):
        np.testing.assert_array_equal(y, [-np.inf, -np.inf])
        assert bar.shape == (2, 0)


@pytest.mark.parametrize("target", ["numpy", C])
@pytest.mark.parametrize(
    "f", [lambda x: np.max(x, initial=0.5), lambda x: np.min(x, axis=0, initial=0.5)]
)
def test_an_extremum_of_nothing_is_what_is_given_for_it(f, target):
    fn = gg.compile(gg.value_and_grad(f), "f64[n]", target=target)
    for x in (np.zeros(0), np.array([0.25, 0.75])):
        value, bar = fn(x)
        assert value == f(x) == fn.interpret(x)[0]
        np.testing.assert_array_equal(bar, x == value)


@pytest.mark.parametrize("target", ["numpy", C])
def test_variances_of_too_few_elements_are_nan(target):
    for f in (lambda x: np.std(x, ddof=1), lambda x: np.var(x, axis=0, ddof=2)):
        fn = gg.compile(f, "f64[n]", target=target)
        for n in range(4):
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                np.testing.assert_allclose(
                    fn(np.arange(n) ** 2.0), f(np.arange(n) ** 2.0), rtol=1e-15
                )


def test_methods_that_change_an_array_in_place():
    """Unlike NumPy's functions of the same name."""

    def partitioned(x):
        out = x.copy()
        out.partition(1)
        return out[0] + 2.0 * out[2]

    fn = gg.compile(gg.value_and_grad(partitioned), "f64[3]")
    assert fn(np.array([3.0, 1.0, 2.0]))[0] == 7.0

    def resized(x):
        out = x.copy()
        out.resize(5)
        return np.sum(out)

    with pytest.raises(gg.UnsupportedError, match=r"in place(.|\n)*np\.pad"):
        gg.compile(resized, "f64[3]")


@pytest.mark.parametrize("f", [
    lambda x: np.sum(x + 1j), lambda x: np.exp(1j * x), lambda x: np.sum(x * np.array([1j, 2.0])),
])  # fmt: skip
def test_complex_numbers_are_refused_with_an_alternative(f):
    with pytest.raises(gg.UnsupportedError, match=r"complex(.|\n)*real and imaginary part apart"):
        gg.compile(f, "f64[2]")


def test_arrays_of_objects_are_refused_with_an_alternative():
    with pytest.raises(gg.UnsupportedError, match=r"objects(.|\n)*dtype=float"):
        gg.compile(lambda x: np.sum(np.array([x[0], None])), "f64[2]")
