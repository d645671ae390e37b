"""Where in the user's code a value was made: found from the call stack, printed relative to the project.

A site is `(filename, line)`, with a third element on statements that differentiation made: "reverse", "forward", or PLACES for
those that say where the entries of a sparse derivative are. Emitted text
cites it as `model.py:12`, `cell 3:5` in a notebook, `<string>:1` otherwise, never as an absolute path, so that the text is the
same on every machine.
"""

from __future__ import annotations

import functools
import linecache
import os
import re
import sys
import warnings

Site = tuple[str, int] | tuple[str, int, str]
PLACES = "rows and columns"

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Model code that happens to live inside the package; a user's line may be in these.
_MODELS = frozenset(_PACKAGE + name for name in ("demo.py", "nn.py"))
_internal: dict[str, bool] = {}


def is_internal(filename: str) -> bool:
    """Whether `filename` is gradgen's own, or emitted by it, or NumPy's, SciPy's or the standard library's plumbing."""
    known = _internal.get(filename)
    if known is None:
        path = filename.replace(os.sep, "/")
        known = _internal[filename] = filename not in _MODELS and (
            filename.startswith((_PACKAGE, "<__array_function__", "<gradgen "))
            or "/site-packages/numpy/" in path
            or "/site-packages/scipy/" in path
            or "/site-packages/jax/" in path
            or os.path.basename(path) in ("functools.py", "contextlib.py", "gradgen", "gradgen.exe")
        )
    return known


def user_site(depth: int = 2) -> Site | None:
    """The innermost frame, `depth` callers up or further, that is not gradgen's own; None if there is none."""
    try:
        frame = sys._getframe(depth)
    except ValueError:
        return None
    internal = _internal.get
    while frame is not None:
        name = frame.f_code.co_filename
        skip = internal(name)
        if skip is None:
            skip = is_internal(name)
        if not skip and not (
            name == "<string>" and frame.f_code.co_name == "__init__"
        ):  # a dataclass's
            return name, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


def raised_at(error: BaseException) -> Site | None:
    """The innermost line that is not gradgen's own among those that an exception passed."""
    site: Site | None = None
    step = error.__traceback__
    while step is not None:
        if not is_internal(step.tb_frame.f_code.co_filename):
            site = step.tb_frame.f_code.co_filename, step.tb_lineno
        step = step.tb_next
    return site


def warn(text: str) -> None:
    """A UserWarning at the user's line."""
    file, line = (user_site(3) or ("<unknown>", 0))[:2]
    warnings.warn_explicit(text, UserWarning, file, line)


@functools.lru_cache(maxsize=4096)
def cite(site: Site | None) -> str:
    """`model.py:12`: the file's base name and line, or `cell 3:5` for a notebook cell; empty for None."""
    if site is None or not site[0]:
        return ""
    filename, line = site[0], site[1]
    if filename.startswith("<"):
        cell = re.match(r"<ipython-input-(\d+)-", filename)
        return f"cell {cell[1]}:{line}" if cell else f"<string>:{line}"
    if "ipykernel_" in filename:
        return f"cell:{line}"
    name = os.path.basename(filename)  # a newline in it would end the comment that cites it
    return f"{''.join(c if c.isprintable() else '?' for c in name)}:{line}"


def describe(site: Site) -> str:
    """The citation and the source text of the line, for error messages."""
    text = linecache.getline(site[0], site[1]).strip()
    return f"{cite(site)}: {text}" if text else cite(site)
