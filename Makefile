# Everything installs itself into .venv from the hash-locked list; only Python 3.11+ and make are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Every node is a process: without its byte code kept, each would compile the program anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo test check fix lint types unit e2e chaos contracts clean

help:
	@echo "make demo       a network of five key servers shares an encrypted file, before your eyes"
	@echo "make test       everything: lint, types, all tests"
	@echo "make check      the same without the end-to-end tests"
	@echo "make chaos      a long run of a network while nodes, links and the chain fail (needs anvil)"
	@echo "make fix        format the source and mend what the linter can"
	@echo "make contracts  rebuild abi/ from contracts/ (needs Node.js or a Solidity compiler)"

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(STAMP)

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/keyserver demo $(FILE) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

PURE := keyserver/crypto/*,keyserver/model/*,keyserver/evm/*,keyserver/sessions/*,keyserver/tasks/*
# What runs in the other tests mostly: the chain, its clients, and networks to play with.
PLAYED := keyserver/chain/*,keyserver/client/*,keyserver/devnet/*,keyserver/cli/devnet.py,keyserver/simulation/*

# Coverage is measured here only: it makes whole networks, databases, and the EVM in Python several times as slow.
WHOLE := $(addprefix tests/conformance/test_,contract_models.py signing_contract_models.py record_store.py) \
	tests/integration/api/test_operator_scenarios.py tests/unit/simulation/
MEASURED := $(addprefix tests/,unit/ vectors/ conformance/) $(addprefix tests/integration/,api/ cli/ net/)
REST := $(filter-out $(MEASURED) tests/integration/ tests/e2e/ %/support/ %/__pycache__/,\
	$(wildcard tests/*/ tests/integration/*/)) $(WHOLE)

# Tests of one file side by side in one process, and no process idle while another has tests left. Two cores are
# assumed; one process more where tests wait for networks of processes.
SPREAD := --dist worksteal -m "not e2e"

unit: $(STAMP)
	$(BIN)/pytest -n 2 $(SPREAD) $(MEASURED) $(addprefix --ignore=,$(WHOLE)) --cov --cov-report=
	$(BIN)/coverage report --include='$(PURE)' --skip-covered --show-missing --fail-under=100
	$(BIN)/coverage report --omit='$(PURE),$(PLAYED)' --skip-covered --sort=cover --fail-under=90
	$(BIN)/pytest -n 3 $(SPREAD) $(REST)

# The two longest first, so that no worker is left with one of them at the end.
LONGEST := tests/chaos/ tests/e2e/set_change/
OTHERS := $(filter-out $(LONGEST) %/__pycache__/,$(wildcard tests/e2e/*/)) tests/interop/

e2e: $(STAMP)
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m e2e $(LONGEST) $(OTHERS)

CHAOS := --requests 1000 --calm 100 --seed 1 --minutes 30 --gap 5 --parallel 20

chaos: $(STAMP)
	$(BIN)/python -m tests.chaos $(CHAOS)

check: lint types unit

# Networks of processes wait for their chains now and then: types are checked meanwhile.
test: lint unit
	$(MAKE) -j 2 types e2e

fix: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

contracts: $(STAMP)
	$(BIN)/python contracts/build.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage
