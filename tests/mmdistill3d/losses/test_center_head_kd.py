"""CenterHeadKDLoss against the formula in loops, and on real heads."""

import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

import mmdistill3d  # noqa: F401  (registers)
from mmdistill3d.bev import BEVGrid
from mmdistill3d.gaussians import class_gaussians
from mmdistill3d.grids import MapGrid
from tests.mmdistill3d.conftest import load
from tests.mmdistill3d.losses.samples import sample_of

RANGE = [-4.0, -5.0, -5.0, 4.0, 5.0, 3.0]
TASKS = (1, 2)
SIZE = (10, 8)  # y, x: cells of 1 m
WEIGHTS = [1.0] * 3 + [0.5] * 3 + [1.0] * 2 + [0.2] * 2


def build(**config):
    return MODELS.build(dict(type='CenterHeadKDLoss', point_cloud_range=RANGE, axes='yx', **config))


def outputs(seed, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)

    def maps(channels):
        return torch.randn(2, channels, *SIZE, generator=draw).to(dtype).requires_grad_()

    channels = dict(reg=2, height=1, dim=3, rot=2, vel=2)
    return tuple(
        [dict(heatmap=maps(number), **{key: maps(n) for key, n in channels.items()})]
        for number in TASKS
    )


@pytest.fixture
def samples():
    boxes = [[1.0, 2, -1, 4, 2, 1.5, 0, 0, 0], [-2.2, -3, -1, 1, 1, 1.5, 0, 0, 0]]
    return [sample_of(boxes, [1, 2]), sample_of([], [])]


def smooth_l1(a, b):
    d = abs(a - b)
    return d * d / 0.2 if d < 0.1 else d - 0.05


def is_peak(scores, h, w):
    window = scores[max(h - 1, 0) : h + 2, max(w - 1, 0) : w + 2]
    return bool(scores[h, w] == window.max())


def box(task, b, h, w):
    x, y = task['reg'][b, :, h, w]
    rest = [task[key][b, :, h, w] for key in ('height', 'dim', 'rot', 'vel')]
    return [x + w - 4, y + h - 5, *torch.cat(rest)]


def naive_boxes(student, teacher, samples, positions, score_thr):
    gaussians = class_gaussians(
        [sample.gt_instances_3d.bboxes_3d.tensor for sample in samples],
        [sample.gt_instances_3d.labels_3d for sample in samples],
        range(3),
        SIZE,
        BEVGrid(RANGE, 'yx'),
    )
    total = weight_sum = 0.0
    first = 0
    for mine, theirs, number in zip(student, teacher, TASKS, strict=True):
        scores = theirs[0]['heatmap'].detach().sigmoid()
        for b in range(2):
            for h in range(SIZE[0]):
                for w in range(SIZE[1]):
                    weight = 0.0
                    for k in range(number):
                        t = scores[b, k, h, w].item()
                        at_gt = positions != 'peaks' and gaussians[b, first + k, h, w] == 1
                        peak = is_peak(scores[b, k], h, w) and t >= score_thr
                        if at_gt or (positions != 'gt' and peak):
                            weight = max(weight, t)
                    pairs = zip(
                        WEIGHTS, box(mine[0], b, h, w), box(theirs[0], b, h, w), strict=True
                    )
                    if weight:
                        total = total + weight * sum(
                            f * smooth_l1(x, y.item()) for f, x, y in pairs
                        )
                        weight_sum += weight
        first += number
    return total / weight_sum


@pytest.mark.parametrize('positions', ['gt', 'peaks', 'union'])
def test_loss_is_the_formula_with_its_gradient(samples, positions):
    student, teacher = outputs(0), outputs(1)
    loss = build(
        positions=positions,
        score_thr=0.7,
        box_weight=0.5,
        heatmap_weight=2.0,
        box_weights=dict(size=0.5),
        loss_weight=3.0,
    )
    heatmaps = [torch.cat([task[0]['heatmap'] for task in head], 1) for head in (student, teacher)]
    plain = MODELS.build(dict(type='HeatmapKDLoss', point_cloud_range=RANGE, axes='yx'))
    expected = 6 * plain(*heatmaps, data_samples=samples)
    expected = expected + 1.5 * naive_boxes(student, teacher, samples, positions, 0.7)
    actual = loss(student, teacher, data_samples=samples)
    torch.testing.assert_close(actual, expected)
    leaves = [leaf for task in student for leaf in task[0].values()]
    expected_grads = torch.autograd.grad(
        expected, leaves, allow_unused=True, materialize_grads=True
    )
    actual.backward()
    for leaf, grad in zip(leaves, expected_grads, strict=True):
        torch.testing.assert_close(leaf.grad, grad)
    assert all(leaf.grad is None for task in teacher for leaf in task[0].values())


def test_sizes_that_are_no_logarithms_are_compared_as_logarithms(samples):
    student, teacher = outputs(0), outputs(1)
    expected = build()(student, teacher, data_samples=samples)
    for head in (student, teacher):
        for task in head:
            task[0]['dim'] = task[0]['dim'].exp()
    actual = build(norm_bbox=False)(student, teacher, data_samples=samples)
    torch.testing.assert_close(actual, expected)


def test_the_teachers_peaks_and_scores_need_no_annotation():
    loss = build(positions='peaks', heatmap=dict(weights='teacher'))
    assert loss(outputs(0), outputs(1)) > 0


def test_a_mask_of_zeros_and_frames_without_boxes_cost_nothing(samples):
    student, teacher = outputs(0), outputs(1)
    masked = build()(student, teacher, data_samples=samples, mask=torch.zeros(2, 1, *SIZE))
    empty = build(positions='gt')(student, teacher, data_samples=[sample_of([], [])] * 2)
    (masked + empty).backward()
    assert masked == 0 and empty == 0
    assert all(leaf.grad.abs().sum() == 0 for task in student for leaf in task[0].values())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_gives_a_finite_float32_loss(samples, dtype):
    student, teacher = outputs(0, dtype), outputs(1, dtype)
    with torch.autocast('cpu', torch.bfloat16):
        result = build()(student, teacher, data_samples=samples)
    result.backward()
    assert result.dtype == torch.float32 and result.isfinite()
    assert all(leaf.grad.isfinite().all() for task in student for leaf in task[0].values())


def test_what_does_not_fit_is_named(samples):
    student, teacher = outputs(0), outputs(1)
    with pytest.raises(ValueError, match=r'\[2, 1\] classes, those of the teacher \[1, 2\]'):
        build()(student[::-1], teacher, data_samples=samples)
    with pytest.raises(ValueError, match=r"link the whole CenterHead, 'pts_bbox_head'"):
        build()(student[0][0]['heatmap'], teacher, data_samples=samples)
    with pytest.raises(ValueError, match='positions'):
        build(positions='everywhere')


def test_dense_boxes_are_those_that_the_head_predicts():
    """A loss of zero weight but for the centre: the decoded centres of mmdet3d differ as much."""
    model = load('centerpoint/centerpoint_pillar_mini.py').model
    torch.manual_seed(0)
    head = MODELS.build({**model.pts_bbox_head, 'test_cfg': model.test_cfg.pts})
    loss = MODELS.build(
        dict(
            type='CenterHeadKDLoss',
            axes='yx',
            point_cloud_range=model.data_preprocessor.voxel_layer.point_cloud_range,
            heatmap_weight=0.0,
            box_weight=1.0,
            positions='peaks',
            heatmap=dict(weights='teacher'),
            box_weights=dict(size=0.0, heading=0.0, velocity=0.0),
            beta=0.0,
        )
    )
    with torch.no_grad():
        student, teacher = head([torch.randn(1, 64, 64, 64)]), head([torch.zeros(1, 64, 64, 64)])
        for task in teacher:
            task[0]['heatmap'].fill_(-20.0)
        teacher[2][0]['heatmap'][0, 1, 20, 30] = 5.0  # one peak: row y, column x
        centres = []
        for head_output in (student, teacher):
            task = {k: v.clone() for k, v in head_output[2][0].items()}
            task['heatmap'] = teacher[2][0]['heatmap']
            sin, cos = task['rot'].split(1, dim=1)
            decoded = head.bbox_coder.decode(
                task['heatmap'].sigmoid(),
                sin,
                cos,
                task['height'],
                task['dim'].exp(),
                task['vel'],
                reg=task['reg'],
            )[0]
            assert decoded['scores'].argmax() == 0
            centres.append(decoded['bboxes'][0, :3])
        actual = loss(student, teacher)
    torch.testing.assert_close(actual, (centres[0] - centres[1]).abs().sum(), atol=1e-4, rtol=1e-4)


def test_a_teacher_of_another_range_teaches_boxes_where_they_lie(samples):
    """The teacher's maps, laid into a wider range whose further cells are of another object."""
    student, teacher = outputs(0), outputs(1)
    wide = [RANGE[0] - 2, RANGE[1] - 2, RANGE[2], RANGE[3] + 2, RANGE[4] + 2, RANGE[5]]
    wider = [
        [{key: F.pad(value, (2, 2, 2, 2), value=3.0) for key, value in task[0].items()}]
        for task in teacher
    ]
    expected = build(positions='gt')(student, teacher, data_samples=samples)
    loss = build(positions='gt')
    loss.teacher_grid = MapGrid(wide, 'yx')
    torch.testing.assert_close(loss(student, wider, data_samples=samples), expected)
