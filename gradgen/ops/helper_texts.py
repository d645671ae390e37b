"""The texts of our special functions: erf, erfc, gammaln and its first three derivatives.

Each is written for NumPy arrays, for Python floats and for C, from the coefficients in `coefficients`. All share one plan:
a rational function where x is moderate, an asymptotic series beyond, and for x < 0 the reflection formula
(Abramowitz and Stegun 6.1.17, 6.3.7, 6.4.7) in t = -x, which is exact, with sin(pi t) taken of t's distance to an integer.
`import gradgen.ops.special` enters them into HELPERS.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gradgen.ops.coefficients import DIGAMMA_ROOT, ERF, GAMMA, STIRLING
from gradgen.ops.helpers import Helper, enter


def tuple_text(name: str, values: Sequence[float]) -> str:
    return f"{name} = (\n" + "".join(f"    {v!r},\n" for v in values) + ")\n"


def array_text(name: str, values: Sequence[float]) -> str:
    rows = [
        "    " + " ".join(f"{v!r}," for v in values[i : i + 4]) for i in range(0, len(values), 4)
    ]
    return f"static const double {name}[] = {{\n" + "\n".join(rows) + "\n};\n"


enter(Helper(
    "horner", ("x", "coefficients"), "The polynomial in x with these coefficients, highest power first.",
    numpy="y = coefficients[0]\nfor c in coefficients[1:]:\n    y = y * x + c\nreturn y\n",
    python="y = coefficients[0]\nfor c in coefficients[1:]:\n    y = y * x + c\nreturn y\n",
    signature="double x, int n, const double *c",
    c="double y = c[0];\nfor (int i = 1; i < n; i++)\n    y = y * x + c[i];\nreturn y;\n",
))  # fmt: skip

enter(Helper(
    "erfc_tail", ("t",), "erfc(t) for t >= 0.46875, to a relative error of 1e-15.",
    numpy=tuple_text("p", ERF["middle"][0]) + tuple_text("q", ERF["middle"][1])
    + tuple_text("r", ERF["far"][0]) + tuple_text("s", ERF["far"][1]) + """\
t = np.minimum(t, 30.0)
m = np.minimum(t, 4.0)
w = 1.0 / np.square(np.maximum(t, 4.0))
far = (0.5641895835477563 - w * _horner(w, r) / _horner(w, s)) * np.sqrt(w)
scale = np.where(t <= 4.0, _horner(m, p) / _horner(m, q), far)
head = np.floor(16.0 * t) / 16.0
return np.exp(-head * head) * np.exp((head - t) * (head + t)) * scale
""",
    needs=("horner",),
))  # fmt: skip
_NEAR = (
    tuple_text("p", ERF["near"][0])
    + tuple_text("q", ERF["near"][1])
    + """\
t = np.abs(x)
m = np.square(np.minimum(t, 0.46875))
near = x * (_horner(m, p) / _horner(m, q))
tail = _erfc_tail(np.maximum(t, 0.46875))
"""
)
enter(Helper(
    "erf", ("x",), "The error function, to a relative error of 5e-16.",
    numpy=_NEAR + "return np.where(t <= 0.46875, near, np.sign(x) * (1.0 - tail))\n",
    needs=("horner", "erfc_tail"),
))  # fmt: skip
enter(Helper(
    "erfc", ("x",), "1 - erf(x), to a relative error of 1e-15.",
    numpy=_NEAR + "return np.where(t <= 0.46875, 1.0 - near, np.where(x > 0.0, tail, 2.0 - tail))\n",
    needs=("horner", "erfc_tail"),
))  # fmt: skip


# The scaled complement exp(t*t) * erfc(t), t >= 0.46875, is what `erfc_tail` multiplies; log_ndtr needs it alone.
_TAILS = [ERF["middle"][0], ERF["middle"][1], ERF["far"][0], ERF["far"][1]]
enter(Helper(
    "erfc_scaled", ("t",), "exp(t * t) * erfc(t) for t >= 0.46875, to a relative error of 1e-15.",
    numpy="".join(map(tuple_text, "pqrs", _TAILS)) + """\
m = np.minimum(t, 4.0)
w = 1.0 / np.square(np.maximum(t, 4.0))
far = (0.5641895835477563 - w * _horner(w, r) / _horner(w, s)) * np.sqrt(w)
return np.where(t <= 4.0, _horner(m, p) / _horner(m, q), far)
""",
    python="".join(map(tuple_text, "pqrs", _TAILS)) + """\
if t <= 4.0:
    return _horner(t, p) / _horner(t, q)
w = 1.0 / (t * t)
return (0.5641895835477563 - w * _horner(w, r) / _horner(w, s)) * math.sqrt(w)
""",
    c="".join(map(array_text, "pqrs", _TAILS)) + "double w;\nif (t <= 4.0)\n"
    f"    return horner(t, {len(_TAILS[0])}, p) / horner(t, {len(_TAILS[1])}, q);\n"
    "w = 1.0 / (t * t);\n"
    f"return (0.5641895835477563 - w * horner(w, {len(_TAILS[2])}, r) / horner(w, {len(_TAILS[3])}, s)) * sqrt(w);\n",
    needs=("horner",),
))  # fmt: skip
enter(Helper(
    "log_ndtr", ("x",), "The logarithm of the normal distribution function, to a relative error of 5e-15.",
    numpy="""low = np.minimum(x, -1.0)
high = np.maximum(x, -1.0)
tail = np.log(0.5 * _erfc_scaled(-0.7071067811865476 * low)) - 0.5 * low * low
return np.where(x < -1.0, tail, np.log1p(-0.5 * _erfc(0.7071067811865476 * high)))
""",
    python="""if x < -1.0:
    return math.log(0.5 * _erfc_scaled(-0.7071067811865476 * x)) - 0.5 * x * x
return math.log1p(-0.5 * math.erfc(0.7071067811865476 * x))
""",
    c="""if (x < -1.0)
    return log(0.5 * erfc_scaled(-0.7071067811865476 * x)) - 0.5 * x * x;
return log1p(-0.5 * erfc(0.7071067811865476 * x));
""",
    needs=("erfc_scaled", "erfc"),
))  # fmt: skip


def _gamma(
    name: str, doc: str, near: str, far: str, step: str, pole: str, turn: str, in_math: bool = True
) -> None:
    """Enter one function of the gamma family, from formulas that Python and C read alike.

    near    of N = p(u)/q(u) and u: the value for 1 <= t < 10, at u = t - 1
    far     of t, v = 1/t**2 and S, the series in v: the value for t >= 10
    step    of t, s: the value at t < 1, from s, the value at t + 1
    pole    of t and r: k below
    turn    of t, s, k, and r = pi * (t - nearest integer): the value at x = -t < 0, from s, the value at t
    in_math whether the python target needs it (math.lgamma exists)
    """
    p, q = GAMMA[name]
    a = STIRLING[name]
    tables = tuple_text("p", p) + tuple_text("q", q) + tuple_text("a", a)

    def fill(formula: str, module: str, magnitude: str) -> str:
        text = re.sub(r"\bN\b", "_horner(u, p) / _horner(u, q)", formula)
        text = re.sub(r"\bS\b", "_horner(v, a)", text)
        text = re.sub(r"\b(log|sin|cos|tan|pi)\b", rf"{module}.\1", text)
        return text.replace("fabs", magnitude)

    def array(formula: str) -> str:
        return fill(formula, "np", "np.abs")

    def scalar(formula: str) -> str:
        return fill(formula, "math", "abs")

    numpy = (
        tables
        + f"""\
t = np.abs(x)
low = t < 1.0
u = np.where(low, t, np.minimum(t, 10.0) - 1.0)
near = {array(near)}
z, t = t, np.maximum(t, 10.0)
v = 1.0 / np.square(t)
far = {array(far)}
s, t = np.where(z < 10.0, near, far), np.where(low, z, 1.0)
s = np.where(low, {array(step)}, s)
t = np.where(x < 0.0, z, 0.5)
r = np.pi * (t - np.rint(t))
k = {array(pole)}
return np.where(x < 0.0, {array(turn)}, s)
"""
    )
    python = (
        tables
        + f"""\
t = abs(x)
if t < 10.0:
    u = t if t < 1.0 else t - 1.0
    s = {scalar(near)}
    if t < 1.0:
        s = {scalar(step)}
else:
    v = 1.0 / (t * t)
    s = {scalar(far)}
if x < 0.0:
    r = math.pi * (t - round(t))
    k = {scalar(pole)}
    return {scalar(turn)}
return s
"""
    )

    def c(formula: str) -> str:
        text = re.sub(r"\bN\b", f"horner(u, {len(p)}, p) / horner(u, {len(q)}, q)", formula)
        text = re.sub(r"\bS\b", f"horner(v, {len(a)}, a)", text)
        return re.sub(r"\bpi\b", "3.141592653589793", text)

    text_c = (
        array_text("p", p)
        + array_text("q", q)
        + array_text("a", a)
        + f"""\
const double t = fabs(x);
double s;
if (t < 10.0) {{
    const double u = t < 1.0 ? t : t - 1.0;
    s = {c(near)};
    if (t < 1.0)
        s = {c(step)};
}} else {{
    const double v = 1.0 / (t * t);
    s = {c(far)};
}}
if (x < 0.0) {{
    const double r = 3.141592653589793 * (t - rint(t));
    const double k = {c(pole)};
    return {c(turn)};
}}
return s;
"""
    )
    enter(Helper(
        name, ("x",), doc, numpy=numpy, python=python if in_math else "", c=text_c, needs=("horner",)
    ))  # fmt: skip


_gamma(
    "gammaln", "log|gamma(x)|, to 1e-15 of the larger of 1 and the result (x > 0: relative).",
    near="u * (u - 1.0) * (N)",
    far="(t - 0.5) * (log(t) - 1.0) + 0.41893853320467274 + S / t",
    step="s - log(t)",
    pole="t * fabs(sin(r)) / pi",
    turn="-log(k) - s",
    in_math=False,
)  # fmt: skip
_gamma(
    "digamma", "The derivative of log gamma(x), to 1e-15 of the larger of 1 and the result.",
    near=f"(u - {DIGAMMA_ROOT[0]!r} - {DIGAMMA_ROOT[1]!r}) * (N)".replace("- -", "+ "),
    far="log(t) - 0.5 / t - v * S",
    step="s - 1.0 / t",
    pole="pi / tan(r)",
    turn="s + 1.0 / t + (k + 0.0 * k)",  # at a pole NaN: its sides have infinities of both signs
)  # fmt: skip
_gamma(
    "trigamma", "The second derivative of log gamma(x), to a relative error of 1e-15 for x > 0.",
    near="N",
    far="1.0 / t + 0.5 * v + S * v / t",
    step="s + 1.0 / (t * t)",
    pole="pi / sin(r)",
    turn="1.0 / (t * t) + k * k - s",
)  # fmt: skip
_gamma(
    "tetragamma", "The third derivative of log gamma(x), to a relative error of 1e-15 for x > 0.",
    near="N",
    far="-v - v / t - S * v * v",
    step="s - 2.0 / (t * t * t)",
    pole="pi / sin(r)",
    turn="s + 2.0 / (t * t * t) + 2.0 * cos(r) * (k * k * k)",
)  # fmt: skip
