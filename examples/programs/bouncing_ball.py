"""How fast to throw a ball so that it bounces through a window: a simulation with `while` and `if`, optimised by its gradient.

The ball flies until it is at the wall, in as many steps as that takes; where it meets the floor it bounces. How many steps and
bounces there are depends on the throw: the emitted code keeps the loop and the branch, and differentiates through both. Prints
the throws that were tried.
"""

import numpy as np

import gradgen as gg

GRAVITY, BOUNCE, DRAG = 9.81, 0.8, 0.05
STEP = 0.002  # s
WALL, WINDOW = 5.0, 1.2  # m: how far the wall is, how high its window


def height(vx, vy):
    """How high the ball is at the wall, thrown from 1 m with these speeds."""
    x, y = 0.0, 1.0
    while x < WALL:
        speed = np.sqrt(vx**2 + vy**2)
        vx = vx - STEP * DRAG * speed * vx
        vy = vy - STEP * (GRAVITY + DRAG * speed * vy)
        x = x + STEP * vx
        y = y + STEP * vy
        if y < 0.0:
            y = -BOUNCE * y
            vy = -BOUNCE * vy
    return y - (x - WALL) * vy / vx  # back to where the wall is


def miss(vx, vy):
    return (height(vx, vy) - WINDOW) ** 2


def compiled(target="c"):
    return gg.compile(gg.value_and_grad(miss, wrt=("vx", "vy")), "f64[]", "f64[]", target=target)


def main(target="c"):
    """The throw that was found, and by how much it misses, squared."""
    fn = compiled(target)
    vx, vy = 4.0, 3.0
    for k in range(100):
        value, (vx_bar, vy_bar) = fn(vx, vy)
        if k % 5 == 0 or value < 1e-12:
            print(
                f"throw {k:2}: {vx:.4f} m/s along, {vy:.4f} m/s up, off by {np.sqrt(value):.2e} m"
            )
        if value < 1e-12:
            break
        # Half of the step that would remove the miss if the height were linear in the throw.
        square = vx_bar**2 + vy_bar**2
        vx, vy = vx - value / square * vx_bar, vy - value / square * vy_bar
    return (vx, vy), value


if __name__ == "__main__":
    main()
