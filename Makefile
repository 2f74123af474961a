# Everything happens in .venv; remove the folder to start anew.
PYTHON ?= python3
BIN := .venv/bin
# One thread per process: small models gain nothing from more, and several processes would fight over the cores.
export OMP_NUM_THREADS ?= 1
# CPU build of torch where pip offers one beside the registry's default; a GPU build is taken as it comes.
TORCH ?= torch==2.13.0

.PHONY: demo test test-all lint types contract bench clean

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) 2>&1 | grep -v "^WARNING: Location" || true
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev]' 2>&1 | grep -v "^WARNING: Location" || true
	$(BIN)/python -c "import counterpoint, torch, transformers, pytest"
	@touch $@

demo: .venv/ready
	$(BIN)/counterpoint demo

test: .venv/ready
	$(BIN)/python -m pytest

test-all: .venv/ready
	$(BIN)/python -m pytest -m "slow or not slow"

lint: .venv/ready
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

types: .venv/ready
	$(BIN)/mypy

contract: .venv/ready
	$(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv build *.egg-info
