"""Compiling, the cache, and calls."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
from c_programs import logistic, make, rosenbrock
from compilers import needs_c

import gradgen.build
from gradgen.build import CFunction, build, cdef_of
from gradgen.emit.c import emit_c
from gradgen.engine import interpret
from gradgen.errors import BuildError
from gradgen.toolchain import FLAGS, find_compiler, flags_for

pytestmark = needs_c


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, in this process too."""
    monkeypatch.setenv("GRADGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(gradgen.build, "_built", {})
    return tmp_path / "cache"


@pytest.fixture
def counting_compiler(tmp_path):
    """A compiler that notes each of its runs."""
    log = tmp_path / "runs"
    log.write_text("")
    script = tmp_path / "countcc"
    script.write_text(f'#!/bin/sh\necho run >> "{log}"\nexec cc "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script), lambda: log.read_text().count("run")


def _function(scale=1.0):
    def f(x):
        return np.sum(scale * x * x)

    fn, signature = make(f, ("f64[n]",), 0)
    return emit_c(fn, signature), fn, signature


def _forget(monkeypatch):
    monkeypatch.setattr(gradgen.build, "_built", {})


def test_the_same_text_is_compiled_once(cache, counting_compiler, monkeypatch):
    cc, runs = counting_compiler
    files, fn, signature = _function()
    x = np.arange(3.0)
    assert CFunction(files, fn, signature, cc=cc).call([x], {"n": 3})[0] == 5.0
    count = runs()
    assert count > 0
    _forget(monkeypatch)  # as a new process would find it
    assert CFunction(files, fn, signature, cc=cc).call([x], {"n": 3})[0] == 5.0
    assert runs() == count
    CFunction(files, fn, signature, cc=cc, flags=("-O0",))
    assert runs() > count


@pytest.mark.parametrize("damage", ["truncate", "garbage", "no digest", "empty digest", "folders"])
def test_a_damaged_entry_is_built_anew(cache, counting_compiler, monkeypatch, damage):
    cc, runs = counting_compiler
    files, fn, signature = _function(3.0)
    build(files, cc=cc)
    count = runs()
    _forget(monkeypatch)
    (library,) = [p for p in cache.iterdir() if p.suffix == ".so"]
    digest = library.with_suffix(".sha256")
    if damage == "truncate":
        # Written elsewhere and renamed: this process still maps the old file.
        short = library.read_bytes()[:1000]
        library.unlink()
        library.write_bytes(short)
    elif damage == "garbage":
        library.unlink()
        library.write_bytes(b"nonsense")
    elif damage == "no digest":
        digest.unlink()
    elif damage == "folders":
        for place in (library, digest):
            place.unlink()
            (place / "inside").mkdir(parents=True)
    else:
        digest.write_text("")
    assert CFunction(files, fn, signature, cc=cc).call([np.ones(2)], {"n": 2})[0] == 6.0
    assert runs() > count


def test_nothing_half_written_is_left(cache):
    files, _, _ = _function(5.0)
    build(files)
    assert sorted(p.suffix for p in cache.iterdir()) == [".sha256", ".so"]


def test_two_processes_at_once(cache, tmp_path):
    program = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "import numpy as np\n"
        "from c_programs import make, rosenbrock\n"
        "from gradgen.build import CFunction\n"
        "from gradgen.emit.c import emit_c\n"
        "fn, signature = make(rosenbrock, ('f64[n]',), 0)\n"
        "print(CFunction(emit_c(fn, signature), fn, signature).call([np.zeros(4)], {'n': 4})[0])\n"
    )
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=here,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in running:
        out, err = process.communicate()
        assert (process.returncode, out.strip()) == (0, "3.0"), err


def test_no_compiler(cache, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        BuildError, match=r"needs a C compiler, got none(.|\n)*apt install gcc(.|\n)*set CC"
    ):
        find_compiler()
    with pytest.raises(BuildError, match="needs a C compiler"):
        build(_function()[0])


def test_cc_is_used(cache, counting_compiler, monkeypatch):
    cc, runs = counting_compiler
    monkeypatch.setenv("CC", f"{cc} -DUNUSED")
    assert find_compiler()[1:] == ["-DUNUSED"]
    build(_function(7.0)[0])
    assert runs() > 0
    with pytest.raises(BuildError, match="absent-cc"):
        build(_function(7.0)[0], cc="absent-cc")


def test_a_compiler_that_fails_shows_its_message(cache):
    files, _, _ = _function()
    broken = {
        k: v.replace("int64_t i = 0", "nonsense i = 0") if k.endswith(".c") else v
        for k, v in files.items()
    }
    with pytest.raises(BuildError, match=r"exit code 1 from(.|\n)*nonsense"):
        build(broken)
    assert not [p for p in cache.iterdir() if p.name.startswith(".build")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written(cache, tmp_path, monkeypatch):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    monkeypatch.setenv("GRADGEN_CACHE", str(folder / "cache"))
    with pytest.raises(BuildError, match="GRADGEN_CACHE"):
        build(_function()[0])


def test_a_cache_in_the_place_of_a_file(cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADGEN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(BuildError, match="cache folder that can be written"):
        build(_function()[0])


def test_flags_say_what_they_are():
    assert "-ffast-math" not in FLAGS
    assert "-ffp-contract=off" in flags_for("", "strict")
    assert "-ffp-contract=fast" in flags_for("", "default")
    assert flags_for("x" * 1_000_000, "default")[0] == "-O1"


def test_results_are_fresh_and_threads_do_not_meet(cache):
    fn, signature = make(logistic, ("f64[d]", "f64[]", "f64[n,d]", "f64[n]"), ("w", "b", "X"))
    compiled = CFunction(emit_c(fn, signature), fn, signature)
    rng = np.random.default_rng(0)
    problems = [
        [rng.normal(size=5), 0.1 * k, rng.normal(size=(400, 5)), rng.random(400)] for k in range(8)
    ]
    wanted = [interpret(fn, args) for args in problems]
    failures = []

    def work(k):
        for _ in range(50):
            found = compiled.call(problems[k], {"d": 5, "n": 400})
            for a, b in zip(found, wanted[k], strict=True):
                if not np.allclose(a, b, rtol=1e-12):
                    failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    value, w_bar, *_ = compiled.call(problems[0], {"d": 5, "n": 400})
    again = compiled.call(problems[0], {"d": 5, "n": 400})
    assert type(value) is float
    assert w_bar.flags.writeable and w_bar.flags.c_contiguous
    assert not np.shares_memory(w_bar, again[1])


def test_results_can_be_given(cache):
    fn, signature = make(rosenbrock, ("f64[n]",), 0)
    compiled = CFunction(emit_c(fn, signature), fn, signature)
    value, gradient = np.empty(()), np.empty(4)
    found = compiled.call([np.zeros(4)], {"n": 4}, out=[value, gradient])
    assert found[1] is gradient
    assert value == 3.0


def test_non_contiguous_inputs_are_copied(cache):
    fn, signature = make(rosenbrock, ("f64[n]",), 0)
    compiled = CFunction(emit_c(fn, signature), fn, signature)
    x = np.linspace(0.0, 1.0, 8)
    assert compiled.call([x[::2]], {"n": 4})[0] == compiled.call([x[::2].copy()], {"n": 4})[0]


def test_cdef_of_a_header():
    text = cdef_of(_function()[0]["f_grad.h"])
    assert "int f_grad(int64_t n, const double *x, double *value, double *x_bar);" in text
    assert "#" not in text and "extern" not in text and "}" not in text.replace("};", "")
