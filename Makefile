# Every target sets up what it needs in .venv, from locks with hashes. PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m

# Else each worker of the tests, and each gateway that they start, compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak lock wheel clean

help: ## show this help
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/dev ## a simulated pass, two home bases, a reconciliation (under a minute)
	$(BIN)/gateway demo

test: $(VENV)/dev ## the tests (under 10 minutes); says what it skips and why
	$(RUN) pytest -q -n 3 --dist worksteal -m "not soak"

check: $(VENV)/dev ## ruff, mypy (strict), import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(RUN) mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev ## measure: a table with ratios
	$(RUN) benchmarks

soak: $(VENV)/dev ## longer proofs: 100,000 rubbish units per format, thousands of seeds
	GATEWAY_SOAK=1 GATEWAY_RUBBISH_UNITS=100000 GATEWAY_SEEDS=2000 $(RUN) pytest -q -n 2 --dist worksteal

lock: ## make the locks anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate -q pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate -q --extra dev pyproject.toml -o requirements-dev.lock

wheel: $(VENV)/dev ## build the wheel into dist/
	$(RUN) pip wheel --no-deps --no-build-isolation -q -w dist .

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python venv is missing: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(RUN) pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(RUN) pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
