"""What a teacher detects becomes a target once, and nothing that was given is changed."""

import copy
import itertools

import numpy as np
import pytest
import torch
from mmdet3d.structures import CameraInstance3DBoxes, Det3DDataSample, LiDARInstance3DBoxes
from mmengine.registry import MODELS
from mmengine.structures import InstanceData

import mmdistill3d  # noqa: F401  (registers)

NAMES = ['car', 'pedestrian', 'truck']


def build(**config):
    return MODELS.build(dict(type='TeacherLabels', **config))


def boxes(xy, columns=9, yaw=0.0, size=(4.0, 2.0, 1.5)):
    rows = [[*position, -1.0, *size, yaw, 1.0, 2.0][:columns] for position in xy]
    return LiDARInstance3DBoxes(torch.tensor(rows).reshape(-1, columns), box_dim=columns)


def annotated(xy, labels, **extra):
    sample = Det3DDataSample(metainfo=dict(sample_idx=7))
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=boxes(xy), labels_3d=torch.tensor(labels, dtype=torch.long), **extra
    )
    return sample


def predicted(xy, labels, scores, columns=9):
    sample = Det3DDataSample()
    sample.pred_instances_3d = InstanceData(
        bboxes_3d=boxes(xy, columns),
        labels_3d=torch.tensor(labels, dtype=torch.int),
        scores_3d=torch.tensor(scores, dtype=torch.float),
    )
    return sample


def added(config, sample, prediction):
    """Positions and labels of what was added."""
    (new,) = build(**config)([sample], [prediction])
    number = len(sample.gt_instances_3d.labels_3d)
    gt = new.gt_instances_3d
    return gt.bboxes_3d.tensor[number:, :2].tolist(), gt.labels_3d[number:].tolist()


def test_confident_boxes_are_added_behind_the_annotated_and_others_are_not():
    sample = annotated([(0, 0)], [0])
    prediction = predicted([(10, 0), (0, 0.5), (20, 0)], [1, 0, 2], [0.6, 0.9, 0.2])
    (new,) = build(score_thr=0.5)([sample], [prediction])
    assert new.gt_instances_3d.labels_3d.tolist() == [0, 1]
    assert new.gt_instances_3d.labels_3d.dtype == torch.long
    assert isinstance(new.gt_instances_3d.bboxes_3d, LiDARInstance3DBoxes)
    assert torch.equal(
        new.gt_instances_3d.bboxes_3d.tensor[1], prediction.pred_instances_3d.bboxes_3d.tensor[0]
    )
    assert new.sample_idx == 7


def test_what_is_given_is_not_changed():
    sample, prediction = annotated([(0, 0)], [0]), predicted([(9, 0)], [0], [0.9])
    (new,) = build()([sample], [prediction])
    assert len(sample.gt_instances_3d) == 1 and len(new.gt_instances_3d) == 2
    assert 'gt_instances_3d' not in prediction and len(prediction.pred_instances_3d) == 1
    (same,) = build(score_thr=0.95)([sample], [prediction])
    assert same is not sample and same.gt_instances_3d is not sample.gt_instances_3d


@pytest.mark.parametrize('thr', [dict(car=0.8, default=0.3), {0: 0.8, 1: 0.3, 'default': 0.3}])
def test_thresholds_by_name_or_label(thr):
    prediction = predicted([(9, 0), (0, 9)], [0, 1], [0.7, 0.7])
    config = dict(score_thr=thr, classes=NAMES)
    assert added(config, annotated([], []), prediction)[1] == [1]


def test_the_distance_is_that_of_the_candidates_class_to_any_annotation():
    sample = annotated([(0, 0)], [0])
    prediction = predicted([(0, 1), (0, -1)], [1, 2], [0.9, 0.9])
    config = dict(min_distance=dict(pedestrian=0.5, default=2.0), classes=NAMES)
    assert added(config, sample, prediction) == ([[0, 1]], [1])


def test_of_two_candidates_for_one_object_the_higher_score_stays():
    prediction = predicted([(9, 0), (9, 0.5), (9, 3)], [0, 2, 0], [0.6, 0.8, 0.5])
    assert added({}, annotated([], []), prediction) == ([[9, 0.5], [9, 3]], [2, 0])


def test_overlapping_boxes_are_twins_where_an_iou_is_given():
    sample = annotated([(0, 0)], [0])
    prediction = predicted([(1.5, 0)], [0], [0.9])  # IoU 2.5 / 5.5
    assert added(dict(max_iou=0.5), sample, prediction)[1] == [0]
    assert added(dict(max_iou=0.4), sample, prediction)[1] == []


def test_a_cap_keeps_the_highest_scores():
    prediction = predicted([(9, 0), (0, 9), (9, 9)], [0, 1, 2], [0.5, 0.7, 0.6])
    assert added(dict(max_per_frame=2), annotated([], []), prediction)[1] == [1, 2]
    assert added(dict(max_per_frame=0), annotated([], []), prediction)[1] == []


def naive_choice(sample, prediction, score_thr, distance, cap):
    gt, found = sample.gt_instances_3d, prediction.pred_instances_3d
    taken = [tuple(xy) for xy in gt.bboxes_3d.tensor[:, :2].tolist()]
    chosen = []
    order = sorted(range(len(found)), key=lambda i: -found.scores_3d[i])
    for i in order:
        label = int(found.labels_3d[i])
        x, y = found.bboxes_3d.tensor[i, :2].tolist()
        is_near = any((x - a) ** 2 + (y - b) ** 2 < distance[label] ** 2 for a, b in taken)
        if found.scores_3d[i] >= score_thr[label] and not is_near and len(chosen) < cap:
            taken.append((x, y))
            chosen.append(i)
    return chosen


def test_the_choice_is_the_stated_rule():
    rng = np.random.RandomState(0)
    for _ in range(20):
        sample = annotated(rng.uniform(-6, 6, (5, 2)), rng.randint(0, 3, 5).tolist())
        scores = rng.permutation(40) / 40
        prediction = predicted(rng.uniform(-6, 6, (40, 2)), rng.randint(0, 3, 40), scores)
        thr, distance = {0: 0.2, 1: 0.5, 2: 0.4}, {0: 2.0, 1: 0.7, 2: 3.0}
        config = dict(score_thr=thr, min_distance=distance, max_per_frame=6, classes=NAMES)
        chosen = naive_choice(sample, prediction, thr, distance, 6)
        expected = prediction.pred_instances_3d.bboxes_3d.tensor[chosen, :2].tolist()
        assert added(config, sample, prediction)[0] == expected


@pytest.mark.parametrize('columns', [7, 9])
def test_boxes_keep_the_columns_of_the_annotated(columns):
    (new,) = build()([annotated([(0, 0)], [0])], [predicted([(9, 0)], [0], [0.9], columns)])
    box = new.gt_instances_3d.bboxes_3d
    assert box.tensor.shape == (2, 9) and box.box_dim == 9
    assert box.tensor[1, 7:].tolist() == ([0, 0] if columns == 7 else [1, 2])


def test_further_fields_of_the_annotation_are_filled():
    extra = dict(num_points=torch.tensor([5]), ids=np.array([3]), tokens=['a'])
    sample = annotated([(0, 0)], [0], **extra)
    (new,) = build()([sample], [predicted([(9, 0)], [0], [0.9])])
    gt = new.gt_instances_3d
    assert gt.num_points.tolist() == [5, -1] and gt.ids.tolist() == [3, -1]
    assert gt.tokens == ['a', None]


def test_frames_without_boxes_on_either_side():
    for gt, found in itertools.product(([], [(0, 0)]), repeat=2):
        sample = annotated(gt, [0] * len(gt))
        prediction = predicted(found, [0] * len(found), [0.9] * len(found))
        (new,) = build(max_iou=0.5)([sample], [prediction])
        assert len(new.gt_instances_3d) == (1 if gt or found else 0)


def test_batches_classes_and_box_types_that_do_not_fit_are_named():
    sample, prediction = annotated([(0, 0)], [0]), predicted([(9, 0)], [2], [0.9])
    with pytest.raises(ValueError, match='1 samples and 2 predictions'):
        build()([sample], [prediction] * 2)
    with pytest.raises(ValueError, match=r'label 2, and there are 2 classes'):
        build(classes=NAMES[:2])([sample], [prediction])
    camera = predicted([(9, 0)], [0], [0.9])
    del camera.pred_instances_3d.bboxes_3d
    camera.pred_instances_3d.bboxes_3d = CameraInstance3DBoxes(torch.rand(1, 7))
    with pytest.raises(ValueError, match='LiDARInstance3DBoxes, the teacher predicts Camera'):
        build()([sample], [camera])


@pytest.mark.parametrize(
    'thr, message',
    [
        (dict(tram=0.5, default=0.1), "names the class 'tram'"),
        (dict(car=0.5), r"no value for \['pedestrian', 'truck'\]"),
    ],
)
def test_a_wrong_table_of_thresholds_is_refused(thr, message):
    with pytest.raises(ValueError, match=message):
        build(score_thr=thr, classes=NAMES)


class Detector(torch.nn.Module):
    def __init__(self, num_classes, classes=None):
        super().__init__()
        self.bbox_head = torch.nn.Module()
        self.bbox_head.num_classes = num_classes
        if classes is not None:
            self.dataset_meta = dict(classes=classes)


def test_other_numbers_of_classes_that_nobody_names_are_refused_where_the_run_starts():
    with pytest.raises(ValueError, match='the student has 2 classes, the teacher 3'):
        build().bind_classes(Detector(2, ('car', 'truck')), Detector(3))
    with pytest.raises(ValueError, match="given 3 classes: .* the student's head has 2"):
        build(classes=NAMES).bind(Detector(2), Detector(2))
    build().bind_classes(Detector(2), Detector([1, 1]))


def test_a_distiller_refuses_a_teacher_of_other_classes_where_the_run_starts(distill_model):
    distill_model['targets'] = dict(type='TeacherLabels')
    distill_model['teacher']['config'].bbox_head.num_classes = 3
    distiller = MODELS.build(distill_model)
    with pytest.raises(ValueError, match='the student has 10 classes, the teacher 3'):
        distiller.init_weights()


def test_the_teachers_boxes_change_the_students_loss_and_not_the_batch(distill_model, batch):
    losses = []
    for score_thr in (2.0, 0.0):  # none, or the best of a random teacher
        torch.manual_seed(0)
        distill_model['targets'] = dict(type='TeacherLabels', score_thr=score_thr)
        distiller = MODELS.build(distill_model)
        distiller.init_weights()
        distiller.prepare(num_samples=6)
        losses.append(distiller.train()(**copy.deepcopy(batch), mode='loss'))
    assert losses[0]['loss_heatmap'] != losses[1]['loss_heatmap']
    torch.testing.assert_close(
        losses[0]['distill/neck_attention'], losses[1]['distill/neck_attention']
    )
