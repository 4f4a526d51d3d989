# make demo   a trained model from the built-in corpus, on two processes
# make test   the whole suite
# Both set up .venv first, once, and again when pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint types format clean

help:
	@echo 'make demo | test | lint | types | format | setup | clean   (PYTHON=python3.12 picks the interpreter)'

setup: $(READY)

# A .venv whose pip does not run (its making was interrupted) is made afresh.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo 'error: $(PYTHON) is not Python 3.10 or newer; try make PYTHON=python3.12.' >&2; exit 2; }
	@echo 'Setting up $(VENV); the first time downloads PyTorch, which takes some minutes.'
	@$(BIN)/pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/parallel-ser train --nproc 2 --config configs/quick.yaml

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
