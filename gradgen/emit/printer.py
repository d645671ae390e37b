"""Statements of a Function as Python text: what the numpy and python targets share.

Single-use values without a name of the user's are folded into the expression that reads them; the text breaks off into
a temporary where a line would pass 100 columns, so every expression is short and printing is linear. A value that is
updated in place (its last use is a store into it) keeps one variable through all its versions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradgen.emit.blocks import filled_starts, is_own_final, print_region
from gradgen.emit.buffers import Buffers, ufunc
from gradgen.emit.guards import guarded
from gradgen.emit.layout import WIDTH, Group, Item, closes, layout
from gradgen.emit.lines import Statement
from gradgen.emit.literals import number, repr_array, size_precedence
from gradgen.emit.names import Names
from gradgen.errors import EmitError
from gradgen.ir import CONST, LEAVES, OPS, SIZE, Function, shows, use_counts
from gradgen.ops.regions import ITEM
from gradgen.ops.spans import index_text
from gradgen.sites import cite
from gradgen.sizes import Atom, Dim, Opaque, letters, of_atom, spell, with_atoms
from gradgen.spelling import ATOM, TERNARY, Expr
from gradgen.types import DTYPES, promote
from gradgen.value import Value

AUGMENTED = {"add": "+=", "sub": "-=", "mul": "*=", "div": "/="}


ROOT = "int(np.sqrt({0}))"  # of a size


@dataclass
class Printed:
    """A printed body."""

    statements: list[Statement]
    results: list[Expr]
    helpers: dict[str, str] = field(default_factory=dict)
    letters: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, str] = field(
        default_factory=dict
    )  # names of parts of sizes, and what they are


class Printer:
    """Prints one Function. `spelling` names the field of the op records to use: "numpy" or "python"."""

    def __init__(
        self,
        fn: Function,
        names: Names,
        spelling: str,
        inputs: list[str],
        letters: dict[str, str],
        fold: bool = True,
        helper_prefix: str = "_",
        results: Sequence[str] = (),
        buffers: Buffers | None = None,
    ) -> None:
        self.buffers = buffers or Buffers(fn.body)
        self.fn = fn if buffers is None else fn.with_body(buffers.body, fn.outputs)
        self.names = names
        self.spelling = spelling
        self.fold = fold
        self.letters = letters
        self.helper_prefix = helper_prefix
        self.used_letters: dict[str, str] = {}
        self.part_names: dict[
            str, str
        ] = {}  # of parts of sizes that are computed once, by the part's key
        self.parts_of_sizes: dict[str, str] = {}
        self.helpers: dict[str, str] = {}
        self._exprs: dict[Value, Expr] = {}
        self._by_dtype: dict[str, dict[Any, Callable[..., Expr]]] = {}  # the spelling of each op
        self._places: dict[Any, tuple[str, str]] = {}
        self._literals: dict[Value, Expr] = {}
        self.pending: dict[Value, Expr] = {}
        self.statements: list[Statement] = []
        for node, name in zip(fn.inputs, inputs, strict=True):
            self._exprs[node] = Expr.variable(name)
        self._hints = {v: label for v, label in zip(fn.outputs, results, strict=False) if label}
        self.indent = 4
        self.local_letters: dict[str, str] = {}  # numbers of steps, known inside the function only
        self.owned: set[Value] = set()  # inputs of a loop body that are its own to write into
        self.roots: dict[Value, str] = {}  # variables that statements are told to assign
        self.unnamed: set[Value] = set()  # values that stand where they are stored, named or not
        self._doubling = {OPS["mulz"]} if spelling == "python" else ()
        self._mixed = False  # whether f32 or i32 occur, beside which numbers may say their dtype
        self.is_region = False  # results are expressions of the block around it
        self.tables: dict[Value, str] = {}  # what the module has: the names of tables

    def nested(self, fn: Function, inputs: list[str], indent: int = 4) -> Printer:
        """A printer of a region of this Function's, in the same file and scope."""
        inner = Printer(
            fn, self.names, self.spelling, inputs, self.letters, self.fold, self.helper_prefix
        )
        inner.helpers, inner.used_letters = self.helpers, self.used_letters
        inner.part_names, inner.parts_of_sizes = self.part_names, self.parts_of_sizes
        inner.local_letters, inner.tables = self.local_letters, self.tables
        inner.is_region = True
        inner.indent = self.indent + indent
        return inner

    # -- the interface that spellings use
    def size(self, dim: Dim) -> str:
        return self.sized(dim).text

    def sized(self, dim: Dim) -> Expr:
        """A size as an expression; what has a root in it is computed once, at the start."""
        short = with_atoms(dim, self._part_of_size)
        return Expr(spell(short, self.letter, isqrt_text=ROOT), size_precedence(short))

    def _part_of_size(self, atom: Atom) -> Dim:
        if isinstance(atom, str) or "isqrt" not in atom.key:
            return of_atom(atom)
        if any(letter in self.local_letters for arg in atom.args for letter in letters(arg)):
            return of_atom(atom)
        if atom.key not in self.part_names:
            args = [with_atoms(arg, self._part_of_size) for arg in atom.args]
            text = spell(of_atom(Opaque(atom.kind, *args)), self.letter, isqrt_text=ROOT)
            name = self.names.fresh("root" if atom.kind == "isqrt" else "count")
            self.part_names[atom.key] = name
            self.parts_of_sizes[name] = text
        return of_atom(self.part_names[atom.key])

    def letter(self, name: str) -> str:
        if name in self.parts_of_sizes:
            return name
        if name in self.local_letters:
            return self.local_letters[name]
        self.used_letters[name] = self.letters[name]
        return self.letters[name]

    def shape(self, shape: tuple[Dim, ...]) -> str:
        inner = ", ".join(self.size(d) for d in shape)
        return f"({inner},)" if len(shape) == 1 else f"({inner})"

    def dtype(self, name: str) -> str:
        return f"np.{DTYPES[name]}" if name != "bool" else "np.bool_"

    def helper(self, name: str, node: Value | None = None) -> str:
        self.helpers[name] = f"{self.helper_prefix}{name}"
        return self.helpers[name]

    # -- printing
    def print(self) -> Printed:
        fn = self.fn
        counts = self.counts = use_counts(fn)
        self._mixed = self.spelling == "numpy" and any(
            getattr(v.type, "dtype", "") in ("f32", "i32") for v in (*fn.inputs, *fn.body)
        )
        self._outputs = set(fn.outputs)
        self._plan_updates(counts)
        self.unnamed |= filled_starts(fn, counts)
        body = fn.body
        self._guards: dict[Value, list[tuple[Value, bool]]] = {}
        if self.spelling == "python":
            folds = lambda v: self.fold and v.name is None and counts.get(v) == 1
            body, self._guards = guarded(fn, folds)
            for conditions in self._guards.values():
                self._pinned.update(c for c, _ in conditions)
        kept = self._pinned | (set(self.roots) if self.is_region else self._outputs)
        kept |= self.buffers.alone
        into, done = self.buffers.into, self.buffers.done
        fold, pending, dtype = self.fold, self.pending, ""
        for node in body:
            op = node.op
            if node.type.dtype != dtype:
                dtype = node.type.dtype
                spellings = self._by_dtype.setdefault(dtype, {})
            spelling = spellings.get(op)
            if spelling is None:  # its first statement, or one that is no expression
                if op.store is not None:
                    if node in done:
                        self._exprs[node] = self._exprs[node.args[0]]
                    else:
                        self._update(node)
                    continue
                if op is ITEM:
                    continue  # the statement that it is a result of has named it
                if op.regions:
                    print_region(self, node)
                    continue
                spelling = spellings[op] = self._spelling(node)
            if into and node in into:
                self._compute_into(node, into[node])
                continue
            expr = self._spell(node, spelling)
            if op.view and node.name is None and expr.text in expr.reads:
                self._exprs[node] = expr  # its operand under another type
                continue
            if (
                fold
                and (node.name is None or node in self.unnamed)
                and counts.get(node) == 1
                and len(expr.text) < 74
                and node not in kept
            ):
                pending[node] = expr
            else:
                self._assign(node, expr)
        results = [self._operand(v) for v in fn.outputs]
        return Printed(
            self.statements, results, self.helpers, self.used_letters, self.parts_of_sizes
        )

    def _spelling(self, node: Value) -> Callable[..., Expr]:
        found: Callable[..., Expr] | None = getattr(node.op, self.spelling)
        if found is None:
            raise EmitError(
                f"{node.op.name} has no spelling in the {self.spelling} target",
                "Use the numpy or c target.",
                site=node.site,
            )
        choose = getattr(found, "choose", None)
        return choose(node.type.dtype) if choose is not None else found

    def _operand(self, node: Value) -> Expr:
        known = self._exprs.get(node) or self.pending.pop(node, None)
        if known is not None:
            return known
        if node.op is CONST:
            if node in self.tables:
                return Expr(self.tables[node])
            if node.type.shape and node.params["value"].size > 3:
                return self._array(node)
            literal = self._literals.get(node)
            if literal is None:
                literal = self._literals[node] = self.literal(node)
            return literal
        assert node.op is SIZE
        dim = node.params["size"]
        return self.sized(dim)

    def _array(self, node: Value) -> Expr:
        """A captured array gets a statement of its own where it is first read: its text once, whatever reads it."""
        name = self.names.fresh(node.name or "table")
        self._exprs[node] = Expr.variable(name)
        self._statement(node, name, f"{name} = ", self.literal(node).text)
        return self._exprs[node]

    def _spell(self, node: Value, spelling: Callable[..., Expr]) -> Expr:
        """The node's expression; operands whose text would make the line too long become temporaries first."""
        exprs, pending = self._exprs, self.pending
        operands: list[Expr] = []
        for a in node.args:
            operands.append(exprs.get(a) or pending.pop(a, None) or self._operand(a))
        if self._mixed and node.op.elementwise:
            self._say_dtypes(node, operands)
            if node.type.dtype == "f64":
                self._widen(node, operands)
        if node.op in self._doubling and self._folds(node.args[0]):
            self._settle(node, 0, operands)  # named, since the spelling reads it twice
        expr = spelling(operands, node, self)
        if len(expr.text) > WIDTH - 20 - self.indent:
            folded = [k for k, a in enumerate(node.args) if self._folds(a)]
            while folded and len(expr.text) > WIDTH - 20 - self.indent:
                longest = max(folded, key=lambda k: len(operands[k].text))
                self._settle(node, longest, operands)
                folded.remove(longest)
                expr = spelling(operands, node, self)
        if len(operands) == 1:
            expr.reads = operands[0].reads
        elif len(operands) == 2:
            expr.reads = operands[0].reads + operands[1].reads
        else:
            expr.reads = tuple([name for x in operands for name in x.reads])
        return expr

    def _folds(self, a: Value) -> bool:
        """Whether an operand that has been spelled is neither a variable nor a number: its text stands only there."""
        return a not in self._exprs and a.op is not CONST and a.op is not SIZE

    def _say_dtypes(self, node: Value, operands: list[Expr]) -> None:
        """np.float32(2.0) for 2.0 where NumPy would make another dtype of the plain number and the other operands."""
        if node.type.dtype == "bool":
            return
        numbers = [k for k, a in enumerate(node.args) if a.op is CONST and not a.type.shape]
        others = [a.type.dtype for k, a in enumerate(node.args) if k not in numbers]
        met = promote(*others) if numbers and others else "f64"
        for k in numbers:
            if met[0] == "f":
                return
            own = node.args[k].type.dtype
            weak = "f64" if own[0] == "f" else "i64" if met == "bool" else met
            if own != "bool" and promote(met, own) != weak:
                operands[k] = Expr(f"{self.dtype(own)}({operands[k].text})")
                met = promote(met, own)

    def _widen(self, node: Value, operands: list[Expr]) -> None:
        """Casts of single operands where the others are scalars: those are weak in NumPy, and its result would be single."""
        types = [a.type for a in node.args]
        if self.spelling != "numpy" or any(ty.dtype == "f64" and ty.shape for ty in types):
            return
        for k, ty in enumerate(types):
            if ty.dtype == "f32" and node.op.name != "cast":
                x = operands[k]
                text = f"{x.at(ATOM)}.astype(np.float64)" if ty.shape else f"np.float64({x.text})"
                operands[k] = Expr(text, ATOM, x.reads)

    def _settle(self, node: Value, k: int, operands: list[Expr]) -> None:
        """Give a folded operand a variable after all."""
        a = node.args[k]
        self._assign(a, operands[k])
        name = self._exprs[a]
        for j, b in enumerate(node.args):
            if b is a:
                operands[j] = name

    def _compute_into(self, node: Value, home: Value) -> None:
        """A statement that computes in memory that is there: another value's, or the place of a store."""
        if home.op.store is not None:
            base = self._exprs[home.args[0]].text
            place = f"{base}[{index_text(home.params['index'], self.size) or '...'}]"
        else:
            base = place = self._exprs[home].text
        function = f"np.{ufunc(node)}"

        def spelling(operands: Sequence[Expr], node: Value, printer: Any) -> Expr:
            return Expr(f"{function}({', '.join(x.text for x in operands)}, out={place})")

        other = self._other_operand(node, home)
        if other is not None:  # t1 = np.add(t1, b, out=t1)
            expr = self._operand(other)
            text = f"{base} {AUGMENTED[node.op.name]} {expr.text}"
            self._exprs[node] = self._exprs[home]
            self._statement(node, base, "", text, (*expr.reads, base))
            return
        expr = self._spell(node, spelling)
        expr.reads += (base,)
        if node in self.buffers.stored:
            self._statement(node, base, "", expr.text, expr.reads)
        else:
            self._assign(node, expr)

    def _other_operand(self, node: Value, home: Value) -> Value | None:
        """b where `node` is a + b and may be written a += b: the variable `home` holds a and no name of the user's."""
        named = (node.name or self._hints.get(node)) if node not in self.buffers.stored else None
        if node.op.name not in AUGMENTED or len(node.args) != 2 or home.name or named:
            return None
        a, b = node.args
        if a is home and b is not home:
            return b
        return a if b is home and a is not home and node.op.commutative else None

    def _name(self, node: Value) -> str:
        hint = node.name or self._hints.get(node)
        return self.names.fresh(hint) if hint else self.names.temporary()

    def _assign(self, node: Value, expr: Expr) -> None:
        name = (self._roots.get(node) or self.roots.get(node)) if self._rooted else None
        if name is None:
            hint = node.name or self._hints.get(node)
            name = self.names.fresh(hint) if hint else self.names.temporary()
        self._exprs[node] = Expr(name, ATOM, (name,))
        reads = expr.reads
        conditions = self._guards.get(node) if self._guards else None
        if conditions:
            names = [self._exprs[c].text for c, _ in conditions]
            test = " and ".join(
                n if p else f"not {n}" for n, (_, p) in zip(names, conditions, strict=True)
            )
            expr = Expr(f"{expr.at(TERNARY + 1)} if {test} else 0.0", TERNARY)
            reads += tuple(names)
        self._statement(node, name, f"{name} = ", expr.text, reads)

    def _statement(
        self, node: Value, name: str, prefix: str, text: str, reads: Sequence[str] = ()
    ) -> None:
        phase, cited = self.place(node.site)
        if self.indent + len(prefix) + len(text) <= WIDTH:
            lines = [prefix + text]
        else:
            lines = break_line(prefix, text, self.indent)
        self.statements.append(Statement(lines, name, reads, phase, cited))

    def place(self, site: Any) -> tuple[str, str]:
        """Section and citation of a site; the same few sites come again and again."""
        known = self._places.get(site)
        if known is None:
            phase = site[2] if site is not None and len(site) > 2 else ""
            known = self._places[site] = (phase, cite(site))
        return known

    def literal(self, node: Value) -> Expr:
        """A constant as text. Arrays (up to 64 elements) are printed where they stand."""
        value = node.params["value"]
        if node.type.shape:
            inner = repr_array(value)
            dtype = (
                ""
                if node.type.dtype in ("f64", "i64", "bool")
                else f", dtype={self.dtype(node.type.dtype)}"
            )
            if value.size == 0:
                return Expr(
                    f"np.zeros({self.shape(node.type.shape)}, dtype={self.dtype(node.type.dtype)})"
                )
            return Expr(f"np.array({inner}{dtype})")
        return number(value, "np" if self.spelling == "numpy" else "math")

    # -- values updated in place
    def _plan_updates(self, counts: dict[Value, int]) -> None:
        """Decide which stores happen in place, and pin what must be computed before they do."""
        self._roots: dict[Value, str] = {}
        self._rooted = bool(self.roots)
        self._in_place: set[Value] = set()
        self._pinned: set[Value] = set()
        updates = [n for n in self.fn.body if n.op.store is not None]
        if not updates:
            return
        position = {n: k for k, n in enumerate(self.fn.body)}
        users: dict[Value, list[Value]] = {}
        for node in self.fn.body:
            for a in node.args:
                users.setdefault(a, []).append(node)
        for u in updates:
            acc = u.args[0]
            others = [v for v in users[acc] if v is not u]
            filled = acc.op.name == "broadcast" and not acc.args[0].type.shape
            if acc.op is ITEM:
                fresh = is_own_final(acc, counts)
            else:
                fresh = acc.op not in LEAVES and (not shows(acc) or filled)
            fresh = fresh or acc in self.owned
            early = all(self._is_over(v, u, position, users) for v in others)
            once = sum(a is acc for a in u.args) == 1
            if fresh and early and once and acc not in self._outputs:
                self._in_place.add(u)
                # What reads the old contents, through a view too, is computed before the store, never folded past it.
                for v in others:
                    self._pinned.add(v)
                    if shows(v):
                        self._pinned.update(users.get(v, ()))
            self._pinned.add(acc)
        self._rooted = True
        for u in reversed(updates):
            name = self._roots.get(u) or self.roots.get(u)
            if name is not None:
                self._roots[u] = name
            hint = u.name or self._hints.get(u)
            if name is None and hint:
                name = self._roots[u] = self.names.fresh(hint)
            if u in self._in_place and name is not None:
                self._roots[u.args[0]] = name

    def _is_over(
        self, v: Value, u: Value, position: dict[Value, int], users: dict[Value, list[Value]]
    ) -> bool:
        """Whether the use `v` of an accumulator, and of views of it that v makes, lies before the store `u`."""
        if position[v] >= position[u] or v in self._outputs:
            return False
        if not shows(v):
            return True
        return all(not shows(w) and position[w] < position[u] for w in users.get(v, ()))

    def _update(self, node: Value) -> None:
        acc = node.args[0]
        base = self._operand(acc)
        if node in self._in_place and base.text.isidentifier():
            name = base.text
        else:
            name = self._roots.get(node) or self._name(node)
            self._statement(node, name, f"{name} = ", f"np.array({base.text})", base.reads)
        operands = [Expr.variable(name)]
        for a in node.args[1:]:
            expr = self._operand(a)
            if len(expr.text) > WIDTH - 40 and a.op not in LEAVES and a not in self._exprs:
                self._assign(a, expr)
                expr = self._operand(a)
            operands.append(expr)
        self._exprs[node] = operands[0]
        store = node.op.store
        assert store is not None
        reads = [read for x in operands for read in x.reads]
        self._statement(node, name, *split_store(store(operands, node, self).text), reads)


def split_store(text: str) -> tuple[str, str]:
    """A write into an array as what stands up to its value (`a[i] += `) and the value: only this goes into parentheses."""
    depth = 0
    for k, char in enumerate(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == " " and depth == 0:
            operator, _, value = text[k + 1 :].partition(" ")
            return (f"{text[:k]} {operator} ", value) if operator.endswith("=") else ("", text)
    return "", text


def break_line(prefix: str, text: str, indent: int = 4) -> list[str]:
    """A statement that is one call or bracket too long for a line, laid out as formatters do; others in parentheses."""
    opened = text.find("(")
    if opened > 0 and text.endswith(")") and closes(text, opened) == len(text) - 1:
        group = Group(
            text[: opened + 1], [parse_item(t) for t in split_items(text[opened + 1 : -1])], ")"
        )
        return [line[indent:] for line in layout(indent, prefix, group)]
    return [f"{prefix}(", f"    {text}", ")"]


def split_items(text: str) -> list[str]:
    """Split at the commas of the outermost level."""
    items, depth, start = [], 0, 0
    for k, char in enumerate(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            items.append(text[start:k].strip())
            start = k + 1
    last = text[start:].strip()
    return [*items, last] if last else items


def parse_item(text: str) -> Item:
    """Brackets in a long item may be broken too."""
    if text[:1] in "([" and closes(text, 0) == len(text) - 1:
        return Group(text[0], [parse_item(t) for t in split_items(text[1:-1])], text[-1])
    return text
