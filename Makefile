# What people and CI run. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Heavy dependencies are built once per profile: `check` and `test` share the dev profile, the rest is release.
CARGO ?= cargo
TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
# What runs on every start of a container is static (docs/decisions/0003-static-builds.md).
STATIC_TARGET = $(shell tests/setup/static-target.sh)
STATIC_DIR = $(TARGET_DIR)/$(STATIC_TARGET)
STATIC = RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --target $(STATIC_TARGET)

.PHONY: help setup build test unit e2e demo check bench peers fuzz mutants

help: ## list the targets
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -t -s $$'\t'

setup: ## install what is missing from the distribution, unpack the peers of the tests below target/peers
	@tests/setup/setup.sh

build: ## release binaries in target/release
	$(CARGO) build --release -p bestfit-cli -p bestfit-decider
	$(STATIC) --release -p bestfit-worker
	$(STATIC) --profile relay -p bestfit-relay
	@install -m 755 $(STATIC_DIR)/release/bestfit-worker $(STATIC_DIR)/relay/containerd-shim-bestfit-v1 $(TARGET_DIR)/release/

unit: ## tests that need no containerd
	$(CARGO) test --workspace --exclude bestfit-tests
	$(CARGO) test -p bestfit-tests --lib --test architecture --test corpus

e2e: build ## end-to-end tests against containerd 1.6, 1.7 and 2.x, as root
	$(CARGO) test -p bestfit-tests --test e2e -- $(E2E)

test: unit e2e ## all tests

demo: ## one index, two runs: the stock runtime and bestfit, side by side; installs what it needs
	@tests/setup/setup.sh demo
	@$(MAKE) --no-print-directory build
	@$(CARGO) run -p bestfit-tests --bin demo

peers: ## our facts, rules and targets against NFD's and archspec's own code, case by case
	$(CARGO) run -q -p bestfit-tests --bin peers -- $(PEERS)

fuzz: ## every parser of foreign bytes, a minute each; SECONDS=n, FUZZ="TARGET..." for others
	@fuzz/run.sh $(or $(SECONDS),60) $(FUZZ)

mutants: ## whether scenarios about trust fail where their check is taken out (tests/mutants), as root; MUTANTS="NAME..." for some
	@tests/setup/mutants.sh $(MUTANTS)

bench: build ## cost against the stock shim; writes target/bench.json
	$(CARGO) run -q --release -p bestfit-tests --bin bench -- $(BENCH)

check: ## formatting, lints, documentation, shell scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --quiet
	@if command -v shellcheck >/dev/null; then shellcheck -x tests/setup/*.sh fuzz/run.sh .ci/run; else echo "SKIP: no shellcheck here"; fi
	@for patch in tests/mutants/*.patch; do git apply --check "$$patch" || echo "STALE: $$patch (docs/decisions/0019-tests-that-fail.md)"; done
