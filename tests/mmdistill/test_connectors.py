"""Connectors: sizes, places, channels."""

import math

import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F


@pytest.mark.parametrize('mode', ['bilinear', 'nearest', 'adaptive'])
def test_resizing_keeps_what_is_constant_and_where_it_lies(mode):
    resize = MODELS.build(dict(type='ResizeConnector', size=(4, 10), mode=mode))
    feature = torch.zeros(1, 1, 8, 20)
    feature[..., 10:] = 3
    expected = torch.zeros(1, 1, 4, 10)
    expected[..., 5:] = 3
    torch.testing.assert_close(resize(feature), expected)
    with pytest.raises(ValueError, match='expected a map'):
        resize(torch.ones(2, 3))


def test_transposing_swaps_the_axes_of_a_map():
    feature = torch.randn(2, 3, 4, 5)
    transposed = MODELS.build(dict(type='TransposeConnector'))(feature)
    assert torch.equal(transposed[1, 2, 4, 3], feature[1, 2, 3, 4])
    assert transposed.shape == (2, 3, 5, 4)


@pytest.mark.parametrize('pool', ['avg', 'max', 'avg+max'])
@pytest.mark.parametrize('hidden', [None, 7])
def test_projector_gives_unit_embeddings_of_maps_sequences_and_vectors(pool, hidden):
    projector = MODELS.build(
        dict(type='MLPProjector', in_channels=3, out_channels=5, pool=pool, hidden_channels=hidden)
    )
    feature = torch.randn(2, 3, 4, 6)
    embedding = projector(feature)
    assert embedding.shape == (2, 5)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(projector(feature.flatten(2)), embedding)
    assert projector(feature[..., 0, 0]).shape == (2, 5)


def test_connectors_check_their_channels():
    for config in (
        dict(type='MLPProjector', in_channels=3),
        dict(type='ConvConnector', in_channels=3, out_channels=5),
    ):
        connector = MODELS.build(config)
        with pytest.raises(ValueError, match=r'\(B, 3, ...\).*\(2, 4, 5, 5\)'):
            connector(torch.ones(2, 4, 5, 5))
        with pytest.raises(ValueError, match=r'a tuple of 1: add a selector'):
            connector((torch.ones(2, 3, 5, 5),))


@pytest.mark.parametrize('norm', [True, False])
def test_conv_connector_keeps_the_size(norm):
    config = dict(type='ConvConnector', in_channels=3, out_channels=5, kernel_size=3, norm=norm)
    assert MODELS.build(config)(torch.ones(2, 3, 4, 6)).shape == (2, 5, 4, 6)
    with pytest.raises(ValueError, match='kernel_size must be odd'):
        MODELS.build({**config, 'kernel_size': 2})


def test_projector_pools_the_voxels_of_each_sample():
    spconv = pytest.importorskip('spconv.pytorch')
    torch.manual_seed(0)
    features = torch.randn(5, 3)
    indices = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 1], [1, 2, 0, 0]])
    sparse = spconv.SparseConvTensor(features, indices.int(), [3, 2, 2], batch_size=2)
    projector = MODELS.build(dict(type='MLPProjector', in_channels=3, pool='avg+max'))
    rows = [features[:2], features[2:]]
    pooled = torch.stack([torch.cat([r.mean(0), r.max(0).values]) for r in rows])
    expected = F.normalize(projector.layers(pooled), dim=1)
    torch.testing.assert_close(projector(sparse), expected)
    half = sparse.replace_feature(features.half())
    torch.testing.assert_close(projector(half), expected, rtol=0, atol=1e-2)


def test_pooling_does_not_overflow_in_half_precision():
    projector = MODELS.build(dict(type='MLPProjector', in_channels=1))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert projector(torch.full((1, 1, 300, 300), 6e4).half()).isfinite().all()


@pytest.mark.parametrize('act', [None, 'ReLU', 'GELU'])
@pytest.mark.parametrize('norm', [True, False])
def test_conv_connector_is_a_convolution_then_norm_then_activation(norm, act):
    torch.manual_seed(0)
    connector = MODELS.build(
        dict(type='ConvConnector', in_channels=3, out_channels=5, norm=norm, act=act)
    )
    feature = torch.randn(2, 3, 4, 6)
    expected = F.conv2d(feature, connector.conv.weight, connector.conv.bias)
    if norm:
        assert connector.conv.bias is None
        mean = expected.mean((0, 2, 3), keepdim=True)
        variance = expected.var((0, 2, 3), keepdim=True, unbiased=False)
        expected = (expected - mean) / (variance + 1e-5).sqrt()
    expected = {None: lambda x: x, 'ReLU': F.relu, 'GELU': F.gelu}[act](expected)
    torch.testing.assert_close(connector(feature), expected)


@pytest.mark.parametrize('act', ['relu', 'Conv2d', 'Tensor'])
def test_an_activation_that_torch_does_not_have_is_refused(act):
    with pytest.raises(ValueError, match=f"such as 'ReLU', not '{act}'"):
        MODELS.build(dict(type='ConvConnector', in_channels=3, out_channels=5, act=act))


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
        dict(type='RangeConnector', source_range=SOURCE, target_range=TARGET, size=size, mode=mode)
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
    xy = MODELS.build(dict(**config, source_range=SOURCE, target_range=TARGET))(feature)
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
    config = dict(type='RangeConnector', source_range=SOURCE, mode=mode)
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


@pytest.mark.parametrize('mode', ['bilinear', 'nearest'])
def test_several_scales_become_one_map(mode):
    torch.manual_seed(0)
    scales = torch.randn(2, 3, 8, 10), torch.randn(2, 5, 4, 5)
    connector = MODELS.build(dict(type='ConcatConnector', in_channels=[3, 5], mode=mode))
    joined = connector(scales)
    assert joined.shape == (2, 8, 8, 10)
    assert torch.equal(joined[:, :3], scales[0])
    resize = MODELS.build(dict(type='ResizeConnector', size=(8, 10), mode=mode))
    torch.testing.assert_close(joined[:, 3:], resize(scales[1]))
    config = dict(type='ConcatConnector', in_channels=[3, 5], size=(4, 5), mode=mode)
    assert torch.equal(MODELS.build(config)(list(scales))[:, 3:], scales[1])


def test_scales_that_are_missing_or_have_other_channels_are_named():
    connector = MODELS.build(dict(type='ConcatConnector', in_channels=[3, 5]))
    large, small = torch.ones(2, 3, 8, 10), torch.ones(2, 6, 4, 5)
    with pytest.raises(ValueError, match=r'a tuple of 2 maps .*got a tuple of 1'):
        connector((large,))
    with pytest.raises(ValueError, match='a tuple of 2 maps .*got Tensor of shape.*selector'):
        connector(large)
    with pytest.raises(ValueError, match=r'in_channels\[1\]=5 says, got .*\(2, 6, 4, 5\)'):
        connector((large, small))
    with pytest.raises(ValueError, match=r'expected a map'):
        connector((large, large[0]))


@pytest.mark.parametrize(
    'config',
    [
        dict(type='ResizeConnector', size=(4, 4)),
        dict(type='TransposeConnector'),
        dict(type='RangeConnector', source_range=SOURCE, target_range=TARGET, size=(4, 4)),
    ],
)
def test_connectors_of_maps_say_what_they_got(config):
    with pytest.raises(ValueError, match=r'expected a map .*a tuple of 1: add a selector'):
        MODELS.build(config)((torch.ones(2, 3, 5, 5),))
