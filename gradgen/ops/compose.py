"""NumPy functions that are one or several elementwise ops with NumPy's arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.errors import UnsupportedError
from gradgen.ir import OPS, Op
from gradgen.ops import arithmetic, logic, power, select, transcendental  # noqa: F401
from gradgen.ops.calls import cast, where as where_
from gradgen.types import dtype_name
from gradgen.value import FUNCTIONS, apply, implements


@implements(np.where)
def where(condition: Any, *branches: Any) -> Any:
    if len(branches) != 2:
        raise UnsupportedError("np.where(condition) has a shape that depends on data", "use a mask: np.where(mask, x, 0.0).")
    return where_(condition, *branches)


@implements("astype")
def astype(x: Any, dtype: Any) -> Any:
    name = dtype_name(dtype)
    return x if x.type.dtype == name else cast(x, dtype=name)


def _enter(op: Op) -> None:
    def call(*args: Any) -> Any:
        return apply(op, *args)

    call.__name__ = op.name
    for function in op.functions:
        FUNCTIONS[function] = call


for _op in OPS.values():
    if _op.elementwise:
        _enter(_op)
