"""Which targets a test runs on: C is skipped, visibly, where there is no compiler."""

from __future__ import annotations

import os
import shutil

import pytest

HAS_COMPILER = any(shutil.which(c) for c in (os.environ.get("CC") or "cc", "gcc", "clang"))
needs_c = pytest.mark.skipif(not HAS_COMPILER, reason="no C compiler")
C = pytest.param("c", marks=needs_c)
ARRAY_TARGETS = ["numpy", C]
TARGETS = ["numpy", "python", C]


def differences(f, x, h=1e-6):
    """Central differences of a scalar function at an array."""
    import numpy as np

    x = np.asarray(x, dtype=np.float64)
    out = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        out[i] = (f(up) - f(down)) / (2 * h)
    return out
