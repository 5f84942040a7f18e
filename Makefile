# `make book` and `make test` need a Python from 3.11 to 3.14 and nothing else.
PYTHON := $(shell for p in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PROFILE := quick
WORKERS := 2

.PHONY: book test lint bench parity screenshots pdf slides clean
book: .venv/installed
	$(BIN)/cch run --profile $(PROFILE) --workers $(WORKERS)
	$(BIN)/cch build --profile $(PROFILE)

# Which files go first says tests/conftest.py.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

bench: .venv/installed
	for bench in benchmarks/bench_*.py; do $(BIN)/python $$bench || exit 1; done

# The authors' package asks for NumPy < 2 in its metadata alone; what is compared here works with 2.
parity: .venv/installed
	$(BIN)/python -m pip install --quiet --no-deps --target _build/parity latentmi==0.1.3 transformer-ranker==0.2.0
	PYTHONPATH=_build/parity $(BIN)/python -m pytest tests/cchlib/mi/test_parity.py tests/cchdecide/test_logme.py

screenshots: .venv/installed
	$(BIN)/python tests/book/screenshots.py

pdf: book
	$(BIN)/cch pdf --profile $(PROFILE)

slides: book
	$(BIN)/cch slides --profile $(PROFILE)

clean:
	rm -rf _build

# Installed when constraints and project file are older than the marker, which is written last.
.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 is wanted; none was found"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[book,crate,test]"
	touch $@
