"""Which boxes can be learnt from, and the numbers that turn them into codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def are_objects(boxes: Tensor) -> Tensor:
    """Which boxes are objects: those finite and of positive size. Velocity does not matter.

    Args:
        boxes: (N, 7+) x, y, z bottom, dx, dy, dz in metres, yaw in radians.

    Returns:
        (N,) bool.
    """
    return boxes[:, :7].isfinite().all(dim=1) & (boxes[:, 3:6] > 0).all(dim=1)


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """``like.new_tensor(values)`` without waiting for what the device still has to do."""
    return torch.tensor(list(values), dtype=like.dtype).to(like.device, non_blocking=True)
