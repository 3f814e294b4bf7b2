# What a developer types. Everything runs in .venv, which 'make setup' makes.
# Paths are relative, so that the folder may lie anywhere and have spaces in its name.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready

# A Python for the environment: the first of these that is 3.11 or newer.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)

# Where pip looks for torch, when its default is not wanted. Without a GPU, on Linux:
# make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

# Thousand images that the demo trains on, and the most minutes it trains for.
DEMO_KIMG ?= 40
DEMO_MINUTES ?= 6

# Test processes. Each computes on one thread, so that they do not fight for the cores.
WORKERS ?= auto
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format docs clean

help:  ## Show this list.
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/\1 \2/p' Makefile | \
		while read -r name text; do printf '  %-8s %s\n' "$$name" "$$text"; done

setup: $(READY)  ## Make .venv with all that segan and its developers need (2.2 GB).
	@echo "ready: $$($(BIN)/segan --version) in $(VENV)"

# Again when the requirements changed; pip leaves alone what already fits.
$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "segan needs Python 3.11 or newer; $${PYTHON:-this PATH} has none." >&2; \
		echo "Install one, or name one: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "making $(VENV) with $$("$(PYTHON)" --version)"; \
		"$(PYTHON)" -m venv --clear $(VENV); }
# torch first and alone: as a dependency of others it could come in another build.
	@echo "installing $$(grep '^torch==' constraints.txt)"
	@$(PIP) install -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) \
		"$$(grep '^torch==' constraints.txt)"
	@echo "installing segan[export,metrics,video,dev]"
	@$(PIP) install -c constraints.txt -e '.[export,metrics,video,dev]'
	@touch $(READY)

demo: $(READY)  ## Train on cartoon faces, export, sweep: out/index.html (8 minutes, two cores).
	@$(BIN)/python demo/make_demo.py --kimg $(DEMO_KIMG) --minutes $(DEMO_MINUTES)

test: $(READY)  ## Run the tests; ARGS='-k name' chooses, WORKERS=0 runs one after another.
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(READY)  ## Check style (ruff), types (mypy) and the direction of imports (import-linter).
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY)  ## Rewrite the code in the house's format.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(DOCS_READY)  ## Build the documentation as a site: site/index.html.
	@$(BIN)/python docs/make_commands.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --clean
	@echo "wrote site/index.html"

# Only the site needs these, so the first 'make docs' installs them (150 MB).
$(DOCS_READY): $(READY)
	@echo "installing segan[docs]"
	@$(PIP) install -c constraints.txt -e '.[docs]'
	@touch $(DOCS_READY)

clean:  ## Remove the demo's output, the site, caches and builds. Runs, bundles and .venv stay.
	@rm -rf out site build dist ./*.egg-info .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis .coverage
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
