"""Compiling once per program and size: C where there is a compiler, NumPy elsewhere."""

from __future__ import annotations

import functools
import shutil
from typing import Any

import gradgen as gg

TARGET = "c" if any(map(shutil.which, ("cc", "gcc", "clang"))) else "numpy"
# Weights of far components lie below 2.3e-308, where some processors are a hundred times as slow: they count as zero.
FAST = gg.Options(math="fast")


@functools.lru_cache(maxsize=64)
def compiled(f: Any, specs: tuple[tuple[str, Any], ...], name: str | None = None) -> Any:
    """A Compiled that is ready to be called."""
    return gg.compile(f, specs=dict(specs), target=TARGET, name=name, options=FAST).build()
