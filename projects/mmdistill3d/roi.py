"""BEV features of objects: bilinear samples at points given in metres."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdistill.losses.reduce import as_float
from mmdistill3d.bev import BEVGrid


def sample_points(feature: Tensor, xy_m: Tensor, batch_index: Tensor, grid: BEVGrid) -> Tensor:
    """Sample a map bilinearly at points.

    Args:
        feature: ``(B, C, H, W)``.
        xy_m: Points ``(N, 2)`` in metres; outside the map, or not finite, the feature is zero.
        batch_index: Sample of each point, ``(N,)``.
        grid: Range and axes of the map.

    Returns:
        ``(N, C)``, at least in float32.
    """
    height, width = feature.shape[2:]
    cells = grid.cells(xy_m.to(torch.promote_types(feature.dtype, torch.float32)), (height, width))
    corner = cells.floor()
    fraction = cells - corner
    result: Tensor | float = 0.0
    for row_step in (0, 1):
        for column_step in (0, 1):
            row, column = corner[:, 0].long() + row_step, corner[:, 1].long() + column_step
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = (fraction[:, 0] if row_step else 1 - fraction[:, 0]) * (
                fraction[:, 1] if column_step else 1 - fraction[:, 1]
            )
            values = feature[batch_index, :, row.clamp(0, height - 1), column.clamp(0, width - 1)]
            result = result + as_float(values) * torch.where(inside, weight, 0)[:, None]
    return result


def box_points(boxes: Tensor, size: Sequence[int], expand: float = 1.0) -> Tensor:
    """Points of a regular grid laid over each box in the ground plane.

    Args:
        boxes: ``(N, 7+)``: centre, length, width and height in metres, yaw in radians.
        size: ``(n, m)`` points along the length and the width: the centres of ``n * m`` equal
            tiles of the box, the front right tile last.
        expand: Factor of length and width.

    Returns:
        ``(N, n * m, 2)`` in metres.
    """
    along, across = (
        (torch.arange(count, device=boxes.device, dtype=boxes.dtype) + 0.5) / count - 0.5
        for count in size
    )
    along, across = (part.flatten() for part in torch.meshgrid(along, across, indexing='ij'))
    length, width, yaw = boxes[:, 3:4] * expand, boxes[:, 4:5] * expand, boxes[:, 6:7]
    forward, left = along * length, across * width
    return torch.stack(
        [
            boxes[:, 0:1] + forward * yaw.cos() - left * yaw.sin(),
            boxes[:, 1:2] + forward * yaw.sin() + left * yaw.cos(),
        ],
        dim=-1,
    )


def roi_features(
    feature: Tensor,
    boxes: Sequence[Tensor],
    grid: BEVGrid,
    size: Sequence[int] = (3, 3),
    expand: float = 1.0,
) -> Tensor:
    """Features of objects, sampled at the points of :func:`box_points`.

    Args:
        feature: ``(B, C, H, W)``.
        boxes: For each sample ``(N_i, 7+)``, with lengths in metres; may be empty.
        grid: Range and axes of the map.
        size: ``(n, m)`` points along the length and the width of a box.
        expand: Factor of length and width.

    Returns:
        ``(sum N_i, C, n, m)``, at least in float32, in the order of the samples.

    Raises:
        ValueError: There are not as many lists of boxes as samples.
    """
    if len(boxes) != len(feature):
        raise ValueError(f'{len(feature)} samples, but boxes of {len(boxes)} samples')
    points = [
        box_points(as_float(item[:, :7]).to(feature.device), size, expand).flatten(0, 1)
        for item in boxes
    ]
    batch_index = torch.cat(
        [
            torch.full((len(item),), number, device=feature.device, dtype=torch.long)
            for number, item in enumerate(points)
        ]
    )
    sampled = sample_points(feature, torch.cat(points), batch_index, grid)
    return sampled.unflatten(0, (-1, size[0] * size[1])).transpose(1, 2).unflatten(2, tuple(size))
