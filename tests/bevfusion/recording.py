"""What the published implementation gives for a made-up cloud, and how to make cloud and weights.

``recorded/arrays.npz`` holds the outputs of MMDetection3D 1.4.0's own ``projects/BEVFusion`` on a
CPU (torch 2.13, spconv 2.3.6, float32, one thread) for the cloud of :func:`cloud`, the network of
:func:`reduced_config` in eval mode and the weights of :func:`fill_`. For each layer there are
sampled values at flat indices (``<layer>/idx``, ``/val``), ``/shape`` and the length ``/l2`` of
all; then the number of voxels, the first 20 of them, and all predictions by falling score.
``recorded/keys.json`` holds the shape of each key of its state, of the published network and of the
reduced one. No data of nuScenes is in either.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

FOLDER = Path(__file__).with_name('recorded')
PUBLISHED = Path(__file__).with_name('published_lidar_config.py')

# The first pattern found in a key gives the factor of its random numbers. They keep scores out of
# saturation, where the choice of queries would hang on rounding.
_GAINS = (
    (r'conv_input\.0\.weight$', 0.1),
    (r'encoder_layers\..*\.conv[12]\.weight$', 0.6),
    (r'(encoder_layers\..*|conv_out)\.0\.weight$', 2.0),
    (r'heatmap_head\.1\.weight$', 0.3),
    (r'position_embedding_head\.0\.weight$', 0.02),
    (r'\.height\.1\.weight$', 10.0),
    (r'', 1.0),
)
_SALTS = {'bbox_head.heatmap_head.1.weight': '#193'}


def arrays() -> dict[str, np.ndarray]:
    """Recorded outputs by name."""
    with np.load(FOLDER / 'arrays.npz') as content:
        return dict(content)


def keys(network: str) -> dict[str, list[int]]:
    """Shape of each key of the ``'published'`` or ``'reduced'`` network's state."""
    position = ('published', 'reduced').index(network)
    both = json.loads((FOLDER / 'keys.json').read_text())
    return {key: shapes[position] for key, shapes in both.items()}


def keys_of(model: nn.Module) -> dict[str, list[int]]:
    """Shape of each key of a model's state."""
    return {key: list(value.shape) for key, value in model.state_dict().items()}


def reduced_config() -> dict:
    """The published network with voxels of 0.2 m and fewer channels: 2.6 M parameters."""
    model = Config.fromfile(PUBLISHED).model
    voxel_size, limits = [0.2, 0.2, 0.2], [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
    cells = [512, 512, 41]
    model.data_preprocessor.voxelize_cfg.update(voxel_size=voxel_size, point_cloud_range=limits)
    model.pts_middle_encoder.update(
        sparse_shape=cells,
        base_channels=8,
        encoder_channels=((8, 8, 16), (16, 16, 32), (32, 32, 64), (64, 64)),
        output_channels=64,
    )
    model.pts_backbone.update(in_channels=128, out_channels=[64, 128])
    model.pts_neck.update(in_channels=[64, 128], out_channels=[128, 128])
    head = model.bbox_head
    head.in_channels = 256
    head.train_cfg.update(point_cloud_range=limits, grid_size=cells, voxel_size=voxel_size)
    head.test_cfg.update(pc_range=limits[:2], grid_size=cells, voxel_size=voxel_size[:2])
    head.bbox_coder.update(pc_range=limits[:2], voxel_size=voxel_size[:2])
    return model


def cloud() -> torch.Tensor:
    """Points (30000, 5): x, y, z in metres, intensity 0 to 255, time 0."""
    draw = np.random.RandomState(20251125)
    ground, on_objects = 24000, 6000
    radius = 48 * np.sqrt(draw.random_sample(ground))
    angle = 2 * np.pi * draw.random_sample(ground)
    parts = [[radius * np.cos(angle), radius * np.sin(angle)]]
    parts[0] += [-1.6 + 0.15 * draw.standard_normal(ground), 255 * draw.random_sample(ground)]
    centres = draw.uniform(-40, 40, (40, 2))
    which = draw.randint(0, 40, on_objects)
    parts.append([centres[which, 0] + draw.uniform(-2, 2, on_objects)])
    parts[1] += [centres[which, 1] + draw.uniform(-1, 1, on_objects)]
    parts[1] += [draw.uniform(-1.6, 0.4, on_objects), 255 * draw.random_sample(on_objects)]
    points = np.concatenate([np.stack(part, axis=1) for part in parts]).astype(np.float32)
    return torch.from_numpy(np.pad(points, ((0, 0), (0, 1))))


@torch.no_grad()
def fill_(model: nn.Module) -> nn.Module:
    """Set weights and statistics by their keys alone; NumPy's old random stream never changes."""
    for key, value in model.state_dict().items():
        value.copy_(torch.from_numpy(_numbers(key, tuple(value.shape))))
    return model


def _numbers(key: str, shape: tuple[int, ...]) -> np.ndarray:
    draw = np.random.RandomState(zlib.crc32((key + _SALTS.get(key, '')).encode()))
    name = key.rpartition('.')[2]
    if name == 'num_batches_tracked':
        return np.zeros(shape)
    if name == 'running_var':
        return np.asarray(1 + 0.1 * draw.random_sample(shape)).astype(np.float32)
    normal = np.asarray(draw.standard_normal(shape))
    if name == 'running_mean' or name.endswith('bias'):
        scaled = 0.05 * normal
    elif name.endswith('weight') and len(shape) == 1:
        scaled = 1 + 0.05 * normal
    else:
        gain = next(gain for pattern, gain in _GAINS if re.search(pattern, key))
        scaled = gain * math.sqrt(2 / math.prod(shape[1:])) * normal
    return scaled.astype(np.float32)
