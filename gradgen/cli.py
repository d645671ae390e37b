"""The command line: `gradgen build | show | check | graph | ops | demo`. Same words and defaults as the API.

Exit codes: 0 done, 1 failed (a GradgenError, a failed check, a stale file), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DERIVE = (
    "none", "grad", "value_and_grad", "vjp", "jvp", "hvp",
    "jacobian", "value_and_jacobian", "hessian", "value_grad_hessian",
)  # fmt: skip
STAGES = ("trace", "adjoint", "optimized", "loops", "source")

EXAMPLES = """examples:
  gradgen build model.py:loss -a w=f64[d] -a b=f64[] -a X=f64[n,d] -a y=f64[n] --wrt w,b --target c -o out
  gradgen build model.py:loss -a w:f64:d -a b:f64: -a X:f64:n,d -a y:f64:n      (specs that need no shell quoting)
  gradgen show  model.py:loss -a w:f64:d -a b:f64: -a X:f64:n,d -a y:f64:n --stage adjoint
  gradgen check model.py:loss -a w:f64:d -a b:f64: -a X:f64:n,d -a y:f64:n --target c"""


class UsageError(ValueError):
    """A command line that means nothing."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(
        prog="gradgen",
        description="Gradient source code from plain NumPy functions.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    build = _function(commands.add_parser("build", help="write the source into a folder"))
    build.add_argument(
        "-o", "--output", default=".", metavar="DIR", help="folder to write into (default: here)"
    )
    build.add_argument(
        "--verify",
        action="store_true",
        help="write nothing; exit 1 if the files there are missing or stale",
    )
    show = _function(commands.add_parser("show", help="print one stage of the compilation"))
    show.add_argument(
        "--stage", choices=STAGES, default="source", help="which stage (default: source)"
    )
    _function(
        commands.add_parser(
            "check", help="compare emitted code, interpreter and a numeric derivative"
        )
    )
    graph = _function(commands.add_parser("graph", help="draw the optimised graph as SVG"))
    graph.add_argument(
        "-o",
        "--output",
        default="-",
        metavar="FILE",
        help="the .svg or .dot to write (default: dot on stdout)",
    )
    ops = commands.add_parser("ops", help="list the ops, or describe one")
    ops.add_argument("name", nargs="?", metavar="NAME", help="an op or NumPy function, e.g. tanh")
    demo = commands.add_parser(
        "demo", help="train a classifier on real digits with emitted gradients"
    )
    demo.add_argument(
        "-o", "--output", default=None, metavar="DIR", help="where to put source and picture"
    )
    return top


def _function(p: argparse.ArgumentParser) -> argparse.ArgumentParser:
    p.add_argument(
        "function",
        metavar="FILE.py:FUNCTION",
        help="the function, in plain NumPy; or what gg.compile or gg.module made there, with no other options",
    )
    p.add_argument(
        "-a", "--arg", action="append", default=[], metavar="NAME=SPEC", dest="args",
        help="an argument's spec, once for each: w=f64[d], X:f64:n,d, n=size",
    )  # fmt: skip
    p.add_argument(
        "--static", action="append", default=[], metavar="NAME=VALUE", dest="statics",
        help="an argument that is known at trace time: degree=3, mode=relu (text that is no Python literal is taken as it is)",
    )  # fmt: skip
    p.add_argument(
        "--derive",
        choices=DERIVE,
        default=None,
        help="what to derive (default: value_and_grad); hvp, jvp and vjp take a direction v, x_dot or y_bar last, whose "
        "spec is that of what it mirrors where -a gives none",
    )
    p.add_argument(
        "--wrt", default=None, help="arguments to differentiate by, e.g. w,b (default: the first)"
    )
    p.add_argument(
        "--target", choices=("numpy", "python", "c"), default=None, help="default: numpy"
    )
    p.add_argument("--name", default=None, help="name of the emitted function")
    p.add_argument(
        "--optimize",
        choices=("lecture", "readable", "fast"),
        default=None,
        help="how far to simplify",
    )
    return p


def parse_argument(text: str) -> tuple[str, str]:
    """`w=f64[d]` or `w:f64:d` as a name and a spec. UsageError for anything else."""
    if "=" in text and (":" not in text or text.index("=") < text.index(":")):
        name, spec = text.split("=", 1)
    else:
        parts = text.split(":")
        if len(parts) == 2 and parts[1] == "size":
            parts = [parts[0], "size"]
        elif len(parts) != 3:
            raise UsageError(f"an argument needs NAME=SPEC or NAME:DTYPE:SIZES, got {text!r}")
        name, spec = parts[0], parts[1] if len(parts) == 2 else f"{parts[1]}[{parts[2]}]"
    if not name.strip().isidentifier():
        raise UsageError(f"an argument needs a name that is an identifier, got {text!r}")
    return name.strip(), spec


def parse_static(text: str) -> tuple[str, Any]:
    """`degree=3` as a name and a value: a Python literal, else the text itself. UsageError for anything else."""
    import ast

    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise UsageError(f"a static argument needs NAME=VALUE, got {text!r}")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return name.strip(), value


def load_function(text: str) -> Any:
    """The function that `FILE.py:FUNCTION` names. GradgenError if the file or the function is not there."""
    import importlib.util

    from gradgen.errors import GradgenError

    path_text, _, name = text.rpartition(":")
    if not path_text or not name:
        raise UsageError(f"a function needs FILE.py:FUNCTION, got {text!r}")
    path = Path(path_text)
    if not path.is_file():
        raise GradgenError(
            f"there is no file {path_text}",
            "Give the path of the Python file that has the function.",
        )
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise GradgenError(f"{path_text} needs to be a Python file")
    sys.path.insert(0, str(path.resolve().parent))  # the user's module may import its neighbours
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise GradgenError(
            f"{path_text} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
            raise GradgenError(
                f"{path_text} has no function {name}", f"It has {', '.join(known) or 'none'}."
            )
        found = getattr(found, part)
    return found


def compiled_from(options: argparse.Namespace) -> Any:
    """The Compiled or Module that the command line asks for."""
    import gradgen as gg

    specs: dict[str, Any] = {}
    for name, spec in map(parse_argument, options.args):
        if name in specs:
            raise UsageError(f"an argument needs one spec, got {name} twice")
        specs[name] = spec
    for name, value in map(parse_static, options.statics):
        if name in specs:
            raise UsageError(f"an argument needs one spec or one static value, got {name} twice")
        specs[name] = gg.static(value)
    f = load_function(options.function)
    if isinstance(f, (gg.Compiled, gg.Module)):
        given = (options.wrt, options.name, options.derive, options.target, options.optimize)
        if specs or any(given):
            raise UsageError(
                f"{options.function} is compiled already: it takes none of -a, --static, --derive, --wrt, --target, "
                "--name, --optimize"
            )
        return f
    wrt: Any = 0
    if options.wrt:
        names = [w.strip() for w in options.wrt.split(",")]
        entries = [int(n) if n.lstrip("-").isdigit() else n for n in names]
        wrt = entries[0] if len(entries) == 1 else tuple(entries)
    derive = options.derive or "value_and_grad"
    if derive in ("hvp", "jvp", "vjp"):
        f = getattr(gg, derive)(f, wrt)
        mirrored = None if f.extra in specs else _mirrored(f, specs)
        if mirrored is not None:
            specs[f.extra] = mirrored
    elif derive != "none":
        f = getattr(gg, derive)(f, wrt)
    return gg.compile(
        f,
        target=options.target or "numpy",
        name=options.name,
        options={"optimize": options.optimize},
        specs=specs,
    )


def _mirrored(derived: Any, specs: dict[str, Any]) -> Any:
    """The specs of a direction, which are those of the arguments in `wrt`, or of a cotangent, which are the results'."""
    import gradgen as gg
    from gradgen.tree import unflatten

    if derived.kind == "vjp":
        plain = gg.compile(derived.f, specs=specs)
        types = [str(v.type) for v in plain.ir.outputs]
        return unflatten(plain.signature.result, types)
    names = derived.parameters()[:-1]
    entries = derived.wrt if isinstance(derived.wrt, tuple) else (derived.wrt,)
    chosen = [
        names[e] if isinstance(e, int) and -len(names) <= e < len(names) else e for e in entries
    ]
    for name in chosen:
        if name not in names:
            raise UsageError(
                f"--derive {derived.kind} needs --wrt among {', '.join(names)}, got {name}; "
                f"or the direction's spec, -a {derived.extra}:DTYPE:SIZES"
            )
    if not all(name in specs for name in chosen):
        return None  # said where the argument itself is missed
    return tuple([specs[c] for c in chosen]) if isinstance(derived.wrt, tuple) else specs[chosen[0]]


def build(options: argparse.Namespace) -> int:
    fn = compiled_from(options)
    if options.verify:
        stale = []
        for name, text in fn.files.items():
            path = Path(options.output) / name
            if not path.is_file() or path.read_bytes() != text.encode():
                stale.append(str(path))
        for path_text in stale:
            print(f"stale: {path_text}", file=sys.stderr)
        return 1 if stale else 0
    for path in fn.save(options.output):
        print(path)
    return 0


def show(options: argparse.Namespace) -> int:
    print(compiled_from(options).show(options.stage).rstrip())
    return 0


def check(options: argparse.Namespace) -> int:
    report = compiled_from(options).check()
    print(report)
    return 0 if report.ok else 1


def graph(options: argparse.Namespace) -> int:
    from gradgen.compiled import Compiled
    from gradgen.drawing import dot, svg

    made = compiled_from(options)
    if not isinstance(made, Compiled):
        raise UsageError(f"a graph needs one function, got the module {made.name}")
    fn = made.ir
    if options.output == "-":
        print(dot(fn))
        return 0
    path = Path(options.output)
    if path.suffix not in (".svg", ".dot", ".gv"):
        raise UsageError(f"a graph needs a file that ends in .svg or .dot, got {path}")
    text = svg(fn) if path.suffix == ".svg" else dot(fn)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        from gradgen.errors import EmitError

        raise EmitError(
            f"a graph needs a file that can be written, got {path}: {error.strerror}"
        ) from None
    print(path)
    return 0


def ops(options: argparse.Namespace) -> int:
    from gradgen.listing import describe, table

    print(describe(options.name) if options.name else table())
    return 0


def demo(options: argparse.Namespace) -> int:
    from gradgen.demo import main as run

    run(options.output)
    return 0


COMMANDS = {"build": build, "show": show, "check": check, "graph": graph, "ops": ops, "demo": demo}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    top = parser()
    options = top.parse_args(argv)
    if options.version:
        from gradgen.version import VERSION

        print(f"gradgen {VERSION}")
        return 0
    if options.command is None:
        top.print_help()
        return 2
    try:
        return COMMANDS[options.command](options)
    except UsageError as error:
        print(f"gradgen: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except Exception as error:
        from gradgen.errors import GradgenError
        from gradgen.sites import user_site

        if not isinstance(error, GradgenError):
            raise
        # Where nothing of the user's ran, the innermost frame is whoever called us: no line of theirs.
        site, ours = error.site, user_site()
        here = site is not None and ours is not None and site[0] == ours[0]
        told = f"{error.what}\n  {error.remedy}".rstrip() if here else str(error)
        print(f"gradgen: {told}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
