"""mmdet3d's own data set, loaders and metric read the data set as it is."""

import numpy as np
import pytest
import torch
from mmdet3d.datasets import NuScenesDataset
from mmdet3d.evaluation import NuScenesMetric
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

PIPELINE = [
    {'type': 'LoadPointsFromFile', 'coord_type': 'LIDAR', 'load_dim': 5, 'use_dim': 5},
    {
        'type': 'LoadPointsFromMultiSweeps',
        'sweeps_num': 2,
        'load_dim': 5,
        'use_dim': 5,
        'pad_empty_sweeps': True,
        'remove_close': True,
    },
    {'type': 'LoadAnnotations3D', 'with_bbox_3d': True, 'with_label_3d': True},
    {
        'type': 'Pack3DDetInputs',
        'keys': ['points', 'gt_bboxes_3d', 'gt_labels_3d'],
        'meta_keys': ['sample_idx', 'lidar_path'],
    },
]


@pytest.fixture(scope='module', autouse=True)
def mmdet3d_scope():
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield


def build(root, split, pipeline=PIPELINE, **kwargs):
    return NuScenesDataset(
        data_root=str(root),
        ann_file=f'nuscenes_infos_{split}.pkl',
        data_prefix={'pts': 'samples/LIDAR_TOP', 'sweeps': 'sweeps/LIDAR_TOP', 'img': ''},
        pipeline=pipeline,
        **kwargs,
    )


def count_inside(box, points, margin_m=0.0):
    """Points in a box of mmdet3d (its z is the bottom), made larger by a margin."""
    x, y, z, length, width, height, yaw = box[:7].tolist()
    dx, dy, dz = points[:, 0] - x, points[:, 1] - y, points[:, 2] - z - height / 2
    along = np.abs(np.cos(yaw) * dx + np.sin(yaw) * dy)
    across = np.abs(np.cos(yaw) * dy - np.sin(yaw) * dx)
    half = np.array([length, width, height]) / 2 + margin_m + 1e-3
    return int(((along < half[0]) & (across < half[1]) & (np.abs(dz) < half[2])).sum())


def test_each_box_names_the_instance_of_its_annotation(root, nusc):
    dataset = build(root, 'val')
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        rows = [nusc.get('sample_annotation', t) for t in nusc.get('sample', info['token'])['anns']]
        tokens = [row['instance_token'] for row in rows if row['num_lidar_pts'] > 0]
        assert info['ann_info']['instance_token'].tolist() == tokens


@pytest.mark.parametrize('split', ['train', 'val'])
def test_pipeline_loads_points_with_time_lags_and_boxes(root, parameters, split):
    dataset = build(root, split)
    scenes = parameters.scenes if split == 'train' else parameters.val_scenes
    assert len(dataset) == scenes * parameters.frames
    for index in range(0, len(dataset), 4):
        sample = dataset[index]
        points = sample['inputs']['points']
        lags = torch.unique(points[:, 4])
        torch.testing.assert_close(lags, torch.tensor([0, 1 / 6, 1 / 3]), atol=1e-4, rtol=0)
        truth = sample['data_samples'].gt_instances_3d
        key_points = points[points[:, 4] == 0].numpy()
        assert all(count_inside(box, key_points) > 0 for box in truth.bboxes_3d.tensor.numpy())


def test_points_of_moving_objects_follow_their_velocity(root):
    """Moved by velocity x time lag, the oldest points lie in the box: stamps, poses, speeds fit."""
    dataset = build(root, 'val')
    inside, around = 0, 0
    for index in range(0, len(dataset), 2):
        sample = dataset[index]
        points = sample['inputs']['points'].numpy()
        old = points[(points[:, 4] > 0.3) & (points[:, 2] > -1.7)]
        boxes = sample['data_samples'].gt_instances_3d.bboxes_3d.tensor.numpy()
        for box in boxes[np.linalg.norm(boxes[:, 7:], axis=1) > 2]:
            moved = old.copy()
            moved[:, :2] += moved[:, 4:] * box[7:]
            inside += count_inside(box, moved, margin_m=0.15)
            around += count_inside(box, moved, margin_m=0.6)
    assert around > 500
    assert inside > 0.9 * around


def test_sweep_transform_is_the_exact_inverse(root, nusc):
    dataset = build(root, 'val')
    info = dataset.get_data_info(7)
    for sweep in info['lidar_sweeps']:
        key2sweep = np.array(sweep['lidar_points']['lidar2sensor'])
        key2global = np.array(info['ego2global']) @ info['lidar_points']['lidar2ego']
        sweep2global = np.array(sweep['ego2global']) @ sweep['lidar_points']['lidar2ego']
        np.testing.assert_allclose(sweep2global @ key2sweep, key2global, atol=1e-6)


def test_ground_truth_scores_full_marks_in_the_metric(root):
    dataset = build(root, 'val')
    metric = NuScenesMetric(str(root), str(root / 'nuscenes_infos_val.pkl'))
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        truth = info['ann_info']
        count = len(truth['gt_labels_3d'])
        predictions = InstanceData(
            bboxes_3d=truth['gt_bboxes_3d'],
            labels_3d=torch.as_tensor(truth['gt_labels_3d']),
            scores_3d=0.9 - 1e-3 * index - 1e-6 * torch.arange(count),
        )
        metric.process(
            {},
            [
                {
                    'pred_instances_3d': dict(predictions.items()),
                    'pred_instances': {},
                    'sample_idx': info['sample_idx'],
                }
            ],
        )
    scores = metric.evaluate(len(dataset))
    by_name = {key.rsplit('/', 1)[1]: value for key, value in scores.items()}
    assert by_name['mAP'] > 0.99
    assert by_name['NDS'] > 0.99
