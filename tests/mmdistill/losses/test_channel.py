"""Losses between channels against formulas written out in loops."""

import pytest
import torch
from mmengine.registry import MODELS

from tests.mmdistill.losses.compare import assert_same, positions


def naive_pearson(student, teacher, mask):
    total = 0.0
    weights = [mask[b, 0, h, w] for b, h, w in positions(student)]
    for c in range(student.shape[1]):
        values = [[f[b, c, h, w] for b, h, w in positions(f)] for f in (student, teacher)]
        weight = sum(weights)
        means = [sum(m * v for m, v in zip(weights, vs, strict=True)) / weight for vs in values]

        def moment(i, j, values=values, means=means):
            products = zip(weights, values[i], values[j], strict=True)
            return sum(m * (a - means[i]) * (b - means[j]) for m, a, b in products)

        total = total + 1 - moment(0, 1) / torch.sqrt(moment(0, 0) * moment(1, 1))
    return total / student.shape[1]


def test_pkd_is_one_minus_the_weighted_pearson_correlation(pair, weights):
    loss = MODELS.build(dict(type='PKDLoss', loss_weight=2.0))
    assert_same(loss(*pair), 2 * naive_pearson(*pair, torch.ones_like(weights)), pair[0])
    assert_same(loss(*pair, mask=weights), 2 * naive_pearson(*pair, weights), pair[0])


def test_pkd_is_half_the_square_of_standardised_channels(pair):
    standardised = [
        (f - f.mean((0, 2, 3), keepdim=True)) / f.std((0, 2, 3), keepdim=True, unbiased=False)
        for f in pair
    ]
    expected = (standardised[0] - standardised[1]).square().mean() / 2
    assert_same(MODELS.build(dict(type='PKDLoss'))(*pair), expected, pair[0])


def test_pkd_heeds_neither_scale_nor_offset_of_a_channel(pair):
    loss = MODELS.build(dict(type='PKDLoss'))
    scale = torch.tensor([0.1, 3.0, 50.0])[:, None, None]
    torch.testing.assert_close(loss(pair[0] * scale - 7, pair[1] / scale + 2), loss(*pair))


@pytest.mark.parametrize('value', [0.0, 1.0, 3e4])
def test_a_constant_channel_counts_one_and_passes_no_gradient(value):
    torch.manual_seed(0)
    student = torch.full((2, 3, 4, 5), value, requires_grad=True)
    result = MODELS.build(dict(type='PKDLoss'))(student, torch.randn(2, 3, 4, 5))
    result.backward()
    assert result == 1 and student.grad.abs().max() == 0


def naive_channel_divergence(student, teacher, mask, temperature):
    total = 0.0
    for b in range(student.shape[0]):
        for c in range(student.shape[1]):
            shares = []
            for feature in (student, teacher):
                powers = [
                    mask[b, 0, h, w] * torch.exp(feature[b, c, h, w] / temperature)
                    for _, h, w in positions(feature[:1])
                ]
                shares.append([power / sum(powers) for power in powers])
            total = total + sum(
                q * torch.log(q / p) for p, q in zip(*shares, strict=True) if float(q.detach()) > 0
            )
    return temperature**2 * total / (student.shape[0] * student.shape[1])


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_cwd_is_the_divergence_of_channels(pair, weights, temperature):
    loss = MODELS.build(dict(type='CWDLoss', temperature=temperature, loss_weight=2.0))
    ones = torch.ones_like(weights)
    expected = 2 * naive_channel_divergence(*pair, ones, temperature)
    assert_same(loss(*pair), expected, pair[0])
    expected = 2 * naive_channel_divergence(*pair, weights, temperature)
    assert_same(loss(*pair, mask=weights), expected, pair[0])


def test_cwd_leaves_out_a_sample_without_a_mask(pair, weights):
    loss = MODELS.build(dict(type='CWDLoss'))
    weights[1] = 0
    one = loss(*(f[:1] for f in pair), mask=weights[:1])
    assert_same(loss(*pair, mask=weights), one / 2, pair[0])


def test_cwd_refuses_a_temperature_of_zero():
    with pytest.raises(ValueError, match='temperature must be positive'):
        MODELS.build(dict(type='CWDLoss', temperature=0))


@pytest.mark.parametrize('name', ['PKDLoss', 'CWDLoss'])
def test_losses_of_channels_demand_maps(name):
    with pytest.raises(ValueError, match=r'expected a map \(B, C, H, W\), got Tensor of shape'):
        MODELS.build(dict(type=name))(torch.ones(2, 3), torch.ones(2, 3))
