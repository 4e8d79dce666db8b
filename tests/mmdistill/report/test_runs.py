"""What is read of work dirs: which run is which, what was logged, how far it came."""

import json

import pytest

from mmdistill.report import read_runs
from mmdistill.report.log import read_log


def time_of(folder):
    return next(folder.glob('*/vis_data')).parent


def test_runs_below_a_folder_are_known_by_their_configs(trained):
    runs = read_runs([str(trained)])
    assert [(run.role, run.name) for run in runs] == [
        ('teacher', 'Teacher'),
        ('alone', 'Student, alone'),
        ('distilled', 'Student, distilled'),
    ]
    assert all(run.is_finished and run.seed == 3 for run in runs)
    assert [run.checkpoint.rsplit('/', 2)[1:] for run in runs] == [
        ['teacher', 'epoch_2.pth'],
        ['alone', 'epoch_2.pth'],
        ['distilled', 'epoch_2_student.pth'],
    ]
    last = json.loads(
        (time_of(trained / 'alone') / 'vis_data/scalars.json').read_text().splitlines()[-1]
    )
    assert runs[1].result['confidence'] == last['confidence']
    assert runs[1].result_of == 'validation after epoch 2'


def test_a_run_may_be_given_a_name(trained):
    run, _ = read_runs([f'With features={trained / "distilled"}', str(trained / 'alone')])[::-1]
    assert (run.name, run.role) == ('With features', 'distilled')
    (run,) = read_runs([f'started={trained / "alone"}'])
    assert (run.name, run.role) == ('Student, started from the teacher', 'started')


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no run: a work dir has'):
        read_runs([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
        read_runs(['nowhere'])


def test_the_text_log_alone_tells_the_same_rounded(trained):
    folder = trained / 'distilled'
    table = read_log(folder)
    (text,) = time_of(folder).glob('*.log')
    log = read_log(text)
    assert [record['step'] for record in log.train] == [r['step'] for r in table.train]
    assert len(log.train) == 6
    for mine, theirs in zip(log.train, table.train, strict=True):
        for key in ('loss', 'loss_cls', 'distill/block'):
            assert mine[key] == pytest.approx(theirs[key], abs=5.1e-5)
    for mine, theirs in zip(log.validations, table.validations, strict=True):
        assert mine == pytest.approx(theirs, abs=5.1e-5)
    (run,) = read_runs([str(text)])
    assert run.role == 'distilled' and run.is_finished and run.seed == 3
    assert run.cfg.model.links.block.loss.type == 'FitNetLoss'


def test_steps_that_a_resumed_run_did_again_count_once(runs_folder):
    folder = runs_folder / 'alone'
    first = time_of(folder) / 'vis_data/scalars.json'
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    again = [{**line, 'loss': 7.0} for line in lines if line['step'] >= 2 and 'iter' in line]
    second = folder / '29990101_000000' / 'vis_data' / 'scalars.json'
    second.parent.mkdir(parents=True)
    second.write_text('\n'.join(map(json.dumps, again)) + '\n{"loss": 1.0, "it')
    log = read_log(folder)
    assert [record['step'] for record in log.train] == [1, 2, 3, 4, 5, 6]
    assert [record['loss'] == 7.0 for record in log.train] == [False] + 5 * [True]
