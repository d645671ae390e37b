"""GradBench's protocol: one JSON object a line, a reply with the message's id to each; see the benchmark's documentation."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

MODULES = ("hello", "llsq", "lse", "gmm", "lstm", "ba")


def evaluate(module: str, function: str, given: Any) -> dict[str, Any]:
    """Run a function until `min_runs` and `min_seconds` are both met; preparation is not timed."""
    functions = importlib.import_module(f"examples.gradbench.{module}").FUNCTIONS
    if function not in functions:
        raise ValueError(f"{module} has no function {function}")
    options = given if isinstance(given, dict) else {}
    run: Callable[[], Any] = functions[function](given)
    least, seconds = int(options.get("min_runs", 1)), float(options.get("min_seconds", 0.0))
    timings: list[dict[str, Any]] = []
    total = 0
    output = None
    while len(timings) < max(1, least) or total < seconds * 1e9:
        start = time.perf_counter_ns()
        output = run()
        nanoseconds = time.perf_counter_ns() - start
        total += nanoseconds
        timings.append({"name": "evaluate", "nanoseconds": nanoseconds})
    return {"success": True, "output": plain(output), "timings": timings}


def plain(value: Any) -> Any:
    """Arrays as nested lists."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def reply(message: dict[str, Any]) -> dict[str, Any]:
    """What answers one message, without its id."""
    kind = message.get("kind")
    if kind == "start":
        return {"tool": "gradgen"}
    if kind == "define":
        return {"success": message.get("module") in MODULES}
    if kind == "evaluate":
        module = message.get("module")
        if module not in MODULES:
            return {"success": False, "error": f"unknown module {module}"}
        try:
            return evaluate(module, message["function"], message["input"])
        except KeyError as error:
            return {"success": False, "error": f"an input needs {error}"}
        except Exception as error:
            return {"success": False, "error": f"{type(error).__name__}: {error}"}
    return {}


def serve(lines: TextIO, out: TextIO) -> None:
    """Answer messages until the input ends. ValueError for a line that is no message: nobody can be told under its id."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                message = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} is no JSON: {error}") from None
            if not isinstance(message, dict):
                raise ValueError(f"line {number} is no JSON object: {line.strip()[:40]}")
            out.write(json.dumps({"id": message.get("id"), **reply(message)}) + "\n")
            out.flush()


if __name__ == "__main__":
    try:
        serve(sys.stdin, sys.stdout)
    except ValueError as error:
        sys.exit(f"gradbench: a message needs to be one JSON object a line; {error}")
