"""A tanh recurrent network learns to say what it heard three steps ago.

The loop over the sequence is Python's own `for`; emitted code keeps it, and its adjoint runs backwards through the states.
Trained with Adam on fresh random sequences. Prints the loss as it falls.
"""

import numpy as np

import gradgen as gg

HIDDEN, DELAY, LENGTH = 16, 3, 40


def loss(params, xs, ys):
    h = np.zeros(HIDDEN)
    total = 0.0
    for x, y in zip(xs, ys, strict=True):
        h = np.tanh(params["in"] * x + params["W"] @ h + params["b"])
        total = total + (params["out"] @ h - y) ** 2
    return total / xs.shape[0]


SPECS = {
    "in": f"f64[{HIDDEN}]",
    "W": f"f64[{HIDDEN},{HIDDEN}]",
    "b": f"f64[{HIDDEN}]",
    "out": f"f64[{HIDDEN}]",
}


def compiled(target="c"):
    return gg.compile(
        gg.value_and_grad(loss, wrt="params"), params=SPECS, xs="f64[T]", ys="f64[T]", target=target
    )


def start(rng):
    return {
        "in": rng.normal(size=HIDDEN),
        "W": rng.normal(size=(HIDDEN, HIDDEN)) * 0.9 / np.sqrt(HIDDEN),
        "b": np.zeros(HIDDEN),
        "out": np.zeros(HIDDEN),
    }


def sequence(rng):
    """Noise, and the same noise three steps later."""
    xs = rng.normal(size=LENGTH) * 0.5
    return xs, np.concatenate([np.zeros(DELAY), xs[:-DELAY]])


def main(target="c", steps=1500):
    """The mean losses of the first and the last hundred sequences."""
    rng = np.random.default_rng(1)
    fn = compiled(target)
    params = start(rng)
    mean = {k: np.zeros_like(v) for k, v in params.items()}
    square = {k: np.zeros_like(v) for k, v in params.items()}
    losses = []
    for t in range(1, steps + 1):
        value, gradient = fn(params, *sequence(rng))
        losses.append(value)
        for k, g in gradient.items():
            mean[k] += 0.1 * (g - mean[k])
            square[k] += 0.001 * (g * g - square[k])
            params[k] = params[k] - 0.01 * (mean[k] / (1 - 0.9**t)) / (
                np.sqrt(square[k] / (1 - 0.999**t)) + 1e-8
            )
    first, last = np.mean(losses[:100]), np.mean(losses[-100:])
    print(f"mean squared error {first:.4f} -> {last:.4f} after {steps} sequences")
    return first, last


if __name__ == "__main__":
    main()
