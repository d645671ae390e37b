"""Loops and branches as Python text: `for`, `while` and `if` around the printed regions.

scan     carries are variables; a carry whose states are kept is an array of one more than the steps, h[i] into step i and
         h[i + 1] out of it; per-step results are arrays that each step fills
while    tapes are lists that grow, made arrays after the loop
cond     both branches assign the same variables; two short expressions become one conditional expression
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradgen.emit.layout import closes
from gradgen.emit.lines import Statement, statement_lines
from gradgen.emit.literals import number
from gradgen.ir import LEAVES, Function, shows
from gradgen.ops.regions import COND, ITEM, SCAN, WHILE, Loop, out_of_steps
from gradgen.ops.spans import Span
from gradgen.sizes import Size
from gradgen.spelling import NOT, TERNARY, Expr
from gradgen.types import Type
from gradgen.value import Value

if TYPE_CHECKING:
    from gradgen.emit.printer import Printer


def print_region(printer: Printer, node: Value) -> None:
    """Print a loop or branch, and give its results their names."""
    if node.op is COND:
        _Branch(printer, node).print()
    elif node.op is SCAN:
        _For(printer, node).print()
    else:
        _While(printer, node).print()


def filled_starts(fn: Function, counts: dict[Value, int]) -> set[Value]:
    """np.zeros and the like that only start a carry whose states are kept: the array of states begins with the number."""
    found: set[Value] = set()
    for node in fn.body:
        if node.op is SCAN:
            loop = Loop.of(node)
            starts = [loop.init[k] for k in loop.kept]
            found.update(
                v for v in starts
                if v.op.name == "broadcast" and not v.args[0].type.shape and counts[v] == 1
            )  # fmt: skip
    return found


def is_own_final(item: Value, counts: dict[Value, int]) -> bool:
    """Whether a loop's final carry is an array in C order that nothing else has: it starts as one, and every step makes one."""
    node = item.args[0]
    if node.op is not SCAN and node.op is not WHILE:
        return False
    loop = Loop.of(node)
    k = item.params["k"] - loop.first_final
    if not 0 <= k < loop.carries or k in loop.kept:
        return False
    start, out = loop.init[k], loop.carry_outputs[k]
    filled = start.op.name == "broadcast" and not start.args[0].type.shape
    made = start.op not in LEAVES and start.op is not ITEM and not shows(start)
    ordered = out.type.ndim < 2 or (
        out.op.store is not None and out.args[0] is loop.carry_inputs[k]
    )
    return ordered and (filled or (made and counts[start] == 1)) and _makes(out)


def _makes(out: Value) -> bool:
    """Whether a statement makes a new array, or writes into one of its own."""
    return out.op not in LEAVES and out.op is not ITEM and not shows(out)


class _Block:
    """What the three have in common: names of results, nested statements as lines."""

    def __init__(self, printer: Printer, node: Value) -> None:
        self.printer, self.node = printer, node
        self.results: dict[int, Value] = {}  # the first item statement of each result that is read
        self.items: list[Value] = []
        for n in printer.fn.body:
            if n.op is ITEM and n.args[0] is node:
                self.results.setdefault(n.params["k"], n)
                self.items.append(n)
        self.reads: list[str] = []
        self.sums: set[str] = set()  # number variables to which every step adds
        self.assigned: list[str] = []
        self.local: set[str] = set()

    def operand(self, value: Value) -> Expr:
        """An operand as an expression that can stand inside a block: evaluated once, before it."""
        expr = self.printer._operand(value)
        self.reads += expr.reads
        return expr

    def variable(self, value: Value) -> str:
        """An operand that is read in every step: a name, or an element that costs nothing to read."""
        expr = self.printer._operand(value)
        if not (expr.text.isidentifier() or (value.op in LEAVES and not value.type.shape)):
            name = self.printer._name(value)
            self.printer._statement(value, name, f"{name} = ", expr.text, expr.reads)
            self.printer._exprs[value] = expr = Expr.variable(name)
        self.reads.append(expr.text)
        return expr.text

    def name(self, k: int, hint: str | None) -> str:
        """A variable for result k."""
        item = self.results.get(k)
        found = hint
        if item is not None:
            found = item.name or self.printer._hints.get(item) or hint
        return self.fresh(found)

    def fresh(self, hint: str | None) -> str:
        found = self.own(hint)
        self.assigned.append(found)
        return found

    def own(self, hint: str | None) -> str:
        """A variable of the block itself, which nothing reads after it."""
        names = self.printer.names
        found = names.fresh(hint) if hint else names.temporary()
        self.local.add(found)
        return found

    def define(self, k: int, text: str) -> None:
        """Result k is this expression."""
        for item in self.items:
            if item.params["k"] == k:
                self.printer._exprs[item] = Expr.variable(text)

    def before(self, name: str, text: str, reads: Sequence[str] = ()) -> None:
        """A statement before the block: `name = text`, or a store."""
        prefix = f"{name} = "
        self.printer._statement(self.node, name.partition("[")[0], prefix, text, reads)

    def lines(self, inner: Printer, depth: int = 1) -> list[str]:
        """The statements of a nested printer, indented."""
        out: list[str] = []
        cited = self.printer.place(self.node.site)[1]
        for s in inner.statements:
            if s.target in self.sums and s.lines[0].startswith(f"{s.target} = {s.target} + "):
                s.lines[0] = self.assignment(s.target, Expr(s.lines[0].partition(" = ")[2]))
            for line in statement_lines(s, cited):
                out.append(f"{'    ' * (depth - 1)}{line}")
            cited = s.cited or cited
            self.reads += s.reads
            self.local |= {s.target, *s.more}
        return out

    def assignment(self, name: str, expr: Expr) -> str:
        rest = expr.text.removeprefix(f"{name} + ")
        if name in self.sums and rest != expr.text:
            whole = rest.startswith("(") and closes(rest, 0) == len(rest) - 1
            return f"{name} += {rest[1:-1] if whole else rest}"
        return f"{name} = {expr.text}"

    def emit(self, lines: list[str]) -> None:
        phase, cited = self.printer.place(self.node.site)
        own = self.local | set(self.assigned)
        reads = [r for r in dict.fromkeys(self.reads) if r not in own]
        first = self.assigned[0] if self.assigned else "_"
        self.printer.statements.append(
            Statement(lines, first, reads, phase, cited, tuple(dict.fromkeys(self.assigned)), True)
        )

    def empty(self, ty: Type) -> str:
        """A new array to be filled; a list of numbers where the target has no arrays."""
        if self.printer.spelling == "python":
            size = self.printer.size(ty.shape[0])
            return f"[0.0] * {size if size.isalnum() else f'({size})'}"
        dtype = "" if ty.dtype == "f64" else f", {self.printer.dtype(ty.dtype)}"
        shape = (
            self.printer.shape(ty.shape) if len(ty.shape) > 1 else self.printer.size(ty.shape[0])
        )
        return f"np.empty({shape}{dtype})"


class _Loop(_Block):
    """for and while: carries, their assignment at the end of a step, and what is kept of each."""

    def __init__(self, printer: Printer, node: Value) -> None:
        super().__init__(printer, node)
        self.loop = Loop.of(node)
        body = self.loop.body
        self.spare: list[str] = []  # names that the body does not use
        self.body_reads: dict[Value, int] = {}
        for v in [*(a for n in body.body for a in n.args), *body.outputs]:
            self.body_reads[v] = self.body_reads.get(v, 0) + 1

    def carry_names(self) -> list[str]:
        loop = self.loop
        found = []
        for k, v in enumerate(loop.carry_inputs):
            out = loop.carry_outputs[k]
            hint = v.name or (out.name if out.op not in LEAVES else None)
            known = self.printer._exprs.get(loop.init[k])
            if (
                k not in loop.kept and known is not None and known.text.isidentifier()
                and loop.init[k].op not in LEAVES and self.printer.counts[loop.init[k]] == 1
            ):  # fmt: skip
                found.append(
                    known.text
                )  # nothing else reads the variable: the loop goes on with it
                self.assigned.append(known.text)
                continue
            found.append(self.fresh(hint) if hint else self.name(loop.first_final + k, "carry"))
        return found

    def needs_name(self, k: int) -> bool:
        """Whether the new carry is a statement of its own: the user named it, or something else reads it too."""
        out = self.loop.carry_outputs[k]
        return out.name is not None or self.body_reads[out] > 1 or out.op.store is not None

    def steady(self, k: int, inner: Printer) -> bool:
        """Whether the body may compute carry k under the carry's own name: nothing reads the old one afterwards."""
        loop = self.loop
        out, old = loop.carry_outputs[k], loop.carry_inputs[k]
        body = loop.body.body
        position = {n: j for j, n in enumerate(body)}
        if out not in position or sum(v is out for v in loop.carry_outputs) > 1:
            return False
        if any(v is old for v in loop.body.outputs):
            return False
        users: dict[Value, list[Value]] = {}
        for n in body:
            for a in n.args:
                users.setdefault(a, []).append(n)
        outputs = set(loop.body.outputs)
        # An array made and then stored into has the name from where it is made.
        begin, chain = out, {out}
        while begin.op.store is not None and begin.args[0] in position:
            begin = begin.args[0]
            chain.add(begin)
        for reader in users.get(old, ()):
            n = reader
            while n not in chain and n.name is None and n not in outputs:
                after = users.get(n, [])
                if len(after) != 1 or n.op.regions or shows(n):
                    break
                n = after[0]
            last = max(
                [position[n], *(position[u] for u in users.get(n, ()) if n.op.view or shows(n))]
            )
            folded = n in outputs and (n.op.view or shows(n) or n.name is None)
            if n is not begin and (last > position[begin] or folded):
                return False
        return True

    def owns(self, k: int) -> bool:
        """Whether every step makes a new array for carry k, so that the next may write into it."""
        out = self.loop.carry_outputs[k]
        return bool(out.type.shape) and _makes(out)

    def assignments(self, pairs: list[tuple[str, Expr]]) -> list[str]:
        """`a = x` (or `a += x`) for each carry; where one reads another's old value, all at once."""
        pairs = [(name, expr) for name, expr in pairs if expr.text != name]
        names = [name for name, _ in pairs]
        clash = any(other in expr.reads for j, (_, expr) in enumerate(pairs) for other in names[:j])
        if not clash:
            return [self.assignment(name, expr) for name, expr in pairs]
        line = f"{', '.join(names)} = {', '.join(expr.text for _, expr in pairs)}"
        if self.printer.indent + 4 + len(line) <= 100:
            return [line]
        out = [f"{t} = {e.text}" for t, (_, e) in zip(self.spare, pairs, strict=False)]
        return out + [f"{n} = {t}" for n, t in zip(names, self.spare, strict=False)]

    def find_sums(self, names: Sequence[str]) -> None:
        """Scalar carries to which every step adds."""
        self.sums.update(name for k, name in enumerate(names) if _adds(self.loop, k))

    def start(self, k: int, name: str, mutated: bool) -> None:
        """The carry's first value; a copy where the loop writes into it and it may be somebody else's."""
        value = self.loop.init[k]
        expr = self.printer._operand(value)
        text = expr.text
        filled = value.op.name == "broadcast" and not value.args[0].type.shape
        fresh = (
            not text.isidentifier() if filled else _makes(value) and self.printer.counts[value] == 1
        )
        if mutated and not fresh:
            text = f"np.array({text})"
        if text != name:
            self.before(name, text, expr.reads)


def _adds(loop: Loop, k: int) -> bool:
    """Whether every step adds to carry k, a number."""
    old, out = loop.carry_inputs[k], loop.carry_outputs[k]
    return out.op.name == "add" and out.args[0] is old and not out.type.shape


class _For(_Loop):
    def print(self) -> None:
        loop, printer = self.loop, self.printer
        length = self.node.params["length"]
        consts = [self.variable(x) for x in loop.consts]
        sources = [self.source(x) for x in loop.xs]
        y_names = [
            self.name(loop.first_y + k, (v.name if v.op not in LEAVES else None) or "ys")
            for k, v in enumerate(loop.y_outputs)
        ]
        carry_names = self.carry_names()
        kept = {k: j for j, k in enumerate(loop.kept)}
        self.find_sums(carry_names)
        mark = printer.names.mark()
        counts = loop.items or loop.kept or loop.y_outputs or loop.index in self.body_reads
        index = self.own(loop.index.name or "i") if counts else "_"
        into, out_of = (1, 0) if loop.reverse else (0, 1)
        carry_texts = [
            f"{name}[{_plus(index, into)}]" if k in kept else name
            for k, name in enumerate(carry_names)
        ]
        item_texts, prelude = [], []
        for v, (base, offset) in zip(loop.item_inputs, sources, strict=True):
            text = f"{base}[{_plus(index, offset)}]"
            if self.body_reads.get(v, 0) > 1:
                name = self.own(v.name)
                prelude.append(f"    {name} = {text}")
                text = name
            item_texts.append(text)
        inner = printer.nested(loop.body, [index, *carry_texts, *item_texts, *consts])
        stored = [loop.carry_outputs[k] for k in loop.kept] + loop.y_outputs
        inner.unnamed = {v for v in stored if self.body_reads[v] == 1}
        for k, name in enumerate(carry_names):
            if k in kept:
                continue
            if self.owns(k):
                inner.owned.add(loop.carry_inputs[k])
            if self.needs_name(k) and self.steady(k, inner):
                inner.roots[loop.carry_outputs[k]] = name
        printed = inner.print()
        self.spare = [printer.names.temporary() for _ in carry_names]
        printer.names.release(mark)
        mutated = {inner.fn.body[j].args[0] for j in inner_updates(inner)}
        for k, name in enumerate(carry_names):
            if k in kept:
                ty = self.node.type.parts[loop.first_state + kept[k]]  # type: ignore[attr-defined]
                self.before(name, self.empty(ty))
                start = f"{name}[{printer.size(length) if loop.reverse else 0}]"
                expr = printer._operand(loop.init[k])
                self.before(start, _scalar_fill(loop.init[k], expr.text), expr.reads)
            else:
                self.start(k, name, loop.carry_inputs[k] in mutated)
        for k, name in enumerate(y_names):
            self.before(name, self.empty(self.node.type.parts[loop.first_y + k]))  # type: ignore[attr-defined]
        steps = f"range({printer.size(length)})"
        lines = [f"for {index} in {f'reversed({steps})' if loop.reverse else steps}:", *prelude]
        lines += self.lines(inner)
        pairs = []
        tail: list[str] = []
        for k, name in enumerate(carry_names):
            expr = printed.results[k]
            self.reads += expr.reads
            if k in kept:
                tail.append(f"{name}[{_plus(index, out_of)}] = {expr.text}")
            else:
                pairs.append((name, expr))
        for k, name in enumerate(y_names):
            expr = printed.results[loop.carries + k]
            self.reads += expr.reads
            tail.append(f"{name}[{index}] = {expr.text}")
        lines += [f"    {line}" for line in [*tail, *self.assignments(pairs)]]
        if len(lines) == 1:
            lines.append("    pass")
        self.emit(lines)
        for k, name in enumerate(carry_names):
            end = 0 if loop.reverse else printer.size(length)
            self.define(loop.first_final + k, f"{name}[{end}]" if k in kept else name)
            if k in kept:
                self.define(loop.first_state + kept[k], name)
        for k, name in enumerate(y_names):
            self.define(loop.first_y + k, name)

    def source(self, value: Value) -> tuple[str, int]:
        """The array that items come from, and by how much their number is shifted there."""
        printer = self.printer
        if value in printer.pending and value.op.name == "slice":
            first, *rest = value.params["index"]
            base = printer._exprs.get(value.args[0])
            start = _start(first) if isinstance(first, Span) else None
            if base is not None and start is not None and all(e == Span() for e in rest):
                printer.pending.pop(value)
                self.reads.append(base.text)
                return base.text, start
        return self.variable(value), 0


def _start(span: Span) -> int | None:
    """Where a slice that takes every element from there on begins, if that is a number."""
    start = 0 if span.start is None else span.start
    return start if span.step == 1 and isinstance(start, int) and start >= 0 else None


def inner_updates(inner: Printer) -> list[int]:
    """Numbers of the statements of a printed body that stored in place."""
    return [j for j, n in enumerate(inner.fn.body) if n in inner._in_place]


def _scalar_fill(value: Value, text: str) -> str:
    """np.zeros of an element of an array is as well its number."""
    if value.op.name == "broadcast" and not value.args[0].type.shape:
        filled = value.args[0].params.get("value")
        if filled is not None:
            return number(filled, "np").text
    return text


def _plus(index: str, offset: int) -> str:
    return f"{index} + {offset}" if offset else index


class _While(_Loop):
    def print(self) -> None:
        loop, printer = self.loop, self.printer
        test: Function = self.node.params["test"]
        most = self.node.params.get("max_steps")
        consts = [self.variable(x) for x in loop.consts]
        carry_names = self.carry_names()
        read = {a for n in test.body for a in n.args} | set(test.outputs)
        taped = loop.length is not None
        counts = (
            taped or most is not None or loop.index in self.body_reads
            or test.inputs[0] in read or 0 in self.results
        )  # fmt: skip
        index = self.fresh("steps" if taped or 0 in self.results else "i") if counts else "_"
        self.find_sums(carry_names)
        state_names = [
            self.name(loop.first_state + j, f"{carry_names[k]}_tape")
            for j, k in enumerate(loop.kept)
        ]
        y_names = [
            self.name(loop.first_y + k, v.name if v.op not in LEAVES else None)
            for k, v in enumerate(loop.y_outputs)
        ] if taped else []  # fmt: skip
        mark = printer.names.mark()
        inner = printer.nested(loop.body, [index, *carry_names, *consts])
        for k, name in enumerate(carry_names):
            if self.owns(k) and k not in loop.kept:
                inner.owned.add(loop.carry_inputs[k])
            if self.needs_name(k) and self.steady(k, inner):
                inner.roots[loop.carry_outputs[k]] = name
        check = printer.nested(test, [index, *carry_names, *consts])
        checked = check.print()
        printed = inner.print()
        self.spare = [printer.names.temporary() for _ in carry_names]
        printer.names.release(mark)
        mutated = {inner.fn.body[j].args[0] for j in inner_updates(inner)}
        for k, name in enumerate(carry_names):
            self.start(k, name, loop.carry_inputs[k] in mutated)
        if counts:
            self.before(index, "0")
        for name, k in zip(state_names, loop.kept, strict=True):
            self.before(name, f"[{carry_names[k]}]", [carry_names[k]])
        for name in y_names:
            self.before(name, "[]")
        condition = checked.results[0]
        self.reads += condition.reads
        if check.statements:
            lines = ["while True:", *self.lines(check)]
            ends = condition.text.removeprefix("not ")
            if condition.precedence != NOT or ends == condition.text:
                ends = f"not {condition.at(NOT)}"
            elif ends.startswith("(") and closes(ends, 0) == len(ends) - 1:
                ends = ends[1:-1]
            lines += [f"    if {ends}:", "        break"]
        else:
            lines = [f"while {condition.text}:"]
        if most is not None:
            lines += [
                f"    if {index} == {most}:",
                f'        raise ValueError("{out_of_steps(self.node)}")',
            ]
        lines += self.lines(inner)
        pairs = []
        for k, name in enumerate(carry_names):
            self.reads += printed.results[k].reads
            pairs.append((name, printed.results[k]))
        tail = []
        for k, name in enumerate(y_names):
            expr = printed.results[loop.carries + k]
            self.reads += expr.reads
            tail.append(f"{name}.append({expr.text})")
        tail += self.assignments(pairs)
        tail += [
            f"{name}.append({carry_names[k]})"
            for name, k in zip(state_names, loop.kept, strict=True)
        ]
        if counts:
            tail.append(f"{index} += 1")
        lines += [f"    {line}" for line in tail]
        self.emit(lines if len(lines) > 1 else [*lines, "    pass"])
        self.define(0, index)
        if isinstance(loop.length, Size):
            printer.local_letters[str(loop.length)] = index
        for k, name in enumerate(carry_names):
            self.define(loop.first_final + k, name)
        parts = self.node.type.parts  # type: ignore[attr-defined]
        for k, name in enumerate([*y_names, *state_names]):
            self.to_array(name, parts[loop.first_y + k])
            self.define(loop.first_y + k, name)

    def to_array(self, name: str, ty: Type) -> None:
        """The list as an array; of no steps too."""
        if self.printer.spelling == "python":
            return
        shape = [self.printer.size(d) for d in ty.shape]
        dtype = "" if ty.dtype == "f64" else f", {self.printer.dtype(ty.dtype)}"
        text = f"np.array({name}{dtype or ', float'})" if len(shape) == 1 else (
            f"np.array({name}{dtype or ', float'}).reshape({', '.join(shape)})"
        )  # fmt: skip
        self.before(name, text, [name])


class _Branch(_Block):
    def print(self) -> None:
        printer, node = self.printer, self.node
        pred = self.operand(node.args[0])
        consts = [self.variable(x) for x in node.args[1:]]
        then: Function = node.params["then"]
        otherwise: Function = node.params["otherwise"]
        names: list[str] = []
        for k, v in enumerate(then.outputs):
            other = otherwise.outputs[k]
            hint = next((n.name for n in (v, other) if n.op not in LEAVES and n.name), None)
            names.append(self.name(k, hint))
        printed = []
        for fn in (then, otherwise):
            inner = printer.nested(fn, consts)
            for k, v in enumerate(fn.outputs):
                if any(v is n for n in fn.body) and sum(v is w for w in fn.outputs) == 1:
                    inner.roots[v] = names[k]
            printed.append((inner, inner.print()))
        (a, first), (b, second) = printed
        self.reads += [r for expr in (*first.results, *second.results) for r in expr.reads]
        if len(names) == 1 and not a.statements and not b.statements:
            x, y = first.results[0], second.results[0]
            text = f"{x.at(TERNARY + 1)} if {pred.at(TERNARY + 1)} else {y.at(TERNARY)}"
            if printer.indent + len(names[0]) + 3 + len(text) <= 96:
                printer._statement(node, names[0], f"{names[0]} = ", text, self.reads)
                self.define(0, names[0])
                return
        lines = [f"if {pred.text}:", *self.branch(a, first.results, names)]
        lines += ["else:", *self.branch(b, second.results, names)]
        self.emit(lines)
        for k, name in enumerate(names):
            self.define(k, name)

    def branch(self, inner: Printer, results: Sequence[Expr], names: list[str]) -> list[str]:
        lines = self.lines(inner)
        pairs = [(n, e) for n, e in zip(names, results, strict=True) if n != e.text]
        lines += [f"    {name} = {expr.text}" for name, expr in pairs]
        return lines or ["    pass"]
