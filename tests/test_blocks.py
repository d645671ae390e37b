"""Sparse Jacobians by blocks, at places known at run time and of symbolic sizes: against dense ones and against differences."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradgen as gg

RNG = np.random.default_rng(7)


# -- programs whose items read a few items of their first argument (or arguments)
def seen_by(camera, point, seen):
    """What a camera of seven numbers sees of a point, less what it should: rotation by a small angle, centre, focal length."""
    r, c = camera[:3], point - camera[3:6]
    local = c + np.cross(r, c)
    p = local[:2] / (3.0 + local[2] ** 2)
    return camera[6] * p * (1.0 + 0.1 * (p @ p)) - seen


def gathered_outside(cams, points, i, j, seen):
    return gg.vmap(seen_by)(cams[i], points[j], seen)


def gathered_inside(cams, points, i, j, seen):
    return gg.vmap(lambda i, j, s: seen_by(cams[i], points[j], s))(i, j, seen)


def whole_arrays(cams, points, i, j, seen):
    """The same without vmap, as NumPy programs are written."""
    r, c = cams[i, :3], points[j] - cams[i][:, 3:6]
    local = c + np.cross(r, c)
    p = local[:, :2] / (3.0 + local[:, 2:] ** 2)
    return cams[i, 6][:, None] * p * (1.0 + 0.1 * np.sum(p * p, axis=1)[:, None]) - seen


def in_columns(cams, points, i, j, seen):
    """A coordinate to a row, also in the result."""
    r, c = cams.T[:3, i], points.T[:, j] - cams.T[3:6][:, i]
    local = c + np.stack([
        r[1] * c[2] - r[2] * c[1], r[2] * c[0] - r[0] * c[2], r[0] * c[1] - r[1] * c[0],
    ])  # fmt: skip
    p = local[:2] / (3.0 + local[2] ** 2)
    return cams[i, 6] * p * (1.0 + 0.1 * np.sum(p * p, axis=0)) - seen.T


def springs(x, i, j, rest):
    """Both ends from one array, and perhaps the same."""
    gap = x[i] - x[j]
    return np.sqrt(1.0 + np.sum(gap**2, axis=1)) * np.cos(x[i, 0]) - rest


def elements(x, corners):
    """Finite elements: three corners each."""
    local = x[corners]
    return local**2 * np.sum(local, axis=1, keepdims=True)


def normalised(x, i, w):
    """Gathered of what is computed of the argument."""
    unit = x / np.sqrt(1.0 + np.sum(x * x, axis=1))[:, None]
    return w[:, None] * unit[i] @ np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]])


def calibrated(x, k, i):
    """A matrix that all items share."""
    return np.tanh(x[i] @ k.T) + k[0]


def packed(x, n, i, j, rest):
    """All unknowns in one vector, as optimisers want them: points, and one number for each spring."""
    points, slack = x[: 3 * n].reshape(n, 3), x[3 * n :]
    gap = points[i] - points[j]
    return np.concatenate([np.sum(gap**2, axis=1) * slack - rest, 0.5 * slack])


def branching(x, i, w):
    def item(k, w):
        v = x[k]
        return gg.cond(v[0] > 0.0, lambda v: v[0] * v[1] * w, lambda v: np.sin(v[1]) - v[2], v)

    return gg.vmap(item)(i, w)


def looping(x, i):
    """A loop over the parts of each item."""
    return gg.map(lambda k: gg.scan(lambda c, v: (np.sin(c) + v, c * v), 0.5, x[k])[1], i)


def assigned(x, i, w):
    out = np.zeros((i.shape[0], 4))
    out[:, 0] = w
    out[:, 1:3] = x[i, :2] ** 2
    out[:, 3] += x[i, 2] * out[:, 1]
    return out


def turned(x, i, rot):
    """Products of a batch of matrices."""
    return (rot @ x[i][:, :, None])[:, :, 0] * np.sum(rot @ np.array([1.0, 2.0, 3.0]), axis=1)[
        :, None
    ]


def anchored(x, i):
    return (x[i] - x[0]) * x[-1]


def chain(x):
    return np.exp(x[1:]) * x[:-1]


def chain_of_computed(x):
    u = np.sin(x)
    return (u[2:] - u[:-2]) * u[1:-1] + 2.0 * x[2:]


def mirrored(x):
    return x * x[::-1]


def every_other(x):
    return x[::2] * np.cos(x[::2])


def cells(x, n):
    """Rows of a matrix that is a vector's."""
    y = np.exp(x).reshape(n, 3)
    return y[:, 0] * np.prod(y, axis=1)


N, M, P = 4, 5, 9
I, J = RNG.integers(-N, N, P), RNG.integers(-M, M, P)
CAMERAS, POINTS, SEEN = RNG.normal(size=(N, 7)), RNG.normal(size=(M, 3)), RNG.normal(size=(P, 2))
X, W, K = RNG.normal(size=(N, 3)), RNG.uniform(1.0, 2.0, P), RNG.normal(size=(3, 3))
VIEWS = {"cams": "f64[n,7]", "points": "f64[m,3]", "i": "i64[p] < n", "j": "i64[p] < m", "seen": "f64[p,2]"}  # fmt: skip
OF_X = {"x": "f64[n,3]", "i": "i64[p] < n"}
SEQUENCE = {"x": "f64[n]"}
# function, specs, arguments, wrt, entries of each row (of the first argument)
PROGRAMS = [
    (gathered_outside, VIEWS, (CAMERAS, POINTS, I, J, SEEN), ("cams", "points"), 7),
    (gathered_inside, VIEWS, (CAMERAS, POINTS, I, J, SEEN), ("cams", "points"), 7),
    (whole_arrays, VIEWS, (CAMERAS, POINTS, I, J, SEEN), ("cams", "points"), None),
    (in_columns, VIEWS, (CAMERAS, POINTS, I, J, SEEN), ("points", "cams"), 3),
    (springs, {**OF_X, "j": "i64[p] < n", "rest": "f64[p]"}, (X, I, I[::-1].copy(), W), "x", None),
    (elements, {"x": "f64[n]", "corners": "i64[e,3] < n"}, (X[:, 0], RNG.integers(0, N, (6, 3))), "x", 3),
    (normalised, {**OF_X, "w": "f64[p]"}, (X, I, W), "x", 3),
    (calibrated, {"x": "f64[n,3]", "k": "f64[3,3]", "i": "i64[p] < n"}, (X, K, I), ("k", "x"), None),
    (packed, {"x": "f64[3*n+p]", "n": "size", "i": "i64[p] < n", "j": "i64[p] < n", "rest": "f64[p]"},
     (RNG.normal(size=3 * N + P), N, I, (I + 1) % N, W), "x", None),
    (branching, {**OF_X, "w": "f64[p]"}, (X, I, W), "x", 3),
    (looping, OF_X, (X, I), "x", 3),
    (assigned, {**OF_X, "w": "f64[p]"}, (X, I, W), "x", None),
    (turned, {**OF_X, "rot": "f64[p,3,3]"}, (X, I, RNG.normal(size=(P, 3, 3))), "x", 3),
    (anchored, OF_X, (X, I), "x", 9),
    (chain, SEQUENCE, (X.ravel(),), "x", 2),
    (chain_of_computed, SEQUENCE, (X.ravel(),), "x", None),
    (mirrored, SEQUENCE, (X.ravel(),), "x", 2),
    (every_other, SEQUENCE, (X.ravel(),), "x", 1),
    (cells, {"x": "f64[3*n]", "n": "size"}, (X.ravel(), N), "x", 3),
]  # fmt: skip


def matrices(found):
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize(
    ("f", "specs", "args", "wrt", "width"), PROGRAMS, ids=lambda v: getattr(v, "__name__", "")
)
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_against_the_dense_derivative(f, specs, args, wrt, width, target):
    dense = matrices(gg.jacobian(f, wrt)(*args))
    for format in ("coo", "csr", "csc"):
        fn = gg.compile(gg.jacobian(f, wrt, sparse=format), **specs, target=target)
        for found, exact in zip(matrices(fn(*args)), dense, strict=True):
            matrix = exact.reshape(found.shape)
            np.testing.assert_allclose(found.toarray(), matrix, rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(found.to_scipy().toarray(), matrix, rtol=1e-11, atol=1e-13)
            if width is not None and exact is dense[0]:
                assert found.nnz == width * found.shape[0]


def differences(f, args, k):
    """The derivative by argument k by central differences of two steps, extrapolated (Richardson)."""

    def slope(h):
        columns = []
        for n in np.ndindex(args[k].shape):
            step = np.zeros_like(args[k])
            step[n] = h
            ends = [f(*args[:k], args[k] + s * step, *args[k + 1 :]) for s in (1.0, -1.0)]
            columns.append((np.ravel(ends[0]) - np.ravel(ends[1])) / (2.0 * h))
        return np.stack(columns, axis=1)

    return (4.0 * slope(5e-4) - slope(1e-3)) / 3.0


@pytest.mark.parametrize(
    ("f", "specs", "args", "wrt", "width"), PROGRAMS, ids=lambda v: getattr(v, "__name__", "")
)
def test_against_numbers_that_know_no_rules(f, specs, args, wrt, width):
    names = list(specs)
    run = gg.compile(f, **specs)
    found = matrices(gg.compile(gg.jacobian(f, wrt, sparse="csr"), **specs)(*args))
    for matrix, name in zip(found, (wrt,) if isinstance(wrt, str) else wrt, strict=True):
        exact = differences(run, args, names.index(name))
        np.testing.assert_allclose(matrix.toarray(), exact, rtol=1e-8, atol=1e-8)


# -- the text
def statements(fn):
    """The lines of the function itself."""
    start = re.search(rf"^(def|int) {fn.name}\(", fn.source, re.M).start()
    stop = re.search(r"^(def _|#if defined\(\w+SELFTEST)|\Z", fn.source[start:], re.M).start()
    return fn.source[start : start + stop].strip().splitlines()


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_source_does_not_depend_on_the_number_of_items(target):
    """Nor do sizes that are known make tables of it."""

    def lines(p):
        sizes = {"n": 50, "m": 400, "p": p}
        known = {
            name: re.sub(r"\b[nmp]\b", lambda letter: str(sizes[letter[0]]), spec)
            for name, spec in VIEWS.items()
        }
        derive = gg.jacobian(gathered_outside, ("cams", "points"), sparse="csr")
        return statements(gg.compile(derive, **(known if p else VIEWS), target=target))

    assert len(lines(1000)) == len(lines(9000))
    assert len(lines(0)) < 150


def test_one_map_and_one_primal_for_all_arguments():
    derive = gg.jacobian(gathered_outside, ("cams", "points"), sparse=True)
    text = "\n".join(statements(gg.compile(derive, **VIEWS)))
    assert text.count("cams[i]") == text.count("points[j]") == 1
    assert "for " not in text
    assert text.index("# forward") < text.index("# reverse") < text.index("# rows and columns")
    c = gg.compile(derive, **VIEWS, target="c")
    loops = re.findall(r"^    for .*< p;.*\n +(\w+)", "\n".join(statements(c)), re.M)
    assert loops[:2] == ["if", "if"] and len(loops) == 3  # places are checked, then it is one loop


def test_what_items_gather_lies_side_by_side_for_mathematics_in_c():
    """A block's gathered points go into an array that has the first coordinates of all rows, then the second ones."""

    def f(x, i):
        return gg.map(lambda v: np.sin(v[0] * v[1]) * np.exp(v[2]), x[i])

    fn = gg.compile(gg.jacobian(f, sparse=True), **OF_X, target="c")
    text = "\n".join(statements(fn))
    assert re.search(r"\[k \* \d+ \+ j\w*\] = x\[", text), text
    assert text.count("_INDEX") == 1  # places are checked once, before the loop
    many = RNG.integers(-N, N, 200)
    np.testing.assert_allclose(
        fn(X, many).toarray(), gg.jacobian(f)(X, many).reshape(200, -1), rtol=1e-12, atol=1e-14
    )


def test_standalone_files_say_where_entries_are():
    fn = gg.compile(gg.jacobian(chain, sparse="csr"), x="f64[n]")
    space: dict = {}
    exec(fn.source, space)
    found = space["chain_jac"](np.arange(1.0, 5.0))
    assert sorted(found) == ["data", "indices", "indptr", "shape"]
    assert found["indptr"].tolist() == [0, 2, 4, 6] and found["shape"].tolist() == [3, 4]
    assert sorted(zip(np.repeat([0, 1, 2], 2), found["indices"], strict=True)) == [
        (0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3),
    ]  # fmt: skip


# -- several arguments, results and levels
def test_structures_of_arguments_and_results():
    """The result mirrors the function's, each leaf a structure of matrices like wrt."""

    def f(params, i, w):
        pulled = params["x"][i] * w[:, None]
        return {"pull": pulled, "prior": 0.1 * params["x"], "weights": w**2}

    params = {"x": X}
    specs = {"params": {"x": "f64[n,3]"}, "i": "i64[p] < n", "w": "f64[p]"}
    dense = gg.jacobian(f, ("params", "w"))(params, I, W)
    for target in ("numpy", "c"):
        fn = gg.compile(gg.jacobian(f, ("params", "w"), sparse="csr"), **specs, target=target)
        found = fn(params, I, W)
        assert sorted(found) == ["prior", "pull", "weights"]
        for name, (by_params, by_w) in found.items():
            for matrix, exact in ((by_params["x"], dense[name][0]["x"]), (by_w, dense[name][1])):
                np.testing.assert_allclose(
                    matrix.toarray(), exact.reshape(matrix.shape), rtol=1e-12
                )
        assert found["prior"][1].nnz == found["weights"][0]["x"].nnz == 0


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_several_arguments_of_known_sizes(target):
    """With places that are known, each matrix has the pattern of its own."""

    def f(x, y):
        return x[1:] * y[:-1] + np.sin(y[1:])

    x, y = X[:, 0], X[:, 1]
    dense = gg.jacobian(f, (0, 1))(x, y)
    found = gg.compile(gg.jacobian(f, (0, 1), sparse="csr"), "f64[4]", "f64[4]", target=target)(
        x, y
    )
    assert isinstance(found, tuple) and [m.nnz for m in found] == [3, 6]
    for matrix, exact in zip(found, dense, strict=True):
        np.testing.assert_allclose(matrix.toarray(), exact, rtol=1e-12)

    def energy(x, y):
        return np.sum(np.exp(x[1:] * y[:-1])) + np.sum(y**3)

    whole = gg.hessian(energy, (0, 1))(x, y)
    found = gg.compile(gg.hessian(energy, (0, 1), sparse=True), "f64[4]", "f64[4]", target=target)(
        x, y
    )
    for row, exact_row in zip(found, whole, strict=True):
        for matrix, exact in zip(row, exact_row, strict=True):
            np.testing.assert_allclose(matrix.toarray(), exact, rtol=1e-12)
            assert matrix.nnz < 9


def test_inside_a_traced_function():
    def squares(x, i, j, rest):
        return np.sum(gg.jacobian(springs, sparse="csr")(x, i, j, rest).toarray() ** 2)

    def exact(x, i, j, rest):
        return np.sum(gg.jacobian(springs)(x, i, j, rest) ** 2)

    specs = {**OF_X, "j": "i64[p] < n", "rest": "f64[p]"}
    args = X, I, (I + 2) % N, W
    found = gg.compile(gg.grad(squares), **specs)(*args)
    np.testing.assert_allclose(found, gg.grad(exact)(*args), rtol=1e-10)
    np.testing.assert_allclose(gg.jacobian(springs, sparse=True)(*args).toarray(),
                               gg.jacobian(springs)(*args).reshape(P, -1), rtol=1e-12)  # fmt: skip


# -- entries
def test_entries_at_one_place_add_up():
    """Where both ends are one point, its columns come twice."""
    i = np.array([0, 1, 2, -1])
    specs = {**OF_X, "j": "i64[p] < n", "rest": "f64[p]"}
    for target in ("numpy", "c"):
        fn = gg.compile(gg.jacobian(springs, sparse=True), **specs, target=target)
        found = fn(X, i, i, W[:4])
        exact = gg.jacobian(springs)(X, i, i, W[:4]).reshape(4, -1)
        np.testing.assert_allclose(found.toarray(), exact, rtol=1e-12)
        np.testing.assert_allclose(found.to_scipy().toarray(), exact, rtol=1e-12)
        assert found.nnz > np.count_nonzero(exact)
        assert sorted(set(found.col.tolist())) == list(range(12))  # -1 is the last


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("format", ["coo", "csr", "csc"])
def test_no_items(format, target):
    fn = gg.compile(gg.jacobian(gathered_outside, (0, 1), sparse=format), **VIEWS, target=target)
    none = np.zeros(0, np.int64)
    for matrix, columns in zip(
        fn(CAMERAS, POINTS, none, none, SEEN[:0]), (7 * N, 3 * M), strict=True
    ):
        assert matrix.shape == (0, columns) and matrix.nnz == 0
        assert matrix.to_scipy().toarray().shape == matrix.shape
    short = gg.compile(gg.jacobian(chain, sparse=format), **SEQUENCE, target=target)
    for n in (0, 1, 2):
        assert short(np.ones(n)).shape == (max(n - 1, 0), n)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_single_precision_and_bad_places(target):
    specs = {name: spec.replace("f64", "f32") for name, spec in VIEWS.items()}
    args = [
        a.astype(np.float32) if a.dtype == np.float64 else a for a in (CAMERAS, POINTS, I, J, SEEN)
    ]
    fn = gg.compile(gg.jacobian(whole_arrays, (0, 1), sparse="csr"), **specs, target=target)
    exact = gg.jacobian(whole_arrays, (0, 1))(CAMERAS, POINTS, I, J, SEEN)
    for matrix, dense in zip(fn(*args), exact, strict=True):
        assert matrix.data.dtype == np.float32
        np.testing.assert_allclose(
            matrix.toarray(), dense.reshape(matrix.shape), rtol=1e-4, atol=1e-5
        )
    with pytest.raises(IndexError):
        fn(args[0], args[1], np.full(P, N), J, args[4])


def test_known_places_keep_their_fixed_pattern():
    """Places that are known at trace time are no results of the code."""
    fn = gg.compile(gg.jacobian(lambda x: np.sin(x[np.array([2, 0, 0])]), sparse="csr"), x="f64[4]")
    found = fn(X[:, 0])
    assert "indices" not in fn.source and found.indices.tolist() == [2, 0, 0]


# -- diagonals of symbolic length
def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def beam(x):
    bending = x[2:] - 2.0 * x[1:-1] + x[:-2]
    return np.sum(bending**2 * np.exp(x[1:-1])) + np.sum(x**4)


def forces(x):
    """A gradient: of a chain in which every second element meets."""
    return gg.grad(lambda x: np.sum(x[2:] ** 2 * np.sin(x[:-2])))(x)


@pytest.mark.parametrize("f", [rosenbrock, beam, forces])
@pytest.mark.parametrize("format", ["coo", "csr", "csc"])
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_diagonals_of_symbolic_length(f, format, target):
    derive = gg.jacobian if f is forces else gg.hessian
    fn = gg.compile(derive(f, sparse=format), x="f64[n]", target=target)
    least = {rosenbrock: 2, beam: 4, forces: 4}[f]  # lines that some diagonal does not reach
    for n in (least, least + 1, 9):
        x = X.ravel()[:n]
        found, exact = fn(x), derive(f)(x)
        np.testing.assert_allclose(found.toarray(), exact, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(found.to_scipy().toarray(), exact, rtol=1e-11, atol=1e-13)
        assert format == "coo" or found.to_scipy().has_canonical_format
        known = gg.compile(derive(f, sparse=format), x=f"f64[{n}]", target=target)(x)
        np.testing.assert_array_equal(found.row, known.row)
        np.testing.assert_array_equal(found.col, known.col)
    with pytest.raises(ValueError, match=f"needs n >= {least}"):
        fn(np.ones(least - 1))


@pytest.mark.parametrize("part", ["lower", "upper"])
def test_a_triangle_of_symbolic_length(part):
    x = X.ravel()
    for f in (rosenbrock, beam):
        found = gg.compile(gg.hessian(f, sparse="csr", part=part), x="f64[n]")(x)
        np.testing.assert_allclose(found.toarray(), gg.hessian(f, part=part)(x), rtol=1e-11)
    found = gg.compile(gg.hessian(lambda x: np.sum(x**3), sparse=True), x="f64[n]", target="c")(x)
    np.testing.assert_allclose(found.toarray(), np.diag(6.0 * x))


# -- real programs
def test_the_bundle_adjustment_of_the_examples():
    """The blocks are those of the dense form, observation by observation."""
    from examples.programs import bundle_adjustment as ba

    cams, points, _ = ba.scene(8, np.random.default_rng(1))
    i, j = RNG.integers(0, 8, 70), RNG.integers(0, 8, 70)
    weights, seen = RNG.uniform(0.5, 2.0, 70), RNG.normal(size=(70, 2))
    _, dense = ba.compiled_batch()(cams[i], points[j], weights, seen)
    for target in ("numpy", "c"):
        found = ba.compiled_sparse(target)(cams, points, weights, i, j, seen)
        data = [m.data.reshape(70, 2, -1) for m in found]
        np.testing.assert_allclose(
            np.concatenate(data, axis=2), dense[:, :, :14], rtol=1e-9, atol=1e-9
        )
        np.testing.assert_array_equal(found[0].indices.reshape(70, 2, 11)[:, 0, 0], 11 * i)
        np.testing.assert_array_equal(found[1].indices.reshape(70, 2, 3)[:, 1, 2], 3 * j + 2)


def test_the_bundle_adjustment_of_gradbench():
    """Two results, one of which depends on the weights alone; all unknowns apart."""
    from examples.gradbench import ba

    specs = dict(ba.SPECS)
    args = [RNG.normal(size=s) for s in ((6, 11), (6, 3), (6,), (6, 2))]
    reprojection, weights = gg.compile(
        gg.jacobian(ba.errors, ("cam", "x", "w"), sparse=True), **specs, target="c"
    )(*args)
    blocks = ba.blocks(*args)
    data = np.concatenate([m.data.reshape(6, 2, -1) for m in reprojection], axis=2)
    np.testing.assert_allclose(data, blocks, rtol=1e-10, atol=1e-10)
    assert [m.nnz for m in weights] == [0, 0, 6]
    np.testing.assert_allclose(weights[2].data, -2.0 * args[2])


# -- what is refused
@pytest.mark.parametrize(("f", "words"), [
    (lambda x: x * np.sum(x), ["x", "size n", r"sum", "Give n a number"]),
    (lambda x: np.cumsum(x) ** 2, ["cumsum", "dense derivative"]),
    (lambda x: gg.scan(lambda c, v: (c * v, c + v), 1.0, x)[1], ["scan", "mixes"]),
])  # fmt: skip
def test_refusals_name_the_argument_the_size_and_the_remedy(f, words):
    with pytest.raises(gg.UnsupportedError) as caught:
        gg.compile(gg.jacobian(f, sparse=True), x="f64[n]")
    for word in words:
        assert re.search(word, str(caught.value)), (word, str(caught.value))
    found = gg.compile(gg.jacobian(f, sparse=True), x="f64[5]")(np.arange(1.0, 6.0))  # the remedy
    np.testing.assert_allclose(found.toarray(), gg.jacobian(f)(np.arange(1.0, 6.0)), rtol=1e-12)


def test_one_triangle_is_of_one_argument():
    with pytest.raises(gg.ShapeError, match="one argument"):
        gg.hessian(lambda x, y: np.sum(x * y), (0, 1), sparse=True, part="lower")(X[0], X[1])


# -- random programs
STEPS = [
    lambda u, v, x, i, w: u * v,
    lambda u, v, x, i, w: np.where(u > v, u, v * w[:, None]),
    lambda u, v, x, i, w: u[:, ::-1] * np.sum(v * v, axis=1, keepdims=True),
    lambda u, v, x, i, w: np.concatenate([u[:, 1:], v[:, :1]], axis=1),
    lambda u, v, x, i, w: np.stack([u[:, 0] * v[:, 1], w, v[:, 2]], axis=1),
    lambda u, v, x, i, w: np.cross(u, v) + (u.T * w).T,
    lambda u, v, x, i, w: np.stack([u, v], axis=2) @ np.array([1.0, -2.0]),
    lambda u, v, x, i, w: gg.vmap(lambda a, b: a * (a @ b) + np.exp(-b * b))(u, v),
    lambda u, v, x, i, w: gg.vmap(lambda k, b: x[k] * b[::-1])(i, v),
    lambda u, v, x, i, w: (u[:, :, None] * v[:, None, :]).reshape(u.shape[0], 9)[:, 2:5],
    lambda u, v, x, i, w: u @ K + x[-1] * v,
]
ENDS = [
    lambda v: v,
    lambda v: v.T,
    lambda v: v.ravel(),
    lambda v: v[:, 1],
    lambda v: np.concatenate([v, 2.0 * v]),
    lambda v: np.stack([v[:, 0], v[:, 2]]),
]


@given(
    st.lists(st.tuples(st.integers(0, len(STEPS) - 1), *[st.integers(0, 9)] * 2), max_size=4),
    st.integers(0, len(ENDS) - 1),
    st.sampled_from(["coo", "csr", "csc"]),
)
@settings(max_examples=25, deadline=None)
def test_any_program_of_items(steps, end, format):
    """Sizes known or not, places at run time."""

    def f(x, i, corners, w):
        found = [x[i], np.sin(x)[i[::-1]], x[corners].sum(axis=1), np.tanh(x @ K)[i], x[i] + x[0]]
        for k, a, b in steps:
            found.append(STEPS[k](found[a % len(found)], found[b % len(found)], x, i, w))
        return ENDS[end](found[-1])

    args = X, I, RNG.integers(-N, N, (P, 2)), W
    exact = gg.jacobian(f)(*args)
    symbolic = {**OF_X, "corners": "i64[p,2] < n", "w": "f64[p]"}
    known = {
        "x": f"f64[{N},3]",
        "i": f"i64[{P}] < {N}",
        "corners": f"i64[{P},2] < {N}",
        "w": f"f64[{P}]",
    }
    for specs in (symbolic, known):
        found = gg.compile(gg.jacobian(f, sparse=format), **specs)(*args)
        np.testing.assert_allclose(
            found.toarray(), exact.reshape(found.shape), rtol=1e-9, atol=1e-10
        )
