# riskshare: `make demo` runs the main job, `make test` proves it, `make help` lists the rest.
#
# Needs Python 3.11 or newer and make, nothing else. All that is installed goes into .venv, at
# the versions and hashes of the lock files. GNU make 3.81 (macOS) is enough.

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --no-warn-script-location
HASHED := $(PIP) --require-hashes --requirement
# One more than there are cores on a small machine: the tests of real peers wait as much as they compute.
WORKERS ?= 3
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=

# A virtual environment works only in the folder that it was made in, and while its Python is there: else it is made anew.
ifneq ($(wildcard $(VENV)/place),)
ifneq ($(shell $(PY) -c '' 2>/dev/null && cat $(VENV)/place),$(CURDIR))
$(shell rm -rf $(VENV))
endif
endif

.DELETE_ON_ERROR:
.PHONY: help demo test lint format bench clean lock compiled

help:
	@echo "make demo    five members on this machine: publish, check, receipts; says what happened"
	@echo "make test    all tests, those on a real PostgreSQL included (PYTEST_ARGS=... adds to it)"
	@echo "make lint    ruff (rules and format) and mypy --strict"
	@echo "make bench   the figures of speed, each against a bare measure of the same run"
	@echo "make format  let ruff rewrite the sources"
	@echo "make lock    resolve the dependencies anew and write the lock files"
	@echo "make clean   remove .venv and all caches"

demo: compiled
	@$(VENV)/bin/riskshare demo $(DEMO_ARGS)

test: $(VENV)/dev compiled
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 10 $(PYTEST_ARGS)

lint: $(VENV)/dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict riskshare

format: $(VENV)/dev
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(VENV)/runtime $(VENV)/bench compiled
	@$(VENV)/bin/riskshare bench $(BENCH_ARGS)

# Once: where Python may keep no bytecode (PYTHONDONTWRITEBYTECODE), each process would compile all of it at its start.
compiled: $(VENV)/runtime
	@$(PY) -m compileall -q riskshare tests

clean:
	rm -rf $(VENV) build dist riskshare.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find riskshare tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- Setting up -------------------------------------------------------------------------------

# The first interpreter that is new enough and can make a virtual environment; PYTHON=... names another.
$(VENV)/place:
	@found=; bare=; \
	for python in $${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    "$$python" -c 'import venv, ensurepip' >/dev/null 2>&1 || { bare="$$python"; continue; }; \
	    found="$$python"; break; \
	done; \
	if [ -z "$$found" ] && [ -n "$$bare" ]; then \
	    echo "$$bare cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; \
	elif [ -z "$$found" ]; then \
	    echo "riskshare needs Python 3.11 or newer, and $${PYTHON:-python3} is not that. Install it, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" --version)"; \
	rm -rf $(VENV) && "$$found" -m venv $(VENV) && printf '%s\n' "$(CURDIR)" > $@

$(VENV)/runtime: $(VENV)/place requirements.lock pyproject.toml
	@echo "Installing what riskshare needs (pinned in requirements.lock; a minute or two the first time)"
	@$(HASHED) requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev: $(VENV)/runtime requirements-dev.lock
	@echo "Installing what the tests need (pinned in requirements-dev.lock)"
	@$(HASHED) requirements-dev.lock
	@touch $@

# openmined-psi has no build for every platform: without it, `bench` leaves that comparison out.
$(VENV)/bench: $(VENV)/runtime requirements-bench.lock
	@echo "Installing what bench compares with (pinned in requirements-bench.lock)"
	@$(HASHED) requirements-bench.lock || echo "It has no build for this platform: that comparison is left out."
	@touch $@

# --- Lock files -------------------------------------------------------------------------------

# setuptools builds riskshare itself: it is locked beside the dependencies. uv is needed here only.
COMPILE := $(VENV)/bin/uv --no-config pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: $(VENV)/place
	@$(PIP) uv
	@$(PY) -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	    open("$(VENV)/build.in", "w").write("\n".join(p["build-system"]["requires"])); \
	    open("$(VENV)/bench.in", "w").write("\n".join(p["project"]["optional-dependencies"]["bench"]))'
	$(COMPILE) pyproject.toml $(VENV)/build.in --output-file requirements.lock
	$(COMPILE) pyproject.toml $(VENV)/build.in --group dev --constraints requirements.lock --output-file requirements-dev.lock
	$(COMPILE) $(VENV)/bench.in --output-file requirements-bench.lock
