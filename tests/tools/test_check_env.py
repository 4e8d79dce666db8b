"""tools/check_env.py tells what is there, what is not, and what to type."""

import subprocess
import sys


def test_this_environment_can_run_the_main_job(repository):
    result = run(repository, sys.executable)
    assert result.returncode == 0, result.stdout
    for name in ('torch', 'mmengine', 'mmcv', 'mmdet3d', 'spconv', 'numpy', 'nuscenes-devkit'):
        assert f'ok   {name} ' in result.stdout
    assert 'operators load' in result.stdout


def test_an_empty_python_gets_the_commands_that_fill_it(repository):
    result = run(repository, sys.executable, '-S', '-E')  # without site-packages
    assert result.returncode == 1
    assert 'FAIL torch ' in result.stdout
    assert 'mmcv: MMCV_WITH_OPS=1 pip install --no-build-isolation' in result.stdout
    assert 'Traceback' not in result.stdout + result.stderr


def run(repository, *python):
    command = [*python, str(repository / 'tools' / 'check_env.py')]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)
