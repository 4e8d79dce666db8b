"""A box without size, or not finite, is to no loss, mask or target there at all."""

import copy

import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.registry import MODELS
from mmengine.structures import InstanceData

import mmdistill3d  # noqa: F401  (registers)

RANGE = [-6.0, -4.0, -3.0, 6.0, 4.0, 1.0]
BOXES = [[1.0, 0.5, -1, 4, 2, 1.5, 0.3, 1, 0], [-3.0, -2, -1, 1, 1, 2, -2.0, 0, 0]]
NAN, INF = float('nan'), float('inf')
FAULTS = dict(
    flat=(3, 0.0),
    negative=(4, -1.0),
    unknown_size=(5, NAN),
    unknown_centre=(0, NAN),
    infinite_centre=(1, INF),
    unknown_yaw=(6, NAN),
)
CHANNELS = dict(student_channels=4, teacher_channels=6)


def samples(fault=None):
    """A frame with two boxes, between which lies another one if there is a fault, and a frame."""
    boxes, labels = list(BOXES), [0, 2]
    if fault is not None:
        column, value = FAULTS[fault]
        other = [0.2, 0.3, -1, 2, 2, 2, 0.1, 0, 0]
        other[column] = value
        boxes, labels = [boxes[0], other, boxes[1]], [0, 1, 2]
    found = []
    for own, classes in ((boxes, labels), (BOXES[:1], [1])):
        instances = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(torch.tensor(own), box_dim=9),
            labels_3d=torch.tensor(classes),
        )
        sample = Det3DDataSample(gt_instances_3d=instances)
        sample.pred_instances_3d = copy.deepcopy(instances)
        sample.pred_instances_3d.scores_3d = torch.ones(len(own))
        found.append(sample)
    return found


@pytest.fixture
def maps():
    torch.manual_seed(0)
    return torch.randn(2, 4, 12, 8, requires_grad=True), torch.randn(2, 6, 24, 16)


def build(**config):
    torch.manual_seed(1)
    return MODELS.build({'point_cloud_range': RANGE, 'axes': 'xy', **config})


def crd():
    objects = dict(type='object', point_cloud_range=RANGE, axes='xy', num_classes=3)
    memory = dict(queue_length=4, negatives='all')
    torch.manual_seed(1)
    return MODELS.build(dict(type='CRDLoss', granularity=objects, memory=memory, **CHANNELS))


LOSSES = dict(
    contrast=lambda: build(type='ObjectContrastLoss', **CHANNELS),
    contrast_of_classes=lambda: build(type='ObjectContrastLoss', same_class='ignore', **CHANNELS),
    relation=lambda: build(type='ObjectRelationLoss'),
    gram=lambda: build(type='ObjectRelationLoss', relation='gram', distance='mse'),
    crd=crd,
)


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('name', LOSSES)
def test_losses_of_objects_and_their_gradients(name, fault, maps):
    results = []
    for batch in (samples(), samples(fault)):
        loss = LOSSES[name]()
        value = loss(*maps, data_samples=batch)
        (gradient,) = torch.autograd.grad(value, maps[0])
        results.append((value, gradient, loss.state_dict()))
    assert results[0][0] > 0 and results[0][1].abs().sum() > 0
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize('name', LOSSES)
def test_losses_of_objects_are_zero_where_no_box_has_a_size(name, maps):
    batch = samples()
    for sample in batch:
        sample.gt_instances_3d.bboxes_3d.tensor[:, 3] = 0
    value = LOSSES[name]()(*maps, data_samples=batch)
    (gradient,) = torch.autograd.grad(value, maps[0])
    assert value == 0 and gradient.abs().sum() == 0


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('boxes', ['gt', 'teacher', 'union'])
@pytest.mark.parametrize('shape', ['box', 'gaussian'])
def test_masks(boxes, shape, fault, maps):
    mask = build(type='BoxMask', boxes=boxes, shape=shape)
    without, found = (
        mask(maps[0], data_samples=batch, teacher_predictions=batch)
        for batch in (samples(), samples(fault))
    )
    assert torch.equal(found, without) and without.any()


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('weights', ['product', 'gt'])
def test_heatmaps(weights, fault, maps):
    loss = build(type='HeatmapKDLoss', weights=weights)
    without, found = (
        loss(maps[0], maps[0].detach() + 1, data_samples=batch)
        for batch in (samples(), samples(fault))
    )
    assert torch.equal(found, without) and without > 0


@pytest.mark.parametrize('fault', FAULTS)
def test_centre_heads(fault, maps):
    torch.manual_seed(0)
    channels = dict(heatmap=3, reg=2, height=1, dim=3, rot=2, vel=2)
    heads = [([{k: torch.randn(2, c, 8, 12) for k, c in channels.items()}],) for _ in range(2)]
    loss = build(type='CenterHeadKDLoss', axes='yx', positions='gt')
    without, found = (loss(*heads, data_samples=batch) for batch in (samples(), samples(fault)))
    assert torch.equal(found, without) and without > 0


@pytest.mark.parametrize('fault', FAULTS)
def test_a_teacher_adds_none_and_is_not_kept_from_adding_one(fault):
    """The annotated box without size lies where the teacher predicts a box with one."""
    labels = MODELS.build(dict(type='TeacherLabels', score_thr=0.5, min_distance=0.7))
    batch, predictions = samples(fault)[:1], samples()[:1]
    predictions[0].pred_instances_3d.bboxes_3d.tensor[:, :2] = torch.tensor([[0.2, 0.3], [3, 3]])
    (new,) = labels(batch, predictions)
    assert len(new.gt_instances_3d) == 5
    (new,) = labels(samples()[:1], samples(fault)[:1])
    assert len(new.gt_instances_3d) == 2
