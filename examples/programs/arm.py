"""A six-joint robot arm: how the distance of its hand to a target changes with the joints, for one arm and for 10,000.

The model is written for one arm; `gg.vmap` makes the batch: whole-array statements in NumPy, one loop over the arms in C.
Prints the gradient of one arm and the mean distance of many before and after they reached for their targets.
"""

import numpy as np

import gradgen as gg

# A common six-axis arm, after Denavit and Hartenberg: link length, offset, twist.
LENGTH = (0.0, -0.425, -0.392, 0.0, 0.0, 0.0)
OFFSET = (0.089, 0.0, 0.0, 0.109, 0.095, 0.082)
TWIST = (np.pi / 2, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0)


def hand(q):
    """The position of the hand for six joint angles."""
    turn, place = np.eye(3), np.zeros(3)
    for k in range(6):
        c, s = np.cos(q[k]), np.sin(q[k])
        ct, st = np.cos(TWIST[k]), np.sin(TWIST[k])
        place = place + turn @ np.array([LENGTH[k] * c, LENGTH[k] * s, OFFSET[k]])
        turn = turn @ np.array([[c, -s * ct, s * st], [s, c * ct, -c * st], [0.0, st, ct]])
    return place


def miss(q, target):
    """Half the squared distance of the hand from its target."""
    away = hand(q) - target
    return 0.5 * (away @ away)


def compiled(target="c"):
    return gg.compile(gg.value_and_grad(miss, wrt="q"), "f64[6]", "f64[3]", target=target)


def compiled_batch(target="c"):
    batch = gg.vmap(gg.value_and_grad(miss, wrt="q"))
    return gg.compile(batch, "f64[n,6]", "f64[n,3]", target=target, name="miss_batch")


def main(target="c", count=10_000):
    """The gradient of one arm; the mean distances of `count` arms before and after."""
    rng = np.random.default_rng(0)
    q = np.array([0.1, -1.2, 1.0, -0.4, 0.6, 0.2])
    value, gradient = compiled(target)(q, np.array([-0.3, 0.2, 0.5]))
    print(f"one arm: {value:.6f}, gradient", np.array2string(gradient, precision=4))

    fn = compiled_batch(target)
    joints = q + 0.5 * rng.normal(size=(count, 6))
    targets = np.array([-0.4, -0.2, 0.4]) + 0.1 * rng.normal(size=(count, 3))
    distances = []
    for _ in range(60):
        values, gradients = fn(joints, targets)
        distances.append(np.mean(np.sqrt(2.0 * values)))
        joints = joints - 0.8 * gradients
    print(f"{count} arms: {distances[0]:.3f} m from their targets, then {distances[-1]:.4f} m")
    return gradient, distances[0], distances[-1]


if __name__ == "__main__":
    main()
