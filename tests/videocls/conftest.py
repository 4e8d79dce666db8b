"""A tiny data set in UCF101's layout, clips of noise, and models."""

import numpy as np
import pytest

import mmdistill  # noqa: F401  (registers)
import mmdistill_hf  # noqa: F401
import videocls  # noqa: F401
from videosim import Parameters, generate_dataset
from videosim.generate import write_video


@pytest.fixture(scope='session')
def ucf101(tmp_path_factory):
    """24 training and 12 test clips of 12 frames."""
    out = tmp_path_factory.mktemp('ucf101') / 'data'
    parameters = dict(train_groups=2, val_groups=1, test_groups=1, clips=1, frames=12, size=32)
    generate_dataset(out, Parameters(**parameters))
    return out


@pytest.fixture
def numbered(tmp_path):
    """Writes a video whose frame ``n`` is grey of brightness ``10 n``."""

    def write(name, length=12, codec='mp4v', size=32):
        frames = np.full((length, size, size, 3), 0, np.uint8)
        frames += (10 * np.arange(length, dtype=np.uint8))[:, None, None, None]
        write_video(tmp_path / name, frames, codec=codec)
        return tmp_path / name

    return write
