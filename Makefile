# One command per purpose; `make help` lists them. Each recipe is what a person could type.
SHELL := /bin/bash
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
RUN := .venv/bin/python -m
EXTRAS := .[codecs,console,gateway,grpc,local,demo,many,onnx]
READY := .venv/ready
PACKAGES := headrace definitions streams online_models agents batch marketplace examples tests

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format format-check lint types bench-echo bench-ingest bench-features bench-reads \
	bench-poison bench-parity bench-scoring bench-graph bench-learning chaos up down constraints clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | awk -F ':.*  ## ' '{printf "%-14s %s\n", $$1, $$2}'

setup: $(READY)  ## Make .venv with everything for development; quick when nothing changed
	@echo ".venv is ready"

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "cannot make .venv: expected Python 3.11 or newer on the PATH, got none"; exit 3; }
	@echo "setting up .venv (one to three minutes the first time)"
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@$(RUN) pip install --quiet --upgrade --constraint constraints.txt pip
	@$(RUN) pip install --quiet --constraint constraints.txt --editable "$(EXTRAS)" --group dev
	@touch $@

demo: $(READY)  ## The main job on real data: New York's flights of 2013, live scoreboard, .headrace/demo.json
	@$(RUN) examples.flights

test: $(READY)  ## The tests: all that can run here
	@$(RUN) compileall -q $(PACKAGES)  # once, where each of the hundreds of processes that tests start would do it
	@echo "first the few that hold a promise in seconds, alone; then all others, side by side"
	@$(RUN) pytest -m alone tests/integration
	@$(RUN) pytest -m "not alone" --numprocesses auto --dist loadfile --no-loadscope-reorder

check: $(READY)  ## What CI runs: format, lint, types, test
	@$(MAKE) --no-print-directory format-check lint types test

format: $(READY)  ## Format the code and mend what can be mended
	@$(RUN) ruff format
	@$(RUN) ruff check --fix

format-check: $(READY)
	@$(RUN) ruff format --check

lint: $(READY)  ## Style rules, and who may import whom
	@$(RUN) ruff check
	@.venv/bin/lint-imports

types: $(READY)  ## Static types, strict
	@$(RUN) mypy

bench-echo: $(READY)  ## Request/reply latency against bare librdkafka; last line JSON
	@$(RUN) tests.bench.bench_echo

bench-ingest: $(READY)  ## Events per second against stock Faust; last line JSON
	@$(RUN) tests.bench.bench_ingest

bench-features: $(READY)  ## Windowed features against peers and a plain loop; last line JSON
	@$(RUN) tests.bench.bench_features

bench-reads: $(READY)  ## How long reads of finalised features take; last line JSON
	@$(RUN) tests.bench.bench_reads

bench-poison: $(READY)  ## What unusable records cost, and that none is lost; last line JSON
	@$(RUN) tests.bench.bench_poison

bench-parity: $(READY)  ## A million answers had again from the log, bit for bit; last line JSON
	@$(RUN) tests.bench.bench_parity

bench-scoring: $(READY)  ## How long a score takes, and what is left of it under overload and swaps; last line JSON
	@$(RUN) tests.bench.bench_scoring

bench-graph: $(READY)  ## A ranking of 10,000 candidates, and what the graph costs over calls by hand; last line JSON
	@$(RUN) tests.bench.bench_graph

bench-learning: $(READY)  ## How fast labels become weights, and how soon those serve; last line JSON
	@$(RUN) tests.bench.bench_learning

chaos: $(READY)  ## Fault tests with real processes and signals, and mutants of the simulation; last line JSON
	@$(RUN) tests.chaos

up: $(READY)  ## Start the local Kafka and Redis in the background
	@.venv/bin/headrace up

down: $(READY)  ## Stop the local Kafka and Redis
	@.venv/bin/headrace down

constraints:  ## Write constraints.txt anew: the newest versions that pyproject.toml allows
	@rm -rf .headrace/constraints && $(PYTHON) -m venv .headrace/constraints
	@.headrace/constraints/bin/python -m pip install --quiet --upgrade pip
	@.headrace/constraints/bin/python -m pip install --quiet --editable "$(EXTRAS)" --group dev
	@echo "# Written by 'make constraints': every version that is installed, by name, on the oldest Python we support." \
		> constraints.txt
	@.headrace/constraints/bin/python -m pip freeze --all --exclude-editable >> constraints.txt
	@rm -rf .headrace/constraints

clean:  ## Stop the local servers and remove all that can be made again
	@test ! -x .venv/bin/headrace || .venv/bin/headrace down
	rm -rf .venv .headrace .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
