# Hanse. `make run` and `make test` need Python 3.11 or newer and nothing else; see `make help`. With Go they
# build a current etcd, once, in the user's cache.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV ?= .venv
DATA_DIR ?= .hanse
PY := $(VENV)/bin/python
# How long `make fuzz` takes, and what it begins with: the same seed makes the same inputs.
SECONDS ?= 60
SEED ?= 0
SOURCES := src services/registry services/scheduler services/syncer services/dns services/apiserver \
	clients/python clients/cli local
CHECKED := $(SOURCES) tests scripts benchmarks deploy/image deploy/systemd
# Two workers; tests/conftest.py says which tests stay together, and what each begins with.
PARALLEL := -n 2
export VENV

.PHONY: help run stop status image test test-pythons test-image test-node install-check test-real test-conformance fuzz lint types format proto clients docs lock bench clean distclean setup setup-dev

help: ## Show this help.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:
	@scripts/setup.sh run
	@$(PY) -m hanse_local.etcd.build

setup-dev:
	@scripts/setup.sh dev
	@$(PY) -m hanse_local.etcd.build

run: setup ## Start a federation of three clusters with an example in it, and show what is where.
	@$(PY) -m hanse_local.demo --data-dir $(DATA_DIR)

stop: ## Stop it; its data stays, and `make run` resumes it.
	@if [ -x $(PY) ]; then $(PY) -m hanse_cli.main down --data-dir $(DATA_DIR); else echo "nothing runs"; fi

status: setup ## Show what runs.
	@$(PY) -m hanse_cli.main status --data-dir $(DATA_DIR)

image: ## Build the image of the services and the list of what is in it, in build/image.
	@scripts/image.sh

test: setup-dev ## Run all tests but those of the image and against real Kubernetes.
	$(PY) -m pytest tests --ignore=tests/real --ignore=tests/image --ignore=tests/node $(PARALLEL) $(PYTEST_ARGS)

test-pythons: setup-dev ## Run tests on each other Python 3.11 or newer that is at hand.
	@scripts/test-pythons.sh

test-image: setup-dev ## Test the image and the installer for systemd (as root, with podman and mmdebstrap).
	$(PY) -m pytest tests/image $(PYTEST_ARGS)

test-node: setup-dev ## Install into a cluster with a real kubelet, use it, upgrade it, take it out (as root).
	$(PY) -m pytest tests/node $(PYTEST_ARGS)

install-check: setup-dev ## Install the wheel as a user does, on each Python at hand, and run a federation from it.
	@scripts/install-check.sh

test-real: setup-dev ## Run the tests against real Kubernetes control planes.
	$(PY) -m pytest tests/real $(PARALLEL) $(PYTEST_ARGS)

test-conformance: setup-dev ## Run Kubernetes' conformance specs that need no Pods against a federation.
	$(PY) -m pytest tests/conformance $(PYTEST_ARGS)

lint: setup-dev ## Check style, layers and contracts.
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(PY) scripts/gen.py --check
	$(PY) scripts/gen.py --lint
	$(PY) scripts/lock.py --check

types: setup-dev ## Check types.
	$(PY) -m mypy $(wildcard $(CHECKED))

format: setup-dev ## Format the code.
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

proto: setup-dev ## Generate src/hanse/api from protos/.
	$(PY) scripts/gen.py

docs: setup-dev ## Write the reference of the Python client, the contracts and the settings into build/docs.
	$(PY) scripts/docs.py

clients: setup-dev ## Generate clients in Go, TypeScript and Java into build/clients (see docs/python-client.md).
	@plugins=$$(bash scripts/plugins/build.sh) && PATH="$$plugins:$$PATH" $(PY) scripts/gen.py --clients build/clients
	@echo "build/clients: go, typescript, java"

lock: setup-dev ## Write the lock files from what is installed.
	$(PY) scripts/lock.py

bench: setup-dev ## Measure Hanse against a bare client on the same clusters.
	$(PY) -m benchmarks $(BENCH_ARGS)

fuzz: setup-dev ## Send changed input to everything that takes any: `make fuzz SECONDS=600 SEED=1`.
	$(PY) -m tests.fuzz --seconds $(SECONDS) --seed $(SEED) $(FUZZ_ARGS)

clean: stop ## Stop, and remove the federation's data and all caches.
	rm -rf $(DATA_DIR) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## Remove the virtual environment too.
	rm -rf $(VENV)
