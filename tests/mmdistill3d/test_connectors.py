"""Connectors that know metres and axes."""

import math

import pytest
import torch
from mmengine.registry import MODELS

import mmdistill3d  # noqa: F401  (registers)


def test_transposing_swaps_the_axes_of_a_map():
    feature = torch.randn(2, 3, 4, 5)
    transposed = MODELS.build(dict(type='TransposeConnector'))(feature)
    assert torch.equal(transposed[1, 2, 4, 3], feature[1, 2, 3, 4])
    assert transposed.shape == (2, 3, 5, 4)


SOURCE, TARGET = (-4.0, -6.0, 4.0, 6.0), (-3.0, -2.5, 5.0, 3.5)


def cell(index, cells, low, high):
    """Borders of a cell in metres."""
    size = (high - low) / cells
    return low + index * size, low + (index + 1) * size


def naive_bilinear(feature, size, source, target):
    """Value at the centre of each of the target's cells; axes x, y."""
    result = feature.new_zeros(*feature.shape[:2], *size)
    for i in range(size[0]):
        for j in range(size[1]):
            corners, weights = [], []
            for axis, index in ((0, i), (1, j)):
                cells, low, high = feature.shape[2 + axis], source[axis], source[2 + axis]
                centre = sum(cell(index, size[axis], target[axis], target[2 + axis])) / 2
                if not low <= centre <= high:
                    break
                place = (centre - low) / (high - low) * cells - 0.5
                place = min(max(place, 0.0), cells - 1.0)
                first = min(math.floor(place), cells - 2)
                corners.append((first, first + 1))
                weights.append((1 - (place - first), place - first))
            if len(corners) == 2:
                for a in (0, 1):
                    for b in (0, 1):
                        value = feature[:, :, corners[0][a], corners[1][b]]
                        result[:, :, i, j] += weights[0][a] * weights[1][b] * value
    return result


def naive_area(feature, size, source, target):
    """Mean of the map, 0 outside, over each of the target's cells; axes x, y."""
    result = feature.new_zeros(*feature.shape[:2], *size)
    for i in range(size[0]):
        for j in range(size[1]):
            xs = cell(i, size[0], target[0], target[2])
            ys = cell(j, size[1], target[1], target[3])
            for a in range(feature.shape[2]):
                for b in range(feature.shape[3]):
                    overlap = 1.0
                    for (low, high), other in (
                        (xs, cell(a, feature.shape[2], source[0], source[2])),
                        (ys, cell(b, feature.shape[3], source[1], source[3])),
                    ):
                        overlap *= max(0.0, min(high, other[1]) - max(low, other[0]))
                    area = (xs[1] - xs[0]) * (ys[1] - ys[0])
                    result[:, :, i, j] += overlap / area * feature[:, :, a, b]
    return result


@pytest.mark.parametrize(('mode', 'naive'), [('bilinear', naive_bilinear), ('area', naive_area)])
@pytest.mark.parametrize('size', [(5, 4), (13, 11)])
def test_a_map_is_brought_to_another_range_where_it_lies_on_the_ground(mode, naive, size):
    torch.manual_seed(0)
    feature = torch.randn(2, 3, 8, 9, dtype=torch.float64, requires_grad=True)
    connector = MODELS.build(
        dict(
            type='RangeConnector',
            source_range=SOURCE,
            target_range=TARGET,
            size=size,
            axes='xy',
            mode=mode,
        )
    )
    expected = naive(feature, size, SOURCE, TARGET)
    torch.testing.assert_close(connector(feature), expected)
    pull = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad((connector(feature) * pull).sum(), feature)
    (expected_gradient,) = torch.autograd.grad((expected * pull).sum(), feature)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize('mode', ['bilinear', 'area'])
def test_the_order_of_the_axes_and_ranges_with_heights_are_understood(mode):
    torch.manual_seed(0)
    feature = torch.randn(1, 2, 8, 9)
    config = dict(type='RangeConnector', size=(13, 11), mode=mode)
    xy = MODELS.build(dict(**config, axes='xy', source_range=SOURCE, target_range=TARGET))(feature)
    config.update(
        source_range=[*SOURCE[:2], -5, *SOURCE[2:], 3],
        target_range=[*TARGET[:2], -1, *TARGET[2:], 1],
        size=(11, 13),
        axes='yx',
    )
    yx = MODELS.build(config)(feature.transpose(2, 3))
    torch.testing.assert_close(yx.transpose(2, 3), xy)


@pytest.mark.parametrize('mode', ['bilinear', 'area'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_the_same_range_and_size_change_nothing_and_aligned_cells_are_cropped(mode, dtype):
    torch.manual_seed(0)
    feature = torch.randn(1, 2, 8, 12).to(dtype)
    config = dict(type='RangeConnector', source_range=SOURCE, axes='xy', mode=mode)
    same = MODELS.build(dict(**config, target_range=SOURCE, size=(8, 12)))
    torch.testing.assert_close(same(feature), feature)
    cropped = MODELS.build(dict(**config, target_range=(-2, -6, 3, -1), size=(5, 5)))
    torch.testing.assert_close(cropped(feature), feature[:, :, 2:7, :5])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(source_range=[0, 0, 1]), r'source_range is \[x0, y0, x1, y1\] or .*not \[0, 0, 1\]'),
        (dict(target_range=[0, 5, 1, 4]), 'target_range is .* each 0 below its 1'),
        (dict(target_range=[50, 50, 60, 60]), 'do not overlap'),
        (dict(axes='hw'), "'xy' or 'yx', not 'hw'"),
        (dict(mode='nearest'), "'bilinear' or 'area', not 'nearest'"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(changes, message):
    config = dict(type='RangeConnector', source_range=SOURCE, target_range=TARGET, size=(4, 4))
    with pytest.raises(ValueError, match=message):
        MODELS.build({**config, **changes})


@pytest.mark.parametrize(
    'config',
    [
        dict(type='TransposeConnector'),
        dict(type='RangeConnector', source_range=SOURCE, target_range=TARGET, size=(4, 4)),
    ],
)
def test_connectors_of_maps_say_what_they_got(config):
    with pytest.raises(ValueError, match=r'expected a map .*a tuple of 1: add a selector'):
        MODELS.build(config)((torch.ones(2, 3, 5, 5),))


def test_a_range_outside_of_a_link_needs_axes():
    connector = MODELS.build(
        dict(type='RangeConnector', source_range=SOURCE, target_range=TARGET, size=(4, 4))
    )
    with pytest.raises(ValueError, match="outside of a link needs axes='xy' or 'yx'"):
        connector(torch.ones(1, 1, 4, 4))
