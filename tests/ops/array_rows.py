"""One row per array function and way of writing it: plain NumPy, at which sizes, on which numbers.

Row(name, f, *specs, lo, hi, sizes, op, wide)
    f         plain NumPy; what it returns is compared with NumPy's own result and differentiated by every float argument
    specs     one per argument, as `gg.compile` takes them, with letters where the function works for any size
    lo, hi    the interval of the floats; the default keeps clear of kinks, ties and poles
    sizes     letters that differ from SIZES
    wide      float64 arrays are made inside, so that float32 arguments give float64 results, as in NumPy
    op        the array op that the row is for: it must occur in the function or its adjoint, and a rule of it that is
              wrong by a thousandth must fail here; "" where the function is made of ops that have rows of their own

Bad(name, f, specs, words): refused when it is traced, with these words in the message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from gradgen.ir import OPS
from gradgen.ops.helpers import run
from gradgen.value import Value, apply

SIZES = {"n": 4, "m": 3, "k": 2, "d": 5, "b": 2}
TABLE = np.arange(12.0).reshape(3, 4) / 7.0
TWICE = np.array([0, 2, 2, -1, 0])
SQUARE = np.array([[0, -1], [1, 1]])


def _peak(x):
    """An op that passes make, which no function of NumPy's means."""
    return apply(OPS["peak"], x, axes=(1,)) if isinstance(x, Value) else run("peak")(x, 1)


def _recurrence(a, b, reverse, lag):
    """Another: what adjoints of products run has a constant for its second operand."""
    if isinstance(a, Value):
        return apply(OPS["recurrence"], a, b, reverse=reverse, lag=lag, initial=0.0)
    return run("recurrence")(a, b, reverse, lag, 0.0)


def _einsum(a, b, text):
    """Another: of np.einsum the tracer makes products of matrices."""
    made = isinstance(a, Value) or isinstance(b, Value)
    return apply(OPS["einsum"], a, b, text=text) if made else np.einsum(text, a, b)


MASK = np.array([True, False, True, True])
MASK2 = np.array([[True, False, True], [False, True, True]])


@dataclass
class Row:
    name: str
    f: Callable[..., Any]
    specs: tuple[str, ...]
    lo: float
    hi: float
    sizes: dict[str, int]
    op: str
    wide: bool


@dataclass
class Bad:
    name: str
    f: Callable[..., Any]
    specs: tuple[str, ...]
    words: str


ROWS: list[Row] = []


def row(
    name: str,
    f: Callable[..., Any],
    *specs: str,
    lo: float = 0.41,
    hi: float = 1.6,
    op: str = "",
    wide: bool = False,
    **sizes: int,
) -> None:
    ROWS.append(Row(name, f, specs, lo, hi, {**SIZES, **sizes}, op, wide))


# -- reductions
for _function, _op in (
    (np.sum, "sum"),
    (np.mean, "sum"),
    (np.prod, "prod"),
    (np.max, "reduce_max"),
    (np.min, "reduce_min"),
    (special.logsumexp, "logsumexp"),
):
    _n = _function.__name__
    _f: Any = _function
    row(f"{_n}", lambda x, f=_f: f(x), "f64[n]", op=_op)
    row(f"{_n} scalar", lambda x, f=_f: f(x), "f64[]")
    row(f"{_n} all", lambda x, f=_f: f(x), "f64[n,m]", op=_op)
    row(f"{_n} axis=0", lambda x, f=_f: f(x, axis=0), "f64[n,m]", op=_op)
    row(f"{_n} axis=-1", lambda x, f=_f: f(x, axis=-1), "f64[n,m]", op=_op)
    row(f"{_n} axis=1 of 3", lambda x, f=_f: f(x, axis=1), "f64[n,m,k]", op=_op)
    row(f"{_n} axis=(0,2)", lambda x, f=_f: f(x, axis=(0, 2)), "f64[n,m,k]", op=_op)
    row(f"{_n} axis=(-1,0)", lambda x, f=_f: f(x, axis=(-1, 0)), "f64[n,m]", op=_op)
    row(f"{_n} axis=()", lambda x, f=_f: f(x, axis=()), "f64[n,m]")
    row(f"{_n} keepdims", lambda x, f=_f: f(x, axis=1, keepdims=True), "f64[n,m]", op=_op)
    row(f"{_n} all keepdims", lambda x, f=_f: f(x, keepdims=True), "f64[n,m]", op=_op)
    row(f"{_n} of itself", lambda x, f=_f: x * f(x, axis=0) + x, "f64[n,m]", op=_op)
row("sum method", lambda x: x.sum(0) + x.mean(axis=1).sum(), "f64[n,m]", op="sum")
row("prod method", lambda x: x.prod(axis=1, keepdims=True) * x.max() / x.min(0), "f64[n,m]")
row("mean by sizes", lambda x: np.sum(x) / x.shape[0] + np.mean(x) * x.size, "f64[n,m]")
row("softmax", lambda x: special.softmax(x, axis=1), "f64[n,m]", op="logsumexp")
row("log_softmax", lambda x: special.log_softmax(x, axis=0), "f64[n,m]", op="logsumexp")
row("peak", lambda x: _peak(x), "f64[n,m]", op="peak")
row("norm", lambda x: np.linalg.norm(x), "f64[n]")
row("norm frobenius", lambda x: np.linalg.norm(x), "f64[n,m]")
row("norm axis", lambda x: np.linalg.norm(x, axis=1), "f64[n,m]")
row("norm keepdims", lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True), "f64[n,m]")
row("norm ord=2", lambda x: np.linalg.norm(x, 2), "f64[n]")

# -- contractions
row("vector @ vector", lambda a, b: a @ b, "f64[n]", "f64[n]", op="matmul")
row("matrix @ vector", lambda a, b: a @ b, "f64[n,m]", "f64[m]", op="matmul")
row("vector @ matrix", lambda a, b: a @ b, "f64[n]", "f64[n,m]", op="matmul")
row("matrix @ matrix", lambda a, b: a @ b, "f64[n,m]", "f64[m,k]", op="matmul")
row("matrix @ itself", lambda a: a @ a, "f64[n,n]", op="matmul")
row("matrix @ its transpose", lambda a: a @ a.T, "f64[n,m]", op="matmul")
row("batch @ batch", lambda a, b: a @ b, "f64[b,n,m]", "f64[b,m,k]", op="matmul")
row("batch @ matrix", lambda a, b: a @ b, "f64[b,n,m]", "f64[m,k]", op="matmul")
row("matrix @ batch", lambda a, b: a @ b, "f64[n,m]", "f64[b,m,k]", op="matmul")
row("batch @ vector", lambda a, b: a @ b, "f64[b,n,m]", "f64[m]", op="matmul")
row("vector @ batch", lambda a, b: a @ b, "f64[n]", "f64[b,n,m]", op="matmul")
row("batch (1) @ batch", lambda a, b: a @ b, "f64[1,n,m]", "f64[b,m,k]", op="matmul")
row("batches (b,1) @ (d)", lambda a, b: a @ b, "f64[b,1,n,m]", "f64[d,m,k]", op="matmul")
row("constant @ vector", lambda b: TABLE @ b, "f64[4]", op="matmul")
row("vector @ constant", lambda a: a @ TABLE, "f64[3]", op="matmul")
row("dot 1 1", lambda a, b: np.dot(a, b), "f64[n]", "f64[n]", op="matmul")
row("dot 2 1", lambda a, b: a.dot(b), "f64[n,m]", "f64[m]", op="matmul")
row("dot 2 2", lambda a, b: np.dot(a, b), "f64[n,m]", "f64[m,k]", op="matmul")
row("dot 3 1", lambda a, b: np.dot(a, b), "f64[b,n,m]", "f64[m]", op="matmul")
row("dot 1 3", lambda a, b: np.dot(a, b), "f64[m]", "f64[b,m,k]", op="matmul")
row("dot 3 3", lambda a, b: np.dot(a, b), "f64[b,n,m]", "f64[d,m,k]", op="matmul")
row("dot scalar", lambda a, b: np.dot(a, b), "f64[]", "f64[n]")
row("outer", lambda a, b: np.outer(a, b), "f64[n]", "f64[m]", op="outer")
row("outer of itself", lambda a: np.outer(a, a), "f64[n]", op="outer")
row("outer ravels", lambda a, b: np.outer(a, b), "f64[n,k]", "f64[m]", op="outer")
row("inner 1 1", lambda a, b: np.inner(a, b), "f64[n]", "f64[n]", op="matmul")
row("inner 2 2", lambda a, b: np.inner(a, b), "f64[n,m]", "f64[k,m]", op="matmul")
row("inner 2 1", lambda a, b: np.inner(a, b), "f64[n,m]", "f64[m]", op="matmul")
row("inner 1 2", lambda a, b: np.inner(a, b), "f64[m]", "f64[n,m]", op="matmul")
row("inner 3 3", lambda a, b: np.inner(a, b), "f64[b,n,m]", "f64[d,k,m]", op="matmul")
row("inner 3 1", lambda a, b: np.inner(a, b), "f64[b,n,m]", "f64[m]", op="matmul")
row("inner 1 3", lambda a, b: np.inner(a, b), "f64[m]", "f64[b,n,m]", op="matmul")
row("inner scalar", lambda a, b: np.inner(a, b), "f64[]", "f64[n]")
row("rows * rows", lambda a, b: _einsum(a, b, "ij,ij->i"), "f64[n,m]", "f64[n,m]", op="einsum")
row("rows**2", lambda a: _einsum(a, a, "ijk,ijk->ik"), "f64[b,n,m]", op="einsum")
row(
    "rows * a row each",
    lambda a, b: _einsum(a, b, "ijk,ik->ij"),
    "f64[b,n,m]",
    "f64[b,m]",
    op="einsum",
)
row(
    "rows * one row", lambda a, b: _einsum(a, b, "ijk,jk->i"), "f64[b,n,m]", "f64[n,m]", op="einsum"
)
row("rows of both", lambda a, b: _einsum(a, b, "jk,ik->ij"), "f64[m,k]", "f64[n,k]", op="einsum")
row("vdot", lambda a, b: np.vdot(a, b), "f64[n,m]", "f64[n,m]", op="matmul")

# -- shapes
row("reshape to one axis", lambda x: np.reshape(x, -1) * 2.0, "f64[n,m]", op="reshape")
row("reshape tuple", lambda x: x.reshape((3, 4)) @ x[:4], "f64[12]", op="reshape")
row("reshape ints", lambda x: x.reshape(2, 6), "f64[12]", op="reshape")
row("reshape -1 static", lambda x: x.reshape(-1, 6), "f64[12]", op="reshape")
row("reshape sizes", lambda x: x.reshape(x.shape[1], x.shape[0]), "f64[n,m]", op="reshape")
row("reshape -1 sizes", lambda x: x.reshape(x.shape[0], -1), "f64[n,m,k]", op="reshape")
row(
    "reshape inner axes",
    lambda x: x.reshape(x.shape[0] * x.shape[1], -1),
    "f64[n,m,k]",
    op="reshape",
)
row("reshape scalar", lambda x: np.reshape(x, (1, 1)), "f64[]", op="reshape")
row("reshape to scalar", lambda x: np.reshape(x, ()), "f64[1]", op="reshape")
row("ravel", lambda x: np.ravel(x) + x.ravel(), "f64[n,m]", op="reshape")
row("flatten", lambda x: x.T.flatten(), "f64[n,m]", op="reshape")
row("transpose", lambda x: np.transpose(x) * 1.0, "f64[n,m]", op="transpose")
row("transpose axes", lambda x: np.transpose(x, (2, 0, 1)), "f64[n,m,k]", op="transpose")
row("transpose negative", lambda x: x.transpose(-1, 0, 1), "f64[n,m,k]", op="transpose")
row(".T of 3", lambda x: x.T, "f64[n,m,k]", op="transpose")
row(".T of a vector", lambda x: x.T, "f64[n]")
row("swapaxes", lambda x: np.swapaxes(x, 0, -1), "f64[n,m,k]", op="transpose")
row("moveaxis", lambda x: np.moveaxis(x, 0, -1), "f64[n,m,k]", op="transpose")
row("expand_dims", lambda x: np.expand_dims(x, 1), "f64[n,m]", op="reshape")
row("expand_dims -1", lambda x: np.expand_dims(x, -1), "f64[n]", op="reshape")
row("expand_dims tuple", lambda x: np.expand_dims(x, (0, -1)), "f64[n]", op="reshape")
row("squeeze", lambda x: np.squeeze(x), "f64[1,n,1]", op="reshape")
row("squeeze axis", lambda x: x.squeeze(-1), "f64[1,n,1]", op="reshape")
row("broadcast_to", lambda x: np.broadcast_to(x, (3, x.shape[0])), "f64[n]", op="broadcast")
row("broadcast_to ones", lambda x: np.broadcast_to(x, (2, 4, 3)), "f64[4,1]", op="broadcast")
row("broadcast scalar", lambda x: np.broadcast_to(x, (2, 3)), "f64[]", op="broadcast")
row("broadcast add", lambda x, y: x * y + x, "f64[n,1]", "f64[1,m]")
row("broadcast ranks", lambda x, y, z: x * y + z, "f64[n,m]", "f64[m]", "f64[]")
row("newaxis outer", lambda x, y: x[:, None] - y[None, :], "f64[n]", "f64[m]", op="reshape")
row("concatenate", lambda x, y: np.concatenate([x, y, x]), "f64[n]", "f64[m]", op="concatenate")
row(
    "concatenate axis=1",
    lambda x, y: np.concatenate((x, y), axis=1),
    "f64[n,m]",
    "f64[n,k]",
    op="concatenate",
)
row(
    "concatenate axis=-2",
    lambda x, y: np.concatenate((x, y), axis=-2),
    "f64[n,m]",
    "f64[k,m]",
    op="concatenate",
)
row(
    "concatenate axis=None",
    lambda x, y: np.concatenate((x, y), axis=None),
    "f64[n,m]",
    "f64[k]",
    op="concatenate",
)
row("concatenate constant", lambda x: np.concatenate(([1.0, 2.0], x)), "f64[n]", op="concatenate")
row("concatenate one", lambda x: np.concatenate([x]), "f64[n]")
row(
    "append",
    lambda x: np.append(x, 1.0) if isinstance(x, np.ndarray) else np.concatenate([x, [1.0]]),
    "f64[n]",
)
row("stack", lambda x, y: np.stack([x, y, x * y]), "f64[n]", "f64[n]", op="stack")
row("stack axis=1", lambda x, y: np.stack((x, y), axis=1), "f64[n,m]", "f64[n,m]", op="stack")
row("stack axis=-1", lambda x, y: np.stack((x, y), axis=-1), "f64[n]", "f64[n]", op="stack")
row("stack scalars", lambda x, y: np.stack([x, y, x * y]), "f64[]", "f64[]", op="stack")
row("vstack vectors", lambda x, y: np.vstack([x, y]), "f64[n]", "f64[n]")
row("vstack matrices", lambda x, y: np.vstack([x, y]), "f64[n,m]", "f64[k,m]", op="concatenate")
row("hstack vectors", lambda x, y: np.hstack([x, y]), "f64[n]", "f64[m]", op="concatenate")
row("hstack matrices", lambda x, y: np.hstack([x, y]), "f64[n,m]", "f64[n,k]", op="concatenate")


def array_of_scalars(a: Any, b: Any) -> Any:
    return np.array([a, b * a, 2.0])


def array_of_rows(a: Any, b: Any) -> Any:
    return np.array([[a, b], [-b, a * b]]) @ np.array([a, b])


def array_of_elements(x: Any) -> Any:
    return np.array([x[1] * x[0], x[-1], 1.0]) * x[:3]


row("array of scalars", array_of_scalars, "f64[]", "f64[]", op="stack")
row("array of rows", array_of_rows, "f64[]", "f64[]", op="stack")
row("array of elements", array_of_elements, "f64[n]", op="stack")

# -- basic slices
row("x[i]", lambda x: x[1] * x[0], "f64[n]", op="slice")
row("x[-1]", lambda x: x[-1] * x[-2], "f64[n]", op="slice")
row("x[i] of rows", lambda x: x[1] * x[-1], "f64[n,m]", op="slice")
row("x[i, j]", lambda x: x[1, -1] * x[0, 2], "f64[n,m]", op="slice")
row("x[i][j]", lambda x: x[1][2] * x[0], "f64[n,m]", op="slice")
row("x[1:]", lambda x: x[1:] * x[:-1], "f64[n]", op="slice")
row("x[:2]", lambda x: x[:2], "f64[n]", op="slice")
row("x[-3:-1]", lambda x: x[-3:-1], "f64[n]", op="slice")
row("x[1:3]", lambda x: x[1:3], "f64[n,m]", op="slice")
row("x[:, 1:]", lambda x: x[:, 1:], "f64[n,m]", op="slice")
row("x[:, -1]", lambda x: x[:, -1], "f64[n,m]", op="slice")
row("x[..., 0]", lambda x: x[..., 0], "f64[n,m,k]", op="slice")
row("x[0, ...]", lambda x: x[0, ...], "f64[n,m,k]", op="slice")
row("x[1, ..., -1]", lambda x: x[1, ..., -1], "f64[n,m,k]", op="slice")
row("x[...]", lambda x: x[...], "f64[n,m]")
row("x[::2]", lambda x: x[::2], "f64[n]", op="slice")
row("x[1::2]", lambda x: x[1::2], "f64[n]", op="slice", n=6)
row("x[::3]", lambda x: x[::3], "f64[d]", op="slice")
row("x[::-1]", lambda x: x[::-1] * x, "f64[n]", op="slice")
row("x[::-2]", lambda x: x[::-2], "f64[d]", op="slice")
row("x[::-2] even", lambda x: x[::-2], "f64[n]", op="slice")
row("x[:, ::-1]", lambda x: x[:, ::-1], "f64[n,m]", op="slice")
row("x[3:0:-1]", lambda x: x[3:0:-1], "f64[6]", op="slice")
row("x[-2::-2]", lambda x: x[-2::-2], "f64[6]", op="slice")
row("x[1:100]", lambda x: x[1:100], "f64[6]", op="slice")
row("x[5:2]", lambda x: x[5:2], "f64[6]")
row("x[: n - 3]", lambda x: x[: x.shape[0] - 3] * x[x.shape[0] - 2 :][:1], "f64[n]", op="slice")
row("x[n - 2]", lambda x: x[x.shape[0] - 2] * x, "f64[n]", op="slice")
row("x[None]", lambda x: x[None], "f64[n]", op="reshape")
row("x[1, None, :, None]", lambda x: x[1, None, :, None], "f64[n,m]", op="slice")
row("x[:, None, 1:]", lambda x: x[:, None, 1:], "f64[n,m]", op="slice")
row("differences", lambda x: (x[2:] - 2.0 * x[1:-1] + x[:-2]) ** 2, "f64[n]", op="slice")
row("x by its size", lambda x: x[: x.shape[0] - 1] * x[x.shape[0] - 1], "f64[n]", op="slice")
row("half by size", lambda x: x[x.shape[0] // 2 :], "f64[n]", op="slice")

# -- index arrays
row("x[[0,2,2,-1,0]]", lambda x: x[TWICE], "f64[n]", op="gather")
row("x[list]", lambda x: x[[1, 1, 0]], "f64[n]", op="gather")
row("rows[[...]]", lambda x: x[TWICE], "f64[n,m]", op="gather")
row("x[:, [...]]", lambda x: x[:, TWICE], "f64[m,n]", op="gather")
row("x[..., [...]]", lambda x: x[..., TWICE], "f64[m,n]", op="gather")
row("x[2-d index]", lambda x: x[SQUARE], "f64[n]", op="gather")
row("x[:, 2-d index]", lambda x: x[:, SQUARE], "f64[m,n]", op="gather")
row(
    "x[i, j] arrays", lambda x: x[np.array([0, 1, 1]), np.array([2, 0, 0])], "f64[n,m]", op="gather"
)
row("x[column, row] arrays", lambda x: x[SQUARE[:, :1], SQUARE[:1]], "f64[n,m]", op="gather")
row("x[i, j, :] arrays", lambda x: x[[0, 1], [1, -1]], "f64[n,m,k]", op="gather")
row("x[:, i, j] arrays", lambda x: x[:, [0, 1, 1], [1, -1, -1]], "f64[n,m,k]", op="gather")
row("x[i, :, j] not adjacent", lambda x: x[[0, 1, 1], :, [1, 0, -1]], "f64[n,m,k]", op="gather")
row("x[i, 1:, j] not adjacent", lambda x: x[[0, 1, 1], 1:, [1, 0, -1]], "f64[n,m,k]", op="gather")
row("x[0, :, j] not adjacent", lambda x: x[0, :, [1, 0, -1]], "f64[n,m,k]", op="gather")
row("x[0, j] adjacent", lambda x: x[0, [1, 0, -1]], "f64[n,m]", op="gather")
row("x[j, 1:]", lambda x: x[[1, 0, 1], 1:], "f64[n,m]", op="gather")
row("x[::-1, j]", lambda x: x[::-1, [1, 0, 1]], "f64[n,m]", op="gather")
row("x[None, j]", lambda x: x[None, [1, 0, 1]], "f64[n,m]", op="gather")
row("x[j, None]", lambda x: x[[1, 0, 1], None], "f64[n,m]", op="gather")
row("x[j, None, i] not adjacent", lambda x: x[[1, 0, 1], None, [0, 1, 2]], "f64[n,m]", op="gather")
row("x[:, j, None]", lambda x: x[:, [1, 0, 1], None], "f64[n,m,k]", op="gather")
row("x[[]]", lambda x: x[np.array([], dtype=int)], "f64[n]")
row("x[mask]", lambda x: x[MASK], "f64[4]", op="gather")
row("rows[mask]", lambda x: x[MASK], "f64[4,m]", op="gather")
row("x[mask of 2]", lambda x: x[MASK2], "f64[2,3]", op="gather")
row("x[:, mask]", lambda x: x[:, MASK], "f64[m,4]", op="gather")
row("x[argument]", lambda x, i: x[i], "f64[n]", "i64[d] < n", op="gather")
row("rows[argument]", lambda x, i: x[i], "f64[n,m]", "i64[d] < n", op="gather")
row("x[:, argument]", lambda x, i: x[:, i], "f64[m,n]", "i64[d] < n", op="gather")
row("x[one argument]", lambda x, i: x[i] * x, "f64[n]", "i64[] < n", op="gather")
row("rows[one argument]", lambda x, i: x[i], "f64[n,m]", "i64[] < n", op="gather")
row("x[2-d argument]", lambda x, i: x[i], "f64[n,m]", "i64[k,d] < n", op="gather")
row(
    "x[i, j] arguments",
    lambda x, i, j: x[i, j],
    "f64[n,m]",
    "i64[d] < n",
    "i64[d] < m",
    op="gather",
)
row("x[i, 1] argument", lambda x, i: x[i, 1], "f64[n,m]", "i64[d] < n", op="gather")
row(
    "x[argument] twice",
    lambda x, i: x[i] * x[i] + x[TWICE[:1]],
    "f64[n]",
    "i64[d] < n",
    op="gather",
)
row("take", lambda x: np.take(x, TWICE), "f64[n]", op="gather")
row("take axis", lambda x: np.take(x, TWICE, axis=-1), "f64[m,n]", op="gather")
row("take ravels", lambda x: x.take([0, 5, 5]), "f64[n,m]", op="gather")

# -- adjoints of slices and gathers, which the second order and several uses differentiate again
row("slice twice", lambda x: np.sum(x[1:] ** 2) * x[:-1] ** 3, "f64[n]", op="slice_add")
row("gather twice", lambda x: np.sum(x[TWICE] ** 3) * x, "f64[n]", op="scatter_add")
row("prod recurs", lambda x: np.prod(x, axis=0) ** 2, "f64[n,m]", op="recurrence")
row(
    "recurrence",
    lambda a, b: _recurrence(a, b, False, False),
    "f64[n,m]",
    "f64[n,m]",
    op="recurrence",
)
row(
    "recurrence back",
    lambda a, b: _recurrence(a, b, True, True),
    "f64[n,m]",
    "f64[n,m]",
    op="recurrence",
)


# -- arrays made inside
def fill_all(x: Any) -> Any:
    out = np.zeros(x.shape[0])
    out[0] = x[0] ** 2
    out[1:] = x[1:] * x[:-1]
    return out


def fill_in_loop(x: Any) -> Any:
    out = np.empty(4)
    out[0] = x[0]
    for i in range(1, 4):
        out[i] = out[i - 1] * x[i]
    return out


def add_into(x: Any, y: Any) -> Any:
    out = np.zeros(x.shape[0])
    out[1:] += x[1:]
    out[:-1] += y[1:] * x[:-1]
    out[-1] *= x[0]
    return out


def fill_rows(x: Any) -> Any:
    out = np.empty((3, 4))
    for i in range(3):
        out[i, :] = x[i] * (i + 1.0)
    out[:, 0] = 0.0
    out[1, 1:] += x[2, 1:]
    return out


def fill_view(x: Any) -> Any:
    out = np.zeros((3, 4))
    row = out[1]
    row[:] = x[0]
    row[1:] += x[2, 1:]
    out[0][2] = x[1, 1]
    return out * 2.0


def fill_copy(x: Any) -> Any:
    out = x.copy()
    out[1:-1] = x[2:] * x[:-2]
    return out * x


def fill_like(x: Any) -> Any:
    out = np.zeros_like(x)
    out[...] = 3.0 * x
    out[0] = 1.0
    ones = np.ones_like(x)
    ones[1:] = out[:-1]
    return out * ones


def fill_steps(x: Any) -> Any:
    out = np.ones(x.shape[0])
    out[::2] = x[::2] ** 2
    out[::-1] += x
    return out


def fill_broadcast(x: Any) -> Any:
    out = np.zeros((3, x.shape[0]))
    out[:] = x
    out[1] = 2.0
    out[:, :1] += x[-1]
    return out


def fill_overwrite(x: Any) -> Any:
    out = np.zeros(x.shape[0])
    out[:] = x
    y = out * 1.0
    out[0] = 7.0
    return y * out


def fill_full(x: Any) -> Any:
    out = np.full((2, 3), x[0])
    out[0, 1] = x[1]
    out[1] /= x[2]
    return out


row("out[0]=, out[1:]=", fill_all, "f64[n]", op="slice_set", wide=True)
row("out[i]= in a loop", fill_in_loop, "f64[4]", op="slice_set", wide=True)
row("out[1:] +=", add_into, "f64[n]", "f64[n]", op="slice_set", wide=True)
row("out[i, :] =", fill_rows, "f64[3,4]", op="slice_set", wide=True)
row("writes through views", fill_view, "f64[3,4]", op="slice_set", wide=True)
row("out = x.copy()", fill_copy, "f64[n]", op="slice_set")
row("out = zeros_like(x)", fill_like, "f64[n]", op="slice_set")
row("out[::2] =", fill_steps, "f64[n]", op="slice_set", wide=True)
row("out[:] = row", fill_broadcast, "f64[n]", op="slice_set", wide=True)
row("read, then overwritten", fill_overwrite, "f64[n]", op="slice_set", wide=True)
row("np.full", fill_full, "f64[n]", op="slice_set")


def fill_places(x: Any, v: Any, i: Any) -> Any:
    out = x * 1.0
    out = out.copy()
    out[i] = v
    return out * x


def fill_repeated(x: Any) -> Any:
    out = np.zeros((3, x.shape[0]))
    out[[0, 2, 0], 1:] = x[None, 1:] * np.array([[1.0], [2.0], [3.0]])
    return out


def add_at_places(x: Any, i: Any) -> Any:
    out = np.zeros_like(x)
    np.add.at(out, i, x[: i.shape[0]] ** 2)
    np.subtract.at(out, [0, 0], x[0])
    return out


def fill_masks(x: Any, p: Any) -> Any:
    out = x.copy()
    out[p] = x[0] * x[1]
    out[x > 1.2] *= 3.0
    return out


row("out[i] = v", fill_places, "f64[n]", "f64[d]", "i64[d] < n", op="scatter_set", d=4)
row("out[[0, 2, 0], 1:] =", fill_repeated, "f64[n]", op="scatter_set", wide=True)
row("np.add.at", add_at_places, "f64[n]", "i64[n] < n", op="scatter_add")
row("out[mask] =", fill_masks, "f64[n]", "bool[n]")

# -- running sums, triangles, order: their own ops
row("cumsum", lambda x: np.cumsum(x) * x, "f64[n]", op="cumsum")
row("cumsum axis=0", lambda x: np.cumsum(x, axis=0) ** 2, "f64[n,m]", op="cumsum")
row("cumprod", lambda x: np.cumprod(x), "f64[n]", op="cumprod")
row("cumprod axis=1", lambda x: x.cumprod(axis=1), "f64[n,m]", op="cumprod")
row("tril", lambda x: np.tril(x) @ x, "f64[n,n]", op="tril")
row("tril -1 of a stack", lambda x: np.tril(x, -1), "f64[b,n,m]", op="tril")
row("triu", lambda x: np.triu(x, 1), "f64[n,m]", op="triu")
row("argsort", lambda x: x[np.argsort(x)] * np.sort(x)[::-1], "f64[n]", op="argsort", n=5)
row("sort axis=0", lambda x: np.sort(x, axis=0), "f64[n,m]", op="argsort")
row("median", lambda x: np.median(x, axis=1), "f64[n,m]", op="argsort")
row("argmax", lambda x: x[np.argmax(x)] * x, "f64[n]", op="argmax")
row("argmax axis", lambda x: np.argmax(x, axis=0) * x[0], "f64[n,m]", op="argmax", wide=True)
row("argmin", lambda x: x[np.argmin(x)] * x, "f64[n]", op="argmin")
row(
    "searchsorted",
    lambda x, v: x[np.searchsorted(np.sort(x)[1:], v)],
    "f64[n]",
    "f64[m]",
    op="searchsorted",
)
row("any", lambda x: np.any(x > 1.0, axis=0) * x, "f64[n,m]", op="any")
row("all", lambda x: x * (x > 0.5).all(), "f64[n,m]", op="all")
row("arange", lambda x: x * (0.5 + x[np.arange(x.shape[0])]), "f64[n]", op="arange")
row(
    "diagonal of sizes", lambda x: np.diagonal(x, -1) * 2.0 + np.diag(x, 1), "f64[n,n]", op="gather"
)
row("roll", lambda x: np.roll(x, 2) * x, "f64[n]")
row("pad", lambda x: np.pad(x, (1, 2), mode="reflect"), "f64[n]")
row("convolve", lambda x, y: np.convolve(x, y), "f64[n]", "f64[m]")
row("einsum", lambda x, y: np.einsum("ij,jk,ik->k", x, y, y[: x.shape[0]]), "f64[m,n]", "f64[n,k]")

# -- elementwise functions on arrays of different shapes
row("clip", lambda x: np.clip(x, 0.7, 1.3), "f64[n,m]")
row("clip by arrays", lambda x, a: np.clip(x, a - 0.5, a + 0.1), "f64[n,m]", "f64[m]")
row("where", lambda x, y: np.where(x > 1.0, x * y, y), "f64[n,m]", "f64[m]")
row("where column", lambda x, y: np.where(y > 1.0, x, y), "f64[n,m]", "f64[n,1]")
row("where literal", lambda x: np.where(x > 1.0, x, 0.0), "f64[n]")
row("where constant mask", lambda x: np.where(MASK, x, x * x), "f64[4]")
row("where mask argument", lambda x, p: np.where(p, x, 2.0 * x), "f64[n]", "bool[n]")
row("maximum", lambda x, y: np.maximum(x, y) * np.minimum(x, y), "f64[n,m]", "f64[m]")
row("std", lambda x: np.sqrt(np.mean((x - np.mean(x, axis=0)) ** 2, axis=0)), "f64[n,m]")
row("cast of a comparison", lambda x: (x > 1.0) * x + (x < 1.0).astype(float), "f64[n]", wide=True)
row("captured array", lambda x: TABLE * x + TABLE[1], "f64[4]")
row("quadratic form", lambda x, a: x @ a @ x, "f64[n]", "f64[n,n]", op="matmul")

BAD = [
    Bad("sum axis too large", lambda x: np.sum(x, axis=2), ("f64[n,m]",), "np.sum needs an axis of f64"),
    Bad("sum axis twice", lambda x: np.sum(x, axis=(0, -2)), ("f64[n,m]",), "np.sum needs different axes"),
    Bad("sum axis a float", lambda x: np.sum(x, axis=1.0), ("f64[n,m]",), "np.sum needs an integer axis"),
    Bad("sum strange=", lambda x: np.sum(x, strange=1), ("f64[n]",), "np.sum is not supported with these arguments"),
    Bad("max where=", lambda x: np.max(x, where=x > 0), ("f64[n]",), "needs initial="),
    Bad("out= an argument", lambda x: np.exp(x, out=x), ("f64[n]",), "out= needs an array made inside"),
    Bad("max axis", lambda x: np.max(x, axis=1), ("f64[n]",), "np.max needs an axis"),
    Bad("max of nothing", lambda x: np.max(x), ("f64[0]",), "axis whose maximum is taken needs to be >= 1, got 0"),
    Bad("norm ord", lambda x: np.linalg.norm(x, 3), ("f64[n,m]",), "np.linalg.norm of matrices needs ord"),
    Bad("norm of three axes", lambda x: np.linalg.norm(x, 1), ("f64[n,m,k]",), "needs one axis or two"),
    Bad("inner sizes", lambda a, b: a @ b, ("f64[n,m]", "f64[n]"), "matmul needs equal inner sizes"),
    Bad("inner numbers", lambda a, b: a @ b, ("f64[2,3]", "f64[4,2]"), "matmul needs equal inner sizes"),
    Bad("batches", lambda a, b: a @ b, ("f64[2,2,3]", "f64[4,3,2]"), "matmul needs shapes that broadcast"),
    Bad("@ a scalar", lambda a, b: a @ b, ("f64[n]", "f64[]"), "matmul needs arrays"),
    Bad("reshape count", lambda x: x.reshape(5), ("f64[6]",), "reshape needs as many elements as"),
    Bad("reshape -1", lambda x: x.reshape(4, -1), ("f64[6]",), "reshape needs as many elements as"),
    Bad("reshape two -1", lambda x: x.reshape(-1, -1), ("f64[6]",), "reshape needs at most one"),
    Bad("reshape symbolic", lambda x: x.reshape(3, 2), ("f64[n]",), "reshape needs as many elements as"),
    Bad("reshape order", lambda x: x.reshape(-1, order="X"), ("f64[n,m]",), "reshape needs order 'C'"),
    Bad("reshape text", lambda x: np.reshape(x, "ab"), ("f64[n]",), "reshape needs a shape of integers"),
    Bad("transpose", lambda x: np.transpose(x, (0, 0)), ("f64[n,m]",), "transpose needs each axis"),
    Bad("swapaxes", lambda x: np.swapaxes(x, 0, 2), ("f64[n,m]",), "swapaxes needs an axis"),
    Bad("moveaxis", lambda x: np.moveaxis(x, 3, 0), ("f64[n,m]",), "moveaxis needs an axis"),
    Bad("expand_dims", lambda x: np.expand_dims(x, 3), ("f64[n]",), "expand_dims needs axes below"),
    Bad("squeeze", lambda x: np.squeeze(x, 0), ("f64[n,1]",), "squeeze needs axes of length 1"),
    Bad("broadcast_to", lambda x: np.broadcast_to(x, (3,)), ("f64[2]",), "broadcast"),
    Bad("broadcast_to less", lambda x: np.broadcast_to(x, (3,)), ("f64[2,3]",), "broadcast_to needs a shape"),
    Bad("letters never broadcast", lambda x, y: x + y, ("f64[n]", "f64[m]"), "Sizes that differ by name"),
    Bad("concatenate", lambda x, y: np.concatenate([x, y]), ("f64[n,m]", "f64[n,k]"), "concatenate needs arrays"),
    Bad("concatenate ranks", lambda x, y: np.concatenate([x, y]), ("f64[n,m]", "f64[n]"), "concatenate needs arrays"),
    Bad("concatenate scalars", lambda x: np.concatenate([x, x]), ("f64[]",), "concatenate needs arrays of one"),
    Bad("concatenate axis", lambda x: np.concatenate([x, x], axis=1), ("f64[n]",), "concatenate needs an axis"),
    Bad("stack", lambda x, y: np.stack([x, y]), ("f64[n]", "f64[m]"), "stack needs arrays of one shape"),
    Bad("stack axis", lambda x: np.stack([x, x], axis=3), ("f64[n]",), "stack needs an axis below"),
    Bad("vstack", lambda x, y: np.vstack([x, y]), ("f64[n]", "f64[m]"), "concatenate needs arrays"),
    Bad("too many indices", lambda x: x[0, 0], ("f64[n]",), "an index needs at most 1 entries"),
    Bad("index too large", lambda x: x[3], ("f64[3]",), "an index needs an axis of at least 4"),
    Bad("index too small", lambda x: x[-4], ("f64[3]",), "an index needs an axis of at least 4"),
    Bad("two ellipses", lambda x: x[..., ...], ("f64[n,m]",), "at most one ellipsis"),
    Bad("float index", lambda x: x[1.0], ("f64[n]",), "an index needs integers"),
    Bad("float index array", lambda x: x[np.array([0.0])], ("f64[n]",), "an index array needs integers"),
    Bad("float index Value", lambda x: x[x], ("f64[n]",), "an index needs integers"),
    Bad("traced mask", lambda x: x[x > 0], ("f64[n]",), "indexing with a traced mask"),
    Bad("slice by data", lambda x, i: x[:i], ("f64[n]", "i64[]"), "a slice needs integers or sizes"),
    Bad("step 0", lambda x: x[::0], ("f64[n]",), "a slice needs a non-zero"),
    Bad("gather out of bounds", lambda x: x[[0, 5]], ("f64[3]",), "an index needs an axis of at least 6"),
    Bad("mask too long", lambda x: x[MASK], ("f64[3]",), "mask"),
    Bad("index arrays", lambda x: x[[0, 1], [0, 1, 2]], ("f64[n,m]",), "index arrays needs shapes that broadcast"),
    Bad("write to an argument", lambda x: _write(x), ("f64[n]",), "assignment into an array needs an array made"),
    Bad("write that does not fit", lambda x: _write(np.zeros(2), x), ("f64[3]",), "needs a value that fits|broadcast"),
    Bad("floats into integers", lambda x: _write(np.zeros(3, dtype=int), x), ("f64[3]",), "needs integers"),
    Bad("write by an index array", lambda x: _write(np.zeros(3), x, [0, 1]), ("f64[3]",), "assignment needs shapes"),
    Bad("write beyond", lambda x: _write(np.zeros(3), x, [0, 3]), ("f64[2]",), "an index needs an axis of at least 4"),
    Bad("write by a traced mask", lambda x: _masked(x), ("f64[3]",), "one value for all of its places"),
    Bad("mask of another shape", lambda x, p: _write(np.zeros(3), 1.0, p), ("f64[2]", "bool[2]"), "a mask needs the shape"),
    Bad("add.at an argument", lambda x: np.add.at(x, [0], 1.0), ("f64[3]",), "np.add.at writes into an array"),
    Bad("einsum sizes", lambda x, y: np.einsum("i,i", x, y), ("f64[n]", "f64[m]"), "one size per label"),
    Bad("einsum letters", lambda x: np.einsum("ij->i", x), ("f64[n]",), "one letter per axis"),
    Bad("einsum result", lambda x: np.einsum("i->ii", x), ("f64[n]",), "each label of the result once"),
    Bad("tensordot", lambda x, y: np.tensordot(x, y, 1), ("f64[n,m]", "f64[k,n]"), "np.tensordot needs axes of equal"),
    Bad("diagonal", lambda x: np.diagonal(x), ("f64[n,m]",), "has a length that no size says"),
    Bad("diag of a stack", lambda x: np.diag(x), ("f64[2,2,2]",), "np.diag needs a vector or a matrix"),
    Bad("pad mode", lambda x: np.pad(x, 1, mode="empty"), ("f64[n]",), "np.pad needs mode"),
    Bad("pad odd", lambda x: np.pad(x, 3, mode="reflect", reflect_type="odd"), ("f64[3]",), "widths of at most 2"),
    Bad("pad width", lambda x: np.pad(x, -1), ("f64[n]",), "np.pad needs widths of 0 or more"),
    Bad("repeat by data", lambda x, k: np.repeat(x, k), ("f64[n]", "i64[]"), "needs"),
    Bad("split", lambda x: np.split(x, 2)[0], ("f64[5]",), "np.split needs an axis that divides by 2"),
    Bad("quantile range", lambda x: np.quantile(x, 1.5), ("f64[n]",), "quantiles between 0 and 1"),
    Bad("quantile method", lambda x: np.quantile(x, 0.5, method="gumbel"), ("f64[n]",), "np.quantile needs method"),
    Bad("argmax of nothing", lambda x: np.argmax(x), ("f64[0]",), "needs to be >= 1, got 0"),
    Bad("bincount", lambda x, k: np.bincount(k, x), ("f64[n]", "i64[n]"), "np.bincount of traced bins"),
    Bad("compress", lambda x: np.compress(x > 0, x), ("f64[n]",), "np.compress with a traced condition"),
    Bad("unique", lambda x: np.unique(x), ("f64[n]",), "np.unique is not differentiated"),
    Bad("nonzero", lambda x: np.nonzero(x), ("f64[n]",), "np.nonzero is not differentiated"),
    Bad("eig", lambda x: np.linalg.eig(x), ("f64[n,n]",), "eig is not differentiated"),
    Bad("vander", lambda x: np.vander(x), ("f64[n,m]",), "np.vander needs a vector"),
    Bad("cross", lambda x, y: np.cross(x, y), ("f64[4]", "f64[4]"), "2 or 3 components"),
    Bad("gradient spacing", lambda x: np.gradient(x, 1.0, 2.0), ("f64[n]",), "one spacing per axis"),
    Bad("convolve mode", lambda x: np.convolve(x, x, "all"), ("f64[n]",), "needs mode 'full', 'same' or 'valid'"),
    Bad("arange of data", lambda x: np.arange(x), ("f64[]",), "np.arange needs integers and sizes"),
]  # fmt: skip


def _masked(x: Any) -> Any:
    out = np.zeros(3)
    out[x > 1.0] = x
    return out


def _write(out: Any, v: Any = 1.0, index: Any = slice(None)) -> Any:
    out[index] = v
    return out
