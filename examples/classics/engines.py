"""Compute one scalar function's value and gradient on every engine; shared by the classics.

The engines: `Value` (define-by-run with `backward()`, as in micrograd), `interpreter` (the traced
and differentiated function, evaluated statement by statement), and the code emitted for the
targets `python`, `numpy` and `c`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradgen as gg

TARGETS = ("python", "numpy", "c")
Answer = tuple[float, dict[str, float]]


def everywhere(f: Callable[..., Any], **at: float) -> dict[str, Answer]:
    """Engine -> (value, {argument: derivative}) of `f` at the point `at`; prints one row each.

    `f` takes the scalars named in `at`, in that order, and may use Value's methods (`.relu()`).
    """
    names = tuple(at)
    answers: dict[str, Answer] = {}

    leaves = [gg.Value(x, label=name) for name, x in at.items()]
    y = f(*leaves)
    y.backward()
    answers["Value"] = y.data, {v.label: v.grad for v in leaves}

    transformed = gg.value_and_grad(f, wrt=names)
    value, bars = transformed(*at.values())
    answers["interpreter"] = float(value), dict(zip(names, map(float, bars), strict=True))

    for target in TARGETS:
        fn = gg.compile(transformed, specs=dict.fromkeys(names, "f64[]"), target=target)
        value, bars = fn(*at.values())
        answers[target] = value, dict(zip(names, bars, strict=True))

    where = ", ".join(f"{name}={x:g}" for name, x in at.items())
    print(f"{f.__name__}({where})")
    for engine, (value, gradient) in answers.items():
        slopes = "  ".join(f"d/d{name}={bar:.7g}" for name, bar in gradient.items())
        print(f"  {engine:<12} {value:<12.8g} {slopes}")
    return answers
