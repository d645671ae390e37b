"""Sparse Jacobians and Hessians: `gg.jacobian(f, sparse="csr")`.

    blocks       dense blocks of items that read a few items of the arguments: places known at run time, sizes symbolic
                 (items, item_rules: the program of one item        formats: the places of its entries)
    pattern      which entries can differ from zero, read off the program        sets    sets of columns
    diagonals    a few diagonals, each one vector: where elements meet only their neighbours (differentiate.banded); any size
    colouring    columns (or rows) that can be derived along together        coloured    that, as statements
    scalars      an expression for each entry: where that is cheaper and short
    transforms   the choice between them        matrix    `gg.Sparse`

Values are one vector. Of known sizes and places, where they belong is fixed, and the text is as long for 5,000 elements as for
500, but for the tables that say which colours the columns have and where entries are. Otherwise places are results too,
computed beside the values.
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
    sparse: "coo" (or True), "csr", "csc": a `gg.Sparse` of the entries that can differ from zero, a row for each element of the
    result and a column for each of the argument, both numbered row by row; for several arguments or results a structure of
    them, as the dense ones are. Places and sizes may be known at run time only, where each item of the result reads a few
    items of the arguments (`cams[i]` with i among the arguments; entries at one place, which it may have, add up), or where
    there are a few diagonals. Columns that are derived along together meet in sums: where a partial is infinite (sqrt at 0),
    0 * inf may make entries of theirs nan that the dense one has as numbers; none comes out finite and wrong. The other mode
    may keep them.
    """
    format = chosen_format(sparse)
    return Jacobian(f, wrt, mode) if format is None else SparseJacobian(f, wrt, mode, format)


def hessian(f: Any, wrt: Wrt = 0, sparse: Any = None, part: str = "full") -> Transform:
    """The second derivatives of a scalar function, of shape argument + argument (for several, a tuple of tuples).

    part: "lower" or "upper" leaves the other triangle 0 (or, with sparse and one argument, out). sparse: see `jacobian`.
    """
    format = chosen_format(sparse)
    return Hessian(f, wrt, part) if format is None else SparseHessian(f, wrt, part, format)


__all__ = ["Sparse", "hessian", "jacobian"]
