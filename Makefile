# Every task of the project. `make help` lists them; CI runs the same commands as a person.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
PYTHON ?= python3
# Folder with system.txt and alerts.log that `make demo` plans.
INCIDENT ?= tests/incidents/web-shell
# Worker processes of the demo.
WORKERS ?= 2
# Suites that `make eval` plays: simulated, real, opensec.
SUITE ?= simulated real opensec
# Fuzz targets that `make fuzz` runs; all by default.
TARGETS ?=
# How hard it plans; nothing means as hard as `countermove plan` does.
EVAL_EFFORT ?=
# Further arguments: of `countermove plan` in demo, of `countermove-lab evaluate` in eval, of `cargo nextest run` in test, of the
# script in bench-engine, bench-plan and bench-training.
ARGS ?=
# Compute capability that `make cuda` builds for: 90 is Hopper (H100, H200), 80 Ampere, 89 Ada.
CUDA_COMPUTE_CAP ?= 90
# Folder outside the tree for tools that are large or slow to build.
BUILD_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/countermove/build

export CARGO_TERM_COLOR ?= auto
PROGRAMS := target/debug
COUNTERMOVE := $(PROGRAMS)/countermove

.PHONY: help
help: ## List the targets
	@echo "usage: make TARGET [INCIDENT=folder] [WORKERS=n] [SUITE=name] [ARGS='...']"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: toolchain
toolchain:
	@command -v $(CARGO) >/dev/null || { \
	  echo "cargo is not installed; Countermove needs Rust $$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "python3 is not installed; the model fetch and the checks need it" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "no C compiler (cc) is installed; some dependencies need one" >&2; exit 1; }

.PHONY: build
build: toolchain ## Build all binaries (dev profile: dependencies and the engine are optimised)
	@CARGO='$(CARGO)' PYTHON='$(PYTHON)' BUILD_CACHE='$(BUILD_CACHE)' scripts/with_etcd.sh build --workspace --bins

# Folder of certificates to try TLS with, and whom they are for; nothing means one of each kind.
CERTS ?= certs
WHO ?=

.PHONY: certs
certs: toolchain ## Make an authority and certificates in CERTS for trying TLS (WHO='worker/w-1 user/ann'; one of each without)
	$(CARGO) run -q --no-default-features -p countermove -- certs --out '$(CERTS)' $(WHO)

.PHONY: model
model: build ## Fetch the default model into the cache, once (98 MB)
	$(PROGRAMS)/countermove-worker model fetch

# What the demo needs and nothing else: neither PostgreSQL nor etcd, and no laboratory.
DEMO_PACKAGES := -p countermove -p countermove-coordinator -p countermove-worker

.PHONY: demo
demo: toolchain ## Plan INCIDENT with a coordinator and WORKERS worker processes, print the plan, stop everything
	$(CARGO) build --no-default-features $(DEMO_PACKAGES)
	$(PROGRAMS)/countermove-worker model fetch
	@# A plan that ends before recovery is one as well.
	$(COUNTERMOVE) up --workers $(WORKERS) -- plan --incident '$(INCIDENT)' $(ARGS) || [ $$? -eq 5 ]

# Each suite is played by itself, so that one can be repeated alone and what the others wrote stays.
EVAL_simulated := --incidents 55 --seeds 6 --first-seed 65 --switching 100 --costs deploy/costs.toml --ablate planning
# Where the model without its adapter is served meanwhile. On simulated incidents it takes longer than all else together.
UNTUNED := 127.0.0.1:7790
EVAL_real := --incidents 3 --seeds 2 --ablate training,findings --untuned http://$(UNTUNED)
EVAL_opensec := --incidents 24 --seeds 1 --ablate training --untuned http://$(UNTUNED)

.PHONY: eval
eval: model ## Play the incidents of SUITE through WORKERS workers, write docs/evaluation.md and charts (all: two hours)
	@set -e; $(COUNTERMOVE) up --workers $(WORKERS) --adapter none --store memory: --listen $(UNTUNED) >target/eval-untuned.log 2>&1 & \
	untuned=$$!; trap 'kill $$untuned' EXIT; \
	until $(COUNTERMOVE) workers --coordinator http://$(UNTUNED) list >/dev/null 2>&1; do kill -0 $$untuned; sleep 1; done; \
	$(foreach suite,$(SUITE),echo "suite $(suite)" >&2; \
	$(COUNTERMOVE) up --workers $(WORKERS) -- countermove-lab evaluate --suite $(suite) $(EVAL_$(suite)) \
	  $(EVAL_EFFORT) --baseline random,playbook,greedy \
	  --write docs/evaluation.md --chart docs/evaluation-$(suite).svg $(ARGS);)

.PHONY: test-services
test-services:
	@scripts/test_services.sh

.PHONY: test
test: toolchain test-services ## Run all tests; the cluster tests start the real binaries with the default model
	@CARGO='$(CARGO)' PYTHON='$(PYTHON)' BUILD_CACHE='$(BUILD_CACHE)' scripts/run_tests.sh $(ARGS)

.PHONY: test-arm
test-arm: toolchain ## Run the engine's kernels for 64-bit ARM, emulated (Rust's aarch64-unknown-linux-gnu, gcc-aarch64-linux-gnu, qemu-user)
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu max' \
	  $(CARGO) test -p countermove-model --lib --target aarch64-unknown-linux-gnu --target-dir target/arm -- cpu:: $(ARGS)

.PHONY: nightly
nightly: model ## Plan the recorded incidents with a larger model (qwen2.5-coder-1.5b, fetched; a quarter of an hour), write docs/larger-model.md
	$(PROGRAMS)/countermove-worker model fetch qwen2.5-coder-1.5b
	$(PYTHON) scripts/plan_recorded.py --programs $(PROGRAMS) --write docs/larger-model.md $(ARGS)

.PHONY: golden
golden: model ## Write the known plans in tests/golden anew, after a change that is meant to change plans
	COUNTERMOVE_WRITE_GOLDEN=1 $(CARGO) test -p countermove-tests --test golden

# The reference of a program with all of its parts.
.PHONY: reference
reference: toolchain ## Write docs/reference.md and docs/metrics.md anew, after a change of flags or metrics
	UPDATE_REFERENCE=1 CARGO='$(CARGO)' PYTHON='$(PYTHON)' BUILD_CACHE='$(BUILD_CACHE)' scripts/with_etcd.sh test --workspace --lib --test command_line -- the_reference_lists the_page_of_metrics

.PHONY: lint
lint: toolchain ## Check format, lints, docs, licences, protos and scripts
	@CARGO='$(CARGO)' PYTHON='$(PYTHON)' BUILD_CACHE='$(BUILD_CACHE)' scripts/lint.sh

.PHONY: protos
protos: toolchain ## Generate the messages and docs/openapi.json from the .proto files anew
	$(CARGO) run -q -p countermove-proto-generate

.PHONY: console
console: ## Build the web page anew into console/dist, which is committed (Node 20.19 or newer, npm)
	@scripts/console.sh build

.PHONY: console-test
console-test: build ## Test the web page, in a headless Chromium on the real programs (Node, npm, Chromium; a minute)
	@scripts/test_services.sh browser
	@scripts/console.sh test

.PHONY: fmt
fmt: toolchain ## Format the code
	$(CARGO) fmt --all

.PHONY: bench-engine
bench-engine: toolchain ## Measure the engine beside llama.cpp on the same cores (builds llama.cpp once, 10 minutes or more)
	$(CARGO) build --release -p countermove-lab -p countermove-worker
	target/release/countermove-worker model fetch
	$(PYTHON) scripts/bench_engine.py --cache '$(BUILD_CACHE)' $(ARGS)

.PHONY: bench-evidence
bench-evidence: toolchain ## Measure the reader of evidence beside jq on the same file: ARGS=10000000 for ten million lines
	$(CARGO) run --release -p countermove-incident --example bench_evidence -- $(ARGS)

.PHONY: bench-plan
bench-plan: toolchain ## Measure a whole plan beside the same plan with sharing, batching and fast-forward off (half an hour)
	$(CARGO) build --release -p countermove -p countermove-coordinator -p countermove-worker
	target/release/countermove-worker model fetch
	$(PYTHON) scripts/bench_plan.py --incident '$(INCIDENT)' $(ARGS)

.PHONY: bench-training
bench-training: toolchain ## Measure training beside Hugging Face peft: ARGS='--data rows.jsonl' (torch in BUILD_CACHE, minutes)
	$(CARGO) build --release -p countermove-lab -p countermove-worker
	target/release/countermove-worker model fetch
	PYTHON='$(PYTHON)' scripts/pip_tools.sh '$(BUILD_CACHE)/reference-venv' -r tests/reference/requirements.txt
	scripts/in_tools.sh '$(BUILD_CACHE)/reference-venv' scripts/bench_training.py --countermove target/release/countermove-lab $(ARGS)

# Built in one go, so that features are the same for all.
CLUSTER_PACKAGES := -p countermove-coordinator -p countermove-worker -p countermove-tests

.PHONY: bench-cluster
bench-cluster: toolchain ## Measure a coordinator under large evidence, 1,000 incidents and up to 64 simulated workers (20 minutes)
	$(CARGO) build --release $(CLUSTER_PACKAGES) --bins --examples --test scheduling
	target/release/examples/bench-cluster
	$(CARGO) test --release $(CLUSTER_PACKAGES) --test scheduling -- --ignored --nocapture

.PHONY: bench-tenants
bench-tenants: build ## Measure what a tenant that floods takes from another one (10 minutes, simulated workers)
	$(PYTHON) scripts/bench_tenants.py $(ARGS)

.PHONY: bench-costs
bench-costs: model test-services ## Measure what an incident costs in tokens, bytes and messages on each way of a cluster (10 minutes)
	@CARGO='$(CARGO)' PYTHON='$(PYTHON)' BUILD_CACHE='$(BUILD_CACHE)' scripts/with_etcd.sh build --workspace --bins --examples
	target/debug/examples/bench-costs

.PHONY: scale
scale: toolchain ## Simulate 1,000 incidents on 100 workers with the coordinators' own queues (10 minutes): ARGS='--incidents 10000 --workers 1000'
	@CARGO='$(CARGO)' PYTHON='$(PYTHON)' BUILD_CACHE='$(BUILD_CACHE)' scripts/with_etcd.sh build --workspace --bin countermove-lab \
		--config 'profile.dev.package.countermove-coordinator.opt-level=1' --config 'profile.dev.package.countermove-lab.opt-level=1'
	$(PROGRAMS)/countermove-lab scale $(ARGS)

.PHONY: chaos
chaos: toolchain ## Kill, freeze, cut off and restart processes under 100 incidents at a time, for MINUTES (30) from SEED (1)
	@scripts/test_services.sh faketime
	@CARGO='$(CARGO)' PYTHON='$(PYTHON)' BUILD_CACHE='$(BUILD_CACHE)' scripts/with_etcd.sh build --workspace --bins --examples
	target/debug/examples/chaos

.PHONY: storm
storm: toolchain ## Slow clients, idle streams, floods, bombs: what a client that behaves sees of them, p50 and p99 (3 minutes)
	@CARGO='$(CARGO)' PYTHON='$(PYTHON)' BUILD_CACHE='$(BUILD_CACHE)' scripts/with_etcd.sh build --workspace --bins --examples
	target/debug/examples/storm

.PHONY: injections
injections: model ## Lay fifty texts that want to be obeyed beside three incidents and say what each changes (half an hour)
	$(CARGO) build -p countermove -p countermove-coordinator -p countermove-worker -p countermove-tests --bins --examples
	target/debug/examples/injections

.PHONY: soak
soak: toolchain ## Keep a cluster with simulated workers busy for MINUTES (30) and draw its memory into docs/soak.svg
	@CARGO='$(CARGO)' PYTHON='$(PYTHON)' BUILD_CACHE='$(BUILD_CACHE)' scripts/with_etcd.sh build --workspace --bins --examples
	target/debug/examples/soak

# The engine's only synchronisation of its own: crates/model/src/cpu/pool.rs.
.PHONY: loom
loom: toolchain ## Play the engine's thread pool through in every order in which its threads can meet (loom; a minute of CPU)
	$(CARGO) run --release --manifest-path crates/model/loom/Cargo.toml --target-dir target/loom

# The decoders are safe Rust, so no sanitizer watches them; overflows, assertions and large allocations are checked. The kernels are not
# safe. A chat template may take 10 s to be refused, twice.
.PHONY: fuzz
fuzz: toolchain ## Feed odd bytes to each decoder for MINUTES (10) each (cargo-fuzz, a C++ compiler); kernels under ASan
	@$(if $(TARGETS),,CARGO='$(CARGO)' scripts/sanitize_kernels.sh)
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is not installed: cargo install cargo-fuzz" >&2; exit 1; }
	@set -e; for target in $(or $(TARGETS),$$($(CARGO) fuzz list)); do \
	  echo "== $$target"; mkdir -p "fuzz/corpus/$$target"; \
	  $(CARGO) fuzz run --sanitizer none "$$target" "fuzz/corpus/$$target" "fuzz/seeds/$$target" -- \
	    -max_total_time=$$((60 * $(or $(MINUTES),10))) -max_len=16384 -timeout=25 -rss_limit_mb=1024 -print_final_stats=1; \
	done

.PHONY: reference-fixtures
reference-fixtures: toolchain ## Make the reference fixtures again with transformers and torch (several GB in BUILD_CACHE)
	PYTHON='$(PYTHON)' scripts/pip_tools.sh '$(BUILD_CACHE)/reference-venv' -r tests/reference/requirements.txt
	scripts/in_tools.sh '$(BUILD_CACHE)/reference-venv' tests/reference/make_fixtures.py $(ARGS)

.PHONY: cuda
cuda: toolchain ## Build the programs for CUDA GPUs in target/cuda; needs neither a GPU nor a toolkit (20 minutes the first time)
	@set -e; home=$$(CARGO='$(CARGO)' PYTHON='$(PYTHON)' scripts/cuda_toolkit.sh '$(BUILD_CACHE)/cuda-13.0'); \
	$(PYTHON) scripts/check_kernels.py "$$home" crates/model/src/candle/warp.cu crates/model/src/candle/kernels.cu \
	  lab/training/src/kernels/cuda/kernels.cu; \
	CUDA_HOME="$$home" CUDA_PATH="$$home" PATH="$$home/bin:$$PATH" CUDA_COMPUTE_CAP='$(CUDA_COMPUTE_CAP)' \
	  $(CARGO) build --release -p countermove -p countermove-coordinator -p countermove-lab -p countermove-worker \
	    --features countermove-lab/cuda,countermove-worker/cuda --target-dir target/cuda
	@echo "The programs in target/cuda/release need the CUDA 13 libraries and a driver at run time"

.PHONY: gpu-check
gpu-check: ## Check and measure what `make cuda` built on a GPU of this machine: bits, speed, plans, training (6 minutes)
	$(PYTHON) scripts/gpu_check.py $(ARGS)

.PHONY: gpu-bundle
gpu-bundle: ## Pack what gpu-check needs, model included, into pieces of at most 44 MB in target/gpu-bundle, to be carried
	PYTHON='$(PYTHON)' scripts/gpu_bundle.sh target/cuda/release target/gpu-bundle

.PHONY: sbom
sbom: toolchain ## Write what each program is made of into target/sbom, as CycloneDX
	@CARGO='$(CARGO)' $(PYTHON) scripts/sbom.py target/sbom countermove countermove-coordinator countermove-worker

.PHONY: clean-state
clean-state: ## Remove what checks and benchmarks installed or built outside target/; the model and target/ stay
	rm -rf .venv '$(BUILD_CACHE)'
	find scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
