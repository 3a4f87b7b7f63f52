# make demo    environment, install, three LeNet-5 on real digits: about a minute of training
# make test    the suite, under ten minutes on two cores; make test-all adds what is marked slow
# make bench   ours beside plain Flax, PyTorch and Keras; ROW=name for one row
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install install-test install-oracles demo test test-slow test-costs test-all bench lint format experiments clean

help:
	@sed -n 's/^# //p' Makefile

# A stamp per set of packages: installed again only when pyproject.toml changes.
$(VENV)/.demo: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("jaxdl needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[plots]'
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,dev]'
	touch $@

$(VENV)/.oracles: pyproject.toml $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,dev,oracles,bench,import]'
	# By itself: as a dependency it would bring CUDA's torch, and its models and box losses need none of its operators.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps torchvision==0.28.0
	touch $@

install: $(VENV)/.demo
install-test: $(VENV)/.test
install-oracles: $(VENV)/.oracles

demo: $(VENV)/.demo
	$(BIN)/python -m experiments.vision.lenet_digits

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -n $(WORKERS) -m slow

# What each test costs, for the choice of what `make test` leaves out; half an hour.
test-costs: $(VENV)/.test
	rm -f costs.jsonl tests/costs.json
	JAXDL_TEST_COSTS=costs.jsonl $(BIN)/python -m pytest -n $(WORKERS) -m "not slow"
	$(BIN)/python -c "import json; rows = dict(map(json.loads, open('costs.jsonl'))); json.dump({name: cost for \
	  name, cost in sorted(rows.items()) if cost > 0.5}, open('tests/costs.json', 'w'), indent=0)"

test-all: test test-slow

bench: $(VENV)/.oracles
	$(BIN)/python -m benchmarks $(if $(ROW),--row $(ROW))

experiments: $(VENV)/.demo
	$(BIN)/python -m experiments

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis .jax_cache
