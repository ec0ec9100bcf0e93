# WeCoLoRA Bench. `make` lists what there is to make.
#
#   ARGS=...    further arguments for the program that a target runs, e.g. make demo ARGS="-n", make test ARGS="-k lora"
#   CONFIG=...  a config file in the place of config.yaml, in `make demo`, `plan` and `status`, e.g. make demo CONFIG=my.yaml
#   PYTHON=...  the Python that .venv is made with (3.11 to 3.13)

PYTHON ?= python3
CONFIG ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Snakemake and others keep caches at home; where that cannot be written, they keep them here.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export XDG_CACHE_HOME ?= $(CURDIR)/.cache
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo plan status teachers test lint bench schema models clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## install what requirements.lock pins into .venv (the other targets do so when it is missing or stale)

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else "This is Python %d.%d." % v)' || { \
		echo "WeCoLoRA Bench needs Python 3.11 or newer, and PYTHON=$(PYTHON) is not." >&2; \
		echo "Name another one, e.g.: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import os, re, sys; sys.exit(bool(re.search(r"[^\w@%+=:,./-]", os.getcwd())))' || { \
		echo "Snakemake cannot start jobs from $$PWD: the path holds a space or a sign of the shell." >&2; \
		echo "Move the project to a path of letters, digits and ./_- alone." >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED) ## run the pipeline on the bundled data (or CONFIG), with profiles/default
	$(BIN)/snakemake $(ARGS) $(if $(CONFIG),--configfile $(CONFIG))

plan: $(INSTALLED) ## tell what config.yaml (or CONFIG) takes: jobs, GPU-hours, disk; nothing runs
	@$(BIN)/wecolora plan $(or $(CONFIG),config.yaml) $(ARGS)

status: $(INSTALLED) ## tell how far the campaign of config.yaml (or CONFIG) is
	@$(BIN)/wecolora status $(or $(CONFIG),config.yaml) $(ARGS)

teachers: $(INSTALLED) ## train the demo's teachers again and put them into assets/teachers
	$(BIN)/snakemake $(ARGS) pretrain_all --configfile config/demo_teachers.yaml
	for teacher in demo_sup demo_mae; do \
		cp results/demo_teachers/teachers/$$teacher.safetensors assets/teachers/ && \
		cp results/demo_teachers/teachers/$$teacher.card.json assets/teachers/$$teacher.json || exit 1; done

slurm-setup: ## as root on Debian or Ubuntu: install the SLURM that tests/slurm starts (they are skipped without it)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends munge slurmctld slurmd slurm-client

browser-setup: ## as root on Debian or Ubuntu: install the Chromium that tests/browser drives (they are skipped without it)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium

test: $(INSTALLED) ## run the tests
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(INSTALLED) ## check style, types and the workflow
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules/
	$(BIN)/python tests/lint_workflow.py

bench: $(INSTALLED) ## run the benchmarks
	$(BIN)/python -m benchmarks $(ARGS)

schema: $(INSTALLED) ## write schemas/config.schema.json from wecolora/config/campaign.py
	@mkdir -p schemas
	$(BIN)/python -m wecolora.config.campaign > schemas/config.schema.json.new
	@mv schemas/config.schema.json.new schemas/config.schema.json

models: $(INSTALLED) ## write wecolora/config/timm_catalogue.json from the installed timm
	$(BIN)/python -m tools.timm_catalogue

clean: ## remove results/
	rm -rf results
