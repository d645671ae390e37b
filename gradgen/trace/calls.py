"""Functions with a derivative of their own: checkpoint, custom_vjp, custom_jvp; and stop_gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradgen.errors import ShapeError, SpecError, TraceError
from gradgen.ir import OPS, Function
from gradgen.ops.reduce import as_value
from gradgen.ops.regions import CALL, items
from gradgen.trace.hooks import enter
from gradgen.trace.regions import Region, close, trace_region, words
from gradgen.trace.stage import is_dynamic
from gradgen.tree import Tree, flatten, unflatten
from gradgen.value import Value, any_value, apply, current_trace


class Special:
    """A function that computes what `f` does; inside a trace it is one statement with a derivative of its own."""

    def __init__(self, f: Callable[..., Any], kind: str, rule: Callable[..., Any] | None) -> None:
        for given in (f, rule):
            if given is not None and not callable(given):
                raise SpecError(f"{kind} needs a function, got {type(given).__name__}")
        self.f, self.kind, self.rule = f, kind, rule
        self.__name__ = getattr(f, "__name__", "fn")
        self.__doc__ = f.__doc__
        self.__wrapped__ = f

    def __call__(self, *args: Any) -> Any:
        if current_trace() is None:
            if self.kind != "checkpoint" and any_value(flatten(list(args))[0]):
                raise TraceError(
                    f"{self.kind} needs a traced function or plain arrays, got eager Values",
                    "Differentiate with gg.grad, or call it on arrays.",
                )
            return self.f(*args)
        parts = [flatten(a) for a in args]
        leaves = [leaf for found, _ in parts for leaf in found]
        dynamic = [as_value(leaf) for leaf in leaves if is_dynamic(leaf)]
        types = [v.type for v in dynamic]
        names = words(self.f)
        labels = [names[k] if k < len(names) else "" for k, (found, _) in enumerate(parts)]
        inputs = [
            label if tree.kind == "leaf" else ""
            for label, (found, tree) in zip(labels, parts, strict=True)
            for leaf in found
            if is_dynamic(leaf)
        ]

        def structured(values: Sequence[Value]) -> list[Any]:
            source = iter(values)
            return [
                unflatten(tree, [next(source) if is_dynamic(v) else v for v in found])
                for found, tree in parts
            ]

        flat = _list(len(dynamic))
        body = trace_region(
            lambda values: enter(self.f)(*structured(values)), "call", [""], [flat], [types]
        )
        for v, name in zip(body.trace.inputs, inputs, strict=False):
            v.name = name or None
        rule = None
        if self.rule is not None:
            if body.free:
                outside = next(v.name for v, _ in body.free.values())
                raise TraceError(
                    f"{self.kind} needs a function of its arguments alone, got one that reads "
                    f"{outside or 'a traced Value'} from outside",
                    "Pass it as an argument.",
                )
            rule = self._rule(body, types, structured, flat)
        (function,), consts = close(body)
        made = apply(CALL, *dynamic, *consts, body=function, kind=self.kind, rule=rule)
        results = items(made)
        return unflatten(body.result, results)

    def _rule(
        self, body: Region, types: list[Any], structured: Callable[..., list[Any]], flat: Tree
    ) -> Function:
        """The user's rule as a closed Function of cotangents (or tangents), results and arguments."""
        assert self.rule is not None
        results = [v.type for v in body.outputs]
        outputs = _list(len(results))
        reverse = self.kind == "vjp"

        def call(first: Any, y: Any, args: Any) -> list[Value]:
            y = unflatten(body.result, y)
            given = structured(args)
            if reverse:
                found = enter(self.rule)(unflatten(body.result, first), y, *given)
                found = found if isinstance(found, (tuple, list)) else (found,)
                if len(found) != len(given):
                    raise ShapeError(
                        f"the rule of custom_vjp needs one cotangent for each of {len(given)} arguments, "
                        f"got {len(found)}"
                    )
                wanted = given
            else:
                dots = structured(first)
                found = enter(self.rule)(dots[0] if len(dots) == 1 else tuple(dots), y, *given)
                found, wanted = [found], [y]
            return _matched(found, wanted)

        trees = [outputs, outputs, flat] if reverse else [flat, outputs, flat]
        tys = [results, results, types] if reverse else [types, results, types]
        region = trace_region(call, "rule", ["y_bar" if reverse else "x_dot", "y", "x"], trees, tys)
        if region.free:
            raise TraceError(
                "a rule needs to compute from its arguments alone, got one that reads a traced Value from outside",
                "Pass it as an argument of the function.",
            )
        return Function("rule", region.trace.inputs, region.outputs, region.trace.body)


def _matched(found: Sequence[Any], wanted: Sequence[Any]) -> list[Value]:
    """The leaves of what a rule returned, each of the type of what it belongs to; None is zero."""
    from gradgen.ops.index import zeros

    out: list[Value] = []
    for part, like in zip(found, wanted, strict=True):
        likes = [v for v in flatten(like)[0] if is_dynamic(v)]
        leaves = [None] * len(likes) if part is None else flatten(part)[0]
        leaves = [
            v for v in leaves if v is None or is_dynamic(v) or not isinstance(v, (str, bytes))
        ]
        if len(leaves) != len(likes):
            raise ShapeError(
                f"a rule needs to return {len(likes)} arrays for an argument, got {len(leaves)}"
            )
        for leaf, v in zip(leaves, likes, strict=True):
            if leaf is None:
                out.append(zeros(v.type))
                continue
            value = as_value(leaf)
            if value.type is not v.type:
                if value.type.shape != v.type.shape and value.type.shape:
                    raise ShapeError(f"a rule needs to return {v.type}, got {value.type}")
                value = value + zeros(v.type)
            if value.type is not v.type:
                raise ShapeError(f"a rule needs to return {v.type}, got {value.type}")
            out.append(value)
    return out


def _list(count: int) -> Tree:
    return flatten([0] * count)[1]


def checkpoint(f: Callable[..., Any]) -> Special:
    """`f`, of which reverse mode keeps the arguments only: what its adjoint reads besides is computed a second time."""
    return Special(f, "checkpoint", None)


def custom_vjp(f: Callable[..., Any], rule: Callable[..., Any]) -> Special:
    """`f` with a reverse rule: `rule(y_bar, y, *args)` returns a tuple of one cotangent per argument (None: zero).

    The rule must be linear in y_bar; forward mode is its transpose. f and rule compute from their arguments alone.
    """
    return Special(f, "vjp", rule)


def custom_jvp(f: Callable[..., Any], rule: Callable[..., Any]) -> Special:
    """`f` with a forward rule: `rule(x_dot, y, *args)` returns y_dot; x_dot is a tuple where f has several arguments.

    The rule must be linear in x_dot; reverse mode is its transpose. f and rule compute from their arguments alone.
    """
    return Special(f, "jvp", rule)


def stop_gradient(x: Any) -> Any:
    """x itself, a constant to every derivative: a number, array, Value, or a structure of them."""
    leaves, tree = flatten(x)
    cut = [apply(OPS["stop_gradient"], v) if isinstance(v, Value) else v for v in leaves]
    return unflatten(tree, cut)
