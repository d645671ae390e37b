"""micrograd's little library on gradgen: same weights, same training, both engines."""

import random
import re

import numpy as np
import pytest

import gradgen as gg
from gradgen.nn import MLP, Layer, Module, Neuron
from gradgen.value import Value


def two_moons(n, noise, rng):
    """Two interleaving half circles: points float64[n, 2] and their side, -1 or +1."""
    angle = np.pi * rng.random(n)
    lower = np.arange(n) % 2
    X = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    X[lower == 1] = [1.0, 0.5] - X[lower == 1]
    return X + noise * rng.normal(size=X.shape), 2 * lower - 1


def hinge_loss(model, X, y):
    """The loss of micrograd's demo notebook, point by point: (loss, accuracy)."""
    inputs = [list(map(Value, row)) for row in X]
    scores = list(map(model, inputs))
    losses = [(1 + -yi * score).relu() for yi, score in zip(y, scores, strict=True)]
    data_loss = sum(losses) * (1.0 / len(losses))
    reg_loss = 1e-4 * sum(p * p for p in model.parameters())
    hits = [(yi > 0) == (score.data > 0) for yi, score in zip(y, scores, strict=True)]
    return data_loss + reg_loss, sum(hits) / len(hits)


def batch_loss(model, X, y):
    """The same loss with one array of points per feature."""
    scores = model([X[:, 0], X[:, 1]])
    reg_loss = 1e-4 * sum(p * p for p in model.parameters())
    return np.mean(np.maximum(1.0 - y * scores, 0.0)) + reg_loss


def seeded(sizes, nin=2, seed=1337):
    random.seed(seed)
    return MLP(nin, sizes)


def test_weights_are_drawn_as_micrograd_draws_them():
    model = seeded([3, 1])
    random.seed(1337)
    drawn = [random.uniform(-1, 1) for _ in range(2 * 3 + 3)]
    weights = [p.data for p in model.parameters()]
    # neuron by neuron: two weights, then the bias 0; the last neuron has three weights
    assert weights == [*drawn[:2], 0.0, *drawn[2:4], 0.0, *drawn[4:6], 0.0, *drawn[6:], 0.0]


def test_conventions():
    model = MLP(3, [4, 4, 1])
    assert len(model.parameters()) == 4 * 4 + 4 * 5 + 5
    assert [n.nonlin for layer in model.layers for n in layer.neurons] == [True] * 8 + [False]
    assert repr(MLP(2, [2, 1])) == (
        "MLP of [Layer of [ReLUNeuron(2), ReLUNeuron(2)], Layer of [LinearNeuron(2)]]"
    )
    assert isinstance(model([1.0, 2.0, 3.0]), Value)
    assert len(MLP(2, [3, 2])([1.0, 2.0])) == 2
    assert len(MLP(2, [1, 3, 2])([1.0, 2.0])) == 2  # a hidden layer of one
    assert Neuron(2, nonlin=False).nonlin is False
    assert len(Layer(2, 3, nonlin=False).parameters()) == 9
    assert Module().parameters() == []
    assert [p.label for p in MLP(2, [1]).parameters()] == ["w0_0_0", "w0_0_1", "b0_0"]


def test_wrong_counts_are_refused_by_name():
    with pytest.raises(gg.ShapeError, match=re.escape("ReLUNeuron(2) needs 2 inputs, got 3")):
        Neuron(2)([1.0, 2.0, 3.0])
    with pytest.raises(gg.ShapeError, match="bind needs 3 values, got 2"):
        Neuron(2).bind([1.0, 2.0])


def test_neuron_gradient_by_hand_and_zero_grad():
    neuron = Neuron(2)
    for p, data in zip(neuron.parameters(), (2.0, -1.0, 0.5), strict=True):
        p.data = data
    out = neuron([3.0, 4.0])
    out.backward()
    assert out.data == 2.5
    assert [p.grad for p in neuron.parameters()] == [3.0, 4.0, 1.0]
    neuron.zero_grad()
    assert [p.grad for p in neuron.parameters()] == [0.0, 0.0, 0.0]
    neuron([-3.0, 4.0]).backward()  # relu is off
    assert [p.grad for p in neuron.parameters()] == [0.0, 0.0, 0.0]


def test_micrograds_demo_takes_its_first_steps():
    """The notebook's loop with only the imports changed; fewer points, neurons and steps."""
    X, y = two_moons(20, 0.1, np.random.default_rng(1337))
    model = seeded([8, 8, 1])
    losses = []
    for k in range(20):
        total_loss, accuracy = hinge_loss(model, X, y)
        model.zero_grad()
        total_loss.backward()
        learning_rate = 1.0 - 0.9 * k / 20
        for p in model.parameters():
            p.data -= learning_rate * p.grad
        losses.append(total_loss.data)
        print(f"step {k} loss {total_loss.data}, accuracy {accuracy * 100}%")
    assert losses[-1] < 0.5 * losses[0]
    assert accuracy >= 0.8


def test_batches_give_the_gradient_of_single_points():
    X, y = two_moons(12, 0.1, np.random.default_rng(0))
    one_by_one, at_once = seeded([5, 4, 1]), seeded([5, 4, 1])
    point_loss, _ = hinge_loss(one_by_one, X, y)
    array_loss = batch_loss(at_once, X, y)
    point_loss.backward()
    array_loss.backward()
    assert array_loss.data == pytest.approx(point_loss.data, rel=1e-14)
    assert [p.grad for p in at_once.parameters()] == pytest.approx(
        [p.grad for p in one_by_one.parameters()], rel=1e-11, abs=1e-14
    )


@pytest.mark.slow
def test_two_moons_on_both_engines():
    """100 points, MLP(2, [16, 16, 1]), 100 steps: the notebook's size and its 100 % accuracy."""
    X, y = two_moons(100, 0.1, np.random.default_rng(1337))
    eager, bound = seeded([16, 16, 1]), seeded([16, 16, 1])
    start = [p.data for p in bound.parameters()]

    def loss(p, X, y):
        return batch_loss(bound.bind(p), X, y)

    emitted = gg.compile(
        gg.value_and_grad(loss, wrt="p"),
        p=["f64[]"] * len(start),
        X="f64[n,2]",
        y="f64[n]",
        target="numpy",
    )
    p, targets = list(start), y.astype(float)
    for k in range(100):
        rate = 1.0 - 0.9 * k / 100
        total = batch_loss(eager, X, y)
        eager.zero_grad()
        total.backward()
        for q in eager.parameters():
            q.data -= rate * q.grad
        value, p_bar = emitted(p, X, targets)
        p = [w - rate * w_bar for w, w_bar in zip(p, p_bar, strict=True)]
        if k < 20:  # later, rounding has grown through the kinks
            assert value == pytest.approx(total.data, rel=1e-6), k
    for weights in ([q.data for q in eager.parameters()], p):
        scores = bound.bind(weights)([X[:, 0], X[:, 1]])  # plain floats: plain NumPy
        assert isinstance(scores, np.ndarray)
        assert np.mean((scores > 0) == (y > 0)) >= 0.97


def test_a_built_graph_compiles_with_its_labels():
    X, y = two_moons(4, 0.1, np.random.default_rng(2))
    model = seeded([2, 1])
    total, _ = hinge_loss(model, X, y)
    total.backward()
    wanted = [p.grad for p in model.parameters()]
    weights = [p.data for p in model.parameters()]
    for target in ("python", "numpy", "c"):
        fn = gg.compile(total, wrt=model.parameters(), target=target)
        value, gradient = fn(*weights)
        assert value == pytest.approx(total.data, rel=1e-14), target
        assert gradient == pytest.approx(tuple(wanted), rel=1e-12), target
        assert "w0_1_0" in fn.source and "b1_0_bar" in fn.source
