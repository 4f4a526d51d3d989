# make demo     a trained model from the built-in corpus, on two processes
# make test     the whole suite
# make matrix   the suite's core on every Python, and with the oldest torch
# make docs     the site, into docs/_build
# Each sets up .venv first, exactly as requirements.lock says; docs/install.md says more.

VENV := .venv
BIN := $(VENV)/bin
# Without PYTHON=, .venv keeps the Python that it has.
ifndef PYTHON
PYTHON := $(shell $(BIN)/python -c 'import sys; print("%s/bin/python%d.%d" % (sys.base_prefix, *sys.version_info[:2]))' \
	2>/dev/null || echo python3)
endif
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# What stands in .venv: what installs, what runs, what develops. No stamp of another Python counts.
TOOLS := $(VENV)/.ready-tools-$(VERSION)
READY := $(VENV)/.ready-$(VERSION)
DEV := $(VENV)/.ready-dev-$(VERSION)
# There while something is being installed: after an interruption .venv is made afresh.
HALF := $(VENV)/.half
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-dev demo test lint types format docs lock matrix clean

help:
	@echo 'make demo | test | lint | types | format   what they say, after setting up .venv'
	@echo 'make setup | setup-dev                     what running needs | and what developing needs'
	@echo 'make docs                                  the site, into docs/_build'
	@echo 'make lock | matrix | clean                 renew requirements.lock | try every Python | remove .venv'
	@echo 'PYTHON=python3.12 picks the interpreter.'

setup: $(READY)

setup-dev: $(DEV)

$(TOOLS): requirements.lock $(wildcard $(HALF))
	@case '$(VERSION)' in 3.10|3.11|3.12|3.13) ;; *) \
		echo 'error: $(PYTHON) is not Python 3.10, 3.11, 3.12 or 3.13; try make PYTHON=python3.12.' >&2; exit 2;; esac
	@echo 'Setting up $(VENV) with Python $(VERSION); the first time downloads PyTorch, which takes some minutes.'
	@test ! -e $(HALF) && $(BIN)/python -m pip --version 2>/dev/null | grep -q 'python $(VERSION))' \
		|| $(PYTHON) -m venv --clear $(VENV)
	@touch $(HALF)
	@sed '/^# == running ==/,$$d' requirements.lock >$(VENV)/tools.lock
	@$(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/tools.lock
	@rm $(HALF); touch $@

# $(call install,FILE): with uv, which is fast, or with pip where uv cannot: a mirror or a proxy that only pip knows of.
# What has no wheel is built with the locked setuptools.
define install
	@touch $(HALF)
	@$(BIN)/uv pip install --python $(BIN)/python --require-hashes --build-constraints $(VENV)/tools.lock -r $1 \
		|| { echo 'uv could not install; pip does, with the same hashes.' >&2; \
		$(BIN)/python -m pip install --require-hashes --no-build-isolation -r $1; }
endef

$(READY): $(TOOLS) pyproject.toml
	@sed '/^# == developing ==/,$$d' requirements.lock >$(VENV)/run.lock
	$(call install,$(VENV)/run.lock)
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@rm $(HALF)
	@$(BIN)/uv pip check --quiet --python $(BIN)/python \
		|| { echo 'error: requirements.lock does not fit pyproject.toml; make lock renews it.' >&2; exit 2; }
	@touch $@

$(DEV): $(READY)
	$(call install,requirements.lock)
	@rm $(HALF); touch $@

demo: $(READY)
	$(BIN)/parallel-ser train --nproc 2 --config configs/quick.yaml
	@run=$$(ls -td runs/*-synthetic-cnn-s-pipeline* | head -1); file=$$(sed -n '2s/,.*//p' "$$run/predictions.csv"); \
	printf '\nNext, in this shell:\n'; \
	printf '  %s\n' 'source $(BIN)/activate' "parallel-ser predict $$run $$file" \
		"parallel-ser calibrate $$run --error 0.3" 'parallel-ser runs'

test: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(DEV)
	$(BIN)/mypy

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEV)
ifeq ($(VERSION),3.10)
	@echo 'The site needs Python 3.11 or newer: make docs PYTHON=python3.12.'
else
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build
	@echo 'The site: docs/_build/index.html'
endif

lock: $(TOOLS)
	UV=$(BIN)/uv .ci/lock

matrix:
	.ci/matrix

clean:
	rm -rf $(VENV) .matrix docs/_build docs/_generated build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
