"""Statements of a Kernel as C: names, expressions with true precedence, indices, comments that cite the user's lines.

A scalar that is read once, in its own block, and that the user did not name is folded into the expression that reads it; an
operand that a spelling mentions twice stays a name. A folded load is written out before a store to the same memory passes it.
One walk in order; nothing recurses but over the depth of nests.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradgen.emit.names import Names
from gradgen.ir import CONST, LEAVES, OPS, SIZE
from gradgen.lower.kernel import (
    Affine,
    Buffer,
    Call,
    Check,
    Declare,
    If,
    Index,
    Kernel,
    Let,
    Load,
    Loop,
    Store,
    Var,
    operands,
    walk,
)
from gradgen.sites import Site, cite
from gradgen.sizes import Dim, Opaque, Size, mul, nonnegative, spell
from gradgen.spelling import ATOM, COMPARE, PRODUCT, SUM, TERNARY, UNARY, Expr
from gradgen.types import C_NAMES

WIDTH = 100
_WORD = re.compile(r"[A-Za-z_]\w*")
_FOLD = 56  # longer expressions get a line of their own
_LOOPS = "ijklpqrs"


class CBody:
    """Prints blocks of one kernel; `helpers` collects the routines in use, `sizes` the lines that bind derived sizes."""

    name = "c"

    def __init__(
        self, kernel: Kernel, names: Names, letters: dict[str, str], function: str, code: str
    ) -> None:
        self.names = names
        self.letters = letters
        self.function = function
        self.code = code
        self.helpers: dict[tuple[str, str], None] = {}
        self.sizes: dict[str, str] = {}
        self.size_names: dict[str, str] = {}
        self.variable: dict[int, Expr] = {}
        self.pointer: dict[int, str] = {}
        self.pending: dict[int, Expr] = {}
        self.depends: dict[int, list[Buffer]] = {}
        self.waiting: dict[int, list[Any]] = {}
        self.loop_names: list[str] = []
        self.placement = kernel.placement
        self.lines: list[str] = []
        self.parts: list[str] = []
        self.scope: dict[str, str] = {}  # what the kernel's parts can mention: name -> declaration
        self.exits = False
        # Straight-line code has sections; in nests the comment of each loop says what it holds.
        self.sections = not any(type(s) in (Loop, Call) for s in kernel.body)
        self.phase = ""
        self._mentions: dict[Any, tuple[int, ...]] = {}
        self._analyse(kernel)

    # -- what is folded
    def _analyse(self, kernel: Kernel) -> None:
        """Uses of every scalar, the block of its definition, and which scalars may be folded into their use."""
        uses: dict[int, int] = {}
        home: dict[int, int] = {}
        apart: set[int] = set()
        stored: set[int] = set()
        stores: dict[int, list[int]] = {}
        order: dict[int, int] = {}
        last_use: dict[int, int] = {}
        clock = 0

        def visit(body: Sequence[Any]) -> None:
            nonlocal clock
            here = id(body)
            for stmt in body:
                clock += 1
                kind = type(stmt)
                for k, a in enumerate(operands(stmt)):
                    key = id(a)
                    uses[key] = uses.get(key, 0) + 1
                    if kind is Store:
                        stored.add(key)
                    last_use[key] = clock
                    if home.get(key, here) != here or (
                        kind is Let and key in home and self._mentioned(stmt)[k] != 1
                    ):
                        apart.add(key)
                if kind is Let or kind is Load:
                    home[id(stmt)] = here
                    order[id(stmt)] = clock
                elif kind is Store:
                    stores.setdefault(id(stmt.buffer), []).append(clock)
                elif kind is Loop or kind is Call:
                    visit(stmt.body)
                elif kind is If:
                    visit(stmt.then)
                    visit(stmt.otherwise)

        visit(kernel.prologue)
        visit(kernel.body)
        self.single = {key for key, n in uses.items() if n == 1 and key not in apart}
        self.stored = stored  # a name would only be repeated by what it is stored in
        self.unused = {key for key in home if key not in uses}
        self.stores, self.order, self.last_use = stores, order, last_use

    def _is_alias(self, load: Load) -> bool:
        """Whether a load of a scalar variable can be written as the variable: no store comes before its last use."""
        stores = self.stores.get(id(load.buffer), [])
        k = bisect_right(stores, self.order[id(load)])
        return k == len(stores) or self.last_use[id(load)] <= stores[k]

    def _mentioned(self, let: Let) -> tuple[int, ...]:
        """How often the op's spelling writes each operand."""
        key = (
            let.op,
            let.type.dtype,
            *[
                (a.type.dtype, a.params["value"].tobytes() if a.op is CONST else None)
                for a in let.args
            ],
        )
        known = self._mentions.get(key)
        if known is None:
            saved = dict(self.helpers)
            marks = [Expr(chr(0xE000 + k)) for k in range(len(let.args))]
            text = self._spell(let, marks).text
            self.helpers = saved
            known = self._mentions[key] = tuple(text.count(m.text) for m in marks)
        return known

    # -- the interface that spellings use
    def helper(self, name: str, node: Any) -> str:
        from gradgen.ops.helpers import HELPERS

        dtype = node.type.dtype
        if dtype == "bool":
            dtype = node.args[0].type.dtype
        self.helpers[name, dtype] = None
        return HELPERS[name].called("c", dtype)

    def size(self, dim: Dim) -> str:
        return self.dim(dim).text

    # -- sizes and indices
    def letter(self, name: str) -> str:
        return self.letters[name]

    def dim(self, dim: Dim) -> Expr:
        """A size as an int64_t expression; parts that are no polynomials are bound to a constant first."""
        if isinstance(dim, int):
            return Expr(str(dim), ATOM if dim >= 0 else UNARY)
        for monomial, _ in dim.terms:
            for atom in monomial:
                if isinstance(atom, Opaque):
                    self._bind(atom)
        text = spell(self._named(dim), lambda n: n)
        if len(dim.terms) > 1:
            return Expr(text, SUM)
        monomial, coefficient = dim.terms[0]
        return Expr(
            text,
            ATOM
            if coefficient == 1 and len(monomial) == 1
            else PRODUCT
            if coefficient > 0
            else SUM,
        )

    def _named(self, dim: Dim) -> Dim:
        """The size with letters and bound parts under their C names."""
        if isinstance(dim, int):
            return dim
        terms = tuple(
            (
                tuple(
                    self.size_names[a.key] if isinstance(a, Opaque) else self.letters[a] for a in m
                ),
                c,
            )
            for m, c in dim.terms
        )
        return Size(terms)

    def _bind(self, atom: Opaque) -> None:
        if atom.key in self.size_names:
            return
        args = [self.dim(a) for a in atom.args]
        if atom.kind == "max0":
            text = f"{args[0].at(COMPARE + 1)} > 0 ? {args[0].at(TERNARY + 1)} : 0"
        elif nonnegative(atom.args[0]) and isinstance(atom.args[1], int) and atom.args[1] > 0:
            text = f"{args[0].at(PRODUCT)} / {args[1].at(PRODUCT + 1)}"
        else:
            self.helpers["floor_div", "i64"] = None
            text = f"floor_div({args[0].text}, {args[1].text})"
        name = self.names.fresh("m")
        self.size_names[atom.key] = name
        self.sizes[name] = f"const int64_t {name} = {text};"

    def extent(self, dim: Dim) -> Expr:
        """The bound of a loop: `i < max0(a)` is `i < a`."""
        if isinstance(dim, Size) and len(dim.terms) == 1:
            monomial, coefficient = dim.terms[0]
            if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], Opaque):
                atom = monomial[0]
                if atom.kind == "max0":
                    return self.dim(atom.args[0])
        return self.dim(dim)

    def affine(self, a: Affine) -> Expr:
        """An index as text: terms with a plus sign first, the constant last."""
        parts: list[tuple[bool, str]] = []
        inner = Expr("0")
        for t, c in a.terms:
            inner = self.variable[id(t)] if type(t) is Var else self.operand(t)
            negative = c < 0 if isinstance(c, int) else all(k < 0 for _, k in c.terms)
            factor = mul(c, -1) if negative else c
            if isinstance(factor, int) and factor == 1:
                text = inner.at(SUM + 1 if negative else SUM)
            else:
                coefficient = self.dim(factor)
                text = f"{inner.at(PRODUCT)} * {coefficient.at(PRODUCT + 1)}"
                if coefficient.precedence == PRODUCT:
                    text = f"{inner.at(PRODUCT)} * {coefficient.text}"
            parts.append((negative, text))
        constant = a.constant
        if not (isinstance(constant, int) and constant == 0) or not parts:
            if isinstance(constant, int):
                parts.append((constant < 0, str(abs(constant))))
            else:
                expr = self.dim(constant)
                parts.insert(0 if any(n for n, _ in parts) else len(parts), (False, expr.at(SUM)))
        if len(parts) == 1 and len(a.terms) == 1 and a.terms[0][1] == 1:
            return self.variable[id(a.terms[0][0])] if type(a.terms[0][0]) is Var else inner
        parts.sort(key=lambda p: p[0])
        text = ""
        for negative, part in parts:
            if not text:
                text = f"-{part}" if negative else part
            else:
                text += f" - {part}" if negative else f" + {part}"
        if len(parts) > 1:
            return Expr(text, SUM)
        return Expr(text, ATOM if text.isalnum() else PRODUCT)

    def place(self, buffer: Buffer, index: Index) -> str:
        """`X[i * d + j]`; the variable itself for a scalar; `*value` for a scalar result."""
        name = self.pointer[id(buffer.memory)]
        if not buffer.shape:
            return f"*{name}" if buffer.memory.storage == "output" else name
        flat = Affine()
        for a, stride in zip(index, buffer.strides(), strict=True):
            flat = flat.plus(a.times(stride))
        return f"{name}[{self.affine(flat).text}]"

    # -- scalars
    def operand(self, x: Any) -> Expr:
        known = self.variable.get(id(x))
        if known is not None:
            return known
        found = self.pending.pop(id(x), None)
        if found is not None:
            return found
        if x.op is CONST:
            return literal(x.params["value"])
        if x.op is SIZE:
            return self.dim(x.params["size"])
        raise KeyError(f"internal: no text for {x.op} {x.name}")

    def _spell(self, let: Let, args: Sequence[Expr]) -> Expr:
        found: Expr = let.op.c(args, let, self)
        return found

    # -- statements
    def block(self, body: Sequence[Any], depth: int, cited: str = "") -> None:
        undeclared: dict[int, Buffer] = {}
        for stmt in body:
            kind = type(stmt)
            if kind is Let:
                if id(stmt) in self.unused:
                    continue
                expr = self._spell(stmt, [self.operand(a) for a in stmt.args])
                if stmt.op is OPS["cast"] and stmt.args[0].op in LEAVES:
                    self.variable[id(stmt)] = expr
                    continue
                nameless = stmt.name is None or id(stmt) in self.stored
                if id(stmt) in self.single and nameless and len(expr.text) <= _FOLD:
                    self.pending[id(stmt)] = expr
                    self._inherit(stmt)
                    continue
                cited = self._bind_local(stmt, expr, depth, cited)
            elif kind is Load:
                if id(stmt) in self.unused:
                    continue
                buffer = stmt.buffer
                expr = Expr(self.place(buffer, stmt.index))
                if not buffer.shape and buffer.storage == "local" and self._is_alias(stmt):
                    self.variable[id(stmt)] = expr
                    self.depends[id(stmt)] = [buffer]
                elif id(stmt) in self.single and len(expr.text) <= _FOLD:
                    self.pending[id(stmt)] = expr
                    self._inherit(stmt)
                else:
                    cited = self._bind_local(stmt, expr, depth, cited)
            elif kind is Store:
                value = self.operand(stmt.value)
                place = self.place(stmt.buffer, stmt.index)
                self._flush([stmt.buffer.memory], depth)
                prefix = ""
                if undeclared.pop(id(stmt.buffer), None) is not None:
                    prefix = C_NAMES[stmt.buffer.dtype] + " "
                sign = "+=" if stmt.accumulate else "="
                cited = self._line(f"{prefix}{place} {sign} {value.text};", depth, stmt.site, cited)
            elif kind is Declare:
                buffer = stmt.buffer
                hint = buffer.name
                if depth == 1 and not buffer.shape and not self.names.is_free(hint):
                    hint = f"{hint}_sum"  # collects what becomes a result of that name
                name = self.pointer[id(buffer)] = self.distinct(hint, depth)
                if buffer.shape:
                    count = buffer.size
                    self._line(f"{C_NAMES[buffer.dtype]} {name}[{count}];", depth, None, cited)
                else:
                    undeclared[id(buffer)] = buffer
            else:
                for buffer in undeclared.values():
                    name = self.pointer[id(buffer)]
                    self._line(f"{C_NAMES[buffer.dtype]} {name};", depth, None, cited)
                undeclared.clear()
                cited = self._compound(stmt, depth, cited)

    def _compound(self, stmt: Any, depth: int, cited: str) -> str:
        kind = type(stmt)
        if kind is Loop:
            self._flush([s.buffer.memory for s in walk(stmt.body) if type(s) is Store], depth)
            level = depth - 1
            while len(self.loop_names) <= level:
                self.loop_names.append(self.names.fresh(_LOOPS[len(self.loop_names) % len(_LOOPS)]))
            name = self.loop_names[level]
            self.variable[id(stmt.var)] = Expr(name)
            head = f"for (int64_t {name} = 0; {name} < {self.extent(stmt.extent).at(COMPARE + 1)}; {name}++)"
            self.lines, outer = [], self.lines
            self.block(stmt.body, depth + 1, cite(stmt.site) or cited)
            inner, self.lines = self.lines, outer
            single = _is_single(inner, depth + 1)
            cited = self._line(
                head if single else f"{head} {{", depth, stmt.site, cited, note=summary(stmt)
            )
            self.lines += inner
            if not single:
                self.lines.append("    " * depth + "}")
            return cited
        if kind is Check:
            extent = self.dim(stmt.extent)
            if stmt.value.op is CONST:
                number = int(stmt.value.params["value"])
                test = f"{extent.at(COMPARE + 1)} {'<=' if number >= 0 else '<'} {abs(number)}"
            else:
                value = self.operand(stmt.value).at(COMPARE + 1)
                test = f"{value} < -{extent.at(UNARY + 1)} || {value} >= {extent.at(COMPARE + 1)}"
            self.exits = True
            cited = self._line(f"if ({test})", depth, stmt.site, cited)
            self.lines.append("    " * (depth + 1) + f"return {self.code}_INDEX;")
            return cited
        if kind is If:
            cited = self._line(
                f"if ({self.operand(stmt.condition).text}) {{", depth, stmt.site, cited
            )
            self.block(stmt.then, depth + 1, cited)
            if stmt.otherwise:
                self.lines.append("    " * depth + "} else {")
                self.block(stmt.otherwise, depth + 1, cited)
            self.lines.append("    " * depth + "}")
            return cited
        if kind is Call:
            self._part(stmt, depth)
            return ""
        raise KeyError(f"internal: no C for {kind.__name__}")

    def _part(self, stmt: Call, depth: int) -> None:
        """A part as a static function of what it mentions, and its call."""
        self.lines, outer = [], self.lines
        self.block(stmt.body, 1)
        inner, self.lines = self.lines, outer
        words = set(_WORD.findall("\n".join(inner)))
        used = {name: text for name, text in self.scope.items() if name in words}
        used |= {name: f"int64_t {name}" for name in self.sizes if name in words}
        name = self.names.fresh(f"{self.function}_part_{len(self.parts) + 1}")
        head = parameter_lines(f"static void {name}(", list(used.values()), "")
        self.parts.append("\n".join([*head, "{", *inner, "}"]))
        self.lines += parameter_lines("    " * depth + f"{name}(", list(used), ";")

    def _bind_local(self, stmt: Any, expr: Expr, depth: int, cited: str) -> str:
        name = self._local_name(stmt, depth)
        self.variable[id(stmt)] = Expr(name)
        return self._line(
            f"const {C_NAMES[stmt.type.dtype]} {name} = {expr.text};", depth, stmt.site, cited
        )

    def _local_name(self, stmt: Any, depth: int) -> str:
        if stmt.name:
            return self.distinct(stmt.name, depth)
        if type(stmt) is Load and stmt.buffer.shape:
            terms = [t for a in stmt.index for t, _ in a.terms]
            simple = all(type(t) is Var for t in terms) and all(
                len(a.terms) == 1 and a.terms[0][1] == 1 and a.constant == 0 for a in stmt.index
            )
            if simple:
                letters = "".join(self.variable[id(t)].text for t in terms)
                return self.names.fresh(f"{self.pointer[id(stmt.buffer.memory)]}_{letters}")
        return self.names.temporary()

    def distinct(self, hint: str, depth: int) -> str:
        """The user's name, or `z_i` in a loop over i where something else is called z."""
        if self.names.is_free(hint):
            return self.names.fresh(hint)
        return self.names.fresh("_".join([hint, *self.loop_names[: depth - 1]][:2]))

    def _inherit(self, stmt: Any) -> None:
        """A folded load, and what folds it in turn, waits for the next store to its memory."""
        found: list[Buffer] = [stmt.buffer.memory] if type(stmt) is Load else []
        for a in operands(stmt):
            found += self.depends.get(id(a), ())
        if found:
            self.depends[id(stmt)] = found
            for memory in found:
                self.waiting.setdefault(self._slot(memory), []).append(stmt)

    def _slot(self, memory: Buffer) -> Any:
        """What a store to `memory` overwrites: its place in the workspace, which may have held other buffers."""
        place = self.placement.get(id(memory))
        return place if place is not None and place[0] == "work" else id(memory)

    def _flush(self, memories: Sequence[Buffer], depth: int) -> None:
        """Write out folded loads of memories that are about to change."""
        for memory in memories:
            for stmt in self.waiting.pop(self._slot(memory), ()):
                expr = self.pending.pop(id(stmt), None)
                if expr is not None:
                    name = self._local_name(stmt, depth)
                    self.variable[id(stmt)] = Expr(name)
                    self._line(
                        f"const {C_NAMES[stmt.type.dtype]} {name} = {expr.text};", depth, None, ""
                    )

    def _line(
        self, text: str, depth: int, site: Site | None, cited: str, note: str | None = None
    ) -> str:
        """One statement, broken at 100 columns, with the user's line behind it where that is another than before."""
        where = note if note is not None else cite(site)
        pad = "    " * depth
        if self.sections and depth == 1 and site is not None:
            phase = "reverse" if len(site) > 2 and site[2] == "reverse" else "forward"
            if phase != self.phase and self.phase != "reverse":
                self.lines += [*([""] if self.lines else []), f"    /* {phase} */"]
                self.phase, cited = phase, ""
        lines = fold_line(pad, text)
        if where and where != cited:
            comment = f"  /* {where} */"
            if len(lines[-1]) + len(comment) <= WIDTH:
                lines[-1] += comment
            else:
                lines[:0] = fold_comment(pad, where)
        self.lines += lines
        return cite(site) or where or cited


def summary(loop: Loop) -> str:
    """What a nest holds: its phases, and the user's lines in order."""
    phases: dict[str, None] = {}
    lines: dict[str, None] = {}
    for stmt in walk([loop]):
        site = getattr(stmt, "site", None)
        if site is None:
            continue
        phases[site[2] if len(site) > 2 else "forward"] = None
        if cite(site):
            lines[cite(site)] = None
    order = [p for p in ("forward", "reverse") if p in phases]
    return f"{' and '.join(order)}  {citations(list(lines))}".strip()


def citations(lines: list[str]) -> str:
    """model.py:3, 5, other.py:2: each file once, its lines in order."""
    files: dict[str, list[str]] = {}
    for line in lines:
        name, _, number = line.rpartition(":")
        files.setdefault(name, []).append(number)
    texts = []
    for name, numbers in files.items():
        numbers.sort(key=int)
        shown = numbers if len(numbers) <= 6 else [*numbers[:5], "...", numbers[-1]]
        texts.append(f"{name}:{', '.join(shown)}")
    return ", ".join(texts)


def _is_single(lines: list[str], depth: int) -> bool:
    """Whether lines are one statement, so that a loop needs no braces around it."""
    pad = 4 * depth
    own = [line for line in lines if len(line) - len(line.lstrip()) == pad]
    return len(own) == 1 and not own[0].lstrip().startswith("/*")


def parameter_lines(head: str, parts: Sequence[str], ending: str) -> list[str]:
    """A parameter list in lines of 100 columns, aligned behind the bracket."""
    pad = " " * len(head) if len(head) < 40 else "        "
    lines, line = [], head
    for k, part in enumerate(parts):
        text = part + ("," if k + 1 < len(parts) else f"){ending}")
        if len(line) + len(text) + 1 > WIDTH and line.strip() not in ("", head.strip()):
            lines.append(line.rstrip())
            line = pad
        line += text + " "
    if not parts:
        line += (
            f"void){ending}" if ending != ";" or head.lstrip().startswith("int ") else f"){ending}"
        )
    return [*lines, line.rstrip()]


def fold_comment(pad: str, text: str) -> list[str]:
    words, lines, line = text.split(), [], f"{pad}/*"
    for word in words:
        if len(line) + len(word) + 4 > WIDTH:
            lines.append(line)
            line = f"{pad} *"
        line += f" {word}"
    return [*lines, f"{line} */"]


def fold_line(pad: str, text: str) -> list[str]:
    """A statement in lines of 100 columns, broken at blanks, the last one before the limit that opens fewest brackets."""
    lines = []
    current = pad + text
    deeper = pad + "    "
    while len(current) > WIDTH:
        cut = _break(current, len(deeper))
        if cut <= len(deeper):
            break
        lines.append(current[:cut].rstrip())
        current = deeper + current[cut:].lstrip()
    return [*lines, current]


def _break(text: str, start: int) -> int:
    depth = best_depth = 0
    best = -1
    for k, char in enumerate(text[:WIDTH]):
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == " " and k > start + 8 and (best < 0 or depth <= best_depth or k - best > 40):
            best, best_depth = k, depth
    return best


def literal(value: Any) -> Expr:
    """A number as a C constant of its own dtype."""
    dtype = np.asarray(value).dtype
    number = np.asarray(value)[()]
    if dtype == np.bool_:
        return Expr("true" if number else "false")
    if dtype.kind == "i":
        return integer(int(number), dtype.itemsize)
    single = dtype == np.float32
    x = float(number)
    if math.isnan(x):
        return Expr("NAN") if single else Expr("(double)NAN", UNARY)
    if math.isinf(x):
        name = "INFINITY" if single else "HUGE_VAL"
        return Expr(name) if x > 0 else Expr(f"-{name}", UNARY)
    text = (str(number) if single else repr(x)).lower()
    if "." not in text and "e" not in text:
        text += ".0"
    if single:
        text += "f"
    return Expr(text, UNARY if text.startswith("-") else ATOM)


def integer(n: int, size: int = 8) -> Expr:
    low = -(2 ** (8 * size - 1))
    if n == low:
        return Expr(f"INT{8 * size}_MIN")
    text = str(n) if abs(n) < 2**31 else f"INT64_C({n})" if n > 0 else f"-INT64_C({-n})"
    return Expr(text, UNARY if n < 0 else ATOM)
