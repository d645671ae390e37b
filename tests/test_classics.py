"""The numbers of examples/classics: from Values, the interpreter and each emitted target alike."""

import math

import double_in_go
import gograd
import micrograd_readme
import mini_grad_workshop
import pytest
import pytorch_autograd
import tensorflow_graphs

import gradgen as gg

TARGETS = {"python", "numpy", "c"}
ENGINES = {"Value", "interpreter", *TARGETS}


def assert_everywhere(answers, value, gradient, rel=1e-12):
    """Every engine answered, with this value and this gradient."""
    assert set(answers) == ENGINES
    for engine, (got, bars) in answers.items():
        assert got == pytest.approx(value, rel=rel), engine
        assert bars == pytest.approx(gradient, rel=rel), engine


def test_micrograd_readme():
    answers = micrograd_readme.main()
    assert_everywhere(answers, 24.7041, {"a": 138.8338, "b": 645.5773}, rel=1e-6)
    values = [value for value, _ in answers.values()]
    assert values == pytest.approx([values[0]] * len(values), rel=1e-15)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_double_in_go(seed):
    found = double_in_go.main(seed)
    assert set(found) == ENGINES
    for engine, (w, first, last) in found.items():
        assert abs(w - 2.0) < 1e-6, engine
        assert last < 1e-12 < 1.0 < first, engine
        # The path is one and the same up to rounding.
        assert first == pytest.approx(found["Value"][1], rel=1e-14), engine


def test_tensorflow_graphs():
    answers = tensorflow_graphs.main()
    assert_everywhere(answers["product"], 12.0, {"a": 4.0, "b": 3.0})
    assert_everywhere(answers["polynomial"], 10.0, {"x": 7.0, "y": 2.0})
    value = 1.0 / (1.0 + math.exp(-10.5))
    assert value == pytest.approx(0.9999724, abs=1e-7)
    slope = value * (1.0 - value)  # of the sigmoid at 10.5; the hidden unit is 10 and active
    gradient = {"x": 3 * slope, "w1": 2 * slope, "b1": slope, "w2": 10 * slope, "b2": slope}
    # 1 - value cancels to 2.8e-5, so rounding of the value costs the slope five digits
    assert_everywhere(answers["network"], value, gradient, rel=1e-10)
    forward = answers["network forward"]
    assert set(forward) == ENGINES - {"Value"}
    for engine, slopes in forward.items():
        assert slopes == pytest.approx(gradient, rel=1e-10), engine


def test_pytorch_autograd():
    answers = pytorch_autograd.main()
    assert set(answers) == ENGINES
    for engine, (value, w_bar) in answers.items():
        assert (value, w_bar) == (-254.0, [-28.0, -21.0, -12.0, -23.0, -36.0]), engine


def test_mini_grad_workshop_graphs():
    assert_everywhere(
        mini_grad_workshop.everywhere(mini_grad_workshop.with_square, x=2.0, y=3.0),
        84.5,
        {"x": 91.0, "y": 39.0},
    )
    assert_everywhere(
        mini_grad_workshop.everywhere(mini_grad_workshop.with_line, x=2.0, y=3.0),
        112.5,
        {"x": 90.0, "y": 45.0},
    )


@pytest.mark.slow
def test_mini_grad_workshop_network_learns_from_every_seed():
    found = mini_grad_workshop.train_network()
    assert set(found) == ENGINES - {"interpreter"}
    for engine, per_seed in found.items():
        assert len(per_seed) == 5
        for seed, (steps, error) in per_seed.items():
            assert error < 1e-3, (engine, seed)
            assert steps < 300, (engine, seed)
            assert steps == found["Value"][seed][0], (engine, seed)


def test_gograd():
    answers = gograd.main()
    assert_everywhere(answers["add"], 5.0, {"a": 1.0, "b": 1.0})
    assert_everywhere(answers["mul"], 6.0, {"a": 3.0, "b": 2.0})
    assert_everywhere(answers["power"], 8.0, {"base": 12.0, "exponent": 8.0 * math.log(2.0)})
    assert answers["power"]["c"][1]["exponent"] == pytest.approx(5.5452, abs=5e-5)
    # (a + b)^2 a: 3a^2 + 4ab + b^2 and 2a(a + b)
    assert_everywhere(answers["reused"], 50.0, {"a": 45.0, "b": 20.0})


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_value_asked_for_twice_has_its_gradient_twice(target):
    a, b = gg.Value(2.0, label="a"), gg.Value(3.0, label="b")
    assert gg.compile(a * b, wrt=[a, a], target=target)(7.0) == (21.0, (3.0, 3.0))
    assert gg.compile(a * b, args=[b, a], wrt=[a, b, a], target=target)(5.0, 7.0) == (
        35.0,
        (5.0, 7.0, 5.0),
    )
    with pytest.raises(gg.SpecError, match="every Value once in args"):
        gg.compile(a * b, args=[a, a], wrt=[a], target=target)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_leaves_that_are_no_arguments_are_listed(target):
    a, b, c = gg.Value(2.0, label="a"), gg.Value(3.0, label="b"), gg.Value(4.5)
    fn = gg.compile(a * b * c * 2.0, wrt=[a], target=target)
    assert "Constants: b = 3.0, a leaf = 4.5." in fn.source
