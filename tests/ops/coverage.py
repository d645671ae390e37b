"""The table of `gradgen ops`: which of NumPy's and SciPy's functions are differentiated where, as the rows' own tests find it.

    PYTHONPATH=.:tests python tests/ops/coverage.py        writes gradgen/COVERAGE.md (minutes)

For every row of function_rows and test_fourier: value, vjp, jvp and second order in the engine; value and vjp in the NumPy and
the C target, in f64 and in f32. A function's cell counts the rows that call it and are right; "refused" where it is by name.
"""

from __future__ import annotations

import ast
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ops import function_rows, test_fourier
from ops import test_functions as rows

import gradgen as gg

FILE = Path(gg.__file__).parent / "COVERAGE.md"
COLUMNS = ("engine", "numpy f64", "numpy f32", "c f64", "c f32")
ROOTS = {
    "np": "np",
    "math": "math",
    "sp": "scipy.special",
    "sla": "scipy.linalg",
    "st": "scipy.stats",
    "so": "scipy.optimize",
    "ss": "scipy.signal",
}
HEAD = """# What gradgen differentiates

Made by `tests/ops/coverage.py` from the rows of the tests; `gradgen ops` prints it. A number is how many ways of calling the
function are tested and right: `engine` is value, vjp, jvp and second order against extrapolated differences, the others are
value and vjp in the emitted code. "refused": by name, at the user's line.

"""


def every_row() -> list[Any]:
    return [*function_rows.ROWS, *test_fourier.ROWS]


def functions(f: Any) -> list[str]:
    """What a row calls with one of its arguments inside: np.sum, scipy.stats.norm.pdf, x.sum(), x[...] for an index."""
    call = ast.parse(rows.title(f), mode="eval")
    mine = set(rows.names_of(f))
    found = {}
    for node in ast.walk(call):
        if any(isinstance(n, ast.Name) and n.id in mine for n in ast.walk(node)):
            found |= dict.fromkeys(_named(node))
    return sorted(found)


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Subscript):
        yield "x[...]"
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield "x @ y"
    elif isinstance(node, ast.Call):
        words = ast.unparse(node.func).split(".")
        if words[0] in ROOTS and all(word.isidentifier() for word in words):
            yield ".".join([ROOTS[words[0]], *words[1:]])
        elif isinstance(node.func, ast.Attribute):
            yield f"x.{node.func.attr}()"
        elif isinstance(node.func, ast.Name):
            yield node.func.id


def run(check: Callable[[], None]) -> str:
    """What a check finds: right, refused or wrong."""
    try:
        check()
    except gg.GradgenError:
        return "refused"
    except AssertionError:
        return "wrong"
    return "right"


NEAR = {"f64": rows.EXACT, "f32": ({"rtol": 1e-2, "atol": 1e-2},) * 2}
CHUNK = 48


def in_c(chunk: list[Any], dtype: str) -> list[str]:
    """What each row of a chunk does in C, all of them in one library."""
    made: dict[int, Any] = {}
    words = [
        run(lambda k=k, f=f: made.update({k: rows.in_c(k, f, dtype)})) for k, f in enumerate(chunk)
    ]
    with tempfile.TemporaryDirectory() as folder:
        library = rows.built(list(made.values()), Path(folder))
        for k, fn in made.items():
            words[k] = run(lambda k=k, fn=fn: rows.check_c(library, fn, chunk[k], NEAR[dtype]))
    return words


def outcomes(start: int) -> list[list[str]]:
    """For each row of a chunk one word for each of COLUMNS."""
    chunk = every_row()[start : start + CHUNK]
    with np.errstate(all="ignore"):
        found = [
            *([run(lambda f=f: test(f)) for f in chunk] for test in
              (rows.test_engine, rows.test_numpy_target, rows.test_float32)),
            *(in_c(chunk, dtype) for dtype in ("f64", "f32")),
        ]  # fmt: skip
    return [list(words) for words in zip(*found, strict=True)]


def counts() -> dict[str, int]:
    """How many rows call each function."""
    total: dict[str, int] = {}
    for f in every_row():
        for name in functions(f):
            total[name] = total.get(name, 0) + 1
    return total


def table(words: list[list[str]]) -> str:
    """The page, from the outcomes of every row."""
    cells: dict[str, list[list[str]]] = {}
    for f, found in zip(every_row(), words, strict=True):
        for name in functions(f):
            cells.setdefault(name, []).append(found)
    lines = [f"| function | {' | '.join(COLUMNS)} |", "|---|" + "---:|" * len(COLUMNS)]
    for name in sorted(cells, key=lambda n: (n.rpartition(".")[0], n)):
        columns = list(zip(*cells[name], strict=True))
        lines.append(f"| `{name}` | {' | '.join(map(_cell, columns))} |")
    return HEAD + "\n".join(lines) + "\n"


def _cell(column: tuple[str, ...]) -> str:
    parts = [str(column.count("right"))] if "right" in column else []
    parts += [
        word if not parts else f"{column.count(word)} {word}"
        for word in ("refused", "wrong")
        if word in column
    ]
    return ", ".join(parts)


def all_outcomes() -> list[list[str]]:
    with multiprocessing.Pool() as pool:
        chunks = pool.map(outcomes, range(0, len(every_row()), CHUNK), chunksize=1)
    return [words for chunk in chunks for words in chunk]


if __name__ == "__main__":
    found = all_outcomes()
    FILE.write_text(table(found))
    wrong = [rows.title(f) for f, words in zip(every_row(), found, strict=True) if "wrong" in words]
    print("\n".join(wrong), file=sys.stderr)
