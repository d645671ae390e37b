"""Sums of exponentials whose terms were shifted by hand: what a shift adds, the derivative need not see.

    log(sum(exp(x - m))) + m               ->  logsumexp(x)
    x - m - log(sum(exp(x - m)))           the log of a softmax: the same for every m
    exp(x - m) / sum(exp(x - m))           a softmax: likewise

for any m that is one number over the axes of the sum (the maximum, usually). All x and finite m; where m is infinite the
plain form of the first is nan and the form after is the limit. The derivative of the plain forms passes through m, to cancel
there: for a maximum that is a search for ties. In the first form after, m is gone; in the others, whose accuracy is that of
x - m, it is kept and its derivative is not taken. Rules of `canonicalise`.
"""

from __future__ import annotations

from gradgen.ir import LEAVES, OPS
from gradgen.ops.reduce import LOGSUMEXP, SUM, reduced_shape
from gradgen.ops.spans import Span
from gradgen.value import Value, apply


def stripped(value: Value) -> Value:
    """What a value repeats or reshapes."""
    while value.op is OPS["reshape"] or value.op is OPS["broadcast"]:
        value = value.args[0]
    return value


def is_spread(y: Value, total: Value, x: Value) -> bool:
    """Whether y, which is the reduction `total` in some shape, lies against x as a reduction over its axes does."""
    axes = total.params["axes"]
    if axes == tuple(range(len(axes))) and y is total:
        return True
    return bool(y.type.shape == reduced_shape(x.type.shape, axes, True))


def _core(value: Value) -> Value:
    """A value without what only adds or takes axes of one element."""
    while True:
        if value.op is OPS["reshape"]:
            x = value.args[0]
            same = [d for d in value.type.shape if d != 1] == [d for d in x.type.shape if d != 1]
        elif value.op is OPS["slice"]:
            x = value.args[0]
            entries = zip(value.params["index"], x.type.shape, strict=True)
            same = all(e == Span() or (d == 1 and isinstance(e, int)) for e, d in entries)
        else:
            return value
        if not same:
            return value
        value = x


def _unshifted(u: Value, axes: tuple[int, ...]) -> tuple[Value, Value | None]:
    """(x, m), where u is x - m for an m that is one number over `axes`; else (u, None)."""
    if u.op is OPS["sub"]:
        x, m = u.args
        kept = reduced_shape(x.type.shape, axes, True)
        lead = axes == tuple(range(len(axes)))
        shapes = [kept, (), *([kept[len(axes) :]] if lead else [])]
        if x.type is u.type and m.type.shape in shapes:
            return x, m
    return u, None


def add_rule(node: Value, args: tuple[Value, ...]) -> Value | None:
    """log(sum(exp(x - m))) + m"""
    for total, m in (args, args[::-1]):
        inner = _core(total)
        if inner.op is LOGSUMEXP and total.type is node.type:
            x, shift = _unshifted(inner.args[0], inner.params["axes"])
            if shift is not None and _core(shift) is _core(m):
                return _like(total, inner, apply(LOGSUMEXP, x, **inner.params))
    return None


def sub_rule(node: Value, args: tuple[Value, ...]) -> Value | None:
    """x - m - log(sum(exp(x - m)))"""
    u, y = args
    total = stripped(y)
    if total.op is LOGSUMEXP and total.args[0] is u and is_spread(y, total, u):
        fixed = _fixed(u, total.params["axes"])
        if fixed is not None:
            lse = apply(LOGSUMEXP, fixed, **total.params)
            return apply(OPS["sub"], fixed, _like(y, total, lse))
    return None


def div_rule(node: Value, args: tuple[Value, ...]) -> Value | None:
    """exp(x - m) / sum(exp(x - m))"""
    e, y = args
    total = stripped(y)
    if e.op is OPS["exp"] and total.op is SUM and total.args[0] is e and is_spread(y, total, e):
        fixed = _fixed(e.args[0], total.params["axes"])
        if fixed is not None and fixed.type is e.type:
            same = apply(OPS["exp"], fixed)
            return apply(OPS["div"], same, _like(y, total, apply(SUM, same, **total.params)))
    return None


def _fixed(u: Value, axes: tuple[int, ...]) -> Value | None:
    """x - m with m taken as a constant, where u is x - m for an m that is one number over `axes`."""
    x, m = _unshifted(u, axes)
    if m is None or m.op in LEAVES or m.op is OPS["stop_gradient"]:
        return None
    return apply(OPS["sub"], x, apply(OPS["stop_gradient"], m))


def _like(y: Value, old: Value, new: Value) -> Value:
    """`new` in the shape in which y has `old`."""
    return new if y is old else apply(OPS["reshape"], new, shape=y.type.shape)
