"""A Function as a picture: dot text, and SVG where Graphviz's `dot` is installed."""

from __future__ import annotations

import json
import shutil
import subprocess

from gradgen.errors import GradgenError
from gradgen.ir import CONST, SIZE, Function
from gradgen.value import Value


def dot(fn: Function) -> str:
    """The graph in Graphviz's language: boxes for statements, ovals for inputs."""
    lines = [f"digraph {json.dumps(fn.name)} {{", "  rankdir=TB;", "  node [fontname=monospace];"]
    number: dict[int, int] = {}
    for v in fn.inputs:
        number[id(v)] = len(number)
        lines.append(f"  v{number[id(v)]} [label={json.dumps(f'{v.name}: {v.type}')}];")
    for node in fn.body:
        number[id(node)] = len(number)
        label = f"{node.name + ' = ' if node.name else ''}{node.op}\n{node.type}"
        lines.append(f"  v{number[id(node)]} [shape=box, label={json.dumps(label)}];")
        for k, a in enumerate(node.args):
            if id(a) in number:
                lines.append(f"  v{number[id(a)]} -> v{number[id(node)]};")
            elif a.op in (CONST, SIZE):
                lines.append(
                    f"  c{number[id(node)]}_{k} [shape=plaintext, label={json.dumps(_text(a))}];"
                )
                lines.append(f"  c{number[id(node)]}_{k} -> v{number[id(node)]};")
    for k, v in enumerate(fn.outputs):
        lines.append(f"  out{k} [shape=plaintext, label={json.dumps(f'result {k}')}];")
        if id(v) in number:
            lines.append(f"  v{number[id(v)]} -> out{k};")
    return "\n".join([*lines, "}"])


def _text(leaf: Value) -> str:
    if leaf.op is SIZE:
        return str(leaf.params["size"])
    value = leaf.params["value"]
    return str(value) if not value.ndim else f"{leaf.name or 'const'} {leaf.type}"


def svg(fn: Function) -> str:
    """The graph as SVG. GradgenError if Graphviz is not installed."""
    program = shutil.which("dot")
    if program is None:
        raise GradgenError(
            "drawing SVG needs Graphviz's dot", "Install graphviz, or write a .dot file."
        )
    done = subprocess.run(
        [program, "-Tsvg"], input=dot(fn), capture_output=True, text=True, check=True
    )
    return done.stdout
