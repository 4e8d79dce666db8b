"""The runtime alone: a Python that has numpy and onnxruntime, and nothing of ours."""

import os
import subprocess
import sys
import venv
from importlib.metadata import version

import numpy as np
import pytest

from deploy.detector import Detector

NEEDED = ('numpy', 'onnxruntime')


@pytest.fixture(scope='module')
def bare_python(tmp_path_factory):
    """An interpreter whose packages are numpy and onnxruntime; skipped where pip finds no index."""
    folder = tmp_path_factory.mktemp('bare')
    venv.create(folder, with_pip=False)
    python = folder / 'bin' / 'python'
    found = subprocess.run(
        [python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'],
        capture_output=True,
        text=True,
        check=True,
    )
    packages = [f'{name}=={version(name)}' for name in NEEDED]
    command = [sys.executable, '-m', 'pip', 'install', '--no-deps', '--disable-pip-version-check']
    result = subprocess.run(
        [*command, '--target', found.stdout.strip(), *packages], capture_output=True, text=True
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ['no message'])[-1]
        pytest.skip(f'pip cannot install {", ".join(packages)}: {last}')
    return python


def run(python, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith('PYTHON')}
    return subprocess.run(
        [str(python), *map(str, arguments)], env=environment, capture_output=True, text=True
    )


def test_a_bare_python_runs_the_export(bare_python, exported, clouds, tmp_path):
    folder, _ = exported
    clouds[0].tofile(tmp_path / 'cloud.bin')
    assert run(bare_python, '-c', 'import torch').returncode  # it is bare
    shown = run(bare_python, folder / 'detector.py', tmp_path / 'cloud.bin', '--score', '0.05')
    assert shown.returncode == 0, shown.stderr
    _, scores, _ = Detector(folder)(clouds[0], score_threshold=0.05)
    lines = shown.stdout.splitlines()
    assert len(lines) == len(scores) > 0
    assert sorted(float(line.split()[1]) for line in lines) == pytest.approx(
        sorted(scores.tolist()), abs=1e-3
    )


def test_a_cloud_that_is_cut_short_is_refused_by_name(exported, tmp_path):
    np.zeros(7, np.float32).tofile(tmp_path / 'cloud.bin')
    shown = run(sys.executable, exported[0] / 'detector.py', tmp_path / 'cloud.bin')
    assert shown.returncode == 1
    assert '7 numbers' in shown.stderr and 'time_lag' in shown.stderr


def test_a_sweep_as_nuscenes_stores_it_is_read_on_request(exported, clouds, tmp_path):
    cloud = clouds[0].copy()
    cloud[:, 4] = 0
    cloud.tofile(tmp_path / 'now.bin')
    cloud[:, 4] = np.arange(len(cloud)) % 32  # the ring
    cloud.tofile(tmp_path / 'sweep.bin')
    program = exported[0] / 'detector.py'
    options = ['--score', '0.05']
    now = run(sys.executable, program, tmp_path / 'now.bin', *options)
    sweep = run(sys.executable, program, tmp_path / 'sweep.bin', *options, '--sweep')
    assert now.stdout == sweep.stdout and now.stdout
    refused = run(sys.executable, program, tmp_path / 'sweep.bin')
    assert refused.returncode == 1 and 'has its ring there' in refused.stderr


def test_the_runtime_imports_numpy_and_onnxruntime_alone(exported):
    text = (exported[0] / 'detector.py').read_text()
    imports = {
        line.split()[1].partition('.')[0]
        for line in text.splitlines()
        if line.startswith(('import ', 'from '))
    }
    assert imports - set(sys.stdlib_module_names) == {'numpy', 'onnxruntime'}
