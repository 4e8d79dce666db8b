"""The files are a nuScenes v1.0 database to the official devkit."""

import json
import pickle

import numpy as np
import pytest
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.constants import DETECTION_NAMES
from nuscenes.eval.detection.evaluate import DetectionEval
from nuscenes.eval.detection.utils import (
    category_to_detection_name,
    detection_name_to_rel_attributes,
)
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from nuscenes.utils.splits import create_splits_scenes
from pyquaternion import Quaternion

FIELDS = {
    'attribute': 'token name description',
    'calibrated_sensor': 'token sensor_token translation rotation camera_intrinsic',
    'category': 'token name description',
    'ego_pose': 'token translation rotation timestamp',
    'instance': 'token category_token nbr_annotations first_annotation_token last_annotation_token',
    'log': 'token logfile vehicle date_captured location',
    'map': 'token log_tokens category filename',
    'sample': 'token timestamp scene_token next prev',
    'sample_annotation': 'token sample_token instance_token attribute_tokens visibility_token '
    'translation size rotation num_lidar_pts num_radar_pts next prev',
    'sample_data': 'token sample_token ego_pose_token calibrated_sensor_token filename '
    'fileformat width height timestamp is_key_frame next prev',
    'scene': 'token name description log_token nbr_samples first_sample_token last_sample_token',
    'sensor': 'token channel modality',
    'visibility': 'token level description',
}
"""Tables and fields of the official schema."""


def keyframe(nusc, sample):
    return nusc.get('sample_data', sample['data']['LIDAR_TOP'])


def points_of(nusc, sample):
    return LidarPointCloud.from_file(nusc.get_sample_data_path(sample['data']['LIDAR_TOP'])).points


def test_tables_have_the_documented_fields(tables):
    assert set(tables) == set(FIELDS)
    for name, rows in tables.items():
        assert rows, name
        for row in rows:
            assert set(row) == set(FIELDS[name].split()), name


def test_devkit_loads_all_tables(nusc, parameters):
    scenes = parameters.scenes + parameters.val_scenes
    assert len(nusc.scene) == scenes
    assert len(nusc.sample) == scenes * parameters.frames
    lidar = [row for row in nusc.sample_data if row['channel'] == 'LIDAR_TOP']
    assert len(lidar) == len(nusc.sample) * (1 + parameters.sweeps)


def test_every_token_refers_to_a_row(tables):
    known = {name: {row['token'] for row in rows} for name, rows in tables.items()}
    targets = {'prev': None, 'next': None}
    for fields in FIELDS.values():
        for field in fields.split():
            for table in known:
                if field.endswith((f'{table}_token', f'{table}_tokens')):
                    targets[field] = max(table, targets.get(field) or '', key=len)
    targets |= {
        'first_annotation_token': 'sample_annotation',
        'last_annotation_token': 'sample_annotation',
    }
    for name, rows in tables.items():
        assert len(known[name]) == len(rows), f'{name} has a token twice'
        for row in rows:
            for field in targets.keys() & row.keys():
                wanted = row[field] if isinstance(row[field], list) else [row[field]]
                if field in ('prev', 'next'):
                    wanted = [token for token in wanted if token]
                assert known[targets[field] or name].issuperset(wanted), (name, field)


def test_map_covers_every_log(tables, root):
    covered = {log for row in tables['map'] for log in row['log_tokens']}
    assert covered == {row['token'] for row in tables['log']}
    assert all((root / row['filename']).is_file() for row in tables['map'])


def test_scenes_are_in_the_official_splits(nusc, parameters):
    splits = create_splits_scenes()
    names = {scene['name'] for scene in nusc.scene}
    assert len(names & set(splits['train'])) == parameters.scenes
    assert len(names & set(splits['val'])) == parameters.val_scenes


def test_lidar_data_is_a_chain_in_time(nusc, parameters):
    for scene in nusc.scene:
        sample = nusc.get('sample', scene['first_sample_token'])
        row, times, keys = keyframe(nusc, sample), [], 0
        while row['prev']:
            row = nusc.get('sample_data', row['prev'])
        while row:
            times.append(row['timestamp'])
            keys += row['is_key_frame']
            row = nusc.get('sample_data', row['next']) if row['next'] else None
        assert keys == parameters.frames
        np.testing.assert_allclose(np.diff(times) / 1e6, 0.5 / (1 + parameters.sweeps), atol=1e-5)


def test_instances_chain_their_annotations(nusc):
    for instance in nusc.instance:
        token, chain = instance['first_annotation_token'], []
        while token:
            row = nusc.get('sample_annotation', token)
            assert row['instance_token'] == instance['token']
            chain.append(nusc.get('sample', row['sample_token'])['timestamp'])
            last, token = token, row['next']
        assert last == instance['last_annotation_token']
        assert len(chain) == instance['nbr_annotations']
        assert chain == sorted(set(chain))


def test_points_are_nuscenes_points(nusc, root):
    for sample in nusc.sample[::7]:
        points = np.fromfile(root / keyframe(nusc, sample)['filename'], np.float32).reshape(-1, 5)
        assert 5000 < len(points) < 32 * 540
        assert (np.linalg.norm(points[:, :3], axis=1) < 60).all()
        np.testing.assert_array_equal(points[:, 3], np.round(points[:, 3]))
        assert points[:, 3].min() >= 0
        assert 100 < points[:, 3].max() <= 255
        assert set(points[:, 4]) <= set(range(32))


def test_boxes_contain_their_points(nusc):
    for sample in nusc.sample:
        _, boxes, _ = nusc.get_sample_data(sample['data']['LIDAR_TOP'])
        points = points_of(nusc, sample)[:3]
        for box in boxes:
            stored = nusc.get('sample_annotation', box.token)['num_lidar_pts']
            assert abs(points_in_box(box, points).sum() - stored) <= 1


def test_boxes_are_within_the_annotation_range(nusc):
    for sample in nusc.sample:
        _, boxes, _ = nusc.get_sample_data(sample['data']['LIDAR_TOP'])
        assert np.abs([box.center[:2] for box in boxes]).max() < 25


def test_objects_have_points_mostly(nusc):
    counts = {}
    for row in nusc.sample_annotation:
        name = category_to_detection_name(row['category_name'])
        counts.setdefault(name, []).append(row['num_lidar_pts'] > 0)
    assert np.mean(counts['car']) > 0.85
    assert all(np.mean(seen) > 0.4 for seen in counts.values())


def test_every_class_is_in_val(nusc):
    val = set(create_splits_scenes()['val'])
    seen = set()
    for row in nusc.sample_annotation:
        scene = nusc.get('scene', nusc.get('sample', row['sample_token'])['scene_token'])
        if scene['name'] in val and row['num_lidar_pts']:
            seen.add(category_to_detection_name(row['category_name']))
    assert seen == set(DETECTION_NAMES)


def test_attributes_fit_class_and_speed(nusc):
    names = {row['token']: row['name'] for row in nusc.attribute}
    for row in nusc.sample_annotation:
        allowed = detection_name_to_rel_attributes(category_to_detection_name(row['category_name']))
        attributes = [names[token] for token in row['attribute_tokens']]
        assert len(attributes) == bool(allowed)
        assert set(attributes) <= set(allowed)
        speed = np.linalg.norm(nusc.box_velocity(row['token']))
        if attributes and not attributes[0].startswith('cycle') and np.isfinite(speed):
            assert attributes[0].endswith('.moving') == (speed > 0.3)


def test_moving_objects_face_where_they_go(nusc):
    moving = 0
    for row in nusc.sample_annotation:
        velocity = nusc.box_velocity(row['token'])
        if np.linalg.norm(velocity) > 0.5:
            heading = Quaternion(row['rotation']).rotation_matrix[:, 0]
            assert heading @ velocity > 0.95 * np.linalg.norm(velocity)
            moving += 1
    assert moving > 100


def test_visibility_follows_occlusion(nusc):
    points = {}
    for row in nusc.sample_annotation:
        if row['category_name'] == 'vehicle.car':
            points.setdefault(row['visibility_token'], []).append(row['num_lidar_pts'])
    assert set(points) == {'1', '2', '3', '4'}
    assert np.median(points['4']) > np.median(points['1'])


def test_info_velocity_is_the_devkits(nusc, root):
    for split in ('train', 'val'):
        with open(root / f'nuscenes_infos_{split}.pkl', 'rb') as file:
            infos = pickle.load(file)['data_list']
        for info in infos:
            sample = nusc.get('sample', info['token'])
            lidar2global = np.array(info['ego2global']) @ info['lidar_points']['lidar2ego']
            assert len(sample['anns']) == len(info['instances'])
            for token, instance in zip(sample['anns'], info['instances'], strict=True):
                velocity = lidar2global[:3, :3] @ [*instance['velocity'], 0]
                np.testing.assert_allclose(velocity[:2], nusc.box_velocity(token)[:2], atol=1e-4)


def test_info_boxes_are_the_devkits(nusc, root):
    with open(root / 'nuscenes_infos_val.pkl', 'rb') as file:
        infos = pickle.load(file)['data_list']
    for info in infos[::4]:
        sample = nusc.get('sample', info['token'])
        _, boxes, _ = nusc.get_sample_data(sample['data']['LIDAR_TOP'])
        for box, instance in zip(boxes, info['instances'], strict=True):
            x, y, z, length, width, height, yaw = instance['bbox_3d']
            np.testing.assert_allclose(box.center, [x, y, z], atol=1e-4)
            np.testing.assert_allclose(box.wlh, [width, length, height], atol=1e-6)
            direction = box.orientation.rotation_matrix[:2, 0]
            np.testing.assert_allclose(direction, [np.cos(yaw), np.sin(yaw)], atol=1e-5)


@pytest.mark.parametrize('direction', ['prev', 'next'])
def test_static_world_is_aligned_between_keyframes(nusc, direction):
    """Walls of a neighbouring frame lie on this frame's walls, by the stored poses."""
    distances = []
    for scene in nusc.scene:
        sample = nusc.get('sample', nusc.get('sample', scene['first_sample_token'])['next'])
        here = _walls(nusc, sample)
        there = _walls(nusc, nusc.get('sample', sample[direction]))
        gaps = np.linalg.norm(here[:, None] - there[None], axis=2).min(axis=1)
        distances.append(np.median(gaps))
    assert np.median(distances) < 0.25


def _walls(nusc, sample):
    """Global positions (P, 2) of points above most vehicles."""
    row = keyframe(nusc, sample)
    points = points_of(nusc, sample)[:3]
    points = points[:, points[2] > 2.2]
    calibration = nusc.get('calibrated_sensor', row['calibrated_sensor_token'])
    pose = nusc.get('ego_pose', row['ego_pose_token'])
    for transform in (calibration, pose):
        rotation = Quaternion(transform['rotation']).rotation_matrix
        points = rotation @ points + np.array(transform['translation'])[:, None]
    return points[:2].T


def test_ground_truth_scores_full_marks(nusc, tmp_path):
    """The official evaluation, fed the annotations as detections."""
    val = set(create_splits_scenes()['val'])
    names = {row['token']: row['name'] for row in nusc.attribute}
    results, score = {}, 1.0
    for sample in nusc.sample:
        if nusc.get('scene', sample['scene_token'])['name'] not in val:
            continue
        results[sample['token']] = detections = []
        for token in sample['anns']:
            row = nusc.get('sample_annotation', token)
            if row['num_lidar_pts'] == 0:
                continue
            score -= 1e-5
            velocity = np.nan_to_num(nusc.box_velocity(token)[:2])
            detections.append(
                {
                    'sample_token': sample['token'],
                    'translation': row['translation'],
                    'size': row['size'],
                    'rotation': row['rotation'],
                    'velocity': velocity.tolist(),
                    'detection_name': category_to_detection_name(row['category_name']),
                    'detection_score': score,
                    'attribute_name': ''.join(names[t] for t in row['attribute_tokens']),
                }
            )
    modalities = {f'use_{name}': name == 'lidar' for name in ('camera', 'lidar', 'radar', 'map')}
    file = tmp_path / 'results.json'
    file.write_text(json.dumps({'meta': {**modalities, 'use_external': False}, 'results': results}))
    evaluation = DetectionEval(
        nusc,
        config_factory('detection_cvpr_2019'),
        str(file),
        'val',
        str(tmp_path),
        verbose=False,
    )
    summary = evaluation.main(render_curves=False)
    assert summary['mean_ap'] > 0.99
    assert summary['nd_score'] > 0.99
