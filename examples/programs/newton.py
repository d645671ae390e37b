"""Newton's method with an emitted Hessian: value, gradient and Hessian in one call of one function.

The function is Rosenbrock's in n dimensions, whose valley makes gradient descent crawl; Newton's method with a line search
walks it in some twenty steps and doubles the digits in the last ones. Prints the gradient's norm at each step.
"""

import numpy as np

import gradgen as gg


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def compiled(target="c", n=8):
    return gg.compile(gg.value_grad_hessian(rosenbrock), f"f64[{n}]", target=target)


def newton(fn, x, steps=60):
    """Points of the method, from x on; a step is halved until it descends."""
    points = [x]
    for _ in range(steps):
        value, gradient, hessian = fn(x)
        if np.linalg.norm(gradient) < 1e-10:
            break
        curvature, axes = np.linalg.eigh(hessian)
        direction = -axes @ ((axes.T @ gradient) / np.maximum(np.abs(curvature), 1e-3))
        length = 1.0
        while fn(x + length * direction)[0] > value + 1e-4 * length * (gradient @ direction):
            length /= 2
        x = x + length * direction
        points.append(x)
    return points


def main(target="c", n=8):
    """The minimum that was found, and in how many steps."""
    fn = compiled(target, n)
    points = newton(fn, np.linspace(-1.2, 1.0, n))
    for k, x in enumerate(points):
        if k % 5 == 0 or k >= len(points) - 4:
            print(f"step {k:2}   |gradient| = {np.linalg.norm(fn(x)[1]):.2e}")
    return points[-1], len(points) - 1


if __name__ == "__main__":
    main()
