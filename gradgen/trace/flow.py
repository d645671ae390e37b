"""Python's control flow made capturable: `if`, `while` and `for` of a function become calls of hooks with closures.

    if t: A                 def then(): nonlocal a; A
    else: B                 def other(): nonlocal a; B
                            __gg__.branch(t, then, other, state)

    if t: return x          return __gg__.choose(t, then, other, state)     what follows is a closure that both end with
    REST

    while t: A              __gg__.while_loop(lambda: t, body, state, stop)
    for v in x: A           __gg__.for_loop(x, body, state, stop)           body(item) begins with v = item

`state` is `(names, getters, setter, written)` of the variables that the blocks assign or store into: on a traced test the
hooks trace every block from the same state and join the results; on plain values they run the block that Python would, in
Python's order. A `break`, `continue` or `return` in a loop sets a variable of ours, and what it skips is guarded by it.

Left as they are, so that only plain tests may stand there: generators; blocks with `super()`, `locals()` and the like; a loop
with `else`; jumps out of `try` or `with` inside a block. (One walk over a function; `rewrite` puts the other hooks in.)
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any

Scope = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Loop = (ast.For, ast.While)
_NEVER = (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith, ast.NamedExpr)
FRAME = frozenset(("super", "locals", "vars", "eval", "exec", "dir", "breakpoint"))
_VIEWS = frozenset(
    ("expand_dims", "moveaxis", "ravel", "reshape", "squeeze", "swapaxes", "transpose")
)


def own(nodes: Iterable[ast.AST]) -> Iterable[ast.AST]:
    """Every node of these statements but those inside nested functions, classes and lambdas of the user's."""
    todo = list(nodes)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, Scope) or getattr(node, "flows", False):
            todo.extend(ast.iter_child_nodes(node))


def assigned(nodes: Sequence[ast.stmt]) -> list[str]:
    """Names that the statements bind, in order of their first appearance."""
    found: dict[str, tuple[int, int]] = {}
    inside = {id(n) for node in own(nodes) if isinstance(node, Comprehension)
              for g in node.generators for n in ast.walk(g.target)}  # fmt: skip
    for node in own(nodes):
        name = None
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            name = None if id(node) in inside else node.id
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = None if hasattr(node, "flows") or hasattr(node, "raw") else node.name
        elif isinstance(node, ast.ExceptHandler):
            name = node.name
        elif isinstance(node, ast.alias):
            name = (node.asname or node.name).partition(".")[0]
        if name is not None:
            found.setdefault(name, (getattr(node, "lineno", 0), getattr(node, "col_offset", 0)))
    return sorted(found, key=lambda n: found[n])


def written(nodes: Sequence[ast.stmt]) -> list[str]:
    """Names of arrays that the statements store into: x[i] = v, x.T[i] = v, x.flat = v, x += v, np.add.at(x, i, v)."""
    found: dict[str, None] = {}
    for node in own(nodes):
        target: ast.AST | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            target = node.value
        elif isinstance(node, ast.AugAssign):
            target = node.target
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "at"
        ):
            target = node.args[0] if node.args else None
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            target = node if node.attr == "flat" else None
        name = base_name(target)
        if name is not None:
            found.setdefault(name)
    return list(found)


def base_name(target: ast.AST | None) -> str | None:
    """The name of the array that a store into `target` may reach: of out[i], out.T, out.reshape(n, m), np.ravel(out)."""
    while target is not None and not isinstance(target, ast.Name):
        if isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute):
            if target.func.attr not in _VIEWS:
                return None
            of = target.func.value
            is_module = isinstance(of, ast.Name) and of.id in ("np", "numpy")
            target = next(iter(target.args), None) if is_module else of
        elif isinstance(target, ast.Subscript) or (
            isinstance(target, ast.Attribute) and target.attr in ("T", "flat")
        ):
            target = target.value
        else:
            return None
    return None if target is None else target.id


def jumps(nodes: Sequence[ast.AST], kinds: tuple[type[ast.stmt], ...], loops: bool) -> bool:
    """Whether a jump of these kinds is among the statements; `loops`: also inside inner loops."""
    todo: list[ast.AST] = list(nodes)
    while todo:
        node = todo.pop()
        if isinstance(node, kinds):
            return True
        if isinstance(node, Scope) or (isinstance(node, Loop) and not loops):
            continue
        todo.extend(ast.iter_child_nodes(node))
    return False


def is_plain(nodes: Sequence[ast.stmt]) -> bool:
    """Whether the statements can stand in a closure."""
    for node in own(nodes):
        if isinstance(node, _NEVER) or (
            isinstance(node, (ast.Global, ast.Nonlocal)) and not hasattr(node, "ours")
        ):
            return False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FRAME:
            return False
        if isinstance(node, (ast.Try, ast.With)) and jumps(
            list(ast.iter_child_nodes(node)),
            (ast.Return, ast.Break, ast.Continue), True,
        ):  # fmt: skip
            return False
        if isinstance(node, Loop) and node.orelse:
            return False
    return True


class _Unannotated(ast.NodeTransformer):
    """`name: T = v` as `name = v`: a closure cannot annotate a variable that is not its own."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if not isinstance(node.target, ast.Name):
            return node
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def _scope(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _scope


class Flow:
    """Rewrites the control flow of one function, in place; `stem` begins all names of ours."""

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.count = 0
        self.names: dict[str, None] = {}

    def function(self, node: ast.FunctionDef) -> None:
        """Rewrite the body of a function that is no generator."""
        if any(isinstance(n, (ast.Yield, ast.YieldFrom, ast.Await)) for n in own(node.body)):
            return
        if not any(isinstance(n, (ast.If, *Loop)) for n in own(node.body)):
            return
        outside = {
            name
            for n in own(node.body)
            if isinstance(n, (ast.Global, ast.Nonlocal))
            for name in n.names
        }
        self.outside = outside
        documented = ast.get_docstring(node, clean=False) is not None
        head, body = (node.body[:1], node.body[1:]) if documented else ([], node.body)
        at = node.body[0]
        body = self.block(body)
        node.body = [*head, *self.locals([n for n in self.names if n not in outside], at), *body]

    def locals(self, names: Iterable[str], at: ast.AST) -> list[ast.stmt]:
        """Binds names here, for a closure's `nonlocal` to find: an annotation does that, and runs nothing."""
        nothing = ast.Constant(None)
        return [
            self.place(ast.AnnAssign(ast.Name(n, ast.Store()), nothing, None, 1), at) for n in names
        ]

    # -- blocks
    def block(self, body: Sequence[ast.stmt], tail: bool = True) -> list[ast.stmt]:
        """The statements with their control flow rewritten, those of nested blocks too.

        tail: the end of the block is the end of its function, so that what follows an `if` with a return can go into it.
        """
        out: list[ast.stmt] = []
        for k, stmt in enumerate(body):
            rest = list(body[k + 1 :])
            if hasattr(stmt, "flows") or hasattr(stmt, "raw"):
                out.append(stmt)
            elif not self.outside.isdisjoint(assigned([stmt])):
                out.append(self.inside(stmt))
            elif isinstance(stmt, ast.If):
                if not is_plain([stmt]) or jumps([stmt], (ast.Break, ast.Continue), False):
                    out.append(self.inside(stmt))
                elif jumps([stmt], (ast.Return,), True):
                    if (
                        not tail
                        or not is_plain(rest)
                        or jumps(rest, (ast.Break, ast.Continue), False)
                    ):
                        out.append(self.inside(stmt))
                        continue
                    return [*out, *self.choice(stmt, rest)]
                else:
                    out += self.branch(stmt)
            elif isinstance(stmt, Loop):
                if not is_plain([stmt]) or (not tail and jumps([stmt], (ast.Return,), True)):
                    out.append(self.inside(stmt))
                    continue
                made, after = self.loop(stmt)
                out += made
                if after is not None:
                    return [*out, *self.block([after, *rest])]
            else:
                out.append(self.inside(stmt))
        return out

    def inside(self, stmt: ast.stmt) -> ast.stmt:
        """A statement that stays as it is, but for the blocks in it."""
        if isinstance(stmt, (ast.If, ast.While)):
            stmt.test = self.hook("plain", stmt.test, stmt.test, ast.Constant(self.reason(stmt)))
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(stmt, name, None)
            if isinstance(inner, list) and inner and not isinstance(stmt, Scope):
                setattr(stmt, name, self.block(inner, tail=False))
        for handler in getattr(stmt, "handlers", []):
            handler.body = self.block(handler.body, tail=False)
        return stmt

    def reason(self, stmt: ast.stmt) -> str:
        """Why a block is not captured."""
        named = [n for n in assigned([stmt]) if n in self.outside]
        if named:
            return f"assigns {named[0]}, a variable of the module or of an enclosing function"
        for node in own([stmt]):
            if isinstance(node, ast.NamedExpr):
                return "assigns in an expression (:=)"
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in FRAME
            ):
                return f"calls {node.func.id}()"
            if isinstance(node, (ast.Try, ast.With)):
                return "leaves a try or with by a jump"
            if isinstance(node, Loop) and node.orelse:
                return "holds a loop with else"
        return "has a jump out of a block that is not captured either"

    # -- if
    def branch(self, stmt: ast.If) -> list[ast.stmt]:
        names = self.state_names([*stmt.body, *stmt.orelse])
        state, setter = self.state(names, [*stmt.body, *stmt.orelse], stmt)
        then, other = self.name("then"), self.name("other")
        made = [
            self.closure(then, stmt.body, names, stmt),
            self.closure(other, stmt.orelse, names, stmt),
        ]
        call = self.hook("branch", stmt, stmt.test, self.load(then), self.load(other), state)
        return [*made, setter, self.place(ast.Expr(call), stmt)]

    def choice(self, stmt: ast.If, rest: list[ast.stmt]) -> list[ast.stmt]:
        """An if with a return in it: what follows becomes a closure, and both branches end with it."""
        after = self.name("rest")
        names = self.state_names([*stmt.body, *stmt.orelse, *rest])
        state, setter = self.state(names, [*stmt.body, *stmt.orelse, *rest], stmt)
        then, other = self.name("then"), self.name("other")
        made: list[ast.stmt] = []
        if rest:
            made.append(self.closure(after, rest, names, rest[0]))
        for closure, block in ((then, stmt.body), (other, stmt.orelse)):
            end = self.place(ast.Return(self.mark(ast.Call(self.load(after), [], []))), stmt)
            made.append(self.closure(closure, [*block, *([end] if rest else [])], names, stmt))
        call = self.hook("choose", stmt, stmt.test, self.load(then), self.load(other), state)
        return [*made, setter, self.place(ast.Return(call), stmt)]

    # -- loops
    def loop(self, stmt: ast.For | ast.While) -> tuple[list[ast.stmt], ast.stmt | None]:
        """The loop as a call, and what a return inside of it leaves to be done after it."""
        returns = jumps(stmt.body, (ast.Return,), True)
        breaks = jumps(stmt.body, (ast.Break,), False) or returns
        stop = self.name("stop") if breaks else None
        value = self.name("value") if returns else None
        done = self.name("done") if returns else None
        before: list[ast.stmt] = []
        for flag in (stop, done):
            if flag is not None:
                before.append(self.flag(flag, False, stmt))
        body = list(stmt.body)
        skip = None
        if breaks or jumps(stmt.body, (ast.Continue,), False):
            skip = self.name("skip")
            body, _ = self.guarded(body, skip, stop, done, value)
            body.insert(0, self.flag(skip, False, stmt))
        item = self.name("item")
        parameters = [item] if isinstance(stmt, ast.For) else []
        if isinstance(stmt, ast.For):
            store = ast.Assign([stmt.target], self.load(item))
            body.insert(0, self.place(store, stmt))
        flags = [f for f in (stop, done, value, skip) if f is not None]
        names = self.state_names(body, flags)
        state, setter = self.state(names, body, stmt)
        run = self.name("body")
        made: list[ast.stmt] = [*before, self.closure(run, body, names, stmt, parameters)]
        stopped = self.thunk(self.load(stop), stmt) if stop is not None else ast.Constant(None)
        made.append(setter)
        if isinstance(stmt, ast.For):
            call = self.hook("for_loop", stmt, stmt.iter, self.load(run), state, stopped)
        else:
            test = self.thunk(stmt.test, stmt)
            call = self.hook("while_loop", stmt, test, self.load(run), state, stopped)
        made.append(self.place(ast.Expr(call), stmt))
        if done is None:
            return made, None
        assert value is not None
        leave = self.place(ast.Return(self.load(value)), stmt)
        return made, self.place(ast.If(self.load(done), [leave], []), stmt)

    def guarded(
        self, body: list[ast.stmt], skip: str, stop: str | None, done: str | None, value: str | None
    ) -> tuple[list[ast.stmt], bool]:
        """A loop's body without jumps: each sets `skip`, and what it would skip is guarded by that. Whether it has any."""
        out: list[ast.stmt] = []
        for k, stmt in enumerate(body):
            if isinstance(stmt, (ast.Break, ast.Continue, ast.Return)):
                if isinstance(stmt, ast.Return):
                    assert done is not None and value is not None
                    given = stmt.value or ast.Constant(None)
                    out.append(self.place(ast.Assign([ast.Name(value, ast.Store())], given), stmt))
                    out.append(self.flag(done, True, stmt))
                if not isinstance(stmt, ast.Continue):
                    assert stop is not None
                    out.append(self.flag(stop, True, stmt))
                out.append(self.flag(skip, True, stmt))
                return out, True
            if isinstance(stmt, ast.If):
                stmt.body, first = self.guarded(stmt.body, skip, stop, done, value)
                stmt.orelse, second = self.guarded(stmt.orelse, skip, stop, done, value)
                out.append(stmt)
                if first or second:
                    rest, _ = self.guarded(body[k + 1 :], skip, stop, done, value)
                    if rest:
                        test = self.hook("not_", stmt, self.load(skip))
                        out.append(self.place(ast.If(test, rest, []), rest[0]))
                    return out, True
            elif isinstance(stmt, Loop) and done is not None and jumps([stmt], (ast.Return,), True):
                made, after = self.loop(stmt)
                out += [self.keep(s) for s in made]
                assert isinstance(after, ast.If)
                rest, _ = self.guarded([after, *body[k + 1 :]], skip, stop, done, value)
                return [*out, *rest], True
            else:
                out.append(stmt)
        return out, False

    # -- pieces
    def name(self, word: str) -> str:
        self.count += 1
        return f"{self.stem}_{word}_{self.count}__"

    def state_names(self, body: Sequence[ast.stmt], more: Sequence[str] = ()) -> list[str]:
        found = [n for n in dict.fromkeys([*assigned(body), *more]) if n not in self.outside]
        for n in found:
            self.names.setdefault(n)
        return found + [n for n in written(body) if n not in found and n not in self.outside]

    def closure(
        self,
        name: str,
        body: Sequence[ast.stmt],
        names: Sequence[str],
        at: ast.AST,
        parameters: Sequence[str] = (),
    ) -> ast.stmt:
        body = [_Unannotated().visit(s) for s in body]
        stored = set(assigned(body))
        mine = [n for n in names if n in stored]
        known = set(self.names)
        statements = self.block(body)
        # The flags of a loop in here are this closure's own: what one step leaves in them is no concern of the next.
        statements[:0] = self.locals([n for n in self.names if n not in known], at)
        if mine:
            statements.insert(0, self.place(self.mark(ast.Nonlocal(mine)), at))
        if not statements:
            statements = [self.place(ast.Pass(), at)]
        args = ast.arguments([], [ast.arg(p) for p in parameters], None, [], [], None, [])
        made = ast.FunctionDef(name, args, statements, [], None)
        made.type_params = []  # type: ignore[attr-defined]
        return self.keep(self.place(made, at))

    def state(
        self, names: Sequence[str], body: Sequence[ast.stmt], at: ast.AST
    ) -> tuple[ast.expr, ast.stmt]:
        """`(names, getters, setter, which of the names `body` stores into)`, and the definition of the setter."""
        getters = [self.thunk(ast.Name(n, ast.Load()), at) for n in names]
        texts: list[ast.expr] = [ast.Constant(n) for n in names]
        stored: list[ast.expr] = [ast.Constant(n) for n in written(body) if n in names]
        setter = self.name("set")
        parts: list[ast.expr] = [
            ast.Tuple(texts, ast.Load()), ast.Tuple(getters, ast.Load()), self.load(setter),
            ast.Tuple(stored, ast.Load()),
        ]  # fmt: skip
        return self.place(ast.Tuple(parts, ast.Load()), at), self.setter(setter, names, at)

    def setter(self, name: str, names: Sequence[str], at: ast.AST) -> ast.stmt:
        """def set(values): nonlocal a; a = values[0] if there is one, else del a"""
        body: list[ast.stmt] = []
        own_names = [n for n in names if n in self.names]
        if own_names:
            body.append(self.mark(ast.Nonlocal(list(own_names))))
        values = f"{self.stem}_values__"
        for k, n in enumerate(names):
            if n not in self.names:
                continue
            item = ast.Subscript(self.load(values), ast.Constant(k), ast.Load())
            body.append(ast.Assign([ast.Name(n, ast.Store())], item))
            missing = self.hook("is_missing", at, ast.Name(n, ast.Load()))
            body.append(ast.If(missing, [ast.Delete([ast.Name(n, ast.Del())])], []))
        args = ast.arguments([], [ast.arg(values)], None, [], [], None, [])
        made = ast.FunctionDef(name, args, body or [ast.Pass()], [], None)
        made.type_params = []  # type: ignore[attr-defined]
        return self.raw(self.place(made, at))

    def flag(self, name: str, value: bool, at: ast.AST) -> ast.stmt:
        self.names.setdefault(name)
        return self.place(ast.Assign([ast.Name(name, ast.Store())], ast.Constant(value)), at)

    def thunk(self, value: ast.expr, at: ast.AST) -> ast.expr:
        args = ast.arguments([], [], None, [], [], None, [])
        return self.place(ast.Lambda(args, value), at)

    def load(self, name: str) -> ast.Name:
        return ast.Name(name, ast.Load())

    def hook(self, name: str, at: ast.AST, *args: ast.expr) -> ast.expr:
        func = ast.Attribute(self.load(f"{self.stem}__"), name, ast.Load())
        return self.place(self.mark(ast.Call(func, list(args), [])), at)

    @staticmethod
    def mark(node: Any) -> Any:
        """A node of ours: a call that gets no hook of its own, a declaration that does not make a block unfit."""
        node.ours = True
        return node

    @staticmethod
    def keep(node: ast.stmt) -> ast.stmt:
        """A statement whose control flow has been rewritten already."""
        node.flows = True  # type: ignore[attr-defined]
        return node

    @staticmethod
    def raw(node: ast.stmt) -> ast.stmt:
        """A statement of ours without any hooks."""
        node.raw = True  # type: ignore[attr-defined]
        return node

    @staticmethod
    def place(node: Any, at: ast.AST) -> Any:
        """Give the node, and what in it has none, the position of `at`."""
        for inner in ast.walk(node):
            if "lineno" in inner._attributes and not hasattr(inner, "lineno"):
                ast.copy_location(inner, at)
        return node
