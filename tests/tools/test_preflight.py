"""The pre-flight check finds what would end a run, says what to do, and goes on checking."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.utils import center_distance
from nuscenes.eval.detection.algo import accumulate, calc_ap
from nuscenes.eval.detection.data_classes import DetectionBox

from lidarsim import Parameters, generate_dataset
from tools._preflight.accuracy import mean_average_precision
from tools.demo import moved_paths
from tools.preflight import preflight

NAMES = ('car', 'truck', 'pedestrian')


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
        if 'teacher' in cfg.model:
            teacher = narrowed(Config.fromfile(cfg.model.teacher.config))
            cfg.model.teacher.update(config=teacher.model, checkpoint=str(teacher_file))
        return cfg

    return read


def narrowed(cfg):
    model = cfg.model.get('student', cfg.model)
    limits = [-12.8, -12.8, -5.0, 12.8, 12.8, 3.0]
    model.data_preprocessor.voxelize_cfg.point_cloud_range = limits
    model.bbox_head.num_proposals = 20
    cfg.point_cloud_range = limits
    return cfg


@pytest.fixture
def check(capsys):
    """``check(cfg)`` -> exit status, verdicts by check, and all that was printed."""

    def run(cfg):
        capsys.readouterr()
        status = preflight(cfg)
        printed = capsys.readouterr().out
        verdicts = {}
        for line in printed.splitlines():
            words = line.split()
            if words and words[0] in ('OK', 'WARNING', 'FAILED', 'SKIPPED'):
                verdicts.setdefault(words[1], []).append(words[0])
        return status, verdicts, printed

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


@pytest.mark.parametrize('works', [True, False])
def test_training_starts_only_after_its_preflight(toy_project, works):
    options = ['train_cfg.max_epochs=1']
    if not works:
        options.append('optim_wrapper.optimizer.lr=-1.0')
    result = toy_project.tool('train.py', 'toy.py', '--preflight', '--cfg-options', *options)
    assert (result.returncode == 0) == works, result.stdout
    assert (toy_project.folder / 'work_dirs' / 'toy' / 'epoch_1.pth').exists() == works
    assert ('the run can start' in result.stdout) == works
    assert ('Invalid learning rate' in result.stdout) != works


def random_frames(seed, count=4):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        truth, found = rng.integers(0, 9, 2)
        xy = rng.uniform(-10, 10, (truth, 2))
        near = np.concatenate([xy + rng.normal(0, 0.7, xy.shape), rng.uniform(-10, 10, (found, 2))])
        labels = rng.integers(0, 3, truth)
        frames.append(
            {
                'truth_xy': xy,
                'truth_labels': labels,
                'xy': near,
                'labels': np.concatenate([labels, rng.integers(0, 3, found)]),
                'scores': rng.permutation(len(near)) / 100 + rng.uniform(0, 0.001),
            }
        )
    return frames


def devkit_boxes(frames, xy, labels, scores):
    boxes = EvalBoxes()
    for number, frame in enumerate(frames):
        values = frame[scores] if scores else -np.ones(len(frame[labels]))
        boxes.add_boxes(
            str(number),
            [
                DetectionBox(
                    sample_token=str(number),
                    translation=(*centre, 0.0),
                    size=(1.0, 1.0, 1.0),
                    rotation=(1.0, 0.0, 0.0, 0.0),
                    detection_name=NAMES[label],
                    detection_score=float(score),
                )
                for centre, label, score in zip(
                    frame[xy].tolist(), frame[labels].tolist(), values, strict=True
                )
            ],
        )
    return boxes


@pytest.mark.parametrize('seed', range(6))
def test_the_accuracy_is_the_devkits(seed):
    frames = random_frames(seed)
    truth = devkit_boxes(frames, 'truth_xy', 'truth_labels', None)
    found = devkit_boxes(frames, 'xy', 'labels', 'scores')
    present = {box.detection_name for box in truth.all}
    expected = [
        calc_ap(accumulate(truth, found, name, center_distance, limit), 0.1, 0.1)
        for name in present
        for limit in (0.5, 1.0, 2.0, 4.0)
    ]
    score, classes = mean_average_precision(frames)
    assert classes == len(present)
    assert score == pytest.approx(np.mean(expected), abs=1e-9)


def test_perfect_predictions_score_one():
    frame = random_frames(0)[0]
    count = len(frame['truth_labels'])
    frame |= {
        'xy': frame['truth_xy'],
        'labels': frame['truth_labels'],
        'scores': np.linspace(0.9, 0.5, count),
    }
    assert mean_average_precision([frame])[0] == pytest.approx(1.0)
