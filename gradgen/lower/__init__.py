"""From array SSA to loops, and the passes over loops, in the order in which they run.

lowering    one nest per statement; scalars at the top level
fuse        loops of one extent become one, forward and reverse alike
forward     loads of what the block knows are that scalar
sweep       stores and scalars that nothing reads go
contract    temporaries of one iteration become scalars or small arrays of their block
split       a long top level is cut into parts, to be functions of their own
storage     the others go on the stack or into the workspace
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradgen.ir import Function
from gradgen.lower.contract import contract, forward, sweep
from gradgen.lower.fuse import fuse
from gradgen.lower.inspect import show, verify
from gradgen.lower.kernel import Kernel
from gradgen.lower.lowering import lower
from gradgen.lower.split import split
from gradgen.lower.storage import storage

Pass = Callable[[Kernel], Kernel]

PASSES: tuple[Pass, ...] = (fuse, forward, sweep, contract, forward, sweep, split, storage)


def stages(
    fn: Function, labels: Sequence[str] = (), options: Any = None
) -> list[tuple[str, Kernel]]:
    """The Kernel after lowering and after each pass, with the pass's name; the last is what is printed."""
    kernel = lower(fn, labels)
    found = [("lowering", kernel)]
    check = bool(getattr(options, "verify", False))
    for step in PASSES:
        kernel = step(kernel)
        if check:
            verify(kernel, step.__name__)
        found.append((step.__name__, kernel))
    verify(kernel, "the passes over loops")
    return found


def compile_loops(fn: Function, labels: Sequence[str] = (), options: Any = None) -> Kernel:
    """`fn` as loops after all passes."""
    return stages(fn, labels, options)[-1][1]


__all__ = ["PASSES", "Kernel", "compile_loops", "lower", "show", "stages"]
