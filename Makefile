# Everything a person or a machine does with this tree. `make test` and `make demo` set up all they need.

UV_VERSION = 0.13.9
export PYTHON ?= python3
# Compiled modules are kept: the tests start hundreds of processes, each of which imports them.
export PYTHONDONTWRITEBYTECODE =

# A proxy that inspects TLS signs with a CA of its own, which the system trusts: so pip, uv and npm do.
SYSTEM_CERTIFICATES := $(wildcard /etc/ssl/certs/ca-certificates.crt)
ifneq ($(SYSTEM_CERTIFICATES),)
export UV_SYSTEM_CERTS ?= true
export PIP_CERT ?= $(SYSTEM_CERTIFICATES)
export NODE_EXTRA_CA_CERTS ?= $(SYSTEM_CERTIFICATES)
endif

UV = .venv-uv/bin/uv
RUN = .venv/bin

# Test processes: two a core, as many tests wait for an Engine.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) \* 2)
FAST = tests/shared tests/worker tests/test_*.py

.PHONY: help install system test test-fast compose-test bench scale chaos faults matrix sequences demo up lint format docs

help:
	@echo "make install   the Python environment, in .venv"
	@echo "make system    the system packages for the demo and the tests (Debian, as root)"
	@echo "make test      all of the above, then every test; with coverage if CI is set"
	@echo "make test-fast the tests that need no Engine, no root and little time, without coverage"
	@echo "make compose-test   builds all images and runs compose.yaml (as root; some minutes)"
	@echo "make scale     a million finished jobs, 2,000 pulls behind a limit (20 minutes)"
	@echo "make chaos     many jobs under every fault, three seeds; CHAOS='--seed 4 --jobs 500' for others"
	@echo "make faults    every fault of a registry by every operation: is the true cause named?"
	@echo "make matrix    the tests of Engines on each supported Engine; MATRIX='26.1 28.5' for some"
	@echo "make sequences 50 random sequences of deployments, rollbacks and faults on two Engines"
	@echo "make bench     speed beside the peers', in one run (some minutes, on a quiet machine)"
	@echo "make demo      all of the above, then the main job on parts of its own"
	@echo "make up        everything on this machine, in the foreground; UP='--port 4800' for another port"
	@echo "make lint      format, lint, imports, types, dependencies"
	@echo "make docs      write the reference pages and the Python client anew from the code"
	@echo "make format    rewrite the sources in the one format"

install: .venv/.installed

system:
	@.ci/system

test: system install
	$(RUN)/pytest -n $(WORKERS) $(if $(CI),--cov --durations=20)

test-fast: install
	$(RUN)/pytest -n $(WORKERS) -m "not compose and not scale and not real_parts" $(FAST)

compose-test: system install
	@.ci/system docker-compose debootstrap
	$(RUN)/pytest -m compose tests/compose

bench: system install
	$(RUN)/python -m tests.bench $(BENCH)

scale: install
	$(RUN)/pytest -m scale tests/scale tests/worker/control/quotas

chaos: system install
	@.ci/system faketime
	$(RUN)/python -m tests.chaos $(CHAOS)

faults: system install
	$(RUN)/python -m tests.faults $(FAULTS)

matrix: system install
	PATH="$$(.ci/engines compose):$$PATH" $(RUN)/python -m tests.shared.compose.real_compose
	git diff --exit-code tests/shared/compose/files/expected.json
	$(RUN)/python -m tests.matrix $(MATRIX)
	$(RUN)/python -m tests.docs

sequences: system install
	$(RUN)/python -m tests.sequences $(SEQUENCES)

demo: system install
	$(RUN)/wharf demo

up: install
	$(RUN)/wharf up $(UP)

lint: install
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/lint-imports --no-logo
	$(RUN)/mypy
	$(RUN)/deptry .

docs: install
	$(RUN)/python -m tests.api.client
	$(RUN)/python -m tests.docs

format: install
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

.venv/.installed: pyproject.toml uv.lock $(UV)
	$(UV) sync --quiet --frozen --all-extras --compile-bytecode --python $(PYTHON)
	@touch $@

$(UV): Makefile
	@.ci/system python3-venv
	$(PYTHON) -m venv --clear .venv-uv
	.venv-uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@
