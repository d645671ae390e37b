"""Bundle adjustment: how far a camera sees a point from where it was observed, and the 2 x 15 Jacobian of that.

A camera is eleven numbers: rotation (axis times angle), centre, focal length, principal point, two of distortion; a
point is three, an observation has a weight. One Jacobian, or those of 10,000 observations: the dense blocks of a sparse matrix.
Prints one Jacobian, a few steps of Gauss-Newton that move points to where their observations say, and the sparse Jacobian of
observations that share cameras and points.
"""

import numpy as np

import gradgen as gg


def rotated(r, x):
    """Rodrigues' formula; for no rotation its limit."""
    angle = np.linalg.norm(r)
    if angle > 1e-12:
        axis = r / angle
        across = np.cross(axis, x)
        along = axis * ((axis @ x) * (1.0 - np.cos(angle)))
        return x * np.cos(angle) + across * np.sin(angle) + along
    return x + np.cross(r, x)


def residual(camera, point, weight, seen):
    away = rotated(camera[:3], point - camera[3:6])
    p = away[:2] / away[2]
    square = p @ p
    p = p * (1.0 + camera[9] * square + camera[10] * square**2)
    return weight * (camera[6] * p + camera[7:9] - seen)


def blocks(camera, point, weight, seen):
    """The residual and its 2 x 15 Jacobian by camera, point and weight."""
    value, (by_camera, by_point, by_weight) = gg.value_and_jacobian(
        residual, wrt=("camera", "point", "weight")
    )(camera, point, weight, seen)
    return value, np.concatenate([by_camera, by_point, by_weight[:, None]], axis=1)


def compiled(target="c"):
    return gg.compile(blocks, "f64[11]", "f64[3]", "f64[]", "f64[2]", target=target)


def compiled_batch(target="c"):
    specs = ("f64[p,11]", "f64[p,3]", "f64[p]", "f64[p,2]")
    return gg.compile(gg.vmap(blocks), *specs, target=target, name="blocks_batch")


def residuals(cameras, points, weights, camera_of, point_of, seen):
    """Of many observations, each by one of the cameras of one of the points."""
    return gg.vmap(residual)(cameras[camera_of], points[point_of], weights, seen)


def compiled_sparse(target="c"):
    """The Jacobian of all residuals by cameras and points, as two matrices in SciPy's CSR format."""
    specs = ("f64[n,11]", "f64[m,3]", "f64[p]", "i64[p] < n", "i64[p] < m", "f64[p,2]")
    derive = gg.jacobian(residuals, wrt=("cameras", "points"), sparse="csr")
    return gg.compile(derive, *specs, target=target)


def scene(count, rng):
    """Cameras before the origin, points near it, and weights."""
    cameras = np.zeros((count, 11))
    cameras[:, :3] = 0.3 * rng.normal(size=(count, 3))
    cameras[:, 3:6] = [0.0, 0.0, -5.0] + 0.2 * rng.normal(size=(count, 3))
    cameras[:, 6] = 500.0
    cameras[:, 7:9] = [320.0, 240.0]
    cameras[:, 9:] = [-0.1, 0.01]
    points = 0.5 * rng.normal(size=(count, 3))
    return cameras, points, np.ones(count)


def main(target="c", count=10_000):
    """The last Jacobians, and the residuals' root mean square before each step."""
    rng = np.random.default_rng(3)
    cameras, points, weights = scene(count, rng)
    one, batch = compiled(target), compiled_batch(target)
    value, jacobian = one(cameras[0], points[0], 1.0, np.zeros(2))
    print("one observation:", np.array2string(value, precision=3), "Jacobian", jacobian.shape)

    seen, _ = batch(cameras, points, weights, np.zeros((count, 2)))
    points = points + 0.05 * rng.normal(size=(count, 3))
    errors = []
    for _ in range(5):
        values, jacobians = batch(cameras, points, weights, seen)
        errors.append(float(np.sqrt(np.mean(values**2))))
        by_point = jacobians[:, :, 11:14]
        # The shortest step that removes the residual: two equations for three unknowns.
        inner = by_point @ by_point.transpose(0, 2, 1)
        step = by_point.transpose(0, 2, 1) @ np.linalg.solve(inner, values[:, :, None])
        points = points - step[:, :, 0]
    print(f"{count} observations: {errors[0]:.3f} pixels off, then {errors[-1]:.2e}")
    camera_of, point_of = rng.integers(0, 10, count), rng.integers(0, 100, count)
    sparse = compiled_sparse(target)
    by_camera, by_point = sparse(cameras[:10], points[:100], weights, camera_of, point_of, seen)
    print("of 10 cameras and 100 points:", by_camera, by_point)
    return jacobians, errors


if __name__ == "__main__":
    main()
