"""Who computes a workload: each contender is `make(workload) -> call`, and `call()` gives value and gradients (or is Buffered).

A contender that cannot run raises Missing with the reason (a package that is not installed, a workload it has no way for).
Everything before the first call counts as set-up. Inputs that never change are converted once, as a careful user would.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from workload import Workload, beside

from gradgen.tree import flatten, unflatten

Call = Callable[[], Any]
HAND = Path(__file__).parent / "hand"


@dataclass
class Buffered:
    """A call that leaves its results in buffers; `parts` reads them. keep: what must live as long."""

    call: Call
    parts: Call
    keep: Any


class Missing(Exception):
    """Why a contender is not there."""


def _gradgen(target: str, optimize: str | None = None) -> Callable[[Workload], Call]:
    def make(w: Workload) -> Call:
        import gradgen as gg

        if target not in w.targets:
            raise Missing("not a program for this target")
        options = gg.Options(optimize=optimize)
        name = w.name.replace("-", "_")
        fn = gg.compile(w.program(), *w.specs, target=target, name=name, options=options)
        fn.build()
        args = w.args()
        return partial(fn, *args)

    return make


def into(w: Workload) -> Buffered:
    """gradgen's C writing into arrays that are there, as CasADi's buffers are."""
    call = _gradgen("c")(w)
    assert isinstance(call, partial)
    fn, (leaves, tree) = call.func, flatten(call())
    places = [np.array(leaf, np.float64) for leaf in leaves]
    out = unflatten(tree, places)
    return Buffered(partial(fn.into, out, *call.args), lambda: places, out)


def hand_c(w: Workload, threads: bool = False) -> Call:
    """The expert's C, called through the same wrapper as ours: the difference is the kernel's.

    threads: with its OpenMP pragmas, which are left out otherwise.
    """
    import gradgen as gg
    from gradgen.build import CFunction

    if not w.hand_c:
        raise Missing("nobody writes this by hand")
    fn = gg.compile(w.program(), *w.specs, target="c", name=w.hand_c)
    lines = (HAND / f"{w.hand_c}.c").read_text().splitlines()
    source = "\n".join(line for line in lines if threads or not line.startswith("#pragma omp"))
    start = source.index(f"int {w.hand_c}(")
    prototype = source[start : source.index("{", start)].rstrip().replace("restrict ", "")
    files = {f"{w.hand_c}.c": source, f"{w.hand_c}.h": f"#include <stdint.h>\n{prototype};\n"}
    made = CFunction(files, _Interface(fn), fn.signature)
    fn.__class__ = made.type(gg.Compiled)
    args = w.args()
    return partial(fn, *args)


class _Interface:
    def __init__(self, fn: Any) -> None:
        self.inputs = fn.ir.inputs
        self.outputs = fn.ir.outputs


def hand_numpy(w: Workload) -> Call:
    args = w.args()
    return partial(w.by_hand, *args)


def jax(w: Workload) -> Call:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    try:
        import jax as package
    except ImportError:
        raise Missing("not installed") from None
    package.config.update("jax_enable_x64", True)
    f = w.function("jax", package.numpy)
    if w.derive == "value_and_grad":
        derived = package.value_and_grad(f, tuple(range(w.wrt)))
    elif w.derive == "hvp":
        derived = lambda x, v: package.jvp(package.grad(f), (x,), (v,))[1]
    elif w.derive in ("jacobian", "jacobians"):
        # Two rows: reverse mode has fewer directions, and was measured to be the faster one.
        derived = beside(package.numpy, package.jacrev(f, tuple(range(w.wrt))))
        derived = derived if w.derive == "jacobian" else package.vmap(derived)
    else:
        derived = package.hessian(f)
    compiled = package.jit(derived)
    args = [package.numpy.asarray(a) for a in w.args()]
    return lambda: package.block_until_ready(compiled(*args))


def autograd(w: Workload) -> Call:
    try:
        import autograd as package
        import autograd.numpy as masked
    except ImportError:
        raise Missing("not installed") from None
    f = w.function("autograd", masked)
    by = tuple(range(w.wrt))
    if w.derive == "value_and_grad":
        f = package.value_and_grad(f, by)
    elif w.derive == "jacobian":
        f = beside(np, lambda *args: [package.jacobian(f, k)(*args) for k in by])
    else:
        f = {"hvp": package.hessian_vector_product, "hessian": package.hessian}[w.derive](f)
    args = w.args()
    return partial(f, *args)


def torch(w: Workload) -> Call:
    try:
        import torch as package
    except ImportError:
        raise Missing("not installed") from None
    if w.derive not in ("value_and_grad", "jacobian", "jacobians"):
        raise Missing("not written")
    package.set_num_threads(1)
    f = w.function("torch", _TorchNames(package))
    args = [package.tensor(a, dtype=package.float64) for a in w.args()]
    if w.derive != "value_and_grad":
        rows = beside(_TorchNames(package), package.func.jacrev(f, tuple(range(w.wrt))))
        rows = rows if w.derive == "jacobian" else package.func.vmap(rows)
        return partial(rows, *args)
    for a in args[: w.wrt]:
        a.requires_grad_()

    def call() -> Any:
        value = f(*args)
        return (value.detach(), *package.autograd.grad(value, args[: w.wrt]))

    return call


class _TorchNames:
    """The few names of NumPy that the models use, over torch."""

    def __init__(self, package: Any) -> None:
        self.package = package

    def __getattr__(self, name: str) -> Any:
        return getattr(self.package, name)

    def maximum(self, x: Any, low: float) -> Any:
        return self.package.clamp(x, min=low)

    def logaddexp(self, low: float, x: Any) -> Any:
        return self.package.logaddexp(self.package.zeros_like(x), x)

    def cross(self, a: Any, b: Any) -> Any:
        return self.package.linalg.cross(a, b)

    def concatenate(self, parts: Any, axis: int) -> Any:
        return self.package.cat(parts, dim=axis)

    def max(self, x: Any, axis: int, keepdims: bool) -> Any:
        return self.package.amax(x, dim=axis, keepdim=keepdims)


def _casadi_of(ca: Any, w: Workload, args: list[np.ndarray]) -> tuple[Any, list[Any], list[Any]]:
    """The function of a vector of all that is differentiated, its arguments, and room for its results."""
    flat = np.concatenate([a.ravel() for a in args[: w.wrt]])
    scalar = w.wrt == len(args) or w.derive == "hvp" or sum(a.size for a in args) <= 100
    sym = ca.SX.sym if scalar else ca.MX.sym
    p = sym("p", flat.size)
    data = [sym(f"d{k}", *reversed(a.shape)) for k, a in enumerate(args[w.wrt :])]
    loss = w.casadi(ca, p, data)  # type: ignore[misc]
    found = {
        "value_and_grad": lambda: [loss, ca.gradient(loss, p)],
        "hvp": lambda: [ca.jtimes(ca.gradient(loss, p), p, *data)],
        "hessian": lambda: [ca.densify(ca.hessian(loss, p)[0])],
    }[w.derive]()
    f = ca.Function("f", [p, *data], found)
    given = [flat, *(np.ascontiguousarray(a) for a in args[w.wrt :])]
    return f, given, [np.zeros(one.numel()) for one in found]


def _casadi_rows(ca: Any, w: Workload, args: list[np.ndarray]) -> tuple[Any, list[Any], list[Any]]:
    """The same for Jacobians: of one item in scalars, mapped over the items."""
    count = len(args[0]) if w.derive == "jacobians" else 1
    rows = np.concatenate([a.reshape(count, -1) for a in args[: w.wrt]], axis=1)
    seen = args[-1].reshape(count, -1)
    p, d = ca.SX.sym("p", rows.shape[1]), ca.SX.sym("d", seen.shape[1])
    jacobian = ca.densify(ca.jacobian(w.casadi(ca, p, d), p).T)  # type: ignore[misc]
    f = ca.Function("f", [p, d], [jacobian])
    if count > 1:
        p, d = (ca.MX.sym(n, *reversed(a.shape)) for n, a in (("p", rows), ("d", seen)))
        f = ca.Function("f", [p, d], [f.map(count)(p, d)])
    return f, [rows, np.ascontiguousarray(seen)], [np.zeros(count * jacobian.numel())]


def _casadi(compiled: bool) -> Callable[[Workload], Call]:
    def make(w: Workload) -> Call:
        try:
            import casadi as ca
        except ImportError:
            raise Missing("not installed") from None
        if w.casadi is None:
            raise Missing("not expressed")
        args = [np.asarray(a, np.float64) for a in w.args()]
        f, given, results = (_casadi_rows if "jacobian" in w.derive else _casadi_of)(ca, w, args)
        folder = tempfile.mkdtemp()
        if compiled:
            here = os.getcwd()
            os.chdir(folder)
            try:
                f.generate("f.c")
                level = "-O1" if os.path.getsize("f.c") > 150_000 else "-O3"
                words = [
                    "cc",
                    level,
                    "-march=native",
                    "-fPIC",
                    "-shared",
                    "f.c",
                    "-o",
                    "f.so",
                    "-lm",
                ]
                subprocess.run(words, check=True)
                f = ca.external("f", "./f.so")
            finally:
                os.chdir(here)
        buffer, evaluate = f.buffer()
        for k, a in enumerate(given):
            buffer.set_arg(k, memoryview(a))
        for k, a in enumerate(results):
            buffer.set_res(k, memoryview(a))
        shapes = [a.shape for a in args[: w.wrt]]
        ends = np.cumsum([a.size for a in args[: w.wrt]])[:-1]

        def parts() -> list[Any]:
            if w.derive != "value_and_grad":
                return [results[0].reshape(np.shape(w.by_hand(*args)))]
            pieces = np.split(results[1], ends)
            return [results[0][0], *(q.reshape(s) for q, s in zip(pieces, shapes, strict=True))]

        return Buffered(evaluate, parts, (f, buffer, given))

    return make


def numba(w: Workload) -> Call:
    try:
        import numba as package
    except ImportError:
        raise Missing("not installed") from None
    if w.numba is None:
        raise Missing("not written")
    f = w.numba(package.njit)
    args = w.args()
    return partial(f, *args)


CONTENDERS: dict[str, Callable[[Workload], Any]] = {
    "gradgen-c": _gradgen("c"),
    "gradgen-c-into": into,
    "gradgen-numpy": _gradgen("numpy"),
    "gradgen-numpy-fast": _gradgen("numpy", "fast"),
    "gradgen-python": _gradgen("python"),
    "hand-c": hand_c,
    "hand-numpy": hand_numpy,
    "casadi-c": _casadi(True),
    "casadi": _casadi(False),
    "jax": jax,
    "numba": numba,
    "torch": torch,
    "autograd": autograd,
}


def results(found: Any) -> list[np.ndarray]:
    """What a call gave, flat: value, then gradients."""
    out: list[np.ndarray] = []
    todo = [found]
    while todo:
        item = todo.pop(0)
        if isinstance(item, (tuple, list)):
            todo = [*item, *todo]
        else:
            out.append(np.array(item, np.float64))
    return out
