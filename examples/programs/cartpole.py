"""A cart-pole swings its pole up: model-predictive control by single shooting.

The plan is a force for each of the next T steps; simulating it in a plain Python loop gives its cost, and the emitted gradient
of that loop goes to scipy's L-BFGS. The controller plans, plays the first forces, measures where the cart is, and plans again
from there. Prints the angle as the pole comes up.
"""

import numpy as np
from scipy.optimize import minimize

import gradgen as gg

GRAVITY, CART, POLE, HALF = 9.81, 1.0, 0.1, 0.5  # m/s2, kg, kg, m
STEP = 0.04  # s
HORIZON = 50
LIMIT = 15.0  # N


def advance(state, force):
    """One semi-implicit Euler step; state: position, angle from the vertical, and their speeds."""
    x, angle, v, spin = state[0], state[1], state[2], state[3]
    sine, cosine = np.sin(angle), np.cos(angle)
    push = (force + POLE * HALF * spin**2 * sine) / (CART + POLE)
    torque = (GRAVITY * sine - cosine * push) / (
        HALF * (4.0 / 3.0 - POLE * cosine**2 / (CART + POLE))
    )
    v = v + STEP * (push - POLE * HALF * torque * cosine / (CART + POLE))
    spin = spin + STEP * torque
    return np.array([x + STEP * v, angle + STEP * spin, v, spin])


def cost(forces, start):
    """The pole upright, the cart in the middle, both at rest at the end, for little force."""
    state, total = start, 0.0
    for force in forces:
        state = advance(state, force)
        total = total + 0.1 * state[0] ** 2 + (1.0 - np.cos(state[1])) + 1e-3 * force**2
    x, angle, v, spin = state[0], state[1], state[2], state[3]
    return total + 20.0 * (x**2 + 4.0 * (1.0 - np.cos(angle)) + 0.1 * v**2 + 0.1 * spin**2)


def compiled(target="c"):
    return gg.compile(
        gg.value_and_grad(cost, wrt="forces"), forces="f64[T]", start="f64[4]", target=target
    )


def plan(fn, forces, start):
    """The best forces found from `start`, beginning the search at `forces`."""
    found = minimize(
        fn.flat(forces=forces, start=start),
        forces,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-LIMIT, LIMIT)] * len(forces),
        options={"maxiter": 100},
    )
    return found.x


def main(target="c"):
    """The states that the controlled cart-pole went through, one a row."""
    fn = compiled(target)
    state = np.array([0.0, np.pi, 0.0, 0.0])  # hanging
    forces = 2.0 * np.sin(np.linspace(0.0, 6.0, HORIZON))
    states = [state]
    for _ in range(16):
        forces = plan(fn, forces, state)
        for force in forces[:5]:
            state = advance(state, force)
            states.append(state)
        forces = np.append(forces[5:], np.zeros(5))
    for k in range(0, len(states), 10):
        angle = np.degrees(states[k][1])
        print(f"{k * STEP:4.1f} s   cart {states[k][0]:6.2f} m   pole {angle:7.1f} degrees")
    return np.array(states)


if __name__ == "__main__":
    main()
