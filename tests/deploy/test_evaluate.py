"""Accuracy of an export: the same predictions reach the metric as those of torch."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from deploy.evaluate import ExportedDetector, with_export
from lidarsim import Parameters, generate_dataset


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A tiny embedded data set."""
    folder = tmp_path_factory.mktemp('data') / 'lidarsim'
    generate_dataset(folder, Parameters(scenes=1, val_scenes=1, frames=3, sweeps=2))
    return folder


@pytest.fixture
def test_config(student, data, tmp_path):
    """The student's config on that data; its metric writes what it was given."""
    cfg = Config.fromfile(student.config)
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


def test_the_metric_gets_the_boxes_of_torch(student, exported, test_config, tmp_path):
    torch_config = test_config.copy()
    torch_config.load_from = student.checkpoint
    wanted = results_of(torch_config, tmp_path)
    got = results_of(with_export(test_config, exported[0]), tmp_path)
    assert set(got) == set(wanted) and len(wanted) == 3
    for token, boxes in wanted.items():
        assert len(got[token]) == len(boxes) > 20

        def in_order(box):
            return box['detection_name'], *np.round(box['translation'], 2)

        pairs = zip(sorted(boxes, key=in_order), sorted(got[token], key=in_order), strict=True)
        for first, second in pairs:
            assert first['detection_name'] == second['detection_name']
            assert first['attribute_name'] == second['attribute_name']
            np.testing.assert_allclose(first['translation'], second['translation'], atol=2e-2)
            np.testing.assert_allclose(first['size'], second['size'], atol=1e-3)
            assert abs(first['detection_score'] - second['detection_score']) < 1e-4


def test_an_export_for_other_classes_is_refused(exported, test_config):
    test_config.test_dataloader.dataset.metainfo.classes = ['car', 'boat']
    with pytest.raises(ValueError, match='the test data of the config have car, boat'):
        with_export(test_config, exported[0])


def test_an_export_does_not_train(exported):
    with pytest.raises(ValueError, match="no mode 'loss'"):
        ExportedDetector(exported[0]).forward({}, [], mode='loss')
