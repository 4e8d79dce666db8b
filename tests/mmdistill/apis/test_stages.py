"""The demo's engine: once, in order, side by side, and again after a stop."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mmdistill.apis.stages import Pipeline, Stage, StageError

COUNT = "import sys; open(sys.argv[1], 'a').write('x')"


def counting(name, folder, **kwargs):
    """A stage that appends an x to a file each time it runs."""
    file = folder / f'{name}.txt'
    return Stage(name, [sys.executable, '-c', COUNT, str(file)], outputs=[file], **kwargs)


def runs(name, folder):
    return len((folder / f'{name}.txt').read_text())


def test_a_finished_stage_is_not_run_again(tmp_path):
    stages = [counting('a', tmp_path), counting('b', tmp_path, needs=['a'])]
    for _ in range(3):
        Pipeline(stages, tmp_path / 'state').run()
    assert (runs('a', tmp_path), runs('b', tmp_path)) == (1, 1)


def test_a_changed_key_redoes_the_stage_and_what_needs_it(tmp_path):
    for value in (1, 2):
        stages = [
            counting('a', tmp_path),
            counting('b', tmp_path, needs=['a'], key={'value': value}),
            counting('c', tmp_path, needs=['b']),
        ]
        Pipeline(stages, tmp_path / 'state').run()
    assert [runs(name, tmp_path) for name in 'abc'] == [1, 2, 2]


def test_a_lost_output_is_made_again(tmp_path):
    stages = [counting('a', tmp_path)]
    Pipeline(stages, tmp_path / 'state').run()
    (tmp_path / 'a.txt').unlink()
    Pipeline(stages, tmp_path / 'state').run()
    assert runs('a', tmp_path) == 1


def test_an_always_stage_runs_each_time_without_redoing_what_needs_it(tmp_path):
    stages = [counting('a', tmp_path, always=True), counting('b', tmp_path, needs=['a'])]
    for _ in range(2):
        Pipeline(stages, tmp_path / 'state').run()
    assert (runs('a', tmp_path), runs('b', tmp_path)) == (2, 1)


def test_two_stages_run_side_by_side(tmp_path):
    """Each waits for the other's file, so neither could finish first on its own."""
    meet = (
        'import pathlib, sys, time\n'
        'mine, other = map(pathlib.Path, sys.argv[1:])\n'
        'mine.touch()\n'
        'while not other.exists(): time.sleep(0.01)\n'
    )
    a, b = tmp_path / 'a', tmp_path / 'b'
    stages = [
        Stage('a', [sys.executable, '-c', meet, str(a), str(b)]),
        Stage('b', [sys.executable, '-c', meet, str(b), str(a)]),
    ]
    Pipeline(stages, tmp_path / 'state', parallel=2).run()


def test_a_stage_that_runs_alone_has_nothing_beside_it(tmp_path):
    log = tmp_path / 'log'
    note = (
        'import sys, time\n'
        'def note(what): open(sys.argv[1], "a").write(f"{sys.argv[2]} {what}\\n")\n'
        'note("begins"); time.sleep(0.3); note("ends")\n'
    )
    stages = [
        Stage(name, [sys.executable, '-c', note, str(log), name], alone=name == 'b')
        for name in 'abc'
    ]
    Pipeline(stages, tmp_path / 'state', parallel=3).run()
    lines = log.read_text().splitlines()
    assert lines[lines.index('b begins') + 1] == 'b ends'


def test_a_failure_shows_the_last_lines_and_the_log(tmp_path):
    lines = []
    code = 'for i in range(100): print("line", i)\nraise SystemExit(3)'
    after = counting('after', tmp_path, needs=['bad'])
    stages = [Stage('bad', [sys.executable, '-c', code]), after]
    with pytest.raises(StageError) as error:
        Pipeline(stages, tmp_path / 'state', report=lines.append).run()
    message = str(error.value)
    assert 'exit status 3' in message
    assert 'line 70\n' in message
    assert 'line 69\n' not in message
    assert str(tmp_path / 'state' / 'bad.log') in message
    assert not (tmp_path / 'after.txt').exists()
    assert '[bad] line 99' in lines


def test_a_stage_without_its_output_has_failed(tmp_path):
    stage = Stage('empty', [sys.executable, '-c', ''], outputs=[tmp_path / 'absent'])
    with pytest.raises(StageError, match='did not write .*absent'):
        Pipeline([stage], tmp_path / 'state').run()


def test_a_stopped_stage_goes_on_in_its_folder_and_a_changed_one_begins_anew(tmp_path):
    folder = tmp_path / 'folder'
    flaky = (
        'import pathlib, sys\n'
        'folder = pathlib.Path(sys.argv[1]); folder.mkdir(exist_ok=True)\n'
        'steps = len(list(folder.iterdir())); (folder / str(steps)).touch()\n'
        'sys.exit(steps < 1)\n'
    )

    def pipeline(value):
        command = [sys.executable, '-c', flaky, str(folder)]
        stage = Stage('train', command, folder=folder, key={'value': value})
        return Pipeline([stage], tmp_path / 'state')

    with pytest.raises(StageError):
        pipeline(1).run()
    pipeline(1).run()  # the first step is still there
    with pytest.raises(StageError):
        pipeline(2).run()  # the old steps are not


def test_names_and_needs_are_checked(tmp_path):
    with pytest.raises(ValueError, match='must differ'):
        Pipeline([counting('a', tmp_path), counting('a', tmp_path)], tmp_path)
    with pytest.raises(ValueError, match='do not come before'):
        Pipeline([counting('a', tmp_path, needs=['b']), counting('b', tmp_path)], tmp_path)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_every_child_and_the_next_call_goes_on(tmp_path, repository, number):
    script = tmp_path / 'pipeline.py'
    script.write_text(
        'import pathlib, sys\n'
        f'sys.path.insert(0, {str(repository / "projects")!r})\n'
        'from mmdistill.apis.stages import Pipeline, Stage\n'
        f'here = pathlib.Path({str(tmp_path)!r})\n'
        'code = """\n'
        'import os, pathlib, subprocess, sys, time\n'
        'here = pathlib.Path(sys.argv[1])\n'
        'if (here / "pids").exists(): sys.exit(0)\n'
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])\n'
        '(here / "pids.part").write_text(f"{os.getpid()} {child.pid}")\n'
        '(here / "pids.part").rename(here / "pids")\n'
        'time.sleep(600)\n'
        '"""\n'
        'stage = Stage("sleep", [sys.executable, "-c", code, str(here)])\n'
        'Pipeline([stage], here / "state", report=print).run()\n'
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stderr=subprocess.DEVNULL,
        # Under a background job SIGINT is ignored by inheritance, and Python would leave it so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    pids = tmp_path / 'pids'
    while not pids.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(timeout=60)
    for pid in map(int, pids.read_text().split()):
        assert not is_alive(pid)
    assert 'seconds' not in json.loads((tmp_path / 'state' / 'sleep.json').read_text())
    again = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert '[sleep] goes on' in again.stdout


def is_alive(pid):
    """Whether a process runs; one that has ended but was not collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f'/proc/{pid}/stat') as stat:
            return stat.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except FileNotFoundError:
        return False
