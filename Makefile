# What people and CI run. Every target does its own set-up: it needs cargo, Python 3.11 or newer, and node with npm.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check bench fuzz wheel release capi python rust-check rust-test python-check python-test

# Where cargo builds: where CARGO_TARGET_DIR says, else in a folder beside the clone that clones share, else in the clone.
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),$(wildcard ../target/),target))

# Tests that make up their input make up the same one every time; another number is another input.
export PROPTEST_RNG_SEED ?= 1

PYTHON3 ?= python3
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --quiet --disable-pip-version-check
MATURIN := $(abspath $(VENV)/bin/maturin)
# A test that hangs ends the run, and shows where every thread is.
PYTEST_FLAGS := -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true

help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

demo: ## Builds what is needed, records a simulated rover, keeps two spans of its past, and shows them.
	cargo build --package tapeloop-cli --bin tapeloop --package tapeloop-example-rover --bin rover
	$(PYTHON3) examples/demo/run.py "$(CARGO_TARGET_DIR)/debug"

test: rust-test python-test ## Runs every test.

check: rust-check python-check ## Formats, lints, arrows and types.

bench: release ## Measures against peers, in a release build (long; not in CI).
	bench/run

fuzz: ## Feeds damaged bytes to every parser and decoder, a minute each, guided by the code that they reach (not in CI).
	RUSTC_WORKSPACE_WRAPPER="$(CURDIR)/tools/fuzz/instrument" cargo run --package tapeloop-fuzz -- \
	    --findings "$(CARGO_TARGET_DIR)/fuzz-findings" $(addprefix --data ,$(wildcard ../shared/data)) $(FUZZ_FLAGS)

wheel: $(VENV)/.ready ## Builds the release wheel into dist/.
	rm -f dist/tapeloop-*.whl
	cd python/tapeloop && "$(MATURIN)" build --release --out "$(CURDIR)/dist"

release: wheel ## Leaves target/release/tapeloop, tapeloop-agent, and .venv/bin/python with the release wheel.
	cargo build --release --package tapeloop-cli --package tapeloop-robot --bin tapeloop --bin tapeloop-agent
	if [ "$(CARGO_TARGET_DIR)" != "$(abspath target)" ]; then \
	    mkdir -p target/release; \
	    install "$(CARGO_TARGET_DIR)/release/tapeloop" "$(CARGO_TARGET_DIR)/release/tapeloop-agent" target/release/; \
	fi
	$(PIP) install --no-deps --force-reinstall dist/tapeloop-*.whl

capi: ## Lays out the library for C and C++ in dist/capi: lib/, include/, and files for CMake and pkg-config.
	cargo build --release --package tapeloop-capi
	rm -rf dist/capi
	capi/install "$(CARGO_TARGET_DIR)/release" dist/capi

rust-check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- --deny warnings
	cargo run --quiet --package tapeloop-tidy
	RUSTDOCFLAGS="--deny warnings --allow rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --quiet

rust-test:
	if cargo nextest --version >/dev/null 2>&1; then \
	    cargo nextest run --workspace; \
	    cargo test --workspace --doc --quiet; \
	else \
	    cargo test --workspace; \
	fi

python-check: python
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(PYTHON)
	$(PYTHON) -m mypy.stubtest tapeloop

# End-to-end tests run the programs, and link the library for C, that `cargo build` left behind: with --tests, dependencies have the
# features that they have in rust-test, and are not built twice.
python-test: python tests/e2e/web/node_modules/.package-lock.json
	cargo build --workspace --bins --lib --tests
	TAPELOOP_BIN_DIR="$(CARGO_TARGET_DIR)/debug" $(PYTHON) -m pytest $(PYTEST_FLAGS) python/tapeloop $(wildcard tests/e2e)

# What tests run with node: viewers that others wrote.
tests/e2e/web/node_modules/.package-lock.json: tests/e2e/web/package-lock.json
	npm ci --prefix tests/e2e/web --ignore-scripts --no-audit --no-fund --loglevel error
	touch $@

# The wheel of the development profile in .venv; the release one costs minutes more and tests nothing else.
python: $(VENV)/.ready
	rm -rf "$(CARGO_TARGET_DIR)/wheels-debug"
	cd python/tapeloop && "$(MATURIN)" build --quiet --profile dev --out "$(CARGO_TARGET_DIR)/wheels-debug"
	$(PIP) install --no-deps --force-reinstall "$(CARGO_TARGET_DIR)"/wheels-debug/tapeloop-*.whl

$(VENV)/.ready: python/tapeloop/requirements-test.txt
	@$(PYTHON3) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON3=python3.12 …")'
	@[ -x $(PYTHON) ] || $(PYTHON3) -m venv $(VENV)
	$(PIP) install --requirement $<
	touch $@
