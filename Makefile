# Two commands make everything: `make demo` and `make test`. Plain `make` lists the rest.

.DEFAULT_GOAL := help
PY := .venv/bin/python
# Threads that spin while they wait slow each other down as soon as two processes share the cores.
export OMP_WAIT_POLICY ?= PASSIVE
# OpenBLAS knows no such policy, and NumPy's matrices are small here; torch has threads of its own.
export OPENBLAS_NUM_THREADS ?= 1
STACK := $(PY) -m include.stack

# Runs include/stack/setup.py with the first Python 3.11 that is found.
define install
	@for python in python3.11 python3 python $(PY); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    exec "$$python" -m include.stack.setup $(1); fi; done; \
	echo "make setup: Python 3.11 is needed, and neither python3.11 nor python3 is one: install it (Debian 12: apt-get install python3.11 python3.11-venv)" >&2; exit 1
endef

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 18

setup:  ## make .venv from requirements.txt, or bring it up to date
	$(call install)

setup-dev:
	$(call install,--dev)

demo: setup  ## start everything on this machine and run the study on synthetic corpora
	@$(STACK) demo

study: setup  ## CONFIG=include/configs/<name>.yaml [CREMA_D=dir RAVDESS=dir IEMOCAP=dir ENCODER=dir]: run a study
	@test -n "$(CONFIG)" || { echo "make study: say which: CONFIG=include/configs/<name>.yaml" >&2; exit 2; }
	@$(STACK) study "$(CONFIG)"

up: setup  ## start the stack alone: SeaweedFS, MLflow, Airflow
	@$(STACK) up

status:  ## what runs, where, and how much memory it takes
	@test -x $(PY) || { echo "Nothing runs: there is no .venv."; exit 1; }
	@$(STACK) status

stop:  ## end every process that was started, and nothing else
	@test -x $(PY) || { echo "Nothing to stop: there is no .venv."; exit 0; }; $(STACK) down

clean: stop  ## stop, then remove all that was made: .venv, .local (data and runs too), caches
	@rm -rf .venv .local .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

check: setup-dev  ## format, lint, types, import contracts
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

test: setup-dev  ## what a change must pass
	@$(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not prove and not gpu and not bench"

prove: setup-dev  ## the long proofs, and at the end all that they measured
	@$(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m prove -rA

bench: setup-dev  ## the benchmarks; NAME=<name> runs one
	@for file in tests/benchmarks/$(or $(NAME),[a-z]*).py; do \
	  $(PY) -m tests.benchmarks.$$(basename $$file .py) || exit 1; done

.PHONY: help setup setup-dev demo study up status stop clean check test prove bench
