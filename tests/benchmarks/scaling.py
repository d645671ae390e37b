"""What threads and single precision gain: gradgen's C beside itself and beside hand-written C with OpenMP.

    python tests/benchmarks/scaling.py [--threads 2] [--rounds 40]

For each workload the least time of a call of: hand-written C and gradgen's, each on one thread and on several (the speed-up
is the ratio), and gradgen's in float32. All take turns in one process, after agreeing on the results.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

PARALLEL = ("logistic", "arm-10000")
TIMES = 8  # as many rows as in the benchmark of one thread: enough work for threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before anything loads OpenMP
    print(f"least us a call; {options.threads} threads")
    print(f"{'workload':<12} {'':<9} {'hand':>9} {'gradgen':>9} {'ratio':>6}")
    for name in PARALLEL:
        report(name, options.rounds)


def report(name: str, rounds: int) -> None:
    """One workload: times, speed-ups by threads, and by float32."""
    best = least(contenders(name), rounds)
    one, many = (best["hand", 1], best["gradgen", 1]), (best["hand", 2], best["gradgen", 2])
    gains = [a / b for a, b in zip(one, many, strict=True)]
    print(f"{name:<12} {'1 thread':<9} {one[0]:>9.0f} {one[1]:>9.0f} {one[1] / one[0]:>6.2f}")
    print(f"{'':<12} {'threads':<9} {many[0]:>9.0f} {many[1]:>9.0f} {many[1] / many[0]:>6.2f}")
    share = gains[1] / gains[0]
    print(f"{'':<12} {'speed-up':<9} {gains[0]:>9.2f} {gains[1]:>9.2f} {share:>6.2f}")
    single = best["float32", 1]
    print(f"{'':<12} {'float32':<9} {'':>9} {single:>9.0f} {one[1] / single:>6.2f} times as fast")


def contenders(name: str) -> dict[tuple[str, int], Callable[[], Any]]:
    """The calls, by who and whether on several threads, after agreement to 1e-9 (float32: 1e-3)."""
    import numpy as np
    from contenders import hand_c
    from workloads import WORKLOADS

    import gradgen as gg

    w = WORKLOADS[name]
    args = [np.concatenate([a] * TIMES) if np.ndim(a) and len(a) > 1000 else a for a in w.args()]

    def gradgen(specs: Any, given: list[Any], parallel: bool) -> Callable[[], Any]:
        options = gg.Options(parallel=parallel)
        label = f"{w.hand_c}_{specs[0][:3]}_{'threads' if parallel else 'one'}"
        return partial(
            gg.compile(w.program(), *specs, target="c", name=label, options=options), *given
        )

    singles = tuple(s.replace("f64", "f32") for s in w.specs)
    rounded = [np.float32(a) for a in args]
    calls = {
        ("hand", 1): partial(hand_c(w).func, *args),
        ("hand", 2): partial(hand_c(w, threads=True).func, *args),
        ("gradgen", 1): gradgen(w.specs, args, False),
        ("gradgen", 2): gradgen(w.specs, args, True),
        ("float32", 1): gradgen(singles, rounded, False),
    }
    expected = flat(calls["hand", 1]())
    for (who, _), call in calls.items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            flat(call()), expected, rtol=0, atol=scale * (1e-3 if who == "float32" else 1e-9)
        )
    return calls


def flat(result: Any) -> Any:
    """Value and gradients as one vector."""
    import numpy as np

    if isinstance(result, (tuple, list)):
        return np.concatenate([flat(r) for r in result])
    return np.ravel(result).astype(float)


def least(
    calls: dict[tuple[str, int], Callable[[], Any]], rounds: int
) -> dict[tuple[str, int], float]:
    """The least time of each call in microseconds; they take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            best[key] = min(best[key], time.perf_counter() - start)
    return {key: seconds * 1e6 for key, seconds in best.items()}


if __name__ == "__main__":
    main()
