"""Contrastive losses against formulas written out in loops, and schedules of weights."""

import math

import pytest
import torch
from mmengine.registry import MODELS

from mmdistill import WeightSchedule


@pytest.fixture
def maps():
    """A student's and a teacher's map, not square, in float64."""
    torch.manual_seed(0)
    student = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    return student, torch.randn(2, 6, 4, 5, dtype=torch.float64)


def contrastive(**settings):
    torch.manual_seed(1)
    config = dict(type='ContrastiveLoss', student_channels=3, teacher_channels=6, embed_dims=4)
    return MODELS.build({**config, **settings}).double()


def test_contrastive_loss_is_the_mean_of_both_cross_entropies(maps):
    loss = contrastive(temperature=0.2, projector=dict(normalize=False))
    student, teacher = (
        projector(feature.mean((2, 3)))
        for projector, feature in zip(
            (loss.student_projector, loss.teacher_projector), maps, strict=True
        )
    )
    expected = 0.0
    for one, other in ((student, teacher), (teacher, student)):
        for i in range(2):
            scores = [math.exp(float(one[i] @ other[j]) / 0.2) for j in range(2)]
            expected -= math.log(scores[i] / sum(scores)) / 4
    assert float(loss(*maps)) == pytest.approx(expected, rel=1e-12)


def test_a_grid_contrasts_cells_of_the_map(maps):
    """A grid as fine as the map has one embedding a position; equal projections agree best."""
    loss = contrastive(grid=(4, 5))
    assert float(loss(*maps)) > 0
    same = contrastive(grid=(4, 5), teacher_channels=3)
    same.teacher_projector.load_state_dict(same.student_projector.state_dict())
    assert same(maps[0], maps[0].detach()) < same(maps[0], maps[0].detach().flip(3))
    with pytest.raises(ValueError, match=r'a grid needs maps'):
        loss(torch.ones(2, 3), torch.ones(2, 6))


@pytest.mark.parametrize(
    ('schedule', 'expected'),
    [
        (dict(), [1, 1, 1, 1, 1]),
        (dict(begin=1, end=3), [0, 1, 1, 0, 0]),
        (dict(kind='linear', begin=1, end=3), [0, 0, 0.5, 1, 1]),
        (dict(kind='cosine', end=4, start=1, stop=0), [1, 0.853553, 0.5, 0.146447, 0]),
    ],
)
def test_schedules_count_epochs_or_iterations(schedule, expected):
    by_epoch = WeightSchedule(**schedule)
    by_iteration = WeightSchedule(**schedule, by_epoch=False)
    for now, factor in enumerate(expected):
        assert by_epoch.factor(now, 99) == pytest.approx(factor, abs=1e-6)
        assert by_iteration.factor(99, now) == pytest.approx(factor, abs=1e-6)


@pytest.mark.parametrize(
    ('schedule', 'message'),
    [
        (dict(kind='linear'), 'needs `end`'),
        (dict(kind='poly'), 'constant, linear or cosine'),
        (dict(begin=3, end=3), 'must lie after begin'),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        WeightSchedule(**schedule)
