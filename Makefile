# make demo: set up, and go the whole road through Scipion on data it makes itself, ending with demo/report.html
# make test: set up, and run the checks, the documentation and all tests; make test-fast: the quick ones
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: tables demo test test-fast docs lint format clean setup

setup: $(READY)

# The pinned torch first: a range would take the newest build with gigabytes of CUDA on a machine without a GPU.
$(READY): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info[:2] == (3, 11)' 2>/dev/null || \
	  { echo 'Python 3.11 is needed: make PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -c 'import tkinter' 2>/dev/null || \
	  { echo 'Scipion needs tkinter, even without a display: install python3-tk (Debian, Ubuntu)'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools wheel
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .[test]
	@touch $@

demo: $(READY)
	$(BIN)/python -m cryoemgan.demo demo

# Two processes, a file of tests each at a time: what the tests of a file share is made once.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

test: $(READY)
	$(MAKE) -j 2 lint docs
	$(BIN)/python -m pytest $(PARALLEL)

# Without trainings and Scipion's projects: under two minutes on two cores.
test-fast: $(READY)
	$(BIN)/python -m pytest $(PARALLEL) -m fast

# Pages and API as docs/_build/index.html; a warning is an error.
docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The paper's tables and figures (SCALE=smoke: three minutes; cpu: about an hour of one core; paper: for a GPU);
# resumable. MINUTES: of training of one network, instead of the scale's (cpu has 0.25; 1 makes it three hours).
SCALE   ?= smoke
TABLES  ?= all
MINUTES ?=
tables: $(READY)
	$(BIN)/python -m benchmarks.paper --scale $(SCALE) --tables $(TABLES) $(if $(MINUTES),--minutes-per-cell $(MINUTES))

clean:
	rm -rf demo .pytest_cache .ruff_cache .mypy_cache docs/_build docs/api docs/measured
