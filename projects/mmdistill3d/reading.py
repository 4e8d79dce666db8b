"""What a built detector says of itself: range and axes of its BEV maps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mmdet3d.models.middle_encoders import PointPillarsScatter, SparseEncoder, SparseUNet
from torch import nn

from mmdistill.reading import Recorder, register_layer_facts

# Parts of a detector, without `pts_`, that compute BEV maps of its points or read nothing else.
_BEV_PARTS = (
    'middle_encoder',
    'view_transform',
    'fusion_layer',
    'backbone',
    'neck',
    'bbox_head',
    'rpn_head',
)
# MMDetection3D's own BEVFusion lies in its `projects/`, which is no package.
_XY_ENCODERS = ('BEVFusionSparseEncoder',)
_YX_ENCODERS = (PointPillarsScatter, SparseEncoder, SparseUNet)


@register_layer_facts
def bev_facts(model: nn.Module, recorder: Recorder) -> dict[str, Any]:
    """Return axes and range of a detector's layer, as far as the detector tells them.

    Args:
        model: A built detector.
        recorder: One of its layers.

    Returns:
        ``axes`` and ``range`` of :class:`~mmdistill.reading.Layer`; empty for layers that are no
        part of the detector's BEV branch, and for models that have none.
    """
    part = re.split(r'[.\[]', recorder.layer, maxsplit=1)[0]
    has_bev = bev_encoder(model) is not None or hasattr(model, 'bev_axes')
    if part.removeprefix('pts_') not in _BEV_PARTS or not has_bev:
        return {}
    return dict(axes=bev_axes(model), range=bev_range(model))


def bev_axes(model: nn.Module) -> str | None:
    """Return the order of the spatial axes of a detector's BEV maps.

    An attribute ``bev_axes`` of the detector or its middle encoder says it; else the encoder's
    family does: BEVFusion's maps are ``(B, C, X, Y)``, those of MMDetection3D's pillar scatter and
    sparse encoders ``(B, C, Y, X)``. All layers behind the encoder keep its order.

    Returns:
        ``'xy'``, ``'yx'``, or None for a family that is not known.
    """
    encoder = bev_encoder(model)
    for owner in (model, encoder):
        said = getattr(owner, 'bev_axes', None)
        if said is not None:
            return said
    if _is_bevfusions(encoder):
        return 'xy'
    return 'yx' if isinstance(encoder, _YX_ENCODERS) else None


def bev_range(model: nn.Module) -> tuple[float, ...] | None:
    """Return what a detector's BEV maps cover, ``(x0, y0, z0, x1, y1, z1)`` in metres.

    An attribute ``bev_range`` of the detector says it; else it is the range of the voxelisation,
    wherever the detector keeps it. None without one, or where its cells lie in polar coordinates.
    """
    said = getattr(model, 'bev_range', None)
    if said is not None:
        return tuple(float(value) for value in said)
    limits = getattr(_voxel_layer(model), 'point_cloud_range', None)
    return None if limits is None else tuple(float(value) for value in limits)


def voxel_size(model: nn.Module) -> tuple[float, float] | None:
    """Return the size of a detector's voxels along x and y in metres; None where it has none."""
    size = getattr(_voxel_layer(model), 'voxel_size', None)
    return None if size is None else (float(size[0]), float(size[1]))


def bev_encoder(model: nn.Module) -> nn.Module | None:
    """Return the part of a detector that makes BEV maps of its voxels; None without one."""
    for name in ('pts_middle_encoder', 'middle_encoder'):
        encoder = getattr(model, name, None)
        if encoder is not None:
            return encoder
    return None


def _is_bevfusions(encoder: nn.Module | None) -> bool:
    return any(base.__name__ in _XY_ENCODERS for base in type(encoder).__mro__)


def same_range(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two ranges agree to a millimetre in x and y."""
    return all(abs(a - b) < 1e-3 for a, b in zip(xy_of(one), xy_of(other), strict=True))


def xy_of(limits: Sequence[float]) -> tuple[float, float, float, float]:
    """Return ``(x0, y0, x1, y1)`` of a range of 4 or 6 numbers."""
    half = len(limits) // 2
    return (*limits[:2], *limits[half : half + 2])


def _voxel_layer(model: nn.Module) -> nn.Module | None:
    """Return what voxelises points for a detector, by equal steps of x, y and z."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    if getattr(preprocessor, 'voxel_type', None) == 'cylindrical':
        return None
    places = ((model, 'pts_voxel_layer'), (model, 'voxel_layer'), (preprocessor, 'voxel_layer'))
    found = (getattr(owner, name, None) for owner, name in places)
    return next((layer for layer in found if layer is not None), None)
