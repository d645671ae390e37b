"""Instructions of an emitted C function, counted by valgrind: the regression check that no busy machine disturbs.

    python tests/benchmarks/instructions.py            counts against budgets.json
    python tests/benchmarks/instructions.py --record   write the counts of today as budgets

The kernel is compiled for x86-64-v3 and called once by a small driver that reads its arguments from a file; what libm's
functions execute counts too. Budgets belong to one major version of one compiler.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from workloads import WORKLOADS

import gradgen as gg
from gradgen.sizes import evaluate
from gradgen.toolchain import find_compiler, flags_for
from gradgen.types import C_NAMES, DTYPES

BUDGETS = Path(__file__).with_name("budgets.json")
SLACK = 1.05
COUNTED = (
    "micrograd", "sin_exp", "rosenbrock-10", "rosenbrock-1000", "logistic", "mlp_small", "mlp_large", "graph-1000",
    "arm-1", "bundle-1", "bundle-10000", "rnn", "rosenbrock-hvp",
)  # fmt: skip


def compiler() -> str:
    """gcc 12, say."""
    words = [*find_compiler(), "-dumpversion"]
    version = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    said = subprocess.run(
        [*find_compiler(), "--version"], capture_output=True, text=True, check=True
    )
    name = "clang" if "clang" in said.stdout else "gcc"
    return f"{name} {version.strip().partition('.')[0]}"


def unavailable() -> str:
    """Why nothing can be counted here, "" if it can."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return "budgets are for x86-64"
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    recorded = json.loads(BUDGETS.read_text())["compiler"] if BUDGETS.exists() else ""
    if recorded and "--record" not in sys.argv and compiler() != recorded:
        return f"budgets are of {recorded}, here is {compiler()}"
    return ""


def count(name: str) -> tuple[int, float]:
    """Instructions of one call, and the value it computed."""
    w = WORKLOADS[name]
    fn = gg.compile(w.program(), *w.specs, target="c", name=name.replace("-", "_"))
    arrays, sizes = fn.arrays(tuple(w.args()), {})
    with tempfile.TemporaryDirectory() as folder:
        for file, text in fn.files.items():
            Path(folder, file).write_text(text)
        Path(folder, "driver.c").write_text(driver(fn, arrays, sizes))
        with open(Path(folder, "arguments"), "wb") as stream:
            for array in arrays:
                stream.write(np.ascontiguousarray(array).tobytes())
        flags = [
            "-march=x86-64-v3" if flag == "-march=native" else flag
            for flag in flags_for(fn.source, "default")
        ]
        for file, own in ((f"{fn.name}.c", flags), ("driver.c", ["-std=gnu11"])):
            subprocess.run([*find_compiler(), *own, "-c", file], cwd=folder, check=True)
        words = [*find_compiler(), f"{fn.name}.o", "driver.o", "-o", "driver", "-lm"]
        subprocess.run(words, cwd=folder, check=True)
        words = [
            "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--toggle-collect={fn.name}",
            "./driver", "arguments",
        ]  # fmt: skip
        bound = {
            **os.environ,
            "LD_BIND_NOW": "1",
        }  # the linker's work on a first call does not count
        done = subprocess.run(
            words, cwd=folder, env=bound, capture_output=True, text=True, check=True
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, done.stderr
    return int(found[1]), float(done.stdout)


def driver(fn: Any, arrays: list[np.ndarray], sizes: dict[str, int]) -> str:
    """A program that reads the arguments, calls the function once and prints its value."""
    lines, call = [], [str(sizes[letter]) for letter in fn.signature.letters]
    for k, (leaf, array) in enumerate(zip(fn.signature.leaves, arrays, strict=True)):
        kind = C_NAMES[leaf.type.dtype]
        lines.append(f"    {kind} *a{k} = take(stream, {max(array.nbytes, 1)});")
        call.append(f"a{k}" if leaf.type.shape else f"*a{k}")
    for k, ty in enumerate(fn.signature.result_types):
        size = (
            int(np.prod([evaluate(d, sizes) for d in ty.shape], dtype=int))
            * DTYPES[ty.dtype].itemsize
        )
        lines.append(
            f"    {C_NAMES[ty.dtype]} *r{k} = aligned_alloc(64, {(size + 127) // 64 * 64});"
        )
        call.append(f"r{k}")
    if f"{fn.name}_work_bytes(" in fn.files[f"{fn.name}.h"]:
        work = f"({fn.name}_work_bytes({', '.join(call[: len(sizes)])}) + 127) / 64 * 64"
        call.append(f"aligned_alloc(64, {work})")
    body = "\n".join(lines)
    return f"""\
#include "{fn.name}.h"
#include <stdio.h>
#include <stdlib.h>

static void *take(FILE *stream, size_t bytes)
{{
    void *block = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (fread(block, 1, bytes, stream) != bytes)
        exit(2);
    return block;
}}

int main(int count, char **words)
{{
    FILE *stream = fopen(words[count - 1], "rb");
{body}
    int code = {fn.name}({", ".join(call)});
    printf("%.17g\\n", *r0);
    return code;
}}
"""


def main() -> int:
    why = unavailable()
    if why:
        print(f"nothing counted: {why}")
        return 0
    counts = {name: count(name)[0] for name in COUNTED}
    if "--record" in sys.argv:
        BUDGETS.write_text(
            json.dumps({"compiler": compiler(), "instructions": counts}, indent=2) + "\n"
        )
    budgets = json.loads(BUDGETS.read_text())["instructions"]
    over = 0
    for name, found in counts.items():
        over += found > budgets[name] * SLACK
        print(f"{name:<18} {found:>12,} {found / budgets[name]:>7.3f} of its budget")
    return int(over > 0)


if __name__ == "__main__":
    sys.exit(main())
