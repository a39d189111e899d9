# The one door: each target sets up what it needs, then does its work. CI calls `make test` and nothing else.
# PYTHON picks the interpreter, PIP_ARGS goes to pip (an index with CPU builds of torch, for instance).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
PIP_ARGS ?=
SUITABLE = import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	if $$p -c '$(SUITABLE)' >/dev/null 2>&1; then echo $$p; break; fi; done)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALLED := $(VENV)/.installed

.PHONY: help install system demo test lint integ bench clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

install: $(INSTALLED)  ## a .venv with the package, the demo's and the developers' tools

# -qq: pip's errors only, neither progress bars nor warnings about the machine's own settings.
$(INSTALLED): setup.cfg setup.py | system
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.10, 3.11 or 3.12 with venv; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "== installing into $(VENV) with $$($(PYTHON) --version) (a few minutes, mostly torch)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -qq --progress-bar off --upgrade pip "setuptools>=68" wheel $(PIP_ARGS)
	@$(PIP) install -qq --progress-bar off --no-build-isolation -e ".[demo,dev]" $(PIP_ARGS)
	@touch $@

system:
	@.ci/system-packages

demo: $(INSTALLED)  ## a photograph and a spoken sentence -> out/demo.mp4
	@$(BIN)/python -m chatanyone.demo --output out/demo.mp4

lint: $(INSTALLED)  ## flake8 and mypy over packages, tests and tools
	@echo "== flake8"
	@$(BIN)/flake8 $(wildcard chatanyone motion render tests tools) setup.py
	@echo "== mypy"
	@$(BIN)/mypy $(wildcard chatanyone motion render tests tools)

test: lint  ## lint, types and the whole test suite
	@.ci/system-packages browser
	@echo "== pytest"
	@$(BIN)/python -m pytest

integ: $(INSTALLED)  ## the slow tests as well: tiny trainings, long streams
	@.ci/system-packages browser
	@$(BIN)/python -m pytest --slow

bench: $(INSTALLED)  ## milliseconds, GFLOP, parameters and memory of every stage
	@mkdir -p out
	@$(BIN)/chatanyone bench --json out/bench.json

clean:  ## removes what make made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache
