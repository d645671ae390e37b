"""Neurons, layers and multi-layer perceptrons over `Value`: micrograd's little library.

    model = MLP(2, [16, 16, 1])        # 2 inputs, two hidden layers of 16, one output
    score = model([x0, x1])            # a Value
    loss.backward()
    for p in model.parameters():
        p.data -= 0.1 * p.grad
    model.zero_grad()

Constructor signatures, the order of `parameters()` and the draws from `random` are micrograd's, so
a seeded program written for it starts from the same weights here. Hidden layers end in relu, the
last one is linear; weights are uniform in [-1, 1), biases 0.

**Batches.** Every parameter is a scalar, but an input need not be: with `x0` and `x1` arrays of
shape (n,), one for each *feature*, the score is an array of shape (n,), one for each point, and the
graph has one node per weight rather than one per weight and point.

**Tracing.** `model.bind(values)` is the same network over other parameters: traced Values (then a
function of them can be compiled), or plain floats (then nothing is recorded at all).

Not supported: other activations, dropout, array-valued layers. Write those in plain NumPy; that is
what gradgen is for.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gradgen.errors import ShapeError
from gradgen.value import Value

__all__ = ["MLP", "Layer", "Module", "Neuron"]


class Module:
    """Something with parameters: scalar Values in a fixed order."""

    def parameters(self) -> list[Any]:
        """All parameters, a new list of the same Values at each call."""
        return []

    def zero_grad(self) -> None:
        """Set every parameter's gradient to 0; `backward` adds to what is there."""
        for p in self.parameters():
            p.grad = 0.0

    def bind(self, values: Iterable[Any]) -> Any:
        """The same network with `values` for parameters, in the order of `parameters()`.

        The module itself is left as it is. Raises ShapeError when the count differs.
        """
        values = list(values)
        count = len(self.parameters())
        if len(values) != count:
            raise ShapeError(f"{self!r}.bind needs {count} values, got {len(values)}")
        return self._over(iter(values))

    def _over(self, values: Iterator[Any]) -> Module:
        raise TypeError(f"{type(self).__name__} needs its own _over(values) for bind")


class Neuron(Module):
    """`relu(w . x + b)`, or `w . x + b` where `nonlin` is false; `nin` inputs."""

    def __init__(self, nin: int, nonlin: bool = True) -> None:
        self.w: list[Any] = [Value(random.uniform(-1, 1)) for _ in range(nin)]
        self.b: Any = Value(0.0)
        self.nonlin = nonlin

    def __call__(self, x: Iterable[Any]) -> Any:
        """`x`: `nin` scalars, or `nin` arrays of one shape. Returns a value of that shape."""
        xs = list(x)
        if len(xs) != len(self.w):
            raise ShapeError(f"{self!r} needs {len(self.w)} inputs, got {len(xs)}")
        act = self.b
        for wi, xi in zip(self.w, xs, strict=True):
            act = act + wi * xi  # not +=: that would write into an array bias
        return np.maximum(act, 0.0) if self.nonlin else act

    def parameters(self) -> list[Any]:
        return [*self.w, self.b]

    def _over(self, values: Iterator[Any]) -> Neuron:
        # Not through __init__: it would draw random weights, and disturb a seeded program.
        neuron = Neuron.__new__(Neuron)
        neuron.w = [next(values) for _ in self.w]
        neuron.b = next(values)
        neuron.nonlin = self.nonlin
        return neuron

    def __repr__(self) -> str:
        return f"{'ReLU' if self.nonlin else 'Linear'}Neuron({len(self.w)})"


class Layer(Module):
    """`nout` neurons that see the same `nin` inputs; a layer of one returns its value bare."""

    def __init__(self, nin: int, nout: int, **kwargs: Any) -> None:
        self.neurons = [Neuron(nin, **kwargs) for _ in range(nout)]

    def __call__(self, x: Iterable[Any]) -> Any:
        xs = list(x)  # once: iterating a Value makes a node per item
        out = [neuron(xs) for neuron in self.neurons]
        return out[0] if len(out) == 1 else out

    def parameters(self) -> list[Any]:
        return [p for neuron in self.neurons for p in neuron.parameters()]

    def _over(self, values: Iterator[Any]) -> Layer:
        layer = Layer.__new__(Layer)
        layer.neurons = [neuron._over(values) for neuron in self.neurons]
        return layer

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(repr, self.neurons))}]"


class MLP(Module):
    """Layers of `nouts[0], nouts[1], ...` neurons behind `nin` inputs, relu between them.

    Parameters are labelled `w<layer>_<neuron>_<input>` and `b<layer>_<neuron>`; those are the
    argument names of a graph compiled with `wrt=model.parameters()`.
    """

    def __init__(self, nin: int, nouts: Sequence[int]) -> None:
        sizes = [nin, *nouts]
        last = len(nouts) - 1
        self.layers = [Layer(sizes[i], sizes[i + 1], nonlin=i != last) for i in range(len(nouts))]
        for i, layer in enumerate(self.layers):
            for j, neuron in enumerate(layer.neurons):
                neuron.b.label = f"b{i}_{j}"
                for k, w in enumerate(neuron.w):
                    w.label = f"w{i}_{j}_{k}"

    def __call__(self, x: Iterable[Any]) -> Any:
        for layer in self.layers[:-1]:
            out = layer(x)
            # A hidden layer of one neuron comes back bare, and the next layer wants a list.
            x = out if isinstance(out, list) else [out]
        return self.layers[-1](x)

    def parameters(self) -> list[Any]:
        return [p for layer in self.layers for p in layer.parameters()]

    def _over(self, values: Iterator[Any]) -> MLP:
        model = MLP.__new__(MLP)
        model.layers = [layer._over(values) for layer in self.layers]
        return model

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(repr, self.layers))}]"
