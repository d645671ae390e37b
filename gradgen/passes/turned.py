"""A matrix that a long loop multiplies by a vector row by row, and does not change, is copied the other way round before it.

    scan of ... W @ a ...             ->   turned = copy(W.T);  scan of ... a @ turned ...
    scan of ... a @ V ..., V = W.T    ->   turned = copy(V);    scan of ... a @ turned ...

Loops sum W @ a one row after the other, and lanes of each sum have to be added up; along the rows of the copy all sums go side
by side. The copy costs as much as a few products, of long rows up to a quarter of their length. For products of a loop's own
statements with matrices of known sizes from LEAST to MOST, in scans of at least STEPS steps and of more for long rows; a while
counts as STEPS. A copy inside of another loop is for `invariant` to move. Not in maps: their steps run in blocks, side by side.
Rounding: the sums are added up one term after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradgen.ir import OPS, PARAM, Function
from gradgen.ops.contract import MATMUL
from gradgen.ops.regions import COND, SCAN, WHILE, Loop
from gradgen.ops.shape import TRANSPOSE
from gradgen.rewriting import rewrite, with_args, with_operands
from gradgen.value import NO_PARAMS, Value, apply, current_trace, new_node

LEAST = 8  # a shorter row is not worth a loop of its own
MOST = 128  # copies stay in the caches
STEPS = 16


def turn(fn: Function) -> Function:
    """`fn` with turned copies of what its loops read against the rows; inner loops too."""
    return _turned(fn, {})


def _turned(fn: Function, origins: dict[Value, Value]) -> Function:
    """A Function or region; origins: what its inputs are outside, where they are the same in all steps."""
    if not any(node.op.regions for node in fn.body):
        return fn

    def rule(node: Value, args: tuple[Value, ...]) -> Value:
        same = len(Loop.of(node).consts) if node.op in (SCAN, WHILE) else len(args) - 1
        operands = args[len(args) - same :]
        outside = [_origin(a, origins) for a in operands]
        params = dict(node.params)
        for name in node.op.regions:
            region = params[name]
            inputs = region.inputs[len(region.inputs) - same :]
            params[name] = _turned(region, dict(zip(inputs, outside, strict=True)))
        made = with_args(node, args, params)
        steps = _steps(node)
        if steps >= STEPS:
            made = _reading_copies(made, outside, min(MOST, 4 * steps))
        trace = current_trace()
        assert trace is not None
        trace.body.append(made)
        return made

    return rewrite(fn, {op: [rule] for op in (SCAN, WHILE, COND)})


def _steps(node: Value) -> int:
    """How often a loop runs at least, as far as that is worth knowing; 0 of what does not carry anything."""
    if node.op is WHILE:
        return STEPS
    if node.op is not SCAN or not node.params["carries"]:
        return 0
    length = node.params["length"]
    return length if isinstance(length, int) else MOST


def _origin(v: Value, origins: dict[Value, Value]) -> Value:
    while v.op is OPS["barrier"]:
        v = v.args[0]
    return origins.get(v, v)  # found once: two regions may have one and the same input


def _reading_copies(node: Value, outside: Sequence[Value], most: int) -> Value:
    """A loop that reads copies, made in the open trace, of matrices up to `most`; outside: what its operands were first."""
    loop = Loop.of(node)
    matrices = dict(zip(loop.const_inputs, outside, strict=True))
    operands = dict(zip(loop.const_inputs, loop.consts, strict=True))
    stands: dict[Value, Value] = {}

    def product(n: Value, args: tuple[Value, ...]) -> Value | None:
        a, b = args
        matrix, vector = (a, b) if b.type.ndim == 1 else (b, a)
        known = matrices.get(matrix)
        if known is None or not _against_rows(known, matrix is a, vector, most):
            return None
        if matrix not in stands:
            shape = matrix.type.shape
            ty = matrix.type.with_shape(shape[::-1] if matrix is a else shape)
            stands[matrix] = new_node(PARAM, (), NO_PARAMS, ty, None, None)
        return apply(MATMUL, vector, stands[matrix])

    body = rewrite(loop.body, {MATMUL: [product]})
    copies = []
    for matrix, stand in stands.items():
        source = operands[matrix]
        if matrices[matrix].op is not TRANSPOSE:
            source = apply(TRANSPOSE, source, axes=(1, 0))
        copy = apply(OPS["copy"], source)
        copy.name = stand.name = _name(matrices[matrix])
        copies.append(copy)
    if not stands:
        return node
    region = Function(body.name, [*body.inputs, *stands.values()], body.outputs, body.body)
    return with_operands(node, region, copies)


def _name(matrix: Value) -> str:
    name = matrix.name or (_origin(matrix.args[0], {}).name if matrix.op is TRANSPOSE else None)
    return f"{name}_turned" if name else "turned"


def _against_rows(matrix: Value, on_the_left: bool, vector: Value, most: int) -> bool:
    """Whether the sums of a product with a vector run along the rows of a matrix that is worth a copy."""
    ty = matrix.type
    if ty.ndim != 2 or vector.type.ndim != 1 or not ty.is_float or vector.type.dtype != ty.dtype:
        return False
    if not all(isinstance(d, int) and LEAST <= d <= most for d in ty.shape):
        return False
    return (matrix.op is TRANSPOSE) is not on_the_left
