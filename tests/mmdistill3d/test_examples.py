"""A made-up batch goes through the detectors that it is made up for."""

import copy
from pathlib import Path

import mmdet3d
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmdistill3d.examples import box_dim, example_batch, point_columns
from mmdistill3d.reading import bev_range

CONFIGS = [
    'bevfusion/bevfusion_lidar_student_mini.py',
    'centerpoint/centerpoint_pillar_mini.py',
    'pointpillars/pointpillars_mini.py',
]


def build(repository, name):
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(repository / 'configs' / name).model)
    model.init_weights()
    return model


@pytest.mark.parametrize('name', CONFIGS)
def test_detectors_train_and_predict_on_their_example(repository, name):
    model = build(repository, name)
    before = torch.get_rng_state()
    batch = example_batch(model)
    assert torch.equal(torch.get_rng_state(), before)
    limits = torch.tensor(bev_range(model))
    for points, sample in zip(batch['inputs']['points'], batch['data_samples'], strict=True):
        assert points.shape[1] == point_columns(model)
        assert len(points) > 500
        assert (points[:, :3] > limits[:3]).all() and (points[:, :3] < limits[3:]).all()
        truth = sample.gt_instances_3d
        assert truth.bboxes_3d.tensor.shape == (8, box_dim(model))
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    assert total.isfinite()
    assert total > 0
    with torch.no_grad():
        found = model.eval().test_step(copy.deepcopy(batch))
    assert [sample.sample_idx for sample in found] == [0, 1]


def test_a_detector_on_single_images_gets_images_and_boxes_before_the_camera():
    config = Path(mmdet3d.__file__).parent / '.mim/configs/smoke'
    file = config / 'smoke_dla34_dlaneck_gn-all_4xb8-6x_kitti-mono3d.py'
    if not file.is_file():
        pytest.skip('mmdet3d was installed without its configs')
    model = MODELS.build(Config.fromfile(file).model)
    batch = example_batch(model)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    assert total.isfinite()
    for sample in batch['data_samples']:
        assert (sample.gt_instances_3d.depths > 0).all()
        boxes = sample.gt_instances.bboxes
        assert (boxes[:, 2:] >= boxes[:, :2]).all()
    with torch.no_grad():
        found = model.eval().test_step(copy.deepcopy(batch))
    assert [sample.sample_idx for sample in found] == [0, 1]


def test_the_same_model_gets_the_same_batch(repository):
    model = build(repository, CONFIGS[0])
    one, other = example_batch(model), example_batch(model)
    for a, b in zip(one['inputs']['points'], other['inputs']['points'], strict=True):
        assert torch.equal(a, b)


def test_a_model_that_does_not_tell_gets_none():
    assert example_batch(nn.Linear(2, 2)) is None
