"""A value and gradient over one flat vector, as optimisers (scipy.optimize.minimize with jac=True) want it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError
from gradgen.trace.spec import Argument, Leaf
from gradgen.tree import unflatten
from gradgen.types import DTYPES


def flat(
    compiled: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[Any], tuple[float, np.ndarray]]:
    """`x -> (value, gradient)`; the differentiated arguments lie in x one after the other, the others stay as given."""
    bars = _gradients(compiled)
    signature = compiled.signature
    if not args and not kwargs:
        args = tuple(_zeros(a) for a in signature.passed)
    arrays, sizes = compiled.arrays(args, kwargs)
    leaves = signature.leaves
    chosen = [k for k, leaf in enumerate(leaves) if f"{leaf.label}_bar" in bars]
    order = [bars[f"{leaves[k].label}_bar"] for k in chosen]
    count = sum(arrays[k].size for k in chosen)
    function = compiled.build()._ready.call

    def call(x: Any) -> tuple[float, np.ndarray]:
        x = np.asarray(x)
        if not np.can_cast(x.dtype, np.float64, "safe"):
            raise SpecError(f"{compiled.name} needs a vector of float64, got {x.dtype}")
        x = x.astype(np.float64, copy=False)
        if x.shape != (count,):
            raise ShapeError(
                f"{compiled.name} needs a vector of {count} numbers, got shape {x.shape}"
            )
        current, start = list(arrays), 0
        for k in chosen:
            shape, size = arrays[k].shape, arrays[k].size
            current[k] = x[start : start + size].reshape(shape).astype(arrays[k].dtype)
            start += size
        outputs = function(current, sizes)
        return float(outputs[0]), np.concatenate([np.ravel(outputs[i]) for i in order])

    call.x0 = np.concatenate([np.ravel(arrays[k]) for k in chosen])  # type: ignore[attr-defined]
    return call


def _gradients(compiled: Any) -> dict[str, int]:
    """The numbers of the outputs that are gradients, by label."""
    results = compiled.signature.results
    bars = {label: k for k, label in enumerate(results) if label.endswith("_bar")}
    if not bars or results[0] != "value":
        raise SpecError(
            f"flat() needs a value_and_grad function, got {compiled.name} with results {results}"
        )
    return bars


def _zeros(argument: Argument) -> Any:
    leaves = []
    for entry in argument.entries:
        if not isinstance(entry, Leaf) or not entry.type.static:
            raise SpecError(f"flat() needs example arguments for the sizes of {argument.name}")
        leaves.append(np.zeros(entry.type.lengths, DTYPES[entry.type.dtype]))
    return unflatten(argument.tree, leaves)
