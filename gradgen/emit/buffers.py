"""Into whose memory each array of a NumPy function is computed: the liveness plan behind `optimize="fast"`.

    t3 = np.subtract(x, t2, out=t2)          nothing reads t2 after this
    t3 *= 200.0                              the same where that has an operator
    t5 = np.exp(t4, out=t1)                  nothing has read t1 since before
    np.subtract(t3, t5, out=x_bar[:-1])      all that is done with the difference is that it is stored there

Large arrays alone: each saved one is a pass over memory less, and pages that the system need not map again. Memory is shared
by values of one type that are never needed at once, and only among new arrays of the function's own: results of elementwise
statements and of products of matrices. Arguments, captured arrays and arrays that stores happen in are never written over;
what a view shows is needed as long as the view. A result keeps its memory for itself from where it is computed.

The plan is made backwards, from the last statement to the first: there a value is met first where it is needed last, gives
its memory up where it is computed, and what that statement needs for the last time can have it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from gradgen.ir import CONST, Function, shows, use_counts
from gradgen.ops.arithmetic import CAST
from gradgen.ops.barriers import BARRIER, STOP
from gradgen.ops.contract import MATMUL
from gradgen.ops.index import SLICE, SLICE_SET
from gradgen.ops.select import WHERE
from gradgen.ops.spans import Span
from gradgen.types import Type, floating, promote
from gradgen.value import Value

LARGE = 4096  # elements; below, an allocation costs no more than the word `out`
ITSELF = (BARRIER, STOP)  # printed as their operand


@dataclass
class Buffers:
    """A plan.

    body     the statements in the order of the text
    into     statement -> the value whose memory it takes over, or the store into whose place it computes
    alone    values that stand in statements of their own: the plan counts on where they are computed
    stored   the last values computed in the places of stores: no variable holds them
    done     stores that the statement before them has done
    """

    body: list[Value]
    into: dict[Value, Value] = field(default_factory=dict)
    alone: set[Value] = field(default_factory=set)
    stored: set[Value] = field(default_factory=set)
    done: set[Value] = field(default_factory=set)


def plan(fn: Function, excluded: set[Value]) -> Buffers:
    """Whose memory the statements of `fn` are computed into; `excluded` are values that may not lie in C order."""
    if fn.has_regions:
        return Buffers(fn.body)
    written = {n.args[0] for n in fn.body if n.op.store is not None}
    shared = {v for v in fn.body if is_new(v)} - excluded - written
    counts = use_counts(fn)
    fn = fn.with_body(_late(fn, shared, written, counts), fn.outputs)
    places = _places(fn, shared, counts)
    # What shares with nothing is no statement of its own. Then it is computed later, so that the plan is made once more.
    alone = _groups(fn, shared, places, counts)
    shared -= {values[0] for values, place in alone if place is None and len(values) == 1}
    groups = _groups(fn, shared, places, counts)
    found = Buffers(list(fn.body), alone=shared)
    first: dict[Value, Value] = {}  # the statement before which an array is made
    for values, place in groups:
        values.reverse()
        for before, after in pairwise(values):
            found.into[after] = before
        if place is not None:
            found.into[values[0]] = place
            found.stored.add(values[-1])
            found.done.add(place)
            first[values[0]] = place.args[0]
    if first:
        moved = set(first.values())
        found.body.clear()
        for node in fn.body:
            if node in first:
                found.body.append(first[node])
            if node not in moved:
                found.body.append(node)
    return found


def _late(
    fn: Function, shared: set[Value], written: set[Value], counts: dict[Value, int]
) -> list[Value]:
    """The statements with what is read once, and would be folded at another level, before the statement that reads it.

    Operands then meet their last reader in the order of the expression; only within a section of the text, and not past a store
    into what they read.
    """
    results = set(fn.outputs)
    base = _bases(fn)
    waiting: set[Value] = set()
    body: list[Value] = []
    reader: dict[Value, Value] = {}
    for node in fn.body:
        for a in node.args:
            reader[a] = node
    for node in fn.body:
        single = counts.get(node) == 1 and node.name is None and node not in results
        fixed = any(base.get(a, a) in written for a in node.args)
        if node in shared and single and not fixed and _phase(reader[node]) == _phase(node):
            waiting.add(node)
            continue
        todo = [(node, False)]
        while todo:
            n, ready = todo.pop()
            if ready:
                body.append(n)
                continue
            todo.append((n, True))
            for a in reversed(n.args):
                if a in waiting:
                    waiting.discard(a)
                    todo.append((a, False))
    return body


def ufunc(node: Value) -> str:
    """The NumPy ufunc that computes an elementwise statement, by name; "" if there is none."""
    op = node.op
    for f in (op.evaluate, *op.functions) if op.elementwise else ():
        if isinstance(f, np.ufunc) and f.nin == len(node.args) and f.nout == 1:
            name = str(f.__name__)
            return name if getattr(np, name, None) is f else ""
    return ""


def is_new(v: Value) -> bool:
    """Whether a value is a new array of numbers that is worth planning for."""
    made = (v.op.elementwise and v.op not in ITSELF) or v.op is MATMUL
    return made and v.type.dtype != "bool" and _is_large(v.type) and _is_sure(v)


def _is_large(ty: Type) -> bool:
    return bool(ty.shape) and not (ty.static and int(np.prod(ty.lengths)) < LARGE)


def _is_sure(v: Value) -> bool:
    """Whether NumPy gives the result its type's dtype for the arrays alone: numbers among the operands may count for less."""
    dtypes = [a.type.dtype for a in v.args[v.op is WHERE :] if a.type.shape]
    dtype = promote(*dtypes) if dtypes else "f64"
    return v.op is CAST or v.type.dtype in (dtype, floating(dtype))


def _bases(fn: Function) -> dict[Value, Value]:
    """View -> the value whose memory it shows."""
    base: dict[Value, Value] = {}
    for node in fn.body:
        if shows(node):
            base[node] = base.get(node.args[0], node.args[0])
    return base


def _phase(v: Value) -> str:
    return v.site[2] if v.site is not None and len(v.site) > 2 else ""


def _places(fn: Function, shared: set[Value], counts: dict[Value, int]) -> dict[Value, Value]:
    """Values that can be computed in the place where they are stored -> the store.

    The array is np.zeros or the like, nothing reads it before, and the place is rows of consecutive elements.
    """
    found: dict[Value, Value] = {}
    for node in fn.body:
        if node.op is not SLICE_SET:
            continue
        acc, v = node.args
        filled = (
            acc.op.name == "broadcast" and acc.args[0].op is CONST and not acc.args[0].type.shape
        )
        once = counts[acc] == counts[v] == 1 and v.name is None
        if not (filled and once and v in shared and ufunc(v) and _phase(v) == _phase(node)):
            continue
        index = node.params["index"]
        last = index[-1] if len(index) == acc.type.ndim else Span()
        fits = SLICE.infer(acc.type, index=index) is v.type
        if fits and isinstance(last, Span) and last.step == 1:
            found[v] = node
    return found


def _last_reads(fn: Function, shared: set[Value], counts: dict[Value, int]) -> dict[Value, int]:
    """Number of the last statement at which each value's memory is needed; that of the results is len(fn.body).

    What may be folded into the statement that reads it is computed there; what a view shows is needed as long as the view.
    """
    results = set(fn.outputs)
    fixed = shared | results | {n for n in fn.body if n.op.store is not None}
    last = dict.fromkeys(results, len(fn.body))
    for k in reversed(range(len(fn.body))):
        node = fn.body[k]
        folds = node not in fixed and counts.get(node) == 1 and node.name is None
        at = last.get(node, k) if folds else k
        if shows(node):
            at = max(at, last.get(node, k))
        for a in node.args:
            last[a] = max(last.get(a, 0), at)
    return last


Group = tuple[list[Value], "Value | None"]


def _groups(
    fn: Function, shared: set[Value], places: dict[Value, Value], counts: dict[Value, int]
) -> list[Group]:
    """The values of `shared` by the memory that they have in common, the last first, and the store whose place that is."""
    last = _last_reads(fn, shared, counts)
    base = _bases(fn)
    ends: dict[int, list[Value]] = {}
    for k, node in enumerate(fn.body):
        if node in shared:
            ends.setdefault(last.get(node, k), []).append(node)
    groups: list[Group] = []
    group_of: dict[Value, Group] = {}
    free: dict[Type, list[Group]] = {}

    def join(v: Value, group: Group) -> None:
        group[0].append(v)
        group_of[v] = group

    for v in ends.get(len(fn.body), ()):
        groups.append(([], None))
        join(v, groups[-1])
    for k in reversed(range(len(fn.body))):
        node = fn.body[k]
        ending = ends.get(k, [])
        into = node in shared and ufunc(node) != ""
        heir = _heir(node, ending, group_of[node][1], base) if into else None
        for v in ending:
            if v is heir:
                continue
            if v not in places and (spare := free.get(v.type)):
                join(v, spare.pop())
            else:
                groups.append(([], places.get(v)))
                join(v, groups[-1])
        if heir is not None:
            join(heir, group_of[node])
        elif into and group_of[node][1] is None:
            free.setdefault(node.type, []).append(group_of[node])
    return groups


def _heir(
    node: Value, ending: list[Value], place: Value | None, base: dict[Value, Value]
) -> Value | None:
    """The operand of `node` that is computed in the same memory before it: the latest that can be."""
    operands = set(node.args)
    shown = {base.get(a) for a in node.args}
    for v in reversed(ending):
        fits = v.type is node.type and v in operands and v not in shown
        if fits and (place is None or (ufunc(v) and _phase(v) == _phase(place))):
            return v
    return None
