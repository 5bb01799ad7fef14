# `make` lists the targets. Everything built goes to cargo's target directory or to the cache of tests/e2e/ground/env.sh
# (VBO_CACHE, default ~/.cache/vitess-backup-operator); nothing else on the machine changes but Debian packages.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

# A test program brings the ground up by `make`, with what cargo told it of its own package. Build scripts (ring's) ask
# for these variables and would have half of the release build made anew, back and forth.
unexport $(filter CARGO_PKG_% CARGO_MANIFEST_%,$(.VARIABLES)) OUT_DIR

# Settings that a caller may give
CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
TRIPLE := $(shell uname -m)-unknown-linux-gnu
# Where the cluster looks for it; another registry's for a cluster of your own, see tests/e2e/ground/env.sh
IMAGE ?= localhost/vitess-backup-operator:dev
# Passed to the test programs, as in make test-unit ARGS=topo
ARGS ?=

GROUND := tests/e2e/ground
CHART := charts/vitess-backup-operator
BINARY := $(TARGET_DIR)/$(TRIPLE)/release/vitess-backup
IMAGE_CONTEXT := $(TARGET_DIR)/image
IMAGE_TAR := $(TARGET_DIR)/vitess-backup-operator.tar
# Every test program of tests/, a file or a folder with a main.rs, but those that need a cluster
INTEGRATION := $(filter-out e2e api_server,$(patsubst tests/%.rs,%,$(wildcard tests/*.rs)) \
  $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs)))
# Those that mostly wait for mysqld to start and to stop, so that others can run beside them; about half of all the time
WAITING := $(filter builtin carried drill killed unruly_mysqld,$(INTEGRATION))

# Tests make and remove many files, which mysqld syncs besides: a quarter of their time, unless the files are in memory. TMPDIR, when it
# is set, is where they are instead.
IN_MEMORY := $(shell awk '/^MemAvailable/ {exit $$2 < 12 * 2 ^ 20}' /proc/meminfo && \
  df --output=fstype,avail /dev/shm 2>/dev/null | awk '$$1 == "tmpfs" && $$2 > 8 * 2 ^ 20 {print "/dev/shm"}')
test-unit test-integration: export TMPDIR := $(or $(TMPDIR),$(IN_MEMORY),/tmp)

say = @printf '%s %s\n' "$$(date +%T)" "$(1)" >&2

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- building --------------------------------------------------------------------------------------------------------

.PHONY: bootstrap
bootstrap: ## check for Rust and Go, install the Debian packages that are missing
	@scripts/bootstrap.sh

# The rustflags are the target's own and the target is named, so that procedural macros and build scripts, which run here
# and must be dynamic, do not get them.
STATIC := CARGO_TARGET_$(shell echo $(TRIPLE) | tr a-z- A-Z_)_RUSTFLAGS="-C target-feature=+crt-static"

.PHONY: build
build: bootstrap ## the static release binary
	$(call say,building the static binary $(BINARY) (the first time 5 to 10 min on 2 cores))
	@$(STATIC) $(CARGO) build --release --locked --target $(TRIPLE) --bin vitess-backup

.PHONY: image-context
image-context: build ## what docker build needs beside the Containerfile, in target/image
	@scripts/image-context.sh "$(IMAGE_CONTEXT)" "$(BINARY)"

.PHONY: image
image: image-context ## the operator's image as an archive, without Docker
	@$(GROUND)/images/containerfile.sh "$(IMAGE_CONTEXT)" "$(IMAGE_TAR)" "$(IMAGE)"
	$(call say,the image $(IMAGE) is in $(IMAGE_TAR))

.PHONY: crds
crds: ## write config/crd and the chart's copy of it from the API types
	@$(CARGO) run --quiet --locked -- crd --output-dir config/crd
	@rm -f $(CHART)/files/crd/*.yaml
	@mkdir -p $(CHART)/files/crd
	@cp config/crd/*.yaml $(CHART)/files/crd/

.PHONY: docs
docs: ## write docs/api.md, docs/metrics.md and docs/troubleshooting.md from the code
	@$(CARGO) run --quiet --locked -- docs --output-dir docs

.PHONY: kustomize
kustomize: ## write config/operator.yaml, the kustomize base, from the chart
	@scripts/kustomize.sh config/operator.yaml

# --- testing ---------------------------------------------------------------------------------------------------------

# On a machine where nothing is built yet, building is most of it; otherwise tests wait for servers more than they work. So the
# integration tests run beside all that comes after the unit tests: what the cluster needs is built meanwhile
# (tests/e2e/ground/prepare.sh), and then come the end-to-end tests, with clippy beside them at the lowest priority.
.PHONY: test
test: format test-unit ## everything: formatting, clippy, unit, integration, chart, end to end
	@mkdir -p "$(TARGET_DIR)"; integration_log="$(TARGET_DIR)/integration.log"; lint_log="$(TARGET_DIR)/lint.log"; status=0; \
	  printf '%s integration tests, beside what follows: %s\n' "$$(date +%T)" "$$integration_log" >&2; \
	  set -m; nice -n 5 $(MAKE) test-integration >"$$integration_log" 2>&1 & integration=$$!; \
	  trap 'for job in "$$integration" "$${lint:-}"; do [ -z "$$job" ] || kill -- "-$$job" 2>/dev/null || true; done' EXIT; \
	  nice -n 15 $(GROUND)/prepare.sh || true; \
	  nice -n 19 $(MAKE) lint >"$$lint_log" 2>&1 & lint=$$!; set +m; \
	  $(MAKE) test-e2e || status=1; \
	  printf '%s waiting for the integration tests and clippy\n' "$$(date +%T)" >&2; \
	  wait "$$integration" || status=1; cat "$$integration_log"; \
	  wait "$$lint" || status=1; cat "$$lint_log"; [ "$$status" = 0 ]

.PHONY: format
format: bootstrap ## the formatting
	$(call say,checking the formatting)
	@$(CARGO) fmt --check

# In a folder of its own, because cargo lets only one into a folder at a time.
.PHONY: lint
lint: format ## formatting, clippy, and shellcheck where it is installed
	$(call say,clippy (the first time 6 min on 2 cores))
	@$(CARGO) clippy --quiet --locked --target-dir "$(TARGET_DIR)/lint" --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then \
	  git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck --external-sources --exclude=SC1091; fi
	$(call say,clippy and shellcheck have nothing to say)

.PHONY: test-unit
test-unit: bootstrap ## the tests beside the code
	$(call say,unit tests (the first time 6 min to build on 2 cores))
	@$(CARGO) test --quiet --locked --lib --bins $(ARGS)

.PHONY: test-integration
test-integration: bootstrap ## the test programs of tests/: layers, chart (builds Helm), format, storage …
	$(call say,tests of the test ground's shell)
	@$(GROUND)/selftest.sh
	$(call say,integration tests)
	@$(CARGO) test --quiet --locked --no-run $(addprefix --test ,$(INTEGRATION))
	@mkdir -p "$(TARGET_DIR)"; log="$(TARGET_DIR)/waiting.log"; set -m; \
	  $(CARGO) test --locked --no-fail-fast $(addprefix --test ,$(WAITING)) $(ARGS) >"$$log" 2>&1 & waiting=$$!; set +m; \
	  trap 'kill -- "-$$waiting" 2>/dev/null || true' EXIT; status=0; \
	  $(CARGO) test --locked --no-fail-fast $(addprefix --test ,$(filter-out $(WAITING),$(INTEGRATION))) $(ARGS) || status=1; \
	  wait "$$waiting" || status=1; cat "$$log"; [ "$$status" = 0 ]

# Two scenarios are under way at a time (tests/e2e/ground.rs); the other threads wait, so that there is always one that can go.
.PHONY: test-e2e
test-e2e: cluster-up ## on a real cluster with real Vitess and MySQL (the first time 20 min to build)
	$(call say,what a real API server makes of our definitions)
	@. $(GROUND)/env.sh; $(CARGO) test --locked --test api_server
	$(call say,end-to-end tests)
	@. $(GROUND)/env.sh; $(CARGO) test --locked --test e2e $(ARGS) -- --test-threads 9 --nocapture

.PHONY: fuzz
fuzz: bootstrap ## fuzz what is read from storage, each target for FUZZ_SECONDS (60)
	@tests/fuzz/run.sh

.PHONY: test-all
test-all: export VBO_MATRIX = whole
test-all: test ## test with every matrix whole, and what needs cargo-deny, Docker and the internet
	@$(CARGO) deny check
	docker build --file Containerfile --tag $(IMAGE) "$(IMAGE_CONTEXT)"

# --- measuring -------------------------------------------------------------------------------------------------------

# Both sides' tablet and storage are in BENCH_DIR. BENCH_ENGINES=builtin, BENCH_CODECS="pargzip zstd" and BENCH_PAIRS=1 narrow it;
# with the latter two the page stays as it is unless BENCH_REPORT names it.
BENCH_DIR ?= /dev/shm
BENCH_REPORT ?= $(if $(BENCH_CODECS)$(BENCH_PAIRS)$(BENCH_OPERATOR),,docs/benchmarks.md)
# BENCH_ENDED=400, BENCH_RUNNING=50, BENCH_RATE=10 and BENCH_SECONDS=10 make the operator's smaller; then likewise.
BENCH_OPERATOR := $(BENCH_ENDED)$(BENCH_RUNNING)$(BENCH_RATE)$(BENCH_SECONDS)

.PHONY: bench
bench: build ## Vitess's engines and ours in turn, into docs/benchmarks.md (needs root; 45 min on 2 quiet cores)
	$(call say,backups and restores by Vitess and by us in $(BENCH_DIR))
	@TMPDIR="$(BENCH_DIR)" BENCH_BINARY="$(abspath $(BINARY))" BENCH_ENGINES="$(BENCH_ENGINES)" BENCH_CODECS="$(BENCH_CODECS)" \
	  BENCH_PAIRS="$(BENCH_PAIRS)" BENCH_REPORT="$(BENCH_REPORT)" $(CARGO) bench --quiet --locked --profile dev --bench bench

.PHONY: bench-operator
bench-operator: build ## the operator with 10,000 backups, into docs/benchmarks.md (10 min on 2 quiet cores)
	$(call say,building what measures, as fast as what it measures (the first time 5 to 10 min on 2 cores))
	@$(STATIC) $(CARGO) bench --quiet --locked --target $(TRIPLE) --bench operator --no-run
	$(call say,the operator against a real API server whose data are in $(BENCH_DIR))
	@TMPDIR="$(BENCH_DIR)" BENCH_BINARY="$(abspath $(BINARY))" BENCH_ENDED="$(BENCH_ENDED)" BENCH_RUNNING="$(BENCH_RUNNING)" \
	  BENCH_RATE="$(BENCH_RATE)" BENCH_SECONDS="$(BENCH_SECONDS)" BENCH_REPORT="$(BENCH_REPORT)" \
	  $(STATIC) $(CARGO) bench --quiet --locked --target $(TRIPLE) --bench operator

# --- the cluster -----------------------------------------------------------------------------------------------------

.PHONY: demo
demo: bootstrap ## back up and restore a Vitess tablet on a real cluster, and watch it
	@tests/e2e/demo.sh

# Starts a one-node Kubernetes on this machine; with KUBECONFIG given it uses that cluster, see tests/e2e/ground/env.sh.
.PHONY: cluster-up
cluster-up: bootstrap ## Kubernetes with a Vitess shard and this operator, all real (the first time 20 min)
	@tests/e2e/up.sh

.PHONY: print-image-archive
print-image-archive:
	@echo "$(abspath $(IMAGE_TAR))"

.PHONY: cluster-down
cluster-down: ## stop it; nothing of it stays but the cache
	@$(GROUND)/down.sh

.PHONY: clean-cache
clean-cache: cluster-down ## remove what was built for the cluster and for the tests
	@. $(GROUND)/env.sh; say "removing what was built in $$VBO_CACHE"; \
	  rm -rf --one-file-system "$$VBO_CACHE"/{built,helm,lock,state}
