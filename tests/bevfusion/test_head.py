import copy
import math

import numpy as np
import pytest
import torch
from mmdet3d.models.layers import circle_nms as mmdet3d_circle_nms
from mmdet3d.models.utils import draw_heatmap_gaussian
from mmdet3d.models.utils import gaussian_radius as mmdet3d_gaussian_radius
from mmdet3d.registry import TASK_UTILS
from mmdet3d.structures import LiDARInstance3DBoxes

from bevfusion import RotatedOverlaps3D, TransFusionBBoxCoder
from bevfusion.heatmap import gaussian_radius
from bevfusion.nms import circle_nms
from bevfusion.targets import make_heatmap


def random_boxes(number, seed, reach=6.0):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(number, 9, generator=generator) * 2 - 1
    boxes[:, :2] *= reach
    boxes[:, 3:6] = boxes[:, 3:6].abs() * 4 + 0.3
    boxes[:, 6] *= math.pi
    return boxes


@pytest.fixture
def head_outputs(mini_cfg, build):
    """A head and its raw outputs for a random map of a batch of two."""

    def make(**sizes):
        head = build(mini_cfg(**sizes)).bbox_head
        features = torch.randn(2, head.in_channels, *head.grid_xy, requires_grad=True)
        return head, features, head(features)

    return make


class TestRotatedOverlaps:
    def test_random_boxes_agree_with_the_compiled_operator(self):
        a, b = random_boxes(60, 0), random_boxes(40, 1)
        expected = TASK_UTILS.build(dict(type='BboxOverlaps3D', coordinate='lidar'))(a, b)
        assert (expected > 0).sum() > 100
        assert torch.allclose(RotatedOverlaps3D()(a, b), expected, atol=2e-5)

    def test_a_box_overlaps_itself_fully_at_any_angle(self):
        boxes = random_boxes(50, 2)
        turned = boxes.clone()
        turned[:, 6] += math.pi
        assert torch.allclose(RotatedOverlaps3D()(boxes, boxes).diagonal(), torch.ones(50))
        assert torch.allclose(RotatedOverlaps3D()(boxes, turned).diagonal(), torch.ones(50))

    @pytest.mark.parametrize(
        ('shift', 'iou'),
        [((1, 0, 0), 1 / 3), ((2, 0, 0), 0), ((0, 0, 1), 1 / 3), ((1, 1, 0), 1 / 7)],
    )
    def test_shifted_cubes_with_common_edges(self, shift, iou):
        cube = torch.tensor([[0.0, 0, 0, 2, 2, 2, 0]])
        moved = cube.clone()
        moved[0, :3] += torch.tensor(shift)
        assert RotatedOverlaps3D()(cube, moved).item() == pytest.approx(iou, abs=1e-6)

    def test_inner_box_gives_the_ratio_of_volumes(self):
        outer = torch.tensor([[0.0, 0, 0, 4, 4, 2, 0.3]])
        inner = torch.tensor([[0.1, 0, 0, 1, 1, 1, 1.0]])
        assert RotatedOverlaps3D()(outer, inner).item() == pytest.approx(1 / 32, abs=1e-6)

    def test_no_boxes_and_unusable_boxes_give_no_overlap(self):
        boxes = random_boxes(3, 3)
        assert RotatedOverlaps3D()(boxes[:0], boxes).shape == (0, 3)
        flat = boxes.clone()
        flat[0, 3:6], flat[1, 0], flat[2, 4] = 0, float('nan'), float('inf')
        assert torch.isfinite(RotatedOverlaps3D()(flat, boxes)).all()


class TestHeatmap:
    TRAIN_CFG = dict(
        point_cloud_range=[-8, -16, -5, 8, 16, 3],
        voxel_size=[0.2, 0.2, 0.4],
        out_size_factor=4,
        gaussian_overlap=0.1,
        min_radius=2,
    )
    GRID = (20, 40)

    def test_peaks_equal_mmdet3d_drawn_one_by_one(self):
        boxes, labels = random_boxes(40, 4), torch.arange(40) % 3
        boxes[:, :2] = torch.rand(40, 2) * torch.tensor([16.0, 32.0]) - torch.tensor([8.0, 16.0])
        expected = torch.zeros(3, *self.GRID)
        for box, label in zip(boxes, labels, strict=True):
            width, length = box[3] / 0.2 / 4, box[4] / 0.2 / 4
            radius = max(2, int(mmdet3d_gaussian_radius((length, width), min_overlap=0.1)))
            cell = ((box[:2] + torch.tensor([8.0, 16.0])) / 0.2 / 4).int()
            draw_heatmap_gaussian(expected[label], cell[[1, 0]], radius)
        drawn = make_heatmap([boxes], [labels], self.TRAIN_CFG, 3, self.GRID)
        assert torch.equal(drawn[0], expected)

    def test_radius_equals_mmdet3d(self):
        length, width = torch.rand(100) * 20 + 0.1, torch.rand(100) * 20 + 0.1
        ours = gaussian_radius(length, width, 0.1)
        theirs = [mmdet3d_gaussian_radius(pair, 0.1) for pair in zip(length, width, strict=True)]
        assert torch.equal(ours, torch.stack(theirs))

    def test_samples_do_not_mix_and_empty_ones_stay_zero(self):
        box = torch.tensor([[0.0, 0, 0, 2, 2, 2, 0]])
        none, label = box[:0], torch.tensor([1])
        drawn = make_heatmap([none, box, none], [label[:0], label, label[:0]], self.TRAIN_CFG, 3,
                             self.GRID)  # fmt: skip
        assert drawn[1, 1, 10, 20] == 1
        assert drawn[1].sum() == drawn.sum()

    def test_box_without_size_is_left_out(self):
        box = torch.tensor([[0.0, 0, 0, 0, 2, 2, 0]])
        assert not make_heatmap([box], [torch.tensor([0])], self.TRAIN_CFG, 3, self.GRID).any()


class TestCoder:
    CODER = dict(pc_range=[-54, -54], out_size_factor=8, voxel_size=[0.075, 0.075], code_size=10)

    def test_decoding_undoes_encoding(self):
        coder, boxes = TransFusionBBoxCoder(**self.CODER), random_boxes(20, 5, reach=40)
        codes = coder.encode(boxes).T[None]
        center, height, dim, rot, vel = codes.split([2, 1, 3, 2, 2], dim=1)
        decoded = coder.decode_boxes(rot, dim, center, height, vel)[0]
        assert torch.allclose(decoded, boxes, atol=1e-5)

    def test_filter_keeps_the_faces_of_the_range_and_drops_what_lies_outside(self):
        coder = TransFusionBBoxCoder(**self.CODER, post_center_range=[-10, -10, -5, 10, 10, 5])
        boxes = random_boxes(3, 6)
        boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 5] = torch.tensor([9.0, 11, 0]), 0, 0, 2
        boxes[2, 2] = -5.5  # only the bottom centre lies outside
        center, height, dim, rot, vel = coder.encode(boxes).T[None].split([2, 1, 3, 2, 2], dim=1)
        scores = torch.rand(1, 10, 3)
        kept = coder.decode(scores, rot, dim, center, height, vel, filter=True)[0]
        assert kept['bboxes'][:, 0].tolist() == pytest.approx([9.0], abs=1e-4)


def test_circle_nms_equals_mmdet3d():
    rng = np.random.RandomState(0)
    found = rng.uniform(-2, 2, (200, 3)).astype(np.float32)
    expected = mmdet3d_circle_nms(found, 0.175)
    kept = circle_nms(torch.from_numpy(found[:, :2]), torch.from_numpy(found[:, 2]), 0.175)
    assert kept.tolist() == [int(index) for index in expected]


@pytest.mark.parametrize('nms_type', ['circle', 'rotate'])
def test_suppression_removes_doubled_pedestrians_and_no_cars(head_outputs, nms_type):
    head, _, outputs = head_outputs(proposals=4)
    head.test_cfg['nms_type'] = nms_type
    raw = {k: torch.zeros_like(v[:1]) for k, v in outputs[0][0].items()}
    raw['query_heatmap_score'] += torch.tensor([0.9, 0.8, 0.7, 0.6])
    raw['center'] += torch.tensor([[20.0, 20.01, 40.0, 40.01]])
    raw['rot'][:, 1] = 1
    raw['query_labels'] = torch.tensor([[8, 8, 0, 0]])
    (result,) = head.predict_by_feat(([raw],), [dict(box_type_3d=LiDARInstance3DBoxes)])
    assert result.labels_3d.tolist() == [8, 0, 0]


@pytest.mark.parametrize('layers', [1, 2])
def test_losses_and_decoding_leave_the_outputs_as_they_are(head_outputs, sample, layers):
    head, _, outputs = head_outputs(layers=layers)
    before = {k: v.detach().clone() for k, v in outputs[0][0].items()}
    versions = {k: v._version for k, v in outputs[0][0].items()}
    head.loss_by_feat(outputs, [sample(9).gt_instances_3d, sample(4, 1).gt_instances_3d])
    head.predict_by_feat(outputs, [dict(box_type_3d=LiDARInstance3DBoxes)] * 2)
    for key, value in outputs[0][0].items():
        assert torch.equal(value, before[key]), key
        assert value._version == versions[key], key


def test_every_decoder_layer_is_supervised(head_outputs, sample):
    head, features, outputs = head_outputs(layers=2)
    assert outputs[0][0]['center'].shape[-1] == 2 * head.num_proposals
    truth = [sample(9).gt_instances_3d, sample(4, 1).gt_instances_3d]
    losses = head.loss_by_feat(outputs, truth)
    assert {'layer_0_loss_cls', 'layer_0_loss_bbox'} <= set(losses)
    assert {'layer_-1_loss_cls', 'layer_-1_loss_bbox'} <= set(losses)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert features.grad.abs().sum() > 0


def test_frame_without_boxes_is_all_background(head_outputs, sample):
    head, _, outputs = head_outputs()
    truth = [sample(0).gt_instances_3d, sample(0).gt_instances_3d]
    losses = head.loss_by_feat(outputs, truth)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses['layer_-1_loss_bbox'] == 0
    targets = head.get_targets(truth, outputs[0])
    assert (targets.labels == head.num_classes).all()
    assert not targets.heatmap.any()


def test_every_box_is_matched_once(head_outputs, sample):
    head, _, outputs = head_outputs()
    targets = head.get_targets([sample(9).gt_instances_3d, sample(4).gt_instances_3d], outputs[0])
    assert (targets.labels < head.num_classes).sum(dim=1).tolist() == [9, 4]
    assert targets.num_pos == 13


def test_diverged_predictions_do_not_stop_the_matching(head_outputs, sample):
    head, _, outputs = head_outputs()
    outputs[0][0]['dim'] = outputs[0][0]['dim'] + 1e4
    outputs[0][0]['center'] = outputs[0][0]['center'] * float('nan')
    targets = head.get_targets([sample(9).gt_instances_3d] * 2, outputs[0])
    assert targets.num_pos == 18


def test_heuristic_assigner_takes_the_nearest_query_of_the_class(mini_cfg, build, sample):
    cfg = mini_cfg()
    cfg['bbox_head']['train_cfg']['assigner'] = dict(
        type='HeuristicAssigner3D', iou_calculator=dict(type='RotatedOverlaps3D')
    )
    head = build(cfg).bbox_head
    boxes = torch.zeros(3, 7)
    boxes[:, 0], boxes[:, 3:6] = torch.tensor([0.0, 1.0, 5.0]), 1.0
    truth = torch.tensor([[0.9, 0, 0, 1, 1, 1, 0.0]])
    result = head.bbox_assigner.assign(
        boxes, truth, None, torch.tensor([4]), torch.tensor([4, 3, 4])
    )
    assert result.gt_inds.tolist() == [1, 0, 0]
    outputs = head(torch.randn(2, head.in_channels, *head.grid_xy))
    losses = head.loss_by_feat(outputs, [sample(9).gt_instances_3d, sample(0).gt_instances_3d])
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_first_scores_are_low(mini_cfg, build):
    head = build(mini_cfg()).bbox_head
    outputs = head(torch.zeros(1, head.in_channels, *head.grid_xy))[0][0]
    assert outputs['dense_heatmap'].sigmoid().mean() < 0.2
    assert (head.prediction_heads[0].heatmap[-1].bias == -2.19).all()


def test_bfloat16_autocast_gives_finite_losses_and_gradients(head_outputs, sample):
    head, features, _ = head_outputs()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outputs = head(features)
        losses = head.loss_by_feat(outputs, [sample(9).gt_instances_3d] * 2)
    assert outputs[0][0]['dense_heatmap'].dtype == torch.float32
    assert outputs[0][0]['center'].dtype == torch.float32
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert torch.isfinite(features.grad).all()


def test_loss_without_sigmoid_is_refused(mini_cfg, build):
    cfg = copy.deepcopy(mini_cfg())
    cfg['bbox_head']['loss_cls'] = dict(type='mmdet.CrossEntropyLoss')
    with pytest.raises(ValueError, match='use_sigmoid'):
        build(cfg)


def test_map_of_another_size_is_refused(head_outputs):
    head, _, _ = head_outputs()
    with pytest.raises(ValueError, match=r'the head expects \(64, 64\)'):
        head(torch.randn(1, head.in_channels, 32, 64))


FAULTS = dict(
    flat=(3, 0.0),
    negative=(5, -1.0),
    unknown_size=(4, math.nan),
    unknown_centre=(0, math.nan),
    infinite_centre=(1, math.inf),
    unknown_yaw=(6, math.nan),
)
HEURISTIC = dict(type='HeuristicAssigner3D', iou_calculator=dict(type='RotatedOverlaps3D'))


def with_fault(truth, fault):
    """The same instances with a second one, which is no object."""
    column, value = FAULTS[fault]
    order = [0, 0, *range(1, len(truth))]
    spoilt = copy.deepcopy(truth[order])
    spoilt.bboxes_3d.tensor[1, column] = value
    return spoilt


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('assigner', ['hungarian', 'heuristic'])
def test_a_box_without_size_takes_no_part(head_outputs, sample, fault, assigner):
    head, features, outputs = head_outputs()
    if assigner == 'heuristic':
        head.bbox_assigner = TASK_UTILS.build(HEURISTIC)
    truth, empty = sample(9).gt_instances_3d, sample(0).gt_instances_3d
    results = []
    for own in (truth, with_fault(truth, fault)):
        losses = head.loss_by_feat(outputs, [own, empty])
        total = sum(value for key, value in losses.items() if 'loss' in key)
        (gradient,) = torch.autograd.grad(total, features, retain_graph=True)
        results.append((losses, gradient))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    assert results[0][0]['layer_-1_loss_bbox'] > 0


def test_a_frame_of_boxes_without_size_is_all_background(head_outputs, sample):
    head, _, outputs = head_outputs()
    truth = [sample(3).gt_instances_3d, sample(0).gt_instances_3d]
    truth[0].bboxes_3d.tensor[:, 3] = 0
    losses = head.loss_by_feat(outputs, truth)
    assert losses['layer_-1_loss_bbox'] == 0 and losses['loss_heatmap'].isfinite()
    assert not head.get_targets(truth, outputs[0]).heatmap.any()


@pytest.mark.parametrize('assigner', ['hungarian', 'heuristic'])
def test_assigners_count_boxes_without_size_and_match_none(head_outputs, assigner):
    head, _, _ = head_outputs()
    truth = random_boxes(3, 7)
    truth[1, 3] = 0
    labels, found = torch.tensor([4, 5, 6]), truth[[2, 1, 0, 1]].clone()
    found[:, 3:6] = 1
    if assigner == 'heuristic':
        result = TASK_UTILS.build(HEURISTIC).assign(found, truth, None, labels)
    else:
        logits = torch.zeros(1, 10, 4)
        result = head.bbox_assigner.assign(found, truth, labels, logits, head.train_cfg)
    assert result.gt_inds.tolist() == [3, 0, 1, 0]
    assert result.labels.tolist() == [6, -1, 4, -1]


def test_an_unknown_velocity_has_no_weight(head_outputs, sample):
    head, features, outputs = head_outputs()
    velocity = outputs[0][0]['vel']
    velocity.retain_grad()
    known = [sample(4).gt_instances_3d, sample(0).gt_instances_3d]
    unknown = copy.deepcopy(known)
    unknown[0].bboxes_3d.tensor[1:, 7:] = math.nan
    losses = head.loss_by_feat(outputs, unknown)
    losses['layer_-1_loss_bbox'].backward()
    assert losses['layer_-1_loss_bbox'].isfinite() and features.grad.isfinite().all()
    assert (velocity.grad != 0).any(dim=1).sum() == 1  # the query of the only known one
    targets = [head.get_targets(truth, outputs[0]) for truth in (known, unknown)]
    assert targets[1].num_pos == 4
    for key in ('box_codes', 'box_weights'):
        one, other = (getattr(target, key)[..., :8] for target in targets)
        assert torch.equal(one, other), key
