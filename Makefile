# make demo       train on real digits with an emitted gradient (about a minute)
# make test       ruff, mypy, pytest: what .ci/run runs
# make test-deep  also the tests marked `deep` (minutes)
# make bench      gradgen against hand-written code and its peers; BENCH=--quick is short
# make lint       ruff and mypy only
# make format     let ruff rewrite the tree
# make venv       only create .venv
# make clean      remove .venv and everything built
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
TEST_STAMP := $(VENV)/installed-test
DEMO_STAMP := $(VENV)/installed-demo
BENCH_STAMP := $(VENV)/installed-bench
OUT ?= out/demo
# Bytecode as an installation from a wheel has it: importing takes four times as long where Python is told to write none.
COMPILE = $(BIN)/python -m compileall -q gradgen
BENCH ?=

.PHONY: venv demo test test-deep bench lint format clean

venv: $(TEST_STAMP)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Installed once per change of pyproject.toml; the install is editable, so code needs no reinstall.
$(TEST_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	$(COMPILE)
	touch $(TEST_STAMP) $(DEMO_STAMP)

$(DEMO_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	$(COMPILE)
	touch $(DEMO_STAMP)

$(BENCH_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $(BENCH_STAMP)

demo: $(DEMO_STAMP)
	$(BIN)/python -m gradgen.demo $(OUT)

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(COMPILE)
	$(BIN)/python -m pytest -n $(JOBS) -m 'not deep'

test-deep: lint
	$(BIN)/python -m pytest -n $(JOBS)

bench: $(BENCH_STAMP)
	$(BIN)/python tests/benchmarks/bench.py --json out/bench.json $(BENCH)
	$(BIN)/python tests/benchmarks/chart.py out/bench.json -o out/bench.svg

format: $(TEST_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist out .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
