# Every target sets up what it needs in .venv. `make help` lists them.
#
#   make train ARGS="--model mlp --epochs 1"    arguments for examples/train_mnist.py
#   make test  ARGS="-k pickle -x"              arguments for pytest
#   LAZYARRAY_BUILD=checked make test           bounds, wraparound and initialisation checked

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
SHARE ?= 1/4
BUDGET ?= 600

export LAZYARRAY_BUILD ?= release
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The checkout is what runs: nothing is installed, so nothing is compiled twice.
export PYTHONPATH := $(CURDIR)

BIN := $(VENV)/bin
RUN := $(BIN)/python
STAMPS := $(VENV)/stamps
BUILT := $(STAMPS)/built-$(LAZYARRAY_BUILD)
SOURCES := setup.py $(wildcard lazyarray/*.pyx lazyarray/*.pxd lazyarray/native/* lazyarray/codegen/*.py)

.PHONY: help build train test test-all test-slow-share lint bench clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

build: $(BUILT) ## compile the extensions in place

train: $(BUILT) ## train a network on MNIST (or on the bundled digits)
	$(RUN) examples/train_mnist.py $(ARGS)

test: $(BUILT) $(STAMPS)/test ## the default tests
	$(RUN) -m pytest $(ARGS)

test-all: $(BUILT) $(STAMPS)/test ## the slow tests too (hours)
	$(RUN) -m pytest -m "not gpu" --timeout=3600 $(ARGS)

# pytest exits with 5 when it ran no test: a share may be empty.
test-slow-share: $(BUILT) $(STAMPS)/test ## SHARE of the slow tests, none started after BUDGET seconds
	$(RUN) -m pytest -m "slow and not gpu" --share=$(SHARE) --budget=$(BUDGET) $(ARGS) || [ $$? -eq 5 ]

lint: $(STAMPS)/core $(STAMPS)/lint ## ruff, mypy and cython-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint lazyarray

bench: $(BUILT) $(STAMPS)/bench ## every benchmark, beside its peers
	for file in benchmarks/*.py; do echo "== $$file"; $(RUN) $$file $(ARGS); done

clean: ## remove what was built, the environment too
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f lazyarray/*.so lazyarray/*.cpp lazyarray/*.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the environment needs, asked once and answered with what to install.

define CHECK
import os, shlex, shutil, sys, sysconfig
missing = []
if sys.version_info < (3, 11):
    missing.append("Python 3.11 or newer (%s is %s): choose another one with make PYTHON=..."
                   % (sys.executable, sys.version.split()[0]))
try:
    import ensurepip, venv
except ImportError:
    missing.append("Python's venv module: apt install python3-venv")
if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    missing.append("Python's headers (Python.h): apt install python3-dev, "
                   "or dnf install python3-devel")
cxx = shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "g++")[0]
if not shutil.which(cxx):
    missing.append("a C++17 compiler (%s is not there): apt install g++, "
                   "or dnf install gcc-c++" % cxx)
if missing:
    sys.exit("lazyarray needs, before it can be built:\n  - " + "\n  - ".join(missing))
endef
export CHECK

# The packages that pyproject.toml names: the core's, or those of one extra.
define NEEDS
import sys, tomllib
spec = tomllib.load(open("pyproject.toml", "rb"))
extra = sys.argv[1]
core = spec["build-system"]["requires"] + spec["project"]["dependencies"]
print(*(core if extra == "core" else spec["project"]["optional-dependencies"][extra]), sep="\n")
endef
export NEEDS

$(VENV)/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || { echo "lazyarray needs Python 3.11 or newer, and $(PYTHON) \
	is not there: apt install python3 python3-venv python3-dev, or make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c "$$CHECK"
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS)

$(STAMPS)/%: pyproject.toml $(VENV)/pyvenv.cfg
	@mkdir -p $(STAMPS)
	$(RUN) -c "$$NEEDS" $* | $(RUN) -m pip install -q -r /dev/stdin
	@touch $@

# Another kind of build replaces every extension, whatever their times say.
$(STAMPS)/kind-$(LAZYARRAY_BUILD): | $(VENV)/pyvenv.cfg
	@mkdir -p $(STAMPS)
	@rm -f $(STAMPS)/kind-* $(STAMPS)/built-* lazyarray/*.so
	@touch $@

$(BUILT): $(SOURCES) pyproject.toml $(STAMPS)/core $(STAMPS)/kind-$(LAZYARRAY_BUILD)
	$(RUN) -c "$$CHECK"
	@echo "Compiling the extensions: this takes a few minutes the first time."
	$(RUN) setup.py -q build_ext --inplace --parallel $$(nproc)
	@touch $@
