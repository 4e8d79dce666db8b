"""Cells in metres, features at points and objects, and masks of boxes."""

import math

import pytest
import torch
from mmcv.ops import points_in_boxes_cpu
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.registry import MODELS
from mmengine.structures import InstanceData

import mmdistill3d  # noqa: F401  (registers)
from mmdistill3d.bev import BEVGrid
from mmdistill3d.roi import box_points, roi_features, sample_points

RANGE = [-6.0, -4.0, -5.0, 6.0, 4.0, 3.0]
SIZE = {'xy': (12, 8), 'yx': (8, 12)}  # cells of one metre
CAR = [1.3, -0.4, -1.0, 4.0, 2.0, 1.5, 0.4, 0.0, 0.0]
CONE = [-4.2, 2.6, -1.0, 0.3, 0.3, 1.0, 0.0, 0.0, 0.0]


def coordinates(grid, size):
    """A map whose two channels are x and y in metres."""
    return grid.centers_m(size, torch.zeros((), dtype=torch.float64)).permute(2, 0, 1)[None]


def sample_of(*boxes, scores=None):
    tensor = torch.tensor(boxes).reshape(-1, 9)
    instances = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(tensor, box_dim=9),
        labels_3d=torch.zeros(len(boxes), dtype=torch.long),
    )
    sample = Det3DDataSample()
    if scores is None:
        sample.gt_instances_3d = instances
    else:
        instances.scores_3d = torch.tensor(scores)
        sample.pred_instances_3d = instances
    return sample


@pytest.mark.parametrize('axes', ['xy', 'yx'])
class TestGrid:
    def test_first_cell_starts_at_the_low_end(self, axes):
        centers = BEVGrid(RANGE, axes).centers_m(SIZE[axes], torch.zeros(()))
        assert centers[0, 0].tolist() == [-5.5, -3.5]
        step = centers[1, 0] - centers[0, 0]
        assert step.tolist() == ([1, 0] if axes == 'xy' else [0, 1])

    def test_cells_undo_centers(self, axes):
        grid = BEVGrid(RANGE, axes)
        cells = grid.cells(grid.centers_m(SIZE[axes], torch.zeros(())), SIZE[axes])
        assert cells[3, 5].tolist() == [3, 5]

    def test_a_map_of_coordinates_sampled_at_a_point_gives_the_point(self, axes):
        grid = BEVGrid(RANGE, axes)
        feature = coordinates(grid, SIZE[axes])
        points = torch.tensor([[0.3, -1.7], [4.4, 3.1]], dtype=torch.float64)
        sampled = sample_points(feature, points, torch.tensor([0, 0]), grid)
        torch.testing.assert_close(sampled, points)

    def test_samples_and_gradients_equal_those_of_grid_sample(self, axes):
        grid = BEVGrid(RANGE, axes)
        torch.manual_seed(0)
        feature = torch.randn(2, 3, *SIZE[axes], dtype=torch.float64, requires_grad=True)
        points = torch.rand(2, 9, 2, dtype=torch.float64) * torch.tensor([14.0, 10.0])
        points = points - torch.tensor([7.0, 5.0])  # some lie outside
        # grid_sample wants (column, row) from -1 to 1 over the whole map
        unit = points / torch.tensor([6.0, 4.0])
        unit = unit.flip(-1) if axes == 'xy' else unit
        expected = torch.nn.functional.grid_sample(feature, unit[:, :, None], align_corners=False)
        expected = expected[..., 0].transpose(1, 2).flatten(0, 1)
        actual = sample_points(feature, points.flatten(0, 1), torch.tensor([0] * 9 + [1] * 9), grid)
        torch.testing.assert_close(actual, expected)
        weights = torch.randn_like(actual)
        (grad,) = torch.autograd.grad((actual * weights).sum(), feature, retain_graph=True)
        (expected_grad,) = torch.autograd.grad((expected * weights).sum(), feature)
        torch.testing.assert_close(grad, expected_grad)

    def test_object_features_lie_on_the_turned_box(self, axes):
        grid = BEVGrid(RANGE, axes)
        boxes = torch.tensor([CAR], dtype=torch.float64)
        features = roi_features(coordinates(grid, SIZE[axes]), [boxes], grid, size=(2, 1))
        assert features.shape == (1, 2, 2, 1)
        front = features[0, :, 1, 0]
        expected = [1.3 + math.cos(0.4), -0.4 + math.sin(0.4)]  # a quarter of the length ahead
        torch.testing.assert_close(front, torch.tensor(expected, dtype=torch.float64))

    def test_a_mask_covers_the_cells_whose_centre_lies_in_a_box(self, axes):
        mask = MODELS.build(dict(type='BoxMask', point_cloud_range=RANGE, axes=axes, per_box=False))
        weights = mask(torch.zeros(1, 4, *SIZE[axes]), data_samples=[sample_of(CAR)])
        centers = BEVGrid(RANGE, axes).centers_m(SIZE[axes], torch.zeros(()))
        points = torch.cat([centers, torch.full((*SIZE[axes], 1), -0.5)], -1).reshape(-1, 3)
        inside = points_in_boxes_cpu(points[None], torch.tensor(CAR)[None, None, :7])
        assert weights.shape == (1, 1, *SIZE[axes])
        assert weights.flatten().tolist() == inside.flatten().float().tolist()
        assert weights.sum() > 5

    def test_a_gaussian_is_turned_with_its_box(self, axes):
        mask = MODELS.build(
            dict(type='BoxMask', point_cloud_range=RANGE, axes=axes, shape='gaussian')
        )
        weights = mask(torch.zeros(1, 4, *SIZE[axes]), data_samples=[sample_of(CAR, CONE)])
        centers = BEVGrid(RANGE, axes).centers_m(SIZE[axes], torch.zeros((), dtype=torch.float64))
        expected = torch.zeros(SIZE[axes], dtype=torch.float64)
        for x, y, _, length, width, _, yaw, *_ in (CAR, CONE):
            least = math.sqrt(0.5)  # of cells of one metre
            turn = torch.tensor([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
            halves = torch.tensor([max(length / 2, least), max(width / 2, least)])
            reach = (centers - torch.tensor([x, y])) @ turn.double() / halves.double()
            peak = torch.exp(-2 * reach.square().sum(-1)) * (reach.abs() <= 2).all(-1)
            expected = expected.maximum(peak / peak.sum())
        torch.testing.assert_close(weights[0, 0].double(), expected, rtol=1e-5, atol=1e-7)


def test_points_of_a_box_agree_with_mmdet3ds_corners():
    boxes = torch.tensor([CAR])
    corners = LiDARInstance3DBoxes(boxes, box_dim=9).corners[0, :, :2]
    points = box_points(boxes, (2, 2), expand=2.0)[0]  # tile centres of the doubled box
    nearest = torch.cdist(points, corners).min(1).values
    assert nearest.max() < 1e-5


def test_nine_points_reach_corners_and_middles_of_the_sides_of_a_box_expanded_by_half():
    boxes = torch.tensor([CAR])
    ends = LiDARInstance3DBoxes(boxes, box_dim=9).corners[0, [0, 3, 7, 4], :2]  # around the bottom
    middles = (ends + ends.roll(1, 0)) / 2
    expected = torch.cat([ends, middles, boxes[:, :2]])
    points = box_points(boxes, (3, 3), expand=1.5)[0]
    distance = torch.cdist(points, expected)
    assert distance.amin(0).max() < 1e-5 and distance.amin(1).max() < 1e-5


class TestBoxMask:
    feature = torch.zeros(2, 4, 12, 8)

    def weights(self, samples=None, predictions=None, **config):
        mask = MODELS.build(dict(type='BoxMask', point_cloud_range=RANGE, axes='xy', **config))
        return mask(self.feature, data_samples=samples, teacher_predictions=predictions)

    @pytest.mark.parametrize('shape', ['box', 'gaussian'])
    def test_every_box_counts_alike_whatever_its_size(self, shape):
        weights = self.weights([sample_of(CAR, CONE), sample_of(CONE)], shape=shape)
        torch.testing.assert_close(weights.sum((1, 2, 3)), torch.tensor([2.0, 1.0]))

    def test_a_box_smaller_than_a_cell_has_one(self):
        weights = self.weights([sample_of(CONE), sample_of()], per_box=False)
        assert weights[0].sum() >= 1 and weights[1].sum() == 0

    @pytest.mark.parametrize('yaw', [-0.25, 0.25, 0.75, 1.25])
    def test_a_small_box_on_the_corner_of_four_cells_has_one_however_it_is_turned(self, yaw):
        mask = MODELS.build(dict(type='BoxMask', point_cloud_range=RANGE, axes='xy', per_box=False))
        for column in range(1, 10):  # cells of 0.8 m
            corner = [RANGE[0] + 0.8 * column, RANGE[1] + 0.8 * column]
            box = [*corner, *CONE[2:6], yaw * math.pi, 0.0, 0.0]
            assert mask(torch.zeros(1, 4, 15, 10), data_samples=[sample_of(box)]).sum() >= 1

    def test_a_gaussian_peaks_at_the_centre_and_fades_to_the_sides(self):
        box = [0.5, 0.5, -1.0, 8.0, 4.0, 1.5, 0.0, 0.0, 0.0]  # centred on a cell
        weights = self.weights([sample_of(box), sample_of()], shape='gaussian', per_box=False)[0, 0]
        assert weights[6, 4] == weights.max() == 1
        # 4 cells ahead and 2 cells to the left are the middles of the sides
        torch.testing.assert_close(weights[10, 4], torch.tensor(math.exp(-2)))
        torch.testing.assert_close(weights[6, 6], torch.tensor(math.exp(-2)))

    def test_teacher_boxes_count_above_the_threshold(self):
        predictions = [sample_of(CAR, CONE, scores=[0.9, 0.1]), sample_of(CAR, scores=[0.2])]
        weights = self.weights(predictions=predictions, boxes='teacher')
        torch.testing.assert_close(weights.sum((1, 2, 3)), torch.tensor([1.0, 0.0]))

    def test_a_teacher_box_on_an_annotated_one_does_not_count_twice(self):
        samples = [sample_of(CAR), sample_of()]
        predictions = [sample_of(CAR, CONE, scores=[0.9, 0.9]), sample_of(scores=[])]
        weights = self.weights(samples, predictions, boxes='union')
        torch.testing.assert_close(weights.sum((1, 2, 3)), torch.tensor([2.0, 0.0]))

    def test_background_is_a_floor(self):
        weights = self.weights([sample_of(CAR), sample_of()], background=0.25)
        assert weights[1].unique().tolist() == [0.25]

    def test_only_teacher_boxes_make_the_teacher_predict(self):
        for boxes, asks in (('gt', False), ('teacher', True), ('union', True)):
            mask = MODELS.build(
                dict(type='BoxMask', point_cloud_range=RANGE, axes='xy', boxes=boxes)
            )
            assert ('teacher_predictions' in mask.needs) == asks

    def test_a_batch_without_annotations_is_an_error(self):
        with pytest.raises(ValueError, match='gt_bboxes_3d'):
            self.weights(samples=None)

    def test_samples_of_another_batch_are_an_error(self):
        with pytest.raises(ValueError, match='a batch of 2, and there are 1 samples'):
            self.weights([sample_of(CAR)])

    def test_a_box_outside_the_map_weighs_nothing(self):
        far = [50.0, 50.0, *CAR[2:]]
        assert self.weights([sample_of(far), sample_of()]).sum() == 0


@pytest.mark.parametrize(
    ('limits', 'axes', 'message'),
    [
        ([0, 0, 0, 1, 1], 'xy', '6 numbers'),
        ([0, 0, 0, 0, 1, 1], 'xy', 'empty'),
        (RANGE, 'zx', "one of \\('xy', 'yx'\\)"),
    ],
)
def test_a_wrong_grid_is_an_error(limits, axes, message):
    with pytest.raises(ValueError, match=message):
        BEVGrid(limits, axes)
