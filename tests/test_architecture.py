"""The house as drawn in gradgen's docstring: imports go one way; every op is whole."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from compilers import TARGETS

import gradgen
from gradgen.ir import CONST, OPS, PARAM, SIZE

HOUSE = Path(gradgen.__file__).parent
MODULES = {
    ".".join(["gradgen", *path.relative_to(HOUSE).with_suffix("").parts]).removesuffix(
        ".__init__"
    ): path
    for path in sorted(HOUSE.rglob("*.py"))
}


def imports_of(name):
    """The modules of the house that a module imports, in functions too; not under `if TYPE_CHECKING`."""
    found = set()
    todo = [ast.parse(MODULES[name].read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are written in full"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {b for b in below if b in MODULES} or {str(node.module)}
            if any(b not in MODULES for b in below):
                found.add(str(node.module))
        todo += ast.iter_child_nodes(node)
    return {f for f in found if f in MODULES and f != name}


def floors():
    """Module or package -> floor, read from the docstring: lines of names, two spaces or more, a description."""
    drawing = (gradgen.__doc__ or "").split("upwards:", 1)[1]
    out = {}
    lines = [line for line in drawing.splitlines() if line.startswith("    ") and line.strip()]
    for floor, line in enumerate(lines):
        for word in re.sub(r" {3,}\S.*$", "", line.strip()).split():
            out["gradgen." + word.rstrip("/")] = floor
    return out


FLOORS = floors()
# Doors, which stand in front of the house: they may import any floor.
DOORS = ("gradgen", "gradgen.__main__")


def floor_of(name):
    while name not in FLOORS and "." in name:
        name = name.rpartition(".")[0]
    return FLOORS.get(name)


def test_the_drawing_is_complete():
    assert len(set(FLOORS.values())) >= 9
    assert [n for n in FLOORS if n not in MODULES] == []
    assert [n for n in MODULES if n not in DOORS and floor_of(n) is None] == []


@pytest.mark.parametrize("name", sorted(set(MODULES) - set(DOORS)))
def test_imports_go_up_one_way(name):
    mine = floor_of(name)
    wrong = [f for f in sorted(imports_of(name)) if f not in DOORS and floor_of(f) > mine]
    assert wrong == []
    if mine < max(FLOORS.values()):
        assert not set(DOORS) & imports_of(name)


def test_no_circles():
    graph = {name: imports_of(name) for name in MODULES}
    done, order = set(), []
    while len(done) < len(graph):
        ready = [n for n in graph if n not in done and graph[n] <= done]
        circle = {n: sorted(graph[n] - done) for n in graph if n not in done}
        assert ready, f"these import each other: {circle}"
        done.update(ready)
        order += ready
    assert len(order) == len(MODULES)


def test_no_circles_would_be_noticed(monkeypatch, tmp_path):
    path = tmp_path / "sizes.py"
    path.write_text("def f():\n    from gradgen.api import compile\n    return compile\n")
    monkeypatch.setitem(MODULES, "gradgen.sizes", path)
    assert imports_of("gradgen.sizes") == {"gradgen.api"}
    with pytest.raises(AssertionError, match="import each other"):
        test_no_circles()


def test_only_these_libraries():
    """Standard library, NumPy, and what pyproject declares; SymPy, Jinja and cffi only inside functions."""
    declared = {
        "numpy",
        "sympy",
        "jinja2",
        "cffi",
        "scipy",
        "matplotlib",
        "tqdm",
        "mpmath",
        "gradgen",
    }
    late = declared - {"numpy", "gradgen"}
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found = {str(node.module).partition(".")[0]}
            else:
                continue
            assert found <= declared | sys.stdlib_module_names, name
            if node in tree.body and not name.startswith(
                "gradgen.ops.derive"
            ):  # a tool of the developers'
                assert not found & late, f"{name} imports {found & late} at once"


def test_every_module_states_its_contract():
    for name, path in MODULES.items():
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert doc and len(doc) > 30, name


LEAVES = {PARAM.name, CONST.name, SIZE.name}
COMPUTED = sorted(name for name in OPS if name not in LEAVES)


# Refused by name in C.
NUMPY_ALONE = {"expm", "dft"}


@pytest.mark.parametrize("name", COMPUTED)
def test_every_op_is_whole(name):
    op = OPS[name]
    assert op.name == name
    assert op.doc and op.doc[0].strip() and len(op.doc) > 2
    if op.regions or name == "item":  # loops and branches: the emitters' blocks print them
        return
    assert op.numpy is not None or op.store is not None
    if op.elementwise:
        assert op.python is not None and op.c is not None
    else:
        assert op.nest is not None or name in NUMPY_ALONE, "the C target needs a loop nest"
    if op.elementwise:
        assert op.vjp is None or op.partials is None
    assert op.flops >= 0


def test_every_elementwise_op_has_a_row():
    sys.path.insert(0, str(Path(__file__).parent / "ops"))
    try:
        import elementwise_rows
    finally:
        sys.path.pop(0)
    rows = {row.op for row in elementwise_rows.ROWS}
    elsewhere = {"cast", "stop_gradient", "barrier"}  # test_cast, test_regions
    assert {n for n in COMPUTED if OPS[n].elementwise} - rows <= elsewhere
    assert rows <= set(OPS)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int32, np.bool_])
def test_cast(dtype, target):
    """The op without a row: every pair of dtypes, and the way back of a gradient."""

    def f(x):
        return np.sum(x.astype(dtype).astype(np.float64) * x)

    x = np.array([2.75, -1.5, 0.0])
    value, bar = gradgen.compile(gradgen.value_and_grad(f), "f64[3]", target=target)(x)
    if target == "python" and dtype is np.float32:
        assert value == x @ x  # Python has one float
        return
    assert value == f(x)
    through = np.issubdtype(dtype, np.floating)
    np.testing.assert_array_equal(bar, x.astype(dtype) + (x if through else 0.0))


def test_public_names_are_documented():
    for name in gradgen.__all__:
        assert getattr(gradgen, name) is not None
        if name != "__version__":
            assert getattr(gradgen, name).__doc__, name


def test_a_slot_of_a_value_is_read_at_full_speed():
    """Where a class has `__getattr__`, CPython specialises no read of its slots: passes took a fifth longer."""
    assert not hasattr(gradgen.Value, "__getattr__")
