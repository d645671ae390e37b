"""Functions as standalone C99: NAME.c, NAME.h and NAME_build.py.

    emit_c(fn, signature, options=None, selftest=None)     -> {"NAME.c": ..., "NAME.h": ..., "NAME_build.py": ...}
    emit_c_file(entries, heading, options)                 the same for several functions: helper routines once

Names are those of the signatures: identifiers that neither C nor libm has taken (`names.function_names`). What a function's
interface is, `c_function` says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gradgen.emit.c_folds import fold_text
from gradgen.emit.c_function import CFunction
from gradgen.emit.c_gemm import gemm_text
from gradgen.emit.c_maths import FLUSH, vector_lines
from gradgen.emit.c_selftest import selftest_file
from gradgen.emit.c_text import comment_text, fold_line, parameter_lines
from gradgen.emit.entry import Entry, Heading, contents, heading_of
from gradgen.emit.files import MARK, render
from gradgen.emit.header import LICENCE, hanging, one_line, wrap
from gradgen.emit.names import _LIBM
from gradgen.emit.selftest import SelfTest
from gradgen.ir import Function
from gradgen.ops.helpers import with_needs
from gradgen.options import Options
from gradgen.trace.spec import Signature
from gradgen.version import VERSION

_MATH = re.compile(
    rf"\b(?:{'|'.join(f'{n}f?' for n in sorted(_LIBM))})\(|\b(?:NAN|INFINITY|HUGE_VAL)\b"
)


def emit_c(
    fn: Function,
    signature: Signature,
    options: Options | None = None,
    selftest: SelfTest | None = None,
) -> dict[str, str]:
    """The files of one function, main file first."""
    entry = Entry(fn, signature, selftest)
    return emit_c_file([entry], heading_of(entry), options or Options())


def emit_c_file(entries: Sequence[Entry], heading: Heading, options: Options) -> dict[str, str]:
    """The files of several functions, main file first."""
    return CFile(entries, heading, options).files()


class CFile:
    def __init__(self, entries: Sequence[Entry], heading: Heading, options: Options) -> None:
        self.heading = heading
        self.name = heading.name
        self.prefix = self.name.upper()
        self.options = options
        self.entries = entries
        self.functions: list[CFunction] = []
        taken = [*heading.entries]
        for entry in entries:
            self.functions.append(CFunction(entry, options, self.name, taken))
            taken += self.functions[-1].outer

    def files(self) -> dict[str, str]:
        functions, title = self.functions, comment_text(one_line(self.heading.title))
        mark = f"{MARK} {VERSION}"
        about = wrap(f"{title}. See {self.name}.c.")
        if len(about) > 1 or len(f"{about[0]} {mark}.") > 94:
            about.append(f"{mark}.")  # whole on its line: `save` looks for it
        else:
            about[0] += f" {mark}."
        selftest = selftest_file(functions, self.heading)
        declarations = [self._declaration(f) for f in functions]
        header = render(
            "header.h.j2", about="\n * ".join(about), name=self.name, guard=f"{self.prefix}_H", prefix=self.prefix,
            functions=declarations, selftest=selftest != "", boolean=self._boolean,
            work=any(f.needs_work for f in functions), roots=any("sqrt(" in str(d["work"]) for d in declarations),
        )  # fmt: skip
        build = render(
            "build.py.j2", name=self.name, mark=mark, licence=LICENCE, prototypes=self._cdef(),
            command="\n".join(hanging(one_line(self.heading.command))),
        )  # fmt: skip
        texts = {
            f"{self.name}.c": self._main(selftest),
            f"{self.name}.h": header,
            f"{self.name}_build.py": build,
        }
        return {name: text.rstrip() + "\n" for name, text in texts.items()}

    def _main(self, selftest: str) -> str:
        helpers = self._helpers()
        text = "\n".join([*(f.text for f in self.functions), *helpers])
        loops = any(f.loops for f in self.functions) and self.options.math != "strict"
        return render(
            "file.c.j2", name=self.name, prefix=self.prefix, header=self._header(), includes=self._includes(text),
            vector=vector_lines(text) if loops else [], helpers=helpers,
            functions=[self._function(f) for f in self.functions], selftest=selftest,
        )  # fmt: skip

    def _function(self, f: CFunction) -> str:
        header = [] if self.heading.alone else [comment_text(line) for line in f.header()]
        return render(
            "function.c.j2", header=header, tables=f.tables, parts=f.body.parts, work=f.work_lines(),
            prototype=f.prototype(""), body="\n".join(f.lines), ok=f"{f.code}_OK",
        ).rstrip()  # fmt: skip

    def _header(self) -> list[str]:
        if self.heading.alone:
            lines = self.functions[0].header()
        else:
            lines = [f"{one_line(self.heading.title)}.", "", *contents(self.entries), ""]
        lines += [f"{MARK} {VERSION}:", *hanging(self.heading.command), LICENCE]
        return [comment_text(line) for line in lines]

    def _declaration(self, f: CFunction) -> dict[str, object]:
        """What the header says of a function."""
        notes = f.notes()
        if not self.heading.alone:
            notes = [*wrap(f"{comment_text(one_line(f.signature.title))}."), *notes]
        return {
            "codes": f.codes(), "notes": notes, "prototype": f.prototype(";"), "work": f.work_text(),
            "name": f.name, "prefix": f.prefix, "letters": ", ".join(f.sizes.values()), "sizes": f.size_parameters(),
        }  # fmt: skip

    def _helpers(self) -> list[str]:
        """The routines that the functions use, each once."""
        texts: dict[tuple[str, str], str] = {}
        bodies = [f.body for f in self.functions]
        for name, dtype in dict.fromkeys(key for body in bodies for key in body.helpers):
            for helper in with_needs([name], "c"):
                lines = helper.source("c", dtype).rstrip().split("\n")
                folded = [part for line in lines for part in _fold_code(line)]
                texts.setdefault((helper.name, dtype), "\n".join(folded))
        folds = [fold_text(*key) for key in dict.fromkeys(k for body in bodies for k in body.folds)]
        gemms = [
            gemm_text(dtype, self.options.parallel, self.options.blas)
            for dtype in dict.fromkeys(d for body in bodies for d in body.gemms)
        ]
        flush = [FLUSH] if any(f.flushes for f in self.functions) else []
        return [*flush, *texts.values(), *folds, *gemms]

    @property
    def _boolean(self) -> bool:
        """Whether the header mentions bool."""
        return any("bool" in p for f in self.functions for p in f.parameters)

    def _includes(self, text: str) -> list[str]:
        found = ["math.h"] if _MATH.search(text) else []
        if re.search(r"\bbool\b|\btrue\b|\bfalse\b", text) and not self._boolean:
            found.append("stdbool.h")
        return found

    def _cdef(self) -> list[str]:
        lines: list[str] = []
        for f in self.functions:
            lines += parameter_lines(f"    int {f.name}(", f.declared(), ";")
            if f.needs_work:
                lines.append(f"    size_t {f.name}_work_bytes({f.size_parameters()});")
        return lines


def _fold_code(line: str) -> list[str]:
    text = line.lstrip()
    if text.startswith("/*"):
        return [line] if len(line) <= 100 else "\n * ".join(wrap(line)).split("\n")
    return fold_line(" " * (len(line) - len(text)), text)
