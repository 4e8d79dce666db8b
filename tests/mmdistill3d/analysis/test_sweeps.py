"""Sweeps from files of their own."""

import numpy as np
import pytest

from mmdistill3d.analysis.sweeps import load_sweep


def test_a_sweep_is_a_batch_of_one_without_age(tmp_path):
    numbers = np.arange(20, dtype=np.float32)
    numbers.tofile(tmp_path / 'sweep.bin')
    batch = load_sweep(tmp_path / 'sweep.bin', load_dim=5)
    (points,) = batch['inputs']['points']
    assert points.shape == (4, 5)
    assert points[:, 4].tolist() == [0, 0, 0, 0]
    assert points[3, :4].tolist() == [15, 16, 17, 18]


def test_a_file_of_other_points_is_refused(tmp_path):
    np.zeros(10, np.float32).tofile(tmp_path / 'sweep.bin')
    with pytest.raises(ValueError, match='no multiple of --load-dim 7'):
        load_sweep(tmp_path / 'sweep.bin', load_dim=7)
