"""Small detectors and their exports, each made once."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from mmengine.registry import DefaultScope

from deploy import bevfusion
from deploy.bench import untrained
from deploy.check import quiet_options
from deploy.dense import OUTPUTS
from deploy.export import export

REPO = Path(__file__).resolve().parents[2]
CONFIGS = {
    'bevfusion': 'configs/bevfusion/bevfusion_lidar_student_mini.py',
    'centerpoint': 'configs/centerpoint/centerpoint_pillar_mini.py',
    'pointpillars': 'configs/pointpillars/pointpillars_mini.py',
}


def street(number: int, seed: int = 0, reach_m: float = 25.6) -> np.ndarray:
    """A made-up cloud (number, 5): ground, and objects on it, denser near the sensor."""
    rng = np.random.default_rng(seed)
    angle, distance = rng.uniform(-np.pi, np.pi, number), reach_m * rng.uniform(0.1, 1.2, number)
    on_object = rng.uniform(size=number) < 0.4
    points = np.zeros((number, 5), np.float32)
    points[:, 0], points[:, 1] = distance * np.cos(angle), distance * np.sin(angle)
    points[on_object, :2] = points[on_object, :2].round(0) + rng.uniform(
        0, 0.5, (sum(on_object), 2)
    )
    points[:, 2] = -1.8 + 0.05 * rng.standard_normal(number) + on_object * rng.uniform(0, 2, number)
    points[:, 3], points[:, 4] = rng.uniform(0, 255, number), rng.choice([0, 0.05, 0.1], number)
    return points


def make(name: str, folder: Path, seed: int = 0):
    """A detector of a config with random weights, loaded from a checkpoint as users do."""
    config, checkpoint = REPO / CONFIGS[name], folder / f'{name}.pth'
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        detector = untrained(config, street(8000), checkpoint, seed)
        if name == 'pointpillars':  # some scores have to be above the threshold
            head = detector.model.pts_bbox_head
            with torch.no_grad():
                head.conv_cls.weight *= 3
                head.conv_cls.bias.fill_(-3.5)
    return detector


def found(model, float_model, maps, lowest=0.0):
    """Share of the 20 best boxes that have one of their class within half a metre.

    Boxes below the score ``lowest`` are not asked for.
    """
    sessions = [
        onnxruntime.InferenceSession(m.SerializeToString(), quiet_options())
        for m in (float_model, model)
    ]
    hits = []
    for bev in maps:
        wanted, got = (session.run(list(OUTPUTS), {'bev': bev}) for session in sessions)
        (boxes, scores, labels, _), (got_boxes, got_scores, got_labels, _) = wanted, got
        for place in np.argsort(-scores)[:20]:
            if scores[place] >= lowest:
                away = np.hypot(*(got_boxes[:, :2] - boxes[place, :2]).T)
                hits.append((away[(got_labels == labels[place]) & (got_scores > 0)] < 0.5).any())
    return sum(hits) / len(hits)


@pytest.fixture(scope='session')
def clouds():
    """Three clouds of different size."""
    return [street(number, seed) for seed, number in enumerate((8000, 5000, 11000))]


@pytest.fixture(scope='session')
def workplace(tmp_path_factory):
    return tmp_path_factory.mktemp('deploy')


@pytest.fixture(scope='session')
def student(workplace):
    """The mini student of BEVFusion."""
    return make('bevfusion', workplace)


@pytest.fixture(scope='session')
def parts(student):
    """Its sparse and its dense part, each with the tensors of its layers."""
    return bevfusion.sparse_part(student.model), bevfusion.dense_part(student.model)


@pytest.fixture(scope='session')
def exported(student, clouds, workplace):
    """The student's export, checked, and what its meta.json says."""
    folder = workplace / 'bevfusion'
    return folder, export(student, folder, check=clouds)


def _pillar_export(name: str, clouds, workplace):
    detector = make(name, workplace)
    folder = workplace / name
    return detector, folder, export(detector, folder, check=clouds)


@pytest.fixture(scope='session')
def centerpoint(clouds, workplace):
    """CenterPoint with pillars, its export, and what its meta.json says."""
    return _pillar_export('centerpoint', clouds, workplace)


@pytest.fixture(scope='session')
def pointpillars(clouds, workplace):
    """PointPillars, its export, and what its meta.json says."""
    return _pillar_export('pointpillars', clouds, workplace)


@pytest.fixture(params=['centerpoint', 'pointpillars'])
def pillar_export(request):
    """Both, one after the other."""
    return request.getfixturevalue(request.param)
