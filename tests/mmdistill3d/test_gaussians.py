"""Centre heatmaps of boxes against MMDetection3D's, drawn box by box."""

import pytest
import torch
from mmdet3d.models.utils import draw_heatmap_gaussian, gaussian_radius

from mmdistill3d.bev import BEVGrid
from mmdistill3d.gaussians import class_gaussians

RANGE = [-8.0, -6.0, -5.0, 8.0, 6.0, 3.0]
SIZE_YX = (24, 32)  # cells of 0.5 m


def some_boxes(number):
    torch.manual_seed(0)
    boxes = torch.rand(number, 9) * torch.tensor([20.0, 16, 1, 6, 3, 2, 6, 1, 1])
    boxes[:, :2] -= torch.tensor([10.0, 8.0])  # a few lie outside
    return boxes, torch.randint(0, 4, (number,))


def naive_maps(boxes, labels, classes):
    """(K, Y, X), one box after the other."""
    maps = torch.zeros(len(classes), *SIZE_YX)
    for box, label in zip(boxes, labels.tolist(), strict=True):
        length, width = box[3] / 0.5, box[4] / 0.5
        x, y = (box[:2] - torch.tensor(RANGE[:2])) / 0.5
        if label not in classes or not (0 <= x < 32 and 0 <= y < 24):
            continue
        radius = max(2, int(gaussian_radius((width, length), min_overlap=0.1)))
        draw_heatmap_gaussian(maps[classes.index(label)], [int(x), int(y)], radius)
    return maps


@pytest.mark.parametrize('axes', ['xy', 'yx'])
def test_gaussians_are_those_that_centre_heads_are_trained_with(axes):
    boxes, labels = some_boxes(30)
    classes = [3, 0, 1]
    size = SIZE_YX if axes == 'yx' else SIZE_YX[::-1]
    maps = class_gaussians(
        [boxes[:18], boxes[:0], boxes[18:]],
        [labels[:18], labels[:0], labels[18:]],
        classes,
        size,
        BEVGrid(RANGE, axes),
    )
    expected = torch.stack(
        [
            naive_maps(boxes[:18], labels[:18], classes),
            torch.zeros(3, *SIZE_YX),
            naive_maps(boxes[18:], labels[18:], classes),
        ]
    )
    assert expected.eq(1).sum() > 10
    torch.testing.assert_close(maps, expected if axes == 'yx' else expected.transpose(2, 3))


def test_a_batch_without_boxes_is_all_zero():
    empty = torch.zeros(0, 9), torch.zeros(0, dtype=torch.long)
    maps = class_gaussians([empty[0]] * 2, [empty[1]] * 2, range(3), (4, 5), BEVGrid(RANGE))
    assert maps.shape == (2, 3, 4, 5) and maps.sum() == 0
