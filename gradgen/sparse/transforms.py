"""The sparse forms of `gg.jacobian` and `gg.hessian`, and which way each is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from gradgen.cost import flops
from gradgen.differentiate.canonicalise import canonicalise
from gradgen.differentiate.jacobians import (
    Jacobian,
    blocks_tree,
    jacobian_labels,
    jacobian_of,
    traced,
)
from gradgen.differentiate.transforms import Grad, Wrt, pick, selections, wrt_inputs
from gradgen.errors import ShapeError, SpecError, UnsupportedError
from gradgen.ir import PARAM, Function
from gradgen.ops.index import GATHER, zeros
from gradgen.ops.regions import CALL
from gradgen.ops.shape import reshape, transpose
from gradgen.passes.calls import inline_everywhere
from gradgen.passes.dce import dce
from gradgen.passes.maps import vectorise
from gradgen.rewriting import splice
from gradgen.sites import PLACES
from gradgen.sizes import evaluate, letters
from gradgen.sparse.blocks import blocks
from gradgen.sparse.coloured import plan_of, values
from gradgen.sparse.diagonals import diagonals, stretched
from gradgen.sparse.formats import arranged
from gradgen.sparse.item_rules import Mixed
from gradgen.sparse.matrix import matrix_tree, warn_if_dense
from gradgen.sparse.pattern import pattern
from gradgen.sparse.scalars import MOST as SCALARS
from gradgen.sparse.scalars import by_scalars
from gradgen.trace.stage import Staged
from gradgen.tree import LEAF, Tree
from gradgen.types import Bundle, Type
from gradgen.value import Trace, Value, apply, table

WORK = 20_000  # operations of a dense Jacobian that is taken apart into scalars


class Matrix(NamedTuple):
    """One of the matrices of a sparse derivative: the parts that are computed, and what else makes a Sparse of them."""

    parts: tuple[str, ...]
    known: dict[str, Any]


class SparseJacobian(Jacobian):
    """A Jacobian of which only the entries that can differ from zero are computed."""

    label = "jac"
    part = "full"
    symmetric = False

    def __init__(self, f: Any, wrt: Wrt, mode: str, format: str) -> None:
        super().__init__(f, wrt, mode)
        self.format = format

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        chosen, bare = selections(self.f, args, self.wrt)
        inner, _ = traced(self.inner(), args, names)
        fn, wrt = canonicalise(inner.function), wrt_inputs(chosen)
        count = len(fn.outputs)
        if self.part != "full" and (count, len(wrt)) != (1, 1):
            raise ShapeError(
                f'a sparse {self.label} with part="{self.part}" needs one argument in wrt, got {len(wrt)}',
                "Concatenate the arguments, or take all of it.",
            )
        made, matrices = self.matrices(fn, [(k, i) for k in range(count) for i in wrt])
        tree, places = blocks_tree(inner, chosen, bare, wrt, count)
        ends = list(accumulate((len(m.parts) for m in matrices), initial=0))
        leaves: list[Tree] = []
        slots: list[int | None] = []
        labels: list[str] = []
        for label, place in zip(
            jacobian_labels(inner, fn, chosen, self.label), places, strict=True
        ):
            if place is None:  # an integer among the leaves of a structure
                leaves.append(LEAF)
                slots.append(None)
                labels.append(label)
                continue
            matrix = matrices[place - count]
            leaves.append(matrix_tree(matrix.parts, format=self.format, **matrix.known))
            slots += range(ends[place - count], ends[place - count + 1])
            labels += [f"{label}_{part}" for part in matrix.parts]
        made.notes = {}
        return pick(made, inner.operands, slots, filled(tree, iter(leaves)), labels)

    def inner(self) -> Any:
        """What the Jacobian is of."""
        return self.f

    def matrices(
        self, fn: Function, pairs: Sequence[tuple[int, int]]
    ) -> tuple[Function, list[Matrix]]:
        """A Function of the parts of the matrices of outputs by inputs, one after the other, and what they are parts of."""
        static = is_static(fn)
        found = self.by_places(fn, pairs, static)
        if found is not None:
            return found
        functions, matrices = [], []
        for k, i in pairs:
            one = fn.with_body(fn.body, [fn.outputs[k]])
            made, row, col = self.entries(one, i, symmetric=self.symmetric and len(pairs) == 1)
            shape = (int(fn.outputs[k].type.size), int(fn.inputs[i].type.size))
            if self.part == "full":
                warn_if_dense(fn, len(row), shape, self.format, self.label)
            for places in (row, col):
                places.flags.writeable = False  # all results share them
            functions.append(made)
            matrices.append(Matrix(("data",), {"row": row, "col": col, "shape": shape}))
        if len(functions) == 1:
            return functions[0], matrices
        with Trace(trusted=True) as trace:
            trace.inputs = list(fn.inputs)
            trace.requires = dict.fromkeys(fn.requires)
            outputs = [v for made in functions for v in splice(made, fn.inputs)]
        return trace.function(fn.name, outputs, fn.title), matrices

    def by_places(
        self, fn: Function, pairs: Sequence[tuple[int, int]], static: bool
    ) -> tuple[Function, list[Matrix]] | None:
        """The matrices with places that are computed: where they depend on data, or a size is symbolic."""
        outputs, wrt = (list(dict.fromkeys(numbers)) for numbers in zip(*pairs, strict=True))
        matrices = []
        parts: list[Value] = []
        with Trace(trusted=True) as trace:
            trace.inputs, trace.body = list(fn.inputs), list(fn.body)
            trace.requires = dict.fromkeys(fn.requires)
            found: dict[tuple[int, int], dict[str, Value]] = {}
            try:
                if self.part != "full":
                    raise Mixed(fn.outputs[0])
                entries = blocks(fn, outputs, wrt, self.mode)
                if static and entries.fixed:
                    return None
                trace.site = ("", 0, PLACES)
                for k, i in pairs:
                    shape = (fn.outputs[k].type.size, fn.inputs[i].type.size)
                    found[k, i] = arranged(entries.entries[k, i], shape, self.format)
            except Mixed as mixed:
                if static:
                    return None
                for k, i in pairs:
                    made = stretched(fn, k, i, self.format, self.part) if self.banded else None
                    if made is None:
                        raise self.refusal(fn, pairs, mixed.node) from None
                    found[k, i] = made
            for (k, i), made in found.items():
                shape = (fn.outputs[k].type.size, fn.inputs[i].type.size)
                symbolic = "shape" in made
                matrices.append(Matrix(tuple(made), {"sizes" if symbolic else "shape": shape}))
                parts += made.values()
        return trace.function(fn.name, parts, fn.title), matrices

    def refusal(
        self, fn: Function, pairs: Sequence[tuple[int, int]], node: Value
    ) -> UnsupportedError:
        """Why sizes that are symbolic need to be numbers: what mixes the items of an argument."""
        wrt = [fn.inputs[i] for i in dict.fromkeys(i for _, i in pairs)]
        names = ", ".join(f"{v.name}: {v.type}" for v in wrt)
        what = "reads all of it" if node.op is PARAM else f"mixes them by {node.op.name}"
        types = [v.type for v in (*wrt, *fn.outputs)]
        sizes = sorted({x for ty in types for d in ty.shape for x in letters(d)})
        return UnsupportedError(
            f"a sparse {self.label} with the size {', '.join(sizes)} needs a result each of whose items reads a few items of "
            f"{names}; got one that {what}",
            f"Give {' and '.join(sizes)} a number in the specs, or take the dense derivative or a product with it (jvp, vjp).",
            site=node.site,
        )

    def entries(
        self, fn: Function, i: int, symmetric: bool
    ) -> tuple[Function, np.ndarray, np.ndarray]:
        """A Function of the entries' values, and where they belong: the cheapest of the ways that there are."""
        if self.banded:
            found = diagonals(fn, i, self.format, self.part)
            if found is not None:
                return found
        ruled = has_rules(fn)
        found_set = pattern(fn if ruled else vectorise(dce(inline_everywhere(fn))), i, 0)
        rows, columns = int(fn.outputs[0].type.size), int(fn.inputs[i].type.size)
        row, col = ordered(found_set.row, found_set.indices, self.format, self.part)
        plan = None
        if len(row) < rows * columns:
            plan = plan_of(found_set, columns, self.mode, symmetric and not ruled)
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


def is_static(fn: Function) -> bool:
    """Whether all sizes of a Function's values are numbers."""
    return all(
        ty.static
        for v in (*fn.inputs, *fn.body)
        for ty in (v.type.parts if isinstance(v.type, Bundle) else (v.type,))
    )


def filled(tree: Tree, leaves: Iterator[Tree]) -> Tree:
    """`tree` with each leaf replaced by the next of `leaves`."""
    if tree.kind == "leaf":
        return next(leaves)
    return Tree(tree.kind, tree.keys, tuple(filled(c, leaves) for c in tree.children), tree.cls)


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
