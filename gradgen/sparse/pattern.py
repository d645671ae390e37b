"""Which elements of a vector each element of a Function's values depends on: the pattern of a Jacobian, read off the program.

    pattern(fn, i, k) -> Pattern     of output k by input i, both of known sizes

Index sets go through the statements in order, as tangents would (Griewank and Walther, Evaluating Derivatives, 2008, 7.1):
elementwise ops unite the sets of what they read, moves (slices, gathers at known places, reshapes) carry them along, sums unite
those of what they add. What is known at trace time is computed on the way, so that index arrays are seen through, and zeros of
a matrix or mask cut. Loops are walked step by step up to STEPS statements, else until no set grows; of branches both
count. An op without a rule here mixes everything. A set may be too large, never too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradgen.errors import UnsupportedError
from gradgen.ir import CONST, SIZE, Function
from gradgen.ops.regions import CALL, COND, ITEM, SCAN, Loop
from gradgen.ops.spans import python_index
from gradgen.sparse.sets import Pattern, Places, identity, merged, same, taken, united
from gradgen.types import Bundle, Type
from gradgen.value import Value

STEPS = 50_000  # statements of loops walked step by step
KNOWN = 1_000_000  # elements of a value that is computed on the way


# -- a Function
class _State:
    """What is known of the values of one Function or region: their sets, and the values themselves where they are known."""

    def __init__(self) -> None:
        self.sets: dict[Value, Pattern] = {}
        self.known: dict[Value, np.ndarray] = {}
        self.bundles: dict[Value, list[tuple[Pattern | None, np.ndarray | None]]] = {}

    def enter(self, value: Value, pair: tuple[Pattern | None, np.ndarray | None]) -> None:
        found, number = pair
        if found is not None and found.nnz and value.type.is_float:
            self.sets[value] = found
        if number is not None:
            self.known[value] = number

    def pair(self, value: Value) -> tuple[Pattern | None, np.ndarray | None]:
        return self.sets.get(value), self.number(value)

    def number(self, value: Value) -> np.ndarray | None:
        if value.op is CONST:
            return np.asarray(value.params["value"])
        if value.op is SIZE and isinstance(value.params["size"], int):
            return np.asarray(value.params["size"])
        return self.known.get(value)


def pattern(fn: Function, i: int, k: int) -> Pattern:
    """The pattern of output k, row by row, by the elements of input i. UnsupportedError for symbolic sizes."""
    for value in (*fn.inputs, *fn.body):
        types = value.type.parts if isinstance(value.type, Bundle) else (value.type,)
        if not all(ty.static for ty in types):
            raise UnsupportedError(
                f"a sparse derivative needs a function of known sizes, got {value.type}",
                "Give the sizes numbers, or take the dense derivative.",
                site=value.site,
            )
    state = _State()
    x, y = fn.inputs[i], fn.outputs[k]
    state.enter(x, (identity(math.prod(x.type.lengths)), None))
    _statements(fn.body, state)
    rows = math.prod(y.type.lengths)
    return state.sets.get(y) or Pattern(np.zeros(rows + 1, np.int64), np.zeros(0, np.int64))


def _statements(body: Sequence[Value], state: _State) -> None:
    for node in body:
        if node.op.regions:
            state.bundles[node] = _region(node, state)
        elif node.op is ITEM:
            state.enter(node, state.bundles[node.args[0]][node.params["k"]])
        elif any(a in state.sets for a in node.args):
            if node.type.is_float:
                state.enter(node, (_set(node, state), None))
        else:
            numbers = [state.number(a) for a in node.args]
            if all(v is not None for v in numbers) and math.prod(node.type.lengths) <= KNOWN:
                with np.errstate(all="ignore"):
                    state.known[node] = np.asarray(node.op.evaluate(*numbers, **node.params))


def _set(node: Value, state: _State) -> Pattern | None:
    op = node.op
    if op.elementwise:
        return _elementwise(node, state)
    rule = RULES.get(op.name)
    found: Any = rule(node, state) if rule is not None else NotImplemented
    if found is NotImplemented:
        return _mixed(node, state)
    return found


def numbered(shape: Sequence[int], start: int = 0) -> np.ndarray:
    return np.arange(start, start + math.prod(shape)).reshape(tuple(shape))


def _moving(node: Value, state: _State) -> list[int]:
    """The operands that a statement depends on smoothly, of those that depend on the vector."""
    op = node.op
    rules: Any = op.partials if op.partials is not None and op.jvp is None else op.jvp
    return [
        i
        for i, a in enumerate(node.args)
        if a in state.sets
        and (not isinstance(rules, tuple) or (i < len(rules) and rules[i] is not None))
    ]


def _mixed(node: Value, state: _State) -> Pattern | None:
    """Every element by all that any operand depends on."""
    found = _all_of([node.args[i] for i in _moving(node, state)], state)
    return _spread(found, node.type)


def _all_of(values: Sequence[Value], state: _State) -> Pattern | None:
    """One row: what any element of the values depends on."""
    sets = [state.sets[v] for v in values if v in state.sets]
    return united([(merged(p, np.zeros(p.rows, np.int64), 1), None) for p in sets])


def _spread(line: Pattern | None, ty: Type) -> Pattern | None:
    """That row for every element of a value."""
    return None if line is None else taken(line, np.zeros(math.prod(ty.lengths), np.int64))


def _elementwise(node: Value, state: _State) -> Pattern | None:
    shape = node.type.lengths
    parts: list[tuple[Pattern, Places]] = []
    for i in _moving(node, state):
        a = node.args[i]
        places: Places = None
        if a.type.lengths != shape:
            places = np.broadcast_to(numbered(a.type.lengths), shape).ravel()
        cut = _cut(node, i, state)
        if cut is not None:
            rows = numbered(shape).ravel() if places is None else places
            places = np.where(np.broadcast_to(cut, shape).ravel(), -1, rows)
        parts.append((state.sets[a], places))
    return united(parts)


def _cut(node: Value, i: int, state: _State) -> np.ndarray | None:
    """Where a known factor 0, or a known condition, keeps operand i out."""
    name = node.op.name
    if name in ("mul", "mulz"):
        other = state.number(node.args[1 - i])
        return None if other is None or np.all(other) else other == 0
    if name == "where":
        chosen = state.number(node.args[0])
        return None if chosen is None else chosen != (i == 1)
    return None


# -- moves: each element of the result is one of an operand's, or none
def _move(node: Value, state: _State) -> Any:
    """Carried out on the numbers of rows, 0 for what depends on nothing."""
    numbers: list[np.ndarray] = []
    sets = [Pattern(np.zeros(2, np.int64), np.zeros(0, np.int64))]
    start = 1
    for a in node.args:
        known = state.number(a)
        if a in state.sets:
            numbers.append(numbered(a.type.lengths, start))
            sets.append(state.sets[a])
            start += sets[-1].rows
        elif a.type.is_float:
            numbers.append(np.zeros(a.type.lengths, np.int64))
        elif known is not None:
            numbers.append(known)
        else:
            return NotImplemented  # places that are not known
    places = np.asarray(node.op.evaluate(*numbers, **node.params)).ravel()
    ends = np.cumsum([0, *(p.nnz for p in sets)])
    indptr = [p.indptr[:-1] + end for p, end in zip(sets, ends, strict=False)]
    whole = Pattern(np.concatenate([*indptr, ends[-1:]]), np.concatenate([p.indices for p in sets]))
    return taken(whole, places)


def _gather(node: Value, state: _State) -> Any:
    found = _move(node, state)
    if found is not NotImplemented:
        return found
    # Places that are not known: any element along the axes that are indexed.
    x, axis = node.args[0], node.params["axis"]
    if x not in state.sets:
        return NotImplemented
    shape = x.type.lengths
    ones = (1,) * (len(node.args) - 1)
    kept = (*shape[:axis], *ones, *shape[axis + len(ones) :])
    onto = np.broadcast_to(numbered(kept), shape).ravel()
    any_of = merged(state.sets[x], onto, math.prod(kept))
    at = [np.zeros(a.type.lengths, np.int64) for a in node.args[1:]]
    return taken(any_of, node.op.evaluate(numbered(kept), *at, **node.params).ravel())


def _added(node: Value, state: _State) -> Any:
    """The accumulator's own elements, and those that are added to them."""
    acc, v, *indices = node.args
    at = [state.number(a) for a in indices]
    if any(a is None for a in at):
        return NotImplemented
    if node.op.name == "slice_add":
        where: Any = python_index(node.params["index"])
    else:
        where = (*(slice(None),) * node.params["axis"], *at)
    targets = np.asarray(numbered(acc.type.lengths)[where])
    parts: list[tuple[Pattern, Places]] = []
    if acc in state.sets:
        parts.append((state.sets[acc], None))
    if v in state.sets:
        sources = np.broadcast_to(numbered(v.type.lengths), targets.shape).ravel()
        moved = taken(state.sets[v], sources)
        parts.append((merged(moved, targets.ravel(), math.prod(acc.type.lengths)), None))
    return united(parts)


# -- sums and products
def _reduced(node: Value, state: _State) -> Any:
    (x,) = node.args
    shape, axes = x.type.lengths, node.params["axes"]
    kept = tuple(1 if k in axes else d for k, d in enumerate(shape))
    onto = np.broadcast_to(numbered(kept), shape).ravel()
    return merged(state.sets[x], onto, math.prod(kept)) if _moving(node, state) else None


def _running(node: Value, state: _State) -> Any:
    """Element i of the last axis by elements up to i; from the other end with `reverse`."""
    shape = node.type.lengths
    n = shape[-1]
    later, earlier = np.tril_indices(n)
    if node.params.get("reverse"):
        later, earlier = n - 1 - later, n - 1 - earlier
    lines = numbered((math.prod(shape[:-1]), 1)) * n
    parts: list[tuple[Pattern, Places]] = []
    for i in _moving(node, state):
        a = node.args[i]
        rows, onto = earlier, later
        if node.op.name == "recurrence" and i == 0:  # r_i = b_i + c_i r_{i-1}, with lag c_{i-1}
            first = n - 1 if node.params["reverse"] else 0
            used = rows != (onto if node.params["lag"] else first)
            rows, onto = rows[used], onto[used]
        size = math.prod(shape)
        moved = taken(state.sets[a], (lines + rows).ravel())
        parts.append((merged(moved, (lines + onto).ravel(), size), None))
    return united(parts)


def _matmul(node: Value, state: _State) -> Any:
    """Element (i, j) by row i of the left and column j of the right operand; where one is known, by what it does not cut."""
    a, b = node.args
    left = a.type.lengths if a.type.ndim > 1 else (1, *a.type.lengths)
    right = b.type.lengths if b.type.ndim > 1 else (*b.type.lengths, 1)
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    shape = (*batch, left[-2], right[-1])
    rows = math.prod(shape)
    parts: list[tuple[Pattern, Places]] = []
    for i in _moving(node, state):
        own, other = (left, right) if i == 0 else (right, left)
        factor = state.number(node.args[1 - i])
        p = state.sets[node.args[i]]
        if factor is not None and factor.ndim <= 2 and len(own) == 2:
            # Rows of the left operand meet the nonzeros of the right: (i, k) goes to (i, j) where it has (k, j).
            inner, outer = np.nonzero(factor.reshape(other) if i == 0 else factor.reshape(other).T)
            lines = np.arange(own[0] if i == 0 else own[1])[:, None]
            if i == 0:
                source, target = lines * own[1] + inner, lines * shape[1] + outer
            else:
                source, target = inner * own[1] + lines, outer * shape[1] + lines
            moved = taken(p, source.ravel())
            parts.append((merged(moved, target.ravel(), rows), None))
            continue
        line = (*own[:-1], 1) if i == 0 else (*own[:-2], 1, own[-1])
        onto = np.broadcast_to(numbered(line), own).ravel()
        places = np.broadcast_to(numbered(line), shape).ravel()
        parts.append((merged(p, onto, math.prod(line)), places))
    return united(parts)


def _outer(node: Value, state: _State) -> Any:
    shape = node.type.lengths
    parts: list[tuple[Pattern, Places]] = []
    for i in _moving(node, state):
        lines = numbered((shape[0], 1) if i == 0 else (1, shape[1]))
        parts.append((state.sets[node.args[i]], np.broadcast_to(lines, shape).ravel()))
    return united(parts)


RULES: dict[str, Callable[[Value, _State], Any]] = {
    **dict.fromkeys(
        ("reshape", "transpose", "broadcast", "slice", "concatenate", "stack", "tril", "triu", "slice_set", "scatter_set"),
        _move,
    ),
    "gather": _gather, "slice_add": _added, "scatter_add": _added,
    **dict.fromkeys(("sum", "prod", "reduce_max", "reduce_min", "logsumexp", "peak"), _reduced),
    **dict.fromkeys(("cumsum", "cumprod", "recurrence"), _running),
    "matmul": _matmul, "outer": _outer,
}  # fmt: skip


# -- loops and branches
Pairs = list[tuple[Pattern | None, np.ndarray | None]]


def _run(fn: Function, pairs: Sequence[tuple[Pattern | None, np.ndarray | None]]) -> Pairs:
    """The results of a region for operands of these sets and numbers."""
    state = _State()
    for value, pair in zip(fn.inputs, pairs, strict=True):
        state.enter(value, pair)
    _statements(fn.body, state)
    return [state.pair(v) for v in fn.outputs]


def _region(node: Value, state: _State) -> Pairs:
    pairs = [state.pair(a) for a in node.args]
    assert isinstance(node.type, Bundle)
    if not any(p is not None for p, _ in pairs):
        return [(None, None)] * len(node.type.parts)
    if node.op is CALL:
        if node.params["kind"] == "checkpoint":
            return _run(node.params["body"], pairs)
        # A rule of its own may read anything.
        line = _all_of(node.args, state)
        return [(_spread(line, ty), None) for ty in node.type.parts]
    if node.op is COND:
        test = pairs[0][1]
        branches = [node.params["then"], node.params["otherwise"]]
        if test is not None:
            return _run(branches[0 if test else 1], pairs[1:])
        results = [_run(fn, pairs[1:]) for fn in branches]
        return [(_either(a, b), None) for (a, _), (b, _) in zip(*results, strict=True)]
    loop = Loop.of(node)
    if node.op is SCAN and node.params["length"] * _size(loop.body) <= STEPS:
        return _steps(node, loop, pairs)
    return _limit(node, loop, pairs)


def _size(fn: Function) -> int:
    """How many statements a step walks, those of loops inside included."""
    inside = sum(
        _size(node.params[name]) * (node.params.get("length") or 1)
        for node in fn.body
        for name in node.op.regions
    )
    return len(fn.body) + inside


def _either(a: Pattern | None, b: Pattern | None) -> Pattern | None:
    return united([(p, None) for p in (a, b) if p is not None])


def _steps(node: Value, loop: Loop, pairs: Pairs) -> Pairs:
    """A loop of known length, step by step."""
    length = node.params["length"]
    carry = pairs[: loop.carries]
    xs = pairs[loop.carries : loop.carries + loop.items]
    consts = pairs[loop.carries + loop.items :]
    ys: list[Pairs] = [[] for _ in loop.y_outputs]
    states: list[Pairs] = [[carry[k]] for k in loop.kept]
    for i in reversed(range(length)) if loop.reverse else range(length):
        items = [
            (None if p is None else _item(p, i, length), None if v is None else v[i]) for p, v in xs
        ]
        found = _run(loop.body, [(None, np.asarray(i)), *carry, *items, *consts])
        carry = found[: loop.carries]
        for kept, y in zip(ys, found[loop.carries :], strict=True):
            kept.append(y)
        for kept, k in zip(states, loop.kept, strict=True):
            kept.append(carry[k])
    if loop.reverse:
        for kept in (*ys, *states):
            kept.reverse()
    assert isinstance(node.type, Bundle)
    types = node.type.parts[loop.first_y :]
    return [*carry, *(_stacked(kept, ty) for kept, ty in zip([*ys, *states], types, strict=True))]


def _item(p: Pattern, i: int, length: int) -> Pattern:
    size = p.rows // length
    indptr = p.indptr[i * size : (i + 1) * size + 1]
    return Pattern(indptr - indptr[0], p.indices[indptr[0] : indptr[-1]])


def _stacked(items: Pairs, ty: Any) -> tuple[Pattern | None, np.ndarray | None]:
    """The sets of a step's value for all steps, one below the other."""
    if all(v is not None for _, v in items) and items:
        return None, np.stack([np.asarray(v) for _, v in items])
    size = math.prod(ty.lengths[1:])
    counts = [np.zeros(size, np.int64) if p is None else np.diff(p.indptr) for p, _ in items]
    indptr = np.concatenate(([0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]))))
    indices = [p.indices for p, _ in items if p is not None]
    return Pattern(indptr, np.concatenate([np.zeros(0, np.int64), *indices])), None


def _limit(node: Value, loop: Loop, pairs: Pairs) -> Pairs:
    """A loop of unknown or great length: the carry's sets until they grow no more, one step's for all."""
    first = 0 if node.op is SCAN else 1  # a while counts its steps
    items = [
        (None if p is None else _any_item(p, node.params["length"]), None)
        for p, _ in pairs[loop.carries : loop.carries + loop.items]
    ]
    consts = pairs[loop.carries + loop.items :]
    carry: Pairs = [(p, None) for p, _ in pairs[: loop.carries]]
    while True:
        found = _run(loop.body, [(None, None), *carry, *items, *consts])
        grown: Pairs = [(_either(a, b), None) for (a, _), (b, _) in zip(carry, found, strict=False)]
        if all(_equal(a, b) for (a, _), (b, _) in zip(grown, carry, strict=True)):
            break
        carry = grown
    assert isinstance(node.type, Bundle)
    out: Pairs = [(None, None)] * first + carry
    inner = [*found[loop.carries :], *(carry[k] for k in loop.kept)]
    for (p, _), ty in zip(inner, node.type.parts[first + loop.carries :], strict=True):
        size, total = math.prod(ty.lengths[1:]), math.prod(ty.lengths)
        out.append((None if p is None else taken(p, np.arange(total) % max(size, 1)), None))
    return out


def _any_item(p: Pattern, length: int) -> Pattern:
    size = p.rows // max(length, 1)
    return merged(p, np.arange(p.rows) % max(size, 1), size)


def _equal(a: Pattern | None, b: Pattern | None) -> bool:
    return a is b or (a is not None and b is not None and same(a, b))
