"""Branches that change more than their variables are refused: both are traced."""

from __future__ import annotations

import numpy as np
import pytest

import gradgen as gg


class Box:
    def __init__(self, value):
        self.value = value


def attribute(x):
    box = Box(1.0)
    if x > 0.5:
        box.value = 5.0
    return x * box.value


def traced_attribute(x):
    box = Box(x * x)
    if x > 0.5:
        box.value = x
    return box.value


def entry(x):
    d = {"scale": 1.0}
    if x > 0.5:
        d["scale"] = 2.0
    return x * d["scale"]


def appended(x):
    found = []
    if x > 0.5:
        found.append(1.0)
    return x * len(found)


def enclosing(x):
    count = 1

    def more():
        nonlocal count
        count += 1

    if x > 0.5:
        more()
    return x * count


SHARED, LISTED, SEEN = {"scale": 1.0}, [1.0], Box(1.0)


def global_dict(x):
    if x > 0.5:
        SHARED["scale"] = 2.0
        LISTED.append(2.0)
    return x * SHARED["scale"]


def global_object(x):
    for _ in range(int(gg.stop_gradient(x) > 0.5) + 1):
        SEEN.value += 1.0
    return x


def in_cond(x):
    found = []
    y = gg.cond(x > 0.5, lambda: found.append(1.0) or 1.0, lambda: 2.0)
    return x * y * len(found)


def plain_array(x):
    found = np.arange(3.0)
    if x > 0.5:
        found[0] = 2.0
    else:
        found[0] = 3.0
    return x * found


TABLE = np.array([1.0, 2.0])


def global_array(x):
    if x > 0.5:
        np.multiply(TABLE[1:], 2.0, out=TABLE[1:])
    return x * TABLE


def filled(x):
    found = [np.eye(2)]
    return x * (found[0].fill(7.0) or 1.0 if x > 0.5 else 2.0)


CHANGING = [
    plain_array,
    global_array,
    filled,
    attribute,
    traced_attribute,
    entry,
    appended,
    enclosing,
    in_cond,
    global_dict,
    global_object,
]


@pytest.mark.parametrize("f", CHANGING, ids=lambda f: f.__name__)
def test_refused(f):
    with pytest.raises(gg.UnsupportedError, match="changes more than its variables"):
        gg.compile(f, x="f64[]")
    assert SHARED == {"scale": 1.0} and LISTED == [1.0] and SEEN.value == 1.0  # put back
    assert TABLE.flags.writeable and TABLE.tolist() == [1.0, 2.0]


def test_objects_of_the_branch_may_change():
    def f(x):
        y = x
        if x > 0.5:
            box, found = Box(x), []
            box.value = box.value * 3.0
            found.append(box.value)
            y = found[0]
        return y

    fn = gg.compile(f, x="f64[]")
    assert [fn(0.2), fn(1.0)] == [0.2, 3.0]
    assert np.isclose(gg.grad(f)(1.0), 3.0)
