"""Memory of a call."""

import pytest
import torch

from mmdistill.analysis import peak_bytes


def test_peak_memory_sees_what_is_freed_again():
    mebibytes = 96
    found = peak_bytes(lambda: torch.ones(mebibytes, 2**18).sum())
    if found is None:
        pytest.skip('the system does not tell')
    assert 0.9 * mebibytes < found / 2**20 < 1.5 * mebibytes
