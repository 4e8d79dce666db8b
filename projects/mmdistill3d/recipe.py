"""One recipe of links for students of any width and voxel size."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

# Addresses of BEV maps, and how many cells of the head's map one of theirs spans.
_MAP_STRIDES = {
    'pts_middle_encoder': 1,
    'pts_backbone[0]': 1,
    'pts_backbone[1]': 2,
    'pts_neck[0]': 1,
    'bbox_head.shared_conv': 1,
    'bbox_head.heatmap_head': 1,
}


def fit_links(
    links: Mapping[str, dict], student: Mapping[str, Any], teacher: str | Mapping[str, Any]
) -> dict[str, dict]:
    """Fill a recipe's channels, range and map sizes for a pair of BEVFusion detectors.

    A recipe names layers and losses; how wide the layers are, how far the range reaches and how
    many cells the maps have stands in the configs of the two detectors. In each link this sets

    - ``student_channels`` and ``teacher_channels`` of the loss, where it has them;
    - ``in_channels`` and ``out_channels`` of the connectors, from layer to layer;
    - ``point_cloud_range`` of loss, its granularity and mask, where they have it;
    - a ``ResizeConnector`` before the teacher's others, where the teacher's map has other cells.

    Layers that it does not know keep the numbers of the recipe.

    Config lines (``_base_`` has the student, the recipe and the teacher)::

        from mmdistill3d import fit_links
        model = dict(
            _delete_=True, type='BEVFusionDistiller', student=_base_.model, teacher=_base_.teacher,
            links=fit_links(_base_.links, _base_.model, _base_.teacher.config))

    Args:
        links: The recipe: arguments of :class:`~mmdistill.Link` by the link's name.
        student: ``model`` of the student's config.
        teacher: ``model`` of the teacher's config, or the path of that config.

    Returns:
        The links for this pair; the recipe stays as it is.
    """
    if isinstance(teacher, str):
        teacher = Config.fromfile(teacher, import_custom_modules=False).model
    fitted = {}
    for name, link in links.items():
        fitted[name] = link = copy.deepcopy(dict(link))
        widths = layer_width(link['student'], student), layer_width(link['teacher'], teacher)
        _fit_loss(link['loss'], *widths)
        _fit_connectors(link, *widths)
        _fit_range(link, student['data_preprocessor']['voxelize_cfg']['point_cloud_range'])
        _fit_cells(link, student, teacher)
    return fitted


def layer_width(layer: str | Mapping[str, Any], model: Mapping[str, Any]) -> int | list[int] | None:
    """Channels of a layer's output, read from a BEVFusion detector's config.

    Args:
        layer: Layer address, as in a link.
        model: ``model`` of the detector's config.

    Returns:
        The channels; a list for a layer that returns several maps; None for an unknown layer.
    """
    layer = _path(layer)
    backbone, neck, head = (model.get(k) for k in ('pts_backbone', 'pts_neck', 'bbox_head'))
    stage = layer.removeprefix('pts_middle_encoder.encoder_layers.encoder_layer')
    if stage.isdigit():
        return model['pts_middle_encoder']['encoder_channels'][int(stage) - 1][-1]
    widths = {
        'pts_middle_encoder': backbone['in_channels'],
        'pts_backbone': list(backbone['out_channels']),
        **{f'pts_backbone[{i}]': width for i, width in enumerate(backbone['out_channels'])},
        'pts_neck[0]': sum(neck['out_channels']),
        'bbox_head.shared_conv': head['hidden_channel'],
        'bbox_head.heatmap_head': head['num_classes'],
    }
    return widths.get(layer)


def bev_cells(model: Mapping[str, Any]) -> tuple[int, int]:
    """Cells (X, Y) of a BEVFusion detector's BEV map, read from its config."""
    voxels = model['data_preprocessor']['voxelize_cfg']
    stride = 2 ** (len(model['pts_middle_encoder']['encoder_channels']) - 1)
    stride *= model['pts_backbone']['layer_strides'][0]
    low, high = voxels['point_cloud_range'][:2], voxels['point_cloud_range'][3:5]
    return tuple(
        math.ceil(round((b - a) / size) / stride)
        for a, b, size in zip(low, high, voxels['voxel_size'][:2], strict=True)
    )


def _fit_loss(loss: dict, student_width: Any, teacher_width: Any) -> None:
    for key, width in (('student_channels', student_width), ('teacher_channels', teacher_width)):
        if key in loss and isinstance(width, int):
            loss[key] = width


def _fit_connectors(link: dict, student_width: Any, teacher_width: Any) -> None:
    """Chain the connectors' channels; a side that is mapped at all is mapped to the other's."""
    sides = (
        ('student_connector', student_width, teacher_width),
        ('teacher_connector', teacher_width, student_width),
    )
    for side, width, other in sides:
        connectors = _as_list(link.get(side))
        mapping = [item for item in connectors if 'out_channels' in item]
        for item in connectors:
            if 'in_channels' in item and width is not None:
                item['in_channels'] = width
            if isinstance(width, list):
                width = sum(width)
            if 'out_channels' in item:
                if item is mapping[-1] and other is not None:
                    item['out_channels'] = sum(other) if isinstance(other, list) else other
                width = item['out_channels']
        if side in link and connectors:
            link[side] = connectors if len(connectors) > 1 else connectors[0]


def _fit_range(link: dict, point_cloud_range: Sequence[float]) -> None:
    for part in (link['loss'], link.get('mask'), link['loss'].get('granularity')):
        if isinstance(part, dict) and 'point_cloud_range' in part:
            part['point_cloud_range'] = list(point_cloud_range)


def _fit_cells(link: dict, student: Mapping[str, Any], teacher: Mapping[str, Any]) -> None:
    own, given = bev_cells(student), bev_cells(teacher)
    stride = _MAP_STRIDES.get(_path(link['student']))
    if own == given or stride is None or _path(link['teacher']) not in _MAP_STRIDES:
        return
    size = tuple(math.ceil(cells / stride) for cells in own)
    resize = dict(type='ResizeConnector', size=size)
    link['teacher_connector'] = [resize, *_as_list(link.get('teacher_connector'))]


def _path(layer: str | Mapping[str, Any]) -> str:
    return layer if isinstance(layer, str) else layer['layer']


def _as_list(connectors: dict | Sequence[dict] | None) -> list[dict]:
    items = [connectors] if isinstance(connectors, Mapping) else connectors or []
    return [dict(item) for item in items]
