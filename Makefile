# `make book` and `make test` need Python 3.11 or 3.12 and nothing else.
PYTHON := $(shell for p in $(PYTHON) python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PROFILE := quick
WORKERS := 2

.PHONY: book test bench screenshots pdf slides clean
book: .venv/installed
	$(BIN)/cch run --profile $(PROFILE) --workers $(WORKERS)
	$(BIN)/cch build --profile $(PROFILE)

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

bench: .venv/installed
	for bench in benchmarks/bench_*.py; do $(BIN)/python $$bench || exit 1; done

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
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is wanted; none was found"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[book,test,cluster]"
	touch $@
