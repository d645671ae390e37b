"""Passes over the array IR, Function to Function, in the order in which they run.

    inline          calls of functions with derivatives of their own become their statements
    columns         maps over small arrays become maps over their numbers, for NumPy
    vectorise       maps become statements over whole arrays, for NumPy
    simplify        fold constants; algebra whose validity each rule states
    dce             statements that nothing reads go
    sums            sums of products of matrices become products of sums
    unchanging      what a loop carries though no step changes it becomes an operand
    invariant       what every step of a loop computes alike moves before the loop
    cse             one statement for equal computations; the user-named value wins
    share           an exponential that several functions contain is computed once; a sigmoid and its slope share one
    identities      sums over an axis of an identity matrix become what it picks, for NumPy
    products        sums of products become products of vectors, for NumPy
    rows            sums of products over short axes become einsum, for NumPy
    factors         multiples of arrays that are computed anyway serve other products, for NumPy
    differences     the sign of a product's operand makes a sum a difference, for NumPy
    signs           what a constant factor can take over, for NumPy at level fast
    turn            matrices that loops read against their rows are copied the other way round, for C at level fast

Each is pure and linear in the number of statements, and runs on the regions of loops and branches first; a Function that has
regions goes through the column twice, since operands that are numbers move into them. The verifier runs after each when
asked to.
"""

from __future__ import annotations

from collections.abc import Callable

from gradgen.cse import cse
from gradgen.invariant import invariant
from gradgen.ir import Function, verify
from gradgen.passes.calls import inline
from gradgen.passes.columns import columns
from gradgen.passes.dce import dce
from gradgen.passes.factors import factors
from gradgen.passes.identities import identities
from gradgen.passes.maps import vectorise
from gradgen.passes.products import products
from gradgen.passes.rows import rows
from gradgen.passes.sharing import share, share_logistic, share_sigmoids
from gradgen.passes.signs import differences, signs
from gradgen.passes.simplify import simplify
from gradgen.passes.sums import sums
from gradgen.passes.turned import turn
from gradgen.passes.unchanging import unchanging
from gradgen.rewriting import within

Pass = Callable[[Function], Function]

# lecture: one statement per operation, as the rules made them.
PASSES: dict[str, tuple[Pass, ...]] = {
    "lecture": (inline, dce),
    "readable": (inline, simplify, dce, sums, unchanging, invariant, cse, share),
    "fast": (inline, simplify, dce, sums, unchanging, invariant, cse, share, share_sigmoids),
}

WHOLE_ARRAYS = ("numpy",)
# What only pays where each statement is a pass over memory.
FOR_WHOLE_ARRAYS: dict[str, tuple[Pass, ...]] = {
    "readable": (share_sigmoids, identities, products, rows, factors, differences),
    "fast": (
        share_logistic,
        share_sigmoids,
        identities,
        products,
        rows,
        factors,
        differences,
        signs,
    ),
}
BY_COLUMNS: dict[str, tuple[Pass, ...]] = {"readable": (columns,), "fast": (columns,)}
# What only pays where the elements of an array are read in loops, which know how it lies in memory.
FOR_LOOPS: dict[str, tuple[Pass, ...]] = {"fast": (turn, invariant, cse)}
BY_ITSELF = (columns, turn)  # goes into regions itself
FOR_REGIONS = (
    inline,
    invariant,
    unchanging,
)  # what a Function without loops, branches and calls needs not


def optimise(fn: Function, level: str, check: bool = False, target: str = "numpy") -> Function:
    """`fn` after the passes of `level` (lecture, readable, fast); verified after each with `check`, once otherwise."""
    steps = PASSES[level]
    if target in WHOLE_ARRAYS:
        steps = (*steps, *FOR_WHOLE_ARRAYS.get(level, ()))
    regions = fn.has_regions
    if regions:
        steps = (*steps, *steps)
        if target in WHOLE_ARRAYS:
            steps = (inline, *BY_COLUMNS.get(level, ()), vectorise, *steps)
        steps = (*steps, simplify, dce)  # of the numbers that dead code has put into bodies
    else:
        steps = tuple(step for step in steps if step not in FOR_REGIONS)
    return _after(fn, steps, regions, check)


def for_loops(fn: Function, level: str, check: bool = False) -> Function:
    """An optimised Function, on arrays that lie row by row, as C computes it; verified like `optimise`."""
    regions = any(node.op.regions for node in fn.body)
    return _after(fn, FOR_LOOPS.get(level, ()) if regions else (), regions, check)


def _after(fn: Function, steps: tuple[Pass, ...], regions: bool, check: bool) -> Function:
    for step in steps:
        fn = step(within(fn, step)) if regions and step not in BY_ITSELF else step(fn)
        if check:
            verify(fn, step.__name__)
    if steps and not check:
        verify(fn, "passes")
    return fn


__all__ = [
    "PASSES",
    "cse",
    "dce",
    "for_loops",
    "inline",
    "invariant",
    "optimise",
    "simplify",
    "unchanging",
    "vectorise",
]
