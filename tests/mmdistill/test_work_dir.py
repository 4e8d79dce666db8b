"""One run at a time in a work dir."""

import json
import os
import socket
import subprocess
import sys

import pytest

from mmdistill.utils.work_dir import LOCK, WorkDirError, only_run_in

HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from mmdistill.utils.work_dir import only_run_in
with only_run_in(sys.argv[2]):
    print('works', flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(repository, tmp_path):
    """Another process that works in the folder until it is ended."""
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, repository / 'projects', tmp_path / 'run'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b'works\n'
    yield process
    process.kill()
    process.communicate()


def test_the_second_process_is_told_which_one_works_there(other, tmp_path):
    with pytest.raises(WorkDirError) as error, only_run_in(tmp_path / 'run'):
        pass
    text = str(error.value)
    assert f'process {other.pid} on this machine' in text
    assert '--work-dir' in text
    other.communicate()  # it ends
    with only_run_in(tmp_path / 'run'):
        assert json.loads((tmp_path / 'run' / LOCK).read_text())['pid'] == os.getpid()
    assert not (tmp_path / 'run' / LOCK).exists()


def test_what_a_killed_process_left_does_not_count(other, tmp_path):
    other.kill()
    other.wait()
    assert (tmp_path / 'run' / LOCK).exists()
    with only_run_in(tmp_path / 'run'):
        pass


def test_a_process_number_that_was_given_again_does_not_count(tmp_path):
    with only_run_in(tmp_path):
        left = json.loads((tmp_path / LOCK).read_text())
    left['started'] = 'an-earlier-start-of-the-machine/17'
    (tmp_path / LOCK).write_text(json.dumps(left))
    with only_run_in(tmp_path):
        pass


def test_of_another_machine_nobody_can_tell(tmp_path):
    left = {'host': 'elsewhere', 'pid': 1, 'started': 'x/1', 'command': 'train', 'since': 'then'}
    assert socket.gethostname() != 'elsewhere'
    (tmp_path / LOCK).write_text(json.dumps(left))
    message = r'look on elsewhere\), remove .*\.running'
    with pytest.raises(WorkDirError, match=message), only_run_in(tmp_path):
        pass
    assert json.loads((tmp_path / LOCK).read_text()) == left


def test_of_the_processes_of_one_run_the_first_one_keeps_the_folder(tmp_path, monkeypatch):
    with only_run_in(tmp_path):
        monkeypatch.setenv('RANK', '1')
        with only_run_in(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()
