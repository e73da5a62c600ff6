# Thin names for what the scripts do; every target makes or reuses .venv (scripts/env.sh).
SHELL := bash
IN_ENV := set -euo pipefail; EXTRA=dev; . scripts/env.sh; bin=.venv/bin

.PHONY: help check format test test-slow fuzz fuzz-atheris demo docs docs-pictures delineator constraints clean

help:            ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

check:           ## formatting, lint, types
	@$(IN_ENV); $$bin/ruff format --check .; $$bin/ruff check .; $$bin/mypy

format:          ## put the formatting right, and what lint can put right by itself
	@$(IN_ENV); $$bin/ruff format .; $$bin/ruff check --fix .

test:            ## the tests, as CI runs them
	@bash scripts/test.sh

test-slow:       ## the tests that take minutes
	@bash scripts/test.sh -m slow

fuzz:            ## 200,000 mutated files to every reader and loader (an hour; finds go to build/finds)
	@$(IN_ENV); mkdir -p build/finds; $$bin/python -W ignore scripts/fuzz.py --count 200000 --keep build/finds \
	  $(if $(wildcard ../shared/data/formats),--files ../shared/data/formats)

# atheris goes into an environment of its own, which borrows what .venv has; no extra names it and CI needs none
ATHERIS := build/atheris
fuzz-atheris:    ## the same targets by coverage, with atheris (ten minutes: SECONDS=600 TARGET=readers; finds go to build/finds)
	@$(IN_ENV); [ -x $(ATHERIS)/bin/python ] || $$bin/python -m venv $(ATHERIS); \
	$$bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$$($(ATHERIS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"; \
	$(ATHERIS)/bin/python -c 'import atheris' 2>/dev/null || $(ATHERIS)/bin/python -m pip install -q atheris==3.0.0; mkdir -p build/finds; \
	$(ATHERIS)/bin/python -W ignore -m scripts.fuzz_atheris --target $(or $(TARGET),readers) --seconds $(or $(SECONDS),600) \
	  --keep build/finds --corpus build/corpus-$(or $(TARGET),readers) $(if $(wildcard ../shared/data/formats),--files ../shared/data/formats)

demo:            ## ask the embedded model about a real ECG
	@bash scripts/demo.sh

docs:            ## the documentation as a site, in build/site; a link that leads nowhere ends it
	@$(subst EXTRA=dev,EXTRA=docs,$(IN_ENV)); $$bin/python scripts/docs_site.py; NO_MKDOCS_2_WARNING=1 $$bin/mkdocs build --strict

docs-pictures:   ## the pictures of docs/pictures anew (a minute; needs Chromium for chat and report)
	@$(IN_ENV); $$bin/python scripts/docs_pictures.py

delineator:      ## the wave delineator anew, and its five folds (6 to 12 minutes each; needs ../shared/data)
	@bash scripts/train_delineator.sh

constraints:     ## constraints.txt anew: today's versions of everything that .[dev] pulls in, torch held
	@rm -rf build/constraints; python3 -m venv build/constraints
	@torch="$$(grep '^torch==' constraints.txt)"; bin=build/constraints/bin; set -euo pipefail; \
	$$bin/pip install -q "$$torch" && $$bin/pip install -q "$$torch" ".[dev]"; \
	{ sed -n '/^#/p' constraints.txt; $$bin/pip freeze --all --exclude llava-ecg --exclude pip | sed 's/+cpu$$//' | grep -v ' @ '; } >build/constraints.txt; \
	mv build/constraints.txt constraints.txt; rm -rf build/constraints

clean:           ## what can be made again, .venv included
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache playground/output
	find llava_ecg tests -name __pycache__ -prune -exec rm -rf {} +
