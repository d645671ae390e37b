"""Lowering of linear algebra and of sorting: one Routine per matrix, in a nest over the stack, on operands in plain rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.lower.kernel import ZERO, Affine, Buffer, Load, Patch, Routine
from gradgen.lower.scans import Scans
from gradgen.lower.views import View
from gradgen.ops.helpers import run
from gradgen.sizes import Dim, add, mul, nonnegative
from gradgen.types import Shape, Type, promote


class Linalg(Scans):
    """Mixin of Lowering."""

    def linalg(self, node: Any) -> None:
        getattr(self, f"_{node.op.name}")(node)

    # -- memory
    def _plain(self, node: Any, dtype: str, turned: bool = False) -> Buffer:
        """The operand row by row in memory, transposed if asked."""
        value, ty = self.value(node), Type.of(dtype, node.type.shape)
        if turned:
            ty = ty.with_shape((*ty.shape[:-2], ty.shape[-1], ty.shape[-2]))
        elif isinstance(value, View) and value.is_whole and value.buffer.dtype == dtype:
            return value.buffer
        out = self.temp(ty, node.name)
        with self.loops(ty.shape) as at:
            place = [*at[:-2], at[-1], at[-2]] if turned else at
            self.store(out, tuple(at), self.cast(self.read(value, place), dtype))
        return out

    def _room(self, dtype: str, shape: Shape, name: str = "room") -> Patch:
        return Patch(self.temp(Type.of(dtype, shape), name), (ZERO,) * len(shape), 0)

    def _each(
        self, name: str, batch: Shape, sizes: Sequence[Dim], a: Buffer, y: Buffer, room: Sequence[Patch], meaning: Any,
        updates: bool = False, fails: bool = False,
    ) -> None:  # fmt: skip
        """y from a, for every matrix of a stack; an `a` of fewer stacked axes, or of length one, is the same for all."""
        with self.loops(batch) as at:
            tail = 1 if name == "merge_argsort" else 2
            lead = len(a.shape) - tail
            own = at[len(at) - lead :]
            index = [ZERO if d == 1 else c for c, d in zip(own, a.shape, strict=False)]
            source = Patch(a, (*index, *(ZERO,) * tail), lead)
            rest = (ZERO,) * (len(y.shape) - len(batch))
            target = Patch(y, (*at, *rest), len(batch))
            writes = (target, *room)
            self.emit(
                Routine(name, tuple(sizes), (source,), writes, meaning, updates, fails, self.site)
            )

    def _done(self, node: Any, buffer: Buffer) -> None:
        if node.name:
            buffer.name = node.name
        self.env[id(node)] = View.whole(buffer)

    # -- order: of floats by merging and by bisection; of integers, whose routines would need types of their own, by counting
    def argsort(self, node: Any) -> None:
        x = node.args[0]
        if not x.type.is_float:
            self.count_order(node)
            return
        n, batch = x.type.shape[-1], x.type.shape[:-1]
        a, out = self._plain(x, x.type.dtype), self.temp(node.type, node.name or "order")
        room = (self._room("i64", (n,)),)
        self._each("merge_argsort", batch, [n], a, out, room, node.op.evaluate)
        self._done(node, out)

    def searchsorted(self, node: Any) -> None:
        a, v = node.args
        dtype = promote(a.type.dtype, v.type.dtype)
        if dtype[0] != "f" or not node.type.shape:
            self.count_before(node)
            return
        table, wanted = self._plain(a, dtype), self._plain(v, dtype)
        out = self.temp(node.type, node.name or "at")
        side = node.params["side"]
        zeros = (ZERO,) * len(node.type.shape)
        reads = (Patch(table, (ZERO,), 0), Patch(wanted, zeros, 0))
        self.emit(
            Routine(
                f"bisect_{side}",
                (a.type.shape[0], v.type.size),
                reads,
                (Patch(out, zeros, 0),),
                lambda a, v: np.searchsorted(a, v, side),
                site=self.site,
            )
        )
        self._done(node, out)

    # -- systems
    def _inv(self, node: Any) -> None:
        dtype, shape = node.type.dtype, node.type.shape
        n = shape[-1]
        a, y = self._plain(node.args[0], dtype), self.temp(node.type, node.name)
        room = (self._room(dtype, (n, n)), self._room("i64", (n,), "pivots"))
        self._each("lu_inverse", shape[:-2], [n], a, y, room, np.linalg.inv, fails=True)
        self._done(node, y)

    def _right(self, node: Any) -> Buffer:
        """The right-hand sides, one per matrix of the result: what the solution takes the place of."""
        value, dtype = self.value(node.args[1]), node.type.dtype
        x = self.temp(node.type, node.name)
        with self.loops(node.type.shape) as at:
            self.store(x, tuple(at), self.cast(self.read(value, at), dtype))
        return x

    def _solve(self, node: Any) -> None:
        dtype, shape = node.type.dtype, node.type.shape
        n, m = shape[-2:]
        a, x = self._plain(node.args[0], dtype), self._right(node)
        room = (self._room(dtype, (n, n)), self._room("i64", (n,), "pivots"))
        self._each("lu_solve", shape[:-2], [n, m], a, x, room, np.linalg.solve, True, True)
        self._done(node, x)

    def _solve_triangular(self, node: Any) -> None:
        dtype, shape, lower = node.type.dtype, node.type.shape, node.params["lower"]
        n, m = shape[-2:]
        a, x = self._plain(node.args[0], dtype), self._right(node)
        part = np.tril if lower else np.triu
        self._each(
            "lower_solve" if lower else "upper_solve", shape[:-2], [n, m], a, x, (),
            lambda a, x: np.linalg.solve(part(a), x), True, True,
        )  # fmt: skip
        self._done(node, x)

    # -- determinants
    def _det(self, node: Any) -> None:
        self._determinant(node, 0)

    def _det_sign(self, node: Any) -> None:
        self._determinant(node, 1)

    def _logabsdet(self, node: Any) -> None:
        self._determinant(node, 2)

    def _determinant(self, node: Any, which: int) -> None:
        dtype, batch = node.type.dtype, node.type.shape
        n = node.args[0].type.shape[-1]
        a, found = self._plain(node.args[0], dtype), self.temp(Type.of(dtype, (*batch, 3)), "det")
        room = (self._room(dtype, (n, n)), self._room("i64", (n,), "pivots"))
        meaning = lambda a: np.array([np.linalg.det(a), *np.linalg.slogdet(a)], a.dtype)
        self._each("lu_det", batch, [n], a, found, room, meaning)
        if batch:
            view = View.whole(found)
            self.env[id(node)] = view.through(
                [*((0, k, 1) for k in range(len(batch))), (which, None, 0)], batch
            )
        else:
            self.env[id(node)] = self.emit(Load(found, (Affine(which),), node.name, self.site))

    def _cofactor(self, node: Any) -> None:
        dtype, shape = node.type.dtype, node.type.shape
        n = shape[-1]
        a, y = self._plain(node.args[0], dtype), self.temp(node.type, node.name)
        room = (self._room(dtype, (n, n)), self._room("i64", (mul(n, 2),), "pivots"))
        self._each("ldu_cofactor", shape[:-2], [n], a, y, room, node.op.evaluate)
        self._done(node, y)

    # -- decompositions
    def _cholesky(self, node: Any) -> None:
        shape = node.type.shape
        a, y = self._plain(node.args[0], node.type.dtype), self.temp(node.type, node.name)
        self._each(
            "cholesky_factor", shape[:-2], [shape[-1]], a, y, (), np.linalg.cholesky, fails=True
        )
        self._done(node, y)

    def _qr(self, node: Any) -> None:
        dtype, (m, n) = node.type.dtype, node.args[0].type.shape[-2:]
        a, y = self._plain(node.args[0], dtype), self.temp(node.type, node.name)
        room = (self._room(dtype, (m, n)), self._room(dtype, (n,), "weights"))
        self._each("householder_qr", node.type.shape[:-2], [m, n], a, y, room, node.op.evaluate)
        self._done(node, y)

    def _decomposed(self, node: Any) -> Buffer:
        """Eigenvalues above eigenvectors."""
        x = node.args[0]
        dtype, n, batch = node.type.dtype, x.type.shape[-1], x.type.shape[:-2]
        a, y = (
            self._plain(x, dtype),
            self.temp(Type.of(dtype, (*batch, add(n, 1), n)), node.name or "eigen"),
        )
        self._each("jacobi_eigh", batch, [n], a, y, (self._room(dtype, (n, n)),), run("eigh"))
        return y

    def _eigh(self, node: Any) -> None:
        self._done(node, self._decomposed(node))

    def _eigvalsh(self, node: Any) -> None:
        y = self._decomposed(node)
        self.env[id(node)] = self._row(y, 0, node.type.shape)

    @staticmethod
    def _row(y: Buffer, k: Dim, shape: Shape) -> View:
        lead = len(shape) - 1
        table = [*((0, i, 1) for i in range(lead)), (k, None, 0), (0, lead, 1)]
        return View.whole(y).through(table, shape)

    def _singular(self, node: Any) -> tuple[Buffer, Dim, Dim, bool]:
        """u above the values above v of the operand, or of its transpose where that is the tall one; its sides."""
        x = node.args[0]
        dtype, batch, (m, n) = node.type.dtype, x.type.shape[:-2], x.type.shape[-2:]
        wide = not nonnegative(add(m, mul(n, -1)))
        if wide:
            m, n = n, m
        a = self._plain(x, dtype, wide)
        y = self.temp(Type.of(dtype, (*batch, add(add(m, n), 1), n)), "svd")
        self._each("jacobi_svd", batch, [m, n], a, y, (), run("svd"))
        return y, m, n, wide

    def _svdvals(self, node: Any) -> None:
        y, m, _, _ = self._singular(node)
        self.env[id(node)] = self._row(y, m, node.type.shape)

    def _svd(self, node: Any) -> None:
        y, m, n, wide = self._singular(node)
        if not wide:
            self._done(node, y)
            return
        out = self.temp(node.type, node.name)  # v above the values above u
        shape = node.type.shape
        for start, count, source in ((0, n, add(m, 1)), (n, 1, m), (add(n, 1), m, 0)):
            with self.loops((*shape[:-2], count, shape[-1])) as at:
                place = (*at[:-2], Affine(source).plus(at[-2]), at[-1])
                x = self.emit(Load(y, place, None, self.site))
                self.store(out, (*at[:-2], Affine(start).plus(at[-2]), at[-1]), x)
        self._done(node, out)

    def _pinv(self, node: Any) -> None:
        y, m, n, wide = self._singular(node)
        batch = node.type.shape[:-2]
        out = self.temp(Type.of(node.type.dtype, (*batch, n, m)), node.name)

        def meaning(svd: Any) -> Any:
            tall = svd.shape[-2] - svd.shape[-1] - 1
            u, s, v = svd[:tall], svd[tall], svd[tall + 1 :]
            return (v * np.where(s > 1e-15 * s[0], 1 / np.where(s > 0, s, 1), 0)) @ u.T

        self._each("svd_pinv", batch, [m, n], y, out, (), meaning)
        if not wide:
            self._done(node, out)
            return
        lead = len(batch)
        table = [*((0, k, 1) for k in range(lead)), (0, lead + 1, 1), (0, lead, 1)]
        self.env[id(node)] = View.whole(out).through(table, node.type.shape)
