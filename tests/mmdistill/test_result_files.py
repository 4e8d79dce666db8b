"""What a run leaves: metrics.csv, metrics.json, results.json, and the best model, tested."""

import copy
import csv
import hashlib
import json

import pytest
import torch
from mmengine.runner import Runner

from tests.mmdistill.tiny import runner_config

HOOKS = ('Distill', 'StudentCheckpoint', 'RandomState', 'FinalTest', 'MetricsFile')
CHECKPOINT = dict(type='CheckpointHook', interval=1, save_best='confidence', rule='greater')


def train(work_dir, model, hooks=HOOKS, **settings):
    settings.setdefault('default_hooks', dict(checkpoint=CHECKPOINT))
    hooks = [dict(type=f'{name}Hook') for name in hooks]
    config = runner_config(work_dir, copy.deepcopy(model), custom_hooks=hooks, **settings)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def rows(folder):
    with (folder / 'metrics.csv').open() as file:
        return [{key: float(v) for key, v in row.items()} for row in csv.DictReader(file)]


def test_a_row_an_epoch_holds_losses_and_validation(distiller_config, tmp_path):
    runner = train(tmp_path, distiller_config())
    table = rows(tmp_path)
    assert [(row['epoch'], row['iter']) for row in table] == [(1, 3), (2, 6)]
    scalars = runner.message_hub.log_scalars
    link, confidence = (scalars[k].data[0] for k in ('train/distill/attention', 'val/confidence'))
    assert [row['train/distill/attention'] for row in table] == pytest.approx(
        [link[:3].mean(), link[3:].mean()]
    )
    assert [row['val/confidence'] for row in table] == pytest.approx(confidence)
    assert json.loads((tmp_path / 'metrics.json').read_text()) == table


def test_results_hold_config_history_best_test_parameters_and_hashes(
    distiller_config, teacher_file, tmp_path
):
    runner = train(tmp_path, distiller_config())
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['config']['model']['teacher']['checkpoint'] == str(teacher_file)
    assert results['history'] == rows(tmp_path)
    best = max(rows(tmp_path), key=lambda row: row['val/confidence'])
    assert results['best']['epoch'] == best['epoch']
    assert results['best']['val/confidence'] == best['val/confidence']
    assert (tmp_path / results['best']['file']).is_file()
    student = sum(p.numel() for p in runner.model.student.parameters())
    assert results['parameters'] == dict(total=student, trained=student)
    for name in ('student_best.pth', 'student_final.pth'):
        content = (tmp_path / name).read_bytes()
        assert results['hashes'][name] == hashlib.sha256(content).hexdigest()
    assert results['hashes']['teacher'] == runner.model.teachers['teacher'].fingerprint()


def test_the_best_student_is_tested_and_the_trained_one_left(distiller_config, tmp_path):
    """The second epoch climbs its loss, so the best student is the first one's."""
    schedule = dict(type='MultiStepLR', milestones=[1], gamma=-5)
    model = distiller_config()
    runner = train(tmp_path, model, param_scheduler=schedule)
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['best']['epoch'] == 1
    plain = runner_config(
        tmp_path / 'plain',
        model['student'],
        custom_hooks=[],
        load_from=str(tmp_path / 'student_best.pth'),
    )
    assert results['test'] == pytest.approx(Runner.from_cfg(plain).test())
    final = torch.load(tmp_path / 'student_final.pth')['state_dict']
    now = runner.model.student.state_dict()
    assert all(torch.equal(final[key], now[key]) for key in now)
    best = torch.load(tmp_path / 'student_best.pth')['state_dict']
    assert not all(torch.equal(best[key], now[key]) for key in now)


def test_with_averaged_weights_the_best_of_those_is_tested(distiller_config, tmp_path):
    hooks = (*HOOKS[:2], 'EMA', *HOOKS[3:])
    runner = train(tmp_path, distiller_config(), hooks, epochs=1)
    averaged = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook').ema_model.module
    best = torch.load(tmp_path / 'student_best.pth')['state_dict']
    assert all(torch.equal(best[k], v) for k, v in averaged.student.state_dict().items())
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['test']['confidence'] == pytest.approx(results['best']['val/confidence'])


def test_a_plain_model_has_the_same_files(distiller_config, tmp_path):
    train(tmp_path, distiller_config()['student'], HOOKS[3:])
    assert {'model_best.pth', 'model_final.pth'} <= {path.name for path in tmp_path.iterdir()}
    assert json.loads((tmp_path / 'results.json').read_text())['test']['confidence'] > 0


def test_a_resumed_run_goes_on_in_its_files(distiller_config, tmp_path):
    model = distiller_config()
    train(tmp_path / 'whole', model, epochs=3)
    train(tmp_path / 'parts', model, epochs=2)
    train(tmp_path / 'parts', model, epochs=3, resume=True)
    whole, parts = rows(tmp_path / 'whole'), rows(tmp_path / 'parts')
    assert [row['epoch'] for row in parts] == [1, 2, 3]
    assert whole == parts
    # Begun anew in the same folder, it keeps no rows of the run before.
    train(tmp_path / 'parts', model, epochs=1)
    assert len(rows(tmp_path / 'parts')) == 1


def test_a_loop_that_counts_iterations_has_a_row_a_validation(distiller_config, tmp_path):
    loop = dict(by_epoch=False, max_iters=4, val_interval=2)
    checkpoint = dict(CHECKPOINT, by_epoch=False, interval=2)
    train(
        tmp_path,
        distiller_config(),
        train_cfg=loop,
        default_hooks=dict(checkpoint=checkpoint),
        log_processor=dict(by_epoch=False),
    )
    assert [row['iter'] for row in rows(tmp_path)] == [2, 4]


def test_without_a_best_checkpoint_the_run_ends_at_its_start(distiller_config, tmp_path):
    with pytest.raises(ValueError, match=r"nobody saves one.*save_best='METRIC'"):
        train(tmp_path, distiller_config(), default_hooks={})
    with pytest.raises(
        ValueError, match=r"the config has no \['test_dataloader', 'test_evaluator'\]"
    ):
        train(
            tmp_path,
            distiller_config(),
            test_dataloader=None,
            test_cfg=None,
            test_evaluator=None,
        )
