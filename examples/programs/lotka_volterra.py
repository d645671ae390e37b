"""Hares and lynxes: the parameters of Lotka and Volterra's equations fitted to data, in the way of a neural ODE.

    x' = a x - b x y        y' = c x y - d y

The equations are solved by the classical Runge-Kutta method in a scan, and the whole solver is differentiated. The data are the
model's own for known parameters, so that the fit has to find them. Prints the loss and the parameters.
"""

import numpy as np
from scipy.optimize import minimize

import gradgen as gg

TRUTH = np.array([0.55, 0.028, 0.024, 0.80])
START = np.array([30.0, 4.0])  # thousands of pelts
STEP = 0.1  # years
YEARS = 20.0


def slope(z, p):
    x, y = z[0], z[1]
    return np.array([p[0] * x - p[1] * x * y, p[2] * x * y - p[3] * y])


def runge_kutta(z, p, h):
    k1 = slope(z, p)
    k2 = slope(z + 0.5 * h * k1, p)
    k3 = slope(z + 0.5 * h * k2, p)
    k4 = slope(z + h * k3, p)
    return z + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def path(p, z0, h, steps):
    """The populations after each of `steps` steps."""

    def step(z, _):
        z = runge_kutta(z, p, h)
        return z, z

    return gg.scan(step, z0, length=steps)[1]


def loss(log_p, z0, h, data):
    """Mean squared difference of logarithms: populations differ by factors, and parameters are positive."""
    found = path(np.exp(log_p), z0, h, data.shape[0])
    return np.mean((np.log(found) - np.log(data)) ** 2)


def compiled(target="c"):
    return gg.compile(
        gg.value_and_grad(loss, wrt="log_p"),
        log_p="f64[4]",
        z0="f64[2]",
        h="f64[]",
        data="f64[n,2]",
        target=target,
    )


def main(target="c"):
    """(fitted parameters, loss)."""
    data = np.array(path(TRUTH, START, STEP, round(YEARS / STEP)))
    fn = compiled(target)
    guess = np.log([0.5, 0.03, 0.03, 0.7])
    value_and_gradient = fn.flat(log_p=guess, z0=START, h=STEP, data=data)
    fit = minimize(value_and_gradient, guess, jac=True, method="BFGS", options={"gtol": 1e-9})
    p = np.exp(fit.x)
    print(f"loss {value_and_gradient(guess)[0]:.3g} -> {fit.fun:.3g} in {fit.nfev} calls")
    print("a, b, c, d =", np.array2string(p, precision=6))
    return p, fit.fun


if __name__ == "__main__":
    main()
