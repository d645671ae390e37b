"""Interpreter of loop IR: the meaning of a Kernel, one statement at a time, in plain Python. For tests, and slow.

Memory that nothing has written holds NaN (or the smallest integer), so that a pass that loses a store is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradgen.engine import concrete
from gradgen.errors import GradgenError
from gradgen.ir import CONST, SIZE
from gradgen.lower.kernel import (
    IOTA,
    TAPE_STEPS,
    Affine,
    Bind,
    Break,
    Buffer,
    Call,
    Check,
    Clip,
    Declare,
    Fail,
    Fold,
    Gemm,
    If,
    Kernel,
    Let,
    Load,
    Loop,
    Patch,
    Routine,
    Store,
    Window,
)
from gradgen.sizes import evaluate
from gradgen.types import DTYPES


def run(kernel: Kernel, args: Sequence[Any], given: Mapping[str, int]) -> list[np.ndarray]:
    """The outputs of `kernel` on arrays, with the letters' values in `given`. IndexError for a bad index.

    Tapes have room for given[TAPE_STEPS] steps, or 1000.
    """
    sizes = {TAPE_STEPS: 1000, **given}
    env: dict[int, Any] = {}
    memory: dict[int, np.ndarray] = {}
    for (node, buffer), array in zip(kernel.inputs, args, strict=True):
        if buffer is None:
            env[id(node)] = np.asarray(array, DTYPES[node.type.dtype])[()]
        else:
            memory[id(buffer)] = np.array(array, DTYPES[buffer.dtype]).reshape(-1)

    def fresh(buffer: Buffer) -> np.ndarray:
        count = int(np.prod([evaluate(d, sizes) for d in buffer.shape], dtype=int))
        if buffer.data is not None:
            return np.asarray(buffer.data).reshape(-1)
        dtype = DTYPES[buffer.dtype]
        fill = np.nan if dtype.kind == "f" else (np.iinfo(dtype).min if dtype.kind == "i" else True)
        return np.full(count, fill, dtype)

    def array_of(buffer: Buffer) -> np.ndarray:
        owner = buffer.memory
        found = memory.get(id(owner))
        if found is None:
            found = memory[id(owner)] = fresh(owner)
        return found

    def scalar(x: Any) -> Any:
        op = getattr(x, "op", None)
        if op is CONST:
            return x.params["value"][()]
        if op is SIZE:
            return np.int64(evaluate(x.params["size"], sizes))
        return env[id(x)]

    def affine(a: Affine) -> int:
        total = evaluate(a.constant, sizes)
        for t, c in a.terms:
            total += int(env[id(t)]) * evaluate(c, sizes)
        return total

    def end(extent: Any) -> int:
        if type(extent) is Clip:
            left = evaluate(extent.total, sizes) - affine(extent.base)
            return min(evaluate(extent.size, sizes), left) // extent.unit * extent.unit
        return evaluate(extent, sizes)

    def position(buffer: Buffer, index: Sequence[Affine]) -> int:
        flat = 0
        for a, dim in zip(index, buffer.shape, strict=True):
            i, extent = affine(a), evaluate(dim, sizes)
            if not 0 <= i < extent:
                raise AssertionError(f"{buffer} is read or written at {i}")
            flat = flat * extent + i
        return flat

    def matrix(w: Window, rows: int, columns: int) -> np.ndarray:
        """The places of a window's elements."""
        first = sum(
            affine(a) * evaluate(s, sizes) for a, s in zip(w.index, w.buffer.strides(), strict=True)
        )
        down = np.arange(rows)[:, None] * evaluate(w.rows, sizes)
        places = first + down + np.arange(columns) * evaluate(w.columns, sizes)
        count = len(array_of(w.buffer))
        assert not places.size or (places.min() >= 0 and places.max() < count), "out of bounds"
        return places

    def patch(p: Patch) -> np.ndarray:
        shape = [evaluate(d, sizes) for d in p.buffer.shape]
        whole = array_of(p.buffer).reshape(shape)
        return whole[tuple(affine(a) for a in p.index[: p.lead])]

    def block(body: Sequence[Any]) -> bool:
        """Run a block; whether it goes on behind the block."""
        for stmt in body:
            kind = type(stmt)
            if kind is Let:
                params = concrete(stmt.params, sizes) if stmt.params else {}
                result = stmt.op.evaluate(*[scalar(a) for a in stmt.args], **params)
                env[id(stmt)] = np.asarray(result).astype(DTYPES[stmt.type.dtype])[()]
            elif kind is Load and stmt.buffer.data is IOTA:
                env[id(stmt)] = np.int64(affine(stmt.index[0]))
            elif kind is Load:
                env[id(stmt)] = array_of(stmt.buffer)[position(stmt.buffer, stmt.index)]
            elif kind is Gemm:
                m, n, k = (evaluate(d, sizes) for d in (stmt.m, stmt.n, stmt.k))
                c = matrix(stmt.c, m, n)
                product = (
                    array_of(stmt.a.buffer)[matrix(stmt.a, m, k)]
                    @ (array_of(stmt.b.buffer)[matrix(stmt.b, k, n)])
                )
                array_of(stmt.c.buffer)[c] = product
            elif kind is Routine:
                given = [patch(p) for p in (*stmt.reads, *stmt.writes[: int(stmt.updates)])]
                patch(stmt.writes[0])[...] = stmt.meaning(*given)
            elif kind is Fold:
                first = position(stmt.buffer, stmt.index)
                part = array_of(stmt.buffer)[first : first + stmt.count]
                while len(part) > 1:
                    half = len(part) // 2
                    part = np.asarray(stmt.by.evaluate(part[:half], part[half:]))
                env[id(stmt)] = part[0]
            elif kind is Store:
                at = position(stmt.buffer, stmt.index)
                if stmt.accumulate:
                    array_of(stmt.buffer)[at] += scalar(stmt.value)
                else:
                    array_of(stmt.buffer)[at] = scalar(stmt.value)
            elif kind is Loop:
                for i in range(end(stmt.start), end(stmt.extent), stmt.step):
                    env[id(stmt.var)] = i
                    if not block(stmt.body):
                        break
            elif kind is Break:
                if not scalar(stmt.value):
                    return False
            elif kind is Bind:
                sizes[stmt.letter] = int(scalar(stmt.value))
            elif kind is Fail:
                raise GradgenError(f"the loops of {kernel.name} end with {stmt.code}")
            elif kind is Declare:
                memory[id(stmt.buffer)] = fresh(stmt.buffer)
                if stmt.fill is not None:
                    memory[id(stmt.buffer)][:] = stmt.fill
            elif kind is Check:
                extent = evaluate(stmt.extent, sizes)
                if not -extent <= scalar(stmt.value) < extent:
                    raise IndexError(
                        f"index {scalar(stmt.value)} is out of range for an axis of {extent} elements"
                    )
            elif kind is If:
                if not block(stmt.then if scalar(stmt.condition) else stmt.otherwise):
                    return False
            elif kind is Call:
                block(stmt.body)
            else:
                raise AssertionError(f"no meaning for {kind.__name__}")
        return True

    with np.errstate(all="ignore"):
        block(kernel.prologue)
        block(kernel.body)
    return [array_of(b).reshape([evaluate(d, sizes) for d in b.shape]) for b in kernel.outputs]
