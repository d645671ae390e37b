"""Loop IR: every stage means what the Function means, in its interpreter, at all sizes; and the shape of what fusion makes."""

from __future__ import annotations

import numpy as np
import pytest
from c_programs import IDS, PROGRAMS, close, logistic, make, rosenbrock, sample, size_sets, turns

import gradgen as gg
from gradgen.engine import interpret
from gradgen.errors import GradgenError
from gradgen.lower import compile_loops, show, stages
from gradgen.lower.inspect import verify
from gradgen.lower.kernel import Declare, Let, Load, Loop, Store, accessed, operands, walk
from gradgen.lower.run import run
from gradgen.options import Options


@pytest.mark.parametrize(("f", "specs", "wrt"), PROGRAMS, ids=IDS)
def test_every_stage_means_the_function(f, specs, wrt):
    fn, signature = make(f, specs, wrt)
    found = stages(fn, signature.results)
    for name, kernel in found:
        verify(kernel, name)
        assert show(kernel)
    tried = 0
    for sizes in size_sets(signature, fn):
        rng = np.random.default_rng(7)
        args = [sample(leaf, sizes, rng) for leaf in signature.leaves]
        try:
            wanted = interpret(fn, args, sizes)
        except (IndexError, ValueError):  # NumPy refuses a maximum over nothing
            continue
        tried += 1
        single = any("f32" in s for s in specs)
        for name, kernel in found:
            for a, b, v in zip(run(kernel, args, sizes), wanted, fn.outputs, strict=True):
                assert a.shape == b.shape, name
                close(a, b, "f32" if single else v.type.dtype)
    assert tried


def _loops(body):
    return [s for s in body if type(s) is Loop]


def fused(fn, signature):
    """The loops before they are cut into blocks and lanes."""
    found = stages(fn, signature.results)
    return found[[name for name, _ in found].index("block") - 1][1]


def test_logistic_regression_reads_its_data_in_one_pass():
    fn, signature = make(logistic, ("f64[d]", "f64[]", "f64[n,d]", "f64[n]"), ("w", "b"))
    kernel = compile_loops(fn, signature.results)
    rows = [loop for loop in _loops(kernel.body) if str(loop.extent) == "n"]
    assert len(rows) == 1
    assert kernel.work_bytes == 0
    matrix = kernel.inputs[2][1]
    assert rows[0].step == 64  # a block of rows stays in cache between the two loops that read it
    readers = [
        loop
        for loop in _loops(rows[0].body)
        if any(type(s) is Load and s.buffer is matrix for s in walk([loop]))
    ]
    assert len(readers) == 2  # the dot product, and the accumulation into w_bar
    middle = next(loop for loop in _loops(rows[0].body) if loop not in readers)
    maths = {s.op.name for s in middle.body if type(s) is Let}
    assert {"softplus", "sigmoid"} <= maths
    assert not _loops(middle.body)  # nothing between the functions keeps them from vectors


def test_a_reduction_whose_result_is_read_cuts_the_nest():
    def centred(x):
        return np.sum((x - np.mean(x)) ** 2)

    fn, signature = make(centred, ("f64[n]",), None)
    kernel = fused(fn, signature)
    assert len(_loops(kernel.body)) == 2
    assert compile_loops(fn, signature.results).work_bytes == 0


def test_elementwise_chains_need_no_memory():
    def chain(x):
        return np.sum(np.exp(np.sin(x) * 2.0 + np.cos(x)) ** 2)

    fn, signature = make(chain, ("f64[n]",), 0)
    kernel = fused(fn, signature)
    assert compile_loops(fn, signature.results).work_bytes == 0
    assert len(_loops(kernel.body)) == 1
    stores = [
        s
        for s in walk(kernel.body)
        if type(s) is Store and s.buffer.storage == "output" and s.buffer.shape
    ]
    assert len(stores) == 1


def test_small_temporaries_are_on_the_stack_and_large_ones_in_the_workspace():
    def twice(A):
        B = A @ A
        return B @ B

    fn, signature = make(twice, ("f64[3,3]",), None)
    kernel = compile_loops(fn, signature.results)
    assert kernel.work_bytes == 0
    fn, signature = make(twice, ("f64[n,n]",), None)
    kernel = compile_loops(fn, signature.results)
    assert (
        str(kernel.work_bytes) == "64*((8*n*n + 63) // 64)".replace("*(", "*(")
        or kernel.work_bytes != 0
    )


def test_dead_places_are_used_again():
    def powers(A):
        B = A
        for _ in range(6):
            B = B @ B
        return B

    fn, signature = make(powers, ("f64[64,64]",), None)
    kernel = compile_loops(fn, signature.results)
    assert kernel.work_bytes == 2 * 64 * 64 * 8


def test_a_long_program_is_split_and_means_the_same():
    def long(x):
        y = x
        for k in range(900):
            y = np.sin(y) + 0.01 * k * x
        return y

    fn, signature = make(long, ("f64[]",), 0)
    kernel = compile_loops(fn, signature.results)
    assert len(kernel.body) >= 5
    assert all(len(part.body) < 500 for part in kernel.body)
    wanted = interpret(fn, [0.3])
    for a, b in zip(run(kernel, [0.3], {}), wanted, strict=True):
        close(a, b, "f64")


def test_the_verifier_sees_what_is_wrong():
    fn, signature = make(rosenbrock, ("f64[n]",), 0)
    kernel = stages(fn, signature.results)[0][1]
    body = [s for s in kernel.body if type(s) is not Loop][::-1]
    with pytest.raises(GradgenError, match=r"before it is defined|outside of its block"):
        verify(kernel.with_body(body))


def test_show_is_deterministic():
    texts = set()
    for _ in range(2):
        fn, signature = make(rosenbrock, ("f64[n]",), 0)
        texts.add(show(compile_loops(fn, signature.results)))
    assert len(texts) == 1


def test_lecture_is_one_nest_per_statement():
    specs = ("f64[d]", "f64[]", "f64[n,d]", "f64[n]")
    fn, signature = make(logistic, specs, ("w", "b"), "lecture")
    kernel = compile_loops(fn, signature.results, Options(optimize="lecture"))
    arrays = [node for node in fn.body if node.type.shape and node.op.name != "transpose"]
    assert len(_loops(kernel.body)) >= len(arrays)
    sizes = {"n": 4, "d": 3}
    args = [sample(leaf, sizes, np.random.default_rng(1)) for leaf in signature.leaves]
    for a, b in zip(run(kernel, args, sizes), interpret(fn, args, sizes), strict=True):
        close(a, b, "f64")


def test_an_index_that_is_a_place_is_no_statement_of_a_lecture():
    def running(v):
        r = np.append(v, [0.1, 0.4])
        for i in range(1, r.shape[0]):
            r[i] = r[i] + 0.5 * r[i - 1]
        return r

    fn, signature = make(running, ("f64[n]",), None, "lecture")
    kernel = compile_loops(fn, signature.results, Options(optimize="lecture"))
    scalars = [s for s in walk(kernel.body) if type(s) is Let]
    read = {id(a) for s in walk(kernel.body) for a in operands(s)}
    assert scalars
    assert all(id(s) in read for s in scalars)  # a C compiler warns of variables that nothing reads


def test_a_count_of_steps_that_nothing_reads_is_not_kept():
    def least(u):
        return gg.fixed_point(lambda t: 0.5 * np.cos(t) * u, 0.1)

    fn, signature = make(least, ("f64[]",), None, "lecture")
    kernel = compile_loops(fn, signature.results, Options(optimize="lecture"))
    buffers = [buffer for s in walk(kernel.body) for buffer, _, _ in accessed(s)]
    assert "steps" not in [buffer.name for buffer in buffers]


def test_assignments_into_an_array_happen_in_place():
    def filled(x):
        out = np.zeros(50)
        for k in range(50):
            out[k] = x[k] * k
        return out

    fn, signature = make(filled, ("f64[50]",), None)
    kernel = compile_loops(fn, signature.results)
    assert len(_loops(kernel.body)) <= 1  # the zeros; the rest is one store each
    stores = [s for s in walk(kernel.body) if type(s) is Store]
    assert len(stores) <= 51


def test_the_last_place_may_be_the_first():
    def ends(x):
        v = x.copy()
        v[::-1][0] *= 2.0
        v[-1] += v[0]
        return np.sum(np.sin(v))

    fn, signature = make(ends, ("f64[n]",), 0)
    for name, kernel in stages(fn, signature.results):
        for x in ([0.3], [0.3, 0.5]):
            bar = run(kernel, [np.array(x)], {"n": len(x)})[1]
            slope = 2.0 * np.cos(2.0 * x[-1] + x[0]) if x[1:] else 4.0 * np.cos(4.0 * x[0])
            assert bar[-1] == pytest.approx(slope), name


def test_the_adjoint_of_slices_is_stored_once_per_place():
    fn, signature = make(rosenbrock, ("f64[n]",), 0)
    kernel = compile_loops(fn, signature.results)
    gradient = kernel.outputs[1]
    for loop in _loops(kernel.body):
        stores = [s for s in walk([loop]) if type(s) is Store and s.buffer is gradient]
        assert len(stores) <= 1
        assert not any(s.accumulate for s in stores)  # nothing is read back
    fills = [loop for loop in _loops(kernel.body) if loop.extent == gradient.shape[0]]
    assert all(loop.start != 0 for loop in fills)  # only what lies beyond the last iteration


@pytest.mark.parametrize("program", range(0, len(PROGRAMS), 2), ids=lambda k: IDS[k])
def test_parts_for_threads_mean_the_function(program):
    fn, signature = make(*PROGRAMS[program])
    kernel = compile_loops(fn, signature.results, Options(parallel=True, verify=True))
    sizes = dict.fromkeys(signature.letters, 5)
    args = [sample(leaf, sizes, np.random.default_rng(7)) for leaf in signature.leaves]
    single = any("f32" in s for s in PROGRAMS[program][1])
    for a, b, v in zip(
        run(kernel, args, sizes), interpret(fn, args, sizes), fn.outputs, strict=True
    ):
        close(a, b, "f32" if single else v.type.dtype)


def test_a_long_loop_is_cut_into_parts_whose_sums_are_added_in_order():
    fn, signature = make(logistic, ("f64[d]", "f64[]", "f64[n,d]", "f64[n]"), ("w", "b"))
    kernel = compile_loops(fn, signature.results, Options(parallel=True))
    threads = [loop for loop in _loops(kernel.body) if loop.kind == "threads"]
    gradient = kernel.outputs[1]
    long = [loop for loop in threads if any(type(s) is Let for s in walk([loop]))]
    assert len(long) == 1
    assert not any(type(s) is Store and s.buffer is gradient for s in walk(long))


def test_a_loop_in_blocks_is_cut_where_each_row_has_its_own_results():
    """Mathematics makes blocks of rows; the rows that a block writes are no other block's."""

    def model(q, y):
        return np.sum((np.sin(q[:, 0]) * np.cos(q[:, 1]) - y) ** 2)

    fn, signature = make(model, ("f64[n,2]", "f64[n]"), ("q",))
    kernel = compile_loops(fn, signature.results, Options(parallel=True, verify=True))
    threads = [loop for loop in _loops(kernel.body) if loop.kind == "threads"]
    assert any(
        type(s) is Store and s.buffer is kernel.outputs[1] for loop in threads for s in walk([loop])
    )
    for n in (0, 1, 63, 65, 1500):
        args = [sample(leaf, {"n": n}, np.random.default_rng(7)) for leaf in signature.leaves]
        expected = interpret(fn, args, {"n": n})
        for a, b in zip(run(kernel, args, {"n": n}), expected, strict=True):
            close(a, b, "f64")


def test_masks_of_a_block_are_numbers():
    def relu(X, W1, W2):
        return np.sum(np.maximum(np.maximum(X @ W1, 0.0) @ W2, 0.0))

    fn, signature = make(relu, ("f64[n,2]", "f64[2,16]", "f64[16,16]"), ("W1", "W2"))
    found = dict(stages(fn, signature.results))
    small = [
        {s.buffer.dtype for s in walk(found[name].body) if type(s) is Declare and s.buffer.shape}
        for name in ("block", "masks")
    ]
    assert "bool" in small[0]
    assert "bool" not in small[1]


def test_columns_of_a_matrix_are_brought_side_by_side_for_mathematics():
    fn, signature = make(turns, ("f64[n,3]", "f64[n,2]"), "q")
    kernel = compile_loops(fn, signature.results)
    (blocks,) = [loop for loop in _loops(kernel.body) if str(loop.extent) == "n"]
    before, maths, after = _loops(blocks.body)
    assert {s.op.name for s in maths.body if type(s) is Let} >= {"sin", "cos"}
    # Nothing but the block's own arrays, element by element: a compiler makes vectors of that.
    for stmt in walk(maths.body):
        if type(stmt) is Load or type(stmt) is Store:
            assert stmt.buffer.storage == "local" and len(stmt.index) == 1
    matrices = {id(buffer) for _, buffer in kernel.inputs}
    assert {id(s.buffer) for s in walk([before]) if type(s) is Load} == matrices
    # q_bar starts with what is added first, not with zeros.
    stores = [s for s in walk([after]) if type(s) is Store]
    assert len(stores) == 3 and {s.buffer for s in stores} == {kernel.outputs[1]}
    assert not any(s.accumulate for s in stores)


def test_an_element_of_the_input_that_only_a_result_reads():
    def f(x):
        y = x.T
        return y[0, 1], (2.0 * y).T

    fn, signature = make(f, ("f64[3,2]",), None)
    x = np.arange(6.0).reshape(3, 2)
    for name, kernel in stages(fn, signature.results):
        verify(kernel, name)
        corner, doubled = run(kernel, [x], {})
        assert corner == 2.0 and np.array_equal(doubled, 2.0 * x), name


@pytest.mark.parametrize(
    ("dtype", "copied", "rows"), [("f64", 20, 8), ("f32", 20, 16), ("f64", 3, 64)]
)
def test_rows_that_are_mostly_copied_go_in_blocks_of_one_vector(dtype, copied, rows):
    """The memory of one block is then on its way while another is computed."""

    def row(x):
        total = np.exp(x[0])
        for k in range(1, copied):
            total = total * x[k] + x[k - 1]
        return total

    def model(X):
        return np.sum(gg.vmap(row)(X))

    fn, signature = make(model, (f"{dtype}[n,{copied}]",), "X")
    kernel = compile_loops(fn, signature.results)
    assert [loop.step for loop in _loops(kernel.body) if str(loop.extent) == "n"] == [rows]
