"""Workloads of steps and batches: a six-joint arm, once and ten thousand times; a recurrent network over 200 steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from workload import Workload

LENGTHS = (0.4, 0.35, 0.3, 0.2, 0.1)


def arm(np: Any) -> Callable[..., Any]:
    """Half the squared distances of the hands to their targets: the first joint turns the arm, the others bend it."""

    def f(q, target):
        angle = q[:, 1]
        r = LENGTHS[0] * np.cos(angle)
        z = LENGTHS[0] * np.sin(angle)
        for k in range(2, 6):
            angle = angle + q[:, k]
            r = r + LENGTHS[k - 1] * np.cos(angle)
            z = z + LENGTHS[k - 1] * np.sin(angle)
        x, y = r * np.cos(q[:, 0]), r * np.sin(q[:, 0])
        dx, dy, dz = x - target[:, 0], y - target[:, 1], z - target[:, 2]
        return 0.5 * np.sum(dx * dx + dy * dy + dz * dz)

    return f


def arm_by_hand(q, target):
    angle = np.cumsum(q[:, 1:], axis=1)
    c, s = np.cos(angle) * LENGTHS, np.sin(angle) * LENGTHS
    r, z = c.sum(1), s.sum(1)
    cy, sy = np.cos(q[:, 0]), np.sin(q[:, 0])
    d = np.stack([r * cy, r * sy, z], axis=1) - target
    q_bar = np.empty_like(q)
    q_bar[:, 0] = r * (d[:, 1] * cy - d[:, 0] * sy)
    bend = d[:, 2, None] * c - (d[:, 0] * cy + d[:, 1] * sy)[:, None] * s
    q_bar[:, 1:] = np.cumsum(bend[:, ::-1], axis=1)[:, ::-1]
    return 0.5 * np.vdot(d, d), q_bar


def arm_casadi(ca, p, data):
    (target,) = data
    q = ca.reshape(p, 6, target.shape[1])
    angle = q[1, :]
    r, z = LENGTHS[0] * ca.cos(angle), LENGTHS[0] * ca.sin(angle)
    for k in range(2, 6):
        angle = angle + q[k, :]
        r, z = r + LENGTHS[k - 1] * ca.cos(angle), z + LENGTHS[k - 1] * ca.sin(angle)
    d = ca.vertcat(r * ca.cos(q[0, :]), r * ca.sin(q[0, :]), z) - target
    return 0.5 * ca.sumsqr(d)


def _arm(n: int) -> Workload:
    def args() -> list[Any]:
        rng = np.random.default_rng(4)
        return [rng.uniform(-1.0, 1.0, (n, 6)), rng.uniform(-0.5, 0.5, (n, 3))]

    many = n > 1  # of one arm the size is known, to all contenders
    size, hand_c = ("n", "arm") if many else ("1", "arm_one")
    specs = (f"f64[{size},6]", f"f64[{size},3]")
    return Workload(f"arm-{n}", arm, specs, args, 1, arm_by_hand, arm_casadi, hand_c=hand_c)


def rnn(np: Any, scan: Any = None) -> Callable[..., Any]:
    def f(Wx, Wh, b, Wo, X, y):
        h = np.zeros(32)
        if scan is None:
            for t in range(X.shape[0]):
                h = np.tanh(X[t] @ Wx + h @ Wh + b)
        else:
            h, _ = scan(lambda h, x: (np.tanh(x @ Wx + h @ Wh + b), None), h, X)
        return 0.5 * (h @ Wo - y) ** 2

    return f


def rnn_gradgen(np: Any) -> Callable[..., Any]:
    import gradgen as gg

    return rnn(np, gg.scan)


def rnn_jax(np: Any) -> Callable[..., Any]:
    from jax import lax

    return rnn(np, lax.scan)


def rnn_torch(np: Any) -> Callable[..., Any]:
    class Names:
        tanh = staticmethod(np.tanh)

        @staticmethod
        def zeros(n: int) -> Any:
            return np.zeros(n, dtype=np.float64)

    return rnn(Names)


def rnn_by_hand(Wx, Wh, b, Wo, X, y):
    T = len(X)
    drive = X @ Wx + b
    h = np.zeros((T + 1, 32))
    for t in range(T):
        h[t + 1] = np.tanh(drive[t] + h[t] @ Wh)
    e = h[T] @ Wo - y
    h_bar, a_bar = e * Wo, np.empty((T, 32))
    for t in reversed(range(T)):
        a_bar[t] = h_bar * (1.0 - h[t + 1] ** 2)
        h_bar = Wh @ a_bar[t]
    return 0.5 * e * e, X.T @ a_bar, h[:T].T @ a_bar, a_bar.sum(0), e * h[T]


def rnn_data() -> list[Any]:
    rng = np.random.default_rng(5)
    shapes = ((8, 32), (32, 32), (32,), (32,))
    return [*(rng.normal(size=s) / np.sqrt(s[0]) for s in shapes), rng.normal(size=(200, 8)), 0.5]


SEQUENCES = (
    _arm(1),
    _arm(10_000),
    Workload(
        "rnn", rnn, ("f64[8,32]", "f64[32,32]", "f64[32]", "f64[32]", "f64[T,8]", "f64[]"), rnn_data, 4, rnn_by_hand,
        own={"gradgen": rnn_gradgen, "jax": rnn_jax, "torch": rnn_torch}, hand_c="rnn",
    ),
)  # fmt: skip
