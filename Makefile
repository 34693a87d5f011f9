# `make demo` and `make test` are all a newcomer needs; both work in a clean clone, in any order.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PEERS  := .venv-peers
DEMO   := demo

.PHONY: demo test install lint structure format docs wheel bench bench-peers fuzz emulated-pi emulated-pc container models clean

# The device set alone, without TensorFlow, on the built-in virtual slide.
demo: $(VENV)/.device
	@mkdir -p $(DEMO)
	@rm -f $(DEMO)/session.db $(DEMO)/session.db-wal $(DEMO)/session.db-shm $(DEMO)/last-field.png
	$(BIN)/edgeleuk run --camera 'virtual://?seed=7' --frames 300 \
	  --session $(DEMO)/session.db --picture $(DEMO)/last-field.png

# A file of tests stays with one process: what it prepared serves all its tests. The longest files come first
# (tests/longest.py); by itself pytest-xdist would begin with those of the most tests.
test: install
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Everything into $(VENV), nothing run.
install: $(VENV)/.everything

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Packages, floors, circles, the longest of each kind and the lines that repeat.
structure: install
	$(BIN)/python tests/structure.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site, into site/: strict, so that no link leads nowhere.
docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

# dist/edgeleuk-VERSION-py3-none-any.whl, which pip installs anywhere.
wheel: $(BIN)/python
	$(BIN)/python -m pip install --quiet build
	$(BIN)/python -m build --wheel --outdir dist .

bench: install
	$(BIN)/python -m pytest tests/bench --benchmark-only --benchmark-autosave \
	  --benchmark-storage=file://runs/bench --benchmark-quiet -q
	$(BIN)/python tests/bench/speed.py
	$(BIN)/python tests/bench/staleness.py
	$(BIN)/python tests/bench/recovery.py
	$(BIN)/python tests/bench/weight_flips.py
	$(BIN)/python tests/bench/frame_gate.py
	$(BIN)/python tests/bench/damaged_jpegs.py
	$(BIN)/python tests/bench/segmentation.py
	$(BIN)/python tests/bench/counting.py
	$(BIN)/python tests/bench/report_size.py
	$(BIN)/python tests/bench/session_cost.py
	$(BIN)/python tests/bench/verify_cost.py
	$(BIN)/python tests/bench/viewers.py
	$(BIN)/python tests/bench/page_resume.py
	$(BIN)/python tests/bench/link_faults.py
	$(BIN)/python tests/bench/link_faults.py --protocol grbl

# Every fuzzer in turn, with atheris: ten minutes each, or `make fuzz FUZZ_SECONDS=60`.
FUZZ_SECONDS ?= 600
fuzz: install
	$(BIN)/python -m pip install --quiet atheris
	@set -e; for each in tests/fuzz/fuzz_*.py; do \
	  echo "$$each: $(FUZZ_SECONDS) s"; $(BIN)/python $$each -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=1; done

# The wheel on an emulated Raspberry Pi 4 and 5: as root, with Debian's mmdebstrap, qemu-user and gcc.
emulated-pi: install
	$(BIN)/python tests/emulated/pi.py

# The image of Containerfile: ARCHITECTURE is amd64 or arm64, with Debian's buildah, and qemu-user-static for the other one.
# Its base is made of Debian's packages by mmdebstrap, or is BASE.
ARCHITECTURE ?= amd64
container: install
	$(BIN)/python tests/emulated/container.py --architecture $(ARCHITECTURE) $(if $(BASE),--base $(BASE))

# This environment on emulated PCs without fast int8, AVX2 and SSE4.2: with Debian's qemu-user.
emulated-pc: install
	$(BIN)/python tests/emulated/pc.py

# Beside what else could be used, in an environment of its own: 8 GB of packages, four minutes on 2 idle cores.
bench-peers: $(PEERS)/.everything
	$(PEERS)/bin/python tests/bench/peers.py

# Compares the networks on every fold (goes on where it was stopped), then trains and converts the shipped one, on every
# subject; and $(RUNS)/held-out.edgeleuk, without a fifth of them, for `validate`.
# DATA is a C-NMC folder, KINDS holds PBC and BCISC. Takes about two hours on 2 idle cores; the table is $(RUNS)/comparison.md.
DATA ?= ../shared/data/cnmc
KINDS ?= ../shared/data/white_cells
RUNS ?= runs/models
SHIPPED := efficientnet-lite0-frozen
models: install
	mkdir -p $(RUNS)/blasts
	$(BIN)/edgeleuk cross-validate --data $(DATA) --out $(RUNS) --folds 3 --seeds 2 --architecture $(SHIPPED) \
	  --architecture efficientnet-lite0-narrow --architecture resnet --architecture inception --architecture baseline
	$(BIN)/edgeleuk cross-validate --data $(DATA) --out $(RUNS)/folds --folds 5 --seeds 1 --architecture $(SHIPPED)
	$(BIN)/edgeleuk train --data $(DATA) --architecture $(SHIPPED) --answers $(RUNS)/folds --all-subjects \
	  --out $(RUNS)/every.keras
	$(BIN)/edgeleuk convert $(RUNS)/every.keras --int8 --repair --calibration $(DATA) --answers $(RUNS)/folds \
	  --out $(RUNS)/blasts/default.edgeleuk
	$(BIN)/edgeleuk train --data $(DATA) --architecture $(SHIPPED) --answers $(RUNS) --out $(RUNS)/held-out.keras
	$(BIN)/edgeleuk convert $(RUNS)/held-out.keras --int8 --repair --calibration $(DATA) --out $(RUNS)/held-out.edgeleuk
	$(BIN)/edgeleuk labels import $(KINDS)/pbc --slide-from pbc --by PBC --out $(RUNS)/pbc.labels --force
	$(BIN)/edgeleuk labels import $(KINDS)/bcisc/crops --names '{label}_{slide}-*' --by BCISC \
	  --out $(RUNS)/bcisc.labels --force
	$(BIN)/python tests/bench/shipped_heads.py $(RUNS)/blasts/default.edgeleuk --cnmc $(DATA) --kinds $(RUNS)/pbc.labels \
	  --kinds $(RUNS)/bcisc.labels --work $(RUNS)/heads --out edgeleuk/models/default.edgeleuk
	$(BIN)/edgeleuk verify edgeleuk/models/default.edgeleuk

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.device: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.everything: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[onnx,workstation,dev]'
	@touch $@ $(VENV)/.device

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

# ultralytics brings opencv-python, which lies over the product's own cv2 and needs a screen's libraries.
$(PEERS)/.everything: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --editable '.[onnx,workstation,peers]'
	$(PEERS)/bin/python -m pip uninstall --quiet --yes opencv-python
	$(PEERS)/bin/python -m pip install --quiet --force-reinstall --no-deps opencv-python-headless
	@touch $@

clean:
	rm -rf $(VENV) $(PEERS) $(DEMO) build dist site
