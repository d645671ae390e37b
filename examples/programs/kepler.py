"""Where a planet is: Kepler's equation E - e sin(E) = M, solved inside the emitted code by `gg.root`.

Newton's method runs in a loop until it has converged; the derivative does not go through that loop but comes from the implicit
function theorem: dE/dM = 1 / (1 - e cos E), dE/de = sin(E) / (1 - e cos E). Prints both beside the emitted derivatives.
"""

import numpy as np

import gradgen as gg


def anomaly(M, e):
    """The eccentric anomaly at mean anomaly M of an orbit of eccentricity e."""
    return gg.root(lambda E: E - e * np.sin(E) - M, M + e * np.sin(M))


def place(M, e):
    """The planet in the plane of its orbit, in units of the major half-axis; the sun at the origin."""
    E = anomaly(M, e)
    return np.array([np.cos(E) - e, np.sqrt(1.0 - e * e) * np.sin(E)])


def compiled(target="c"):
    return gg.compile(gg.value_and_grad(anomaly, wrt=("M", "e")), "f64[]", "f64[]", target=target)


def compiled_velocity(target="c"):
    """The place, and its derivative by M: the velocity."""
    return gg.compile(gg.value_and_jacobian(place, wrt="M"), "f64[]", "f64[]", target=target)


def main(target="c"):
    """Rows of M, E and the two derivatives."""
    fn, velocity = compiled(target), compiled_velocity(target)
    rows = []
    e = 0.6
    print("     M        E      dE/dM   exact     dE/de   exact     speed")
    for M in np.linspace(0.3, 6.0, 7):
        E, (by_M, by_e) = fn(M, e)
        down = 1.0 - e * np.cos(E)
        _, v = velocity(M, e)
        print(
            f"{M:8.4f} {E:8.4f} {by_M:8.4f} {1 / down:8.4f} "
            f"{by_e:8.4f} {np.sin(E) / down:8.4f} {np.hypot(*v):8.4f}"
        )
        rows.append((M, E, by_M, by_e))
    return np.array(rows)


if __name__ == "__main__":
    main()
