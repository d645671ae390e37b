"""gradgen against hand-written code and its peers: one process a contender, one thread, agreement first.

    python tests/benchmarks/bench.py [--only logistic,hand-c] [--quick] [--rounds 3] [--json out/bench.json]

For every workload and contender: the least and the median time of a call (microseconds), seconds of set-up (tracing,
compiling; for gradgen's C with an empty cache and again with a full one), megabytes of memory at the peak. A contender must
first agree with the reference, the hand-written NumPy, to 1e-9. What is not installed is listed as missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOLERANCE = 1e-9
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
LIMIT = {"quick": 60, "full": 600}


def measure(call: Any, quick: bool) -> tuple[float, float]:
    """Least and median seconds of a call."""
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            call()
        elapsed = time.perf_counter() - start
        if elapsed > (0.005 if quick else 0.02):
            break
        count = max(count * 2, int(count * 0.01 / max(elapsed, 1e-9)))
    times = []
    deadline = time.perf_counter() + (0.5 if quick else 3.0)
    while len(times) < 5 or (time.perf_counter() < deadline and len(times) < 200):
        start = time.perf_counter()
        for _ in range(count):
            call()
        times.append((time.perf_counter() - start) / count)
    times.sort()
    return times[0], times[len(times) // 2]


def one(name: str, contender: str, quick: bool) -> dict[str, Any]:
    """This process's contender: what it measured, or why it did not."""
    import numpy as np
    from contenders import CONTENDERS, Buffered, Missing, results
    from workloads import WORKLOADS

    w = WORKLOADS[name]
    if contender in w.skip:
        return {"missing": w.skip[contender]}
    start = time.perf_counter()
    try:
        call = CONTENDERS[contender](w)
        owner = parts = call  # a Buffered owns the memory behind its call
        if isinstance(owner, Buffered):
            call, parts = owner.call, owner.parts
        call()
        found = results(parts())
    except Missing as why:
        return {"missing": str(why)}
    setup = time.perf_counter() - start
    wanted = results(w.by_hand(*w.args()))
    error = max(
        float(np.max(np.abs(a - b), initial=0.0) / (np.max(np.abs(b), initial=0.0) + 1e-300))
        for a, b in zip(found, wanted, strict=True)
    )
    if len(found) != len(wanted) or not error <= TOLERANCE:
        return {"wrong": error}
    least, median = measure(call, quick)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    del owner
    return {
        "least": least * 1e6,
        "median": median * 1e6,
        "setup": setup,
        "megabytes": peak,
        "error": error,
    }


def in_process(name: str, contender: str, quick: bool, cache: str) -> dict[str, Any]:
    words = [sys.executable, __file__, "--one", name, contender, *(["--quick"] if quick else [])]
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "GRADGEN_CACHE": cache}
    limit = LIMIT["quick" if quick else "full"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, env=environment, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"missing": f"not done in {limit} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["?"])[-1][:200]}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def manifest() -> dict[str, Any]:
    """The machine, the compiler and the versions behind the figures."""
    from importlib import metadata

    from gradgen.toolchain import FLAGS, find_compiler

    versions = {}
    for package in ("numpy", "scipy", "casadi", "jax", "torch", "autograd", "numba", "gradgen-aot"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "missing"
    compiler = find_compiler()
    said = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu, "cores": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version(),
        "compiler": said.stdout.splitlines()[0], "flags": list(FLAGS), "versions": versions,
    }  # fmt: skip


def rounds(name: str, contenders: list[str], options: Any, folder: Path) -> dict[str, Any]:
    """Every contender in turn, as often as asked: a busy moment of the machine hits one round, not one contender."""
    rows: dict[str, dict[str, Any]] = {}
    for number in range(options.rounds):
        for contender in contenders:
            known = rows.get(contender)
            if known is not None and "least" not in known:
                continue
            cache = folder / contender / str(number)
            found = in_process(name, contender, options.quick, str(cache))
            if known is not None and "least" in found:
                found = {key: min(known[key], found[key]) for key in found}
            rows[contender] = found
        if number == 0 and "least" in rows.get("gradgen-c", {}):
            cache = folder / "gradgen-c" / "0"
            warm = in_process(name, "gradgen-c", True, str(cache)).get("setup", 0.0)
    if "least" in rows.get("gradgen-c", {}):
        rows["gradgen-c"]["warm"] = warm
    return rows


def line(contender: str, found: dict[str, Any], best: float | None) -> str:
    if "least" not in found:
        return f"  {contender:<18} {next(iter(found)):>8}: {next(iter(found.values()))}"
    ratio = f"{found['least'] / best:>8.2f}" if best else f"{'-':>8}"
    warm = f" ({found['warm']:.2f} warm)" if "warm" in found else ""
    return (
        f"  {contender:<18} {found['least']:>11.3f} {found['median']:>11.3f} {ratio} "
        f"{found['setup']:>8.2f} {found['megabytes']:>6.0f}{warm}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="workloads and contenders, by name, with commas")
    parser.add_argument(
        "--quick", action="store_true", help="short measurements of the small workloads"
    )
    parser.add_argument(
        "--rounds", type=int, default=1, help="how often everyone's turn comes; the best counts"
    )
    parser.add_argument("--json", type=Path, help="write figures and manifest to this file")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one, options.quick)))
        return 0
    from contenders import CONTENDERS
    from workloads import WORKLOADS

    asked = [word for word in options.only.split(",") if word]
    unknown = [word for word in asked if word not in WORKLOADS and word not in CONTENDERS]
    if unknown:
        parser.error(
            f"--only takes {', '.join([*WORKLOADS, *CONTENDERS])}; got {', '.join(unknown)}"
        )
    names = [n for n in WORKLOADS if n in asked] or [
        n for n, w in WORKLOADS.items() if w.quick or not options.quick
    ]
    contenders = [c for c in CONTENDERS if c in asked] or list(CONTENDERS)
    wrong = False
    table: dict[str, dict[str, Any]] = {}
    print(
        f"  {'us a call':<18} {'least':>11} {'median':>11} {'x hand C':>8} {'setup s':>8} {'MB':>6}"
    )
    for name in names:
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows = table[name] = rounds(name, contenders, options, Path(folder))
        best = rows.get("hand-c", {}).get("least")
        for contender in contenders:
            found = rows[contender]
            wrong |= "wrong" in found or "failed" in found
            print(line(contender, found, best), flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps({"manifest": manifest(), "table": table}, indent=1) + "\n"
        )
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
