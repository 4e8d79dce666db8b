"""A teacher with other classes, or another order of them, teaches the right ones."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import nn

from mmdistill.inherit import inherit
from mmdistill.reading import Layer, build_recorder
from mmdistill3d import Det3DInitHook
from tests.mmdistill3d.conftest import load
from tests.mmdistill3d.losses.samples import sample_of

STUDENT, TEACHER = ('car', 'cyclist', 'person'), ('person', 'car', 'truck', 'cyclist')
ORDER = [1, 3, 0]  # the teacher's label of each of the student's
RANGE = [-4.0, -5.0, -5.0, 4.0, 5.0, 3.0]


def named(names, model=None):
    model = nn.Module() if model is None else model
    model.dataset_meta = dict(classes=names)
    return model


# ------------------------------------------------------------------ losses
@pytest.fixture
def samples():
    boxes = [[1.0, 2, -1, 4, 2, 1.5, 0, 0, 0], [-2.0, -3, -1, 1, 1, 1.5, 0, 0, 0]]
    return [sample_of(boxes, [0, 2]), sample_of([], [])]


def heatmap_loss(student, teacher):
    loss = MODELS.build(dict(type='HeatmapKDLoss', point_cloud_range=RANGE, axes='xy'))
    loss.bind_classes(named(student), named(teacher))
    return loss


def test_a_heatmap_is_taught_by_the_map_of_the_same_class(samples):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 8, 10), torch.randn(2, 4, 8, 10)
    plain = heatmap_loss(STUDENT, STUDENT)
    expected = plain(student, teacher[:, ORDER], data_samples=samples)
    actual = heatmap_loss(STUDENT, TEACHER)(student, teacher, data_samples=samples)
    assert torch.equal(actual, expected)
    as_they_stand = plain(student, teacher[:, :3], data_samples=samples)
    assert not torch.isclose(as_they_stand, expected)


def test_a_class_that_the_teacher_does_not_know_has_no_weight(samples):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 8, 10, requires_grad=True), torch.randn(2, 2, 8, 10)
    heatmap_loss(STUDENT, ('person', 'car'))(student, teacher, data_samples=samples).backward()
    assert student.grad[:, 1].abs().max() == 0
    assert student.grad[:, 0].abs().max() > 0


def test_numbered_classes_are_not_joined_by_name():
    loss = MODELS.build(
        dict(type='HeatmapKDLoss', point_cloud_range=RANGE, axes='xy', classes=[0, 1, 2])
    )
    with pytest.raises(ValueError, match=r"needs one list .*'cyclist'.*'truck'"):
        loss.bind_classes(named(STUDENT), named(TEACHER))


def test_teacher_labels_are_the_students_and_unknown_classes_are_left_out():
    from mmdet3d.structures import LiDARInstance3DBoxes

    boxes = torch.zeros(3, 9)
    boxes[:, 0], boxes[:, 3:6] = torch.tensor([5.0, 10, 15]), 2.0
    prediction = sample_of([], [])
    prediction.pred_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9),
        scores_3d=torch.tensor([0.9, 0.8, 0.7]),
        labels_3d=torch.tensor([0, 2, 3]),  # person, truck, cyclist
    )
    targets = MODELS.build(dict(type='TeacherLabels'))
    targets.bind(named(STUDENT), named(TEACHER))
    (extended,) = targets([sample_of([], [])], [prediction])
    found = extended.gt_instances_3d
    assert found.labels_3d.tolist() == [2, 1]
    assert found.bboxes_3d.tensor[:, 0].tolist() == [5, 15]
    with pytest.raises(ValueError, match="it takes the student's"):
        MODELS.build(dict(type='TeacherLabels', classes=TEACHER)).bind(
            named(STUDENT), named(TEACHER)
        )


# ------------------------------------------------------------------ weights
def permuted(names):
    return (*names[3:], *names[:3])


@pytest.fixture
def bevfusion():
    """A pair of equal detectors whose data sets name ten classes in two orders."""
    config = load('bevfusion/bevfusion_lidar_student_mini.py')
    torch.manual_seed(0)
    student, teacher = (MODELS.build(copy.deepcopy(config.model)) for _ in range(2))
    for model in (student, teacher):
        model.init_weights()
    names = tuple(config.class_names)
    return named(names, student), named(permuted(names), teacher)


def start(student, teacher):
    return inherit(student, teacher, **Det3DInitHook().correspondence(student, teacher))


def test_class_rows_of_a_transfusion_head_are_inherited_by_name(bevfusion):
    student, teacher = bevfusion
    report = start(student, teacher)
    assert report.left() == {}
    order = [teacher.dataset_meta['classes'].index(n) for n in student.dataset_meta['classes']]
    mine, theirs = student.bbox_head, teacher.bbox_head
    for branch in ('heatmap_head', 'prediction_heads.0.heatmap'):
        rows = mine.get_submodule(branch)[-1].weight, theirs.get_submodule(branch)[-1].weight
        assert torch.equal(rows[0], rows[1][order])
        assert not torch.equal(rows[0], rows[1])
    assert torch.equal(mine.class_encoding.weight, theirs.class_encoding.weight[:, order])


def test_classes_without_a_namesake_keep_the_students_rows(bevfusion):
    student, teacher = bevfusion
    before = student.bbox_head.heatmap_head[-1].weight.clone()
    teacher.dataset_meta = dict(classes=('unicorn', *teacher.dataset_meta['classes'][1:]))
    lost = permuted(student.dataset_meta['classes'])[0]
    own = student.dataset_meta['classes'].index(lost)
    start(student, teacher)
    after = student.bbox_head.heatmap_head[-1].weight
    assert torch.equal(after[own], before[own])
    assert not torch.equal(after, before)


def test_class_rows_are_left_out_and_reported_where_names_are_not_known(bevfusion):
    student, teacher = bevfusion
    teacher.dataset_meta = None
    before = student.bbox_head.class_encoding.weight.clone()
    left = start(student, teacher).left()
    assert torch.equal(student.bbox_head.class_encoding.weight, before)
    assert 'names of one side are not known' in left['bbox_head.class_encoding.weight']
    assert 'bbox_head.heatmap_head.1.weight' in left
    assert 'pts_neck.deblocks.0.0.weight' not in left


def center_pair(**changes):
    model = load('centerpoint/centerpoint_pillar_mini.py').model
    torch.manual_seed(0)
    student = MODELS.build(copy.deepcopy(model))
    tasks = model.pts_bbox_head.tasks
    model.pts_bbox_head.tasks = changes.get('tasks', [*tasks[2:], *tasks[:2]])
    return student, MODELS.build(model)


def test_tasks_of_a_centre_head_are_inherited_by_the_names_of_their_classes():
    student, teacher = center_pair()
    start(student, teacher)
    heads = student.pts_bbox_head.task_heads, teacher.pts_bbox_head.task_heads
    for mine, theirs in ((0, 4), (1, 5), (2, 0)):
        ours = heads[0][mine].state_dict()
        assert all(torch.equal(ours[k], v) for k, v in heads[1][theirs].state_dict().items())


def test_a_centre_head_is_taught_by_the_tasks_of_the_same_classes():
    student, teacher = center_pair()
    torch.manual_seed(1)
    outputs = [
        [head(torch.randn(1, 32, 64, 64)) for head in model.pts_bbox_head.task_heads]
        for model in (student, teacher)
    ]
    samples = [sample_of([[1.0, 2, -1, 4, 2, 1.5, 0, 0, 0]], [0])]
    loss = MODELS.build(dict(type='CenterHeadKDLoss'))
    layers = [
        Layer(build_recorder('pts_bbox_head'), m, axes='yx', range=RANGE)
        for m in (student, teacher)
    ]
    loss.bind(*layers)
    actual = loss(*([[task] for task in side] for side in outputs), data_samples=samples)
    plain = MODELS.build(dict(type='CenterHeadKDLoss', point_cloud_range=RANGE, axes='yx'))
    in_my_order = [*outputs[1][4:], *outputs[1][:4]]
    expected = plain(
        [[task] for task in outputs[0]], [[task] for task in in_my_order], data_samples=samples
    )
    assert torch.equal(actual, expected)


def queries(classes, labels, seed):
    """Raw outputs of a TransFusion head with 6 queries on 8 x 20 cells."""
    draw = torch.Generator().manual_seed(seed)
    shapes = dict(center=2, height=1, dim=3, rot=2, vel=2, heatmap=classes)
    outputs = {key: torch.randn(2, n, 6, generator=draw) for key, n in shapes.items()}
    outputs['center'] = torch.rand(2, 2, 6, generator=draw) * torch.tensor([[8.0], [20.0]])
    outputs['query_heatmap_score'] = torch.rand(2, classes, 6, generator=draw)
    outputs['dense_heatmap'] = torch.randn(2, classes, 8, 20, generator=draw)
    outputs['query_labels'] = torch.tensor([labels] * 2)
    return outputs


def transfusion_loss(student, teacher):
    coder = dict(pc_range=[-4.0, -5.0], voxel_size=[0.5, 0.25], out_size_factor=2)
    loss = MODELS.build(
        dict(
            type='TransFusionKDLoss',
            student_coder=coder,
            teacher_coder=coder,
            max_distance=20.0,
            heatmap_weight=1.0,
        )
    )
    loss.bind_classes(named(student), named(teacher))
    return loss


def test_queries_are_taught_in_the_students_classes():
    student = queries(3, [0, 1, 2, 0, 1, 2], 0)
    teacher = queries(4, [0, 1, 3, 0, 1, 3], 1)
    by_name = {
        **teacher,
        **{key: teacher[key][:, ORDER] for key in ('heatmap', 'query_heatmap_score')},
        'query_labels': torch.tensor([[2, 0, 1, 2, 0, 1]] * 2),
    }
    expected = transfusion_loss(STUDENT, STUDENT)(student, by_name)
    assert torch.equal(transfusion_loss(STUDENT, TEACHER)(student, teacher), expected)
    trucks = {**teacher, 'query_labels': torch.full((2, 6), 2)}
    assert transfusion_loss(STUDENT, TEACHER)(student, trucks) == 0


def test_a_teacher_that_lacks_a_class_is_refused_with_both_lists():
    for kind in ('TransFusionKDLoss', 'AnchorHeadKDLoss', 'KDLoss'):
        with pytest.raises(ValueError, match=r"\['truck'\].*'truck'.*, the teacher .*'cyclist'"):
            MODELS.build(dict(type=kind)).bind_classes(named(TEACHER), named(STUDENT))
