"""Sharing: an exponential that several functions contain is computed once.

    logsumexp(x), exp(x - logsumexp(x))   ->   e = exp(x - top), s = sum(e); log(s) + top, e / s      top: the peak of x
    logsumexp(u - max(u))                 ->   log(sum(exp(u - max(u)))): the peak is 0 already
    log(1 + exp(x)), 1 / (1 + exp(-x))    ->   t = exp(-|x|); max(x, 0) + log1p(t), where(x >= 0, 1, t) / (1 + t)
    sigmoid(x), sigmoid(x) * sigmoid(-x)  ->   t = exp(-|x|); where(x >= 0, 1, t) / (1 + t), t / (1 + t)**2

The second factor of a softmax's derivative, and the derivative of softplus, are what differentiation makes; the forms after are
those that a person writes for both at once. As real numbers all are equal, for infinities and NaN too; e / s is the more
accurate. The last line is for NumPy at level "fast": in C the compiler shares the exponential of two inlined routines.
"""

from __future__ import annotations

from typing import Any

from gradgen.differentiate.exponentials import is_spread, stripped
from gradgen.ir import CONST, OPS, Function
from gradgen.ops.reduce import LOGSUMEXP, PEAK, SUM
from gradgen.passes.dce import dce
from gradgen.rewriting import Rule, rewrite
from gradgen.value import Value, apply

Args = tuple[Value, ...]


def share(fn: Function) -> Function:
    """`fn` with softmaxes from the exponentials of their logsumexp, and sums of exponentials that are shifted already."""
    sums = {n: n for n in fn.body if n.op is LOGSUMEXP}
    if not sums:
        return fn
    softmaxes: dict[Value, Value] = {}
    for node in fn.body:
        total = _softmax_of(node)
        if total is not None and total in sums:
            softmaxes[node] = total
    wanted = set(softmaxes.values())
    made: dict[Value, tuple[Value, Value]] = {}  # logsumexp -> (exponentials, their sum)

    def total_rule(node: Value, args: Args) -> Value | None:
        if node not in wanted and not _is_shifted(node):
            return None
        (x,) = args
        axes, keepdims = node.params["axes"], bool(node.params.get("keepdims"))
        keep = keepdims or axes != tuple(range(len(axes)))
        top = None
        if not _is_shifted(node):
            top = apply(PEAK, x, axes=axes, keepdims=keep)
        e = apply(OPS["exp"], x if top is None else x - top)
        s = apply(SUM, e, axes=axes, keepdims=keep)
        made[node] = (e, s)
        out = apply(OPS["log"], s)
        if top is not None:
            out = out + top
        if keep and not keepdims:
            out = apply(OPS["reshape"], out, shape=node.type.shape)
        return out

    def exp_rule(node: Value, args: Args) -> Value | None:
        total = softmaxes.get(node)
        if total is None:
            return None
        e, s = made[total]
        return apply(OPS["div"], e, s)

    return dce(rewrite(fn, {LOGSUMEXP: [total_rule], OPS["exp"]: [exp_rule]}))


def _softmax_of(node: Value) -> Value | None:
    """The logsumexp(x) of a statement exp(x - logsumexp(x)), each row less its own."""
    if node.op is not OPS["exp"] or node.args[0].op is not OPS["sub"]:
        return None
    x, y = node.args[0].args
    total = stripped(y)
    if total.op is not LOGSUMEXP or total.args[0] is not x or node.type is not x.type:
        return None
    return total if is_spread(y, total, x) else None


def _is_shifted(node: Value) -> bool:
    """Whether node is the logsumexp of u - max(u), over the same axes: no term exceeds 0, and one is 0."""
    x = node.args[0]
    if x.op is not OPS["sub"]:
        return False
    u, y = x.args
    top = stripped(y)
    same = (
        top.op is OPS["reduce_max"]
        and top.args[0] is u
        and top.params["axes"] == node.params["axes"]
    )
    return same and x.type is u.type and is_spread(y, top, u)


def share_logistic(fn: Function) -> Function:
    """`fn` with softplus(x) and sigmoid(x) of one x in terms of one exponential."""
    soft = {x for n in fn.body if (x := _softplus_of(n)) is not None}
    both = {n.args[0] for n in fn.body if n.op is OPS["sigmoid"] and n.type.shape} & soft
    if not both:
        return fn
    made: dict[Value, Value] = {}

    def decay(x: Value) -> Value:
        x = x.args[0] if x.op is OPS["neg"] else x  # of one size
        if x not in made:
            made[x] = apply(OPS["exp"], -apply(OPS["abs"], x))
        return made[x]

    def softplus_rule(node: Value, args: Args) -> Value | None:
        old = _softplus_of(node)
        if old is None or old not in both:
            return None
        x = args[[a is old for a in node.args].index(True)]
        return apply(OPS["maximum"], x, 0.0) + apply(OPS["log1p"], decay(x))

    def sigmoid_rule(node: Value, args: Args) -> Value | None:
        if node.args[0] not in both:
            return None
        t = decay(args[0])
        return apply(OPS["where"], args[0] >= 0.0, 1.0, t) / (1.0 + t)

    rules: dict[Any, list[Rule]] = {
        OPS["softplus"]: [softplus_rule],
        OPS["logaddexp"]: [softplus_rule],
        OPS["sigmoid"]: [sigmoid_rule],
    }
    return dce(rewrite(fn, rules))


def share_sigmoids(fn: Function) -> Function:
    """`fn` with sigmoid(x) and its slope sigmoid(x) * sigmoid(-x) over an array in terms of one exponential."""
    slopes = {node: x for node in fn.body if (x := _slope_of(node)) is not None}
    shared = set(slopes.values()) & {n.args[0] for n in fn.body if n.op is SIGMOID}
    if not shared:
        return fn
    made: dict[Value, tuple[Value, Value]] = {}

    def decay(old: Value, x: Value) -> tuple[Value, Value]:
        """exp(-|x|), and 1 more."""
        if old not in made:
            t = apply(OPS["exp"], -apply(OPS["abs"], x))
            made[old] = t, 1.0 + t
        return made[old]

    def sigmoid_rule(node: Value, args: Args) -> Value | None:
        if node.args[0] not in shared:
            return None
        t, whole = decay(node.args[0], args[0])
        return apply(OPS["where"], args[0] >= 0.0, 1.0, t) / whole

    def slope_rule(node: Value, args: Args) -> Value | None:
        old = slopes.get(node)
        if old is None or old not in made:
            return None
        t, whole = made[old]
        return t / apply(OPS["square"], whole)

    return dce(rewrite(fn, {SIGMOID: [sigmoid_rule], OPS["mul"]: [slope_rule]}))


SIGMOID = OPS["sigmoid"]


def _slope_of(node: Value) -> Value | None:
    """x, where node is sigmoid(x) * sigmoid(-x) over an array."""
    if (
        node.op is not OPS["mul"]
        or not node.type.shape
        or any(a.op is not SIGMOID for a in node.args)
    ):
        return None
    a, b = (v.args[0] for v in node.args)
    if b.op.name == "neg" and b.args[0] is a:
        return a
    return b if a.op.name == "neg" and a.args[0] is b else None


def _softplus_of(node: Value) -> Value | None:
    """x, where node is log(1 + exp(x)) over an array."""
    if not node.type.shape:
        return None
    if node.op is OPS["softplus"]:
        return node.args[0]
    if node.op is OPS["logaddexp"]:
        for zero, x in (node.args, node.args[::-1]):
            if zero.op is CONST and not zero.type.shape and zero.params["value"] == 0.0:
                return x if x.type is node.type else None
    return None


__all__ = ["share", "share_logistic", "share_sigmoids"]
