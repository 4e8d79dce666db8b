"""Small networks and the optional real frame for the tests of `bevfusion`."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

import bevfusion  # noqa: F401  registers the modules

REPO = Path(__file__).resolve().parents[2]
CLASSES = (
    'car',
    'truck',
    'construction_vehicle',
    'bus',
    'trailer',
    'barrier',
    'motorcycle',
    'bicycle',
    'pedestrian',
    'traffic_cone',
)
NORM = dict(eps=1e-3, momentum=0.1)


def mini_model(
    range_xy_m=(25.6, 25.6), widths=(8, 16, 32), channels=32, proposals=50, voxel_m=0.2, layers=1
) -> dict:
    """A network of three encoder stages: BEV cells of four voxels."""
    x, y = range_xy_m
    first, second, third = widths
    return dict(
        type='BEVFusion',
        data_preprocessor=dict(
            type='Det3DDataPreprocessor',
            voxelize_cfg=dict(
                max_num_points=10,
                point_cloud_range=[-x, -y, -5.0, x, y, 3.0],
                voxel_size=[voxel_m, voxel_m, 0.4],
                max_voxels=[30000, 40000],
            ),
        ),
        pts_middle_encoder=dict(
            type='BEVFusionSparseEncoder',
            in_channels=5,
            base_channels=first,
            output_channels=channels,
            encoder_channels=((first, second), (second, third), (third,)),
            encoder_paddings=((0, 1), (0, (1, 1, 0)), (0,)),
            block_type='basicblock',
            norm_cfg=dict(type='BN1d', **NORM),
        ),
        pts_backbone=dict(
            type='SECOND',
            in_channels=2 * channels,
            out_channels=[channels, 2 * channels],
            layer_nums=[1, 1],
            layer_strides=[1, 2],
            norm_cfg=dict(type='BN', **NORM),
        ),
        pts_neck=dict(
            type='SECONDFPN',
            in_channels=[channels, 2 * channels],
            out_channels=[channels, channels],
            upsample_strides=[1, 2],
            norm_cfg=dict(type='BN', **NORM),
            use_conv_for_no_stride=True,
        ),
        bbox_head=dict(
            type='TransFusionHead',
            num_proposals=proposals,
            in_channels=2 * channels,
            hidden_channel=channels,
            num_classes=10,
            nms_kernel_size=3,
            num_decoder_layers=layers,
            decoder_layer=dict(
                type='TransformerDecoderLayer',
                self_attn_cfg=dict(embed_dims=channels, num_heads=4, dropout=0.0),
                cross_attn_cfg=dict(embed_dims=channels, num_heads=4, dropout=0.0),
                ffn_cfg=dict(
                    embed_dims=channels,
                    feedforward_channels=2 * channels,
                    num_fcs=2,
                    ffn_drop=0.0,
                    act_cfg=dict(type='ReLU', inplace=True),
                ),
                norm_cfg=dict(type='LN'),
                pos_encoding_cfg=dict(input_channel=2, num_pos_feats=channels),
            ),
            train_cfg=dict(
                dataset='nuScenes',
                gaussian_overlap=0.1,
                min_radius=2,
                pos_weight=-1,
                code_weights=[1.0] * 8 + [0.2] * 2,
                assigner=dict(
                    type='HungarianAssigner3D',
                    iou_calculator=dict(type='RotatedOverlaps3D'),
                    cls_cost=dict(type='mmdet.FocalLossCost', gamma=2.0, alpha=0.25, weight=0.15),
                    reg_cost=dict(type='BBoxBEVL1Cost', weight=0.25),
                    iou_cost=dict(type='IoU3DCost', weight=0.25),
                ),
            ),
            test_cfg=dict(dataset='nuScenes', nms_type=None),
            common_heads=dict(center=[2, 2], height=[1, 2], dim=[3, 2], rot=[2, 2], vel=[2, 2]),
            bbox_coder=dict(
                type='TransFusionBBoxCoder',
                post_center_range=[-61.2, -61.2, -10.0, 61.2, 61.2, 10.0],
                score_threshold=0.0,
                code_size=10,
            ),
            loss_cls=dict(type='mmdet.FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25),
            loss_heatmap=dict(type='mmdet.GaussianFocalLoss'),
            loss_bbox=dict(type='mmdet.L1Loss', loss_weight=0.25),
        ),
    )


def _build(cfg: dict, seed: int = 0):
    torch.manual_seed(seed)
    model = MODELS.build(copy.deepcopy(cfg))
    model.init_weights()
    return model


def _cloud(number: int, seed: int = 0, reach_xy_m=(25.0, 25.0)) -> torch.Tensor:
    rng = np.random.RandomState(seed)
    points = rng.uniform(-1, 1, (number, 5)).astype(np.float32)
    points[:, :2] *= reach_xy_m
    points[:, 2] = points[:, 2] * 1.5 - 1.0
    return torch.from_numpy(points)


def _sample(num_boxes: int, seed: int = 0, reach_xy_m=(25.0, 25.0)) -> Det3DDataSample:
    rng = np.random.RandomState(seed)
    boxes = np.zeros((num_boxes, 9), np.float32)
    boxes[:, :2] = rng.uniform(-1, 1, (num_boxes, 2)) * reach_xy_m
    boxes[:, 2] = -1.5
    boxes[:, 3:6] = rng.uniform(0.5, 5, (num_boxes, 3))
    boxes[:, 6] = rng.uniform(-3, 3, num_boxes)
    truth = InstanceData()
    truth.bboxes_3d = LiDARInstance3DBoxes(torch.from_numpy(boxes), box_dim=9)
    truth.labels_3d = torch.from_numpy(np.arange(num_boxes) % 10)
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
    sample.gt_instances_3d = truth
    return sample


@pytest.fixture
def mini_cfg():
    """`mini_cfg(**sizes)` -> model config."""
    return mini_model


@pytest.fixture
def build():
    """`build(cfg)` -> initialised model."""
    return _build


@pytest.fixture
def cloud():
    """`cloud(number, seed)` -> random points (number, 5)."""
    return _cloud


@pytest.fixture
def sample():
    """`sample(num_boxes, seed)` -> data sample with random boxes."""
    return _sample


@pytest.fixture
def class_names():
    """The ten detection classes in the order of their labels."""
    return CLASSES


@pytest.fixture(scope='session')
def shared() -> Path:
    folder = REPO.parent / 'shared'
    if not folder.is_dir():
        pytest.skip(f'no folder {folder} with golden data and the real frame')
    return folder


@pytest.fixture
def real_frame(shared):
    """`real_frame(range_xy_m)` -> (points, data sample) of one annotated nuScenes frame."""

    def load(range_xy_m: float) -> tuple[torch.Tensor, Det3DDataSample]:
        limits = [-range_xy_m, -range_xy_m, -5.0, range_xy_m, range_xy_m, 3.0]
        cfg = dict(
            type='NuScenesDataset',
            data_root=str(shared / 'data/nuscenes'),
            ann_file='n015-2018-07-24-11-22-45+0800.pkl',
            metainfo=dict(classes=CLASSES, version='v1.0-mini'),
            modality=dict(use_lidar=True, use_camera=False),
            data_prefix=dict(pts='', sweeps=''),
            use_valid_flag=True,
            pipeline=[
                dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=5, use_dim=5),
                dict(
                    type='LoadPointsFromMultiSweeps',
                    sweeps_num=9,
                    use_dim=5,
                    pad_empty_sweeps=False,
                    remove_close=True,
                ),
                dict(type='LoadAnnotations3D', with_bbox_3d=True, with_label_3d=True),
                dict(type='PointsRangeFilter', point_cloud_range=limits),
                dict(type='ObjectRangeFilter', point_cloud_range=limits),
                dict(type='ObjectNameFilter', classes=CLASSES),
                dict(type='Pack3DDetInputs', keys=['points', 'gt_bboxes_3d', 'gt_labels_3d']),
            ],
        )
        with DefaultScope.overwrite_default_scope('mmdet3d'):
            item = DATASETS.build(cfg)[0]
        return item['inputs']['points'], item['data_samples']

    return load
