"""The families of MMDetection3D, small: configs that it ships, and made-up batches for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mmdet3d
import numpy as np
import torch
from mmdet3d.structures import (
    DepthInstance3DBoxes,
    Det3DDataSample,
    LiDARInstance3DBoxes,
    PointData,
)
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import nn

from mmdistill3d.examples import FOCAL_PX, IMAGE_HW, cloud_batch, example_batch

CONFIGS = Path(mmdet3d.__file__).parent / '.mim' / 'configs'
MakesBatch = Callable[[nn.Module], dict[str, Any] | None]


@dataclass(frozen=True)
class Family:
    """A family of detectors or segmentors, by one config of MMDetection3D.

    Args:
        name: As papers call it.
        config: Path below MMDetection3D's ``configs``.
        features: Address of a layer whose features are compared.
        response: The link between the heads' answers, without its name; None where there is none.
        second_stage: The link between the RoI heads, likewise.
        reach_m: Range to both sides of the sensor, to which the config's is cut for speed; None
            leaves it.
        changes: Further changes of the model, by dotted key.
        batch: Makes up a raw batch for the model.
        test_batch: One for prediction, where that takes another.
        note: What is to be known.
    """

    name: str
    config: str
    features: str
    response: dict[str, Any] | None = None
    second_stage: dict[str, Any] | None = None
    reach_m: float | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    batch: MakesBatch = example_batch
    test_batch: MakesBatch | None = None
    note: str = ''

    def model(self) -> ConfigDict:
        """Return the model's config, cut to a small range and without pretrained weights."""
        config = Config.fromfile(CONFIGS / self.config)
        config.merge_from_dict({f'model.{key}': value for key, value in self.changes.items()})
        if self.reach_m is not None:
            _cut_range(config.model, self.reach_m)
        _forget_pretrained(config.model)
        return config.model


def _roi_link() -> dict[str, Any]:
    call = dict(type='MethodCall', layer='roi_head', method='_bbox_forward')
    student = dict(call, clone=True)  # its loss turns the proposals, in place
    return dict(student=student, teacher=call, loss=dict(type='RoIHeadKDLoss'))


def _link(address: str, loss: str, clone: bool = False, **options: Any) -> dict[str, Any]:
    student = dict(layer=address, clone=True) if clone else address
    return dict(student=student, teacher=address, loss=dict(type=loss, **options))


# ------------------------------------------------------------------------- made-up batches
def room(
    columns: int,
    points: int = 2048,
    classes: int = 10,
    kind: type = DepthInstance3DBoxes,
    size_m: tuple[float, float, float] = (4.0, 4.0, 2.5),
) -> MakesBatch:
    """Clouds of equal size, most points in boxes, each with its class and instance.

    Args:
        columns: Numbers of a point.
        points: Points of a cloud.
        classes: Number of classes.
        kind: Type of the boxes.
        size_m: Extent of the room, which begins at the origin.
    """

    def make(_model: nn.Module) -> dict[str, Any]:
        rng = np.random.RandomState(0)
        frames = [_room(rng, columns, points, classes, kind, size_m, index) for index in range(2)]
        clouds, samples = zip(*frames, strict=True)
        return {'inputs': {'points': list(clouds)}, 'data_samples': list(samples)}

    return make


def _room(
    rng: np.random.RandomState,
    columns: int,
    points: int,
    classes: int,
    kind: type,
    size_m: tuple[float, float, float],
    index: int,
) -> tuple[torch.Tensor, Det3DDataSample]:
    number = 4
    extent = np.array(size_m)
    boxes = np.zeros((number, 7), np.float32)
    boxes[:, :3] = rng.uniform(0.2, 0.8, (number, 3)) * extent
    boxes[:, 3:6] = rng.uniform(0.15, 0.3, (number, 3)) * extent
    cloud = rng.uniform(0, 1, (points, columns)).astype(np.float32)
    cloud[:, :3] *= extent
    of_box = rng.randint(-1, number, points)  # -1: anywhere
    inside = of_box >= 0
    shift = (cloud[:, :3] / extent - 0.5) * boxes[of_box, 3:6]
    cloud[inside, :3] = (boxes[of_box, :3] + shift)[inside]
    labels = (np.arange(number) + index) % classes
    sample = Det3DDataSample(
        metainfo=dict(
            box_type_3d=kind,
            box_mode_3d=2 if kind is DepthInstance3DBoxes else 0,
            sample_idx=index,
            pcd_scale_factor=1.0,
        )
    )
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=kind(torch.from_numpy(boxes), origin=(0.5, 0.5, 0.5)),
        labels_3d=torch.from_numpy(labels),
    )
    semantic = np.where(inside, labels[of_box], classes - 1)
    sample.gt_pts_seg = PointData(
        pts_semantic_mask=torch.from_numpy(semantic),
        pts_instance_mask=torch.from_numpy(np.where(inside, of_box, number)),
    )
    return torch.from_numpy(cloud), sample


def street_with_classes(classes: int, columns: int = 4, reach_m: float = 20.0) -> MakesBatch:
    """Outdoor clouds with a class for each point, for segmentors of LiDAR scans."""
    return room(columns, 2000, classes, LiDARInstance3DBoxes, (reach_m, reach_m, 2.0))


def with_images(make: MakesBatch = cloud_batch) -> MakesBatch:
    """Add one camera that looks along x to the frames of a cloud."""

    def add(model: nn.Module) -> dict[str, Any] | None:
        batch = make(model)
        rng = np.random.RandomState(0)
        height, width = IMAGE_HW
        to_image = [[width / 2, -FOCAL_PX, 0, 0], [height / 2, 0, -FOCAL_PX, 0], [1, 0, 0, 0]]
        to_image = np.array([*to_image, [0, 0, 0, 1]], np.float32)
        batch['inputs']['img'] = [
            torch.from_numpy(rng.randint(0, 256, (3, height, width)).astype(np.uint8))
            for _ in batch['data_samples']
        ]
        for sample in batch['data_samples']:
            shapes = dict(img_shape=IMAGE_HW, ori_shape=IMAGE_HW, scale_factor=(1, 1))
            sample.set_metainfo(dict(lidar2img=to_image, **shapes))
        return batch

    return add


def camera(low: tuple[float, float, float], high: tuple[float, float, float]) -> MakesBatch:
    """Images of one camera that looks along x, with boxes in a range before it."""

    def make(model: nn.Module) -> dict[str, Any]:
        size = tuple(np.subtract(high, low))
        batch = with_images(room(4, 100, 1, LiDARInstance3DBoxes, size))(model)
        batch['inputs'].pop('points')
        for sample in batch['data_samples']:
            sample.gt_instances_3d.bboxes_3d.translate(torch.tensor(low))
            del sample.gt_pts_seg
        return batch

    return make


# ------------------------------------------------------------------------- smaller configs
def _cut_range(model: ConfigDict, reach_m: float) -> None:
    """Cut the range to ``reach_m`` on both sides, or ``2 * reach_m`` ahead where it begins at 0."""
    layer = model.data_preprocessor.voxel_layer
    old, step = list(layer.point_cloud_range), layer.voxel_size
    x = 0.0 if old[0] == 0 else -reach_m
    low, high = [x, -reach_m], [x + 2 * reach_m, reach_m]
    cells = [round((b - a) / s) for a, b, s in zip(low, high, step, strict=False)]
    _replace(model, old, low, high, cells)


def _replace(value: Any, old: list, low: list, high: list, cells: list[int]) -> None:
    """Replace ranges and numbers of cells in place, at any depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        if isinstance(item, (list, tuple)) and all(isinstance(n, (int, float)) for n in item):
            numbers = list(item)
            if len(numbers) == 6 and numbers[:2] == old[:2] and numbers[3:5] == old[3:5]:
                value[key] = [*low, numbers[2], *high, numbers[5]]
            elif key == 'pc_range' and numbers[:2] == old[:2]:
                value[key] = [*low, *numbers[2:]]
            elif key == 'sparse_shape':  # z, y, x
                value[key] = [numbers[0], *cells[::-1]]
            elif key == 'output_shape':  # y, x
                value[key] = cells[::-1]
            elif key == 'grid_size' and len(numbers) == 3:  # x, y, z
                value[key] = [*cells, numbers[2]]
        elif isinstance(item, (dict, list)):
            _replace(item, old, low, high, cells)


def _forget_pretrained(model: ConfigDict) -> None:
    for part in model.values():
        if isinstance(part, dict):
            part.pop('init_cfg', None)
            part.pop('pretrained', None)


# ------------------------------------------------------------------------- the families
_SMALL_RESNET = {
    'backbone.depth': 18,
    'backbone.style': 'pytorch',
    'neck.in_channels': [64, 128, 256, 512],
}
_NO_DCN = {'backbone.dcn': None, 'backbone.stage_with_dcn': (False, False, False, False)}
_SMALL_POINTNET = {
    'backbone.num_points': (256, 128, 64, 32),
    'backbone.num_samples': (8, 8, 8, 8),
}
_ONE_WINDOW = {'test_cfg.num_points': 256, 'test_cfg.block_size': 3.0}
_FEW_PROPOSALS = {
    'train_cfg.rpn_proposal.nms_pre': 100,
    'train_cfg.rpn_proposal.nms_post': 32,
    'train_cfg.rpn_proposal.max_num': 32,
    'test_cfg.rpn.nms_pre': 100,
    'test_cfg.rpn.nms_post': 16,
    'test_cfg.rpn.max_num': 16,
    'train_cfg.rcnn.sampler.num': 16,
}

FAMILIES = (
    Family(
        'PointPillars',
        'pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py',
        'neck[0]',
        _link('bbox_head', 'AnchorHeadKDLoss'),
        reach_m=5.12,
    ),
    Family(
        'SECOND',
        'second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
        'neck[0]',
        _link('bbox_head', 'AnchorHeadKDLoss'),
        reach_m=6.4,
    ),
    Family(
        'SSN',
        'ssn/ssn_hv_secfpn_sbn-all_16xb2-2x_nus-3d.py',
        'pts_neck[0]',
        _link('pts_bbox_head', 'AnchorHeadKDLoss'),
        reach_m=8.0,
        changes={'test_cfg.pts.nms_pre': 50},
    ),
    Family(
        'FreeAnchor',
        'free_anchor/pointpillars_hv_fpn_head-free-anchor_sbn-all_8xb4-2x_nus-3d.py',
        'pts_neck[0]',
        _link('pts_bbox_head', 'AnchorHeadKDLoss'),
        reach_m=8.0,
        changes={'test_cfg.pts.nms_pre': 50},
    ),
    Family(
        'CenterPoint, pillars',
        'centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py',
        'pts_neck[0]',
        _link('pts_bbox_head', 'CenterHeadKDLoss', clone=True),
        reach_m=6.4,
        changes={'pts_bbox_head.bbox_coder.max_num': 50},
    ),
    Family(
        'CenterPoint, voxels',
        'centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py',
        'pts_neck[0]',
        _link('pts_bbox_head', 'CenterHeadKDLoss', clone=True),
        reach_m=6.4,
        changes={'pts_bbox_head.bbox_coder.max_num': 50},
    ),
    Family(
        'dynamic voxels (SECOND)',
        'dynamic_voxelization/second_dv_secfpn_8xb6-80e_kitti-3d-car.py',
        'neck[0]',
        _link('bbox_head', 'AnchorHeadKDLoss'),
        reach_m=6.4,
    ),
    Family(
        'SA-SSD',
        'sassd/sassd_8xb6-80e_kitti-3d-3class.py',
        'neck[0]',
        _link('bbox_head', 'AnchorHeadKDLoss'),
        reach_m=6.4,
    ),
    Family(
        'Part-A2',
        'parta2/parta2_hv_secfpn_8xb2-cyclic-80e_kitti-3d-3class.py',
        'neck[0]',
        _link('rpn_head', 'AnchorHeadKDLoss'),
        reach_m=6.4,
        changes=_FEW_PROPOSALS,
        second_stage=_roi_link(),
    ),
    Family(
        'PV-RCNN',
        'pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py',
        'neck[0]',
        _link('rpn_head', 'AnchorHeadKDLoss'),
        reach_m=6.4,
        changes={
            **_FEW_PROPOSALS,
            'points_encoder.num_keypoints': 128,
            'roi_head.bbox_roi_extractor.grid_size': 2,
            'roi_head.bbox_head.grid_size': 2,
        },
        second_stage=_roi_link(),
    ),
    Family(
        'MVX-Net',
        'mvxnet/mvxnet_fpn_dv_second_secfpn_8xb2-80e_kitti-3d-3class.py',
        'pts_neck[0]',
        _link('pts_bbox_head', 'AnchorHeadKDLoss'),
        reach_m=6.4,
        changes={f'img_{key}': value for key, value in _SMALL_RESNET.items()},
        batch=with_images(),
    ),
    Family(
        'PointRCNN',
        'point_rcnn/point-rcnn_8xb2_kitti-3d-3class.py',
        'neck[fp_features]',
        changes={
            'backbone.num_points': (512, 128, 64, 32),
            'train_cfg.rpn.rpn_proposal.nms_pre': 100,
            'train_cfg.rpn.rpn_proposal.nms_post': 16,
            'train_cfg.rcnn.sampler.num': 8,
            'test_cfg.rpn.nms_cfg.nms_pre': 100,
            'test_cfg.rpn.nms_cfg.nms_post': 8,
            'backbone.num_samples': ((8, 8), (8, 8), (8, 8), (8, 8)),
        },
        batch=room(4, 1024, 3, LiDARInstance3DBoxes, (20.0, 20.0, 2.0)),
        second_stage=_roi_link(),
    ),
    Family(
        '3DSSD',
        '3dssd/3dssd_4xb4_kitti-3d-car.py',
        'backbone.SA_modules.0[1]',
        _link('bbox_head', 'ProposalKDLoss'),
        changes={
            'backbone.num_points': (512, 128, (64, 64)),
            'backbone.fps_sample_range_lists': ((-1), (-1), (128, -1)),
            'bbox_head.vote_module_cfg.num_points': 64,
            'bbox_head.vote_aggregation_cfg.num_point': 64,
        },
        batch=street_with_classes(1),
        note='deeper points are sampled by features',
    ),
    Family(
        'VoteNet',
        'votenet/votenet_8xb16_sunrgbd-3d.py',
        'backbone[fp_features][2]',
        _link('bbox_head', 'ProposalKDLoss'),
        changes={**_SMALL_POINTNET, 'bbox_head.vote_aggregation_cfg.num_point': 32},
        batch=room(4),
    ),
    Family(
        'GroupFree3D',
        'groupfree3d/groupfree3d_head-L6-O256_4xb8_scannet-seg.py',
        'backbone[fp_features][2]',
        _link('bbox_head', 'ProposalKDLoss'),
        changes={
            **_SMALL_POINTNET,
            'bbox_head.num_proposal': 32,
            'bbox_head.num_decoder_layers': 3,
        },
        batch=room(3, classes=18),
    ),
    Family(
        'ImVoxelNet',
        'imvoxelnet/imvoxelnet_8xb4_kitti-3d-car.py',
        'neck[0]',
        _link('bbox_head', 'AnchorHeadKDLoss'),
        changes={
            **_SMALL_RESNET,
            'n_voxels': [40, 40, 12],
            'prior_generator.ranges': [[0, -6.4, -3.08, 12.8, 6.4, 0.76]],
            'bbox_head.anchor_generator.ranges': [[0, -6.4, -1.78, 12.8, 6.4, -1.78]],
        },
        batch=camera((0, -6.4, -3), (12.8, 6.4, 0.7)),
    ),
    Family(
        'FCOS3D',
        'fcos3d/fcos3d_r101-caffe-dcn_fpn_head-gn_8xb2-1x_nus-mono3d.py',
        'neck[0]',
        _link('bbox_head', 'MonoHeadKDLoss'),
        changes={**_SMALL_RESNET, **_NO_DCN, 'bbox_head.stacked_convs': 1},
    ),
    Family(
        'PGD',
        'pgd/pgd_r101-caffe_fpn_head-gn_4xb3-4x_kitti-mono3d.py',
        'neck[0]',
        _link('bbox_head', 'MonoHeadKDLoss'),
        changes={**_SMALL_RESNET, 'bbox_head.stacked_convs': 1},
    ),
    Family(
        'SMOKE',
        'smoke/smoke_dla34_dlaneck_gn-all_4xb8-6x_kitti-mono3d.py',
        'neck[0]',
        _link('bbox_head', 'SMOKEHeadKDLoss'),
    ),
    Family(
        'Cylinder3D',
        'cylinder3d/cylinder3d_4xb4-3x_semantickitti.py',
        'voxel_encoder[0]',
        _link('decode_head', 'SparseFeatureLoss'),
        changes={
            'data_preprocessor.voxel_layer.grid_shape': [48, 36, 32],
            'backbone.grid_size': [48, 36, 32],
        },
        batch=street_with_classes(20),
    ),
    Family(
        'MinkUNet (spconv)',
        'minkunet/minkunet34_w32_spconv_8xb2-laser-polar-mix-3x_semantickitti.py',
        'backbone',
        _link('decode_head', 'KDLoss'),
        changes={'data_preprocessor.voxel_layer.voxel_size': [0.4, 0.4, 0.4]},
        batch=street_with_classes(19),
    ),
    Family(
        'PointNet++',
        'pointnet2/pointnet2_ssg_2xb16-cosine-50e_s3dis-seg.py',
        'backbone[sa_features][4]',
        _link('decode_head', 'KDLoss'),
        changes={**_SMALL_POINTNET, **_ONE_WINDOW},
        batch=room(9, 1024, 13),
        test_batch=room(6, 512, 13),
    ),
    Family(
        'PAConv',
        'paconv/paconv_ssg_8xb8-cosine-150e_s3dis-seg.py',
        'backbone[sa_features][4]',
        _link('decode_head', 'KDLoss'),
        changes={**_SMALL_POINTNET, **_ONE_WINDOW},
        batch=room(9, 1024, 13),
        test_batch=room(6, 512, 13),
    ),
    Family(
        'DGCNN',
        'dgcnn/dgcnn_4xb32-cosine-100e_s3dis-seg_test-area5.py',
        'backbone[fa_points]',
        _link('decode_head', 'KDLoss'),
        changes=_ONE_WINDOW,
        batch=room(9, 256, 13),
        test_batch=room(6, 256, 13),
    ),
    Family('SPVCNN', 'spvcnn/spvcnn_w16_8xb2-amp-15e_semantickitti.py', 'backbone'),
    Family('FCAF3D', 'fcaf3d/fcaf3d_2xb8_scannet-3d-18class.py', 'backbone'),
)
"""Families in the order of the table."""


def choose(names: Sequence[str]) -> list[Family]:
    """Return the families of these names, or all for no name.

    Raises:
        ValueError: There is no family of a name.
    """
    known = {family.name: family for family in FAMILIES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f'no families {unknown}; there are {list(known)}')
    return [known[name] for name in names] or list(FAMILIES)
