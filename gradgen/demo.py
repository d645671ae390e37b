"""Train a classifier of handwritten digits with a gradient that gradgen wrote.

    gradgen demo [-o DIRECTORY]        or        python -m gradgen.demo [DIRECTORY]

The model is `loss` below, a 64-32-10 perceptron in plain NumPy, on 1,797 real 8x8 images
(gradgen/data/README.md tells their source and licence). The demo

1. traces the loss and writes its gradient as NumPy and as C source into DIRECTORY,
2. shows the 15 lines where the forward half turns into the reverse half,
3. holds both against the interpreted engine and against numeric derivatives,
4. trains with the written NumPy file alone: it is loaded from disk and never sees gradgen,
5. draws the loss curve, and
6. tells the time per gradient of the interpreter, the NumPy file and the C file.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import gradgen as gg
from gradgen.build import find_compiler
from gradgen.chart import line_chart

__all__ = ["DemoResult", "load_digits", "loss", "main"]

EPOCHS = 120
BATCH = 32
DECAY = 1e-3
WEIGHTS = ("W1", "b1", "W2", "b2")
SPECS = {
    "W1": "f64[64,32]",
    "b1": "f64[32]",
    "W2": "f64[32,10]",
    "b2": "f64[10]",
    "X": "f64[n,64]",
    "Y": "f64[n,10]",
}


def loss(W1, b1, W2, b2, X, Y):
    """Mean cross-entropy of a relu network's softmax, plus DECAY / 2 times the squared weights.

    X: n images of 64 pixels in [0, 1].  Y: n rows with a 1 at the digit, 0 elsewhere.
    """
    hidden = np.maximum(X @ W1 + b1, 0.0)
    scores = hidden @ W2 + b2
    # As on paper: the emitted code takes this line as one log-sum-exp, which cannot overflow.
    log_total = np.log(np.sum(np.exp(scores), axis=1))
    misfit = np.mean(log_total - np.sum(Y * scores, axis=1))
    return misfit + 0.5 * DECAY * (np.sum(W1**2) + np.sum(W2**2))


@dataclass
class DemoResult:
    """What the demo found: accuracies in [0, 1], seconds per gradient, losses per epoch."""

    directory: Path
    accuracy: float = 0.0
    losses: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    picture: Path | None = None


def main(directory: str | Path | None = None, seed: int = 0) -> DemoResult:
    """Run the demo, print its story, return its numbers; files go to `directory`.

    `directory` defaults to `gradgen_demo` in the current folder. `seed` draws the test images,
    the first weights and the order of training. Where there is no C compiler the C file is
    still written, and running it is skipped with a message.
    """
    result = DemoResult(Path("gradgen_demo" if directory is None else directory))
    rng = np.random.default_rng(seed)
    train, test = split(rng)
    weights = first_weights(rng)
    print(f"{len(train[0])} handwritten digits to train on, {len(test[0])} to test on")

    gradient = gg.value_and_grad(loss, wrt=WEIGHTS)
    began = time.perf_counter()
    compiled = {target: gg.compile(gradient, specs=SPECS, target=target) for target in _TARGETS}
    for fn in compiled.values():
        fn.save(result.directory)
    took = time.perf_counter() - began
    print(f"\nThe gradient of gradgen/demo.py:loss, written in {took:.2f} s to {result.directory}:")
    for fn in compiled.values():
        for name, text in fn.files.items():
            print(f"  {name:<20} {len(text.splitlines()):>4} lines")
    print("\nFrom loss_grad.py:\n")
    print("\n".join("  | " + line for line in telling_lines(compiled["numpy"].source)))

    batch = (train[0][:BATCH], train[1][:BATCH])
    print("\nAgainst the interpreter and numeric derivatives:")
    if not has_compiler():
        print("loss_grad.c is written, but neither checked nor timed")
        del compiled["c"]
    for target, fn in compiled.items():
        report = fn.check(*weights, *batch)
        print(f"\n{target}:\n{report}")
        if not report:
            raise gg.CheckError(f"the emitted {target} code disagrees with the interpreter")

    standalone = load_standalone(result.directory / "loss_grad.py")
    print(f"\nTraining with {result.directory / 'loss_grad.py'}, which imports only numpy:")
    result.losses = descend(standalone.loss_grad, weights, train, rng)
    result.accuracy = accuracy(weights, *test)
    result.picture = line_chart(
        result.directory / "loss_curve",
        result.losses,
        "8x8 digits, a 64-32-10 network",
        "epoch",
        "training loss",
    )
    print(f"test accuracy {100 * result.accuracy:.2f} %, loss curve in {result.picture}")

    runs: dict[str, Callable[..., Any]] = {"interpreter": gradient}
    runs |= {f"emitted {_TARGETS[target]}": fn for target, fn in compiled.items()}
    result.seconds = {name: per_call(run, *weights, *batch) for name, run in runs.items()}
    print(f"\nTime per value and gradient, {BATCH} images:")
    slowest = result.seconds["interpreter"]
    for name, seconds in result.seconds.items():
        print(f"  {name:<16} {1e6 * seconds:>9.1f} us {slowest / seconds:>8.1f} x")
    return result


_TARGETS = {"numpy": "NumPy", "c": "C"}


# ---- data ----------------------------------------------------------------------------------


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 images, float64[1797, 64] in [0, 1], and their digits, int64[1797]."""
    path = files("gradgen") / "data" / "digits.npz"
    with path.open("rb") as stream, np.load(stream) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return images.reshape(-1, 64) / 16.0, labels.astype(np.int64)


def split(rng: np.random.Generator) -> tuple[Any, Any]:
    """Draw (X, Y) of 1,437 training images, Y one-hot, and (X, digits) of 360 test images."""
    X, digits = load_digits()
    order = rng.permutation(len(X))
    test, train = order[:360], order[360:]
    return (X[train], np.eye(10)[digits[train]]), (X[test], digits[test])


# ---- training: plain NumPy around the emitted function --------------------------------------


def first_weights(rng: np.random.Generator) -> list[np.ndarray]:
    """W1, b1, W2, b2 of a 64-32-10 network; He's scale in front of the relu."""
    return [
        rng.normal(size=(64, 32)) * np.sqrt(2 / 64),
        np.zeros(32),
        rng.normal(size=(32, 10)) * np.sqrt(1 / 32),
        np.zeros(10),
    ]


def descend(loss_grad: Callable[..., Any], weights: list[np.ndarray], train: Any, rng: Any) -> list:
    """Change `weights` in place by gradient descent with momentum; return the loss per epoch.

    Each batch gets fresh pixel noise of standard deviation 0.3, which stands for the data that
    1,437 images do not have: it is worth about half of the errors on the test images.
    """
    X, Y = train
    momentum = [np.zeros_like(w) for w in weights]
    losses = []
    for epoch in progress(range(EPOCHS), "epochs"):
        rate = 0.1 * (1.0 - epoch / EPOCHS)
        order = rng.permutation(len(X))
        total = 0.0
        for start in range(0, len(X), BATCH):
            rows = order[start : start + BATCH]
            noisy = X[rows] + 0.3 * rng.normal(size=(len(rows), 64))
            value, gradients = loss_grad(*weights, noisy, Y[rows])
            total += value * len(rows)
            for w, m, w_bar in zip(weights, momentum, gradients, strict=True):
                m *= 0.9
                m += w_bar
                w -= rate * m
        losses.append(total / len(X))
    return losses


def accuracy(weights: list[np.ndarray], X: np.ndarray, digits: np.ndarray) -> float:
    """The share of the images X that the network gives the right digit."""
    W1, b1, W2, b2 = weights
    scores = np.maximum(X @ W1 + b1, 0.0) @ W2 + b2
    return float(np.mean(np.argmax(scores, axis=1) == digits))


# ---- around it -----------------------------------------------------------------------------


def load_standalone(path: Path) -> Any:
    """Import the Python file at `path` as a module of its own, outside any package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise gg.GradgenError(f"load_standalone needs a Python file, got {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def telling_lines(source: str, count: int = 15) -> list[str]:
    """`count` lines of emitted source around the comment that opens the reverse half."""
    lines = source.splitlines()
    turn = next((i for i, line in enumerate(lines) if line.strip().startswith("# reverse")), 0)
    start = max(0, min(turn - 4, len(lines) - count))
    return lines[start : start + count]


def has_compiler() -> bool:
    """Whether there is a C compiler to call; says what is missing if not.

    One that is there and fails is another matter: that is an error, and ends the demo.
    """
    try:
        find_compiler()
    except gg.BuildError as error:
        print(error)
        return False
    return True


def per_call(run: Callable[..., Any], *args: Any) -> float:
    """Seconds per call of `run(*args)`: the best of several rounds, after one call to warm up."""
    run(*args)
    began = time.perf_counter()
    run(*args)
    once = time.perf_counter() - began
    count = max(1, min(200, int(0.02 / max(once, 1e-7))))
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(count):
            run(*args)
        best = min(best, (time.perf_counter() - began) / count)
    return best


def progress(steps: Iterable[int], what: str) -> Iterator[int]:
    """`steps` with a bar on stderr: tqdm's where it is installed, else a line of dots."""
    try:
        from tqdm import tqdm
    except ImportError:
        items = list(steps)
        for done, item in enumerate(items, 1):
            yield item
            filled = 40 * done // len(items)
            bar = "#" * filled + "." * (40 - filled)
            sys.stderr.write(f"\r{bar} {done}/{len(items)} {what}")
        sys.stderr.write("\n")
    else:
        yield from tqdm(list(steps), unit=f" {what}", ascii=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
