"""Stages as a textbook writes them."""

import numpy as np
import pytest

import gradgen as gg


def rnn(W, x, h):
    def step(h, v):
        h = np.tanh(W @ h + v)
        return h, h

    h, hs = gg.scan(step, h, x)
    return np.sum(hs**2)


ADJOINT = """\
rnn_grad(W: f64[h, h], x: f64[n, h], h: f64[h])
    _, hs, h_tape = scan over i < n                           test_written.py:14
        carry h_2 = h                            f64[h]
        for v in x                               f64[h]
        t1 = W @ h_2                             f64[h]       test_written.py:11
        t2 = t1 + v                              f64[h]
        h_3 = tanh(t2)                           f64[h]
        next h_2 = h_3
        yield h_3
        tape h_2
    t3 = hs**2                                   f64[n, h]    test_written.py:15
    t4 = sum(t3)                                 f64[]
    hs_bar = 2.0 * hs                            f64[n, h]
    t5 = h_tape[:-1]                             f64[n, h]    test_written.py:14
    t6 = h_tape[1:]                              f64[n, h]
    t7 = zeros((h,))                             f64[h]
    _, t8 = scan over i_2 < n, backwards
        carry h_bar = t7                         f64[h]
        for h_4 in t6                            f64[h]
        for h_bar_2 in hs_bar                    f64[h]
        h_bar_3 = h_bar + h_bar_2                f64[h]
        t9 = h_4**2                              f64[h]       test_written.py:11
        t10 = 1.0 - t9                           f64[h]
        t11 = h_bar_3 * t10                      f64[h]
        t12 = t11 @ W                            f64[h]
        next h_bar = t12
        yield t11
    t13 = t8.T                                   f64[h, n]    test_written.py:14
    W_bar = t13 @ t5                             f64[h, h]
    return t4, W_bar"""


def test_the_adjoint_of_a_scan():
    fn = gg.compile(gg.value_and_grad(rnn), "f64[h,h]", "f64[n,h]", "f64[h]")
    assert fn.show("adjoint") == ADJOINT


def branches(x, t):
    y = x * 1.0
    y[1:] += x[:-1]
    y[t] = 3.0 * x[0]
    v = y[t]
    while v < 10.0:
        v = v * 1.5
    if v > 12.0:
        v = -v
    return v + np.sum(gg.checkpoint(np.sin)(y))


TRACE = """\
branches(x: f64[n], t: i64[])  requires n >= 1
    y = x * 1.0
    t1 = x[:-1]
    t2 = y[1:]
    t3 = t2 + t1
    y_2 = y with [1:] = t3
    t4 = x[0]
    t5 = 3.0 * t4
    y_3 = y_2 with [t] = t5
    v = y_3[t]
    t6 = v < 10.0
    t7, v_2 = while, step i
        carry v_3 = v
        t8 = v_3 < 10.0
        while t8
        v_4 = v_3 * 1.5
        next v_3 = v_4
    t9 = v_2 > 12.0
    v_5 = if t9
    then
        v_6 = -v_2
        give v_6
    otherwise
        give v_2
    t10 = recomputed
        t11 = sin(y_3)
        give t11
    t12 = sum(t10)
    t13 = v_5 + t12
    return t13"""


def test_loops_and_branches():
    fn = gg.compile(branches, "f64[n]", "i64[] < n")
    lines = fn.show("trace").splitlines()
    assert [lines[0], *[line[:48].rstrip() for line in lines[1:]]] == TRACE.splitlines()
    assert str(fn.ir).startswith("branches(x: f64[n], t: i64[])")


@pytest.mark.parametrize("stage", ["trace", "adjoint", "optimized"])
def test_every_name_is_given_once(stage):
    fn = gg.compile(gg.value_and_grad(branches), "f64[n]", "i64[] < n")
    names = [
        name
        for line in fn.show(stage).splitlines()[1:]
        if " = " in line and not line.strip().startswith("next ")
        for name in line.strip().removeprefix("carry ").split(" = ")[0].split(", ")
        if name != "_"
    ]
    assert len(names) > 10 and len(names) == len(set(names))
