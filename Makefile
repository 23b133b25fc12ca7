# Two commands: `make demo` and `make test`. Each sets up everything it needs in .venv.
#
# PyTorch's default package brings several gigabytes of CUDA. For the CPU build, point pip at the
# index that serves it:  make demo PIP_ARGS="--extra-index-url <PyTorch's CPU index>"

PYTHON ?= python3.11
VENV ?= .venv
PIP_ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS)

.PHONY: demo test lint unit coverage bindings clean

demo: $(VENV)/.compile
	$(BIN)/mmedge compile examples/vqa --target cpu --output build/vqa.mmedge
	@$(BIN)/mmedge verify build/vqa.mmedge --quiet > build/verify.txt
	@$(BIN)/mmedge profile build/vqa.mmedge --against examples/vqa --quiet > build/profile.txt
	$(BIN)/mmedge run build/vqa.mmedge --input image=examples/vqa/sample.png \
	    --input question="Which colour does the bottom right digit have?"
	@echo "report: build/vqa.mmedge/report.html"
	@echo "golden check: build/verify.txt, cold start and memory: build/profile.txt"

test: lint unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A process for each of two cores, and one thread in each: more would wait for one another.
unit: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal

# Which architectures of Hugging Face Transformers compile: the table in README.md.
coverage: $(VENV)/.dev
	$(BIN)/python benchmarks/architectures.py

clean:
	rm -rf $(VENV) build dist

$(VENV)/.compile: pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory $(BIN)/python
	$(PIP) torch==2.13.0 --editable ".[compile]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory $(BIN)/python
	$(PIP) torch==2.13.0 --editable ".[dev]"
	@$(MAKE) --no-print-directory bindings
	@touch $@ $(VENV)/.compile

# TensorRT's Python bindings alone, of the versions that mmedge supports: a few megabytes, by which
# the tests see that each has what mmedge calls. Without them those tests are skipped.
BINDINGS := tensorrt-cu12-bindings==10.3.0 tensorrt-cu12-bindings==10.13.3.9 \
    tensorrt-cu13-bindings==10.16.1.11 tensorrt-cu13-bindings==11.4.0.106
bindings:
	@for wheel in $(BINDINGS); do \
	    $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps $(PIP_ARGS) \
	        --dest $(VENV)/wheels $$wheel || echo "not tested here: $$wheel"; \
	done

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is not installed: make PYTHON=<a Python 3.10 to 3.12>"; exit 1; }
	$(PYTHON) -m venv $(VENV)
