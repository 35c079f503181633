# Needs Python >= 3.11 and make; everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
# Two OpenMP threads stall LSTM training while another process uses a core.
export OMP_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := check
.PHONY: demo test e2e lint format-check types check clean

demo: .venv/.demo-stamp
	@.venv/bin/emofuse predict examples/hello.wav --text "I am so happy to see you, this is wonderful!"

# Neighbours stay in one process, which makes what they share once.
test: .venv/.dev-stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore tests/e2e

# The web page in a browser; its screenshots are left in runs/e2e.
e2e: .venv/.dev-stamp
	@command -v chromedriver >/dev/null || { echo "make e2e needs chromium and its driver: apt install chromium chromium-driver" >&2; exit 1; }
	$(BIN)/python -m pytest tests/e2e

lint: .venv/.dev-stamp
	$(BIN)/ruff check .

format-check: .venv/.dev-stamp
	$(BIN)/ruff format --check .

types: .venv/.dev-stamp
	$(BIN)/pyright

# One after the other, also under make -j, and cheap checks first.
check:
	@$(MAKE) --no-print-directory format-check
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory test

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "emofuse needs Python 3.11 or newer; $(PYTHON) is not: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# No --upgrade and no index: a torch that is installed already, a GPU build too, stays as it is.
.venv/.demo-stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[torch]'
	@touch $@

.venv/.dev-stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@ .venv/.demo-stamp
