"""Emitted C to a callable: compile once, cache by content, load through cffi (API mode), call with arrays.

    CFunction(files, fn, signature, math="default", cc=None, flags=None)     builds (or finds in the cache) and loads
        .call(arrays, sizes, out=None) -> list of results    arrays in fn.inputs order; sizes by letter
    build(files, math="default", cc=None, flags=None) -> module with `.ffi` and `.lib`
    cdef_of(header text) -> what cffi needs to know of it

The compiler is `cc`, else $CC, else cc, gcc or clang. FLAGS are the one set of compiler flags. The cache is $GRADGEN_CACHE or
the user's cache folder; its key is the text, the flags, the compiler's program, the CPU and the Python that loads it. An entry
is written under a temporary name and renamed, with its checksum beside it: one that is half-written or corrupt is built anew,
and processes do not disturb each other. Raises BuildError: no compiler, or one that fails (its message is shown).
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradgen.errors import BuildError, ShapeError
from gradgen.ir import Function
from gradgen.sizes import evaluate
from gradgen.trace.spec import Signature
from gradgen.types import C_NAMES, DTYPES

FLAGS = (
    "-O3",  # loops are vectorised
    "-march=native",  # for this machine: the CPU is part of the cache's key
    "-std=c99",
    "-ffp-contract=fast",  # fused multiply-add; off for math="strict"
    "-fno-math-errno",  # libm need not set errno: sqrt is one instruction
    "-fno-trapping-math",  # nobody reads the exception flags: a select may evaluate both sides
)
# Long straight-line text: -O1 compiles in linear time, and higher levels gain nothing there.
LONG = 150_000
_LONG_FLAGS = ("-O1", *FLAGS[1:])

_loaded: dict[str, Any] = {}
_lock = threading.Lock()


def flags_for(text: str, math: str) -> tuple[str, ...]:
    flags = _LONG_FLAGS if len(text) > LONG else FLAGS
    return tuple(
        "-ffp-contract=off" if f.startswith("-ffp") and math == "strict" else f for f in flags
    )


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


def build(
    files: Mapping[str, str],
    math: str = "default",
    cc: str | None = None,
    flags: Sequence[str] | None = None,
) -> Any:
    """The extension module around the emitted files; `.lib` has the functions of the header."""
    compiler = find_compiler(cc)
    main = next(name for name in files if name.endswith(".c"))
    stem = main[:-2]
    options = tuple(flags) if flags is not None else flags_for(files[main], math)
    key = _key(files, main, compiler, options)
    with _lock:
        module = _loaded.get(key)
        if module is not None:
            return module
        name = f"_gradgen_{key[:24]}"
        suffix = sysconfig.get_config_var("EXT_SUFFIX") or ".so"
        path = cache_folder() / f"{stem[:40]}-{key[:24]}{suffix}"
        module = _load(name, path)
        if module is None:
            _compile(files, main, name, path, compiler, options)
            try:
                module = _import(name, path)
            except (OSError, ImportError) as error:
                raise BuildError(f"building needs a module that loads, got {error}") from None
        _loaded[key] = module
        return module


def _key(
    files: Mapping[str, str], main: str, compiler: Sequence[str], options: Sequence[str]
) -> str:
    import cffi

    program = os.stat(compiler[0])
    parts = [
        files[main], files[f"{main[:-2]}.h"], " ".join(options), " ".join(compiler[1:]),
        os.path.realpath(compiler[0]), str(program.st_mtime_ns), str(program.st_size),
        _cpu(), sys.version, cffi.__version__, platform.platform(),
    ]  # fmt: skip
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _cpu() -> str:
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


def _load(name: str, path: Path) -> Any:
    """The module in the cache, or None if it is absent or not what was written."""
    try:
        digest = path.with_suffix(".sha256").read_text(encoding="ascii")
        if digest != hashlib.sha256(path.read_bytes()).hexdigest():
            return None
        return _import(name, path)
    except (OSError, ImportError, UnicodeDecodeError):
        return None


def _import(name: str, path: Path) -> Any:
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, str(path), loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _compile(
    files: Mapping[str, str],
    main: str,
    name: str,
    path: Path,
    compiler: Sequence[str],
    options: Sequence[str],
) -> None:
    import cffi
    from cffi import recompiler

    stem = main[:-2]
    ffi = cffi.FFI()
    ffi.cdef(cdef_of(files[f"{stem}.h"]))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".build-", dir=path.parent)
    except OSError as error:
        raise BuildError(
            f"building needs a cache folder that can be written, got {path.parent}: {error.strerror}",
            "Set GRADGEN_CACHE to one.",
        ) from None
    try:
        for file in (main, f"{stem}.h"):
            Path(folder, file).write_text(files[file], encoding="utf-8")
        preamble = f'#include "{stem}.h"'
        recompiler.make_c_source(
            ffi, name, preamble, os.path.join(folder, "_module.c"), verbose=False
        )
        include = sysconfig.get_paths()["include"]
        link = ["-shared", "-fPIC"]
        if sys.platform == "darwin":
            link = ["-bundle", "-undefined", "dynamic_lookup"]
        _run([*compiler, *options, "-fPIC", "-c", main, "-o", "main.o"], folder)
        # The wrapper is the same few conversions for every function: quick to compile is what counts.
        _run(
            [*compiler, "-O1", "-w", "-fPIC", f"-I{include}", "-c", "_module.c", "-o", "_module.o"],
            folder,
        )
        _run([*compiler, *link, "main.o", "_module.o", "-o", "out.so", "-lm"], folder)
        built = Path(folder, "out.so")
        digest = Path(folder, "digest")
        digest.write_text(hashlib.sha256(built.read_bytes()).hexdigest(), encoding="ascii")
        os.replace(built, path)
        os.replace(digest, path.with_suffix(".sha256"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise BuildError(
            f"building needs a compiler that runs, got {command[0]}: {error.strerror}"
        ) from None
    if done.returncode and "-march=native" in command and "march" in done.stderr:
        return _run([word for word in command if word != "-march=native"], folder)
    if done.returncode:
        raise BuildError(
            f"building needs a compiler that accepts the source, got exit code {done.returncode} from\n"
            f"  {shlex.join(command)}\n{(done.stderr or done.stdout).strip()}"
        )


def cdef_of(header: str) -> str:
    """A header of ours without comments and preprocessor lines."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace('extern "C" {', "")
    text = re.sub(r"^}\s*$", "", text, flags=re.MULTILINE)
    return re.sub(r"int \w+_selftest\(void\);", "", text)


class CFunction:
    """The function of emitted files, called with arrays. Safe from many threads: every call has its own workspace."""

    def __init__(
        self,
        files: Mapping[str, str],
        fn: Function,
        signature: Signature,
        math: str = "default",
        cc: str | None = None,
        flags: Sequence[str] | None = None,
    ) -> None:
        module = build(files, math, cc, flags)
        self.name = next(name for name in files if name.endswith(".c"))[:-2]
        header = files[f"{self.name}.h"]
        self.ffi = module.ffi
        self.function = getattr(module.lib, self.name)
        self.work_bytes = getattr(module.lib, f"{self.name}_work_bytes", None)
        self.codes = {
            int(v): k
            for k, v in re.findall(rf"\b{self.name.upper()}_(?:CODE_)?(\w+) = (\d+)", header)
        }
        self.letters = list(signature.letters)
        self.inputs = [v.type for v in fn.inputs]
        self.outputs = [v.type for v in fn.outputs]
        self._pointers = [
            None if not ty.shape else self.ffi.typeof(f"{C_NAMES[ty.dtype]}[]")
            for ty in self.inputs
        ]
        self._results = [self.ffi.typeof(f"{C_NAMES[ty.dtype]}[]") for ty in self.outputs]

    def call(
        self,
        arrays: Sequence[Any],
        sizes: Mapping[str, int],
        out: Sequence[np.ndarray] | None = None,
    ) -> list[Any]:
        """The results, fresh arrays (f64 scalars as float) or written into `out`. IndexError for a bad index."""
        from_buffer = self.ffi.from_buffer
        arguments: list[Any] = [sizes[name] for name in self.letters]
        for array, ty, pointer in zip(arrays, self.inputs, self._pointers, strict=True):
            if pointer is None:
                arguments.append(np.asarray(array, DTYPES[ty.dtype]).item())
            else:
                arguments.append(
                    from_buffer(pointer, np.ascontiguousarray(array, DTYPES[ty.dtype]))
                )
        if out is None:
            results = [
                np.empty([evaluate(d, sizes) for d in ty.shape], DTYPES[ty.dtype])
                for ty in self.outputs
            ]
        else:
            results = list(out)
        for array, pointer in zip(results, self._results, strict=True):
            arguments.append(from_buffer(pointer, array, require_writable=True))
        if self.work_bytes is not None:
            bytes_ = self.work_bytes(*[sizes[name] for name in self.letters])
            work = np.empty(bytes_ + 64, np.uint8)
            start = -work.ctypes.data % 64
            arguments.append(from_buffer(work[start : start + bytes_]))
        code = self.function(*arguments)
        if code:
            self._fail(code, sizes)
        return [
            float(array)
            if array.ndim == 0 and array.dtype == np.float64
            else array
            if array.ndim
            else array[()]
            for array in results
        ]

    def _fail(self, code: int, sizes: Mapping[str, int]) -> None:
        what = self.codes.get(code, str(code))
        if what == "INDEX":
            raise IndexError(f"{self.name}: an index is out of range")
        shown = ", ".join(f"{k} = {sizes[k]}" for k in self.letters)
        raise ShapeError(f"{self.name} needs other sizes than {shown}")
