"""Stability rewrites, taken before any derivative, because differentiation would fix the unstable form.

Each rule carries its validity; results are never less accurate than the plain form. `canonical(False)` turns them off.

    log(1 + exp(x)), log1p(exp(x))  ->  softplus(x)      all x; the plain form overflows above 709
    logaddexp(0, x)                 ->  softplus(x)      exact
    sqrt(x * x), sqrt(square(x))    ->  abs(x)           all x, exact; the plain form over- and underflows
    sqrt(sum(x * x)), sqrt(x*x + y*y + ...), sqrt(mean(x * x)), sqrt(x @ x)  ->  root of the same
                                                         all x: the same value, and derivative 0 at 0 instead of nan
    log(sum(exp(x)))                ->  logsumexp(x)     all x; sums shifted by hand: see `exponentials`
    log(exp(x) + exp(y))            ->  logaddexp(x, y)  all x, y
    log(exp(x) / sum(exp(x)))       ->  log_softmax(x)   all x: the logarithm of a softmax
    log(exp(x))                     ->  x                all x; the plain form over- and underflows
    c / (1 + exp(-x))               ->  c * sigmoid(x)   all x; the plain form's derivative is nan where exp overflows
    exp(x) / (1 + exp(x))           ->  sigmoid(x)       all x; the plain form is nan there; over the square of 1 + exp(x) too
    1 - sigmoid(x)                  ->  sigmoid(-x)      all x; the plain form cancels to 0 above 37
    log(sigmoid(x))                 ->  -softplus(-x)    all x; the plain form is -inf below -709
    square(root(x))                 ->  x                x a sum of squares: a norm squared
    square(abs(x))                  ->  square(x)        exact; its second derivative at 0 is 2, not 0
    square(hypot(x, y))             ->  square(x) + square(y)   likewise; all x, y but inf beside nan
    x * x                           ->  square(x)        exact; its derivative is one product, not the sum of two
    exp(x) - 1 -> expm1(x);  log(1 + x) -> log1p(x)      all x; no cancellation near 0
    1 - tanh(x)**2                  ->  sech2(x)         all x; the plain form cancels to 0 above 19
    x / sqrt(x*x + y*y)             ->  direction(x, y)  all x, y, y*y perhaps a constant >= 0; the plain form over- and
                                                         underflows, and its derivative cancels for x far above y
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np

from gradgen.cse import cse
from gradgen.differentiate import exponentials
from gradgen.invariant import differentiable
from gradgen.ir import CONST, OPS, SIZE, Function
from gradgen.ops.reductions import log_softmax, logsumexp
from gradgen.rewriting import Rule, rewrite, within
from gradgen.value import Value, apply, constant


class _Settings(threading.local):
    enabled = True

    def __init__(self) -> None:
        self.sums: dict[Value, bool] = {}  # of the pass that runs: which values are sums of squares


_settings = _Settings()


@contextlib.contextmanager
def canonical(enabled: bool) -> Iterator[None]:
    """Within the block, whether stability rewrites are applied (`Options.rewrite`)."""
    saved, _settings.enabled = _settings.enabled, enabled
    try:
        yield
    finally:
        _settings.enabled = saved


def canonicalise(fn: Function) -> Function:
    """`fn` with numerically better forms of the same functions, each computation once, and outside of loops where it can be."""
    return _canonicalise(within(fn, _canonicalise))


def _canonicalise(fn: Function) -> Function:
    if not _settings.enabled:
        return differentiable(cse(fn))
    fn = cse(fn)  # rules compare operands: (x - y) @ (x - y) is a vector with itself
    _settings.sums = {}
    try:
        made = rewrite(fn, _rules())
        return differentiable(fn if made is fn else cse(made))
    finally:
        _settings.sums = {}


def is_number(value: Value, number: float) -> bool:
    return value.op is CONST and not value.type.shape and value.params["value"] == number


def _one_plus(value: Value) -> Value | None:
    """x, if value is 1 + x or x + 1."""
    if value.op.name == "add":
        a, b = value.args
        if is_number(a, 1.0):
            return b
        if is_number(b, 1.0):
            return a
    return None


def _log(node: Value, args: tuple[Value, ...]) -> Value | None:
    (x,) = args
    if x.op.name == "exp" and x.args[0].type is node.type:  # a softmax, then its logarithm
        return x.args[0]
    rest = _one_plus(x)
    if rest is not None:
        if rest.op.name == "exp":
            return apply(OPS["softplus"], rest.args[0])
        return apply(OPS["log1p"], rest)
    if x.op.name == "sum" and x.args[0].op.name == "exp":
        return apply(OPS["logsumexp"], x.args[0].args[0], **x.params)
    if x.op.name == "add" and all(
        a.op.name == "exp" and a.type.dtype == x.type.dtype for a in x.args
    ):
        return apply(OPS["logaddexp"], *[a.args[0] for a in x.args])
    if x.op.name == "div" and x.args[0].op.name == "exp" and x.args[0].type is x.type:
        return _log_of_share(*x.args)
    if x.op.name == "sigmoid":
        return -apply(OPS["softplus"], _negated(x.args[0]))
    return None


def _negated(x: Value) -> Value:
    return x.args[0] if x.op.name == "neg" else -x


def _logistic(node: Value, args: tuple[Value, ...]) -> Value | None:
    """c / (1 + exp(u)), and exp(u) over it or over its square."""
    c, whole = args if len(args) == 2 else (None, args[0])
    below = whole.args[0] if whole.op.name == "square" else whole
    rest = _one_plus(below)
    if rest is None or rest.op.name != "exp" or rest.type.dtype != node.type.dtype:
        return None
    (u,) = rest.args
    falling = apply(OPS["sigmoid"], _negated(u))
    if c is rest:
        rising = apply(OPS["sigmoid"], u)
        return rising if below is whole else rising * falling
    if below is not whole:
        return None
    if c is None or (is_number(c, 1.0) and rest.type is node.type):
        return falling
    return -falling if is_number(c, -1.0) and rest.type is node.type else c * falling


def _log_of_share(share: Value, total: Value) -> Value | None:
    """log(share / total), where total is the sum of what share is an element of."""
    whole = total.args[0] if total.op.name == "reshape" else total
    terms = whole.args[0] if whole.op.name == "sum" else total
    if terms.op is not share.op or terms.args[0] is not share.args[0]:
        return None
    axes, shape = whole.params["axes"], share.type.shape
    kept = tuple([1 if k in axes else dim for k, dim in enumerate(shape)])
    if (1,) * (len(shape) - total.type.ndim) + total.type.shape != kept:
        return None  # broadcast along other axes than it was summed over
    x = share.args[0]
    if x.op.name == "sub" and _is_largest(x.args[1]):
        return x - logsumexp(x, axes, None, True)  # the largest has been taken off
    return log_softmax(x, axes)


def _is_largest(value: Value) -> bool:
    while value.op.name in ("reshape", "stop_gradient"):
        value = value.args[0]
    return value.op.name == "reduce_max"


def _div(node: Value, args: tuple[Value, ...]) -> Value | None:
    x, length = args
    square = length.args[0] if length.op.name in ("sqrt", "root") else None
    if square is None or square.op.name != "add":
        return None
    for own, other in (square.args, square.args[::-1]):
        if not (_is_square(own) and own.args[0] is x):
            continue
        if _is_square(other):
            return apply(OPS["direction"], x, other.args[0])
        if other.op is CONST and not other.type.shape and other.params["value"] >= 0:
            side = constant(np.sqrt(other.params["value"]), other.type.dtype)
            return apply(OPS["direction"], x, side)
    return None


def _square(node: Value, args: tuple[Value, ...]) -> Value | None:
    return _squared(args[0])


def _squared(x: Value) -> Value | None:
    """square(x) without the kink that squaring takes away again; None where x is no length."""
    name = x.op.name
    if name == "root":
        return x.args[0] if _is_sum_of_squares(x.args[0]) else None
    if name == "abs":
        return apply(OPS["square"], x.args[0])
    if name == "hypot" and all(a.type.dtype == x.type.dtype for a in x.args):
        return apply(OPS["square"], x.args[0]) + apply(OPS["square"], x.args[1])
    if name in ("reshape", "slice"):  # a norm with keepdims, a part of many
        inner = _squared(x.args[0])
        return None if inner is None else apply(x.op, inner, **x.params)
    return None


def _mul(node: Value, args: tuple[Value, ...]) -> Value | None:
    a, b = args
    if a is not b or not node.type.is_float:
        return None
    squared = _squared(a)
    return apply(OPS["square"], a) if squared is None else squared


def _logaddexp(node: Value, args: tuple[Value, ...]) -> Value | None:
    for zero, x in (args, args[::-1]):
        if is_number(zero, 0.0) and x.type is node.type:
            return apply(OPS["softplus"], x)
    return None


def _log1p(node: Value, args: tuple[Value, ...]) -> Value | None:
    (x,) = args
    if x.op.name == "neg" and x.args[0].op.name == "sigmoid":
        return -apply(OPS["softplus"], x.args[0].args[0])
    return apply(OPS["softplus"], x.args[0]) if x.op.name == "exp" else None


def _sqrt(node: Value, args: tuple[Value, ...]) -> Value | None:
    (x,) = args
    if _is_square(x):
        return apply(OPS["abs"], x.args[0])
    return apply(OPS["root"], x) if _is_sum_of_squares(x) else None


def _is_sum_of_squares(value: Value) -> bool:
    """Whether a value is a sum of squares, or one over a count: at least 0, and flat where it is 0."""
    known = _settings.sums
    todo = [value]
    while todo:
        v = todo[-1]
        if v not in known:
            parts = _addends(v)
            waiting = [p for p in parts or () if p not in known]
            if waiting:
                todo += waiting
                continue
            known[v] = parts is not None and all(known[p] for p in parts)
        todo.pop()
    return known[value]


def _addends(value: Value) -> list[Value] | None:
    """What has to be sums of squares for `value` to be one: nothing for a square itself; None: it is not one."""
    name, args = value.op.name, value.args
    if _is_square(value) or (name == "matmul" and _is_square_of_vector(*args)):
        return []
    if name in ("add", "sum", "reshape"):
        return list(args)
    if name == "slice":
        return list(args[:1])
    if name == "div" and _is_positive(args[1]):
        return [args[0]]
    if name == "mul" and any(map(_is_positive, args)):
        return [args[1] if _is_positive(args[0]) else args[0]]
    return None


def _is_square_of_vector(a: Value, b: Value) -> bool:
    """Whether a @ b is the product of a vector with itself, as x @ x or as a row times a column."""
    if a is b:
        return a.type.ndim == 1
    if a.op.name != "reshape" or b.op.name != "reshape" or a.args[0] is not b.args[0]:
        return False
    *rows, one, n = a.type.shape
    return one == 1 and b.type.shape == (*rows, n, 1)


def _is_positive(value: Value) -> bool:
    """Whether it is a positive number, a count, or a quotient or product of two such."""
    parts = value.args if value.op.name in ("div", "mul") else (value,)
    for part in parts:
        if part.op.name == "cast":  # a count in f32
            part = part.args[0]
        number = part.op is CONST and not part.type.shape and bool(part.params["value"] > 0)
        if not number and part.op is not SIZE:
            return False
    return True


def _is_square(value: Value) -> bool:
    return value.op.name == "square" or (value.op.name == "mul" and value.args[0] is value.args[1])


def _sub(node: Value, args: tuple[Value, ...]) -> Value | None:
    a, b = args
    if a.op.name == "exp" and is_number(b, 1.0) and a.type is node.type:
        return apply(OPS["expm1"], a.args[0])
    if is_number(a, 1.0) and b.op.name == "sigmoid" and b.type is node.type:
        return apply(OPS["sigmoid"], _negated(b.args[0]))
    if is_number(a, 1.0) and _is_square(b) and b.args[0].op.name == "tanh" and b.type is node.type:
        return apply(OPS["sech2"], b.args[0].args[0])
    return None


def _rules() -> dict[object, list[Rule]]:
    table: dict[str, list[Rule]] = {
        "log": [_log], "log1p": [_log1p], "sqrt": [_sqrt], "square": [_square], "mul": [_mul],
        "logaddexp": [_logaddexp],
        "add": [exponentials.add_rule],
        "sub": [_sub, exponentials.sub_rule],
        "div": [_div, _logistic, exponentials.div_rule],
        "reciprocal": [_logistic],
    }  # fmt: skip
    return {OPS[name]: rules for name, rules in table.items()}
