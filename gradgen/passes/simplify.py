"""Folding of constants and algebraic simplification: rules `before -> after`, each with where it holds.

"exact": the same bits for every input, NaN, infinities and signed zeros included. "rounding": equal as real numbers;
the last digits may differ, and the form after is no less accurate. `x*0 -> 0` is false for floats and is not here; nor
is `x + 0.0 -> x` (it would keep -0.0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.ir import CONST, OPS, SIZE, Function, Op
from gradgen.ops.index import is_zeros, zeros
from gradgen.ops.spans import Span
from gradgen.rewriting import Rule, rewrite
from gradgen.sizes import evaluate
from gradgen.types import DTYPES, Shape
from gradgen.types import broadcast as broadcast_shapes
from gradgen.value import Value, apply, constant

Args = tuple[Value, ...]
_LARGEST_FOLD = 64
_LARGEST_LIST = 16  # elements of an array that is written out
_tables: dict[str, dict[object, list[Rule]]] = {}


def simplify(fn: Function) -> Function:
    """`fn` with constants folded and the algebra below applied, once at each statement."""
    return rewrite(fn, rules())


def rules() -> dict[object, list[Rule]]:
    """The table of rules by op."""
    if "rules" not in _tables:
        _tables["rules"] = _rules()
    return _tables["rules"]


def make(op: Op, *args: Value, **params: Any) -> Value:
    """A statement made by a rule, simplified in its turn; rules only ever make smaller or more canonical ones."""
    node = apply(op, *args, **params)
    for rule in rules().get(op, ()):
        out = rule(node, node.args)
        if out is not None:
            return out
    return node


def _is(value: Value, number: float) -> bool:
    if value.op is not CONST or value.type.shape:
        return False
    v = value.params["value"].item()
    return bool(v == number) and not (number == 0 and np.signbit(v))


def _neg(value: Value) -> Value | None:
    return value.args[0] if value.op is OPS["neg"] else None


# -- constants: an elementwise op of small constants is computed now  (exact)
def _fold(node: Value, args: Args) -> Value | None:
    if node.op.name == "mulz" or not node.type.static:
        return None
    if evaluate(node.type.size, {}) > _LARGEST_FOLD:
        return None
    with np.errstate(all="ignore"):
        value = node.op.evaluate(*[a.params["value"] for a in args], **node.params)
    return constant(np.asarray(value, DTYPES[node.type.dtype]), node.type.dtype)


def _fold_or_unspread(node: Value, args: Args) -> Value | None:
    for a in args:
        if a.op is not CONST:
            return _unspread(node, args) if node.type.shape else None
    return _fold(node, args)


# -- broadcast: an elementwise op broadcasts by itself  (exact)
def _unspread(node: Value, args: Args) -> Value | None:
    broadcast = OPS["broadcast"]
    for a in args:
        if a.op is broadcast:
            break
    else:
        return None
    if all(not a.type.shape or (a.op is broadcast and not a.args[0].type.shape) for a in args):
        # numbers all through: compute one, then repeat it  exact
        scalars = [a.args[0] if a.type.shape else a for a in args]
        return make(broadcast, make(node.op, *scalars, **node.params), shape=node.type.shape)
    plain = list(args)
    for k, a in enumerate(args):
        if a.op is broadcast:
            inner = a.args[0]
            rest = [b.type.shape for j, b in enumerate(plain) if j != k]
            try:
                shape = broadcast_shapes("", inner.type.shape, *rest)
            except ValueError:
                continue
            if shape == node.type.shape:
                plain[k] = inner
    if all(x is y for x, y in zip(plain, args, strict=True)):
        return None
    return make(node.op, *plain, **node.params)


def _differentiated(node: Value) -> bool:
    """Whether differentiation made the statement: the sign of a zero cotangent says nothing."""
    return node.site is not None and len(node.site) > 2


def _add(node: Value, args: Args) -> Value | None:
    a, b = args
    if a.op is CONST or b.op is CONST:
        for x, y in ((a, b), (b, a)):  # 0.0 + y -> y  but for y = -0.0
            if _is(x, 0.0) and y.type is node.type and _differentiated(node):
                return y
    if a is b and node.type.is_float:  # a + a -> 2 * a  exact
        return make(OPS["mul"], constant(2.0, a.type.dtype), a)
    if (inner := _neg(b)) is not None:  # a + -b -> a - b  exact
        return make(OPS["sub"], a, inner)
    if (inner := _neg(a)) is not None:  # -a + b -> b - a  exact
        return make(OPS["sub"], b, inner)
    if (inner := _negative(b)) is not None:  # a + -c*x -> a - c*x  exact
        return make(OPS["sub"], a, inner)
    total = _like_terms(node, a, b)
    if (
        total is None and a.op is OPS["add"] and a.name is None
    ):  # (u + c*x) + d*x -> u + (c + d)*x  rounding
        u, x = a.args
        same = _like_terms(node, x, b) if u.type is node.type else None
        total = None if same is None else make(OPS["add"], u, same)
    return total if total is not None else _factor(node, a, b)


def _like_terms(node: Value, a: Value, b: Value) -> Value | None:
    """c*x + d*x -> (c + d)*x for finite constants of one sign: exact for x + x, else rounding; one operation less"""
    (c, x), (d, y) = scaled(a), scaled(b)
    if x is not y or x.type is not node.type or not x.type.is_float:
        return None
    m, n = (1.0 if k is None else k.params["value"] for k in (c, d))
    if not (np.isfinite(m) and np.isfinite(n) and np.sign(m) == np.sign(n) != 0):
        return None
    return make(OPS["mul"], constant(m + n, x.type.dtype), x)


def scaled(value: Value) -> tuple[Value | None, Value]:
    """(c, x), where value is c*x for a constant number c of its dtype; (None, value) for any other."""
    if value.op is OPS["mul"]:
        c, x = value.args
        if c.op is not CONST:
            c, x = x, c
        if c.op is CONST and not c.type.shape and c.type.dtype == x.type.dtype:
            return c, x
    return None, value


def _sub(node: Value, args: Args) -> Value | None:
    a, b = args
    if (inner := _neg(b)) is not None:  # a - -b -> a + b  exact
        return make(OPS["add"], a, inner)
    if (inner := _negative(b)) is not None:  # a - -c*x -> a + c*x  exact
        return make(OPS["add"], a, inner)
    if _is(b, 0.0) and a.type is node.type:  # x - 0.0 -> x  exact
        return a
    if (
        _is(a, 0.0) and b.type is node.type and _differentiated(node)
    ):  # 0.0 - y -> -y  but for y = 0.0
        return make(OPS["neg"], b)
    if (inner := _neg(a)) is not None:  # -c*x - d*x -> -((c + d)*x)
        total = _like_terms(node, inner, b)
        if total is not None:
            return make(OPS["neg"], total)
    return _factor(node, a, b)


def _factor(node: Value, a: Value, b: Value) -> Value | None:
    """s*a + s*b -> s*(a + b), and the same for differences and quotients, s a scalar.  rounding; one product less"""
    if a.op is not b.op or not node.type.shape or a is b:
        return None
    if a.op is OPS["mul"]:
        for i in (0, 1):
            for j in (0, 1):
                s = a.args[i]
                if not s.type.shape and (s is b.args[j] or (_equal_leaf(s, b.args[j]))):
                    return _times(s, make(node.op, a.args[1 - i], b.args[1 - j]), i == 0)
    if a.op is OPS["div"]:
        s = a.args[1]
        if not s.type.shape and (s is b.args[1] or _equal_leaf(s, b.args[1])):
            return make(OPS["div"], make(node.op, a.args[0], b.args[0]), s)
    return None


def _equal_leaf(a: Value, b: Value) -> bool:
    if a.op is SIZE and b.op is SIZE:
        return bool(a.params["size"] == b.params["size"])
    return (
        a.op is CONST
        and b.op is CONST
        and a.type is b.type
        and a.params["value"] == b.params["value"]
    )


def _times(s: Value, x: Value, left: bool) -> Value:
    return make(OPS["mul"], s, x) if left else make(OPS["mul"], x, s)


def _mul(node: Value, args: Args) -> Value | None:
    a, b = args
    aop, bop = a.op, b.op
    plain = _PLAIN_ARRAYS if node.type.shape else _PLAIN_FACTORS
    if aop in plain and bop in plain:
        return None  # by far the most common case: nothing below applies
    for x, y in ((a, b), (b, a)):
        if x.op is not CONST or x.type.shape:
            continue
        number = x.params["value"].item()
        if number == 1.0 and y.type is node.type:  # 1 * y -> y  exact
            return y
        if number == -1.0 and y.type is node.type:  # -1 * y -> -y  exact
            return make(OPS["neg"], y)
        if number == 1.0 and y.type.is_float and y.type.shape == node.type.shape:
            # 1 * y -> y in the wider dtype  exact
            return make(OPS["cast"], y, dtype=node.type.dtype)
    na, nb = _neg(a), _neg(b)
    if na is not None and nb is not None:  # -a * -b -> a * b  exact
        return make(OPS["mul"], na, nb)
    if na is not None:  # -a * b -> -(a * b)  exact
        return make(OPS["neg"], make(OPS["mul"], na, b))
    if nb is not None:  # a * -b -> -(a * b)  exact
        return make(OPS["neg"], make(OPS["mul"], a, nb))
    for x, y in ((a, b), (b, a)):  # y * (1 / c) -> y / c, rounding: one error instead of two
        if x.op is OPS["div"] and _is(x.args[0], 1.0):
            return make(OPS["div"], y, x.args[1])
        if x.op is OPS["reciprocal"]:
            return make(OPS["div"], y, x.args[0])
    (c, x), (d, y) = _split(a), _split(b)
    if (
        c is not None and d is not None and (_two(c) or _two(d))
    ):  # (c*x) * (d*y) -> (c*d) * (x*y)  likewise
        return make(
            OPS["mul"],
            constant(c.params["value"] * d.params["value"], c.type.dtype),
            make(OPS["mul"], x, y),
        )
    for s, v, two in ((a, y, d), (b, x, c)):
        # s * (2 * v) -> (2 * s) * v for a scalar s: exact but for underflow, one pass less
        if two is None or not _two(two) or s.type.shape or s.op is CONST:
            continue
        if v.type.shape and v.type is node.type and s.type.dtype == two.type.dtype:
            return make(OPS["mul"], make(OPS["mul"], two, s), v)
    for x, y in ((a, b), (b, a)):
        if x.op is CONST and not x.type.shape:
            if (
                y.op is OPS["div"]
                and _two(x)
                and y.args[0].op is CONST
                and y.args[0].type is x.type
            ):
                twice = constant(x.params["value"] * y.args[0].params["value"], x.type.dtype)
                return make(OPS["div"], twice, y.args[1])  # 2 * (d / y) -> (2 * d) / y  likewise
            taken = _take_factor(x, y, 3)
            if taken is not None:
                product, rest = taken
                if _is(product, 1.0) and rest.type is node.type:
                    return rest
                if _is(product, -1.0) and rest.type is node.type:
                    return make(OPS["neg"], rest)
                return make(OPS["mul"], product, rest)
    return None


def _split(value: Value) -> tuple[Value | None, Value]:
    """(c, x), where a value without a name is c*x for a constant number c, perhaps reshaped."""
    if value.name is not None:
        return None, value
    if value.op is not OPS["reshape"]:
        return scaled(value)
    c, x = _split(value.args[0])
    return (c, value) if c is None else (c, make(value.op, x, **value.params))


def _negative(value: Value) -> Value | None:
    """c*x where a value, perhaps named, is -c*x, or one without a name a reshaped -c*x, for a constant number c."""
    if value.op is OPS["reshape"] and value.name is None:
        inner = _negative(value.args[0])
        return None if inner is None else make(value.op, inner, **value.params)
    if value.op is OPS["mul"] and value.type.is_float:
        for k in (0, 1):
            c = value.args[k]
            if c.op is CONST and not c.type.shape and c.params["value"] < 0:
                return _times(constant(-c.params["value"], c.type.dtype), value.args[1 - k], k == 0)
    return None


def _take_factor(c: Value, y: Value, depth: int) -> tuple[Value, Value] | None:
    """c * (d * z) -> (c*d) * z where c or d is a power of two, d among the factors of y: exact but for under- and overflow"""
    if y.op is not OPS["mul"] or not depth:
        return None
    for k in (0, 1):
        d, rest = y.args[k], y.args[1 - k]
        if d.op is CONST and not d.type.shape and d.type is c.type and (_two(c) or _two(d)):
            return constant(c.params["value"] * d.params["value"], c.type.dtype), rest
    if y.name is not None:
        return None  # a value that is there anyway
    for k in (0, 1):
        inner, rest = y.args[k], y.args[1 - k]
        taken = _take_factor(c, inner, depth - 1)
        if taken is not None and taken[1].type is inner.type:
            parts = (taken[1], rest) if k == 0 else (rest, taken[1])
            return taken[0], apply(OPS["mul"], *parts)
    return None


def _two(value: Value) -> bool:
    """Whether a constant is a power of two."""
    return is_power_of_two(float(value.params["value"]))


def is_power_of_two(v: float) -> bool:
    return v != 0 and bool(np.isfinite(v)) and abs(np.frexp(v)[0]) == 0.5


def _div(node: Value, args: Args) -> Value | None:
    a, b = args
    if _is(b, 1.0) and a.type is node.type:  # x / 1 -> x  exact
        return a
    if (inner := _neg(a)) is not None:  # -a / b -> -(a / b)  exact
        return make(OPS["neg"], make(OPS["div"], inner, b))
    return None


def _negate(node: Value, args: Args) -> Value | None:
    (x,) = args
    if (inner := _neg(x)) is not None:  # --x -> x  exact
        return inner
    if x.op is OPS["where"] and x.name is None and _differentiated(node):
        c, a, b = x.args  # -where(c, k, 0) -> where(c, -k, 0)  but for the sign of a zero
        if _is(b, 0.0) and _nonzero_scalar(a):
            return make(OPS["where"], c, make(OPS["neg"], a), b)
    return _negative(x)  # -(-c * x) -> c * x  exact


def _mulz(node: Value, args: Args) -> Value | None:
    a, p = args
    known = a.op is CONST and bool(np.all(a.params["value"] != 0))
    finite = p.op is CONST and bool(np.all(np.isfinite(p.params["value"])))
    if known or finite:  # the guard has nothing to guard  exact
        return make(OPS["mul"], a, p)
    if a.op is CONST and not a.type.shape and not a.params["value"] and node.type.is_float:
        return zeros(node.type)  # mulz(0, p) -> 0, whatever p is  exact
    if a.op is OPS["where"] and a.type is node.type:
        c, x, y = a.args
        if _is(y, 0.0) and _nonzero_scalar(
            x
        ):  # mulz(where(c, k, 0), p) -> where(c, k*p, 0)  but for the sign of a zero
            return make(OPS["where"], c, make(OPS["mul"], x, p), y)
        if _is(x, 0.0) and _nonzero_scalar(y):
            return make(OPS["where"], c, x, make(OPS["mul"], y, p))
    return None


def _nonzero_scalar(value: Value) -> bool:
    """Whether a value is a number that cannot be 0: a constant, perhaps over a size."""
    value = value if _neg(value) is None else value.args[0]
    if value.op is OPS["div"] and value.args[1].op is SIZE:
        value = value.args[0]
    return value.op is CONST and not value.type.shape and bool(value.params["value"] != 0)


def _where(node: Value, args: Args) -> Value | None:
    c, a, b = args
    if a is b and a.type is node.type:  # where(c, a, a) -> a  exact
        return a
    if c.op is CONST and not c.type.shape:
        taken = a if c.params["value"] else b
        return taken if taken.type is node.type else None
    return None


def _same(node: Value, args: Args) -> Value | None:
    """A move or cast to the type that is there already.  exact"""
    x = args[0]
    if x.type is node.type and node.op is not OPS["transpose"]:
        return x
    if node.op is OPS["reshape"] and x.op is OPS["reshape"]:
        inner = x.args[0]
        return inner if inner.type is node.type else make(node.op, inner, **node.params)
    if node.op is OPS["reshape"]:
        if (
            x.op is OPS["broadcast"] and not x.args[0].type.shape
        ):  # a number repeated, in another shape
            return make(OPS["broadcast"], x.args[0], shape=node.type.shape)
        if x.op is OPS["neg"]:  # the sign moves outwards, where it can meet a sum or product
            return make(OPS["neg"], make(OPS["reshape"], x.args[0], **node.params))
        if x.op is OPS["sum"] and not x.params.get("keepdims"):
            kept = make_keepdims(x, node.type.shape)
            if kept is not None:
                return kept
    if node.op is OPS["transpose"] and x.op is OPS["transpose"]:
        axes = tuple(x.params["axes"][k] for k in node.params["axes"])
        if axes == tuple(range(len(axes))):
            return x.args[0]
        return make(node.op, x.args[0], axes=axes)
    if node.op is OPS["broadcast"] and x.op is OPS["broadcast"]:
        return make(node.op, x.args[0], **node.params)
    if node.op is OPS["broadcast"] and x.op is OPS["reshape"] and not x.args[0].type.shape:
        return make(node.op, x.args[0], **node.params)
    return None


def make_keepdims(total: Value, shape: Shape) -> Value | None:
    """The sum with its axes kept as ones, if `shape` is what that gives."""
    (x,) = total.args
    axes = total.params["axes"]
    kept = tuple(1 if k in axes else dim for k, dim in enumerate(x.type.shape))
    return apply(total.op, x, axes=axes, keepdims=True) if kept == shape else None


def _sum(node: Value, args: Args) -> Value | None:
    """sum of -x -> -(sum of x)  exact;  sum of one number many times -> the number times how often  rounding"""
    (x,) = args
    if x.op is OPS["neg"]:
        return make(OPS["neg"], make(node.op, x.args[0], **node.params))
    if (
        x.op is OPS["broadcast"]
        and x.type.is_float
        and not x.args[0].type.shape
        and not node.type.shape
    ):
        size = x.type.size
        if isinstance(size, int):
            return make(OPS["mul"], x.args[0], constant(float(size), x.type.dtype))
    return None


def _through(node: Value, args: Args) -> Value | None:
    """Derivatives have been taken: nothing is left to stop.  exact"""
    return args[0]


def _slice_add(node: Value, args: Args) -> Value | None:
    """zeros[:] with v added everywhere, in order -> v  (0.0 + -0.0 is 0.0: the sign of a zero cotangent says nothing)"""
    acc, v = args
    whole = all(
        e == Span() for e in node.params["index"]
    )  # zeros[::-1] += v is as large, and turned around
    if whole:
        return v if v.type is node.type and is_zeros(acc) else None
    put = _put(node, args)
    return _collected(node, acc, v) if put is None else put


def _put(node: Value, args: Args) -> Value | None:
    """A number spread over the slice that it is put in or added to -> the number  (exact)"""
    acc, v = args
    if v.op is not OPS["broadcast"] or v.args[0].type.shape:
        return None
    return apply(node.op, acc, v.args[0], **node.params)


def _collected(node: Value, acc: Value, v: Value) -> Value | None:
    """zeros with a number added to each element -> an array of the numbers  (but for the sign of a zero)"""
    size = node.type.shape[0]
    if node.type.ndim != 1 or not isinstance(size, int) or size > _LARGEST_LIST:
        return None
    op, params = node.op, node.params
    terms: dict[int, list[Value]] = {}
    while True:
        (place,) = params["index"]
        if not isinstance(place, int) or v.type.dtype != node.type.dtype:
            return None
        terms.setdefault(place % size, []).append(v)
        if acc.op is not op:
            break
        params, (acc, v) = acc.params, acc.args
    if len(terms) < size or not is_zeros(acc):
        return None
    numbers = []
    for k in range(size):
        total, *more = reversed(terms[k])
        for term in more:
            total = make(OPS["add"], total, term)
        numbers.append(total)
    return apply(OPS["stack"], *numbers, axis=0)


# Ops of factors that no rule of mul looks into; all but those named in `_mul`.
_PLAIN_FACTORS: set[Op] = set()
_PLAIN_ARRAYS: set[Op] = set()


def _direction(node: Value, args: Args) -> Value | None:
    """direction(a, b) -> a / hypot(a, b): exact; the length is then shared with the derivative"""
    a, b = args
    pair = (b, a) if a.type.ndim < b.type.ndim else (a, b)  # as the derivative has them
    return apply(OPS["div"], a, apply(OPS["hypot"], *pair))


def _rules() -> dict[object, list[Rule]]:
    table: dict[object, list[Rule]] = {}
    _PLAIN_FACTORS.update(
        op for op in OPS.values() if op.name not in ("const", "neg", "div", "reciprocal")
    )
    _PLAIN_ARRAYS.update(_PLAIN_FACTORS - {OPS["mul"], OPS["reshape"]})
    for op in OPS.values():
        if op.elementwise:
            table[op] = [_fold_or_unspread]
    special: dict[str, Callable[[Value, Args], Value | None]] = {
        "add": _add, "sub": _sub, "mul": _mul, "div": _div, "neg": _negate, "mulz": _mulz, "where": _where,
        "direction": _direction,
        "cast": _same, "copy": _same, "reshape": _same, "transpose": _same, "broadcast": _same, "sum": _sum,
        "slice_add": _slice_add, "slice_set": _put, "stop_gradient": _through,
    }  # fmt: skip
    for name, rule in special.items():
        table.setdefault(OPS[name], []).append(rule)
    return table
