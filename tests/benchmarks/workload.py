"""What a workload of the benchmark is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Workload:
    """args: what the function is called with; the first `wrt` of them are differentiated, by `derive`.

    derive: a transform's name; "jacobian" is of one vector by the first `wrt` arguments, one matrix [outputs, inputs], and
    "jacobians" that for each item of arrays, for a model of one item.

    own: a model of its own for one contender (loops are `gg.scan` here, `lax.scan` there). skip: why a contender is left out.
    """

    name: str
    model: Callable[[Any], Callable[..., Any]]
    specs: tuple[Any, ...]
    args: Callable[[], list[Any]]
    wrt: int
    by_hand: Callable[..., Any]
    casadi: Callable[..., Any] | None = None
    targets: tuple[str, ...] = ("numpy", "c")
    skip: dict[str, str] = field(default_factory=dict)
    quick: bool = True
    hand_c: str = ""
    numba: Callable[[Any], Callable[..., Any]] | None = None
    derive: str = "value_and_grad"
    own: dict[str, Callable[[Any], Callable[..., Any]]] = field(default_factory=dict)

    def function(self, who: str, names: Any) -> Callable[..., Any]:
        """The model in a contender's terms."""
        return self.own.get(who, self.model)(names)

    def program(self) -> Any:
        """What gradgen compiles."""
        import gradgen as gg

        f = self.function("gradgen", np)
        by = tuple(range(self.wrt))
        if self.derive == "value_and_grad":
            return gg.value_and_grad(f, wrt=by)
        if self.derive in ("jacobian", "jacobians"):
            one = beside(np, gg.jacobian(f, wrt=by))
            return one if self.derive == "jacobian" else gg.vmap(one)
        return getattr(gg, self.derive)(f, 0)


def beside(np: Any, jacobian: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose Jacobians by several arguments stand beside each other in one matrix; by a number they are vectors."""

    def blocks(*args: Any) -> Any:
        found = jacobian(*args)
        return np.concatenate([b if len(b.shape) > 1 else b[:, None] for b in found], axis=1)

    return blocks
