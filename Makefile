# Needs Python 3.11 or newer and make; everything else is installed into .venv, once.
#
#   make demo            a real job on this machine: AWS by moto, a worker process, a few hundred tasks
#   make test            the tests; ARGS="-k word" goes to pytest
#   make lint types build clean
#
# Another interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
NEW_ENOUGH := $(shell $(PYTHON) -c 'import sys; print(int(sys.version_info >= (3, 11)))' 2>/dev/null)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

# One stamp per version, so that another PYTHON makes the environment anew.
PACKAGES := $(VENV)/.packages-$(VERSION)
READY := $(VENV)/.ready-$(VERSION)

.PHONY: demo test lint types build clean environment
.DELETE_ON_ERROR:

demo: $(READY)
	@$(BIN)/python -m local.demo $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

build: $(READY)
	rm -rf dist
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment: $(READY)

$(PACKAGES): requirements/dev.txt
	$(if $(VERSION),,$(error '$(PYTHON)' is not a Python interpreter: name one of 3.11 or newer, make $(MAKECMDGOALS) PYTHON=...))
	$(if $(filter 1,$(NEW_ENOUGH)),,$(error Python 3.11 or newer is needed and '$(PYTHON)' is $(VERSION): name another, make $(MAKECMDGOALS) PYTHON=...))
	@echo "Installing into $(VENV) with Python $(VERSION): half a minute, once"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --no-deps --no-compile -r requirements/dev.txt
	@touch $@

$(READY): $(PACKAGES) pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(PIP) check
	@touch $@
