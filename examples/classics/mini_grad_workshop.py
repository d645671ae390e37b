"""The mini-grad workshop: a graph whose middle is swapped, then a small neural network.

f = w^2 / 2 with w = z + y x: 84.5 with slopes 91, 39 at (2, 3) for z = x^2 + y, and 112.5 with
slopes 90, 45 for z = 3 x + y. The network is micrograd's MLP(3, [4, 4, 1]) on four samples; its
graph, built from Values once, is compiled and trained by the emitted functions, and every engine
brings the summed squared error below 1e-3 within 300 steps, from each of five seeds.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from engines import TARGETS, Answer, everywhere

import gradgen as gg
from gradgen.nn import MLP

SAMPLES = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
WANTED = [1.0, -1.0, -1.0, 1.0]
SEEDS = (0, 1, 2, 3, 4)
STEPS = 300
GOAL = 1e-3


def with_square(x, y):
    z = x**2 + y
    w = z + y * x
    return w**2 / 2


def with_line(x, y):
    z = 3 * x + y
    w = z + y * x
    return w**2 / 2


def squared_error(model: MLP) -> Any:
    """The summed squared error of `model` over the four samples."""
    return sum((model(x) - y) ** 2 for x, y in zip(SAMPLES, WANTED, strict=True))


def first_weights(seed: int) -> MLP:
    random.seed(seed)
    return MLP(3, [4, 4, 1])


def train(gradient: Callable[[np.ndarray], Any], p: np.ndarray) -> tuple[int, float]:
    """Adam with rate 0.02 from the parameters `p`; returns (steps taken, squared error).

    Plain gradient descent needs a rate of its own for each seed: relu networks this small either
    crawl or lose their neurons.
    """
    mean, square = np.zeros_like(p), np.zeros_like(p)
    for step in range(1, STEPS + 1):
        value, p_bar = gradient(p)
        if value < GOAL:
            return step - 1, float(value)
        p_bar = np.asarray(p_bar)
        mean = 0.9 * mean + 0.1 * p_bar
        square = 0.999 * square + 0.001 * p_bar**2
        slope = mean / (1 - 0.9**step)
        p = p - 0.02 * slope / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return STEPS, float(gradient(p)[0])


def on_values(model: MLP) -> Callable[[np.ndarray], Any]:
    """p -> (squared error, gradient) by define-by-run: each call builds and walks a graph."""

    def gradient(p: np.ndarray) -> Any:
        for leaf, data in zip(model.parameters(), p, strict=True):
            leaf.data = data
        model.zero_grad()
        error = squared_error(model)
        error.backward()
        return error.data, [leaf.grad for leaf in model.parameters()]

    return gradient


def over_vector(fn: Callable[..., Any]) -> Callable[[np.ndarray], Any]:
    """`fn` of many scalars as a function of one vector of them."""
    return lambda p: fn(*p)


def train_network() -> dict[str, dict[int, tuple[int, float]]]:
    """Engine -> {seed: (steps taken, squared error)}."""
    model = first_weights(0)
    graph = squared_error(model)
    engines: dict[str, Callable[[np.ndarray], Any]] = {"Value": on_values(first_weights(0))}
    for target in TARGETS:
        # The graph is one for all seeds: parameters are arguments, only the samples are constants.
        fn = gg.compile(graph, wrt=model.parameters(), target=target)
        engines[target] = over_vector(fn)
    starts = {seed: [p.data for p in first_weights(seed).parameters()] for seed in SEEDS}
    found = {
        engine: {seed: train(gradient, np.array(p)) for seed, p in starts.items()}
        for engine, gradient in engines.items()
    }
    print(f"{model!r} on four samples: steps until the squared error is below {GOAL:g}")
    for engine, per_seed in found.items():
        row = "  ".join(f"seed {seed}: {steps}" for seed, (steps, _) in per_seed.items())
        print(f"  {engine:<12} {row}")
    return found


def main() -> dict[str, Any]:
    graphs: dict[str, dict[str, Answer]] = {
        "with_square": everywhere(with_square, x=2.0, y=3.0),
        "with_line": everywhere(with_line, x=2.0, y=3.0),
    }
    return {**graphs, "network": train_network()}


if __name__ == "__main__":
    main()
