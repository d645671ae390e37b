"""What `gg.compile` returns: a callable with its source.

A Compiled is called like the user's function, by position or name; structures, lists and safe dtypes are taken, results
are fresh. Once it is built its class is a subclass that takes calls without conversions in C (or in the emitted Python's
own frame) and hands all others to `_call`. It pickles by its source and is safe from threads. Emitted files raise ValueError
and TypeError; here they become ShapeError and SpecError.
"""

from __future__ import annotations

import inspect
import os
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradgen.cost import Cost, cost
from gradgen.engine import bind_sizes, check_requirements, interpret
from gradgen.errors import EmitError, ShapeError, SpecError
from gradgen.ir import Function
from gradgen.options import Options
from gradgen.trace.spec import Argument, Leaf, Signature, SizeSpec
from gradgen.tree import Mismatch, fitted, unflatten
from gradgen.types import DTYPES

STAGES = ("trace", "adjoint", "optimized", "loops", "source")


class Compiled:
    """An emitted function. `source`, `files`, `save`, `show`, `ir`, `check`, `captures`, `cost`, `build`, `into`, `flat`."""

    def __init__(
        self,
        signature: Signature,
        target: str,
        options: Options,
        files: dict[str, str],
        stages: Mapping[str, Any],
        runner: Callable[..., Any],
    ) -> None:
        self.signature = signature
        self.target = target
        self.options = options
        self.files = dict(files)
        self._stages = dict(stages)
        self._runner = runner
        self._ready: Any = None
        self._kind = type(self)
        self._lock = threading.Lock()
        self.__name__ = signature.name
        self.__doc__ = signature.title

    # -- text
    @property
    def name(self) -> str:
        return self.signature.name

    @property
    def source(self) -> str:
        """The main file's text."""
        return next(iter(self.files.values()))

    @property
    def ir(self) -> Function:
        """The optimised Function. EmitError on an unpickled Compiled, which is its source alone."""
        found = self._stages.get("optimized")
        if not isinstance(found, Function):
            raise EmitError(f"{self.name} was unpickled: it has its source, no intermediate stages")
        return found

    @property
    def captures(self) -> dict[str, np.ndarray]:
        """Arrays that the function closes over, by the user's names: they are frozen into the code or bound to it."""
        found = {}
        for name, array in self.signature.captures.items():
            found[name] = array.view()
            found[name].flags.writeable = False
        return found

    def show(self, stage: str = "source") -> str:
        """One stage as text: trace, adjoint, optimized, loops (C), source."""
        if stage not in STAGES:
            raise SpecError(f"show needs a stage among {', '.join(STAGES)}, got {stage!r}")
        if stage == "source":
            return self.source
        found = self._stages.get(stage)
        if found is None:
            raise EmitError(
                f"the stage {stage} is not there for target {self.target!r}",
                'Loops are made for target="c".' if stage == "loops" else "",
            )
        if callable(found):  # the trace before differentiation is made when it is asked for
            found = self._stages[stage] = found()
        return str(found)

    def save(self, directory: str | os.PathLike[str] = ".") -> list[Path]:
        """Write the files into `directory`, all or none; files that are not gradgen's are not overwritten. EmitError."""
        from gradgen.emit.files import save

        return save(self.files, directory)

    def cost(self, **sizes: int) -> Cost:
        """Operations, bytes moved, workspace and peak memory, in all and by statement: formulas, or numbers for given sizes.

        `fn.cost().flops` is a formula (`4*n*d + 11*n`), `fn.cost(n=1000, d=50).flops` a number, `print(fn.cost())` a table.
        EmitError on an unpickled Compiled; SpecError unless all sizes are given or none.
        """
        kernel = self._stages.get("kernel")
        found = cost(self.ir, kernel and kernel())
        unknown = [name for name in sizes if name not in (*self.signature.letters, *found.letters)]
        if unknown:
            raise SpecError(f"{self.name} has no size {', '.join(unknown)}")
        return found.at(sizes) if sizes or not found.letters else found

    def to_sympy(self) -> Any:
        """The results as SymPy expressions of the arguments' names, for functions of numbers: one, or a list."""
        from gradgen.symbolic import to_sympy

        found = to_sympy(self.ir)
        return found[0] if len(found) == 1 else found

    def latex(self) -> str:
        """The results as LaTeX, one line each, for functions of numbers."""
        import sympy

        found = self.to_sympy()
        pairs = zip(
            self.signature.results, found if isinstance(found, list) else [found], strict=True
        )
        return "\n".join(f"{sympy.latex(sympy.Symbol(n))} = {sympy.latex(e)}" for n, e in pairs)

    # -- calls
    def build(self, cc: str | None = None, flags: str | list[str] | None = None) -> Compiled:
        """Make it ready to run (C: compile and load; BuildError names what is missing). Calls do this by themselves.

        flags: the compiler's, instead of the usual ones: a list, or a string as in a shell.
        """
        if isinstance(flags, str):
            flags = shlex.split(flags)
        if self._ready is None or cc is not None or flags is not None:
            with self._lock:
                if self._ready is None or cc is not None or flags is not None:
                    ready = self._runner(self, cc, flags)
                    quick = ready.type(self._kind)
                    self._ready = ready
                    # From now on a call that needs no conversion goes to the function without a Python frame between.
                    self.__class__ = quick or self._kind
        return self

    @property
    def caller(self) -> str:
        """Through what calls go: "extension", "cffi: <why there is no extension>", "python"; builds what is not built."""
        return str(self.build()._ready.caller)

    @property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature([inspect.Parameter(a.name, kind) for a in self.signature.passed])

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def _call(self, /, *args: Any, **kwargs: Any) -> Any:
        """A call with all conversions and checks."""
        return self._structure(self._outputs(args, kwargs))

    def _outputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        function = self.build()._ready.call
        outputs: list[Any] = function(*self.arrays(args, kwargs))
        return outputs

    def interpret(self, /, *args: Any, **kwargs: Any) -> Any:
        """The same call on the interpreted engine."""
        arrays, sizes = self.arrays(args, kwargs)
        return self._structure([_as_python(v) for v in interpret(self.ir, arrays, sizes)])

    def into(self, out: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call, writing the results into the arrays of `out`, a structure like the result's; what is None there is left out.

        For a sparse matrix it has one like the result's, or an array for the values. ShapeError, SpecError if they do not fit.
        """
        return self._into(out, *args, **kwargs)

    def _into(self, out: Any, /, *args: Any, **kwargs: Any) -> Any:
        tree = self.signature.result
        try:
            given = fitted(tree, out, "out")
        except Mismatch as mismatch:
            raise ShapeError(f"{self.name} needs out= like its result, {mismatch}") from None
        outputs = self._outputs(args, kwargs)
        found = [None if k is None else outputs[k] for k in self.signature.slots]
        places: list[np.ndarray] = []
        for place, value in zip(given, found, strict=True):
            if place is None or value is None:
                continue
            if not isinstance(place, np.ndarray) or place.shape != np.shape(value):
                got = getattr(place, "shape", type(place).__name__)
                raise ShapeError(
                    f"{self.name} needs an array of shape {np.shape(value)} in out, got {got}"
                )
            if place.dtype != np.asarray(value).dtype:
                raise SpecError(
                    f"{self.name} needs {np.asarray(value).dtype} in out, got {place.dtype}"
                )
            if not place.flags.writeable:
                raise SpecError(f"{self.name} needs arrays that can be written in out")
            places.append(place)
        for k, place in enumerate(places):
            if any(np.shares_memory(place, other) for other in places[:k]):
                raise ShapeError(f"{self.name} needs arrays in out that do not overlap")
        for place, value in zip(given, found, strict=True):
            if place is not None and value is not None:
                place[...] = value
        return out

    def flat(self, /, *args: Any, **kwargs: Any) -> Callable[[Any], tuple[float, np.ndarray]]:
        """`x -> (value, gradient)` over one flat vector, for optimisers.

        args: example arguments; the differentiated ones give shapes (and `.x0`, the flat start), the others stay fixed.
        Without args all sizes must be numbers and every argument differentiated.
        """
        from gradgen.flat import flat

        return flat(self, args, kwargs)

    # -- arguments and results
    def arrays(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[np.ndarray], dict[str, int]]:
        """The arguments of a call as arrays in the order of the Function's inputs, and all sizes. SpecError, ShapeError."""
        passed = self.signature.passed
        values = list(args)
        if kwargs or len(values) != len(passed):
            values = self._by_name(values, kwargs)
        arrays: list[np.ndarray] = []
        sizes: dict[str, int] = {}
        for argument, value in zip(passed, values, strict=True):
            if argument.tree.kind == "leaf":
                found = [value]
            else:
                found = self._match(argument, value)
            for entry, item in zip(argument.entries, found, strict=True):
                if isinstance(entry, Leaf):
                    arrays.append(self._array(entry, item))
                elif isinstance(entry, SizeSpec):
                    sizes[argument.name] = self._size(argument.name, item)
                elif not same(entry.value, item):
                    raise SpecError(
                        f"{self.name} needs {entry.value!r} in {argument.name}, as compiled, got {item!r}",
                        "What was static when it was compiled is frozen into the code; compile again for another value.",
                    )
        arrays += [self.signature.captures[leaf.label] for leaf in self.signature.captured_leaves]
        leaves = self.signature.leaves
        sizes = bind_sizes([v.type for v in leaves], arrays, [v.label for v in leaves], sizes)
        found_ir = self._stages.get("optimized")
        if isinstance(found_ir, Function) and found_ir.requires:
            check_requirements(found_ir, sizes)
        for leaf, array in zip(leaves, arrays, strict=True):
            if leaf.below is not None:
                self._check_indices(leaf, array, sizes)
        return arrays, sizes

    def _by_name(self, values: list[Any], kwargs: dict[str, Any]) -> list[Any]:
        passed = self.signature.passed
        names = [a.name for a in passed]
        if len(values) > len(passed):
            raise SpecError(
                f"{self.name} takes {len(passed)} arguments ({', '.join(names)}), got {len(values)}"
            )
        given = dict(zip(names, values, strict=False))
        for key, value in kwargs.items():
            if key not in names:
                raise SpecError(f"{self.name} has no argument {key}; it takes {', '.join(names)}")
            if key in given:
                raise SpecError(f"{self.name} got {key} twice, by position and by name")
            given[key] = value
        missing = [n for n in names if n not in given]
        if missing:
            raise SpecError(f"{self.name} needs {', '.join(missing)}; it takes {', '.join(names)}")
        return [given[n] for n in names]

    def _match(self, argument: Argument, value: Any) -> list[Any]:
        try:
            return fitted(argument.tree, value, argument.name)
        except Mismatch as found:
            raise SpecError(f"{self.name} needs {found}") from None

    def _array(self, leaf: Leaf, value: Any) -> np.ndarray:
        dtype = DTYPES[leaf.type.dtype]
        if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
            raise SpecError(
                f"{self.name} needs all elements of {leaf.label}, got masked ones",
                "Fill it (x.filled(0.0)) and pass the mask as an argument of its own.",
            )
        try:
            array = np.asarray(value)
        except ValueError as error:  # a ragged list
            raise SpecError(
                f"{self.name} needs {leaf.type} for {leaf.label}, got a ragged list ({error})"
            ) from None
        if array.dtype is not dtype:
            given = isinstance(value, (np.ndarray, np.generic))
            empty = not given and not array.size  # [] is of any dtype
            if not empty and not np.can_cast(array.dtype, dtype, "safe" if given else "same_kind"):
                raise SpecError(f"{self.name} needs {dtype} for {leaf.label}, got {array.dtype}")
            if array.dtype == bool and dtype.kind == "i" and array.ndim:
                raise SpecError(
                    f"{self.name} needs {dtype} for {leaf.label}, got a mask of bool",
                    "np.flatnonzero(mask) gives its indices, mask.astype(int) zeros and ones.",
                )
            converted = array.astype(dtype)
            if dtype.kind == "i" and not given and not np.array_equal(converted, array):
                raise SpecError(
                    f"{self.name} needs {dtype} for {leaf.label}, got an integer too large for it"
                )
            array = converted
        if array.ndim != len(leaf.type.shape):
            raise ShapeError(
                f"{self.name} needs {leaf.type} for {leaf.label}, got an array of shape {array.shape}"
            )
        if self.options.order == "F" and array.ndim > 1:
            return np.asfortranarray(array)
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        return array

    def _size(self, name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise SpecError(
                f"{self.name} needs an integer of zero or more for the size {name}, got {value!r}"
            )
        if value >= 2**63:
            raise SpecError(f"{self.name} needs an int64 for the size {name}, got {value!r}")
        return int(value)

    def _check_indices(self, leaf: Leaf, array: np.ndarray, sizes: dict[str, int]) -> None:
        from gradgen.sizes import evaluate

        assert leaf.below is not None
        bound = evaluate(leaf.below, sizes)
        if array.size and (int(array.max()) >= bound or int(array.min()) < -bound):
            raise IndexError(f"{self.name} needs {leaf.label} below {leaf.below} = {bound}")

    def _structure(self, outputs: list[Any]) -> Any:
        result, slots = self.signature.result, self.signature.slots
        if result.kind == "leaf":
            return None if slots[0] is None else outputs[slots[0]]
        seen: set[int] = set()
        leaves = []
        for k in slots:
            value = None if k is None else outputs[k]
            if k in seen and isinstance(value, np.ndarray):
                value = value.copy()
            if k is not None:
                seen.add(k)
            leaves.append(value)
        return unflatten(result, leaves)

    # -- check
    def check(self, /, *args: Any, **kwargs: Any) -> Any:
        """Compare this code, the interpreter, and a derivative that knows no rules; see `gg.check`."""
        from gradgen.checking import check_compiled

        return check_compiled(self, args, kwargs)

    def __repr__(self) -> str:
        return f"<gradgen {self.target} function {self.name}({', '.join(a.name for a in self.signature.passed)})>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Static arguments are in the source already, and may be anything (a function, say).
        signature = replace(self.signature, arguments=self.signature.passed)
        return _restore, (signature, self.target, self.options, self.files, self._runner)


def same(known: Any, given: Any) -> bool:
    """Whether a static value is given as it was compiled (arrays by their elements)."""
    if known is given:
        return True
    try:
        return (
            bool(np.array_equal(known, given))
            if isinstance(known, np.ndarray)
            else bool(known == given)
        )
    except (TypeError, ValueError):
        return False


def _restore(
    signature: Signature, target: str, options: Options, files: dict[str, str], runner: Any
) -> Compiled:
    return Compiled(signature, target, options, files, {}, runner)


def _as_python(array: Any) -> Any:
    if array.ndim:
        return array
    return float(array) if array.dtype == np.float64 else array[()]
