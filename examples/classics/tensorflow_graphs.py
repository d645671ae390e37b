"""Computational graphs as introductions to TensorFlow draw them: three small ones.

3 * 4 = 12; x * y + x^2 = 10 at (2, 3); and a relu layer followed by a sigmoid layer,
0.9999724 at x = 2, whose gradient reverse mode and forward mode must agree on.
"""

from typing import Any

import numpy as np
from engines import TARGETS, Answer, everywhere

import gradgen as gg


def product(a, b):
    return a * b


def polynomial(x, y):
    return x * y + x**2


def network(x, w1, b1, w2, b2):
    """One relu unit, then one sigmoid unit."""
    hidden = np.maximum(w1 * x + b1, 0.0)
    return 1.0 / (1.0 + np.exp(-(w2 * hidden + b2)))


NETWORK_AT = {"x": 2.0, "w1": 3.0, "b1": 4.0, "w2": 1.0, "b2": 0.5}


def forward_mode() -> dict[str, dict[str, float]]:
    """Engine -> {argument: derivative} of the network, one forward sweep per argument."""
    point = list(NETWORK_AT.values())
    names = tuple(NETWORK_AT)
    scalars = dict.fromkeys(names, "f64[]")
    sweep = gg.jvp(network, wrt=names)
    engines: dict[str, Any] = {"interpreter": sweep}
    for target in TARGETS:
        # The tangent is one extra last argument, shaped like `wrt`: a tuple of five scalars.
        engines[target] = gg.compile(sweep, *scalars.values(), ("f64[]",) * 5, target=target)
    slopes: dict[str, dict[str, float]] = {}
    print("network, forward mode")
    for engine, run in engines.items():
        slopes[engine] = {}
        for i, name in enumerate(names):
            direction = tuple(float(i == k) for k in range(len(names)))
            _, y_dot = run(*point, direction)
            slopes[engine][name] = float(y_dot)
        row = "  ".join(f"d/d{name}={slope:.7g}" for name, slope in slopes[engine].items())
        print(f"  {engine:<12} {row}")
    return slopes


def main() -> dict[str, Any]:
    reverse: dict[str, dict[str, Answer]] = {
        "product": everywhere(product, a=3.0, b=4.0),
        "polynomial": everywhere(polynomial, x=2.0, y=3.0),
        "network": everywhere(network, **NETWORK_AT),
    }
    return {**reverse, "network forward": forward_mode()}


if __name__ == "__main__":
    main()
