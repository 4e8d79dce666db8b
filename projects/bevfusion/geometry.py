"""Sizes of voxel grid, BEV map and head: derived where left out, checked where given."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .voxelize import Voxelization

if TYPE_CHECKING:
    from .bevfusion import BEVFusion

_NEARBY_CELLS = 64


def encoder_with_geometry(encoder_cfg: dict, voxels: Voxelization) -> dict:
    """The encoder's config with ``sparse_shape`` filled in if absent: one spare cell in z."""
    cfg = copy.deepcopy(encoder_cfg)
    x, y, z = voxels.grid_size.tolist()
    cfg.setdefault('sparse_shape', [x, y, z + 1])
    return cfg


def head_with_geometry(head_cfg: dict, detector: BEVFusion) -> dict:
    """The head's config with the sizes that follow from the other parts filled in if absent.

    Args:
        head_cfg: Config of the head. In a ``TransFusionHead``, ``point_cloud_range``,
            ``voxel_size``, ``grid_size`` and ``out_size_factor`` of ``train_cfg``, ``test_cfg``
            and ``bbox_coder`` may be left out.
        detector: Voxel layer, encoder, backbone and neck are built.
    """
    cfg = copy.deepcopy(head_cfg)
    encoder, voxels = detector.pts_middle_encoder, detector.pts_voxel_layer
    if cfg.get('type') != 'TransFusionHead' or not hasattr(encoder, 'out_shape'):
        return cfg
    cells = encoder.sparse_shape
    known = {
        'point_cloud_range': voxels.point_cloud_range,
        'pc_range': voxels.point_cloud_range[:2],
        'voxel_size': voxels.voxel_size,
        'grid_size': cells,
    }
    wanted = {
        'train_cfg': ('point_cloud_range', 'voxel_size', 'grid_size', 'out_size_factor'),
        'test_cfg': ('pc_range', 'voxel_size', 'grid_size', 'out_size_factor'),
        'bbox_coder': ('pc_range', 'voxel_size', 'out_size_factor'),
    }
    for part, names in wanted.items():
        if cfg.get(part) is None:
            continue
        for name in names:
            if name not in cfg[part]:
                if name not in known:
                    known[name] = _out_size_factor(detector)
                cfg[part][name] = known[name]
    return cfg


def check_bev_grid(detector: BEVFusion) -> None:
    """Compare the sizes of voxel grid, BEV maps and head before anything runs.

    The maps' shapes are found on torch's meta device, so nothing is computed.

    Args:
        detector: Its parts are built.

    Raises:
        ValueError: If they disagree; the message names sizes that fit.
    """
    encoder, head = detector.pts_middle_encoder, detector.bbox_head
    if not hasattr(encoder, 'out_shape') or not hasattr(head, 'grid_xy'):
        return
    shape, grid = encoder.sparse_shape, detector.pts_voxel_layer.grid_size.tolist()
    if shape[:2] != grid[:2] or shape[2] < grid[2]:
        raise ValueError(
            f'voxelize_cfg gives {grid} cells along x, y, z, sparse_shape of the encoder is '
            f'{shape}; x and y must be equal, z at least as many'
        )
    for part in ('train_cfg', 'test_cfg'):
        cfg = getattr(head, part, None) or {}
        if 'grid_size' in cfg and list(cfg['grid_size'][:2]) != shape[:2]:
            raise ValueError(
                f'{part}.grid_size of the head is {list(cfg["grid_size"])}, sparse_shape of the '
                f'encoder is {shape}; x and y must be equal'
            )
    factor = head.test_cfg['out_size_factor']
    problem = _problem(detector, shape, factor)
    if problem is not None:
        voxels = detector.pts_voxel_layer
        raise ValueError(
            f'{shape[0]} x {shape[1]} cells do not fit this network: {problem}. Numbers of cells '
            f'along an axis that fit: {_fitting_sizes(detector, shape, factor)}. Change voxel '
            f'size or range (now {voxels.voxel_size} m and {voxels.point_cloud_range}), and '
            'sparse_shape and grid_size with them if the config gives them'
        )
    channels = _meta_map(detector, encoder.out_shape).shape[1]
    if channels != head.in_channels:
        raise ValueError(
            f'in_channels of the head is {head.in_channels}, the neck gives {channels} (the sum '
            'of its out_channels)'
        )


def _out_size_factor(detector: BEVFusion) -> int:
    """Voxels per BEV cell; if none is exact, the nearest, which the check then refuses."""
    encoder = detector.pts_middle_encoder
    try:
        bev_cells = _meta_map(detector, encoder.out_shape).shape[2]
    except RuntimeError:  # sizes that the neck cannot join; the check reports them
        bev_cells = encoder.out_shape[1]
    return max(round(encoder.sparse_shape[0] / bev_cells), 1)


def _problem(detector: BEVFusion, shape: Sequence[int], factor: int) -> str | None:
    """What is wrong with a grid of ``shape`` cells, or None."""
    encoder = detector.pts_middle_encoder
    expected = tuple(cells // factor for cells in shape[:2])
    try:
        size = encoder.bev_size(shape)
    except ValueError as error:
        return str(error)
    try:
        given = tuple(_meta_map(detector, (encoder.out_shape[0], *size)).shape[2:])
    except RuntimeError as error:
        return f'the encoder gives {size} cells, on which backbone and neck fail ({error})'
    if given != expected:
        return (
            f'the head expects {expected} BEV cells (grid_size // out_size_factor with '
            f'out_size_factor {factor}), the convolutions give {given}'
        )
    return None


def _fitting_sizes(detector: BEVFusion, shape: Sequence[int], factor: int) -> list[int]:
    """Up to six numbers of cells that fit, of those nearest to the longer axis."""
    wrong = max(shape[:2])
    candidates = range(max(wrong - _NEARBY_CELLS, factor), wrong + _NEARBY_CELLS + 1)
    fitting = []
    for cells in sorted(candidates, key=lambda number: abs(number - wrong)):
        if _problem(detector, (cells, cells, shape[2]), factor) is None:
            fitting.append(cells)
        if len(fitting) == 6:
            break
    return sorted(fitting)


def _meta_map(detector: BEVFusion, shape: Sequence[int]) -> Tensor:
    """The neck's map for an encoder map of ``shape`` (C, X, Y), as a shape only."""
    x = torch.empty((1, *shape), device='meta')
    for module in (detector.pts_backbone, detector.pts_neck):
        x = functional_call(module, _meta_state(module), (x,))
    return x[0] if isinstance(x, list | tuple) else x


def _meta_state(module: nn.Module) -> dict[str, Tensor]:
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor.detach().to('meta') for name, tensor in tensors.items()}
