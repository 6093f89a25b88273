# make demo | test | mini | docs | lint | clean     PYTHON=python3.12 chooses the interpreter (3.10 to 3.12)
#
# WHEELS=folder        wheels of your own, such as a built mmcv
# TORCH_INDEX=address  where torch comes from, e.g. https://download.pytorch.org/whl/cpu

ifeq ($(origin PYTHON),undefined)
PYTHON := python3
else
SET_UP_FLAGS := --follow-python
endif
VENV := .venv
RUN := $(VENV)/bin/python
DOCS_VENV := .venv-docs

.PHONY: demo test mini docs lint format clean set-up

demo: set-up
	@$(RUN) tools/demo.py $(ARGS)

test: set-up
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@# a process for each core, up to eight; tests of a file stay together and share its fixtures
	@$(RUN) -m pytest -n auto --maxprocesses 8 --dist loadfile $(ARGS)

mini: set-up
	@$(RUN) dev/train_mini.py $(ARGS)

docs: $(DOCS_VENV)/ready
	@# not --quiet, which hides the warnings from --strict
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict $(ARGS)
	@echo 'The documentation: site/index.html'

# an environment of its own, without PyTorch: the reference is read from the sources
$(DOCS_VENV)/ready: requirements/docs.txt
	@$(PYTHON) -m venv --clear $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install --disable-pip-version-check --quiet -r $<
	@touch $@

lint: set-up
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

format: set-up
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

set-up:
	@$(PYTHON) tools/set_up.py --venv $(VENV) $(SET_UP_FLAGS)

clean:
	rm -rf build dist site mmovsam.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@echo 'Left alone: $(VENV), $(DOCS_VENV), data, work_dirs, outputs. Remove them yourself if you mean it.'

# asked for in the environment or as make variables alike
export WHEELS TORCH_INDEX
