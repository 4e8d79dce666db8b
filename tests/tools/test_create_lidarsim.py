"""The command that makes the embedded data set."""

import subprocess
import sys
from pathlib import Path

from lidarsim import SIZES, Parameters, verify_dataset

ROOT = Path(__file__).resolve().parents[2]
SMALL = ['--scenes', '1', '--val-scenes', '1', '--frames', '2', '--azimuths', '180']


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, ROOT / 'tools' / 'create_lidarsim.py', *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_generates_reports_and_refuses(tmp_path):
    out = tmp_path / 'lidarsim'
    first = run('--out', out, *SMALL, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert 'generated' in first.stdout
    assert '100%' in first.stderr

    again = run('--out', out, *SMALL, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert 'nothing to do' in again.stdout

    other = run('--out', out, *SMALL, '--seed', 1, cwd=tmp_path)
    assert other.returncode == 1
    assert 'seed is 0, asked for 1' in other.stderr
    assert '--force' in other.stderr
    assert 'Traceback' not in other.stderr

    forced = run('--out', out, *SMALL, '--seed', 1, '--force', cwd=tmp_path)
    assert forced.returncode == 0, forced.stderr

    table = run('--stats', out, cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert '| traffic_cone |' in table.stdout


def test_statistics_of_a_missing_data_set_are_an_error(tmp_path):
    done = run('--stats', tmp_path / 'nowhere', cwd=tmp_path)
    assert done.returncode == 1
    assert 'create_lidarsim.py --out' in done.stderr
    assert 'Traceback' not in done.stderr


def test_the_folders_name_says_how_large_the_data_set_is(tmp_path):
    out = tmp_path / 'lidarsim_large'
    done = run('--out', out, '--scenes', 1, '--frames', 2, '--azimuths', 90, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    parameters = verify_dataset(out)['parameters']
    assert (parameters['scenes'], parameters['val_scenes']) == (1, 40)
    assert SIZES['lidarsim'] == Parameters()
