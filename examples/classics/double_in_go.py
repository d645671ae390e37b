"""micrograd in Go: a model with one weight that learns double(x) from examples.

Gradient descent on the mean squared error from a random start; w comes within 1e-6 of 2 and the
loss falls to 0, on every engine by the same path.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from engines import TARGETS

import gradgen as gg

XS = (1.0, 2.0, 3.0, 4.0, 5.0)


def loss(w, xs, ys):
    """Mean squared error of the model `w * x`; `xs` and `ys` are lists of scalars."""
    return sum((w * x - y) ** 2 for x, y in zip(xs, ys, strict=True)) / len(xs)


def array_loss(w, xs, ys):
    """The same over arrays of shape (5,)."""
    return np.mean((w * xs - ys) ** 2)


def descend(gradient: Callable[[float], Any], w: float, rate: float = 0.02) -> list[Any]:
    """100 steps from `w`; returns [w, first loss, last loss]."""
    losses = []
    for _ in range(100):
        value, w_bar = gradient(w)
        losses.append(float(value))
        w -= rate * float(w_bar)
    return [w, losses[0], losses[-1]]


def over(fn: Callable[..., Any], xs: Any, ys: Any) -> Callable[[float], Any]:
    """`fn(w, xs, ys)` as a function of w alone."""
    return lambda w: fn(w, xs, ys)


def by_value(w: float) -> tuple[float, float]:
    """The gradient as micrograd computes it: a fresh graph, then backward."""
    leaf = gg.Value(w)
    y = loss(leaf, XS, [2 * x for x in XS])
    y.backward()
    return y.data, leaf.grad


def main(seed: int = 0) -> dict[str, list[float]]:
    """Engine -> [w, first loss, last loss]."""
    start = random.Random(seed).uniform(-1.0, 1.0)
    xs, ys = list(XS), [2 * x for x in XS]
    lists = gg.value_and_grad(loss, wrt="w")
    arrays = gg.value_and_grad(array_loss, wrt="w")
    x_array, y_array = np.array(xs), np.array(ys)

    scalars = ["f64[]"] * len(XS)
    engines: dict[str, Callable[[float], Any]] = {
        "Value": by_value,
        "interpreter": over(arrays, x_array, y_array),
    }
    for target in TARGETS:
        if target == "python":  # `python` is for scalars: lists of them are unrolled
            fn = gg.compile(lists, w="f64[]", xs=scalars, ys=scalars, target=target)
            engines[target] = over(fn, xs, ys)
        else:
            fn = gg.compile(arrays, w="f64[]", xs="f64[n]", ys="f64[n]", target=target)
            engines[target] = over(fn, x_array, y_array)

    found = {name: descend(gradient, start) for name, gradient in engines.items()}
    print(f"learning to double, from w = {start:.4f}")
    for name, (w, first, last) in found.items():
        print(f"  {name:<12} w = {w:.9f}   loss {first:.4g} -> {last:.2g}")
    return found


if __name__ == "__main__":
    main()
