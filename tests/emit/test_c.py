"""Emitted C: compiled with every warning an error, it computes what the interpreter computes."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
from c_programs import IDS, PROGRAMS, close, gathered, logistic, make, rosenbrock, sample, size_sets
from compilers import needs_c

import gradgen as gg
from gradgen.build import CFunction
from gradgen.emit.c import emit_c
from gradgen.emit.files import MARK
from gradgen.emit.selftest import record
from gradgen.engine import interpret
from gradgen.errors import ShapeError
from gradgen.lower import compile_loops
from gradgen.lower.kernel import Let, Loop, walk
from gradgen.options import Options
from gradgen.toolchain import FLAGS, flags_for

pytestmark = needs_c
STRICT = ("-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
QUICK = ("-O1", "-std=c99", "-ffp-contract=off", *STRICT)


def _flags(specs, base=QUICK):
    return (*base, "-Wdouble-promotion") if all("f64" not in s for s in specs) else base


@pytest.mark.parametrize(("f", "specs", "wrt"), PROGRAMS, ids=IDS)
def test_c_computes_what_the_interpreter_computes(f, specs, wrt):
    fn, signature = make(f, specs, wrt)
    files = emit_c(fn, signature, selftest=record(fn, signature))
    compiled = CFunction(files, fn, signature, flags=_flags(specs))
    tried = 0
    for sizes in size_sets(signature, fn):
        rng = np.random.default_rng(7)
        args = [sample(leaf, sizes, rng) for leaf in signature.leaves]
        try:
            wanted = interpret(fn, args, sizes)
        except (IndexError, ValueError):
            continue
        tried += 1
        single = any("f32" in s for s in specs)
        found = compiled.call(args, sizes)
        for a, b, v in zip(found, wanted, fn.outputs, strict=True):
            assert np.shape(a) == b.shape
            close(a, b, "f32" if single else v.type.dtype)
    assert tried


@pytest.mark.parametrize(("f", "specs", "wrt"), PROGRAMS[::4], ids=IDS[::4])
def test_the_flags_of_the_house_keep_the_results(f, specs, wrt):
    fn, signature = make(f, specs, wrt)
    compiled = CFunction(emit_c(fn, signature), fn, signature, flags=(*FLAGS, *STRICT))
    sizes = dict.fromkeys(signature.letters, 37)
    args = [sample(leaf, sizes, np.random.default_rng(3)) for leaf in signature.leaves]
    for a, b, v in zip(
        compiled.call(args, sizes), interpret(fn, args, sizes), fn.outputs, strict=True
    ):
        close(a, b, "f32" if any("f32" in s for s in specs) else v.type.dtype)


def _texts(**kinds):
    fn, signature = make(
        *(kinds.get("program") or (logistic, ("f64[d]", "f64[]", "f64[n,d]", "f64[n]"), ("w", "b")))
    )
    return emit_c(fn, signature, selftest=record(fn, signature))


def test_text_is_deterministic_and_fits_in_100_columns():
    first, second = _texts(), _texts()
    assert first == second
    assert list(first) == ["logistic_grad.c", "logistic_grad.h", "logistic_grad_build.py"]
    for text in first.values():
        assert text.endswith("\n") and not text.endswith("\n\n")
        assert "\t" not in text
        for line in text.splitlines():
            assert len(line) <= 100 and line == line.rstrip()


@pytest.mark.parametrize("program", range(0, len(PROGRAMS), 2), ids=lambda k: IDS[k])
def test_lines_fit_in_100_columns(program):
    for name, text in _texts(program=PROGRAMS[program]).items():
        assert MARK in text
        for line in text.splitlines():
            assert len(line) <= 100, name


def test_text_of_logistic_regression():
    text = _texts()["logistic_grad.c"]
    assert "for (int64_t i = 0; i < n; i += 64) {  /* forward and reverse  c_programs.py:" in text
    assert "const int64_t rows = n - i < 64 ? n - i : 64;" in text
    assert "dot_lane[l] += X[(i + j) * d + k + l] * w[k + l];" in text
    assert "const double z = dot[j] + b;" in text
    assert "w_bar[k] += z_bar_i_2 * X[(i + j) * d + k];" in text
    assert "double *restrict value, double *restrict w_bar" in text
    assert "malloc" not in text
    assert "void *work" not in text
    assert "SPDX-License-Identifier: 0BSD" in text


def test_loops_may_use_vector_functions_but_not_in_strict_mathematics():
    program = (logistic, ("f64[d]", "f64[]", "f64[n,d]", "f64[n]"), ("w", "b"))
    fn, signature = make(*program)
    declaration = '__attribute__((simd("notinbranch"), const)) double exp(double);'
    assert declaration in emit_c(fn, signature)["logistic_grad.c"]
    strict = emit_c(fn, signature, Options(math="strict"))["logistic_grad.c"]
    assert "simd" not in strict
    with_clang = [c for c in ("clang", "clang-14") if shutil.which(c)]
    for compiler in with_clang:
        CFunction(emit_c(fn, signature), fn, signature, cc=compiler, flags=QUICK)


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_blocks_and_lanes_at_awkward_sizes(dtype):
    def mixed(w, X, y):
        z = X @ w
        loss = np.sum(np.log1p(np.exp(-z)) * y) + np.sum(z * z)
        return loss, np.max(z), np.min(y), np.prod(y), z

    fn, signature = make(mixed, (f"{dtype}[d]", f"{dtype}[n,d]", f"{dtype}[n]"), None)
    compiled = CFunction(emit_c(fn, signature), fn, signature, flags=(*FLAGS, *STRICT))
    for n in (1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 131):
        sizes = {"n": n, "d": n // 2}
        args = [sample(leaf, sizes, np.random.default_rng(n)) for leaf in signature.leaves]
        for a, b in zip(compiled.call(args, sizes), interpret(fn, args, sizes), strict=True):
            close(a, b, dtype)


def _sanitizers(tmp_path):
    """Flags that catch reads and writes out of bounds, where the compiler has them."""
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }\n")
    done = subprocess.run(
        ["cc", *flags, "empty.c", "-o", "empty"], cwd=tmp_path, capture_output=True
    )
    return flags if done.returncode == 0 else []


@pytest.mark.parametrize("program", range(1, len(PROGRAMS), 3), ids=lambda k: IDS[k])
def test_the_selftest_stays_in_bounds(program, tmp_path):
    fn, signature = make(*PROGRAMS[program])
    files = emit_c(fn, signature, selftest=record(fn, signature))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    main = next(iter(files))
    macro = f"-D{main[:-2].upper()}_SELFTEST"
    command = [
        "cc",
        "-O1",
        "-std=c99",
        *_sanitizers(tmp_path),
        macro,
        main,
        "-o",
        "selftest",
        "-lm",
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./selftest"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("program", [0, 2, 4, 14, 15, 16, 18, 28], ids=lambda k: IDS[k])
def test_the_selftest_passes_and_can_fail(program, tmp_path):
    fn, signature = make(*PROGRAMS[program])
    files = emit_c(fn, signature, selftest=record(fn, signature))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    main = next(iter(files))
    macro = f"-D{main[:-2].upper()}_SELFTEST"
    command = ["cc", "-O2", "-std=c99", *STRICT, macro, main, "-o", "selftest", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./selftest"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "self-test passed" in done.stdout
    text = files[main]
    broken = text.replace("value = ", "value = 1.001 * ", 1)
    if broken != text:
        (tmp_path / main).write_text(broken)
        subprocess.run(command, cwd=tmp_path, check=True)
        done = subprocess.run(["./selftest"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1
        assert "self-test needs" in done.stdout
    subprocess.run(
        ["cc", "-std=c99", *STRICT, f"{macro}_NO_MAIN", "-c", main], cwd=tmp_path, check=True
    )


def test_the_header_serves_cpp(tmp_path):
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    for name, text in _texts().items():
        (tmp_path / name).write_text(text)
    (tmp_path / "user.cpp").write_text(
        '#include "logistic_grad.h"\nint main() { return LOGISTIC_GRAD_OK; }\n'
    )
    subprocess.run(
        ["g++", "-Wall", "-Wextra", "-Werror", "-c", "user.cpp"], cwd=tmp_path, check=True
    )


def test_the_build_script_makes_a_module(tmp_path):
    pytest.importorskip("setuptools")
    for name, text in _texts().items():
        (tmp_path / name).write_text(text)
    subprocess.run(
        [sys.executable, "logistic_grad_build.py"], cwd=tmp_path, check=True, capture_output=True
    )
    program = (
        "from _logistic_grad import ffi, lib\n"
        "value, b_bar = ffi.new('double *'), ffi.new('double *')\n"
        "w, w_bar = ffi.new('double[]', [0.5]), ffi.new('double[]', 1)\n"
        "X, y = ffi.new('double[]', [1.0, 2.0]), ffi.new('double[]', [0.0, 1.0])\n"
        "assert lib.logistic_grad(2, 1, w, 0.25, X, y, value, w_bar, b_bar) == 0\n"
        "print(value[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    x = np.array([1.0, 2.0])
    expected = logistic(np.array([0.5]), 0.25, x[:, None], np.array([0.0, 1.0]))
    assert float(done.stdout) == pytest.approx(expected, rel=1e-12)


def test_a_bad_index_is_an_error_and_negative_ones_count_from_the_end():
    fn, signature = make(gathered, ("f64[n]", "i64[k]"), 0)
    compiled = CFunction(emit_c(fn, signature), fn, signature, flags=QUICK)
    x = np.arange(4.0)
    value, _ = compiled.call([x, np.array([-1, -4])], {"n": 4, "k": 2})
    assert value == gathered(x, np.array([-1, -4]))
    for k in (4, -5, 2**40):
        with pytest.raises(IndexError, match="out of range"):
            compiled.call([x, np.array([0, k])], {"n": 4, "k": 2})


def test_an_entry_check_on_sizes_is_an_error():
    fn, signature = make(gathered, ("f64[n]", "i64[k]"), 0)
    compiled = CFunction(emit_c(fn, signature), fn, signature, flags=QUICK)
    assert fn.requires
    with pytest.raises(ShapeError, match="needs other sizes"):
        compiled.call([np.zeros(0), np.zeros(0, np.int64)], {"n": 0, "k": 0})


def test_inputs_may_alias_each_other():
    def both(a, b):
        return np.sum(a * np.exp(b)), a[::-1] + b

    fn, signature = make(both, ("f64[n]", "f64[n]"), None)
    compiled = CFunction(emit_c(fn, signature), fn, signature, flags=QUICK)
    x = np.linspace(0.0, 1.0, 9)
    for a, b in zip(compiled.call([x, x], {"n": 9}), interpret(fn, [x, x]), strict=True):
        close(a, b, "f64")


def test_nan_inf_and_denormals_flow_as_in_numpy():
    def peak(x):
        return np.max(x), np.min(x), np.maximum(x, 0.0), x * 0.5

    fn, signature = make(peak, ("f64[n]",), None)
    compiled = CFunction(emit_c(fn, signature), fn, signature)
    for special in (np.nan, np.inf, -np.inf, 5e-324 * 4, -0.0):
        x = np.array([0.5, special, 2.0])
        for a, b in zip(compiled.call([x], {"n": 3}), interpret(fn, [x]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_fast_maths_takes_denormals_for_zero_while_a_function_runs():
    def halves(x, state):
        return x * 0.5, state + 1.0

    x = np.array([5e-324 * 4, 3e-308, 1.0])
    plain = gg.compile(halves, "f64[n]", "f64[]", target="c")
    np.testing.assert_array_equal(plain(x, 1.0)[0], x * 0.5)
    fast = gg.compile(halves, "f64[n]", "f64[]", target="c", options=gg.Options(math="fast"))
    assert "DENORMALS_OFF" in fast.source and "DENORMALS_OFF" not in plain.source
    found = fast(x, 1.0)[0]
    assert found[2] == 0.5
    if platform.machine() in ("x86_64", "AMD64"):
        assert found[0] == found[1] == 0.0
    assert np.float64(3e-308) * 0.5 > 0.0, "the process keeps denormals"
    with pytest.raises(gg.ShapeError):
        fast.into((np.zeros(2), np.zeros(())), x, 1.0)
    assert np.float64(3e-308) * 0.5 > 0.0


@pytest.mark.parametrize(
    "names", [("int", "double"), ("lambda_", "work"), ("value", "y_bar"), ("i", "j"), ("n", "main")]
)
def test_awkward_names_work(names):
    a, b = names
    scope: dict[str, object] = {"np": np}
    exec(f"def default({a}, {b}):\n    return np.sum({a} * {b} ** 2)\n", scope)
    fn, signature = make(scope["default"], ("f64[n]", "f64[n]"), 0)
    compiled = CFunction(emit_c(fn, signature), fn, signature, flags=QUICK)
    x = np.linspace(0.0, 1.0, 5)
    value, _ = compiled.call([x, x], {"n": 5})
    assert value == pytest.approx(np.sum(x**3))


def test_titles_and_documentation_cannot_leave_their_comment():
    fn, signature = make(rosenbrock, ("f64[n]",), 0)
    signature.title = "evil */ int x; /* \\\n #error ??/"
    signature.command = "a */ b"
    signature.leaves[0].doc = "*/ #error"
    files = emit_c(fn, signature)
    CFunction(files, fn, signature, flags=QUICK)
    assert os.linesep == "\n" and "#error" not in [
        line.strip()[:6] for line in files["rosenbrock_grad.c"].splitlines()
    ]


def test_the_text_names_no_folder_of_this_machine():
    for text in _texts().values():
        assert os.path.dirname(__file__) not in text


def test_a_long_scalar_program_is_compiled_in_parts():
    def long(x, y):
        z = x
        for _ in range(1500):
            z = np.sin(z) * y + x
        return z

    fn, signature = make(long, ("f64[]", "f64[]"), ("x", "y"))
    files = emit_c(fn, signature)
    text = files["long_grad.c"]
    assert text.count("static void long_grad_part_") > 10
    compiled = CFunction(files, fn, signature, flags=QUICK)
    for a, b in zip(compiled.call([0.3, 0.9], {}), interpret(fn, [0.3, 0.9]), strict=True):
        close(a, b, "f64")


def test_sine_and_cosine_in_loops_are_kept_apart():
    def wave(x):
        return np.sum(np.sin(x) * np.cos(x))

    fn, signature = make(wave, ("f64[n]",), 0)
    text = emit_c(fn, signature)["wave_grad.c"]
    assert "-fno-builtin-sin" in flags_for(text, "default")
    assert "-fno-builtin-sin" not in flags_for(_texts()["logistic_grad.c"], "default")


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_products_of_matrices_at_awkward_sizes(dtype):
    def products(A, B, C, D):
        return A @ B, A.T @ C, C @ B.T, (B.T @ A.T)[::-1, ::2], D @ A[:, ::-1].T @ C

    specs = ("[m,k]", "[k,n]", "[m,n]", "[b,n,k]")
    fn, signature = make(products, tuple(dtype + s for s in specs), None)
    text = emit_c(fn, signature)["products.c"]
    assert "gemm(" in text or "gemmf(" in text
    compiled = CFunction(emit_c(fn, signature), fn, signature, flags=(*FLAGS, *STRICT))
    for m, n, k in (
        (0, 3, 2),
        (3, 0, 2),
        (3, 2, 0),
        (1, 1, 1),
        (7, 9, 8),
        (33, 17, 40),
        (130, 50, 131),
        (40, 20, 140),  # the last columns in a narrow tile, in two depths
        (20, 4, 130),
    ):
        sizes = {"m": m, "n": n, "k": k, "b": 2}
        args = [sample(leaf, sizes, np.random.default_rng(m)) for leaf in signature.leaves]
        for a, b in zip(compiled.call(args, sizes), interpret(fn, args, sizes), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12 if dtype == "f64" else 1e-4)


def test_nan_and_infinity_pass_through_products():
    def product(A, B):
        return A @ B

    fn, signature = make(product, ("f64[40,40]", "f64[40,40]"), None)
    compiled = CFunction(emit_c(fn, signature), fn, signature)
    A, B = np.ones((40, 40)), np.ones((40, 40))
    A[3, 5], B[7, 9], B[5, 2] = np.nan, np.inf, 0.0
    np.testing.assert_array_equal(compiled.call([A, B], {})[0], A @ B)


def test_the_three_kinds_of_mathematics_have_their_flags():
    text = _texts()["logistic_grad.c"]
    assert "-ffp-contract=off" in flags_for(text, "strict")
    assert "-ffp-contract=fast" in flags_for(text, "default")
    assert "-fassociative-math" not in flags_for(text, "default")
    assert "-fassociative-math" in flags_for(text, "fast")
    assert not any("-ffast-math" in flags_for(text, m) for m in ("strict", "default", "fast"))


def test_a_short_loop_is_split_into_tasks_that_go_side_by_side():
    def layers(X, W1, W2):
        return np.sum(np.tanh(np.tanh(X @ W1) @ W2))

    fn, signature = make(layers, ("f64[n,2]", "f64[2,16]", "f64[16,16]"), ("W1", "W2"))
    kernel = compile_loops(fn, signature.results)
    mathematics = [
        loop
        for loop in walk(kernel.body)
        if type(loop) is Loop and any(type(s) is Let and s.op.name == "tanh" for s in loop.body)
    ]
    assert mathematics
    assert not any(type(s) is Loop for loop in mathematics for s in loop.body)


def test_threads_do_not_change_results(tmp_path):
    fn, signature = make(logistic, ("f64[d]", "f64[]", "f64[n,d]", "f64[n]"), ("w", "b"))
    files = emit_c(fn, signature, Options(parallel=True))
    text = files["logistic_grad.c"]
    assert "-fopenmp" in flags_for(text, "default")
    sizes = {"n": 3000, "d": 20}
    args = [sample(leaf, sizes, np.random.default_rng(5)) for leaf in signature.leaves]
    wanted = interpret(fn, args, sizes)
    several = CFunction(files, fn, signature, flags=(*FLAGS, *STRICT, "-fopenmp")).call(args, sizes)
    one = CFunction(files, fn, signature, flags=(*FLAGS, *STRICT, "-Wno-unknown-pragmas")).call(
        args, sizes
    )
    for a, b, c in zip(several, one, wanted, strict=True):
        close(a, c, "f64")
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_negative_sizes_are_refused(tmp_path):
    def total(x):
        return np.sum(x)

    fn, signature = make(total, ("f64[n]",), None)
    for name, text in emit_c(fn, signature).items():
        (tmp_path / name).write_text(text)
    command = ["cc", "-std=c99", "-shared", "-fPIC", "total.c", "-o", "total.so", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    function = ctypes.CDLL(str(tmp_path / "total.so")).total
    function.argtypes = [ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    x, value = np.ones(3), np.zeros(1)
    assert function(-1, x.ctypes.data, value.ctypes.data) == 2  # TOTAL_SIZE
    assert function(3, x.ctypes.data, value.ctypes.data) == 0
    assert value[0] == 3.0


@pytest.mark.skipif(not ctypes.util.find_library("openblas"), reason="no BLAS to link with")
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_products_by_a_linked_blas(dtype):
    def products(A, B, C):
        return A @ B, A.T @ C, C @ B.T, A[:, ::2] @ B[::2]

    specs = tuple(dtype + s for s in ("[m,k]", "[k,n]", "[m,n]"))
    fn, signature = make(products, specs, None)
    files = emit_c(fn, signature, Options(blas="cblas"))
    assert "cblas_" in files["products.c"]
    compiled = CFunction(files, fn, signature, flags=(*FLAGS, *STRICT))
    for m, n, k in ((0, 3, 2), (3, 2, 0), (1, 1, 1), (33, 17, 40)):
        sizes = {"m": m, "n": n, "k": k}
        args = [sample(leaf, sizes, np.random.default_rng(m)) for leaf in signature.leaves]
        for a, b in zip(compiled.call(args, sizes), interpret(fn, args, sizes), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12 if dtype == "f64" else 1e-4)


def test_long_heads_are_wrapped():
    def model_of_some(first_weights, second_weights, observations):
        return np.sum(first_weights @ second_weights @ observations)

    derivative = gg.jvp(gg.grad(model_of_some, wrt=(0, 1)), wrt=(0, 1))
    matrix = gg.spec("f64[n,n]", doc="a word " * 30)
    specs = [matrix, "f64[n,n]", "f64[n]", ("f64[n,n]", "f64[n,n]")]
    for target in ("c", "numpy"):
        for name, text in gg.compile(derivative, *specs, target=target).files.items():
            assert all(len(line) <= 100 for line in text.splitlines()), name
            assert MARK in text, name  # else it is another's, and not written over
