# Marrow-Find.  make run: set up and serve on http://127.0.0.1:8000.  make test: set up and test.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test lint lock clean browser-code

VENV := .venv
BIN := $(VENV)/bin
VENDOR := static/vendor
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate \
	--custom-compile-command "make lock"

help:
	@echo "make run    set up, then serve on http://127.0.0.1:8000"
	@echo "make test   set up, then run every test"
	@echo "make lint   style and types"
	@echo "make lock   renew the lock files from pyproject.toml and package.json"
	@echo "make clean  remove what set-up made; the data in instance/ stay"

run: $(VENV)/.installed browser-code
	@$(BIN)/flask db upgrade
	@exec $(BIN)/python -m utils.jobs.together

test: $(VENV)/.installed-dev browser-code
	@$(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# --- set-up: each step runs only when its lock file is newer than its stamp ----------------------

$(BIN)/python:
	@python=""; \
	for candidate in "$${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do \
	  [ -n "$$candidate" ] && command -v "$$candidate" >/dev/null || continue; \
	  "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    2>/dev/null && { python="$$candidate"; break; }; \
	done; \
	[ -n "$$python" ] || { echo "Python 3.11, 3.12 or 3.13 was expected and none was found." >&2; exit 1; }; \
	rm -rf $(VENV); \
	"$$python" -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "The virtual environment could not be made (on Debian: apt-get install python3-venv)." >&2; \
	  exit 1; }

$(VENV)/.installed: requirements.txt | $(BIN)/python
	@echo "Installing the program's packages (a few minutes the first time) ..."
	@$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt | $(BIN)/python
	@echo "Installing the packages for tests (a few minutes the first time) ..."
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@ $(VENV)/.installed

# Without npm, or without a way to the packages, the viewer falls back to plain pictures.
browser-code: | $(BIN)/python
	@if [ ! -e $(VENDOR)/.installed ] || [ package-lock.json -nt $(VENDOR)/.installed ]; then \
	  $(MAKE) --no-print-directory $(VENDOR)/.installed || \
	    echo "WARNING: the deep-zoom viewer could not be installed; pictures are shown plainly." >&2; \
	fi

$(VENDOR)/.installed: package.json package-lock.json
	@command -v npm >/dev/null || [ -x $(BIN)/npm ] || $(PIP_INSTALL) -r requirements-node.txt
	@PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error \
	  --fetch-retries=1 --fetch-timeout=60000
	@rm -rf $(VENDOR) && mkdir -p $(VENDOR)/openseadragon
	@cp node_modules/openseadragon/build/openseadragon/openseadragon.min.js \
	  node_modules/openseadragon/LICENSE.txt $(VENDOR)/openseadragon/
	@touch $@

# --- upkeep ---------------------------------------------------------------------------------------

lock: $(VENV)/.installed-dev
	@$(COMPILE) --upgrade --extra train --extra test --extra lock pyproject.toml -o requirements-dev.txt
	@$(COMPILE) --constraints requirements-dev.txt --extra train pyproject.toml -o requirements.txt
	@$(COMPILE) --constraints requirements-dev.txt pyproject.toml -o requirements-web.txt
	@$(COMPILE) --upgrade --group node -o requirements-node.txt
	@PATH="$$PATH:$(CURDIR)/$(BIN)" npm install --package-lock-only --omit-lockfile-registry-resolved \
	  --ignore-scripts --no-audit --no-fund

clean:
	@rm -rf $(VENV) node_modules $(VENDOR) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
