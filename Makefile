# make demo | up | test | lint | bench: each sets up .venv with pinned packages first; a second run is quick.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := node,worker,web,dev
OUT ?= demo-output

.PHONY: demo up ohif test lint bench train lock clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo            real radiographs in, similar regions out; writes $(OUT)/ (DICOM=/folder: use your own)"
	@echo "make up              start everything and serve until Ctrl-C"
	@echo "make ohif            install the OHIF viewer, served at /ohif/ by make up"
	@echo "make test            run the tests (PYTEST='-k store' narrows them)"
	@echo "make lint            ruff, mypy --strict, lint-imports"
	@echo "make bench           measure, against peers where they are installed"
	@echo "make train           train the region model (DATA=/folder OUT=/folder CONFIG=name)"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing pinned packages into $(VENV) (once; some minutes on a slow network) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(STAMP)
	$(BIN)/regionmir demo --out $(OUT) $(if $(DICOM),--dicom "$(DICOM)")

up: $(STAMP)
	$(BIN)/regionmir up

ohif: $(STAMP)
	$(BIN)/regionmir ohif install

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

train: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS),train]'
	$(BIN)/regionmir model train --config $(or $(CONFIG),cpu-60min) --data "$(DATA)" --out "$(OUT)"

lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --editable '.[$(EXTRAS),train]'
	{ head -1 constraints.txt; build/lock/bin/python -m pip freeze --exclude-editable | sed -E 's/^torch==([0-9.]+).*/torch==\1/'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:
	rm -rf build dist demo-output .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
