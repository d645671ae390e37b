"""Our own routines: accuracy as stated, clean text, coefficients that can be computed again."""

import subprocess
import sys

import mpmath as mp
import numpy as np
import pytest

import gradgen.ops  # noqa: F401  enters the helpers
from gradgen.ops.coefficients import DIGAMMA_ROOT, GAMMA, STIRLING
from gradgen.ops.helpers import HELPERS, run, with_needs


@pytest.mark.parametrize("target", ["numpy", "python"])
def test_python_texts_are_clean(target, tmp_path):
    """As ruff writes them, each with its line of documentation."""
    texts = []
    for h in HELPERS.values():
        if getattr(h, target):
            assert f'"""{h.doc}"""' in h.source(target)
            texts.append(h.source(target))
    file = tmp_path / "helpers.py"
    head = "import numpy as np\n\n\n" if target == "numpy" else "import math\n\n\n"
    file.write_text(head + "\n\n".join(texts))
    for command in (
        ["check", "--isolated", "--line-length", "100"],
        ["format", "--isolated", "--line-length", "100", "--diff"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(file)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_helpers_come_after_what_they_call():
    names = [h.name for h in with_needs(["erf", "digamma"])]
    assert names == ["horner", "erfc_tail", "erf", "digamma"]
    with pytest.raises(KeyError):
        HELPERS["sign"].source("c")


# Names in libc and libm that sound like ours might.
TAKEN = (
    " abs acos asin atan cbrt ceil cos div drem erf erfc exp exp2 fdim floor fma fmax fmin fmod gamma hypot index jn "
    "labs ldiv lgamma log logb pow pow10 remainder rint round scalb sign signgam significand sin sqrt tan tgamma trunc "
    "y0 y1 yn "
)


def test_names_meet_no_libc_name():
    for h in HELPERS.values():
        for dtype in ("f64", "f32", "i64", "i32"):
            if h.c_int if dtype[0] == "i" else h.c:
                assert f" {h.called('c', dtype)} " not in TAKEN


RNG = np.random.default_rng(5)
ABOVE = np.concatenate([
    RNG.uniform(0, 30, 400), 10.0 ** RNG.uniform(-12, 8, 200), 1 + 10.0 ** RNG.uniform(-12, -1, 100),
    2 - 10.0 ** RNG.uniform(-12, -1, 100), 1 - 10.0 ** RNG.uniform(-12, -1, 100), [1.0, 2.0, 9.999999, 10.0, 10.00001],
])  # fmt: skip
BELOW = -RNG.uniform(0, 20, 400)
AROUND = np.concatenate(
    [RNG.uniform(-6, 6, 400), RNG.uniform(-26, 26, 200), 10.0 ** RNG.uniform(-12, 0, 100)]
)


@pytest.mark.parametrize(
    ("name", "exact", "xs", "relative", "bound"),
    [
        ("erf", mp.erf, AROUND, True, 5e-16),
        ("erfc", mp.erfc, AROUND, True, 1e-15),
        ("gammaln", lambda x: mp.log(abs(mp.gamma(x))), ABOVE[ABOVE < 1e4], True, 1e-15),
        ("gammaln", lambda x: mp.log(abs(mp.gamma(x))), BELOW, False, 3e-15),
        ("digamma", mp.digamma, ABOVE, False, 1e-15),
        ("digamma", mp.digamma, BELOW, False, 3e-15),
        ("trigamma", lambda x: mp.polygamma(1, x), ABOVE, True, 1e-15),
        ("trigamma", lambda x: mp.polygamma(1, x), BELOW, True, 3e-15),
        ("tetragamma", lambda x: mp.polygamma(2, x), ABOVE, True, 1e-15),
        ("tetragamma", lambda x: mp.polygamma(2, x), BELOW, False, 3e-14),
        ("log_ndtr", lambda x: mp.log(mp.ncdf(x)), AROUND[AROUND < 4], True, 5e-15),
        ("expit", lambda x: 1 / (1 + mp.exp(-x)), 20 * AROUND, True, 5e-16),
    ],
)
def test_accuracy_is_as_stated(name, exact, xs, relative, bound):
    with mp.workdps(40), np.errstate(all="ignore"):
        for x, y in zip(xs, run(name)(xs), strict=True):
            want = exact(mp.mpf(float(x)))
            scale = abs(want) if relative else max(1, abs(want))
            assert abs(mp.mpf(float(y)) - want) <= bound * scale + mp.mpf(2) ** -1070, x


@pytest.mark.parametrize(
    ("name", "exact", "shapes"),
    [
        ("gammainc", lambda a, x: mp.gammainc(a, 0, x, regularized=True), 1),
        ("gammaincc", lambda a, x: mp.gammainc(a, x, mp.inf, regularized=True), 1),
        ("betainc", lambda a, b, x: mp.betainc(a, b, 0, x, regularized=True), 2),
    ],
)
def test_incomplete_integrals(name, exact, shapes):
    shape = [10.0 ** RNG.uniform(-1, 2, 60) for _ in range(shapes)]
    x = RNG.uniform(0, 3, 60) * shape[0] if shapes == 1 else RNG.uniform(0, 1, 60)
    columns = [*shape, x]
    with mp.workdps(40):
        for *at, y in zip(*columns, run(name)(*columns), strict=True):
            want = exact(*[mp.mpf(float(v)) for v in at])
            assert abs(mp.mpf(float(y)) - want) <= 2e-15 * max(10, *at) * want, at


GAMMAS = {
    "gammaln": mp.loggamma,
    "digamma": mp.digamma,
    "trigamma": lambda x: mp.polygamma(1, x),
    "tetragamma": lambda x: mp.polygamma(2, x),
}
WIDE = 10.0 ** RNG.uniform(
    -2, 14, (2, 300)
)  # their logarithms are uniform: most pairs differ by far


@pytest.mark.parametrize("name", GAMMAS)
def test_rises_keep_their_digits(name):
    f = GAMMAS[name]
    with mp.workdps(60):
        for x, d, y in zip(*WIDE, run(f"{name}_rise")(*WIDE), strict=True):
            want = f(mp.mpf(x) + mp.mpf(d)) - f(mp.mpf(x))
            allowed = 1e-15 * abs(want) if x >= 10.0 else 4e-14 * max(1, abs(want))
            assert abs(mp.mpf(float(y)) - want) <= allowed, (x, d)


def test_the_logarithm_of_beta():
    with mp.workdps(60):
        for a, b, y in zip(*WIDE, run("betaln")(*WIDE), strict=True):
            want = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(mp.mpf(a) + mp.mpf(b))
            assert abs(mp.mpf(float(y)) - want) <= 2e-15 * max(1, abs(want)), (a, b)


def interpolant(f, m, n, hi=9):
    """p, q with p/q = f at the Chebyshev nodes of [0, hi]; q starts with 1."""
    count = m + n + 1
    nodes = [hi * (1 + mp.cos(mp.pi * (2 * k + 1) / (2 * count))) / 2 for k in range(count)]
    matrix, right = mp.matrix(count, count), mp.matrix(count, 1)
    for i, x in enumerate(nodes):
        value = f(x)
        for j in range(m + 1):
            matrix[i, j] = x**j
        for j in range(1, n + 1):
            matrix[i, m + j] = -value * x**j
        right[i] = value
    solution = list(mp.lu_solve(matrix, right))
    return solution[m::-1], [*reversed(solution[m + 1 :]), mp.mpf(1)]


@pytest.mark.parametrize("name", GAMMA)
def test_coefficients_can_be_computed_again(name):
    with mp.workdps(60):
        root = mp.findroot(lambda u: mp.digamma(1 + u), 0.46)
        assert (float(root), float(root - mp.mpf(float(root)))) == DIGAMMA_ROOT
        f = {
            "gammaln": lambda u: mp.loggamma(1 + u) / (u * (u - 1)),
            "digamma": lambda u: mp.digamma(1 + u) / (u - root),
            "trigamma": lambda u: mp.polygamma(1, 1 + u),
            "tetragamma": lambda u: mp.polygamma(2, 1 + u),
        }[name]
        p, q = GAMMA[name]
        for known, again in zip((p, q), interpolant(f, len(p) - 1, len(q) - 1), strict=True):
            # computed once with the argument shifted by 1e-25, away from the removable poles
            np.testing.assert_allclose(known, [float(c) for c in again], rtol=1e-12)


def test_the_asymptotic_series_are_bernoulli_numbers():
    for name, coefficients in STIRLING.items():
        for k, c in enumerate(reversed(coefficients), 1):
            b = mp.bernoulli(2 * k)
            want = {
                "gammaln": b / (2 * k * (2 * k - 1)),
                "digamma": b / (2 * k),
                "trigamma": b,
                "tetragamma": (2 * k + 1) * b,
            }[name]
            assert c == pytest.approx(float(want), rel=1e-15)
