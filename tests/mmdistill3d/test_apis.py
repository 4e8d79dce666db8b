"""MMDetection3D's inference API takes a distillation config as it takes the plain student's."""

import numpy as np
import pytest
import torch
from mmdet3d.apis import LidarDet3DInferencer, inference_detector, init_model
from mmengine.registry import MODELS

from mmdistill.checkpoints import student_part
from tests.mmdistill3d.conftest import CONFIGS, load

DISTILL = 'distill/bevfusion_crd_mini.py'
PLAIN = 'bevfusion/bevfusion_lidar_student_mini.py'


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A cloud, and a trained student as a distillation run saves it: for resuming, and alone."""
    monkeypatch.chdir(CONFIGS.parent)
    config = load(DISTILL)
    distiller = MODELS.build(config.model)
    distiller.student.init_weights()
    meta = dict(dataset_meta=dict(classes=config.class_names))
    for name, state in (
        ('epoch_1', distiller.state_dict()),
        ('epoch_1_student', student_part(distiller.state_dict())),
    ):
        torch.save(dict(meta=meta, state_dict=state), tmp_path / f'{name}.pth')
    rng = np.random.RandomState(0)
    cloud = rng.uniform([-20, -20, -3, 0, 0], [20, 20, 1, 1, 0.4], (3000, 5))
    cloud.astype(np.float32).tofile(tmp_path / 'cloud.bin')
    return tmp_path


def test_the_inference_api_finds_the_same_with_either_file_and_config(files):
    cloud = str(files / 'cloud.bin')
    boxes, scores = [], []
    for config, name in (
        (DISTILL, 'epoch_1'),
        (DISTILL, 'epoch_1_student'),
        (PLAIN, 'epoch_1_student'),
    ):
        weights = str(files / f'{name}.pth')
        model = init_model(str(CONFIGS / config), weights, device='cpu')
        found = inference_detector(model, cloud)[0].pred_instances_3d
        boxes.append(found.bboxes_3d.tensor)
        inferencer = LidarDet3DInferencer(str(CONFIGS / config), weights, device='cpu')
        (prediction,) = inferencer(dict(points=cloud))['predictions']
        scores += [found.scores_3d, torch.tensor(prediction['scores_3d'])]
    assert len(boxes[0]) and all(torch.equal(box, boxes[0]) for box in boxes)
    assert all(torch.equal(score, scores[0]) for score in scores)
