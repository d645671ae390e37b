"""The self-test recorded in emitted files: inputs from a formula, results as checksums from the interpreted engine.

Inputs are a Weyl sequence, u_k = k * 0.618... mod 1 (k = 1, 2, ...; one sequence runs through all arguments), mapped to
each argument's range; the same formula is in every target, so no data is stored. A result is recorded as sum_k result_k
* u_k to nine digits: enough to notice a wrong file, few enough to be the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradgen.engine import Exhausted, Poles, at_most, interpret
from gradgen.errors import GradgenError
from gradgen.ir import Function
from gradgen.sizes import evaluate
from gradgen.trace.spec import Signature
from gradgen.types import DTYPES

STEP = 0.6180339887498949
# Statements, and steps of loops; above, interpreting once would cost more than printing.
LIMIT = 20_000
ELEMENTS = 1_000_000  # of all inputs
RANGES = (0.25, 1.25, 2.25, -0.75, -1.75)  # where samples of a range of one begin


@dataclass(frozen=True)
class Sample:
    """How one array is filled: its shape, dtype, and range (indices: integers below `high`)."""

    label: str
    dtype: str
    shape: tuple[int, ...]
    low: float
    high: float


@dataclass(frozen=True)
class SelfTest:
    """Sizes by letter, a Sample for each input of the Function, the checksum of each result, and the steps of all loops."""

    sizes: dict[str, int]
    samples: tuple[Sample, ...]
    checksums: tuple[float, ...]
    steps: int


def weyl(first: int, count: int) -> np.ndarray:
    """u_first, ..., u_(first + count - 1)."""
    return np.arange(first, first + count) * STEP % 1.0


def fill(sample: Sample, first: int) -> np.ndarray:
    """The array of a sample whose first element is u_first."""
    count = int(np.prod(sample.shape, dtype=int))
    u = weyl(first, count).reshape(sample.shape)
    if sample.dtype == "bool":
        return u >= 0.5
    values = sample.low + (sample.high - sample.low) * u
    if sample.dtype[0] == "i":
        values = np.floor(values)
    return values.astype(DTYPES[sample.dtype])


def checksum(array: Any) -> float:
    """sum_k array_k * u_k over the elements in row-major order."""
    flat = np.asarray(array, dtype=np.float64).ravel()
    return float(np.sum(flat * weyl(1, flat.size)))


def record(fn: Function, signature: Signature, raises: bool = False) -> SelfTest | None:
    """The self-test of a function, or None where it has none.

    It is too long, its arrays are too large, a loop does not end on the samples, or no small sizes satisfy its entry checks.
    Samples are of the first range of RANGES in which nothing divides by zero, overflows or has no value; raises: the target's
    code raises there, so that there is no self-test without such a range (otherwise the first one does).
    """
    if len(fn.body) > LIMIT:
        return None
    for low in RANGES:
        try:
            found = _record(fn, signature, low, "raise")
        except FloatingPointError:
            continue
        return found
    return None if raises else _record(fn, signature, RANGES[0], "ignore")


def _record(fn: Function, signature: Signature, lowest: float, poles: Poles) -> SelfTest | None:
    """The self-test on samples from `lowest` on, where the user gives no range. FloatingPointError at poles that raise."""
    for bump in range(6):
        sizes = {name: 3 + k + bump for k, name in enumerate(signature.letters)}
        samples = []
        for leaf, v in zip(signature.leaves, fn.inputs, strict=True):
            shape = tuple(evaluate(d, sizes) for d in v.type.shape)
            usual = lowest if leaf.high is None else min(lowest, float(leaf.high) - 1.0)
            low = usual if leaf.low is None else float(leaf.low)
            high = low + 1.0 if leaf.high is None else float(leaf.high)
            if leaf.type.dtype[0] == "i" and leaf.low is None and leaf.high is None:
                whole = 0.0 if lowest == RANGES[0] else 1.0
                low, high = (
                    (whole, whole + 3.0)
                    if leaf.below is None
                    else (0.0, float(evaluate(leaf.below, sizes)))
                )
            samples.append(Sample(leaf.label, leaf.type.dtype, shape, low, high))
        if sum(math.prod(sample.shape) for sample in samples) > ELEMENTS:
            return None
        try:
            with at_most(LIMIT) as left:
                outputs = interpret(fn, arrays(samples), sizes, poles)
        except (Exhausted, MemoryError):
            return None
        except (GradgenError, IndexError, ValueError):
            continue
        sums = tuple(float(f"{checksum(v):.9g}") for v in outputs)
        return SelfTest(sizes, tuple(samples), sums, LIMIT - left[0])
    return None


def arrays(samples: Sequence[Sample]) -> list[np.ndarray]:
    """The inputs that the samples describe."""
    out, first = [], 1
    for sample in samples:
        out.append(fill(sample, first))
        first += math.prod(sample.shape)
    return out
