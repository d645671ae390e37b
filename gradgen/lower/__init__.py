"""From array SSA to loops, and the passes over loops, in the order in which they run.

    lowering    one nest per statement; scalars at the top level
    storage     temporaries on the stack or in the workspace
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradgen.ir import Function
from gradgen.lower.kernel import Kernel, show, verify
from gradgen.lower.lowering import lower
from gradgen.lower.storage import storage

Pass = Callable[[Kernel], Kernel]

PASSES: tuple[Pass, ...] = (storage,)


def stages(fn: Function, labels: Sequence[str] = (), options: Any = None) -> list[tuple[str, Kernel]]:
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
