"""Where temporaries live: small ones of known size on the stack, the others in the caller's workspace.

    stack   at most SMALL bytes each and TOTAL together
    work    one argument; every buffer starts at a multiple of 64 bytes; two whose lives do not overlap and whose sizes are
            equal share a place. `work_bytes` is the whole, a formula in the sizes; one that the kernel names itself counts as
            the most that it can be.

A life is counted in statements of the kernel's top level.
"""

from __future__ import annotations

from heapq import heappop, heappush

from gradgen.lower.kernel import Buffer, Kernel, accessed, walk
from gradgen.sizes import Dim, add, floordiv, mul, substitute
from gradgen.types import BYTES

SMALL = 4096
TOTAL = 32768


def storage(kernel: Kernel) -> Kernel:
    """`kernel` with a place for every temporary."""
    lives: dict[int, list[int]] = {}
    buffers: dict[int, Buffer] = {}
    for k, item in enumerate(kernel.body):
        for stmt in walk([item]):
            for buffer, _, _ in accessed(stmt):
                memory = buffer.memory
                if memory.storage == "temp":
                    buffers[id(memory)] = memory
                    lives.setdefault(id(memory), [k, k])[1] = k
    placed: dict[int, tuple[str, Dim]] = {}
    free: dict[Dim, list[Dim]] = {}
    busy: list[tuple[int, int]] = []  # last statement, number of the slot in use
    slot_of: list[tuple[Dim, Dim]] = []
    used = 0
    total: Dim = 0
    for key, buffer in buffers.items():  # in the order of first use
        first, last = lives[key]
        size = mul(BYTES[buffer.dtype], substitute(buffer.size, kernel.letters))
        if isinstance(size, int) and size <= SMALL and used + size <= TOTAL:
            used += size
            placed[key] = ("stack", 0)
            continue
        room = aligned(size)
        while busy and busy[0][0] < first:
            _, number = heappop(busy)
            dim, offset = slot_of[number]
            free.setdefault(dim, []).append(offset)
        slots = free.get(room)
        if slots:
            offset = slots.pop()
        else:
            offset, total = total, add(total, room)
        heappush(busy, (last, len(slot_of)))
        slot_of.append((room, offset))
        placed[key] = ("work", offset)
    out = kernel.with_body(kernel.body)
    out.placement = placed
    out.work_bytes = total
    return out


def aligned(size: Dim) -> Dim:
    """`size` bytes rounded up to a multiple of 64."""
    terms = [(None, size)] if isinstance(size, int) else list(size.terms)
    if all(c % 64 == 0 for _, c in terms):
        return size
    return mul(64, floordiv(add(size, 63), 64))
