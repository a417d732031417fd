# `make` lists the targets.
.PHONY: help check fix test slow audit docs gallery bench

help:
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

check: ## what CI runs: format, lint, types, import contracts, documents, tests
	ruff format --check . && ruff check . && mypy && lint-imports && python docs/generate.py --check && pytest -n auto --dist loadfile

fix: ## format and mend what can be mended
	ruff format . && ruff check --fix . && python docs/generate.py

test: ## the tests
	pytest -n auto --dist loadfile

slow: ## the long tests
	pytest -m slow

audit: ## known weaknesses of what is installed (wants a network)
	pip install pip-audit && pip-audit

docs: ## write docs/stages.md again
	python docs/generate.py

gallery: ## make the pictures of docs/gallery.md from the recipes on it
	python docs/gallery.py
