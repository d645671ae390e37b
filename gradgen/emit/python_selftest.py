"""The self-test of an emitted Python module: what `python NAME.py --check` runs."""

from __future__ import annotations

from typing import Any

from gradgen.emit.layout import Group, Item, layout
from gradgen.emit.python_text import literal_key
from gradgen.emit.selftest import STEP, SelfTest
from gradgen.trace.spec import Leaf, SizeSpec
from gradgen.tree import Tree
from gradgen.types import DTYPES


def python_selftest(module: Any, test: SelfTest) -> str:
    """The text of `_self_test` and of the `--check` entry."""
    numpy = module.target == "numpy"
    lines = [
        "def _self_test():",
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
    for argument in module.signature.passed:
        texts = [
            str(test.sizes[argument.name])
            if isinstance(e, SizeSpec)
            else by_label[e.label]
            if isinstance(e, Leaf)
            else literal_static(e)
            for e in argument.entries
        ]
        arguments.append(module._structure(argument.tree, iter(texts)))
        if argument.tree.kind in ("dataclass", "namedtuple"):
            return ""  # the class is the user's: a standalone file cannot make one
        if not numpy and any(isinstance(e, Leaf) and e.type.shape for e in argument.entries):
            return ""
        if _has_class(argument.tree):
            return ""
    lines += layout(4, "found = ", Group(f"{module.signature.name}(", arguments, ")"))
    lines += layout(4, "expected = ", Group("[", [number_text(c) for c in test.checksums], "]"))
    order = [k for k in module.signature.slots if k is not None]
    flatten = _flat_access(module.signature.result)
    picks = [f"found{flatten[i]}" for i, k in enumerate(module.signature.slots) if k is not None]
    wanted = [f"expected[{k}]" for k in order]
    for pick, want in zip(picks, wanted, strict=True):
        lines += layout(4, "_compare(", Group("", [pick, want], ")"))
    weights = "np.arange(1, x.size + 1) * STEP % 1.0".replace("STEP", repr(STEP))
    if numpy:
        compare = (
            "def _compare(found, expected):\n"
            '    """Raise unless the weighted sum of `found` is `expected` to seven digits."""\n'
            "    x = np.asarray(found, np.float64).ravel()\n"
            f"    total = np.sum(x * ({weights}))\n"
            "    if not np.allclose(total, expected, rtol=1e-7, atol=1e-12, equal_nan=True):\n"
            '        raise AssertionError(f"self-test needs {expected}, got {total}")'
        )
        sampler = (
            "def _sample(first, shape, low, high, dtype):\n"
            '    """Elements low + (high - low) * (k * 0.618... mod 1) for k = first, first + 1, ..."""\n'
            "    count = int(np.prod(shape, dtype=int))\n"
            f"    u = np.arange(first, first + count).reshape(shape) * {STEP!r} % 1.0\n"
            "    if dtype is np.bool_:\n"
            "        return u >= 0.5\n"
            "    values = low + (high - low) * u\n"
            "    return (values if np.issubdtype(dtype, np.floating) else np.floor(values)).astype(dtype)"
        )
    else:
        compare = (
            "def _compare(found, expected):\n"
            '    """Raise unless the weighted `found` is `expected` to seven digits."""\n'
            f"    total = found * {STEP!r}\n"
            "    close = math.isclose(total, expected, rel_tol=1e-7, abs_tol=1e-12)\n"
            "    if not close and not (math.isnan(total) and math.isnan(expected)):\n"
            '        raise AssertionError(f"self-test needs {expected}, got {total}")'
        )
        sampler = (
            "def _sample(first, low, high):\n"
            '    """low + (high - low) * (first * 0.618... mod 1)."""\n'
            f"    return low + (high - low) * (first * {STEP!r} % 1.0)"
        )
    blocks = ["\n".join(lines)]
    if "_sample(" in blocks[0]:
        blocks.append(sampler)
    blocks.append(compare)
    blocks.append(
        'if __name__ == "__main__":\n'
        "    import sys\n\n"
        '    if "--check" not in sys.argv[1:]:\n'
        f'        sys.exit("usage: python {module.signature.name}.py --check")\n'
        "    _self_test()\n"
        f'    print("{module.signature.name}: self-test passed")'
    )
    return "\n\n\n".join(blocks)


def _has_class(tree: Tree) -> bool:
    return tree.kind in ("dataclass", "namedtuple") or any(map(_has_class, tree.children))


def literal_static(entry: Any) -> str:
    value = entry.value
    return repr(value) if isinstance(value, (int, float, bool, str, type(None))) else "None"


def number_text(value: float) -> str:
    text = repr(value)
    return f'float("{text}")' if text in ("nan", "inf", "-inf") else text


def _sample_text(sample: Any, first: int, count: int, numpy: bool) -> str:
    low, high = repr(float(sample.low)), repr(float(sample.high))
    if not numpy:
        text = f"_sample({first}, {low}, {high})"
        return {"b": f"{text} >= {(sample.low + sample.high) / 2!r}", "i": f"int({text})"}.get(
            sample.dtype[0], text
        )
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
