"""The benchmark's own tests: references against numeric derivatives, budgets of instructions, and one short run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compilers import needs_c

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
try:
    import instructions
    from contenders import CONTENDERS, Missing, results
    from workloads import WORKLOADS
finally:
    sys.path.remove(str(HERE))


@pytest.mark.parametrize(
    "name", [n for n, w in WORKLOADS.items() if w.quick and w.derive == "value_and_grad"]
)
def test_references_are_right(name):
    """Along a random direction, the hand-written gradient is the model's extrapolated difference."""
    w = WORKLOADS[name]
    args, f = w.args(), w.model(np)
    value, *bars = w.by_hand(*args)
    assert np.isclose(value, f(*args), rtol=1e-12)
    rng = np.random.default_rng(3)
    along = [rng.normal(size=np.shape(a)) for a in args[: w.wrt]]

    def at(t):
        return f(*(a + t * v for a, v in zip(args, along, strict=False)), *args[w.wrt :])

    steps = (2e-7, 1e-7)  # short: few units cross their kinks
    slopes = [(at(h) - at(-h)) / (2.0 * h) for h in steps]
    wanted = (4.0 * slopes[1] - slopes[0]) / 3.0
    found = sum(float(np.sum(v * b)) for v, b in zip(along, bars, strict=True))
    assert np.isclose(found, wanted, rtol=1e-5)


def test_references_of_second_order_are_right():
    """Against differences of the first-order reference."""
    x, v = WORKLOADS["rosenbrock-hvp"].args()
    gradient, h = WORKLOADS["rosenbrock-10"].by_hand, 1e-5
    wanted = (gradient(x + h * v)[1] - gradient(x - h * v)[1]) / (2.0 * h)
    np.testing.assert_allclose(WORKLOADS["rosenbrock-hvp"].by_hand(x, v), wanted, rtol=1e-6)
    hessian = WORKLOADS["rosenbrock-hessian"].by_hand(x)
    np.testing.assert_allclose(hessian @ v, wanted, rtol=1e-6)
    np.testing.assert_array_equal(hessian, hessian.T)


def test_references_of_jacobians_are_right():
    """Against differences of the model, item by item; a camera that is not turned has a Jacobian too."""
    w = WORKLOADS["bundle-10000"]
    columns = [a[:5].copy() for a in w.args()]
    columns[0][0, :3] = 0.0
    blocks, f, h = w.by_hand(*columns), w.model(np), 1e-5
    np.testing.assert_allclose(WORKLOADS["bundle-1"].by_hand(*[a[3] for a in columns]), blocks[3])
    for item, block in zip(zip(*columns, strict=True), blocks, strict=True):
        flat = np.concatenate([np.atleast_1d(a) for a in item[:3]])

        def at(p, seen=item[3]):
            return f(p[:11], p[11:14], p[14], seen)

        for k, along in enumerate(np.eye(15)):
            wanted = (at(flat + h * along) - at(flat - h * along)) / (2.0 * h)
            scale = np.max(np.abs(wanted))
            np.testing.assert_allclose(block[:, k], wanted, rtol=1e-6, atol=1e-6 * scale)


@needs_c
@pytest.mark.parametrize(
    "contender", ["hand-c", "gradgen-c", "gradgen-numpy", "gradgen-numpy-fast", "gradgen-python"]
)
@pytest.mark.parametrize("name", [n for n, w in WORKLOADS.items() if w.quick])
def test_contenders_agree(name, contender):
    w = WORKLOADS[name]
    try:
        call = CONTENDERS[contender](w)
    except Missing as why:
        pytest.skip(str(why))
    for a, b in zip(results(call()), results(w.by_hand(*w.args())), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.max(np.abs(b), initial=0.0))


@needs_c
@pytest.mark.parametrize("name", ["arm-1", "bundle-1", "rosenbrock-hessian"])
def test_results_go_into_earlier_arrays(name):
    w = WORKLOADS[name]
    into = CONTENDERS["gradgen-c-into"](w)
    for place in into.parts():
        place[...] = np.nan
    into.call()
    for a, b in zip(results(into.parts()), results(w.by_hand(*w.args())), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.max(np.abs(b), initial=0.0))


@needs_c
@pytest.mark.parametrize("name", instructions.COUNTED)
def test_instructions_stay_in_the_budget(name):
    why = instructions.unavailable()
    if why:
        pytest.skip(why)
    budget = json.loads(instructions.BUDGETS.read_text())["instructions"][name]
    found, value = instructions.count(name)
    w = WORKLOADS[name]
    assert np.isclose(value, results(w.by_hand(*w.args()))[0].flat[0], rtol=1e-9)
    remedy = "if that is the price of something, record it: python tests/benchmarks/instructions.py --record"
    assert found <= budget * instructions.SLACK, remedy
    assert found > 10


@needs_c
def test_a_short_run(tmp_path):
    out = tmp_path / "bench.json"
    words = [sys.executable, str(HERE / "bench.py"), "--quick", "--json", str(out)]
    done = subprocess.run(
        [*words, "--only", "sin_exp,gradgen-c,hand-numpy"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(out.read_text())
    rows = written["table"]["sin_exp"]
    assert set(rows) == {"gradgen-c", "hand-numpy"}
    assert rows["gradgen-c"]["least"] > 0.0 and rows["gradgen-c"]["warm"] > 0.0
    assert {"cpu", "compiler", "flags", "versions"} <= set(written["manifest"])
    done = subprocess.run(
        [*words, "--only", "nothing"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "--only takes" in done.stderr


def test_the_table_and_the_chart(tmp_path):
    """What is missing leaves its place empty, and the same figures make the same bytes."""
    pytest.importorskip("matplotlib")
    table = {
        "logistic": {
            "gradgen-c": {"least": 221.6},
            "hand-c": {"least": 209.9},
            "jax": {"missing": "not installed"},
        },
        "graph-1000": {"gradgen-c": {"least": 1.234}, "casadi-c": {"least": 1234.5}},
    }
    manifest = {"cpu": "a CPU", "compiler": "gcc 12", "python": "3.11"}
    figures = tmp_path / "bench.json"
    figures.write_text(json.dumps({"manifest": manifest, "table": table}))
    texts = []
    for name in ("one.svg", "two.svg"):
        command = [sys.executable, str(HERE / "chart.py"), str(figures), "-o", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        texts.append((tmp_path / name).read_bytes())
    assert done.stdout.splitlines() == [
        "| | gradgen C | C by hand | CasADi C |",
        "|---|---:|---:|---:|",
        "| logistic | 222 | 210 |  |",
        "| graph-1000 | 1.23 |  | 1,234 |",
    ]
    assert texts[0] == texts[1]
