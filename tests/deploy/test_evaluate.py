"""Accuracy of an export: the same predictions reach the metric as those of torch."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from nuscenes.eval.detection.constants import DETECTION_NAMES

from deploy.check import quiet_options
from deploy.evaluate import ExportedDetector, with_export
from deploy.export import export
from deploy.frames import clouds_of_config
from deploy.loading import load_detector
from deploy.precision import quantised
from lidarsim import Parameters, generate_dataset
from tests.deploy.conftest import REPO, found, street

TEACHER = REPO / 'configs/bevfusion/bevfusion_lidar_teacher_mini.py'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A tiny embedded data set."""
    folder = tmp_path_factory.mktemp('data') / 'lidarsim'
    generate_dataset(folder, Parameters(scenes=1, val_scenes=1, frames=3, sweeps=2))
    return folder


@pytest.fixture(scope='module')
def teacher():
    """The trained detector that ships: unlike random weights, it scores no two cells alike."""
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        return load_detector(TEACHER, TEACHER.with_suffix('.pth'))


@pytest.fixture(scope='module')
def exported(teacher, tmp_path_factory):
    """Its export, of two files."""
    folder = tmp_path_factory.mktemp('export') / 'teacher'
    return folder, export(teacher, folder, form='split', check=[street(20000)])


@pytest.fixture
def test_config(data, tmp_path):
    """Its config on that data; its metric writes what it was given."""
    cfg = Config.fromfile(TEACHER)
    cfg.test_dataloader.dataset.data_root = f'{data}/'
    cfg.test_evaluator.update(
        data_root=f'{data}/',
        ann_file=f'{data}/nuscenes_infos_val.pkl',
        jsonfile_prefix=str(tmp_path / 'results'),
        format_only=True,
    )
    cfg.work_dir, cfg.launcher = str(tmp_path / 'work'), 'none'
    return cfg


def results_of(cfg, tmp_path):
    Runner.from_cfg(cfg).test()
    file = tmp_path / 'results' / 'pred_instances_3d' / 'results_nusc.json'
    found = json.loads(file.read_text())['results']
    file.unlink()
    return found


def test_the_metric_gets_the_boxes_of_torch(exported, test_config, tmp_path):
    torch_config = test_config.copy()
    torch_config.load_from = str(TEACHER.with_suffix('.pth'))
    wanted = results_of(torch_config, tmp_path)
    got = results_of(with_export(test_config, exported[0]), tmp_path)
    assert set(got) == set(wanted) and len(wanted) == 3
    for token, boxes in wanted.items():
        assert len(got[token]) == len(boxes) > 20
        first, second = numbers_of(boxes), numbers_of(got[token])
        apart = np.abs(first[:, None] - second[None]).max(axis=2)
        assert apart.min(axis=1).max() < 1e-3 and apart.min(axis=0).max() < 1e-3


def numbers_of(boxes):
    """Class, place, size, velocity and score of each box, in numbers."""
    names = sorted(DETECTION_NAMES)
    return np.array(
        [
            [
                names.index(box['detection_name']),
                *box['translation'],
                *box['size'],
                *box['velocity'],
                box['detection_score'],
            ]
            for box in boxes
        ]
    )


def test_int8_finds_what_the_trained_detector_finds(exported, test_config, data):
    sparse, dense = (onnx.load(exported[0] / name) for name in ('sparse.onnx', 'dense.onnx'))
    session = onnxruntime.InferenceSession(sparse.SerializeToString(), quiet_options())
    calibration, maps = (
        [session.run(['bev'], {'points': cloud})[0] for cloud in clouds]
        for clouds in (
            clouds_of_config(test_config, 3, of_training=True),
            clouds_of_config(test_config, 3),
        )
    )
    model = quantised(dense, [{'bev': bev} for bev in calibration])
    assert found(model, dense, maps, lowest=0.1) > 0.95


def test_an_export_for_other_classes_is_refused(exported, test_config):
    test_config.test_dataloader.dataset.metainfo.classes = ['car', 'boat']
    with pytest.raises(ValueError, match='the test data of the config have car, boat'):
        with_export(test_config, exported[0])


def test_an_export_does_not_train(exported):
    with pytest.raises(ValueError, match="no mode 'loss'"):
        ExportedDetector(exported[0]).forward({}, [], mode='loss')
