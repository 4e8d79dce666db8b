"""Pillar detectors (CenterPoint, PointPillars) from points to the maps of their heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn

from deploy.dense import trace
from deploy.graph import Graph
from deploy.pillar_net import pillar_map
from deploy.voxeliser import VoxelGrid, voxelise


class PillarPart(nn.Module):
    """A pillar detector from the map of its pillars to those of its head, for one sample.

    Args:
        detector: An mmdet3d detector of ``PillarFeatureNet``, ``PointPillarsScatter``, 2D backbone
            and neck, and ``CenterHead`` or ``Anchor3DHead``, in eval mode.

    Raises:
        ValueError: It is of other parts; the message names the first.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        check_encoders(detector)
        self.backbone, self.neck = part(detector, 'backbone'), part(detector, 'neck')
        self.head = part(detector, 'bbox_head')
        anchors = None
        check_head(self.head)
        if not is_center_head(self.head):
            anchors = self._make_anchors(map_shape(detector))
        self.register_buffer('anchors', anchors, persistent=False)

    def forward(self, bev: Tensor) -> dict[str, Tensor]:
        """Maps of the head.

        Args:
            bev: (1, C, Y, X).

        Returns:
            What :func:`deploy.detector.decode_centers` or ``decode_anchors`` reads, and by their
            names the layers on the way.
        """
        levels = self.backbone(bev)
        fused = self.neck(levels)
        layers = {f'backbone[{index}]': level for index, level in enumerate(levels)}
        layers['neck[0]'] = fused[0]
        return {**self._maps(self.head(fused)), **layers}

    def _maps(self, outputs: Any) -> dict[str, Tensor]:
        if self.anchors is None:
            return {
                f'{task}.{name}': value[0]
                for task, maps in enumerate(outputs)
                for name, value in maps[0].items()
            }
        scores, deltas, directions = (levels[0][0].permute(1, 2, 0) for levels in outputs)
        return {
            'scores': scores.reshape(-1, self.head.num_classes),
            'deltas': deltas.reshape(-1, self.head.box_code_size),
            'directions': directions.reshape(-1, 2),
            'anchors': self.anchors.clone(),
        }

    @torch.no_grad()
    def _make_anchors(self, shape: tuple[int, int, int]) -> Tensor:
        """Anchors (A, 7 or 9) in the order of the head's maps."""
        fused = self.neck(self.backbone(torch.zeros(1, *shape)))
        anchors = self.head.prior_generator.grid_anchors([fused[0].shape[-2:]], device='cpu')
        return anchors[0].reshape(-1, self.head.box_code_size)


def check_encoders(detector: nn.Module) -> None:
    """Check that a detector's pillars are encoded and laid out as is exported.

    Raises:
        ValueError: They are not; the message names the part.
    """
    from mmdet3d.models import PillarFeatureNet, PointPillarsScatter

    expected = {'voxel_encoder': PillarFeatureNet, 'middle_encoder': PointPillarsScatter}
    for name, kind in expected.items():
        module = part(detector, name)
        if type(module) is not kind:
            raise ValueError(
                f'the detector has a {type(module).__name__}; exported are BEVFusion and '
                f'pillar detectors with a {kind.__name__}'
            )


def map_shape(detector: nn.Module) -> tuple[int, int, int]:
    """Channels, rows and columns of the map of a detector's pillars."""
    scatter = part(detector, 'middle_encoder')
    return scatter.in_channels, scatter.ny, scatter.nx


def part(detector: nn.Module, name: str) -> nn.Module:
    """A part of an mmdet3d detector, which calls it ``name`` or ``pts_name``."""
    for full_name in (f'pts_{name}', name):
        if getattr(detector, full_name, None) is not None:
            return getattr(detector, full_name)
    raise ValueError(
        f'a {type(detector).__name__} without {name}; exported are BEVFusion and pillar detectors'
    )


def check_head(head: nn.Module) -> None:
    """Check that a head is among those that the runtime decodes.

    Raises:
        ValueError: It is not; the message says what is expected.
    """
    from mmdet3d.models import Anchor3DHead
    from mmdet3d.models.task_modules.coders import DeltaXYZWLHRBBoxCoder

    if is_center_head(head):
        if head.bbox_coder.post_center_range is None:
            raise ValueError(
                'the box coder has no post_center_range, without which CenterHead decodes nothing'
            )
        return
    if type(head) is not Anchor3DHead:
        raise ValueError(
            f'the head is a {type(head).__name__}; of pillar detectors those with a CenterHead or '
            'an Anchor3DHead are exported'
        )
    wanted = {
        'use_sigmoid_cls is True': head.use_sigmoid_cls,
        'use_direction_classifier is True': head.use_direction_classifier,
        'bbox_coder is a DeltaXYZWLHRBBoxCoder': type(head.bbox_coder) is DeltaXYZWLHRBBoxCoder,
        'there is one level of anchors': head.prior_generator.num_levels == 1,
    }
    for condition, holds in wanted.items():
        if not holds:
            raise ValueError(f'an Anchor3DHead is exported where {condition}; here it is not')


def is_center_head(head: nn.Module) -> bool:
    from mmdet3d.models import CenterHead

    return type(head) is CenterHead


def voxel_grid(detector: nn.Module) -> VoxelGrid:
    """The settings with which the data preprocessor voxelises in evaluation.

    Raises:
        ValueError: It does not voxelise, or not into voxels of limited size.
    """
    encoder = part(detector, 'voxel_encoder')
    preprocessor = detector.data_preprocessor
    if not getattr(preprocessor, 'voxel', False) or preprocessor.voxel_type != 'hard':
        raise ValueError(
            "the data_preprocessor has no hard voxelisation (voxel=True, voxel_type='hard'), which "
            'is the one that is exported'
        )
    layer = preprocessor.voxel_layer
    limits = layer.max_voxels
    low, high = layer.point_cloud_range[:3], layer.point_cloud_range[3:]
    return VoxelGrid(
        low_m=low,
        size_m=layer.voxel_size,
        cells=[round((b - a) / s) for a, b, s in zip(low, high, layer.voxel_size, strict=True)],
        max_points=layer.max_num_points,
        max_voxels=limits if isinstance(limits, int) else limits[1],
        columns=_columns(encoder),
    )


def _columns(encoder: nn.Module) -> int:
    """Numbers per point that a ``PillarFeatureNet`` reads: what it adds to them is known."""
    added = 3 * encoder._with_cluster_center + 3 * encoder._with_voxel_center
    return encoder.in_channels - added - encoder._with_distance


def sparse_part(detector: nn.Module) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Points to the map of their pillars.

    Returns:
        A model with the input ``points`` (N, columns) and the output ``bev`` (1, C, Y, X); name of
        a layer -> name of its tensor.
    """
    check_encoders(detector)
    grid, net = voxel_grid(detector), part(detector, 'voxel_encoder')
    graph = Graph()
    points = graph.input('points', TensorProto.FLOAT, ['N', grid.columns])
    voxels = voxelise(graph, points, grid)
    bev = pillar_map(graph, net, points, voxels, grid)
    graph.output('bev', bev, [1, *map_shape(detector)])
    return graph.build('points_to_map'), {'cells': voxels.cells.name, 'middle_encoder': 'bev'}


def dense_part(detector: nn.Module) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The map of the pillars to the maps of the head, and the tensors of the layers on the way."""
    module = PillarPart(detector).eval()
    bev = torch.zeros(1, *map_shape(detector))
    with torch.no_grad():
        names = list(module(bev))
    outputs = [name for name in names if not _is_layer(name)]
    return trace(module, {'bev': bev}, outputs), {name: name for name in names}


def _is_layer(name: str) -> bool:
    return name.startswith(('middle_encoder', 'backbone', 'neck'))


def box_numbers(detector: nn.Module) -> int:
    """Numbers of a box: 7, or 9 with velocity."""
    head = part(detector, 'bbox_head')
    return head.bbox_coder.code_size if is_center_head(head) else head.box_code_size


def decoding(detector: nn.Module) -> dict[str, Any]:
    """What the runtime is told to make boxes of the maps."""
    head = part(detector, 'bbox_head')
    check_head(head)
    return _of_centers(head) if is_center_head(head) else _of_anchors(head)


def _of_centers(head: nn.Module) -> dict[str, Any]:
    coder, cfg = head.bbox_coder, head.test_cfg
    starts = np.cumsum([0, *head.num_classes]).tolist()
    factor = coder.out_size_factor
    rotates = cfg['nms_type'] == 'rotate'
    return dict(
        type='centers',
        classes_of_tasks=[
            list(range(first, first + number))
            for first, number in zip(starts, head.num_classes, strict=False)
        ],
        low_m=[float(low) for low in coder.pc_range[:2]],
        cell_m=[factor * float(size) for size in coder.voxel_size[:2]],
        max_boxes=coder.max_num,
        score_threshold=coder.score_threshold,
        center_range=[float(limit) for limit in coder.post_center_range],
        final_range=[float(limit) for limit in cfg['post_center_limit_range']] if rotates else [],
        log_sizes=bool(head.norm_bbox),
        nms=cfg['nms_type'],
        nms_radius=[float(radius) for radius in cfg.get('min_radius', ())],
        nms_overlap=cfg.get('nms_thr'),
        nms_score=cfg.get('score_threshold', 0.0),
        max_candidates=cfg.get('pre_max_size'),
        max_kept=cfg.get('post_max_size'),
    )


def _of_anchors(head: nn.Module) -> dict[str, Any]:
    cfg = head.test_cfg
    return dict(
        type='anchors',
        score_threshold=cfg.get('score_thr', 0.0),
        max_anchors=cfg.get('nms_pre', -1),
        max_boxes=cfg['max_num'],
        nms_overlap=cfg['nms_thr'],
        rotated=bool(cfg['use_rotate_nms']),
        direction_offset=head.dir_offset,
        direction_limit=head.dir_limit_offset,
    )


@torch.no_grad()
def torch_layers(detector: nn.Module, points: np.ndarray) -> dict[str, np.ndarray]:
    """The layers of an export as torch computes them, behind mmdet3d's own voxeliser."""
    coors, bev = pillars_in_torch(detector, points)
    _, z, y, x = coors.long().unbind(dim=1)
    _, size_y, size_z = voxel_grid(detector).cells
    cells = (x * size_y + y) * size_z + z
    outputs = PillarPart(detector).eval()(bev)
    return {
        'cells': cells.sort().values.numpy(),
        'middle_encoder': bev.numpy(),
        **{name: outputs[name].numpy() for name in sorted(outputs, key=_order)},
    }


def pillars_in_torch(detector: nn.Module, points: np.ndarray) -> tuple[Tensor, Tensor]:
    """Cells (M, 4) of a cloud's pillars and their map (1, C, Y, X), by mmdet3d's own modules."""
    batch = dict(inputs=dict(points=[torch.from_numpy(points)]), data_samples=[])
    voxels = detector.data_preprocessor(batch, False)['inputs']['voxels']
    encode, scatter = part(detector, 'voxel_encoder'), part(detector, 'middle_encoder')
    features = encode(voxels['voxels'], voxels['num_points'], voxels['coors'])
    return voxels['coors'], scatter(features, voxels['coors'], 1)


def _order(name: str) -> int:
    """Place of a layer on the way through the detector."""
    starts = ('backbone', 'neck')
    return next((i for i, start in enumerate(starts) if name.startswith(start)), len(starts))


def undecided(
    detector: nn.Module, points: np.ndarray, found: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """Which of the found boxes only just have the score that they need, (number,) bool."""
    threshold = decoding(detector)['score_threshold'] or 0.0
    return found[1] < threshold + 1e-5
