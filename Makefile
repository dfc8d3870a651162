# make evaluate   plan, act and report on maze2d-large; more options as ARGS="env=maze2d-umaze episodes=50"
# make test       lint, types, import rules and the tests
# make clean      remove the virtual environment and the caches; runs/ and outputs/ stay
#
# The virtual environment is made on the first call. PYTHON=/some/python3.12 chooses what it is made with.

VENV ?= .venv
ARGS ?=
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)
BIN := $(VENV)/bin

# MuJoCo 3.3, which Fetch and Kitchen need, has no builds for Python 3.14.
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: help evaluate test clean

help:
	@sed -n '1,5s/^# //p' Makefile

evaluate: $(VENV)/.installed
	$(BIN)/python scripts/evaluate.py env=maze2d-large $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find df_agent envs planners scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

# On Linux, PyPI's torch brings gigabytes of CUDA; without an NVIDIA GPU the CPU build is taken, if its index answers.
CPU_TORCH := https://download.pytorch.org/whl/cpu
define install
	@extra=; if [ "$$(uname)" = Linux ] && [ -z "$$PIP_EXTRA_INDEX_URL" ] && ! command -v nvidia-smi >/dev/null 2>&1 && \
		$(BIN)/python -c "from urllib.request import urlopen; urlopen('$(CPU_TORCH)/', timeout=5)" 2>/dev/null; then \
		echo "No NVIDIA GPU was found: installing the CPU build of torch"; extra="--extra-index-url $(CPU_TORCH)"; \
	fi; \
	$(BIN)/python -m pip install -e "$(1)" -c constraints.txt $$extra
endef

# The stamps keep a second call from installing again until the requirements change.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(call install,.)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(call install,.[dev])
	@touch $@ $(VENV)/.installed

# A candidate is run, not only looked up: a version manager's stub may be on the PATH and lead nowhere.
$(BIN)/pip:
	@for candidate in $(CANDIDATES); do \
		if "$$candidate" -c '$(SUITABLE)' >/dev/null 2>&1; then \
			echo "Making $(VENV) with $$("$$candidate" --version)"; \
			exec "$$candidate" -m venv --clear $(VENV); \
		fi; \
	done; \
	echo "No suitable Python among: $(CANDIDATES)." >&2; \
	echo "df-agent needs Python 3.11, 3.12 or 3.13 with its venv module (on Debian and Ubuntu: apt install" >&2; \
	echo "python3-venv). If yours is elsewhere, name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	exit 1
