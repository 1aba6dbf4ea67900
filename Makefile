# Each command makes .venv and installs what it needs; the second call is instant.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TYPES := build/types/setun

.PHONY: demo serve test slow lint format wheel clean $(TYPES)

demo: $(VENV)/.sim
	$(BIN)/setun demo

serve: $(VENV)/.serve
	$(BIN)/setun serve --backend sim

test: $(VENV)/.dev
	$(BIN)/pytest -n auto

slow: $(VENV)/.dev
	$(BIN)/pytest -n auto -m 'slow or essential'

lint: $(VENV)/.dev $(TYPES)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/types $(BIN)/mypy -p setun

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "setun: error: $(PYTHON): must be Python 3.11 or later (make PYTHON=python3.11)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "setun: error: venv: must be installed (apt-get install python3-venv)" >&2; exit 1; }

$(VENV)/.sim: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sim]'
	@touch $@

$(VENV)/.serve: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sim,serve]'
	@touch $@ $(VENV)/.sim

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.sim $(VENV)/.serve

# mypy knows no package-dir: show it the folders under the names they are imported by.
$(TYPES):
	@rm -rf $@ && mkdir -p $@
	@ln -s $(CURDIR)/setun/* $@/
	@ln -s $(CURDIR)/hw $(CURDIR)/sim $(CURDIR)/firmware $(CURDIR)/constraints $(CURDIR)/train $@/
