"""Weights of links over the course of training."""

import pytest

from mmdistill import WeightSchedule


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
