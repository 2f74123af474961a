# Everything happens in .venv; remove the folder to start anew.
PYTHON ?= python3
BIN := .venv/bin
# One thread per process: small models gain nothing from more, and several processes would fight over the cores.
export OMP_NUM_THREADS ?= 1
# CPU build of torch where pip offers one beside the registry's default; a GPU build is taken as it comes.
TORCH ?= $(shell cat requirements/torch.txt)
# Every version that was tested; pip reads the first for packages and the second for what it builds from source.
LOCK := requirements/lock.txt
LOCKED := PIP_CONSTRAINT=$(CURDIR)/$(LOCK) PIP_BUILD_CONSTRAINT=$(CURDIR)/$(LOCK)
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
# One pytest process per core, up to four: each holds torch and transformers. One that is done takes tests from the others.
PYTEST := -m pytest -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo site test test-all latest lint types contract bench fuzz lock dist dist-extras clean

.venv/ready: pyproject.toml $(LOCK)
	$(PYTHON) -m venv .venv
	$(LOCKED) $(BIN)/python $(PIP_INSTALL) $(TORCH) 2>&1 | { grep -v "^WARNING: Location" || true; }
	$(LOCKED) $(BIN)/python $(PIP_INSTALL) -e '.[all,dev]' 2>&1 | { grep -v "^WARNING: Location" || true; }
	$(BIN)/python .ci/same_versions.py $(LOCK)
	@touch $@

demo: .venv/ready
	$(BIN)/counterpoint demo

.venv/docs: .venv/ready
	$(LOCKED) $(BIN)/python $(PIP_INSTALL) -e '.[docs]' 2>&1 | { grep -v "^WARNING: Location" || true; }
	$(BIN)/python .ci/same_versions.py $(LOCK)
	@touch $@

# docs/ as pages that open from disk: site/index.html. A link that leads nowhere fails.
site: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --config-file website/mkdocs.yml
	@echo site/index.html

test: .venv/ready
	$(BIN)/python $(PYTEST)

test-all: .venv/docs
	$(BIN)/python $(PYTEST) -m "slow or not slow"
	$(BIN)/python tests/mutations.py

# The newest of everything but torch, in an environment of its own; TORCH=torch takes the newest torch, too (several GB).
latest:
	$(PYTHON) -m venv --clear .venv-latest
	.venv-latest/bin/python $(PIP_INSTALL) $(TORCH) 2>&1 | { grep -v "^WARNING: Location" || true; }
	.venv-latest/bin/python $(PIP_INSTALL) --upgrade-strategy eager -e '.[all,dev]' 2>&1 | { grep -v "^WARNING: Location" || true; }
	.venv-latest/bin/python $(PYTEST)

lint: .venv/ready
	$(BIN)/ruff check src tests benchmarks website
	$(BIN)/ruff format --check src tests benchmarks website

types: .venv/ready
	$(BIN)/mypy

contract: .venv/ready
	$(BIN)/lint-imports

# Needs uv; libraries that only a GPU build of torch brings are left out, that build fixes them itself.
lock:
	uv pip compile pyproject.toml --extra all --extra dev --extra docs --universal --python-version 3.11 --quiet \
	  --constraint requirements/torch.txt --no-header --no-annotate --upgrade | grep -vE '^(nvidia|cuda)-' > $(LOCK)

# Wheel and source archive, installed alone into an empty environment where the first commands must work.
dist: .venv/ready
	rm -rf dist
	$(LOCKED) $(BIN)/python -m build --outdir dist .
	$(LOCKED) .ci/install_alone $(PYTHON) "$(TORCH)" ""

# Each extra by itself; several minutes.
dist-extras: dist
	$(LOCKED) .ci/install_alone $(PYTHON) "$(TORCH)" language images tune search rl audio math

bench: .venv/ready
	$(BIN)/python benchmarks/run.py

# Damaged files at every reader of tables, until one ends in anything but one line; COUNT=1000000 takes about four hours.
fuzz: .venv/ready
	PYTHONPATH=tests $(BIN)/python tests/fuzz_readers.py $(COUNT)

clean:
	rm -rf .venv .venv-latest build dist site *.egg-info
