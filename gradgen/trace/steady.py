"""Whether the body of a loop does the same in every step: what it changes beside its carry would be lost without a word.

A body is traced once for all steps. One that counts in an attribute, swaps the entries of a list or rebinds a variable of
an enclosing function would find other values in the second step; so it is traced again, and the two must be one program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from gradgen.errors import TraceError
from gradgen.ir import CONST, SIZE, Function
from gradgen.trace.regions import Region
from gradgen.value import ForeignValue, Value

_AGAIN = ContextVar("gradgen_again", default=False)  # loops inside are traced once there


@contextmanager
def _again() -> Iterator[None]:
    token = _AGAIN.set(True)
    try:
        yield
    finally:
        _AGAIN.reset(token)


def check_steady(what: str, region: Region, trace_again: Callable[[], Region]) -> None:
    """TraceError where tracing the body a second time gives another program than the first time."""
    if _AGAIN.get():
        return
    try:
        with _again():
            second = trace_again()
    except ForeignValue as error:
        raise _unsteady(what) from error
    if list(region.free) != list(second.free) or _key(
        region.trace.inputs, region.trace.body, region.outputs
    ) != _key(second.trace.inputs, second.trace.body, second.outputs):
        raise _unsteady(what)


def _unsteady(what: str) -> TraceError:
    return TraceError(
        f"{what} needs a body that does the same in every step, got one that changes more than its carry "
        "(an attribute, an entry of a list or dict, a variable of an enclosing function)",
        "Keep what changes from step to step in local variables of the loop or in its carry.",
    )


def _key(inputs: list[Value], body: list[Value], outputs: list[Value]) -> list[Any]:
    """The program as numbers and names: equal for equal programs."""
    number = {id(v): k for k, v in enumerate((*inputs, *body))}

    def operand(v: Value) -> Any:
        if v.op is CONST:
            array = v.params["value"]
            return v.type, array.tobytes() if array.size <= 64 else id(array)
        return v.params["size"] if v.op is SIZE else number.get(id(v), id(v))

    def param(v: Any) -> Any:
        if isinstance(v, Function):
            return _key(v.inputs, v.body, v.outputs)
        return v if v.__hash__ else repr(v)

    made = [
        (v.op.name, v.type, [operand(a) for a in v.args], [(k, param(v.params[k])) for k in v.params])
        for v in body
    ]  # fmt: skip
    return [*made, [operand(v) for v in outputs]]
