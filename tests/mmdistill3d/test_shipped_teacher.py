"""The teacher that comes with the repository: the file, its note, and what it finds."""

import hashlib
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from lidarsim import Parameters, generate_dataset
from mmdistill.teacher import load_strictly
from mmdistill.utils.checkpoint import load_weights
from tests.mmdistill3d.conftest import CONFIGS

WEIGHTS = CONFIGS / 'bevfusion' / 'bevfusion_lidar_teacher_mini.pth'
CONFIG = WEIGHTS.with_suffix('.py')


def test_the_file_is_small_and_the_one_that_its_note_describes():
    note = json.loads(WEIGHTS.with_suffix('.json').read_text())
    content = WEIGHTS.read_bytes()
    assert len(content) <= 4e6
    assert hashlib.sha256(content).hexdigest() == note['sha256']
    assert {'command', 'commit', 'seed', 'metrics'} <= set(note)
    assert note['finished'] and note['metrics']['mAP'] > 0.9


@pytest.fixture(scope='module')
def frames(tmp_path_factory):
    """Predictions and ground truth of frames that no training has seen: another seed's."""
    root = tmp_path_factory.mktemp('data') / 'lidarsim'
    generate_dataset(root, Parameters(scenes=1, val_scenes=3, frames=3, seed=7))
    init_default_scope('mmdet3d')
    cfg = Config.fromfile(CONFIG)
    model = MODELS.build(cfg.model)
    load_strictly(model, load_weights(str(WEIGHTS))['state_dict'], 'shipped teacher')
    model.eval()
    settings = cfg.val_dataloader.dataset
    settings.update(data_root=str(root))
    data = DATASETS.build(settings)
    with torch.no_grad():
        found = [model.test_step(pseudo_collate([data[i]]))[0] for i in range(len(data))]
    truth = [data.get_data_info(i)['eval_ann_info'] for i in range(len(data))]
    return found, truth, cfg.class_names


def matches(frames, wanted=None, reach_m=1.5):
    """Found and true boxes (N, 2, 9) of objects with some points, and the number of those."""
    found, truth, classes = frames
    pairs, total = [], 0
    for sample, frame in zip(found, truth, strict=True):
        predicted = sample.pred_instances_3d
        sure = predicted.scores_3d > 0.1
        boxes = predicted.bboxes_3d.tensor[sure].numpy()
        labels = predicted.labels_3d[sure].numpy()
        for box, label, num_points in zip(
            frame['gt_bboxes_3d'].tensor.numpy(),
            frame['gt_labels_3d'],
            frame['num_lidar_pts'],
            strict=True,
        ):
            if num_points < 10 or (wanted and classes[label] != wanted):
                continue
            total += 1
            same = boxes[labels == label]
            distance = np.linalg.norm(same[:, :2] - box[:2], axis=1)
            if len(same) and distance.min() < reach_m:
                pairs.append((same[distance.argmin()], box))
    return np.array(pairs).reshape(-1, 2, 9), total


@pytest.mark.slow
def test_it_finds_most_objects_that_have_some_points(frames):
    pairs, total = matches(frames)
    assert total > 50
    assert len(pairs) > 0.9 * total


@pytest.mark.slow
def test_it_sees_front_and_back_of_cars(frames):
    pairs, _ = matches(frames, 'car')
    turned = np.abs(np.angle(np.exp(1j * (pairs[:, 0, 6] - pairs[:, 1, 6]))))
    assert len(pairs) > 20
    assert np.mean(turned > np.pi / 2) < 0.05  # of guesses, half are


@pytest.mark.slow
def test_it_sees_how_fast_and_where_cars_move(frames):
    pairs, _ = matches(frames, 'car')
    found, true = pairs[:, 0, 7:9], pairs[:, 1, 7:9]
    moving = np.linalg.norm(true, axis=1) > 1
    assert moving.sum() > 5
    error = np.linalg.norm(found - true, axis=1)[moving]
    assert np.median(error) < 0.5 * np.median(np.linalg.norm(true[moving], axis=1))
