"""Fixtures of the losses' tests."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def maps():
    """A student's and a teacher's map, not square, in float64, with other channels."""
    torch.manual_seed(0)
    student = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    return student, torch.randn(2, 6, 4, 5, dtype=torch.float64)


@pytest.fixture
def pair(maps):
    """The same with equal channels."""
    return maps[0], maps[1][:, :3]


@pytest.fixture
def weights():
    """Uneven weights of the positions, some of them zero, ``(2, 1, 4, 5)``."""
    torch.manual_seed(1)
    return torch.rand(2, 1, 4, 5, dtype=torch.float64) * (torch.rand(2, 1, 4, 5) > 0.3)
