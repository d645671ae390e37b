"""Loops whose body changes more than its carry are refused: one trace stands for every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradgen as gg


class Cell:
    def __init__(self, h: Any) -> None:
        self.h, self.count = h, 0

    def step(self, v):
        self.h = self.h * v + 1.0
        return self.h

    def counted(self, v):
        self.count += 1
        return v * self.count


def attribute(x, w):
    cell, s = Cell(w), 0.0
    for v in x:
        s = s + cell.step(v)
    return s


def counter(x, w):
    cell, s = Cell(w), 0.0
    for v in x:
        s = s + cell.counted(v)
    return s


def entry(x, w):
    d, s = {"h": w}, 0.0
    for v in x:
        d["h"] = d["h"] * v
        s = s + d["h"]
    return s


def enclosing(x, w):
    h, s = w, 0.0

    def step(v):
        nonlocal h
        h = h * v
        return h

    for v in x:
        s = s + step(v)
    return s


def exchanged(x, w):
    pair, s = [w, x[0]], 0.0
    for v in x:
        pair.reverse()
        s = s + pair[0] * v
    return s


def scanned(x, w):
    cell = Cell(w)
    return gg.scan(lambda s, v: (s + cell.step(v), None), 0.0, x)[0]


def counted_up(x, w):
    cell = Cell(w)
    return gg.fori_loop(0, 4, lambda i, s: s + cell.counted(x[i]), 0.0)


def repeated(x, w):
    cell = Cell(w)
    return gg.while_loop(lambda s: s < 9.0, lambda s: s + cell.counted(x[0]), w)


CHANGING = [
    attribute, counter, entry, enclosing, exchanged, scanned, counted_up, repeated
]  # fmt: skip


@pytest.mark.parametrize("f", CHANGING, ids=lambda f: f.__name__)
def test_refused(f):
    with pytest.raises(gg.TraceError, match="does the same in every step"):
        gg.compile(f, x="f64[n]", w="f64[]")


def test_objects_of_the_body_may_change():
    """What a step makes for itself, and nested loops, are as good as ever."""

    def f(x, w):
        s = w
        for v in x:
            cell = Cell(s)
            cell.step(v)
            for u in x:
                s = s + cell.h * u * 0.1
        return s

    x = np.array([0.2, 0.5, 0.9])
    assert np.isclose(gg.compile(f, x="f64[n]", w="f64[]")(x, 0.3), f(x, 0.3), rtol=1e-14)
