# make demo   answers questions about a few clips and writes runs/demo/index.html
# make test   formatter, linter, type checker and tests
# make fuzz   damaged and hostile input for all that is read, an hour; FUZZ="videos --seed 7" for a part
# make faults  runs that are killed, full disks and others' folders, half an hour; FAULTS="segment --seed 7" for a part
# make test-oldest  the tests of models and training with the oldest transformers of pyproject.toml
# make test-engines  rollouts and training with a real vLLM on the CPU: 5 GB into .venv-engines, then about 5 minutes
# make test-app  the app in a real browser (Chromium); screenshots in runs/test-app/
# make pictures  those of the app and of a report in the README, from a video: CLIP=clip.mp4 BOX=x1,y1,x2,y2
# make docs   guides and the reference of the Python API as one site, runs/docs/index.html
# make setup  the environment alone; the others make it when it is missing or out of date
# make clean  removes the environment and what tools left behind; runs/ stays

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# The newest that vLLM accepts, so that one environment can hold both. Installed on its own: all else is shared.
OLDEST := transformers==5.19.0
OLDEST_DIR := .venv/oldest

# One process per core, up to 8: each loads torch and takes about 1 GB.
PYTEST := .venv/bin/python -m pytest -n auto --maxprocesses 8 --dist worksteal

CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

# An environment of its own, because vLLM and the project need different versions of transformers.
ENGINES := .venv-engines

.PHONY: demo test test-app pictures docs fuzz faults test-oldest test-engines setup clean

demo: $(STAMP)
	$(BIN)/thinkseg demo --out runs/demo

test: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(PYTEST)

docs: $(STAMP)
	$(BIN)/python docs/make_site.py

fuzz: $(STAMP)
	$(BIN)/python tests/fuzz $(FUZZ)

faults: $(STAMP)
	$(BIN)/python tests/faults $(FAULTS)

test-oldest: $(OLDEST_DIR)
	PYTHONPATH=$(OLDEST_DIR) $(BIN)/python -c 'import transformers; assert "transformers==" + transformers.__version__ == "$(OLDEST)"'
	PYTHONPATH=$(OLDEST_DIR) $(PYTEST) tests/models tests/training

$(OLDEST_DIR): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $@ '$(OLDEST)'

test-engines: $(STAMP) $(ENGINES)/.installed
	THINKSEG_ENGINES=$(ENGINES) $(BIN)/python -m pytest -n 0 -s tests/engines

$(ENGINES)/.installed: tests/engines/install_vllm.py tests/engines/declare_operators.py
	$(PYTHON) tests/engines/install_vllm.py $(ENGINES)
	touch $@

pictures: .venv/.browser
	$(BIN)/python docs/make_pictures.py $(CLIP) $(BOX) $(if $(CHROMIUM),--chromium $(CHROMIUM))

# CHROMIUM is a browser that is installed already; otherwise, playwright downloads one.
.venv/.browser: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt 'playwright>=1.50'
	test -n "$(CHROMIUM)" || $(BIN)/python -m playwright install chromium
	touch $@

test-app: .venv/.browser
	THINKSEG_CHROMIUM=$(CHROMIUM) THINKSEG_BROWSER=1 $(BIN)/python -m pytest -n 0 -s tests/browser

setup: $(STAMP)

# torch goes first and pinned: without one there, whatever asks for torch pulls the newest build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@echo "installing into .venv: about 2 GB, a few minutes"
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv $(ENGINES) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist src/*.egg-info
	find src tests -name __pycache__ -prune -exec rm -rf {} +
