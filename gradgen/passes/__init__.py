"""Passes over the array IR, Function to Function, in the order in which they run.

    simplify        fold constants; algebra whose validity each rule states
    dce             statements that nothing reads go
    cse             one statement for equal computations; the user-named value wins

Each is pure and linear in the number of statements; the verifier runs after each when asked to.
"""

from __future__ import annotations

from collections.abc import Callable

from gradgen.cse import cse
from gradgen.ir import Function, verify
from gradgen.passes.dce import dce
from gradgen.passes.simplify import simplify

Pass = Callable[[Function], Function]

# lecture: one statement per operation, as the rules made them.
PASSES: dict[str, tuple[Pass, ...]] = {
    "lecture": (dce,),
    "readable": (simplify, dce, cse),
    "fast": (simplify, dce, cse),
}


def optimise(fn: Function, level: str, check: bool = False) -> Function:
    """`fn` after the passes of `level` (lecture, readable, fast); verified after each with `check`, once otherwise."""
    for step in PASSES[level]:
        fn = step(fn)
        if check:
            verify(fn, step.__name__)
    if not check:
        verify(fn, "passes")
    return fn


__all__ = ["PASSES", "cse", "dce", "optimise", "simplify"]
