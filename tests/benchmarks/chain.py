"""Trace, differentiate and emit a chain of scalar operations: time a node, from 1e3 to 1e6 nodes.

    python tests/benchmarks/chain.py [--largest 1000000]

The time is the process's own (CPU), one process a size, the best of a few for all but the largest. Each result is checked
against a complex-step derivative of the same loop. Beside it: the time to the gradient alone, before anything is optimised or
emitted, and CasADi's, where it is installed, from its first operation to its gradient.
"""

from __future__ import annotations

import argparse
import cmath
import subprocess
import sys
import time

import numpy as np

NODES_PER_STEP = 5


def chain(steps: int):
    """x, y -> x after `steps` steps of five operations each."""

    def f(x, y):
        for _ in range(steps):
            x = np.sin(x) * y + x
            y = y * 0.5 + x
        return x

    return f


def complex_step(steps: int, x: float, y: float) -> float:
    """df/dx without any derivative rule: the imaginary part along a tiny imaginary step."""
    a, b = complex(x, 1e-200), complex(y)
    for _ in range(steps):
        a = cmath.sin(a) * b + a
        b = b * 0.5 + a
    return a.imag / 1e-200


def measure(nodes: int) -> None:
    """One size: prints nodes, microseconds a node to emitted source, and the result's relative error."""
    import gradgen as gg

    steps = nodes // NODES_PER_STEP
    best = float("inf")
    repeats = 5 if nodes <= 10_000 else 3 if nodes <= 100_000 else 1
    for _ in range(repeats):
        start = time.process_time()
        fn = gg.compile(
            gg.value_and_grad(chain(steps), wrt=(0, 1)), "f64[]", "f64[]", target="python"
        )
        best = min(best, time.process_time() - start)
    gradient, casadi = to_the_gradient(steps, repeats), to_the_gradient_of_casadi(steps, repeats)
    start = time.process_time()
    _, (slope, _) = fn(0.1, 0.2)
    first_call = time.process_time() - start
    expected = complex_step(steps, 0.1, 0.2)
    if not np.isclose(slope, expected, rtol=1e-6):
        raise SystemExit(f"wrong derivative at {nodes} nodes: {slope}, expected {expected}")
    lines = fn.source.count("\n")
    print(
        f"{nodes:>9} {best / nodes * 1e6:>10.1f} {best:>8.2f} {first_call:>12.2f} {lines:>9}"
        f" {gradient / nodes * 1e6:>12.1f} {casadi / nodes * 1e6:>12.1f}"
    )


def to_the_gradient(steps: int, repeats: int) -> float:
    """Seconds to trace and differentiate, at best."""
    import gradgen as gg
    from gradgen.api import paused_collector
    from gradgen.trace.spec import arguments_of, placeholders

    best = float("inf")
    for _ in range(repeats):
        f = chain(steps)
        start = time.process_time()
        with paused_collector():  # as gg.compile does it
            arguments = arguments_of(f, ["x", "y"], ("f64[]", "f64[]"), {})
            gg.value_and_grad(f, (0, 1)).derive(placeholders(arguments), ["x", "y"])
        best = min(best, time.process_time() - start)
    return best


def to_the_gradient_of_casadi(steps: int, repeats: int) -> float:
    """The same of CasADi's scalars (SX); nan where it is not installed."""
    try:
        import casadi
    except ImportError:
        return float("nan")
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        a, b = x, y = casadi.SX.sym("x"), casadi.SX.sym("y")
        for _ in range(steps):
            a = casadi.sin(a) * b + a
            b = b * 0.5 + a
        casadi.gradient(a, casadi.vertcat(x, y))
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one)
        return
    print(
        f"{'nodes':>9} {'us/node':>10} {'seconds':>8} {'first call s':>12} {'lines':>9}"
        f" {'to gradient':>12} {'CasADi':>12}",
        flush=True,
    )
    nodes = 1000
    while nodes <= options.largest:
        subprocess.run([sys.executable, __file__, "--one", str(nodes)], check=True)
        nodes *= 10


if __name__ == "__main__":
    main()
