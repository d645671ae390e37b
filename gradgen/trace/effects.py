"""What a captured branch or loop changes beside its variables: it is traced, so that a change would be made always, or once.

Looked at are the objects that a block reaches through its closure: cells, lists, dicts, sets and attributes of the user's
objects; and the same of the globals that it names, functions left out. What a refused block has changed is put back.
Plain arrays are read-only meanwhile (`Frozen`). Traced values have their own rules (`branches`), and modules and classes are
left alone. Nor can a block raise.
"""

from __future__ import annotations

import dis
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from gradgen.errors import UnsupportedError
from gradgen.handle import Handle
from gradgen.sites import is_internal, raised_at
from gradgen.value import Value

_LEAF = (Value, Handle, np.ndarray, np.generic, ModuleType, type, BuiltinFunctionType, str, bytes,
         int, float, complex, type(None), range, slice)  # fmt: skip
_LIBRARIES = frozenset(("gradgen", "numpy", "scipy", "builtins"))
MOST = 10_000  # containers looked at: a block that reaches more is a program with large tables

# Globals that are code, not data: through them a block would reach all of its program.
_NOT_FOLLOWED = (FunctionType, MethodType)

Contents = list[tuple[Any, tuple[Any, ...]]]


def _inside(obj: Any) -> tuple[Any, ...] | None:
    """What an object holds, keys before values; None where it holds nothing of the user's."""
    if isinstance(obj, CellType):
        try:
            return (obj.cell_contents,)
        except ValueError:  # not bound yet
            return ()
    if isinstance(obj, dict):
        return (*obj, *obj.values())
    if isinstance(obj, (list, tuple, set, frozenset)):
        return tuple(obj)
    if isinstance(obj, FunctionType):
        found = (obj.__globals__.get(name) for name in obj.__code__.co_names)
        return (*(obj.__closure__ or ()), *(v for v in found if not isinstance(v, _NOT_FOLLOWED)))
    if isinstance(obj, MethodType):
        return (obj.__self__, obj.__func__)
    if type(obj).__module__.partition(".")[0] in _LIBRARIES or not hasattr(obj, "__dict__"):
        return None
    return (obj.__dict__,)


def contents(*roots: Any) -> Contents:
    """Every container that is reached from the roots, with what it holds now."""
    found: Contents = []
    seen: set[int] = set()
    todo = list(roots)
    while todo and len(found) < MOST:
        obj = todo.pop()
        if isinstance(obj, _LEAF) or id(obj) in seen:
            continue
        seen.add(id(obj))
        held = _inside(obj)
        if held is None:
            continue
        found.append((obj, held))
        todo.extend(held)
    return found


def check_unchanged(before: Contents) -> None:
    """UnsupportedError where a container no longer holds what it held; it holds that again."""
    changed = [(obj, held) for obj, held in before if not _holds(obj, held)]
    for obj, held in changed:
        _put_back(obj, held)
    if changed:
        raise UnsupportedError(
            f"a captured branch or loop changes more than its variables: {_described(changed[0][0])}",
            "It is traced, not run: assign to a local variable in it, or into an array made with np.zeros before it, "
            "and store that afterwards.",
        )


class Frozen:
    """The plain arrays among what a block reaches, read-only while it is traced: UnsupportedError where it writes into one."""

    def __init__(self, held: Contents) -> None:
        found = {id(v): v for _, values in held for v in values if _is_writable(v)}
        # Those that own their memory come last: a view gets back what it shows.
        self.arrays = sorted(found.values(), key=lambda a: a.base is None)

    def __enter__(self) -> None:
        for array in self.arrays:
            array.flags.writeable = False

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for array in reversed(self.arrays):
            array.flags.writeable = True
        if self.arrays and isinstance(error, ValueError) and "read-only" in str(error):
            raise UnsupportedError(
                "a captured branch or loop changes more than its variables: a plain array",
                "Make the array with np.zeros, np.ones or np.full, or choose the value: a[i] = np.where(test, b, c).",
                site=raised_at(error),
            ) from error


def _is_writable(obj: Any) -> bool:
    """An array that can be made read-only and writable again."""
    return (
        isinstance(obj, np.ndarray)
        and obj.flags.writeable
        and (obj.base is None or (type(obj.base) is np.ndarray and obj.base.flags.writeable))
    )


def _holds(obj: Any, held: tuple[Any, ...]) -> bool:
    now = _inside(obj)
    return (
        now is not None
        and len(now) == len(held)
        and all(a is b for a, b in zip(now, held, strict=True))
    )


def _put_back(obj: Any, held: tuple[Any, ...]) -> None:
    """Let a cell, list, dict or set hold what it held: nothing else changes but through these."""
    if isinstance(obj, CellType):
        if held:
            obj.cell_contents = held[0]
        else:
            del obj.cell_contents
    elif isinstance(obj, list):
        obj[:] = held
    elif isinstance(obj, dict):
        obj.clear()
        obj.update(zip(held[: len(held) // 2], held[len(held) // 2 :], strict=True))
    elif isinstance(obj, set):
        obj.clear()
        obj.update(held)


def _described(obj: Any) -> str:
    words: dict[type, str] = {
        CellType: "a variable of an enclosing function",
        dict: "a dict or an attribute",
        list: "a list",
        set: "a set",
    }
    return words.get(type(obj)) or type(obj).__name__


def check_not_raised(error: BaseException) -> None:
    """Refuse a block of a traced test that ends by a `raise` of the user's; other errors are errors of tracing."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None or is_internal(step.tb_frame.f_code.co_filename):
        return
    if dis.opname[step.tb_frame.f_code.co_code[step.tb_lasti]] == "RAISE_VARARGS":
        raise UnsupportedError(
            f"a branch that is taken by traced values raises {type(error).__name__}: both branches are traced, and emitted "
            "code raises nothing",
            "Check the arguments before the call, or return a value that marks the case, such as np.nan or np.inf.",
            site=raised_at(error),
        ) from error
