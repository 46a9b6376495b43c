# make setup [CUDA=1] | tf2-msgs | demo | test | test-cuda | soak | lint | docs | bench | bench-mini | source-model | clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# CPU and CUDA builds of spconv share one module name: one of them is installed. The tests compare with the CPU's.
BUILD := $(if $(filter 1,$(CUDA)),cuda,cpu)
EXTRA_cpu := spconv
EXTRA_cuda := cuda
# The build that was set up last is used, unless CUDA=0 or CUDA=1 selects one.
READY := $(if $(CUDA),$(VENV)/.ready-$(BUILD),$(firstword $(wildcard $(VENV)/.ready-*) $(VENV)/.ready-cpu))

.PHONY: setup tf2-msgs demo test test-cuda soak lint docs bench bench-mini source-model clean

setup: $(READY)

$(VENV)/.ready-%: setup.py
	@$(PYTHON) -c 'import sys; assert (3, 10) <= sys.version_info[:2] <= (3, 13), "Python 3.10 to 3.13 needed, this is " + sys.version'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "venv is missing: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@rm -f $(VENV)/.ready-*
	@$(BIN)/python -m pip freeze 2>/dev/null | grep -iE '^(spconv|cumm)' | cut -d= -f1 | xargs -r $(BIN)/python -m pip uninstall -q -y
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRA_$*),ros,dev]'
	SAM2_BUILD_CUDA=0 $(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[sam2]'
	@touch $@

# /tf has no wheel: where a C++ compiler is present, this generates its message, and bags' TF is played over DDS, too.
tf2-msgs: setup
	.ci/tf2_msgs.sh $(VENV)

demo: setup
	$(BIN)/sam-adapt demo --output out/demo --force

test: setup
	$(BIN)/python -m pytest

# On a machine with a CUDA GPU: that it computes what the CPU does. The other tests do not look at it.
test-cuda: setup
	$(BIN)/python -m pytest -m cuda

soak: setup
	$(BIN)/python -m pytest -m soak --timeout 7200

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy sam_adapt_ros
	$(BIN)/sam-adapt parameters --check

docs: setup
	$(BIN)/sam-adapt parameters --output docs/parameters.md

bench: setup
	$(BIN)/sam-adapt bench

# The four published benchmarks, rehearsed on drives of the simulator in the data sets' own layouts: about ten minutes on
# two idle cores. Interrupted, it goes on.
MINI := out/mini
bench-mini: setup
	for layout in nuscenes semantickitti a2d2 virtual_kitti; do \
	  test -d $(MINI)/data/$$layout || $(BIN)/sam-adapt town $(MINI)/data/$$layout --layout $$layout --frames 4 || exit 1; done
	for name in usa_singapore day_night; do \
	  $(BIN)/sam-adapt benchmark $$name --recipe mini --data $(MINI)/data/nuscenes --allow-missing -o $(MINI)/$$name || exit 1; done
	$(BIN)/sam-adapt benchmark vkitti_semantickitti --recipe mini -o $(MINI)/vkitti_semantickitti \
	  --data $(MINI)/data/virtual_kitti --data $(MINI)/data/semantickitti
	$(BIN)/sam-adapt benchmark a2d2_semantickitti --recipe mini -o $(MINI)/a2d2_semantickitti \
	  --data $(MINI)/data/a2d2 --data $(MINI)/data/semantickitti

# The source model that ships: 1,632 rendered frames, then about an hour of training on one core.
source-model: setup
	$(BIN)/sam-adapt town out/town/day --drives 24 --seed 1 --frames 12 --period 2 --force
	$(BIN)/sam-adapt town out/town/varied --domain varied --drives 220 --seed 1000 --frames 6 --period 3 --force
	$(BIN)/sam-adapt town out/town/validation --drives 2 --seed 50 --frames 12 --period 1.5 --force
	$(BIN)/sam-adapt train config/train_town.yaml --force
	cp out/train/town_small/weights.safetensors resource/town_small.safetensors

clean:
	rm -rf out build install log *.egg-info
