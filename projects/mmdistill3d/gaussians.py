"""Gaussian peaks at box centres, one map for each class: where objects are, and of which kind."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdistill3d.bev import BEVGrid, constants
from mmdistill3d.instances import objects_alone


def class_gaussians(
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    classes: Sequence[int],
    size: tuple[int, int],
    grid: BEVGrid,
    min_overlap: float = 0.1,
    min_radius: int = 2,
) -> Tensor:
    r"""Return the centre heatmaps that heads are trained with, ``(B, K, H, W)`` in ``[0, 1]``.

    A box of positive size puts :math:`\exp(-d^2 / 2 \sigma^2)` around the cell of its centre, cut
    off at ``r`` cells along each axis, with :math:`\sigma = (2 r + 1) / 6` and ``r`` the largest
    shift, in whole cells, at which the box still overlaps its place by ``min_overlap``; where peaks
    meet, the larger value stays. All boxes are drawn at once, without waiting for the device.

    Source: radius of Law and Deng, "CornerNet", ECCV 2018; class maps of Yin et al.,
    "Center-based 3D Object Detection and Tracking", CVPR 2021.

    Args:
        boxes: ``(N_i, 5+)`` for each sample: x, y, z, length, width in metres.
        labels: ``(N_i,)`` for each sample; boxes of other labels than ``classes`` are left out.
        classes: Label of each of the ``K`` maps.
        size: ``(H, W)`` cells.
        grid: What the maps cover, and the order of their axes.
        min_overlap: IoU in (0, 1).
        min_radius: Least ``r`` in cells.
    """
    # Here, because other detectors are distilled without spconv, which bevfusion needs.
    from bevfusion.heatmap import gaussian_radius

    if not boxes:
        return torch.zeros(0, len(classes), *size)
    every = torch.cat([box[:, :5] for box in boxes]).float()
    cell_m = constants(grid.cell_size_m(size), every)
    cells = constants(size if grid.axes == 'xy' else size[::-1], every)
    centre = ((every[:, :2] - constants(grid.low_xy, every)) / cell_m).floor()
    extent = every[:, 3:5] / cell_m
    inside = ((centre >= 0) & (centre < cells)).all(1) & (extent > 0).all(1)
    radius = gaussian_radius(*extent.clamp(min=1e-3).unbind(1), min_overlap)
    radius = radius.floor().clamp(min=min_radius)

    first, second = (0, 1) if grid.axes == 'xy' else (1, 0)
    values = (
        _profile(centre[:, first], radius, size[0])[:, :, None]
        * _profile(centre[:, second], radius, size[1])[:, None, :]
    )

    every_label = torch.cat(list(labels))
    match = every_label[:, None] == constants(classes, every_label)
    values = torch.where((inside & match.any(1))[:, None, None], values, 0)
    sample = torch.cat([label.new_full((len(label),), i) for i, label in enumerate(labels)])
    plane = sample * len(classes) + match.int().argmax(1)
    heatmap = values.new_zeros(len(boxes) * len(classes), size[0] * size[1])
    index = plane[:, None].expand(-1, heatmap.shape[1])
    heatmap.scatter_reduce_(0, index, values.flatten(1), 'amax')
    return heatmap.view(len(boxes), len(classes), *size)


def annotated_gaussians(
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    classes: Sequence[int],
    size: tuple[int, int],
    grid: BEVGrid,
    min_overlap: float,
    min_radius: int,
    device: torch.device,
) -> Tensor:
    """Return :func:`class_gaussians` of annotated boxes on a device, without those of no size.

    Args:
        boxes: ``(N_i, 7+)`` for each sample, on any device.
        labels: ``(N_i,)`` for each sample.
        classes: As of :func:`class_gaussians`, and the following.
        size: Likewise.
        grid: Likewise.
        min_overlap: Likewise.
        min_radius: Likewise.
        device: Where to draw.
    """
    return class_gaussians(
        [objects_alone(part).to(device) for part in boxes],
        [part.to(device) for part in labels],
        classes,
        size,
        grid,
        min_overlap,
        min_radius,
    )


def _profile(centre: Tensor, radius: Tensor, cells: int) -> Tensor:
    """Gaussian along one axis, (N, cells), zero beyond the radius."""
    offset = torch.arange(cells, device=centre.device) - centre[:, None]
    sigma = ((2 * radius + 1) / 6)[:, None]
    return torch.exp(-offset.square() / (2 * sigma.square())) * (offset.abs() <= radius[:, None])
