"""Every op's spelling in NumPy, Python and C against the interpreter, on its row's points and on nan, infinities and zeros.

C is compiled once for all ops and dtypes, with every warning an error; integers reach the limits of their range.
"""

import ctypes
import math
import subprocess

import numpy as np
import pytest
from ops.elementwise_rows import BY_NAME, ROWS
from ops.test_elementwise import points

from gradgen.ir import OPS
from gradgen.ops.helpers import HELPERS, with_needs
from gradgen.spelling import Expr
from gradgen.types import C_NAMES, DTYPES, Type
from gradgen.value import Trace, apply, constant

FLAGS = [
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Wdouble-promotion",
    "-Werror",
]
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 7.0, np.inf, -np.inf, np.nan, 1e300, 1e-300]


class Target:
    """The part of a printer that spellings use."""

    def __init__(self, name):
        self.name = name
        self.used = {}

    def helper(self, name, node):
        dtype = node.type.dtype
        for needed in with_needs([name], self.name):
            self.used[needed.called(self.name, dtype)] = needed.source(self.name, dtype)
        return HELPERS[name].called(self.name, dtype)


def statement(name, dtypes, consts=None):
    """The op applied to parameters of these dtypes (constants where given): the node and its operand names."""
    with Trace(trusted=True) as trace:
        args = [
            constant(np.asarray((consts or {})[i], DTYPES[d]))
            if i in (consts or {})
            else trace.input(Type.of(d), "abc"[i])
            for i, d in enumerate(dtypes)
        ]
        params = {"dtype": consts["dtype"]} if name == "cast" else {}
        return apply(OPS[name], *args, **params)


def operands(node, target):
    """Parameters as names a, b, c, converted as the op reads them; constants as literals."""
    op, types = node.op, [a.type for a in node.args]
    reads = (
        op.operand_dtypes(types, node.type) if op.operand_dtypes else [node.type.dtype] * len(types)
    )
    exprs = []
    for i, (a, read) in enumerate(zip(node.args, reads, strict=True)):
        if "value" in a.params:
            value = a.params["value"].item()
            text = repr(value) + ("f" if target.name == "c" and read == "f32" else "")
            exprs.append(Expr(text, 14 if value >= 0 else 12))
        elif target.name == "c" and a.type.dtype != read:
            exprs.append(
                Expr(f"({'abc'[i]} != 0)")
                if read == "bool"
                else Expr(f"(({C_NAMES[read]}){'abc'[i]})")
            )
        else:
            exprs.append(Expr("abc"[i]))
    return exprs


# -- every statement that the C test compiles: (key, op name, dtypes, constants)
def cases():
    for row in ROWS:
        arity = len(row.domains)
        floats, ints = ("f64", "f32"), ("i64", "i32")
        for dtype in ints if row.only_ints else (*floats, *(ints if row.ints else ())):
            first = ("bool",) if row.op == "where" else ()
            dtypes = (*first, *(dtype,) * (arity - len(first)))
            if row.op == "powc":
                for n in (3, 5) if dtype[0] == "i" else (3.0, 5.0, -2.0, 1.5):
                    yield (
                        f"powc_{dtype}_{n}".replace("-", "m").replace(".", "_"),
                        row.op,
                        dtypes,
                        {1: n},
                    )
                continue
            yield f"{row.op}_{dtype}", row.op, dtypes, {}
    for name in ("maximum", "minimum"):
        yield f"{name}_const", name, ("f64", "f64"), {1: 0.5}
        yield f"const_{name}", name, ("f64", "f64"), {0: 0.5}
    yield "power_const", "power", ("f64", "f64"), {0: 2.0}
    yield "clip_const", "clip", ("f64", "f64", "f64"), {1: -1.0, 2: 2.0}
    for name in ("add", "mul", "maximum"):
        yield f"{name}_bool", name, ("bool", "bool"), {}
    for source in ("f64", "f32", "i64", "i32", "bool"):
        for result in ("f64", "f32", "i64", "i32", "bool"):
            if source != result:
                yield f"cast_{source}_{result}", "cast", (source,), {"dtype": result}


CASES = {key: rest for key, *rest in cases()}
CASE = pytest.mark.parametrize("key", CASES)


def node_of(key):
    name, dtypes, consts = CASES[key]
    return statement(name, dtypes, consts)


def text(op, target_name):
    return {"numpy": op.numpy, "python": op.python, "c": op.c}[target_name]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """All cases as one C library: KEY(n, a, b, c, y) over arrays."""
    target = Target("c")
    functions = []
    for key in CASES:
        node = node_of(key)
        result = text(node.op, "c")(operands(node, target), node, target).text
        loads, params = "", ""
        for i, a in enumerate(node.args):
            if "value" in a.params:
                continue
            ctype = C_NAMES[a.type.dtype]
            params += f", const {ctype} *p{i}"
            loads += f"        const {ctype} {'abc'[i]} = p{i}[i];\n"
        functions.append(
            f"void case_{key}(int64_t n{params}, {C_NAMES[node.type.dtype]} *y);\n"
            f"void case_{key}(int64_t n{params}, {C_NAMES[node.type.dtype]} *y)\n{{\n"
            f"    for (int64_t i = 0; i < n; i++) {{\n{loads}        y[i] = {result};\n    }}\n}}\n"
        )
    folder = tmp_path_factory.mktemp("spellings")
    head = "#include <math.h>\n#include <stdbool.h>\n#include <stdint.h>\n"
    (folder / "ops.c").write_text(head + "\n".join([*target.used.values(), *functions]))
    command = ["gcc", *FLAGS, "-O1", "-shared", "-fPIC", "ops.c", "-o", "ops.so", "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    return ctypes.CDLL(str(folder / "ops.so"))


def samples(name, dtypes, consts):
    """Columns of operands: the row's points and all combinations of edge values, in these dtypes."""
    columns = []
    row = BY_NAME.get(name)
    if row is not None and not consts:
        columns += [list(p) for p in points(row)]
    edges = EDGES[:10] if len(dtypes) > 1 else EDGES
    if all(d[0] != "f" for d in dtypes):
        edges = [0, 1, -1, 2, 3, -7, 13]
        if dtypes[-1][0] == "i":
            limits = np.iinfo(DTYPES[dtypes[-1]])
            edges += [limits.min, limits.max]
    grid = np.stack(np.meshgrid(*[np.array(edges, object)] * len(dtypes)), -1).reshape(
        -1, len(dtypes)
    )
    columns += grid.tolist()
    with np.errstate(all="ignore"):
        return [np.array([c[i] for c in columns]).astype(DTYPES[d]) for i, d in enumerate(dtypes)]


def agree(got, want, dtype, where):
    if dtype[0] != "f":
        np.testing.assert_array_equal(got, want, err_msg=where)
        return
    # libm and NumPy's own loops differ by an ulp or two; powers and f32 by a few more
    np.testing.assert_allclose(
        got,
        want,
        rtol=1e-14 if dtype == "f64" else 2e-5,
        atol=1e-300 if dtype == "f64" else 3e-7,
        err_msg=where,
    )


def interpreted(node, columns):
    args = [a.params.get("value", x) for a, x in zip(node.args, columns, strict=True)]
    with np.errstate(all="ignore"):
        return np.asarray(node.op.evaluate(*args, **node.params)).astype(DTYPES[node.type.dtype])


def valid(node, columns):
    """Leave out what NumPy itself refuses or leaves to the processor."""
    keep = np.ones(len(columns[0]), bool)
    if node.op.name == "power" and node.type.dtype[0] == "i":
        keep &= columns[1] >= 0
        keep &= columns[1] < 100
    if node.op.name == "fmod" and node.type.dtype[0] == "i":
        keep &= ~((columns[1] == -1) & (columns[0] < -(10**9)))
    if node.type.dtype == "f32" and node.op.name not in ("where", "maximum", "minimum"):
        for x in columns:
            keep &= ~(np.isfinite(x) & (np.abs(x) > 1e9)) if x.dtype.kind == "f" else keep
    if node.op.name == "cast" and node.type.dtype == "i32":
        # out of range: NumPy's loops differ between processors
        keep &= ~(columns[0].astype(float) > 2e9) & ~np.isnan(columns[0].astype(float))
    if node.op.name in ("gammaln", "gammaln_rise"):
        keep &= np.all([x != -np.inf for x in columns], axis=0)
    if node.op.name in ("digamma", "trigamma", "tetragamma"):
        keep &= ~((columns[0] <= 0) & (columns[0] == np.floor(columns[0])))
    return [x[keep] for x in columns]


@CASE
def test_c_means_what_numpy_means(key, library):
    name, dtypes, consts = CASES[key]
    node = node_of(key)
    columns = valid(node, samples(name, dtypes, consts))
    want = interpreted(node, columns)
    given = [
        np.ascontiguousarray(x)
        for a, x in zip(node.args, columns, strict=True)
        if "value" not in a.params
    ]
    y = np.empty(len(given[0]), DTYPES[node.type.dtype])
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (*given, y)]
    getattr(library, f"case_{key}")(ctypes.c_int64(len(y)), *pointers)
    agree(y, np.broadcast_to(want, y.shape), node.type.dtype, key)


@pytest.mark.parametrize("key", [k for k in CASES if "f32" not in k])
def test_numpy_text_means_what_the_interpreter_means(key):
    name, dtypes, consts = CASES[key]
    node = node_of(key)
    columns = valid(node, samples(name, dtypes, consts))
    target = Target("numpy")
    expr = text(node.op, "numpy")(operands(node, target), node, target).text
    scope = {"np": np}
    for source in target.used.values():
        exec(source, scope)
    with np.errstate(all="ignore"):
        got = np.asarray(eval(expr, scope | dict(zip("abc", columns, strict=False))))
    assert got.dtype == DTYPES[node.type.dtype], expr
    np.testing.assert_array_equal(got, interpreted(node, columns), err_msg=expr)


@pytest.mark.parametrize("key", [k for k in CASES if "f32" not in k and "i32" not in k])
def test_python_text_means_what_numpy_means(key):
    """Where Python raises its own exception (poles, overflow, division by zero) there is nothing to compare."""
    name, dtypes, consts = CASES[key]
    node = node_of(key)
    columns = valid(node, samples(name, dtypes, consts))
    want = interpreted(node, columns)
    target = Target("python")
    expr = text(node.op, "python")(operands(node, target), node, target).text
    scope = {"math": math}
    for source in target.used.values():
        exec(source, scope)
    code = compile(expr, key, "eval")
    compared = 0
    for k, w in enumerate(np.broadcast_to(want, columns[0].shape)):
        try:
            got = eval(code, scope | {n: x[k].item() for n, x in zip("abc", columns, strict=False)})
        except (ZeroDivisionError, ValueError, OverflowError, MemoryError):
            continue
        assert not isinstance(got, complex)
        if node.type.dtype[0] == "i" and not -(2**63) <= got < 2**63:
            continue  # Python's integers do not wrap around
        agree(
            np.asarray(got).astype(want.dtype),
            w,
            node.type.dtype,
            f"{key}: {expr} at {[x[k] for x in columns]}",
        )
        compared += 1
    assert compared > 4 or len(want) < 12
