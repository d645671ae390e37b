"""From array SSA to loops, and the passes over loops, in the order in which they run.

    lowering    one nest per statement; scalars at the top level; a Function of a few numbers is all scalars (`apart`)
    fuse        loops of one extent become one, forward and reverse alike
    interchange a loop over steps around a loop over elements is turned inside out, and shares loops (fuse) with what is around
    forward     loads of what the block knows are that scalar
    sweep       stores and scalars that nothing reads go
    contract    temporaries of one iteration become scalars or small arrays of their block
    hoist       scalars that do not depend on a loop are computed before it
    unroll      short loops that only move what small arrays hold are written out
    write_out   and the short loops of rows that take steps
    firsts      rows of zeros that are added to place by place start with what is added first
    gather      additions to neighbouring places are collected place by place, and stored once
    abreast     rows that take steps take them side by side, a block of rows at a time
    block       long loops go in blocks of rows where that lets mathematical functions be computed side by side
    jam         a loop of additions to one small array takes several of its steps at once
    masks       small arrays of truth values are kept as numbers
    lanes       sums are collected in lanes that do not wait for each other
    share       with parallel=True: long loops are cut into parts for threads
    split       a long top level is cut into parts, to be functions of their own
    storage     the other temporaries go on the stack or into the workspace

Each is a pure function of a Kernel, linear in its statements. `kernel` is the loop IR on one screen; `run` interprets it;
`inspect` verifies and shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gradgen.ir import Function
from gradgen.lower.abreast import abreast, write_out
from gradgen.lower.block import block
from gradgen.lower.contract import contract, forward, sweep
from gradgen.lower.firsts import firsts
from gradgen.lower.fuse import fuse
from gradgen.lower.gather import gather
from gradgen.lower.hoist import hoist
from gradgen.lower.inspect import show, verify
from gradgen.lower.interchange import interchange
from gradgen.lower.jam import jam
from gradgen.lower.kernel import Kernel
from gradgen.lower.lanes import lanes
from gradgen.lower.lowering import lower
from gradgen.lower.masks import masks
from gradgen.lower.split import split
from gradgen.lower.storage import storage
from gradgen.lower.threads import share
from gradgen.lower.unroll import unroll
from gradgen.options import Options

Pass = Callable[[Kernel], Kernel]

# lecture: one nest per statement of the Function; an index that is known as a place has no statement.
PASSES: dict[str, tuple[Pass, ...]] = {
    "lecture": (sweep, split, storage),
    "readable": (fuse, forward, sweep, contract, hoist, forward, sweep, split, storage),
    "fast": (
        fuse, interchange, fuse, forward, sweep, contract, hoist, forward, sweep, unroll, write_out, firsts, gather, forward,
        sweep, abreast, block, jam, masks, lanes, split, storage,
    ),
}  # fmt: skip


def _steps(fn: Function, labels: Sequence[str], options: Any) -> Iterator[tuple[str, Kernel]]:
    level = options.level("c") if options is not None else "fast"
    kernel = lower(fn, labels, gemm=level == "fast", apart=level == "fast")
    yield "lowering", kernel
    steps = list(PASSES[level])
    if options is not None and options.parallel:
        steps.insert(steps.index(split), share)
    for step in steps:
        kernel = step(kernel)
        if options is not None and options.verify:
            verify(kernel, step.__name__)
        yield step.__name__, kernel
    verify(kernel, "the passes over loops")


def stages(
    fn: Function, labels: Sequence[str] = (), options: Options | None = None
) -> list[tuple[str, Kernel]]:
    """The Kernel after lowering and after each pass, with the pass's name; the last is what is printed."""
    return list(_steps(fn, labels, options))


def compile_loops(
    fn: Function, labels: Sequence[str] = (), options: Options | None = None
) -> Kernel:
    """`fn` as loops after all passes."""
    kernel = None
    for _, kernel in _steps(fn, labels, options):  # noqa: B007  (only the last is kept)
        pass
    assert kernel is not None
    return kernel


__all__ = ["PASSES", "Kernel", "compile_loops", "lower", "show", "stages"]
