"""The sparse forms of `gg.jacobian` and `gg.hessian`, and which way each is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradgen.cost import flops
from gradgen.differentiate.canonicalise import canonicalise
from gradgen.differentiate.jacobians import Jacobian, jacobian_of, traced
from gradgen.differentiate.transforms import Grad, Wrt, selections, wrt_inputs
from gradgen.errors import ShapeError, SpecError
from gradgen.ir import Function
from gradgen.ops.index import GATHER, zeros
from gradgen.ops.regions import CALL
from gradgen.ops.shape import reshape, transpose
from gradgen.passes.calls import inline
from gradgen.passes.dce import dce
from gradgen.passes.maps import vectorise
from gradgen.sizes import evaluate, letters
from gradgen.sparse.coloured import plan_of, values
from gradgen.sparse.diagonals import diagonals
from gradgen.sparse.matrix import staged_entries, warn_if_dense
from gradgen.sparse.pattern import pattern
from gradgen.sparse.scalars import MOST as SCALARS
from gradgen.sparse.scalars import by_scalars
from gradgen.trace.stage import Staged
from gradgen.types import Type
from gradgen.value import Trace, Value, apply, table

WORK = 20_000  # operations of a dense Jacobian that is taken apart into scalars


class SparseJacobian(Jacobian):
    """A Jacobian of which only the entries that can differ from zero are computed."""

    label = "jac"
    part = "full"
    symmetric = False

    def __init__(self, f: Any, wrt: Wrt, mode: str, format: str) -> None:
        super().__init__(f, wrt, mode)
        self.format = format

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        chosen, _ = selections(self.f, args, self.wrt)
        inner, _ = traced(self.inner(), args, names)
        inputs = wrt_inputs(chosen)
        if inner.result.kind != "leaf" or len(inner.function.outputs) != 1 or len(inputs) != 1:
            raise ShapeError(
                f"a sparse {self.label} needs one argument in wrt and one array as the result, got "
                f"{len(inputs)} and {inner.result}",
                "Concatenate the results, or take one sparse derivative for each.",
            )
        fn, i = canonicalise(inner.function), inputs[0]
        made, row, col = self.entries(fn, i)
        shape = (int(fn.outputs[0].type.size), int(fn.inputs[i].type.size))
        if self.part == "full":
            warn_if_dense(fn, len(row), shape, self.format, self.label)
        return staged_entries(made, inner.operands, row, col, shape, self.format, self.label)

    def inner(self) -> Any:
        """What the Jacobian is of."""
        return self.f

    def entries(self, fn: Function, i: int) -> tuple[Function, np.ndarray, np.ndarray]:
        """A Function of the entries' values, and where they belong: the cheapest of the ways that there are."""
        if self.banded:
            found = diagonals(fn, i, self.format, self.part)
            if found is not None:
                return found
        ruled = has_rules(fn)
        found_set = pattern(fn if ruled else vectorise(dce(inline(fn))), i, 0)
        rows, columns = int(fn.outputs[0].type.size), int(fn.inputs[i].type.size)
        row, col = ordered(found_set.row, found_set.indices, self.format, self.part)
        plan = None
        if len(row) < rows * columns:
            plan = plan_of(found_set, columns, self.mode, self.symmetric and not ruled)
        if not len(row):
            none = Type.of(fn.outputs[0].type.dtype, (0,))
            return derived(fn, lambda: zeros(none)), row, col
        if plan is None or plan.directions >= min(rows, columns):
            made = derived(fn, lambda: from_dense(fn, i, self.mode, row, col, self.format))
        else:
            made = derived(fn, lambda: values(fn, i, plan, row, col))
        whole = derived(fn, lambda: jacobian_of(fn, [i], self.mode, False)[0][i])
        if len(row) <= SCALARS and operations(whole) <= WORK:
            scalars = by_scalars(whole, row, col, columns)
            if scalars is not None and operations(scalars) <= operations(made):
                made = scalars
        return made, row, col


class SparseHessian(SparseJacobian):
    """A Hessian of which only the entries that can differ from zero are computed."""

    kind = "hessian"
    suffix = "_hess"
    label = "hess"
    symmetric = True

    def __init__(self, f: Any, wrt: Wrt, part: str, format: str) -> None:
        super().__init__(f, wrt, "auto", format)
        if part not in ("full", "lower", "upper"):
            raise SpecError(f'part needs "full", "lower" or "upper", got {part!r}')
        self.part = part

    def inner(self) -> Any:
        return Grad(self.f, self.wrt)


def operations(fn: Function) -> int:
    """Operations of a Function of known sizes; those of whiles that nobody counts for one step."""
    count = flops(fn)
    return evaluate(count, dict.fromkeys(letters(count), 1))


def derived(fn: Function, build: Callable[[], Value]) -> Function:
    """The Function of fn's inputs that returns what is built from its statements."""
    with Trace(trusted=True) as trace:
        trace.inputs, trace.body = list(fn.inputs), list(fn.body)
        trace.requires = dict.fromkeys(fn.requires)
        trace.site = ("", 0, "forward")
        made = build()
    return trace.function(fn.name, [made], fn.title)


def from_dense(
    fn: Function, i: int, mode: str, row: np.ndarray, col: np.ndarray, format: str
) -> Value:
    """Entries read from the dense Jacobian."""
    jac = jacobian_of(fn, [i], mode, False)[0][i]
    rows, columns = int(fn.outputs[0].type.size), int(fn.inputs[i].type.size)
    matrix = reshape(jac, (rows, columns))
    if len(row) < rows * columns:
        return apply(GATHER, matrix, table(row, "row"), table(col, "col"), axis=0)
    return reshape(transpose(matrix) if format == "csc" else matrix, (rows * columns,))


def ordered(
    row: np.ndarray, col: np.ndarray, format: str, part: str
) -> tuple[np.ndarray, np.ndarray]:
    """The entries of a triangle (or of all), row by row; "csc": column by column."""
    if part != "full":
        kept = col <= row if part == "lower" else col >= row
        row, col = row[kept], col[kept]
    order = np.lexsort((row, col) if format == "csc" else (col, row))
    return row[order], col[order]


def has_rules(fn: Function) -> bool:
    """Whether derivatives that users gave themselves are in fn: their pattern may be any, and no symmetry is sure."""
    return any(
        (node.op is CALL and node.params["kind"] != "checkpoint")
        or any(has_rules(node.params[name]) for name in node.op.regions)
        for node in fn.body
    )
