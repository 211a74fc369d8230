# trustllm-repro: `make` lists the targets.
PYTHON  ?= python3
PROFILE ?= embedded
BIN     := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup reproduce smoke plan verify test test-slow lint lock figures ledger fetch lab paper clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'
	@echo "  PROFILE=smoke|ledger|embedded|online|paper chooses the parameters of the notebooks (default: embedded)"

# One stamp a set of packages; each is built once and again only when its inputs change. torch is
# pinned before the rest: the newest one brings gigabytes of CUDA packages.
.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.stamp-run: pyproject.toml requirements.lock | .venv/bin/python
	$(BIN)/pip install -q -c requirements.lock torch==2.13.0
	$(BIN)/pip install -q -c requirements.lock -e ".[replay,live]"
	@touch $@

.venv/.stamp-dev: .venv/.stamp-run
	$(BIN)/pip install -q -c requirements.lock -e ".[replay,live,dev]"
	@touch $@

.venv/.stamp-all: .venv/.stamp-dev
	$(BIN)/pip install -q -c requirements.lock -e ".[replay,lab,live,dev]"
	@touch $@

setup: .venv/.stamp-all ## make .venv with every extra (torch included)

reproduce: .venv/.stamp-run ## run all notebooks, in order; results under runs/$(PROFILE)
	$(BIN)/trustllm-repro reproduce --profile $(PROFILE)

smoke: .venv/.stamp-run ## the same with the quick profile
	$(BIN)/trustllm-repro reproduce --profile smoke

plan: .venv/.stamp-run ## what `reproduce` would run, with an estimate
	$(BIN)/trustllm-repro reproduce --profile $(PROFILE) --plan

verify: .venv/.stamp-run ## published against recomputed, as a table of verdicts
	$(BIN)/trustllm-repro verify runs/$(PROFILE)

test: .venv/.stamp-dev ## quick tests (a few minutes on two cores)
	$(BIN)/python -m pytest -q -n 2 -m "not slow"

test-slow: .venv/.stamp-dev ## the slow group
	$(BIN)/python -m pytest -q -m slow

figures: .venv/.stamp-run ## copy the chosen figures of the last run to figures/
	$(BIN)/python -m tools.gallery runs/$(PROFILE)

lint: .venv/.stamp-dev ## style and import order
	$(BIN)/ruff check trustllm_repro tests
	$(BIN)/ruff format --check trustllm_repro tests

lock: .venv/.stamp-all ## pin what is installed now in requirements.lock
	$(BIN)/python -m tools.lock > requirements.lock.new
	mv requirements.lock.new requirements.lock

ledger: .venv/.stamp-run ## rebuild data/ledger: make ledger RECORDS="zip zip" BENCHMARK=zip
	@test -n "$(RECORDS)" && test -n "$(BENCHMARK)" || { echo "usage: make ledger RECORDS=<zip or folder> BENCHMARK=<zip or folder>"; exit 2; }
	$(BIN)/trustllm-repro replay $(foreach r,$(RECORDS),--records "$(r)") --benchmark "$(BENCHMARK)" --out runs/ledger
	cp runs/ledger/ledger.parquet runs/ledger/items.parquet data/ledger/

fetch: .venv/.stamp-run ## download benchmark and recorded answers (needs a network)
	$(BIN)/trustllm-repro fetch

lab: .venv/.stamp-run ## open the notebooks in JupyterLab
	$(BIN)/pip install -q -c requirements.lock -e ".[replay,live,lab]"
	cd notebooks && ../$(BIN)/jupyter lab

paper: ## build paper/main.pdf from the last run of PROFILE (needs TeX)
	@command -v latexmk >/dev/null || { \
	  echo "latexmk is not installed. Debian, Ubuntu: apt-get install latexmk texlive-latex-extra texlive-fonts-recommended"; \
	  echo "macOS: brew install --cask mactex-no-gui   Windows: install MiKTeX"; exit 1; }
	@test -e runs/$(PROFILE)/results.tex || { echo "no runs/$(PROFILE)/results.tex: run 'make reproduce PROFILE=$(PROFILE)' first"; exit 1; }
	$(BIN)/python -m tools.paper runs/$(PROFILE)
	cd paper && latexmk -pdf -interaction=nonstopmode -halt-on-error -quiet \
	  -usepretex='\newcommand{\run}{../runs/$(PROFILE)}' main.tex
	@echo "paper/main.pdf is built"

clean: ## remove runs and caches (the environment stays)
	rm -rf runs build .pytest_cache .hypothesis .ruff_cache
