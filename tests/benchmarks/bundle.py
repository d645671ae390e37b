"""Bundle adjustment: the 2 x 15 Jacobian of what a camera sees of a point, for one observation and for ten thousand.

A camera is eleven numbers: rotation (axis times angle), centre, focal length, principal point, two of distortion; a point is
three; an observation has a weight. The columns are camera, point, weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from workload import Workload

TINY = 1e-30  # squares of angles below this are no rotation to speak of


def turned(np: Any, r: Any, x: Any) -> Any:
    """x turned by r (Rodrigues)."""
    angle = np.sqrt(r @ r)
    axis = r / angle
    along = axis * ((axis @ x) * (1.0 - np.cos(angle)))
    return x * np.cos(angle) + np.cross(axis, x) * np.sin(angle) + along


def seen_from(away: Any, camera: Any, weight: Any, seen: Any) -> Any:
    """The weighted residual of a point in the camera's own directions."""
    p = away[:2] / away[2]
    square = p @ p
    p = p * (1.0 + camera[9] * square + camera[10] * square * square)
    return weight * (camera[6] * p + camera[7:9] - seen)


def residual(np: Any) -> Callable[..., Any]:
    def f(camera, point, weight, seen):
        r, x = camera[:3], point - camera[3:6]
        if r @ r < TINY:
            away = x + np.cross(r, x)
        else:
            away = turned(np, r, x)
        return seen_from(away, camera, weight, seen)

    return f


def residual_of_choices(np: Any) -> Callable[..., Any]:
    """The same for those who have no branches: both are computed, of a rotation that has an angle."""

    def f(camera, point, weight, seen):
        r, x = camera[:3], point - camera[3:6]
        small = r @ r < TINY
        some = np.where(small, np.ones_like(r), r)
        away = np.where(small, x + np.cross(r, x), turned(np, some, x))
        return seen_from(away, camera, weight, seen)

    return f


def residual_casadi(ca, p, seen):
    r, x = p[:3], p[11:14] - p[3:6]
    square = ca.dot(r, r)
    small = square < TINY
    angle = ca.sqrt(ca.if_else(small, 1.0, square))
    axis = r / angle
    along = axis * (ca.dot(axis, x) * (1.0 - ca.cos(angle)))
    away = x * ca.cos(angle) + ca.cross(axis, x) * ca.sin(angle) + along
    away = ca.if_else(small, x + ca.cross(r, x), away)
    at = away[:2] / away[2]
    square = ca.dot(at, at)
    at = at * (1.0 + p[9] * square + p[10] * square * square)
    return p[14] * (p[6] * at + p[7:9] - seen)


def blocks_by_hand(camera, point, weight, seen):
    """float64[n, 2, 15]: both rows from one primal, the rotation's transpose applied to each."""
    r, f, k1, k2 = camera[:, :3], camera[:, 6], camera[:, 9], camera[:, 10]
    x = point - camera[:, 3:6]
    square = np.einsum("ij,ij->i", r, r)
    small = square < TINY
    angle = np.sqrt(np.where(small, 1.0, square))
    c, s = np.where(small, 1.0, np.cos(angle)), np.where(small, 1.0, np.sin(angle))
    a = r / angle[:, None]
    along = np.einsum("ij,ij->i", a, x)
    across = np.cross(a, x)
    away = x * c[:, None] + across * s[:, None] + a * (along * (1.0 - c))[:, None]
    slope = across * c[:, None] + (a * along[:, None] - x) * s[:, None]  # of away by the angle
    p = away[:, :2] / away[:, 2, None]
    q = np.einsum("ij,ij->i", p, p)
    stretch = 1.0 + k1 * q + k2 * q * q
    m = weight * f
    J = np.empty((len(point), 2, 15))
    for k in range(2):
        by_p = (m * 2.0 * (k1 + 2.0 * k2 * q) * p[:, k])[:, None] * p
        by_p[:, k] += m * stretch
        g = np.empty((len(point), 3))
        g[:, :2] = by_p / away[:, 2, None]
        g[:, 2] = -np.einsum("ij,ij->i", g[:, :2], p)
        turn = (1.0 - c) * np.einsum("ij,ij->i", a, g)
        h = np.cross(x, g) * s[:, None] + g * ((1.0 - c) * along)[:, None] + x * turn[:, None]
        by_angle = np.einsum("ij,ij->i", slope, g) - np.einsum("ij,ij->i", a, h) / angle
        J[:, k, :3] = a * by_angle[:, None] + h / angle[:, None]
        J[:, k, 11:14] = g * c[:, None] + np.cross(g, a) * s[:, None] + a * turn[:, None]
        np.negative(J[:, k, 11:14], out=J[:, k, 3:6])
        J[:, k, 6] = weight * stretch * p[:, k]
        J[:, k, 7:9] = 0.0
        J[:, k, 7 + k] = weight
        J[:, k, 9] = m * p[:, k] * q
        J[:, k, 10] = J[:, k, 9] * q
        J[:, k, 14] = f * stretch * p[:, k] + camera[:, 7 + k] - seen[:, k]
    return J


def one_by_hand(camera, point, weight, seen):
    """The same on rows of one, as one has it in NumPy."""
    return blocks_by_hand(camera[None], point[None], np.array([weight]), seen[None])[0]


def observations(n: int) -> list[Any]:
    """Cameras before the origin, points near it."""
    rng = np.random.default_rng(6)
    cameras = np.empty((n, 11))
    cameras[:, :3] = 0.3 * rng.normal(size=(n, 3))
    cameras[:, 3:6] = [0.0, 0.0, -5.0] + 0.2 * rng.normal(size=(n, 3))
    cameras[:, 6:9] = [500.0, 320.0, 240.0]
    cameras[:, 9:] = [-0.1, 0.01]
    return [
        cameras,
        0.5 * rng.normal(size=(n, 3)),
        rng.uniform(0.5, 1.5, n),
        300.0 * rng.random((n, 2)),
    ]


def one_observation() -> list[Any]:
    camera, point, weight, seen = (a[0] for a in observations(1))
    return [camera, point, float(weight), seen]


ONE = ("f64[11]", "f64[3]", "f64[]", "f64[2]")
MANY = ("f64[n,11]", "f64[n,3]", "f64[n]", "f64[n,2]")
WITHOUT_BRANCHES = {"jax": residual_of_choices, "torch": residual_of_choices}
BUNDLE = (
    Workload(
        "bundle-1", residual, ONE, one_observation, 3, one_by_hand, residual_casadi, derive="jacobian", own=WITHOUT_BRANCHES,
        hand_c="bundle_one", targets=("numpy", "python", "c"), skip={"autograd": "no derivative of cross"},
    ),
    Workload(
        "bundle-10000", residual, MANY, lambda: observations(10_000), 3, blocks_by_hand, residual_casadi,
        derive="jacobians", own=WITHOUT_BRANCHES, hand_c="bundle", skip={"autograd": "no map over items"},
    ),
)  # fmt: skip
