"""The C text of self-tests: inputs from the Weyl sequence of `emit.selftest`, results compared with recorded checksums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradgen.emit.c_text import literal, parameter_lines
from gradgen.emit.entry import Heading
from gradgen.emit.files import render
from gradgen.emit.selftest import STEP
from gradgen.lower.kernel import TAPE_STEPS
from gradgen.sizes import evaluate
from gradgen.types import C_NAMES, DTYPES

LIMIT = 100_000  # elements: the arrays lie on the stack


@dataclass(frozen=True)
class CTest:
    """The body of a function's test: declarations, fills, the call and the comparisons, counted in the variable `failed`."""

    name: str
    failed: str
    body: str
    kinds: tuple[tuple[str, str], ...]
    single: bool


def selftest_text(file: Any) -> CTest | None:
    """The test of a `c_function.CFunction`, None where it has none."""
    test = file.selftest
    if test is None:
        return None
    sizes = test.sizes
    k, failed = _own_names(file)
    lines: list[str] = []
    arguments = [str(sizes[letter]) for letter in file.letters]
    first, total, after = 1, 0, []
    for (node, buffer), sample, name in zip(
        file.kernel.inputs, test.samples, file.labels, strict=True
    ):
        count = math.prod(sample.shape)
        kind = C_NAMES[node.type.dtype]
        low, high = repr(float(sample.low)), repr(float(sample.high))
        if buffer is None:
            arguments.append(_value(kind, f"weyl({first}, {low}, {high})", sample))
        else:
            lines.append(f"    {kind} {name}[{max(count, 1)}];")
            element = _value(kind, f"weyl({first} + {k}, {low}, {high})", sample)
            after += [
                f"    for (int64_t {k} = 0; {k} < {count}; {k}++)",
                f"        {name}[{k}] = {element};",
            ]
            arguments.append(name)
        first += count
        total += count
    for buffer, name in zip(file.kernel.outputs, file.results, strict=True):
        count = math.prod(evaluate(dim, sizes) for dim in buffer.shape)
        lines.append(f"    {C_NAMES[buffer.dtype]} {name}[{max(count, 1)}];")
        arguments.append(name)
        total += count
    arguments += [str(test.steps) for _ in file.tape]
    if file.needs_work:
        work = evaluate(file.kernel.work_bytes, {**sizes, TAPE_STEPS: test.steps})
        lines.append(f"    double work[{-(-work // 8)}];")
        arguments.append("work")
        total += work // 8
    if total > LIMIT:
        return None
    lines += [*after, *parameter_lines(f"    {failed} += {file.name}(", arguments, ";")]
    single = any(v.type.dtype == "f32" for v in (*file.fn.inputs, *file.fn.outputs))
    for buffer, name, recorded in zip(
        file.kernel.outputs, file.results, test.checksums, strict=True
    ):
        count = math.prod(evaluate(dim, sizes) for dim in buffer.shape)
        expected = literal(DTYPES["f64"].type(recorded)).text
        lines.append(
            f'    {failed} += differs_{buffer.dtype}("{name}", {count}, {name}, {expected});'
        )
    kinds = dict.fromkeys((C_NAMES[b.dtype], b.dtype) for b in file.kernel.outputs)
    return CTest(
        file.names.fresh(f"{file.name}_test"), failed, "\n".join(lines), tuple(kinds), single
    )


def _own_names(file: Any) -> list[str]:
    """Names of the test's own variables: what the function's body calls its loops is free again, what the file sees is not."""
    body = file.names.mark()
    file.names.release(file.head)
    file.names.reserve(*file.outer)
    found = [file.names.fresh(word) for word in ("k", "failed")]
    file.names.release(body)
    return found


def selftest_file(functions: Sequence[Any], heading: Heading) -> str:
    """The self-test of a file: that of its function, or of all its functions, one after the other."""
    tests = [f.test for f in functions if f.test is not None]
    if not tests:
        return ""
    alone = heading.alone
    return render(
        "selftest.c.j2",
        step=repr(STEP),
        tolerance="1e-4" if any(t.single for t in tests) else "1e-7",
        kinds=list(dict.fromkeys(kind for t in tests for kind in t.kinds)),
        name=heading.name,
        prefix=heading.name.upper(),
        tests=[] if alone else tests,
        failed=tests[0].failed if alone else "failed",
        body=tests[0].body if alone else "\n".join(f"    failed += {t.name}();" for t in tests),
    ).rstrip()


def _value(kind: str, text: str, sample: Any) -> str:
    if sample.dtype == "bool":
        middle = (sample.low + sample.high) / 2
        return f"{text} >= {middle!r}"
    if sample.dtype[0] == "i":
        return f"({kind})floor({text})"
    return text if kind == "double" else f"({kind}){text}"
