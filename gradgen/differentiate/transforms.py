"""grad, value_and_grad, vjp, jvp, hvp: function in, function out; they nest in any order.

On arrays the result runs on the interpreted engine; on traced Values it becomes statements of the open trace. Each transform
stages its function at the operands' types, transforms the closed Function, and inlines or interprets it (rule 8).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradgen.differentiate.activity import warn_of_steps
from gradgen.differentiate.canonicalise import canonicalise
from gradgen.differentiate.forward import forward
from gradgen.differentiate.reverse import reverse
from gradgen.engine import interpret
from gradgen.errors import ShapeError, SpecError
from gradgen.ir import Function
from gradgen.ops.index import is_zeros
from gradgen.trace.spec import Static, default_of, takes, unused
from gradgen.trace.stage import Staged, inline, is_dynamic, leaf_type, stage
from gradgen.tree import Mismatch, Tree, fitted, flatten, leaf_names, subtree, unflatten
from gradgen.types import DTYPES
from gradgen.value import Value, any_value, current_trace

Wrt = int | str | Sequence[int | str]


def parameters(f: Any) -> list[str]:
    """Names of the parameters of a function or transform, keyword-only ones last."""
    if isinstance(f, Transform):
        return f.parameters()
    try:
        positional, keywords = takes(f)
    except (TypeError, ValueError):
        raise SpecError(f"gradgen needs a Python function, got {f!r}") from None
    return [*positional, *keywords]


@dataclass
class Selection:
    """What one entry of `wrt` means: the structure there, and per leaf the number of its input (None: no gradient)."""

    name: str
    tree: Tree
    inputs: list[int | None]


def select(f: Any, args: Sequence[Any], wrt: int | str) -> Selection:
    """Resolve a parameter's number, name, or path ("p.Q") against the arguments of a call. SpecError if it fits nothing."""
    names = parameters(f)
    words = wrt.split(".") if isinstance(wrt, str) else []
    if isinstance(wrt, str):
        if words[0] not in names[: len(args)]:
            raise SpecError(f"wrt needs one of the arguments {', '.join(names)}, got {wrt!r}")
        position = names.index(words[0])
    else:
        position = wrt
        if (
            isinstance(wrt, bool)
            or not isinstance(wrt, int)
            or not -len(args) <= position < len(args)
        ):
            raise SpecError(
                f"wrt needs an argument's name or number below {len(args)}, got {wrt!r}"
            )
        position %= len(args)
    number = 0
    for arg in args[:position]:
        number += sum(map(is_dynamic, flatten(arg)[0]))
    leaves, tree = flatten(args[position])
    found = subtree(tree, words[1:])
    if found is None:
        raise SpecError(f"wrt needs a path inside {words[0]}, got {wrt!r}")
    offset, part = found
    number += sum(map(is_dynamic, leaves[:offset]))
    inputs: list[int | None] = []
    for leaf in leaves[offset : offset + part.size]:
        dynamic = is_dynamic(leaf)
        inputs.append(number if dynamic and leaf_type(leaf).is_float else None)
        number += dynamic
    label = (
        str(wrt)
        if isinstance(wrt, str)
        else (names[position] if position < len(names) else f"x{position}")
    )
    if all(i is None for i in inputs):
        kinds = ", ".join(_kind(leaf) for leaf in leaves[offset : offset + part.size]) or "nothing"
        raise SpecError(
            f"wrt needs a floating argument, got {label}: {kinds}",
            "Integers have no derivative; pass it as float64.",
        )
    return Selection(label, part, inputs)


def _kind(leaf: Any) -> str:
    if is_dynamic(leaf):
        return str(leaf_type(leaf))
    return type(getattr(leaf, "value", leaf)).__name__  # a static leaf holds its value


def selections(f: Any, args: Sequence[Any], wrt: Wrt) -> tuple[list[Selection], bool]:
    """All entries of `wrt`, and whether it was given bare."""
    bare = isinstance(wrt, (int, str))
    if not bare and not isinstance(wrt, (tuple, list)):
        raise SpecError(f"wrt needs a name, a number or a tuple of them, got {wrt!r}")
    entries = (wrt,) if isinstance(wrt, (int, str)) else tuple(wrt)
    if not entries:
        raise SpecError("wrt needs at least one argument, got an empty tuple")
    return [select(f, args, entry) for entry in entries], bare


class Transform:
    """A function derived from a function. Calls take what the function takes (and one more for vjp, jvp, hvp)."""

    kind = ""
    extra = ""

    def __init__(self, f: Any, wrt: Wrt = 0, aux: bool = False) -> None:
        if not callable(f):
            raise SpecError(f"{self.kind} needs a function, got {type(f).__name__}")
        self.f = f
        self.wrt = wrt
        self.aux = aux
        self.__name__ = base_name(f) + self.suffix
        self.__doc__ = f"{self.kind} of {base_name(f)} with respect to {wrt}."

    suffix = "_grad"

    def parameters(self) -> list[str]:
        names = parameters(self.f)
        return [*names, unused(self.extra, names)] if self.extra else names

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        """The derived Function at the types of `args`, with its operands and the structure of its result."""
        raise AssertionError("each transform derives its own Function")

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        args = bind(self, args, kwargs)
        if current_trace() is None:
            args = tuple(_plain(a) for a in args)
        staged = self.derive(args, self.parameters())
        if current_trace() is not None:
            return unflatten(
                staged.result, _with_nones(staged, inline(staged.function, staged.operands))
            )
        outputs = interpret(staged.function, staged.operands)
        return unflatten(staged.result, _with_nones(staged, [as_python(v) for v in outputs]))


def _with_nones(staged: Staged, outputs: list[Any]) -> list[Any]:
    """Outputs in the order of the result's leaves; None where there is no gradient."""
    slots = staged.function.notes.get("slots")
    return outputs if slots is None else [None if k is None else outputs[k] for k in slots]


def _plain(arg: Any) -> Any:
    """An eager Value counts as its data; an array-like list of numbers stays a structure."""
    leaves, tree = flatten(arg)
    if not any_value(leaves):
        return arg
    return unflatten(tree, [v.data if isinstance(v, Value) else v for v in leaves])


def as_python(array: Any) -> Any:
    """float64 scalars as float, other arrays as they are."""
    return float(array) if array.ndim == 0 and array.dtype == np.float64 else array


def base_name(f: Any) -> str:
    """A name for what is derived from f: the innermost function's, `fn` for a lambda."""
    while isinstance(f, functools.partial):
        f = f.func
    name = getattr(f, "__name__", None) or type(f).__name__
    return name if name.isidentifier() else "fn"


def bind(f: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Arguments by position, keywords put where the parameters say, defaults before them filled in."""
    if not kwargs:
        return tuple(args)
    names = parameters(f)
    out = list(args)
    for name in names[len(args) :]:
        if not kwargs:
            break
        if name in kwargs:
            out.append(kwargs.pop(name))
            continue
        default = default_of(f, name)
        if default is inspect.Parameter.empty:
            break
        out.append(Static(default))
    if kwargs:
        raise SpecError(
            f"{base_name(f)} has no free parameter {', '.join(kwargs)}; it takes {', '.join(names) or 'none'}"
        )
    return tuple(out)


class ValueAndGrad(Transform):
    kind = "value_and_grad"

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        chosen, bare = selections(self.f, args, self.wrt)
        staged = stage(self.f, args, names, base_name(self.f))
        tree = staged.result
        loss_tree = tree
        if self.aux:
            if tree.kind != "tuple" or len(tree.children) != 2:
                raise SpecError(
                    f"{self.kind} with aux needs a function that returns (loss, aux), got {tree}"
                )
            loss_tree = tree.children[0]
        fn = staged.function
        loss = fn.outputs[0] if fn.outputs else None
        if loss is None or loss_tree.kind != "leaf" or loss.type.shape or not loss.type.is_float:
            got = "a structure" if loss is None or loss_tree.kind != "leaf" else str(loss.type)
            raise ShapeError(
                f"{self.kind} needs a scalar loss of floating dtype, got {got} from {base_name(self.f)}",
                "Sum or average it (np.sum, np.mean), or use gg.vjp.",
            )
        fn = canonicalise(fn)
        wrt = wrt_inputs(chosen)
        derived = reverse(fn, wrt, ["one"] + [None] * (len(fn.outputs) - 1))
        bars = zip(wrt, derived.outputs[len(fn.outputs) :], strict=True)
        warn_of_steps(fn, fn.outputs[0], [i for i, bar in bars if is_zeros(bar)])
        return self.arrange(derived, staged, chosen, bare, wrt, len(fn.outputs), tree)

    def arrange(
        self,
        derived: Function,
        staged: Staged,
        chosen: list[Selection],
        bare: bool,
        wrt: list[int],
        count: int,
        tree: Tree,
    ) -> Staged:
        slots, gradients = gradient_slots(chosen, bare, wrt, count)
        bars = bar_labels(derived, chosen)
        aux = leaf_names("aux", tree.children[1]) if self.aux else []
        if self.kind == "grad":
            kept = [*range(1, count)] if self.aux else []
            result = Tree("tuple", (0, 1), (gradients, tree.children[1])) if self.aux else gradients
            return pick(derived, staged.operands, [*slots, *kept], result, [*bars, *aux])
        both = Tree("tuple", (0, 1), (tree, gradients))
        return pick(derived, staged.operands, [*range(count), *slots], both, ["value", *aux, *bars])


class Grad(ValueAndGrad):
    kind = "grad"


class Vjp(Transform):
    kind = "vjp"
    extra = "y_bar"
    suffix = "_vjp"

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        if len(args) < 2:
            raise SpecError(
                f"vjp needs the arguments of {base_name(self.f)} and y_bar, got {len(args)}"
            )
        *inner, y_bar = args
        chosen, bare = selections(self.f, inner, self.wrt)
        staged = stage(self.f, inner, names, base_name(self.f))
        bars = match(self.kind, "y_bar", y_bar, staged.function.outputs, staged.result)
        fn = canonicalise(staged.function)
        wrt = wrt_inputs(chosen)
        seeds: list[str | None] = list(leaf_names("y_bar", staged.result))
        derived = reverse(fn, wrt, seeds)
        slots, gradients = gradient_slots(chosen, bare, wrt, len(fn.outputs))
        made = pick(
            derived,
            [*staged.operands, *bars],
            [*range(len(fn.outputs)), *slots],
            Tree("tuple", (0, 1), (staged.result, gradients)),
            [*leaf_names("value", staged.result), *bar_labels(derived, chosen)],
        )
        made.function.notes["weighed"] = True
        return made


class Jvp(Transform):
    kind = "jvp"
    extra = "x_dot"
    suffix = "_jvp"

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        if len(args) < 2:
            raise SpecError(
                f"{self.kind} needs the arguments of {base_name(self.f)} and {self.extra}, got {len(args)}"
            )
        *inner, x_dot = args
        chosen, bare = selections(self.f, inner, self.wrt)
        staged = stage(self.f, inner, names, base_name(self.f))
        fn = canonicalise(staged.function)
        parts = [x_dot] if bare else list(x_dot)
        if len(parts) != len(chosen):
            raise SpecError(
                f"{self.extra} needs {len(chosen)} entries, as wrt has, got {len(parts)}"
            )
        wrt: list[int] = []
        dots: list[Any] = []
        for part, selection in zip(parts, chosen, strict=True):
            values = [
                staged.function.inputs[i] if i is not None else None for i in selection.inputs
            ]
            found = match(self.kind, self.extra, part, values, selection.tree)
            wrt += [i for i in selection.inputs if i is not None]
            dots += found
        derived = forward(fn, wrt)
        count = len(fn.outputs)
        made = pick(
            derived,
            [*staged.operands, *dots],
            list(range(2 * count)),
            Tree("tuple", (0, 1), (staged.result, staged.result)),
            [*leaf_names("value", staged.result), *leaf_names("value_dot", staged.result)],
        )
        made.function.notes["moved"] = tuple(wrt)
        return made


class Hvp(Transform):
    kind = "hvp"
    extra = "v"
    suffix = "_hvp"

    def derive(self, args: Sequence[Any], names: Sequence[str]) -> Staged:
        """Forward over reverse: the tangent of the gradient along v."""
        along = Jvp(Grad(self.f, self.wrt), self.wrt)
        along.kind, along.extra = self.kind, self.extra  # what its messages call things
        inner = along.derive(args, names)
        count = inner.result.children[0].size
        slots = inner.function.notes.get("slots") or list(range(2 * count))
        labels = [f"{label}_v" for label in inner.function.notes["labels"][:count]]
        made = pick(inner.function, inner.operands, slots[count:], inner.result.children[1], labels)
        made.function.notes.pop("moved", None)  # the gradient that moves is not among the results
        return made


def wrt_inputs(chosen: Sequence[Selection]) -> list[int]:
    """Numbers of the inputs that the entries of `wrt` select, each once."""
    found = [i for selection in chosen for i in selection.inputs if i is not None]
    return list(dict.fromkeys(found))


def gradient_slots(
    chosen: list[Selection], bare: bool, wrt: list[int], first: int
) -> tuple[list[int | None], Tree]:
    """Which output is the gradient of which leaf, and the structure of all of them; `first` is the first gradient's number."""
    slots: list[int | None] = []
    for selection in chosen:
        slots += [None if i is None else first + wrt.index(i) for i in selection.inputs]
    if bare:
        return slots, chosen[0].tree
    return slots, Tree("tuple", tuple(range(len(chosen))), tuple(s.tree for s in chosen))


def bar_labels(fn: Function, chosen: list[Selection]) -> list[str]:
    """`w_bar` for the gradient of the input w."""
    return [
        "" if i is None else f"{fn.inputs[i].name or f'x{i}'}_bar" for s in chosen for i in s.inputs
    ]


def pick(
    fn: Function, operands: list[Any], slots: Sequence[int | None], result: Tree, labels: list[str]
) -> Staged:
    """The Function with only the outputs that are wanted.

    `notes["slots"]` maps the result's leaves to them; `notes["labels"]` names the leaves.
    """
    used = list(dict.fromkeys(k for k in slots if k is not None))
    out = fn.with_body(fn.body, [fn.outputs[k] for k in used])
    numbers = [None if k is None else used.index(k) for k in slots]
    out.notes = {**fn.notes, "slots": numbers, "labels": labels}
    return Staged(out, operands, result)


def match(kind: str, what: str, given: Any, values: Sequence[Any], tree: Tree) -> list[Any]:
    """The leaves of a cotangent or tangent, checked against the values that they belong to."""
    try:
        leaves = fitted(tree, given, what)
    except Mismatch as found:
        raise ShapeError(f"{kind} needs {found}") from None
    out = []
    for leaf, value in zip(leaves, values, strict=True):
        if value is None or (leaf is None and value is None):
            continue
        if not isinstance(leaf, Value):
            leaf = np.asarray(leaf, DTYPES[value.type.dtype])
        shape = leaf.type.shape if isinstance(leaf, Value) else leaf.shape
        if len(shape) != len(value.type.shape) or any(
            a != b for a, b in zip(shape, value.type.shape, strict=True)
        ):
            raise ShapeError(f"{what} needs {value.type}, got shape {tuple(shape)}")
        out.append(leaf)
    return out


def grad(f: Any, wrt: Wrt = 0, aux: bool = False) -> Grad:
    """The gradient of a scalar function. `wrt`: an argument's number, name or path, or a tuple of them.

    The result mirrors `wrt`: bare for one, a tuple for a tuple, a structure for a structured argument (None at integer
    leaves). With `aux`, f returns (loss, aux) and the result is (gradient, aux). ShapeError if the loss is no scalar.
    """
    return Grad(f, wrt, aux)


def value_and_grad(f: Any, wrt: Wrt = 0, aux: bool = False) -> ValueAndGrad:
    """Like `grad`, returning (value, gradient); with aux ((value, aux), gradient)."""
    return ValueAndGrad(f, wrt, aux)


def vjp(f: Any, wrt: Wrt = 0) -> Vjp:
    """`vjp(f)(*args, y_bar)` -> (y, x_bar): the cotangent of `wrt` for a cotangent y_bar shaped like the result."""
    return Vjp(f, wrt)


def jvp(f: Any, wrt: Wrt = 0) -> Jvp:
    """`jvp(f)(*args, x_dot)` -> (y, y_dot): the derivative of the result along x_dot, shaped like `wrt`."""
    return Jvp(f, wrt)


def hvp(f: Any, wrt: Wrt = 0) -> Hvp:
    """`hvp(f)(*args, v)` -> the Hessian of a scalar function times v, forward over reverse."""
    return Hvp(f, wrt)


__all__ = ["Transform", "grad", "hvp", "jvp", "value_and_grad", "vjp"]
