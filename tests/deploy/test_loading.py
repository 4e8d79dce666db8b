"""Which files are taken as a detector: checkpoints, students alone, distillation configs."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from deploy.loading import load_detector, plain_model

REPO = Path(__file__).resolve().parents[2]
PLAIN = REPO / 'configs/bevfusion/bevfusion_lidar_student_mini.py'
DISTILLED = REPO / 'configs/distill/bevfusion_best_mini.py'


def same_weights(first, second):
    second = second.state_dict()
    return all(torch.equal(value, second[key]) for key, value in first.state_dict().items())


@pytest.fixture
def saved(student, tmp_path):
    """`saved(prefix, extra)` -> a training checkpoint of the student's weights."""

    def save(prefix='', **extra):
        path = tmp_path / 'epoch_1.pth'
        weights = {prefix + key: value for key, value in student.model.state_dict().items()}
        torch.save(dict(state_dict={**weights, **extra}, meta=dict(epoch=1)), path)
        return path

    return save


def test_a_distillation_config_takes_its_own_checkpoints_and_students(student, saved, monkeypatch):
    monkeypatch.chdir(REPO)
    whole = saved('student.', **{'links.neck.projector.weight': torch.zeros(2)})
    assert same_weights(load_detector(DISTILLED, whole).model, student.model)
    assert same_weights(load_detector(PLAIN, whole).model, student.model)
    both = saved('student.', **student.model.state_dict())  # under the plain names as well
    assert same_weights(load_detector(PLAIN, both).model, student.model)
    alone = saved()
    loaded = load_detector(DISTILLED, alone)
    assert type(loaded.model).__name__ == 'BEVFusion' and not loaded.model.training
    assert same_weights(loaded.model, student.model)
    assert loaded.classes == student.classes


@pytest.mark.parametrize('named', [str(PLAIN), 'mmdet3d::some.py', None])
def test_what_is_changed_beside_a_students_config_is_exported(named, monkeypatch):
    config = Config.fromfile(PLAIN)
    if named is None:
        named = config
    elif '::' in named:
        monkeypatch.setattr('deploy.loading.get_config', {named: config}.__getitem__)
    before = config.model.bbox_head.num_classes
    student = dict(config=named, checkpoint='x.pth', bbox_head=dict(num_proposals=50))
    model = plain_model({'type': 'Distiller', 'student': student})
    assert (model.bbox_head.num_proposals, model.bbox_head.num_classes) == (50, before)
    assert config.model.bbox_head.num_proposals != 50 and 'checkpoint' not in model


def test_weights_of_another_detector_are_refused_with_their_keys(saved):
    with pytest.raises(ValueError, match='unexpected keys: pts_backbone.extra'):
        load_detector(PLAIN, saved(**{'pts_backbone.extra': torch.zeros(1)}))
    narrower = {'model.pts_backbone.out_channels': [16, 64], 'model.pts_neck.in_channels': [16, 64]}
    with pytest.raises(ValueError, match='size mismatch'):
        load_detector(PLAIN, saved(), narrower)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        load_detector(PLAIN, tmp_path / 'nowhere.pth')
    (tmp_path / 'broken.pth').write_bytes(b'PK\x03\x04 cut short')
    with pytest.raises(ValueError, match='broken.pth cannot be read'):
        load_detector(PLAIN, tmp_path / 'broken.pth')
