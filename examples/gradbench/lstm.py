"""lstm: a language model of stacked LSTM cells with diagonal weights (F. Srajer et al., arXiv:1807.10129)."""

from __future__ import annotations

import numpy as np

import gradgen as gg
from examples.gradbench.compiling import compiled


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def objective(main_params, extra_params, state, sequence):
    layers, width = main_params.shape[0] // 2, extra_params.shape[1]
    W = main_params.reshape((layers, 2, 4, width))  # layer, weight or bias, gate
    S = state.reshape((layers, 2, width))

    def step(carry, given):
        hidden, cell = carry
        x, target = given
        v = x * extra_params[0]
        new_hidden, new_cell = [], []
        for k in range(layers):
            w, b = W[k, 0], W[k, 1]
            forget = sigmoid(v * w[0] + b[0])
            ingate = sigmoid(hidden[k] * w[1] + b[1])
            outgate = sigmoid(v * w[2] + b[2])
            change = np.tanh(hidden[k] * w[3] + b[3])
            new_cell.append(cell[k] * forget + ingate * change)
            v = outgate * np.tanh(new_cell[k])
            new_hidden.append(v)
        p = v * extra_params[1] + extra_params[2]
        p = p - np.log(2.0 + np.sum(np.exp(p)))
        return (np.stack(new_hidden), np.stack(new_cell)), np.sum(target * p)

    _, terms = gg.scan(step, (S[:, 0], S[:, 1]), (sequence[:-1], sequence[1:]))
    count = sequence.shape[0] - 1
    return -np.sum(terms) / (width * count)


GRADIENT = gg.grad(objective, ("main_params", "extra_params"))


def _prepare(given):
    args = [np.array(given[n], float) for n in ("main_params", "extra_params", "state", "sequence")]
    main, extra, state, sequence = args
    specs = (
        ("main_params", f"f64[{main.shape[0]},{main.shape[1]}]"), ("extra_params", f"f64[3,{extra.shape[1]}]"),
        ("state", f"f64[{state.shape[0]},{state.shape[1]}]"), ("sequence", f"f64[c,{sequence.shape[1]}]"),
    )  # fmt: skip
    return specs, args


def _objective(given):
    specs, args = _prepare(given)
    fn = compiled(objective, specs)
    return lambda: fn(*args)


def _jacobian(given):
    specs, args = _prepare(given)
    fn = compiled(GRADIENT, specs)
    return lambda: np.concatenate([g.ravel() for g in fn(*args)])


FUNCTIONS = {"objective": _objective, "jacobian": _jacobian}
