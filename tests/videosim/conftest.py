"""One small data set for all tests of this folder."""

import pytest

from videosim import Parameters, generate_dataset

SMALL = Parameters(train_groups=40, val_groups=1, test_groups=20, clips=1, frames=24, size=48)


@pytest.fixture(scope='session')
def dataset(tmp_path_factory):
    """480 training, 12 validation and 240 test clips in UCF101's layout."""
    out = tmp_path_factory.mktemp('videosim') / 'data'
    generate_dataset(out, SMALL)
    return out
