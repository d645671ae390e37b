"""Compiling once per program and size: C where there is a compiler, NumPy elsewhere."""

from __future__ import annotations

import functools
import shutil
from typing import Any

import gradgen as gg

TARGET = "c" if any(map(shutil.which, ("cc", "gcc", "clang"))) else "numpy"


@functools.lru_cache(maxsize=64)
def compiled(f: Any, specs: tuple[tuple[str, Any], ...], math: str = "default") -> Any:
    """A Compiled that is ready to be called."""
    return gg.compile(f, specs=dict(specs), target=TARGET, options={"math": math}).build()
