"""The pre-flight check finds what would end a run, says what to do, and goes on checking."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from lidarsim import Parameters, generate_dataset
from mmdistill import read_student_config
from mmdistill.apis import moved_paths
from mmdistill.apis.preflight import Verdict, preflight
from mmdistill3d.apis.preflight import mean_average_precision
from tests.mmdistill3d.conftest import link_all


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('preflight') / 'lidarsim'
    generate_dataset(root, Parameters(scenes=1, val_scenes=1, frames=2, sweeps=2, azimuths=180))
    return root


@pytest.fixture(scope='module')
def teacher_file(tmp_path_factory, repository):
    cfg = narrowed(
        Config.fromfile(repository / 'configs/bevfusion/bevfusion_lidar_teacher_mini.py')
    )
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, path)
    return path


@pytest.fixture
def config(repository, data, teacher_file, monkeypatch):
    """``config(name)`` -> a mini config on the small data set, with half the range."""
    monkeypatch.chdir(repository)
    init_default_scope('mmdet3d')

    def read(name='distill/bevfusion_crd_mini.py'):
        cfg = narrowed(Config.fromfile(f'configs/{name}'))
        cfg.merge_from_dict(moved_paths(cfg.to_dict(), 'data/lidarsim', str(data)))
        if 'links' in cfg.model:
            link_all(cfg.model)
        if 'teacher' in cfg.model:
            teacher = narrowed(Config.fromfile(cfg.model.teacher.config))
            cfg.model.teacher.update(config=teacher.model, checkpoint=str(teacher_file))
        return cfg

    return read


def narrowed(cfg):
    if 'student' in cfg.model:
        cfg.model.student = read_student_config(cfg.model.student).model
    model = cfg.model.get('student', cfg.model)
    limits = [-12.8, -12.8, -5.0, 12.8, 12.8, 3.0]
    model.data_preprocessor.voxelize_cfg.point_cloud_range = limits
    model.bbox_head.num_proposals = 20
    cfg.point_cloud_range = limits
    return cfg


@pytest.fixture
def check():
    """``check(cfg)`` -> exit status, verdicts by check, and all that would be printed."""

    def run(cfg):
        found = list(preflight(cfg))
        verdicts = {}
        for name, finding in found:
            verdicts.setdefault(name, []).append(finding.verdict.value)
        failed = any(finding.verdict is Verdict.FAILED for _, finding in found)
        return int(failed), verdicts, '\n'.join(finding.as_text(name) for name, finding in found)

    return run


def test_a_run_that_works_passes_and_an_untrained_teacher_is_noticed(config, check):
    cfg = config()
    status, verdicts, printed = check(cfg)
    assert status == 0, printed
    assert verdicts.pop('accuracy') == ['WARNING']
    assert 'mAP 0.0' in printed
    assert set(verdicts) == {'data', 'samples', 'model', 'teacher', 'parts', 'step', 'cost'}
    assert {verdict for some in verdicts.values() for verdict in some} == {'OK'}
    for link in ('neck_crd', 'neck_attention', 'neck_feature'):
        assert f'link {link}: pts_neck[0] <- pts_neck[0]' in printed
    assert '5 steps on one device' in printed  # 2 frames in one batch, 5 epochs


def test_a_plain_detector_is_checked_without_teacher(config, check):
    status, verdicts, printed = check(config('bevfusion/bevfusion_lidar_student_mini.py'))
    assert status == 0, printed
    assert set(verdicts) == {'data', 'samples', 'model', 'parts', 'step', 'cost'}


def test_without_data_and_teacher_all_the_rest_is_checked(config, check, tmp_path):
    cfg = config()
    cfg.merge_from_dict(moved_paths(cfg.to_dict(), cfg.data_root.rstrip('/'), 'data/nuscenes_gone'))
    cfg.model.teacher.checkpoint = 'gone/epoch_1.pth'
    status, verdicts, printed = check(cfg)
    assert status == 1
    assert verdicts['data'] == ['FAILED', 'FAILED']
    assert 'tools/create_data.py nuscenes --root-path data/nuscenes_gone' in printed
    assert verdicts['teacher'] == ['FAILED']
    assert "'gone/epoch_1.pth' does not exist" in printed
    assert verdicts['samples'] == verdicts['accuracy'] == ['SKIPPED']
    assert verdicts['step'] == ['OK'] * 4
    assert 'made-up batch' in printed


def test_weights_that_do_not_fit_the_teacher_are_listed(config, check, tmp_path):
    cfg = config()
    weights = torch.load(cfg.model.teacher.checkpoint)
    weights['state_dict']['pts_neck.other'] = weights['state_dict'].pop(
        'pts_neck.deblocks.0.0.weight'
    )
    torch.save(weights, tmp_path / 'other.pth')
    cfg.model.teacher.checkpoint = str(tmp_path / 'other.pth')
    status, verdicts, printed = check(cfg)
    assert status == 1
    assert verdicts['teacher'] == ['FAILED']
    assert 'pts_neck.deblocks.0.0.weight' in printed
    assert verdicts['step'] == ['OK'] * 4


def test_a_missing_point_file_is_found_and_named(config, check, data):
    cfg = config('bevfusion/bevfusion_lidar_student_mini.py')
    dataset = copy.deepcopy(cfg.val_dataloader.dataset)
    dataset.data_prefix.pts = 'samples/ELSEWHERE'
    cfg.val_dataloader.dataset = dataset
    status, verdicts, printed = check(cfg)
    assert status == 1
    assert verdicts['samples'] == ['OK', 'FAILED']
    assert 'val: sample 0 does not load' in printed
    assert 'ELSEWHERE' in printed
    assert verdicts['step'] == ['OK']


def test_a_loss_that_is_not_finite_is_named(config, check):
    cfg = config()
    cfg.model.links.neck_attention.loss.loss_weight = float('inf')
    status, verdicts, printed = check(cfg)
    assert status == 1
    assert verdicts['step'] == ['FAILED']
    assert 'losses that are not finite: distill/neck_attention' in printed


def test_a_link_that_sets_in_later_is_checked_too(config, check):
    cfg = config()
    cfg.model.links.neck_feature.schedule = dict(kind='constant', begin=2)
    status, _, printed = check(cfg)
    assert status == 0, printed
    assert 'at epoch 3' in printed
    assert printed.count('link neck_crd') == 2
    assert printed.count('link neck_feature') == 1


def test_a_distiller_without_its_hook_is_found(config, check):
    cfg = config()
    cfg.custom_hooks = []
    status, verdicts, printed = check(cfg)
    assert status == 1
    assert 'FAILED' in verdicts['parts']
    assert 'DistillHook' in printed


def test_a_version_that_the_metric_would_not_find_is_noticed(config, check):
    cfg = config('bevfusion/bevfusion_lidar_student_mini.py')
    cfg.val_dataloader.dataset = copy.deepcopy(cfg.val_dataloader.dataset)
    cfg.val_dataloader.dataset.metainfo.version = 'v1.0-mini'
    status, verdicts, printed = check(cfg)
    assert status == 1
    assert 'FAILED' in verdicts['parts']
    assert 'has v1.0-trainval' in printed
    assert 'val_dataloader.dataset.metainfo.version=VERSION' in printed


def test_a_config_that_does_not_build_is_one_line(config, check):
    cfg = config()
    cfg.model.links.neck_crd.teacher = 'pts_neck.deblock'
    status, verdicts, printed = check(cfg)
    assert status == 1
    assert verdicts['model'] == ['FAILED']
    assert 'pts_neck.deblocks' in printed
    assert verdicts['step'] == ['SKIPPED']


def frame(truth, found, scores):
    return {
        'truth_xy': np.array(truth, float),
        'truth_labels': np.zeros(len(truth), int),
        'xy': np.array(found, float),
        'labels': np.zeros(len(found), int),
        'scores': np.array(scores, float),
    }


def test_perfect_predictions_score_one_and_none_score_nothing():
    boxes = [[0, 0], [10, 0], [0, 10]]
    score, classes = mean_average_precision([frame(boxes, boxes, [0.9, 0.8, 0.7])])
    assert (score, classes) == (pytest.approx(1.0), 1)
    assert mean_average_precision([frame(boxes, np.zeros((0, 2)), [])])[0] == 0.0


def test_a_prediction_counts_at_the_distances_at_which_it_is_near_enough():
    # 1.5 m off: a hit at 2 and 4 m, none at 0.5 and 1 m.
    assert mean_average_precision([frame([[0, 0]], [[1.5, 0]], [0.5])])[0] == pytest.approx(0.5)


def test_classes_are_matched_apart():
    mixed = frame([[0, 0], [10, 0]], [[0, 0], [10, 0]], [0.5, 0.4])
    mixed['truth_labels'][1] = 12  # of a data set with more classes than nuScenes
    mixed['labels'][1] = 3
    assert mean_average_precision([mixed]) == (pytest.approx(0.5), 2)
