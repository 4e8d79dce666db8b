"""BEVFusion's LiDAR branch for MMDetection3D 1.4, on the CPU and on CUDA."""

from .assigners import BBoxBEVL1Cost, HeuristicAssigner3D, HungarianAssigner3D, IoU3DCost
from .bbox_coder import TransFusionBBoxCoder
from .bevfusion import BEVFusion
from .db_sampler import BEVFusionDataBaseSampler
from .decoder_layer import TransformerDecoderLayer
from .encoder_check import EncoderCheck, check_encoder
from .fade_object_sample_hook import FadeObjectSampleHook
from .kitti_overlaps import bev_box_overlap, d3_box_overlap
from .lidar_dataset import LidarDataset
from .rotated_iou import RotatedOverlaps3D, rotated_iou_3d
from .second_encoder import PortableSparseEncoder
from .sparse_encoder import BEVFusionSparseEncoder
from .transforms import BEVFusionGlobalRotScaleTrans, BEVFusionRandomFlip3D
from .transfusion_head import TransFusionHead
from .voxelize import Voxelization

__all__ = [
    'BBoxBEVL1Cost',
    'BEVFusion',
    'BEVFusionDataBaseSampler',
    'BEVFusionGlobalRotScaleTrans',
    'BEVFusionRandomFlip3D',
    'BEVFusionSparseEncoder',
    'EncoderCheck',
    'FadeObjectSampleHook',
    'HeuristicAssigner3D',
    'HungarianAssigner3D',
    'IoU3DCost',
    'LidarDataset',
    'PortableSparseEncoder',
    'RotatedOverlaps3D',
    'TransFusionBBoxCoder',
    'TransFusionHead',
    'TransformerDecoderLayer',
    'Voxelization',
    'bev_box_overlap',
    'check_encoder',
    'd3_box_overlap',
    'rotated_iou_3d',
]
