"""ba: bundle adjustment, reprojection errors of points seen by cameras and their sparse Jacobian (arXiv:1807.10129)."""

from __future__ import annotations

import numpy as np

import gradgen as gg
from examples.gradbench.compiling import compiled


def rotate(r, x):
    """x turned by the angle-axis r (Rodrigues); near r = 0, x + r cross x."""
    square = r @ r
    small = square < 1e-30
    angle = np.sqrt(np.where(small, 1.0, square))
    axis = r / angle
    turned = x * np.cos(angle) + np.cross(axis, x) * np.sin(angle)
    turned = turned + axis * ((axis @ x) * (1.0 - np.cos(angle)))
    return np.where(small, x + np.cross(r, x), turned)


def residual(cam, x, w, feat):
    """The weighted reprojection error of one observation."""
    local = rotate(cam[0:3], x - cam[3:6])
    p = local[:2] / local[2]
    square = p @ p
    distorted = p * (1.0 + cam[9] * square + cam[10] * square * square)
    return w * (distorted * cam[6] + cam[7:9] - feat)


def errors(cam, x, w, feat):
    return gg.vmap(residual)(cam, x, w, feat), 1.0 - w * w


def blocks(cam, x, w, feat):
    """2 x 15 numbers per observation: by camera, point and weight."""
    jac = gg.vmap(gg.jacobian(residual, ("cam", "x", "w"), mode="forward"))(cam, x, w, feat)
    return np.concatenate([jac[0], jac[1], jac[2][:, :, None]], axis=2)


SPECS = (("cam", "f64[p,11]"), ("x", "f64[p,3]"), ("w", "f64[p]"), ("feat", "f64[p,2]"))


def _gathered(given):
    n, m, p = (int(given[name]) for name in ("n", "m", "p"))
    cam, x, feat = (np.array(given[name], float) for name in ("cam", "x", "feat"))
    i = np.arange(p)
    args = (
        np.tile(cam, (n, 1))[i % n],
        np.tile(x, (m, 1))[i % m],
        np.full(p, float(given["w"])),
        np.tile(feat, (p, 1)),
    )
    return n, m, p, args


def _objective(given):
    _, _, _, args = _gathered(given)
    fn = compiled(errors, SPECS)

    def run():
        reproj, w_err = fn(*args)
        return {"reproj_err": shown(reproj.ravel(), 2, False), "w_err": shown(w_err, 1, False)}

    return run


def shown(values, count, last=True):
    """The first values, and the last."""
    head = values[:count].tolist()
    return head + values[-1:].tolist() if last else head


def _jacobian(given):
    n, m, p, args = _gathered(given)
    fn = compiled(blocks, SPECS)
    # Where the Jacobian has entries depends on the sizes alone.
    i = np.arange(p)
    rows = np.concatenate([15 * np.arange(2 * p + 1), 30 * p + 1 + np.arange(p)])
    camera = 11 * (i % n)[:, None] + np.arange(11)
    point = 11 * n + 3 * (i % m)[:, None] + np.arange(3)
    weight = (11 * n + 3 * m + i)[:, None]
    columns = np.concatenate([camera, point, weight], axis=1)
    columns = np.concatenate([np.repeat(columns, 2, axis=0).ravel(), weight.ravel()])
    values = np.empty(31 * p)
    data = values[: 30 * p].reshape(p, 2, 15)

    def run():
        fn.into(data, *args)
        values[30 * p :] = -2.0 * args[2]
        return {
            name: shown(v, 30) for name, v in (("rows", rows), ("cols", columns), ("vals", values))
        }

    return run


FUNCTIONS = {"objective": _objective, "jacobian": _jacobian}
