# Needs Python 3.11 or newer; every target sets up what it needs in .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
THREADS ?= 2
DEMO ?= demo
BIN := $(VENV)/bin
EXTRAS ?= dev,all
export OMP_NUM_THREADS ?= $(THREADS)

.PHONY: demo test quick check bench docs clean

demo: $(VENV)/.user
	$(BIN)/myosynth demo $(DEMO) --overwrite

# as many processes as threads, one thread each; a file of tests stays in one process
test: $(VENV)/.developer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(THREADS) --dist loadfile --no-loadscope-reorder

quick: $(VENV)/.developer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(THREADS) --dist loadfile --no-loadscope-reorder -m "not slow"

check: $(VENV)/.developer
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/.developer
	for each in $$(grep -l __main__ benchmarks/*.py); do echo "$$each"; $(BIN)/python $$each || exit 1; done

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) demo site .pytest_cache .mypy_cache .ruff_cache

# torch by its exact version and first: otherwise its dependents can pull several GB
$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check torch==2.13.0
	touch $@

$(VENV)/.user: $(VENV)/.torch pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.developer: $(VENV)/.torch pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	touch $@ $(VENV)/.user

$(VENV)/.docs: $(VENV)/.developer
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS),docs]"
	touch $@
