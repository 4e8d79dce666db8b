"""Pictures of frames, from a data set and from a config with a checkpoint."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colors, image

from lidarsim import Parameters, generate_dataset
from tools.visualize import COLOURS, Boxes, Frame, draw_bev

ROOT = Path(__file__).resolve().parents[2]
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
    return file


def run(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / 'tools' / 'visualize.py', *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def pixels_of(picture, name):
    """Pixels (row, column) in the colour of a class, in the left part: without the legend."""
    colour = np.array(colors.to_rgb(COLOURS[name]))
    left = picture[:, : int(picture.shape[1] * 0.78), :3]
    return np.argwhere(np.abs(left - colour).max(axis=2) < 0.03)


def test_boxes_are_drawn_where_they_are(tmp_path):
    points = np.random.default_rng(0).uniform(-20, 20, (500, 3))
    truth = Boxes(np.array([[-20.0, 20, 0, 6, 3, 2, 0]]), np.array([CLASSES.index('trailer')]))
    found = Boxes(
        np.array([[20.0, -20, 0, 6, 3, 2, 0]]),
        np.array([CLASSES.index('pedestrian')]),
        np.array([0.7]),
    )
    draw_bev(Frame('frame', points, truth, found), CLASSES, tmp_path / 'frame.png')
    picture = image.imread(tmp_path / 'frame.png')
    row, column = pixels_of(picture, 'trailer').mean(axis=0) / picture.shape[:2]
    assert row < 0.35
    assert column < 0.35
    row, column = pixels_of(picture, 'pedestrian').mean(axis=0) / picture.shape[:2]
    assert row > 0.65
    assert column > 0.5
    assert not len(pixels_of(picture, 'truck'))


def test_frame_without_boxes_or_points_is_drawn(tmp_path):
    empty = Boxes(np.zeros((0, 7)), np.zeros(0, int))
    draw_bev(Frame('empty', np.zeros((0, 3)), empty), CLASSES, tmp_path / 'empty.png')
    assert (tmp_path / 'empty.png').stat().st_size > 5000


def test_data_set_is_drawn_without_a_config(data, tmp_path):
    done = run('--data', data, '--split', 'train', '--index', 0, 1, '--out', tmp_path)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['lidarsim_train_0.png', 'lidarsim_train_1.png']
    assert len(pixels_of(image.imread(tmp_path / names[0]), 'car')) > 20


def test_predictions_of_a_checkpoint_are_drawn(config, tmp_path):
    import torch
    from mmdet3d.registry import MODELS
    from mmdet3d.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    model = MODELS.build(Config.fromfile(config).model)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'model.pth')
    common = (config, '--split', 'train', '--index', 1, '--out')
    predict = ('--checkpoint', tmp_path / 'model.pth', '--score-thr', 0)
    for done in (run(*common, tmp_path / 'without'), run(*common, tmp_path / 'with', *predict)):
        assert done.returncode == 0, done.stderr
    name = 'tiny_centerpoint_train_1.png'
    before = image.imread(tmp_path / 'without' / name)
    after = image.imread(tmp_path / 'with' / name)
    drawn = [sum(len(pixels_of(p, cls)) for cls in CLASSES) for p in (before, after)]
    assert drawn[1] > drawn[0] + 100


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--data', 'nowhere'], 'create_lidarsim.py --out nowhere'),
        (['nowhere.py'], 'nowhere.py'),
        (['--data', '{data}', '--index', '2'], 'frames 0 to 1'),
        (['{config}', '--checkpoint', 'nowhere.pth'], 'nowhere.pth'),
        (['{config}', '--data', '{data}'], 'either a config or --data'),
    ],
)
def test_wrong_arguments_end_with_a_sentence(data, config, tmp_path, arguments, message):
    arguments = [item.format(data=data, config=config) for item in arguments]
    done = run(*arguments, '--out', tmp_path)
    assert done.returncode != 0
    assert message in done.stderr
    assert 'Traceback' not in done.stderr
