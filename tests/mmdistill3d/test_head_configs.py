"""The configs that distil centre and anchor heads build and train."""

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS

from tests.mmdistill3d.conftest import load

PAIRS = {
    'centerpoint_pillar_best_mini': 'centerpoint/centerpoint_pillar_teacher_mini.py',
    'pointpillars_kd_mini': 'pointpillars/pointpillars_teacher_mini.py',
}


@pytest.fixture(params=PAIRS)
def distiller(request):
    """The config's distiller with a random teacher."""
    torch.manual_seed(0)
    model = load(f'distill/{request.param}.py').model
    teacher = load(PAIRS[request.param])
    assert model.teacher.config == f'configs/{PAIRS[request.param]}'
    teacher.model.test_cfg.pts.update(nms_pre=20)  # what a random teacher detects is not read
    model.teacher = dict(config=teacher, allow_random_weights=True)
    distiller = MODELS.build(model)
    distiller.init_weights()
    return distiller


def test_tasks_of_other_classes_are_refused_when_the_distiller_is_built():
    model = load('distill/centerpoint_pillar_best_mini.py').model
    teacher = load('centerpoint/centerpoint_pillar_teacher_mini.py')
    tasks = teacher.model.pts_bbox_head.tasks
    tasks[1]['class_names'], tasks[2]['class_names'] = ['truck', 'bus'], ['trailer', 'van']
    model.teacher = dict(config=teacher.model, allow_random_weights=True)
    with pytest.raises(ValueError, match="link 'head_kd' .*knows .*'construction_vehicle'.*'van'"):
        MODELS.build(model)


@pytest.fixture
def raw_batch(batch):
    """The shared fixture's batch, as a data loader gives it."""
    pairs = zip(batch['inputs']['points'], batch['data_samples'], strict=True)
    return pseudo_collate(
        [dict(inputs=dict(points=cloud), data_samples=sample) for cloud, sample in pairs]
    )


def test_two_optimisation_steps(distiller, raw_batch):
    distiller.train()
    trained = [p for p in distiller.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    before = [p.detach().clone() for p in distiller.student.parameters()]
    teacher = distiller.teachers['teacher'].model
    frozen = {key: value.clone() for key, value in teacher.state_dict().items()}
    for _ in range(2):
        data = distiller.data_preprocessor(raw_batch, True)
        total, log = distiller.parse_losses(distiller(**data, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        assert total.isfinite() and log['distill/head_kd'] > 0
    after = list(distiller.student.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(frozen[key], value) for key, value in teacher.state_dict().items())


def test_the_link_alone_trains_the_head(distiller, raw_batch):
    data = distiller.train().data_preprocessor(raw_batch, True)
    distiller(**data, mode='loss')['distill/head_kd'].backward()
    head = distiller.student.pts_bbox_head
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


HEADS = ['votenet_kd_sunrgbd', 'fcos3d_kd_nus', 'smoke_kd_kitti', 'pv_rcnn_kd_kitti']


@pytest.mark.parametrize('name', HEADS)
def test_configs_of_heads_on_points_and_images_fit_their_detectors(name):
    """A step of each kind of head is in ``test_families.py``."""
    model = load(f'distill/heads/{name}.py').model
    checkpoint = model.teacher.pop('checkpoint')
    model.teacher.allow_random_weights = True
    distiller = MODELS.build(model)
    assert checkpoint.startswith('checkpoints/')
    widths = [
        sum(p.numel() for p in part.parameters())
        for part in (distiller.student, distiller.teachers['teacher'].model)
    ]
    assert widths[0] < widths[1]
