"""Mutation of the rules of loops, branches, maps and calls: off by a thousandth, or with two operands in each other's place,
each makes the gradients of its program differ from numbers that know no rules (test_regions).

The mutants are of the compiler's two halves (`reverse.pull` and `forward.push`, what one statement makes of cotangents and
of tangents) and of the rules that a user hands in, which `gg.check` has to notice too.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import test_regions as programs

import gradgen as gg
from gradgen import symbolic
from gradgen.differentiate import forward, reverse
from gradgen.ir import OPS
from gradgen.ops.regions import CALL, SCAN
from gradgen.value import apply, constant

NOTICES = [
    ("scan", programs.scan_backwards),
    ("while", programs.while_pair),
    ("cond", programs.branches),
    ("map", programs.mapped_pairs),
    ("map", programs.mapped_columns),
    ("checkpoint", programs.checkpointed),
    ("vjp", programs.own_reverse_rule),
    ("jvp", programs.own_forward_rule),
    ("jvp", programs.own_partials),  # gg.define
]


def kind(node):
    if node.op is CALL:
        return node.params["kind"]
    return "map" if node.op is SCAN and node.params["carries"] == 0 else node.op.name


def grown(value):
    return apply(OPS["mul"], value, constant(1.001, value.type.dtype))


def read(node):
    """Numbers of the operands that some region of the statement reads; of others, no tangent matters."""
    found = set()
    for fn in (node.params[name] for name in node.op.regions):
        used = {a for n in fn.body for a in n.args} | set(fn.outputs)
        ahead = len(fn.inputs) - len(
            node.args
        )  # a loop's step stands before them, a branch's condition is left out
        found |= {k - ahead for k, v in enumerate(fn.inputs) if v in used}
    return found


class Mutant:
    """Of the n-th thing that can be done wrong at statements of a kind, does that; `found` counts the chances."""

    def __init__(self, kind, n):
        self.kind, self.n, self.found = kind, n, 0

    def change(self, numbers, owners):
        """A list of cotangents or tangents, None among them, with one scaled, or two of one type (and not of one owner)
        exchanged."""
        numbers = list(numbers)
        given = [k for k, v in enumerate(numbers) if v is not None]
        pairs = [
            (i, j)
            for i, j in itertools.combinations(given, 2)
            if numbers[i].type is numbers[j].type and owners[i] is not owners[j]
        ]
        for i, j in [(k, k) for k in given] + pairs:
            if self.found == self.n:
                numbers[i], numbers[j] = (
                    (grown(numbers[i]),) * 2 if i == j else (numbers[j], numbers[i])
                )
            self.found += 1
        return numbers

    def pull(self, node, bars, *rest):
        if kind(node) != self.kind:
            return RIGHT_PULL(node, bars, *rest)
        bars = dict(zip(bars, self.change(bars.values(), list(bars)), strict=True))
        pulled = RIGHT_PULL(node, bars, *rest)
        operands = [k for k, _ in pulled.bars]
        found = self.change((bar for _, bar in pulled.bars), [node.args[k] for k in operands])
        pulled.bars = list(zip(operands, found, strict=True))
        return pulled

    def push(self, node, dots, *rest):
        if kind(node) == self.kind:
            used = read(node)
            moving = [d if k in used else None for k, d in enumerate(dots)]
            found = self.change(moving, node.args)
            dots = [
                d if k in used else given
                for k, (d, given) in enumerate(zip(found, dots, strict=True))
            ]
        return RIGHT_PUSH(node, dots, *rest)


RIGHT_PULL, RIGHT_PUSH = reverse.pull, forward.push


@pytest.mark.deep
@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize(("what", "f"), NOTICES, ids=lambda x: getattr(x, "__name__", x))
def test_a_rule_that_is_off_is_noticed(what, f, mode, monkeypatch):
    n, chances = 0, 1
    while n < chances:
        mutant = Mutant(what, n)
        with monkeypatch.context() as patch:
            if mode == "reverse":
                patch.setattr(reverse, "pull", mutant.pull)
            else:
                patch.setattr(forward, "push", mutant.push)
            with pytest.raises(AssertionError):
                programs.test_gradients(f)
        n, chances = n + 1, mutant.found
    assert chances


# -- rules of the user's own
def product(a, b):
    return np.sin(a) * b


def reverse_rule(y_bar, y, a, b):
    return y_bar * np.cos(a) * b, y_bar * np.sin(a)


def forward_rule(dots, y, a, b):
    return dots[0] * np.cos(a) * b + np.sin(a) * dots[1]


REVERSE_MUTANTS = {
    "right": reverse_rule,
    "scaled": lambda y_bar, y, a, b: tuple(1.001 * v for v in reverse_rule(y_bar, y, a, b)),
    "cotangents exchanged": lambda y_bar, y, a, b: reverse_rule(y_bar, y, a, b)[::-1],
    "arguments exchanged": lambda y_bar, y, a, b: reverse_rule(y_bar, y, b, a),
    "result for cotangent": lambda y_bar, y, a, b: reverse_rule(y, y_bar, a, b),
}
FORWARD_MUTANTS = {
    "right": forward_rule,
    "scaled": lambda dots, y, a, b: 1.001 * forward_rule(dots, y, a, b),
    "tangents exchanged": lambda dots, y, a, b: forward_rule(dots[::-1], y, a, b),
    "arguments exchanged": lambda dots, y, a, b: forward_rule(dots, y, b, a),
}
OWN = [
    *((gg.custom_vjp, name, rule) for name, rule in REVERSE_MUTANTS.items()),
    *((gg.custom_jvp, name, rule) for name, rule in FORWARD_MUTANTS.items()),
]


@pytest.mark.parametrize(("special", "name", "rule"), OWN, ids=lambda x: getattr(x, "__name__", x))
def test_check_notices_a_wrong_rule_of_the_user(special, name, rule):
    f = special(product, rule)
    loss = lambda a, b: np.sum(f(a, b) ** 2)
    a, b = programs.X[:3], programs.X[3:]
    assert bool(gg.check(gg.grad(loss, (0, 1)), a, b)) == (name == "right")


def exchanged(sp, derivative, symbols):
    a, b = symbols
    return derivative.subs({a: b, b: a}, simultaneous=True)


@pytest.mark.parametrize(
    "wrong", [lambda sp, p, symbols: 1.001 * p, exchanged], ids=["scaled", "exchanged"]
)
def test_wrong_partials_of_a_defined_function_are_noticed(wrong, monkeypatch):
    monkeypatch.setattr(symbolic, "_steady", wrong)
    monkeypatch.setattr(programs, "tilted", gg.define("tilted", "a * exp(-b * a)", ["a", "b"]))
    with pytest.raises(AssertionError):
        programs.test_gradients(programs.own_partials)
