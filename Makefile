# Everything works from a clean clone: each target sets up what it needs through `make install`.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= runs/demo

export PYTHON
.DEFAULT_GOAL := help
.PHONY: help install demo test lint format typecheck bench clean

help:  ## show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: $(STAMP)  ## create .venv with pinned versions (Python 3.11 or newer)

$(STAMP): pyproject.toml constraints.txt
	@python="$$(.ci/find-python)" && { test -x $(BIN)/python || $$python -m venv $(VENV); } || { \
	  echo "make install: could not create $(VENV); on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing pinned packages into $(VENV) (a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m robolearn.evaluate.rendering --install
	@touch $@

demo: install  ## train a quadruped for a few minutes, then film, measure, export, deploy it and try other simulators (< 10 min on 2 cores)
	@$(BIN)/python -m robolearn.cli.demo --out $(OUT)

test: install  ## run all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: install  ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: install  ## apply the style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

typecheck: install  ## check types
	@$(BIN)/mypy

bench: install  ## run the speed benchmarks
	@$(BIN)/robolearn bench

clean:  ## remove .venv, caches and build products (runs/ stays)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find robolearn sim tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
