"""Gaussian centre heatmaps, all boxes of a batch at once."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_radius(length: Tensor, width: Tensor, min_overlap: float) -> Tensor:
    """Radius at which a shifted box still overlaps by ``min_overlap``.

    CornerNet's formula (Law and Deng, ECCV 2018) with the denominators of its released code.

    Args:
        length: (N,) in cells.
        width: (N,) in cells.
        min_overlap: IoU in (0, 1).

    Returns:
        (N,) in cells.
    """
    # Order of operations as in MMDetection3D: radii are cut to integers, so ulps can matter.
    total = length + width
    c1 = width * length * (1 - min_overlap) / (1 + min_overlap)
    r1 = (total + torch.sqrt(total**2 - 4 * c1)) / 2
    c2 = (1 - min_overlap) * width * length
    r2 = (2 * total + torch.sqrt((2 * total) ** 2 - 16 * c2)) / 2
    b3, c3 = -2 * min_overlap * total, (min_overlap - 1) * width * length
    r3 = (b3 + torch.sqrt(b3**2 - 16 * min_overlap * c3)) / 2
    return torch.minimum(torch.minimum(r1, r2), r3)


def draw_gaussians(
    heatmap: Tensor, sample: Tensor, label: Tensor, cell_xy: Tensor, radius: Tensor
) -> Tensor:
    """Draw one peak per box into a heatmap, keeping the larger value where peaks meet.

    Boxes on the CPU are drawn on another device without waiting for it.

    Args:
        heatmap: (B, num_classes, X, Y), at least 0, changed in place.
        sample: (N,) index of the sample.
        label: (N,) class.
        cell_xy: (N, 2) integer cell of the centre; may lie outside.
        radius: (N,) integer reach in cells; sigma is (2 * radius + 1) / 6.

    Returns:
        ``heatmap``.
    """
    if len(label) == 0:
        return heatmap
    reach = min(int(radius.max()), max(heatmap.shape[2:]))
    sample, label, cell_xy, radius = (
        part.to(heatmap.device, non_blocking=True) for part in (sample, label, cell_xy, radius)
    )
    offset = torch.arange(-reach, reach + 1, device=heatmap.device)
    sigma = (2 * radius.double() + 1) / 6
    profile = torch.exp(-(offset.double() ** 2)[None] / (2 * sigma**2)[:, None])
    profile = profile * (offset.abs()[None] <= radius[:, None])
    values = (profile[:, :, None] * profile[:, None, :]).to(heatmap.dtype)

    _, classes, size_x, size_y = heatmap.shape
    x, y = cell_xy[:, 0, None] + offset, cell_xy[:, 1, None] + offset
    inside = ((x >= 0) & (x < size_x))[:, :, None] & ((y >= 0) & (y < size_y))[:, None, :]
    plane = (sample * classes + label)[:, None, None]
    x, y = x.clamp(0, size_x - 1)[:, :, None], y.clamp(0, size_y - 1)[:, None, :]
    flat = (plane * size_x + x) * size_y + y
    # Zeros change nothing; to leave them out would make the device tell how many are left.
    values = torch.where(inside, values, 0)
    heatmap.view(-1).scatter_reduce_(0, flat.flatten(), values.flatten(), 'amax')
    return heatmap
