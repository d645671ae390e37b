"""The built wheel, installed away from the checkout, traces and emits: nothing was left behind."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = """
import sys
from pathlib import Path

import gradgen as gg

installed, checkout, out = map(Path, sys.argv[1:])
assert Path(gg.__file__).is_relative_to(installed), gg.__file__
assert not any(Path(p).resolve() == checkout for p in sys.path), sys.path

import model

for target in ("numpy", "c"):
    fn = gg.compile(
        gg.value_and_grad(model.loss, wrt=("w", "b")),
        w="f64[d]", b="f64[]", X="f64[n,d]", y="f64[n]", target=target,
    )
    value, (w_bar, b_bar) = fn([1.0, -1.0], 0.5, [[1.0, 2.0], [0.0, 1.0]], [1.0, 0.0])
    print(target, value, list(w_bar), b_bar)
    fn.save(out)

from gradgen.demo import load_digits

print("digits", *load_digits()[0].shape)
"""

MODEL = """
import numpy as np


def loss(w, b, X, y):
    z = X @ w + b
    return np.mean(np.logaddexp(0.0, z) - y * z)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The path of a wheel built from the checkout, without asking a registry for the back end."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("gradgen_aot-*.whl")
    return path


@pytest.mark.slow
def test_wheel_holds_what_it_needs_and_no_more(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    templates = {path.name for path in (ROOT / "templates").rglob("*.j2")}
    assert templates
    assert {Path(n).name for n in names if n.startswith("gradgen/templates/")} >= templates
    assert {"gradgen/py.typed", "gradgen/data/digits.npz", "gradgen/data/README.md"} <= set(names)
    assert any(n.endswith("/licenses/LICENSE") for n in names)
    assert {n.partition("/")[0].partition("-")[0] for n in names} == {"gradgen", "gradgen_aot"}


@pytest.mark.slow
def test_installed_wheel_emits_away_from_the_checkout(wheel, tmp_path):
    installed, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(installed), str(wheel)], check=True)
    (work / "model.py").write_text(MODEL)
    (work / "program.py").write_text(PROGRAM)
    # -S keeps the editable install's .pth file, and with it the checkout, off sys.path; the
    # dependencies come back through PYTHONPATH, which runs no .pth files.
    dependencies = [p for p in sys.path if p.endswith("site-packages")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), *dependencies])}
    done = subprocess.run(
        [sys.executable, "-S", "program.py", str(installed), str(ROOT), str(work / "out")],
        cwd=work,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    numpy_row, c_row, digits_row = (line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (numpy_row[0], c_row[0], digits_row) == ("numpy", "c", ["digits", "1797 64"])
    assert float(numpy_row[1].split()[0]) == pytest.approx(float(c_row[1].split()[0]), rel=1e-14)
    written = {path.name for path in (work / "out").iterdir()}
    assert {"loss_grad.py", "loss_grad.c", "loss_grad.h"} <= written
    # The saved module stands alone: numpy is all that it can find.
    alone = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            "import sys, loss_grad; assert 'gradgen' not in sys.modules; "
            "print(loss_grad.loss_grad([1.0], 0.0, [[2.0]], [1.0])[0])",
        ],
        cwd=work / "out",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(dependencies)},
        capture_output=True,
        text=True,
    )
    assert alone.returncode == 0, alone.stderr
    assert float(alone.stdout) == pytest.approx(0.1269280110429725, rel=1e-12)
