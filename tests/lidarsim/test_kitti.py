"""The embedded data set in KITTI's form: frames, labels and clouds fit each other."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.structures import CameraInstance3DBoxes, points_cam2img

from kitti_infos import Calibration, read_labels
from kitti_infos.infos import camera_to_lidar
from lidarsim import Parameters, generate_dataset, verify_dataset
from lidarsim.kitti import IMAGE_SIZE, LABEL_RANGE_M
from nuscenes_infos.boxes import points_in_boxes

PARAMETERS = Parameters(scenes=2, val_scenes=1, frames=3, sweeps=0, layout='kitti')


@pytest.fixture(scope='module')
def kitti(tmp_path_factory):
    path = tmp_path_factory.mktemp('kitti') / 'lidarsim_kitti'
    generate_dataset(path, PARAMETERS)
    return path


def frames(root, part='training'):
    return sorted(path.stem for path in (root / part / 'velodyne').iterdir())


def test_splits_share_no_scene_and_the_test_split_has_no_labels(kitti):
    lists = {p.stem: p.read_text().split() for p in (kitti / 'ImageSets').iterdir()}
    assert lists['trainval'] == lists['train'] + lists['val'] == frames(kitti)
    assert lists['test'] == frames(kitti, 'testing')
    scenes = [{int(name) // PARAMETERS.frames for name in lists[s]} for s in ('train', 'val')]
    assert not scenes[0] & scenes[1]
    assert not (kitti / 'testing' / 'label_2').exists()
    assert verify_dataset(kitti, deep=True)['parameters']['layout'] == 'kitti'


def test_boxes_in_the_image_surround_those_in_space(kitti):
    """Through MMDetection3D's corners and projection, which know nothing of ours."""
    compared = 0
    for name in frames(kitti):
        projection = Calibration.read(kitti / 'training' / 'calib' / f'{name}.txt').projections[2]
        for label in read_labels(kitti / 'training' / 'label_2' / f'{name}.txt'):
            if label.name == 'DontCare':
                assert label.location == (-1000,) * 3 and label.occluded == -1
                continue
            x, _, z = label.location
            assert 0 < z <= LABEL_RANGE_M
            turned = (label.alpha - (label.rotation_y - np.arctan2(x, z)) + 1) % (2 * np.pi)
            assert turned == pytest.approx(1, abs=0.02)
            assert all(0 <= p <= q - 1 for p, q in zip(label.bbox, IMAGE_SIZE * 2, strict=True))
            if label.truncated == 0 and z > 5:
                box = CameraInstance3DBoxes(torch.tensor([label.box]))
                corners = points_cam2img(box.corners[0], torch.tensor(projection).float())
                found = [*corners.min(0).values.tolist(), *corners.max(0).values.tolist()]
                # Labels are rounded to a centimetre, and the camera is tilted by half a degree.
                np.testing.assert_allclose(found, label.bbox, atol=720 * 0.06 / z + 0.5)
                compared += 1
    assert compared > 20


def test_points_lie_on_the_objects_that_are_not_hidden(kitti):
    seen = 0
    for name in frames(kitti):
        calibration = Calibration.read(kitti / 'training' / 'calib' / f'{name}.txt')
        file = kitti / 'training' / 'velodyne_reduced' / f'{name}.bin'
        points = np.fromfile(file, np.float32).reshape(-1, 4)
        assert calibration.in_image(points, IMAGE_SIZE).all()
        assert points[:, 3].min() >= 0 and points[:, 3].max() <= 1
        labels = [
            label
            for label in read_labels(kitti / 'training' / 'label_2' / f'{name}.txt')
            if label.name in ('Car', 'Pedestrian', 'Cyclist') and label.location[2] < 20
        ]
        boxes = camera_to_lidar([label.box for label in labels], calibration)
        # Around a box there is air: all points near it are inside, so it is where it was measured.
        wide = boxes + np.array([0, 0, 0, 0.3, 0.3, 0, 0])
        inside, around = points_in_boxes(points, boxes), points_in_boxes(points, wide)
        for label, own, near in zip(labels, inside, around, strict=True):
            if label.occluded == 0 and label.truncated < 0.1 and len(near) > 20:
                assert len(own) > 0.9 * len(near)
                seen += 1
    assert seen > 5


def test_kittis_frames_have_no_sweeps():
    with pytest.raises(ValueError, match='a frame of KITTI is one revolution'):
        replace(PARAMETERS, sweeps=2)
    with pytest.raises(ValueError, match="layout is 'waymo', expected one of"):
        replace(PARAMETERS, layout='waymo')


def test_a_data_set_made_before_there_were_layouts_is_complete(root, parameters, tmp_path):
    copy = tmp_path / 'lidarsim'
    copy.mkdir()
    for path in Path(root).iterdir():
        (copy / path.name).symlink_to(path)
    manifest = json.loads((root / 'lidarsim.json').read_text())
    assert manifest['parameters'].pop('layout') == 'nuscenes'
    (copy / 'lidarsim.json').unlink()
    (copy / 'lidarsim.json').write_text(json.dumps(manifest))
    assert generate_dataset(copy, parameters) is False
