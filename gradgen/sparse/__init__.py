"""Sparse Jacobians and Hessians: `gg.jacobian(f, sparse="csr")`.

    pattern      which entries can differ from zero, read off the program        sets    sets of columns
    diagonals    a few diagonals, each one vector: where elements meet only their neighbours (differentiate.banded)
    colouring    columns (or rows) that can be derived along together        coloured    that, as statements
    scalars      an expression for each entry: where that is cheaper and short
    transforms   the choice between them        matrix    `gg.Sparse`

Values are one vector, and where they belong is fixed. The text is as long for 5,000 elements as for 500, but for the tables
that say which colours the columns have and where entries are. Sizes are known.
"""

from __future__ import annotations

from typing import Any

from gradgen.differentiate.jacobians import Hessian, Jacobian
from gradgen.differentiate.transforms import Transform, Wrt
from gradgen.sparse.matrix import Sparse, chosen_format
from gradgen.sparse.transforms import SparseHessian, SparseJacobian


def jacobian(f: Any, wrt: Wrt = 0, mode: str = "auto", sparse: Any = None) -> Transform:
    """The derivative of every element of the result by every element of `wrt`: arrays of shape result + argument.

    mode: "forward" (a direction per element of the argument), "reverse" (one per element of the result), "auto" (the fewer;
    or by diagonals, where elements of vectors meet only their neighbours).
    sparse: "coo" (or True), "csr", "csc": a `gg.Sparse` of the entries that can differ from zero; sizes must be known.
    """
    format = chosen_format(sparse)
    return Jacobian(f, wrt, mode) if format is None else SparseJacobian(f, wrt, mode, format)


def hessian(f: Any, wrt: Wrt = 0, sparse: Any = None, part: str = "full") -> Transform:
    """The second derivatives of a scalar function, of shape argument + argument (for several, a tuple of tuples).

    part: "lower" or "upper" leaves the other triangle 0 (or out, with sparse). sparse: see `jacobian`.
    """
    format = chosen_format(sparse)
    return Hessian(f, wrt, part) if format is None else SparseHessian(f, wrt, part, format)


__all__ = ["Sparse", "hessian", "jacobian"]
