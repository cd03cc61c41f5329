# Every target makes its own .venv when there is none. Another Python: make test PYTHON=python3.12
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/installed
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: demo test test-slow test-shapes check bench bench-gpu results clean help

demo: $(STAMP) ## Train on English pronunciation and show the attention (under ten minutes)
	$(BIN)/python examples/demo.py

test: $(STAMP) ## Run the tests
	$(BIN)/pytest -n $(WORKERS)

test-slow: $(STAMP) ## Run the tests that take minutes each: five million pairs
	$(BIN)/pytest -m slow -s

test-shapes: $(STAMP) ## Run the tests with shapes checked at every call, not at each test's first ones
	SHAPE_CHECKS=inf $(BIN)/pytest -n $(WORKERS)

check: $(STAMP) ## Lint, formatting, types, and the floors of the code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## Measure training and decoding beside other toolkits, which it installs (five hours; needs the data)
	$(BIN)/python benchmarks/rivals.py
	$(BIN)/python benchmarks/equal_updates.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/cold_start.py
	$(BIN)/python benchmarks/report.py

bench-gpu: $(STAMP) ## Measure training on a GPU (minutes; needs the data, and torch with CUDA)
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/report.py

results: $(STAMP) ## Measure quality again (hours; needs the data); writes benchmarks/results/
	for part in date korean g2p cmudict multi30k shortlist ordering teacher_forcing alignment language_model serving additive fast_roads gallery data_check report; do $(BIN)/python benchmarks/$$part.py || exit 1; done

clean: ## Remove the environment, the demo and every cache
	rm -rf .venv demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

# torch comes first and exactly, so that one of this version that is in .venv already is kept. On Linux
# plain pip may take a build with gigabytes of CUDA; for a CPU build make .venv and install it before.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "jumok needs Python 3.11 or newer, but '$(PYTHON)' is older or missing."; \
	  echo "Install one, and name it: make $(or $(MAKECMDGOALS),test) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $(STAMP)
