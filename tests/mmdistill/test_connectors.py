"""Connectors: sizes, places, channels."""

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
        dict(type='LinearConnector', in_channels=3, out_channels=5),
    ):
        connector = MODELS.build(config)
        with pytest.raises(ValueError, match=r'\(B, 3, ...\).*\(2, 4, 5, 5\)'):
            connector(torch.ones(2, 4, 5, 5))
        with pytest.raises(ValueError, match=r'a tuple of 1: add a selector'):
            connector((torch.ones(2, 3, 5, 5),))


def test_linear_connector_takes_vectors():
    connector = MODELS.build(dict(type='LinearConnector', in_channels=3, out_channels=5))
    feature = torch.randn(2, 3)
    expected = feature @ connector.linear.weight.T + connector.linear.bias
    torch.testing.assert_close(connector(feature), expected)
    with pytest.raises(ValueError, match=r'vectors \(B, C\), got \(2, 3, 4, 4\).*ConvConnector'):
        connector(torch.ones(2, 3, 4, 4))


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


def test_connectors_of_maps_say_what_they_got():
    with pytest.raises(ValueError, match=r'expected a map .*a tuple of 1: add a selector'):
        MODELS.build(dict(type='ResizeConnector', size=(4, 4)))((torch.ones(2, 3, 5, 5),))
