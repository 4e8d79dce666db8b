import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints


def frame(number=50):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(number, 5, generator=generator) * 20 - 10
    boxes = torch.rand(4, 9, generator=generator) * 6 + 0.5
    return dict(
        points=LiDARPoints(points.clone(), points_dim=5),
        gt_bboxes_3d=LiDARInstance3DBoxes(boxes.clone(), box_dim=9),
        gt_labels_3d=np.arange(4),
    )


def transformed(points, matrix):
    return points.double().numpy() @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='BEVFusionRandomFlip3D'),
        dict(
            type='BEVFusionGlobalRotScaleTrans',
            rot_range=[-0.78, 0.78],
            scale_ratio_range=[0.8, 1.2],
            translation_std=0.5,
        ),
    ],
)
def test_matrix_maps_old_points_and_box_centres_to_new_ones(cfg, seed):
    before, after = frame(), frame()
    np.random.seed(seed)
    after = TRANSFORMS.build(cfg)(after)
    matrix = after['lidar_aug_matrix']
    assert np.allclose(
        transformed(before['points'].coord, matrix), after['points'].coord, atol=1e-4
    )
    centres = before['gt_bboxes_3d'].gravity_center
    assert np.allclose(
        transformed(centres, matrix), after['gt_bboxes_3d'].gravity_center, atol=1e-4
    )


def test_flip_turns_velocities_and_heading_with_the_boxes():
    for seed in range(8):
        before, after = frame(), frame()
        np.random.seed(seed)
        after = TRANSFORMS.build(dict(type='BEVFusionRandomFlip3D'))(after)
        mirror = np.diag(after['lidar_aug_matrix'])[:2]
        old, new = before['gt_bboxes_3d'].tensor, after['gt_bboxes_3d'].tensor
        assert np.allclose(new[:, 7:9], old[:, 7:9] * mirror, atol=1e-5)
        heading = torch.stack((old[:, 6].cos(), old[:, 6].sin()), dim=1) * mirror
        assert np.allclose(new[:, 6].cos(), heading[:, 0], atol=1e-5)
        assert np.allclose(new[:, 6].sin(), heading[:, 1], atol=1e-5)


def test_all_four_flips_occur():
    seen = set()
    for seed in range(40):
        np.random.seed(seed)
        results = TRANSFORMS.build(dict(type='BEVFusionRandomFlip3D'))(frame())
        seen.add(tuple(np.diag(results['lidar_aug_matrix'])[:2]))
    assert len(seen) == 4


@pytest.fixture
def database(tmp_path):
    """Two cars and one pedestrian of three points each, far apart."""
    infos = {'car': [], 'pedestrian': []}
    for index, (name, x) in enumerate([('car', 10), ('car', 20), ('pedestrian', 30)]):
        points = np.full((3, 5), 0.1 * index, np.float32)
        points.tofile(tmp_path / f'{index}.bin')
        infos[name].append(
            dict(
                name=name,
                path=f'{index}.bin',
                box3d_lidar=np.array([x, 0, -1, 2, 2, 2, 0, 0, 0], np.float32),
                num_points_in_gt=3,
                difficulty=0,
            )
        )
    with open(tmp_path / 'infos.pkl', 'wb') as file:
        pickle.dump(infos, file)
    loader = dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=5, use_dim=5)
    return dict(
        data_root=str(tmp_path),
        info_path=str(tmp_path / 'infos.pkl'),
        rate=1.0,
        prepare=dict(filter_by_difficulty=[-1], filter_by_min_points=dict(car=2, pedestrian=2)),
        classes=['car', 'pedestrian'],
        sample_groups=dict(car=3, pedestrian=1),
        points_loader=loader,
    )


@pytest.mark.parametrize('name', ['BEVFusionDataBaseSampler', 'DataBaseSampler', None])
def test_object_sample_pastes_objects_with_their_points(database, name):
    if name is not None:
        database['type'] = name
    paste = TRANSFORMS.build(dict(type='ObjectSample', db_sampler=database))
    results = frame()
    results['gt_bboxes_3d'].tensor[:, :2] -= 40  # nobody in the way
    number = len(results['points'])
    results = paste(results)
    # One car and one pedestrian are there already: the share of three cars lacks two.
    assert results['gt_labels_3d'].tolist() == [0, 1, 2, 3, 0, 0]
    assert results['gt_labels_3d'].dtype == np.int64
    assert sorted(results['gt_bboxes_3d'].tensor[4:, 0].tolist()) == [10, 20]
    assert len(results['points']) == number + 6


def test_object_sample_pastes_no_box_without_size(database):
    path = Path(database['info_path'])
    infos = pickle.loads(path.read_bytes())
    infos['car'][0]['box3d_lidar'][4] = 0
    infos['pedestrian'][0]['box3d_lidar'][3] = np.nan
    path.write_bytes(pickle.dumps(infos))
    results = frame()
    results['gt_bboxes_3d'] = results['gt_bboxes_3d'][:0]
    results['gt_labels_3d'] = results['gt_labels_3d'][:0]
    pasted = TRANSFORMS.build(dict(type='ObjectSample', db_sampler=database))(results)
    assert pasted['gt_bboxes_3d'].tensor[:, 0].tolist() == [20]


def test_object_sample_works_on_a_frame_without_boxes(database):
    paste = TRANSFORMS.build(dict(type='ObjectSample', db_sampler=database))
    results = frame()
    results['gt_bboxes_3d'] = results['gt_bboxes_3d'][:0]
    results['gt_labels_3d'] = results['gt_labels_3d'][:0]
    assert sorted(paste(results)['gt_labels_3d'].tolist()) == [0, 0, 1]
