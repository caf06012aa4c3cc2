# Every verb sets up what it needs. PYTHON is the interpreter to build .venv from.
PYTHON ?= python3
PREFIX ?= /usr/local
VENV   ?= .venv
FUZZ_SECONDS  ?= 60
BENCH_SECONDS ?= 120
BIN     = $(VENV)/bin

.PHONY: help demo test lint bench fuzz install clean

help:
	@echo "make demo              an authenticated message over TLS from a client to a Maildir, here"
	@echo "make test              all tests; TESTFLAGS goes to pytest"
	@echo "make lint              ruff and mypy"
	@echo "make bench             the figures of tests/bench, measured in pairs"
	@echo "make fuzz              a minute of random input against the session engine"
	@echo "make install PREFIX=   programs, package and man pages below PREFIX ($(PREFIX))"
	@echo "make clean             forget .venv and caches"

$(VENV)/.done: pyproject.toml checkpw/__init__.py $(wildcard bin/*)
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.done
	@$(BIN)/python -m checkpw.cli.admin demo

test: $(VENV)/.done
	$(BIN)/python -m pytest -n auto $(TESTFLAGS)

lint: $(VENV)/.done
	$(BIN)/ruff check checkpw tests bin
	$(BIN)/ruff format --check checkpw tests
	$(BIN)/mypy

bench: $(VENV)/.done
	$(BIN)/python tests/bench/run.py --seconds $(BENCH_SECONDS)

fuzz: $(VENV)/.done
	$(BIN)/python tests/fuzz/session.py --seconds $(FUZZ_SECONDS)

install:
	umask 022; $(PYTHON) -m venv --clear '$(PREFIX)/lib/checkpw'
	umask 022; '$(PREFIX)/lib/checkpw/bin/python' -m pip install --quiet --disable-pip-version-check .
	umask 022; '$(PREFIX)/lib/checkpw/bin/python' -I -m checkpw.cli.admin install-programs '$(PREFIX)/bin'
	umask 022; mkdir -p '$(PREFIX)/share/checkpw' && install -m 644 checkpw/share/* '$(PREFIX)/share/checkpw/'
	umask 022; for section in 5 7 8; do \
	    mkdir -p '$(PREFIX)/share/man/man'$$section && \
	    install -m 644 man/man$$section/*.$$section '$(PREFIX)/share/man/man'$$section/ || exit 1; \
	done

clean:
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
