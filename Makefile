# Two commands for a newcomer: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLOORS := .venv-floors
# Tests at a time; make test WORKERS=8 where there are more cores (a test takes one, and up to 2 GB of memory).
WORKERS ?= 2
# What hangs on real time or on DDS's domains: it runs after all else, one test at a time, with the machine to itself.
REAL_TIME := tests/ros tests/hil tests/training/test_realtime_actor.py
# Properties are tried with the same examples every time: a change is judged by what it changes. To draw new ones:
# make test EXAMPLES=search
EXAMPLES ?= ci
# One thread: the tests' matrices are tiny, and threads that wait for each other on busy cores cost minutes.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --durations=10 --hypothesis-profile=$(EXAMPLES)
# A file's tests stay together, for they share what is dear to make; files in order, since many tests are not long tests.
PARALLEL := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test coverage lint floors clean

# One stamp per install: done again when a dependency list changes.
$(VENV)/.installed: pyproject.toml constraints.txt ros2_ws/src/robot_wm/setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev,ros-wheels]' --editable ros2_ws/src/robot_wm
	touch $@

demo: $(VENV)/.installed
	$(BIN)/robot-wm quickstart --force

# Both halves run, whatever the first one says.
test: $(VENV)/.installed lint
	trap 'exit 130' INT; failed=0; \
	$(PYTEST) $(PARALLEL) $(REAL_TIME:%=--ignore=%) $(COVER) || failed=1; \
	$(PYTEST) $(REAL_TIME) $(COVER) || failed=1; \
	exit $$failed

# The same, and which lines they reach: tracing them takes longer. One report covers both halves.
coverage: $(VENV)/.installed
	$(BIN)/coverage erase
	$(MAKE) test COVER='--cov --cov-append --cov-report=term:skip-covered'

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every dependency at the oldest version that it is declared with, and most of the tests there.
floors: $(VENV)/.installed
	$(PYTHON) -m venv --clear $(FLOORS)
	$(BIN)/python tests/dependencies/floors.py all dev ros-wheels tensorrt > $(FLOORS)/constraints.txt
	$(FLOORS)/bin/pip install --quiet --constraint $(FLOORS)/constraints.txt --editable '.[all,dev,ros-wheels,tensorrt]'
	OMP_NUM_THREADS=1 $(FLOORS)/bin/pytest $(PARALLEL) -p no:cacheprovider --ignore tests/ros --ignore tests/hil --ignore tests/baselines

clean:
	rm -rf $(VENV) $(FLOORS) runs
