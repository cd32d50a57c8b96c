# Two commands for a newcomer: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLOORS := .venv-floors

.PHONY: demo test lint floors clean

# One stamp per install: done again when a dependency list changes.
$(VENV)/.installed: pyproject.toml constraints.txt ros2_ws/src/robot_wm/setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev,ros-wheels]' --editable ros2_ws/src/robot_wm
	touch $@

demo: $(VENV)/.installed
	$(BIN)/robot-wm quickstart --force

# One thread: the tests' matrices are tiny, and threads that wait for each other on busy cores cost minutes.
test: $(VENV)/.installed lint
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/pytest --cov --cov-report=term:skip-covered --durations=10

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
	OMP_NUM_THREADS=1 $(FLOORS)/bin/pytest -p no:cacheprovider --ignore tests/ros --ignore tests/hil --ignore tests/baselines

clean:
	rm -rf $(VENV) $(FLOORS) runs
