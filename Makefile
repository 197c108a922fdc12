PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet
ARGS ?=
# Files with slow tests come first, as tests/conftest.py says, and not those with many tests.
PYTEST := $(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder
# How thorough `make reliability` is: kills, seconds of load, inputs that fuzzers and hypothesis try.
RUNS ?= 1000
SECONDS ?= 600
INPUTS ?= 100000
EXAMPLES ?= 2000

.PHONY: reliability run test network lint format proto bench load soak picture clean

## make run: serve on the standard ports, with keys and database in ./data and the status page on 21120
run: $(VENV)/.run
	mkdir -m 700 -p data
	exec $(BIN)/twistd -n --pidfile= rendezvous --data data --log-format text --status 21120 $(ARGS)

## make test: all tests; ARGS are pytest's
test: $(VENV)/.dev
	$(PYTEST) $(ARGS)

## make network: the whole network laboratory, as root; ARGS are pytest's
network: $(VENV)/.dev
	RENDEZVOUS_NETWORK=all RENDEZVOUS_REQUIRE=1 $(BIN)/pytest tests/network $(ARGS)

## make reliability: all tests, thoroughly, as root, and what they saw into docs/reliability.md; it takes hours.
## RUNS=40 makes fewer kills, ARGS=tests/network does a part of it and leaves the other rows as they are
reliability: export RENDEZVOUS_EVIDENCE := $(CURDIR)/evidence.jsonl
reliability: export RENDEZVOUS_REQUIRE := 1
reliability: export RENDEZVOUS_NETWORK := all
reliability: export RENDEZVOUS_FAULT_RUNS := $(RUNS)
reliability: export RENDEZVOUS_LOAD_SECONDS := $(SECONDS)
reliability: export RENDEZVOUS_LOOK_PEERS := 1000000
reliability: export RENDEZVOUS_FUZZ_RUNS := $(INPUTS)
reliability: export RENDEZVOUS_EXAMPLES := $(EXAMPLES)
reliability: $(VENV)/.dev
	rm -f $$RENDEZVOUS_EVIDENCE
	$(PYTEST) $(ARGS)
	$(BIN)/python -m tests.reliability $$RENDEZVOUS_EVIDENCE

## make lint: style and types
lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

## make proto: generate the messages from proto/rendezvous.proto
proto: $(VENV)/.dev
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=rendezvous/wire --pyi_out=rendezvous/wire \
		proto/rendezvous.proto

## make bench: measure against the limit of this machine; ARGS are those of python -m bench
bench: $(VENV)/.dev
	$(BIN)/python -m bench $(ARGS)

## make load: a crowd of peers over veth for ten minutes, as root; figures, and a plot of them
load: $(VENV)/.dev
	RENDEZVOUS_LOAD_SECONDS=$${RENDEZVOUS_LOAD_SECONDS:-600} $(BIN)/python -m tests.load.measure \
		--plot docs/load.svg $(ARGS)

## make soak: random sessions through a relay for a minute, and what they leave; RENDEZVOUS_SOAK_SECONDS=600 makes it ten
soak: $(VENV)/.dev
	RENDEZVOUS_SOAK_SECONDS=$${RENDEZVOUS_SOAK_SECONDS:-60} $(BIN)/pytest -s tests/integration/test_relay_soak.py $(ARGS)

## make picture: the pictures of the status page in docs, made by Chromium
picture: $(VENV)/.dev
	$(BIN)/python -m tests.integration.screenshot

clean:
	rm -rf $(VENV) build *.egg-info

$(BIN)/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Try: apt-get install python3-venv"; exit 1; }

$(VENV)/.run: $(BIN)/pip setup.cfg pyproject.toml
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(BIN)/pip setup.cfg pyproject.toml
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.run
