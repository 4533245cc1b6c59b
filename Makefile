# Longer Context: the habits. Two are enough for most readers: `make book` and `make test`.
export OMP_NUM_THREADS ?= 1
PY := .venv/bin/python
JOBS ?= 2
PORT ?= 8000
NOTEBOOKS ?= $(wildcard notebooks/*.ipynb)
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg
.DEFAULT_GOAL := help
.PHONY: help setup book serve test lint notebooks run sweep verify bench clean

help: ## list what can be done
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## create .venv: the locked packages and longctx (PYTHON=… picks the interpreter)

book: .venv/.ready ## run every notebook at the default profile and build the site in _build/html
	@$(PY) book/build.py --execute

serve: _build/html ## serve the built site on this machine (PORT=8000)
	@$(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

test: .venv/.ready ## everything that validates: units, oracles, notebooks (smoke and strict nbval), the site
	@.ci/browser || true
	@$(PY) -m pytest tests notebooks $(NBVAL) -n $(JOBS) --dist loadscope -rs

lint: .venv/.ready ## style, types, room order
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy && .venv/bin/lint-imports

notebooks: .venv/.ready ## run every notebook in place, so that the committed outputs are what the code prints
	@for path in $(NOTEBOOKS); do .venv/bin/longctx notebook $$(basename $$path .ipynb) --refresh || exit 1; done

run: .venv/.ready ## rerun one notebook with other parameters: make run NAME=… ARGS="-p seeds 3"
	@.venv/bin/longctx notebook $(NAME) $(ARGS)

sweep: .venv/.ready ## train what an experiment still lacks: make sweep EXPERIMENT=… (JOBS=2)
	@.venv/bin/longctx sweep $(EXPERIMENT) --jobs $(JOBS) $(ARGS)

verify: .venv/.ready ## retrain a sample of the committed records and compare: make verify ARGS="--sample 3"
	@.venv/bin/longctx verify $(ARGS)

bench: .venv/.ready ## time the library against its peers, side by side
	@.venv/bin/longctx bench $(ARGS)

clean: ## remove what can be made again (the site, caches), not .venv and not the downloaded text
	@rm -rf _build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/.ready: requirements.lock requirements-cuda.lock pyproject.toml
	@.ci/setup

_build/html:
	@echo "no site yet: run 'make book' first" >&2; exit 1
