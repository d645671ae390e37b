"""Rules with swapped arguments: every op of two or more like operands, every swap, and the rows that have to notice.

reads     one operand's rule reads two operands in each other's place
rules     two operands have each other's rules

Some row has to fail for every swap, unless the operands cannot change places (shapes that differ, indices). A swap that no
row notices has to be harmless: it changes no derivative, neither at the rows' own points nor (elementwise ops) at others.
Those are listed by name; a name that is there without need fails, as one that is missing does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools

import numpy as np
import pytest
from ops import array_rows, elementwise_rows, function_rows, test_functions
from ops import test_array_ops as arrays
from ops import test_elementwise as elementwise

import gradgen as gg
from gradgen.differentiate.forward import tangent
from gradgen.ir import CONST, OPS
from gradgen.value import Value, apply

pytestmark = pytest.mark.deep


class Unlike(ValueError):
    """The operands cannot stand in each other's place."""


@dataclasses.dataclass(frozen=True)
class Swap:
    """A wrong op: of its rules (`kind` is partials, vjp or jvp), those of operands i and j exchanged, or operands i and j
    exchanged where the rule of operand `reader` reads them."""

    op: str
    kind: str
    i: int
    j: int
    reader: int | None

    def __str__(self):
        what = "rules" if self.reader is None else f"reads of {self.reader}"
        return f"{self.op}.{self.kind}: {what}, {self.i} and {self.j}"

    def rules(self):
        right = getattr(OPS[self.op], self.kind)
        if callable(right):
            return self._of_a_shared_rule(right)
        wrong = list(right)
        if self.reader is None:
            wrong[self.i], wrong[self.j] = right[self.j], right[self.i]
        else:
            rule, before = right[self.reader], 1 if self.kind == "partials" else 2
            wrong[self.reader] = lambda *given, **params: rule(
                *given[:before], *self._exchanged(given[before:]), **params
            )
        return tuple(wrong)

    def _of_a_shared_rule(self, rule):
        """One rule for any number of operands, told which of them it is for."""
        other = {self.i: self.j, self.j: self.i}

        def wrong(k, y_bar, y, *args, **params):
            swapped = self._exchanged(args)
            if self.reader is None:
                return rule(other.get(k, k), y_bar, y, *args, **params)
            return rule(k, y_bar, y, *(swapped if k == self.reader else args), **params)

        return wrong

    def _exchanged(self, args):
        """Only numbers stand in for numbers, not for indices."""
        if len(args) <= self.j or any(args[k].type.dtype[0] != "f" for k in (self.i, self.j)):
            raise Unlike
        args = list(args)
        args[self.i], args[self.j] = args[self.j], args[self.i]
        return args


def swaps(op, kind, operands):
    """Every swap among `operands` (numbers that have a rule of that kind)."""
    for i, j in itertools.combinations(operands, 2):
        yield Swap(op.name, kind, i, j, None)
        for reader in operands:
            yield Swap(op.name, kind, i, j, reader)


# Rules that are constant, or read of an operand only its type, the larger of two (clip's _above) or their sum.
HARMLESS = {
    *(f"add.partials: {what}, 0 and 1" for what in ("rules", "reads of 0", "reads of 1")),
    *(f"{op}.partials: reads of {k}, 0 and 1" for op in ("sub", "gap") for k in (0, 1)),
    *(f"{op}.vjp: reads of {k}, 0 and 1" for op in ("stack", "slice_set", "scatter_set") for k in (0, 1)),
    *(f"{op}.partials: reads of 0, 0 and 1" for op in ("remainder", "fmod")),
    *(f"{op}.vjp: reads of 0, 0 and 1" for op in ("slice_add", "scatter_add")),
    *(f"where.{kind}: reads of {k}, 1 and 2" for kind in ("vjp", "jvp") for k in (1, 2)),
    *(f"{of}_rise.partials: reads of 1, 0 and 1" for of in ("gammaln", "digamma", "trigamma")),
    *(f"clip.{kind}: reads of 2, 0 and 1" for kind in ("vjp", "jvp")),
}  # fmt: skip


def with_rules(rules):
    """The operands that have a rule; two where one rule serves any number of them."""
    if rules is None or isinstance(rules, str):
        return []
    return [0, 1] if callable(rules) else [k for k, rule in enumerate(rules) if callable(rule)]


# -- elementwise ops
ELEMENTWISE = [
    (row, swap)
    for row in elementwise_rows.ROWS
    if row.exact
    for kind in ("partials", "vjp", "jvp")
    for swap in swaps(
        OPS[row.op],
        kind,
        [k for k in with_rules(getattr(OPS[row.op], kind)) if not isinstance(row.domains[k], list)],
    )
]


def derivatives(row, op, kind):
    """What the rules of that kind give at the row's points, special ones included, and at more of its domain."""
    found = []
    for point in (*elementwise.points(row, 100), *(point for point, _ in row.special)):
        values = elementwise.leaves(row, point)
        if kind == "jvp":
            y = apply(op, *values)
            free = [v for v in values if v.op is not CONST]
            found += [elementwise.number(tangent(y, {v: Value(1.0)})) for v in free]
        else:
            found += [elementwise.number(x_bar) for x_bar in elementwise.slopes(op, values)]
    return np.array(found)


def check_elementwise(row, op, kind):
    if kind == "jvp":
        elementwise.check_tangents(row, op)
    else:
        elementwise.check_slopes(row, op)
        for point, want in row.special:
            elementwise.check_kink(row, op, point, want)


@pytest.mark.parametrize(
    ("row", "swap"), ELEMENTWISE, ids=lambda x: str(x) if isinstance(x, Swap) else x.op
)
def test_elementwise(row, swap):
    right = OPS[row.op]
    wrong = dataclasses.replace(right, **{swap.kind: swap.rules()})
    with np.errstate(all="ignore"):
        got, want = (derivatives(row, op, swap.kind) for op in (wrong, right))
        if str(swap) in HARMLESS:
            np.testing.assert_allclose(got, want, rtol=3e-13, atol=1e-15)
            check_elementwise(row, wrong, swap.kind)
        else:
            with pytest.raises(AssertionError):
                check_elementwise(row, wrong, swap.kind)


# -- array ops
ARRAY = [
    swap
    for op in OPS.values()
    if not op.elementwise and not op.regions
    for kind in ("vjp", "jvp")
    for swap in swaps(op, kind, with_rules(getattr(op, kind)))
]


@contextlib.contextmanager
def in_force(swap):
    op = OPS[swap.op]
    right = getattr(op, swap.kind)
    object.__setattr__(op, swap.kind, swap.rules())
    try:
        yield
    finally:
        object.__setattr__(op, swap.kind, right)


def rows_of(name):
    """(check, all the derivatives that it looks at) of every row for the op."""
    for row in array_rows.ROWS:
        if row.op == name:
            yield (
                lambda row=row: check_row(row),
                lambda row=row: all_derivatives(row.f, arrays.sample(row), arrays.floats(row)),
            )
    for f in function_rows.ROWS:
        if f"linalg.{name}(" in test_functions.title(f) or f"sla.{name}(" in test_functions.title(
            f
        ):
            yield (
                lambda f=f: test_functions.test_engine(f),
                lambda f=f: all_derivatives(
                    f, test_functions.arguments(f), test_functions.everything(f)
                ),
            )


def check_row(row):
    arrays.test_jvp_is_the_adjoint_of_vjp(row)
    arrays.test_second_order(row)


def all_derivatives(f, args, where):
    """Cotangents, tangents and a second derivative by both modes, in one list of numbers."""
    rng = np.random.default_rng(5)
    dots = arrays.directions(args, where, rng)
    y, y_dot = gg.jvp(f, where)(*args, dots)
    bars = gg.vjp(f, where)(*args, rng.normal(size=np.shape(y)))[1]
    loss = arrays.loss(f, len(args))
    bent = gg.hvp(loss, where)(*args, dots)
    back = gg.vjp(gg.grad(loss, where), where)(*args, dots)[1]
    return np.concatenate([np.ravel(x) for x in (y_dot, *bars, *bent, *back)])


def outcome(swap, check, numbers):
    """What a row makes of the swap: it fails, the operands (their shapes, mostly) do not allow it, or nothing changes."""
    want = numbers()
    with in_force(swap):
        try:
            check()
        except AssertionError:
            return "found"
        except (gg.GradgenError, ValueError, IndexError):
            return "unlike"
        np.testing.assert_allclose(numbers(), want, rtol=1e-11, atol=1e-12)
    return "equal"


@pytest.mark.parametrize("swap", ARRAY, ids=str)
def test_array(swap):
    """Some row notices by its numbers, or none is told other numbers; one that is told them and passes is too weak."""
    with np.errstate(all="ignore"):
        outcomes = {outcome(swap, *row) for row in rows_of(swap.op)}
    if str(swap) in HARMLESS:
        assert "equal" in outcomes
        assert "found" not in outcomes
    else:
        assert "found" in outcomes or outcomes == {"unlike"}


def test_what_is_listed_exists():
    assert {str(swap) for swap in (*ARRAY, *(swap for _, swap in ELEMENTWISE))} >= HARMLESS
