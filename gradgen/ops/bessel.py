"""Bessel functions that NumPy has: spherical_j0 ... spherical_j4 (sinc is the first) and bessel_i0 ... bessel_i4 (np.i0).

Derivatives are neighbours in order, without a division, so that they hold at 0 (Abramowitz and Stegun 10.1.20 and 9.6.26):

    j_n' = (n j_{n-1} - (n+1) j_{n+1}) / (2n+1)        I_n' = (I_{n-1} + I_{n+1}) / 2

Not supported: a fifth derivative of sinc and i0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradgen.errors import UnsupportedError
from gradgen.ir import OPS, Op
from gradgen.ops.elementwise import TRANSCENDENTAL, elementwise
from gradgen.ops.helpers import Helper, enter, run
from gradgen.spelling import Expr, Spelling
from gradgen.value import Value, apply

HIGHEST = 4

enter(Helper(
    "spherical_j", ("x", "n"), "The spherical Bessel function of order n <= 4, to 1e-15 of its largest value.",
    # near 0 the power series (Abramowitz and Stegun 10.1.2), beyond the recurrence upwards (10.1.19)
    numpy="""small = np.abs(x) < 3.0
z = np.where(small, x, 0.0)
term = np.ones_like(z)
for k in range(n):
    term = term * z / (2 * k + 3)
near = term
for k in range(1, 16):
    term = term * (-0.5 * z * z) / (k * (2 * n + 2 * k + 1))
    near = near + term
z = np.where(small, 3.0, x)
before, far = np.cos(z) / z, np.sin(z) / z
for k in range(n):
    before, far = far, (2 * k + 1) / z * far - before
return np.where(small, near, far)
""",
    python="""if abs(x) < 3.0:
    term = 1.0
    for k in range(n):
        term = term * x / (2 * k + 3)
    near = term
    for k in range(1, 16):
        term = term * (-0.5 * x * x) / (k * (2 * n + 2 * k + 1))
        near = near + term
    return near
before, far = math.cos(x) / x, math.sin(x) / x
for k in range(n):
    before, far = far, (2 * k + 1) / x * far - before
return far
""",
    signature="double x, int n",
    c="""double before;
double far;
if (fabs(x) < 3.0) {
    double term = 1.0;
    double near;
    for (int k = 0; k < n; k++)
        term = term * x / (double)(2 * k + 3);
    near = term;
    for (int k = 1; k < 16; k++) {
        term = term * (-0.5 * x * x) / (double)(k * (2 * n + 2 * k + 1));
        near += term;
    }
    return near;
}
before = cos(x) / x;
far = sin(x) / x;
for (int k = 0; k < n; k++) {
    const double next = (double)(2 * k + 1) / x * far - before;
    before = far;
    far = next;
}
return far;
""",
))  # fmt: skip
enter(Helper(
    "bessel_i", ("x", "n"), "The modified Bessel function of the first kind, order n <= 4, to a relative error of 1e-14.",
    # the power series, whose terms are all positive (Abramowitz and Stegun 9.6.10); from 30 on the asymptotic one (9.7.1)
    numpy="""t = np.abs(x)
z = np.minimum(t, 30.0)
term = np.ones_like(z)
for k in range(n):
    term = term * z / (2 * k + 2)
near = term
for k in range(1, 70):
    term = term * (0.25 * z * z) / (k * (k + n))
    near = near + term
z = np.maximum(t, 30.0)
term = np.ones_like(z)
total = term
for k in range(1, 25):
    term = term * ((2 * k - 1) ** 2 - 4 * n * n) / (8 * k * z)
    total = total + term
far = np.exp(0.5 * z) / np.sqrt(6.283185307179586 * z) * total * np.exp(0.5 * z)
y = np.where(t < 30.0, near, far)
return y * np.sign(x) if n % 2 else y
""",
    python="""t = abs(x)
term = 1.0
if t < 30.0:
    for k in range(n):
        term = term * t / (2 * k + 2)
    total = term
    for k in range(1, 70):
        term = term * (0.25 * t * t) / (k * (k + n))
        total = total + term
else:
    total = term
    for k in range(1, 25):
        term = term * ((2 * k - 1) ** 2 - 4 * n * n) / (8 * k * t)
        total = total + term
    total = math.exp(0.5 * t) / math.sqrt(6.283185307179586 * t) * total * math.exp(0.5 * t)
return -total if n % 2 and x < 0.0 else total
""",
    signature="double x, int n",
    c="""const double t = fabs(x);
double term = 1.0;
double total = 1.0;
if (t < 30.0) {
    for (int k = 0; k < n; k++)
        term = term * t / (double)(2 * k + 2);
    total = term;
    for (int k = 1; k < 70; k++) {
        term = term * (0.25 * t * t) / (double)(k * (k + n));
        total += term;
    }
} else {
    for (int k = 1; k < 25; k++) {
        term = term * (double)((2 * k - 1) * (2 * k - 1) - 4 * n * n) / (8.0 * (double)k * t);
        total += term;
    }
    total = exp(0.5 * t) / sqrt(6.283185307179586 * t) * total * exp(0.5 * t);
}
return n % 2 != 0 && x < 0.0 ? -total : total;
""",
))  # fmt: skip


def _spell(helper: str, n: int) -> Spelling:
    def spell(operands: Any, node: Any, target: Any) -> Expr:
        return Expr(f"{target.helper(helper, node)}({operands[0].text}, {n})")

    return spell


def _family(stem: str, helper: str, name: str, slope: Callable[[int, Value], Any]) -> None:
    def partial(n: int) -> Callable[..., Any]:
        def rule(y: Value, x: Value) -> Any:
            if n == HIGHEST:
                raise UnsupportedError(
                    f"{stem}0 is differentiated {HIGHEST} times at most, got one more",
                    "Take one derivative less.",
                )
            return slope(n, x)

        return rule

    for n in range(HIGHEST + 1):
        spell = _spell(helper, n)
        elementwise(
            f"{stem}{n}", "float", lambda x, n=n: run(helper)(x, n),
            f"The {name} of order {n}.",
            partials=(partial(n),), flops=10 * TRANSCENDENTAL, numpy=spell, python=spell, c=spell,
        )  # fmt: skip


def _of(stem: str) -> Callable[[int, Value], Value]:
    def function(n: int, x: Value) -> Value:
        op: Op = OPS[f"{stem}{n}"]
        return apply(op, x)

    return function


_j, _i = _of("spherical_j"), _of("bessel_i")


def _j_slope(n: int, x: Value) -> Any:
    if n == 0:
        return -_j(1, x)
    return (n * _j(n - 1, x) - (n + 1) * _j(n + 1, x)) / (2 * n + 1)


def _i_slope(n: int, x: Value) -> Any:
    return _i(1, x) if n == 0 else 0.5 * (_i(n - 1, x) + _i(n + 1, x))


_family("spherical_j", "spherical_j", "spherical Bessel function of the first kind", _j_slope)
_family("bessel_i", "bessel_i", "modified Bessel function of the first kind", _i_slope)
