#!/usr/bin/env bash
# The one command for a machine with a GPU: installs what is missing from a folder of wheels, runs
# the tests marked gpu and the benchmarks, and writes every output to a folder. A step that fails
# does not stop the others; the exit status is the number of steps that failed.
#
#   tools/benchmarks/gpu_check.sh OUT [WHEELS]
#
#   OUT     folder for the results; summary.txt names what ran and how it ended
#   WHEELS  folder of wheels; each one that is not installed in its version goes, without
#           dependencies, into a virtual environment OUT/venv on top of PYTHON's own packages
#   PYTHON  interpreter with a CUDA torch (default python3)
#   FRAME   info file of one nuScenes frame for the full-size benchmark
#           (default ../shared/data/nuscenes/*.pkl, passed over where it is not there)
#   MINUTES most minutes for a step (default 20)
set -uo pipefail
shopt -s nullglob

if [[ $# -lt 1 || $# -gt 2 ]]; then
    sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 64
fi
mkdir -p "$1"
OUT=$(cd "$1" && pwd)
WHEELS=${2:+$(cd "$2" && pwd)}
PYTHON=${PYTHON:-python3}
MINUTES=${MINUTES:-20}
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 66
DATA=$OUT/lidarsim
SUMMARY=$OUT/summary.txt
FAILED=0
: >"$SUMMARY"

# step NAME COMMAND...: run a command with a time limit; its output goes to OUT/NAME.txt.
step() {
    local name=$1 start=$SECONDS status=0
    shift
    echo "== $name: $*"
    timeout --kill-after=30 "${MINUTES}m" "$@" >"$OUT/$name.txt" 2>&1 || status=$?
    if ((status)); then
        FAILED=$((FAILED + 1))
        tail -n 5 "$OUT/$name.txt"
    fi
    printf '%-16s %-8s %5d s\n' \
        "$name" "$([[ $status -eq 0 ]] && echo ok || echo "exit $status")" \
        "$((SECONDS - start))" | tee -a "$SUMMARY"
}

# installed WHEEL: whether PYTHON has this wheel's distribution in this wheel's version.
installed() {
    local name version
    IFS=- read -r name version _ <<<"$(basename "$1")"
    "$PYTHON" - "$name" "$version" <<'PY'
import importlib.metadata
import sys

name, version = sys.argv[1:]
try:
    sys.exit(importlib.metadata.version(name) != version)
except importlib.metadata.PackageNotFoundError:
    sys.exit(1)
PY
}

if [[ -n $WHEELS ]]; then
    if [[ ! -x $OUT/venv/bin/python ]]; then
        step venv "$PYTHON" -m venv --system-site-packages "$OUT/venv"
    fi
    PYTHON=$OUT/venv/bin/python
    missing=()
    for wheel in "$WHEELS"/*.whl; do
        installed "$wheel" || missing+=("$wheel")
    done
    if ((${#missing[@]})); then
        step install "$PYTHON" -m pip install --no-index --no-deps "${missing[@]}"
    fi
fi

step machine nvidia-smi
step check_env "$PYTHON" tools/check_env.py
step pytest_gpu "$PYTHON" -m pytest -m gpu -v --durations=10 --junitxml="$OUT/pytest_gpu.xml"
step lidarsim "$PYTHON" tools/create_lidarsim.py --out "$DATA"

step bench_step "$PYTHON" tools/benchmarks/bench_step.py configs/distill/bevfusion_crd_mini.py \
    --out "$OUT/bench_step.json" --cfg-options "train_dataloader.dataset.data_root=$DATA/"
frames=(../shared/data/nuscenes/*.pkl)
FRAME=${FRAME:-${frames[0]:-}}
if [[ -n $FRAME ]]; then
    step bench_full_step "$PYTHON" tools/benchmarks/bench_step.py configs/distill/bevfusion_crd.py \
        --frame "$FRAME" --out "$OUT/bench_full_step.json"
fi
if [[ -f tools/benchmarks/bench_crd.py ]]; then
    step bench_crd "$PYTHON" tools/benchmarks/bench_crd.py
fi
step compare_mini "$PYTHON" tools/analysis/compare_models.py \
    configs/bevfusion/bevfusion_lidar_teacher_mini.py \
    configs/bevfusion/bevfusion_lidar_student_mini.py \
    --out "$OUT/compare_mini.json" --cfg-options "test_dataloader.dataset.data_root=$DATA/"
sweeps=(../shared/data/nuscenes/*LIDAR_TOP*.bin)
if ((${#sweeps[@]})); then
    full_size=()
    for config in configs/bevfusion/*.py; do
        [[ $config == *_mini.py ]] || full_size+=("$config")
    done
    step compare_full "$PYTHON" tools/analysis/compare_models.py "${full_size[@]}" \
        --points "${sweeps[0]}" --out "$OUT/compare_full.json"
fi
step preflight_amp "$PYTHON" tools/preflight.py configs/distill/bevfusion_crd.py \
    --cfg-options optim_wrapper.type=AmpOptimWrapper

echo
cat "$SUMMARY"
exit "$FAILED"
