# Variables: PYTHON (interpreter that makes .venv), VENV, TORCH (what pip installs as torch),
# SEED, QUICK=1 (demo in a few minutes), TEACHER=train (demos train their teacher, too), SLOW=0 (test
# without the slow ones), VERBOSE=1 (all that a demo's stages print), ARGS (more options for pytest
# or tools/demo.py).
PYTHON ?= python3.11
VENV ?= .venv
TORCH ?= torch==2.13.0
SEED ?= 0
TEACHER ?= shipped
SLOW ?= 1
BIN := $(VENV)/bin
MARKS := $(if $(filter 0,$(SLOW)),not gpu and not slow,not gpu)

KITTI := data/lidarsim_kitti$(if $(filter 1,$(QUICK)),_quick)
KITTI_DIR := work_dirs/demo_kitti$(if $(filter 1,$(QUICK)),_quick)
KITTI_REPORT := alone started_important important_links

MEDICAL := teacher student vanilla combined crd rkd mmd
MEDICAL_DIR := work_dirs/demo_medical$(if $(filter 1,$(QUICK)),_quick)
MEDICAL_QUICK := --cfg-options train_cfg.max_epochs=1 train_cfg.val_interval=1 \
  train_dataloader.dataset.indices=128 val_dataloader.dataset.indices=64 \
  test_dataloader.dataset.indices=64

VIDEO_DIR := work_dirs/demo_video$(if $(filter 1,$(QUICK)),_quick)
VIDEO_RUN = $(BIN)/python tools/experiments.py --seeds $(SEED) --metrics top1_order top1 \
  --work-dir $(VIDEO_DIR) $(ARGS)
VIDEO_REPORT := $(if $(filter train,$(TEACHER)),clip_teacher_mini) cnn_student_mini clip_cnn_mini
VIDEO_OPTIONS := --cfg-options default_scope=mmengine $(if $(filter 1,$(QUICK)),\
  train_cfg.max_epochs=1 train_cfg.val_interval=1 train_dataloader.dataset.indices=96 \
  val_dataloader.dataset.indices=-48 test_dataloader.dataset.indices=-48)
VIDEO_TEACHER := configs/video/clip_teacher_mini.pth
ifeq ($(TEACHER),train)
VIDEO_TEACHER := $(VIDEO_DIR)/clip_teacher_mini/seed_$(SEED)/model_best.pth
endif

export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help install env data demo demo-kitti demo-medical demo-video test lint format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## make .venv and install everything (once; about 15 minutes, most of it mmcv)
	@PYTHON="$(PYTHON)" VENV="$(VENV)" TORCH="$(TORCH)" tools/install.sh

env: install ## show versions and what is missing
	@$(BIN)/python tools/check_env.py

data: install ## generate the embedded data set in data/lidarsim
	@$(BIN)/python tools/create_lidarsim.py --out data/lidarsim

demo: install ## student alone, started from the teacher, distilled: train, evaluate, one table (QUICK=1: 5 min)
	@$(BIN)/python tools/demo.py --seed $(SEED) --teacher $(TEACHER) $(if $(filter 1,$(QUICK)),--quick) $(ARGS)

demo-kitti: install ## in KITTI's form: teacher, student alone, started, distilled, AP (QUICK=1: 2 min)
	@$(BIN)/python tools/create_lidarsim.py --out $(KITTI)
	@$(BIN)/python tools/benchmarks/run_protocol.py \
	  configs/distill/protocols/pointpillars_kitti_demo.py --seeds $(SEED) --data-root $(KITTI) \
	  --work-dir $(KITTI_DIR) $(if $(filter 1,$(QUICK)),--epochs 1) $(ARGS)
	@$(BIN)/python tools/report.py teacher=$(KITTI_DIR)/pointpillars_teacher_seed$(SEED) \
	  $(KITTI_REPORT:%=$(KITTI_DIR)/pointpillars_%_seed$(SEED)) --out $(KITTI_DIR)/report.html

demo-medical: install ## images with texts: teacher, student alone, five recipes, table (QUICK=1: 1 min)
	@$(BIN)/python tools/create_medsim.py --out data/medsim
	@$(BIN)/python tools/experiments.py $(MEDICAL:%=configs/medvl/medsim_%.py) --seeds $(SEED) \
	  --against medsim_student --metrics modality_f1 location_f1 mean_f1 \
	  --work-dir $(MEDICAL_DIR) $(if $(filter 1,$(QUICK)),$(MEDICAL_QUICK)) $(ARGS)
	@$(BIN)/python tools/report.py $(MEDICAL_DIR) --out $(MEDICAL_DIR)/report.html

demo-video: install ## clips: CLIP in small, student alone, student distilled, table (QUICK=1: 2 min)
	@$(BIN)/python tools/create_videosim.py --out data/videosim
ifeq ($(TEACHER),train)
	@$(BIN)/python tools/create_videosim.py --out data/videosim_kinetics --layout kinetics --trimmed \
	  --train-groups 150 --val-groups 5 --test-groups 5 --clips 1 --frames 16
	@$(VIDEO_RUN) configs/video/clip_frames_mini.py $(VIDEO_OPTIONS)
	@$(VIDEO_RUN) configs/video/clip_teacher_mini.py $(VIDEO_OPTIONS) \
	  load_from=$(VIDEO_DIR)/clip_frames_mini/seed_$(SEED)/model_best.pth
endif
	@$(VIDEO_RUN) configs/video/cnn_student_mini.py $(VIDEO_OPTIONS)
	@$(VIDEO_RUN) configs/video/clip_cnn_mini.py $(VIDEO_OPTIONS) model.teacher.checkpoint=$(VIDEO_TEACHER)
	@$(BIN)/python tools/report_video.py $(VIDEO_DIR) --run seed_$(SEED) --teacher $(VIDEO_TEACHER) \
	  $(VIDEO_OPTIONS)
	@$(BIN)/python tools/report.py $(VIDEO_REPORT:%=$(VIDEO_DIR)/%/seed_$(SEED)) --out $(VIDEO_DIR)/report.html

test: lint ## lint and the whole test suite (SLOW=0: without the slow tests)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --durations=15 -m "$(MARKS)" $(ARGS)

lint: install ## ruff check and ruff format --check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: install ## let ruff mend and format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove generated data, runs and caches (not .venv)
	rm -rf data/lidarsim data/lidarsim_quick data/lidarsim_kitti* data/medsim work_dirs build .pytest_cache .ruff_cache
