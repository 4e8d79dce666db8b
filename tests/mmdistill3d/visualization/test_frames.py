"""Frames of info files, and of a config with a checkpoint."""

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config

from lidarsim import Parameters, generate_dataset
from mmdistill.report.networks import Network
from mmdistill3d.report.pictures import pictures_section
from mmdistill3d.visualization import COLOURS, frames_of_config, frames_of_infos

CLASSES = tuple(COLOURS)

CONFIG = """
classes = {classes!r}
voxel_size = [0.8, 0.8, 8]
points_range = [-25.6, -25.6, -5, 25.6, 25.6, 3]
model = dict(
    type='CenterPoint',
    data_preprocessor=dict(
        type='Det3DDataPreprocessor', voxel=True,
        voxel_layer=dict(max_num_points=10, voxel_size=voxel_size, max_voxels=4000,
                         point_cloud_range=points_range)),
    pts_voxel_encoder=dict(
        type='PillarFeatureNet', in_channels=5, feat_channels=[8], voxel_size=voxel_size,
        point_cloud_range=points_range, norm_cfg=dict(type='BN1d'), legacy=False),
    pts_middle_encoder=dict(type='PointPillarsScatter', in_channels=8, output_shape=(64, 64)),
    pts_backbone=dict(type='SECOND', in_channels=8, out_channels=[8], layer_nums=[1],
                      layer_strides=[1]),
    pts_neck=dict(type='SECONDFPN', in_channels=[8], out_channels=[8], upsample_strides=[1]),
    pts_bbox_head=dict(
        type='CenterHead', in_channels=8, share_conv_channel=8,
        tasks=[dict(num_class=10, class_names=classes)],
        common_heads=dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2), vel=(2, 2)),
        bbox_coder=dict(
            type='CenterPointBBoxCoder', pc_range=points_range[:2], code_size=9, max_num=20,
            post_center_range=[-30, -30, -10, 30, 30, 10], out_size_factor=1,
            voxel_size=voxel_size[:2]),
        separate_head=dict(type='SeparateHead', init_bias=-2.19, final_kernel=3)),
    test_cfg=dict(pts=dict(
        post_center_limit_range=[-30, -30, -10, 30, 30, 10], max_pool_nms=False,
        score_threshold=0.0, nms_type='circle', min_radius=[1], post_max_size=20)))
pipeline = [
    dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=5, use_dim=5),
    dict(type='LoadPointsFromMultiSweeps', sweeps_num=2, load_dim=5, use_dim=5),
    dict(type='Pack3DDetInputs', keys=['points']),
]
val_dataloader = dict(dataset=dict(
    type='NuScenesDataset', data_root={root!r}, ann_file='nuscenes_infos_val.pkl',
    data_prefix=dict(pts='samples/LIDAR_TOP', sweeps='sweeps/LIDAR_TOP', img=''),
    pipeline=pipeline, test_mode=True))
test_dataloader = val_dataloader
train_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dict(
    type='NuScenesDataset', data_root={root!r}, ann_file='nuscenes_infos_train.pkl',
    data_prefix=dict(pts='samples/LIDAR_TOP', sweeps='sweeps/LIDAR_TOP', img=''),
    pipeline=[])))
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('visualize') / 'lidarsim'
    generate_dataset(root, Parameters(scenes=1, val_scenes=1, frames=2, azimuths=180))
    return root


@pytest.fixture(scope='module')
def config(data):
    file = data.parent / 'tiny_centerpoint.py'
    file.write_text(CONFIG.format(classes=list(CLASSES), root=str(data)))
    register_all_modules()
    return Config.fromfile(file)


def test_infos_suffice_for_points_and_boxes(data):
    frames, classes = frames_of_infos(data, 'train', [0, 1])
    first, second = frames
    assert [first.name, second.name] == ['lidarsim train 0', 'lidarsim train 1']
    assert classes == CLASSES
    assert first.predictions is None
    inside = abs(first.points - first.truth.boxes[0, :3]).max(axis=1) < 3
    assert inside.any()
    assert len(first.truth.boxes) == len(first.truth.labels) > 5


def test_a_checkpoint_adds_its_predictions(config, tmp_path):
    model = MODELS.build(config.model)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'model.pth')
    (without,), classes = frames_of_config(config, 'train', [1])
    checkpoint = str(tmp_path / 'model.pth')
    (seen,), _ = frames_of_config(config, 'train', [1], checkpoint, score_thr=0)
    (none,), _ = frames_of_config(config, 'train', [1], checkpoint, score_thr=2)
    assert without.name == 'tiny_centerpoint train 1'
    assert tuple(classes) == CLASSES
    assert without.predictions is None
    assert len(seen.predictions.boxes) == len(seen.predictions.scores) > 5
    assert len(none.predictions.boxes) == 0
    assert (seen.truth.boxes == without.truth.boxes).all()


def test_what_is_not_there_is_named(data, config):
    with pytest.raises(IndexError, match='frames 0 to 1'):
        frames_of_infos(data, 'val', [2])
    with pytest.raises(ValueError, match='splits train and val'):
        frames_of_infos(data, 'test', [0])
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        frames_of_config(config, 'val', [0], 'nowhere.pth')


def test_a_report_shows_frames_with_what_each_model_finds(config, tmp_path):
    models = [MODELS.build(config.model).eval() for _ in range(2)]
    networks = [
        Network(name, name, model, config)
        for name, model in zip(('alone', 'distilled'), models, strict=True)
    ]
    section = pictures_section(networks, 2, str, folder=tmp_path)
    assert len(section.blocks) == 2
    assert all(block.data[8:12] == b'WEBP' for block in section.blocks)
    assert (tmp_path / 'frame_1.png').read_bytes().startswith(b'\x89PNG')
    assert 'in 2 frames, found with a score of at least 0.2: alone ' in section.text
