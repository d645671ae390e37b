"""`gg.check` and `Compiled.check`: emitted code against interpreter against a numeric derivative that knows no rules.

The numeric derivative is Richardson's: central differences along a random direction at steps h, h/2, h/4, ...,
extrapolated (C. J. F. Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", Adv. Eng. Software 4, 1982), of the
values that the emitted code itself computes. Sample points respect sizes, ranges and index bounds; the seed is stated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradgen.errors import CheckError, GradgenError
from gradgen.sizes import evaluate
from gradgen.types import DTYPES

SEED = 20260101


# What emitted code raises where it has no value: Python's own errors at poles, NumPy's of a singular matrix.
POLES = (ValueError, ZeroDivisionError, OverflowError)
RANGES = "Give ranges, gg.spec('f64[n]', low=, high=), or a point, fn.check(*args)."


@dataclass
class Row:
    """One comparison: what, the largest relative error found, what was allowed."""

    what: str
    error: float
    allowed: float

    @property
    def ok(self) -> bool:
        return bool(self.error <= self.allowed)


@dataclass
class Report:
    """The result of a check; prints as a table, is true when every row is."""

    name: str
    seed: int
    points: int
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        width = max([len(r.what) for r in self.rows], default=10)
        lines = [
            f"check of {self.name}: {'ok' if self.ok else 'FAILED'} ({self.points} points, seed {self.seed})"
        ]
        for r in self.rows:
            verdict = "ok" if r.ok else "FAILED"
            lines.append(
                f"  {r.what:<{width}}  error {r.error:.1e}  allowed {r.allowed:.0e}  {verdict}"
            )
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    __repr__ = __str__


def relative_error(a: Any, b: Any) -> float:
    """Largest difference over the largest magnitude; equal infinities and NaNs agree."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape:
        return float("inf")
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    if bool(np.all(same)):
        return 0.0
    finite = np.abs(np.concatenate([np.ravel(x), np.ravel(y)]))
    scale = max(1.0, float(np.max(finite[np.isfinite(finite)], initial=0.0)))
    with np.errstate(invalid="ignore"):
        difference = np.abs(np.where(same, 0.0, x - y))
    return float("inf") if bool(np.any(np.isnan(difference))) else float(np.max(difference)) / scale


def sample(compiled: Any, rng: np.random.Generator) -> list[Any]:
    """Arguments for one point: sizes of 3, 4, ... that satisfy the entry checks, values in the specs' ranges."""
    signature = compiled.signature
    for bump in range(8):
        sizes = {name: 3 + k + bump for k, name in enumerate(signature.letters)}
        try:
            return _sample_at(compiled, sizes, rng)
        except GradgenError:
            continue
    raise CheckError(
        f"{compiled.name} needs example arguments: no small sizes satisfy its entry checks"
    )


def _sample_at(compiled: Any, sizes: dict[str, int], rng: np.random.Generator) -> list[Any]:
    from gradgen.trace.spec import Leaf, SizeSpec
    from gradgen.tree import unflatten

    decomposed = {
        str(node.args[0].name)
        for node in compiled.ir.body
        if node.op.symmetric and node.args[0] in set(compiled.ir.inputs)
    }
    out = []
    for argument in compiled.signature.passed:
        leaves: list[Any] = []
        for entry in argument.entries:
            if isinstance(entry, SizeSpec):
                leaves.append(sizes[argument.name])
            elif not isinstance(entry, Leaf):
                leaves.append(entry.value)
            elif entry.example is not None:
                leaves.append(entry.example)
            else:
                shape = tuple(evaluate(d, sizes) for d in entry.type.shape)
                drawn = _draw(entry, shape, sizes, rng)
                leaves.append(_definite(drawn) if entry.label in decomposed else drawn)
        out.append(unflatten(argument.tree, leaves))
    compiled.arrays(tuple(out), {})
    return out


def _definite(x: np.ndarray) -> np.ndarray:
    """A symmetric positive definite matrix made of a square one: the diagonal outweighs its row."""
    weight = 2.0 * np.max(np.sum(np.abs(x), axis=-1) + np.sum(np.abs(x), axis=-2), initial=0.0)
    return (x + np.swapaxes(x, -1, -2) + weight * np.eye(x.shape[-1])).astype(x.dtype)


def _draw(
    leaf: Any, shape: tuple[int, ...], sizes: dict[str, int], rng: np.random.Generator
) -> Any:
    dtype = leaf.type.dtype
    if dtype == "bool":
        return rng.uniform(size=shape) < 0.5
    if dtype[0] == "i":
        high = (
            evaluate(leaf.below, sizes)
            if leaf.below is not None
            else (3 if leaf.high is None else int(leaf.high) + 1)
        )
        least = 0 if leaf.low is None else int(leaf.low)
        return rng.integers(least, max(high, least + 1), size=shape).astype(DTYPES[dtype])
    lower = leaf.low if leaf.low is not None else (-1.0 if leaf.high is None else leaf.high - 2.0)
    upper = leaf.high if leaf.high is not None else lower + 2.0
    return rng.uniform(lower, upper, size=shape).astype(DTYPES[dtype])


def check_compiled(
    compiled: Any, args: Sequence[Any], kwargs: dict[str, Any], points: int = 3
) -> Report:
    """The report for a Compiled, on the given arguments or on sampled ones. CheckError when it cannot be carried out."""
    rng = np.random.default_rng(SEED)
    given = bool(args) or bool(kwargs)
    report = Report(compiled.name, SEED, 1 if given else points)
    cases = [compiled.arrays(tuple(args), dict(kwargs))] if given else [
        compiled.arrays(tuple(sample(compiled, rng)), {}) for _ in range(points)
    ]  # fmt: skip
    function = _quiet(compiled.build()._ready.call)
    tolerance = 1e-9 if all(v.type.dtype != "f32" for v in compiled.ir.inputs) else 1e-3
    from gradgen.engine import interpret

    worst = 0.0
    inside = []
    for arrays, sizes in cases:
        try:
            outputs = function(arrays, sizes)
        except POLES as error:
            if given:
                raise
            pole = f"{type(error).__name__}: {error}"
            continue
        inside.append((arrays, sizes))
        with np.errstate(all="ignore"):
            expected = interpret(compiled.ir, arrays, sizes)
        worst = max(
            [worst, *(relative_error(a, b) for a, b in zip(outputs, expected, strict=True))]
        )
    if not inside:
        raise CheckError(
            f"{compiled.name} needs sample points where it has a value, got {pole} at every one",
            RANGES,
        )
    if len(inside) < len(cases):
        report.notes.append(f"{len(cases) - len(inside)} of the points left out: {pole}")
    report.rows.append(Row(f"{compiled.target} code against the interpreter", worst, tolerance))
    _numeric_rows(compiled, function, inside, rng, report)
    return report


def _quiet(function: Any) -> Any:
    """The emitted function without NumPy's warnings: sample points may lie outside of its domain."""

    def call(arrays: Any, sizes: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(arrays, sizes)

    return call


def _numeric_rows(
    compiled: Any, function: Any, cases: Any, rng: np.random.Generator, report: Report
) -> None:
    """Gradient outputs against Richardson differences of what they are the gradients of, along random directions."""
    results = compiled.signature.results
    leaves = compiled.signature.leaves
    weights = _weights(compiled.signature)
    single = any(v.type.dtype == "f32" for v in (*compiled.ir.inputs, *compiled.ir.body))
    if compiled.signature.moved:
        _tangent_row(compiled, function, cases, rng, report, single)
        return
    scalar = results and results[0] == "value" and not compiled.ir.outputs[0].type.shape
    if not scalar and not weights:
        report.notes.append(
            "no scalar value among the results: the derivative was compared with the interpreter only"
        )
        return
    pairs = [
        (k, results.index(f"{leaf.label}_bar"))
        for k, leaf in enumerate(leaves)
        if f"{leaf.label}_bar" in results
    ]
    if not pairs:
        return
    rough = 0
    mirrored = _taken_as_symmetric(compiled.ir)
    for k, out in pairs:
        worst, compared = 0.0, 0
        for arrays, sizes in cases:

            def at(
                x: Any, arrays: Any = arrays, k: int = k, sizes: Any = sizes, out: int = out
            ) -> Any:
                moved = list(arrays)
                moved[k] = x.astype(arrays[k].dtype)
                try:
                    made = function(moved, sizes)
                except POLES:
                    made = [np.nan] * len(results)
                value = sum(np.sum(made[j] * arrays[w]) for j, w in weights) if weights else made[0]
                return value, made[out]

            found = _slope(at, arrays[k], rng, single, compiled.ir.inputs[k] in mirrored)
            if found is not None:
                worst, compared = max(worst, found), compared + 1
        if compared:
            report.rows.append(
                Row(
                    f"{results[out]} against Richardson differences",
                    worst,
                    2e-2 if single else 1e-6,
                )
            )
        else:
            rough += 1
            report.notes.append(
                f"{leaves[k].label}: no smooth point found; compared with the interpreter only"
            )
    if rough:
        report.notes.append(RANGES)


def _tangent_row(
    compiled: Any,
    function: Any,
    cases: Any,
    rng: np.random.Generator,
    report: Report,
    single: bool,
) -> None:
    """The tangents of a jvp against Richardson differences of its values along the directions given.

    Those of a matrix that is taken as symmetric are made symmetric.
    """
    signature, mirrored = compiled.signature, _taken_as_symmetric(compiled.ir)
    before = sum(len(a.leaves) for a in signature.arguments[:-1])
    half = len(signature.slots) // 2
    slots = zip(signature.slots[:half], signature.slots[half:], strict=True)
    pairs = [(value, dot) for value, dot in slots if value is not None and dot is not None]
    worst, compared = 0.0, 0
    for given, sizes in cases:
        arrays = list(given)
        for seed, k in enumerate(signature.moved, before):
            if compiled.ir.inputs[k] in mirrored:
                arrays[seed] = 0.5 * (arrays[seed] + np.swapaxes(arrays[seed], -1, -2))
        outputs = function(arrays, sizes)
        weights = [np.asarray(rng.standard_normal(np.shape(outputs[j]))) for _, j in pairs]
        exact = sum(float(np.sum(w * outputs[j])) for w, (_, j) in zip(weights, pairs, strict=True))

        def at(t: float, arrays: Any = arrays, sizes: Any = sizes, weights: Any = weights) -> float:
            moved = list(arrays)
            for seed, k in enumerate(signature.moved, before):
                moved[k] = (arrays[k] + t * arrays[seed]).astype(arrays[k].dtype)
            try:
                made = function(moved, sizes)
            except POLES:
                return float("nan")
            return sum(float(np.sum(w * made[i])) for w, (i, _) in zip(weights, pairs, strict=True))

        found = _difference(at, exact, abs(exact), single)
        if found is not None:
            worst, compared = max(worst, found), compared + 1
    if not compared:
        report.notes.append("no smooth point found; compared with the interpreter only")
        report.notes.append(RANGES)
        return
    report.rows.append(
        Row("tangents against Richardson differences", worst, 2e-2 if single else 1e-6)
    )


def _weights(signature: Any) -> list[tuple[int, int]]:
    """For a vjp, the results with the inputs that weigh them: its gradients are those of their weighted sum."""
    if not signature.weighed:
        return []
    before = sum(len(a.leaves) for a in signature.arguments[:-1])
    seeds = range(before, before + len(signature.arguments[-1].leaves))
    return [
        (slot, seed) for slot, seed in zip(signature.slots, seeds, strict=False) if slot is not None
    ]


def _taken_as_symmetric(fn: Any) -> set[Any]:
    """Inputs that are square matrices, where the function has a decomposition that reads one triangle of such a matrix."""
    if not any(node.op.symmetric for node in fn.body):
        return set()
    shapes = {v: v.type.shape for v in fn.inputs if v.type.ndim >= 2}
    return {v for v, shape in shapes.items() if shape[-1] == shape[-2]}


def _slope(
    at: Any, x: Any, rng: np.random.Generator, single: bool, mirrored: bool = False
) -> float | None:
    """Relative error of one gradient along a random unit direction; None where the value is not smooth (or finite) nearby.

    mirrored: along symmetric matrices only, as which a decomposition of x takes it.

    The step shrinks until differences at several steps agree with one another: beyond a kink they do not.
    """
    gradient = np.asarray(at(x)[1], dtype=np.float64)
    for _ in range(4):
        direction = np.asarray(rng.standard_normal(x.shape))
        if mirrored:
            direction = direction + np.swapaxes(direction, -1, -2)
        direction /= max(float(np.linalg.norm(direction)), 1e-300)
        exact = float(np.sum(gradient * direction))
        along = lambda t, d=direction: float(at(x + t * d)[0])
        found = _difference(along, exact, float(np.linalg.norm(gradient)), single)
        if found is not None:
            return found
    return None


def _difference(
    at: Callable[[float], float], exact: float, size: float, single: bool
) -> float | None:
    """Relative error of a slope at 0, for slopes of this size; None where no step gives differences that agree."""
    for h in (0.1, 0.03) if single else (1e-2, 1e-3, 1e-4, 1e-5):
        numeric, spread = richardson(at, h)
        scale = max(1.0, abs(numeric), abs(exact), size)
        if np.isfinite(numeric) and spread <= (1e-2 if single else 1e-7) * scale:
            return abs(numeric - exact) / scale
    return None


def richardson(f: Any, h: float, levels: int = 6) -> tuple[float, float]:
    """f'(0) by extrapolated central differences, and an estimate of its error."""
    table: list[list[float]] = []
    best, error = float("nan"), float("inf")
    for k in range(levels):
        step = h / 2**k
        row = [(f(step) - f(-step)) / (2 * step)]
        for j in range(k):
            row.append(row[j] + (row[j] - table[k - 1][j]) / (4.0 ** (j + 1) - 1))
            spread = max(abs(row[-1] - row[-2]), abs(row[-1] - table[k - 1][j]))
            if spread < error:
                best, error = row[-1], spread
        table.append(row)
    return best, error
