# `make demo` and `make test` do everything; both make .venv where it is missing.
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast lint audit release

demo: $(VENV)/installed
	$(BIN)/siamese demo

# Three at a time on two cores: servers that tests wait for leave a fifth of two idle.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 3

# What needs neither a trained system nor a server: under a minute.
test-fast: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 -m "not slow"

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known holes in the packages that are installed.
audit: $(VENV)/installed-dev
	$(BIN)/python .ci/audit.py

# Wheel, bill of materials and checksums in dist/, after its demo ran in a clean environment.
release: $(VENV)/installed-dev
	VENV=$(VENV) .ci/release

# The pip that comes with Python takes three times as long to choose versions.
$(VENV)/bin/python:
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/installed

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	touch $@ $(VENV)/installed-test $(VENV)/installed
