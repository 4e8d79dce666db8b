"""Training and prediction on one annotated nuScenes frame."""

import copy

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.utils import center_distance
from nuscenes.eval.detection.algo import accumulate, calc_ap
from nuscenes.eval.detection.data_classes import DetectionBox

REPO_CONFIG = 'configs/bevfusion/bevfusion_lidar_teacher.py'


def devkit_boxes(instances, classes):
    boxes = EvalBoxes()
    scores = instances.get('scores_3d', -torch.ones(len(instances.labels_3d)))
    found = []
    for box, label, score in zip(
        instances.bboxes_3d.tensor.tolist(), instances.labels_3d.tolist(), scores, strict=True
    ):
        found.append(
            DetectionBox(
                sample_token='frame',
                translation=tuple(box[:3]),
                size=(box[4], box[3], box[5]),
                rotation=(1.0, 0.0, 0.0, 0.0),
                detection_name=classes[label],
                detection_score=float(score),
            )
        )
    boxes.add_boxes('frame', found)
    return boxes


def mean_ap(truth, found, classes):
    """nuScenes' AP over its four distances, averaged over the classes in the frame."""
    gt, pred = devkit_boxes(truth, classes), devkit_boxes(found, classes)
    names = {box.detection_name for box in gt.all}
    values = [
        calc_ap(accumulate(gt, pred, name, center_distance, limit), 0.1, 0.1)
        for name in names
        for limit in (0.5, 1.0, 2.0, 4.0)
    ]
    return sum(values) / len(values)


def test_published_size_trains_and_predicts(real_frame, request):
    cfg = Config.fromfile(request.config.rootpath / REPO_CONFIG)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    points, truth = real_frame(54.0)
    assert len(truth.gt_instances_3d) > 40
    losses = model.loss({'points': [points]}, [truth])
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    for layer in (
        model.bbox_head.heatmap_head[-1],
        model.bbox_head.prediction_heads[0].heatmap[-1],
    ):
        assert (layer.weight.grad.flatten(1).abs().sum(dim=1) > 0).all()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    with torch.no_grad():
        found = model.eval().predict({'points': [points]}, [truth])[0].pred_instances_3d
    assert 0 < len(found) <= 200
    assert torch.isfinite(found.bboxes_3d.tensor).all()


@pytest.mark.slow
def test_small_network_learns_the_frame_by_heart(real_frame, mini_cfg, build, class_names):
    reach, iterations = 38.4, 200
    points, truth = real_frame(reach)
    model = build(mini_cfg(range_xy_m=(reach, reach), widths=(16, 24, 32), channels=64,
                           proposals=150))  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=iterations)
    model.train()
    for _ in range(iterations):
        losses = model.loss({'points': [points]}, [truth])
        optimizer.zero_grad()
        sum(v for k, v in losses.items() if 'loss' in k).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        result = model.eval().predict({'points': [points]}, [copy.deepcopy(truth)])[0]
    score = mean_ap(truth.gt_instances_3d, result.pred_instances_3d, class_names)
    print(f'mAP on the frame: {score:.3f}')
    assert score > 0.5
