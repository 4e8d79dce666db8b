"""Graphs for Autoware and libspconv against spconv, run by the numpy stand-ins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from deploy import bevfusion
from deploy.check import LAYER_BAR, LAYER_BAR_RELATIVE, ExportDisagrees
from deploy.reference import run_autoware, run_libspconv

COSINE_BAR = 0.9999


def check_autoware(
    model: onnx.ModelProto, detector: nn.Module, clouds: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Compare the encoder's map.

    Args:
        model: What :func:`deploy.autoware.sparse_part` wrote.
        detector: The detector in eval mode.
        clouds: (N, columns) float32 each.

    Raises:
        ExportDisagrees: The maps differ by more than 1e-4.
    """
    worst = 0.0
    for voxels, cells, counts, wanted in _maps(detector, clouds):
        inputs = dict(voxels=voxels, coors=cells[:, ::-1].copy(), num_points_per_voxel=counts)
        got = run_autoware(model, inputs)[0]
        error, largest = float(np.abs(got - wanted).max()), float(np.abs(wanted).max())
        if not error <= max(LAYER_BAR, LAYER_BAR_RELATIVE * largest):
            raise ExportDisagrees(bevfusion.ENCODER, f'the largest error is {error:.2e}')
        worst = max(worst, error)
    return dict(frames=len(clouds), layers={bevfusion.ENCODER: worst}, run_by='numpy, no GPU')


def check_libspconv(
    model: onnx.ModelProto, detector: nn.Module, clouds: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Compare the encoder's map, which libspconv computes in float16.

    Args:
        model: What :func:`deploy.libspconv.container` wrote.
        detector: The detector in eval mode.
        clouds: (N, columns) float32 each.

    Raises:
        ExportDisagrees: The cosine between the maps is below 0.9999.
    """
    lowest = 1.0
    for voxels, cells, counts, wanted in _maps(detector, clouds):
        features = voxels.sum(axis=1) / counts[:, None]
        indices = np.concatenate([np.zeros((len(cells), 1), np.int32), cells], axis=1)
        got = run_libspconv(model, features.astype(np.float32), indices)
        product = float((got * wanted).sum(dtype=np.float64))
        norms = np.linalg.norm(got.ravel()) * np.linalg.norm(wanted.ravel())
        cosine = product / max(float(norms), 1e-12)
        if not cosine >= COSINE_BAR:
            raise ExportDisagrees(bevfusion.ENCODER, f'the cosine is {cosine:.6f}')
        lowest = min(lowest, cosine)
    return dict(frames=len(clouds), cosine=lowest, run_by='numpy, no GPU')


@torch.no_grad()
def _maps(detector: nn.Module, clouds: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
    """Voxels (M, P, C), cells (M, 3), counts (M,) and the encoder's map of each cloud."""
    for cloud in clouds:
        points = torch.from_numpy(cloud)
        voxels, cells, counts = detector.pts_voxel_layer(points)
        bev = detector.extract_pts_feat(dict(points=[points]))
        yield voxels.numpy(), cells.numpy(), counts.numpy(), bev.numpy()
