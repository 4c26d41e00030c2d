# Every command makes the environment that it needs (.venv) on first use, and again when
# pyproject.toml changes. The only thing that must be there before is Python 3.11, 3.12 or 3.13.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
IS_SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# The tests run in two processes, each with one thread: more threads than cores only wait.
PYTEST_FLAGS ?= -n 2
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help demo test lint style types floors format bench docs clean

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: $(VENV)/.installed  ## train a network of blocks on handwritten digits, draw it, save it, use it
	$(BIN)/kuai demo

test: $(VENV)/.installed-test $(VENV)/.installed-oracle  ## run the tests, with parity to PyTorch where it can be had
	$(ONE_THREAD) $(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: style types floors  ## style, types, and the floors of docs/architecture.md

style: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

floors: $(VENV)/.installed-dev
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## rewrite the code in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench $(VENV)/.installed-oracle $(VENV)/.tried-peers  ## time kuai beside PyTorch and others
	$(BIN)/python -m benchmarks.import_time
	$(BIN)/python -m benchmarks.eager
	$(BIN)/python -m benchmarks.compiled
	$(BIN)/python -m benchmarks.accuracy

docs: $(VENV)/.installed-docs  ## build the documentation into site/
	$(BIN)/mkdocs build --strict

clean:  ## remove what the commands made, the environment included
	rm -rf $(VENV) build dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# --- the environment -----------------------------------------------------------------------------

$(BIN)/python:
	@for python in python3 python3.13 python3.12 python3.11; do \
	    if "$$python" -c '$(IS_SUPPORTED)' 2>/dev/null; then \
	        echo "making $(VENV) with $$("$$python" --version)"; \
	        "$$python" -m venv $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        echo "$$python cannot make an environment (on Debian: install python3-venv)" >&2; exit 1; \
	    fi; \
	done; \
	echo "kuai needs Python 3.11, 3.12 or 3.13, and none was found" >&2; exit 1

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[$*]'
	@touch $@

# Whoever of the peers cannot be had leaves a column of the benchmark empty.
$(VENV)/.tried-peers: pyproject.toml | $(BIN)/python
	@$(PIP) install --editable '.[peers]' || echo "kuai will not be timed beside JAX and ONNX Runtime"
	@touch $@

$(VENV)/.installed-oracle: tools/install_oracle.py | $(BIN)/python
	@$(BIN)/python tools/install_oracle.py
	@touch $@
