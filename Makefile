# Every target uses the virtual environment .venv, made on the first call and kept up to date with the two files below.
PYTHON ?= python3
ifdef PIP_EXTRA_INDEX_URL
export PIP_EXTRA_INDEX_URL
endif
INSTALLED := .venv/.installed
BIN := .venv/bin

.PHONY: train test quick check docs format install clean

train: $(INSTALLED)  ## Train the default agent on the hammer task.
	$(BIN)/python train.py --env AdroitHandHammer-v1 --hidden-proportion 0.5

test: $(INSTALLED)  ## All tests, the slow learning tests included.
	$(BIN)/python -m pytest -n auto --dist worksteal

quick: $(INSTALLED)  ## The tests that need no learning.
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

check: $(INSTALLED)  ## Formatting, lint, types and the directions of imports.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

docs: $(INSTALLED)  ## The site of the pages in docs/, at build/site/index.html.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, set PYTHON=...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $(INSTALLED)

clean:
	rm -rf .venv build *.egg-info
