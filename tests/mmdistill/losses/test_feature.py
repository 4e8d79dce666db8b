"""Pointwise losses against formulas written out in loops."""

import re

import pytest
import torch
from mmengine.registry import MODELS

from tests.mmdistill.losses.compare import assert_same, positions


def naive_pointwise(student, teacher, mask, distance):
    """Mean of a distance over channels, weighted over positions."""
    total = 0.0
    for b, h, w in positions(student):
        difference = student[b, :, h, w] - teacher[b, :, h, w]
        total = total + mask[b, 0, h, w] * sum(distance(d) for d in difference) / len(difference)
    return total / mask.sum()


def squared(difference):
    return difference**2


def absolute(difference):
    return abs(difference)


def smooth(difference, beta=0.7):
    size = abs(difference)
    return size**2 / (2 * beta) if size < beta else size - beta / 2


@pytest.mark.parametrize(
    ('config', 'distance'),
    [
        (dict(type='FitNetLoss'), squared),
        (dict(type='FeatureL1Loss'), absolute),
        (dict(type='FeatureL1Loss', beta=0.7), smooth),
    ],
)
def test_pointwise_losses_are_their_formula_with_and_without_a_mask(
    pair, weights, config, distance
):
    loss = MODELS.build({**config, 'loss_weight': 3.0})
    ones = torch.ones_like(weights)
    assert_same(loss(*pair), 3 * naive_pointwise(*pair, ones, distance), pair[0])
    masked = loss(*pair, mask=weights)
    assert_same(masked, 3 * naive_pointwise(*pair, weights, distance), pair[0])


def unit(vector):
    return vector / torch.sqrt(sum(v**2 for v in vector))


def naive_over_positions(student, teacher, mask, distance):
    total = 0.0
    for b, h, w in positions(student):
        vectors = unit(student[b, :, h, w]), unit(teacher[b, :, h, w])
        total = total + mask[b, 0, h, w] * distance(*vectors)
    return total / mask.sum()


def naive_over_samples(student, teacher, mask, distance):
    total = 0.0
    for s, t, m in zip(student, teacher, mask, strict=True):
        vectors = [
            unit(
                torch.stack(
                    [
                        torch.sqrt(m[0, h, w]) * feature[c, h, w]
                        for c in range(feature.shape[0])
                        for h in range(feature.shape[1])
                        for w in range(feature.shape[2])
                    ]
                )
            )
            for feature in (s, t)
        ]
        total = total + distance(*vectors)
    return total / len(student)


@pytest.mark.parametrize(
    ('name', 'distance'),
    [
        ('NormalizedMSELoss', lambda s, t: sum((a - b) ** 2 for a, b in zip(s, t, strict=True))),
        ('CosineLoss', lambda s, t: 1 - sum(a * b for a, b in zip(s, t, strict=True))),
    ],
)
@pytest.mark.parametrize(
    ('over', 'naive'), [('position', naive_over_positions), ('sample', naive_over_samples)]
)
def test_losses_of_directions_are_their_formula(pair, weights, name, distance, over, naive):
    loss = MODELS.build(dict(type=name, over=over, loss_weight=2.0))
    ones = torch.ones_like(weights)
    assert_same(loss(*pair), 2 * naive(*pair, ones, distance), pair[0])
    assert_same(loss(*pair, mask=weights), 2 * naive(*pair, weights, distance), pair[0])


@pytest.mark.parametrize('over', ['position', 'sample'])
@pytest.mark.parametrize('name', ['NormalizedMSELoss', 'CosineLoss'])
def test_scale_does_not_matter_for_losses_of_directions(pair, name, over):
    loss = MODELS.build(dict(type=name, over=over))
    torch.testing.assert_close(loss(1e-3 * pair[0], 1e3 * pair[1]), loss(*pair))
    assert loss(5 * pair[1], pair[1]) < 1e-12


@pytest.mark.parametrize(('name', 'value'), [('NormalizedMSELoss', 1.0), ('CosineLoss', 1.0)])
@pytest.mark.parametrize('over', ['position', 'sample'])
def test_a_zero_vector_passes_no_gradient(pair, name, value, over):
    student = torch.zeros_like(pair[0], requires_grad=True)
    result = MODELS.build(dict(type=name, over=over))(student, pair[1])
    result.backward()
    assert float(result) == pytest.approx(value)
    assert student.grad.abs().max() == 0


@pytest.mark.parametrize('name', ['FitNetLoss', 'FeatureL1Loss', 'NormalizedMSELoss', 'CosineLoss'])
@pytest.mark.parametrize('shape', [(4, 3), (2, 3, 7)])
def test_pointwise_losses_take_vectors_and_sequences(name, shape):
    torch.manual_seed(0)
    student, teacher = torch.randn(shape), torch.randn(shape)
    loss = MODELS.build(dict(type=name))
    as_map = (
        f.unflatten(2, (-1, 1)) if f.dim() > 2 else f[:, :, None, None] for f in (student, teacher)
    )
    torch.testing.assert_close(loss(student, teacher), loss(*as_map))


@pytest.mark.parametrize('name', ['FitNetLoss', 'FeatureL1Loss', 'NormalizedMSELoss', 'CosineLoss'])
def test_no_vectors_at_all_cost_nothing(name):
    student = torch.zeros(0, 4, requires_grad=True)
    result = MODELS.build(dict(type=name))(student, torch.zeros(0, 4))
    result.backward()
    assert result == 0 and student.grad.shape == (0, 4)


def test_a_tuple_needs_a_selector(maps):
    with pytest.raises(ValueError, match=r'a tuple of 2: add a selector'):
        MODELS.build(dict(type='FitNetLoss'))(maps, maps[1])


def test_a_mismatch_names_the_connectors_that_mend_it(maps):
    loss = MODELS.build(dict(type='FitNetLoss'))
    with pytest.raises(ValueError) as error:
        loss(maps[0][..., :4], maps[1])
    for part in ('(2, 3, 4, 4)', '(2, 6, 4, 5)'):
        assert part in str(error.value)
    connectors = re.findall(r'_connector=(dict\(.*?\)\)?)(?: and|$)', str(error.value))
    student, teacher = (MODELS.build(eval(config)) for config in connectors)
    student.take_widths(in_channels=3, out_channels=6)  # a link reads them
    assert loss(student.double()(maps[0][..., :4]), teacher(maps[1])).isfinite()


@pytest.mark.parametrize('shapes', [((2, 3), (4, 3)), ((2, 3, 4, 5), (3, 3, 4, 5)), ((4,), (5,))])
def test_a_mismatch_that_no_connector_mends_asks_for_other_layers(shapes):
    with pytest.raises(ValueError, match=r'the student is .*; link layers that return one shape'):
        MODELS.build(dict(type='FitNetLoss'))(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='FeatureL1Loss', beta=-1), 'beta is a difference'),
        (dict(type='CosineLoss', over='channel'), "'position' or 'sample', not 'channel'"),
        (dict(type='NormalizedMSELoss', over='map'), "'position' or 'sample', not 'map'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)
