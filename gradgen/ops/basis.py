"""The identity matrix: the directions along which a Jacobian is taken.

eye(n=, dtype=)    n x n, ones on the diagonal
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.ir import Op, define
from gradgen.sizes import Dim
from gradgen.spelling import Expr
from gradgen.types import DTYPES, Type
from gradgen.value import Value, apply


def _spell(operands: Any, node: Any, target: Any) -> Expr:
    dtype = node.params["dtype"]
    given = "" if dtype == "f64" else f", dtype={target.dtype(dtype)}"
    return Expr(f"np.eye({target.size(node.params['n'])}{given})")


EYE: Op = define(
    Op(
        "eye",
        lambda n, dtype: Type.of(dtype, (n, n)),
        lambda n, dtype: np.eye(n, dtype=DTYPES[dtype]),
        "The identity matrix.",
        flops=0,
        numpy=_spell,
        nest=lambda lowering, node: lowering.eye(node),
    )
)


def eye(n: Dim, dtype: str) -> Value:
    """The identity matrix of n rows."""
    return apply(EYE, n=n, dtype=dtype)
