"""What a workload of the benchmark is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Workload:
    """args: what the function is called with; the first `wrt` of them are differentiated, by `derive`.

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
        if self.derive == "value_and_grad":
            return gg.value_and_grad(f, wrt=tuple(range(self.wrt)))
        return getattr(gg, self.derive)(f, 0)
