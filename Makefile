# `make help` lists the targets.

PYTHON ?= python3
BIN := .venv/bin
UNFINISHED := .venv/.unfinished
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export UV_SYSTEM_CERTS ?= true
export UV_HTTP_TIMEOUT ?= 120
unexport PYTHONDONTWRITEBYTECODE # set in many containers; each stage would compile its packages anew, for seconds
PORT ?= 5000
PARALLEL := -n 3 --dist worksteal # faster than two on two processors, but for the few tests of test-processors
FEATURES := tests/backbones/test_extractor.py tests/inference/test_export.py # what TensorFlow computes: it reads both variables

.DEFAULT_GOAL := help
.PHONY: help install develop run results sweep recipe experiments ui test test-processors test-slow test-servers test-all test-faults bench bench-full lint format schemas lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(BIN)/.installed ## make .venv from requirements.lock

$(BIN)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v < (3, 14) and f"needs Python 3.11 to 3.13, got {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
	@echo "Installing into .venv: 0.9 GB to download and 3 GB on the disk, one to three minutes with a fast connection."
	@if test -e $(UNFINISHED); then echo "The last installation was interrupted: it starts anew, with what was downloaded."; rm -rf .venv; fi
	@mkdir -p .venv; touch $(UNFINISHED); rm -f $@
	$(PYTHON) -m venv .venv
	-@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock | $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r /dev/stdin
	@$(call packages,requirements.lock)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@install -d -m 700 "$$HOME/.cache/bottletop/site"; dvc config --local --quiet core.site_cache_dir "$$HOME/.cache/bottletop/site" # DVC makes it writable by all: CVE-2025-69872
	@touch $@; rm $(UNFINISHED)

develop: $(BIN)/.developed ## add the tools of the tests and of lint, from requirements-dev.lock

$(BIN)/.developed: $(BIN)/.installed requirements-dev.lock
	@echo "Adding the tools of the tests and of lint to .venv: 0.15 GB to download and 0.4 GB on the disk."
	@touch $(UNFINISHED); rm $<
	@$(call packages,requirements-dev.lock)
	@touch $< $@; rm $(UNFINISHED)

# uv takes a tenth of pip's time. It does not read pip's settings, so it is told pip's index, and pip follows if it fails.
define packages
UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}" \
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes --no-deps -r $(1) || { \
	echo "uv could not install them, see above. Now pip does, which takes about ten minutes."; \
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes --no-deps -r $(1); }
endef

run: install ## run the pipeline on the active datasets, then print the results
	@dvc repro || { python -m bottletop.params_file; exit 1; } # of a mistake that stops DVC itself, it names neither file nor line
	@bottletop results

results: install ## print the test accuracy of each active dataset
	@bottletop results

sweep: install ## rank every combination: make sweep GRID="train.epochs=5,10 train.batch_size=16,32" SEEDS=5
	@bottletop sweep $(foreach setting,$(GRID),'$(setting)') --seeds $(or $(SEEDS),1)

recipe: install ## run one of recipes/ as an experiment: make recipe NAME=skin-cnn SET="train.epochs=5"
	@bottletop recipe $(NAME) $(foreach setting,$(SET),'$(setting)')

experiments: install ## list the experiments on this commit: scores, and the settings that differ
	@bottletop experiments

ui: install ## open the MLflow UI on 127.0.0.1 (PORT=5000)
	@bottletop ui --port $(PORT)

test: develop ## run the fast tests
	pytest -m "not slow" $(PARALLEL)

test-processors: develop ## run the tests of features as on other processors: oneDNN with AVX2, and none
	TF_ENABLE_ONEDNN_OPTS=1 ONEDNN_MAX_CPU_ISA=AVX2 pytest -m "not slow" -k "not ncnn and not keras_alone" -n 2 --dist worksteal $(FEATURES)
	TF_ENABLE_ONEDNN_OPTS=0 pytest -k "not ncnn and (neighbours or rows_come_back or plain_numpy)" tests/backbones/test_extractor.py

test-slow: develop ## run the tests that take minutes or need the sample archives
	pytest -m "slow and not server" $(PARALLEL) --timeout 900 --durations 30

test-servers: develop ## run the tests against real servers and in a browser
	pytest -m server --timeout 900

test-all: develop ## run every test
	pytest $(PARALLEL) --timeout 900

test-faults: develop ## flip bits below data/, then kill runs (ROUNDS=200, KILLS=20): no result may change or be lost
	python -m benchmarks.faults $(or $(ROUNDS),200)
	python -m benchmarks.kills $(or $(KILLS),20)

bench: develop ## measure speed and memory, write benchmarks/RESULTS.md (a quarter of an hour)
	python -m benchmarks.report

bench-full: develop ## the same with 101,000 images (three quarters of an hour)
	python -m benchmarks.report --full

lint: develop ## check format, style, types and layers
	ruff format --check .
	ruff check .
	mypy
	lint-imports

format: develop ## format the code
	ruff format .
	ruff check --fix .

schemas: install ## write schemas/ for editors anew, after a change of the settings or their comments
	python -m bottletop.json_schema

lock: ## pin the dependencies of pyproject.toml (needs uv, which make install brings); UPGRADE=--upgrade takes the newest
	$(COMPILE) pyproject.toml --group build -o requirements.lock
	$(COMPILE) --group dev --constraint requirements.lock -o requirements-dev.lock

COMPILE = uv pip compile --universal --python-version 3.11 --generate-hashes $(UPGRADE) \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet

clean: ## remove the environment and everything that dvc repro can make again
	rm -rf .venv data mlruns dvc_plots
