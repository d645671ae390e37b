"""`make demo` on its real data: what it writes, what it reaches, and what it does without extras."""

import ast
import builtins
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import gradgen as gg
from gradgen import chart, demo


def imports_of(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    plain = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    return plain | {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}


@pytest.fixture
def without_extras(monkeypatch):
    """matplotlib and tqdm as if they were not installed."""
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] in ("matplotlib", "tqdm"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_digits_are_the_published_ones():
    X, digits = demo.load_digits()
    assert X.shape == (1797, 64) and X.dtype == np.float64
    assert X.min() == 0.0 and X.max() == 1.0
    # The class counts of the UCI test part, and the ink of its first image.
    assert np.bincount(digits).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (16 * X[0, :8]).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_loss_is_plain_numpy_and_its_gradient_is_right():
    rng = np.random.default_rng(3)
    (X, Y), _ = demo.split(rng)
    weights = demo.first_weights(rng)
    assert demo.loss(*weights, X[:7], Y[:7]) == pytest.approx(np.log(10), rel=0.5)
    value, bars = gg.value_and_grad(demo.loss, wrt=demo.WEIGHTS)(*weights, X[:7], Y[:7])
    assert value == pytest.approx(demo.loss(*weights, X[:7], Y[:7]), rel=1e-14)
    # Along a random direction, central differences of the plain function.
    ways = [rng.normal(size=w.shape) for w in weights]
    h = 1e-6
    ahead = demo.loss(*(w + h * v for w, v in zip(weights, ways, strict=True)), X[:7], Y[:7])
    behind = demo.loss(*(w - h * v for w, v in zip(weights, ways, strict=True)), X[:7], Y[:7])
    slope = sum(np.sum(b * v) for b, v in zip(bars, ways, strict=True))
    assert slope == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)


@pytest.mark.slow
def test_demo_reaches_its_accuracy(tmp_path, capsys):
    result = demo.main(tmp_path / "out")
    assert result.accuracy >= 0.97
    assert len(result.losses) == demo.EPOCHS
    assert result.losses[-1] < 0.3 * result.losses[0]
    written = {path.name for path in result.directory.iterdir()}
    assert {"loss_grad.py", "loss_grad.c", "loss_grad.h", "loss_grad_build.py"} <= written
    assert imports_of(result.directory / "loss_grad.py") <= {"numpy", "sys"}
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    assert set(result.seconds) == {"interpreter", "emitted NumPy", "emitted C"}
    assert all(0.0 < seconds < 1.0 for seconds in result.seconds.values())
    printed = capsys.readouterr()
    assert "# reverse" in printed.out
    assert str(result.directory) in printed.out
    assert f"{100 * result.accuracy:.2f} %" in printed.out
    assert "120/120" in printed.err  # the progress bar came to its end


@pytest.mark.slow
def test_demo_without_extras_and_without_compiler(tmp_path, capsys, monkeypatch, without_extras):
    monkeypatch.setattr(demo, "EPOCHS", 3)

    monkeypatch.setenv("CC", "no-such-compiler")
    result = demo.main(tmp_path)
    assert (tmp_path / "loss_grad.c").exists()
    assert set(result.seconds) == {"interpreter", "emitted NumPy"}
    assert result.picture.suffix == ".svg"
    printed = capsys.readouterr()
    assert "needs a C compiler, got none (no-such-compiler not found)" in printed.out
    assert "neither checked nor timed" in printed.out
    assert "3/3 epochs" in printed.err


def test_telling_lines_are_around_the_turn():
    source = "\n".join([f"line {i}" for i in range(30)] + ["    # reverse"] + ["tail"] * 20)
    shown = demo.telling_lines(source)
    assert len(shown) == 15
    assert shown[4].strip() == "# reverse"
    assert demo.telling_lines("a\nb") == ["a", "b"]


def test_svg_chart_is_well_formed_and_falls(tmp_path, without_extras):
    path = chart.line_chart(tmp_path / "c", [1.0, 0.1, 0.01], "a < b & c", "epoch", "loss")
    root = ElementTree.parse(path).getroot()
    line = root.find("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
    assert points == [(70.0, 40.0), (375.0, 195.0), (680.0, 350.0)]
    assert any(text == "a < b & c" for text in root.itertext())
    with pytest.raises(ValueError, match="all positive"):
        chart.line_chart(tmp_path / "d", [1.0, 0.0], "", "", "")
