"""tools/install.sh checks the system before it downloads anything."""

import os
import subprocess
import sys


def run(repository, tmp_path, **env):
    return subprocess.run(
        [str(repository / 'tools' / 'install.sh')],
        env={**os.environ, 'VENV': str(tmp_path / 'venv'), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_missing_compiler_is_named_with_the_line_that_installs_it(repository, tmp_path):
    result = run(repository, tmp_path, CXX='no-such-compiler', PYTHON=sys.executable)
    assert result.returncode == 1
    assert 'apt-get install -y g++' in result.stderr
    assert not (tmp_path / 'venv').exists()


def test_a_missing_python_is_named_with_the_line_that_installs_it(repository, tmp_path):
    result = run(repository, tmp_path, PYTHON='no-such-python')
    assert result.returncode == 1
    assert 'apt-get install -y python3.11 python3.11-venv python3.11-dev' in result.stderr
    assert not (tmp_path / 'venv').exists()
