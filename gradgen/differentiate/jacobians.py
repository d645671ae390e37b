"""vmap, jacobian, hessian and their values: maps over items, and over the directions of a basis.

A Jacobian is one map (gradgen.ops.regions) over the rows of an identity matrix: forward mode pushes a direction of the input
through in each step, reverse mode pulls a direction of the output back. What does not depend on the direction, the function's
value above all, stands before the map. Of a vector by a vector whose elements meet only their neighbours, the diagonals are
computed instead, each at once (banded).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradgen.differentiate.banded import band, dense
from gradgen.differentiate.batch import numbers
from gradgen.differentiate.canonicalise import canonicalise
from gradgen.differentiate.forward import forward
from gradgen.differentiate.reverse import reverse
from gradgen.differentiate.transforms import (
    Grad,
    Selection,
    Transform,
    ValueAndGrad,
    Wrt,
    base_name,
    pick,
    selections,
    wrt_inputs,
)
from gradgen.errors import ShapeError, SpecError
from gradgen.ir import NO_PARAMS, OPS, PARAM, Function
from gradgen.ops.basis import eye
from gradgen.ops.index import zeros
from gradgen.ops.regions import SCAN, items
from gradgen.ops.shape import reshape, transpose
from gradgen.rewriting import splice
from gradgen.sizes import Dim
from gradgen.trace.stage import Staged, is_dynamic, leaf_type, stage
from gradgen.tree import Tree, flatten, leaf_names, unflatten
from gradgen.types import I64, Type
from gradgen.value import Trace, Value, apply, constant, current_trace, new_node


def parameter(ty: Type, name: str | None = None) -> Value:
    """An input of a Function under construction."""
    node = new_node(PARAM, (), NO_PARAMS, ty, None, None)
    node.name = name
    return node


def mapped(
    body: Function,
    xs: Sequence[Value],
    consts: Sequence[Value],
    length: Dim,
    index: Value | None = None,
) -> list[Value]:
    """The results of `body(*items, *consts)` for the items of xs, stacked, in the open trace.

    index: the parameter that stands for the item's number, where the body reads that.
    """
    number = parameter(I64) if index is None else index
    region = Function(body.name, [number, *body.inputs], body.outputs, body.body)
    made = apply(
        SCAN, *xs, *consts, body=region, carries=0, items=len(xs), length=length, reverse=False, kept=()
    )  # fmt: skip
    return items(made)


# -- vmap
class Vmap(Transform):
    """`f` over a batch: one item of each mapped argument a call, results stacked."""

    kind = "vmap"
    suffix = "_vmap"

    def __init__(self, f: Any, in_axes: Any = 0, out_axes: Any = 0) -> None:
        super().__init__(f)
        self.in_axes, self.out_axes = in_axes, out_axes
        self.__doc__ = f"{base_name(f)} over a batch."

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        axes = self.axes(args)
        size: Dim | None = None
        leaves: list[Any] = []
        stand_ins, per_item = [], []
        labels: list[str] = []
        for k, (arg, axis) in enumerate(zip(args, axes, strict=True)):
            found, tree = flatten(arg)
            inner = []
            root = names[k] if k < len(names) else f"x{k}"
            for leaf, at, label in zip(found, axis, leaf_names(root, tree), strict=True):
                if not is_dynamic(leaf):
                    inner.append(leaf)
                    continue
                ty = leaf_type(leaf)
                leaves.append(leaf)
                labels.append(label)
                per_item.append(at)
                if at is not None:
                    if not -ty.ndim <= at < ty.ndim:
                        raise ShapeError(f"vmap needs an axis {at} in {label}, got {ty}")
                    at %= ty.ndim
                    per_item[-1] = at
                    if size is not None and ty.shape[at] != size:
                        raise ShapeError(
                            f"vmap needs mapped axes of one size, got {size} and {ty.shape[at]} ({label})"
                        )
                    size = ty.shape[at]
                    ty = ty.with_shape((*ty.shape[:at], *ty.shape[at + 1 :]))
                inner.append(parameter(ty, label))
            stand_ins.append(unflatten(tree, inner))
        if size is None:
            raise SpecError("vmap needs an argument with a mapped axis, got in_axes without one")
        staged = stage(self.f, stand_ins, names, base_name(self.f))
        body = staged.function
        own = len(leaves)
        with Trace(trusted=True) as trace:
            inputs = [trace.input(leaf_type(v), n) for v, n in zip(leaves, labels, strict=True)]
            inputs += [trace.input(v.type, v.name) for v in body.inputs[own:]]
            xs = [_front(v, at) for v, at in zip(inputs, per_item, strict=False) if at is not None]
            consts = [v for v, at in zip(inputs, per_item, strict=False) if at is None] + inputs[
                own:
            ]
            order = [v for v, at in zip(body.inputs, per_item, strict=False) if at is not None]
            order += [v for v, at in zip(body.inputs, per_item, strict=False) if at is None]
            order += body.inputs[own:]
            item = Function("item", order, body.outputs, body.body)
            results = mapped(item, xs, consts, size)
            out_axes = self.result_axes(staged.result, results)
            outputs = [_back(v, at) for v, at in zip(results, out_axes, strict=True)]
            for out, inner_out in zip(outputs, body.outputs, strict=True):
                out.name = out.name or inner_out.name
        fn = Function(body.name, inputs, outputs, trace.body, body.requires)
        parent = current_trace()
        if parent is not None:
            for need in body.requires:
                parent.requires.setdefault(need)
        fn.notes["labels"] = leaf_names("value", staged.result)
        return Staged(fn, [*leaves, *staged.operands[own:]], staged.result)

    def axes(self, args: Sequence[Any]) -> list[list[int | None]]:
        """For each leaf of each argument, the axis that is mapped."""
        given = self.in_axes
        if given is None or isinstance(given, int):
            given = [given] * len(args)
        if not isinstance(given, (tuple, list)) or len(given) != len(args):
            raise SpecError(
                f"in_axes needs a number, or one entry for each of {len(args)} arguments, got {self.in_axes!r}"
            )
        return [_spread_axes("in_axes", axis, arg) for axis, arg in zip(given, args, strict=True)]

    def result_axes(self, tree: Tree, results: Sequence[Value]) -> list[int]:
        found = _spread_axes("out_axes", self.out_axes, unflatten(tree, list(results)))
        out = []
        for axis, value in zip(found, results, strict=True):
            if axis is None or not -value.type.ndim <= axis < value.type.ndim:
                raise SpecError(f"out_axes needs an axis of {value.type}, got {axis}")
            out.append(axis % value.type.ndim)
        return out


def _spread_axes(what: str, axes: Any, value: Any) -> list[int | None]:
    """One axis per leaf from a number, None, or a structure of them."""
    leaves, tree = flatten(value)
    if axes is None or (isinstance(axes, int) and not isinstance(axes, bool)):
        return [axes] * len(leaves)
    found, given = flatten(axes)
    if given != tree:
        raise SpecError(f"{what} needs a number or the structure {tree}, got {axes!r}")
    return found


def _front(value: Value, axis: int) -> Value:
    if axis == 0:
        return value
    rest = [k for k in range(value.type.ndim) if k != axis]
    return transpose(value, [axis, *rest])


def _back(value: Value, axis: int) -> Value:
    if axis == 0:
        return value
    order = list(range(1, value.type.ndim))
    return transpose(value, [*order[:axis], 0, *order[axis:]])


# -- jacobian
class Jacobian(Transform):
    kind = "jacobian"
    suffix = "_jac"
    with_value = False

    def __init__(self, f: Any, wrt: Wrt = 0, mode: str = "auto") -> None:
        super().__init__(f, wrt)
        if mode not in ("auto", "forward", "reverse"):
            raise SpecError(f'mode needs "auto", "forward" or "reverse", got {mode!r}')
        self.mode = mode
        self.banded = mode == "auto"

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        chosen, bare = selections(self.f, args, self.wrt)
        inner, _ = traced(self.f, args, names)
        fn = canonicalise(inner.function)
        wrt = wrt_inputs(chosen)
        with Trace(trusted=True) as trace:
            trace.inputs = list(fn.inputs)
            trace.body = list(fn.body)
            trace.requires = dict.fromkeys(fn.requires)
            table = jacobian_of(fn, wrt, self.mode, self.banded)
        count = len(fn.outputs)
        outputs = [*fn.outputs, *(row[i] for row in table for i in wrt)]
        joint = trace.function(fn.name, outputs)
        joint.notes = {}
        tree, slots = blocks_tree(inner, chosen, bare, wrt, count)
        labels = jacobian_labels(inner, fn, chosen, "jac")
        if not self.with_value:
            picked = pick(joint, inner.operands, slots, tree, labels)
            picked.function.notes["columns"] = fn.inputs[wrt[0]].type.shape
            return picked
        values = leaf_names("value", inner.result)
        slots_of = inner.function.notes.get("slots") or list(range(count))
        both = Tree("tuple", (0, 1), (inner.result, tree))
        return pick(joint, inner.operands, [*slots_of, *slots], both, [*values, *labels])


class ValueAndJacobian(Jacobian):
    kind = "value_and_jacobian"
    with_value = True


def traced(f: Any, args: Sequence[Any], names: Sequence[str]) -> tuple[Staged, list[str]]:
    """A function, or what a transform of one derives, at the types of args."""
    if isinstance(f, Transform):
        staged = f.derive(args, names)
        return staged, list(staged.function.notes.get("labels", ()))
    return stage(f, args, names, base_name(f)), []


def blocks_tree(
    staged: Staged, chosen: Sequence[Selection], bare: bool, wrt: Sequence[int], count: int
) -> tuple[Tree, list[int | None]]:
    """The structure of a Jacobian (the result's, each leaf replaced by that of `wrt`), and the output of each leaf."""
    inner = (
        chosen[0].tree
        if bare
        else Tree("tuple", tuple(range(len(chosen))), tuple(c.tree for c in chosen))
    )
    inputs = [i for c in chosen for i in c.inputs]
    result_slots = staged.function.notes.get("slots") or list(range(count))
    slots: list[int | None] = []
    for k in result_slots:
        for i in inputs:
            slots.append(None if i is None or k is None else count + k * len(wrt) + wrt.index(i))
    return graft(staged.result, inner), slots


def graft(tree: Tree, inner: Tree) -> Tree:
    """`tree` with each of its leaves replaced by `inner`."""
    if tree.kind == "leaf":
        return inner
    return Tree(tree.kind, tree.keys, tuple(graft(c, inner) for c in tree.children), tree.cls)


def jacobian_labels(
    staged: Staged, fn: Function, chosen: Sequence[Selection], stem: str
) -> list[str]:
    """`jac`, `jac_w` for several arguments, `jac_0_w` for several results."""
    inputs = [i for c in chosen for i in c.inputs]
    outer = leaf_names(stem, staged.result)
    out = []
    for label in outer:
        for i in inputs:
            name = "" if i is None else fn.inputs[i].name or f"x{i}"
            out.append(label if len(inputs) == 1 else f"{label}_{name}")
    return out


def jacobian_of(
    fn: Function, wrt: Sequence[int], mode: str, banded: bool
) -> list[dict[int, Value]]:
    """For each output and each input numbered in `wrt`, the Jacobian of shape output + input, in the open trace, which
    holds fn's statements. banded: by its diagonals where that is possible, whatever the mode."""
    table: list[dict[int, Value]] = [{} for _ in fn.outputs]
    floats = [k for k, v in enumerate(fn.outputs) if v.type.is_float]
    for k, v in enumerate(fn.outputs):
        for i in wrt:
            x = fn.inputs[i].type
            if not v.type.is_float:
                table[k][i] = zeros(Type.of(x.dtype, (*v.type.shape, *x.shape)))
                continue
            found = band(fn, i, k) if banded else None
            if found is not None:
                table[k][i] = dense(found, v.type.shape[0], x.shape[0], v.type.dtype)
    if (mode if mode != "auto" else cheaper(fn, wrt)) == "forward":
        for i in wrt:
            rest = [k for k in floats if i not in table[k]]
            if rest:
                for k, block in zip(rest, forward_blocks(fn, i, rest), strict=True):
                    table[k][i] = block
    else:
        for k in floats:
            by = [i for i in wrt if i not in table[k]]
            if by:
                for i, block in zip(by, reverse_blocks(fn, k, by), strict=True):
                    table[k][i] = block
    return table


def cheaper(fn: Function, wrt: Sequence[int]) -> str:
    """The mode with fewer directions; forward where the sizes do not tell."""
    inputs = [fn.inputs[i].type for i in wrt]
    outputs = [v.type for v in fn.outputs if v.type.is_float]
    if all(not ty.shape for ty in outputs):
        return (
            "reverse"
            if len(outputs) <= len(inputs) or any(ty.shape for ty in inputs)
            else "forward"
        )
    if all(ty.static for ty in [*inputs, *outputs]):
        directions = [
            sum(int(ty.size) for ty in tys if isinstance(ty.size, int)) for tys in (inputs, outputs)
        ]
        return "forward" if directions[0] <= directions[1] else "reverse"
    if all(ty.static for ty in outputs) and not all(ty.static for ty in inputs):
        return "reverse"
    return "forward"


def forward_blocks(fn: Function, i: int, outputs: Sequence[int]) -> list[Value]:
    """The Jacobians of outputs by input i, by forward mode along each of its elements."""
    joint = forward(fn, [i])
    ty = fn.inputs[i].type
    count = len(fn.outputs)
    dots = [joint.outputs[count + k] for k in outputs]
    direction = joint.inputs[len(fn.inputs)]
    body = Function("directions", [direction, *fn.inputs], dots, joint.body)
    if not ty.shape:
        return splice(body, [constant(1.0, ty.dtype), *fn.inputs])
    size = ty.size
    basis = reshape(eye(size, ty.dtype), (size, *ty.shape))
    stacks = mapped(body, [basis], fn.inputs, size)
    found = []
    for v in stacks:
        ndim = v.type.ndim
        last = transpose(v, [*range(1, ndim), 0])
        found.append(reshape(last, (*last.type.shape[:-1], *ty.shape)))
    return found


def reverse_blocks(fn: Function, k: int, wrt: Sequence[int]) -> list[Value]:
    """The Jacobians of output k by the inputs in `wrt`, by reverse mode along each of its elements."""
    ty = fn.outputs[k].type
    count = len(fn.outputs)
    seeds = [None if j != k else "y_bar" for j in range(count)]
    joint = reverse(fn, wrt, seeds)
    direction = joint.inputs[len(fn.inputs)]
    body = Function("directions", [direction, *fn.inputs], joint.outputs[count:], joint.body)
    if not ty.shape:
        return splice(body, [constant(1.0, ty.dtype), *fn.inputs])
    size = ty.size
    basis = reshape(eye(size, ty.dtype), (size, *ty.shape))
    stacks = mapped(body, [basis], fn.inputs, size)
    return [reshape(v, (*ty.shape, *v.type.shape[1:])) for v in stacks]


# -- hessian
class Hessian(Jacobian):
    """Forward mode over the gradient."""

    kind = "hessian"
    suffix = "_hess"

    def __init__(self, f: Any, wrt: Wrt = 0, part: str = "full", mode: str = "auto") -> None:
        super().__init__(f, wrt, mode)
        if part not in ("full", "lower", "upper"):
            raise SpecError(f'part needs "full", "lower" or "upper", got {part!r}')
        self.part = part

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        gradient = Grad(self.f, self.wrt)
        inner = Jacobian(gradient, self.wrt, "forward" if self.mode == "auto" else self.mode)
        inner.banded = self.banded
        staged = inner.derive(args, names)
        labels = [label.replace("jac", "hess", 1) for label in staged.function.notes["labels"]]
        staged.function.notes["labels"] = labels
        return triangle(staged, self.part)


def triangle(staged: Staged, part: str) -> Staged:
    """Square matrices among the outputs with only their lower or upper triangle."""
    if part == "full":
        return staged
    fn = staged.function
    with Trace(trusted=True) as trace:
        trace.inputs, trace.body = list(fn.inputs), list(fn.body)
        trace.requires = dict.fromkeys(fn.requires)
        outputs = []
        for v in fn.outputs:
            if v.type.ndim != 2 or v.type.shape[0] != v.type.shape[1]:
                raise ShapeError(
                    f'part="{part}" needs a matrix for a Hessian, got {v.type}',
                    "Take the Hessian by one vector, or the full one.",
                )
            outputs.append(v * _mask(v.type, part))
    out = trace.function(fn.name, outputs)
    out.notes = fn.notes
    return Staged(out, staged.operands, staged.result)


def _mask(ty: Type, part: str) -> Value:
    """Ones on the diagonal and below (or above) it."""
    rows = numbers(ty.shape[0], 2)
    columns = reshape(rows, (1, ty.shape[0]))
    below = (
        apply(OPS["less_equal"], columns, rows)
        if part == "lower"
        else apply(OPS["less_equal"], rows, columns)
    )
    return apply(OPS["cast"], below, dtype=ty.dtype)


class ValueGradHessian(Hessian):
    kind = "value_grad_hessian"

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        chosen, bare = selections(self.f, args, self.wrt)
        first = ValueAndGrad(self.f, self.wrt).derive(args, names)
        fn = first.function
        slots = fn.notes["slots"]
        wrt = wrt_inputs(chosen)
        gradient = fn.with_body(fn.body, fn.outputs[1:])
        with Trace(trusted=True) as trace:
            trace.inputs, trace.body = list(fn.inputs), list(fn.body)
            trace.requires = dict.fromkeys(fn.requires)
            mode = "forward" if self.mode == "auto" else self.mode
            table = jacobian_of(gradient, wrt, mode, self.banded)
        count = len(fn.outputs)
        joint = trace.function(fn.name, [*fn.outputs, *(row[i] for row in table for i in wrt)])
        joint.notes = {}
        bars = first.result.children[1]
        grads = Staged(gradient, first.operands, bars)
        gradient.notes = {"slots": [None if k is None else k - 1 for k in slots[1:]]}
        tree, blocks = blocks_tree(grads, chosen, bare, wrt, count - 1)
        blocks = [None if k is None else k + 1 for k in blocks]
        labels = [*fn.notes["labels"], *jacobian_labels(grads, fn, chosen, "hess")]
        whole = Tree("tuple", (0, 1, 2), (first.result.children[0], bars, tree))
        return pick(joint, first.operands, [*slots, *blocks], whole, labels)


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Vmap:
    """`f` over a batch. in_axes: the mapped axis of every argument, or one entry per argument (a number, None for an argument
    that all items share, or a structure of them); out_axes likewise for the results. ShapeError where sizes differ.
    """
    return Vmap(f, in_axes, out_axes)


def value_and_jacobian(f: Any, wrt: Wrt = 0, mode: str = "auto") -> ValueAndJacobian:
    """Like `jacobian`, returning (value, jacobian)."""
    return ValueAndJacobian(f, wrt, mode)


def value_grad_hessian(f: Any, wrt: Wrt = 0) -> ValueGradHessian:
    """(value, gradient, Hessian) of a scalar function, with what they have in common computed once."""
    return ValueGradHessian(f, wrt)
