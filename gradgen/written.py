"""A Function as a textbook writes it: what `show("trace" | "adjoint" | "optimized")` prints, and `print(fn.ir)`.

    loss_grad(w: f64[d], X: f64[n, d], y: f64[n])
        t1 = X @ w                                  f64[n]      model.py:5
        r = t1 - y                                  f64[n]
        ...
        return t4, w_bar

One statement a line, with its type and, where that changes, the user's line. Values have the user's names, else t1, t2; what a
region reads from outside has the name that it has there. Loops and branches are written out:

    h, hs = scan over i < n                         while, and map, a scan without carries, likewise
        carry h = h0                                the carry's name in the body, and what it starts from
        for v in x                                  an item of each array
        ...                                         the body
        next h = t3                                 the carry's value in the next step
        yield t3                                    what is stacked
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradgen.sites import Site, cite

if TYPE_CHECKING:
    from gradgen.ir import Function

WIDTH = 48


def written(fn: Function) -> str:
    """The Function's statements, those of its loops and branches indented."""
    writer = _Writer()
    inputs = [f"{writer.name(v)}: {v.type}" for v in fn.inputs]
    head = f"{fn.name}({', '.join(inputs)})"
    if fn.requires:
        head += f"  requires {', '.join(dict.fromkeys(map(str, fn.requires)))}"
    writer.body(fn, 1)
    writer.line(1, f"return {writer.names(fn.outputs)}")
    return "\n".join([head, *writer.lines])


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.known: dict[Any, str] = {}
        self.taken: set[str] = set()
        self.count = 0
        self.cited = ""

    # -- names
    def name(self, node: Any) -> str:
        """A value's name, or a leaf's text."""
        if node in self.known:
            return self.known[node]
        if node.op.name == "const":
            value = node.params["value"]
            return repr(value.item()) if np.ndim(value) == 0 else f"const {node.type}"
        if node.op.name == "size":
            return str(node.params["size"])
        self.known[node] = found = self.fresh(node.name)
        return found

    def fresh(self, name: str | None) -> str:
        while name is None or name in self.taken:
            if name is None:
                self.count += 1
                found = f"t{self.count}"
            else:
                number = 2
                while f"{name}_{number}" in self.taken:
                    number += 1
                found = f"{name}_{number}"
            if found not in self.taken:
                name = found
        self.taken.add(name)
        return name

    def names(self, nodes: Sequence[Any]) -> str:
        return ", ".join(map(self.name, nodes))

    # -- lines
    def line(self, depth: int, text: str, ty: str = "", site: Site | None = None) -> None:
        where = cite(site)
        text = "    " * depth + text
        if ty:
            shown = where if where != self.cited else ""
            text = f"{text:<{WIDTH}} {ty:<12} {shown}".rstrip()
            self.cited = where
        self.lines.append(text)

    def body(self, fn: Function, depth: int) -> None:
        items: dict[Any, dict[int, Any]] = {}
        for node in fn.body:
            if node.op.name == "item":
                items.setdefault(node.args[0], {}).setdefault(node.params["k"], node)
        for node in fn.body:
            if node.op.regions:
                self.region(node, items.get(node, {}), depth)
            elif node.op.name == "item":
                self.known.setdefault(node, self.name(items[node.args[0]][node.params["k"]]))
            else:
                text = self.statement(node)
                self.line(depth, f"{self.name(node)} = {text}", str(node.type), node.site)

    # -- statements
    def statement(self, node: Any) -> str:
        op, params, args = node.op.name, node.params, [self.name(a) for a in node.args]
        symbol = "@" if op == "matmul" else node.op.symbol
        if symbol:
            return f"{args[0]} {symbol} {args[1]}" if len(args) == 2 else f"{symbol}{args[0]}"
        match op:
            case "square":
                return f"{args[0]}**2"
            case "reciprocal":
                return f"1 / {args[0]}"
            case "transpose" if params["axes"] == (1, 0):
                return f"{args[0]}.T"
            case "slice":
                return f"{args[0]}[{_index(params['index'])}]"
            case "slice_set" | "slice_add":
                return f"{args[0]} with [{_index(params['index'])}] {_sign(op)} {args[1]}"
            case "gather":
                return f"{args[0]}[{_places(args[1:], params['axis'])}]"
            case "scatter_set" | "scatter_add":
                return f"{args[0]} with [{_places(args[2:], params['axis'])}] {_sign(op)} {args[1]}"
            case "broadcast" if node.args[0].op.name == "const" and float(args[0]) in (0.0, 1.0):
                word = "zeros" if float(args[0]) == 0.0 else "ones"
                return f"{word}({_shape(params['shape'])})"
            case "broadcast" | "reshape":
                return f"{op}({args[0]}, {_shape(params['shape'])})"
            case "cast":
                return f"{params['dtype']}({args[0]})"
        if "axes" in params and params["axes"] == tuple(range(node.args[0].type.ndim)):
            params = {k: v for k, v in params.items() if k != "axes" and v is not False}
        return f"{op}({', '.join([*args, *_keywords(params)])})"

    # -- regions
    def region(self, node: Any, items: dict[int, Any], depth: int) -> None:
        kind, params = node.op.name, node.params
        parts = node.type.parts
        results = [self.name(items[k]) if k in items else "_" for k in range(len(parts))]
        while results and results[-1] == "_":
            results.pop()
        left = f"{', '.join(results)} = " if results else ""
        if kind == "cond":
            pred, *consts = node.args
            self.line(depth, f"{left}if {self.name(pred)}", " ", node.site)
            for word, fn in (("then", params["then"]), ("otherwise", params["otherwise"])):
                self.line(depth, word)
                self.read(fn.inputs, consts)
                self.body(fn, depth + 1)
                self.line(depth + 1, f"give {self.names(fn.outputs)}")
            return
        body = params["body"]
        if kind == "call":
            word = "recomputed" if params["kind"] == "checkpoint" else f"own {params['kind']}"
            self.line(depth, f"{left}{word}", " ", node.site)
            self.read(body.inputs, node.args)
            self.body(body, depth + 1)
            self.line(depth + 1, f"give {self.names(body.outputs)}")
            return
        carries, count = params["carries"], params.get("items", 0)
        index, *inputs = body.inputs
        i = self.known[index] = self.fresh(index.name or "i")
        self.line(depth, f"{left}{_title(node, i)}", " ", node.site)
        self.read(inputs[carries + count :], node.args[carries + count :])
        for v, start in zip(inputs[:carries], node.args, strict=False):
            begin = self.name(start)
            self.line(depth + 1, f"carry {self.name(v)} = {begin}", str(v.type), node.site)
        for v, x in zip(inputs[carries : carries + count], node.args[carries:], strict=False):
            whole = self.name(x)
            self.line(depth + 1, f"for {self.name(v)} in {whole}", str(v.type), node.site)
        if kind == "while":
            test = params["test"]
            self.read(test.inputs, [index, *inputs[:carries], *node.args[carries:]])
            self.body(test, depth + 1)
            self.line(depth + 1, f"while {self.name(test.outputs[0])}")
        self.body(body, depth + 1)
        for v, out in zip(inputs[:carries], body.outputs, strict=False):
            self.line(depth + 1, f"next {self.name(v)} = {self.name(out)}")
        if body.outputs[carries:]:
            self.line(depth + 1, f"yield {self.names(body.outputs[carries:])}")
        if params.get("kept"):
            self.line(depth + 1, f"tape {self.names([inputs[k] for k in params['kept']])}")

    def read(self, inputs: Sequence[Any], operands: Sequence[Any]) -> None:
        """Inputs that stand for values of outside have the names of these."""
        for v, a in zip(inputs, operands, strict=True):
            self.known[v] = self.name(a)


def _title(node: Any, i: str) -> str:
    params = node.params
    if node.op.name == "while":
        most = params.get("max_steps")
        return f"while, step {i}" + (f" of at most {most}" if most is not None else "")
    word = "scan" if params["carries"] else "map"
    kept = f", {params['snapshots']} states kept" if params.get("snapshots") else ""
    return f"{word} over {i} < {params['length']}{', backwards' if params['reverse'] else ''}{kept}"


def _sign(op: str) -> str:
    return "+=" if op.endswith("add") else "="


def _shape(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _index(index: Sequence[Any]) -> str:
    found = [str(e) for e in index]
    while len(found) > 1 and found[-1] == ":":
        found.pop()
    return ", ".join(found)


def _places(texts: Sequence[str], axis: int) -> str:
    return ", ".join([":"] * axis + list(texts))


def _keywords(params: dict[str, Any]) -> Iterator[str]:
    for key, value in params.items():
        if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], int):
            yield f"{key.replace('axes', 'axis')}={value[0]}"
        else:
            yield f"{key}={value}"
