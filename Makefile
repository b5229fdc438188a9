# Everything here runs as root, on Debian or Ubuntu; vagrant/provision.sh installs what is missing.
MAKEFLAGS += --no-print-directory
VENV ?= .venv
PYTEST_ARGS ?=

provision := vagrant/provision.sh --venv $(VENV)
scripts := .ci/run vagrant/provision.sh vagrant/demo.sh

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-vm lint clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

setup: ## install what ebpfnet needs, and put `ebpfnet` on the PATH
	@$(provision) --link

demo: ## set up, then attach, ping, show the tables, compare and detach
	@$(provision)
	@vagrant/demo.sh $(VENV)/bin/ebpfnet

test: ## set up, then run every test (PYTEST_ARGS="-k name" for some)
	@$(provision) --dev
	$(VENV)/bin/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

test-vm: ## set up, then run tests in virtual machines with other kernels: minutes
	@$(provision) --vm
	$(VENV)/bin/python -m pytest -m vm $(PYTEST_ARGS)

lint: ## set up, then ruff, mypy --strict and shellcheck
	@$(provision) --dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	shellcheck $(scripts)

clean: ## remove the virtual environment, a link that pointed to it, and every cache
	if [ -e $(VENV)/pyvenv.cfg ]; then rm -rf $(VENV); fi
	if [ ! -e /usr/local/bin/ebpfnet ]; then rm -f /usr/local/bin/ebpfnet; fi
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
