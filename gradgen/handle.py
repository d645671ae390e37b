"""Arrays of a traced function that are written into: the user holds one object, behind which the SSA value changes.

    Handle    an array made with np.zeros, np.array, x.copy(), ...: each write makes a new SSA value, views write through
    own       makes a computed array (`y = 2 * x`) a Handle when it is first written into
    Rearranged    how `a.T` or `a.reshape(-1)` shows `a`, so that a write to it reaches `a`

An array has an identity in NumPy: all names, lists and closures that hold it see a write. Hence `own` changes the very object
that the user holds, and gives the statement that computed it a node of its own. What shares an argument's memory is refused,
since the write would reach the caller's array.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gradgen.errors import UnsupportedError
from gradgen.functions import FUNCTIONS
from gradgen.ir import CONST, OPS, PARAM, Op, shows
from gradgen.value import Trace, Value, apply, current_trace, new_node

# Rows that were read at traced numbers: the number, what is added to it, the rows. See `place_of`.
Rows = dict[Value | None, dict[int, list[Value]]]


class Rearranged(NamedTuple):
    """The place of a view that shows all of its array: the op that makes it, how, and what of the same op takes it back."""

    op: Op
    there: dict[str, Any]
    back: dict[str, Any]


def _part(whole: Value, index: Any) -> Value:
    """`whole[index]`."""
    if isinstance(index, Rearranged):
        return apply(index.op, whole, **index.there)
    part: Value = FUNCTIONS["getitem"](whole, index)
    return part


def _with_part(whole: Value, index: Any, new: Any) -> Value:
    """`whole` after `whole[index] = new`."""
    if isinstance(index, Rearranged):
        return apply(index.op, new, **index.back)
    written: Value = FUNCTIONS["setitem"](whole, index, new)
    return written


class _Array:
    """What a Handle stands for: `state`, an SSA value, or a part of `parent`; `home` is the trace that made it.

    first: the SSA value that it was at first, which says how it lies in memory
    """

    __slots__ = ("first", "home", "index", "parent", "rows", "state")

    def __init__(self, state: Value | None, parent: Handle | None, index: Any) -> None:
        self.state = self.first = state
        self.parent = parent
        self.index = index
        self.rows: Rows = {}
        self.home = current_trace()

    def hold(self, state: Value | None, handle: Handle) -> None:
        """Stand for `state`."""
        self.state = state
        if self.first is None:
            self.first = state
        trace = current_trace()
        if trace is not None and state is not None:
            trace.held[id(state)] = handle


class Handle(Value):
    """An array made inside a traced function, into which the user assigns; each write makes a new SSA value.

    A view (`row = out[0]`) holds its parent and index, so that a write to it reaches the parent, as in NumPy.
    fresh: `state` was made for this handle alone; otherwise it is copied.
    """

    __slots__ = ()  # a Value's own, so that an object can become a Handle; a traced Value has no use for `_grad`
    _grad: _Array

    def __init__(
        self,
        state: Value | None,
        parent: Handle | None = None,
        index: Any = None,
        fresh: bool = False,
    ) -> None:
        # A node of its own, so that writes here are told from writes to what it was copied from.
        state = state if state is None or fresh else apply(OPS["copy"], state)
        self._grad = _Array(None, parent, index)
        self.state = state
        first = self.resolve()
        self.op, self.args, self.params, self.type = first.op, first.args, first.params, first.type
        self.name, self.site, self.owner = None, first.site, first.owner
        self._data = None

    @property
    def parent(self) -> Handle | None:
        return self._grad.parent

    @property
    def state(self) -> Value | None:
        return self._grad.state

    @state.setter
    def state(self, value: Value | None) -> None:
        self._grad.hold(value, self)

    @property
    def rows(self) -> Rows:
        return self._grad.rows

    @property
    def home(self) -> Trace | None:
        return self._grad.home

    @home.setter
    def home(self, trace: Trace | None) -> None:
        self._grad.home = trace

    def resolve(self) -> Value:
        """The SSA value that the array is now."""
        array = self._grad
        if array.parent is not None:
            return _part(array.parent.resolve(), array.index)
        assert array.state is not None
        return array.state

    def own(self, what: str = "", remedy: str = "") -> Handle:
        return self

    def __getitem__(self, index: Any) -> Any:
        return FUNCTIONS["view"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.parent is not None and isinstance(self._grad.index, Rearranged):
            shape = self.parent.type.shape
            place = FUNCTIONS["index through"](self._grad.index, shape, index, value)
            if place is not None:
                self.parent[place] = value
                return
        self.become(FUNCTIONS["setitem"](self.resolve(), index, value), index)

    def become(self, new: Value, index: Any = None) -> None:
        """Hold `new`, what a write at `index` has made of the array; views of what it was are outdated."""
        if self.parent is not None:
            place = self._grad.index
            self.parent.become(_with_part(self.parent.resolve(), place, new), place)
            return
        old = self.resolve()
        name = old.name
        trace = current_trace()
        if trace is not self.home:
            raise _outside()
        self.state = new
        if trace is not None:
            trace.outdate(trace.source(old))
            if self.rows:
                self._outdate_rows(trace, index)
        if new.name is None:
            new.name = name

    def _outdate_rows(self, trace: Trace, index: Any) -> None:
        """Rows read before at traced numbers are outdated, but those at another distance from the same number."""
        base, offset = place_of(index)
        for other, found in list(self.rows.items()):
            for distance in list(found):
                if other is not base or base is None or distance == offset:
                    for row in found.pop(distance):
                        trace.outdate(row)

    def copy(self) -> Any:
        return Handle(self.resolve())

    def __pos__(self) -> Any:
        return Handle(self.resolve())


def place_of(index: Any) -> tuple[Value | None, int]:
    """The first entry of an index as a traced number and what is added to it; (None, 0) where it is anything else."""
    entry = index[0] if isinstance(index, tuple) and index else index
    offset = 0
    while isinstance(entry, Value) and not entry.type.shape and entry.op.name in ("add", "sub"):
        left, right = entry.args
        if right.op is not CONST:
            break
        step = int(right.params["value"])
        entry, offset = left, offset + (step if entry.op.name == "add" else -step)
    traced = isinstance(entry, Value) and not entry.type.shape and entry.op is not CONST
    return (entry, offset) if traced else (None, 0)


def own(value: Value, what: str = "", remedy: str = "") -> Handle:
    """`value`, a computed array of the open trace that is about to be written into, as a Handle: the same object.

    UnsupportedError, which names `what` writes and the `remedy`, for a number, for an eager Value, for what is an argument's
    memory or a captured array's, and for an array of an enclosing trace.
    """
    trace = current_trace()
    if trace is not None and value._data is None:
        trace.refuse_stale((value,))
        _follow_holder(trace, value)
        if isinstance(value, Handle):
            return value
    error = _refusal(value, what, remedy)
    if error is not None:
        raise error
    assert trace is not None
    if FUNCTIONS["part of"](value) is not None and can_own(value.args[0]):
        own(value.args[0])  # of which `value` is a part from now on
        if isinstance(value, Handle):
            return value
    root = trace.memory(value)
    node = _instead(trace, value)
    holder = trace.held.get(id(value))
    if holder is not None and holder.state is value:  # a function has returned an array whole
        holder.state = node
    else:
        holder = None
    if root is not value:
        trace.outdate(root)  # NumPy would write into it as well: nothing may read it any more
        trace.stale.discard(id(node))
    value.__class__ = Handle
    handle: Any = value
    handle._grad = _Array(None, holder, ... if holder is not None else None)
    if holder is None:
        handle.state = node
    _follow(trace, node, handle)
    return handle


def _follow_holder(trace: Trace, value: Value) -> None:
    """Make `value`, where it is a view of a Handle, one that is written through."""
    of = value
    while FUNCTIONS["part of"](of) is not None:
        of = of.args[0]
        holder = trace.held.get(id(of))
        if holder is not None and holder.state is of:
            _follow(trace, of, holder)
            return


def _follow(trace: Trace, node: Value, handle: Handle) -> None:
    """Views that were taken of an array before it became a Handle show what is written, and are written through."""
    waiting = [(node, handle)]
    while waiting:
        of, parent = waiting.pop()
        for part in list(trace.views.get(id(of), ())):
            index = FUNCTIONS["part of"](part)
            if index is None or part.owner is not trace:
                continue
            own_node = _instead(trace, part)
            part.__class__ = Handle
            view: Any = part
            view._grad = _Array(None, parent, index)
            waiting.append((own_node, view))


def can_own(value: Value) -> bool:
    """Whether `own` makes a Handle of it."""
    return _refusal(value) is None


def _refusal(value: Value, what: str = "", remedy: str = "") -> UnsupportedError | None:
    """Why an array cannot be written into."""
    trace = current_trace()
    got = ""
    root = value
    if not value.type.shape:
        got = "a number"
    elif value._data is not None or trace is None:
        got = "an eager Value"
    else:
        root = trace.memory(value)
        if root.op is PARAM or root.op is CONST:
            kind = "a captured array" if root.op is CONST else "an argument"
            got = kind if trace.source(value) is root else f"a view of {kind}"
        elif id(value) in trace.read_only:
            got = "a diagonal, which NumPy only shows"
    if got:
        return UnsupportedError(
            f"{what or 'assignment into an array'} needs an array made inside the function (np.zeros, np.empty, x.copy()), "
            f"got {got}",
            remedy or "Write out = x.copy(); out[i] = v.",
        )
    return None if value.owner is trace and root.owner is trace else _outside()


def _instead(trace: Trace, value: Value) -> Value:
    """A node that takes the place of `value` in the open trace, so that the object itself is free."""
    node = new_node(value.op, value.args, value.params, value.type, value.site, trace)
    node.name = value.name
    body = trace.body
    k = len(body) - 1
    while body[k] is not value:
        k -= 1
    body[k] = node
    trace.views[id(node)] = views = trace.views.pop(id(value), [])
    for statement in body[k + 1 :]:
        if any(a is value for a in statement.args):
            statement.args = tuple([node if a is value else a for a in statement.args])
            if shows(statement) and not statement.op.view:  # a row at a traced number
                views.append(statement)
    if shows(value):
        seen = trace.views.get(id(value.args[0]), [])
        seen[:] = [node if v is value else v for v in seen]
    return node


def _outside() -> UnsupportedError:
    return UnsupportedError(
        "a loop body or branch writes into an array made outside of it",
        "Make the array a carry (or an argument and result) of the body, and write into a copy there.",
    )


Value.own = own
