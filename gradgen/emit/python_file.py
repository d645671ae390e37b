"""Functions as a standalone Python module: `numpy` target (imports numpy) and `python` target (imports math).

    emit_python(entries, heading, target, level, options) -> {"NAME.py": text}

The module holds the functions, each with the checks of its arguments, the helper routines that they use once, and their
self-tests, which `python NAME.py --check` runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gradgen.emit.entry import Entry, Heading, contents
from gradgen.emit.files import MARK, render
from gradgen.emit.header import LICENCE, hanging, one_line
from gradgen.emit.lists import ListFunction, is_scalar
from gradgen.emit.numpy import PythonFunction
from gradgen.emit.python_arguments import routines
from gradgen.emit.python_selftest import selftest_entry, selftest_routines
from gradgen.ops.helpers import with_needs
from gradgen.options import Options
from gradgen.version import VERSION


def emit_python(
    entries: Sequence[Entry], heading: Heading, target: str, level: str, options: Options
) -> dict[str, str]:
    """The file of the numpy or python target. EmitError where the target cannot hold a function."""
    functions = [_function(entry, heading, target, level, options) for entry in entries]
    texts = [function.print() for function in functions]
    if heading.alone:
        header = functions[0].header()
    else:
        header = [one_line(f"{heading.title}."), "", *contents(entries), ""]
    header += [f"{MARK} {VERSION}:", *hanging(heading.command), LICENCE]
    helpers = with_needs(dict.fromkeys(h for text in texts for h in text.helpers), target)
    checked = [text.arguments for text in texts if text.arguments]
    blocks = [part for text in texts for part in text.parts]
    blocks += [helper.source(target).rstrip() for helper in helpers]
    checks = "\n".join([*checked, *(text.body for text in texts)])
    blocks += [*checked, *routines(checks, heading.name)]
    tested = [(f, text.selftest) for f, text in zip(functions, texts, strict=True) if text.selftest]
    if tested:
        tests = [text for _, text in tested]
        blocks += [*tests, *selftest_routines("\n".join(tests), [f for f, _ in tested])]
        blocks.append(selftest_entry(heading.name, [f.own("self_test") for f, _ in tested]))
    used = "\n".join([*(part for text in texts for part in (text.body, *text.tables)), *blocks])
    return {
        f"{heading.name}.py": render(
            "module.py.j2",
            header="\n".join(header),
            imports=_imports(used, target),
            tables="\n".join(table for text in texts for table in text.tables),
            functions=texts,
            blocks=blocks,
        )
    }


def _function(
    entry: Entry, heading: Heading, target: str, level: str, options: Options
) -> PythonFunction:
    if target == "python" and not is_scalar(entry.fn):
        return ListFunction(entry, heading, level)
    return PythonFunction(entry, heading, target, level, options.checks, order=options.order)


def _imports(text: str, target: str) -> str:
    """What the text uses of NumPy or math: nothing, perhaps."""
    module, line = ("np", "import numpy as np") if target == "numpy" else ("math", "import math")
    return line if re.search(rf"\b{module}\.", text) else ""
