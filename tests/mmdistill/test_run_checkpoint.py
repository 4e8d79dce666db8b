"""Checkpoints named `RUN/best` and `RUN/last`."""

import pytest
from mmengine.registry import MODELS

from mmdistill.utils.run_checkpoint import resolve_checkpoint
from tests.mmdistill import tiny  # noqa: F401  (registers)


@pytest.fixture
def run(tmp_path):
    """A run's folder with two epochs, a best one and the pointer to the last."""
    for name in ('epoch_1.pth', 'epoch_2.pth', 'best_top1_epoch_1.pth'):
        (tmp_path / name).touch()
    (tmp_path / 'last_checkpoint').write_text('/was/elsewhere/epoch_2.pth')
    return tmp_path


def test_best_and_last_are_found(run):
    assert resolve_checkpoint(run / 'best') == str(run / 'best_top1_epoch_1.pth')
    assert resolve_checkpoint(f'{run}/best_top1') == str(run / 'best_top1_epoch_1.pth')
    assert resolve_checkpoint(run / 'last') == str(run / 'epoch_2.pth')


def test_of_a_distillation_it_is_the_plain_student(run):
    (run / 'best_top1_epoch_1_student.pth').touch()
    (run / 'epoch_2_student.pth').touch()
    assert resolve_checkpoint(run / 'best') == str(run / 'best_top1_epoch_1_student.pth')
    assert resolve_checkpoint(run / 'last') == str(run / 'epoch_2_student.pth')


def test_the_best_of_several_metrics_needs_its_name(run):
    (run / 'best_f1_epoch_2.pth').touch()
    with pytest.raises(
        ValueError, match=r'any of best_f1_epoch_2.pth, best_top1_epoch_1.pth: name'
    ):
        resolve_checkpoint(run / 'best')
    assert resolve_checkpoint(run / 'best_f1').endswith('best_f1_epoch_2.pth')


def test_what_is_not_there_is_told_with_what_is(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'has best_top1_epoch_1.pth, epoch_1.pth, epoch_2'):
        resolve_checkpoint(run / 'best_f1')
    (run / 'epoch_2.pth').unlink()
    with pytest.raises(FileNotFoundError, match='train it to the end of an epoch'):
        resolve_checkpoint(run / 'last')
    with pytest.raises(FileNotFoundError, match=r'there is no folder .*nowhere'):
        resolve_checkpoint(tmp_path / 'nowhere' / 'best')


def test_other_paths_are_left_alone(run):
    for path in (
        'teacher.pth',
        f'{run}/epoch_9.pth',
        'https://host/best',
        'checkpoints/bestof.pth',
    ):
        assert resolve_checkpoint(path) == path
    (run / 'last').touch()
    assert resolve_checkpoint(run / 'last') == str(run / 'last')


def test_a_teacher_may_be_named_by_its_run(distiller_config, teacher_file, run):
    teacher_file.rename(run / 'best_top1_epoch_1.pth')
    config = distiller_config()
    config['teacher']['checkpoint'] = str(run / 'best')
    by_name = MODELS.build(config)
    by_name.init_weights()
    config['teacher']['checkpoint'] = str(run / 'best_top1_epoch_1.pth')
    by_file = MODELS.build(config)
    by_file.init_weights()
    name, file = by_name.teachers['teacher'], by_file.teachers['teacher']
    assert name.fingerprint() == file.fingerprint()
    config['teacher']['checkpoint'] = str(run / 'best_f1')
    with pytest.raises(FileNotFoundError, match='the teacher has no checkpoint .*has best_top1_ep'):
        MODELS.build(config).init_weights()
