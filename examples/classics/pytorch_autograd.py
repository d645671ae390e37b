"""The graph in explanations of PyTorch's autograd: five weights on the way from a to L.

b1 = w0 a1 + w1 a2, b2 = w2 a1, c = w3 b1 + w4 b2, L = 15 - c. Prints
dL/dw = -28 -21 -12 -23 -36 from every engine; the weights are one structured argument, and the
gradient has its structure.
"""

from typing import Any

from engines import TARGETS

import gradgen as gg

WEIGHTS = [2.0, 5.0, 9.0, 7.0, 3.0]
A1, A2 = 4.0, 3.0


def loss(w, a1, a2):
    """`w` is a list of five scalars."""
    b1 = w[0] * a1 + w[1] * a2
    b2 = w[2] * a1
    c = w[3] * b1 + w[4] * b2
    return 15 - c


def main() -> dict[str, tuple[float, list[float]]]:
    """Engine -> (L, dL/dw)."""
    leaves = [gg.Value(w) for w in WEIGHTS]
    y = loss(leaves, A1, A2)
    y.backward()
    answers: dict[str, tuple[Any, list[Any]]] = {"Value": (y.data, [v.grad for v in leaves])}

    transformed = gg.value_and_grad(loss, wrt="w")
    answers["interpreter"] = transformed(WEIGHTS, A1, A2)
    for target in TARGETS:
        fn = gg.compile(transformed, w=["f64[]"] * 5, a1="f64[]", a2="f64[]", target=target)
        answers[target] = fn(WEIGHTS, A1, A2)

    for engine, (value, w_bar) in answers.items():
        print(f"  {engine:<12} L = {value:g}   dL/dw = {' '.join(f'{g:g}' for g in w_bar)}")
    return {engine: (float(v), [float(g) for g in gs]) for engine, (v, gs) in answers.items()}


if __name__ == "__main__":
    main()
