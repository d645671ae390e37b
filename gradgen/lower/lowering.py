"""Array SSA to loops: one nest per statement; scalars become Lets at the top level.

What a statement of the array IR becomes:

    elementwise, 0-d        a Let
    elementwise, an array   a nest over the result's shape that loads its operands with NumPy's broadcasting
    transpose, slice, broadcast, reshape    nothing: a View (index map) or a Splat; a reshape that moves elements across
                            axes shares the memory of a contiguous array under another shape, and copies any other first
    anything else           the method of Lowering that the op's record names (`nest=`)

The methods are in moves, indexing, reductions, contractions, scans, linalg and regions; `builder` makes the statements, `views`
says what a value is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradgen.errors import EmitError
from gradgen.ir import Function
from gradgen.lower.apart import whole_as_scalars
from gradgen.lower.contractions import Contractions
from gradgen.lower.indexing import Indexing
from gradgen.lower.kernel import (
    Buffer,
    Kernel,
    Store,
)
from gradgen.lower.linalg import Linalg
from gradgen.lower.reductions import Reductions
from gradgen.lower.regions import Regions
from gradgen.lower.views import View


def lower(
    fn: Function, labels: Sequence[str] = (), gemm: bool = False, apart: bool = False
) -> Kernel:
    """The loops of `fn`. labels: a name per output. gemm: large products of matrices are left whole. apart: a Function of a
    few numbers has none."""
    lowering = Lowering(fn, labels)
    lowering.gemm, lowering.apart = gemm, apart
    return lowering.run()


class Lowering(Regions, Indexing, Reductions, Contractions, Linalg):
    """One Function on its way to a Kernel."""

    def run(self) -> Kernel:
        fn = self.fn
        inputs: list[tuple[Any, Buffer | None]] = []
        for v in fn.inputs:
            if not v.type.shape:
                self.env[id(v)] = v
                inputs.append((v, None))
                continue
            buffer = Buffer(v.name or "x", v.type.dtype, v.type.shape, "input")
            self.env[id(v)] = View.whole(buffer)
            inputs.append((v, buffer))
        small = whole_as_scalars(fn) if self.apart else None
        if small is not None:
            outputs = self._in_scalars(*small)
        else:
            self._roots()
            self.statements(fn.body)
            self.site = None
            outputs = [
                self._output(v, label) for v, label in zip(fn.outputs, self.labels, strict=True)
            ]
        kernel = Kernel(fn.name, inputs, outputs, self.top, self.prologue, fn.requires)
        kernel.letters = self.local_letters
        kernel.tape = self.tape
        return kernel

    def statements(self, body: Sequence[Any]) -> None:
        """The statements of a Function or region."""
        for k, node in enumerate(body):
            self.position = k
            self.site = node.site
            op = node.op
            if op.name == "barrier" and node.type.shape:
                self.env[id(node)] = self.value(node.args[0])  # it has done its work
            elif op.elementwise:
                if node.type.shape:
                    self._array(node)
                else:
                    self.env[id(node)] = self._apply(op, [self.value(a) for a in node.args], node)
            elif op.nest is not None:
                op.nest(self, node)
            else:
                raise EmitError(
                    f"target C has no {op}: its routine is NumPy's alone",
                    'Use target="numpy".',
                    site=node.site,
                )

    def _array(self, node: Any) -> None:
        values = [self.value(a) for a in node.args]
        buffer = self.temp(node.type, node.name)
        with self.loops(node.type.shape) as at:
            result = self._apply(node.op, [self.read(v, at) for v in values], node)
            result.name = node.name
            self.store(buffer, tuple(at), result)
        self.env[id(node)] = View.whole(buffer)

    def _in_scalars(self, scalars: Function, places: Any, slots: Any) -> list[Buffer]:
        """The results of the Function as a program of scalars."""
        given = [self.env[id(v)] for v in self.fn.inputs]
        found = self.scalar_body(scalars, places, slots, given, self.fn)
        outputs = []
        for v, value, label in zip(self.fn.outputs, found, self.labels, strict=True):
            buffer = Buffer(label, v.type.dtype, v.type.shape, "output")
            self.site = v.site
            self.put(buffer, (), value, v.type)
            outputs.append(buffer)
        return outputs

    def _output(self, node: Any, label: str) -> Buffer:
        value = self.value(node)
        self.site = node.site
        if not node.type.shape:
            buffer = Buffer(label, node.type.dtype, (), "output")
            self.emit(Store(buffer, (), value, None, node.site))
            return buffer
        if isinstance(value, View) and value.is_whole and value.buffer.memory.storage == "temp":
            memory = value.buffer.memory
            memory.storage, memory.name = "output", label
            return value.buffer
        buffer = self.copy(value, node.type, label)
        buffer.storage = "output"
        return buffer
