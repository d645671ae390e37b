"""How a Compiled's source becomes callable: Python text is executed, C is compiled and loaded. Chosen by target, picklable.

A runner is `(compiled, cc, flags) -> Ready`, with `.call(arrays, sizes) -> outputs`: arrays in the order of the Function's
inputs, outputs in the order of its results; `.type` makes calls that need no conversion cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradgen.engine import interpret
from gradgen.errors import GradgenError, ShapeError, SpecError
from gradgen.ir import Function
from gradgen.quick import quick_type
from gradgen.trace.spec import Leaf, Signature, SizeSpec
from gradgen.tree import Tree, unflatten
from gradgen.types import DTYPES, Type

Call = Callable[[list[np.ndarray], dict[str, int]], list[Any]]


@dataclass
class Interface:
    """What a caller of C needs of the Function: the types of inputs and outputs."""

    inputs: list[Leaf]
    outputs: list[Leaf]


def load_python(compiled: Any) -> Callable[..., Any]:
    """The function that the emitted module defines, executed once in a namespace of its own."""
    namespace: dict[str, Any] = {"__name__": f"gradgen.emitted.{compiled.name}"}
    exec(compile(compiled.source, f"<gradgen {compiled.name}.py>", "exec"), namespace)
    found: Callable[..., Any] = namespace[compiled.name]
    return found


@dataclass
class Ready:
    """A function that can be called. caller: through what; type: makes a subclass of Compiled that calls it faster, or None."""

    call: Call
    caller: str
    type: Callable[[type], type | None] = lambda base: None


def run_python(compiled: Any, cc: str | None = None, flags: list[str] | None = None) -> Ready:
    """numpy and python targets."""
    function = load_python(compiled)
    signature = compiled.signature
    passed = signature.passed
    simple = all(a.tree.kind == "leaf" and not a.is_size for a in passed)
    scalars = compiled.target == "python"
    access = [
        (k, path)
        for k, path in zip(signature.slots, result_paths(signature.result), strict=True)
        if k is not None
    ]
    count = len(signature.results)

    def call(arrays: list[np.ndarray], sizes: dict[str, int]) -> list[Any]:
        given: list[Any] = [a.tolist() for a in arrays] if scalars else list(arrays)
        args = given if simple else structured(signature, given, sizes)
        try:
            result = function(*args)
        except TypeError as error:
            raise SpecError(str(error)) from error
        except np.linalg.LinAlgError:  # a ValueError too: of the numbers, not of their shapes
            raise
        except ValueError as error:
            if scalars:
                raise
            raise ShapeError(str(error)) from error
        outputs: list[Any] = [None] * count
        for k, path in access:
            value = result
            for key in path:
                value = value[key]
            outputs[k] = value
        if scalars:
            return [as_output(v, ty) for v, ty in zip(outputs, signature.result_types, strict=True)]
        return outputs

    return Ready(call, "python", lambda base: quick_type(base, compiled, function))


def as_output(value: Any, ty: Type) -> Any:
    """A nested list as an array of the result's type."""
    return np.array(value, DTYPES[ty.dtype]).reshape(ty.lengths) if ty.shape else value


def structured(signature: Signature, arrays: list[Any], sizes: dict[str, int]) -> list[Any]:
    """Flat arrays back in the structures of the arguments; captured arrays last."""
    source = iter(arrays)
    out = []
    for argument in signature.passed:
        leaves = [
            next(source)
            if isinstance(e, Leaf)
            else sizes[argument.name]
            if isinstance(e, SizeSpec)
            else e.value
            for e in argument.entries
        ]
        out.append(unflatten(argument.tree, leaves))
    return [*out, *source]


def result_paths(tree: Tree) -> list[tuple[Any, ...]]:
    """The keys to each leaf of what an emitted module returns: named tuples and dataclasses are dicts there."""
    if tree.kind == "leaf":
        return [()]
    return [
        (key, *rest)
        for key, child in zip(tree.keys, tree.children, strict=True)
        for rest in result_paths(child)
    ]


@dataclass(frozen=True)
class CRunner:
    """The C target: compiled and loaded, cached by content. file: the signatures of all functions of a file of several."""

    file: tuple[Signature, ...] = ()

    def __call__(
        self, compiled: Any, cc: str | None = None, flags: list[str] | None = None
    ) -> Ready:
        from gradgen.build import CFunction

        signature = compiled.signature
        interface: Any = Interface(
            signature.leaves, [Leaf("", ty) for ty in signature.result_types]
        )
        options = compiled.options
        made = CFunction(
            compiled.files, interface, signature, options.math, cc, flags, self.file, options.order
        )

        def call(*given: Any) -> list[Any]:
            try:
                return made.call(*given)
            except IndexError:
                _say_index(compiled, *given[:2])
                raise

        return Ready(call, made.caller, made.type)


def _say_index(compiled: Any, arrays: Sequence[Any], sizes: dict[str, int]) -> None:
    """The error of a bad index with the index and the size that it is for: C only knows that there is one."""
    ir = compiled._stages.get("optimized")
    if not isinstance(ir, Function):
        return
    try:
        interpret(ir, arrays, sizes)
    except IndexError as error:
        raise IndexError(f"{compiled.name}: {error}") from None
    except GradgenError:
        return


def runner_of(target: str, file: Sequence[Signature] = ()) -> Callable[..., Ready]:
    """The runner of a target. file: the signatures of a file of several functions."""
    # Static arguments are in the source already, and may be anything: a runner is pickled.
    known = tuple(replace(s, arguments=s.passed) for s in file)
    return CRunner(known) if target == "c" else run_python
