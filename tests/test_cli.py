"""The command line: every command, both spellings of specs, exit codes, messages, and what importing gradgen loads."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from compilers import needs_c

from gradgen import cli

MODEL = '''"""A model."""
import numpy as np

import neighbour


def loss(w, b, X, y):
    z = X @ w + b
    return neighbour.mean(np.logaddexp(0.0, z) - y * z)


def square(x):
    return x * x


def table(x, i, n):
    return np.sum(x[i] ** 2) / n


def power(x, degree, kind="plain", scale=1.0):
    return scale * (x**degree if kind == "plain" else np.tanh(x) ** degree)


class Models:
    @staticmethod
    def cube(x):
        return x**3


LIMIT = 3
'''
LONG = str.split("-a w=f64[d] -a b=f64[] -a X=f64[n,d] -a y=f64[n]")
SHORT = str.split("-a w:f64:d -a b:f64: -a X:f64:n,d -a y:f64:n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "neighbour.py").write_text(
        "import numpy as np\n\n\ndef mean(x):\n    return np.mean(x)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("model", "neighbour"):
        sys.modules.pop(name, None)


def run(*words):
    """Exit code of a command line; usage errors end in SystemExit."""
    try:
        return cli.main([str(w) for w in words])
    except SystemExit as done:
        return done.code


@pytest.mark.parametrize("command", ["build", "show", "check", "graph", "ops", "demo"])
def test_help(command, capsys):
    assert run(command, "--help") == 0
    text = capsys.readouterr().out
    assert f"gradgen {command}" in text and len(text) > 100


def test_help_of_all(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    for word in ("build", "show", "check", "graph", "ops", "demo", "gradgen build model.py:loss"):
        assert word in text
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("gradgen ")
    assert run() == 2


def test_build_in_both_spellings(folder, capsys):
    assert run("build", "model.py:loss", *LONG, "--wrt", "w,b", "-o", "long") == 0
    assert run("build", "model.py:loss", *SHORT, "--wrt", "w,b", "-o", "short") == 0
    printed = capsys.readouterr().out.split()
    assert printed == ["long/loss_grad.py", "short/loss_grad.py"]
    text = (folder / "long" / "loss_grad.py").read_text()
    assert text == (folder / "short" / "loss_grad.py").read_text()
    space: dict = {}
    exec(text, space)
    value, (w_bar, b_bar) = space["loss_grad"](np.zeros(2), 0.0, np.ones((3, 2)), np.ones(3))
    assert value == pytest.approx(np.log(2.0)) and b_bar == pytest.approx(-0.5)
    np.testing.assert_allclose(w_bar, [-0.5, -0.5])


def test_the_recorded_command_makes_the_file_again(folder, capsys):
    words = [
        "build",
        "model.py:loss",
        *SHORT,
        "--wrt",
        "w,b",
        "--name",
        "logistic",
        "--optimize",
        "lecture",
    ]
    assert run(*words, "-o", "one") == 0
    text = (folder / "one" / "logistic.py").read_text()
    start = text.index("gradgen build")
    command = " ".join(text[start : text.index("SPDX")].split())
    done = subprocess.run(
        f"{sys.executable} -m {command} -o two",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "two" / "logistic.py").read_text() == text


RECORDED = [
    "model.py:table -a x=f64[n] -a 'i=i64[p] < n' -a n=size --derive grad",
    "model.py:table -a 'x=f64[n*(n-1)//2]' -a 'i=i64[2*n+1]' -a n:size",
    "model.py:square -a x:f32: --derive none",
    "model.py:square -a x:f64: -a v:f64: --derive hvp --target python",
    "model.py:square -a x:f64: --derive hvp",
    "model.py:square -a x:f64:n --derive vjp",
    "model.py:table -a x:f64:n -a i:i64:p -a n:size --derive jvp --wrt x",
    "model.py:Models.cube -a x:f64:",
    "model.py:power -a x:f64: --static degree=3",
    "model.py:power -a x:f64: --static degree=-2 --static kind=tanh --static scale=0.5",
]


@pytest.mark.parametrize("line", RECORDED)
def test_recorded_commands(line, folder):
    import shlex

    assert run("build", *shlex.split(line), "-o", "one") == 0
    (path,) = (folder / "one").iterdir()
    text = path.read_text()
    start = text.index("gradgen build")
    command = " ".join(text[start : text.index("SPDX")].split())
    assert run(*shlex.split(command)[1:], "-o", "two") == 0
    assert (folder / "two" / path.name).read_text() == text


def test_static_values(folder):
    line = (
        "build model.py:power -a x:f64: --static degree=2 --static kind=tanh --target python -o out"
    )
    assert run(*line.split()) == 0
    text = (folder / "out" / "power_grad.py").read_text()
    assert "--static degree=2 --static kind=tanh --static scale=1.0" in " ".join(text.split())
    space: dict = {}
    exec(text, space)
    value, x_bar = space["power_grad"](0.5)
    assert value == pytest.approx(np.tanh(0.5) ** 2)
    assert x_bar == pytest.approx(2 * np.tanh(0.5) * (1 - np.tanh(0.5) ** 2))


def test_verify(folder, capsys):
    words = ["build", "model.py:loss", *LONG, "-o", "out"]
    assert run(*words, "--verify") == 1  # missing
    assert "stale: out/loss_grad.py" in capsys.readouterr().err
    assert not (folder / "out").exists()
    assert run(*words) == 0
    assert run(*words, "--verify") == 0
    path = folder / "out" / "loss_grad.py"
    text = path.read_text()
    path.write_text(text.replace("np.sum", "np.mean", 1))
    assert run(*words, "--verify") == 1
    assert path.read_text() != text  # --verify writes nothing
    assert run(*words) == 0
    assert path.read_text() == text
    path.write_bytes(b"\xff\xfe")
    assert run(*words, "--verify") == 1


@pytest.mark.parametrize("stage", cli.STAGES)
def test_show(stage, folder, capsys):
    target = ["--target", "c"] if stage == "loops" else []
    assert run("show", "model.py:loss", *SHORT, "--stage", stage, *target) == 0
    text = capsys.readouterr().out
    assert "w" in text and len(text.splitlines()) > 3


def test_show_of_a_stage_that_is_not_there(folder, capsys):
    assert run("show", "model.py:loss", *SHORT, "--stage", "loops") == 1
    assert "loops is not there for target 'numpy'" in capsys.readouterr().err


def test_check(folder, capsys):
    assert run("check", "model.py:loss", *SHORT, "--wrt", "w,b") == 0
    text = capsys.readouterr().out
    assert "check of loss_grad: ok" in text and "w_bar against Richardson" in text


@needs_c
def test_check_in_c(folder, capsys):
    assert run("check", "model.py:loss", *SHORT, "--target", "c") == 0
    assert "c code against the interpreter" in capsys.readouterr().out


@needs_c
def test_build_of_c(folder, capsys):
    assert run("build", "model.py:square", "-a", "x:f64:", "--target", "c", "-o", "c") == 0
    assert sorted(p.name for p in (folder / "c").iterdir()) == [
        "square_grad.c",
        "square_grad.h",
        "square_grad_build.py",
    ]


def test_graph(folder, capsys):
    assert run("graph", "model.py:square", "-a", "x:f64:") == 0
    assert capsys.readouterr().out.startswith("digraph")
    code = run("graph", "model.py:square", "-a", "x:f64:", "-o", "g.svg")
    if shutil.which("dot"):
        assert code == 0 and "<svg" in (folder / "g.svg").read_text()
    else:
        assert code == 1 and "needs Graphviz" in capsys.readouterr().err
    assert run("graph", "model.py:square", "-a", "x:f64:", "-o", "g.dot") == 0
    assert (folder / "g.dot").read_text().startswith("digraph")
    assert run("graph", "model.py:square", "-a", "x:f64:", "-o", "no/such/g.dot") == 1
    assert "no/such" in capsys.readouterr().err
    assert run("graph", "model.py:square", "-a", "x:f64:", "-o", "g.pdf") == 2
    assert "ends in .svg or .dot, got g.pdf" in capsys.readouterr().err


def test_ops(capsys):
    assert run("ops") == 0
    table = capsys.readouterr().out
    assert "tanh" in table and "matmul" in table and len(table.splitlines()) > 60
    assert "| `np.linalg.norm` |" in table and "| `scipy.stats.norm.logpdf` |" in table
    assert run("ops", "tanh") == 0
    told = capsys.readouterr().out
    for words in (
        "tanh(x): ",
        "derivative   1 - square(y)",
        "math.tanh(x)",
        "tested       np.tanh: engine",
    ):
        assert words in told
    for name in ("np.linalg.norm", "scipy.special.gammaln", "maximum", "np.add.reduce"):
        assert run("ops", name) == 0
        assert name.rpartition(".")[2] in capsys.readouterr().out
    assert run("ops", "frobnicate") == 1
    assert "frobnicate" in capsys.readouterr().err


# words, exit code, what standard error says
FAILURES = [
    ("build nowhere.py:loss -a x:f64:", 1, "no file nowhere.py"),
    ("build model.py:nothing -a x:f64:", 1, "no function nothing"),
    ("build model.py:nothing -a x:f64:", 1, "loss, square"),
    ("build model.py:LIMIT -a x:f64:", 1, "int"),
    ("build model.py -a x:f64:", 2, "FILE.py:FUNCTION, got 'model.py'"),
    ("build model.py: -a x:f64:", 2, "FILE.py:FUNCTION"),
    ("build model.py:square", 1, "needs a spec for x"),
    ("build model.py:square -a x:f64: -a q:f64:", 1, "no parameter q"),
    ("build model.py:square -a x:f99:", 1, "a spec needs a dtype"),
    ("build model.py:square -a x", 2, "NAME=SPEC or NAME:DTYPE:SIZES, got 'x'"),
    ("build model.py:square -a x:f64:: --wrt x", 2, "NAME=SPEC"),
    ("build model.py:square -a x:f64: -a x:f32:", 2, "x twice"),
    ("build model.py:square -a 1=f64[]", 2, "identifier"),
    ("build model.py:square -a x:f64: --wrt y", 1, "wrt needs one of the arguments x"),
    ("build model.py:square -a x:f64: --wrt y --derive hvp", 2, "--wrt among x, got y"),
    ("build model.py:square -a x:f64: --wrt 1 --derive jvp", 2, "-a x_dot:DTYPE:SIZES"),
    ("build model.py:square --derive vjp", 1, "needs a spec for x"),
    ("build model.py:square -a x:i64:", 1, "floating argument"),
    ("build model.py:power -a x:f64: --static degree", 2, "needs NAME=VALUE, got 'degree'"),
    ("build model.py:power -a x:f64: -a degree:f64: --static degree=2", 2, "got degree twice"),
    ("build model.py:power -a x:f64: --static degre=2", 1, "degre"),
    ("build model.py:square -a x:f64: --target rust", 2, "invalid choice"),
    ("build model.py:square -a x:f64: --derive more", 2, "invalid choice"),
    ("build model.py:square -a x:f64: --name a-b", 1, "identifier"),
    ("build model.py:square -a x:f64:n", 1, "scalar loss"),
    ("build model.py:square -a x:f64: -o model.py", 1, "folder that can be written"),
    ("build broken.py:f -a x:f64:", 1, "SyntaxError"),
    ("build raises.py:f -a x:f64:", 1, "ZeroDivisionError"),
    ("build text.txt:f -a x:f64:", 1, "text.txt"),
    ("frobnicate", 2, "invalid choice"),
    ("build", 2, "required"),
]


@pytest.mark.parametrize(("line", "code", "says"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failures(line, code, says, folder, capsys):
    (folder / "broken.py").write_text("def f(:\n")
    (folder / "raises.py").write_text("1 / 0\n")
    (folder / "text.txt").write_text("no code\n")
    before = sorted(p.name for p in folder.iterdir())
    assert run(*line.split()) == code
    captured = capsys.readouterr()
    assert says in captured.err, captured.err
    assert "Traceback" not in captured.err and captured.out == ""
    assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == before


def test_build_does_not_overwrite_anothers_file(folder, capsys):
    (folder / "square_grad.py").write_text("mine\n")
    assert run("build", "model.py:square", "-a", "x:f64:") == 1
    assert "gradgen's own or absent" in capsys.readouterr().err
    assert (folder / "square_grad.py").read_text() == "mine\n"


HEAVY = ("sympy", "jinja2", "scipy", "matplotlib", "cffi", "tqdm", "jax", "mpmath", "setuptools")


@pytest.mark.parametrize(
    "what", ["import gradgen", "from gradgen import cli; cli.main(['ops', 'tanh'])"]
)
def test_what_importing_loads(what):
    code = f"{what}\nimport sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_loads_not_even_numpy():
    code = (
        "import sys\nsys.argv = ['gradgen', '--help']\nfrom gradgen import cli\n"
        "try:\n    cli.main()\nexcept SystemExit as done:\n    assert done.code == 0\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_as_a_module(folder):
    done = subprocess.run(
        [sys.executable, "-m", "gradgen", "build", "model.py:square", "-a", "x=f64[]"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.strip() == "square_grad.py"
    done = subprocess.run(
        [sys.executable, "-m", "gradgen"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2


def test_messages_cite_no_line_where_none_of_the_users_ran(folder):
    for command in ([sys.executable, "-m", "gradgen"], [sys.executable, "run.py"]):
        (folder / "run.py").write_text(
            "import sys\nfrom gradgen.cli import main\n\nsys.exit(main())\n"
        )
        done = subprocess.run(
            [*command, "build", "model.py:loss", "-a", "w:f64:d"], capture_output=True, text=True
        )
        assert done.returncode == 1
        assert done.stderr.splitlines()[0] == "gradgen: loss_grad needs a spec for b"
        assert "  at " not in done.stderr


def test_a_file_that_exits_and_a_model_that_raises_are_failures(folder, capsys):
    (folder / "leaves.py").write_text("raise SystemExit(3)\n")
    assert run("build", "leaves.py:f") == 1
    assert "leaves.py cannot be imported: SystemExit: 3" in capsys.readouterr().err
    (folder / "raises.py").write_text("def f(x):\n    raise ValueError('not today')\n")
    with pytest.raises(ValueError, match="not today"):
        run("build", "raises.py:f", "-a", "x:f64:")
    for name in ("leaves", "raises"):
        sys.modules.pop(name, None)
