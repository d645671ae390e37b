"""The eager `gg.Value` beside micrograd and autograd: one step of training, the engines taking turns, a process each time.

    python tests/benchmarks/eager.py [--rounds 3] [--only moons] [--no-gc]

    moons         micrograd's demo: two moons, MLP(2, [16, 16, 1]) of scalars, 100 points one by one, hinge loss and L2
    moons-arrays  the same network and loss on arrays
    image         MLP(784, [128, 10]) of scalars, one image
    mlp           784-128-10 on arrays, a batch of 64, tanh, cross-entropy

A step is the loss, its gradient and the update of the parameters. All engines must agree on the first loss and on every
first gradient to 1e-10. The time is the least and the median of all rounds, in milliseconds of the process's own (CPU). The
collector of garbage runs as it does by default, or not at all (--no-gc: then micrograd's graphs, which are cyclic, are never
freed). An engine that is not installed is listed as missing; one that has no such numbers (micrograd knows no arrays) is left
out.

Last, what NumPy-dispatch tracing costs: microseconds for each array operation of a traced function.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

TOLERANCE = 1e-10
RATE = 0.05
# An engine's step: it updates the parameters and returns the loss and the gradient at what they were.
Step = Callable[[], tuple[float, np.ndarray]]


def two_moons(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points float64[n, 2] and their side, -1.0 or 1.0."""
    rng = np.random.default_rng(1337)
    angle = np.pi * rng.random(n)
    lower = np.arange(n) % 2
    X = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    X[lower == 1] = [1.0, 0.5] - X[lower == 1]
    return X + 0.1 * rng.normal(size=X.shape), 2.0 * lower - 1.0


def autograd_numpy() -> tuple[Any, Any]:
    """autograd's value_and_grad and its NumPy; ImportError where it is not installed."""
    import autograd
    import autograd.numpy

    return autograd.value_and_grad, autograd.numpy


def descend(model: Any, loss: Callable[[], Any]) -> tuple[float, np.ndarray]:
    """micrograd's training step on a model's parameters."""
    total = loss()
    model.zero_grad()
    total.backward()
    parameters = model.parameters()
    gradient = np.array([float(p.grad) for p in parameters])
    for p in parameters:
        p.data -= RATE * p.grad
    return float(total.data), gradient


def scalars(sizes: list[int], loss: Callable[..., Any]) -> dict[str, Callable[[], Step]]:
    """Each engine's step on an MLP of scalars; `loss(value, model, relu)` makes numbers by `value`."""

    def by_values(Value: Any, MLP: Any) -> Step:
        random.seed(1337)
        model = MLP(sizes[0], sizes[1:])
        return lambda: descend(model, lambda: loss(Value, model, lambda v: v.relu()))

    def gradgen() -> Step:
        import gradgen as gg

        return by_values(gg.Value, gg.nn.MLP)

    def micrograd() -> Step:
        from micrograd.engine import Value
        from micrograd.nn import MLP

        return by_values(Value, MLP)

    def autograd() -> Step:
        value_and_grad, anp = autograd_numpy()
        random.seed(1337)
        numbers = []
        for n, m in pairwise(sizes):
            numbers += [
                random.uniform(-1, 1) if k < n else 0.0 for _ in range(m) for k in range(n + 1)
            ]

        class Model:
            """The network over autograd's boxes, with NumPy's maximum in place of a Value's relu."""

            def __init__(self, values: list[Any]) -> None:
                self.values = values

            def parameters(self) -> list[Any]:
                return self.values

            def __call__(self, x: list[Any]) -> Any:
                drawn = iter(self.values)
                for k, (n, m) in enumerate(pairwise(sizes)):
                    out = []
                    for _ in range(m):
                        w = [next(drawn) for _ in range(n)]
                        act = sum((wi * xi for wi, xi in zip(w, x, strict=True)), next(drawn))
                        out.append(act if k == len(sizes) - 2 else anp.maximum(act, 0.0))
                    x = out
                return x[0] if len(x) == 1 else x

        gradient = value_and_grad(
            lambda values: loss(float, Model(list(values)), lambda v: anp.maximum(v, 0.0))
        )

        def step() -> tuple[float, np.ndarray]:
            value, bars = gradient(numbers)
            numbers[:] = [p - RATE * float(b) for p, b in zip(numbers, bars, strict=True)]
            return float(value), np.array([float(b) for b in bars])

        return step

    return {"gradgen": gradgen, "micrograd": micrograd, "autograd": autograd}


def arrays(weights: list[np.ndarray], loss: Callable[..., Any]) -> dict[str, Callable[[], Step]]:
    """Each engine's step on array weights; `loss(np, *weights)` is written once."""

    def flat(bars: Any) -> np.ndarray:
        return np.concatenate([np.ravel(b) for b in bars])

    def gradgen() -> Step:
        import gradgen as gg

        values = [gg.Value(w.copy()) for w in weights]

        def step() -> tuple[float, np.ndarray]:
            total = loss(np, *values)
            for v in values:
                v.grad = None
            total.backward()
            for v in values:
                v.data = v.data - RATE * v.grad
            return total.data, flat(v.grad for v in values)

        return step

    def autograd() -> Step:
        value_and_grad, anp = autograd_numpy()
        numbers = [w.copy() for w in weights]
        gradient = value_and_grad(lambda *w: loss(anp, *w), argnum=tuple(range(len(weights))))

        def step() -> tuple[float, np.ndarray]:
            value, bars = gradient(*numbers)
            numbers[:] = [w - RATE * b for w, b in zip(numbers, bars, strict=True)]
            return float(value), flat(bars)

        return step

    return {"gradgen": gradgen, "autograd": autograd}


def drawn(sizes: list[int]) -> list[np.ndarray]:
    """Weights and biases of a network, from a fixed seed."""
    rng = np.random.default_rng(0)
    return [
        a for n, m in pairwise(sizes) for a in (rng.normal(size=(n, m)) / np.sqrt(n), np.zeros(m))
    ]


def moons() -> dict[str, Callable[[], Step]]:
    X, y = two_moons(100)
    points, sides = X.tolist(), y.tolist()

    def loss(Value: Any, model: Any, relu: Any) -> Any:
        """The notebook's: hinge, and L2 of all parameters."""
        inputs = [list(map(Value, row)) for row in points]
        scores = list(map(model, inputs))
        losses = [relu(1 + -yi * score) for yi, score in zip(sides, scores, strict=True)]
        data_loss = sum(losses) * (1.0 / len(losses))
        return data_loss + 1e-4 * sum(p * p for p in model.parameters())

    return scalars([2, 16, 16, 1], loss)


def moons_arrays() -> dict[str, Callable[[], Step]]:
    X, y = two_moons(100)

    def loss(np: Any, w0: Any, b0: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        h = np.maximum(X @ w0 + b0, 0.0)
        h = np.maximum(h @ w1 + b1, 0.0)
        scores = (h @ w2 + b2)[:, 0]
        squares = sum(np.sum(p * p) for p in (w0, b0, w1, b1, w2, b2))
        return np.mean(np.maximum(1.0 - y * scores, 0.0)) + 1e-4 * squares

    return arrays(drawn([2, 16, 16, 1]), loss)


def image() -> dict[str, Callable[[], Step]]:
    pixels = np.random.default_rng(5).random(784).round(3).tolist()

    def loss(Value: Any, model: Any, relu: Any) -> Any:
        """A hinge loss that wants the first class to lead by one."""
        scores = model(list(map(Value, pixels)))
        return sum(relu(1.0 + s - scores[0]) for s in scores[1:]) * 0.1

    engines = scalars([784, 128, 10], loss)
    del engines["autograd"]  # quadratic in the length of a list of parameters
    return engines


def mlp() -> dict[str, Callable[[], Step]]:
    rng = np.random.default_rng(5)
    X, labels = rng.random((64, 784)), rng.integers(0, 10, 64)
    hot = np.eye(10)[labels]

    def loss(np: Any, w0: Any, b0: Any, w1: Any, b1: Any) -> Any:
        z = np.tanh(X @ w0 + b0) @ w1 + b1
        z = z - np.max(z, axis=1, keepdims=True)
        return np.mean(np.log(np.sum(np.exp(z), axis=1)) - np.sum(hot * z, axis=1))

    return arrays(drawn([784, 128, 10]), loss)


WORKLOADS: dict[str, Callable[[], dict[str, Callable[[], Step]]]] = {
    "moons": moons,
    "moons-arrays": moons_arrays,
    "image": image,
    "mlp": mlp,
}


def one(workload: str, engine: str, collect: bool) -> dict[str, Any]:
    """This process's engine: its first loss and gradient, and seconds a step; or what is missing."""
    sys.setrecursionlimit(20_000)  # micrograd's backward recurses
    try:
        step = WORKLOADS[workload]()[engine]()
    except ImportError as missing:
        return {"missing": missing.name}
    value, gradient = step()
    gc.collect()
    if not collect:
        gc.disable()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.3 and len(times) < 100):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return {"value": value, "gradient": gradient.tolist(), "times": times}


def in_process(workload: str, engine: str, collect: bool) -> dict[str, Any]:
    words = [sys.executable, __file__, "--one", workload, engine, *([] if collect else ["--no-gc"])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def compare(workload: str, rounds: int, collect: bool) -> None:
    """Print a line for each engine. SystemExit if they do not agree."""
    times: dict[str, list[float]] = {}
    first: dict[str, Any] = {}
    for _ in range(rounds):
        for engine in WORKLOADS[workload]():
            found = in_process(workload, engine, collect)
            if "missing" in found:
                print(f"{workload:<14}{engine:<11}missing: {found['missing']}")
                continue
            first = first or found
            gradient, wanted = np.array(found["gradient"]), np.array(first["gradient"])
            error = max(
                abs(found["value"] - first["value"]) / abs(first["value"]),
                float(np.max(np.abs(gradient - wanted)) / np.max(np.abs(wanted))),
            )
            if not error <= TOLERANCE:
                raise SystemExit(f"{engine} is off by {error:.1e}")
            times.setdefault(engine, []).extend(found["times"])
    for engine, seconds in times.items():
        seconds.sort()
        ratio = f"{min(times['gradgen']) / seconds[0]:.2f} x" if engine != "gradgen" else ""
        least, middle = seconds[0] * 1e3, seconds[len(seconds) // 2] * 1e3
        print(f"{workload:<14}{engine:<11}{least:>9.2f}{middle:>11.2f}{ratio:>15}", flush=True)


def trace_cost(operations: int = 2000) -> float:
    """Microseconds for each array operation of a traced function, the least of five."""

    def f(x: Any, y: Any) -> Any:
        for _ in range(operations // 4):
            x = np.tanh(x * y) + x
            y = np.maximum(y, x)
        return x

    from gradgen.trace.stage import stage

    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        stage(f, [np.zeros(3), np.ones(3)])
        best = min(best, time.process_time() - start)
    return best / operations * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=WORKLOADS, action="append")
    parser.add_argument("--no-gc", action="store_true", help="switch the garbage collector off")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one, not options.no_gc)))
        return
    print(f"{'':<14}{'engine':<11}{'least ms':>9}{'median ms':>11}{'gradgen takes':>15}")
    for workload in options.only or WORKLOADS:
        compare(workload, options.rounds, not options.no_gc)
    print(f"tracing: {trace_cost():.1f} us an array operation")


if __name__ == "__main__":
    main()
