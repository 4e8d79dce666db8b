"""KITTI from start to end: pairs that train and are evaluated, the official rules, a real frame."""

import copy
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.evaluation import kitti_eval
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from kitti_infos import CLASSES
from lidarsim import Parameters, generate_dataset
from mmdistill.apis.config import moved_paths
from tests.mmdistill3d.conftest import load

REAL = Path('../shared/data/kitti')
CAR = dict(dimensions=[3.9, 1.6, 1.7], location=[0.0, 1.7, 20.0])


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Four training frames and two others of the embedded data set in KITTI's form."""
    path = tmp_path_factory.mktemp('kitti') / 'lidarsim_kitti'
    generate_dataset(
        path, Parameters(scenes=2, val_scenes=1, frames=2, sweeps=0, azimuths=270, layout='kitti')
    )
    return str(path)


def on(cfg, root):
    """The config with its data set elsewhere, and a random teacher."""
    cfg.merge_from_dict(moved_paths(cfg.to_dict(), cfg.data_root.rstrip('/'), root))
    if 'teacher' in cfg.model:
        cfg.model.teacher.update(checkpoint=None, allow_random_weights=True)
    return cfg


@pytest.mark.parametrize('name', ['pointpillars', 'second'])
def test_a_pair_trains_and_is_evaluated_without_cuda(name, root, tmp_path):
    cfg = on(load(f'distill/{name}_best_kitti_mini.py'), root)
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path),
            'log_level': 'WARNING',
            'train_cfg.max_epochs': 1,
            'train_cfg.val_interval': 1,
            'param_scheduler.0.total_steps': 1,
            'default_hooks.checkpoint.interval': -1,
        }
    )
    cfg.custom_hooks = [h for h in cfg.custom_hooks if h['type'] != 'StudentCheckpointHook']
    cfg.experiment_name = f'{name}_kitti'
    runner = Runner.from_cfg(cfg)
    runner.train()
    log = runner.message_hub.log_scalars
    losses = [log[f'train/distill/{link}'].current() for link in ('head_kd', 'neck_feature')]
    assert all(np.isfinite(value) and value > 0 for value in losses)
    found = {key.rsplit('/', 1)[-1] for key in log if key.startswith('val/')}
    assert {f'{c}_3D_AP40_moderate_strict' for c in ('Car', 'Pedestrian', 'Cyclist')} <= found
    assert 'Overall_3D_AP40_moderate' in found


def test_a_teacher_that_writes_into_its_voxels_leaves_the_students_alone(root):
    """PillarFeatureNet as published moves the points that it reads to their pillar's centre."""
    cfg = on(load('distill/pointpillars_best_kitti_mini.py'), root)
    cfg.model.student = Config.fromfile(cfg.model.student.config).model
    cfg.model.teacher.config = Config.fromfile(cfg.model.teacher.config).model
    for model in (cfg.model.student, cfg.model.teacher.config):
        model.voxel_encoder.legacy = True
    torch.manual_seed(0)
    distiller = MODELS.build(cfg.model)
    distiller.init_weights()
    distiller.train()
    data = pseudo_collate([DATASETS.build(cfg.train_dataloader.dataset)[0]])
    plain = distiller.student(**distiller.data_preprocessor(copy.deepcopy(data), True), mode='loss')
    taught = distiller(**distiller.data_preprocessor(copy.deepcopy(data), True), mode='loss')
    for name, value in plain.items():
        torch.testing.assert_close(taught[name], value)


@pytest.fixture
def real_frame(repository, tmp_path, monkeypatch):
    """A data set of the one frame that MMDetection3D's demo has, for both splits."""
    monkeypatch.chdir(repository)
    if not (REAL / '000008.bin').is_file():
        pytest.skip(f'no real frame in {REAL.absolute()}')
    infos = pickle.loads((REAL / '000008.pkl').read_bytes())
    categories = {name: number for number, name in enumerate(CLASSES)} | {'DontCare': -1}
    infos['data_list'][0]['sample_idx'] = infos['data_list'][0].pop('sample_id')
    infos['metainfo'] = dict(categories=categories, dataset='kitti', info_version='1.1')
    clouds = tmp_path / 'training' / 'velodyne_reduced'
    clouds.mkdir(parents=True)
    shutil.copy(REAL / '000008.bin', clouds)
    for split in ('train', 'val'):
        (tmp_path / f'kitti_infos_{split}.pkl').write_bytes(pickle.dumps(infos))
    return str(tmp_path)


def test_the_real_frame_is_learnt_from_predicted_and_evaluated(real_frame):
    """The full-size pair; and KITTI's metric of what is annotated, as if it had been predicted.

    Of six cars, one is easy and three more are moderate, so there are 1 and 4 recalls: the first
    counts in R11 (100 / 11) and not in R40, of which three remain (100 * 3 / 40).
    """
    cfg = on(load('distill/pointpillars_best_kitti.py'), real_frame)
    frame = cfg.train_dataloader.dataset.dataset
    frame.pipeline = [step for step in frame.pipeline if step['type'] != 'ObjectSample']
    torch.manual_seed(0)
    sample = DATASETS.build(frame)[0]
    assert sample['data_samples'].gt_instances_3d.labels_3d.tolist().count(2) >= 4
    distiller = MODELS.build(cfg.model)
    distiller.init_weights()
    distiller.train()
    data = distiller.data_preprocessor(pseudo_collate([sample]), True)
    total, losses = distiller.parse_losses(distiller(**data, mode='loss'))
    total.backward()
    assert losses['distill/head_kd'] > 0 and losses['distill/neck_feature'] > 0
    gradients = [p.grad for p in distiller.student.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)

    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    distiller.eval()
    with torch.no_grad():
        (result,) = distiller.val_step(pseudo_collate([dataset[0]]))
    assert result.pred_instances_3d.bboxes_3d.tensor.shape[1] == 7
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [result.to_dict()])
    assert metric.evaluate(1)

    truth = dataset.get_ann_info(0)
    count = len(truth['gt_labels_3d'])
    result.pred_instances_3d = InstanceData(
        bboxes_3d=truth['gt_bboxes_3d'],
        labels_3d=torch.as_tensor(truth['gt_labels_3d']),
        scores_3d=0.9 - 0.1 * torch.arange(count),
    )
    metric.process({}, [result.to_dict()])
    found = {key.rsplit('/', 1)[-1]: value for key, value in metric.evaluate(1).items()}
    for kind in ('3D', 'BEV'):
        assert found[f'Car_{kind}_AP11_easy_strict'] == pytest.approx(100 / 11, abs=0.01)
        assert found[f'Car_{kind}_AP11_moderate_strict'] == pytest.approx(100 / 11, abs=0.01)
        assert found[f'Car_{kind}_AP40_easy_strict'] == 0
        assert found[f'Car_{kind}_AP40_moderate_strict'] == pytest.approx(7.5, abs=0.01)
        assert found[f'Car_{kind}_AP40_hard_strict'] == pytest.approx(7.5, abs=0.01)


def annotations(count, shift=0.0, score=None, **changes):
    """Frames with one car each, ``shift`` metres along its length from where it is."""
    frames = []
    for number in range(count):
        location = np.array([CAR['location']]) + [[shift, 0, 0]]
        frame = dict(
            name=np.array(['Car']),
            truncated=np.zeros(1),
            occluded=np.zeros(1, int),
            alpha=np.zeros(1),
            bbox=np.array([[100.0, 100, 200, 150]]),
            dimensions=np.array([CAR['dimensions']]),
            location=location,
            rotation_y=np.zeros(1),
            score=np.array([1 - number / 1000 if score is None else score]),
        )
        frames.append({**frame, **changes})
    return frames


def car_ap(truth, found, name='3D_AP40_moderate_strict'):
    kinds = ['bbox', 'bev', '3d']
    return kitti_eval(truth, found, ['Car'], eval_types=kinds)[1][f'KITTI/Car_{name}']


def test_average_precision_follows_kittis_rules():
    """Worked out by hand: 41 recalls, of which R40 leaves out the first; a car overlaps by 0.7.

    Of n objects that are all found, each gives one threshold of recall k / n, so 100 objects give
    all 41, and 40 objects 40. A length of 3.9 m, moved by d, overlaps by (3.9 - d) / (3.9 + d).
    """
    assert car_ap(annotations(100), annotations(100)) == pytest.approx(100)
    assert car_ap(annotations(40), annotations(40)) == pytest.approx(100 * 39 / 40)
    none = {key: value[:0] for key, value in annotations(1)[0].items()}
    half = annotations(50) + [none] * 50
    assert car_ap(annotations(100), half) == pytest.approx(50, abs=2.5)  # to one recall of 40
    # 0.6 m: 0.733; 0.75 m: 0.677; loosely, 0.5 is enough.
    assert car_ap(annotations(100), annotations(100, shift=0.6)) == pytest.approx(100)
    assert car_ap(annotations(100), annotations(100, shift=0.75)) == 0
    loosely = '3D_AP40_moderate_loose'
    assert car_ap(annotations(100), annotations(100, shift=0.75), loosely) == pytest.approx(100)
    # A false car as sure as the true one halves precision; one beside a Van counts nothing.
    double = [
        {key: np.concatenate([value, other[key]]) for key, value in frame.items()}
        for frame, other in zip(annotations(100), annotations(100, shift=9.0), strict=True)
    ]
    assert car_ap(annotations(100), double) == pytest.approx(50)
    vans = [
        {
            key: np.concatenate([value, np.array(['Van']) if key == 'name' else other[key]])
            for key, value in frame.items()
        }
        for frame, other in zip(annotations(100), annotations(100, shift=9.0), strict=True)
    ]
    assert car_ap(vans, double) == pytest.approx(100)
    # What is hard is not counted among the moderate ones, nor held against them.
    hidden = annotations(100, occluded=np.full(1, 2))
    assert car_ap(hidden, annotations(100)) == 0
    assert car_ap(hidden, annotations(100), '3D_AP40_hard_strict') == pytest.approx(100)
