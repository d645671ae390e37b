"""The self-tests of an emitted Python module: what `python NAME.py --check` runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradgen.emit.layout import Group, Item, layout
from gradgen.emit.literals import python_float
from gradgen.emit.python_text import literal_key
from gradgen.emit.selftest import STEP, SelfTest
from gradgen.trace.spec import Leaf, SizeSpec
from gradgen.tree import Tree
from gradgen.types import DTYPES


def selftest_function(function: Any, test: SelfTest) -> str:
    """The text of the routine that tests a `PythonFunction`; empty where it cannot be tested without the user's classes."""
    numpy = function.target == "numpy"
    lines = [
        f"def {function.own('self_test')}():",
        '    """Run on inputs from a formula; compare with results recorded by the interpreter."""',
    ]
    first = 1
    by_label = {}
    for sample in test.samples:
        count = 1
        for n in sample.shape:
            count *= n
        by_label[sample.label] = _sample_text(sample, first, count, numpy)
        first += count
    arguments: list[Item] = []
    for argument in function.signature.passed:
        texts = [
            str(test.sizes[argument.name])
            if isinstance(e, SizeSpec)
            else by_label[e.label]
            if isinstance(e, Leaf)
            else literal_static(e)
            for e in argument.entries
        ]
        arguments.append(function._structure(argument.tree, iter(texts)))
        if argument.tree.kind in ("dataclass", "namedtuple"):
            return ""  # the class is the user's: a standalone file cannot make one
        if _has_class(argument.tree):
            return ""
    arguments += [by_label[leaf.label] for leaf in function.signature.captured_leaves]
    lines += layout(4, "found = ", Group(f"{function.signature.name}(", arguments, ")"))
    lines += layout(4, "expected = ", Group("[", [number_text(c) for c in test.checksums], "]"))
    order = [k for k in function.signature.slots if k is not None]
    flatten = _flat_access(function.signature.result)
    picks = [f"found{flatten[i]}" for i, k in enumerate(function.signature.slots) if k is not None]
    wanted = [f"expected[{k}]" for k in order]
    for pick, want in zip(picks, wanted, strict=True):
        lines += layout(4, "_compare(", Group("", [pick, want], ")"))
    return "\n".join(lines)


def selftest_routines(tests: str, functions: Sequence[Any]) -> list[str]:
    """The routines that the self-tests of these functions share: what fills inputs, what compares results."""
    types = [v.type for f in functions for v in (*f.fn.inputs, *f.fn.outputs)]
    tolerance = "1e-4" if any(ty.dtype == "f32" for ty in types) else "1e-7"
    if functions[0].target == "numpy":
        texts = [SAMPLE] if "_sample(" in tests else []
        texts.append(COMPARE)
    else:
        texts = [SAMPLE_SCALAR] if "_sample" in tests else []
        texts += [SAMPLE_LISTS] if "_samples(" in tests else []
        texts.append(COMPARE_LISTS if any(ty.shape for ty in types) else COMPARE_SCALAR)
    digits = "seven" if tolerance == "1e-7" else "four"
    return [
        text.replace("STEP", repr(STEP)).replace("1e-7", tolerance).replace("seven", digits)
        for text in texts
    ]


def selftest_entry(file: str, routines: list[str]) -> str:
    """What `python FILE.py --check` runs."""
    return (
        'if __name__ == "__main__":\n'
        "    import sys\n\n"
        '    if "--check" not in sys.argv[1:]:\n'
        f'        sys.exit("usage: python {file}.py --check")\n'
        + "".join(f"    {routine}()\n" for routine in routines)
        + f'    print("{file}: self-test passed")'
    )


COMPARE = '''def _compare(found, expected):
    """Raise unless the weighted sum of `found` is `expected` to seven digits."""
    x = np.asarray(found, np.float64).ravel()
    total = np.sum(x * (np.arange(1, x.size + 1) * STEP % 1.0))
    if not np.allclose(total, expected, rtol=1e-7, atol=1e-12, equal_nan=True):
        raise AssertionError(f"self-test needs {expected}, got {total}")'''
SAMPLE = '''def _sample(first, shape, low, high, dtype):
    """Elements low + (high - low) * (k * 0.618... mod 1) for k = first, first + 1, ..."""
    count = int(np.prod(shape, dtype=int))
    u = np.arange(first, first + count).reshape(shape) * STEP % 1.0
    if dtype is np.bool_:
        return u >= 0.5
    values = low + (high - low) * u
    return (values if np.issubdtype(dtype, np.floating) else np.floor(values)).astype(dtype)'''
COMPARE_SCALAR = '''def _compare(found, expected):
    """Raise unless the weighted `found` is `expected` to seven digits."""
    total = found * STEP
    close = math.isclose(total, expected, rel_tol=1e-7, abs_tol=1e-12)
    if not close and not (math.isnan(total) and math.isnan(expected)):
        raise AssertionError(f"self-test needs {expected}, got {total}")'''
COMPARE_LISTS = '''def _compare(found, expected):
    """Raise unless the weighted sum of `found` is `expected` to seven digits."""
    flat = [found]
    while any(isinstance(x, list) for x in flat):
        flat = [y for x in flat for y in (x if isinstance(x, list) else [x])]
    total = sum(x * (k * STEP % 1.0) for k, x in enumerate(flat, 1))
    close = math.isclose(total, expected, rel_tol=1e-7, abs_tol=1e-12)
    if not close and not (math.isnan(total) and math.isnan(expected)):
        raise AssertionError(f"self-test needs {expected}, got {total}")'''
SAMPLE_LISTS = '''def _samples(first, shape, low, high, kind):
    """Nested lists of samples in row-major order."""
    if shape:
        count = math.prod(shape[1:])
        return [_samples(first + k * count, shape[1:], low, high, kind) for k in range(shape[0])]
    value = _sample(first, low, high)
    return value >= (low + high) / 2.0 if kind is bool else kind(value)'''
SAMPLE_SCALAR = '''def _sample(first, low, high):
    """low + (high - low) * (first * 0.618... mod 1)."""
    return low + (high - low) * (first * STEP % 1.0)'''


def _has_class(tree: Tree) -> bool:
    return tree.kind in ("dataclass", "namedtuple") or any(map(_has_class, tree.children))


def literal_static(entry: Any) -> str:
    value = entry.value
    return repr(value) if isinstance(value, (int, float, bool, str, type(None))) else "None"


def number_text(value: float) -> str:
    text = python_float(value)
    return f'float("{text}")' if text in ("nan", "inf", "-inf") else text


def _sample_text(sample: Any, first: int, count: int, numpy: bool) -> str:
    low, high = number_text(float(sample.low)), number_text(float(sample.high))
    if not numpy:
        if sample.shape:
            kind = {"b": "bool", "i": "math.floor"}.get(sample.dtype[0], "float")
            return f"_samples({first}, {sample.shape!r}, {low}, {high}, {kind})"
        text = f"_sample({first}, {low}, {high})"
        middle = (sample.low + sample.high) / 2
        whole = {"b": f"{text} >= {middle!r}", "i": f"math.floor({text})"}
        return whole.get(sample.dtype[0], text)
    dtype = f"np.{DTYPES[sample.dtype]}" if sample.dtype != "bool" else "np.bool_"
    shape = ", ".join(map(str, sample.shape))
    shape = f"({shape},)" if len(sample.shape) == 1 else f"({shape})"
    return f"_sample({first}, {shape}, {low}, {high}, {dtype})"


def _flat_access(tree: Tree) -> list[str]:
    if tree.kind == "leaf":
        return [""]
    out = []
    for k, (key, child) in enumerate(zip(tree.keys, tree.children, strict=True)):
        step = f"[{k}]" if tree.kind in ("tuple", "list") else f"[{literal_key(key)}]"
        out += [step + rest for rest in _flat_access(child)]
    return out
