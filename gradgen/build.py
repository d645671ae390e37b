"""Emitted C to a callable: compiled once, cached by content, called from Python.

    CFunction(files, fn, signature, math="default", cc=None, flags=None, file=())    builds (or finds in the cache) and loads
        .call(arrays, sizes, out=None) -> list of results    arrays in fn.inputs order; sizes by letter
        .type(base) -> a subclass of `base` whose calls run in C, or None
        .caller     "extension", or "cffi: <why there is no extension>"
    build(files, ..., calls={}) -> Built     the shared object around the emitted files and, where it compiles, their wrapper

The wrapper (emit/c_call) needs the headers of Python and NumPy; without them the functions of the header are called through
cffi: the same results, microseconds later. The cache is $GRADGEN_CACHE or the user's cache folder; its key is the text, the
flags, the compiler's program, the CPU and the Python that loads it. An entry is written under a temporary name and renamed,
with its checksum beside it: one that is half-written or corrupt is built anew, and processes do not disturb each other. Raises
BuildError: no compiler, one that fails (its message is shown), or a shared object that does not load.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gradgen.emit.c_call import MODULE, TAPE_FULL, TAPE_START, Interface, call_files
from gradgen.emit.c_function import CODES
from gradgen.emit.c_structures import keys_of
from gradgen.emit.names import c_prefix
from gradgen.errors import BuildError, ShapeError
from gradgen.ir import Function
from gradgen.sizes import evaluate
from gradgen.toolchain import (
    CALL_FLAGS,
    SHARED,
    cache_folder,
    cpu,
    find_compiler,
    flags_for,
    libraries_for,
    run,
)
from gradgen.trace.spec import Signature
from gradgen.types import C_NAMES, DTYPES, Type


@dataclass(frozen=True)
class Built:
    """A shared object in the cache. `missing`: why it is no extension module, "" if it is one."""

    path: Path
    missing: str = ""


_built: dict[str, Built] = {}
_lock = threading.Lock()


def build(
    files: Mapping[str, str],
    math: str = "default",
    cc: str | None = None,
    flags: Sequence[str] | None = None,
    calls: Mapping[str, str] = {},
) -> Built:
    """Compile the emitted files, and the wrapper `calls` around them where the headers are there."""
    compiler = find_compiler(cc)
    main = next(name for name in files if name.endswith(".c"))
    options = tuple(flags) if flags is not None else flags_for(files[main], math)
    missing = headers_missing() if calls else "there is no wrapper for it"
    if not missing:
        try:
            return _build(files, main, calls, compiler, options, "")
        except CallError as error:
            missing = str(error)
    return _build(files, main, {}, compiler, options, missing)


class CallError(Exception):
    """The wrapper does not compile here."""


def headers_missing() -> str:
    """Which header of Python or NumPy is absent, "" if none is."""
    for folder, header in zip(_includes(), ("Python.h", "numpy/arrayobject.h"), strict=True):
        if not Path(folder, header).exists():
            return f"{header} is not in {folder}"
    return ""


def _includes() -> tuple[str, str]:
    return sysconfig.get_paths()["include"], np.get_include()


def _build(
    files: Mapping[str, str],
    main: str,
    calls: Mapping[str, str],
    compiler: Sequence[str],
    options: Sequence[str],
    missing: str,
) -> Built:
    key = _key(files, main, calls, compiler, options)
    with _lock:
        known = _built.get(key)
        if known is None:
            path = cache_folder() / f"{main[:40].removesuffix('.c')}-{key[:24]}.so"
            known = Built(path, missing)
            if not _is_whole(path):
                _compile(files, main, calls, path, compiler, options)
            _built[key] = known
        return known


def _key(
    files: Mapping[str, str],
    main: str,
    calls: Mapping[str, str],
    compiler: Sequence[str],
    options: Sequence[str],
) -> str:
    program = os.stat(compiler[0])
    parts = [
        files[main], files[f"{main[:-2]}.h"], *calls.values(), " ".join((*options, *CALL_FLAGS, *SHARED)),
        " ".join(compiler[1:]),
        os.path.realpath(compiler[0]), str(program.st_mtime_ns), str(program.st_size),
        cpu(), sys.version, np.__version__, platform.platform(),
    ]  # fmt: skip
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_whole(path: Path) -> bool:
    """Whether the cache has the file, as it was written."""
    try:
        digest = path.with_suffix(".sha256").read_text(encoding="ascii")
        return digest == hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return False


def _compile(
    files: Mapping[str, str],
    main: str,
    calls: Mapping[str, str],
    path: Path,
    compiler: Sequence[str],
    options: Sequence[str],
) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".build-", dir=path.parent)
    except OSError as error:
        raise BuildError(
            f"building needs a cache folder that can be written, got {path.parent}: {error.strerror}",
            "Set GRADGEN_CACHE to one.",
        ) from None
    try:
        header = f"{main[:-2]}.h"
        for file, text in {main: files[main], header: files[header], **calls}.items():
            Path(folder, file).write_text(text, encoding="utf-8")
        run([*compiler, *options, "-fPIC", "-c", main, "-o", "main.o"], folder)
        objects = ["main.o"]
        include = [word for path in _includes() for word in ("-isystem", path)]
        for source in (file for file in calls if file.endswith(".c")):
            objects.append(f"{source[:-2]}.o")
            command = [*compiler, *CALL_FLAGS, *include, "-fPIC", "-c", source, "-o", objects[-1]]
            try:
                run(command, folder)
            except BuildError as error:
                raise CallError(f"{source} does not compile here ({error.what})") from None
        threads = [flag for flag in options if flag == "-fopenmp"]
        run(
            [
                *compiler,
                *SHARED,
                "-fPIC",
                *objects,
                "-o",
                "out.so",
                *threads,
                *libraries_for(files[main]),
            ],
            folder,
        )
        built = Path(folder, "out.so")
        if not built.exists():
            raise BuildError(
                f"building needs a compiler that writes its output, got success and no file from {compiler[0]}",
                "Set CC to a C compiler, or give build(cc=...).",
            )
        digest = Path(folder, "digest")
        digest.write_text(hashlib.sha256(built.read_bytes()).hexdigest(), encoding="ascii")
        for made, place in ((built, path), (digest, path.with_suffix(".sha256"))):
            if place.is_dir():  # not ours, and in the way
                shutil.rmtree(place)
            os.replace(made, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cdef_of(header: str) -> str:
    """A header of ours without comments and preprocessor lines."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace('extern "C" {', "")
    text = re.sub(r"^}\s*$", "", text, flags=re.MULTILINE)
    return re.sub(r"int \w+_selftest\(void\);", "", text)


class CFunction:
    """A function of emitted files, called with arrays. Safe from many threads: every call has its own workspace.

    file: the signatures of all functions of a file of several; they share one shared object. order: how the memory of arrays
    is laid out, "F" for column by column.
    """

    def __init__(
        self,
        files: Mapping[str, str],
        fn: Function,
        signature: Signature,
        math: str = "default",
        cc: str | None = None,
        flags: Sequence[str] | None = None,
        file: Sequence[Signature] = (),
        order: str = "C",
    ) -> None:
        self.columns = order == "F"
        main = next(name for name in files if name.endswith(".c"))[:-2]
        self.name = signature.name if file else main
        self.signature = signature
        header = files[f"{main}.h"]
        self.codes = {number: word for word, number in CODES.items()}
        self.letters = list(signature.letters)
        self.inputs = [v.type for v in fn.inputs]
        self.outputs = [v.type for v in fn.outputs]
        interface = _interface(self.name, signature, self.inputs, self.outputs, header)
        whole = [
            _interface(s.name, s, [v.type for v in s.leaves], s.result_types, header) for s in file
        ] or [interface]
        built = build(files, math, cc, flags, call_files(whole))
        self.caller = f"cffi: {built.missing}" if built.missing else "extension"
        try:
            number = [i.name for i in whole].index(self.name)
            self._module = None if built.missing else _module(built.path, number)
            self._run = (
                self._module.run if self._module else _Foreign(interface, built.path, header)
            )
        except (OSError, ImportError) as error:
            raise self._not_loading(built.path, str(error)) from None

    def type(self, base: type) -> type | None:
        """A subclass of `base`, of the same layout, whose calls go to the C function without a Python frame."""
        if self._module is None or self.columns:
            return None
        signature = self.signature
        captures = tuple(
            np.require(signature.captures[leaf.label], DTYPES[leaf.type.dtype], ["C", "A"])
            for leaf in signature.captured_leaves
        )
        names = tuple(sys.intern(a.name) for a in signature.passed)
        made: type = self._module.bind(base, names, keys_of(signature), captures)
        return made

    def call(
        self,
        arrays: Sequence[Any],
        sizes: Mapping[str, int],
        out: Sequence[np.ndarray] | None = None,
    ) -> list[Any]:
        """The results, fresh arrays (f64 scalars as float) or written into `out`. IndexError for a bad index."""
        order: Literal["C", "F"] = "F" if self.columns else "C"
        given = [
            np.require(array, DTYPES[ty.dtype], [order, "A"])
            for array, ty in zip(arrays, self.inputs, strict=True)
        ]
        if out is None:
            results = [
                np.empty([evaluate(d, sizes) for d in ty.shape], DTYPES[ty.dtype], order)
                for ty in self.outputs
            ]
        else:
            results = list(out)
        memory = [*given, *results]
        if self.columns:  # the wrapper takes memory row by row
            memory = [array.T for array in memory]
        code = self._run(*[sizes[name] for name in self.letters], *memory)
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
        if code < 0:
            raise MemoryError(f"{self.name}: no memory for the workspace")
        what = self.codes.get(code, str(code))
        if what == "INDEX":
            raise IndexError(f"{self.name}: an index is out of range")
        if what == "SINGULAR":
            raise np.linalg.LinAlgError(
                f"{self.name}: a matrix is singular, or not positive definite"
            )
        if what == "STEPS":
            raise ShapeError(f"{self.name}: a while loop needs more steps than its max_steps")
        if what == "DIVERGED":
            raise ShapeError(
                f"{self.name}: a root, fixed_point or minimize did not converge in its max_steps"
            )
        shown = ", ".join(f"{k} = {sizes[k]}" for k in self.letters)
        raise ShapeError(f"{self.name} needs other sizes than {shown}")

    def _not_loading(self, path: Path, message: str) -> BuildError:
        missing = re.search(r"undefined symbol: (\w+)|symbol not found[^']*'_?(\w+)'", message)
        if missing:
            symbol = missing[1] or missing[2]
            return BuildError(
                f"{self.name}.c needs the function {symbol}, got no library that has it",
                "The emitted source calls it: if that is no fault of given flags, it is one of gradgen's.",
            )
        return BuildError(f"building needs a shared object that loads, got {message} from {path}")


def _interface(
    name: str, signature: Signature, inputs: list[Type], outputs: list[Type], header: str
) -> Interface:
    work, tape = f" {name}_work_bytes(" in header, f" {c_prefix(name)}_TAPE = " in header
    return Interface(name, signature, inputs, outputs, work, tape)


def _module(path: Path, number: int) -> Any:
    """A module of its own around a function of the shared object: it holds the names and captures of that one."""
    name = f"{MODULE}_{number}"
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, str(path), loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class _Foreign:
    """The function called through cffi, where the wrapper cannot be compiled."""

    def __init__(self, interface: Interface, path: Path, header: str) -> None:
        import cffi

        self.ffi = cffi.FFI()
        self.ffi.cdef(cdef_of(header))
        self.interface = interface
        library = self.ffi.dlopen(str(path))
        self.function = getattr(library, interface.name)
        self.work_bytes = (
            getattr(library, f"{interface.name}_work_bytes") if interface.work else None
        )

    def __call__(self, *given: Any) -> int:
        types = (*self.interface.inputs, *self.interface.outputs)
        sizes = given[: len(given) - len(types)]
        arguments: list[Any] = list(sizes)
        by_value = len(self.interface.inputs)
        for k, (array, ty) in enumerate(zip(given[len(sizes) :], types, strict=True)):
            if k < by_value and not ty.shape:
                arguments.append(array.item())
            else:
                pointer = f"{C_NAMES[ty.dtype]}[]"
                arguments.append(
                    self.ffi.from_buffer(pointer, array, require_writable=k >= by_value)
                )
        if not self.interface.tape:
            return self._invoke(sizes, arguments, ())
        tape = TAPE_START
        while (code := self._invoke(sizes, arguments, (tape,))) == TAPE_FULL:
            tape *= 2
        return code

    def _invoke(self, sizes: Sequence[int], arguments: Sequence[Any], tape: tuple[int, ...]) -> int:
        if self.work_bytes is None:
            return int(self.function(*arguments, *tape))
        bytes_ = self.work_bytes(*sizes, *tape)
        work = np.empty(bytes_ + 64, np.uint8)
        start = -work.ctypes.data % 64
        return int(
            self.function(*arguments, *tape, self.ffi.from_buffer(work[start : start + bytes_]))
        )
