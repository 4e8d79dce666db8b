"""Connectors for tokens and sequences: what they keep, and what they refuse."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmdistill import Layer, Link
from mmdistill.reading.recorders import ModuleOutputs


def build(kind, **options):
    return MODELS.build(dict(type=kind, **options))


def test_pooling_takes_the_first_token_or_the_mean_behind_it():
    tokens = torch.randn(2, 5, 3)
    assert torch.equal(build('TokenPoolConnector', mode='cls')(tokens), tokens[:, 0])
    mean = build('TokenPoolConnector', mode='mean', skip=1)(tokens)
    torch.testing.assert_close(
        mean, (tokens[:, 1] + tokens[:, 2] + tokens[:, 3] + tokens[:, 4]) / 4
    )


def test_masked_pooling_ignores_padding_whatever_it_holds():
    pool = build('TokenPoolConnector', mode='masked_mean')
    tokens, mask = torch.randn(2, 4, 3), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    expected = torch.stack([tokens[0, :2].mean(0), tokens[1].mean(0)])
    torch.testing.assert_close(pool((tokens, mask)), expected)
    tokens[0, 2:] = 100
    torch.testing.assert_close(pool(dict(tokens=tokens, mask=mask)), expected)
    assert torch.equal(pool((tokens, torch.zeros(2, 4))), torch.zeros(2, 3))


def test_tokens_become_a_map_row_by_row():
    rows, columns = torch.meshgrid(torch.arange(2.0), torch.arange(3.0), indexing='ij')
    patches = torch.stack([rows, columns], -1).reshape(1, 6, 2)
    tokens = torch.cat([torch.full((1, 1, 2), 9.0), patches], dim=1)
    maps = build('TokensToMapConnector', size=(2, 3))(tokens)
    assert torch.equal(maps[0, 0], rows) and torch.equal(maps[0, 1], columns)
    assert build('TokensToMapConnector', skip=0)(torch.ones(2, 9, 4)).shape == (2, 4, 3, 3)


def test_a_sequence_gets_its_channels_on_axis_one():
    sequence = torch.randn(2, 7, 3)
    assert torch.equal(build('SequenceConnector')(sequence)[1, 2], sequence[1, :, 2])


@pytest.mark.parametrize(
    ('connector', 'feature', 'message'),
    [
        (dict(type='TokenPoolConnector'), torch.ones(2, 3), r'expected tokens \(B, N, C\)'),
        (dict(type='SequenceConnector'), (torch.ones(2, 3, 4),), 'add a selector'),
        (
            dict(type='TokensToMapConnector'),
            torch.ones(2, 9, 4),
            r'8 patches behind skip=1.*skip=0',
        ),
        (
            dict(type='TokensToMapConnector', size=(2, 2), skip=0),
            torch.ones(2, 6, 4),
            '6 patches behind skip=0, expected 2 x 2',
        ),
        (
            dict(type='TokenPoolConnector', mode='masked_mean'),
            torch.ones(2, 3, 4),
            r'takes \(tokens, mask\)',
        ),
        (
            dict(type='TokenPoolConnector', mode='masked_mean'),
            (torch.ones(2, 3, 4), torch.ones(2, 4)),
            r'expected a mask \(2, 3\)',
        ),
        (
            dict(type='TokenPoolConnector', mode='mean', skip=3),
            torch.ones(2, 3, 4),
            'skip=3 leaves',
        ),
    ],
)
def test_another_feature_is_refused_with_its_shape(connector, feature, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(connector)(feature)


def test_wrong_options_fail_when_built():
    with pytest.raises(ValueError, match="mode is one of .*not 'first'"):
        build('TokenPoolConnector', mode='first')
    with pytest.raises(ValueError, match=r'skip \(1\) counts tokens'):
        build('TokenPoolConnector', mode='cls', skip=1)


SEQUENCE = dict(
    student='project', teacher='project', loss=dict(type='NormalizedMSELoss', loss_weight=1.0)
)


def bind(link, value):
    """Bind a link between two models whose linear layer returned a value."""
    model = nn.ModuleDict(dict(project=nn.Linear(4, 6)))
    link = Link.from_config('sequence', link)
    layers = (
        Layer(ModuleOutputs('project'), model, role, value) for role in ('student', 'teacher')
    )
    link.bind(*layers)


def test_losses_that_would_take_time_for_channels_refuse_a_sequence():
    with pytest.raises(ValueError, match=r"link 'sequence'.*2 x 5 x 6|SequenceConnector"):
        bind(SEQUENCE, torch.ones(2, 5, 6))
    turned = dict(type='SequenceConnector')
    bind(dict(SEQUENCE, student_connector=turned, teacher_connector=turned), torch.ones(2, 5, 6))
    bind(SEQUENCE, torch.ones(2, 6))
    bind(dict(SEQUENCE, loss=dict(type='FitNetLoss')), torch.ones(2, 5, 6))
