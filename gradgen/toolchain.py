"""The C compiler: which one, with which flags, run how; and the folder where what it made is kept.

    find_compiler(cc=None) -> command      flags_for(text, math) -> flags      run(command, folder)      cache_folder()

The compiler is `cc`, else $CC, else cc, gcc or clang. FLAGS are the one set of compiler flags. Raises BuildError: no compiler,
or one that fails (its message is shown).
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from gradgen.errors import BuildError

FLAGS = (
    "-O3",  # loops are vectorised
    "-march=native",  # for this machine: the CPU is part of the cache's key
    "-std=c99",
    "-ffp-contract=fast",  # fused multiply-add; off for math="strict"
    "-fno-math-errno",  # libm need not set errno: sqrt is one instruction
    "-fno-trapping-math",  # nobody reads the exception flags: a select may evaluate both sides
    # gcc: loops of 9 to 16 steps are left to the vectoriser, which calls vector functions; unrolled first they are not.
    "--param=max-completely-peel-times=8",
    # gcc: several choices by one condition stay choices: as two paths through the loop's body, it would not be vectorised.
    "--param=max-jump-thread-duplication-stmts=0",
    # The tiles and lanes of emitted code are meant for whole registers; gcc takes half of them by default on Intel.
    *(("-mprefer-vector-width=512",) if platform.machine() in ("x86_64", "AMD64") else ()),
)
# math="fast": sums and quotients may be reordered. At compile time only: linked with -ffast-math, a library would make the
# whole process flush denormals.
_REORDER = ("-fassociative-math", "-freciprocal-math", "-fno-signed-zeros")
LIBRARIES = ("-lm",)
# The wrapper that Python calls: short, the same few lines for every function, quick to compile.
CALL_FLAGS = ("-O2", "-std=gnu11", "-fwrapv", "-w")
# -Bsymbolic: our function is called, not one of the process that has its name.
SHARED = (
    ("-bundle", "-undefined", "dynamic_lookup")
    if sys.platform == "darwin"
    else ("-shared", "-Wl,-Bsymbolic")
)
# Long straight-line text: -O1 compiles in linear time, and higher levels gain nothing there.
LONG = 150_000
STRAIGHT = 20_000  # characters of a text without loops: some 200 statements
_LONG_FLAGS = ("-O1", *FLAGS[1:])


# The sine and the cosine of one number would be computed together, which no vector function does.
_APART = ("-fno-builtin-sin", "-fno-builtin-cos", "-fno-builtin-sinf", "-fno-builtin-cosf")


def flags_for(text: str, math: str) -> tuple[str, ...]:
    kernel = text.partition("_SELFTEST)")[0]
    limit = LONG if "for (" in kernel else STRAIGHT
    flags: tuple[str, ...] = _LONG_FLAGS if len(text) > limit else FLAGS
    if all(
        re.search(rf'simd\("notinbranch"\), const.* {name}f?\(', text) for name in ("sin", "cos")
    ):
        flags = (*flags, *_APART)
    if "#pragma omp" in text:
        flags = (*flags, "-fopenmp")
    if math == "fast":
        flags = (*flags, *_REORDER)
    return tuple(
        "-ffp-contract=off" if f.startswith("-ffp") and math == "strict" else f for f in flags
    )


def libraries_for(text: str) -> tuple[str, ...]:
    """What a text is linked with; a BLAS where it calls one: $GRADGEN_BLAS, else the first that is found."""
    if "cblas_" not in text:
        return LIBRARIES
    given = os.environ.get("GRADGEN_BLAS")
    if given:
        return (*shlex.split(given), *LIBRARIES)
    names = ("openblas", "cblas", "blas")
    name = next((n for n in names if ctypes.util.find_library(n)), names[0])
    return (f"-l{name}", *LIBRARIES)


def find_compiler(cc: str | None = None) -> list[str]:
    """The compiler's command. BuildError says what to install if there is none."""
    asked = cc or os.environ.get("CC")
    candidates = [asked] if asked else ["cc", "gcc", "clang"]
    for candidate in candidates:
        words = shlex.split(candidate)
        if words and (found := shutil.which(words[0])):
            return [found, *words[1:]]
    raise BuildError(
        f"building needs a C compiler, got none ({', '.join(candidates)} not found)",
        'Install one ("apt install gcc", "xcode-select --install"), or set CC to its path. '
        "The emitted source is complete without it: fn.source, fn.save().",
    )


def cache_folder() -> Path:
    """$GRADGEN_CACHE, or gradgen's folder in the user's cache."""
    given = os.environ.get("GRADGEN_CACHE")
    if given:
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gradgen"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradgen"


def cpu() -> str:
    """What of this machine -march=native depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    return "".join(
        sorted(
            {
                line
                for line in text.splitlines()
                if line.startswith(("model name", "flags", "Features"))
            }
        )
    )


def run(command: list[str], folder: str) -> None:
    """Run the compiler there; without -march=native where it does not know that."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise BuildError(
            f"building needs a compiler that runs, got {command[0]}: {error.strerror}"
        ) from None
    if done.returncode and "-fopenmp" in command and "openmp" in done.stderr:
        return run([word for word in command if word != "-fopenmp"], folder)
    if done.returncode and "-march=native" in command and "march" in done.stderr:
        return run([word for word in command if word != "-march=native"], folder)
    if done.returncode:
        raise BuildError(
            f"building needs a compiler that accepts the source, got exit code {done.returncode} from\n"
            f"  {shlex.join(command)}\n{(done.stderr or done.stdout).strip()}"
        )
