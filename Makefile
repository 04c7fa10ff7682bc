# Needs Python 3.11 or newer and make; everything else is installed into .venv, once.
#
#   make demo            a real job on this machine: AWS by moto, a worker process, a few hundred tasks
#   make test            the tests; ARGS="-k word" goes to pytest
#   make e2e             the tests that deploy: the SAM CLI, an emulated AWS, Lambda's own runtime; no Docker, no account
#   make browser         the tests of the dashboard in a real Chromium, which has to be on the PATH (apt install chromium)
#   make bench           side by side with the bare client and the alternatives; a quarter of an hour, never part of a test
#   make lint types build clean
#   make template        template.yaml, anew from the reference app; `make build-...` is what `sam build` calls
#
# Another interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

# What the code of the Lambda functions is built for: as the template's parameters Runtime and Architecture.
RUNTIME ?= python3.13
ARCHITECTURE ?= arm64
BOTO3 ?=

BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
NEW_ENOUGH := $(shell $(PYTHON) -c 'import sys; print(int(sys.version_info >= (3, 11)))' 2>/dev/null)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

# One stamp per version, so that another PYTHON makes the environment anew.
PACKAGES := $(VENV)/.packages-$(VERSION)
READY := $(VENV)/.ready-$(VERSION)

# What deploys and what is deployed to, each with the versions that it asks for.
DEPLOYING := .venv-sam/.ready-$(VERSION) .venv-ministack/.ready-$(VERSION)

.PHONY: demo test e2e browser bench lint types build clean environment template
.DELETE_ON_ERROR:

demo: $(READY)
	@$(BIN)/python -m local.demo $(ARGS)

# A file's tests stay together, since they share servers; two processes, since much of their time is waiting.
test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

e2e: $(READY) $(DEPLOYING)
	@$(BIN)/python -m pytest -m e2e --timeout=600 tests/e2e $(ARGS)

browser: .venv-browser/.ready-$(VERSION)
	@.venv-browser/bin/python -m pytest -m browser -rs tests/browser $(ARGS)

bench: $(READY)
	@$(BIN)/python -m benchmarks.run $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

build: $(READY)
	rm -rf dist
	$(BIN)/python -m build --no-isolation

template: $(READY)
	$(BIN)/taskq template local.tasks:app --build makefile --output template.yaml

build-%: $(READY)
	$(if $(ARTIFACTS_DIR),,$(error `sam build` calls this and says where to build; by hand: make $@ ARTIFACTS_DIR=dist/lambda))
	@$(BIN)/python infra/build_artifact.py "$(ARTIFACTS_DIR)" --runtime $(RUNTIME) --architecture $(ARCHITECTURE) $(if $(BOTO3),--with-boto3) $(if $(filter ApiFunction,$*),--with-api)

clean:
	rm -rf $(VENV) .bench .venv-sam .venv-ministack .venv-browser .browser .aws-sam dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
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

.venv-browser/.ready-$(VERSION): requirements/dev.txt

.venv-%/.ready-$(VERSION): requirements/%.txt
	@echo "Installing into .venv-$* with Python $(VERSION): a minute, once"
	@$(PYTHON) -m venv --clear .venv-$*
	@.venv-$*/bin/python -m pip --quiet --disable-pip-version-check --no-input install --no-deps -r $<
	@.venv-$*/bin/python -m pip --disable-pip-version-check check >/dev/null
	@touch $@
