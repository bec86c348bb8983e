# make demo: super-resolve a real MR image in a fresh environment; make test: everything CI checks; make check: the same
# without slow tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A file of tests to a process, two of them; each computes with one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check lint format docs clean

demo: $(VENV)/.installed
	$(BIN)/kfine demo --output demo --overwrite

test: $(VENV)/.installed-dev lint
	$(PYTEST)

check: $(VENV)/.installed-dev lint
	$(PYTEST) -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation site, in site/; its tutorials run.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/.installed-docs
	$(BIN)/python -m mkdocs build --strict --quiet

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch first and by itself: the pinned version, so that nothing after it draws in another build.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed-dev
	$(PIP) --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) site .cache demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
