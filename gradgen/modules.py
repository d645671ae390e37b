"""`gg.module`: several functions in one emitted file, their helper routines written once.

    m = gg.module("cartpole", {"f": (f, specs), "f_jac": (gg.jacobian(f), specs)}, target="c")
    m.f(x, u);  m["f_jac"](x, u);  m.source;  m.files;  m.save("out/");  m.build();  m.check()

Each entry is a Compiled whose `source`, `files` and `save` are those of the file. Common subexpressions are joined within an
entry (`gg.value_grad_hessian` returns all three), not across entries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradgen.api import checked, emit, options_text, paused_collector, prepare
from gradgen.checking import Report
from gradgen.compiled import Compiled
from gradgen.emit.entry import Heading
from gradgen.emit.header import one_line
from gradgen.emit.names import function_names
from gradgen.errors import SpecError
from gradgen.options import Options
from gradgen.runners import runner_of


class Module:
    """Functions of one emitted file, by name: `m.f` and `m["f"]` are Compiled.

    `source`, `files`, `save`, `show`, `build`, `check`; iterates over the names. An entry that is called like one of these is
    found by its name in brackets.
    """

    def __init__(
        self,
        name: str,
        target: str,
        options: Options,
        files: dict[str, str],
        entries: dict[str, Compiled],
    ) -> None:
        self.name = name
        self.target = target
        self.options = options
        self.files = dict(files)
        self.entries = dict(entries)
        self.__name__ = name

    @property
    def source(self) -> str:
        """The main file's text."""
        return next(iter(self.files.values()))

    def __getitem__(self, name: str) -> Compiled:
        try:
            return self.entries[name]
        except KeyError:
            raise KeyError(
                f"{self.name} has no function {name}; it has {', '.join(self)}"
            ) from None

    def __getattr__(self, name: str) -> Compiled:
        entries = self.__dict__.get("entries", {})  # absent while unpickling
        if name in entries:
            found: Compiled = entries[name]
            return found
        raise AttributeError(
            f"the module {self.__dict__.get('name')} has no function {name}; it has {', '.join(entries)}"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.entries]

    def __repr__(self) -> str:
        return f"<gradgen {self.target} module {self.name}: {', '.join(self)}>"

    def save(self, directory: str | os.PathLike[str] = ".") -> list[Path]:
        """Write the files into `directory`, all or none; files that are not gradgen's are not overwritten. EmitError."""
        from gradgen.emit.files import save

        return save(self.files, directory)

    def build(self, cc: str | None = None, flags: list[str] | None = None) -> Module:
        """Make all functions ready to run: C is compiled once. BuildError names what is missing."""
        for fn in self.entries.values():
            fn.build(cc, flags)
        return self

    def show(self, stage: str = "source") -> str:
        """One stage of all functions as text: trace, adjoint, optimized, loops (C), source."""
        if stage == "source":
            return self.source
        return "\n\n".join(fn.show(stage).rstrip() for fn in self.entries.values())

    def check(self) -> Report:
        """`Compiled.check` of every function, in one report."""
        reports = {name: fn.check() for name, fn in self.entries.items()}
        first = next(iter(reports.values()))
        rows = [replace(r, what=f"{name}: {r.what}") for name, x in reports.items() for r in x.rows]
        notes = [f"{name}: {note}" for name, x in reports.items() for note in x.notes]
        return Report(self.name, first.seed, first.points, rows, notes)


def module(
    name: str, entries: Mapping[str, Any], /, target: str = "numpy", options: Any = None
) -> Module:
    """Several functions in one file: NAME.py, or NAME.c, NAME.h and NAME_build.py.

    entries: name -> (function or transform, specs). The specs are a dict of them by parameter, or a tuple or list of them in
    order, as `gg.compile` takes them; for a graph already built they are a dict of `wrt` and `args`. target, options: as in
    `gg.compile`, for all entries.

    Raises what `gg.compile` raises, and SpecError for names that are no identifiers.
    """
    chosen = checked(target, options)
    if not isinstance(name, str) or not name.isidentifier():
        raise SpecError(f"a module needs a name that is an identifier, got {name!r}")
    if not isinstance(entries, Mapping) or not entries:
        raise SpecError(
            "a module needs its functions by name, got "
            f"{'none' if isinstance(entries, Mapping) else type(entries).__name__}",
            'Write {"f": (f, specs), "f_grad": (gg.grad(f), specs)}.',
        )
    given = {key: _entry(key, value) for key, value in entries.items()}
    file = function_names([name])[0]
    symbols = function_names(list(given), file)
    heading = Heading(
        file, _title(file, symbols), _command(name, given, target, chosen), tuple(symbols)
    )
    with paused_collector():
        made = [
            prepare(f, positional, named, target, None, symbol, chosen)
            for (f, positional, named), symbol in zip(given.values(), symbols, strict=True)
        ]
        files = emit(made, heading, target, chosen)
    runner = runner_of(target, [function.entry.signature for function in made])
    compiled = {
        key: Compiled(p.entry.signature, target, chosen, files, p.stages, runner)
        for key, p in zip(given, made, strict=True)
    }
    return Module(file, target, chosen, files, compiled)


def _entry(key: Any, value: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """A function, its positional and its named specs."""
    if not isinstance(key, str) or not key.isidentifier():
        raise SpecError(f"a module needs names that are identifiers, got {key!r}")
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        got = f"{len(value)} items" if isinstance(value, (tuple, list)) else type(value).__name__
        raise SpecError(
            f"the function {key} of a module needs a pair of a function and its specs, got {got}",
            f'Write "{key}": (f, {{"x": "f64[n]"}}).',
        )
    f, specs = value
    if isinstance(specs, Mapping):
        return f, (), dict(specs)
    if isinstance(specs, (tuple, list)):
        return f, tuple(specs), {}
    raise SpecError(
        f"the function {key} of a module needs its specs in a dict or a tuple, got {type(specs).__name__}",
        f'Write "{key}": (f, ("f64[n]",)).',
    )


def _title(file: str, symbols: list[str]) -> str:
    *most, last = symbols
    return one_line(f"{file}: {' and '.join(filter(None, [', '.join(most), last]))}")


def _command(name: str, given: Mapping[str, Any], target: str, options: Options) -> str:
    listed = ", ".join(f'"{key}": ...' for key in given)
    return one_line(f"gg.module('{name}', {{{listed}}}, target='{target}'{options_text(options)})")
