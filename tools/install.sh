#!/usr/bin/env bash
# Make a virtual environment with everything in it. Safe to run again: it does what is missing.
#   PYTHON  interpreter for the environment   (default python3.11)
#   VENV    where the environment is made     (default .venv)
#   TORCH   what pip is asked for as torch    (default torch==2.13.0)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3.11}
VENV=${VENV:-.venv}
TORCH=${TORCH:-torch==2.13.0}
MMCV=mmcv==2.1.0
NUMPY=numpy==1.26.4
OPENCV=opencv-python-headless==4.11.0.86
NEEDED_GB=8
PY=$VENV/bin/python
STAMP=$VENV/installed
PRINT_VERSION='import sys; print("%d.%d" % sys.version_info[:2])'

main() {
    local wanted
    wanted=$(fingerprint)
    if [ -x "$PY" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    check_system
    make_venv
    install_packages
    echo "$wanted" >"$STAMP"
    say "Installed in $VENV. 'make env' shows the versions."
}

# Changes when this script, the pins, or what the caller asks for change.
fingerprint() {
    { cat requirements.txt setup.py tools/install.sh; echo "$PWD $TORCH"; "$PYTHON" -VV 2>&1 || true; } |
        cksum
}

# Before anything is downloaded: name all that the system lacks, and the line that installs it.
check_system() {
    local packages=() version
    if ! "$PYTHON" -c '' 2>/dev/null; then
        packages+=(python3.11 python3.11-venv python3.11-dev)
    else
        version=$("$PYTHON" -c "$PRINT_VERSION")
        case $version in
        3.10 | 3.11) ;;
        *) fail "$PYTHON is Python $version; spconv-cu120 has wheels for 3.10 and 3.11 only." \
            "Use another one: make PYTHON=python3.11 (for 3.12 see the CUDA table in README.md)." ;;
        esac
        "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || packages+=("python$version-venv")
        [ -f "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] ||
            packages+=("python$version-dev")
    fi
    command -v "${CXX:-g++}" >/dev/null || packages+=(g++)
    if [ ${#packages[@]} -gt 0 ]; then
        fail "Missing on this system: ${packages[*]}. Install them (Debian, Ubuntu), then try again:" \
            "    sudo apt-get update && sudo apt-get install -y ${packages[*]}" \
            'A Python from elsewhere (pyenv, conda, uv) does as well: make PYTHON=/path/to/python3.11'
    fi
    if [ "$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')" -lt $NEEDED_GB ] && [ ! -x "$PY" ]; then
        fail "Less than $NEEDED_GB GB are free here; the environment takes about 4, the demo 1."
    fi
}

make_venv() {
    if [ -x "$PY" ] && [ "$("$PY" -c "$PRINT_VERSION")" != "$("$PYTHON" -c "$PRINT_VERSION")" ]; then
        fail "$VENV was made by another Python than $PYTHON. Remove it: rm -r $VENV"
    fi
    "$PY" -m pip --version >/dev/null 2>&1 || "$PYTHON" -m venv "$VENV"
}

install_packages() {
    say 'Installing torch (1/4)'
    pip_install 'setuptools<81' wheel ninja "$TORCH" "$NUMPY"
    say 'Installing mmdet3d, spconv and the rest (2/4)'
    pip_install -r requirements.txt
    # mmengine brings opencv-python, which needs the system's libGL. The headless build has the
    # same files without that need, so it goes on top.
    opencv_is_headless || pip_install --force-reinstall --no-deps "$OPENCV"
    say "Installing $MMCV with its operators (3/4): compiles for about 10 minutes the first time"
    install_mmcv
    say 'Installing this repository (4/4)'
    pip_install --no-deps --no-build-isolation -e .
    "$PY" tools/check_env.py
}

opencv_is_headless() {
    "$PY" -c "import cv2, re, sys
sys.exit(not re.search(r'GUI: +NONE', cv2.getBuildInformation()))" 2>/dev/null
}

# mmcv has no wheel: it is compiled against the torch that is there, hence no build isolation.
install_mmcv() {
    mmcv_loads && return
    MMCV_WITH_OPS=1 pip_install --no-build-isolation --no-deps "$MMCV"
    mmcv_loads && return
    say "The $MMCV in pip's cache was compiled for another torch: compiling it again"
    MMCV_WITH_OPS=1 pip_install --no-build-isolation --no-deps --force-reinstall --no-cache-dir "$MMCV"
}

mmcv_loads() {
    "$PY" -c "import mmcv, mmcv.ops; assert mmcv.__version__ == '${MMCV#*==}'" 2>/dev/null
}

pip_install() {
    "$PY" -m pip install --disable-pip-version-check "$@"
}

say() {
    printf '== %s\n' "$*"
}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

main
