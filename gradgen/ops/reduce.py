"""Reductions: sum, prod, max, min, any, all, logsumexp over axes, and the linear recurrence that prod's derivative needs.

Params: `axes`, a sorted tuple of non-negative axis numbers; `keepdims`. Conventions: ties of max and min share the cotangent
evenly; prod is differentiated without division, so zeros among the factors are right in every order.
NumPy's functions of these ops are in `reductions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError
from gradgen.handle import Handle
from gradgen.ir import OPS, Op, define
from gradgen.ops.helpers import Helper, enter, run
from gradgen.ops.spans import Span
from gradgen.ops.ties import first_wins
from gradgen.sizes import product
from gradgen.spelling import Expr, Spelling
from gradgen.types import DTYPES, Shape, Type, dtype_name
from gradgen.value import Value, apply, constant, lift

Axes = tuple[int, ...]


# -- shapes
def reduced_shape(shape: Shape, axes: Axes, keepdims: bool) -> Shape:
    if keepdims:
        return tuple(1 if k in axes else dim for k, dim in enumerate(shape))
    return tuple(dim for k, dim in enumerate(shape) if k not in axes)


def spread(y: Value, x: Value, axes: Axes, keepdims: bool) -> Value:
    """`y`, reduced from x over `axes`, with the reduced axes back as ones, so that it broadcasts against x."""
    shape = reduced_shape(x.type.shape, axes, True)
    lead = len(axes) == 0 or axes == tuple(range(len(axes)))
    if keepdims or lead or y.type.shape == shape:
        return y  # leading axes come back by broadcasting alone
    return apply(OPS["reshape"], y, shape=shape)


def full_like(y: Value, x: Value) -> Value:
    """`y` broadcast to the shape of x."""
    if y.type.shape == x.type.shape:
        return y
    return apply(OPS["broadcast"], y, shape=x.type.shape)


def _infer(kind: str) -> Any:
    def infer(x: Type, axes: Axes, keepdims: bool = False, empty: bool = False) -> Type:
        dtype = x.dtype
        if kind == "sum" and dtype in ("bool", "i32"):
            dtype = "i64"
        if kind == "float" and not x.is_float:
            dtype = "f64"
        if kind == "bool":
            dtype = "bool"
        return Type.of(dtype, reduced_shape(x.shape, axes, keepdims))

    return infer


def _spell(name: str, method: str = "") -> Spelling:
    """A call of NumPy's function or of a helper; of an array in a variable its method, which takes half a short call's time."""

    def spell(operands: Any, node: Any, target: Any) -> Expr:
        axes, ndim = node.params["axes"], node.args[0].type.ndim
        given = []
        if len(axes) != ndim or node.params.get("keepdims"):
            given.append(f"axis={axes[0] if len(axes) == 1 else axes}")
        if node.params.get("keepdims"):
            given.append("keepdims=True")
        if node.params.get("empty"):
            given.append(f"initial={_least(getattr(np, node.op.name[-3:]), node.type.dtype)[1]}")
        text = operands[0].text
        if method and ndim and text.isidentifier():
            return Expr(f"{text}.{method}({', '.join(given)})")
        callee = target.helper(name[1:], node) if name.startswith("_") else name
        return Expr(f"{callee}({', '.join([text, *given])})")

    return spell


def _nest(kind: str) -> Any:
    def nest(lowering: Any, node: Any) -> None:
        lowering.reduce(node, kind)

    return nest


# -- sum
def _sum_vjp(y_bar: Value, y: Value, x: Value, axes: Axes, keepdims: bool = False) -> Value:
    return full_like(spread(y_bar, x, axes, keepdims), x)


SUM: Op = define(
    Op(
        "sum",
        _infer("sum"),
        lambda x, axes, keepdims=False: np.sum(x, axis=axes, keepdims=keepdims),
        "Sum of the elements over axes.",
        vjp=(_sum_vjp,),
        jvp=("linear",),
        numpy=_spell("np.sum", "sum"),
        nest=_nest("sum"),
    )
)


# -- max and min
def _first(hit: Value, axes: Axes) -> Value:
    """Of the places that are true, the first over `axes`, row by row: where their running count is 1."""
    shape = hit.type.shape
    order = (*(k for k in range(len(shape)) if k not in axes), *axes)
    back = tuple(order.index(k) for k in range(len(shape)))
    moved = apply(OPS["transpose"], hit, axes=order)
    kept = len(shape) - len(axes)
    flat = (*moved.type.shape[:kept], product(moved.type.shape[kept:]))
    row = apply(OPS["reshape"], moved, shape=flat)
    counts = apply(OPS["cumsum"], apply(OPS["cast"], row, dtype="i64"), reverse=False)
    one = apply(OPS["logical_and"], row, apply(OPS["equal"], counts, 1))
    return apply(OPS["transpose"], apply(OPS["reshape"], one, shape=moved.type.shape), axes=back)


def _extreme_vjp(
    y_bar: Value, y: Value, x: Value, axes: Axes, keepdims: bool = False, empty: bool = False
) -> Value:
    hit = apply(OPS["equal"], x, spread(y, x, axes, keepdims))
    if first_wins():
        return apply(OPS["where"], _first(hit, axes), spread(y_bar, x, axes, keepdims), 0.0)
    ties = apply(SUM, apply(OPS["cast"], hit, dtype=x.type.dtype), axes=axes, keepdims=keepdims)
    share = spread(y_bar / ties, x, axes, keepdims)
    return apply(OPS["where"], hit, share, 0.0)


def _extreme_jvp(
    x_dot: Value, y: Value, x: Value, axes: Axes, keepdims: bool = False, empty: bool = False
) -> Value:
    hit = apply(OPS["equal"], x, spread(y, x, axes, keepdims))
    if first_wins():
        moving = apply(OPS["where"], _first(hit, axes), x_dot, 0.0)
        return apply(SUM, moving, axes=axes, keepdims=keepdims)
    ties = apply(SUM, apply(OPS["cast"], hit, dtype=x.type.dtype), axes=axes, keepdims=keepdims)
    return apply(SUM, apply(OPS["where"], hit, x_dot, 0.0), axes=axes, keepdims=keepdims) / ties


def _least(f: Any, dtype: str) -> tuple[Any, str]:
    """The maximum (minimum) of no elements, which any element wins over, and its text in NumPy."""
    if dtype[0] == "f":
        return (-np.inf, "-np.inf") if f is np.max else (np.inf, "np.inf")
    if dtype == "bool":
        return f is np.min, repr(f is np.min)
    limits, end = np.iinfo(DTYPES[dtype]), "min" if f is np.max else "max"
    return getattr(limits, end), f"np.iinfo(np.{limits.dtype.name}).{end}"


def _extremum(f: Any) -> Any:
    def evaluate(x: Any, axes: Axes, keepdims: bool = False, empty: bool = False) -> Any:
        if not empty:
            return f(x, axis=axes, keepdims=keepdims)
        return f(x, axis=axes, keepdims=keepdims, initial=_least(f, dtype_name(x.dtype))[0])

    return evaluate


# empty: there may be no elements, as np.max(x, initial=v) allows; the result is -inf then, which v wins over.
for _name, _function in (("max", np.max), ("min", np.min)):
    define(
        Op(
            f"reduce_{_name}",
            _infer("same"),
            _extremum(_function),
            f"The {_name}imum over axes; NaN if one of the elements is.",
            vjp=(_extreme_vjp,),
            jvp=(_extreme_jvp,),
            masks=True,
            kink=f"{_name} over an axis: ties share the derivative evenly",
            numpy=_spell(f"np.{_name}", _name),
            nest=_nest(_name),
        )
    )


# -- any and all
for _name, _test, _kind in (("any", np.any, "max"), ("all", np.all, "min")):
    define(
        Op(
            _name,
            _infer("bool"),
            lambda x, axes, keepdims=False, f=_test: f(x, axis=axes, keepdims=keepdims),
            f"Whether {_name} of the elements over axes are true.",
            numpy=_spell(f"np.{_name}", _name),
            nest=_nest(_kind),
        )
    )


# -- prod, and the linear recurrence that is its derivative's loop
def _prod_rule(y_bar: Value, y: Value, x: Value, axes: Axes, keepdims: bool = False) -> Value:
    """d prod(x) / d x_i is the product of the others: products of what is before and of what is after."""
    return spread(y_bar, x, axes, keepdims) * _others(x, axes)


def _prod_jvp(x_dot: Value, y: Value, x: Value, axes: Axes, keepdims: bool = False) -> Value:
    return apply(SUM, x_dot * _others(x, axes), axes=axes, keepdims=keepdims)


def _others(x: Value, axes: Axes) -> Value:
    shape = x.type.shape
    kept = tuple(k for k in range(len(shape)) if k not in axes)
    order = kept + axes
    moved = x if order == tuple(range(len(shape))) else apply(OPS["transpose"], x, axes=order)
    flat_shape = (*(shape[k] for k in kept), product(tuple(shape[k] for k in axes)))
    flat = apply(OPS["reshape"], moved, shape=flat_shape) if len(axes) != 1 else moved
    zero = apply(OPS["broadcast"], constant(0.0, x.type.dtype), shape=flat_shape)
    before = apply(RECURRENCE, flat, zero, reverse=False, lag=True, initial=1.0)
    after = apply(RECURRENCE, flat, zero, reverse=True, lag=True, initial=1.0)
    others = before * after
    if len(axes) != 1:
        others = apply(OPS["reshape"], others, shape=tuple(shape[k] for k in order))
    if order != tuple(range(len(shape))):
        back = tuple(order.index(k) for k in range(len(shape)))
        others = apply(OPS["transpose"], others, axes=back)
    return others


PROD: Op = define(
    Op(
        "prod",
        _infer("sum"),
        lambda x, axes, keepdims=False: np.prod(x, axis=axes, keepdims=keepdims),
        "Product of the elements over axes; differentiated without division.",
        vjp=(_prod_rule,),
        jvp=(_prod_jvp,),
        numpy=_spell("np.prod", "prod"),
        nest=_nest("prod"),
    )
)


enter(
    Helper(
        "recurrence",
        ("a", "b", "reverse", "lag", "initial"),
        "r_i = b_i + c_i r_{i-1} over the last axis, c_i = a_i, or a_{i-1} with lag; r_0 = b_0 + initial.",
        numpy="""r = np.array(b)
order = range(r.shape[-1])[:: -1 if reverse else 1]
for k, i in enumerate(order):
    before = order[k - 1]
    r[..., i] += a[..., before if lag else i] * r[..., before] if k else initial
return r
""",
    )
)


def _recurrence_b(y_bar: Value, y: Value, a: Value, b: Value, **p: Any) -> Value:
    """The transpose of the linear map b -> r: the recurrence from the other end, own for lagged."""
    return apply(RECURRENCE, a, y_bar, reverse=not p["reverse"], lag=not p["lag"], initial=0.0)


def _recurrence_a(y_bar: Value, y: Value, a: Value, b: Value, **p: Any) -> Value:
    """c_i multiplies r_{i-1} and adds to r_i, whose cotangent is b_bar_i."""
    b_bar = _recurrence_b(y_bar, y, a, b, **p)
    later = p["reverse"] != p["lag"]
    return (y * _shift(b_bar, not p["reverse"])) if p["lag"] else (b_bar * _shift(y, later))


def _recurrence_a_dot(a_dot: Value, y: Value, a: Value, b: Value, **p: Any) -> Value:
    forced = _shift(a_dot * y, p["reverse"]) if p["lag"] else a_dot * _shift(y, p["reverse"])
    return apply(RECURRENCE, a, forced, reverse=p["reverse"], lag=p["lag"], initial=0.0)


def _recurrence_b_dot(b_dot: Value, y: Value, a: Value, b: Value, **p: Any) -> Value:
    return apply(RECURRENCE, a, b_dot, reverse=p["reverse"], lag=p["lag"], initial=0.0)


def _shift(x: Value, later: bool) -> Value:
    """x moved by one along the last axis, a zero entering: y_i = x_{i+1} if later, else x_{i-1}."""
    whole = (Span(),) * (x.type.ndim - 1)
    high, low = (*whole, Span(1, None)), (*whole, Span(None, -1))
    zero = apply(OPS["broadcast"], constant(0.0, x.type.dtype), shape=x.type.shape)
    part = apply(OPS["slice"], x, index=high if later else low)
    return apply(OPS["slice_add"], zero, part, index=low if later else high)


def _recurrence_spell(operands: Any, node: Any, target: Any) -> Expr:
    p = node.params
    text = ", ".join(x.text for x in operands)
    text += f", reverse={p['reverse']}, lag={p['lag']}, initial={p['initial']}"
    return Expr(f"{target.helper('recurrence', node)}({text})")


RECURRENCE: Op = define(
    Op(
        "recurrence",
        lambda a, b, **p: b,
        lambda a, b, reverse, lag, initial: run("recurrence")(a, b, reverse, lag, initial),
        "Linear recurrence over the last axis: r_i = b_i + c_i r_{i-1}.",
        vjp=(_recurrence_a, _recurrence_b),
        jvp=(_recurrence_a_dot, _recurrence_b_dot),
        numpy=_recurrence_spell,
        nest=lambda lowering, node: lowering.recurrence(node),
    )
)


# -- logsumexp
PEAK: Op = define(
    Op(
        "peak",
        _infer("float"),
        lambda x, axes, keepdims=False: run("peak")(x, axes, keepdims),
        "The maximum over axes, and 0 where that is not finite: what exponentials are shifted by.",
        vjp=(_extreme_vjp,),
        jvp=(_extreme_jvp,),
        numpy=_spell("_peak"),
        nest=_nest("peak"),
    )
)
enter(
    Helper(
        "peak",
        ("x", "axis=None", "keepdims=False"),
        "The maximum over axes, 0 where that is not finite.",
        numpy="""top = np.max(x, axis=axis, keepdims=keepdims, initial=-np.inf)
return np.where(np.isfinite(top), top, 0.0)
""",
    )
)
enter(
    Helper(
        "logsumexp",
        ("x", "axis=None", "keepdims=False"),
        "log(sum(exp(x))) over axes, without overflow.",
        numpy="""top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
top = np.where(np.isfinite(top), top, 0.0)
total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
return total if keepdims else np.squeeze(total, axis=axis)
""",
    )
)


def _logsumexp_vjp(y_bar: Value, y: Value, x: Value, axes: Axes, keepdims: bool = False) -> Value:
    weights = apply(OPS["exp"], x - spread(y, x, axes, keepdims))
    return spread(y_bar, x, axes, keepdims) * weights


def _logsumexp_jvp(x_dot: Value, y: Value, x: Value, axes: Axes, keepdims: bool = False) -> Value:
    weights = apply(OPS["exp"], x - spread(y, x, axes, keepdims))
    return apply(SUM, x_dot * weights, axes=axes, keepdims=keepdims)


LOGSUMEXP: Op = define(
    Op(
        "logsumexp",
        _infer("float"),
        lambda x, axes, keepdims=False: run("logsumexp")(x, axes, keepdims),
        "log(sum(exp(x))) over axes, without overflow; its derivative is the softmax.",
        vjp=(_logsumexp_vjp,),
        jvp=(_logsumexp_jvp,),
        numpy=_spell("_logsumexp"),
        nest=_nest("logsumexp"),
    )
)


# -- arguments of functions
def axes_of(what: str, x: Value, axis: Any) -> Axes:
    """NumPy's axis argument (None, int, tuple; negative counts from the end) as a sorted tuple."""
    ndim = x.type.ndim
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    found = []
    for k in given:
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
            raise SpecError(f"{what} needs an integer axis, got {k!r}")
        if not -ndim <= k < ndim:
            raise ShapeError(f"{what} needs an axis of {x.type}, got axis {k}")
        found.append(int(k) % ndim)
    if len(set(found)) != len(found):
        raise ShapeError(f"{what} needs different axes, got {axis}")
    return tuple(sorted(found))


def as_value(x: Any) -> Value:
    """An operand of a function as a Value."""
    if isinstance(x, Value) and not isinstance(x, Handle):
        return x
    return lift(SUM, (x,))[0]


def no_truth(what: str, x: Any) -> Value:
    """An operand as a Value; SpecError if it is truth values, which NumPy refuses or answers for in float16."""
    x = as_value(x)
    if x.type.dtype == "bool":
        raise SpecError(
            f"{what} needs numbers, got {x.type}",
            "Convert the truth values first: mask.astype(float).",
        )
    return x


def as_values(operands: Any) -> list[Value]:
    """Operands of one function as Values, lifted together: numbers and captured arrays take the dtype of the Values."""
    return list(lift(SUM, tuple(operands)))
