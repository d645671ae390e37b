"""examples/gradbench: the protocol, and every eval against plain NumPy and numeric derivatives."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(31337)
sys.path.insert(0, str(ROOT))

from examples.gradbench import ba, gmm, llsq, lse, lstm  # noqa: E402
from examples.gradbench.__main__ import reply  # noqa: E402


def ask(module, function, given):
    found = reply({"kind": "evaluate", "module": module, "function": function, "input": given})
    assert found["success"], found
    return found


def numeric(f, x, h=1e-4):
    x = np.asarray(x, float)
    out = np.zeros(x.size)
    for k in range(x.size):
        e = np.zeros(x.size)
        e[k] = 1.0
        e = e.reshape(x.shape)
        d = [(f(x + s * e) - f(x - s * e)) / (2 * s) for s in (h, h / 2)]
        out[k] = (4 * d[1] - d[0]) / 3
    return out.reshape(x.shape)


def test_the_tool_process():
    messages = [
        {"id": 0, "kind": "start"},
        {"id": 1, "kind": "define", "module": "hello"},
        {"id": 2, "kind": "define", "module": "nonsense"},
        {"id": 3, "kind": "evaluate", "module": "hello", "function": "square", "input": 3.0},
        {"id": 4, "kind": "evaluate", "module": "hello", "function": "double", "input": 3.0},
        {"id": 5, "kind": "evaluate", "module": "hello", "function": "cube", "input": 3.0},
        {"id": 6, "kind": "analysis", "of": 3, "valid": True},
    ]
    text = "\n".join(map(json.dumps, messages))
    done = subprocess.run(
        [sys.executable, "-m", "examples.gradbench"], input=text, capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["id"] for r in replies] == list(range(7))
    assert replies[0]["tool"] == "gradgen"
    assert [replies[1]["success"], replies[2]["success"]] == [True, False]
    assert (replies[3]["output"], replies[4]["output"]) == (9.0, 6.0)
    assert replies[3]["timings"][0]["nanoseconds"] > 0
    assert not replies[5]["success"] and "cube" in replies[5]["error"]


@pytest.mark.parametrize(
    ("line", "said"),
    [("{not json", "line 2 is no JSON: Expecting property name"), ("[1, 2]", "line 2 is no JSON object: [1, 2]")],
)  # fmt: skip
def test_a_line_that_is_no_message(line, said):
    """What came before is answered; then the tool says which line, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.gradbench"],
        input=f'{{"id": 0, "kind": "start"}}\n{line}\n', capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"id": 0, "tool": "gradgen"}
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_message_that_lacks_something():
    found = reply({"kind": "evaluate", "module": "lse", "function": "primal", "input": {}})
    assert found == {"success": False, "error": "an input needs 'x'"}


def test_runs_and_seconds():
    found = ask("lse", "primal", {"x": [1.0, 2.0], "min_runs": 7, "min_seconds": 0.0})
    assert len(found["timings"]) == 7


def test_llsq():
    x = RNG.normal(size=6)
    given = {"x": x.tolist(), "n": 33}
    t = -1 + 2 * np.arange(33) / 32
    f = lambda x: 0.5 * np.sum((np.sign(t) - np.vander(t, 6, increasing=True) @ x) ** 2)
    np.testing.assert_allclose(ask("llsq", "primal", given)["output"], f(x))
    np.testing.assert_allclose(ask("llsq", "gradient", given)["output"], numeric(f, x), rtol=1e-8)
    assert llsq.FUNCTIONS.keys() == {"primal", "gradient"}


def test_lse():
    x = RNG.normal(size=50) * 10
    given = {"x": x.tolist()}
    weights = np.exp(x - x.max())
    np.testing.assert_allclose(ask("lse", "primal", given)["output"], lse.lse(x))
    np.testing.assert_allclose(ask("lse", "gradient", given)["output"], weights / weights.sum())


def test_gmm():
    d, k, n, m = 3, 4, 10, 2
    given = {
        "d": d, "k": k, "n": n, "m": m, "gamma": 1.3, "x": RNG.normal(size=(n, d)).tolist(),
        "alpha": RNG.normal(size=k).tolist(), "mu": RNG.uniform(size=(k, d)).tolist(),
        "q": RNG.normal(size=(k, d)).tolist(), "l": RNG.normal(size=(k, d * (d - 1) // 2)).tolist(),
    }  # fmt: skip

    def plain(alpha, mu, q, l):
        """As it is written in the paper, one term after another."""
        total = 0.0
        x = np.array(given["x"])
        Q = []
        for i in range(k):
            matrix = np.diag(np.exp(q[i]))
            at = iter(l[i])
            for column in range(d):
                for row in range(column + 1, d):
                    matrix[row, column] = next(at)
            Q.append(matrix)
        for j in range(n):
            terms = [
                alpha[i] + q[i].sum() - 0.5 * np.sum((Q[i] @ (x[j] - mu[i])) ** 2) for i in range(k)
            ]
            total += lse.lse(np.array(terms))
        total -= n * (0.5 * d * math.log(2 * math.pi) + lse.lse(alpha))
        w = d + m + 1
        total += k * (w * d * math.log(1.3 / math.sqrt(2)) - gmm.log_gamma_distribution(0.5 * w, d))
        total -= 0.5 * 1.3**2 * sum(np.sum(matrix**2) for matrix in Q)
        return total + m * q.sum()

    args = {name: np.array(given[name]) for name in ("alpha", "mu", "q", "l")}
    np.testing.assert_allclose(ask("gmm", "objective", given)["output"], plain(**args))
    found = ask("gmm", "jacobian", given)["output"]
    for name, value in args.items():
        f = lambda v, name=name: plain(**{**args, name: v})
        np.testing.assert_allclose(found[name], numeric(f, value), rtol=1e-6, atol=1e-7)


def test_lstm():
    l, b, c = 2, 3, 6
    given = {
        "main_params": RNG.normal(size=(2 * l, 4 * b)).tolist(), "extra_params": RNG.normal(size=(3, b)).tolist(),
        "state": RNG.normal(size=(2 * l, b)).tolist(), "sequence": RNG.normal(size=(c, b)).tolist(),
    }  # fmt: skip
    args = [np.array(v) for v in given.values()]
    np.testing.assert_allclose(ask("lstm", "objective", given)["output"], lstm.objective(*args))
    found = np.array(ask("lstm", "jacobian", given)["output"])
    first = numeric(lambda v: lstm.objective(v, *args[1:]), args[0])
    second = numeric(lambda v: lstm.objective(args[0], v, *args[2:]), args[1])
    np.testing.assert_allclose(
        found, np.concatenate([first.ravel(), second.ravel()]), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("r", [RNG.normal(size=3), np.zeros(3)])
def test_ba(r):
    n, m, p = 2, 3, 5
    cam = np.concatenate([r, RNG.normal(size=3), [2.0, 0.1, -0.2, 0.01, 0.02]])
    x, w, feat = RNG.normal(size=3) + 4, 0.7, np.array([0.3, 0.4])
    given = {
        "n": n,
        "m": m,
        "p": p,
        "cam": cam.tolist(),
        "x": x.tolist(),
        "w": w,
        "feat": feat.tolist(),
    }
    plain = lambda cam, x, w: np.asarray(ba.residual(cam, x, w, feat))
    objective = ask("ba", "objective", given)["output"]
    np.testing.assert_allclose(objective["reproj_err"], plain(cam, x, w))
    np.testing.assert_allclose(objective["w_err"], [1 - w * w])
    found = ask("ba", "jacobian", given)["output"]
    assert found["rows"][:3] == [0, 15, 30] and found["rows"][-1] == 30 * p + p
    assert found["cols"][:15] == [*range(11), 22, 23, 24, 31]
    for row in range(2):
        g = [numeric(lambda v, row=row: plain(v, x, w)[row], cam)] if r.any() else [None]
        g += [numeric(lambda v, row=row: plain(cam, v, w)[row], x), [plain(cam, x, w)[row] / w]]
        values = np.array(found["vals"][15 * row : 15 * row + 15])
        if r.any():
            np.testing.assert_allclose(values[:11], g[0], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(values[11:], np.concatenate(g[1:]), rtol=1e-6, atol=1e-8)
    assert np.isclose(found["vals"][-1], -2 * w)
