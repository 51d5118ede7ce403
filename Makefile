# make run    sets everything up and opens the dashboard on a live sandbox
# make test   sets everything up and passes the tests
# make check, bench, wheel, screenshots, docs: see the targets below

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: run test check bench format wheel docs screenshots keys clean

run: $(VENV)/.ready
	@sh tools/system-packages run
	@if [ -t 0 ] && [ -t 1 ]; then exec $(BIN)/cttui --sandbox; else exec $(BIN)/cttui tale ten-syns table-full; fi

test: $(VENV)/.ready-dev
	@sh tools/system-packages test
	@$(MAKE) --no-print-directory check
	@# Four at a time, since they mostly wait; one of the four runs all that fill a table. What fails is run once more,
	@# alone: these tests share one kernel with whatever else the machine does. The first report stays in the output,
	@# so that a test that needs this can be seen and mended.
	$(BIN)/python -m pytest -n 4 --dist loadgroup $(PYTEST_ARGS) || { echo "Once more, only what failed:"; $(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(PYTEST_ARGS); }

check: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready-dev
	@$(BIN)/python tools/bench.py $(BENCH_ARGS)

# Pages made from the program: keys, tales, settings, manual page, completions.
keys: $(VENV)/.ready-dev
	@for page in keys tales_doc settings man completion files; do $(BIN)/python tools/make_$$page.py || exit; done

docs: $(VENV)/.ready-docs keys
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site/index.html"

# Real runs in the sandbox; some of them fill its table for seconds.
screenshots: $(VENV)/.ready-dev
	@sh tools/system-packages test
	$(BIN)/python tools/screenshots.py $(SCENES)

wheel: $(VENV)/.ready-dev
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) dist build site

# Marker files, so that a second `make run` starts at once and a change of dependencies sets up again.
$(VENV)/.ready: pyproject.toml constraints.txt
	@sh tools/python-environment "$(PYTHON)" "$(VENV)" .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt
	@sh tools/python-environment "$(PYTHON)" "$(VENV)" '.[dev]'
	@touch $(VENV)/.ready $@

$(VENV)/.ready-docs: pyproject.toml constraints.txt
	@sh tools/python-environment "$(PYTHON)" "$(VENV)" '.[dev,docs]'
	@touch $(VENV)/.ready $(VENV)/.ready-dev $@
