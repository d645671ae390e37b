"""What the README shows first is what happens: its program runs, prints its numbers, and emits the source that is shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_first_program_prints_its_number_and_its_source(tmp_path):
    program, source = BLOCKS[:2]
    (tmp_path / "model.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "model.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    shown = re.search(r"It prints `([^`]*)`", README)[1]
    numbers = [float(x) for x in re.findall(r"-?\d+\.\d+", done.stdout.splitlines()[0])]
    np.testing.assert_allclose(
        numbers, [float(x) for x in re.findall(r"-?\d+\.\d+", shown)], rtol=1e-8
    )
    assert source.strip() in done.stdout


def test_the_python_target_emits_what_the_tour_shows(tmp_path):
    k = next(k for k, block in enumerate(BLOCKS) if "np.sin(x) * np.exp(x * y)" in block)
    program = "import numpy as np\nimport gradgen as gg\n" + BLOCKS[k]
    (tmp_path / "model.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "model.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    shown = re.sub(r"  # model\.py:\d+", "", BLOCKS[k + 1]).strip()
    assert shown in re.sub(r"  # model\.py:\d+", "", done.stdout)


def test_the_first_program_has_twelve_lines():
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 12
