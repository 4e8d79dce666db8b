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


def test_the_extra_that_is_missing_is_a_warning_with_its_command(repository):
    """As if transformers and torchvision were installed or not, by their metadata alone."""
    found = check(repository, {'torchvision': ('0.29.1', ['torch==2.99.0'])})
    assert "transformers: ('not installed" in found and 'pip install transformers==5.24.0' in found
    assert "torchvision: ('0.29.1 asks for torch==2.99.0, this is" in found
    found = check(repository, {'transformers': ('4.9.0', [])})
    assert "transformers: ('4.9.0, tested with 5.24.0" in found
    assert 'torchvision: not installed, not needed' in found
    assert 'give it --no-deps' in found


CHECK = """
import importlib.metadata as metadata, sys
sys.path.insert(0, sys.argv[1])
sys.argv[0] = sys.argv[1] + '/tools/check_env.py'
known = {known}
def version(name):
    if name not in known:
        raise metadata.PackageNotFoundError(name)
    return known[name][0]
metadata.version, metadata.requires = version, lambda name: known[name][1]
import runpy
tool = runpy.run_path(sys.argv[0], run_name='tool')
for name in ('transformers', 'torchvision'):
    try:
        print(f'{{name}}:', tool[f'check_{{name}}']())
    except tool['Problem'] as problem:
        print(f'{{name}}:', (str(problem), problem.cure, problem.fatal))
"""


def check(repository, known):
    """What the two checks say where the installed distributions are as given."""
    command = [sys.executable, '-c', CHECK.format(known=known), str(repository)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout
