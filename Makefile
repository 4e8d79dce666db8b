# Variables: PYTHON (interpreter that makes .venv), VENV, TORCH (what pip installs as torch),
# SEED, QUICK=1 (demo in a few minutes), TEACHER=train (demo trains its teacher, too), SLOW=0 (test
# without the slow ones), ARGS (more options for pytest or tools/demo.py).
PYTHON ?= python3.11
VENV ?= .venv
TORCH ?= torch==2.13.0
SEED ?= 0
TEACHER ?= shipped
SLOW ?= 1
BIN := $(VENV)/bin
MARKS := $(if $(filter 0,$(SLOW)),not gpu and not slow,not gpu)

export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help install env data demo test lint format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## make .venv and install everything (once; about 15 minutes, most of it mmcv)
	@PYTHON="$(PYTHON)" VENV="$(VENV)" TORCH="$(TORCH)" tools/install.sh

env: install ## show versions and what is missing
	@$(BIN)/python tools/check_env.py

data: install ## generate the embedded data set in data/lidarsim
	@$(BIN)/python tools/create_lidarsim.py --out data/lidarsim

demo: install ## teacher, student alone, student distilled: train, evaluate, one table (QUICK=1: 5 min)
	@$(BIN)/python tools/demo.py --seed $(SEED) --teacher $(TEACHER) $(if $(filter 1,$(QUICK)),--quick) $(ARGS)

test: lint ## lint and the whole test suite (SLOW=0: without the slow tests)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --durations=15 -m "$(MARKS)" $(ARGS)

lint: install ## ruff check and ruff format --check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: install ## let ruff mend and format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove generated data, runs and caches (not .venv)
	rm -rf data/lidarsim data/lidarsim_quick work_dirs build .pytest_cache .ruff_cache
