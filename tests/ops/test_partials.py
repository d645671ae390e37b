"""The generated table is current, readable, and right to 50 digits."""

import subprocess
import sys
import types

import mpmath as mp
import pytest
from ops.elementwise_rows import BY_NAME
from ops.test_elementwise import points

from gradgen.ir import OPS
from gradgen.ops import derive, partials

# The functions that a partial may call, on mpmath numbers.
EXACT = {
    name: getattr(mp, name)
    for name in ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sqrt", "digamma")
} | {
    "square": lambda x: x * x,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "trigamma": lambda x: mp.polygamma(1, x),
    "tetragamma": lambda x: mp.polygamma(2, x),
}


def exactly(partial):
    """The partial's own code with mpmath's functions for the ops."""
    constants = {
        "LN2": mp.log(2),
        "LN10": mp.log(10),
        "TWO_OVER_SQRT_PI": 2 / mp.sqrt(mp.pi),
    }
    return types.FunctionType(partial.__code__, EXACT | constants)


@pytest.fixture(scope="module")
def generated():
    return derive.source()


def test_the_table_is_current(generated):
    assert generated == derive.FILE.read_text(), "run python -m gradgen.ops.derive"


def test_generation_is_deterministic(generated):
    """Another process, with another hash seed, writes the same bytes."""
    code = "from gradgen.ops import derive; print(derive.source(), end='')"
    again = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert again.stdout == generated


def test_check_says_so_when_stale(tmp_path, monkeypatch, capsys, generated):
    monkeypatch.setattr(derive, "source", lambda: generated)
    monkeypatch.setattr(derive, "FILE", tmp_path / "partials.py")
    assert derive.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert derive.main([]) == 0
    assert derive.main(["--check"]) == 0


def test_every_expression_is_in_the_table():
    assert {op.name for op in OPS.values() if op.sympy} == set(partials.PARTIALS)


@pytest.mark.parametrize("name", partials.PARTIALS)
def test_partial_to_50_digits(name):
    row = BY_NAME[name]
    for point in points(row, 5):
        for i, partial in enumerate(partials.PARTIALS[name]):
            with mp.workdps(120):
                at = tuple(map(mp.mpf, point))
                orders = tuple(int(i == j) for j in range(len(at)))
                want = mp.diff(row.exact, at, orders)
                got = exactly(partial)(row.exact(*at), *at)
                assert abs(got - want) <= mp.mpf(10) ** -50 * max(1, abs(want)), (point, i)


def test_partials_read_like_the_textbook():
    """The forms a reader expects, and which simplifiers like to spoil."""
    text = derive.FILE.read_text()
    for line in (
        '"tanh": (lambda y, x: 1 - square(y),)',
        '"exp": (lambda y, x: y,)',
        '"sqrt": (lambda y, x: 0.5 / y,)',
        '"tan": (lambda y, x: 1 + square(y),)',
        '"div": (lambda y, a, b: 1 / b, lambda y, a, b: -y / b)',
        '"sigmoid": (lambda y, x: y * sigmoid(-x),)',
    ):
        assert line in text


def test_inaccurate_forms_are_rejected():
    """expm1' = y + 1 cancels for x << 0; 1 - x**2 cancels near 1."""
    for name, code in (
        ("expm1", "y + 1"),
        ("arctanh", "1 / (1 - square(x))"),
        ("sigmoid", "y * (1 - y)"),
    ):
        op = OPS[name]
        f, symbols = derive.expression(op)
        assert not derive.accurate(code, op, f, symbols, f.diff(symbols[0]))


def test_import_does_not_load_sympy_or_scipy():
    code = "import gradgen.ops, sys; assert not {'sympy', 'scipy', 'mpmath'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
