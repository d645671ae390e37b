"""`gg.compile`: the driver. Its body is the list of stages.

arguments   specs paired with parameters                                  trace.spec
trace       the function (or transform) at the specs' types -> Function    trace.stage, differentiate
optimise    passes                                                         passes
emit        Function -> text (C: by way of the loop IR)                    emit
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from gradgen.checking import Report, Row, check_compiled, relative_error
from gradgen.compiled import Compiled
from gradgen.cost import flops
from gradgen.differentiate.canonicalise import canonical, canonicalise
from gradgen.differentiate.jacobians import Vmap
from gradgen.differentiate.reverse import reverse
from gradgen.differentiate.transforms import Grad, Transform, base_name, parameters, value_and_grad
from gradgen.emit.entry import Entry, Heading, heading_of
from gradgen.emit.header import conventions, dim_text, one_line
from gradgen.emit.names import Names, function_names
from gradgen.emit.selftest import record
from gradgen.errors import SpecError
from gradgen.graph import constants_of, from_graph, topological
from gradgen.ir import Function
from gradgen.ops.ties import ties
from gradgen.options import TARGETS, Options
from gradgen.passes import for_loops, optimise
from gradgen.passes.captures import lift_captures
from gradgen.passes.layout import column_major
from gradgen.runners import runner_of
from gradgen.sites import cite
from gradgen.trace.spec import Argument, Leaf, Signature, arguments_of, check_keys, placeholders
from gradgen.trace.stage import Staged, stage
from gradgen.tree import LEAF, Tree, flatten, leaf_names
from gradgen.value import Value


def compile(
    f: Any,
    /,
    *positional: Any,
    target: str = "numpy",
    name: str | None = None,
    options: Any = None,
    specs: dict[str, Any] | None = None,
    wrt: Any = None,
    args: Any = None,
    **named: Any,
) -> Compiled:
    """Trace, differentiate and emit `f`; nothing is compiled by a C compiler until the first call or `.build()`.

    f: a function on arrays, a transform (`gg.value_and_grad(loss, wrt=...)`), or an eager Value (a graph already built, with
    `wrt=[a, b]` and `args=`: the result is then (value, tuple of gradients)).
    positional, named: a spec for each parameter ("f64[n,3]", "size", an array, gg.static(v), structures of them);
    parameters called target, name, options, specs, wrt or args are given in `specs={...}`.
    target: "numpy", "python" (scalars and small static arrays, only `math`), "c".  options: gg.Options or a dict.

    Raises SpecError, ShapeError, TraceError, UnsupportedError with the user's line; EmitError where the target cannot hold it.
    """
    chosen = checked(target, options)
    if specs is not None and not isinstance(specs, Mapping):
        raise SpecError(f"specs needs a dict of specs by parameter, got {type(specs).__name__}")
    named = {**named, **(specs or {})}
    for word, value in (("wrt", wrt), ("args", args)):
        if value is not None:
            named[word] = value
    with paused_collector():
        made = prepare(f, positional, named, target, name, None, chosen)
        files = emit([made], heading_of(made.entry), target, chosen)
    return Compiled(made.entry.signature, target, chosen, files, made.stages, runner_of(target))


def checked(target: str, options: Any) -> Options:
    """The options, where target and options are ones that there are."""
    if target not in TARGETS:
        raise SpecError(
            f"target needs one of {', '.join(TARGETS)}, got {target!r}",
            'The spec of a parameter that is itself called target is given in specs={"target": ...}.',
        )
    chosen = Options.of(options)
    if target == "python" and chosen.order != "C":
        raise SpecError('order="F" needs the target c or numpy: lists of Python\'s have no order')
    return chosen


@dataclass(frozen=True)
class Prepared:
    """A function traced, differentiated and optimised, and the stages on the way."""

    entry: Entry
    stages: dict[str, Any]


def prepare(
    f: Any,
    positional: Sequence[Any],
    named: dict[str, Any],
    target: str,
    name: str | None,
    symbol: str | None,
    options: Options,
) -> Prepared:
    """All stages before emission. symbol: the name of the emitted function where it is settled already."""
    if isinstance(f, Value):
        return _prepare_graph(f, positional, named, target, name, symbol, options)
    if not callable(f):
        raise SpecError(f"compile needs a function or a Value, got {type(f).__name__}")
    names = parameters(f)
    arguments = arguments_of(f, names, positional, named)
    dummies = placeholders(arguments)
    with canonical(options.rewrite), ties(options.ties):
        staged = trace(f, dummies, names)
        staged.function.notes["ties"] = options.ties
        chosen = symbol or function_name(name, base_name(f))
        signature = _signature(chosen, arguments, staged)
        signature.title = title(f)
        signature.command = command(f, arguments, target, name, options)
        return _optimised(
            staged.function, signature, target, options, _inner_trace(f, dummies, names)
        )


@contextlib.contextmanager
def paused_collector() -> Iterator[None]:
    """No cyclic garbage collection within: it would walk the growing graph again and again (a third of the time).

    What was made meanwhile counts as old, as if it had survived those walks; nothing does where the program has frozen objects.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def trace(f: Any, dummies: Sequence[Any], names: Sequence[str]) -> Staged:
    """The Function of a function or transform at the types of `dummies`; labels for its results."""
    if isinstance(f, Transform):
        return f.derive(dummies, names)
    staged = stage(f, dummies, names, base_name(f))
    staged.function = canonicalise(staged.function)
    staged.function.notes["labels"] = _result_names(staged)
    return staged


def _inner_trace(f: Any, dummies: Sequence[Any], names: Sequence[str]) -> Any:
    """A way to show the function before differentiation, traced when asked for."""
    if not isinstance(f, Transform):
        return None
    chain = [f]
    while isinstance(chain[-1].f, Transform):
        chain.append(chain[-1].f)
    plain = inner = chain[-1].f
    count = len(parameters(inner))
    for transform in reversed(chain):
        if isinstance(
            transform, Vmap
        ):  # its arguments are batches: of the function as of its derivative
            axes = transform.in_axes
            inner = Vmap(inner, axes[:count] if isinstance(axes, tuple | list) else axes)
    return lambda: stage(inner, dummies[:count], names, base_name(plain)).function


def _result_names(staged: Staged) -> list[str]:
    """Names for results: the user's where each is named once, else value, value_0, ..."""
    labels = leaf_names("value", staged.result)
    names = [v.name for v in staged.function.outputs]
    inputs = {v.name for v in staged.function.inputs}
    usable = [n for n in names if n and n not in inputs]
    if len(names) > 1 and len(set(usable)) == len(names):
        return [n or "" for n in names]
    return labels


def _signature(name: str, arguments: list[Argument], staged: Staged) -> Signature:
    check_keys("the result", staged.result)
    fn = staged.function
    slots = fn.notes.get("slots")
    labels = fn.notes["labels"]
    if slots is None:
        slots = list(range(len(fn.outputs)))
    results = [""] * len(fn.outputs)
    for k, label in zip(slots, labels, strict=True):
        if k is not None and not results[k]:
            results[k] = label
    return Signature(
        name, arguments, staged.result, slots, results,
        weighed=fn.notes.get("weighed", False), moved=fn.notes.get("moved", ()),
    )  # fmt: skip


def function_name(name: str | None, usual: str) -> str:
    """The name of the function of a file of its own: as asked for, else the usual one, where no language has taken it."""
    chosen = usual if name is None else name
    if not (isinstance(chosen, str) and chosen.isidentifier()):
        raise SpecError(f"name needs an identifier, got {name!r}")
    return function_names([chosen])[0]


def _optimised(
    fn: Function, signature: Signature, target: str, options: Options, traced: Any = None
) -> Prepared:
    """A traced Function after its passes."""
    adjoint = fn
    fn.name = signature.name
    fn.notes["kinks"] = conventions(fn)
    fn = optimise(fn, options.level(target), options.verify, target)
    fn, captures, lifted = lift_captures(fn)
    signature.captures = captures
    signature.result_types = [v.type for v in fn.outputs]
    signature.flops = flops(fn)
    signature.captured_leaves = [Leaf(str(v.name), v.type) for v in lifted]
    # What differentiation makes and nothing reads is not part of what a person wants to see.
    stages: dict[str, Any] = {"adjoint": lambda: optimise(adjoint, "lecture"), "optimized": fn}
    stages["trace"] = traced if traced is not None else adjoint
    laid = fn
    if target == "c":
        from gradgen.lower import compile_loops, show

        if options.order == "F":
            laid = optimise(column_major(fn), options.level(target), options.verify, target)
        laid = for_loops(laid, options.level(target), options.verify)
        stages["kernel"] = lambda: compile_loops(laid, signature.results, options)
        stages["loops"] = lambda: show(stages["kernel"]())
    return Prepared(Entry(fn, signature, record(laid, signature, target == "python"), laid), stages)


def emit(
    functions: Sequence[Prepared], heading: Heading, target: str, options: Options
) -> dict[str, str]:
    """The files of a target, the main one first."""
    entries = [function.entry for function in functions]
    if target == "c":
        from gradgen.emit.c import emit_c_file

        return emit_c_file(entries, heading, options)
    from gradgen.emit.python_file import emit_python

    return emit_python(entries, heading, target, options.level(target), options)


# -- graphs that are already built
def _prepare_graph(
    root: Value,
    positional: Sequence[Any],
    named: dict[str, Any],
    target: str,
    name: str | None,
    symbol: str | None,
    options: Options,
) -> Prepared:
    unknown = [word for word in named if word not in ("wrt", "args")]
    if positional or unknown:
        raise SpecError(
            "compiling a graph takes wrt=[...] and args=[...], no specs",
            "Its leaves have types already.",
        )
    wrt, args = named.get("wrt"), named.get("args")
    asked = list(wrt if wrt is not None else (args if args is not None else ()))
    # Each Value is one argument, however often it is asked for.
    leaves = list(args) if args is not None else list({id(a): a for a in asked}.values())
    if not asked:
        raise SpecError("compiling a graph needs wrt=[...], the Values to differentiate by")
    for a in (*leaves, *asked):
        if not isinstance(a, Value):
            raise SpecError(
                f"compiling a graph needs eager Values in wrt and args, got {type(a).__name__}"
            )
    if len({id(a) for a in leaves}) < len(leaves):
        raise SpecError("compiling a graph needs every Value once in args")
    names = Names()
    labels = [
        names.fresh(a.label) if a.label else names.fresh(f"x{k}") for k, a in enumerate(leaves)
    ]
    fn = from_graph(root, leaves, labels)
    ids = [id(a) for a in leaves]
    missing = [a for a in asked if id(a) not in ids]
    if missing:
        raise SpecError(f"wrt needs Values that are among args, got {missing[0]!r}")
    reached = {id(node) for node in topological(root, set(ids))}
    apart = [a for a in asked if id(a) not in reached]
    if apart:
        raise SpecError(
            f"wrt needs Values that the graph is built from, got {apart[0]!r}",
            "Leave it out, its gradient is 0; a name that was bound anew after the graph was built (`w += 1`) "
            "is another Value.",
        )
    if fn.outputs[0].type.shape:
        raise SpecError(f"compiling a graph needs a scalar, got {fn.outputs[0].type}")
    if options.rewrite:
        fn = canonicalise(fn)
    numbers = [ids.index(id(a)) for a in asked]
    unique = list(dict.fromkeys(numbers))
    derived = reverse(fn, unique, ["one"])
    slots: list[int | None] = [0, *(1 + unique.index(k) for k in numbers)]
    tree = Tree(
        "tuple", (0, 1), (LEAF, Tree("tuple", tuple(range(len(numbers))), (LEAF,) * len(numbers)))
    )
    arguments = [Argument(n, LEAF, [Leaf(n, a.type)]) for n, a in zip(labels, leaves, strict=True)]
    results = ["value", *(f"{labels[k]}_bar" for k in unique)]
    title_text = (
        f"Value and gradient of a graph with respect to {', '.join(labels[k] for k in unique)}"
    )
    signature = Signature(
        symbol or function_name(name, "graph_grad"),
        arguments,
        tree,
        slots,
        results,
        title=title_text,
    )
    signature.command = f'gg.compile(value, wrt=[...], target="{target}")'
    signature.constants = constants_of(root, leaves)
    return _optimised(derived, signature, target, options)


# -- check
def check(f: Any, *args: Any, against: Any = None, wrt: Any = 0, target: str = "numpy") -> Report:
    """Check a function, transform or Compiled at `args`: emitted code, interpreter and numeric derivative must agree.

    A plain scalar function is checked through its value_and_grad with respect to `wrt`. `against`: the user's own
    gradient function, called with the same arguments, compared as well.
    """
    if isinstance(f, Compiled):
        compiled = f
    elif isinstance(f, Transform):
        inner = value_and_grad(f.f, f.wrt, f.aux) if isinstance(f, Grad) else f
        compiled = compile(inner, *args, target=target)
    else:
        compiled = compile(value_and_grad(f, wrt), *args, target=target)
    passed = args
    if not isinstance(f, Compiled):  # what is static is in the code
        passed = tuple(
            a
            for a, known in zip(args, compiled.signature.arguments, strict=False)
            if not known.is_static
        )
    report = check_compiled(compiled, passed, {})
    if against is not None:
        result = compiled(*passed)
        mine = result[1] if isinstance(result, tuple) and len(result) == 2 else result
        theirs = against(*args)
        a, b = flatten(mine)[0], flatten(theirs)[0]
        worst = (
            max(relative_error(x, y) for x, y in zip(a, b, strict=True))
            if len(a) == len(b)
            else float("inf")
        )
        report.rows.append(Row("gradient against the function given", worst, 1e-6))
    return report


# -- texts
_WHAT = {
    "value_and_grad": "Value and gradient",
    "grad": "Gradient",
    "vjp": "Value and vector-Jacobian product",
    "jvp": "Value and Jacobian-vector product",
    "hvp": "Hessian-vector product",
    "jacobian": "Jacobian",
    "value_and_jacobian": "Value and Jacobian",
    "hessian": "Hessian",
    "value_grad_hessian": "Value, gradient and Hessian",
}


def title(f: Any) -> str:
    """`Value and gradient of `loss` (model.py:4) with respect to w and b`."""
    if isinstance(f, Transform):
        if f.kind == "vmap":
            return one_line(f"{title(f.f)}, over a batch")
        if isinstance(f.f, Transform):
            return one_line(f"{_WHAT[f.kind]} of ({title(f.f)}) with respect to {wrt_text(f)}")
        return one_line(f"{_WHAT[f.kind]} of {_function_text(f.f)} with respect to {wrt_text(f)}")
    doc = (inspect.getdoc(f) or "").split("\n")[0].rstrip(".")
    return one_line(_function_text(f) + (f": {doc}" if doc else ""))


def _function_text(f: Any) -> str:
    code = getattr(getattr(f, "__func__", f), "__code__", None)
    where = f" ({cite((code.co_filename, code.co_firstlineno))})" if code is not None else ""
    return f"`{base_name(f)}`{where}"


def wrt_text(f: Transform) -> str:
    names = parameters(f.f)
    entries = [f.wrt] if isinstance(f.wrt, (int, str)) else list(f.wrt)
    words = [
        names[e] if isinstance(e, int) and -len(names) <= e < len(names) else str(e)
        for e in entries
    ]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def command(
    f: Any, arguments: list[Argument], target: str, name: str | None, options: Options
) -> str:
    """The command line that generates the file again; a call in words where no command line can."""
    inner, kind, wrt = f, "none", ""
    if isinstance(f, Transform):
        inner, kind = f.f, f.kind
        wrt = wrt_text(f).replace(" and ", ",").replace(", ", ",")
    code = getattr(inner, "__code__", None)
    path = getattr(inner, "__qualname__", "<>")
    statics = {a.name: _static_text(a) for a in arguments if a.is_static}
    plain = all(a.tree.kind == "leaf" for a in arguments) and None not in statics.values()
    usual = (
        replace(options, optimize=None) == Options()
        and kind in DERIVED
        and not getattr(f, "aux", False)
        and getattr(f, "mode", "auto") == "auto"
        and getattr(f, "part", "full") == "full"
    )
    if code is None or not plain or not usual or "<" in path:
        what = base_name(inner) if kind == "none" else f"gg.{kind}({base_name(inner)}, ...)"
        return one_line(f"gg.compile({what}, ..., target='{target}'{options_text(options)})")
    words = ["gradgen", "build", f"{cite((code.co_filename, 0)).rsplit(':', 1)[0]}:{path}"]
    for a in arguments:
        words += (
            ["--static", f"{a.name}={statics[a.name]}"]
            if a.is_static
            else ["-a", _argument_text(a)]
        )
    words += ["--derive", kind]
    if wrt:
        words += ["--wrt", wrt]
    words += ["--target", target]
    if name:
        words += ["--name", name]
    if options.optimize:
        words += ["--optimize", options.optimize]
    return one_line(" ".join(word if '"' in word else _shell(word) for word in words))


def options_text(options: Options) -> str:
    """The options that are not the usual ones, as an argument of a call."""
    unusual = {
        f.name: getattr(options, f.name)
        for f in fields(Options)
        if getattr(options, f.name) != f.default
    }
    return f", options={unusual}" if unusual else ""


DERIVED = (
    "none", "grad", "value_and_grad", "vjp", "jvp", "hvp",
    "jacobian", "value_and_jacobian", "hessian", "value_grad_hessian",
)  # fmt: skip


def _argument_text(argument: Argument) -> str:
    """`w:f64:d` where a shell takes it as it is, else `w=f64[2*d]`."""
    leaf = argument.entries[0]
    if not isinstance(leaf, Leaf):
        return f"{argument.name}=size"
    sizes = ",".join(dim_text(d).replace(" ", "") for d in leaf.type.shape)
    if leaf.below is not None:
        return f"{argument.name}={leaf.type.dtype}[{sizes}] < {dim_text(leaf.below)}"
    short = f"{argument.name}:{leaf.type.dtype}:{sizes}"
    return short if _shell(short) == short else f"{argument.name}={leaf.type.dtype}[{sizes}]"


def _static_text(argument: Argument) -> str | None:
    """A static value as `--static` reads it; None for one that a command line cannot give."""
    if len(argument.entries) != 1:
        return None
    value = argument.entries[0].value  # type: ignore[union-attr]
    if type(value) is str and re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII):
        return None if value in ("None", "True", "False") else value
    finite = type(value) is float and abs(value) < float("inf")
    return repr(value) if finite or type(value) in (int, bool, type(None)) else None


def _shell(word: str) -> str:
    """A word as a shell takes it; names of other alphabets need no quotes."""
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else shlex.quote(word)


__all__ = ["check", "compile"]
