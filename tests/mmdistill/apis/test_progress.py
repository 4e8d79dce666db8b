"""What a demo's user sees: a plan, a line a stage, the time left."""

import io
import sys

from mmengine.config import Config

from mmdistill.apis.plan import Pace, makespan, time_config
from mmdistill.apis.progress import Progress
from mmdistill.apis.stages import Pipeline, Stage

EPOCH = (
    'print("01/01 10:00:00 - mmengine - INFO - Epoch(train) [2][10/50]  lr: 1e-3  eta: 0:01:40  '
    'time: 0.4")'
)


def stages(*names, **kwargs):
    return [Stage(name, [sys.executable, '-c', EPOCH], **kwargs) for name in names]


def test_the_length_counts_what_runs_side_by_side_and_what_runs_alone():
    a, b, c, d = (
        Stage('a', []),
        Stage('b', []),
        Stage('c', [], needs=('a',)),
        Stage('d', [], needs=('b', 'c'), alone=True),
    )
    seconds = dict(a=10.0, b=25.0, c=10.0, d=5.0)
    assert makespan([a, b, c, d], seconds, parallel=2) == 30
    assert makespan([a, b, c, d], seconds, parallel=1) == 50
    assert makespan([a, b, c, d], dict(c=4.0, d=5.0), parallel=2) == 9
    assert makespan([a, b, c, d], {}, parallel=2) == 0


def test_the_length_of_a_training_counts_steps_and_validations():
    cfg = Config(
        dict(train_cfg=dict(max_epochs=4, val_interval=2), train_dataloader=dict(batch_size=8))
    )
    assert Pace(step_s=0.5, predict_s=0.1).training_s(cfg, train=20, val=10) == 4 * 3 * 0.5 + 2
    cfg.train_cfg = dict(max_iters=7)
    assert Pace(step_s=0.5, predict_s=0.1).training_s(cfg, train=20, val=10) == 3.5 + 1


def test_steps_of_a_distiller_are_timed_without_its_teachers_weights(distiller_config):
    model = distiller_config()
    model['teacher']['checkpoint'] = 'not there'
    cfg = Config(
        dict(
            model=model,
            train_dataloader=dict(batch_size=4),
            train_cfg=dict(max_epochs=1),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
        )
    )
    pace = time_config(cfg)
    assert 0 < pace.predict_s < pace.step_s < 5


def test_a_plan_then_a_line_a_stage_and_the_logs_in_files(tmp_path):
    out = io.StringIO()
    planned = stages('first', 'second')
    seconds = dict(first=60.0, second=600.0)
    progress = Progress(planned, seconds, 1, tmp_path / 'state', out=out)
    progress.plan(dict(first='makes data'), [], 'timed here')
    Pipeline(planned, tmp_path / 'state', watcher=progress).run()
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ['first', '60', 's', 'makes', 'data']
    assert lines[2] == '11 min from now, 1 stage(s) at a time: timed here'
    assert 'VERBOSE=1 shows them' in lines[3]
    assert [line.split()[:3] for line in lines[4:]] == [
        ['[1/2]', 'first', 'starts'],
        ['[1/2]', 'first', 'done'],
        ['[2/2]', 'second', 'starts'],
        ['[2/2]', 'second', 'done'],
    ]
    assert lines[5].endswith('about 10 min left')
    assert 'Epoch(train)' in (tmp_path / 'state' / 'first.log').read_text()


def test_what_runs_tells_its_epoch_and_what_is_left_of_it(tmp_path, monkeypatch):
    out = io.StringIO()
    progress = Progress(stages('train', 'test'), dict(train=500.0, test=30.0), 1, tmp_path, out=out)
    progress.starts('train', goes_on=False)
    monkeypatch.setattr('mmdistill.apis.progress._EVERY_S', 0.0)
    progress.line('train', EPOCH)
    assert 'train: epoch 2, step 10 of 50, 2 min left   (all: 2 min)' in out.getvalue()


def test_verbose_shows_the_lines_themselves(tmp_path):
    out = io.StringIO()
    planned = stages('train')
    progress = Progress(planned, {}, 1, tmp_path, verbose=True, out=out)
    Pipeline(planned, tmp_path / 'state', watcher=progress).run()
    assert '[train] 01/01 10:00:00 - mmengine - INFO - Epoch(train) [2][10/50]' in out.getvalue()
