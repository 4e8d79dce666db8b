"""Losses between objects: the relations of a box's points, and the contrast of objects."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from mmdistill3d.losses import ObjectContrastLoss, ObjectRelationLoss

RANGE = [-6.0, -4.0, -3.0, 6.0, 4.0, 1.0]
BOXES = [
    [[1.0, 0.5, -1, 4, 2, 1.5, 0.3], [-3.0, -2, -1, 1, 1, 2, -2.0]],
    [],
    [[-2.0, 1.5, -1, 3, 1.5, 1.5, 1.2]],
]
LABELS = [[0, 2], [], [0]]


def samples(boxes=BOXES, labels=LABELS):
    """Annotated samples with boxes (x, y, z, l, w, h, yaw)."""
    result = []
    for own, classes in zip(boxes, labels, strict=True):
        sample = Det3DDataSample()
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(torch.tensor(own).reshape(-1, 7)),
            labels_3d=torch.tensor(classes, dtype=torch.long),
        )
        result.append(sample)
    return result


@pytest.fixture
def maps():
    """Maps of 12 x 8 m: three samples of 12 x 8 cells, and the teacher's of 24 x 16 cells."""
    torch.manual_seed(0)
    student = torch.randn(3, 4, 12, 8, dtype=torch.double, requires_grad=True)
    return student, torch.randn(3, 6, 24, 16, dtype=torch.double)


def value_at(feature, x, y):
    """Bilinear interpolation of a map (C, X, Y) over RANGE, zero beyond its cells."""
    size_x, size_y = feature.shape[1:]
    row = (x - RANGE[0]) / (RANGE[3] - RANGE[0]) * size_x - 0.5
    column = (y - RANGE[1]) / (RANGE[4] - RANGE[1]) * size_y - 0.5
    total = torch.zeros_like(feature[:, 0, 0])
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < size_x and 0 <= j < size_y:
                total = total + feature[:, i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def naive_points(feature, box, n=3, m=3, expand=1.0):
    """Features at the centres of n x m tiles of a box."""
    x, y, _, length, width, _, yaw = box
    yaw = float(torch.tensor(yaw))
    points = []
    for i in range(n):
        for j in range(m):
            along = ((i + 0.5) / n - 0.5) * length * expand
            across = ((j + 0.5) / m - 0.5) * width * expand
            points.append(
                value_at(
                    feature,
                    x + along * math.cos(yaw) - across * math.sin(yaw),
                    y + along * math.sin(yaw) + across * math.cos(yaw),
                )
            )
    return points


def naive_relation(points, relation):
    count = len(points)
    matrix = [[None] * count for _ in range(count)]
    for i in range(count):
        for j in range(count):
            matrix[i][j] = sum(a * b for a, b in zip(points[i], points[j], strict=True))
            if relation == 'cosine':
                matrix[i][j] = matrix[i][j] / (points[i].norm() * points[j].norm())
    if relation == 'gram':
        norms = [sum(value**2 for value in row) ** 0.5 for row in matrix]
        matrix = [[value / norm for value in row] for row, norm in zip(matrix, norms, strict=True)]
    return [value for row in matrix for value in row]


@pytest.mark.parametrize('relation', ['cosine', 'gram'])
@pytest.mark.parametrize('distance', ['l1', 'mse'])
def test_relation_loss_equals_the_formula(maps, relation, distance):
    student, teacher = maps
    settings = dict(size=(3, 2), expand=1.2, relation=relation, distance=distance)
    loss = ObjectRelationLoss(RANGE, axes='xy', loss_weight=2.0, **settings)
    value = loss(student, teacher, data_samples=samples())
    boxes = []
    for number, own in enumerate(BOXES):
        for box in own:
            mine, theirs = (
                naive_relation(naive_points(feature[number], box, 3, 2, 1.2), relation)
                for feature in (student, teacher)
            )
            differences = [a - b for a, b in zip(mine, theirs, strict=True)]
            terms = [d.abs() if distance == 'l1' else d**2 for d in differences]
            boxes.append(sum(terms) / len(terms))
    expected = 2.0 * sum(boxes) / len(boxes)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-8)
    got = torch.autograd.grad(value, student)[0]
    torch.testing.assert_close(got, torch.autograd.grad(expected, student)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('same_class', ['negative', 'ignore'])
def test_contrast_loss_equals_the_formula(maps, same_class):
    student, teacher = maps
    torch.manual_seed(1)
    loss = ObjectContrastLoss(
        4,
        6,
        RANGE,
        embed_dims=5,
        axes='xy',
        temperature=0.2,
        same_class=same_class,
        loss_weight=3.0,
    ).double()
    value = loss(student, teacher, data_samples=samples())
    embeddings = []
    for feature, projector in (
        (student, loss.student_projector),
        (teacher, loss.teacher_projector),
    ):
        linear = projector.layers[0]
        rows = []
        for number, own in enumerate(BOXES):
            for box in own:
                points = naive_points(feature[number], box)
                row = linear.weight @ (sum(points) / len(points)) + linear.bias
                rows.append(row / row.norm())
        embeddings.append(rows)
    mine, theirs = embeddings
    labels = [label for own in LABELS for label in own]
    expected = 0.0
    for i in range(3):
        counts = [
            j for j in range(3) if j == i or same_class == 'negative' or labels[j] != labels[i]
        ]
        for anchor, others in ((mine[i], theirs), (theirs[i], mine)):
            scores = {j: (anchor * others[j]).sum() / 0.2 for j in counts}
            expected = expected - (scores[i].exp() / sum(s.exp() for s in scores.values())).log()
    expected = 3.0 * expected / (2 * 3)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)
    wanted = [student, *loss.parameters()]
    for got, own in zip(
        torch.autograd.grad(value, wanted), torch.autograd.grad(expected, wanted), strict=True
    ):
        torch.testing.assert_close(got, own, rtol=1e-4, atol=1e-6)


def build(kind):
    if kind == 'relation':
        return ObjectRelationLoss(RANGE, axes='xy')
    return ObjectContrastLoss(4, 6, RANGE, embed_dims=5, axes='xy')


@pytest.mark.parametrize('kind', ['relation', 'contrast'])
class TestBoth:
    """What holds for both losses."""

    def test_a_batch_without_boxes_is_a_zero_with_gradients(self, kind, maps):
        student, teacher = maps[0].detach().float().requires_grad_(), maps[1].float()
        loss = build(kind)
        value = loss(student, teacher, data_samples=samples([[], [], []], [[], [], []]))
        value.backward()
        assert value == 0 and student.grad.eq(0).all()
        assert all(p.grad is not None and p.grad.eq(0).all() for p in loss.parameters())

    @pytest.mark.parametrize('constant', [0.0, 1.0])
    def test_constant_maps_and_boxes_beyond_the_map_have_finite_gradients(self, kind, constant):
        student = torch.full((1, 4, 12, 8), constant, requires_grad=True)
        boxes = [[[0.0, 0, 0, 4, 2, 1, 0], [50.0, 0, 0, 4, 2, 1, 0], [6.0, 4, 0, 4, 2, 1, 0]]]
        value = build(kind)(
            student, torch.zeros(1, 6, 12, 8), data_samples=samples(boxes, [[0, 1, 2]])
        )
        value.backward()
        assert value.isfinite() and student.grad.isfinite().all()

    @pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
    def test_half_maps_and_autocast_are_computed_in_float32(self, kind, dtype, maps):
        student = (maps[0].detach() * 3).to(dtype).requires_grad_()
        teacher = (maps[1] * 3).to(dtype)
        loss = build(kind)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            value = loss(student, teacher, data_samples=samples())
        value.backward()
        exact = loss(student.float(), teacher.float(), data_samples=samples())
        assert value.dtype == torch.float32 and student.grad.isfinite().all()
        torch.testing.assert_close(value, exact)

    def test_maps_with_exchanged_axes_give_the_same(self, kind, maps):
        student, teacher = maps[0].detach().float(), maps[1].float()
        loss = build(kind)
        expected = loss(student, teacher, data_samples=samples())
        arguments = dict(axes='yx', teacher_axes='xy')
        if kind == 'relation':
            other = ObjectRelationLoss(RANGE, **arguments)
        else:
            other = ObjectContrastLoss(4, 6, RANGE, embed_dims=5, **arguments)
            other.load_state_dict(loss.state_dict())
        value = other(student.transpose(2, 3), teacher, data_samples=samples())
        torch.testing.assert_close(value, expected)

    def test_the_teacher_gets_no_gradient(self, kind, maps):
        student, teacher = maps[0].detach().float().requires_grad_(), maps[1].float()
        teacher.requires_grad_()
        build(kind)(student, teacher, data_samples=samples()).backward()
        assert student.grad.abs().sum() > 0 and teacher.grad is None

    @pytest.mark.parametrize(
        ('student', 'given', 'message'),
        [
            ([torch.zeros(1)], samples(), r'expected a map \(B, C, H, W\), got a list of 1'),
            (torch.zeros(2, 4, 12, 8), samples(), 'the student has 2 samples, the teacher 3'),
            (torch.zeros(3, 4, 12, 8), [Det3DDataSample()] * 3, 'needs annotated boxes'),
        ],
    )
    def test_what_does_not_fit_is_an_error(self, kind, maps, student, given, message):
        with pytest.raises(ValueError, match=message):
            build(kind)(student, maps[1].float(), data_samples=given)


def test_equal_relations_cost_nothing_however_strong_the_features(maps):
    student = maps[0].detach()
    for relation in ('cosine', 'gram'):
        loss = ObjectRelationLoss(RANGE, axes='xy', relation=relation)
        assert loss(student, 5 * student, data_samples=samples()).item() < 1e-12


def test_options_that_do_not_exist_are_errors():
    with pytest.raises(ValueError, match="relation is one of .* got 'dot', 'l1'"):
        ObjectRelationLoss(RANGE, relation='dot')
    with pytest.raises(ValueError, match='one point has no relations'):
        ObjectRelationLoss(RANGE, size=(1, 1))
    with pytest.raises(ValueError, match="same_class is one of .*, not 'drop'"):
        ObjectContrastLoss(4, 6, RANGE, same_class='drop')
    with pytest.raises(ValueError, match='temperature must be positive'):
        ObjectContrastLoss(4, 6, RANGE, temperature=0)


def test_a_wrong_number_of_channels_names_the_argument(maps):
    loss = ObjectContrastLoss(5, 6, RANGE, axes='xy')
    with pytest.raises(ValueError, match='student_channels=5 says'):
        loss(maps[0].float(), maps[1].float(), data_samples=samples())


RANKS = """
import sys
import torch
from mmengine.dist import get_rank
from tests.mmdistill3d.test_object_losses import contrast_of
torch.distributed.init_process_group('gloo')
results = [contrast_of(numbers[get_rank()]) for numbers in ([[0], [1, 2]], [[1], [0, 2]])]
results.append(contrast_of([[0], [1, 2]][get_rank()], flat=True))
for result in results:
    for value in result:
        torch.distributed.all_reduce(value)
        value /= 2
if get_rank() == 0:
    torch.save(results, sys.argv[1])
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def contrast_of(numbers, flat=False):
    """The loss of some of the samples, maybe with a box without size, and its gradients."""
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4, 12, 8), torch.randn(3, 6, 12, 8)
    loss = ObjectContrastLoss(
        4, 6, RANGE, embed_dims=5, axes='xy', same_class='ignore', gather=True
    )
    boxes, labels = ([part[number] for number in numbers] for part in (BOXES, LABELS))
    if flat and 1 in numbers:
        boxes[0], labels[0] = [[0.5, 0.5, -1, 4, 0, 1.5, 0.3]], [1]
    value = loss(student[numbers], teacher[numbers], data_samples=samples(boxes, labels))
    value.backward()
    return [value.detach(), *(parameter.grad for parameter in loss.parameters())]


def test_mean_and_gradients_over_ranks_are_those_of_one_process(tmp_path):
    script, root = tmp_path / 'ranks.py', Path(__file__).parents[2]
    script.write_text(RANKS)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    path = os.pathsep.join([str(root), str(root / 'projects')])
    env = {**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'}
    command += [str(script), str(tmp_path / 'means.pt')]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    # with two objects and one, with none on a rank, and with one that has no size
    for means in torch.load(tmp_path / 'means.pt'):
        torch.testing.assert_close(means, contrast_of([0, 1, 2]))
