# Everything runs in the virtual environment .venv, which make creates and keeps up to date.
PYTHON ?= python3
RECIPE ?=
ARGS ?=
PORT ?= 5000
NAME ?= tuned
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_KAGGLE := $(VENV)/.installed-kaggle
INSTALLED_BIDS := $(VENV)/.installed-bids
INSTALLED_LIVE := $(VENV)/.installed-live
INSTALLED_CLUSTER := $(VENV)/.installed-cluster
INSTALLED_AUDIT := $(VENV)/.installed-audit
INSTALLED_DOCS := $(VENV)/.installed-docs

# Kaggle's files where they are there, else simulated recordings; DATASET=... overrides.
FOUND := $(firstword $(wildcard data/raw/train/*_data.csv* data/raw/*.zip data/raw/*_data.csv*))
DATASET ?= $(or $(patsubst dataset=%,%,$(filter dataset=%,$(ARGS))),$(if $(FOUND),kaggle,simulated))
# A chain of events suits the competition's recordings; of your own it is not known.
CHOSEN = $(or $(RECIPE),$(if $(filter kaggle simulated,$(DATASET)),hybrid,lstm))

.DEFAULT_GOAL := help
.PHONY: help train submit check data bids ui serve live replay test test-fast test-services test-live lint format bench bench-leak bench-lstm bench-cells bench-train bench-recipe bench-windows bench-ablation bench-ceiling bench-decisions bench-cued bench-live bench-live-memory bench-lsl bench-read bench-full fuzz calibrate picture live-picture front-page docs sweep sweep-best lock clean chaos audit explain adapt bench-calibration

help:  ## this list
	@echo "make TARGET, with these targets:"
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 16
	@echo "Options: RECIPE=hybrid (a file of conf/experiment), DATASET=kaggle|simulated,"
	@echo "         ARGS=\"key=value ...\" (anything in conf/), PYTHON=python3.12"

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into $(VENV), once; this takes a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

# One of the extras of pyproject.toml.
$(INSTALLED)-%: $(INSTALLED)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

train: $(INSTALLED)  ## raw files to submission: ingest, filter, train, evaluate, submit
	@$(if $(FOUND)$(filter-out simulated,$(DATASET)),true,echo "No Kaggle data in data/raw (see: make data); running on simulated recordings instead.")
	@$(RUN) -m pipeline dataset=$(DATASET) experiment=$(CHOSEN) $(ARGS)

submit: train  ## the same as train: the submission is its last step, and what is fresh is kept

explain: $(INSTALLED)  ## a report that shows what the recipe looks at: eyes, muscle or cortex
	@$(RUN) -m pipeline dataset=$(DATASET) experiment=$(CHOSEN) stage=evaluate explain=true $(ARGS)

check: $(INSTALLED)  ## check a submission: make check FILE=submission.csv
	@$(RUN) -m pipeline dataset=$(DATASET) stage=check submission='$(FILE)' $(ARGS)

data: $(INSTALLED_KAGGLE)  ## download Kaggle's files into data/raw (needs a Kaggle account); DATASET=eegmmidb checks that set
	@$(if $(filter eegmmidb,$(DATASET)),$(RUN) -m pipeline.data.eegmmidb data/eegmmidb,$(RUN) -m pipeline.data.download data/raw)

bids: $(INSTALLED_BIDS)  ## write a data set as BIDS, and validate it: make bids DATASET=kaggle
	@folder=$$($(RUN) -m pipeline dataset=$(DATASET) stage=bids $(ARGS) | tail -n 1) && \
	echo "$$folder" && $(VENV)/bin/bids-validator-deno "$$folder"

ui: $(INSTALLED)  ## look at the runs in MLflow, at the address that is printed (PORT=...)
	@$(RUN) -m pipeline.tracking.server ui '$(PORT)'

serve: $(INSTALLED)  ## answer requests with a logged model: make serve MODEL=models:/NAME@champion PORT=5001
	@$(RUN) -m pipeline.tracking.server serve '$(PORT)' '$(MODEL)'

live: $(INSTALLED_LIVE)  ## detect in an amplifier's stream: make live ARGS="model=models:/NAME@champion stream=NAME subject=3"
	@$(RUN) -m pipeline stage=live $(ARGS)

replay: $(INSTALLED)  ## the same on a recording: make replay ARGS="model=models:/NAME@champion subject=1 series=9"
	@$(RUN) -m pipeline stage=replay dataset=$(DATASET) $(ARGS)

adapt: $(INSTALLED)  ## a model for a new subject: make adapt ARGS="model=models:/NAME@champion subject=13 series=[1,2]"
	@$(RUN) -m pipeline stage=adapt dataset=$(DATASET) $(ARGS)

# One process more than two cores: some tests wait.
test: $(INSTALLED_DEV)  ## all tests, the notebooks included
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(INSTALLED_DEV)  ## the tests that take no long time, in under 90 s
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow" $(ARGS)

test-services: $(INSTALLED_DEV) $(INSTALLED_CLUSTER)  ## with MLflow's server on PostgreSQL, and Dask's workers
	$(RUN) -m pytest tests/services --ignore tests/services/test_live_lsl.py $(ARGS)

test-live: $(INSTALLED_DEV) $(INSTALLED_LIVE)  ## with real LSL streams on this machine, in real time
	$(RUN) -m pytest tests/services/test_live_lsl.py $(ARGS)

lint: $(INSTALLED_DEV)  ## style, types and formatting
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(INSTALLED_DEV)  ## put the code into its format
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

sweep: $(INSTALLED)  ## search a recipe's parameters with Optuna: make sweep ARGS="trials=20 study=NAME"
	@$(RUN) -m pipeline.studies.search dataset=$(DATASET) experiment=$(or $(RECIPE),lstm) $(ARGS)

sweep-best: $(INSTALLED)  ## write the best trial as a new recipe: make sweep-best NAME=tuned
	@$(RUN) -m pipeline.studies.search best dataset=$(DATASET) experiment=$(or $(RECIPE),lstm) name=$(NAME) $(ARGS)

bench: $(INSTALLED)  ## every recipe on the same recordings; with all twelve subjects it writes docs/benchmark.md
	$(RUN) -m pipeline.bench.methods $(ARGS)

bench-leak: $(INSTALLED)  ## recipes on shuffled and shifted labels; writes docs/benchmark.md
	$(RUN) -m pipeline.bench.leak $(ARGS)

bench-lstm: $(INSTALLED)  ## the LSTM cells' speed and errors, against torch.nn.LSTM
	$(RUN) -m pipeline.bench.lstm

bench-cells: $(INSTALLED)  ## train every LSTM cell on simulated data; writes docs/cells.md
	$(RUN) -m pipeline.bench.cells $(ARGS)

bench-train: $(INSTALLED)  ## the training loop's speed against a bare one; writes docs/bench-train.md
	$(RUN) -m pipeline.bench.train

bench-recipe: $(INSTALLED)  ## what each correction of the 2015 recipe is worth; writes docs/recipe-2015.md
	$(RUN) -m pipeline.bench.recipe $(ARGS)

bench-windows: $(INSTALLED)  ## the network against LDA on real event windows (FILE=...); writes docs/recipes.md
	@$(RUN) -m pipeline.bench.event_windows '$(FILE)' $(ARGS)

bench-ablation: $(INSTALLED)  ## what each ingredient of the best recipes is worth; writes docs/recipes.md
	$(RUN) -m pipeline.bench.ablation $(ARGS)

bench-ceiling: $(INSTALLED)  ## how well the events' own times tell what comes next; writes docs/recipes.md
	$(RUN) -m pipeline.bench.ceiling $(ARGS)

bench-decisions: $(INSTALLED)  ## onsets of lstm, semi_markov and stack at full size; writes docs/decisions.md
	$(RUN) -m pipeline.bench.decisions $(ARGS)

bench-calibration: $(INSTALLED)  ## AUC of new subjects against minutes of their own EEG; writes docs/new-subjects.md
	$(RUN) -m pipeline.bench.calibration $(ARGS)

bench-cued: $(INSTALLED)  ## real EEG with cues, beside what their rhythm alone gives; writes docs/your-own-recordings.md
	$(RUN) -m pipeline.bench.cued $(ARGS)

bench-live: $(INSTALLED)  ## time of every recipe for a chunk of a live signal; writes docs/live.md
	$(RUN) -m pipeline.bench.live $(ARGS)

bench-live-memory: $(INSTALLED)  ## memory of every recipe over an hour of signal; writes docs/live.md
	$(RUN) -m pipeline.bench.live_memory $(ARGS)

bench-lsl: $(INSTALLED_LIVE)  ## a real LSL stream, and each fault of one, against the batch; writes docs/live.md
	$(RUN) -m pipeline.bench.lsl $(ARGS)

bench-read: $(INSTALLED)  ## reading and filtering against pandas and SciPy; writes docs/scale.md
	$(RUN) -m pipeline.bench.read $(ARGS)

bench-full: $(INSTALLED)  ## the whole competition from CSV to submission (some 1.5 hours in all): ARGS="recipes=lstm parts=1/4"; writes docs/scale.md
	$(RUN) -m pipeline.bench.full $(ARGS)

fuzz: $(INSTALLED)  ## 10,000 broken CSV files and zips through the readers: ARGS="cases=10000 seed=0"
	@$(RUN) -m pipeline.bench.fuzz $(ARGS)

chaos: $(INSTALLED)  ## kill commands, fill disks, damage files: ARGS="kills=60 seed=0"; writes docs/reliability.md
	@$(RUN) -m pipeline.bench.chaos $(ARGS)

audit: $(INSTALLED_DEV) $(INSTALLED_AUDIT)  ## known weaknesses of the installed packages; no file is unpickled, no server is open
	$(RUN) -m pytest -q tests/test_audit.py $(ARGS)
	@$(RUN) -m pipeline.bench.audit

calibrate: $(INSTALLED)  ## simulated against real figures, row by row; writes docs/simulator.md
	$(RUN) -m pipeline.bench.calibrate $(ARGS)

picture: $(INSTALLED)  ## draw a detection, the README's picture; writes docs/detection.png
	$(RUN) -m pipeline.bench.picture $(ARGS)

live-picture: $(INSTALLED_DEV)  ## look at a replay's page in Chromium; writes docs/live.png
	$(RUN) -m pipeline.bench.watch $(ARGS)

front-page: $(INSTALLED)  ## write the README's table of methods and the map of files in docs/design.md
	$(RUN) -m pipeline.bench.front_page

docs: $(INSTALLED_DOCS)  ## build the documentation site in site/
	NO_MKDOCS_2_WARNING=true $(RUN) -m mkdocs build --strict --quiet
	@echo "$(CURDIR)/site/index.html"

lock: $(INSTALLED_DEV) $(INSTALLED_DOCS) $(INSTALLED_KAGGLE) $(INSTALLED_BIDS) $(INSTALLED_LIVE) $(INSTALLED_CLUSTER) $(INSTALLED_AUDIT)  ## write the installed versions to constraints.txt
	$(RUN) -m pip freeze --exclude-editable | sed "s/+cpu$$//" > constraints.txt

clean:  ## remove what can be made again: derived files and outputs (not data/raw, not the runs)
	rm -rf data/derived outputs site
