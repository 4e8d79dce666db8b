"""HeatmapKDLoss against the formula written out in loops, and on heads that change their logits."""

import copy
import math

import pytest
import torch
from mmengine.registry import MODELS

from mmdistill import FeatureRecorder
from mmdistill3d.bev import BEVGrid
from mmdistill3d.gaussians import class_gaussians
from tests.mmdistill3d.conftest import load
from tests.mmdistill3d.losses.samples import sample_of

RANGE = [-4.0, -5.0, -5.0, 4.0, 5.0, 3.0]


def build(**config):
    return MODELS.build(dict(type='HeatmapKDLoss', point_cloud_range=RANGE, axes='xy', **config))


@pytest.fixture
def samples():
    boxes = [[1.0, 2, -1, 4, 2, 1.5, 0, 0, 0], [-2.0, -3, -1, 1, 1, 1.5, 0, 0, 0]]
    return [sample_of(boxes, [1, 2]), sample_of([], [])]


@pytest.fixture
def maps():
    """Logits of a student and a teacher, not square, in float64."""
    torch.manual_seed(0)
    student = torch.randn(2, 3, 8, 10, dtype=torch.float64, requires_grad=True)
    return student, torch.randn(2, 3, 8, 10, dtype=torch.float64, requires_grad=True)


def naive_distance(p, t, form):
    cross_entropy = -t * torch.log(p) - (1 - t) * torch.log(1 - p)
    if form == 'quality':
        return (p - t) ** 2 * cross_entropy
    if form == 'kl':
        return cross_entropy + t * math.log(t) + (1 - t) * math.log(1 - t)
    return (p - t) ** 2


def naive_loss(student, teacher, samples, form, weights, background=0.0, mask=None):
    gaussians = class_gaussians(
        [sample.gt_instances_3d.bboxes_3d.tensor for sample in samples],
        [sample.gt_instances_3d.labels_3d for sample in samples],
        range(3),
        (8, 10),
        BEVGrid(RANGE),
    ).double()
    total, weight_sum = 0.0, 0.0
    for b in range(2):
        for k in range(3):
            for h in range(8):
                for w in range(10):
                    p, t = student[b, k, h, w].sigmoid(), teacher[b, k, h, w].sigmoid().item()
                    g = gaussians[b, k, h, w]
                    weight = dict(product=t * g, teacher=t, gt=g, mask=1.0)[weights]
                    weight = max(weight, background)
                    weight = weight * (1 if mask is None else mask[b, 0, h, w])
                    total = total + weight * naive_distance(p, t, form)
                    weight_sum = weight_sum + weight
    return total / weight_sum


@pytest.mark.parametrize('form', ['quality', 'kl', 'mse'])
@pytest.mark.parametrize('weights', ['product', 'teacher', 'gt'])
def test_loss_is_the_formula_with_its_gradient(maps, samples, form, weights):
    student, teacher = maps
    loss = build(form=form, weights=weights, loss_weight=3.0)
    actual = loss(student, teacher, data_samples=samples)
    expected = 3 * naive_loss(student, teacher, samples, form, weights)
    torch.testing.assert_close(actual, expected)
    (expected_grad,) = torch.autograd.grad(expected, student)
    actual.backward()
    torch.testing.assert_close(student.grad, expected_grad)
    assert teacher.grad is None


@pytest.mark.parametrize('form', ['quality', 'kl'])
def test_the_mask_alone_weighs_all_classes_alike(maps, samples, form):
    mask = torch.rand(2, 1, 8, 10)
    loss = build(form=form, weights='mask')
    expected = naive_loss(*maps, samples, form, 'mask', mask=mask)
    torch.testing.assert_close(loss(*maps, mask=mask), expected)
    with pytest.raises(ValueError, match="weights='mask'.*the link has none"):
        loss(*maps)


def test_background_and_mask_change_the_weights(maps, samples):
    mask = torch.rand(2, 1, 8, 10)
    actual = build(background=0.05)(*maps, data_samples=samples, mask=mask)
    expected = naive_loss(*maps, samples, 'quality', 'product', 0.05, mask)
    torch.testing.assert_close(actual, expected)
    with pytest.raises(ValueError, match=r'the mask is \(2, 1, 8, 9\)'):
        build()(*maps, data_samples=samples, mask=mask[..., :9])


@pytest.mark.parametrize('form', ['quality', 'kl', 'mse'])
def test_equal_maps_cost_nothing_and_probabilities_do_as_well_as_logits(maps, samples, form):
    student, teacher = maps
    assert build(form=form)(teacher, teacher, data_samples=samples) < 1e-12
    expected = build(form=form)(student, teacher, data_samples=samples)
    given = build(form=form, student='probabilities', teacher='probabilities')
    actual = given(student.sigmoid(), teacher.sigmoid(), data_samples=samples)
    torch.testing.assert_close(actual, expected)


def test_classes_name_the_channels_of_a_task(maps, samples):
    """Class 2 alone, in a map of one channel."""
    student, teacher = (logits[:, 2:] for logits in maps)
    alone = build(classes=[2])(student, teacher, data_samples=samples)
    for sample in samples:
        gt = sample.gt_instances_3d
        sample.gt_instances_3d = gt[gt.labels_3d == 2]
    torch.testing.assert_close(alone, build()(*maps, data_samples=samples))
    with pytest.raises(ValueError, match=r'1 classes, and classes names \[1, 2\]'):
        build(classes=[1, 2])(student, teacher, data_samples=samples)


def test_frames_without_boxes_cost_nothing_and_keep_their_gradient(maps, samples):
    student = maps[0]
    result = build()(student[1:], maps[1][1:], data_samples=samples[1:])
    result.backward()
    assert result == 0 and student.grad.abs().sum() == 0


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_gives_a_finite_float32_loss(maps, samples, dtype):
    student, teacher = (30 * logits.detach().to(dtype) for logits in maps)
    student.requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        result = build()(student, teacher, data_samples=samples)
    result.backward()
    assert result.dtype == torch.float32
    assert result.isfinite() and student.grad.isfinite().all()


def test_boxes_are_demanded_unless_the_teacher_alone_weighs(maps):
    with pytest.raises(ValueError, match=r"Pack3DDetInputs.*weights='teacher'"):
        build()(*maps, data_samples=None)
    assert build(weights='teacher')(*maps) > 0


@pytest.mark.parametrize(
    'config', [dict(form='l1'), dict(weights='box'), dict(student='scores'), dict(background=-1)]
)
def test_wrong_settings_are_refused(config):
    with pytest.raises(ValueError):
        build(**config)


class TestHeadThatOverwritesItsLogits:
    """CenterHead's own loss turns its logits into probabilities in place."""

    @pytest.fixture
    def detector(self):
        torch.manual_seed(0)
        return MODELS.build(load('centerpoint/centerpoint_pillar_mini.py').model.pts_bbox_head)

    def run(self, head, samples, address):
        head.train_cfg = load('centerpoint/centerpoint_pillar_mini.py').model.train_cfg.pts
        model = torch.nn.ModuleDict(dict(head=head))
        recorder = FeatureRecorder(model, [address], role='student', needs_grad=True)
        with recorder.record() as recording, recording.listen():
            feature = torch.randn(2, 64, 128 // 2, 128 // 2)
            head.loss([feature], samples)
            return recording[address]

    def test_reading_it_afterwards_is_an_error_that_names_the_cure(self, detector, samples):
        with pytest.raises(RuntimeError, match=r'clip_sigmoid.*clone=True'):
            self.run(detector, samples, 'head[1][0].heatmap')

    def test_a_copy_holds_the_logits(self, detector, samples):
        logits = self.run(detector, samples, dict(layer='head[1][0].heatmap', clone=True))
        assert logits.min() < 0  # no probabilities
        loss = MODELS.build(
            dict(
                type='HeatmapKDLoss',
                point_cloud_range=[-25.6, -25.6, -5, 25.6, 25.6, 3],
                axes='yx',
                classes=[1, 2],
            )
        )
        loss(logits, torch.randn_like(logits), data_samples=samples).backward()
        assert detector.task_heads[1].heatmap[-1].weight.grad.abs().sum() > 0
        assert all(p.grad is None for p in copy.copy(detector.task_heads[0]).parameters())
