"""Loops and branches that stay loops and branches: scan, fori_loop, while_loop, cond, map.

Inside a traced function each traces its body once, to a closed region (gradgen.ops.regions); what the body reads from
outside becomes an operand. On eager Values and arrays they are plain Python loops and branches.

Python numbers as carries are weakly typed: `gg.scan(f, 0.0, xs)` carries f32 when the body returns f32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError, TraceError
from gradgen.functions import FUNCTIONS
from gradgen.ir import OPS
from gradgen.ops.reduce import as_value
from gradgen.ops.regions import COND, SCAN, WHILE, items, unstacked
from gradgen.ops.shape import concatenate, reshape, stack
from gradgen.sizes import Dim, add, floordiv, isqrt, max0, mul
from gradgen.trace.calls import checkpoint as checkpointed
from gradgen.trace.effects import check_unchanged, contents
from gradgen.trace.hooks import enter
from gradgen.trace.regions import (
    Region,
    close,
    trace_region,
    words,
)
from gradgen.trace.steady import check_steady
from gradgen.tree import LEAF, NONE, Tree, flatten, leaf_names, unflatten
from gradgen.types import BOOL, I64, Bundle, Type, promote
from gradgen.value import (
    Extent,
    Trace,
    Value,
    any_value,
    apply,
    current_trace,
    dim_or_none,
    is_scalar_number,
)


# -- carries
def _carry_values(init: Any) -> tuple[list[Value], list[bool], Tree]:
    leaves, tree = flatten(init, nones=True)
    weak = [is_scalar_number(leaf) and not isinstance(leaf, np.generic) for leaf in leaves]
    for leaf in leaves:
        if not isinstance(leaf, (Value, np.ndarray, int, float, np.generic)):
            raise SpecError(f"a carry needs numbers and arrays, got {type(leaf).__name__}")
    return [as_value(leaf) for leaf in leaves], weak, tree


def _settle(
    what: str, build: Callable[[list[Type]], tuple[list[Value], Tree, Any]], init: list[Value],
    weak: list[bool], tree: Tree,
) -> tuple[list[Value], Any]:  # fmt: skip
    """Trace with the carry's types; a weak literal takes the type that the body gives it. ShapeError names both types."""
    first = list(init)
    changed, attempt, most = 0, 0, 3
    while attempt < most:
        attempt += 1
        outputs, found, made = build([v.type for v in init])
        if found != tree:
            raise ShapeError(
                f"{what} needs a body that returns its carry with one structure, "
                f"got {tree} in and {found} out"
            )
        if attempt == 1 and any(weak):
            single = _meet_f32(made[0], outputs, weak)
            most += len(single)
            for k in single:  # f32 unless the body makes f64 of f32 too
                init[k] = _cast(first[k], Type.of("f32", first[k].type.shape))
            if single:
                continue
        if all(a.type is b.type for a, b in zip(init, outputs, strict=True)):
            check_steady(what, made[0], lambda: build([v.type for v in init])[2][0])
            return init, made
        for k, (a, b) in enumerate(zip(init, outputs, strict=True)):
            if a.type is b.type:
                continue
            widened = promote(a.type.dtype, b.type.dtype)
            if weak[k] and (b.type.shape or widened == b.type.dtype or b.type.is_float):
                init[k], changed = _cast(first[k], b.type), k
                continue
            label = made[0].trace.inputs[1 + k].name or leaf_names("carry", tree)[k]
            raise ShapeError(
                f"{what} needs a carry of one type, got {label}: {a.type} in and {b.type} out",
                "Start from an array of the final shape and dtype, or cast in the body.",
            )
    raise ShapeError(
        f"{what} needs a carry whose type settles, got {leaf_names('carry', tree)[changed]}: {first[changed].type} in and "
        f"{outputs[changed].type} after {attempt} steps",
        "Start from an array of the final shape.",
    )


def _meet_f32(region: Region, outputs: Sequence[Value], weak: Sequence[bool]) -> list[int]:
    """Which weak carries become f64 only by themselves: their next values are f64 and made of f32 ones.

    A number of Python's would not have widened these.
    """
    met: dict[Value, int] = {}  # bit 0: f32; bit 1 + k: weak carry k
    for k, v in enumerate(region.trace.inputs):
        is_weak = 0 < k <= len(weak) and weak[k - 1]
        met[v] = 1 << k if is_weak else int(v.type.dtype == "f32")
    for v in region.trace.body:
        bits = int(v.type.dtype == "f32")
        for a in v.args:
            bits |= met.get(a, 0)
        met[v] = bits if v.type.is_float or type(v.type) is Bundle else 0
    found = {k: met.get(v, 0) for k, v in enumerate(outputs) if weak[k] and v.type.dtype == "f64"}
    single: list[int] = []
    while True:
        reached = 1 | sum(1 << (1 + k) for k in single)
        more = [k for k, bits in found.items() if k not in single and bits & reached]
        if not more:
            return single
        single += more


def _cast(value: Value, ty: Type) -> Value:
    if value.type.dtype != ty.dtype:
        value = apply(OPS["cast"], value, dtype=ty.dtype)
    return value if value.type is ty else apply(OPS["broadcast"], value, shape=ty.shape)


def _pair(what: str, result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise SpecError(
            f"{what} needs a body that returns (carry, y), got {type(result).__name__}",
            "Return (carry, None) where there is no y.",
        )
    return result


# -- scan
def scan(
    body: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: Any = None,
    reverse: bool = False,
    checkpoint: Any = None,
) -> tuple[Any, Any]:
    """A loop that carries: `carry, y = body(carry, x)` for each x along the first axis of xs; returns (carry, ys).

    init: a number, array or structure of them; xs: an array or a structure of arrays with one leading length, or None with
    `length`; ys: each y stacked along a new first axis, None for no y. reverse: from the last x to the first.
    checkpoint: keep only every k-th carry for the reverse pass and recompute the others ("sqrt": k about sqrt(length);
    "binomial": about log2(length) carries, 32 of a symbolic length, and each step computed a few times).
    Raises ShapeError where leading lengths differ or a carry's type changes.
    """
    leaves, tree = flatten(xs, nones=True)
    if not _traced(init, leaves, length):
        return _scan_now(body, init, xs, leaves, length, reverse)
    values = [as_value(leaf) for leaf in leaves]
    steps = _length(values, leaf_names("xs", tree) if leaves else [], length)
    snapshots = 0
    if checkpoint == "binomial":
        snapshots = _places(steps)
    elif checkpoint is not None:
        return scan_in_blocks(body, init, unflatten(tree, values), steps, reverse, checkpoint)
    inner = enter(body)
    labels = ["", *words(body)]
    return scan_numbered(
        lambda i, carry, x: inner(carry, x), init, values, tree, steps, reverse, labels, snapshots
    )


def _places(steps: Dim) -> int:
    """States that a binomial schedule keeps: as many as make it compute a step about as often as there are states.

    The last place is for the state that is being reversed.
    """
    return (max(2, steps.bit_length()) if isinstance(steps, int) else 31) + 1


def scan_numbered(
    body: Callable[..., Any], init: Any, values: Sequence[Value], tree: Tree, steps: Dim, reverse: bool = False,
    labels: Sequence[str | Sequence[str]] = (), snapshots: int = 0,
) -> tuple[Any, Any]:  # fmt: skip
    """A traced scan whose body takes the number of its step first: body(i, carry, x) -> (carry, y)."""
    start, weak, carry_tree = _carry_values(init)
    item_types = [unstacked(v.type) for v in values]

    def build(carry_types: list[Type]) -> tuple[list[Value], Tree, Any]:
        shapes: list[Tree] = []

        def step(i: Any, carry: Any, x: Any) -> Any:
            carried, y = _pair("scan", body(i, carry, x))
            shapes.extend((flatten(carried, nones=True)[1], flatten(y, nones=True)[1]))
            return [*flatten(carried, nones=True)[0], *flatten(y, nones=True)[0]]

        region = trace_region(
            step, "body", labels, [LEAF, carry_tree, tree], [[I64], carry_types, item_types]
        )  # fmt: skip
        count = shapes[0].size
        return region.outputs[:count], shapes[0], (region, shapes[1])

    start, (region, y_tree) = _settle("scan", build, start, weak, carry_tree)
    (function,), consts = close(region)
    made = apply(
        SCAN, *start, *values, *consts, body=function, carries=len(start), items=len(values), length=steps,
        reverse=bool(reverse), kept=(), snapshots=snapshots,
    )  # fmt: skip
    results = items(made)
    return unflatten(carry_tree, results[: len(start)]), unflatten(y_tree, results[len(start) :])


def _traced(*parts: Any) -> bool:
    return current_trace() is not None


def scan_in_blocks(
    body: Callable[..., Any], init: Any, xs: Any, steps: Dim, reverse: bool, every: Any
) -> tuple[Any, Any]:
    """A scan over blocks of steps, each a checkpoint: reverse mode keeps one carry a block and runs a block twice.

    every: steps a block; "sqrt" takes the square root of the number of steps, which makes memory smallest.
    (A. Griewank and A. Walther, "Evaluating Derivatives", 2nd ed., SIAM 2008, section 12.)
    """
    if every == "sqrt":
        root = isqrt(steps)
        every = max(1, root) if isinstance(root, int) else add(root, 1)
    elif isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise SpecError(f'checkpoint needs a number of steps, "sqrt" or "binomial", got {every!r}')
    leaves, tree = flatten(xs, nones=True)
    blocks = floordiv(steps, every)
    done = mul(blocks, every)
    rest = add(steps, mul(done, -1))

    def part(lo: Dim, hi: Dim) -> list[Any]:
        return [FUNCTIONS["getitem"](v, slice(Extent.of(lo), Extent.of(hi))) for v in leaves]

    def block(carry: Any, x: Any) -> Any:
        return scan(body, carry, x, every, reverse)

    def over_blocks(carry: Any) -> tuple[Any, list[Any], Tree]:
        folded = [reshape(v, (blocks, every, *v.type.shape[1:])) for v in part(0, done)]
        carry, ys = scan(checkpointed(block), carry, unflatten(tree, folded), blocks, reverse)
        found, y_tree = flatten(ys, nones=True)
        return carry, [reshape(y, (done, *y.type.shape[2:])) for y in found], y_tree

    def over_rest(carry: Any) -> tuple[Any, list[Any], Tree]:
        carry, ys = scan(body, carry, unflatten(tree, part(done, steps)), rest, reverse)
        found, y_tree = flatten(ys, nones=True)
        return carry, found, y_tree

    if rest == 0:
        carry, ys, y_tree = over_blocks(init)
        return carry, unflatten(y_tree, ys)
    if reverse:
        carry, last, y_tree = over_rest(init)
        carry, first, _ = over_blocks(carry)
    else:
        carry, first, y_tree = over_blocks(init)
        carry, last, _ = over_rest(carry)
    ys = [concatenate([a, b]) for a, b in zip(first, last, strict=True)]
    return carry, unflatten(y_tree, ys)


def _length(values: Sequence[Value], names: Sequence[str], length: Any) -> Dim:
    steps = None if length is None else dim_or_none(length)
    if length is not None and steps is None:
        raise SpecError(
            f"scan needs a length known as a number or size, got {length!r}",
            "A count that depends on data needs gg.while_loop.",
        )
    for value, name in zip(values, names, strict=True):
        if not value.type.shape:
            raise ShapeError(f"scan needs arrays with a leading axis, got {name}: {value.type}")
        found = value.type.shape[0]
        if steps is None:
            steps = found
        elif found != steps:
            raise ShapeError(f"scan needs arrays of one leading length, got {steps} and {found}")
    if steps is None:
        raise SpecError("scan needs xs or a length, got neither")
    if isinstance(steps, int) and steps < 0:
        raise SpecError(f"scan needs a length of zero or more, got {steps}")
    return steps


def _scan_now(
    body: Any, init: Any, xs: Any, leaves: list[Any], length: Any, reverse: bool
) -> tuple[Any, Any]:
    """The loop on eager Values and arrays."""
    lengths = {len(leaf) for leaf in leaves} | ({int(length)} if length is not None else set())
    if len(lengths) != 1:
        raise ShapeError(f"scan needs one leading length, got {sorted(lengths) or 'none'}")
    (count,) = lengths
    _, tree = flatten(xs, nones=True)
    carry, found, y_tree = init, [], NONE
    for i in reversed(range(count)) if reverse else range(count):
        x = unflatten(tree, [leaf[i] for leaf in leaves])
        carry, y = _pair("scan", body(carry, x))
        y_leaves, y_tree = flatten(y, nones=True)
        found.append(y_leaves)
    if reverse:
        found.reverse()
    ys = [_stack_now(column) for column in zip(*found, strict=True)]
    return carry, unflatten(y_tree, ys)


def _stack_now(column: Sequence[Any]) -> Any:
    return stack(list(column)) if any_value(list(column)) else np.stack(column)


# -- fori_loop
def fori_loop(lo: Any, hi: Any, body: Callable[..., Any], init: Any) -> Any:
    """`for i in range(lo, hi): x = body(i, x)`, from x = init; returns the last x.

    lo, hi: integers, sizes, or traced integers (then it is a while loop). ShapeError where the carry's type changes.
    """
    if not _traced(lo, hi, init):
        carry = init
        for i in range(int(lo), int(hi)):
            carry = body(i, carry)
        return carry
    first, last = dim_or_none(lo), dim_or_none(hi)
    if first is None or last is None:
        lo, hi = _integer("fori_loop", lo), _integer("fori_loop", hi)

        def test(state: Any) -> Any:
            return state[0] < hi

        def step(state: Any) -> Any:
            return state[0] + 1, enter(body)(state[0], state[1])

        return while_loop(test, step, (lo, init))[1]
    steps = max0(add(last, mul(first, -1)))
    start, weak, tree = _carry_values(init)

    def build(types: list[Type]) -> tuple[list[Value], Tree, Any]:
        shapes: list[Tree] = []

        def step(i: Any, carry: Any) -> Any:
            result = enter(body)(i if first == 0 else i + first, carry)
            found, shape = flatten(result, nones=True)
            shapes.append(shape)
            return found

        region = trace_region(step, "body", words(body), [LEAF, tree], [[I64], types])
        return region.outputs, shapes[0], (region,)

    start, (region,) = _settle("fori_loop", build, start, weak, tree)
    (function,), consts = close(region)
    made = apply(
        SCAN, *start, *consts, body=function, carries=len(start), items=0, length=steps, reverse=False, kept=()
    )  # fmt: skip
    return unflatten(tree, items(made)[: len(start)])


def _integer(what: str, value: Any) -> Value:
    found = as_value(value)
    if found.type.shape or found.type.dtype not in ("i64", "i32"):
        raise SpecError(f"{what} needs integers as bounds, got {found.type}")
    return found if found.type is I64 else apply(OPS["cast"], found, dtype="i64")


# -- while_loop
def while_loop(
    cond: Callable[..., Any], body: Callable[..., Any], init: Any, max_steps: int | None = None
) -> Any:
    """`while cond(x): x = body(x)`, from x = init; returns the last x.

    Differentiated in reverse, it keeps a tape whose length is the number of steps; max_steps bounds it, and a loop that needs
    more is an error. ShapeError where the carry's type changes or cond is no scalar bool.
    """
    if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 0):
        raise SpecError(f"while_loop needs max_steps of zero or more, got {max_steps!r}")
    if not _traced(init):
        carry, count = init, 0
        while _truth(cond(carry)):
            if count == max_steps:
                raise TraceError(f"the while loop needs more than max_steps = {max_steps} steps")
            carry = body(carry)
            count += 1
        return carry
    return while_traced(cond, body, init, max_steps, words(body))


def while_traced(
    cond: Callable[..., Any], body: Callable[..., Any], init: Any, max_steps: int | None = None,
    words: Sequence[str | Sequence[str]] = (), solver: str | None = None,
) -> Any:  # fmt: skip
    """A traced while loop; words: a name for the carry, or for each leaf of it; solver: whose iteration it is."""
    start, weak, tree = _carry_values(init)
    labels = ["", *words]

    def build(types: list[Type]) -> tuple[list[Value], Tree, Any]:
        shapes: list[Tree] = []

        def step(i: Any, carry: Any) -> Any:
            found, shape = flatten(enter(body)(carry), nones=True)
            shapes.append(shape)
            return found

        region = trace_region(step, "body", labels, [LEAF, tree], [[I64], types])
        return region.outputs, shapes[0], (region,)

    start, (region,) = _settle("while_loop", build, start, weak, tree)
    check = trace_region(
        lambda i, carry: scalar_bool("while_loop", enter(cond)(carry)),
        "test", labels, [LEAF, tree], [[I64], [v.type for v in start]],
    )  # fmt: skip
    (test_fn, body_fn), consts = close(check, region)
    made = apply(
        WHILE, *start, *consts, test=test_fn, body=body_fn, carries=len(start), steps=None, max_steps=max_steps, kept=(),
        solver=solver,
    )  # fmt: skip
    return unflatten(tree, items(made)[1:])


def _truth(value: Any) -> bool:
    return bool(value.data if isinstance(value, Value) else value)


def scalar_bool(what: str, value: Any) -> Value:
    found = as_value(value)
    if found.type.shape:
        raise ShapeError(
            f"{what} needs a scalar condition, got {found.type}", "Reduce it with np.any or np.all."
        )
    return found if found.type is BOOL else apply(OPS["not_equal"], found, 0)


# -- cond
def cond(pred: Any, then: Callable[..., Any], otherwise: Callable[..., Any], *args: Any) -> Any:
    """`then(*args) if pred else otherwise(*args)`; only the branch taken is evaluated.

    Both branches return one structure of one shape each, in the wider dtype of the two (Python numbers are weak); ShapeError
    shows both where they do not.
    """
    if isinstance(pred, (bool, np.bool_)):
        return (then if pred else otherwise)(*args)
    if not _traced(pred):
        return then(*args) if _truth(pred) else otherwise(*args)
    test = scalar_bool("cond", pred)

    def closed(f: Any) -> Region:
        # Arguments reach the branch as what they are: static ones stay static, traced ones become operands.
        held = contents(f, *args)
        region = trace_region(lambda: enter(f)(*args), "branch")
        check_unchanged(held)
        return region

    regions = [closed(then), closed(otherwise)]
    return branch(test, regions)


def branch(test: Value, regions: Sequence[Region], labels: Sequence[str] = ()) -> Any:
    """The cond statement of two traced branches, their results (which labels name) brought to one type."""
    first, second = regions
    if first.result != second.result:
        raise ShapeError(
            f"cond needs branches that return one structure, got {first.result} and {second.result}"
        )
    names = labels or (leaf_names("result", first.result) if first.outputs else [])
    for k, name in enumerate(names):
        a, b = first.outputs[k], second.outputs[k]
        if a.type is b.type:
            continue
        if a.type.shape != b.type.shape:  # one of them spread over the other is another function
            raise ShapeError(
                f"cond needs branches that return one type, got {name}: {a.type} and {b.type}",
                "Broadcast or cast one of them.",
            )
        ty = Type.of(promote(a.type.dtype, b.type.dtype), a.type.shape)
        for region in regions:
            region.outputs[k] = _within(region.trace, region.outputs[k], ty)
    (then_fn, otherwise_fn), consts = close(first, second)
    made = apply(COND, test, *consts, then=then_fn, otherwise=otherwise_fn)
    return unflatten(first.result, items(made))


def _within(trace: Trace, value: Value, ty: Type) -> Value:
    with trace:
        return _cast(value, ty)


# -- map
def map(f: Callable[..., Any], xs: Any) -> Any:
    """`f(x)` for each x along the first axis of xs (an array or a structure of arrays), stacked along a new first axis."""
    if not _traced(xs):
        return _scan_now(
            lambda carry, x: (None, f(x)), None, xs, flatten(xs, nones=True)[0], None, False
        )[1]
    _, ys = scan(lambda carry, x: (None, enter(f)(x)), None, xs)
    return ys
