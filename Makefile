# The front door. `make` alone prints what there is.
PYTHON ?= python3
TORCH ?=
VENV := .venv
BIN := $(VENV)/bin
# A process for each core, at most four: many tests start processes of their own, of a gigabyte each.
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo study pictures docs test test-slow check format bench clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(VENV)/.done  ## a virtual environment with everything (TORCH="torch==... --index-url ..." for another build)

$(VENV)/.done: setup.cfg constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH),$(TORCH),-c constraints.txt torch)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH),,-c constraints.txt) -e '.[dev]'
	@touch $@

demo: setup  ## the main job on the embedded data set: five pretexts, three seeds, two evaluations, table and report
	@$(BIN)/ssv toy
	@$(BIN)/ssv study toy outputs=outputs/demo logger=none

study: setup  ## the full comparison: five seeds, all evaluations, on a world that no setting was chosen on (hours)
	@$(BIN)/ssv toy seed=1 root=data/world_1/toy
	@$(BIN)/ssv study full data_root=data/world_1 outputs=outputs/full logger=none

pictures: setup  ## the picture of the demo's report in the README, drawn by Chromium
	@$(BIN)/python docs/make_pictures.py

docs: setup  ## the API reference in build/docs, from the docstrings
	@$(BIN)/python docs/make_api.py

test: setup  ## all tests but the slow ones
	$(PYTEST)

test-slow: setup  ## the slow tests: kill and resume, processes, wheel
	$(PYTEST) -m slow

check: setup  ## format, lint and types, as pre-commit runs them
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format:  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## every performance claim, measured on this machine
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

clean:  ## remove what was built or cached; data and outputs stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
