"""Statements of a Kernel as C: names, expressions with true precedence, indices, comments that cite the user's lines.

A scalar that is read once, in its own block, and that the user did not name is folded into the expression that reads it; an
operand that a spelling mentions twice stays a name. A folded load is written out before a store to the same memory passes it.
One walk in order; nothing recurses but over the depth of nests.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from gradgen.emit.c_folds import fold_name
from gradgen.emit.c_gemm import gemm_name
from gradgen.emit.c_places import CPlaces
from gradgen.emit.c_text import (
    WIDTH,
    fold_comment,
    fold_line,
    is_single,
    literal,
    negated,
    parameter_lines,
    summary,
)
from gradgen.emit.names import Names
from gradgen.errors import EmitError
from gradgen.ir import CONST, LEAVES, OPS, SIZE
from gradgen.lower.kernel import (
    FOREVER,
    IOTA,
    READ,
    Bind,
    Break,
    Buffer,
    Call,
    Check,
    Clip,
    Declare,
    Fail,
    Fold,
    Gemm,
    If,
    Kernel,
    Let,
    Load,
    Loop,
    Routine,
    Store,
    Var,
    accessed,
    operands,
    walk,
)
from gradgen.lower.threads import work
from gradgen.sites import Site, cite
from gradgen.sizes import Dim
from gradgen.spelling import COMPARE, PRODUCT, SUM, TERNARY, UNARY, Expr
from gradgen.types import C_NAMES, DTYPES

_WORD = re.compile(r"[A-Za-z_]\w*")
_FOLD = 56  # longer expressions get a line of their own
_LOOPS = "ijklpqrs"
LONG_WORK = 20000  # iterations that are worth starting threads for


class CBody(CPlaces):
    """Prints blocks of one kernel; `helpers` collects the routines in use, `sizes` the lines that bind derived sizes."""

    name = "c"

    def __init__(
        self, kernel: Kernel, names: Names, letters: dict[str, str], function: str, code: str
    ) -> None:
        super().__init__(names, letters)
        self.function = function
        self.code = code
        self.pending: dict[int, Expr] = {}
        self.depends: dict[int, list[Buffer]] = {}
        self.waiting: dict[int, list[Any]] = {}
        self.loop_names: list[str] = []
        self.placement = kernel.placement
        self.results = {b.memory.name for b in kernel.outputs}
        self.lines: list[str] = []
        self.parts: list[str] = []
        self.part_names: list[str] = []
        self.scope: dict[str, str] = {}  # what the kernel's parts can mention: name -> declaration
        self.exits = False
        self.failures: dict[str, None] = {}  # codes that the kernel may leave with
        self.clips: dict[Any, str] = {}
        self.gemms: dict[str, None] = {}
        self.folds: dict[tuple[str, str, int], None] = {}
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
                if kind is Let or kind is Load or kind is Fold:
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
        spelling = let.op.c
        if spelling is None:
            raise EmitError(
                f"target C needs a spelling for every op, got none for {let.op}", site=let.site
            )
        return spelling(args, let, self)

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
                expr = self.element(buffer, stmt.index)
                if buffer.data is IOTA and expr.text.isidentifier():  # the loop's variable
                    self.variable[id(stmt)] = expr
                elif not buffer.shape and buffer.storage == "local" and self._is_alias(stmt):
                    self.variable[id(stmt)] = expr
                    self.depends[id(stmt)] = [buffer]
                elif id(stmt) in self.single and len(expr.text) <= _FOLD:
                    self.pending[id(stmt)] = expr
                    self._inherit(stmt)
                else:
                    cited = self._bind_local(stmt, expr, depth, cited)
            elif kind is Routine:
                cited = self._routine(stmt, depth, cited)
            elif kind is Gemm:
                cited = self._gemm(stmt, depth, cited)
            elif kind is Fold:
                self.folds[stmt.by.name, stmt.type.dtype, stmt.count] = None
                callee = fold_name(stmt.by.name, stmt.type.dtype, stmt.count)
                expr = Expr(f"{callee}({self.pointer_to(stmt.buffer, stmt.index)})")
                if id(stmt) in self.single:
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
                if hint in self.results and not buffer.shape and not self.names.is_free(hint):
                    hint = f"{hint}_sum"  # collects what becomes a result of that name
                name = self.pointer[id(buffer)] = self.distinct(hint, depth)
                if buffer.shape:
                    self._declare(stmt, name, depth, cited)
                else:
                    undeclared[id(buffer)] = buffer
            else:
                for buffer in undeclared.values():
                    name = self.pointer[id(buffer)]
                    self._line(f"{C_NAMES[buffer.dtype]} {name};", depth, None, cited)
                undeclared.clear()
                cited = self._compound(stmt, depth, cited)

    def _routine(self, stmt: Routine, depth: int, cited: str) -> str:
        from gradgen.ops.helpers import HELPERS

        self.helpers[stmt.name, stmt.dtype] = None
        self._flush([p.buffer.memory for p in stmt.writes], depth)
        parts = [self.dim(d).text for d in stmt.sizes]
        parts += [self.pointer_to(p.buffer, p.index) for p in (*stmt.reads, *stmt.writes)]
        text = f"{HELPERS[stmt.name].called('c', stmt.dtype)}({', '.join(parts)})"
        if not stmt.fails:
            return self._line(f"{text};", depth, stmt.site, cited)
        self.failures["SINGULAR"] = None
        cited = self._line(f"if ({text} != 0)", depth, stmt.site, cited)
        self.lines.append("    " * (depth + 1) + f"return {self.code}_SINGULAR;")
        return cited

    def _gemm(self, stmt: Gemm, depth: int, cited: str) -> str:
        dtype = stmt.c.buffer.dtype
        self.gemms[dtype] = None
        self._flush([stmt.c.buffer.memory], depth)
        parts = [self.dim(d).text for d in (stmt.m, stmt.n, stmt.k)]
        for w in (stmt.a, stmt.b):
            parts += [
                self.pointer_to(w.buffer, w.index),
                self.dim(w.rows).text,
                self.dim(w.columns).text,
            ]
        parts += [self.pointer_to(stmt.c.buffer, stmt.c.index), self.dim(stmt.c.rows).text]
        return self._line(f"{gemm_name(dtype)}({', '.join(parts)});", depth, stmt.site, cited)

    def _declare(self, stmt: Declare, name: str, depth: int, cited: str) -> None:
        buffer, fill = stmt.buffer, stmt.fill
        head = f"{C_NAMES[buffer.dtype]} {name}[{buffer.size or 1}]"  # C has no arrays of nothing
        value = literal(DTYPES[buffer.dtype].type(fill if fill is not None else 0)).text
        self._line(f"{head} = {{{value}}};" if fill == 0 else f"{head};", depth, None, cited)
        if fill:
            k = self.names.fresh("k")
            self._line(f"for (int64_t {k} = 0; {k} < {buffer.size}; {k}++)", depth, None, cited)
            self._line(f"{name}[{k}] = {value};", depth + 1, None, cited)

    def _compound(self, stmt: Any, depth: int, cited: str) -> str:
        kind = type(stmt)
        if kind is Loop:
            inner_writes = [
                b for s in walk(stmt.body) for b, _, mode in accessed(s) if mode != READ
            ]
            self._flush([b.memory for b in inner_writes], depth)
            level = depth - 1
            while len(self.loop_names) <= level:
                self.loop_names.append(self.names.fresh(_LOOPS[len(self.loop_names) % len(_LOOPS)]))
            name = self.loop_names[level]
            self.variable[id(stmt.var)] = Expr(name)
            step = f"{name}++" if stmt.step == 1 else f"{name} += {stmt.step}"
            whole = isinstance(stmt.start, Clip)
            start = self._bound(stmt.start, depth) if whole else self.dim(stmt.start)
            head = f"for (int64_t {name} = {start.text};"
            if stmt.extent == FOREVER:
                head += f"; {step})"
            else:
                head += f" {name} < {self._bound(stmt.extent, depth).at(COMPARE + 1)}; {step})"
            self.lines, outer = [], self.lines
            for nest in walk(stmt.body):
                if type(nest) is Loop and self._counts_from(nest, stmt.var):
                    self._bound(nest.extent, depth + 1)
            self.block(stmt.body, depth + 1, cite(stmt.site) or cited)
            inner, self.lines = self.lines, outer
            single = is_single(inner, depth + 1)
            if stmt.kind == "threads":
                long = self.dim(work(stmt)).at(COMPARE + 1)
                self.lines += [
                    "#if defined(_OPENMP)",
                    f"#pragma omp parallel for if ({long} > {LONG_WORK})",
                    "#endif",
                ]
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
        if kind is Break:
            goes_on = self.operand(stmt.value)
            cited = self._line(f"if ({negated(goes_on)})", depth, stmt.site, cited)
            self.lines.append("    " * (depth + 1) + "break;")
            return cited
        if kind is Bind:
            name = self.letters[stmt.letter]
            return self._line(f"{name} = {self.operand(stmt.value).text};", depth, stmt.site, cited)
        if kind is Fail:
            self.failures[stmt.code] = None
            return self._line(f"return {self.code}_{stmt.code};", depth, None, cited)
        raise KeyError(f"internal: no C for {kind.__name__}")

    def _counts_from(self, loop: Loop, var: Var) -> bool:
        """Whether a loop is over one block of the loop over `var`, and of known loops around that."""
        if not isinstance(loop.extent, Clip):
            return False
        terms = loop.extent.base.terms
        return any(t is var for t, _ in terms) and all(id(t) in self.variable for t, _ in terms)

    def _bound(self, clip: Any, depth: int) -> Expr:
        """Where a loop starts or ends; the rows of a block get a name, once for all loops over them."""
        if not isinstance(clip, Clip):
            return self.extent(clip)
        key = (clip.base.key(), clip.size, clip.total)
        name = self.clips.get(key)
        if name is None:
            name = self.clips[key] = self.names.fresh("rows")
            rest = f"{self.dim(clip.total).at(SUM)} - {self.affine(clip.base).at(SUM + 1)}"
            size = self.dim(clip.size)
            test = f"{rest} < {size.at(COMPARE + 1)} ? {rest} : {size.at(TERNARY + 1)}"
            self._line(f"const int64_t {name} = {test};", depth, None, "")
        return (
            Expr(name) if clip.unit == 1 else Expr(f"{name} / {clip.unit} * {clip.unit}", PRODUCT)
        )

    def _part(self, stmt: Call, depth: int) -> None:
        """A part as a static function of what it mentions, and its call."""
        self.lines, outer = [], self.lines
        self.block(stmt.body, 1)
        inner, self.lines = self.lines, outer
        words = set(_WORD.findall("\n".join(inner)))
        used = {name: text for name, text in self.scope.items() if name in words}
        used |= {name: f"int64_t {name}" for name in self.sizes if name in words}
        name = self.names.fresh(f"{self.function}_part_{len(self.parts) + 1}")
        self.part_names.append(name)
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
        if type(stmt) is Load and stmt.buffer.shape and stmt.buffer.data is not IOTA:
            terms = [t for a in stmt.index for t, _ in a.terms]
            simple = all(type(t) is Var for t in terms) and all(
                len(a.terms) == 1 and a.terms[0][1] == 1 and a.constant == 0 for a in stmt.index
            )
            if simple:
                letters = "".join(self.variable[id(t)].text for t in terms)
                name = self.pointer[id(stmt.buffer.memory)].rstrip("_")
                return self.names.fresh(f"{name}_{letters}")
        return self.names.temporary()

    def distinct(self, hint: str, depth: int) -> str:
        """The user's name, or `z_i` in a loop over i where something else is called z."""
        if self.names.is_free(hint):
            return self.names.fresh(hint)
        return self.names.fresh("_".join([hint, *self.loop_names[: depth - 1]][:2]))

    def _inherit(self, stmt: Any) -> None:
        """A folded load, and what folds it in turn, waits for the next store to its memory."""
        found: list[Buffer] = [stmt.buffer.memory] if type(stmt) in (Load, Fold) else []
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
