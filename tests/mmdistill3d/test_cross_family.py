"""A BEVFusion teacher and a CenterPoint student, whose BEV axes are in the other order."""

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS

from tests.mmdistill3d.conftest import load

CELL_M, LOW_M = 0.8, -25.6
OBJECT_XY = (13.0, -7.0)


@pytest.fixture
def distiller():
    """``configs/distill/centerpoint_pillar_crd_mini.py`` with a random teacher, in eval mode."""
    torch.manual_seed(0)
    model = load('distill/centerpoint_pillar_crd_mini.py').model
    teacher = load('bevfusion/bevfusion_lidar_teacher_mini.py')
    model.teacher = dict(config=teacher, allow_random_weights=True)
    distiller = MODELS.build(model)
    distiller.init_weights()
    distiller.prepare(num_samples=8)
    return distiller


def raw_batch(batch):
    """The shared fixture's batch, as a data loader gives it."""
    points = batch['inputs']['points']
    return pseudo_collate(
        [
            dict(inputs=dict(points=cloud), data_samples=sample)
            for cloud, sample in zip(points, batch['data_samples'], strict=True)
        ]
    )


def test_every_link_trains_through_the_plain_distiller(distiller, batch):
    data = distiller.train().data_preprocessor(raw_batch(batch), True)
    total, log = distiller.parse_losses(distiller(**data, mode='loss'))
    total.backward()
    assert total.isfinite()
    links = {f'distill/{name}' for name in distiller.links}
    assert links == {'distill/neck_crd', 'distill/neck_feature'}
    assert all(log[link] > 0 for link in links)
    assert all(p.grad is not None for p in distiller.student.pts_backbone.parameters())


def centre_of_response(model, points, planted, neck=None):
    """Where a planted object changes the map of ``pts_neck``, as (first, second) axis in cells."""
    maps = []
    handle = model.pts_neck.register_forward_hook(lambda _m, _i, output: maps.append(output[0]))
    with torch.no_grad():
        for cloud in (points, torch.cat([points, planted])):
            sample = load_sample()
            data = model.data_preprocessor(
                pseudo_collate([dict(inputs=dict(points=cloud), data_samples=sample)]), False
            )
            model(**data, mode='predict')
    handle.remove()
    change = maps[1] - maps[0] if neck is None else neck(maps[1]) - neck(maps[0])
    change = change.square().sum((0, 1))
    weight = change / change.sum()
    first, second = (torch.arange(size, dtype=torch.float32) + 0.5 for size in change.shape)
    return torch.stack([(weight.sum(1) * first).sum(), (weight.sum(0) * second).sum()])


def load_sample():
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    return Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes, sample_idx=0))


def test_one_planted_object_lies_in_the_same_cell_behind_the_transposition(distiller, batch):
    distiller.eval()
    teacher = distiller.teachers['teacher'].model
    points = batch['inputs']['points'][0]
    planted = torch.zeros(300, 5)
    planted[:, :2] = torch.tensor(OBJECT_XY) + torch.rand(300, 2) - 0.5
    planted[:, 2] = torch.rand(300) - 1.5
    expected = (torch.tensor([OBJECT_XY[1], OBJECT_XY[0]]) - LOW_M) / CELL_M  # [y, x]

    student = centre_of_response(distiller.student, points, planted)
    transpose = distiller.links['neck_feature'].teacher_connector
    taught = centre_of_response(teacher, points, planted, transpose)
    as_it_is = centre_of_response(teacher, points, planted)

    assert (student - expected).abs().max() < 2
    assert (taught - expected).abs().max() < 2
    assert (as_it_is - expected).abs().max() > 15
