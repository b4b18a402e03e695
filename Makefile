# make train | test | check | bench: each sets up its own environment (.venv) from constraints.txt.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help train test check format bench clean

help:
	@echo "make train           train the quickstart finder and report what it is worth (ARGS='debug=fast' for overrides)"
	@echo "make test            run the tests"
	@echo "make check           ruff format, ruff lint, mypy: what CI runs before the tests"
	@echo "make bench           measure speeds into benchmarks/results/"
	@echo "make format          let ruff format and fix the code"

train: $(VENV)/.installed
	$(BIN)/python train.py $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto $(ARGS)

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.run $(ARGS)

# torch first and alone: with it in place nothing later asks for another build.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[galsim,reference,bench,wandb,spark,s3,launchers,search,dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps lenscat
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache
