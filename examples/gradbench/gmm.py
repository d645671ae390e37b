"""gmm: log posterior of a Gaussian mixture with a Wishart prior (F. Srajer et al., arXiv:1807.10129; GradBench's signs)."""

from __future__ import annotations

import math

import numpy as np

import gradgen as gg
from examples.gradbench.compiling import compiled


def log_gamma_distribution(a: float, p: int) -> float:
    """log of the multivariate gamma function."""
    terms = sum(math.lgamma(a + 0.5 * (1 - j)) for j in range(1, p + 1))
    return 0.25 * p * (p - 1) * math.log(math.pi) + terms


def objective(alpha, mu, q, l, x, gamma, m, rows, columns):
    n, d = x.shape
    k = alpha.shape[0]
    Q = np.zeros((k, d, d))
    Q[:, rows, columns] = l
    sums = np.sum(q, axis=1)
    diagonal = np.exp(q)
    gap = x[None, :, :] - mu[:, None, :]  # component, point, coordinate
    scaled = gap * diagonal[:, None, :] + gap @ np.swapaxes(Q, 1, 2)
    inner = alpha[:, None] + sums[:, None] - 0.5 * np.sum(scaled * scaled, axis=2)
    top = np.max(inner, axis=0)
    mixture = np.sum(np.log(np.sum(np.exp(inner - top), axis=0)) + top)
    peak = np.max(alpha)
    weights = np.log(np.sum(np.exp(alpha - peak))) + peak
    frobenius = np.sum(diagonal * diagonal) + np.sum(l * l)
    prior = 0.5 * gamma * gamma * frobenius - m * np.sum(sums)
    return mixture - n * weights - prior


GRADIENT = gg.grad(objective, ("alpha", "mu", "q", "l"))


def _arguments(given):
    d, k, n, m = (int(given[name]) for name in ("d", "k", "n", "m"))
    gamma = float(given["gamma"])
    alpha, mu, q, x = (np.array(given[name], float) for name in ("alpha", "mu", "q", "x"))
    l = np.array(given["l"], float).reshape(k, d * (d - 1) // 2)
    columns, rows = np.triu_indices(d, 1)  # column by column below the diagonal
    wishart = d + m + 1
    constant = -n * 0.5 * d * math.log(2 * math.pi)
    constant += k * (
        wishart * d * math.log(gamma / math.sqrt(2)) - log_gamma_distribution(0.5 * wishart, d)
    )
    specs = (
        ("alpha", "f64[k]"), ("mu", f"f64[k,{d}]"), ("q", f"f64[k,{d}]"), ("l", f"f64[k,{len(rows)}]"),
        ("x", f"f64[n,{d}]"), ("gamma", "f64[]"), ("m", "f64[]"),
        ("rows", f"i64[{len(rows)}] < {d}"), ("columns", f"i64[{len(rows)}] < {d}"),
    )  # fmt: skip
    return specs, (alpha, mu, q, l, x, gamma, float(m), rows, columns), constant


def _objective(given):
    specs, args, constant = _arguments(given)
    fn = compiled(objective, specs)
    return lambda: fn(*args) + constant


def _jacobian(given):
    specs, args, _ = _arguments(given)
    # Weights of far components lie below 2.3e-308, where some processors are a hundred times as slow: they count as zero.
    fn = compiled(GRADIENT, specs, "fast")
    return lambda: dict(zip(("alpha", "mu", "q", "l"), fn(*args), strict=True))


FUNCTIONS = {"objective": _objective, "jacobian": _jacobian}
