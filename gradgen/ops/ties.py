"""The policy for ties: whether equal operands of a maximum or minimum split the derivative, or the first of them has it.

`with ties("first"):` holds while a function is traced and differentiated (`Options.ties`); "split" is the default. A constant
operand wins its ties under both.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class _Policy(threading.local):
    first = False


_policy = _Policy()

# How conventions read under "first", by how they read by default.
WORDS = {
    "half each at a tie": "all to the first at a tie",
    "ties share the derivative evenly": "the first of equals has the derivative",
}


@contextlib.contextmanager
def ties(policy: str) -> Iterator[None]:
    """Within the block, "split" or "first"."""
    saved, _policy.first = _policy.first, policy == "first"
    try:
        yield
    finally:
        _policy.first = saved


def first_wins() -> bool:
    """Whether the first of equals has the whole derivative."""
    return _policy.first
